"""Grey levels from intensities, IBSI 2.7: bins of fixed size, or a fixed number of bins."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError

MOST_LEVELS: Final = 512
"""A co-occurrence matrix has the square of it; more levels mean bins that are too fine."""

Levels = tuple[NDArray[np.int32], int]


def fixed_bin_size(
    image: NDArray[np.float64], inside: NDArray[np.bool_], size: float, start: float | None = None
) -> Levels:
    """Give the number of the bin, of one size, counted from ``start`` or the least intensity.

    Parameters
    ----------
    image, inside
        ``(z, y, x)`` intensities and the intensity mask.
    size
        Width of a bin, in units of the image.
    start
        Where the first bin begins: the lower end of resegmentation.

    Returns
    -------
    tuple
        Levels, 0 outside the mask and from 1 inside; and the highest.

    Raises
    ------
    InputError
        More than 512 levels.

    Examples
    --------
    >>> image = np.array([[[0.0, 24.9, 25.0, 60.0]]])
    >>> fixed_bin_size(image, image >= 0, 25.0)[0].tolist()
    [[[1, 1, 2, 3]]]
    """
    values = image[inside]
    low, high = float(values.min()) if start is None else start, float(values.max())
    # The same quotient as below, so that the highest voxel has the highest level to the bit.
    top = math.floor((high - low) / size) + 1
    if top > MOST_LEVELS:
        raise InputError(
            f"bins of {size:g} make {top} grey levels of intensities from {low:g} to {high:g} "
            f"(limit {MOST_LEVELS})",
            hint=f"set bin_size to {(high - low) / 64:.3g} or more, narrow resegment_range, or "
            "use fixed_bin_number",
        )
    return _placed(inside, np.floor((values - low) / size).astype(np.int32) + 1), top


def fixed_bin_number(image: NDArray[np.float64], inside: NDArray[np.bool_], number: int) -> Levels:
    """Divide the range of the intensities into ``number`` equal bins; one level for one intensity.

    Examples
    --------
    >>> image = np.array([[[0.0, 1.0, 2.0, 4.0]]])
    >>> fixed_bin_number(image, image >= 0, 4)[0].tolist()
    [[[1, 2, 3, 4]]]
    """
    values = image[inside]
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return _placed(inside, np.ones(values.size, np.int32)), 1
    level = np.floor(number * ((values - low) / (high - low))).astype(np.int32) + 1
    return _placed(inside, np.minimum(level, number)), number


def _placed(inside: NDArray[np.bool_], values: NDArray[np.int32]) -> NDArray[np.int32]:
    out = np.zeros(inside.shape, np.int32)
    out[inside] = values
    return out
