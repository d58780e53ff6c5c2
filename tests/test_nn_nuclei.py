"""Patches with numbered nuclei, what networks learn from them, and their losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from herscope.core.errors import InputError, UnknownResolution
from herscope.nn.nucleus_targets import nucleus_target
from herscope.nn.patches.nuclei import read_nucleus_patches
from herscope.nn.patches.phantom_compartments import draw_patch
from herscope.nn.patches.phantom_nuclei import (
    drawn_nuclei,
    make_phantom_nuclei,
    nucleus_phantom,
    overlaid,
)
from herscope.slide.phantom.spec import PhantomSpec

ALL = ("nucleus", "distance", "horizontal", "vertical", "contour")


def disks(shape, *places):
    out = np.zeros(shape, np.int32)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    for number, (y, x, r) in enumerate(places, start=1):
        out[(yy - y) ** 2 + (xx - x) ** 2 <= r * r] = number
    return out


def test_distance_is_one_at_the_middle_of_small_and_large_nuclei_and_falls_to_the_border():
    labels = disks((60, 90), (30, 20, 6), (30, 65, 20))
    distance = nucleus_target(labels, ["distance"])[0]
    for y, x, r in ((30, 20, 6), (30, 65, 20)):
        assert distance[y, x] == 1
        ray = distance[y, x : x + r + 1]
        assert (np.diff(ray) < 0).all()
        assert ray[-1] <= 1.01 / r
    assert not distance[labels == 0].any()


def test_two_touching_nuclei_have_a_valley_between_them():
    labels = disks((40, 60), (20, 20, 10))
    labels[(labels == 0) & (disks((40, 60), (20, 39, 10)) > 0)] = 2
    distance = nucleus_target(labels, ["distance"])[0]
    border = np.flatnonzero(labels[20] == 2)[0]
    assert distance[20, border] < 0.25
    assert distance[20, border - 1] < 0.25


def test_distance_agrees_with_a_transform_of_each_nucleus_alone():
    rng = np.random.Generator(np.random.PCG64(3))
    labels = disks((80, 80), *((rng.integers(8, 72), rng.integers(8, 72), 7) for _ in range(12)))
    distance = nucleus_target(labels, ["distance"])[0]
    for number in np.unique(labels[labels > 0]):
        alone = np.pad(labels == number, 1)
        # Distance to the nearest pixel outside; ours counts to the outermost pixel inside plus 1.
        edge = alone & ~ndimage.binary_erosion(alone)
        deep = ndimage.distance_transform_edt(~edge)[1:-1, 1:-1] + 1
        inside = labels == number
        if inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any():
            continue
        assert distance[inside] == pytest.approx(deep[inside] / deep[inside].max(), abs=1e-5)


def test_positions_run_from_minus_one_to_one_from_the_centre_of_mass():
    labels = disks((50, 70), (25, 20, 9), (25, 50, 15))
    across, down = nucleus_target(labels, ["horizontal", "vertical"])
    for number, (y, x) in ((1, (25, 20)), (2, (25, 50))):
        inside = labels == number
        assert (across[inside].min(), across[inside].max()) == (-1, 1)
        assert (down[inside].min(), down[inside].max()) == (-1, 1)
        assert (across[y, x], down[y, x]) == (0, 0)
        assert (np.diff(across[y][inside[y]]) > 0).all()
    assert not across[labels == 0].any()


def test_the_contour_parts_touching_nuclei():
    labels = np.zeros((20, 20), np.int32)
    labels[5:15, 3:10], labels[5:15, 10:17] = 1, 2
    contour = nucleus_target(labels, ["contour"])[0]
    assert contour[10, 9] == contour[10, 10] == 1
    assert contour[10, 6] == 0
    assert contour[0, 0] == 0


def test_what_nobody_annotated_is_said_in_every_channel_that_counts():
    labels = disks((30, 30), (15, 15, 6))
    labels[:, 24:] = -1
    found = dict(zip(ALL, nucleus_target(labels, ALL), strict=True))
    assert (found["nucleus"][:, 24:] == 255).all()
    assert (found["contour"][:, 24:] == 255).all()
    assert not found["distance"][:, 24:].any()


@pytest.mark.parametrize("fill", [0, -1])
def test_a_picture_without_nuclei_has_a_target(fill):
    found = nucleus_target(np.full((8, 8), fill, np.int32), ALL)
    assert np.isfinite(found).all()
    assert not found[1:4].any()


def test_an_unknown_channel_is_refused():
    with pytest.raises(InputError, match="no channel of nuclei is called depth"):
        nucleus_target(np.zeros((4, 4), np.int32), ["depth"])


# phantoms with numbered nuclei


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_phantom_nuclei(tmp_path_factory.mktemp("n") / "patches", 6, seed=5, size_px=96)


def simple(seed, **fields):
    edge = {"width_um": 96, "height_um": 96, "mpp": 0.25}
    return PhantomSpec(**edge, seed=seed, tissue_fraction=1.0, fat_fraction=0.0, **fields)


def test_drawn_nuclei_lie_where_the_picture_is_dark():
    spec = simple(1, stain="he")  # there a nucleus is what absorbs red
    rgb, labels = draw_patch(spec, 0, 0, 192), drawn_nuclei(spec, 0, 0, 192)
    assert labels.max() > 5
    inside = ndimage.binary_erosion(labels > 0)
    near = ndimage.binary_dilation(labels > 0)
    around = ndimage.binary_dilation(near, iterations=2) & ~near
    assert rgb[inside, 0].mean() < rgb[around, 0].mean() - 20


def test_a_patch_of_phantom_nuclei_is_the_same_when_drawn_again(folder, tmp_path):
    again = make_phantom_nuclei(tmp_path / "again", 6, seed=5, size_px=96)
    for file in sorted(folder.rglob("*.png")):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes()


def test_a_nucleus_keeps_its_pixels_in_the_neighbouring_patch():
    spec = nucleus_phantom(7, 2, size_um=96, mpp=0.25)
    whole = drawn_nuclei(spec, 0, 0, 192)[:96]
    halves = [drawn_nuclei(spec, x, 0, 96) for x in (0, 96)]
    assert ((np.concatenate(halves, axis=1) > 0) == (whole > 0)).mean() > 0.999


def test_nuclei_that_were_laid_over_are_numbered_and_darken_what_is_below():
    found = 0
    for seed in range(8):
        spec = simple(seed)
        bare, under = draw_patch(spec, 0, 0, 192), drawn_nuclei(spec, 0, 0, 192)
        rgb, labels = overlaid(spec, 0, 0, 192)
        if np.array_equal(rgb, bare):
            assert np.array_equal(labels, under)
            continue
        added = (labels > 0) & (under == 0)
        elsewhere = ~ndimage.binary_dilation((labels != under), iterations=6)
        assert (rgb[elsewhere] == bare[elsewhere]).mean() > 0.9
        if added.sum() < 200:
            continue
        found += 1
        assert rgb[added].mean() < bare[added].mean() - 5
        assert len(np.unique(labels)) > len(np.unique(under)) - 3
    assert found >= 2


def test_every_number_of_a_patch_is_one_nucleus(folder):
    patches = read_nucleus_patches(folder)
    for k in range(len(patches)):
        labels = patches.load(k).instances
        for number in np.unique(labels[labels > 0]):
            # What is covered in the middle may be seen on both sides.
            assert ndimage.label(labels == number, np.ones((3, 3)))[1] <= 3


# reading folders


def test_a_folder_tells_its_nuclei_and_sizes(folder):
    patches = read_nucleus_patches(folder)
    assert len(patches) == 6
    assert patches.mpp == 0.5
    assert patches.nuclei.sum() == sum(
        len(np.unique(patches.load(k).instances[patches.load(k).instances > 0])) for k in range(6)
    )
    split = patches.split(share=0.3)
    assert {patches.groups[i] for i in split.train}.isdisjoint(
        patches.groups[i] for i in split.validation
    )


@pytest.fixture
def small(tmp_path):
    for part in ("images", "instances"):
        (tmp_path / part).mkdir()
    for k in range(2):
        Image.fromarray(np.full((40, 50, 3), 200, np.uint8)).save(tmp_path / f"images/a{k}_1.png")
        labels = disks((40, 50), (20, 20, 8)).astype(np.uint16)
        labels[:5] = 65_535
        Image.fromarray(labels).save(tmp_path / f"instances/a{k}_1.png")
    (tmp_path / "patches.json").write_text(json.dumps({"mpp": 0.5}))
    return tmp_path


def test_unannotated_pixels_of_a_file_are_minus_one(small):
    patch = read_nucleus_patches(small).load(0)
    assert (patch.instances[:5] == -1).all()
    assert set(np.unique(patch.instances)) == {-1, 0, 1}


def test_instances_of_another_size_are_refused(small):
    Image.fromarray(np.ones((40, 49), np.uint16)).save(small / "instances/a1_1.png")
    with pytest.raises(InputError, match=r"a1_1.png has 49 x 40 px, image a1_1.png 50 x 40"):
        read_nucleus_patches(small)


def test_a_coloured_instance_image_is_refused(small):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(small / "instances/a1_1.png")
    with pytest.raises(InputError, match="not grey of 8 or 16 bits"):
        read_nucleus_patches(small)


def test_a_folder_without_a_nucleus_is_refused(small):
    for k in range(2):
        Image.fromarray(np.zeros((40, 50), np.uint16)).save(small / f"instances/a{k}_1.png")
    with pytest.raises(InputError, match="hold no nucleus"):
        read_nucleus_patches(small)


def test_an_image_without_instances_is_refused(small):
    (small / "instances/a1_1.png").unlink()
    with pytest.raises(InputError, match="has no instance"):
        read_nucleus_patches(small)


def test_a_truncated_instance_image_is_refused(small):
    file = small / "instances/a1_1.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_nucleus_patches(small)


def test_somebody_must_state_the_resolution(small):
    (small / "patches.json").unlink()
    with pytest.raises(UnknownResolution):
        read_nucleus_patches(small)
    assert read_nucleus_patches(small, mpp=0.4).mpp == 0.4
