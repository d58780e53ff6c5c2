"""What lies around each voxel: the counts behind NGTDM and NGLDM; whole numbers throughout.

A voxel differs from the mean of its k neighbours in the region by ``|level - sum / k|``, that is by
``|k level - sum|`` k-ths. The numerators are summed for every k apart, so that no order of addition
can change a bit; the division comes once, at the end.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def neighbours(levels, top, flat, by_slice):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return three tables (slices or 1, top, most neighbours + 1) int64.

    By the neighbours k that a voxel has in the region: voxels, and the sum of ``|k level - sum|``.
    By the neighbours that have its own level: voxels. Neighbours are at Chebyshev distance 1.
    """
    depth, height, width = levels.shape
    most = 8 if flat else 26
    places = depth if by_slice else 1
    voxels = np.zeros((places, top, most + 1), np.int64)
    apart = np.zeros((places, top, most + 1), np.int64)
    alike = np.zeros((places, top, most + 1), np.int64)
    reach = 0 if flat else 1
    for z in range(depth):
        place = z if by_slice else 0
        for y in range(height):
            for x in range(width):
                level = np.int64(levels[z, y, x])
                if level == 0:
                    continue
                around, total, same = 0, np.int64(0), 0
                for w in range(max(0, z - reach), min(depth, z + reach + 1)):
                    for v in range(max(0, y - 1), min(height, y + 2)):
                        for u in range(max(0, x - 1), min(width, x + 2)):
                            other = np.int64(levels[w, v, u])
                            if other == 0 or (w == z and v == y and u == x):
                                continue
                            around += 1
                            total += other
                            if other == level:
                                same += 1
                voxels[place, level - 1, around] += 1
                apart[place, level - 1, around] += abs(around * level - total)
                alike[place, level - 1, same] += 1
    return voxels, apart, alike
