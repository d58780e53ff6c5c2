"""Any rectangle of a phantom as pixels, the same bits whatever rectangle it is part of.

A :class:`Plan` holds what the whole slide shares (textures, cut levels, dye vectors, artefacts:
about 35 MB, half a second to make). From then on a rectangle costs only its own area.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import OutOfBounds
from herscope.slide.phantom.artefacts import (
    Artefact,
    border_px,
    defocus_weight,
    overlaps,
    place_artefacts,
    soil,
)
from herscope.slide.phantom.brush import Brush, make_brush
from herscope.slide.phantom.dyes import dye_vectors
from herscope.slide.phantom.fields import Fields, cluster_quantiles, make_fields, node_range
from herscope.slide.phantom.ground import paint_ground
from herscope.slide.phantom.layout import Cells, lay_cells
from herscope.slide.phantom.light import (
    POWERS,
    blur,
    blur_weights,
    densities,
    expose,
    shading_profile,
    transmit,
)
from herscope.slide.phantom.planes import Structures, make_structures, planes
from herscope.slide.phantom.scanner import Scanner, apply_scanner, make_scanner
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.staining import SECTORS, Staining, stain_cells
from herscope.slide.phantom.stamp import GROUND, spread_lines, stamp_cells
from herscope.slide.phantom.textures import Textures, make_textures
from herscope.slide.protocol import Rgb

BLOCK_PX = 1024
"""Side of the rectangles that are drawn at once: large against a cell, small against memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a slide that does not depend on the place."""

    spec: PhantomSpec
    textures: Textures
    fields: Fields
    alike: NDArray[np.float64]
    brush: Brush
    vectors: NDArray[np.float32]
    artefacts: tuple[Artefact, ...]
    focus: NDArray[np.float32]
    defocus: NDArray[np.float32]
    structures: Structures | None
    scanner: Scanner


@functools.lru_cache(maxsize=2)
def make_plan(spec: PhantomSpec) -> Plan:
    """Prepare a slide for drawing; the last two plans are kept."""
    fields = make_fields(spec)
    return Plan(
        spec=spec,
        textures=make_textures(spec.seed, spec.mpp, spec.wobble_um),
        fields=fields,
        alike=cluster_quantiles(fields),
        brush=make_brush(spec),
        vectors=dye_vectors(spec).astype(np.float32),
        artefacts=place_artefacts(spec),
        focus=blur_weights(spec.blur_sigma_um / spec.mpp),
        defocus=blur_weights(spec.defocus_sigma_um / spec.mpp),
        structures=make_structures(spec, fields),
        scanner=make_scanner(spec),
    )


@dataclass(frozen=True, slots=True)
class Drawn:
    """Cells of a rectangle with what was drawn into each (see ``stamp.stamp_cells``)."""

    cells: Cells
    staining: Staining
    measured: NDArray[np.float64]
    sector_px: NDArray[np.float64]
    sector_od: NDArray[np.float64]

    def take(self, which: NDArray[np.bool_]) -> Drawn:
        """Rows where ``which`` is true."""
        return Drawn(
            self.cells.take(which),
            self.staining.take(which),
            self.measured[which],
            self.sector_px[which],
            self.sector_od[which],
        )


def render_region(spec: PhantomSpec, x_px: int, y_px: int, width_px: int, height_px: int) -> Rgb:
    """Draw one rectangle of level 0, without a file and before JPEG.

    Parameters
    ----------
    spec
        The slide.
    x_px, y_px
        Corner in level-0 pixels.
    width_px, height_px
        Size, at least one pixel each, inside the slide.

    Returns
    -------
    Rgb
        (height_px, width_px, 3), 8 bits. The same pixels as any other rectangle that holds them.

    Raises
    ------
    OutOfBounds
        The rectangle is empty or leaves the slide.

    Examples
    --------
    >>> render_region(PhantomSpec(width_um=40, height_um=40), 8, 4, 64, 32).shape
    (32, 64, 3)
    """
    fits_x = width_px > 0 and 0 <= x_px <= spec.width_px - width_px
    fits_y = height_px > 0 and 0 <= y_px <= spec.height_px - height_px
    if not (fits_x and fits_y):
        raise OutOfBounds(
            f"region x={x_px}, y={y_px}, {width_px} x {height_px} px is outside the phantom of "
            f"{spec.width_px} x {spec.height_px} px",
            hint="coordinates are level-0 pixels from the upper left corner",
        )
    plan = make_plan(spec)
    out = np.empty((height_px, width_px, 3), dtype=np.uint8)
    for top in range(0, height_px, BLOCK_PX):
        for left in range(0, width_px, BLOCK_PX):
            part = out[top : top + BLOCK_PX, left : left + BLOCK_PX]
            draw_block(plan, x_px + left, y_px + top, part)
    return out


def draw_block(plan: Plan, x0: int, y0: int, out: Rgb) -> Drawn | None:
    """Draw a rectangle into ``out``; return the cells whose seed lies in it, if any were drawn."""
    spec, mpp = plan.spec, plan.spec.mpp
    height, width = out.shape[:2]
    touching = [
        a for a in plan.artefacts if overlaps(a, mpp, x0 - 64, y0 - 64, width + 128, height + 128)
    ]
    patches = [a for a in touching if a.kind == "defocus"]
    near, far = plan.focus.size // 2, plan.defocus.size // 2
    margin = math.ceil(_line_px(spec))
    halo = near + (far if patches else 0) + plan.scanner.halo_px + margin
    left, top, wide, high = x0 - halo, y0 - halo, width + 2 * halo, height + 2 * halo
    dyes = np.zeros((3, high, wide), dtype=np.float32)
    reach = _cell_reach_um(spec)
    box = (
        left * mpp - reach,
        top * mpp - reach,
        (left + wide) * mpp + reach,
        (top + high) * mpp + reach,
    )
    # Cells of the tissue beside the rectangle may reach into it.
    i0, j0, columns, rows = node_range(*box)
    lattice, _ = planes(plan.fields, plan.structures, i0, j0, columns, rows)
    tissue = bool((lattice[0] > 0).any())
    if tissue:
        paint_ground(plan.brush, plan.textures, lattice, i0, j0, left, top, dyes)
    drawn = None
    if tissue or spec.single_cell:
        drawn = draw_cells(plan, box, left, top, dyes)
    if margin:  # seen only for what spreads from it
        dyes = np.ascontiguousarray(dyes[:, margin:-margin, margin:-margin])
        left, top, wide, high = left + margin, top + margin, wide - 2 * margin, high - 2 * margin
    border = border_px(spec)
    framed = border > 0 and (
        left < border
        or top < border
        or left + wide > spec.width_px - border
        or top + high > spec.height_px - border
    )
    empty = not (tissue or touching or framed or (drawn is not None and drawn.cells.x.size))
    light = dyes
    if not empty:
        light = densities(dyes, plan.vectors)
        soil(tuple(touching), spec, left, top, light)
        transmit(light, POWERS)
        light = blur(light, plan.focus)
        if patches:
            halo = plan.scanner.halo_px
            light = _defocus(plan, patches, light, x0 - halo, y0 - halo, far)
        light = apply_scanner(plan.scanner, light)
    expose(
        light,
        empty,
        np.asarray(spec.white_point, dtype=np.float32),
        shading_profile(x0, width, mpp, spec.shading, 0.15),
        shading_profile(y0, height, mpp, spec.shading, 0.6),
        np.uint64(spec.seed),
        spec.noise_sd,
        x0,
        y0,
        out,
    )
    if drawn is None:
        return None
    cells = drawn.cells
    inside_x = (cells.drawn_x >= x0 * mpp) & (cells.drawn_x < (x0 + width) * mpp)
    inside_y = (cells.drawn_y >= y0 * mpp) & (cells.drawn_y < (y0 + height) * mpp)
    return drawn.take(inside_x & inside_y)


def _cell_reach_um(spec: PhantomSpec) -> float:
    """How far from its seed a cell may be drawn."""
    wall = 0.0
    if spec.tumor_gland_fraction or spec.normal_gland_fraction:
        wall = 1.15 * spec.epithelium_um
    return max(spec.cell_radius_um, wall) + 6.0


def _line_px(spec: PhantomSpec) -> float:
    """How far a membrane's stain shows beyond its own half, 0 for other markers."""
    return 0.5 * spec.membrane_width_um / spec.mpp + 0.5 if spec.stain == "membrane" else 0.0


def nothing_drawn() -> Drawn:
    """No cell at all."""
    flat, whole, wide = np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros((0, SECTORS))
    cells = Cells(
        key=np.zeros(0, dtype=np.uint64),
        x=flat,
        y=flat,
        drawn_x=flat,
        drawn_y=flat,
        kind=whole,
        offset_x=flat,
        offset_y=flat,
        long_um=flat,
        short_um=flat,
        angle=flat,
        limit_long=flat,
        limit_short=flat,
        borders=whole,
        plane=np.zeros((0, 1, 3)),
        cluster=flat,
        look=whole,
        slow=flat,
    )
    return Drawn(cells, Staining(flat, flat, whole, wide), np.zeros((0, 6)), wide, wide)


def draw_cells(
    plan: Plan,
    box_um: tuple[float, float, float, float],
    left: int,
    top: int,
    dyes: NDArray[np.float32],
) -> Drawn:
    """Stamp all cells of a rectangle over (3, h, w) dyes whose corner is (left, top)."""
    cells = lay_cells(plan.spec, plan.fields, plan.textures, box_um, plan.structures)
    staining = stain_cells(plan.spec, cells, plan.alike)
    count = cells.x.size
    measured = np.zeros((count, 6))
    sector_px, sector_od = np.zeros((count, SECTORS)), np.zeros((count, SECTORS))
    lines = plan.spec.stain == "membrane" and dyes.size > 0
    line = np.full(dyes.shape[1:] if lines else (0, 0), GROUND, dtype=np.float32)
    stamp_cells(
        plan.brush,
        plan.textures,
        cells,
        staining,
        left,
        top,
        dyes,
        line,
        measured,
        sector_px,
        sector_od,
    )
    if lines:
        spread_lines(line, _line_px(plan.spec), plan.spec.grade_od[0], dyes[1])
    return Drawn(cells, staining, measured, sector_px, sector_od)


def _defocus(
    plan: Plan, patches: list[Artefact], light: NDArray[np.float32], x0: int, y0: int, far: int
) -> NDArray[np.float32]:
    """Blend in the blurred picture inside the patches; takes off the halo that needed."""
    soft = blur(light, plan.defocus)
    height, width = soft.shape[1:]
    sharp = light[:, far : far + height, far : far + width]
    weight = np.zeros((height, width), dtype=np.float32)
    for patch in patches:
        x, y = patch.path[0]
        weight = np.maximum(
            weight,
            defocus_weight(x, y, patch.radius_um, plan.spec.mpp, x0, y0, (height, width)),
        )
    blended: NDArray[np.float32] = sharp + weight * (soft - sharp)
    return np.ascontiguousarray(blended)
