"""Agreement between readers: categories and measurements."""
