"""Optical density: vectors, white point, deconvolution, estimation, normalisation."""
