"""Which parts of the tumour are glandular, have punched-out lumens, or are necrotic.

Each is a smooth field of its own, cut at a quantile over the tumour of the slide, so that the asked
shares of the tumour's area come out.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.fields import NEVER, Fields, evaluate, octaves
from herscope.slide.phantom.spec import PhantomSpec

_SAMPLES: Final = 96
_GLANDS, _LUMENS, _NECROSIS = 900, 910, 920


class Zones(NamedTuple):
    """Scale (µm) and cut levels of the zones."""

    scale_um: float
    necrosis_um: float
    cut_glands: float
    cut_lumens: float
    cut_necrosis: float


@njit(cache=True)
def glandular(seed: int, zones: Zones, x: float, y: float) -> float:
    """Positive where tumour is glands in stroma."""
    if zones.cut_glands >= NEVER:
        return -NEVER
    return octaves(seed, _GLANDS, x, y, zones.scale_um, 2) - zones.cut_glands


@njit(cache=True)
def punched(seed: int, zones: Zones, x: float, y: float) -> float:
    """Positive where solid tumour has lumens."""
    if zones.cut_lumens >= NEVER:
        return -NEVER
    return octaves(seed, _LUMENS, x, y, zones.scale_um, 2) - zones.cut_lumens


@njit(cache=True)
def necrotic(seed: int, zones: Zones, x: float, y: float) -> float:
    """Positive where solid tumour is necrotic."""
    if zones.cut_necrosis >= NEVER:
        return -NEVER
    return octaves(seed, _NECROSIS, x, y, zones.necrosis_um, 3) - zones.cut_necrosis


def make_zones(spec: PhantomSpec, fields: Fields) -> Zones:
    """Choose scales and find the cut levels of one slide."""
    scale = max(2.5 * spec.island_um, 250.0)
    draft = Zones(scale, max(spec.island_um, 120.0), 0.0, 0.0, 0.0)
    values = _sample(draft, fields, _SAMPLES)
    tumor = values[0] > 0
    return draft._replace(
        cut_glands=_cut(values[1][tumor], spec.tumor_gland_fraction),
        cut_lumens=_cut(values[2][tumor], spec.lumen_fraction),
        cut_necrosis=_cut(values[3][tumor], spec.necrosis_fraction),
    )


@njit(cache=True)
def _sample(zones: Zones, fields: Fields, count: int) -> NDArray[np.float64]:
    """(4, count²): whether a place is tumour, then the three fields."""
    out = np.empty((4, count * count))
    values = np.empty(5)
    for j in range(count):
        for i in range(count):
            n = j * count + i
            x, y = (i + 0.5) / count * fields.width_um, (j + 0.5) / count * fields.height_um
            evaluate(fields, x, y, values)
            out[0, n] = 1.0 if values[0] > 0 and values[1] > 0 and values[2] <= 0 else 0.0
            out[1, n] = glandular(fields.seed, zones, x, y)
            out[2, n] = punched(fields.seed, zones, x, y)
            out[3, n] = necrotic(fields.seed, zones, x, y)
    return out


def _cut(values: NDArray[np.float64], share: float) -> float:
    if share <= 0 or values.size == 0:
        return NEVER
    if share >= 1:
        return -NEVER
    return float(np.quantile(values, 1 - share))
