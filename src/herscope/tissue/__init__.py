"""Tissue, glass and artefacts; focus; regions as polygons, masks and GeoJSON."""
