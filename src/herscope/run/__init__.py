"""Many slides: one process pool, state per slide, resume after a kill, shards."""
