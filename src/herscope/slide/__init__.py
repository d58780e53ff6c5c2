"""Slides: what a file says of itself, and its pixels at any resolution that is asked for."""
