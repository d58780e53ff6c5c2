"""Where to look: tiles to count in, blocks to work in, halos to see the neighbours.

A *tile* is the unit of counting and of the heat map: 512 working pixels, as in the AutoIHC paper
(which reads 0.46 µm/px; here 0.5, because that is a whole fraction of nearly every scan). A *block*
is a square of tiles that is read and segmented at once, with a halo around it. Neither changes a
result but the H-score by a network, whose patches the tiles are: every pixel belongs to one tile
and every cell to the tile of its summit, and the paper's
rule that a patch needs at least 1 % tissue is applied on a grid of its own, fixed at 235.52 µm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.core.units import Mpp, Um
from herscope.slide.grid import ONE_PX, Grid

_SNAP_LIMIT = 0.10


class TileSpec(Spec):
    """How a slide is cut."""

    mpp: Mpp = Field(default=Mpp(0.5), description="Working resolution, µm/px.")
    coarsest_mpp: Mpp = Field(
        default=Mpp(1.1),
        description="A slide coarser than the working resolution is scored at its own, up to this.",
    )
    size_px: int = Field(
        default=512, ge=64, le=8192, description="Edge of a counting tile in working pixels."
    )
    block_tiles: int = Field(
        default=4, ge=1, le=32, description="Tiles along the edge of a block that is read at once."
    )
    min_tissue: float = Field(
        default=0.01, ge=0, le=1, description="Patches with less tissue than this are left out."
    )
    screen_um: Um = Field(
        default=Um(235.52), gt=10, description="Edge of the patches of that rule (AutoIHC: 512 px)."
    )


@dataclass(frozen=True, slots=True)
class TileSize:
    """A tile's edge as asked, as read from the file, and as it covers the slide.

    ``asked_px`` and ``working_px`` are working pixels, ``read_px`` pixels of the level that is
    read, ``covered_um`` micrometres of glass.
    """

    asked_px: int
    working_px: int
    read_px: float
    covered_um: float


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of working pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Block:
    """Tiles that are worked on together: ``core`` is theirs, ``halo_px`` is seen around it."""

    index: int
    core: Rect
    halo_px: int
    tile_px: int

    @property
    def read(self) -> Rect:
        """Core and halo."""
        h = self.halo_px
        core = self.core
        return Rect(core.x - h, core.y - h, core.width + 2 * h, core.height + 2 * h)

    def tiles(self) -> Iterator[Rect]:
        """Tiles of the core in raster order."""
        core = self.core
        for y in range(core.y, core.y + core.height, self.tile_px):
            for x in range(core.x, core.x + core.width, self.tile_px):
                yield Rect(
                    x,
                    y,
                    min(self.tile_px, core.x + core.width - x),
                    min(self.tile_px, core.y + core.height - y),
                )


def tile_size(grid: Grid, file_tile_px: int, spec: TileSpec) -> TileSize:
    """Snap the asked edge so that blocks end on the file's own tile borders.

    Reads off the file's grid decode every border tile twice. The edge moves by at most 10 %; where
    no whole number of working pixels fits, it stays as asked.

    Parameters
    ----------
    grid
        The working grid.
    file_tile_px
        Edge of the file's tiles in pixels of the level that is read.
    spec
        What was asked.
    """
    level_per_px = grid.step_x / ONE_PX
    block_level = spec.size_px * spec.block_tiles * level_per_px
    size = spec.size_px
    nearest = round(block_level / file_tile_px) * file_tile_px
    for block in (nearest, nearest - file_tile_px, nearest + file_tile_px):
        snapped = block / level_per_px / spec.block_tiles
        whole = round(snapped)
        if abs(snapped - whole) < 1e-6 and abs(whole / size - 1) <= _SNAP_LIMIT and whole > 0:
            size = whole
            break
    return TileSize(spec.size_px, size, size * level_per_px, size * grid.mpp)


def screen_tissue(mask: NDArray[np.bool_], mpp: float, spec: TileSpec) -> NDArray[np.bool_]:
    """Clear the tissue of patches that hold less than ``spec.min_tissue`` of it.

    Parameters
    ----------
    mask
        (height, width) tissue of the overview.
    mpp
        Micrometres per overview pixel.

    Examples
    --------
    >>> lonely = np.zeros((60, 60), bool)
    >>> lonely[0, 0] = True
    >>> bool(screen_tissue(lonely, 4.0, TileSpec()).any())
    False
    """
    height, width = mask.shape
    row = (((np.arange(height) + 0.5) * mpp) // spec.screen_um).astype(np.int64)
    column = (((np.arange(width) + 0.5) * mpp) // spec.screen_um).astype(np.int64)
    columns = int(column[-1]) + 1
    patch = row[:, None] * columns + column[None, :]
    tissue = np.bincount(patch.ravel(), mask.ravel(), minlength=int(patch.max()) + 1)
    size = np.bincount(patch.ravel(), minlength=int(patch.max()) + 1)
    return mask & (tissue >= spec.min_tissue * size)[patch]


def make_blocks(
    grid: Grid, tissue: NDArray[np.bool_], *, tile_px: int, block_tiles: int, halo_px: int
) -> tuple[Block, ...]:
    """Cut the grid into blocks, in raster order, and keep those that hold tissue.

    Parameters
    ----------
    grid
        Working grid.
    tissue
        (height, width) mask that covers the same glass at any scale.
    tile_px, block_tiles, halo_px
        Edge of a tile, tiles along a block's edge, width of the halo; working pixels.
    """
    edge = tile_px * block_tiles
    rows, columns = tissue.shape
    blocks: list[Block] = []
    for y in range(0, grid.height_px, edge):
        for x in range(0, grid.width_px, edge):
            core = Rect(x, y, min(edge, grid.width_px - x), min(edge, grid.height_px - y))
            y0 = math.floor(y * rows / grid.height_px)
            y1 = math.ceil((y + core.height) * rows / grid.height_px)
            x0 = math.floor(x * columns / grid.width_px)
            x1 = math.ceil((x + core.width) * columns / grid.width_px)
            if tissue[y0:y1, x0:x1].any():
                blocks.append(Block(len(blocks), core, halo_px, tile_px))
    return tuple(blocks)
