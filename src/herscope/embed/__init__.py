"""Tiles of a slide as features: encoders, extraction, and feature files, ours and others'."""
