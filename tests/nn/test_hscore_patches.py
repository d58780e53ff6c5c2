"""Folders for H-scores: what is read, what is drawn, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from herscope.core.errors import InputError, NotComputed, SchemaError, UnknownResolution
from herscope.nn.inputs import network_input
from herscope.nn.patches.hscores import read_hscore_patches
from herscope.nn.patches.phantom_hscores import grade_shares, make_phantom_hscores
from herscope.recipes.hscore_formula import formula_h_scores, with_truth
from herscope.stain.deconvolve import deconvolution_table, deconvolve
from herscope.stain.vectors import RUIFROK_JOHNSTON

WHITE = (243.0, 243.0, 245.0)


def write(root, name, mask=None, size=40, value=0):
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    noise = np.random.Generator(np.random.PCG64(value)).integers(60, 250, (size, size, 3))
    Image.fromarray(noise.astype(np.uint8)).save(root / "images" / f"{name}.png")
    if mask is not None:
        Image.fromarray(np.asarray(mask, np.uint8)).save(root / "masks" / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    """Two patches, half of each is target."""
    half = np.zeros((40, 40), np.uint8)
    half[:, :20] = 255
    for k, name in enumerate(("a_1", "b_1")):
        write(tmp_path, name, half, value=k)
    (tmp_path / "patches.json").write_text('{"mpp": 0.5}')
    (tmp_path / "hscores.csv").write_text("patch,h_score\na_1,0\nb_1,210.5\n")
    return tmp_path


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("h") / "phantoms"
    return make_phantom_hscores(folder, 24, 5, size_px=96)


def test_target_and_readers_scores_are_read(root):
    found = read_hscore_patches(root)
    assert found.known().tolist() == [0.0, 210.5]
    assert found.truth == "readers"
    assert found.target_px.tolist() == [800, 800]
    assert found.load(0).target[:, :20].all()
    assert not found.load(0).target[:, 20:].any()
    assert found.groups == ("a", "b")
    assert found.describe()["h_score"]["zeros"] == 1


def test_without_masks_every_pixel_counts(root):
    for file in (root / "masks").iterdir():
        file.unlink()
    (root / "masks").rmdir()
    assert read_hscore_patches(root).target_px.tolist() == [1600, 1600]


def test_a_mask_of_ones_is_a_target_too(root):
    before = read_hscore_patches(root)
    for name in ("a_1", "b_1"):
        mask = np.asarray(Image.open(root / "masks" / f"{name}.png")) // 255
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    assert read_hscore_patches(root).fingerprint == before.fingerprint


def test_a_compartment_of_compartment_masks_is_the_target(root):
    mask = np.full((40, 40), 255, np.uint8)
    mask[:10], mask[10:30], mask[30:35] = 0, 1, 3
    for name in ("a_1", "b_1"):
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    assert read_hscore_patches(root, compartment="tumor").target_px.tolist() == [400, 400]
    assert read_hscore_patches(root, compartment="stroma").target_px.tolist() == [800, 800]
    with pytest.raises(InputError, match="other than 0, 1 and 255, first at x 0, y 30"):
        read_hscore_patches(root)
    mask[mask == 3] = 255
    for name in ("a_1", "b_1"):
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    with pytest.raises(InputError, match=r"hold 1 .* and 255"):
        read_hscore_patches(root)


def test_a_patch_without_target_is_left_out_and_said(root):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "masks" / "a_1.png")
    found = read_hscore_patches(root)
    assert found.stems == ("b_1",)
    assert found.known().tolist() == [210.5]
    assert any("1 patches without target" in note for note in found.notes)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "masks" / "b_1.png")
    with pytest.raises(InputError, match=r"no patch of .* has a pixel of the target"):
        read_hscore_patches(root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patch,h_score\na_1,0\n", "no H-score of patch b_1"),
        ("patch,h_score\na_1,0\nb_1,301\n", "line 3: 301 is no H-score"),
        ("patch,h_score\na_1,-1\nb_1,30\n", "line 2: -1 is no H-score"),
        ("patch,h_score\na_1,nan\nb_1,30\n", "line 2: nan is no H-score"),
        ("patch,h_score\na_1,\nb_1,30\n", "line 2: nothing is no H-score"),
        ("patch,h_score\na_1,0\nb_1,30\nc_1,2\n", "line 4: there is no patch 'c_1'"),
        ("patch,h_score\na_1,0\na_1,5\nb_1,30\n", "line 3: patch a_1 has 0 and 5"),
        ("patch,score\na_1,0\nb_1,30\n", "no columns patch and h_score"),
        ("", "no columns"),
    ],
)
def test_wrong_scores_are_refused_by_line(root, text, said):
    (root / "hscores.csv").write_text(text)
    with pytest.raises(SchemaError, match=said):
        read_hscore_patches(root)


def test_a_mask_of_another_size_is_refused(root):
    Image.fromarray(np.full((41, 40), 255, np.uint8)).save(root / "masks" / "a_1.png")
    with pytest.raises(InputError, match=r"40 x 41 px, image a_1\.png 40 x 40"):
        read_hscore_patches(root)


def test_a_missing_mask_resolution_or_folder_is_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"states 0.5 µm/px, --mpp 1"):
        read_hscore_patches(root, mpp=1.0)
    (root / "patches.json").unlink()
    with pytest.raises(UnknownResolution):
        read_hscore_patches(root)
    (root / "masks" / "a_1.png").unlink()
    with pytest.raises(InputError, match="has no mask"):
        read_hscore_patches(root, mpp=0.5)
    with pytest.raises(InputError, match="no folder images"):
        read_hscore_patches(tmp_path / "nowhere")


def test_the_fingerprint_changes_with_a_score_and_with_a_target_pixel(root):
    seen = {read_hscore_patches(root).fingerprint}
    (root / "hscores.csv").write_text("patch,h_score\na_1,0\nb_1,210\n")
    seen.add(read_hscore_patches(root).fingerprint)
    mask = np.array(Image.open(root / "masks" / "a_1.png"))
    mask[0, 30] = 255
    Image.fromarray(mask).save(root / "masks" / "a_1.png")
    seen.add(read_hscore_patches(root).fingerprint)
    assert len(seen) == 3


def test_without_readers_the_formula_is_the_truth_and_is_said(root):
    (root / "hscores.csv").unlink()
    found = read_hscore_patches(root)
    with pytest.raises(NotComputed):
        found.known()
    filled = with_truth(found)
    assert filled.truth == "formula"
    assert filled.known().tolist() == formula_h_scores(found).tolist()
    assert any("formula" in note for note in filled.notes)


def test_the_network_sees_dab_inside_the_target_and_zero_outside(root):
    patch = read_hscore_patches(root).load(0)
    found = network_input(patch.rgb, "dab-target", WHITE, target=patch.target)
    dab = deconvolve(patch.rgb, deconvolution_table(RUIFROK_JOHNSTON, WHITE)).dab
    assert found.shape == (1, 40, 40)
    assert (found[0][~patch.target] == 0).all()
    assert np.array_equal(np.rint(found[0] * 1000)[patch.target], dab[patch.target])
    with pytest.raises(InputError, match="needs a target, got none"):
        network_input(patch.rgb, "dab-target", WHITE)
    with pytest.raises(InputError, match=r"got one of \(3, 3\)"):
        network_input(patch.rgb, "dab-target", WHITE, target=np.ones((3, 3), bool))


@pytest.mark.parametrize("h", [0.0, 37.5, 100.0, 199.0, 280.0, 300.0])
@pytest.mark.parametrize("spread", [0.0, 0.4, 1.0])
def test_shares_of_grades_have_the_h_score_asked_for(h, spread):
    shares = grade_shares(h, spread)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1, abs=1e-9)
    assert 100 * sum(k * s for k, s in enumerate(shares)) == pytest.approx(h, abs=1e-3)


def test_phantom_h_scores_cover_the_whole_range_with_zeros(phantoms):
    known = read_hscore_patches(phantoms).known()
    assert (known == 0).sum() >= 2
    assert (np.histogram(known, bins=[0, 100, 200, 300.01])[0] >= 4).all()


def test_the_seed_alone_decides_what_is_drawn(tmp_path):
    one, two, other = (
        read_hscore_patches(make_phantom_hscores(tmp_path / name, 3, seed, size_px=64))
        for name, seed in (("one", 5), ("two", 5), ("other", 6))
    )
    assert one.fingerprint == two.fingerprint
    assert not set(one.digests) & set(other.digests)


def test_the_formula_follows_the_truth_where_the_target_is_the_stained_part(tmp_path):
    folder = make_phantom_hscores(
        tmp_path / "p", 16, 2, size_px=96, region="marker", stain="cytoplasmic"
    )
    patches = read_hscore_patches(folder)
    found = formula_h_scores(patches)
    assert np.corrcoef(found, patches.known())[0, 1] > 0.9
    assert np.abs(found - patches.known()).mean() < 40


def test_the_stained_part_is_less_than_the_cells_and_darker(tmp_path):
    cell, part = (
        read_hscore_patches(
            make_phantom_hscores(
                tmp_path / region, 4, 2, size_px=96, region=region, stain="nuclear"
            )
        )
        for region in ("cell", "marker")
    )
    assert cell.digests == part.digests
    assert (part.target_px < 0.7 * cell.target_px).all()
    assert (formula_h_scores(part) >= formula_h_scores(cell)).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 1}, "1 patches"),
        ({"mpp": 9.0}, "9 µm/px"),
        ({"mpp": 0.25, "size_px": 64}, "are 16 µm wide"),
        ({"region": "nucleus"}, "no region is called 'nucleus'"),
        ({"stain": "he"}, "no stain is called 'he'"),
    ],
)
def test_impossible_phantoms_are_refused(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        make_phantom_hscores(tmp_path / "p", **{"n": 4, **changes})
