"""Closed contours into pixels: a pixel is inside by the even-odd rule at its centre.

All contours of one structure in one slice are taken together: a contour inside another cuts a
hole, which is how RTSTRUCT says "ring" without a keyhole. A centre exactly on an edge belongs to
the inside on the left and the upper edge and to the outside on the others, so that two contours
which share an edge share no pixel and leave none out.

Source: the even-odd (parity) rule; crossings are taken on half-open edges, as every scan-line
filler does since Foley and van Dam 1982.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fill_even_odd(
    contours: Sequence[NDArray[np.float64]], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the pixels whose centre an odd number of contours holds.

    Parameters
    ----------
    contours
        Each ``(points, 2)``: column and row in pixels, centres at whole numbers; closed by itself.
    shape
        Rows and columns.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])
    >>> fill_even_odd([square], (4, 5)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    rows, columns = shape
    # One more column takes the crossings right of the picture.
    flips = np.zeros((rows, columns + 1), np.int64)
    for points in contours:
        x0, y0 = points.T
        x1, y1 = np.roll(points, -1, axis=0).T
        # Rows with lower end <= row < upper end: half-open, so a vertex counts once.
        first = np.clip(np.ceil(np.minimum(y0, y1)), 0, rows).astype(np.int64)
        last = np.clip(np.ceil(np.maximum(y0, y1)), 0, rows).astype(np.int64)
        crossed = np.maximum(last - first, 0)
        edge = np.repeat(np.arange(len(points)), crossed)
        row = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(crossed) - crossed, crossed)
        slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        crossing = x0[edge] + (row - y0[edge]) * slope
        column = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
        np.add.at(flips, (row, column), 1)
    return np.asarray(np.cumsum(flips, axis=1)[:, :columns] % 2 == 1)
