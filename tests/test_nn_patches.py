"""Patch folders, phantom patches, patches of slides, augmentation: good ones and bad ones."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import shapely
from PIL import Image

from herscope.core.errors import InputError, SchemaError, UnknownResolution
from herscope.nn.augment import OFF, AugmentSpec, augment
from herscope.nn.inputs import network_input
from herscope.nn.patches.compartments import read_patches
from herscope.nn.patches.from_slides import cut_patches
from herscope.nn.patches.phantom_compartments import make_phantom_patches, random_phantom
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import phantom_truth
from herscope.slide.phantom.write import draw_phantom
from herscope.stain.deconvolve import od_table
from herscope.stain.vectors import RUIFROK_JOHNSTON
from herscope.tissue.geojson import write_regions
from herscope.tissue.regions import Region

WHITE = (255.0, 255.0, 255.0)


def write_patch(folder, stem, mask, rgb=None):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    mask = np.asarray(mask, np.uint8)
    if rgb is None:
        rgb = np.repeat((mask * 50)[..., None], 3, axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "images" / f"{stem}.png")
    Image.fromarray(mask).save(folder / "masks" / f"{stem}.png")


def halves(left, right, size=32):
    mask = np.full((size, size), left, np.uint8)
    mask[:, size // 2 :] = right
    return mask


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "patches"
    for slide in range(5):
        for k in range(2):
            write_patch(root, f"case{slide}_{k}", halves(0, 1 + slide % 3))
    (root / "patches.json").write_text('{"mpp": 1.0}')
    return root


def refused(root, words, kind=InputError, **options):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        read_patches(root, **options)
    assert caught.value.hint or kind is SchemaError
    return caught.value


# a folder as it should be


def test_a_folder_tells_its_classes_groups_and_scale(folder):
    found = read_patches(folder)
    assert len(found) == 10
    assert found.mpp == 1.0
    assert set(found.groups) == {f"case{k}" for k in range(5)}
    half = 32 * 16
    assert found.class_pixels() == {
        "tumor": 10 * half, "stroma": 4 * half, "background": 4 * half, "other": 2 * half
    }  # fmt: skip


def test_pixels_nobody_annotated_are_of_no_class(folder):
    write_patch(folder, "case9_0", halves(255, 0))
    found = read_patches(folder)
    last = found.pixels[list(found.stems).index("case9_0")]
    assert last.tolist() == [512, 0, 0, 0]


def test_the_fingerprint_changes_with_one_pixel_of_a_mask(folder):
    before = read_patches(folder).fingerprint
    assert read_patches(folder).fingerprint == before
    mask = halves(0, 1)
    mask[0, 0] = 2
    write_patch(folder, "case0_0", mask, np.asarray(Image.open(folder / "images/case0_0.png")))
    assert read_patches(folder).fingerprint != before


def test_the_split_never_parts_a_slide(folder):
    found = read_patches(folder)
    for seed in range(20):
        split = found.split(seed=seed)
        sides = [{found.groups[i] for i in side} for side in (split.train, split.validation)]
        assert not sides[0] & sides[1]
        assert sorted(split.train + split.validation) == list(range(10))
        assert len(split.validation) == 2


def test_the_split_depends_on_the_seed_alone(folder):
    found = read_patches(folder)
    assert found.split(seed=3) == read_patches(folder).split(seed=3)
    assert len({found.split(seed=k).validation for k in range(12)}) > 1


def test_the_split_keeps_every_class_in_training(tmp_path):
    for slide in range(5):  # "other" is on one slide only
        write_patch(tmp_path, f"s{slide}_0", halves(0, 3 if slide == 2 else 1))
    found = read_patches(tmp_path, mpp=1.0)
    for seed in range(10):
        train = found.split(seed=seed).train
        assert found.class_pixels(train)["other"] > 0


def test_patches_of_one_slide_are_parted_and_it_is_said(tmp_path):
    for k in range(5):
        write_patch(tmp_path, f"only_{k}", halves(0, 1))
    split = read_patches(tmp_path, mpp=1.0).split()
    assert len(split.validation) == 1
    assert "too good" in split.note


def test_groups_are_read_from_a_table(folder):
    stems = read_patches(folder).stems
    rows = "".join(f"{s}.png,{'a' if s < 'case3' else 'b'}\n" for s in stems)
    (folder / "groups.csv").write_text("patch,group\n" + rows)
    assert set(read_patches(folder).groups) == {"a", "b"}


def test_other_mask_values_are_translated(folder):
    for file in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray((mask + 7).astype(np.uint8)).save(file)
    refused(folder, "holds the value 7")
    names = {"7": "tumor", "8": "stroma", "9": "ignore", "10": "other"}
    (folder / "classes.json").write_text(json.dumps(names))
    assert read_patches(folder).class_pixels()["background"] == 0


def test_an_indexed_mask_is_read_by_its_indices(folder):
    file = folder / "masks" / "case0_0.png"
    before = read_patches(folder).class_pixels()
    with Image.open(file) as grey:
        indexed = grey.copy()
    indexed.putpalette([200, 0, 0, 0, 200, 0, 255, 255, 255, 9, 9, 9])
    indexed.save(file)
    with Image.open(file) as saved:
        assert saved.mode == "P"
    assert read_patches(folder).class_pixels() == before


# bad folders


def test_a_mask_of_another_size_is_refused_with_both_sizes(folder):
    Image.fromarray(halves(0, 1, 40)).save(folder / "masks" / "case1_0.png")
    error = refused(folder, "case1_0.png has 40 x 40 px, image case1_0.png 32 x 32")
    assert "pixel by pixel" in error.hint


def test_an_unknown_class_value_is_named(folder):
    Image.fromarray(halves(0, 9)).save(folder / "masks" / "case1_0.png")
    refused(folder, "case1_0.png holds the value 9 (known: 0, 1, 2, 3, 255)")


def test_a_folder_of_one_class_is_refused(tmp_path):
    for k in range(3):
        write_patch(tmp_path, f"s{k}_0", halves(1, 255))
    refused(tmp_path, "one class only (stroma)", mpp=1.0)


def test_a_folder_without_any_annotation_is_refused(tmp_path):
    write_patch(tmp_path, "s0_0", halves(255, 255))
    refused(tmp_path, "no annotated pixel", mpp=1.0)


def test_an_image_without_mask_is_refused(folder):
    (folder / "masks" / "case4_1.png").unlink()
    refused(folder, "case4_1.png has no mask")


def test_a_mask_without_image_is_refused(folder):
    (folder / "images" / "case4_1.png").unlink()
    refused(folder, "case4_1.png has no image")


def test_a_truncated_image_is_refused(folder):
    file = folder / "images" / "case0_1.png"
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:700])
    refused(folder, "case0_1.png cannot be read as an image")


def test_a_mask_that_is_a_picture_is_refused(folder):
    picture = np.zeros((32, 32, 3), np.uint8)
    Image.fromarray(picture).save(folder / "masks" / "case0_1.png")
    refused(folder, "of the kind RGB, not grey")


def test_patches_without_a_scale_are_refused(folder):
    (folder / "patches.json").unlink()
    refused(folder, "nobody states the µm/px", kind=UnknownResolution)
    assert read_patches(folder, mpp=0.5).mpp == 0.5


def test_two_different_scales_are_refused(folder):
    refused(folder, "states 1 µm/px, --mpp 2", mpp=2.0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("patches.json", '{"mpp": "fine"}', "patches.json"),
        ("patches.json", '{"mpp": 1.0, "white_point": [0, 0, 0]}', "white_point"),
        ("patches.json", "[1]", "not a JSON object"),
        ("patches.json", "{", "is not JSON"),
        ("classes.json", '{"300": "tumor"}', "'300' is no mask value"),
        ("classes.json", '{"1": "tumour!"}', "called 'tumour!'"),
        ("groups.csv", "a,b\n1,2\n", "no columns patch and group"),
        ("groups.csv", "patch,group\ncase0_0,\n", "line 2"),
        ("groups.csv", "patch,group\ncase0_0,a\n", "says nothing of patch case0_1"),
    ],
)
def test_a_malformed_side_file_is_named(folder, name, text, words):
    (folder / name).write_text(text)
    refused(folder, words, kind=SchemaError)


def test_an_empty_or_absent_folder_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "is not a folder")
    refused(tmp_path, "has no folder images")


# phantom patches


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return make_phantom_patches(tmp_path_factory.mktemp("phantoms") / "p", 8, 5, size_px=96)


def test_phantom_patches_are_a_checked_folder_of_several_slides(phantoms):
    found = read_patches(phantoms)
    assert len(found) == 8
    assert len(set(found.groups)) == 2
    assert found.class_pixels()["tumor"] > 0
    assert found.class_pixels()["stroma"] > 0
    assert all(white != WHITE for white in found.whites)


def test_phantom_patches_are_the_same_bits_for_the_same_seed(phantoms, tmp_path):
    again = make_phantom_patches(tmp_path / "again", 8, 5, size_px=96)
    other = make_phantom_patches(tmp_path / "other", 8, 6, size_px=96)
    found = read_patches(phantoms).fingerprint
    assert read_patches(again).fingerprint == found
    assert read_patches(other).fingerprint != found


def test_every_drawn_phantom_is_a_possible_one():
    drawn = [random_phantom(seed, k, size_um=512, mpp=0.5) for seed in range(4) for k in range(300)]
    assert len({spec.fingerprint() for spec in drawn}) == len(drawn)
    assert {spec.stain for spec in drawn} == {"nuclear", "membrane", "cytoplasmic"}


@pytest.mark.parametrize(("number", "glands"), [(1, 0.0), (2, 1.0), (4, 1.0)])
def test_the_mask_is_the_truth_of_the_phantom(tmp_path, number, glands):
    folder = make_phantom_patches(
        tmp_path / "p", 4 * number + 4, 5, size_px=96, normal_glands=glands
    )
    found = read_patches(folder)
    spec = random_phantom(5, number, size_um=192.0, mpp=0.5, normal_glands=glands)
    assert not spec.pen_marks + spec.folds  # no artefact on this slide, so areas can be compared
    regions = phantom_truth(spec).regions()
    parts = [found.load(4 * number + k).mask for k in range(4)]
    mask = np.block([parts[:2], parts[2:]])
    names = (["Tumor"], ["Stroma"], ["Fat", "Background"], ["Other"])
    for code, some in enumerate(names):
        # two phantom px a patch px
        area = sum(regions[name].area for name in some if name in regions) / 4
        assert (mask == code).sum() == pytest.approx(area, abs=0.01 * mask.size)


def test_normal_glands_are_of_class_other_and_on_request_alone(tmp_path):
    usual = random_phantom(5, 0, size_um=192.0, mpp=0.5)
    asked = random_phantom(5, 0, size_um=192.0, mpp=0.5, normal_glands=1.0)
    assert usual.normal_gland_fraction == 0 < asked.normal_gland_fraction
    with pytest.raises(InputError, match="normal_glands"):
        make_phantom_patches(tmp_path / "p", 4, normal_glands=1.5)


def test_tumour_of_a_phantom_holds_more_dye_than_its_glass(phantoms):
    found = read_patches(phantoms)
    darker = []
    for k in range(len(found)):
        patch = found.load(k)
        if (patch.mask == 0).any() and (patch.mask == 2).any():
            grey = patch.rgb.mean(axis=2)
            darker.append(grey[patch.mask == 0].mean() < grey[patch.mask == 2].mean())
    assert darker
    assert all(darker)


@pytest.mark.parametrize(
    ("n", "options"), [(1, {}), (4, {"mpp": 9.0}), (4, {"size_px": 8}), (4, {"seed": -1})]
)
def test_absurd_phantom_patches_are_refused(tmp_path, n, options):
    with pytest.raises(InputError, match="allowed"):
        make_phantom_patches(tmp_path / "p", n, **options)
    assert not (tmp_path / "p").exists()


# patches of slides


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    root = tmp_path_factory.mktemp("slides")
    spec = PhantomSpec(width_um=500, height_um=400, mpp=0.5, seed=3, fat_fraction=0.1)
    truth = draw_phantom(spec, root / "case-1.tif")
    truth.write(root, "case-1")
    return root, truth


def test_annotated_slides_become_patches_with_their_truth(slide, tmp_path):
    root, truth = slide
    cut_patches([root / "case-1.tif"], tmp_path / "cut", mpp=1.0, size_px=128)
    found = read_patches(tmp_path / "cut")
    assert set(found.groups) == {"case-1"}
    assert len(found) == 9  # 500 x 400 px hold 3 x 3 patches of 128
    share = truth.regions()["Tumor"].intersection(shapely.box(0, 0, 768, 768)).area / 4
    assert found.class_pixels()["tumor"] == pytest.approx(share, rel=0.01)
    box = shapely.box(0, 0, 768, 768)
    empty = sum(truth.regions()[name].intersection(box).area for name in ("Fat", "Background"))
    # glass was outlined by nobody: it comes from tissue detection on a coarse overview
    assert found.class_pixels()["background"] == pytest.approx(empty / 4, rel=0.2)
    assert found.class_pixels()["other"] == 0  # fat is background here
    assert found.whites[0] != WHITE


def test_what_nobody_outlined_is_not_annotated(slide, tmp_path):
    root, _ = slide
    (tmp_path / "case-1.tif").write_bytes((root / "case-1.tif").read_bytes())
    regions = [
        Region("Tumor", shapely.box(0, 0, 256, 256)),
        Region("Stroma", shapely.box(0, 0, 128, 256)),
        Region("Ignore", shapely.box(0, 0, 64, 256)),
        Region("Region", shapely.box(0, 0, 900, 700)),
    ]
    write_regions(tmp_path / "case-1.geojson", regions)
    cut_patches([tmp_path / "case-1.tif"], tmp_path / "cut", mpp=1.0, size_px=128)
    found = read_patches(tmp_path / "cut")
    assert len(found) == 1
    pixels = found.class_pixels()
    assert (pixels["tumor"], pixels["stroma"]) == (64 * 128, 32 * 128)
    assert (found.load(0).mask[:, :32] == 255).all()


def test_slides_without_annotations_are_refused(slide, tmp_path):
    root, _ = slide
    (tmp_path / "a.tif").write_bytes((root / "case-1.tif").read_bytes())
    with pytest.raises(InputError, match="annotations beside"):
        cut_patches([tmp_path / "a.tif"], tmp_path / "cut", mpp=1.0)
    assert not (tmp_path / "cut").exists()


# augmentation


@pytest.fixture(scope="module")
def patch(phantoms):
    return read_patches(phantoms).load(4)


def vary(patch, spec, **draw):
    keys = {"seed": 1, "epoch": 2, "index": 3} | draw
    return augment(patch.rgb, patch.mask, patch.white, spec, **keys)


def test_augmentation_repeats_itself_and_differs_by_epoch_index_and_seed(patch):
    spec = AugmentSpec()
    first = vary(patch, spec)
    again = vary(patch, spec)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    for change in ({"seed": 9}, {"epoch": 9}, {"index": 9}):
        assert (vary(patch, spec, **change)[0] != first[0]).any()


def test_the_mask_is_turned_with_the_image(patch):
    spec = OFF.model_copy(update={"flips": True})
    marked = np.repeat(patch.mask[..., None], 3, axis=2)  # the image says what the mask says
    seen = set()
    for index in range(40):
        rgb, mask = augment(marked, patch.mask, WHITE, spec, seed=0, epoch=0, index=index)
        assert (rgb[..., 0] == mask).all()
        seen.add(mask.tobytes())
    assert len(seen) == 8  # the symmetries of a square


def test_colours_never_change_the_mask(patch):
    spec = AugmentSpec(flips=False, blur_share=1, jpeg_share=1)
    rgb, mask = vary(patch, spec)
    assert (mask == patch.mask).all()
    assert (rgb != patch.rgb).any()


def test_switching_one_effect_off_changes_no_other(patch):
    both = vary(patch, OFF.model_copy(update={"flips": True, "brightness": 0.2}))
    one = vary(patch, OFF.model_copy(update={"flips": True}))
    assert (both[1] == one[1]).all()


def test_stain_jitter_scales_the_dyes_and_nothing_else():
    amounts = np.array([0.5, 0.3, 0.0])
    density = amounts @ RUIFROK_JOHNSTON.matrix()
    value = np.rint(256 * 10**-density - 1).astype(np.uint8)
    rgb = np.broadcast_to(value, (8, 8, 3)).copy()
    spec = OFF.model_copy(update={"hematoxylin": 0.4, "dab": 0.0})
    table = od_table(WHITE)
    for index in range(6):
        out, _ = augment(rgb, rgb[..., 0], WHITE, spec, seed=0, epoch=0, index=index)
        od = np.array([table[c, out[0, 0, c]] for c in range(3)])
        h, d, rest = od @ np.linalg.inv(RUIFROK_JOHNSTON.matrix())
        assert d == pytest.approx(0.3, abs=0.02)
        assert rest == pytest.approx(0.0, abs=0.02)
        assert abs(h - 0.5) > 0.005


def test_an_image_that_does_not_fit_its_mask_is_refused(patch):
    with pytest.raises(InputError, match="cannot augment"):
        augment(patch.rgb, patch.mask[1:], WHITE, OFF, seed=0, epoch=0, index=0)


# inputs


def test_haematoxylin_comes_first_and_counts_from_the_white_point(patch):
    both = network_input(patch.rgb, "hematoxylin-rgb", patch.white)
    assert both.shape == (4, *patch.mask.shape)
    assert both.dtype == np.float32
    assert (both[1:] == network_input(patch.rgb, "rgb", patch.white)).all()
    assert (both[:1] == network_input(patch.rgb, "hematoxylin", patch.white)).all()
    glass = np.full((4, 4, 3), 230, np.uint8)
    assert network_input(glass, "hematoxylin", (230.0,) * 3).max() == pytest.approx(0, abs=1e-3)


def test_an_unknown_input_is_refused(patch):
    with pytest.raises(InputError, match="no input is called 'hematoxilin'"):
        network_input(patch.rgb, "hematoxilin", WHITE)
