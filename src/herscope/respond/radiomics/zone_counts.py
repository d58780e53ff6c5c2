"""Zones of one grey level, their size and their distance to the border; whole numbers throughout.

A zone is a set of voxels of one level that hang together by faces, edges or corners (8 neighbours
in a slice, 26 in a volume). Distances are counted in steps across faces (4 and 6 neighbours) from
outside of the region, so that a voxel on its border has distance 1; outside of the image counts as
outside of the region (IBSI 3.8 and 3.9).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def border_steps(mask, flat):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901 two sweeps
    """City-block distance of each voxel of the mask to what is not in it: (z, y, x) int32.

    Two sweeps with the unit chamfer (Rosenfeld and Pfaltz 1966) are exact for this metric.
    """
    depth, height, width = mask.shape
    out = np.zeros((depth, height, width), np.int32)
    far = np.int32(depth + height + width)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not mask[z, y, x]:
                    continue
                near = min(
                    out[z, y - 1, x] if y > 0 else 0,
                    out[z, y, x - 1] if x > 0 else 0,
                )
                if not flat:
                    near = min(near, out[z - 1, y, x] if z > 0 else 0)
                out[z, y, x] = min(far, near + 1)
    for z in range(depth - 1, -1, -1):
        for y in range(height - 1, -1, -1):
            for x in range(width - 1, -1, -1):
                if not mask[z, y, x]:
                    continue
                near = min(
                    out[z, y + 1, x] if y < height - 1 else 0,
                    out[z, y, x + 1] if x < width - 1 else 0,
                )
                if not flat:
                    near = min(near, out[z + 1, y, x] if z < depth - 1 else 0)
                out[z, y, x] = min(out[z, y, x], near + 1)
    return out


@njit(cache=True, nogil=True)
def zones(levels, border, flat):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901
    """Find the zones: slice, level, voxels and least distance of each, (4, zones) int64.

    ``levels`` and ``border`` are (z, y, x) int32. The slice is the first that the zone touches.
    """
    depth, height, width = levels.shape
    seen = np.zeros((depth, height, width), np.bool_)
    count = 0
    for value in levels.ravel():
        if value > 0:
            count += 1
    waiting = np.empty((count, 3), np.int32)
    out = np.empty((4, count), np.int64)
    found = 0
    low, high = (0, 1) if flat else (-1, 2)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                level = levels[z, y, x]
                if level == 0 or seen[z, y, x]:
                    continue
                seen[z, y, x] = True
                waiting[0, 0], waiting[0, 1], waiting[0, 2] = z, y, x
                last, size = 1, 0
                nearest = border[z, y, x]
                while last > 0:
                    last -= 1
                    a, b, c = waiting[last, 0], waiting[last, 1], waiting[last, 2]
                    size += 1
                    nearest = min(nearest, border[a, b, c])
                    for w in range(max(0, a + low), min(depth, a + high)):
                        for v in range(max(0, b - 1), min(height, b + 2)):
                            for u in range(max(0, c - 1), min(width, c + 2)):
                                if not seen[w, v, u] and levels[w, v, u] == level:
                                    seen[w, v, u] = True
                                    waiting[last, 0] = w
                                    waiting[last, 1] = v
                                    waiting[last, 2] = u
                                    last += 1
                out[0, found], out[1, found] = z, level
                out[2, found], out[3, found] = size, nearest
                found += 1
    return out[:, :found].copy()


@njit(cache=True, nogil=True)
def tally(place, level, column, places, top, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count zones by slice, level and column: (places, top, columns) int64."""
    out = np.zeros((places, top, columns), np.int64)
    for k in range(level.size):
        out[place[k], level[k] - 1, column[k]] += 1
    return out
