"""Local and global intensity peak, IBSI 3.2: the mean of a sphere of 1 cm³ (radius 6.2 mm).

The sphere is a set of voxels whose centres are at most :data:`RADIUS_MM` away, also outside of the
mask, but inside of the image. Local: around the brightest voxel of the region (the highest mean
where several are equally bright). Global: the highest mean around any voxel of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

RADIUS_MM: Final = (3000 / (4 * np.pi)) ** (1 / 3)
"""Of a sphere of 1 cm³: 6.2035 mm."""


def intensity_peaks(
    image: NDArray[np.float64], mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> dict[str, float | None]:
    """Return the local and the global intensity peak, in units of the image.

    Parameters
    ----------
    image, mask
        ``(z, y, x)``; the image must reach 6.2 mm beyond the mask, or to its own border.
    spacing_mm
        ``(z, y, x)``.

    Examples
    --------
    >>> image = np.zeros((1, 1, 3)); image[0, 0, 1] = 9.0
    >>> intensity_peaks(image, image > 0, (5.0, 5.0, 5.0))
    {'loc_peak_loc': 3.0, 'loc_peak_glob': 3.0}
    """
    reach = [int(RADIUS_MM / step) for step in spacing_mm]
    grid = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    near = ((grid * np.asarray(spacing_mm)) ** 2).sum(axis=1) <= RADIUS_MM**2
    means = _means(image, np.argwhere(mask), grid[near].astype(np.int64))
    inside = image[mask]
    return {
        "loc_peak_loc": float(means[inside == inside.max()].max()),
        "loc_peak_glob": float(means.max()),
    }


@njit(cache=True, nogil=True)
def _means(image, centres, offsets):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Mean of the image over the offsets around each centre: (n,) float64, sums in one order."""
    depth, height, width = image.shape
    out = np.empty(centres.shape[0], np.float64)
    for k in range(centres.shape[0]):
        total, count = 0.0, 0
        for j in range(offsets.shape[0]):
            z = centres[k, 0] + offsets[j, 0]
            y = centres[k, 1] + offsets[j, 1]
            x = centres[k, 2] + offsets[j, 2]
            if 0 <= z < depth and 0 <= y < height and 0 <= x < width:
                total += image[z, y, x]
                count += 1
        out[k] = total / count
    return out
