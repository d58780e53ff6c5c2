"""Rectangles and grids: the same bits in every rectangle, and which level serves what is asked."""

import copy
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from herscope.core.errors import InputError, UpsamplingRefused
from herscope.slide import resample, tiff
from herscope.slide.grid import Grid
from herscope.slide.opened import open_slide
from herscope.slide.openslide import OpenSlideReader
from herscope.slide.tiff import TiffReader

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
SVS = "he/wsi/CMU-1-Small-Region.svs"


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data absent: {name}")
    return path


def tissue(height, width, seed=0):
    """Smooth stained-looking pixels with some noise: compressible, but nowhere constant."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 250, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(image).astype(int) + rng.integers(-6, 7, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def as_ycbcr(pixels):
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    """A tiled JPEG slide of 0.25 µm/px in odd tiles, no pyramid: every factor is resampled."""
    path = tmp_path_factory.mktemp("slides") / "a.tif"
    tifffile.imwrite(
        path,
        as_ycbcr(tissue(900, 1010, seed=3)),
        photometric="ycbcr",
        tile=(96, 112),
        compression="jpeg",
        resolution=(4e4, 4e4),
        resolutionunit=3,
    )
    with open_slide(path) as slide:
        grids = {factor: slide.grid(0.25 * factor) for factor in (1, 2, 4, 1.84, 3.7)}
        yield slide, grids, {f: slide.read_all(grid) for f, grid in grids.items()}


@pytest.mark.parametrize("factor", [1, 2, 4, 1.84, 3.7])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_pixel_has_the_same_bits_in_every_rectangle(pyramid, factor, data):
    slide, grids, wholes = pyramid
    grid, all_of_it = grids[factor], wholes[factor]
    x = data.draw(st.integers(-60, grid.width_px + 20))
    y = data.draw(st.integers(-60, grid.height_px + 20))
    width, height = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    margin = 400
    framed = np.full((grid.height_px + 2 * margin, grid.width_px + 2 * margin, 3), 255, np.uint8)
    framed[margin:-margin, margin:-margin] = all_of_it

    read = slide.read(grid, x, y, width, height)

    assert np.array_equal(
        read, framed[y + margin : y + margin + height, x + margin : x + margin + width]
    )


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 1.84, 3.7])
def test_averages_agree_with_a_plain_computation(pyramid, factor):
    # Arrange: the same definition in float64, cell by cell
    slide, _, wholes = pyramid
    grid = slide.grid(0.25 * factor)
    source = wholes[1].astype(float)
    sums = np.pad(source.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))

    def upto(edges, axis):
        low = np.minimum(np.floor(edges).astype(int), source.shape[axis])
        high = np.minimum(low + 1, source.shape[axis])
        return low, high, edges - low

    # Act
    read = slide.read_all(grid)

    # Assert
    y_low, y_high, fy = upto(np.arange(grid.height_px + 1) * grid.scale_y, 0)
    x_low, x_high, fx = upto(np.arange(grid.width_px + 1) * grid.scale_x, 1)
    rows = sums[y_low] * (1 - fy)[:, None, None] + sums[y_high] * fy[:, None, None]
    both = rows[:, x_low] * (1 - fx)[None, :, None] + rows[:, x_high] * fx[None, :, None]
    area = np.diff(np.diff(both, axis=0), axis=1) / (grid.scale_x * grid.scale_y)
    assert np.abs(read - area).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_whole_number_factors_round_halves_up_exactly(factor):
    # Arrange: sums of 0 and 1 whose mean is often just one half
    source = np.random.default_rng(2).integers(0, 2, (factor * 40, factor * 50, 3), dtype=np.uint8)
    blocks = source.reshape(40, factor, 50, factor, 3).astype(int).sum((1, 3))

    read = resample.area_average(
        source, x=0, y=0, width=50, height=40, step_x=factor << 16, step_y=factor << 16
    )

    assert np.array_equal(read, (2 * blocks + factor**2) // (2 * factor**2))


@pytest.mark.parametrize("factor", [2, 4])
def test_the_quick_loops_give_the_bits_of_the_general_one(factor):
    source = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    step = factor << 16
    width, height = 96 // factor, 64 // factor
    place = {"x": 0, "y": 0, "width": width, "height": height, "step_x": step, "step_y": step}

    quick = resample.area_average(source, **place)
    general = np.empty_like(quick)
    resample._mean_any(source, general, np.empty(96 * 3, np.uint32), 0, 0, step, step)

    assert np.array_equal(quick, general)


def test_large_reads_cut_into_blocks_have_the_same_bits(pyramid, monkeypatch):
    slide, grids, wholes = pyramid
    monkeypatch.setattr("herscope.slide.opened.BLOCK_PX", 128)
    monkeypatch.setattr("herscope.slide.opened.WHOLE_READ_PX", 1)

    for factor in (2, 1.84, 3.7):
        assert np.array_equal(slide.read_all(grids[factor]), wholes[factor])


def test_openslide_rectangles_have_the_same_bits_too():
    reader = OpenSlideReader(real(SVS))
    direct = TiffReader(real(SVS))
    try:
        for x, y, width, height in [(500, 500, 40, 700), (-5, 1020, 600, 9), (2200, 2960, 40, 40)]:
            assert np.array_equal(
                reader.read(0, x, y, width, height), direct.read(0, x, y, width, height)
            )
    finally:
        reader.close()
        direct.close()


def test_the_grid_of_a_level_within_the_tolerance_is_the_level(pyramid):
    slide, _, _ = pyramid

    near, far = slide.grid(0.27), slide.grid(0.28)

    assert (near.native, near.mpp, near.asked_mpp, near.width_px) == (True, 0.25, 0.27, 1010)
    assert not far.native
    assert far.mpp == pytest.approx(0.28, rel=1e-4)


def test_finer_pixels_than_scanned_are_refused(pyramid):
    slide, _, _ = pyramid

    assert slide.grid(0.226).native
    with pytest.raises(UpsamplingRefused, match=r"0\.25 µm/px; 0\.224 µm/px is finer") as caught:
        slide.grid(0.224)
    assert caught.value.hint


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), 1e6])
def test_absurd_grids_and_regions_are_refused(pyramid, mpp):
    slide, grids, _ = pyramid

    with pytest.raises(InputError):
        slide.grid(mpp)
    with pytest.raises(InputError, match="region of 0 x 5"):
        slide.read(grids[1], 0, 0, 0, 5)


def test_a_grid_travels_between_processes(pyramid):
    _, grids, _ = pyramid

    twin = copy.deepcopy(grids[1.84])  # by the protocol that multiprocessing uses

    assert twin == grids[1.84]
    assert isinstance(twin, Grid)


def test_sha256_is_that_of_the_file():
    path = real(SVS)
    with open_slide(path) as slide:
        assert slide.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_halo_reads_decode_each_tile_once(pyramid, monkeypatch):
    # Arrange
    slide, _, _ = pyramid
    seen = []

    def counted(segments, data, *rest, **more):
        seen.append(data[0])
        return decode(segments, data, *rest, **more)

    decode = tiff.decode_segment
    monkeypatch.setattr(tiff, "decode_segment", counted)

    # Act
    with open_slide(slide.info.path) as fresh:
        grid = fresh.grid(0.25)
        for y in range(0, 900, 224):
            for x in range(0, 1010, 224):
                fresh.read(grid, x - 32, y - 32, 288, 288)

    # Assert
    assert len(seen) == len(set(seen)) == 10 * 10
