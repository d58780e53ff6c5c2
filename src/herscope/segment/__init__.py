"""Nuclei, cells and compartments."""
