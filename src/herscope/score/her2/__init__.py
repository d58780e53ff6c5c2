"""Membranes and the HER2 score: classes to percentages, the reading, and how sure it is."""
