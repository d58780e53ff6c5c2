"""Counts of grey levels beside each other and of runs of one level; whole numbers throughout.

``levels`` is ``(z, y, x)`` int32: 0 outside the region, 1 to ``top`` inside. Every count is an
int64 and belongs to a slice and a direction, so that any way of putting them together is a sum.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def cooccurrences(levels, steps, top, by_slice):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count pairs of levels one step apart, both ways: (slices or 1, steps, top, top) int64."""
    depth, height, width = levels.shape
    out = np.zeros((depth if by_slice else 1, steps.shape[0], top, top), np.int64)
    for z in range(depth):
        place = z if by_slice else 0
        for y in range(height):
            for x in range(width):
                here = levels[z, y, x]
                if here == 0:
                    continue
                for d in range(steps.shape[0]):
                    w, v, u = z + steps[d, 0], y + steps[d, 1], x + steps[d, 2]
                    if w < 0 or w >= depth or v < 0 or v >= height or u < 0 or u >= width:
                        continue
                    there = levels[w, v, u]
                    if there > 0:
                        out[place, d, here - 1, there - 1] += 1
                        out[place, d, there - 1, here - 1] += 1
    return out


@njit(cache=True, nogil=True)
def runs(levels, steps, top, by_slice):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count runs of one level by length: (slices or 1, steps, top, longest side) int64."""
    depth, height, width = levels.shape
    longest = max(depth, height, width)
    out = np.zeros((depth if by_slice else 1, steps.shape[0], top, longest), np.int64)
    for z in range(depth):
        place = z if by_slice else 0
        for y in range(height):
            for x in range(width):
                level = levels[z, y, x]
                if level == 0:
                    continue
                for d in range(steps.shape[0]):
                    dz, dy, dx = steps[d, 0], steps[d, 1], steps[d, 2]
                    w, v, u = z - dz, y - dy, x - dx
                    inside = 0 <= w < depth and 0 <= v < height and 0 <= u < width
                    if inside and levels[w, v, u] == level:
                        continue  # not where the run begins
                    length = 0
                    w, v, u = z, y, x
                    while 0 <= w < depth and 0 <= v < height and 0 <= u < width:
                        if levels[w, v, u] != level:
                            break
                        length += 1
                        w, v, u = w + dz, v + dy, u + dx
                    out[place, d, level - 1, length - 1] += 1
    return out
