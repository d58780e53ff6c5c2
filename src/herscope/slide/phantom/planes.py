"""The lattice of a rectangle: the five fields, and the depths of the structures that lie in it.

A slide without structures has the five fields of :mod:`~herscope.slide.phantom.fields` alone, bit
for bit. With structures the tumour plane is cut to the solid part, and nine planes follow: depth
below the wall of lumens, tumour glands, normal glands, vessels, necrosis and capillaries (µm,
positive inside, held at ``OUTSIDE``), secretion and blood in what is hollow, and a slow noise.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.fields import (
    BLOOD_PLANE,
    CAPILLARY_PLANE,
    GLAND_PLANE,
    LUMEN_PLANE,
    NECROSIS_PLANE,
    NORMAL_PLANE,
    PLANES,
    SECRETION_PLANE,
    SLOW_PLANE,
    STEP_UM,
    VESSEL_PLANE,
    Fields,
    nodes,
    octaves,
)
from herscope.slide.phantom.grids import Grid, make_grids
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.structures import (
    REACH,
    WALL,
    Shapes,
    X,
    Y,
    depth_at,
    shapes_in,
)
from herscope.slide.phantom.zones import Zones, glandular, make_zones, necrotic

OUTSIDE: Final = -24.0
SLOW_UM: Final = 300.0
_SLOW_STREAM: Final = 960
_SLOW_SD: Final = 0.35
"""SD of two octaves of gradient noise, by which the slow noise is brought near unit variance."""


class Structures(NamedTuple):
    """The slide-wide numbers of structures."""

    grids: tuple[Grid, ...]
    zones: Zones


def make_structures(spec: PhantomSpec, fields: Fields) -> Structures | None:
    """Prepare the structures of a slide; ``None`` where it has none."""
    if not spec.has_structures:
        return None
    return Structures(make_grids(spec), make_zones(spec, fields))


def planes(
    fields: Fields, structures: Structures | None, i0: int, j0: int, columns: int, rows: int
) -> tuple[NDArray[np.float64], Shapes | None]:
    """Planes at lattice nodes from node (i0, j0) on, and the shapes that reach into them."""
    basic = nodes(fields, i0, j0, columns, rows)
    if structures is None:
        return basic, None
    box = (
        i0 * STEP_UM,
        j0 * STEP_UM,
        (i0 + columns - 1) * STEP_UM,
        (j0 + rows - 1) * STEP_UM,
    )
    shapes = shapes_in(structures.grids, fields, structures.zones, box)
    out = np.empty((PLANES, rows, columns))
    out[: len(basic)] = basic
    out[LUMEN_PLANE:SECRETION_PLANE] = OUTSIDE
    out[SECRETION_PLANE:SLOW_PLANE] = 0.0
    _zone_planes(fields, structures.zones, i0, j0, out)
    for n in range(len(shapes.key)):
        _splat(
            int(shapes.kind[n]), shapes.numbers[n], shapes.waves[n], shapes.contents[n], i0, j0, out
        )
    return out, shapes


@njit(cache=True)
def _zone_planes(fields: Fields, zones: Zones, i0: int, j0: int, out: NDArray[np.float64]) -> None:
    """Cut the tumour to its solid part; add necrosis and slow noise."""
    for j in range(out.shape[1]):
        for i in range(out.shape[2]):
            x, y = (i0 + i) * STEP_UM, (j0 + j) * STEP_UM
            out[SLOW_PLANE, j, i] = octaves(fields.seed, _SLOW_STREAM, x, y, SLOW_UM, 2) / _SLOW_SD
            if out[1, j, i] > -0.5:
                out[1, j, i] = min(out[1, j, i], -glandular(fields.seed, zones, x, y))
                dead = min(out[1, j, i], necrotic(fields.seed, zones, x, y))
                out[NECROSIS_PLANE, j, i] = dead


@njit(cache=True)
def _splat(
    kind: int,
    numbers: NDArray[np.float64],
    waves: NDArray[np.float64],
    contents: NDArray[np.float64],
    i0: int,
    j0: int,
    out: NDArray[np.float64],
) -> None:
    """Raise the planes of a shape to its depth."""
    reach = numbers[REACH] + 24.0
    low_i = max(int((numbers[X] - reach) / STEP_UM) - i0 - 1, 0)
    low_j = max(int((numbers[Y] - reach) / STEP_UM) - j0 - 1, 0)
    high_i = min(int((numbers[X] + reach) / STEP_UM) - i0 + 2, out.shape[2])
    high_j = min(int((numbers[Y] + reach) / STEP_UM) - j0 + 2, out.shape[1])
    plane = (GLAND_PLANE, NORMAL_PLANE, VESSEL_PLANE, CAPILLARY_PLANE, LUMEN_PLANE)[kind]
    for j in range(low_j, high_j):
        for i in range(low_i, high_i):
            depth = depth_at(numbers, waves, (i0 + i) * STEP_UM, (j0 + j) * STEP_UM)
            if depth <= OUTSIDE:
                continue
            out[plane, j, i] = max(out[plane, j, i], depth)
            inner = depth - numbers[WALL]
            if kind <= 2:
                out[LUMEN_PLANE, j, i] = max(out[LUMEN_PLANE, j, i], inner)
            if inner > -8:
                out[SECRETION_PLANE, j, i] = max(out[SECRETION_PLANE, j, i], contents[0])
                out[BLOOD_PLANE, j, i] = max(out[BLOOD_PLANE, j, i], contents[1])
