"""Colour conversion by looking every one of the 256 ** 3 colours up: exact, not interpolated."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from herscope.slide.protocol import Rgb


def look_up(pixels: Rgb, table: NDArray[np.uint8]) -> Rgb:
    """Replace every pixel by its colour's row.

    Parameters
    ----------
    pixels
        (height, width, 3) uint8.
    table
        (256, 256, 256, 3) uint8, indexed by red, green, blue.

    Returns
    -------
    ndarray
        (height, width, 3) uint8.
    """
    out = np.empty(pixels.shape, np.uint8)
    _look_up(np.ascontiguousarray(pixels), table, out)
    return out


@numba.njit(nogil=True, cache=True)
def _look_up(pixels: Rgb, table: NDArray[np.uint8], out: Rgb) -> None:
    height, width, _ = pixels.shape
    for i in range(height):
        for j in range(width):
            row = table[pixels[i, j, 0], pixels[i, j, 1], pixels[i, j, 2]]
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = row[0], row[1], row[2]
