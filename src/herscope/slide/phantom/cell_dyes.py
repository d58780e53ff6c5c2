"""Amounts of dye at one pixel of a cell: chromatin, cytoplasm, and the marker's brown."""

from __future__ import annotations

import math

from numba import njit

from herscope.slide.phantom.brush import CYTOPLASMIC, MEMBRANE, NUCLEAR, Brush
from herscope.slide.phantom.counters import uniform
from herscope.slide.phantom.layout import Cells
from herscope.slide.phantom.shapes import GLANDULAR
from herscope.slide.phantom.spec_looks import (
    COARSE,
    GHOST,
    MITOSIS,
    ORDINARY,
    OUT_OF_PLANE,
    VESICULAR,
)
from herscope.slide.phantom.textures import Textures, at_pixel

IN_NUCLEUS, IN_CYTOPLASM, IN_MEMBRANE = 1, 2, 3


@njit(cache=True)
def _special(
    brush: Brush, cells: Cells, n: int, i: int, j: int, inner: float, even: float
) -> float:
    """Relative haematoxylin of a nucleus that is not ordinary."""
    look, word = cells.look[n], cells.key[n]
    rim = math.exp(-(((math.sqrt(inner) - 0.9) / 0.13) ** 2))
    value = 1.0 + 0.3 * brush.chromatin * even  # pyknotic
    if look == GHOST:
        value = 0.8 + 0.5 * rim + brush.chromatin * even
    elif look == COARSE:
        value = 0.85 + 2.2 * brush.chromatin * even + (0.45 if even > 0.5 else 0.0)
    elif look == MITOSIS:
        value = 1.0 + 1.2 * brush.chromatin * even - (0.35 if inner > 0.75 else 0.0)
    elif look == OUT_OF_PLANE:
        value = 1.5 * (1.0 - inner) * (1.0 + 0.4 * brush.chromatin * even)
    if look != VESICULAR:
        return value
    # vesicular: a dark rim and one to three nucleoli in a pale middle
    value = 0.42 + 0.85 * rim + 0.8 * brush.chromatin * even
    for k in range(1 + int(3 * uniform(word, 61))):
        turn, away = 6.283185307179586 * uniform(word, 62 + 2 * k), 0.5 * uniform(word, 63 + 2 * k)
        sx = (i + 0.5) * brush.mpp - cells.drawn_x[n] - cells.offset_x[n]
        sy = (j + 0.5) * brush.mpp - cells.drawn_y[n] - cells.offset_y[n]
        sx -= away * math.cos(turn) * cells.short_um[n]
        sy -= away * math.sin(turn) * cells.short_um[n]
        value += 1.1 * math.exp(-(sx * sx + sy * sy) / 0.8)
    return value


@njit(cache=True)
def chromatin(
    brush: Brush, cells: Cells, n: int, i: int, j: int, inner: float, even: float
) -> float:
    """Relative haematoxylin at a pixel of a nucleus: grain, paler middle, one nucleolus."""
    if cells.look[n] != ORDINARY:
        return _special(brush, cells, n, i, j, inner, even)
    if cells.kind[n] != 0 and cells.kind[n] != GLANDULAR:
        return 1.0 + brush.chromatin * even
    word = cells.key[n]
    turn, far = 6.283185307179586 * uniform(word, 50), 0.45 * uniform(word, 51)
    vesicular = 0.45 * uniform(word, 52)
    sx = (i + 0.5) * brush.mpp - cells.drawn_x[n] - cells.offset_x[n]
    sy = (j + 0.5) * brush.mpp - cells.drawn_y[n] - cells.offset_y[n]
    sx -= far * math.cos(turn) * cells.long_um[n]
    sy -= far * math.sin(turn) * cells.long_um[n]
    spot = 0.9 * math.exp(-(sx * sx + sy * sy) / 1.4)
    return 1.0 + brush.chromatin * even + vesicular * (inner * inner - 0.34 + spot)


@njit(cache=True)
def cytoplasm(
    brush: Brush, textures: Textures, i: int, j: int, grain: float, parted: bool
) -> tuple[float, float]:
    """Haematoxylin and eosin of a tumour cell's cytoplasm; cells part a little at their border."""
    cloud = at_pixel(textures.cloud_a, textures.cloud_b, i, j)
    cloud, grain = brush.cytoplasm_texture * cloud, brush.cytoplasm_texture * grain
    blue = brush.pale_blue * max(1.0 + 0.22 * cloud + 0.2 * grain, 0.0)
    blue *= 2.2 if brush.eosin > 0 else 1.0
    pink = 0.8 * brush.eosin * max(1.0 + 0.15 * cloud + 0.15 * grain, 0.0)
    blue, pink = blue * brush.epithelium_dye, pink * brush.epithelium_dye
    return (0.8 * blue if parted else blue), pink


@njit(cache=True)
def brown_at(
    brush: Brush,
    unspecific: float,
    dab: float,
    directed: float,
    which: int,
    stroma: bool,
    uneven: float,
) -> float:
    """DAB of one pixel of a cell; ``directed`` is the membrane's density in its direction."""
    nucleus = which == IN_NUCLEUS
    if (brush.marker == NUCLEAR and nucleus) or (brush.marker == CYTOPLASMIC and not nucleus):
        return dab * uneven
    if brush.marker == NUCLEAR and brush.nuclear_blush > 0:
        return max(unspecific, brush.nuclear_blush * dab) * uneven
    if brush.marker == MEMBRANE:
        if which == IN_MEMBRANE:
            return directed * uneven
        if which == IN_NUCLEUS:
            return unspecific + 0.25 * brush.blush * dab
        if not stroma:
            return unspecific + brush.blush * dab * uneven
    return unspecific
