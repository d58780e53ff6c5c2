"""The nucleus and the limits of each cell, from its kind, its looks and the room it has.

A nucleus is an ellipse shrunk until it clears every border of its cell. Tumour nuclei lie at any
angle, spindle nuclei along the fibres, nuclei in a wall as the wall asks.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import bell, uniform
from herscope.slide.phantom.lattice import nucleus_offset
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.spec_looks import MITOSIS, ORDINARY, OUT_OF_PLANE, PYKNOTIC

EPITHELIAL, FIBROBLAST, LYMPHOCYTE, GLANDULAR, MUSCLE = range(5)
KINDS: Final = ("epithelial", "fibroblast", "lymphocyte", "glandular", "muscle")
STROMA_RIM_UM: Final = 1.3
"""Cytoplasm around a stroma nucleus."""


class Sizes(NamedTuple):
    """What shapes depend on; lengths in µm."""

    diameter: float
    diameter_sd: float
    elongation: float
    cell_radius: float
    clearance: float
    stroma_diameter: float
    stroma_sd: float
    stroma_ratio: float
    stroma_spread: float
    stroma_disorder: float
    rows: int


def shape_sizes(spec: PhantomSpec) -> Sizes:
    """Collect the sizes of a slide."""
    # a drawn membrane needs its own room; else neighbouring nuclei may nearly touch
    clearance = spec.nucleus_gap_um
    if spec.stain == "membrane":
        clearance = max(clearance, 0.0) + 0.5 * spec.membrane_width_um
    low, high = spec.stroma_elongation
    return Sizes(
        spec.nucleus_diameter_um,
        spec.nucleus_diameter_sd_um,
        spec.nucleus_elongation,
        spec.cell_radius_um,
        clearance,
        spec.stroma_nucleus_diameter_um,
        spec.stroma_nucleus_sd_um,
        low,
        round(high - low, 9),
        spec.stroma_disorder,
        spec.gland_rows,
    )


@njit(cache=True)
def choose_looks(
    key: NDArray[np.uint64], kind: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Look of each nucleus; lymphocytes have but two, and only epithelium divides."""
    look = np.zeros(key.size, np.int64)
    if edges[5] <= 0:
        return look
    for k in range(key.size):
        chance = uniform(key[k], 60)
        for n in range(6):
            if chance < edges[n]:
                look[k] = n + 1
                break
        if look[k] == MITOSIS and kind[k] != EPITHELIAL:
            look[k] = ORDINARY
        if kind[k] == LYMPHOCYTE and look[k] != OUT_OF_PLANE:
            look[k] = ORDINARY
    return look


@njit(cache=True)
def _ellipse(
    word: np.uint64,
    kind: int,
    along: float,
    axis: float,
    wall: float,
    sizes: Sizes,
) -> tuple[float, float, float]:
    """Diameter, ratio of the axes and direction of a nucleus that has all room."""
    if kind in (EPITHELIAL, GLANDULAR):
        least = 0.8 * sizes.diameter
        d = min(
            max(sizes.diameter + sizes.diameter_sd * bell(word, 10), least), 1.4 * sizes.diameter
        )
        ratio = 1 + (sizes.elongation - 1) * uniform(word, 13)
        angle = 3.141592653589793 * uniform(word, 14)
        if kind == GLANDULAR:
            d = 0.3 * d + 0.62 * sizes.diameter  # regular, and smaller than the tumour's
        if not math.isnan(axis):
            angle = axis + 0.12 * bell(word, 17)
            if wall > 0 and (sizes.rows == 1 or kind == GLANDULAR):
                ratio = 1.3 + 0.3 * (sizes.elongation - 1) + 0.8 * uniform(word, 13)
            elif wall > 0:
                ratio = 1 + 0.5 * uniform(word, 13)
            else:
                ratio = 0.5 * (1 + ratio) + 0.3
        return d, ratio, angle
    if kind == LYMPHOCYTE:
        return (
            6.6 + 0.3 * bell(word, 10),
            1 + 0.2 * uniform(word, 13),
            3.141592653589793 * uniform(word, 14),
        )
    d = sizes.stroma_diameter + sizes.stroma_sd * bell(word, 10)
    ratio = sizes.stroma_ratio + sizes.stroma_spread * uniform(word, 13)
    if kind == MUSCLE:
        return max(d, 4.5), 2.6 + 1.8 * uniform(word, 13), along
    return max(d, 2.0), ratio, along + sizes.stroma_disorder * bell(word, 17)


@njit(cache=True)
def shape_nuclei(
    key: NDArray[np.uint64],
    kind: NDArray[np.int64],
    turns: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    look: NDArray[np.int64],
    count: NDArray[np.int64],
    plane: NDArray[np.float64],
    sizes: Sizes,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nuclei that clear every border.

    Parameters
    ----------
    key, kind, look
        Of each cell.
    turns
        Direction of fibres, or of the wall for its cells; direction an epithelial nucleus must
        take, NaN for any; height of the wall in µm, 0 for cells that are in none.
    count, plane
        Half-planes of each cell.
    sizes
        See :func:`shape_sizes`.

    Returns
    -------
    tuple
        (n, 7): offset x, y, semi-axes, angle, limits; and (n,) by how much each was shrunk.
    """
    along, axis, wall = turns
    out = np.empty((key.size, 7))
    shrink = np.ones(key.size)
    for k in range(key.size):
        word = key[k]
        epithelium = kind[k] == EPITHELIAL or kind[k] == GLANDULAR
        d, ratio, angle = _ellipse(word, kind[k], along[k], axis[k], wall[k], sizes)
        if look[k] == PYKNOTIC:
            d *= 0.74
        elif look[k] == MITOSIS:
            d, ratio = 0.78 * d, 2.4
        long_um, short_um = 0.5 * d * math.sqrt(ratio), 0.5 * d / math.sqrt(ratio)
        ox, oy = nucleus_offset(word, kind[k] == EPITHELIAL and wall[k] == 0)
        c, s = math.cos(angle), math.sin(angle)
        scale = 1.0
        gap = sizes.clearance if epithelium else 0.35  # a stroma nucleus may touch its border
        for n in range(count[k]):
            nx, ny, room = plane[k, n, 0], plane[k, n, 1], plane[k, n, 2]
            along_n, across_n = c * nx + s * ny, c * ny - s * nx
            support = math.sqrt((long_um * along_n) ** 2 + (short_um * across_n) ** 2)
            scale = min(scale, (room - gap - ox * nx - oy * ny) / support)
        scale = max(scale, 0.0)
        shrink[k] = scale
        long_um, short_um = long_um * scale, short_um * scale
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = ox, oy, long_um, short_um, angle
        out[k, 5] = sizes.cell_radius if epithelium else long_um + STROMA_RIM_UM
        out[k, 6] = sizes.cell_radius if epithelium else short_um + STROMA_RIM_UM
        if epithelium and wall[k] > 0 and (sizes.rows == 1 or kind[k] == GLANDULAR):
            out[k, 5] = max(0.95 * wall[k], sizes.cell_radius)
    return out, shrink
