"""Folders of patches: reading and checking them, parting them, drawing them from phantoms."""
