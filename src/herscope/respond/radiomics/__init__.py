"""Radiomics after the IBSI reference manual: numbers of a lesion or a tile inside a mask."""
