"""Nests: epithelium told from stroma by nuclei, the same map whatever the windows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from herscope.core.errors import InputError
from herscope.core.units import Mpp
from herscope.segment.compartments import STROMA_CODE, TUMOR_CODE, UNASSIGNED
from herscope.segment.nest_tally import COLLAR, COLLAR_SIGNAL, NUCLEI, WIDTH, tally
from herscope.segment.nest_vote import absorb, own_cut, score_map
from herscope.segment.nests import NEST_ALERT, NestSpec, find_nests, nest_mpp, nest_regions
from herscope.segment.nuclei import Nuclei
from herscope.slide.grid import Grid
from herscope.slide.phantom.presets import PRESETS
from herscope.slide.phantom.render import render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import phantom_truth
from herscope.stain.deconvolve import deconvolution_table
from herscope.stain.vectors import RUIFROK_JOHNSTON
from herscope.tissue.raster import rasterise

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
SPEC = NestSpec()


def grid_of(picture, scale=1.0):
    height, width = picture.shape[:2]
    return Grid(Mpp(1.0), Mpp(1.0), 0, width, height, scale, scale, native=True)


def reader(picture, log=None):
    """Rectangles of a picture, white beyond it, as a slide gives them."""

    def read(x, y, width, height):
        if log is not None:
            log.append((x, y, width, height))
        out = np.full((height, width, 3), 255, np.uint8)
        top, left = max(y, 0), max(x, 0)
        part = picture[top : max(y + height, 0), left : max(x + width, 0)]
        out[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
        return out

    return read


def table(white=(243.0, 243.0, 245.0), share=1.0):
    return deconvolution_table(RUIFROK_JOHNSTON, white, nuclear_dab_share=share)


def quarter(picture):
    """Average 4 x 4 pixels."""
    height, width = (side // 4 * 4 for side in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def draw(preset, seed, size_um=500.0):
    """A phantom at 1 µm/px, its tissue, its cells."""
    fields = PRESETS[preset].model_dump()
    spec = PhantomSpec(
        **(fields | {"width_um": size_um, "height_um": size_um, "seed": seed, "border_um": 0.0})
    )
    picture = quarter(render_region(spec, 0, 0, spec.width_px, spec.height_px))
    truth = phantom_truth(spec)
    shapes = truth.regions()
    tissue = [(shapes[name], 1) for name in ("Tumor", "Stroma") if not shapes[name].is_empty]
    mask = rasterise(tissue, 0, 0, picture.shape[1], picture.shape[0], 4.0, 4.0) > 0
    return picture, mask, truth


@pytest.fixture(scope="module")
def phantom():
    return draw("small", 7)


@pytest.fixture(scope="module")
def found(phantom):
    picture, mask, _ = phantom
    return find_nests(reader(picture), grid_of(picture), mask, table(), SPEC)


def code_at(nests, x_um, y_um):
    row = np.clip((y_um // nests.cell_px).astype(int), 0, nests.codes.shape[0] - 1)
    column = np.clip((x_um // nests.cell_px).astype(int), 0, nests.codes.shape[1] - 1)
    return nests.codes[row, column]


def right(nests, truth, compartment, code):
    cells = truth.cells[truth.cells["compartment"] == compartment]
    return float(
        (code_at(nests, cells["x_um"].to_numpy(), cells["y_um"].to_numpy()) == code).mean()
    )


@pytest.mark.parametrize(
    ("preset", "share"), [("small", 1.0), ("strong-dab", 1.0), ("membrane", 0)]
)
def test_most_cells_of_a_phantom_lie_in_their_own_compartment(preset, share):
    picture, mask, truth = draw(preset, 11)

    nests = find_nests(reader(picture), grid_of(picture), mask, table(share=share), SPEC)

    tumor = right(nests, truth, "tumor", TUMOR_CODE)
    stroma = right(nests, truth, "stroma", STROMA_CODE)
    assert tumor > 0.9
    assert stroma > 0.7
    cells = truth.cells["compartment"].value_counts()
    assert (tumor * cells["tumor"] + stroma * cells["stroma"]) / cells.sum() > 0.9


@pytest.mark.parametrize("window_um", [96.0, 250.0, 333.0])
def test_the_map_is_the_same_whatever_the_windows(phantom, found, window_um):
    picture, mask, _ = phantom

    other = find_nests(reader(picture), grid_of(picture), mask, table(), SPEC, window_um=window_um)

    assert np.array_equal(other.codes, found.codes)
    assert (other.nuclei, other.cut_um) == (found.nuclei, found.cut_um)


def test_a_halo_that_is_too_small_would_change_the_sums(phantom, monkeypatch):
    picture, mask, _ = phantom
    whole = find_nests(reader(picture), grid_of(picture), mask, table(), SPEC)
    monkeypatch.setattr(NestSpec, "halo_um", 0.0)

    cut = find_nests(reader(picture), grid_of(picture), mask, table(), SPEC, window_um=96.0)

    assert cut.nuclei != whole.nuclei


def test_windows_without_tissue_are_not_read(phantom):
    picture, mask, _ = phantom
    left = mask.copy()
    left[:, 96:] = False
    log = []

    find_nests(reader(picture, log), grid_of(picture), left, table(), SPEC, window_um=96.0)

    cores = [x + (width - 96) // 2 for x, _, width, _ in log if width != 256]
    assert max(cores) < 96 + 8


def test_glass_belongs_to_no_compartment(phantom):
    picture, mask, _ = phantom
    left = mask.copy()
    left[:, 240:] = False

    nests = find_nests(reader(picture), grid_of(picture), left, table(), SPEC)

    assert (nests.codes[:, 31:] == UNASSIGNED).all()
    assert (nests.codes[:, :30] != UNASSIGNED).any()


def test_nuclei_off_the_tissue_do_not_count_in_any_window(phantom):
    picture, mask, _ = phantom
    left = mask.copy()
    left[:, 240:] = False

    one, many = (
        find_nests(reader(picture), grid_of(picture), left, table(), SPEC, window_um=window_um)
        for window_um in (1000.0, 96.0)
    )

    assert one.nuclei == many.nuclei
    assert np.array_equal(one.codes, many.codes)


def test_tissue_without_a_nucleus_is_unassigned():
    picture = np.full((300, 300, 3), 225, np.uint8)

    nests = find_nests(reader(picture), grid_of(picture), np.ones((30, 30), bool), table(), SPEC)

    assert (nests.codes == UNASSIGNED).all()
    assert nests.nest_share is None
    assert nest_regions(nests, grid_of(picture), 300, 300) == ()


def test_regions_cover_the_map_and_end_with_the_slide(phantom, found):
    picture, _, _ = phantom
    grid = grid_of(picture, scale=4.0)
    level0 = 4 * picture.shape[1] - 1, 4 * picture.shape[0] - 1

    regions = nest_regions(found, grid, *level0)

    assert {region.name for region in regions} == {"Tumor", "Stroma"}
    codes = {"Tumor": TUMOR_CODE, "Stroma": STROMA_CODE}
    shapes = [(region.geometry, codes[region.name]) for region in regions]
    rows, columns = found.codes.shape
    step = 4.0 * found.cell_px
    inside = np.s_[: rows - 1, : columns - 1]
    drawn = rasterise(shapes, 0, 0, columns, rows, step, step)
    assert np.array_equal(drawn[inside], found.codes[inside])
    assert max(region.geometry.bounds[2] for region in regions) <= level0[0]
    assert max(region.geometry.bounds[3] for region in regions) <= level0[1]


def nucleus(width, length, signal_between):
    """A nucleus of the given sides in the middle of 60 x 60 px."""
    labels = np.zeros((60, 60), np.int32)
    labels[30 - width // 2 : 30 - width // 2 + width, 30 - length // 2 : 30 + length // 2] = 1
    signal = np.where(labels > 0, 500, signal_between).astype(np.uint16)
    return Nuclei(labels, np.array([[30, 30]], np.int32)), signal


def test_a_spindle_counts_as_thin_and_a_column_as_wide():
    core = {"core": (0, 0, 60, 60), "cell_px": 60, "collar_um": 4.0}

    spindle = tally(*nucleus(3, 20, 100), 1.0, **core)
    column = tally(*nucleus(8, 20, 100), 1.0, **core)

    assert spindle[WIDTH, 0, 0] < 400
    assert column[WIDTH, 0, 0] > 850
    for sums in (spindle, column):
        assert sums[COLLAR_SIGNAL].sum() == 100 * sums[COLLAR].sum()


def test_a_nucleus_counts_only_in_the_window_that_holds_its_seed():
    nuclei, signal = nucleus(8, 20, 100)

    other = tally(nuclei, signal, 1.0, core=(0, 32, 60, 56), cell_px=8, collar_um=4.0)

    assert other[NUCLEI].sum() == 0
    assert other[COLLAR].sum() > 0


def test_two_groups_of_nuclei_set_their_own_cut_and_one_group_does_not():
    rng = np.random.default_rng(3)
    one = rng.normal(-0.5, 0.3, 400)
    two = np.concatenate([rng.normal(-2.5, 0.3, 200), rng.normal(0.6, 0.3, 200)])
    each = np.ones(400, np.int32)

    assert own_cut(one, each, 1.2) is None
    cut = own_cut(two, each, 1.2)
    assert cut is not None
    assert -1.9 < cut < 0
    assert own_cut(np.zeros(0), np.zeros(0, np.int32), 1.2) is None


def test_specks_go_to_what_surrounds_them_and_islands_in_glass_stay():
    codes = np.full((12, 24), STROMA_CODE, np.uint8)
    codes[4:6, 4:6] = TUMOR_CODE
    codes[:, 12:] = UNASSIGNED
    codes[4:6, 18:20] = TUMOR_CODE

    absorb(codes, TUMOR_CODE, STROMA_CODE, 10)

    assert codes[4, 4] == STROMA_CODE
    assert codes[4, 18] == TUMOR_CODE


def test_a_slide_too_coarse_for_nuclei_is_refused_with_a_way_out():
    with pytest.raises(InputError, match=r"1\.25 µm/px") as refused:
        nest_mpp(1.8, SPEC)

    assert "GeoJSON" in refused.value.hint


@pytest.mark.parametrize(
    "mask", [np.ones((4, 4), np.uint8), np.ones(4, bool), np.ones((0, 4), bool)]
)
def test_a_tissue_mask_that_is_none_is_refused(mask):
    picture = np.full((50, 50, 3), 255, np.uint8)

    with pytest.raises(InputError, match="tissue mask"):
        find_nests(reader(picture), grid_of(picture), mask, table(), SPEC)


@pytest.mark.parametrize("bad", [{"cut_range_um": (0.1, 0.5)}, {"mpp": 2.0}, {"cell_um": 0}])
def test_parameters_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        NestSpec(**bad)


def test_the_alert_says_that_normal_epithelium_counts_as_tumor():
    assert "normal epithelium" in NEST_ALERT
    assert "not annotations" in NEST_ALERT


def map_of(nuclei, width_um, collar_od):
    """Sums of a map whose every cell says the same."""
    sums = np.zeros((4, 11, 11), np.int32)
    sums[NUCLEI], sums[WIDTH] = nuclei, round(100 * width_um) * nuclei
    sums[COLLAR], sums[COLLAR_SIGNAL] = 10, round(10_000 * collar_od)
    return sums


def score_of(width_um, collar_od, contrast_od=0.06):
    sums = map_of(2, width_um, collar_od)
    score, _ = score_map(sums, sigma=1.0, bar_um=6.9, gain_um=0.8, contrast_od=contrast_od)
    return float(score[5, 5])


def test_wider_nuclei_and_a_darker_collar_speak_for_epithelium():
    assert score_of(6.0, 0.08) > score_of(5.0, 0.08)
    assert score_of(5.5, 0.12) > score_of(5.5, 0.06)


def test_a_slide_stained_twice_as_strongly_keeps_its_scores():
    assert score_of(5.5, 0.16, 0.10) == pytest.approx(score_of(5.5, 0.08, 0.05))


ENDONUKE = DATA / "ihc" / "endonuke"
TILE_UM = 100
MAP_BEGINS = {"a4": 10}
"""Columns of a tile that its crop of the map of points still shows."""


def endonuke_tile(name):
    """A tile at 1 µm/px and what its points say of its own pixels."""
    cv2 = pytest.importorskip("cv2")
    picture = cv2.imread(str(ENDONUKE / f"er_pr_{name}.png"))[..., ::-1]
    dots = cv2.imread(str(ENDONUKE / f"er_pr_{name}_points.png"))[..., ::-1]
    dots = dots[:, MAP_BEGINS.get(name, 0) :].astype(int)
    um = picture.shape[1] * TILE_UM // picture.shape[0]
    small = cv2.resize(picture, (um, TILE_UM), interpolation=cv2.INTER_AREA)
    height, width = (min(a, b) for a, b in zip(picture.shape[:2], dots.shape[:2], strict=True))
    red, green, blue = (dots[:height, :width, c] for c in range(3))
    epithelium = (blue > 200) & (red < 80)
    stroma = (green > 200) & (red < 80) & (blue < 100)
    white = tuple(float(np.percentile(picture[..., c], 99.9)) for c in range(3))
    return small, epithelium, stroma, white


@pytest.mark.skipif(not ENDONUKE.is_dir(), reason="no EndoNuke tiles here")
@pytest.mark.parametrize(("name", "least"), [("a1", 0.85), ("a2", 0.95), ("a3", 0.85), ("a4", 0.8)])
def test_epithelium_and_stroma_of_endonuke_are_told_apart_on_every_tile(name, least):
    picture, epithelium, stroma, white = endonuke_tile(name)

    nests = find_nests(reader(picture), grid_of(picture), np.ones((8, 8), bool), table(white), SPEC)

    rows, columns = (np.arange(n) * TILE_UM // 346 // nests.cell_px for n in epithelium.shape)
    codes = nests.codes[rows][:, columns]
    right = int((codes[epithelium] == TUMOR_CODE).sum() + (codes[stroma] == STROMA_CODE).sum())
    assert right / int(epithelium.sum() + stroma.sum()) > least


QUPATH = DATA / "ihc" / "qupath_docs"


@pytest.mark.skipif(not QUPATH.is_dir(), reason="no picture of QuPath here")
def test_nests_of_a_carcinoma_agree_with_the_classes_of_another_program():
    cv2 = pytest.importorskip("cv2")
    plain, drawn = (
        cv2.imread(str(QUPATH / f"ki67_export_{name}.jpg"))[250:, 250:, ::-1]
        for name in ("no_overlay", "with_overlay")
    )
    large = cv2.resize(plain, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    grid = grid_of(large)
    white = tuple(float(np.percentile(plain[..., c], 99.9)) for c in range(3))

    nests = find_nests(
        reader(large),
        Grid(Mpp(1.1), Mpp(1.1), 0, grid.width_px, grid.height_px, 1.0, 1.0, native=True),
        np.ones((8, 8), bool),
        table(white),
        SPEC,
    )

    r, g, b = (drawn[..., c].astype(int) for c in range(3))
    changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 40
    tumor = changed & (((b - g > 40) & (b - r > 25)) | ((r - g > 60) & (r - b > 40)))
    stroma = changed & (g - r > 15) & (g - b > 10)
    rows, columns = (np.arange(n) * 2 // nests.cell_px for n in plain.shape[:2])
    codes = nests.codes[rows][:, columns]
    assert (codes[tumor] == TUMOR_CODE).mean() > 0.65
    assert (codes[stroma] == STROMA_CODE).mean() > 0.8
