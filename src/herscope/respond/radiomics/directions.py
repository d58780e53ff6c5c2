"""Steps to neighbours, in voxels ``(z, y, x)``: half of them, since texture counts both ways."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray


def directions(*, flat: bool) -> NDArray[np.int64]:
    """Return the unique directions at Chebyshev distance 1: 4 inside a slice, 13 in a volume.

    Parameters
    ----------
    flat
        Only steps inside the slice.

    Returns
    -------
    numpy.ndarray
        ``(4, 3)`` or ``(13, 3)`` steps ``(z, y, x)``; the opposite ones are left out.

    Examples
    --------
    >>> directions(flat=True).tolist()
    [[0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]]
    >>> len(directions(flat=False))
    13
    """
    steps = [
        step
        for step in product((0,) if flat else (-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
        if step > (0, 0, 0)
    ]
    return np.asarray(steps, np.int64)
