"""Pixels: every coding against OpenSlide and Pillow, every rectangle against the whole."""

import io
import os
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from herscope.slide.opened import open_slide
from herscope.slide.resolution import SlideSpec
from herscope.slide.tiff import TiffReader

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
STATED = SlideSpec(mpp=0.25)
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


def whole(path, spec=STATED):
    with open_slide(path, spec) as slide:
        return slide.read_all(slide.grid(slide.info.mpp))


PIXELS = tissue(300, 401)
LOSSLESS = {
    "tiled, not compressed": {"tile": (64, 80)},
    "one long strip": {"rowsperstrip": 300},
    "strips of 7 rows": {"rowsperstrip": 7},
    "lzw with predictor": {"tile": (128, 128), "compression": "lzw", "predictor": True},
    "lzw strips": {"rowsperstrip": 32, "compression": "lzw"},
    "deflate": {"tile": (64, 64), "compression": "deflate"},
    "deflate strips with predictor": {
        "rowsperstrip": 50,
        "compression": "deflate",
        "predictor": True,
    },
    "packbits": {"rowsperstrip": 16, "compression": "packbits"},
    "zstd": {"tile": (64, 64), "compression": "zstd"},
    "lossless jpeg 2000": {"tile": (128, 128), "compression": "jpeg2000"},
    "big-endian deflate": {"tile": (64, 64), "compression": "deflate", "byteorder": ">"},
    "bigtiff": {"tile": (64, 64), "bigtiff": True},
}


@pytest.mark.parametrize("coding", LOSSLESS)
def test_lossless_codings_return_the_pixels_that_were_written(tmp_path, coding):
    options = dict(LOSSLESS[coding])
    layout = {k: options.pop(k) for k in ("byteorder", "bigtiff") if k in options}
    path = tmp_path / "a.tif"

    with tifffile.TiffWriter(path, **layout) as tif:
        tif.write(PIXELS, photometric="rgb", **options)

    assert np.array_equal(whole(path), PIXELS)


def test_long_uncompressed_strips_are_cut_so_that_a_band_costs_a_band(tmp_path):
    path = tmp_path / "a.tif"
    tall = tissue(1100, 40)
    tifffile.imwrite(path, tall, photometric="rgb", rowsperstrip=1100)

    reader = TiffReader(path)

    assert reader.levels[0].tile_height_px == 256
    assert np.array_equal(reader.read(0, 3, 700, 30, 400), tall[700:1100, 3:33])
    reader.close()


def test_separate_colour_planes_are_joined(tmp_path):
    path = tmp_path / "a.tif"
    planes = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", tile=(64, 64), compression="lzw"
    )

    assert np.array_equal(whole(path), PIXELS)


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_jpeg_tiles_come_out_as_pillow_decodes_them(tmp_path, photometric):
    # Arrange: data in YCbCr with 2x2 subsampling, or in RGB without any marker, as Aperio has them
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        as_ycbcr(PIXELS) if photometric == "ycbcr" else PIXELS,
        photometric=photometric,
        tile=(128, 128),
        compression="jpeg",
        compressionargs={"level": 90},
        subsampling=(2, 2) if photometric == "ycbcr" else None,
    )

    read = whole(path)

    with Image.open(path) as image:
        assert np.array_equal(read, np.asarray(image.convert("RGB")))
    assert np.abs(read.astype(int) - PIXELS).mean() < 6


def test_a_jfif_marker_says_that_the_data_are_ycbcr_whatever_the_page_says(tmp_path):
    path = tmp_path / "a.tif"
    file = io.BytesIO()
    Image.fromarray(PIXELS[:128, :128]).save(file, "JPEG", quality=95)
    tifffile.imwrite(
        path,
        iter([file.getvalue()]),
        shape=(128, 128, 3),
        dtype="uint8",
        photometric="rgb",
        tile=(128, 128),
        compression="jpeg",
    )

    read = whole(path)

    assert np.array_equal(read, np.asarray(Image.open(file)))


def test_jpeg_with_shared_tables_is_identical_to_openslide():
    path = real(SVS)

    read = whole(path)

    with openslide.OpenSlide(path) as other:
        image = other.read_region((0, 0), 0, other.dimensions).convert("RGB")
    assert read.shape == (2967, 2220, 3)
    assert np.array_equal(read, np.asarray(image))


def test_every_level_of_the_pyramid_fixture_is_identical_to_openslide():
    path = real("he/wsi/openslide_fixtures/boxes.tiff")

    reader = TiffReader(path)

    with openslide.OpenSlide(path) as other:
        assert len(reader.levels) == other.level_count == 4
        for i, level in enumerate(reader.levels):
            size = (level.width_px, level.height_px)
            theirs = np.asarray(other.read_region((0, 0), i, size).convert("RGB"))
            assert np.array_equal(reader.read(i, 0, 0, *size), theirs)
    assert [level.downsample_x for level in reader.levels] == [1, 2, 4, 8]
    assert [level.downsample_y for level in reader.levels] == [1, 2, 4, 8]
    reader.close()


@pytest.mark.parametrize(("number", "in_ycbcr"), [(33003, True), (33005, False)])
def test_aperio_jpeg_2000_tiles_agree_with_openslide(tmp_path, number, in_ycbcr):
    # Arrange: an Aperio file whose lossless tiles hold YCbCr (33003) or RGB (33005)
    pixels = tissue(256, 256)
    coded = as_ycbcr(pixels) if in_ycbcr else pixels
    tiles = [
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(coded[y : y + 128, x : x + 128]), codecformat="J2K", mct=False
        )
        for y in (0, 128)
        for x in (0, 128)
    ]
    path = tmp_path / "a.svs"
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter(tiles),
            shape=(256, 256, 3),
            dtype="uint8",
            photometric="rgb",
            tile=(128, 128),
            compression=number,
            description="Aperio Image Library v1\n256x256|AppMag = 20|MPP = 0.5",
            metadata=None,
        )

    read = whole(path)

    with openslide.OpenSlide(path) as other:
        theirs = np.asarray(other.read_region((0, 0), 0, (256, 256)).convert("RGB"))
    # Both round YCbCr on their own; making the YCbCr rounded half a value, times 1.77 in blue.
    assert np.abs(read.astype(int) - theirs).max() <= 1
    assert np.abs(read.astype(int) - pixels).max() <= (3 if in_ycbcr else 0)


def test_grey_becomes_rgb_and_min_is_white_is_turned_round(tmp_path):
    grey = PIXELS[:, :, 0]
    for photometric, truth in (("minisblack", grey), ("miniswhite", 255 - grey)):
        path = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(path, grey, photometric=photometric, tile=(64, 64), compression="deflate")

        assert np.array_equal(whole(path), np.repeat(truth[:, :, None], 3, axis=2))


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    rgba[:100, :, 3] = 255
    tifffile.imwrite(
        tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], tile=(64, 64)
    )
    Image.fromarray(rgba).save(tmp_path / "a.png")

    for name in ("a.tif", "a.png"):
        read = whole(tmp_path / name)

        assert np.array_equal(read[:100], PIXELS[:100])
        assert (read[100:] == 255).all()


def test_sixteen_bits_are_scaled_and_the_slide_says_so(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        PIXELS.astype(np.uint16) * 257,
        photometric="rgb",
        tile=(64, 64),
        compression="lzw",
        predictor=True,
    )

    with open_slide(path, STATED) as slide:
        assert np.array_equal(slide.read_all(slide.grid(0.25)), PIXELS)
        assert "16-bit" in slide.info.notes[0]


def test_tiles_that_were_never_written_are_white(tmp_path):
    path = tmp_path / "a.tif"
    tile = np.full((64, 64, 3), 7, np.uint8)
    tifffile.imwrite(
        path,
        iter([tile, None, None, tile]),
        shape=(128, 128, 3),
        dtype="uint8",
        photometric="rgb",
        tile=(64, 64),
    )

    read = whole(path)

    assert (read[:64, :64] == 7).all()
    assert (read[:64, 64:] == 255).all()


def test_pyramids_in_subifds_are_found_and_thumbnails_and_labels_are_not(tmp_path):
    # Arrange
    path = tmp_path / "a.ome.tif"
    half, quarter = PIXELS[::2, ::2], PIXELS[::4, ::4]
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(PIXELS, subifds=2, resolution=(1e4 / 0.5, 1e4 / 0.5), resolutionunit=3, **options)
        tif.write(half, subfiletype=1, **options)
        tif.write(quarter, subfiletype=1, **options)
        tif.write(tissue(90, 90), photometric="rgb")
        tif.write(tissue(50, 300), photometric="rgb")

    # Act
    with open_slide(path) as slide:
        sizes = [(level.width_px, level.height_px) for level in slide.info.levels]
        grid = slide.grid(1.0)
        read = slide.read_all(grid)

    # Assert
    assert sizes == [(401, 300), (201, 150), (101, 75)]
    assert (grid.level, grid.native, grid.scale_x) == (1, True, 2.0)
    assert np.array_equal(read, half)


def test_the_stripped_thumbnail_of_an_aperio_file_is_no_level():
    with open_slide(real("he/wsi/openslide_fixtures/small.svs")) as slide:
        assert len(slide.info.levels) == 1
    with open_slide(real(SVS)) as slide:
        assert len(slide.info.levels) == 1


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ihc/deepliif/ki67_22_2.png", (512, 512)),
        ("ihc/her2_fractal_lab_NO_LICENCE/image_her2_00017.jpg", (2048, 1536)),
        ("he/monuseg/TCGA-A7-A13E-01Z-00-DX1.tif", (1000, 1000)),
        ("he/tma/instanseg_HE_core.tif", (1380, 1484)),
    ],
)
def test_fields_of_view_are_identical_to_pillow(name, size):
    path = real(name)

    read = whole(path)

    with Image.open(path) as image:
        assert image.size == size
        assert np.array_equal(read, np.asarray(image.convert("RGB")))


def test_a_dicom_slide_opens_through_openslide():
    with open_slide(real("he/wsi/openslide_fixtures/boxes_0.dcm")) as slide:
        assert (slide.info.vendor, slide.info.mpp, slide.info.mpp_source) == (
            "dicom",
            0.499,
            "metadata",
        )
        assert slide.read_all(slide.grid(0.5)).shape == (16, 16, 3)


def test_metadata_of_real_slides_give_their_scale():
    with open_slide(real(SVS)) as slide:
        info = slide.info
        assert (info.vendor, info.mpp, info.objective_power) == ("aperio", 0.499, 20)
    with open_slide(real("he/tma/instanseg_HE_core.tif")) as slide:
        assert slide.info.vendor == "ome-tiff"
        assert slide.info.mpp == pytest.approx(0.50008, abs=1e-6)
