"""Time to an event: curves, tests, models and what they predict."""
