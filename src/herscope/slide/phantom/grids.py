"""Where glands, vessels and lumens may stand: one turned grid of places for each kind."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.spec import PhantomSpec

TUMOR_GLAND, NORMAL_GLAND, LARGE_VESSEL, CAPILLARY, PUNCHED = range(5)
ROW_UM: Final = 8.5
"""Distance of rows of nuclei in an epithelium of several."""


class Grid(NamedTuple):
    """Places for one kind of shape and the ranges of its sizes; lengths in µm."""

    kind: int
    stream: int
    pitch_x: float
    pitch_y: float
    turn: float
    wide: float  # mean semi-axis across
    longest: float  # largest ratio of the semi-axes
    wall: float
    occupancy: float
    waviness: float
    secretion: float
    blood: float


def gland_wall_um(spec: PhantomSpec) -> float:
    """Mean height of a tumour gland's epithelium."""
    if spec.gland_rows == 1:
        return spec.epithelium_um
    return 0.45 * spec.epithelium_um + ROW_UM * spec.gland_rows


def make_grids(spec: PhantomSpec) -> tuple[Grid, ...]:
    """Grids of the shapes that a slide has; a later one gives way to an earlier one."""
    turn = math.pi * uniform(np.uint64(address(np.uint64(spec.seed), 930, 0, 0)), 0)
    found: list[Grid] = []

    def add(
        kind: int,
        wide: float,
        longest: float,
        spread: float,
        wall: float,
        occupancy: float,
        waviness: float,
        blood: float = 0.0,
    ) -> None:
        secretion = spec.secretion_fraction if kind not in {LARGE_VESSEL, CAPILLARY} else 0.0
        mean = math.sqrt(0.5 * (1 + longest))
        pitch = spread * 2 * wide
        found.append(
            Grid(
                kind,
                940 + kind,
                pitch * mean * mean,
                pitch,
                turn,
                wide,
                longest,
                wall,
                min(occupancy, 0.95),
                waviness,
                secretion,
                blood,
            )
        )

    if spec.vessel_fraction:
        share = spec.vessel_fraction * 1.7**2 * 4 / math.pi
        wall = 0.3 * spec.vessel_um / 2
        add(LARGE_VESSEL, spec.vessel_um / 2, 1.6, 1.7, wall, share, 0.05, spec.blood_fraction)
    if spec.tumor_gland_fraction:
        wall = gland_wall_um(spec)
        wide = max(spec.gland_um / 2, 0.75 * wall)
        add(TUMOR_GLAND, wide, spec.gland_elongation, 1.12, wall, spec.gland_crowding, 0.13)
    if spec.normal_gland_fraction:
        share = spec.normal_gland_fraction * 1.5**2 * 4 / math.pi
        wall = 0.85 * spec.epithelium_um
        wide = max(spec.normal_gland_um / 2, 0.9 * wall)
        add(NORMAL_GLAND, wide, 2.2, 1.5, wall, share, 0.04)
    if spec.capillaries_per_mm2:
        wide, spread = 5.0, 4.0
        share = spec.capillaries_per_mm2 * (2 * spread * wide) ** 2 * 1.75 / 1e6
        add(CAPILLARY, wide, 2.5, spread, 1.5, share, 0.08, spec.blood_fraction)
    if spec.lumen_fraction:
        add(PUNCHED, spec.lumen_um / 2, 1.7, 1.35 + 14.0 / spec.lumen_um, 0.0, 0.85, 0.14)
    return tuple(found)
