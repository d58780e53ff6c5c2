"""Which of many overlapping outlines are nuclei, decided by strictly local contests, and drawn.

Several centres lead to the same nucleus, to half of one or to two at once. Of outlines that contend
for the same place the one with the greater quality stays. The usual greedy suppression lets one
decision run through a crowded field like dominoes, and a tile would have to know the whole slide;
here the chain is cut at :data:`ROUNDS`: an outline stays unless a better one that contends with it
stays at the round before. After an odd number of rounds what stays is a subset of the greedy
answer, so no two that contend both stay, and nothing beyond ``ROUNDS`` contests away can have
mattered.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.segment.rays import CONTRAST, Outlines, Polar

ROUNDS: Final = 3
"""Odd, so that the kept outlines never contend; one more hardly changes the result."""

_TYPICAL_AREA_UM2: Final = 100.0
_LARGEST_UM2: Final = 2000  # no outline that is traced is larger; the table ends here
_COMPACT_UM2: Final = 40.0  # a lymphocyte of 7 µm
_COMPACT_BONUS: Final = 1500
_COMPACT_GAP_NUM, _COMPACT_GAP_DEN = 7, 32  # share of the rays that need not fall
_JOINED_NUM, _JOINED_DEN = 5, 8  # outlines contend below this share of their summed radii


def quality_and_area(
    outlines: Outlines, mpp: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Quality in thousandths and area in µm² of each outline.

    ``1.75 weak + 3.6 edge - rise``: the mean fall over the weaker half of the rays, the share of
    rays that fall by a quarter of the contrast, and the mean rise on the way, in contrasts.
    """
    rays = outlines.fall.shape[1]
    half = rays // 2
    weak = np.sort(outlines.fall, axis=1)[:, :half].astype(np.int64).sum(axis=1)
    edge = (outlines.fall * 4 > CONTRAST).sum(axis=1)
    rise = outlines.rise.astype(np.int64).sum(axis=1)
    thousandths = 1750.0 * weak / (half * CONTRAST) + 3600.0 * edge / rays
    quality = np.floor(thousandths - 1000.0 * rise / (rays * CONTRAST)).astype(np.int64)
    radius = outlines.radius.astype(np.int64)
    triangles = (radius * np.roll(radius, -1, axis=1)).sum(axis=1)  # twice, in 1/256 pixels
    return quality, triangles * (0.5 * math.sin(2 * math.pi / rays) * mpp * mpp / 256)


def required_quality(
    area_um2: NDArray[np.float64], at_typical: float, weight: float
) -> NDArray[np.int64]:
    """Least quality in thousandths at each area.

    The logarithm comes from a table of whole µm²: a vector logarithm may round its last elements
    otherwise than the first, and the place in a list is nothing that may decide.
    """
    whole = np.maximum(np.arange(_LARGEST_UM2 + 1), 1)
    needed = [
        math.floor(1000 * (at_typical - weight * math.log(a / _TYPICAL_AREA_UM2)))
        for a in whole.tolist()
    ]
    index = np.minimum(np.floor(area_um2).astype(np.int64), len(needed) - 1)
    return np.array(needed, np.int64)[index]


def compact_bonus(outlines: Outlines, area_um2: NDArray[np.float64]) -> NDArray[np.int64]:
    """Thousandths of quality that a small, dark, almost closed outline may lack.

    A lymphocyte in a cluster touches its neighbours, so the weaker half of its edge says little;
    the stronger three quarters are clearer than those of debris of its size.
    """
    rays = outlines.fall.shape[1]
    ordered = np.sort(outlines.fall, axis=1).astype(np.int64)
    closed = ordered[:, rays * _COMPACT_GAP_NUM // _COMPACT_GAP_DEN] * 4 > CONTRAST
    clear = ordered[:, rays // 4 :].sum(axis=1) * 10 >= 11 * CONTRAST * (rays - rays // 4)
    small = area_um2 <= _COMPACT_UM2
    return np.where(closed & clear & small, _COMPACT_BONUS, 0).astype(np.int64)


def best(
    centres: NDArray[np.int32],
    quality: NDArray[np.int64],
    outlines: Outlines,
    tables: Polar,
    contest_px: int,
) -> NDArray[np.bool_]:
    """Mark the outlines that stay.

    Two outlines contend when their centres are at most ``contest_px`` apart and either centre lies
    in the other outline, or they overlap by more than about a third.

    Parameters
    ----------
    centres
        (n, 2) y, x in raster order; among equals the earlier wins.
    quality
        (n,) whole numbers; the greater wins.
    outlines, tables
        From :mod:`herscope.segment.rays`.
    contest_px
        Centres further apart than this never contend.
    """
    better, loser = _contests(
        centres, quality, outlines.radius, tables.direction, tables.half, contest_px
    )
    stays = np.ones(len(centres), np.bool_)
    for _ in range(ROUNDS):
        following = np.ones(len(centres), np.bool_)
        following[loser[stays[better]]] = False
        stays = following
    return stays


@njit(cache=True, nogil=True)
def _radius_towards(radius, direction):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Radius between two rays, four directions a ray."""
    k, part = direction >> 2, direction & 3
    following = radius[(k + 1) % radius.size]
    return (radius[k] * (4 - part) + following * part + 2) >> 2


@njit(cache=True, nogil=True)
def directed_radii(radius):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Radius of each outline in each of the directions that a drawing tells apart."""
    out = np.empty((radius.shape[0], 4 * radius.shape[1]), np.int32)
    for i in range(out.shape[0]):
        for d in range(out.shape[1]):
            out[i, d] = _radius_towards(radius[i], d)
    return out


@njit(cache=True, nogil=True)
def _contests(centres, quality, radius, direction, half, contest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901 - one sweep
    """(better, worse) of every contending pair; centres in raster order make the search short."""
    n = len(centres)
    better = np.empty(max(16, 4 * n), np.int32)
    worse = np.empty(max(16, 4 * n), np.int32)
    count = 0
    rows = 0 if n == 0 else centres[n - 1, 0] + 2
    first = np.full(rows + 1, n, np.int32)
    for i in range(n - 1, -1, -1):
        first[centres[i, 0]] = i
    for y in range(rows - 1, -1, -1):
        first[y] = min(first[y], first[y + 1])
    for i in range(n):
        y, x = centres[i, 0], centres[i, 1]
        for yy in range(y, min(y + contest + 1, rows)):
            # binary search for the first centre of the row that is near enough
            a, b = max(first[yy], i + 1), first[yy + 1]
            low, high = a, b
            while low < high:
                middle = (low + high) >> 1
                if centres[middle, 1] < x - contest:
                    low = middle + 1
                else:
                    high = middle
            for j in range(low, b):
                dx = centres[j, 1] - x
                if dx > contest:
                    break
                dy = yy - y
                squared = (dy * dy + dx * dx) << 8
                if squared > (contest * contest) << 8:
                    continue
                mine = _radius_towards(radius[i], direction[half + dy, half + dx])
                theirs = _radius_towards(radius[j], direction[half - dy, half - dx])
                far = max(mine, theirs, (mine + theirs) * _JOINED_NUM // _JOINED_DEN)
                if squared > far * far:
                    continue
                if count == better.size:
                    better = np.concatenate((better, np.empty_like(better)))
                    worse = np.concatenate((worse, np.empty_like(worse)))
                wins = quality[i] >= quality[j]
                better[count], worse[count] = (i, j) if wins else (j, i)
                count += 1
    return better[:count], worse[:count]


@njit(cache=True, nogil=True)
def _draw(shape, centres, quality, radius, direction, distance, half):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Label image; a pixel under several outlines is the one's of the greatest quality."""
    height, width = shape
    labels = np.zeros((height, width), np.int32)
    towards = np.empty(direction.max() + 1, np.int32)
    for i in range(len(centres)):
        widest = 0
        for d in range(towards.size):
            towards[d] = _radius_towards(radius[i], d)
            widest = max(widest, towards[d])
        reach = min((widest >> 4) + 1, half)
        cy, cx = centres[i, 0], centres[i, 1]
        for y in range(max(cy - reach, 0), min(cy + reach + 1, height)):
            for x in range(max(cx - reach, 0), min(cx + reach + 1, width)):
                oy, ox = y - cy + half, x - cx + half
                if distance[oy, ox] <= towards[direction[oy, ox]]:
                    other = labels[y, x]
                    if other == 0 or quality[i] > quality[other - 1]:
                        labels[y, x] = i + 1
    return labels


@njit(cache=True, nogil=True)
def keep_connected(labels, centres, half):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Keep of each object what hangs together with its centre; return the areas in pixels."""
    height, width = labels.shape
    area = np.zeros(len(centres), np.int64)
    side = 2 * half + 1
    stack = np.empty(side * side, np.int64)
    for i in range(len(centres)):
        name = np.int32(i + 1)
        cy, cx = centres[i, 0], centres[i, 1]
        if labels[cy, cx] == name:
            # visited pixels carry the negative label until the box has been swept
            labels[cy, cx] = -name
            stack[0] = cy * width + cx
            top = 1
            while top:
                top -= 1
                y, x = stack[top] // width, stack[top] % width
                area[i] += 1
                for d in range(4):
                    yy = y + (d == 0) - (d == 1)
                    xx = x + (d == 2) - (d == 3)
                    if 0 <= yy < height and 0 <= xx < width and labels[yy, xx] == name:
                        labels[yy, xx] = -name
                        stack[top] = yy * width + xx
                        top += 1
        for y in range(max(cy - half, 0), min(cy + half + 1, height)):
            for x in range(max(cx - half, 0), min(cx + half + 1, width)):
                if labels[y, x] == name:
                    labels[y, x] = 0
                elif labels[y, x] == -name:
                    labels[y, x] = name
    return area


def draw(
    shape: tuple[int, int],
    centres: NDArray[np.int32],
    quality: NDArray[np.int64],
    outlines: Outlines,
    tables: Polar,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw outlines as labels 1..n and return the labels and each one's area in pixels.

    Where outlines overlap the greater quality owns the pixel (the earlier of equals); what an
    overlap cuts off from its centre is background.
    """
    labels = _draw(
        shape,
        centres,
        quality,
        outlines.radius,
        tables.direction,
        tables.distance,
        tables.half,
    )
    return labels, keep_connected(labels, centres, tables.half)


@njit(cache=True, nogil=True)
def renumbered(labels, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Give each label k the name ``names[k]``."""
    out = np.empty(labels.shape, np.int32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            out[y, x] = names[labels[y, x]]
    return out
