"""Files that are no slides, or damaged ones: one clear line and a hint, never a traceback."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from herscope.core.errors import SlideError, UnreadableSlide
from herscope.slide.opened import open_slide
from herscope.slide.resolution import SlideSpec

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
SPEC = SlideSpec(mpp=0.25)
PIXELS = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)


def encoded(form, mode="RGB"):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, form)
    return file.getvalue()


NOT_A_SLIDE = {
    "empty.svs": (b"", "is empty .0 bytes."),
    "text.svs": (b"case,mpp\n1,0.25\n", "is a text file"),
    "text.tif": ("Größe: 12 µm\n".encode() * 900, "is a text file"),
    "zeros.tif": (bytes(5000), "zero bytes: it was never written"),
    "archive.svs": (b"PK\x03\x04" + bytes(99), "is a ZIP archive"),
    "locked.svs": (b"Salted__" + bytes(range(256)), "is encrypted .OpenSSL."),
    "ct.dcm": (bytes(128) + b"DICM" + b"CT" * 99, "DICOM file of another kind"),
    "report.tif": (b"%PDF-1.7\n", "is a PDF document"),
    "pointer.svs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "noise.svs": (np.random.default_rng(1).bytes(4000), "not a format OpenSlide knows"),
    "noise.ndpi": (np.random.default_rng(2).bytes(4000), "not a format OpenSlide knows"),
    "cut.png": (encoded("PNG")[:3000], "image: cannot be decoded"),
    "cut.jpg": (encoded("JPEG")[:3000], "image: cannot be decoded"),
    "magic.tif": (b"II*\x00", "tiff: "),
    "magic-noise.tif": (b"II*\x00" + np.random.default_rng(3).bytes(4000), "tiff: "),
    "magic.png": (b"\x89PNG\r\n\x1a\n", "image: "),
    "cmyk.jpg": (encoded("JPEG", mode="CMYK"), "colour model is CMYK"),
}


@pytest.mark.parametrize("name", NOT_A_SLIDE)
def test_what_is_no_slide_is_said_in_one_line_with_a_hint(tmp_path, name):
    content, words = NOT_A_SLIDE[name]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnreadableSlide, match=words) as caught:
        open_slide(tmp_path / name, SPEC)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_missing_files_and_folders_are_told_apart(tmp_path):
    with pytest.raises(UnreadableSlide, match=r"absent\.svs does not exist"):
        open_slide(tmp_path / "absent.svs")
    with pytest.raises(UnreadableSlide, match="is a folder"):
        open_slide(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"II*\x00")
    path.chmod(0)

    with pytest.raises(UnreadableSlide, match="may not be read by this user"):
        open_slide(path)


UNSUPPORTED = {
    "float": ({"data": PIXELS[:, :, 0].astype("f4"), "photometric": "minisblack"}, "floating"),
    "fluorescence": ({"data": PIXELS[:, :, 0].astype("u2"), "photometric": "minisblack"}, "16-bit"),
    "channels": ({"data": np.zeros((4, 256, 256), "u1"), "photometric": "minisblack"}, "4 images"),
    "stack": ({"data": np.zeros((3, 256, 256, 3), "u1"), "photometric": "rgb"}, "3 images of 256"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_tiffs_of_another_kind_are_refused_with_what_they_hold(tmp_path, kind):
    options, words = UNSUPPORTED[kind]
    options = dict(options)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, options.pop("data"), tile=(64, 64), metadata=None, **options)

    with pytest.raises(UnreadableSlide, match=words) as caught:
        open_slide(path, SPEC)
    assert "tiff" in caught.value.causes
    assert caught.value.hint


def slide_bytes(tmp_path, **options):
    path = tmp_path / "whole.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), **options)
    return path.read_bytes()


def test_a_slide_cut_off_in_its_tiles_is_refused_when_opened(tmp_path):
    path = tmp_path / "cut.tif"
    path.write_bytes(slide_bytes(tmp_path, compression="jpeg")[:-4000])

    with pytest.raises(UnreadableSlide, match="it was cut off") as caught:
        open_slide(path, SPEC)
    assert "copy it again" in caught.value.hint


@pytest.mark.parametrize("keep", [8, 60, 200])
def test_a_slide_cut_off_in_its_directory_is_refused_when_opened(tmp_path, keep):
    path = tmp_path / "cut.tif"
    path.write_bytes(slide_bytes(tmp_path, compression="jpeg")[:keep])

    with pytest.raises(UnreadableSlide, match=r"tiff: its? ") as caught:
        open_slide(path, SPEC)
    assert caught.value.hint


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "deflate", "jpeg2000"])
def test_a_damaged_tile_is_named_and_the_others_are_read(tmp_path, compression):
    # Arrange: the second half of the tile in row 1, column 2 is lost
    path = tmp_path / "whole.tif"
    content = bytearray(slide_bytes(tmp_path, compression=compression))
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        offset, count = page.dataoffsets[7], page.databytecounts[7]
    content[offset + count // 2 : offset + count] = bytes(count - count // 2)
    path.write_bytes(content)

    # Act and assert
    with open_slide(path, SPEC) as slide:
        grid = slide.grid(0.25)
        words = r"whole.tif: tile in row 1, column 2 of level 0 cannot be decoded"
        with pytest.raises(SlideError, match=words) as caught:
            slide.read_all(grid)
        assert slide.read(grid, 0, 0, 64, 256).shape == (256, 64, 3)
    assert "damaged" in caught.value.hint


def test_a_truncated_real_slide_is_refused(tmp_path):
    real = DATA / "he/wsi/CMU-1-Small-Region.svs"
    if not real.exists():
        pytest.skip("real data absent: he/wsi/CMU-1-Small-Region.svs")
    content = real.read_bytes()
    for share in (0.01, 0.5, 0.8, 0.99):
        path = tmp_path / "cut.svs"
        path.write_bytes(content[: int(len(content) * share)])

        with pytest.raises(UnreadableSlide) as caught:
            open_slide(path)
        assert caught.value.hint


def test_an_image_too_large_for_memory_says_how_to_convert(tmp_path, monkeypatch):
    monkeypatch.setattr("herscope.slide.image.LARGEST_IMAGE_PX", 1000)
    Image.fromarray(PIXELS).save(tmp_path / "a.png")

    with pytest.raises(UnreadableSlide, match="in one piece") as caught:
        open_slide(tmp_path / "a.png", SPEC)
    assert "vips" in caught.value.hint


def test_exif_orientation_is_not_applied_but_said(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)

    with open_slide(tmp_path / "a.jpg", SPEC) as slide:
        assert (slide.info.width_px, slide.info.height_px) == (320, 256)
        assert "orientation 6" in slide.info.notes[0]


def test_files_are_released_after_a_failure_and_after_close(tmp_path):
    path = tmp_path / "whole.tif"
    slide_bytes(tmp_path)

    for _ in range(3):
        with pytest.raises(ValueError, match="no usable resolution"):
            open_slide(path)
    with open_slide(path, SPEC):
        pass

    held = Path("/proc/self/fd")
    if held.exists():
        assert not [f for f in held.iterdir() if f.exists() and f.resolve() == path.resolve()]
