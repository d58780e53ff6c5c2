"""Statistics that say what they assume: counts first, then the number."""
