"""Colour management: which profiles change pixels, and that they change each pixel by itself."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from herscope.slide import colour
from herscope.slide.opened import open_slide
from herscope.slide.resolution import SlideSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (120, 130, 3), dtype=np.uint8)


def srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_and_blue_exchanged():
    """The sRGB profile with its red and blue primaries exchanged: truth is known without lcms."""
    profile = bytearray(srgb())
    red, blue = (profile.index(name, 128) + 4 for name in (b"rXYZ", b"bXYZ"))
    profile[red : red + 8], profile[blue : blue + 8] = (
        profile[blue : blue + 8],
        profile[red : red + 8],
    )
    return bytes(profile)


@pytest.fixture
def make(tmp_path):
    def make(profile):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), iccprofile=profile)
        return path

    return make


def test_a_profile_is_applied_and_recorded(make):
    path = make(red_and_blue_exchanged())

    with open_slide(path, SlideSpec(mpp=0.25)) as slide:
        read = slide.read_all(slide.grid(0.25))
        assert slide.info.icc.startswith("applied: sRGB")

    assert np.abs(read.astype(int) - PIXELS[:, :, ::-1]).max() <= 1


def test_a_profile_is_left_alone_when_the_spec_says_so(make):
    path = make(red_and_blue_exchanged())

    with open_slide(path, SlideSpec(mpp=0.25, apply_icc=False)) as slide:
        assert slide.info.icc == "present, not applied"
        assert np.array_equal(slide.read_all(slide.grid(0.25)), PIXELS)


def test_srgb_is_recognised_by_what_it_does(make):
    with open_slide(make(srgb()), SlideSpec(mpp=0.25)) as slide:
        assert slide.info.icc == "sRGB (no change)"
        assert np.array_equal(slide.read_all(slide.grid(0.25)), PIXELS)


def test_an_unusable_profile_says_why_and_changes_nothing(make):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile, why in (
        (b"not a profile" * 20, "unusable: "),
        (lab, "unusable: a profile for Lab"),
    ):
        with open_slide(make(profile), SlideSpec(mpp=0.25)) as slide:
            assert slide.info.icc.startswith(why)
            assert np.array_equal(slide.read_all(slide.grid(0.25)), PIXELS)


def test_no_profile_is_recorded_as_none(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")

    with open_slide(tmp_path / "a.png", SlideSpec(mpp=0.25)) as slide:
        assert slide.info.icc == "none"


def test_glass_outside_the_slide_stays_white_under_a_profile(make):
    with open_slide(make(red_and_blue_exchanged()), SlideSpec(mpp=0.25)) as slide:
        read = slide.read(slide.grid(0.25), -10, -10, 30, 30)

    assert (read[:10] == 255).all()
    assert (read[:, :10] == 255).all()


def test_the_table_of_all_colours_gives_the_bits_of_the_transform(monkeypatch):
    # Arrange
    monkeypatch.setattr(colour, "TABLE_PAYS_PX", PIXELS.shape[0] * PIXELS.shape[1] + 1)
    convert = colour.ColourTransform(red_and_blue_exchanged(), apply=True)

    # Act: the second call passes the limit
    first, second = convert(PIXELS), convert(PIXELS)

    # Assert
    assert convert._table is not None
    assert np.array_equal(first, second)


def test_conversion_does_not_depend_on_the_rectangle(make):
    with open_slide(make(red_and_blue_exchanged()), SlideSpec(mpp=0.25)) as slide:
        grid = slide.grid(0.25 * 1.84)
        everything = slide.read_all(grid)
        part = slide.read(grid, 7, 9, 20, 30)

    assert np.array_equal(part, everything[9:39, 7:27])
