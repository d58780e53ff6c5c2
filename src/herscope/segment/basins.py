"""Cut a landscape into the basins of its summits, so that far places cannot matter.

A watershed floods whole regions, and what happens at one end of a cluster can move a border at the
other. Here every pixel climbs to the steepest of its four neighbours until none is higher. Equal
heights are ordered by the raster, so each climb ends, and ends at one place. A climb counts where
it stays within a radius of its summit. Basins then join once, by rules that look at a summit, its
neighbours and their neighbours and no further (:func:`join`). All heights are whole numbers.

Climbing to the steepest neighbour is the drainage rule of Vincent and Soille's watershed (IEEE
TPAMI 1991;13:583) without its queue; joining by the depth of the saddle is their "dynamics"
(Grimaud 1992), limited here to neighbours within a stated distance.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Labels = NDArray[np.int32]

_MEMBER, _KEPT, _OUTSIDE = 1, 2, 3  # marks of a box; 0: background


@njit(cache=True, nogil=True)
def _steepest(height, inside, y, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Direction of the highest of a pixel and its neighbours: up, left, itself, right, down."""
    rows, columns = height.shape
    best, where = height[y, x], 2
    # Raster order among equals: up and left come before the pixel, right and down after it.
    if x > 0 and inside[y, x - 1] and height[y, x - 1] >= best:
        best, where = height[y, x - 1], 1
    if y > 0 and inside[y - 1, x] and height[y - 1, x] >= best:
        best, where = height[y - 1, x], 0
    if x + 1 < columns and inside[y, x + 1] and height[y, x + 1] > best:
        best, where = height[y, x + 1], 3
    if y + 1 < rows and inside[y + 1, x] and height[y + 1, x] > best:
        where = 4
    return where


@njit(cache=True, nogil=True)
def climb(height, inside, reach):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - one sweep
    """Give every inside pixel the number of the summit it climbs to.

    Parameters
    ----------
    height
        (height, width) whole numbers.
    inside
        (height, width) bool; climbs stay inside.
    reach
        Pixels; a climb counts when all of it lies within this distance of its summit.

    Returns
    -------
    labels
        (height, width) int32: 1..n in raster order of the summits, 0 elsewhere.
    summits
        (n, 2) int32 y, x.
    """
    rows, columns = height.shape
    onward, labels, summits = _summits(height, inside)
    step = np.array([-columns, -1, 0, 1, columns])
    flat, ahead, within = labels.reshape(-1), onward.reshape(-1), inside.reshape(-1)
    longest = (2 * reach + 1) ** 2  # a climb never comes back: no longer one fits into the disc
    path = np.empty(longest + 1, np.int64)
    for start in range(rows * columns):
        if not within[start] or flat[start] != 0:
            continue
        length, here = 0, start
        while flat[here] == 0 and length <= longest:
            path[length] = here
            length += 1
            here += step[ahead[here]]
        found = flat[here]
        if found == 0:
            flat[start] = -1
            continue
        for k in range(length - 1, -1, -1):
            if found > 0:
                away_y = path[k] // columns - summits[found - 1, 0]
                away_x = path[k] % columns - summits[found - 1, 1]
                if away_y * away_y + away_x * away_x > reach * reach:
                    found = np.int32(-1)
            flat[path[k]] = found
    for i in range(rows * columns):
        flat[i] = max(flat[i], 0)
    return labels, summits


@njit(cache=True, nogil=True)
def _summits(height, inside):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Where each pixel climbs next, and the summits: numbered in place, and as a list."""
    rows, columns = height.shape
    onward = np.empty((rows, columns), np.uint8)
    labels = np.zeros((rows, columns), np.int32)
    count = 0
    for y in range(rows):
        for x in range(columns):
            if inside[y, x]:
                onward[y, x] = _steepest(height, inside, y, x)
                if onward[y, x] == 2:
                    count += 1
                    labels[y, x] = count
    summits = np.empty((count, 2), np.int32)
    for y in range(rows):
        for x in range(columns):
            if labels[y, x]:
                summits[labels[y, x] - 1, 0], summits[labels[y, x] - 1, 1] = y, x
    return onward, labels, summits


@njit(cache=True, nogil=True)
def saddles(height, labels, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find which basins touch, and the height of the highest pass between each two.

    Returns
    -------
    first, second
        (m,) int64 numbers of two basins, first < second, pairs in rising order.
    pass_height
        (m,) int64.
    """
    count = _contacts(height, labels, n, np.empty(0, np.int64), np.empty(0, np.int64))
    keys = np.empty(count, np.int64)
    lows = np.empty(count, np.int64)
    _contacts(height, labels, n, keys, lows)
    order = np.argsort(keys)
    first = np.empty(count, np.int64)
    second = np.empty(count, np.int64)
    top = np.empty(count, np.int64)
    m = 0
    for i in order:
        a, b = keys[i] // (n + 1), keys[i] % (n + 1)
        if m and first[m - 1] == a and second[m - 1] == b:
            top[m - 1] = max(top[m - 1], lows[i])
        else:
            first[m], second[m], top[m] = a, b, lows[i]
            m += 1
    return first[:m], second[:m], top[:m]


@njit(cache=True, nogil=True)
def _contacts(height, labels, n, keys, lows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Count the places where two basins touch; list them where the arrays have room."""
    rows, columns = labels.shape
    k = 0
    for y in range(rows):
        for x in range(columns):
            here = labels[y, x]
            if here == 0:
                continue
            for down in range(2):
                yy, xx = min(y + down, rows - 1), min(x + 1 - down, columns - 1)
                there = labels[yy, xx]
                if there > 0 and there != here:
                    if len(keys):
                        keys[k] = np.int64(min(here, there)) * (n + 1) + max(here, there)
                        lows[k] = min(np.int64(height[y, x]), np.int64(height[yy, xx]))
                    k += 1
    return k


@njit(cache=True, nogil=True)
def join(height, labels, summits, near, far, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Say which basin each one becomes part of; itself when it stays.

    Two basins that touch *belong together* when their summits are at most ``near`` pixels apart, or
    at most ``far`` and the pass between them lies less than ``depth`` thousandths below the lower
    summit. A basin stays when it belongs together with none that is higher. Any other joins the one
    that stays, of those it belongs together with, over the highest pass (the first of equals);
    where none of them stays, it stays as well. One round: no chains.

    Returns
    -------
    (n + 1,) int32
        For labels 1..n; entry 0 is 0.
    """
    n = len(summits)
    first, second, top = saddles(height, labels, n)
    m = len(first)
    lower = np.zeros(m, np.int64)
    upper = np.zeros(m, np.int64)
    stays = np.ones(n + 1, np.bool_)
    for k in range(m):
        a, b = first[k], second[k]
        ay, ax = summits[a - 1, 0], summits[a - 1, 1]
        by, bx = summits[b - 1, 0], summits[b - 1, 1]
        apart = (ay - by) ** 2 + (ax - bx) ** 2
        if apart > far * far:
            continue
        ha, hb = np.int64(height[ay, ax]), np.int64(height[by, bx])
        least = min(ha, hb)
        if apart <= near * near or top[k] * 1000 >= least * (1000 - depth):
            # Of equal heights the first in the raster counts as the higher.
            lower[k], upper[k] = (b, a) if ha >= hb else (a, b)
            stays[lower[k]] = False
    into = np.arange(n + 1).astype(np.int32)
    best = np.full(n + 1, -1, np.int64)
    for k in range(m):
        low, high = lower[k], upper[k]
        if low == 0 or not stays[high]:
            continue
        if top[k] > best[low] or (top[k] == best[low] and high < into[low]):
            best[low] = top[k]
            into[low] = high
    return into


@njit(cache=True, nogil=True)
def gather(labels, summits, into, reach):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write joined basins as one object each, 1..m in raster order of the summits that stay.

    Pixels further than ``reach`` from their summit are cleared.

    Returns
    -------
    seeds
        (m, 2) int32 y, x.
    boxes
        (m, 4) int64: first and last row, first and last column.
    cut
        (m,) bool: something was cleared, so the rest may hang together no more.
    """
    n = len(summits)
    name = np.zeros(n + 1, np.int32)
    m = 0
    for i in range(1, n + 1):
        if into[i] == i:
            m += 1
            name[i] = m
    seeds = np.empty((m, 2), np.int32)
    for i in range(1, n + 1):
        if into[i] == i:
            seeds[name[i] - 1] = summits[i - 1]
    boxes = np.empty((m, 4), np.int64)
    boxes[:, 0], boxes[:, 2] = labels.shape
    boxes[:, 1] = boxes[:, 3] = -1
    cut = np.zeros(m, np.bool_)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] == 0:
                continue
            one = name[into[labels[y, x]]]
            if (y - seeds[one - 1, 0]) ** 2 + (x - seeds[one - 1, 1]) ** 2 > reach * reach:
                labels[y, x] = 0
                cut[one - 1] = True
                continue
            labels[y, x] = one
            box = boxes[one - 1]
            box[0], box[1] = min(box[0], y), max(box[1], y)
            box[2], box[3] = min(box[2], x), max(box[3], x)
    return seeds, boxes, cut


@njit(cache=True, nogil=True)
def tidy(labels, seeds, boxes, cut):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Keep of each object what hangs together with its seed, fill its holes, return the areas.

    A hole is background (not another object) from which no path of eight directions leads out of
    the object.
    """
    m = len(seeds)
    area = np.zeros(m, np.int64)
    most = 1
    for i in range(m):
        side = (boxes[i, 1] - boxes[i, 0] + 3) * (boxes[i, 3] - boxes[i, 2] + 3)
        most = max(most, side)
    mark = np.zeros(most, np.uint8)
    stack = np.empty(most, np.int64)
    for i in range(m):
        # One pixel of border, so that the border of the box is outside the object.
        y0, x0 = boxes[i, 0] - 1, boxes[i, 2] - 1
        rows, columns = boxes[i, 1] - y0 + 2, boxes[i, 3] - x0 + 2
        mark[: rows * columns] = 0
        first = _MEMBER if cut[i] else _KEPT
        for y in range(1, rows - 1):
            for x in range(1, columns - 1):
                if labels[y0 + y, x0 + x] == i + 1:
                    mark[y * columns + x] = first
        if cut[i]:
            start = (seeds[i, 0] - y0) * columns + seeds[i, 1] - x0
            _flood(mark, stack, rows, columns, start, _MEMBER, _KEPT, 1)
        _flood(mark, stack, rows, columns, 0, 0, _OUTSIDE, 2)
        area[i] = _redraw(labels, mark, y0, x0, rows, columns, i + 1)
    return area


@njit(cache=True, nogil=True)
def _redraw(labels, mark, y0, x0, rows, columns, name):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write a box back: members that were not kept go, holes are filled; return the area."""
    area = 0
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            what = mark[y * columns + x]
            if what == _MEMBER:
                labels[y0 + y, x0 + x] = 0
            elif what == _KEPT:
                area += 1
            elif what == 0 and labels[y0 + y, x0 + x] == 0:
                labels[y0 + y, x0 + x] = name
                area += 1
    return area


@njit(cache=True, nogil=True)
def _flood(mark, stack, rows, columns, start, of, into, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Mark what is reached from a place over its like, in 4 directions (steps 1) or 8 (2)."""
    mark[start] = into
    stack[0], top = start, 1
    while top:
        top -= 1
        cy, cx = stack[top] // columns, stack[top] % columns
        for y in range(max(cy - 1, 0), min(cy + 2, rows)):
            for x in range(max(cx - 1, 0), min(cx + 2, columns)):
                there = y * columns + x
                if mark[there] == of and abs(y - cy) + abs(x - cx) <= steps:
                    mark[there] = into
                    stack[top] = there
                    top += 1
