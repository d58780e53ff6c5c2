"""How much stain each cell carries."""
