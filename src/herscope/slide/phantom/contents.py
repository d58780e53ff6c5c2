"""What fills hollow and dead places: secretion, red cells, necrosis; and specks of precipitate."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.brush import Brush
from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.fields import (
    BLOOD_PLANE,
    LUMEN_PLANE,
    SECRETION_PLANE,
    interpolate,
)

RED_CELL_UM: Final = 3.0
"""Radius of a red cell; its places are one diameter and a little apart."""
_PLACE_UM: Final = 6.4


@njit(cache=True)
def red_cell(seed: int, x: float, y: float) -> float:
    """Relative density of red cells at a point: 0 between them, 1 at a rim, less inside."""
    i, j = math.floor(x / _PLACE_UM), math.floor(y / _PLACE_UM)
    best = 1e9
    for b in range(j - 1, j + 2):
        for a in range(i - 1, i + 2):
            word = address(np.uint64(seed), 970, a, b)
            if uniform(word, 0) > 0.72:
                continue
            cx = (a + 0.5 + 0.5 * (uniform(word, 1) - 0.5)) * _PLACE_UM
            cy = (b + 0.5 + 0.5 * (uniform(word, 2) - 0.5)) * _PLACE_UM
            best = min(best, math.sqrt((x - cx) ** 2 + (y - cy) ** 2))
    if best > RED_CELL_UM + 0.5:
        return 0.0
    rim = (best - RED_CELL_UM + 0.5) / 0.5
    return 0.35 + 0.65 * math.exp(-rim * rim)


@njit(cache=True)
def paint_lumen(
    brush: Brush,
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    x: float,
    y: float,
    cloud: float,
    grain: float,
) -> tuple[float, float, float]:
    """Haematoxylin, DAB and eosin inside a lumen: glass, secretion or red cells."""
    if interpolate(lattice[BLOOD_PLANE], i0, j0, x, y) > 0.5:
        cell = red_cell(brush.seed, x, y)
        return 0.035 * cell, 0.05 * cell, 1.3 * brush.eosin * cell
    amount = interpolate(lattice[SECRETION_PLANE], i0, j0, x, y)
    if amount <= 0:
        return 0.0, 0.0, 0.0
    deep = interpolate(lattice[LUMEN_PLANE], i0, j0, x, y)
    amount *= min(max(deep / 3.0 - 0.3 + 0.5 * cloud, 0.0), 1.0)
    even = max(1.0 + 0.3 * cloud + 0.12 * grain, 0.0)
    return (
        0.7 * amount * brush.pale_blue * even,
        amount * brush.unspecific * even,
        0.6 * amount * brush.eosin * even,
    )


@njit(cache=True)
def paint_necrosis(brush: Brush, cloud: float, grain: float) -> tuple[float, float, float]:
    """Haematoxylin, DAB and eosin of debris: mottled, with dust of nuclei."""
    even = max(1.0 + 0.45 * cloud + 0.35 * grain, 0.1)
    dust = max(grain + 0.8 * cloud - 1.3, 0.0)
    blue = 0.9 * brush.pale_blue * even + 0.35 * brush.nuclear_blue * min(dust, 1.5)
    return blue, (0.02 + 2.2 * brush.unspecific) * even, 1.25 * brush.eosin * even


@njit(cache=True)
def speckle(brush: Brush, cloud: float, grain: float) -> float:
    """DAB of a grain of precipitate."""
    return brush.speckle * min(max(grain + 0.5 * cloud - 1.1, 0.0), 2.0)
