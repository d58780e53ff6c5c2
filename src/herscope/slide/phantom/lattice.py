"""Places for cells: hexagonal lattices, jittered by hash, relaxed, inhabited and thinned.

Every step needs only a place's neighbours, so a rectangle with a margin gives the same cells as the
whole slide. Crowding is resolved by a hashed priority (Matérn's second thinning, 1960).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.fields import (
    CAPILLARY_PLANE,
    CLUSTER_OCCUPANCY,
    FIELDS,
    GLAND_PLANE,
    TUMOR,
    class_at,
    interpolate,
)
from herscope.slide.phantom.textures import Textures, unbend


class Lattice(NamedTuple):
    """A hexagonal lattice: spacing in µm and its random stream."""

    stream: int
    pitch_x: float
    pitch_y: float
    jitter: float


def lattice_of(per_mm2: float, stream: int, jitter: float) -> Lattice:
    """Hexagonal lattice with ``per_mm2`` places per square millimetre."""
    area = 1e6 / per_mm2
    pitch_y = math.sqrt(area * math.sqrt(3.0) / 2.0)
    return Lattice(stream, area / pitch_y, pitch_y, jitter)


@njit(cache=True)
def places_in(
    seed: int, lattice: Lattice, rounds: int, box: tuple[float, float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint64]]:
    """Positions of all lattice places in a box, after ``rounds`` of repulsion."""
    pad = 2 + 2 * rounds
    i0 = math.floor(box[0] / lattice.pitch_x) - pad
    j0 = math.floor(box[1] / lattice.pitch_y) - pad
    columns = math.ceil(box[2] / lattice.pitch_x) + pad - i0
    rows = math.ceil(box[3] / lattice.pitch_y) + pad - j0
    x, y = np.empty((rows, columns)), np.empty((rows, columns))
    key = np.empty((rows, columns), np.uint64)
    for j in range(rows):
        for i in range(columns):
            word = address(np.uint64(seed), lattice.stream, i0 + i, j0 + j)
            shift = 0.5 * ((j0 + j) & 1)
            jx = (2 * uniform(word, 1) - 1) * lattice.jitter
            jy = (2 * uniform(word, 2) - 1) * lattice.jitter
            x[j, i] = (i0 + i + 0.5 + shift + jx) * lattice.pitch_x
            y[j, i] = (j0 + j + 0.5 + jy) * lattice.pitch_y
            key[j, i] = word
    near = 0.97 * lattice.pitch_x
    for _ in range(rounds):
        nx, ny = x.copy(), y.copy()
        for j in range(2, rows - 2):
            for i in range(2, columns - 2):
                push_x, push_y = 0.0, 0.0
                for b in range(-2, 3):
                    for a in range(-2, 3):
                        dx, dy = x[j, i] - x[j + b, i + a], y[j, i] - y[j + b, i + a]
                        d = math.sqrt(dx * dx + dy * dy)
                        if 0 < d < near:
                            push_x += 0.35 * (near - d) * dx / d
                            push_y += 0.35 * (near - d) * dy / d
                nx[j, i] += push_x
                ny[j, i] += push_y
        x, y = nx, ny
    return x.ravel(), y.ravel(), key.ravel()


@njit(cache=True)
def nucleus_offset(key: np.uint64, tumor: bool) -> tuple[float, float]:
    """Where the nucleus' centre lies from the cell's seed, µm; stroma nuclei sit on it."""
    if not tumor:
        return 0.0, 0.0
    reach, turn = 0.9 * uniform(key, 15), 6.283185307179586 * uniform(key, 16)
    return reach * math.cos(turn), reach * math.sin(turn)


@njit(cache=True)
def inhabit(
    textures: Textures,
    mpp: float,
    places: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint64]],
    wanted: int,
    occupancy: float,
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    box: tuple[float, float, float, float],
    lymphocytes: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places whose class is ``wanted`` and that are taken: rows (x, y, drawn x, y), and index."""
    x, y, key = places
    out = np.empty((x.size, 4))
    index = np.empty(x.size, np.int64)
    n = 0
    for k in range(x.size):
        if not (box[0] <= x[k] <= box[2] and box[1] <= y[k] <= box[3]):
            continue
        ox, oy = nucleus_offset(key[k], wanted == TUMOR)
        # the nucleus' centre decides the class: that is where a reader would look
        px, py = unbend(*textures[4:8], mpp, x[k] + ox, y[k] + oy)
        if class_at(lattice, i0, j0, px, py) != wanted:
            continue
        if lattice.shape[0] > FIELDS:
            # walls have cells of their own
            taken = GLAND_PLANE if wanted == TUMOR else CAPILLARY_PLANE
            if interpolate(lattice[taken], i0, j0, px, py) > -1.0:
                continue
        chance = occupancy
        if lymphocytes > 0 and interpolate(lattice[3], i0, j0, px, py) > 0:
            chance = max(CLUSTER_OCCUPANCY, occupancy)
        if uniform(key[k], 3) >= chance:
            continue
        out[n, 0], out[n, 1] = x[k], y[k]
        out[n, 2], out[n, 3] = unbend(*textures[4:8], mpp, x[k], y[k])
        index[n] = k
        n += 1
    return out[:n], index[:n]


@njit(cache=True)
def buckets(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    box: tuple[float, float, float, float],
    side: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Sort points into square buckets: start of each bucket, order, columns, rows."""
    columns = int((box[2] - box[0]) / side) + 1
    rows = int((box[3] - box[1]) / side) + 1
    which = np.empty(x.size, np.int64)
    start = np.zeros(columns * rows + 1, np.int64)
    for k in range(x.size):
        i = min(max(int((x[k] - box[0]) / side), 0), columns - 1)
        j = min(max(int((y[k] - box[1]) / side), 0), rows - 1)
        which[k] = j * columns + i
        start[which[k] + 1] += 1
    for b in range(columns * rows):
        start[b + 1] += start[b]
    fill = start[:-1].copy()
    order = np.empty(x.size, np.int64)
    for k in range(x.size):
        order[fill[which[k]]] = k
        fill[which[k]] += 1
    return start, order, columns, rows


@njit(cache=True)
def thin(
    key: NDArray[np.uint64],
    rank: NDArray[np.int64],
    radius: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    box: tuple[float, float, float, float],
) -> NDArray[np.bool_]:
    """Drop a stroma cell that is crowded by a tumour cell or by a stroma cell of lower key."""
    side = 13.0
    start, order, columns, rows = buckets(x, y, box, side)
    keep = np.ones(x.size, np.bool_)
    for k in range(x.size):
        if rank[k] == 0:
            continue
        ci, cj = int((x[k] - box[0]) / side), int((y[k] - box[1]) / side)
        for j in range(max(cj - 1, 0), min(cj + 2, rows)):
            for i in range(max(ci - 1, 0), min(ci + 2, columns)):
                b = j * columns + i
                for s in range(start[b], start[b + 1]):
                    o = order[s]
                    if rank[o] > rank[k] or (rank[o] == rank[k] and key[o] >= key[k]):
                        continue
                    dx, dy = x[k] - x[o], y[k] - y[o]
                    room = radius[k] + radius[o]
                    if dx * dx + dy * dy < room * room:
                        keep[k] = False
    return keep
