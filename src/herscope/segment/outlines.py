"""Outlines of labelled cells as polygons.

The border between a cell and everything else is followed along pixel edges (the interior on the
right hand, pixels that touch only at a corner are not joined), then thinned by the rule of Douglas
and Peucker (1973). Each outline depends on its own cell alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from herscope.segment.nuclei import Labels

TOLERANCE_PX: Final = 0.75
"""No outline point moves further; under half a micrometre at the working resolution."""


def outlines(
    labels: Labels,
    starts: NDArray[np.int32],
    wanted: NDArray[np.int32],
    *,
    x0: int,
    y0: int,
    scale_x: float,
    scale_y: float,
) -> NDArray[np.object_]:
    """Trace cells and return their outlines in level-0 pixels.

    Parameters
    ----------
    labels
        (height, width) int32.
    starts
        (n, 2) a (y, x) pixel inside each label 1..n.
    wanted
        Labels to trace.
    x0, y0
        Working-grid position of the first pixel.
    scale_x, scale_y
        Level-0 pixels per working pixel.

    Returns
    -------
    (len(wanted),) object
        Shapely polygons.

    Examples
    --------
    >>> labels = np.zeros((6, 6), np.int32)
    >>> labels[2:4, 1:5] = 1
    >>> starts = np.array([[2, 2]], np.int32)
    >>> box = outlines(labels, starts, np.array([1], np.int32), x0=0, y0=0, scale_x=1, scale_y=1)
    >>> box[0].bounds
    (1.0, 2.0, 5.0, 4.0)
    """
    if len(wanted) == 0:
        return np.empty(0, dtype=object)
    points, ends = _trace_all(labels, starts, wanted, TOLERANCE_PX)
    coordinates = (points + np.array([x0, y0])) * np.array([scale_x, scale_y])
    ring_of = np.repeat(np.arange(len(wanted)), np.diff(np.concatenate([[0], ends])))
    rings = shapely.linearrings(coordinates, indices=ring_of)
    polygons: NDArray[np.object_] = shapely.polygons(rings)
    return polygons


@njit(cache=True, nogil=True)
def _is(labels, y, x, label):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1] and labels[y, x] == label


@njit(cache=True, nogil=True)
def _follow(labels, label, y, x, ring):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Follow the border from the upper edge of (y, x); corners go to ``ring``; twice the area."""
    # Directions: 0 right, 1 down, 2 left, 3 up; the interior is on the right hand.
    cy, cx, d = y, x, 0
    n = 0
    twice = 0
    while True:
        py, px = cy, cx
        cy += (d == 1) - (d == 3)
        cx += (d == 0) - (d == 2)
        twice += px * cy - cx * py
        if d == 0:
            ry, rx, ly, lx = cy, cx, cy - 1, cx
        elif d == 1:
            ry, rx, ly, lx = cy, cx - 1, cy, cx
        elif d == 2:
            ry, rx, ly, lx = cy - 1, cx - 1, cy, cx - 1
        else:
            ry, rx, ly, lx = cy - 1, cx, cy - 1, cx - 1
        turn = 0
        if not _is(labels, ry, rx, label):
            turn = 1
        elif _is(labels, ly, lx, label):
            turn = 3
        if turn:
            if n < ring.shape[0]:
                ring[n, 0], ring[n, 1] = cx, cy
            n += 1
            d = (d + turn) % 4
        if cy == y and cx == x and d == 0:
            break
    return min(n, ring.shape[0]), twice


@njit(cache=True, nogil=True)
def _thin(ring, n, tolerance, keep, stack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Douglas and Peucker on a closed ring, split first at the point furthest from the start."""
    keep[:n] = 0
    far, best = 0, -1.0
    for i in range(n):
        d = (ring[i, 0] - ring[0, 0]) ** 2 + (ring[i, 1] - ring[0, 1]) ** 2
        if d > best:
            far, best = i, d
    keep[0] = 1
    keep[far] = 1
    stack[0, 0], stack[0, 1] = 0, far
    stack[1, 0], stack[1, 1] = far, n
    top = 2
    while top:
        top -= 1
        a, b = stack[top]
        ax, ay = ring[a, 0], ring[a, 1]
        dx, dy = ring[b % n, 0] - ax, ring[b % n, 1] - ay
        length = np.sqrt(float(dx * dx + dy * dy))
        worst, at = tolerance, -1
        for i in range(a + 1, b):
            ex, ey = ring[i, 0] - ax, ring[i, 1] - ay
            off = abs(dx * ey - dy * ex) / length if length > 0 else np.sqrt(float(ex**2 + ey**2))
            if off > worst:
                worst, at = off, i
        if at >= 0:
            keep[at] = 1
            stack[top, 0], stack[top, 1] = a, at
            stack[top + 1, 0], stack[top + 1, 1] = at, b
            top += 2


@njit(cache=True, nogil=True)
def _trace_all(labels, starts, wanted, tolerance):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    most = 4096
    ring = np.empty((most, 2), np.int32)
    keep = np.empty(most, np.uint8)
    stack = np.empty((most, 2), np.int32)
    room = max(64, 16 * len(wanted))
    points = np.empty((room, 2), np.float64)
    ends = np.empty(len(wanted), np.int64)
    used = 0
    for k in range(len(wanted)):
        label = wanted[k]
        y, x = starts[label - 1]
        n = 0
        while True:
            while _is(labels, y - 1, x, label):
                y -= 1
            n, twice = _follow(labels, label, y, x, ring)
            if twice > 0:
                break
            # The border of a hole: go on above it.
            y -= 1
            while not _is(labels, y, x, label):
                y -= 1
        _thin(ring, n, tolerance, keep, stack)
        kept = 0
        for i in range(n):
            kept += keep[i]
        whole = kept < 4  # too few for an area: keep the exact corners
        if used + n > points.shape[0]:
            larger = np.empty((2 * points.shape[0] + n, 2), np.float64)
            larger[:used] = points[:used]
            points = larger
        for i in range(n):
            if whole or keep[i]:
                points[used, 0], points[used, 1] = ring[i, 0], ring[i, 1]
                used += 1
        ends[k] = used
    return points[:used], ends
