"""Cells in the walls of glands and vessels: rows along the wall, nuclei turned as the wall asks.

A row is cut into equal pieces along its length, one cell each: columnar cells of a gland look to
the lumen, muscle cells of a vessel and the lining of a small one lie along it. In a gland of one
row nuclei lie near the base; in one of several each row has its own depth.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import bell, mix, uniform
from herscope.slide.phantom.fields import (
    CAPILLARY_PLANE,
    GLAND_PLANE,
    NORMAL_PLANE,
    VESSEL_PLANE,
    interpolate,
)
from herscope.slide.phantom.grids import CAPILLARY, LARGE_VESSEL, PUNCHED, TUMOR_GLAND
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.structures import WALL, Shapes, point_at
from herscope.slide.phantom.textures import Textures, at_point

_ANGLES: Final = 128
_MUSCLE_UM: Final = 15.0
"""Distance of muscle cells along a vessel's wall."""
_MUSCLE_ROW_UM: Final = 6.5
_LINING_UM: Final = 13.0

_PLANE_OF: Final = (GLAND_PLANE, NORMAL_PLANE, VESSEL_PLANE, CAPILLARY_PLANE)


def wall_cells(
    spec: PhantomSpec,
    textures: Textures,
    shapes: Shapes,
    lattice: tuple[NDArray[np.float64], int, int],
    box: tuple[float, float, float, float],
) -> tuple[NDArray[Any], ...]:
    """Cells of all walls in a box of the straight plane.

    Returns
    -------
    tuple
        x, y, drawn x, y (µm), key, kind of the shape, direction of the long axis (radians), and the
        wall's height (µm), as columns.
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    for n in range(len(shapes.key)):
        kind = int(shapes.kind[n])
        if kind == PUNCHED:
            continue
        wall = float(shapes.numbers[n, WALL])
        rows, pitch, first, step = _rows(spec, kind, wall)
        for row in range(rows):
            columns = _row(
                shapes.key[n],
                shapes.numbers[n],
                shapes.waves[n],
                row,
                first + row * step,
                pitch,
                0.06 * wall if rows == 1 else 0.12 * step,
                kind in {LARGE_VESSEL, CAPILLARY},
                lattice,
                _PLANE_OF[kind],
                box,
                spec.mpp,
                textures,
            )
            count = len(columns[0])
            parts.append((*columns, np.full(count, kind), np.full(count, wall)))
    if not parts:
        flat = np.zeros(0)
        whole = np.zeros(0, dtype=np.int64)
        return flat, flat, flat, flat, np.zeros(0, dtype=np.uint64), whole, flat, flat
    x, y, px, py, key, angle, shape, height = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return x, y, px, py, key, shape.astype(np.int64), angle, height


def _rows(spec: PhantomSpec, kind: int, wall: float) -> tuple[int, float, float, float]:
    """Rows, distance of cells in a row, depth of the first row, distance of rows (µm)."""
    if kind == LARGE_VESSEL:
        return max(int((wall - 2.0) / _MUSCLE_ROW_UM), 1) + 1, _MUSCLE_UM, 3.0, _MUSCLE_ROW_UM
    if kind == CAPILLARY:
        return 1, _LINING_UM, 0.0, 0.0
    rows = spec.gland_rows if kind == TUMOR_GLAND else 1
    if rows == 1:
        return 1, spec.gland_cell_um, max(0.36 * wall, 5.5), 0.0
    return rows, spec.gland_cell_um, 6.0, (wall - 12.0) / (rows - 1)


@njit(cache=True)
def _row(
    word: np.uint64,
    numbers: NDArray[np.float64],
    waves: NDArray[np.float64],
    row: int,
    depth: float,
    pitch: float,
    sway: float,
    along: bool,
    lattice: tuple[NDArray[np.float64], int, int],
    plane: int,
    box: tuple[float, float, float, float],
    mpp: float,
    textures: Textures,
) -> tuple[Any, ...]:
    """Cells of one row: x, y, drawn x, y, key, direction."""
    length = np.zeros(129)
    ax, ay = point_at(numbers, waves, 0.0, depth)
    for k in range(1, 129):
        bx, by = point_at(numbers, waves, 6.283185307179586 * k / 128, depth)
        length[k] = length[k - 1] + math.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
        ax, ay = bx, by
    count = int(length[128] / pitch + 0.5)
    out = np.empty((count, 5))
    key = np.empty(count, np.uint64)
    n, at = 0, 0
    for k in range(count):
        cell = mix(mix(np.uint64(word) + np.uint64(7919 * row + 13)) + np.uint64(k))
        place = (k + 0.5 + 0.3 * (uniform(cell, 1) - 0.5)) * length[128] / count
        if row & 1:
            place += 0.5 * length[128] / count
            if place >= length[128]:
                continue
        while at < 127 and length[at + 1] < place:
            at += 1
        part = (place - length[at]) / max(length[at + 1] - length[at], 1e-9)
        theta = 6.283185307179586 * (at + part) / 128
        deep = depth + sway * bell(cell, 2)
        px, py = point_at(numbers, waves, theta, deep)
        qx, qy = point_at(numbers, waves, theta, deep + 2.0)
        i, j = px / mpp - 0.5, py / mpp - 0.5
        x = px + at_point(textures.bend_x_a, textures.bend_x_b, i, j)
        y = py + at_point(textures.bend_y_a, textures.bend_y_b, i, j)
        if not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            continue
        # where shapes run together the deeper one keeps its cells
        if interpolate(lattice[0][plane], lattice[1], lattice[2], px, py) > deep + 2.5:
            continue
        angle = math.atan2(qy - py, qx - px)
        spread = 0.1
        if along:
            angle, spread = angle + 1.5707963267948966, 0.15
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = x, y, px, py
        out[n, 4] = angle + spread * bell(cell, 5)
        key[n] = cell
        n += 1
    return out[:n, 0], out[:n, 1], out[:n, 2], out[:n, 3], key[:n], out[:n, 4]
