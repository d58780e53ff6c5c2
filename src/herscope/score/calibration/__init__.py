"""Cut-offs fitted to readers: cells of a run, readings, the search, and what it is worth."""
