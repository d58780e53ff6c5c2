"""Glands, vessels, necrosis, crowded stroma, looks of nuclei and scanners: drawn, and in the truth.

Everything here is off by default, which ``test_phantom.py`` covers.
"""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import shapely
from pydantic import ValidationError
from skimage.draw import polygon

from herscope.nn.patches.phantom_compartments import _classes
from herscope.slide.phantom.fields import LUMEN, node_range
from herscope.slide.phantom.planes import planes
from herscope.slide.phantom.render import make_plan, render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import phantom_truth
from herscope.slide.phantom.variety import random_phantom

PLAIN = {
    "width_um": 320,
    "height_um": 280,
    "mpp": 0.5,
    "tissue_fraction": 1,
    "fat_fraction": 0,
}
EXACT = {"blur_sigma_um": 0.0, "noise_sd": 0.0, "shading": 0.0}
EVERYTHING = {
    "tissue_fraction": 0.8,
    "tumor_gland_fraction": 0.4,
    "lumen_fraction": 0.6,
    "secretion_fraction": 0.5,
    "tumor_fraction": 0.3,
    "normal_gland_fraction": 0.3,
    "normal_gland_um": 34,
    "vessel_fraction": 0.3,
    "vessel_um": 45,
    "capillaries_per_mm2": 80,
    "necrosis_fraction": 0.15,
    "crowded_stroma": True,
    "stroma_cells_per_mm2": 4500,
    "looseness": 0.5,
    "trimmed_nests": True,
    "brown_unevenness": 0.6,
    "blue_unevenness": 0.3,
    "speckle_od": 0.1,
    "nuclear_blush": 0.2,
    "nucleus_looks": (0.2, 0.1, 0.1, 0.1, 0.1, 0.2),
    "nucleus_gap_um": -0.5,
    "sharpening": 1.0,
    "gamma": 1.2,
    "color_mix": (0.05, 0.0, -0.05, 0.0, 0.03, 0.02),
    "defocus_patches": 1,
}


def drawn(**fields: object) -> PhantomSpec:
    return PhantomSpec(**{**PLAIN, **fields})


def whole(spec: PhantomSpec) -> np.ndarray:
    return render_region(spec, 0, 0, spec.width_px, spec.height_px)


def classes(spec: PhantomSpec) -> np.ndarray:
    """Class of every pixel's centre."""
    plan = make_plan(spec)
    side = max(spec.width_px, spec.height_px)
    i0, j0, columns, rows = node_range(0, 0, side * spec.mpp, side * spec.mpp)
    lattice, _ = planes(plan.fields, plan.structures, i0, j0, columns, rows)
    found = _classes(lattice, i0, j0, 0, 0, side, spec.mpp)
    return found[: spec.height_px, : spec.width_px]


# the same bits


def test_a_slide_without_structures_is_still_the_one_of_the_version_before_them():
    spec = PhantomSpec(width_um=150, height_um=150, stain="membrane", seed=3)

    image, truth = whole(spec), phantom_truth(spec)

    # not a digest, for another processor may round a pixel otherwise
    assert image.reshape(-1, 3).mean(axis=0) == pytest.approx([211.253, 204.843, 217.982], abs=2e-3)
    middle = image[200:400, 200:400].reshape(-1, 3).mean(axis=0)
    assert middle == pytest.approx([200.933, 192.819, 210.609], abs=2e-3)
    assert int(truth.cells["cell_id"].sum() % 10**9) == 474111312
    assert truth.counts("all") == [27, 10, 9, 3]
    assert truth.cells["nucleus_area_um2"].sum() == pytest.approx(3049.0625, abs=0.5)


@pytest.mark.parametrize("stain", ["nuclear", "membrane"])
def test_any_rectangle_of_a_slide_with_every_structure_has_the_same_bits(stain):
    spec = drawn(stain=stain, seed=8, **EVERYTHING)
    image = whole(spec)
    rng = np.random.default_rng(2)

    for _ in range(14):
        width, height = (int(n) for n in rng.integers(1, 300, 2))
        x = int(rng.integers(0, spec.width_px - width + 1))
        y = int(rng.integers(0, spec.height_px - height + 1))
        part = render_region(spec, x, y, width, height)

        np.testing.assert_array_equal(part, image[y : y + height, x : x + width])


def test_the_truth_of_a_rectangle_with_structures_is_part_of_the_whole_truth():
    spec = drawn(stain="membrane", seed=8, **EVERYTHING)
    expected = phantom_truth(spec).cells.sort_values("cell_id", ignore_index=True)

    parts = [phantom_truth(spec, box).cells for box in ((0, 0, 301, 560), (301, 0, 640, 560))]

    together = pd.concat(parts).sort_values("cell_id", ignore_index=True)
    pd.testing.assert_frame_equal(together, expected, check_exact=True)
    assert expected["cell_id"].is_unique
    assert set(expected["compartment"]) == {"tumor", "stroma", "other"}


@pytest.mark.parametrize("seed", range(6))
def test_random_slides_have_the_same_bits_for_any_rectangle(seed):
    spec = random_phantom(17, seed, size_um=150, mpp=0.5, normal_glands=1.0)
    image = whole(spec)

    part = render_region(spec, 71, 38, 160, 190)

    np.testing.assert_array_equal(part, image[38:228, 71:231])


# the truth is what is drawn


def test_polygons_of_the_regions_cover_the_slide_and_are_the_classes_that_are_drawn():
    spec = drawn(seed=8, **EVERYTHING)

    regions = phantom_truth(spec).regions()

    found = classes(spec)
    area = {name: shape.area for name, shape in regions.items()}
    assert sum(area.values()) == pytest.approx(found.size, rel=1e-9)
    for name, codes in {
        "Tumor": [2],
        "Stroma": [1],
        "Fat": [3],
        "Other": [5, 6, 7],
        "Background": [0, LUMEN],
    }.items():
        assert area[name] == pytest.approx(np.isin(found, codes).sum(), abs=0.004 * found.size)
    assert all(area[name] > 500 for name in ("Tumor", "Stroma", "Other", "Background"))


@pytest.mark.parametrize(
    "fields", [{"tumor_gland_fraction": 1.0}, {"lumen_fraction": 1.0, "tumor_fraction": 0.8}]
)
def test_a_lumen_is_glass_and_background(fields):
    spec = drawn(seed=4, stain="cytoplasmic", **fields, **EXACT)

    image, found = whole(spec), classes(spec)

    lumen = found == LUMEN
    deep = cv2.erode(lumen.astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert lumen.mean() > 0.02
    assert (image[deep] == np.array(spec.white_point)).all(axis=1).mean() > 0.98


def test_secretion_fills_lumens_that_are_background_still():
    clear, filled = (
        drawn(seed=4, tumor_gland_fraction=1.0, secretion_fraction=f, **EXACT) for f in (0.0, 1.0)
    )

    lumen = classes(filled) == LUMEN

    np.testing.assert_array_equal(lumen, classes(clear) == LUMEN)
    assert whole(filled)[lumen].mean() < whole(clear)[lumen].mean() - 2


def test_cells_of_a_gland_end_at_the_lumen():
    spec = drawn(seed=4, stain="membrane", tumor_gland_fraction=1.0, trimmed_nests=True)
    truth = phantom_truth(spec)

    found = classes(spec)

    tumor = np.flatnonzero(truth.cells["compartment"] == "tumor")
    over, total = 0, 0
    for row in tumor:
        outline = truth.outlines[row]
        rows, columns = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, found.shape)
        over += int((found[rows, columns] == LUMEN).sum())
        total += len(rows)
    assert len(tumor) > 60
    assert over < 0.02 * total


def test_trimmed_cells_keep_to_their_nest_and_others_bulge_over_it():
    def outside(trimmed: bool) -> float:
        spec = drawn(seed=5, island_um=90, trimmed_nests=trimmed)
        truth, found = phantom_truth(spec), classes(spec)
        over, total = 0, 0
        for row in np.flatnonzero(truth.cells["compartment"] == "tumor"):
            outline = truth.outlines[row]
            rows, columns = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, found.shape)
            over += int((found[rows, columns] != 2).sum())
            total += len(rows)
        return over / total

    assert outside(trimmed=True) < 0.02
    assert outside(trimmed=False) > 0.08


def test_nuclei_of_a_one_row_gland_point_to_the_lumen():
    spec = drawn(seed=4, tumor_gland_fraction=1.0, gland_um=90, nucleus_elongation=2.0)
    truth = phantom_truth(spec)
    distance = cv2.distanceTransform(
        (classes(spec) != LUMEN).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(distance, (0, 0), 3))

    found = []
    for row in np.flatnonzero(truth.cells["compartment"] == "tumor"):
        x, y = truth.cells.loc[row, ["x_um", "y_um"]].astype(float) / spec.mpp
        i, j = int(x), int(y)
        if not (20 < i < spec.width_px - 20 and 20 < j < spec.height_px - 20):
            continue
        if distance[j, i] * spec.mpp > 25:
            continue  # beside a piece of solid tumour, or the gland has no lumen here
        points = truth.nuclei[row] - truth.nuclei[row].mean(axis=0)
        values, vectors = np.linalg.eigh(points.T @ points)
        toward = np.array([slope_x[j, i], slope_y[j, i]])
        if values[1] > 1.5 * values[0] and np.linalg.norm(toward) > 0.5:
            found.append(abs(vectors[:, 1] @ toward) / np.linalg.norm(toward))

    assert len(found) > 30
    assert np.median(found) > 0.9


def test_normal_glands_and_muscle_are_other_to_the_truth():
    spec = drawn(
        width_um=600,
        height_um=600,
        seed=6,
        tumor_fraction=0.2,
        normal_gland_fraction=0.3,
        vessel_fraction=0.15,
        vessel_um=70,
    )
    truth = phantom_truth(spec)

    other = truth.cells[truth.cells["compartment"] == "other"]

    assert set(other["kind"]) == {"glandular", "muscle"}
    assert truth.summary()["compartments"]["other"]["cells"] == len(other)
    assert sum(truth.counts("all")) == len(truth.cells)
    region = truth.regions()["Other"].buffer(6)
    inside = shapely.contains_xy(region, other["x_um"] / spec.mpp, other["y_um"] / spec.mpp)
    assert inside.all()


def test_necrosis_holds_no_cell():
    spec = drawn(seed=3, tumor_fraction=0.8, necrosis_fraction=0.4, island_um=300)

    truth = phantom_truth(spec)

    dead = truth.regions()["Other"]
    assert dead.area > 0.15 * spec.width_px * spec.height_px
    rows = truth.cells
    assert not shapely.contains_xy(
        dead.buffer(-4), rows["x_um"] / spec.mpp, rows["y_um"] / spec.mpp
    ).any()


def test_the_asked_share_of_the_tumour_is_necrotic():
    spec = drawn(width_um=1100, height_um=1100, island_um=120, necrosis_fraction=0.3)

    regions = phantom_truth(spec).regions()

    share = regions["Other"].area / (regions["Other"].area + regions["Tumor"].area)
    assert share == pytest.approx(0.3, abs=0.02)


def test_crowded_stroma_has_the_asked_cells_and_some_as_large_as_tumours():
    spec = drawn(
        tumor_fraction=0.0,
        crowded_stroma=True,
        stroma_cells_per_mm2=5500,
        lymphocyte_fraction=0,
        stroma_nucleus_diameter_um=8.5,
        stroma_elongation=(1.1, 1.8),
    )

    cells = phantom_truth(spec).cells

    per_mm2 = len(cells) / (0.32 * 0.28)
    assert per_mm2 == pytest.approx(5500, rel=0.1)
    assert 42 < cells["nucleus_area_um2"].mean() < 62


@pytest.mark.parametrize(
    ("look", "name"),
    list(enumerate(["vesicular", "pyknotic", "ghost", "coarse", "mitosis", "out of plane"])),
)
def test_a_look_is_drawn_and_written_down(look, name):
    shares = tuple(1.0 if k == look else 0.0 for k in range(6))
    fields = {"tumor_fraction": 0.8, "tumor_grade_fractions": (1, 0, 0, 0), "seed": 2, **EXACT}
    ordinary, special = drawn(**fields), drawn(nucleus_looks=shares, **fields)

    before, after = phantom_truth(ordinary).cells, phantom_truth(special).cells

    assert "look" not in before
    tumor = after["compartment"] == "tumor"
    assert (after["look"][tumor] == name).all()
    assert (whole(ordinary) != whole(special)).any(axis=2).mean() > 0.02
    if name in {"pyknotic", "mitosis"}:
        ratio = after["nucleus_area_um2"][tumor].mean() / before["nucleus_area_um2"].mean()
        assert ratio < 0.9


def test_touching_nuclei_are_cut_at_their_border_and_do_not_overlap():
    spec = drawn(
        tumor_fraction=1.0,
        tumor_cells_per_mm2=7500,
        nucleus_diameter_um=12,
        nucleus_gap_um=-1.0,
    )
    truth = phantom_truth(spec)
    nuclei = shapely.polygons(truth.nuclei.astype(float))

    first, second = shapely.STRtree(nuclei).query(nuclei, predicate="dwithin", distance=0.6)
    pairs = first < second
    shared = shapely.area(shapely.intersection(nuclei[first[pairs]], nuclei[second[pairs]]))

    assert pairs.sum() > 0.3 * len(nuclei)
    assert shared.sum() < 0.002 * shapely.area(nuclei).sum()


def test_outlines_of_touching_nuclei_are_the_pixels_that_are_drawn():
    spec = drawn(
        tumor_fraction=1.0,
        nucleus_diameter_um=11,
        nucleus_gap_um=-0.8,
        tumor_cells_per_mm2=6500,
        tumor_grade_fractions=(0, 0, 0, 1),
        **EXACT,
    )
    truth = phantom_truth(spec)

    area = shapely.area(shapely.polygons(truth.nuclei.astype(float))) * spec.mpp**2

    inner = (truth.cells["x_um"] > 20) & (truth.cells["x_um"] < 300)
    inner &= (truth.cells["y_um"] > 20) & (truth.cells["y_um"] < 260)
    error = area[inner] / truth.cells["nucleus_area_um2"][inner] - 1
    assert abs(error.mean()) < 0.02
    assert abs(error).max() < 0.15


# dyes and scanner


def test_blush_browns_the_cytoplasm_of_stained_cells_and_the_truth_knows():
    fields = {"tumor_fraction": 0.8, "tumor_grade_fractions": (0, 0, 0, 1), "seed": 2}

    clean, blushed = (phantom_truth(drawn(nuclear_blush=b, **fields)).cells for b in (0.0, 0.3))

    assert blushed["cytoplasm_od"].mean() > clean["cytoplasm_od"].mean() + 0.15
    pd.testing.assert_series_equal(blushed["nucleus_od"], clean["nucleus_od"])


@pytest.mark.parametrize(
    "fields",
    [
        {"gamma": 1.5},
        {"color_mix": (0.1, 0.0, 0.0, 0.1, 0.05, 0.0)},
        {"sharpening": 1.5},
        {"looseness": 0.9},
        {"fibre_strength": 0.2},
        {"fibre_dye": 2.0},
        {"speckle_od": 0.2},
        {"brown_unevenness": 0.8},
        {"blue_unevenness": 0.4},
        {"epithelium_dye": 2.0},
        {"cytoplasm_texture": 2.5},
        {"capillaries_per_mm2": 200},
        {"stroma_hematoxylin": 0.5},
        {"stroma_disorder": 1.5},
    ],
)
def test_every_field_of_variety_changes_tissue_and_leaves_glass_white(fields):
    usual = {"width_um": 200, "height_um": 200, "tissue_fraction": 0.6, "seed": 1, **EXACT}
    plain, varied = drawn(**usual), drawn(**usual, **fields)

    one, two = whole(plain), whole(varied)

    white = np.array(plain.white_point)
    glass = (one == white).all(axis=2)
    # away from tissue, for sharpening throws haloes
    glass = cv2.erode(glass.astype(np.uint8), np.ones((21, 21))).astype(bool)
    assert glass.mean() > 0.1
    assert (two[glass] == white).all()
    assert (one != two).any(axis=2).mean() > 0.003


def test_sharpening_throws_a_bright_halo_around_dark_nuclei():
    usual = {"tumor_fraction": 0.9, "tumor_grade_fractions": (0, 0, 0, 1), "seed": 1, "noise_sd": 0}
    soft, sharp = drawn(**usual), drawn(**usual, sharpening=2.0)

    one, two = (whole(spec)[..., 1].astype(float) for spec in (soft, sharp))

    assert two.max() > one.max()
    assert cv2.Laplacian(two, cv2.CV_64F).var() > 2 * cv2.Laplacian(one, cv2.CV_64F).var()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stroma_cells_per_mm2": 5000}, "no room"),
        ({"stroma_elongation": (3.0, 2.0)}, "smaller first"),
        ({"stroma_elongation": (0.5, 2.0)}, "1 to 6"),
        ({"nucleus_looks": (0.5, 0.5, 0.5, 0, 0, 0)}, "at most 1"),
        ({"gland_um": 3}, "greater than or equal"),
        ({"color_mix": (0.9, 0, 0, 0, 0, 0)}, "less than or equal"),
        ({"gamma": 0}, "greater than or equal"),
    ],
)
def test_tissue_that_cannot_be_drawn_is_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        PhantomSpec(**fields)


# random slides


def test_random_slides_show_every_build_and_normal_glands_on_request_alone():
    specs = [random_phantom(1, k, size_um=300, mpp=0.5) for k in range(300)]

    assert not any(spec.normal_gland_fraction for spec in specs)
    glands = sum(spec.tumor_gland_fraction > 0 for spec in specs) / 300
    assert 0.35 < glands < 0.6
    assert 0.2 < sum(spec.lumen_fraction > 0 for spec in specs) / 300 < 0.5
    assert 0.3 < sum(spec.crowded_stroma for spec in specs) / 300 < 0.55
    asked = [random_phantom(1, k, size_um=300, mpp=0.5, normal_glands=0.3) for k in range(300)]
    assert 0.2 < sum(spec.normal_gland_fraction > 0 for spec in asked) / 300 < 0.4


def test_brown_in_itself_does_not_tell_the_compartment_of_random_slides():
    specs = [random_phantom(1, k, size_um=300, mpp=0.5) for k in range(300)]
    nuclear = [spec for spec in specs if spec.stain == "nuclear"]

    browner = [spec.stroma_grade_fractions[0] < spec.tumor_grade_fractions[0] for spec in nuclear]

    assert 0.15 < np.mean(browner) < 0.5
