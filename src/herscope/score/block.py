"""Score one block of tiles: pixels in, counts and cells out. Pure; any process may do it.

What leaves a block is counts per tile and compartment and one row a cell. Every pixel of a block's
core is counted by this block alone, every cell by the block whose core holds its summit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from herscope.measure.intensity import CellMeasures, count_pixels, grade, measure_cells
from herscope.segment.cells import expand_nuclei
from herscope.segment.compartments import IGNORED, N_CODES
from herscope.segment.nuclei import Labels, segment_nuclei
from herscope.segment.outlines import outlines
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import deconvolve, nuclear_signal
from herscope.tiles import Block, Rect

if TYPE_CHECKING:
    from herscope.score.plan import SlidePlan

BETWEEN_CELLS: Final = N_CODES
"""Row of a tile's histograms that holds tissue outside every cell."""
N_ROWS: Final = N_CODES + 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Columns of a cell table, one entry a cell; see :mod:`herscope.score.tables`."""

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
    membrane_od: NDArray[np.float64]
    nucleus: NDArray[np.object_]
    cell: NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Counts and cells of one block.

    ``tissue_px`` is (tiles, codes), ``histograms`` (tiles, codes + 1, 256): DAB of graded pixels
    by compartment code, then of tissue between the cells.
    """

    index: int
    tiles: tuple[Rect, ...]
    tissue_px: NDArray[np.int64]
    histograms: NDArray[np.int64]
    cells: Cells
    timings_s: dict[str, float]


def score_block(plan: SlidePlan, block: Block, rgb: Rgb, read_s: float = 0.0) -> BlockResult:
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
    """
    clock = _Clock(read=read_s)
    spec, grid, area = plan.spec, plan.grid, block.read
    stains = deconvolve(rgb, plan.table)
    clock.lap("deconvolve")
    codes = plan.codes(area)
    nuclei = segment_nuclei(
        nuclear_signal(stains), grid.mpp, spec.nuclei, contrast_od=plan.preview.contrast_od
    )
    clock.lap("nuclei")
    cells = expand_nuclei(nuclei.labels, grid.mpp, spec.cells)
    _clear_outside(cells, area, grid)
    clock.lap("cells")
    measured = measure_cells(nuclei.labels, cells, stains.dab, len(nuclei.seeds))
    # The pixels that are graded: the nuclei of a nuclear marker, otherwise the whole cells.
    graded = nuclei.labels if plan.marker.target == "nucleus" else cells
    histograms, tissue_px, tiles = _count_tiles(block, stains.dab, graded, cells, codes)
    clock.lap("measure")
    table = _own_cells(plan, block, nuclei.labels, nuclei.seeds, cells, codes, measured)
    clock.lap("outlines")
    return BlockResult(block.index, tiles, tissue_px, histograms, table, clock.seconds)


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
    nuclei: Labels,
    seeds: NDArray[np.int32],
    cells: Labels,
    codes: NDArray[np.uint8],
    measured: CellMeasures,
) -> Cells:
    core, origin, grid = block.core, block.read, plan.grid
    seed_y, seed_x = (seeds[:, axis].astype(np.int64) for axis in (0, 1))
    gx, gy = seed_x + origin.x, seed_y + origin.y
    own = (gx >= core.x) & (gx < core.x + core.width)
    own &= (gy >= core.y) & (gy < core.y + core.height)
    # Centroids on the slide from whole-number sums: the same bits in every block.
    x = (measured.x_sum + origin.x * measured.nucleus_px) / measured.nucleus_px
    y = (measured.y_sum + origin.y * measured.nucleus_px) / measured.nucleus_px
    code = codes[np.floor(y + 0.5).astype(int) - origin.y, np.floor(x + 0.5).astype(int) - origin.x]
    own &= code < IGNORED
    # A cell without cytoplasm (walled in by its neighbours) is graded on its nucleus.
    part = np.where(measured.cytoplasm_px > 0, 1, 0)
    nucleus_od = measured.od("nucleus")
    cytoplasm_od = np.where(part, measured.od("cytoplasm"), nucleus_od)
    membrane_od = np.where(part, measured.od("membrane"), nucleus_od)
    od = {"nucleus": nucleus_od, "cytoplasm": cytoplasm_od, "membrane": membrane_od}[
        plan.marker.target
    ]
    wanted = np.flatnonzero(own)
    labels = (wanted + 1).astype(np.int32)
    return Cells(
        seed_x=gx[own],
        seed_y=gy[own],
        x=x[own] + 0.5,  # a pixel's place is its centre
        y=y[own] + 0.5,
        nucleus_px=measured.nucleus_px[own],
        cell_px=(measured.nucleus_px + measured.cytoplasm_px)[own],
        code=code[own],
        grade=grade(od[own], plan.spec.grades),
        od=od[own],
        nucleus_od=nucleus_od[own],
        cytoplasm_od=cytoplasm_od[own],
        membrane_od=membrane_od[own],
        nucleus=_wkb(nuclei, seeds, labels, origin, grid),
        cell=_wkb(cells, seeds, labels, origin, grid),
    )


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
