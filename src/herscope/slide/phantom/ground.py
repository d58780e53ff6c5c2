"""Tissue without its cells: amounts of dye of cytoplasm, fibres and fat, pixel by pixel."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.brush import Brush
from herscope.slide.phantom.contents import paint_lumen, paint_necrosis, speckle
from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.fields import (
    BACKGROUND,
    CAPILLARY_PLANE,
    FAT,
    FIELDS,
    LUMEN,
    NECROSIS,
    NORMAL,
    SLOW_PLANE,
    TUMOR,
    VESSEL,
    VESSEL_PLANE,
    class_at,
    interpolate,
)
from herscope.slide.phantom.textures import FIBRE_TABLE, Textures, at_pixel

FAT_PITCH_UM: Final = 58.0
NET_FINER: Final = 4.5
"""Fat vacuoles against the meshes of loose stroma."""


@njit(cache=True)
def _fat_wall(seed: int, x: float, y: float) -> float:
    """Distance in µm from a point to the wall between the two nearest fat vacuoles."""
    i, j = math.floor(x / FAT_PITCH_UM), math.floor(y / FAT_PITCH_UM)
    best, second = 1e18, 1e18
    bx, by, sx, sy = 0.0, 0.0, 0.0, 0.0
    for b in range(j - 1, j + 2):
        for a in range(i - 1, i + 2):
            word = address(np.uint64(seed), 700, a, b)
            cx = (a + 0.5 + 0.5 * (b & 1) + 0.6 * (uniform(word, 0) - 0.5)) * FAT_PITCH_UM
            cy = (b + 0.5 + 0.6 * (uniform(word, 1) - 0.5)) * FAT_PITCH_UM
            d = (x - cx) ** 2 + (y - cy) ** 2
            if d < best:
                second, sx, sy = best, bx, by
                best, bx, by = d, cx, cy
            elif d < second:
                second, sx, sy = d, cx, cy
    apart = math.sqrt((sx - bx) ** 2 + (sy - by) ** 2)
    return (second - best) / (2 * apart)


@njit(cache=True)
def _fibres(
    textures: Textures, strength: float, flow: float, cloud: float, grain: float, i: int, j: int
) -> float:
    """Relative amount of fibrous stroma at a pixel, about 1 on average, near 0 in clefts."""
    # the cloud texture read at a quarter of its scale: patches of about 40 µm
    broad = at_pixel(textures.cloud_a, textures.cloud_b, (i >> 2) + 481, (j >> 2) + 733)
    across = flow + 1.3 * cloud + 3.0 * broad
    coarse = textures.fibre[math.floor(across * 4.3) % FIBRE_TABLE]
    fine = textures.fibre[math.floor(across * 15.1 + 900.0) % FIBRE_TABLE]
    if strength != 1.0:
        coarse, fine, broad = strength * coarse, strength * fine, strength * broad
    body = 1.0 + 0.20 * coarse + 0.20 * fine + 0.14 * cloud + 0.26 * broad + 0.10 * grain
    # clefts between bundles are finite along the fibre because clouds are
    filled = 0.75 * coarse + 0.35 * fine + 0.5 * cloud + 0.9 * broad + 1.75
    return min(max(body, 0.05), 2.2) * min(max(0.25 + 0.9 * filled, 0.12), 1.0)


@njit(cache=True)
def _epithelium(brush: Brush, cloud: float, grain: float) -> tuple[float, float, float]:
    """Haematoxylin, DAB and eosin of cytoplasm."""
    brown = brush.unspecific * max(1.0 + 0.25 * cloud, 0.0)
    cloud, grain = brush.cytoplasm_texture * cloud, brush.cytoplasm_texture * grain
    blue = brush.pale_blue * max(1.0 + 0.22 * cloud + 0.2 * grain, 0.0)
    blue *= 2.2 if brush.eosin > 0 else 1.0  # ribosomes make this cytoplasm purple in H&E
    pink = 0.8 * brush.eosin * max(1.0 + 0.15 * cloud + 0.15 * grain, 0.0)
    return blue * brush.epithelium_dye, brown, pink * brush.epithelium_dye


@njit(cache=True)
def _stroma(
    brush: Brush,
    textures: Textures,
    flow: float,
    loose: float,
    cloud: float,
    grain: float,
    i: int,
    j: int,
) -> float:
    """Relative amount of dye of stroma: fibres, or a net of thin walls."""
    body = _fibres(textures, brush.fibre_strength, flow, cloud, grain, i, j)
    if loose > 0:
        x, y = (i + 0.5) * brush.mpp + 1.1 * cloud, (j + 0.5) * brush.mpp + 0.9 * grain
        wall = _fat_wall(brush.seed + 1, x * NET_FINER, y * NET_FINER) / NET_FINER
        net = 0.12 + 1.7 * math.exp(-((wall / 0.8) ** 2)) * max(0.4 + 0.6 * body, 0.0)
        body += loose * (net - body)
    return body


@njit(cache=True)
def _connective(
    brush: Brush,
    textures: Textures,
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    which: int,
    place: tuple[int, int],
    cloud: float,
    grain: float,
) -> tuple[float, float, float]:
    """Haematoxylin, DAB and eosin of stroma, muscle or fat at a pixel."""
    i, j = place
    x, y = (i + 0.5) * brush.mpp, (j + 0.5) * brush.mpp
    structured = lattice.shape[0] > FIELDS
    if structured and interpolate(lattice[CAPILLARY_PLANE], i0, j0, x, y) > 1.0:
        return paint_lumen(brush, lattice, i0, j0, x, y, cloud, grain)
    flow = interpolate(lattice[4], i0, j0, x, y)
    loose = brush.looseness
    if which == VESSEL:
        # muscle runs around the vessel
        flow, loose = interpolate(lattice[VESSEL_PLANE], i0, j0, x, y), 0.0
    elif structured and loose > 0:
        slow = interpolate(lattice[SLOW_PLANE], i0, j0, x, y)
        loose *= min(max(0.7 + 0.6 * slow, 0.0), 1.0)
    body = _stroma(brush, textures, flow, loose, cloud, grain, i, j)
    if which == FAT:
        wall = _fat_wall(brush.seed, x + 1.5 * cloud, y)
        body *= 0.9 * max(0.0, min(1.0, 1.9 - wall))
    blue = (0.45 if brush.eosin > 0 else 0.75) * brush.pale_blue * body
    pink = brush.eosin * body
    if brush.fibre_dye != 1.0:
        blue, pink = blue * brush.fibre_dye, pink * brush.fibre_dye
    if which == VESSEL:
        blue, pink = 1.25 * blue, 1.25 * pink
    return blue, 0.8 * brush.unspecific * body, pink


@njit(cache=True, nogil=True)
def paint_ground(
    brush: Brush,
    textures: Textures,
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    x0: int,
    y0: int,
    dyes: NDArray[np.float32],
) -> None:
    """Fill ``dyes`` (3, h, w: haematoxylin, DAB, eosin) with tissue, zero on empty glass."""
    for row in range(dyes.shape[1]):
        j = y0 + row
        y = (j + 0.5) * brush.mpp
        for column in range(dyes.shape[2]):
            i = x0 + column
            x = (i + 0.5) * brush.mpp
            which = class_at(lattice, i0, j0, x, y)
            if which == BACKGROUND:
                dyes[:, row, column] = 0.0
                continue
            cloud = at_pixel(textures.cloud_a, textures.cloud_b, i, j)
            grain = at_pixel(textures.grain_a, textures.grain_b, i, j)
            if which in (TUMOR, NORMAL):
                blue, brown, pink = _epithelium(brush, cloud, grain)
            elif which == LUMEN:
                blue, brown, pink = paint_lumen(brush, lattice, i0, j0, x, y, cloud, grain)
            elif which == NECROSIS:
                blue, brown, pink = paint_necrosis(brush, cloud, grain)
            else:
                place = (i, j)
                blue, brown, pink = _connective(
                    brush, textures, lattice, i0, j0, which, place, cloud, grain
                )
            if lattice.shape[0] > FIELDS:
                slow = interpolate(lattice[SLOW_PLANE], i0, j0, x, y)
                blue *= math.exp(brush.blue_unevenness * slow)
                brown *= math.exp(brush.brown_unevenness * slow)
            if brush.speckle > 0 and which not in (LUMEN, FAT):
                brown += speckle(brush, cloud, grain)
            dyes[0, row, column] = blue
            dyes[1, row, column] = brown
            dyes[2, row, column] = pink
