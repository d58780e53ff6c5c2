"""The phantom draws what its truth says, the same bits for any rectangle, as a readable slide."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import openslide
import pandas as pd
import pytest
import shapely
import tifffile
from pydantic import ValidationError
from skimage.draw import polygon

from herscope.core.errors import InputError, OutOfBounds, OutputError, UndefinedStatistic
from herscope.slide.phantom.contact import line_sectors
from herscope.slide.phantom.light import blur_weights
from herscope.slide.phantom.presets import PRESETS
from herscope.slide.phantom.render import render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import PhantomTruth, phantom_truth
from herscope.slide.phantom.write import draw_phantom

# written out again on purpose: the oracle must not follow a change of the drawn vectors
HEMATOXYLIN = np.array([0.650, 0.704, 0.286])
DAB = np.array([0.268, 0.570, 0.776])

EXACT = {"blur_sigma_um": 0.0, "noise_sd": 0.0, "shading": 0.0}


def dab_of(image: np.ndarray, white: tuple[int, int, int]) -> np.ndarray:
    """Least-squares DAB amount per pixel, by plain numpy."""
    density = -np.log10(np.maximum(image, 0.5) / np.asarray(white, dtype=float))
    dyes = np.stack([HEMATOXYLIN / np.linalg.norm(HEMATOXYLIN), DAB / np.linalg.norm(DAB)])
    return (density @ np.linalg.pinv(dyes))[..., 1]


def mask_of(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies in a polygon of level-0 coordinates."""
    mask = np.zeros(shape, dtype=bool)
    mask[polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, shape)] = True
    return mask


def inner_cells(truth: PhantomTruth, margin_um: float = 15.0) -> list[int]:
    """Rows of cells that lie wholly on the slide."""
    x, y = truth.cells["x_um"], truth.cells["y_um"]
    spec = truth.spec
    inside = (x > margin_um) & (x < spec.width_um - margin_um)
    inside &= (y > margin_um) & (y < spec.height_um - margin_um)
    return list(np.flatnonzero(inside))


def measured(truth: PhantomTruth, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean DAB over a part of each cell, recovered from pixels, beside the truth's."""
    spec = truth.spec
    image = render_region(spec, 0, 0, spec.width_px, spec.height_px)
    dab = dab_of(image, spec.white_point)
    # what is seen of a membrane is the line it shares with its neighbours
    line = line_sectors(truth).mean(axis=1)
    found, known = [], []
    for row in inner_cells(truth):
        nucleus = mask_of(truth.nuclei[row], dab.shape)
        mask = nucleus
        if part != "nucleus":
            cell = mask_of(truth.outlines[row], dab.shape)
            depth = cv2.distanceTransform(cell.astype(np.uint8), cv2.DIST_L2, 5) * spec.mpp
            half = spec.membrane_width_um / 2
            mask = (depth > 0.3) & (depth < half) if part == "membrane" else cell & (depth > half)
            mask &= ~cv2.dilate(nucleus.astype(np.uint8), np.ones((3, 3))).astype(bool)
        found.append(dab[mask].mean())
        known.append(line[row] if part == "membrane" else truth.cells.loc[row, f"{part}_od"])
    return np.array(found), np.array(known)


@pytest.mark.parametrize("stain", ["membrane", "he"])
def test_any_rectangle_has_the_same_bits_as_the_whole(stain: str) -> None:
    spec = PhantomSpec(
        width_um=330,
        height_um=280,
        stain=stain,
        tissue_fraction=0.6,
        folds=1,
        dust=5,
        pen_marks=1,
        bubbles=1,
        defocus_patches=1,
        border_um=6,
    )
    whole = render_region(spec, 0, 0, spec.width_px, spec.height_px)
    rng = np.random.default_rng(1)

    for _ in range(12):
        width, height = (int(n) for n in rng.integers(1, 400, 2))
        x = int(rng.integers(0, spec.width_px - width + 1))
        y = int(rng.integers(0, spec.height_px - height + 1))
        part = render_region(spec, x, y, width, height)

        np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])


def test_a_slide_wider_than_one_block_has_no_seam() -> None:
    spec = PhantomSpec(width_um=520, height_um=60, tissue_fraction=1)
    whole = render_region(spec, 0, 0, spec.width_px, spec.height_px)

    across = render_region(spec, 960, 40, 160, 120)

    assert spec.width_px > 1024
    np.testing.assert_array_equal(across, whole[40:160, 960:1120])


def test_another_seed_draws_another_slide() -> None:
    one, two = (
        render_region(PhantomSpec(width_um=50, height_um=50, seed=s), 0, 0, 200, 200)
        for s in (1, 2)
    )

    assert (one != two).mean() > 0.5


@pytest.mark.parametrize("rectangle", [(-1, 0, 10, 10), (0, 0, 0, 10), (195, 0, 10, 10)])
def test_a_rectangle_outside_the_slide_is_refused(rectangle: tuple[int, int, int, int]) -> None:
    with pytest.raises(OutOfBounds, match="outside the phantom"):
        render_region(PhantomSpec(width_um=50, height_um=50), *rectangle)


@pytest.mark.parametrize(
    ("stain", "part", "tolerance"),
    [
        ("nuclear", "nucleus", 0.01),
        ("cytoplasmic", "cytoplasm", 0.02),
        ("membrane", "membrane", 0.03),
    ],
)
def test_plain_deconvolution_of_the_pixels_finds_the_truths_density(
    stain: str, part: str, tolerance: float
) -> None:
    spec = PhantomSpec(width_um=150, height_um=150, stain=stain, tissue_fraction=1, **EXACT)
    truth = phantom_truth(spec)

    found, known = measured(truth, part)

    assert len(known) > 30
    assert known.max() > 0.4
    assert np.abs(found - known).mean() < tolerance
    assert abs((found - known).mean()) < tolerance
    if part == "nucleus":
        assert np.abs(found - known).max() < 0.02


def test_the_grade_is_the_cut_of_the_density() -> None:
    truth = phantom_truth(PhantomSpec(width_um=400, height_um=400, stain="membrane"))

    expected = [sum(od >= cut for cut in (0.2, 0.4, 0.6)) for od in truth.cells["od"]]

    assert truth.cells["grade"].tolist() == expected
    assert (truth.cells["od"] == truth.cells["membrane_od"]).all()


def test_nuclei_never_overlap() -> None:
    truth = phantom_truth(PhantomSpec(width_um=700, height_um=700, tumor_cells_per_mm2=6000))
    nuclei = shapely.polygons(truth.nuclei.astype(float))

    first, second = shapely.STRtree(nuclei).query(nuclei, predicate="intersects")
    pairs = first < second
    shared = shapely.area(shapely.intersection(nuclei[first[pairs]], nuclei[second[pairs]]))

    assert len(nuclei) > 1000
    assert shapely.is_valid(nuclei).all()
    assert shared.sum() < 0.5  # square pixels, over all pairs


def test_every_nucleus_lies_in_its_cell() -> None:
    truth = phantom_truth(PhantomSpec(width_um=300, height_um=300, stain="membrane"))

    nuclei, cells = (shapely.polygons(a.astype(float)) for a in (truth.nuclei, truth.outlines))

    outside = shapely.area(shapely.difference(nuclei, shapely.buffer(cells, 0.5)))
    assert outside.max() < 1


def test_grades_come_out_in_the_asked_shares() -> None:
    shares = (0.5, 0.2, 0.2, 0.1)
    truth = phantom_truth(PhantomSpec(width_um=1200, height_um=1200, tumor_grade_fractions=shares))

    counts = truth.counts("tumor")

    total = sum(counts)
    assert total > 2500
    for share, count in zip(shares, counts, strict=True):
        assert abs(count - share * total) < 4 * math.sqrt(total * share * (1 - share))
    assert truth.h_score() == pytest.approx(
        (counts[1] + 2 * counts[2] + 3 * counts[3]) * 100 / total
    )
    assert truth.positive_percent() == pytest.approx(100 - 100 * counts[0] / total)


def test_areas_and_densities_of_cells_come_out_as_asked() -> None:
    spec = PhantomSpec(
        width_um=1500,
        height_um=1200,
        tissue_fraction=0.7,
        tumor_fraction=0.4,
        fat_fraction=0.1,
        tumor_cells_per_mm2=3500,
    )
    truth = phantom_truth(spec)

    areas = {name: shape.area for name, shape in truth.regions().items()}

    whole = spec.width_px * spec.height_px
    tissue = whole - areas["Background"]
    assert sum(areas.values()) == pytest.approx(whole, rel=1e-9)
    assert tissue / whole == pytest.approx(0.7, abs=0.01)
    assert areas["Tumor"] / tissue == pytest.approx(0.4, abs=0.01)
    assert areas["Fat"] / tissue == pytest.approx(0.1, abs=0.01)
    per_mm2 = sum(truth.counts("tumor")) / (areas["Tumor"] * 0.25**2 / 1e6)
    assert per_mm2 == pytest.approx(3500, rel=0.08)


def test_cells_lie_in_the_polygon_of_their_compartment() -> None:
    truth = phantom_truth(PhantomSpec(width_um=600, height_um=600))
    regions = truth.regions()

    for name, compartment in (("Tumor", "tumor"), ("Stroma", "stroma")):
        rows = truth.cells[truth.cells["compartment"] == compartment]
        inside = shapely.contains_xy(
            regions[name].buffer(4), rows["x_um"] / 0.25, rows["y_um"] / 0.25
        )
        assert len(rows) > 100
        assert inside.all()


def test_the_truth_of_a_rectangle_is_that_part_of_the_whole_truth() -> None:
    spec = PhantomSpec(width_um=500, height_um=400, stain="membrane")
    whole = phantom_truth(spec)

    left, right = (phantom_truth(spec, box) for box in ((0, 0, 901, 1600), (901, 0, 2000, 1600)))

    together = pd.concat([left.cells, right.cells]).sort_values("cell_id", ignore_index=True)
    expected = whole.cells.sort_values("cell_id", ignore_index=True)
    pd.testing.assert_frame_equal(together, expected, check_exact=True)
    assert whole.cells["cell_id"].is_unique


def test_membrane_patterns_show_in_the_sectors() -> None:
    truth = phantom_truth(
        PhantomSpec(
            width_um=500,
            height_um=500,
            stain="membrane",
            tumor_grade_fractions=(0.1, 0.0, 0.3, 0.6),
            membrane_complete=0.4,
            membrane_incomplete=0.4,
            membrane_basolateral=0.2,
        )
    )
    tumor = truth.cells[truth.cells["compartment"] == "tumor"].iloc[:]

    by = tumor.groupby("pattern")["completeness_1"]

    assert by.median()["complete"] == 1
    assert by.median()["none"] == 0
    assert 0.3 <= by.median()["incomplete"] <= 0.75
    assert 0.5 < by.median()["basolateral"] < 0.8
    stained = tumor[tumor["pattern"] != "none"]
    assert (stained["stained_od"] >= stained["od"] - 1e-9).all()
    assert (tumor["completeness_3"] <= tumor["completeness_1"]).all()


def test_clustered_grades_keep_their_shares_and_make_neighbours_alike() -> None:
    fields = {"width_um": 1000, "height_um": 1000, "tumor_grade_fractions": (0.5, 0.0, 0.0, 0.5)}

    def likeness(clustering: float) -> tuple[float, float]:
        truth = phantom_truth(PhantomSpec(grade_clustering=clustering, **fields))
        rows = truth.cells[truth.cells["compartment"] == "tumor"]
        points = shapely.points(rows["x_um"], rows["y_um"])
        a, b = shapely.STRtree(points).query(points, predicate="dwithin", distance=18)
        positive = rows["grade"].to_numpy() > 0
        return positive.mean(), (positive[a] == positive[b])[a != b].mean()

    share, alike = likeness(0.9)
    _, independent = likeness(0.0)

    assert share == pytest.approx(0.5, abs=0.1)
    assert alike > 0.75
    assert independent == pytest.approx(0.5, abs=0.03)


def test_an_empty_slide_is_white_and_has_no_score() -> None:
    spec = PhantomSpec(width_um=200, height_um=150, tissue_fraction=0, **EXACT)
    truth = phantom_truth(spec)

    image = render_region(spec, 0, 0, spec.width_px, spec.height_px)

    assert (image == np.array(spec.white_point)).all()
    assert truth.counts("all") == [0, 0, 0, 0]
    assert truth.regions()["Tumor"].is_empty
    assert truth.summary()["compartments"]["all"]["h_score"] is None
    with pytest.raises(UndefinedStatistic, match="no cell in tumor"):
        truth.h_score()


def test_one_cell_alone_on_glass_is_possible() -> None:
    spec = PhantomSpec(
        width_um=100,
        height_um=100,
        tissue_fraction=0,
        single_cell=True,
        tumor_grade_fractions=(0, 0, 0, 1),
        **EXACT,
    )
    truth = phantom_truth(spec)

    image = render_region(spec, 0, 0, 400, 400)

    assert truth.counts("tumor") == [0, 0, 0, 1]
    assert truth.h_score() == 300
    stained = (image != np.array(spec.white_point)).any(axis=2)
    rows, columns = np.nonzero(stained)
    assert 10 < np.ptp(rows) * 0.25 < 26
    assert abs(columns.mean() * 0.25 - 50) < 4


def test_h_and_e_holds_no_dab_and_is_pink() -> None:
    spec = PRESETS["h-and-e"]
    truth = phantom_truth(spec, (0, 0, 2000, 2000))

    image = render_region(spec, 1200, 1200, 800, 800).astype(float)

    assert truth.counts("all")[1:] == [0, 0, 0]
    assert truth.cells["od"].max() == 0
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    assert red > green + 20
    assert blue > green + 20


def test_a_turned_stain_changes_colour_but_not_the_truth() -> None:
    plain = PhantomSpec(width_um=120, height_um=120, tissue_fraction=1)
    turned = PhantomSpec(width_um=120, height_um=120, tissue_fraction=1, stain_rotation_deg=8)

    one, two = (render_region(s, 0, 0, 480, 480).astype(int) for s in (plain, turned))

    assert np.abs(one - two).max() > 10
    pd.testing.assert_frame_equal(phantom_truth(plain).cells, phantom_truth(turned).cells)


def test_pen_and_border_hide_pixels_and_flag_cells_but_keep_the_truth() -> None:
    fields = {"width_um": 500, "height_um": 500, "tissue_fraction": 1}
    clean, inked, framed = (
        PhantomSpec(**fields, **extra) for extra in ({}, {"pen_marks": 2}, {"border_um": 30})
    )
    reference, under_ink, at_edge = (phantom_truth(spec) for spec in (clean, inked, framed))

    without, with_ink = (render_region(spec, 0, 0, 2000, 2000) for spec in (clean, inked))
    corner = render_region(framed, 0, 0, 110, 110)

    assert corner.max() < 20
    darker = (without.astype(int) - with_ink).max(axis=2) > 60
    hidden = under_ink.cells[under_ink.cells["obscured"]]
    rows, columns = (np.floor(hidden[name] / 0.25).astype(int) for name in ("y_um", "x_um"))
    assert 10 < len(hidden) < 0.6 * len(under_ink.cells)
    assert darker[rows, columns].mean() > 0.8
    frame = at_edge.cells[["x_um", "y_um"]]
    assert (at_edge.cells["obscured"] == ((frame < 30) | (frame > 470)).any(axis=1)).all()
    assert not reference.cells["obscured"].any()
    pd.testing.assert_series_equal(under_ink.cells["od"], reference.cells["od"])


def test_an_out_of_focus_patch_loses_sharpness() -> None:
    fields = {"width_um": 200, "height_um": 200, "tissue_fraction": 1, "noise_sd": 0}
    sharp, soft = PhantomSpec(**fields), PhantomSpec(defocus_patches=20, **fields)

    def sharpness(spec: PhantomSpec) -> float:
        image = render_region(spec, 0, 0, spec.width_px, spec.height_px)
        return float(cv2.Laplacian(image[..., 1], cv2.CV_64F).var())

    assert sharpness(soft) < 0.7 * sharpness(sharp)


def test_blur_weights_sum_to_exactly_one() -> None:
    for sigma in (0.3, 1.0, 2.7, 9.0):
        assert float(blur_weights(sigma).astype(np.float64).sum()) == 1.0


def test_the_file_is_a_pyramid_whose_pixels_are_the_rendered_ones(tmp_path: Path) -> None:
    spec = PhantomSpec(width_um=401, height_um=277, noise_sd=0.5)
    path = tmp_path / "slide.tiff"

    truth = draw_phantom(spec, path)

    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
        assert [page.shape[:2] for page in file.pages] == [(1108, 1604), (554, 802), (277, 401)]
        first = pages[0]
        assert first.tile == (256, 256)
        numerator, denominator = first.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / 0.25)
        assert first.tags["ResolutionUnit"].value == 3
        numerator, denominator = file.pages[1].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / 0.5)
        assert "|AppMag = 40|MPP = 0.25|" in first.description
        finest, half = file.pages[0].asarray(), file.pages[1].asarray()
    drawn = render_region(spec, 0, 0, spec.width_px, spec.height_px)
    assert np.abs(finest.astype(int) - drawn).mean() < 1.5
    averaged = drawn.reshape(554, 2, 802, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - averaged).mean() < 1.5
    pd.testing.assert_frame_equal(truth.cells, phantom_truth(spec).cells, check_exact=True)
    assert [child.name for child in tmp_path.iterdir()] == ["slide.tiff"]


def test_openslide_reads_the_file_and_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    draw_phantom(PhantomSpec(width_um=300, height_um=300, mpp=0.5, tile_px=512), path)

    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (600, 600)
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5)
        assert slide.properties[openslide.PROPERTY_NAME_OBJECTIVE_POWER] == "20"
        assert slide.level_count == 2


def test_the_same_spec_writes_the_same_pixels(tmp_path: Path) -> None:
    spec = PhantomSpec(width_um=90, height_um=70)
    draw_phantom(spec, tmp_path / "a.tiff")
    draw_phantom(spec, tmp_path / "b.tiff")

    one, two = (tifffile.imread(tmp_path / name) for name in ("a.tiff", "b.tiff"))

    np.testing.assert_array_equal(one, two)


def test_a_folder_that_does_not_exist_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written") as caught:
        draw_phantom(PhantomSpec(width_um=20, height_um=20), tmp_path / "none" / "slide.tiff")

    assert "folder" in caught.value.hint


def test_an_interrupted_drawing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("herscope.slide.phantom.write.truth_piece", full)

    with pytest.raises(OutputError, match="No space left"):
        draw_phantom(PhantomSpec(width_um=60, height_um=60), tmp_path / "slide.tiff")

    assert list(tmp_path.iterdir()) == []


def test_the_truths_files_are_complete(tmp_path: Path) -> None:
    spec = PhantomSpec(width_um=400, height_um=400, stain="membrane")
    truth = phantom_truth(spec)

    table, document, annotations = truth.write(tmp_path, "case")

    frame = pd.read_parquet(table)
    assert table.name == "case.truth.parquet"
    assert len(frame) == len(truth.cells)
    assert len(frame["sectors"][0]) == 32
    nucleus = shapely.from_wkb(frame["nucleus"][0])
    assert nucleus.centroid.x * spec.mpp == pytest.approx(frame["x_um"][0], abs=0.6)
    body = json.loads(document.read_text(encoding="utf-8"))
    assert PhantomSpec(**body["spec"]) == spec
    assert body["compartments"]["tumor"]["h_score"] == pytest.approx(truth.h_score("tumor"))
    collection = json.loads(annotations.read_text(encoding="utf-8"))
    names = [f["properties"]["classification"]["name"] for f in collection["features"]]
    assert set(names) <= {"Tumor", "Stroma", "Fat"}
    assert {"Tumor", "Stroma"} <= set(names)
    assert {f["properties"]["objectType"] for f in collection["features"]} == {"annotation"}
    tumor = shapely.from_geojson(json.dumps(collection["features"][names.index("Tumor")]))
    assert tumor.area == pytest.approx(truth.regions()["Tumor"].area, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tumor_grade_fractions": (0.5, 0.5, 0.5, 0.5)}, "must be 1"),
        ({"membrane_complete": 0.9, "membrane_incomplete": 0.9}, "must be 1"),
        ({"grade_cuts": (0.4, 0.2, 0.6)}, "do not rise"),
        ({"tumor_fraction": 0.8, "fat_fraction": 0.4}, "more than the whole tissue"),
        ({"width_um": 1e9}, "px at 0.25"),
        ({"height_um": 1.0}, "px at 0.25"),
        ({"width_um": -5}, "greater than 0"),
        ({"width_um": float("nan")}, "finite"),
        ({"mpp": 0.0}, "greater than or equal"),
        ({"white_point": (10, 10, 10)}, "no empty slide"),
        ({"border_um": 600.0}, "leaves nothing"),
        ({"stain": "fluorescence"}, "nuclear"),
        ({"brightness": 2}, "not permitted"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PhantomSpec(**fields)


def test_an_unknown_compartment_is_refused() -> None:
    truth = phantom_truth(PhantomSpec(width_um=40, height_um=40))

    with pytest.raises(InputError, match="not tumor, stroma, other or all"):
        truth.counts("glands")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_can_be_drawn(name: str) -> None:
    spec = PRESETS[name]

    image = render_region(spec, spec.width_px // 2, spec.height_px // 2, 64, 64)

    assert image.shape == (64, 64, 3)
    assert all(field.description for field in type(spec).model_fields.values())
