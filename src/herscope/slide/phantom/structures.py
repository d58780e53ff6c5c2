"""Glands, vessels and lumens: bent, wavy ovals at hashed places, each with a known depth.

A shape is an oval whose radius has three waves and whose long axis is bent; the depth below its
outer wall follows to first order from the oval's own polar form, and so does the point at a given
angle and depth, which is where cells of its wall are put. A place is used when the tissue there has
room for it: tumour glands in the glandular part of the tumour, normal glands and vessels in stroma
all around, punched-out lumens in solid tumour with a row of cells all around. Everything is hashed
by place, so a rectangle has the same shapes whatever it is drawn with.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import address, bell, uniform
from herscope.slide.phantom.fields import Fields, evaluate
from herscope.slide.phantom.grids import (
    CAPILLARY,
    NORMAL_GLAND,
    PUNCHED,
    TUMOR_GLAND,
    Grid,
)
from herscope.slide.phantom.zones import Zones, glandular, punched

LARGEST_REACH: Final = 1.45
"""Farthest wall point of a shape from its centre, in long semi-axes."""
WAVES: Final = 3
SHRINK: Final = 0.7
"""What a shape without room is made smaller by, until it fits or is left out."""


class Shapes(NamedTuple):
    """Shapes as columns of equal length; lengths in µm of the slide."""

    key: NDArray[np.uint64]
    kind: NDArray[np.int64]
    numbers: NDArray[np.float64]  # (n, 9): x, y, semi-axes, cos, sin, bend, wall, reach
    waves: NDArray[np.float64]  # (n, 3, 2): amplitude, phase
    contents: NDArray[np.float64]  # (n, 2): secretion, blood


X, Y, LONG, WIDE, COS, SIN, BEND, WALL, REACH = range(9)


@njit(cache=True)
def depth_at(numbers: NDArray[np.float64], waves: NDArray[np.float64], x: float, y: float) -> float:
    """Depth in µm of a point below a shape's outer wall; negative outside."""
    dx, dy = x - numbers[X], y - numbers[Y]
    u = numbers[COS] * dx + numbers[SIN] * dy
    v = numbers[COS] * dy - numbers[SIN] * dx
    v -= numbers[BEND] * (u * u / numbers[LONG] - 0.33 * numbers[LONG])
    p, q = u / numbers[LONG], v / numbers[WIDE]
    r = math.sqrt(p * p + q * q)
    if r < 1e-6:
        return numbers[WIDE]
    theta = math.atan2(q, p)
    slope = math.sqrt((p / numbers[LONG]) ** 2 + (q / numbers[WIDE]) ** 2) / r
    return (_wavy(waves, theta) - r) / slope


@njit(cache=True)
def _wavy(waves: NDArray[np.float64], theta: float) -> float:
    rho = 1.0
    for m in range(3):
        rho += waves[m, 0] * math.cos((m + 2) * theta + waves[m, 1])
    return rho


@njit(cache=True)
def point_at(
    numbers: NDArray[np.float64], waves: NDArray[np.float64], theta: float, depth: float
) -> tuple[float, float]:
    """Point at an angle and a depth: the inverse of :func:`depth_at`."""
    c, s = math.cos(theta), math.sin(theta)
    slope = math.sqrt((c / numbers[LONG]) ** 2 + (s / numbers[WIDE]) ** 2)
    r = max(_wavy(waves, theta) - depth * slope, 0.0)
    u, v = r * c * numbers[LONG], r * s * numbers[WIDE]
    v += numbers[BEND] * (u * u / numbers[LONG] - 0.33 * numbers[LONG])
    return (
        numbers[X] + numbers[COS] * u - numbers[SIN] * v,
        numbers[Y] + numbers[SIN] * u + numbers[COS] * v,
    )


@njit(cache=True)
def _shape(grid: Grid, word: np.uint64, x: float, y: float) -> tuple[Any, Any]:
    """Draw the numbers of the shape at a place."""
    numbers, waves = np.empty(9), np.empty((3, 2))
    wide = grid.wide * math.exp(0.22 * bell(word, 10) - 0.024)
    ratio = 1 + (grid.longest - 1) * uniform(word, 13)
    angle = grid.turn + 0.35 * bell(word, 14)
    if grid.longest < 2:
        angle = 3.141592653589793 * uniform(word, 14)
    numbers[X], numbers[Y] = x, y
    numbers[LONG], numbers[WIDE] = wide * math.sqrt(ratio), wide / math.sqrt(ratio)
    if grid.kind in (TUMOR_GLAND, NORMAL_GLAND):
        # length is gained, not taken from the width, which the epithelium needs
        numbers[LONG], numbers[WIDE] = wide * ratio, wide
    numbers[COS], numbers[SIN] = math.cos(angle), math.sin(angle)
    numbers[BEND] = (ratio - 1) * 0.3 * (uniform(word, 17) - 0.5)
    numbers[WALL] = grid.wall * (0.85 + 0.3 * uniform(word, 18))
    numbers[REACH] = 1.45 * numbers[LONG]
    for m in range(3):
        waves[m, 0] = grid.waviness * uniform(word, 20 + m) / (1 + 0.5 * m)
        waves[m, 1] = 6.283185307179586 * uniform(word, 24 + m)
    return numbers, waves


@njit(cache=True)
def _room(
    grid: Grid,
    fields: Fields,
    zones: Zones,
    numbers: NDArray[np.float64],
    waves: NDArray[np.float64],
    beyond: float,
) -> bool:
    """Whether all places ``beyond`` µm outside a shape are of the tissue that it needs."""
    values = np.empty(5)
    for k in range(12):
        x, y = point_at(numbers, waves, 6.283185307179586 * k / 12, -beyond)
        evaluate(fields, x, y, values)
        if values[0] <= 0 or values[2] > 0:
            return False
        if grid.kind == PUNCHED:
            if values[1] <= 0 or glandular(fields.seed, zones, x, y) > 0:
                return False
        elif values[1] > 0:
            return False
    return True


@njit(cache=True)
def _stands(
    grid: Grid,
    fields: Fields,
    zones: Zones,
    numbers: NDArray[np.float64],
    waves: NDArray[np.float64],
) -> bool:
    """Decide whether a shape exists; it may be made smaller to fit."""
    values = np.empty(5)
    x, y = numbers[X], numbers[Y]
    evaluate(fields, x, y, values)
    if values[0] <= 0 or values[2] > 0:
        return False
    glands = glandular(fields.seed, zones, x, y) > 0
    if grid.kind == TUMOR_GLAND:
        return values[1] > 0 and glands
    if grid.kind == CAPILLARY:
        return values[1] <= 0 or glands
    stands = grid.kind != PUNCHED or punched(fields.seed, zones, x, y) > 0
    beyond = 11.0 if grid.kind == PUNCHED else 4.0
    while stands and not _room(grid, fields, zones, numbers, waves, beyond):
        numbers[LONG] *= SHRINK
        numbers[WIDE] *= SHRINK
        numbers[REACH] *= SHRINK
        narrow = grid.kind == NORMAL_GLAND and numbers[WIDE] < 0.9 * numbers[WALL]
        stands = not (numbers[WIDE] < max(4.0, 0.3 * grid.wide) or narrow)
    return stands


@njit(cache=True)
def _on_grid(
    grid: Grid, fields: Fields, zones: Zones, box: tuple[float, float, float, float]
) -> tuple[Any, Any, Any, Any]:
    """All shapes of one grid that can reach into a box of the slide."""
    c, s = math.cos(grid.turn), math.sin(grid.turn)
    reach = 1.45 * grid.wide * 2.0 * grid.longest + 30.0
    # the box in the turned grid
    low_u, low_v, high_u, high_v = 1e18, 1e18, -1e18, -1e18
    for k in range(4):
        x = box[0] if k % 2 == 0 else box[2]
        y = box[1] if k < 2 else box[3]
        u, v = c * x + s * y, c * y - s * x
        low_u, high_u = min(low_u, u), max(high_u, u)
        low_v, high_v = min(low_v, v), max(high_v, v)
    i0 = math.floor((low_u - reach) / grid.pitch_x) - 1
    i1 = math.ceil((high_u + reach) / grid.pitch_x) + 1
    j0 = math.floor((low_v - reach) / grid.pitch_y) - 1
    j1 = math.ceil((high_v + reach) / grid.pitch_y) + 1
    most = (i1 - i0) * (j1 - j0)
    key = np.empty(most, np.uint64)
    numbers, waves = np.empty((most, 9)), np.empty((most, 3, 2))
    contents = np.empty((most, 2))
    n = 0
    for j in range(j0, j1):
        for i in range(i0, i1):
            word = address(np.uint64(fields.seed), grid.stream, i, j)
            if uniform(word, 3) >= grid.occupancy:
                continue
            u = (i + 0.5 + 0.5 * (j & 1) + 0.34 * (uniform(word, 1) - 0.5)) * grid.pitch_x
            v = (j + 0.5 + 0.34 * (uniform(word, 2) - 0.5)) * grid.pitch_y
            x, y = c * u - s * v, s * u + c * v
            row, wave = _shape(grid, word, x, y)
            far = row[REACH] + 26.0
            if not (box[0] - far < x < box[2] + far and box[1] - far < y < box[3] + far):
                continue
            if not _stands(grid, fields, zones, row, wave):
                continue
            key[n], numbers[n], waves[n] = word, row, wave
            contents[n, 0] = 0.3 + 0.9 * uniform(word, 31)
            contents[n, 0] *= 1.0 if uniform(word, 30) < grid.secretion else 0.0
            contents[n, 1] = 1.0 if uniform(word, 32) < grid.blood else 0.0
            n += 1
    return key[:n], numbers[:n], waves[:n], contents[:n]


@njit(cache=True)
def _free(
    numbers: NDArray[np.float64],
    waves: NDArray[np.float64],
    others: NDArray[np.float64],
    other_waves: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which shapes keep clear of all others."""
    keep = np.ones(numbers.shape[0], np.bool_)
    for n in range(numbers.shape[0]):
        for o in range(others.shape[0]):
            dx, dy = numbers[n, X] - others[o, X], numbers[n, Y] - others[o, Y]
            far = numbers[n, REACH] + others[o, REACH] + 8.0
            if dx * dx + dy * dy > far * far:
                continue
            if depth_at(others[o], other_waves[o], numbers[n, X], numbers[n, Y]) > -4:
                keep[n] = False
            for k in range(16):
                x, y = point_at(numbers[n], waves[n], 6.283185307179586 * k / 16, 0.0)
                if depth_at(others[o], other_waves[o], x, y) > -4:
                    keep[n] = False
    return keep


def shapes_in(
    grids: tuple[Grid, ...],
    fields: Fields,
    zones: Zones,
    box: tuple[float, float, float, float],
) -> Shapes:
    """All shapes that reach into a box (x0, y0, x1, y1 in µm of the slide).

    A shape of a later grid that comes near one of an earlier grid is left out. Which those are is
    looked for in a wider box, so that the answer does not depend on the box.
    """
    parts: list[Shapes] = []
    for grid in grids:
        found = _on_grid(grid, fields, zones, box)
        keep = np.ones(len(found[0]), dtype=np.bool_)
        if len(found[0]) and grid.kind != PUNCHED:
            reach = float(found[1][:, REACH].max()) + 40.0
            around = (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach)
            for other in grids[: grids.index(grid)]:
                near = _on_grid(other, fields, zones, around)
                keep &= _free(found[1], found[2], near[1], near[2])
        count = int(keep.sum())
        parts.append(
            Shapes(
                found[0][keep],
                np.full(count, grid.kind, dtype=np.int64),
                found[1][keep],
                found[2][keep],
                found[3][keep],
            )
        )
    if not parts:
        return Shapes(
            np.zeros(0, dtype=np.uint64),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, 9)),
            np.zeros((0, WAVES, 2)),
            np.zeros((0, 2)),
        )
    columns: Any = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Shapes(*columns)
