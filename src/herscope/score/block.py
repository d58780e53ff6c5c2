"""Score one block of tiles: pixels in, counts and cells out. Pure; any process may do it.

What leaves a block is counts per tile and compartment and one row a cell. Every pixel of a block's
core is counted by this block alone, every cell by the block whose core holds its summit.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from herscope.measure.completeness import UNSEEN
from herscope.measure.intensity import CellMeasures, count_pixels, grade, measure_cells
from herscope.measure.membrane import Membranes, measure_membranes
from herscope.score.learned_hscore import score_patches
from herscope.segment.cells import expand_nuclei
from herscope.segment.compartments import IGNORED, N_CODES
from herscope.segment.interiors import Interiors, find_interiors
from herscope.segment.learned_nuclei import decode_nuclei
from herscope.segment.nuclei import Labels, Nuclei, segment_nuclei
from herscope.segment.nucleus_maps import predict_maps
from herscope.segment.nucleus_windows import ReadRect
from herscope.segment.outlines import outlines
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import Stains, deconvolve, nuclear_signal
from herscope.tiles import Block, Rect

if TYPE_CHECKING:
    from herscope.score.plan import SlidePlan

BETWEEN_CELLS: Final = N_CODES
"""Row of a tile's histograms that holds tissue outside every cell."""
N_ROWS: Final = N_CODES + 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Columns of a cell table, one entry a cell; see :mod:`herscope.score.tables`.

    ``sectors`` (n, 32) and ``radius`` (n, 32; 1/16 working pixels from ``centre``, x and y in
    working pixels) belong to membrane markers; for others they have no columns.
    """

    seed_x: NDArray[np.int64]
    seed_y: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    nucleus_px: NDArray[np.int64]
    cell_px: NDArray[np.int64]
    code: NDArray[np.uint8]
    grade: NDArray[np.int8]
    od: NDArray[np.float64]
    nucleus_od: NDArray[np.float64]
    cytoplasm_od: NDArray[np.float64]
    by_rim: NDArray[np.bool_]
    sectors: NDArray[np.int16]
    radius: NDArray[np.int32]
    centre: NDArray[np.int64]
    nucleus: NDArray[np.object_]
    cell: NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Counts and cells of one block.

    ``tissue_px`` is (tiles, codes), ``histograms`` (tiles, codes + 1, 256): DAB of graded pixels
    by compartment code, then of tissue between the cells. ``h_scores`` is (tiles, compartments of
    the plan), what an H-score model says, NaN without target; (tiles, 0) without a model.
    ``timings_s`` are the laps in their order; the first began at ``began_s`` (of
    ``time.perf_counter``) in the process ``process``.
    """

    index: int
    tiles: tuple[Rect, ...]
    tissue_px: NDArray[np.int64]
    histograms: NDArray[np.int64]
    h_scores: NDArray[np.float64]
    cells: Cells
    timings_s: dict[str, float]
    began_s: float = 0.0
    process: int = 0


def score_block(
    plan: SlidePlan, block: Block, rgb: Rgb, read_s: float = 0.0, *, read: ReadRect | None = None
) -> BlockResult:
    """Score a block.

    Parameters
    ----------
    plan
        The slide's plan.
    block
        Which block.
    rgb
        Its pixels, halo included: (block.read.height, block.read.width, 3) uint8.
    read_s
        Seconds the read took, passed on.
    read
        Pixels of the slide, for what a network needs to see beyond the block.
    """
    began_s = time.perf_counter() - read_s
    clock = _Clock(read=read_s)
    spec, grid, area = plan.spec, plan.grid, block.read
    stains = deconvolve(rgb, plan.table)
    clock.lap("deconvolve")
    codes = plan.codes(area)
    found = _find_cells(plan, stains, _nuclei(plan, block, rgb, stains, read, clock))
    if plan.marker.target == "membrane":
        clock.lap("interiors")
    cells = expand_nuclei(found.labels, grid.mpp, spec.cells)
    _clear_outside(cells, area, grid)
    clock.lap("cells")
    measured = measure_cells(found.labels, cells, stains.dab, len(found.seeds))
    # The pixels that are graded: the nuclei of a nuclear marker, otherwise the whole cells.
    graded = found.labels if plan.marker.target == "nucleus" else cells
    histograms, tissue_px, tiles = _count_tiles(block, stains.dab, graded, cells, codes)
    clock.lap("measure")
    h_scores = np.zeros((len(tiles), 0))
    if plan.h_score is not None:
        h_scores = score_patches(plan.h_score, rgb, graded > 0, codes, area, tiles, plan.parts)
        clock.lap("hscore")
    centres = _centres(found, measured)
    own = _own(block, found.seeds)
    membranes = _membranes(plan, block, found, centres, own, stains.dab)
    clock.lap("membrane")
    table = _own_cells(plan, block, found, cells, codes, measured, centres, own, membranes)
    clock.lap("outlines")
    return BlockResult(
        block.index,
        tiles,
        tissue_px,
        histograms,
        h_scores,
        table,
        clock.seconds,
        began_s,
        os.getpid(),
    )


def _nuclei(
    plan: SlidePlan,
    block: Block,
    rgb: Rgb,
    stains: Stains,
    read: ReadRect | None,
    clock: _Clock,
) -> Nuclei:
    """Find nuclei, by the classical method or by the plan's network."""
    spec, mpp = plan.spec, plan.grid.mpp
    if plan.windows is None:
        found = segment_nuclei(
            nuclear_signal(stains), mpp, spec.nuclei, contrast_od=plan.preview.contrast_od
        )
        clock.lap("nuclei")
        return found
    area = block.read

    def pixels(x: int, y: int, width: int, height: int) -> Rgb:
        # What the block has read need not be decoded again.
        dx, dy = x - area.x, y - area.y
        inside = dx >= 0 and dy >= 0 and dx + width <= area.width and dy + height <= area.height
        if inside or read is None:
            return rgb[dy : dy + height, dx : dx + width]
        return read(x, y, width, height)

    maps = predict_maps(plan.windows, area, pixels, plan.shared)
    clock.lap("network")
    found = decode_nuclei(maps, plan.windows.classes, mpp, spec.learned_nuclei)
    clock.lap("decode")
    return found


def _find_cells(plan: SlidePlan, stains: Stains, nuclei: Nuclei) -> Interiors:
    """Add, where the membranes are stained, the cells that only their rim shows."""
    if plan.marker.target == "membrane":
        return find_interiors(stains.dab, nuclei, plan.grid.mpp, plan.spec.interiors)
    return Interiors(nuclei.labels, nuclei.seeds, np.zeros(len(nuclei.seeds), np.bool_))


def _centres(found: Interiors, measured: CellMeasures) -> NDArray[np.int32]:
    """(n, 2) y, x from which a cell is seen: its nucleus' centroid, or its seed if that is out."""
    y = (measured.y_sum // measured.nucleus_px).astype(np.int32)
    x = (measured.x_sum // measured.nucleus_px).astype(np.int32)
    inside = found.labels[y, x] == np.arange(1, len(y) + 1)
    return np.where(inside[:, None], np.stack([y, x], axis=1), found.seeds)


def _own(block: Block, seeds: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(n,) cells whose seed lies in the block's core."""
    core, origin = block.core, block.read
    y, x = (seeds[:, axis].astype(np.int64) for axis in (0, 1))
    own = (x + origin.x >= core.x) & (x + origin.x < core.x + core.width)
    own &= (y + origin.y >= core.y) & (y + origin.y < core.y + core.height)
    return np.asarray(own)


def _membranes(
    plan: SlidePlan,
    block: Block,
    found: Interiors,
    centres: NDArray[np.int32],
    own: NDArray[np.bool_],
    dab: NDArray[np.int16],
) -> Membranes | None:
    if plan.marker.target != "membrane":
        return None
    grid, area, spec = plan.grid, block.read, plan.spec
    return measure_membranes(
        found.labels,
        centres,
        dab,
        grid.mpp,
        spec.membrane,
        by_rim=found.by_rim,
        wanted=own,
        max_radius_um=2 * max(spec.nuclei_in_use.max_radius_um, spec.interiors.max_radius_um),
        on_slide=(
            max(0, -area.y),
            max(0, -area.x),
            min(area.height, grid.height_px - area.y),
            min(area.width, grid.width_px - area.x),
        ),
    )


def _clear_outside(cells: Labels, area: Rect, grid: Grid) -> None:
    """Cut cells at the slide's edge: what lies beyond it is padding, not glass."""
    cells[: max(0, -area.y)] = 0
    cells[:, : max(0, -area.x)] = 0
    cells[max(0, grid.height_px - area.y) :] = 0
    cells[:, max(0, grid.width_px - area.x) :] = 0


class _Clock:
    """Seconds between laps."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = dict(seconds)
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _count_tiles(
    block: Block,
    dab: NDArray[np.int16],
    graded: Labels,
    cells: Labels,
    codes: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Rect, ...]]:
    tiles = tuple(block.tiles())
    histograms = np.zeros((len(tiles), N_ROWS, 256), np.int64)
    tissue_px = np.zeros((len(tiles), N_CODES), np.int64)
    origin = block.read
    for i, tile in enumerate(tiles):
        here = np.s_[
            tile.y - origin.y : tile.y - origin.y + tile.height,
            tile.x - origin.x : tile.x - origin.x + tile.width,
        ]
        code, brown = codes[here], dab[here]
        tissue = code < IGNORED
        histograms[i, :N_CODES] = count_pixels(brown, (graded[here] > 0) & tissue, code, N_CODES)
        histograms[i, BETWEEN_CELLS] = count_pixels(
            brown, (cells[here] == 0) & tissue, np.zeros_like(code), 1
        )[0]
        tissue_px[i] = np.bincount(code[tissue], minlength=N_CODES)
    return histograms, tissue_px, tiles


def _own_cells(
    plan: SlidePlan,
    block: Block,
    found: Interiors,
    cells: Labels,
    codes: NDArray[np.uint8],
    measured: CellMeasures,
    centres: NDArray[np.int32],
    own: NDArray[np.bool_],
    membranes: Membranes | None,
) -> Cells:
    origin, grid = block.read, plan.grid
    # Centroids on the slide from whole-number sums: the same bits in every block.
    x = (measured.x_sum + origin.x * measured.nucleus_px) / measured.nucleus_px
    y = (measured.y_sum + origin.y * measured.nucleus_px) / measured.nucleus_px
    code = codes[np.floor(y + 0.5).astype(int) - origin.y, np.floor(x + 0.5).astype(int) - origin.x]
    kept = code[own] < IGNORED
    wanted = np.flatnonzero(own)[kept]
    # A cell without cytoplasm (walled in by its neighbours) is graded on its nucleus.
    part = np.where(measured.cytoplasm_px > 0, 1, 0)
    nucleus_od = measured.od("nucleus")
    cytoplasm_od = np.where(part, measured.od("cytoplasm"), nucleus_od)
    if membranes is None:
        od = (nucleus_od if plan.marker.target == "nucleus" else cytoplasm_od)[wanted]
        sectors, radius = np.zeros((len(od), 0), np.int16), np.zeros((len(od), 0), np.int32)
    else:
        sectors, radius = membranes.sectors[kept], membranes.radius[kept]
        od = _membrane_od(sectors, cytoplasm_od[wanted])
        cytoplasm_od[wanted] = membranes.cytoplasm[kept] / 1000  # without the membrane
    seed = found.seeds[wanted].astype(np.int64)
    labels = (wanted + 1).astype(np.int32)
    return Cells(
        seed_x=seed[:, 1] + origin.x,
        seed_y=seed[:, 0] + origin.y,
        x=x[wanted] + 0.5,  # a pixel's place is its centre
        y=y[wanted] + 0.5,
        nucleus_px=measured.nucleus_px[wanted],
        cell_px=(measured.nucleus_px + measured.cytoplasm_px)[wanted],
        code=code[wanted],
        grade=grade(od, plan.spec.grading),
        od=od,
        nucleus_od=nucleus_od[wanted],
        cytoplasm_od=cytoplasm_od[wanted],
        by_rim=found.by_rim[wanted],
        sectors=sectors,
        radius=radius,
        centre=centres[wanted][:, ::-1] + np.array([origin.x, origin.y], np.int64),
        nucleus=_wkb(found.labels, found.seeds, labels, origin, grid),
        cell=_wkb(cells, found.seeds, labels, origin, grid),
    )


def _membrane_od(sectors: NDArray[np.int16], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the seen sectors; a cell of which nothing was seen takes ``otherwise``."""
    seen = sectors != UNSEEN
    count = seen.sum(axis=1)
    total = np.where(seen, sectors, 0).sum(axis=1, dtype=np.int64)
    return np.where(count > 0, total / np.maximum(1000 * count, 1), otherwise)


def _wkb(
    image: Labels,
    seeds: NDArray[np.int32],
    labels: NDArray[np.int32],
    origin: Rect,
    grid: Grid,
) -> NDArray[np.object_]:
    traced = outlines(
        image,
        seeds,
        labels,
        x0=origin.x,
        y0=origin.y,
        scale_x=grid.scale_x,
        scale_y=grid.scale_y,
    )
    return np.asarray(shapely.to_wkb(traced, byte_order=1), dtype=object)
