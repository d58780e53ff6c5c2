"""Where cells lie and what shape they have, for any rectangle, without drawing the rest.

Tumour cells sit on a jittered hexagonal lattice that two rounds of mutual repulsion relax into an
epithelium; stroma cells on a denser lattice most of whose places stay empty. A cell exists when the
class field at its centre says so.

Each cell owns the points that are closer to it than to any neighbour in the power sense
(Aurenhammer, SIAM J Comput 1987;16:78), cut by a limiting ellipse. Its nucleus is an ellipse shrunk
until it clears every border, so nuclei never overlap. All of this lives in a straight plane;
drawing bends that plane smoothly, which makes outlines irregular and keeps them disjoint.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.fields import (
    FIELDS,
    LUMEN_PLANE,
    SLOW_PLANE,
    STROMA,
    STROMA_PLACES_PER_MM2,
    TUMOR,
    Fields,
    interpolate,
    node_range,
)
from herscope.slide.phantom.grids import CAPILLARY, LARGE_VESSEL, NORMAL_GLAND, TUMOR_GLAND
from herscope.slide.phantom.lattice import (
    buckets,
    inhabit,
    lattice_of,
    nucleus_offset,
    places_in,
    thin,
)
from herscope.slide.phantom.planes import Structures, planes
from herscope.slide.phantom.shapes import (
    EPITHELIAL,
    FIBROBLAST,
    GLANDULAR,
    LYMPHOCYTE,
    MUSCLE,
    choose_looks,
    shape_nuclei,
    shape_sizes,
)
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.textures import Textures, unbend
from herscope.slide.phantom.trim import trim
from herscope.slide.phantom.walls import wall_cells

REACH_UM: Final = 26.0
"""Farthest neighbour whose border can still cut a cell (twice the largest radius, rounded up)."""
NEIGHBOURS: Final = 40
JITTER: Final = 0.30
TUMOR_OCCUPANCY: Final = 0.975
TUMOR_WEIGHT_UM, STROMA_WEIGHT_UM = 7.0, 6.0
SMALLEST_SHRINK: Final = 0.62
"""A stroma nucleus that would have to shrink below this has no room and is left out."""


class Cells(NamedTuple):
    """Cells as columns of equal length; lengths in µm of the straight plane unless said."""

    key: NDArray[np.uint64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    drawn_x: NDArray[np.float64]  # where the cell's seed lies on the slide
    drawn_y: NDArray[np.float64]
    kind: NDArray[np.int64]
    offset_x: NDArray[np.float64]  # nucleus centre from the seed
    offset_y: NDArray[np.float64]
    long_um: NDArray[np.float64]  # semi-axes and direction of the nucleus
    short_um: NDArray[np.float64]
    angle: NDArray[np.float64]
    limit_long: NDArray[np.float64]  # limiting ellipse of the cell, about the nucleus' centre
    limit_short: NDArray[np.float64]
    borders: NDArray[np.int64]  # number of half-planes
    plane: NDArray[np.float64]  # (n, NEIGHBOURS, 3): unit normal and distance from the seed
    cluster: NDArray[np.float64]  # smooth field in which neighbours are alike
    look: NDArray[np.int64]  # of the nucleus, see ``spec_looks.LOOKS``
    slow: NDArray[np.float64]  # smooth noise of 0.3 mm, zero on a slide without structures

    def take(self, which: NDArray[np.bool_]) -> Cells:
        """Rows where ``which`` is true."""
        kept: Any = [column[which] for column in self]
        return Cells(*kept)


@njit(cache=True)
def _borders(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    kind: NDArray[np.int64],
    inner: NDArray[np.bool_],
    box: tuple[float, float, float, float],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Half-planes between each inner cell and every neighbour within reach."""
    side = REACH_UM
    start, order, columns, rows = buckets(x, y, box, side)
    count = np.zeros(x.size, np.int64)
    plane = np.zeros((x.size, NEIGHBOURS, 3))
    for k in range(x.size):
        if not inner[k]:
            continue
        own = TUMOR_WEIGHT_UM if kind[k] == 0 or kind[k] == 3 else STROMA_WEIGHT_UM
        ci, cj = int((x[k] - box[0]) / side), int((y[k] - box[1]) / side)
        for j in range(max(cj - 1, 0), min(cj + 2, rows)):
            for i in range(max(ci - 1, 0), min(ci + 2, columns)):
                b = j * columns + i
                for s in range(start[b], start[b + 1]):
                    o = order[s]
                    dx, dy = x[o] - x[k], y[o] - y[k]
                    d = math.sqrt(dx * dx + dy * dy)
                    if o == k or d <= 0 or d > REACH_UM or count[k] == NEIGHBOURS:
                        continue
                    epithelium = kind[o] == 0 or kind[o] == 3
                    other = TUMOR_WEIGHT_UM if epithelium else STROMA_WEIGHT_UM
                    n = count[k]
                    plane[k, n, 0], plane[k, n, 1] = dx / d, dy / d
                    plane[k, n, 2] = d / 2 + (own * own - other * other) / (2 * d)
                    count[k] = n + 1
    return count, plane


def lay_cells(
    spec: PhantomSpec,
    fields: Fields,
    textures: Textures,
    box_um: tuple[float, float, float, float],
    structures: Structures | None = None,
) -> Cells:
    """All cells whose seed lies in a rectangle (x0, y0, x1, y1 in µm of the straight plane)."""
    margin = REACH_UM + 16.0
    wide = (box_um[0] - margin, box_um[1] - margin, box_um[2] + margin, box_um[3] + margin)
    i0, j0, width, height = node_range(wide[0] - 8, wide[1] - 8, wide[2] + 8, wide[3] + 8)
    lattice, shapes = planes(fields, structures, i0, j0, width, height)
    found = _settle(spec, textures, wide, (lattice, i0, j0))
    x, y, px, py, key, rank = found
    cluster = _sampled(lattice[3], i0, j0, px, py)
    kind = _kinds(key, rank, cluster, spec.lymphocyte_fraction)
    # direction of the long axis and height of the wall, where a wall asks for them
    axis, wall = np.full(x.size, np.nan), np.zeros(x.size)
    if shapes is not None:
        rows = wall_cells(spec, textures, shapes, (lattice, i0, j0), wide)
        x, y, px, py, key = (np.concatenate(c) for c in zip(found[:5], rows[:5], strict=True))
        rank = np.concatenate([rank, np.zeros(len(rows[0]), dtype=np.int64)])
        kind = np.concatenate([kind, _WALL_KINDS[rows[5]]])
        axis, wall = np.concatenate([axis, rows[6]]), np.concatenate([wall, rows[7]])
    radius = _room(spec, kind, wall)
    keep = thin(key, rank, radius, x, y, wide)
    x, y, px, py, key, kind, axis, wall = (
        column[keep] for column in (x, y, px, py, key, kind, axis, wall)
    )
    inner = (x >= box_um[0]) & (x < box_um[2]) & (y >= box_um[1]) & (y < box_um[3])
    borders, plane = _borders(x, y, kind, inner, wide)
    x, y, px, py, key, kind, axis, wall = (
        column[inner] for column in (x, y, px, py, key, kind, axis, wall)
    )
    borders, plane = borders[inner], plane[inner]
    epithelium = (kind == EPITHELIAL) | (kind == GLANDULAR)
    if shapes is not None:
        near = epithelium & (wall == 0) & (_sampled(lattice[LUMEN_PLANE], i0, j0, px, py) > -13.0)
        axis[near] = _fibre_angle(lattice[LUMEN_PLANE], i0, j0, px[near], py[near]) + math.pi / 2
    if shapes is not None or spec.trimmed_nests:
        offset = _offsets(key, (kind == EPITHELIAL) & (wall == 0))
        center = np.stack([px, py], axis=1) + offset
        reach = np.where(epithelium, np.maximum(spec.cell_radius_um, 0.8 * wall) + 1.0, 0.0)
        trim(lattice, i0, j0, center, offset, reach, spec.trimmed_nests, borders, plane)
    look = choose_looks(key, kind, np.cumsum(spec.nucleus_looks))
    along = np.where(wall > 0, axis, _fibre_angle(lattice[4], i0, j0, px, py))
    shape, shrink = shape_nuclei(
        key, kind, (along, axis, wall), look, borders, plane, shape_sizes(spec)
    )
    slow = np.zeros(x.size)
    if lattice.shape[0] > FIELDS:
        slow = _sampled(lattice[SLOW_PLANE], i0, j0, px, py)
    cluster = _sampled(lattice[3], i0, j0, px, py)
    columns: Any = (key, x, y, px, py, kind, *shape.T, borders, plane, cluster, look, slow)
    # at the edge of a nest there would be crumbs of nuclei: such a cell shows none in a section;
    # in a wall cells are narrow, and one without a nucleus would be a hole
    edged = spec.trimmed_nests or shapes is not None
    least = np.where((wall == 0) & edged, 0.5, 0.3)
    return Cells(*columns).take(epithelium & (shrink > least) | (shrink >= SMALLEST_SHRINK))


_WALL_KINDS: Final = np.zeros(4, dtype=np.int64)
_WALL_KINDS[TUMOR_GLAND], _WALL_KINDS[NORMAL_GLAND] = EPITHELIAL, GLANDULAR
_WALL_KINDS[LARGE_VESSEL], _WALL_KINDS[CAPILLARY] = MUSCLE, FIBROBLAST


def _room(
    spec: PhantomSpec, kind: NDArray[np.int64], wall: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Radius in µm within which a cell lets no stroma cell be."""
    spindle = 3.2 * (spec.stroma_nucleus_diameter_um / 5.6)
    radius = np.where(kind == EPITHELIAL, 5.4, np.where(kind == LYMPHOCYTE, 3.5, spindle))
    return np.where((wall > 0) & (kind != FIBROBLAST), 4.0, radius)


def _offsets(key: NDArray[np.uint64], moved: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 2) of each nucleus' centre from its seed."""
    return np.array([nucleus_offset(k, m) for k, m in zip(key, moved, strict=True)]).reshape(-1, 2)


def _settle(
    spec: PhantomSpec,
    textures: Textures,
    wide: tuple[float, float, float, float],
    lattice: tuple[NDArray[np.float64], int, int],
) -> tuple[NDArray[Any], ...]:
    """Places that hold a cell: x, y, drawn x, y, key, rank (0 tumour, 1 stroma)."""
    if spec.single_cell:
        middle = np.array([[0.5 * spec.width_um, 0.5 * spec.height_um]])
        key = np.array([address(np.uint64(spec.seed), 1, 0, 0)], dtype=np.uint64)
        one, none = middle[:, 0], np.zeros(1, dtype=np.int64)
        inside = (wide[0] <= one) & (one <= wide[2])
        inside &= (wide[1] <= middle[:, 1]) & (middle[:, 1] <= wide[3])
        drawn = np.array([unbend(*textures[4:8], spec.mpp, *middle[0])])
        columns = (one, middle[:, 1], drawn[:, 0], drawn[:, 1], key, none)
        return tuple(column[inside] for column in columns)
    parts = []
    clustered = spec.stroma_cells_per_mm2 * spec.lymphocyte_fraction * 0.85
    sparse = (spec.stroma_cells_per_mm2 - clustered) / STROMA_PLACES_PER_MM2
    stroma: Any = (lattice_of(STROMA_PLACES_PER_MM2, 2, 0.42), 0, STROMA, sparse, clustered)
    if spec.crowded_stroma:
        grid = lattice_of(max(spec.stroma_cells_per_mm2, 50.0) / TUMOR_OCCUPANCY, 2, 0.40)
        stroma = (grid, 1, STROMA, TUMOR_OCCUPANCY, clustered)
    plans = (
        (lattice_of(spec.tumor_cells_per_mm2, 1, JITTER), 2, TUMOR, TUMOR_OCCUPANCY, 0.0),
        stroma,
    )
    for rank, (grid, rounds, wanted, occupancy, lymphocytes) in enumerate(plans):
        places = places_in(spec.seed, grid, rounds, wide)
        rows, index = inhabit(
            textures, spec.mpp, places, wanted, occupancy, *lattice, wide, lymphocytes
        )
        parts.append((*rows.T, places[2][index], np.full(len(rows), rank, dtype=np.int64)))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


@njit(cache=True)
def _kinds(
    key: NDArray[np.uint64],
    rank: NDArray[np.int64],
    cluster: NDArray[np.float64],
    lymphocyte_fraction: float,
) -> NDArray[np.int64]:
    """Tumour cell, fibroblast or lymphocyte; clusters are lymphocytes but for one in ten."""
    kind = np.zeros(key.size, np.int64)
    for k in range(key.size):
        if rank[k] == 1:
            inside = cluster[k] > 0 and lymphocyte_fraction > 0
            chance = 0.9 if inside else 0.15 * lymphocyte_fraction
            kind[k] = 2 if uniform(key[k], 4) < chance else 1
    return kind


@njit(cache=True)
def _sampled(
    plane: NDArray[np.float64], i0: int, j0: int, px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Field values at points."""
    out = np.empty(px.size)
    for k in range(px.size):
        out[k] = interpolate(plane, i0, j0, px[k], py[k])
    return out


@njit(cache=True)
def _fibre_angle(
    flow: NDArray[np.float64], i0: int, j0: int, px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Direction along the fibres: across the gradient of the flow field."""
    angle = np.empty(px.size)
    for k in range(px.size):
        gx = interpolate(flow, i0, j0, px[k] + 4, py[k]) - interpolate(
            flow, i0, j0, px[k] - 4, py[k]
        )
        gy = interpolate(flow, i0, j0, px[k], py[k] + 4) - interpolate(
            flow, i0, j0, px[k], py[k] - 4
        )
        angle[k] = math.atan2(gx, -gy)
    return angle
