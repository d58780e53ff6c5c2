"""A slide's result: counts, scores, intervals, alerts."""
