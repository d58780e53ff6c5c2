"""What the rays of a star-shaped outline meet: the rim that makes it a cell, or another cell's.

The *inside* is the mean light over the inner three quarters of every ray. A *rim* is a place that
is dark in itself and darker than the inside by a stated depth. The rim of a cell lies just beyond
its outline; one that a ray passes well before it belongs to something else.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

_INNER_NUM, _INNER_DEN = 3, 4
_EDGE_STEPS: Final = 2  # nearer to the outline, dark belongs to the cell's own rim
_FAR: Final = 1 << 30


@njit(cache=True, nogil=True)
def surrounded(fine, centres, all_dy, all_dx, rim_light, least):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Mark centres of which at least ``least`` rays meet anything as dark as a rim.

    Others can have no outline with as many rims; arguments as of :func:`assess`.
    """
    height, width = fine.shape
    rays, samples = all_dy.shape
    out = np.zeros(len(centres), np.bool_)
    for i in range(len(centres)):
        dark = 0
        for k in range(rays):
            for j in range(samples):
                y = min(max(centres[i, 0] + all_dy[k, j], 0), height - 1)
                x = min(max(centres[i, 1] + all_dx[k, j], 0), width - 1)
                if fine[y, x] <= rim_light:
                    dark += 1
                    break
            if dark + rays - 1 - k < least:
                break
        out[i] = dark >= least
    return out


@njit(cache=True, nogil=True)
def assess(fine, centres, radius, all_dy, all_dx, unit, rim_steps, rim_light, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Look at the inside and the rim of each outline.

    Parameters
    ----------
    fine
        (height, width) uint16 light, milli-OD; edge pixels are repeated outwards.
    centres, radius
        (n, 2) y, x and (n, rays) 1/16 pixel.
    all_dy, all_dx, unit
        Pixel offsets of the samples on each ray, and 1/16 pixels per step.
    rim_steps
        How many samples beyond the outline may be the rim.
    rim_light, depth
        A rim has at most this light, and this much less than the inside.

    Returns
    -------
    tuple of (n,)
        Mean light inside; rays with a rim beyond the outline; rays without one whose opposite ray
        has none either; rays with one well before it, which therefore lead into another cell.
    """
    height, width = fine.shape
    n, rays = radius.shape
    samples = all_dy.shape[1]
    inside = np.empty(n, np.int64)
    closed = np.zeros(n, np.int32)
    beyond = np.zeros(n, np.int32)
    through = np.zeros(n, np.int32)
    rim = np.empty(rays, np.int64)
    passed = np.empty(rays, np.int64)
    for i in range(n):
        total, count = np.int64(0), 0
        for k in range(rays):
            last = int(radius[i, k] / unit - 0.75)  # the sample before the edge
            rim[k], passed[k] = _FAR, _FAR
            for j in range(min(last + rim_steps + 1, samples)):
                y = min(max(centres[i, 0] + all_dy[k, j], 0), height - 1)
                x = min(max(centres[i, 1] + all_dx[k, j], 0), width - 1)
                v = np.int64(fine[y, x])
                if j * _INNER_DEN <= last * _INNER_NUM:
                    total += v
                    count += 1
                if j > last:
                    rim[k] = min(rim[k], v)
                elif j < last - _EDGE_STEPS:
                    passed[k] = min(passed[k], v)
        inside[i] = total // count
        least = min(rim_light, inside[i] - depth)
        for k in range(rays):
            closed[i] += rim[k] <= least
            through[i] += min(rim[k], rim[(k + rays // 2) % rays]) > least
            beyond[i] += passed[k] <= least
    return inside, closed, through, beyond
