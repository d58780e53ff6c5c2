"""Moran's I and Geary's C of a volume, IBSI 3.1.26 and 27: whether near voxels are alike.

The weight of two voxels is the inverse of their distance. All pairs count; the double sum is a
convolution of the box with the weights, so it is done by a Fourier transform in n log n steps.
Moran 1950; Geary 1954.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from herscope.core.errors import InputError

MOST_CELLS: Final = 60_000_000
"""Cells of the box with room for the transform: 1.5 GB at work."""

Array = NDArray[np.float64]


def autocorrelation_features(
    image: Array, inside: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> dict[str, float | None]:
    """Return ``morph_moran_i`` and ``morph_geary_c``; None for one voxel or one intensity.

    Parameters
    ----------
    image, inside
        ``(z, y, x)`` intensities and the intensity mask.
    spacing_mm
        ``(z, y, x)``.

    Raises
    ------
    InputError
        A box too large for the memory of a usual computer.

    Examples
    --------
    A step is alike on both sides:

    >>> image = np.zeros((1, 1, 8)); image[0, 0, 4:] = 1.0
    >>> values = autocorrelation_features(image, np.ones(image.shape, np.bool_), (1.0, 1.0, 1.0))
    >>> values["morph_moran_i"] > 0, values["morph_geary_c"] < 1
    (True, True)
    """
    inner = image[inside]
    nothing: dict[str, float | None] = {"morph_moran_i": None, "morph_geary_c": None}
    if inner.size < 2 or inner.max() == inner.min():
        return nothing
    shape = [fft.next_fast_len(2 * size - 1, real=True) for size in image.shape]
    if np.prod(shape, dtype=np.float64) > MOST_CELLS:
        raise InputError(
            f"autocorrelation of a box of {' x '.join(map(str, image.shape))} voxels needs "
            f"{np.prod(shape, dtype=np.float64):.2g} cells (limit {MOST_CELLS:.2g})",
            hint="resample to larger voxels (resample_to_mm), or leave autocorrelation out",
        )
    off = np.where(inside, image - inner.mean(), 0.0)
    weights = fft.rfftn(_inverse_distance(shape, spacing_mm), workers=1)

    def around(values: Array) -> Array:
        """Sum over all others of weight times value, at every voxel of the box."""
        spread = fft.irfftn(fft.rfftn(values, shape, workers=1) * weights, shape, workers=1)
        return np.asarray(spread[tuple(slice(size) for size in image.shape)])

    degree = around(inside.astype(np.float64))
    total = float(degree[inside].sum())
    squares = float((off**2).sum())
    cross = float((off * around(off)).sum())
    number = inner.size
    own = float((off**2 * degree).sum())
    return {
        "morph_moran_i": number / total * cross / squares,
        "morph_geary_c": (number - 1) / total * (own - cross) / squares,
    }


def _inverse_distance(shape: list[int], spacing_mm: tuple[float, ...]) -> Array:
    """Weights at every cyclic shift; 0 for a voxel with itself."""
    squared = np.zeros(shape)
    for axis, (size, step) in enumerate(zip(shape, spacing_mm, strict=True)):
        shift = np.minimum(np.arange(size), size - np.arange(size)) * step
        squared += (shift**2).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    squared[(0,) * len(shape)] = np.inf
    return np.asarray(1 / np.sqrt(squared))
