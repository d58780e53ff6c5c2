"""Tiles cover every pixel once, blocks see their halo, and neither decides what is tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herscope.core.units import Mpp
from herscope.slide.grid import ONE_PX, Grid
from herscope.tiles import TileSpec, make_blocks, screen_tissue, tile_size


def grid(width: int, height: int, factor: float = 2.0) -> Grid:
    return Grid(
        mpp=Mpp(0.5),
        asked_mpp=Mpp(0.5),
        level=0,
        width_px=width,
        height_px=height,
        scale_x=factor,
        scale_y=factor,
        native=factor == 1,
        step_x=round(factor * ONE_PX),
        step_y=round(factor * ONE_PX),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(64, 300), st.integers(1, 3))
def test_tiles_cover_every_pixel_once(width: int, height: int, tile: int, along: int) -> None:
    seen = np.zeros((height, width), int)
    tissue = np.ones((7, 5), bool)
    blocks = make_blocks(grid(width, height), tissue, tile_px=tile, block_tiles=along, halo_px=9)
    for block in blocks:
        for t in block.tiles():
            seen[t.y : t.y + t.height, t.x : t.x + t.width] += 1
    assert (seen == 1).all()
    assert [block.index for block in blocks] == list(range(len(blocks)))


def test_blocks_without_tissue_are_left_out() -> None:
    tissue = np.zeros((10, 10), bool)
    tissue[9, 9] = True
    blocks = make_blocks(grid(1000, 1000), tissue, tile_px=100, block_tiles=1, halo_px=0)
    assert [(b.core.x, b.core.y) for b in blocks] == [(900, 900)]


def test_a_halo_widens_what_is_read() -> None:
    tissue = np.ones((1, 1), bool)
    block = make_blocks(grid(100, 80), tissue, tile_px=512, block_tiles=1, halo_px=30)[0]
    read = block.read
    assert (read.x, read.y, read.width, read.height) == (-30, -30, 160, 140)


@pytest.mark.parametrize(
    ("file_tile", "expected"), [(256, 512), (240, 510), (512, 512), (7000, 512)]
)
def test_tiles_snap_to_the_files_own(file_tile: int, expected: int) -> None:
    size = tile_size(grid(5000, 5000), file_tile, TileSpec())
    assert size.working_px == expected
    assert size.asked_px == 512
    assert size.read_px == expected * 2
    assert size.covered_um == expected * 0.5
    assert expected == 512 or expected * 4 * 2 % file_tile == 0


def test_a_patch_needs_one_percent_of_tissue() -> None:
    spec = TileSpec()
    mask = np.zeros((118, 118), bool)  # 4 µm: two patches of 235.52 µm along each side
    mask[:5, :7] = True  # 35 of 58.88² pixels: just above 1 %
    mask[70:73, 70:74] = True  # 12: below
    kept = screen_tissue(mask, 4.0, spec)
    assert kept[:5, :7].all()
    assert not kept[70:, 70:].any()
    everything = TileSpec(min_tissue=0.0)
    assert (screen_tissue(mask, 4.0, everything) == mask).all()
