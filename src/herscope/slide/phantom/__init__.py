"""Drawn slides with exact truth: the oracle of every measurement, streamed at any size."""
