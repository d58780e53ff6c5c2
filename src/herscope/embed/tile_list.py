"""Which tiles of a slide are turned into features: a fixed lattice, and the tissue on it.

Tiles are squares of the working grid (0.5 µm/px, 256 px, as KAT's own default, Zheng et al., IEEE
Trans Med Imaging 2023) on a lattice that begins at the slide's upper left corner, so the place of a
tile never depends on where tissue was found. A tile is kept when at least a tenth of it is tissue
(KAT: a mean of 25 of 255). Pen, black borders and dust are no tissue.

Departures from KAT's code: tissue is found by :mod:`herscope.tissue.detection`, not by Otsu's
threshold on saturation, which splits every picture in two; and where there are more tiles than
``max_tiles``, they are thinned to exactly that number, evenly over the slide, where KAT keeps every
f-th row and column and so up to four times fewer than it could.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError
from herscope.embed.tile_spec import EmbedTileSpec
from herscope.slide.grid import Grid
from herscope.slide.opened import Slide
from herscope.tissue.detection import TissueMap, TissueSpec, detect_tissue

__all__ = ["EmbedTileSpec", "TileList", "embed_grid", "find_tissue", "spread", "tile_list"]

OVERVIEW_LEAST_PX = 256
"""A small field's overview is finer than usual, so that its longer side has this many pixels."""
TILE_LEAST_PX = 4
"""Small tiles make the overview finer, so that a tile's edge has this many pixels of it."""
LEAST_INSIDE = 0.5
"""A tile that hangs over the right or lower edge is kept when this much of its edge is inside."""


@dataclass(frozen=True, slots=True, eq=False)
class TileList:
    """Tiles of a slide, by row and then by column.

    Attributes
    ----------
    grid
        The working grid they are read on.
    size_px
        Edge in working pixels.
    xy
        (tiles, 2) int64, upper left corners on the working grid.
    cells
        (tiles, 2) int64, row and column on the lattice, from the slide's corner.
    tissue
        (tiles,) float32, share of each tile that is tissue, 0 to 1.
    found
        How many tiles had enough tissue before ``max_tiles`` thinned them.
    notes
        What a person should know.
    """

    grid: Grid
    size_px: int
    xy: NDArray[np.int64]
    cells: NDArray[np.int64]
    tissue: NDArray[np.float32]
    found: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def tile_px(self) -> float:
        """Edge of a tile in level-0 pixels."""
        return self.size_px * (self.grid.scale_x + self.grid.scale_y) / 2

    @property
    def xy_px(self) -> NDArray[np.int64]:
        """(tiles, 2) int64, upper left corners in level-0 pixels, rounded."""
        return np.rint(self.xy * np.array([self.grid.scale_x, self.grid.scale_y])).astype(np.int64)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return some of the tiles."""
        return replace(self, xy=self.xy[keep], cells=self.cells[keep], tissue=self.tissue[keep])


def embed_grid(slide: Slide, spec: EmbedTileSpec) -> tuple[Grid, tuple[str, ...]]:
    """Choose the working grid: as asked, or the slide's own where that is a little coarser.

    Returns
    -------
    grid, notes

    Raises
    ------
    InputError
        The slide is coarser than ``spec.coarsest_mpp``; nothing is enlarged.
    """
    info, asked = slide.info, spec.mpp
    native, limit = max(info.mpp_x, info.mpp_y), max(spec.coarsest_mpp, spec.mpp)
    if native > limit * (1 + 1e-9):
        raise InputError(
            f"slide {info.name} has {native:.3g} µm/px; tiles of {asked:g} µm/px are wanted and "
            f"slides down to {limit:g} µm/px are taken",
            hint="this looks like an overview or a thumbnail: embed the scan itself; "
            "--override-mpp if the resolution is wrong, --coarsest-mpp to allow it all the same",
        )
    grid = slide.grid(max(asked, native) if native > asked else asked)
    if grid.mpp <= asked * 1.1:
        return grid, ()
    edge = spec.size_px * grid.mpp
    note = (
        f"cut at the slide's own {grid.mpp:.3g} µm/px, asked were {asked:g}: a tile is "
        f"{edge:.0f} µm wide, not {spec.size_px * asked:.0f}"
    )
    return grid, (note,)


def find_tissue(
    slide: Slide, grid: Grid, spec: EmbedTileSpec, tissue: TissueSpec | None = None
) -> TissueMap:
    """Find the tissue of a slide on an overview that is fine enough for its tiles."""
    tissue = tissue or TissueSpec()
    info = slide.info
    longer_um = max(info.width_px * info.mpp_x, info.height_px * info.mpp_y)
    wanted = min(
        float(tissue.overview_mpp),
        longer_um / OVERVIEW_LEAST_PX,
        spec.size_px * grid.mpp / TILE_LEAST_PX,
    )
    overview = slide.grid(max(wanted, grid.mpp))
    return detect_tissue(slide.read_all(overview), overview.mpp, tissue)


def tile_list(
    slide: Slide, tissue: TissueMap | None = None, spec: EmbedTileSpec | None = None
) -> TileList:
    """List the tiles of a slide that hold tissue.

    Parameters
    ----------
    slide
        An open slide.
    tissue
        Its tissue, of the whole slide at any resolution; found here when absent.
    spec
        How to cut; the defaults when absent.

    Returns
    -------
    TileList
        At least one tile, by row and then by column.

    Raises
    ------
    InputError
        Too coarse, or smaller than half a tile.
    EmptyTissue
        No tile holds enough tissue.
    """
    spec = spec or EmbedTileSpec()
    grid, notes = embed_grid(slide, spec)
    tissue = find_tissue(slide, grid, spec) if tissue is None else tissue
    columns, rows = _count(grid.width_px, spec), _count(grid.height_px, spec)
    if not columns or not rows:
        raise InputError(
            f"slide {slide.info.name} has {grid.width_px} x {grid.height_px} px at {grid.mpp:.3g} "
            f"µm/px; a tile of {spec.size_px} px needs half of that on each side",
            hint="choose a smaller --size-px, or leave this slide out",
        )
    share = _share(tissue.mask, grid, rows, columns, spec)
    keep = share >= max(spec.min_tissue, 1e-6)
    cells = np.argwhere(keep)  # by row, then by column
    found = len(cells)
    if not found:
        raise EmptyTissue(
            f"slide {slide.info.name}: none of {rows * columns} tiles is {spec.min_tissue:.0%} "
            f"tissue (the fullest has {share.max():.1%}; {tissue.mask.mean():.2%} of the overview "
            "is tissue)",
            hint="look at it with 'herscope info'; lower --min-tissue for scattered tissue",
        )
    if spec.max_tiles is not None and found > spec.max_tiles:
        cells = cells[spread(cells, spec.max_tiles)]
        notes = (*notes, f"{spec.max_tiles:,} of {found:,} tiles with tissue, evenly spread")
    return TileList(
        grid=grid,
        size_px=spec.size_px,
        xy=cells[:, ::-1].astype(np.int64) * spec.step,
        cells=cells.astype(np.int64),
        tissue=share[cells[:, 0], cells[:, 1]].astype(np.float32),
        found=found,
        notes=notes,
    )


def spread(cells: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Choose so many of the cells, evenly over the plane; indices, rising.

    Cells are put in Morton's order (the bits of row and column in turn), in which neighbours in
    the order are neighbours on the slide, and every n-th of them is taken.

    Examples
    --------
    >>> square = np.argwhere(np.ones((4, 4), bool))
    >>> square[spread(square, 4)].tolist()
    [[1, 0], [1, 2], [3, 0], [3, 2]]
    """
    if number >= len(cells):
        return np.arange(len(cells))
    code = np.zeros(len(cells), np.int64)
    for bit in range(31):
        code |= ((cells[:, 1] >> bit) & 1) << (2 * bit)
        code |= ((cells[:, 0] >> bit) & 1) << (2 * bit + 1)
    order = np.argsort(code, kind="stable")
    ranks = (2 * np.arange(number, dtype=np.int64) + 1) * len(cells) // (2 * number)
    return np.sort(order[ranks])


def _count(length_px: int, spec: EmbedTileSpec) -> int:
    """Tiles along an axis: the last begins where at least half of it is still inside."""
    last = length_px - int(np.ceil(LEAST_INSIDE * spec.size_px))
    return 0 if last < 0 else last // spec.step + 1


def _share(
    mask: NDArray[np.bool_], grid: Grid, rows: int, columns: int, spec: EmbedTileSpec
) -> NDArray[np.float64]:
    """(rows, columns): tissue pixels of the overview whose centre lies in a tile, over all."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    y0, y1, height = _bounds(rows, grid.height_px, mask.shape[0], spec)
    x0, x1, width = _bounds(columns, grid.width_px, mask.shape[1], spec)
    inside = sums[y1][:, x1] - sums[y0][:, x1] - sums[y1][:, x0] + sums[y0][:, x0]
    return inside / (height[:, None] * width[None, :])


def _bounds(
    tiles: int, length_px: int, pixels: int, spec: EmbedTileSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First and last overview pixel of each tile along an axis, and how many there would be.

    Whole numbers: pixel i has its centre at (2 i + 1) * length / (2 * pixels).
    """
    start = np.arange(tiles, dtype=np.int64) * spec.step
    ends = np.stack([start, start + spec.size_px])
    # the first pixel whose centre is not before an edge
    first = -((length_px - 2 * ends * pixels) // (2 * length_px))
    low, high = np.clip(first, 0, pixels)
    return low, high, np.maximum(1, first[1] - first[0])
