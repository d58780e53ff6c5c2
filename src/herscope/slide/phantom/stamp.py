"""Cells stamped over the ground, and what each of them drew.

A cell replaces the ground under it, so the DAB of its marker's compartment is the cell's own and
the truth can be read off the very pixels that are drawn: the stamp returns the mean over them. At
a membrane between two cells each draws its half with its own density; then the browner half shows
over the whole width, and a free membrane over as much outside the cell as inside, for a precipitate
is no thinner on the side of an unstained neighbour (:func:`spread_lines`).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.brush import CYTOPLASMIC, MEMBRANE, NUCLEAR, Brush
from herscope.slide.phantom.cell_dyes import (
    IN_CYTOPLASM,
    IN_MEMBRANE,
    IN_NUCLEUS,
    brown_at,
    chromatin,
    cytoplasm,
)
from herscope.slide.phantom.contents import speckle
from herscope.slide.phantom.layout import Cells
from herscope.slide.phantom.shapes import GLANDULAR
from herscope.slide.phantom.spec_looks import OUT_OF_PLANE
from herscope.slide.phantom.staining import Staining
from herscope.slide.phantom.textures import Textures, at_pixel

NUCLEUS_PX, NUCLEUS_OD, CELL_PX, CELL_OD, MEMBRANE_PX, MEMBRANE_OD = range(6)
"""Columns of what :func:`stamp_cells` measures."""

GROUND, CELL_BODY = -1.0, -2.0
"""Values of the line plane where no membrane is: precipitate spreads over ground alone."""

BEND_UM: Final = 2.6
"""Farthest that the bend moves a point of a cell against its seed (over 4 SD)."""


@njit(cache=True)
def _edge_um(
    dx: float,
    dy: float,
    u: float,
    v: float,
    limit_long: float,
    limit_short: float,
    borders: int,
    plane: NDArray[np.float64],
) -> float:
    """Distance of a point inside a cell to the cell's border; zero or less outside.

    ``dx``, ``dy`` are from the seed, ``u``, ``v`` along and across the nucleus from its centre.
    """
    a, b = u / limit_long, v / limit_short
    outer = math.sqrt(a * a + b * b)
    if outer >= 1:
        return 0.0
    edge = 1e9
    if outer > 0.05:
        # first order: the ellipse's level divided by its slope
        slope = math.sqrt((a / limit_long) ** 2 + (b / limit_short) ** 2)
        edge = (1 - outer) * outer / slope
    for k in range(borders):
        edge = min(edge, plane[k, 2] - (dx * plane[k, 0] + dy * plane[k, 1]))
        if edge <= 0:
            return 0.0
    return edge


@njit(cache=True)
def _trace(
    brush: Brush,
    textures: Textures,
    cells: Cells,
    n: int,
    window: tuple[int, int, int, int],
    part: NDArray[np.uint8],
    sector: NDArray[np.uint8],
    depth: NDArray[np.float32],
    mean_grain: NDArray[np.float64],
) -> None:
    """Find which part of cell ``n`` each pixel is, and the mean grain of each part.

    ``depth`` is the squared relative radius inside the nucleus, µm to the border elsewhere.
    """
    left, top, right, bottom = window
    mpp = brush.mpp
    c, s = math.cos(cells.angle[n]), math.sin(cells.angle[n])
    count = np.zeros(4)
    for j in range(top, bottom):
        for i in range(left, right):
            dx = (i + 0.5) * mpp + at_pixel(textures.bend_x_a, textures.bend_x_b, i, j)
            dy = (j + 0.5) * mpp + at_pixel(textures.bend_y_a, textures.bend_y_b, i, j)
            dx, dy = dx - cells.x[n], dy - cells.y[n]
            ux, uy = dx - cells.offset_x[n], dy - cells.offset_y[n]
            u, v = c * ux + s * uy, c * uy - s * ux
            edge = _edge_um(
                dx,
                dy,
                u,
                v,
                cells.limit_long[n],
                cells.limit_short[n],
                cells.borders[n],
                cells.plane[n],
            )
            if edge <= 0:
                continue
            inner = (u / cells.long_um[n]) ** 2 + (v / cells.short_um[n]) ** 2
            which = IN_CYTOPLASM
            if inner < 1:
                which = IN_NUCLEUS
            elif edge < brush.half_membrane_um:
                which = IN_MEMBRANE
                turn = math.atan2(dy, dx) / 6.283185307179586
                sector[j - top, i - left] = math.floor(turn * 32.0 + 0.5) % 32
            part[j - top, i - left] = which
            depth[j - top, i - left] = inner if which == IN_NUCLEUS else edge
            count[which] += 1
            mean_grain[which] += at_pixel(textures.grain_a, textures.grain_b, i, j)
    for which in range(1, 4):
        if count[which] > 0:
            mean_grain[which] /= count[which]


@njit(cache=True)
def _fill(  # noqa: C901, PLR0912  one compiled pass over the pixels; parts of it would pass it all again
    brush: Brush,
    textures: Textures,
    cells: Cells,
    staining: Staining,
    n: int,
    window: tuple[int, int, int, int],
    part: NDArray[np.uint8],
    sector: NDArray[np.uint8],
    depth: NDArray[np.float32],
    mean_grain: NDArray[np.float64],
    x0: int,
    y0: int,
    dyes: NDArray[np.float32],
    line: NDArray[np.float32],
    measured: NDArray[np.float64],
    sector_px: NDArray[np.float64],
    sector_od: NDArray[np.float64],
) -> None:
    """Paint the traced cell; textures are centred on their mean, so the wanted mean is kept."""
    left, top, right, bottom = window
    stroma = cells.kind[n] != 0 and cells.kind[n] != GLANDULAR
    dab = staining.dab[n]
    unspecific, bluer = brush.unspecific, 1.0
    if brush.brown_unevenness > 0:
        unspecific *= math.exp(brush.brown_unevenness * cells.slow[n])
    if brush.blue_unevenness > 0:
        bluer = math.exp(brush.blue_unevenness * cells.slow[n])
    for j in range(top, bottom):
        for i in range(left, right):
            which = part[j - top, i - left]
            if which == 0:
                continue
            direction = sector[j - top, i - left]
            grain = at_pixel(textures.grain_a, textures.grain_b, i, j)
            even = grain - mean_grain[which]
            uneven = max(0.0, 1.0 + brush.dab_texture * even)
            if which == IN_NUCLEUS and cells.look[n] == OUT_OF_PLANE:
                uneven *= 1.6 * (1.0 - depth[j - top, i - left])
            brown = np.float32(
                brown_at(
                    brush, unspecific, dab, staining.sector[n, direction], which, stroma, uneven
                )
            )
            if brush.speckle > 0 and which == IN_CYTOPLASM and brush.marker != CYTOPLASMIC:
                cloud = at_pixel(textures.cloud_a, textures.cloud_b, i, j)
                brown += np.float32(speckle(brush, cloud, grain))
            measured[2 * which - 2] += 1
            measured[2 * which - 1] += brown
            if which == IN_MEMBRANE:
                sector_px[direction] += 1
                sector_od[direction] += brown
            y, x = j - y0, i - x0
            if not (0 <= y < dyes.shape[1] and 0 <= x < dyes.shape[2]):
                continue
            dyes[1, y, x] = brown
            if line.size:
                membrane = which == IN_MEMBRANE and not stroma
                line[y, x] = staining.sector[n, direction] if membrane else CELL_BODY
            if which == IN_NUCLEUS:
                body = chromatin(brush, cells, n, i, j, depth[j - top, i - left], even)
                # brown precipitate keeps some haematoxylin out
                kept = 1.0 - 0.3 * min(dab, 1.0) if brush.marker == NUCLEAR else 1.0
                dyes[0, y, x] = staining.hematoxylin[n] * max(body, 0.15) * kept
                dyes[2, y, x] = 0.35 * brush.eosin
            elif not stroma:
                parted = depth[j - top, i - left] < 0.35 and brush.marker != MEMBRANE
                dyes[0, y, x], dyes[2, y, x] = cytoplasm(brush, textures, i, j, grain, parted)
                dyes[0, y, x] *= bluer
    for which in range(3):
        if measured[2 * which] > 0:
            measured[2 * which + 1] /= measured[2 * which]
    for k in range(32):
        if sector_px[k] > 0:
            sector_od[k] /= sector_px[k]


@njit(cache=True)
def _extent(cells: Cells, n: int) -> tuple[float, float]:
    """Farthest a cell is drawn from its seed, across and down, µm."""
    long_um, short_um = cells.limit_long[n], cells.limit_short[n]
    c, s = abs(math.cos(cells.angle[n])), abs(math.sin(cells.angle[n]))
    wide = math.sqrt((long_um * c) ** 2 + (short_um * s) ** 2)
    high = math.sqrt((long_um * s) ** 2 + (short_um * c) ** 2)
    return wide + abs(cells.offset_x[n]) + BEND_UM, high + abs(cells.offset_y[n]) + BEND_UM


@njit(cache=True, nogil=True)
def stamp_cells(
    brush: Brush,
    textures: Textures,
    cells: Cells,
    staining: Staining,
    x0: int,
    y0: int,
    dyes: NDArray[np.float32],
    line: NDArray[np.float32],
    measured: NDArray[np.float64],
    sector_px: NDArray[np.float64],
    sector_od: NDArray[np.float64],
) -> None:
    """Stamp cells over ``dyes`` and write what each drew.

    ``line`` (h, w), filled with ``GROUND``, receives the even density of every membrane pixel; it
    may be empty.
    ``measured`` (n, 6) has pixels and mean DAB of nucleus, cytoplasm and membrane, ``sector_px``
    and ``sector_od`` (n, 32) pixels and mean DAB of the membrane by direction from the seed. They
    are taken over the whole cell, as far as it lies on the slide, whether or not ``dyes`` has it.
    """
    for n in range(cells.x.size):
        wide, high = _extent(cells, n)
        left = max(math.floor((cells.drawn_x[n] - wide) / brush.mpp), 0)
        top = max(math.floor((cells.drawn_y[n] - high) / brush.mpp), 0)
        right = min(math.ceil((cells.drawn_x[n] + wide) / brush.mpp), brush.width_px)
        bottom = min(math.ceil((cells.drawn_y[n] + high) / brush.mpp), brush.height_px)
        if right <= left or bottom <= top:
            continue
        part = np.zeros((bottom - top, right - left), np.uint8)
        sector = np.zeros((bottom - top, right - left), np.uint8)
        depth = np.zeros((bottom - top, right - left), np.float32)
        mean_grain = np.zeros(4)
        window = (left, top, right, bottom)
        _trace(brush, textures, cells, n, window, part, sector, depth, mean_grain)
        _fill(
            brush,
            textures,
            cells,
            staining,
            n,
            window,
            part,
            sector,
            depth,
            mean_grain,
            x0,
            y0,
            dyes,
            line,
            measured[n],
            sector_px[n],
            sector_od[n],
        )


@njit(cache=True, nogil=True)
def spread_lines(
    line: NDArray[np.float32], reach_px: float, bare: float, dab: NDArray[np.float32]
) -> None:
    """Let stained membranes show over ``reach_px`` of unstained ones and of ground beside them.

    ``line`` is what :func:`stamp_cells` filled; densities up to ``bare`` do not spread. ``dab``
    (h, w) keeps its texture.
    """
    height, width = line.shape
    near = math.floor(reach_px)
    for y in range(height):
        for x in range(width):
            here = line[y, x]
            if here == CELL_BODY:
                continue
            most = max(here, bare)
            for b in range(max(y - near, 0), min(y + near + 1, height)):
                for a in range(max(x - near, 0), min(x + near + 1, width)):
                    if line[b, a] > most and (b - y) ** 2 + (a - x) ** 2 <= reach_px * reach_px:
                        most = line[b, a]
            if most <= max(here, bare):
                continue
            uneven = dab[y, x] / here if here > 0 else np.float32(1.0)
            dab[y, x] = max(most * uneven, dab[y, x])
