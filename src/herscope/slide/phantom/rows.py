"""Rows and outlines of cells, from what a block drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from herscope.slide.phantom.layout import Cells
from herscope.slide.phantom.render import Drawn, Plan
from herscope.slide.phantom.shapes import KINDS
from herscope.slide.phantom.spec_looks import LOOKS
from herscope.slide.phantom.staining import PATTERNS
from herscope.slide.phantom.stamp import CELL_OD, MEMBRANE_OD, NUCLEUS_OD, NUCLEUS_PX
from herscope.slide.phantom.textures import unbend_all

NUCLEUS_VERTICES: Final = 32
CELL_VERTICES: Final = 64
COMPARTMENTS: Final = ("tumor", "stroma", "stroma", "other", "other")
"""Compartment of each kind of cell."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Truth of the cells of one block, in the compact form that is kept for the whole slide."""

    table: pd.DataFrame
    nuclei: NDArray[np.float32]
    outlines: NDArray[np.float32]
    sectors: NDArray[np.float32]


def truth_piece(plan: Plan, drawn: Drawn) -> Piece:
    """Turn what a block drew into rows and outlines."""
    nuclei = _nuclei(plan, drawn.cells)
    return Piece(
        _table(plan, drawn, _centroids(nuclei) * plan.spec.mpp),
        nuclei,
        _outlines(plan, drawn.cells),
        drawn.sector_od.astype(np.float32),
    )


def _centroids(outlines: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 2) centres of area of (n, k, 2) outlines (the shoelace formula)."""
    corner = outlines.astype(np.float64)
    origin = corner[:, :1]
    this, following = corner - origin, np.roll(corner, -1, axis=1) - origin
    cross = this[..., 0] * following[..., 1] - following[..., 0] * this[..., 1]
    moment = ((this + following) * cross[..., None]).sum(axis=1)
    centers: NDArray[np.float64] = moment / (3 * cross.sum(axis=1))[:, None] + origin[:, 0]
    return centers


def _table(plan: Plan, drawn: Drawn, center: NDArray[np.float64]) -> pd.DataFrame:
    spec, cells, measured = plan.spec, drawn.cells, drawn.measured
    column = {
        "nuclear": NUCLEUS_OD,
        "membrane": MEMBRANE_OD,
        "cytoplasmic": CELL_OD,
        "he": NUCLEUS_OD,
    }
    od = measured[:, column[spec.stain]]
    if spec.stain == "cytoplasmic":
        # the outer band is cytoplasm as well when the marker is not on the membrane
        px, value = measured[:, [2, 4]], measured[:, [3, 5]]
        od = (px * value).sum(axis=1) / np.maximum(px.sum(axis=1), 1)
    obscured = np.zeros(cells.x.size, dtype=bool)
    for artefact in plan.artefacts:
        obscured |= artefact.covers(center)
    if spec.border_um:
        obscured |= (center < spec.border_um).any(axis=1)
        obscured |= (
            center > (spec.width_um - spec.border_um, spec.height_um - spec.border_um)
        ).any(axis=1)
    table = {
        "cell_id": (cells.key >> np.uint64(1)).astype(np.int64),
        "x_um": center[:, 0],
        "y_um": center[:, 1],
        "seed_x_um": cells.drawn_x,
        "seed_y_um": cells.drawn_y,
        "compartment": np.asarray(COMPARTMENTS, dtype=object)[cells.kind],
        "kind": np.asarray(KINDS, dtype=object)[cells.kind],
        "grade": np.searchsorted(spec.grade_cuts, od, side="right").astype(np.int64),
        "od": od,
        "nucleus_od": measured[:, NUCLEUS_OD],
        "cytoplasm_od": measured[:, CELL_OD],
        "membrane_od": measured[:, MEMBRANE_OD],
        "hematoxylin_od": drawn.staining.hematoxylin,
        "nucleus_area_um2": measured[:, NUCLEUS_PX] * spec.mpp**2,
        "obscured": obscured,
    }
    if any(spec.nucleus_looks):
        table["look"] = np.asarray(LOOKS, dtype=object)[cells.look]
    if spec.stain == "membrane":
        sectors = drawn.sector_od
        known = np.maximum((drawn.sector_px > 0).sum(axis=1), 1)
        above = [(sectors >= cut).sum(axis=1) for cut in spec.grade_cuts]
        stained = np.where(sectors >= spec.grade_cuts[0], sectors * drawn.sector_px, 0.0).sum(
            axis=1
        )
        weight = np.where(sectors >= spec.grade_cuts[0], drawn.sector_px, 0.0).sum(axis=1)
        table["pattern"] = np.asarray(PATTERNS, dtype=object)[drawn.staining.pattern]
        table["stained_od"] = stained / np.maximum(weight, 1)
        for k, count in enumerate(above, start=1):
            table[f"completeness_{k}"] = count / known
    return pd.DataFrame(table)


def _on_slide(plan: Plan, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the straight plane as they lie on the slide, µm."""
    out: NDArray[np.float64] = unbend_all(
        *plan.textures[4:8], plan.spec.mpp, np.ascontiguousarray(points_um)
    )
    return out


def _bent(plan: Plan, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, k) straight coordinates to (n, k, 2) level-0 pixels."""
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return (_on_slide(plan, points) / plan.spec.mpp).reshape(*x.shape, 2).astype(np.float32)


def _nuclei(plan: Plan, cells: Cells) -> NDArray[np.float32]:
    turn = 2 * np.pi * np.arange(NUCLEUS_VERTICES) / NUCLEUS_VERTICES
    u = cells.long_um[:, None] * np.cos(turn)
    v = cells.short_um[:, None] * np.sin(turn)
    c, s = np.cos(cells.angle)[:, None], np.sin(cells.angle)[:, None]
    dx, dy = c * u - s * v, s * u + c * v
    if plan.spec.nucleus_gap_um < 0:
        # such nuclei are cut where their cell ends
        reach = _nearest_border(cells, dx, dy, np.ones_like(dx))
        dx, dy = reach * dx, reach * dy
    x = (cells.x + cells.offset_x)[:, None] + dx
    y = (cells.y + cells.offset_y)[:, None] + dy
    return _bent(plan, x, y)


def _outlines(plan: Plan, cells: Cells) -> NDArray[np.float32]:
    """Cell borders by rays from the nucleus' centre: the nearest half-plane or limit ends each."""
    turn = 2 * np.pi * np.arange(CELL_VERTICES) / CELL_VERTICES
    dx, dy = np.cos(turn)[None, :], np.sin(turn)[None, :]
    c, s = np.cos(cells.angle)[:, None], np.sin(cells.angle)[:, None]
    along = (c * dx + s * dy) / cells.limit_long[:, None]
    across = (c * dy - s * dx) / cells.limit_short[:, None]
    reach = _nearest_border(cells, dx, dy, 1 / np.sqrt(along**2 + across**2))
    ox, oy = cells.offset_x[:, None], cells.offset_y[:, None]
    return _bent(plan, (cells.x[:, None] + ox) + reach * dx, (cells.y[:, None] + oy) + reach * dy)


def _nearest_border(
    cells: Cells, dx: NDArray[np.float64], dy: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where rays (n, k) from the nucleus' centre leave the cell, in their lengths, or ``reach``."""
    ox, oy = cells.offset_x[:, None], cells.offset_y[:, None]
    for k in range(cells.plane.shape[1]):
        nx, ny, room = (cells.plane[:, k, m][:, None] for m in range(3))
        slope = nx * dx + ny * dy
        facing = (slope > 1e-9) & (k < cells.borders)[:, None]
        distance = (room - nx * ox - ny * oy) / np.where(facing, slope, 1.0)
        reach = np.where(facing, np.minimum(reach, distance), reach)
    return reach
