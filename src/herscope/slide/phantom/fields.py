"""Where tissue, tumour, fat and stroma are: smooth random fields cut at a level.

Each field is a sum of octaves of gradient noise (Perlin, SIGGRAPH 1985, with hashed gradients) on
absolute positions. The cut levels are quantiles over the slide, so the asked area shares come out
whatever the seed. Fields are evaluated on a lattice of 4 µm and interpolated bilinearly between its
nodes; drawing, cell placement and the truth's polygons all use that same interpolated field.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.spec import PhantomSpec

STEP_UM: Final = 4.0
BACKGROUND, STROMA, TUMOR, FAT = 0, 1, 2, 3
LUMEN, NORMAL, VESSEL, NECROSIS = 4, 5, 6, 7

TISSUE_FIELD, TUMOR_FIELD, FAT_FIELD, CLUSTER_FIELD, FLOW_FIELD = range(5)
FIELDS: Final = 5
(
    LUMEN_PLANE,
    GLAND_PLANE,
    NORMAL_PLANE,
    VESSEL_PLANE,
    NECROSIS_PLANE,
    CAPILLARY_PLANE,
    SECRETION_PLANE,
    BLOOD_PLANE,
    SLOW_PLANE,
) = range(5, 14)
STRUCTURE_CLASSES: Final = (LUMEN, TUMOR, NORMAL, VESSEL, NECROSIS)
"""Classes of the first five of them, in the order in which they are asked."""
PLANES: Final = 14
"""The five fields, then the planes that only a slide with structures has; see ``planes``."""

NEVER: Final = 1e3
"""A field level that no noise reaches: everything, or nothing, is inside."""

_SAMPLES: Final = 240
"""Positions per axis from which the cut levels are taken (sampling error well under 0.5 %)."""

CLUSTER_OCCUPANCY: Final = 0.8
"""Share of lattice places that hold a lymphocyte inside a cluster."""
STROMA_PLACES_PER_MM2: Final = 6000.0
"""Places of the stroma lattice; most stay empty outside lymphocyte clusters."""


class Fields(NamedTuple):
    """Scales (µm) and cut levels of the fields; a plain tuple so that compiled code takes it."""

    seed: int
    width_um: float
    height_um: float
    tissue_um: float
    margin: float
    island_um: float
    fat_um: float
    cluster_um: float
    flow_x: float
    flow_y: float
    flow_um: float
    flow_gain_um: float
    cut_tissue: float
    cut_tumor: float
    cut_fat: float
    cut_cluster: float


@njit(cache=True)
def _gradient(seed: int, stream: int, i: int, j: int, dx: float, dy: float) -> float:
    angle = 6.283185307179586 * uniform(address(np.uint64(seed), stream, i, j), 0)
    return math.cos(angle) * dx + math.sin(angle) * dy


@njit(cache=True)
def _noise(seed: int, stream: int, x: float, y: float) -> float:
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    su = u * u * u * (u * (6 * u - 15) + 10)
    sv = v * v * v * (v * (6 * v - 15) + 10)
    a = _gradient(seed, stream, i, j, u, v)
    b = _gradient(seed, stream, i + 1, j, u - 1, v)
    c = _gradient(seed, stream, i, j + 1, u, v - 1)
    d = _gradient(seed, stream, i + 1, j + 1, u - 1, v - 1)
    top, bottom = a + su * (b - a), c + su * (d - c)
    return top + sv * (bottom - top)


@njit(cache=True)
def octaves(seed: int, stream: int, x: float, y: float, scale: float, count: int) -> float:
    """Sum of ``count`` octaves of gradient noise, each half as large and half as strong."""
    total, gain = 0.0, 1.0
    for k in range(count):
        # the shift keeps octaves from sharing the zeros they all have at lattice nodes
        total += gain * _noise(seed, stream + k, x / scale + 17.31 * k, y / scale + 9.77 * k)
        scale, gain = scale * 0.5, gain * 0.5
    return total


@njit(cache=True)
def evaluate(fields: Fields, x: float, y: float, out: NDArray[np.float64]) -> None:
    """Write the five field values at one point (µm); the first four are positive inside."""
    seed = fields.seed
    tissue = octaves(seed, 100, x, y, fields.tissue_um, 5)
    if fields.margin > 0:
        far = max(abs(2 * x / fields.width_um - 1), abs(2 * y / fields.height_um - 1))
        tissue -= fields.margin * far**6
    out[0] = tissue - fields.cut_tissue
    out[1] = octaves(seed, 200, x, y, fields.island_um, 4) - fields.cut_tumor
    out[2] = octaves(seed, 300, x, y, fields.fat_um, 2) - fields.cut_fat
    out[3] = octaves(seed, 400, x, y, fields.cluster_um, 2) - fields.cut_cluster
    flow = octaves(seed, 500, x, y, fields.flow_um, 2)
    out[4] = x * fields.flow_x + y * fields.flow_y + fields.flow_gain_um * flow


@njit(cache=True)
def nodes(fields: Fields, i0: int, j0: int, columns: int, rows: int) -> NDArray[np.float64]:
    """(5, rows, columns) field values at lattice nodes, from node (i0, j0) of 4 µm on."""
    out = np.empty((5, rows, columns))
    values = np.empty(5)
    for j in range(rows):
        for i in range(columns):
            evaluate(fields, (i0 + i) * STEP_UM, (j0 + j) * STEP_UM, values)
            for k in range(5):
                out[k, j, i] = values[k]
    return out


@njit(cache=True)
def interpolate(plane: NDArray[np.float64], i0: int, j0: int, x: float, y: float) -> float:
    """Field value at a point in µm, bilinear between the nodes of :func:`nodes`."""
    a, b = x / STEP_UM, y / STEP_UM
    i, j = math.floor(a), math.floor(b)
    u, v = a - i, b - j
    i, j = i - i0, j - j0
    top = plane[j, i] * (1 - u) + plane[j, i + 1] * u
    bottom = plane[j + 1, i] * (1 - u) + plane[j + 1, i + 1] * u
    return top * (1 - v) + bottom * v


@njit(cache=True)
def class_at(lattice: NDArray[np.float64], i0: int, j0: int, x: float, y: float) -> int:
    """Class of a point: 0 background, 1 stroma, 2 tumour, 3 fat, 4 to 7 of structures."""
    if interpolate(lattice[0], i0, j0, x, y) <= 0:
        return 0
    if lattice.shape[0] > FIELDS:
        for k in range(5):
            if interpolate(lattice[FIELDS + k], i0, j0, x, y) > 0:
                return STRUCTURE_CLASSES[k]
    if interpolate(lattice[2], i0, j0, x, y) > 0:
        return 3
    if interpolate(lattice[1], i0, j0, x, y) > 0:
        return 2
    return 1


def node_range(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    """First node, columns and rows that cover a rectangle in µm, one node to spare."""
    i0, j0 = math.floor(x0 / STEP_UM) - 1, math.floor(y0 / STEP_UM) - 1
    i1, j1 = math.ceil(x1 / STEP_UM) + 2, math.ceil(y1 / STEP_UM) + 2
    return i0, j0, i1 - i0, j1 - j0


def make_fields(spec: PhantomSpec) -> Fields:
    """Choose scales and find the cut levels that give the asked area shares."""
    side = min(spec.width_um, spec.height_um)
    # compiled code hands 64-bit words to Python as int: they must be made unsigned again
    angle = math.pi * uniform(np.uint64(address(np.uint64(spec.seed), 600, 0, 0)), 0)
    draft = Fields(
        seed=spec.seed,
        width_um=spec.width_um,
        height_um=spec.height_um,
        tissue_um=max(0.45 * max(spec.width_um, spec.height_um), 200.0),
        margin=0.9 if spec.tissue_fraction < 1 else 0.0,
        island_um=spec.island_um,
        fat_um=max(350.0, min(1500.0, 0.2 * side)),
        cluster_um=180.0,
        flow_x=math.cos(angle),
        flow_y=math.sin(angle),
        flow_um=260.0,
        flow_gain_um=110.0,
        cut_tissue=0.0,
        cut_tumor=0.0,
        cut_fat=0.0,
        cut_cluster=0.0,
    )
    values = _sample_grid(draft, _SAMPLES)
    tissue_cut = _level(values[TISSUE_FIELD], spec.tissue_fraction)
    tissue = values[TISSUE_FIELD] > tissue_cut
    fat_cut = _level(values[FAT_FIELD][tissue], spec.fat_fraction)
    lean = tissue & (values[FAT_FIELD] <= fat_cut)
    rest = 1 - spec.fat_fraction
    tumor_share = min(spec.tumor_fraction / rest, 1.0) if rest > 0 else 0.0
    tumor_cut = _level(values[TUMOR_FIELD][lean], tumor_share)
    stroma = lean & (values[TUMOR_FIELD] <= tumor_cut)
    clustered = spec.stroma_cells_per_mm2 * spec.lymphocyte_fraction * 0.85
    cluster_share = min(clustered / (STROMA_PLACES_PER_MM2 * CLUSTER_OCCUPANCY), 1.0)
    return draft._replace(
        cut_tissue=tissue_cut,
        cut_fat=fat_cut,
        cut_tumor=tumor_cut,
        cut_cluster=_level(values[CLUSTER_FIELD][stroma], cluster_share),
    )


@njit(cache=True)
def _sample_grid(fields: Fields, count: int) -> NDArray[np.float64]:
    out = np.empty((5, count * count))
    values = np.empty(5)
    for j in range(count):
        for i in range(count):
            x, y = (i + 0.5) / count * fields.width_um, (j + 0.5) / count * fields.height_um
            evaluate(fields, x, y, values)
            out[:, j * count + i] = values
    return out


def cluster_quantiles(fields: Fields) -> NDArray[np.float64]:
    """257 quantiles over the slide of the field in which neighbours are alike."""
    values = _sample_grid(fields, 128)[CLUSTER_FIELD]
    quantiles: NDArray[np.float64] = np.quantile(values, np.linspace(0, 1, 257))
    return quantiles


def _level(values: NDArray[np.float64], share: float) -> float:
    """Level above which ``share`` of the values lie."""
    if share <= 0 or values.size == 0:
        return NEVER
    if share >= 1:
        return -NEVER
    return float(np.quantile(values, 1 - share))
