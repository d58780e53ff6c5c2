"""A slide is scored as its truth says, whatever the tiles; what cannot be said is not said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile

from herscope.core.errors import EmptyTissue, InputError, WrongInput
from herscope.core.store import write_text
from herscope.score.plan import plan_slide
from herscope.score.result import SlideResult
from herscope.score.slide import ScoredSlide, finish_slide, score_opened, score_tiles
from herscope.score.spec import ScoreSpec
from herscope.score.summary import h_score
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import PhantomTruth
from herscope.slide.phantom.write import draw_phantom
from herscope.slide.resolution import SlideSpec
from herscope.tiles import TileSpec
from herscope.tissue.geojson import read_regions

NUCLEAR = ScoreSpec(marker="nuclear")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> tuple[Path, PhantomTruth, Path]:
    folder = tmp_path_factory.mktemp("phantom")
    path = folder / "phantom.tiff"
    truth = draw_phantom(PhantomSpec(width_um=900, height_um=800, seed=11), path)
    truth.write(folder, "phantom")
    return path, truth, folder / "phantom.annotations.geojson"


@pytest.fixture(scope="module")
def scored(phantom) -> ScoredSlide:
    path, _, annotations = phantom
    with open_slide(path) as slide:
        return score_opened(slide, NUCLEAR, annotations)


def image(path: Path, rgb: np.ndarray) -> Path:
    tifffile.imwrite(path, rgb, photometric="rgb", resolution=(40000, 40000), resolutionunit=3)
    return path


def test_the_phantoms_h_score_and_percentage_come_back(scored, phantom) -> None:
    truth = phantom[1]
    tumor = scored.result.tumor
    assert tumor.h_score.value == pytest.approx(truth.h_score("tumor"), abs=2.0)
    assert tumor.positive_percent.value == pytest.approx(truth.positive_percent("tumor"), abs=1.0)
    assert tumor.cells == pytest.approx(sum(truth.counts("tumor")), rel=0.02)
    low, high = tumor.h_score.ci95
    assert low < tumor.h_score.value < high
    assert scored.result.stroma.h_score.value < 10


def test_every_number_can_be_redone_from_the_counts(scored) -> None:
    for compartment in scored.result.compartments.values():
        n = compartment.counts
        assert compartment.cells == sum(n)
        assert compartment.h_score.value == pytest.approx(h_score(n), abs=1e-3)
        assert compartment.h_score_pixel.value == pytest.approx(
            h_score(compartment.h_score_pixel.counts), abs=1e-3
        )
        assert sum(compartment.od_histogram) == sum(compartment.h_score_pixel.counts)
    parts = scored.result.compartments
    both = np.add(parts["tumor"].counts, parts["stroma"].counts)
    assert (both <= parts["all"].counts).all()


def test_the_tables_add_up_to_the_document(scored) -> None:
    cells = scored.cells.to_pandas()
    tiles = scored.tiles.to_pandas()
    for name in ("tumor", "stroma"):
        counts = scored.result.compartments[name].counts
        mine = cells[cells.compartment == name]
        assert np.bincount(mine.grade, minlength=4).tolist() == counts
        rows = tiles[tiles.compartment == name]
        assert rows[["n0", "n1", "n2", "n3"]].sum().tolist() == counts
        pixels = scored.result.compartments[name].h_score_pixel.counts
        assert rows[["p0", "p1", "p2", "p3"]].sum().tolist() == pixels
        area = scored.result.compartments[name].area_mm2
        assert rows.area_um2.sum() / 1e6 == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize(("size", "along"), [(256, 2), (512, 1), (1024, 2)])
def test_tiles_change_nothing(scored, phantom, size: int, along: int) -> None:
    path, _, annotations = phantom
    spec = ScoreSpec(tiles=TileSpec(size_px=size, block_tiles=along))
    plan = plan_slide(path, "phantom", spec, annotations)
    results = score_tiles(plan, plan.tiles)
    again = finish_slide(plan, results[::-1], {})
    assert again.result.compartments == scored.result.compartments
    assert again.result.alerts == scored.result.alerts
    assert again.cells.equals(scored.cells)


def test_a_new_threshold_needs_no_pixels(scored) -> None:
    histogram = np.array(scored.result.tumor.od_histogram)
    cuts = (0.3, 0.5, 0.7)
    edges = [0, *(round(100 * c) for c in cuts)]
    redone = np.add.reduceat(histogram, edges)
    assert redone.sum() == histogram.sum()
    assert h_score(redone) < scored.result.tumor.h_score_pixel.value


def test_files_open_where_people_open_them(scored, tmp_path) -> None:
    scored.save(tmp_path)
    read = SlideResult.model_validate_json((tmp_path / "result.json").read_text())
    assert read == scored.result
    jsonschema.validate(
        json.loads((tmp_path / "result.json").read_text()),
        SlideResult.model_json_schema(by_alias=True),
    )
    table = pq.read_table(tmp_path / "cells.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["primary_column"] == "cell"
    outlines = shapely.from_wkb(table["cell"].to_numpy())
    nuclei = shapely.from_wkb(table["nucleus"].to_numpy())
    assert shapely.is_valid(outlines).all()
    assert shapely.area(nuclei).sum() < shapely.area(outlines).sum()
    names = {region.name for region in read_regions(tmp_path / "regions.geojson")}
    assert {"Tissue", "Tumor", "Stroma"} <= names


def test_the_json_holds_no_nan_and_null_has_an_alert(phantom, tmp_path) -> None:
    path, truth, _ = phantom
    # A sliver of tumour that holds no cell: its compartment is empty.
    corner = {"type": "Polygon", "coordinates": [[[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]]}
    properties = {"objectType": "annotation", "classification": {"name": "Tumor"}}
    feature = {"type": "Feature", "geometry": corner, "properties": properties}
    drawn = tmp_path / "empty.geojson"
    write_text(drawn, json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with open_slide(path) as slide:
        result = score_opened(slide, NUCLEAR, drawn).result
    assert result.tumor.h_score.value is None
    assert result.tumor.allred.total is None
    codes = [alert.code for alert in result.alerts]
    assert "empty-tumor" in codes
    assert "little-tumor" in codes
    assert "NaN" not in result.to_json()
    assert result.compartments["all"].cells == pytest.approx(len(truth.cells), rel=0.1)


def test_glass_alone_is_no_result(tmp_path) -> None:
    glass = image(tmp_path / "glass.tif", np.full((600, 600, 3), 241, np.uint8))
    with pytest.raises(EmptyTissue) as caught:
        plan_slide(glass, "glass", NUCLEAR)
    assert caught.value.hint


def test_one_cell_is_scored_and_called_too_few(tmp_path) -> None:
    path = tmp_path / "one.tiff"
    spec = PhantomSpec(width_um=300, height_um=300, seed=2)
    truth = draw_phantom(spec, path)
    inside = truth.cells.query("compartment == 'tumor' and 40 < x_um < 260 and 40 < y_um < 260")
    row = inside.iloc[len(inside) // 2]
    x, y = row.x_um, row.y_um
    box = shapely.box(*(np.array([x - 3, y - 3, x + 3, y + 3]) / 0.25))
    drawn = tmp_path / "one.geojson"
    feature = {
        "type": "Feature",
        "geometry": json.loads(shapely.to_geojson(box)),
        "properties": {"classification": {"name": "Tumor"}},
    }
    write_text(drawn, json.dumps(feature))
    with open_slide(path) as slide:
        result = score_opened(slide, NUCLEAR, drawn).result
    assert result.tumor.cells == 1
    assert result.tumor.h_score.value in {0, 100, 200, 300}
    low, high = result.tumor.h_score.ci95
    assert high - low > 100
    assert "few-cells" in [alert.code for alert in result.alerts]


def test_h_and_e_says_so_loudly(tmp_path) -> None:
    path = tmp_path / "he.tiff"
    draw_phantom(PhantomSpec(width_um=500, height_um=500, stain="he"), path)
    with open_slide(path) as slide:
        result = score_opened(slide, NUCLEAR).result
    assert result.alerts[0].code == "looks-like-he"
    assert result.alerts[0].severity == "error"


def test_blue_only_ihc_is_not_called_h_and_e(tmp_path) -> None:
    path = tmp_path / "blue.tiff"
    zero = (1.0, 0.0, 0.0, 0.0)
    draw_phantom(
        PhantomSpec(
            width_um=500, height_um=500, tumor_grade_fractions=zero, stroma_grade_fractions=zero
        ),
        path,
    )
    with open_slide(path) as slide:
        result = score_opened(slide, NUCLEAR).result
    assert "looks-like-he" not in [alert.code for alert in result.alerts]
    assert result.compartments["all"].h_score.value < 2


@pytest.mark.parametrize("marker", ["cytoplasmic", "er", "pr", "ki67"])
def test_markers_have_their_readings(phantom, marker: str) -> None:
    path, _, annotations = phantom
    with open_slide(path) as slide:
        result = score_opened(slide, ScoreSpec(marker=marker), annotations).result
    if marker == "cytoplasmic":
        assert result.reading is None
    else:
        assert result.reading.value == pytest.approx(result.tumor.positive_percent.value, abs=1e-3)
        assert result.reading.category
        assert result.reading.rule


def test_a_cytoplasmic_phantom_is_graded_on_its_cytoplasm(tmp_path) -> None:
    path = tmp_path / "c.tiff"
    truth = draw_phantom(PhantomSpec(width_um=700, height_um=600, stain="cytoplasmic"), path)
    truth.write(tmp_path, "c")
    with open_slide(path) as slide:
        result = score_opened(
            slide, ScoreSpec(marker="cytoplasmic"), tmp_path / "c.annotations.geojson"
        ).result
    assert result.tumor.h_score.value == pytest.approx(truth.h_score("tumor"), abs=6)


def test_a_stated_resolution_is_noted_and_a_coarse_one_refused(tmp_path) -> None:
    rgb = np.random.default_rng(0).integers(60, 200, (300, 300, 3), dtype=np.uint8)
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, rgb, photometric="rgb")
    with pytest.raises(InputError) as caught:
        plan_slide(path, "field", NUCLEAR)
    assert "--mpp" in caught.value.hint
    with pytest.raises(InputError, match=r"1\.1 µm"):
        plan_slide(path, "field", ScoreSpec(slide=SlideSpec(mpp=3.0)))
    with open_slide(path, SlideSpec(mpp=0.25)) as slide:
        result = score_opened(slide, ScoreSpec(slide=SlideSpec(mpp=0.25))).result
    assert "mpp-stated" in [alert.code for alert in result.alerts]
    assert result.slide.mpp == 0.25


def test_a_plan_travels_between_processes(phantom) -> None:
    from multiprocessing.reduction import ForkingPickler

    path, _, annotations = phantom
    plan = plan_slide(path, "phantom", NUCLEAR, annotations)
    buffer = io.BytesIO()
    ForkingPickler(buffer).dump(plan)
    assert buffer.tell() < 4_000_000


def test_annotations_of_another_slide_are_refused(phantom, tmp_path) -> None:
    path, _, _ = phantom
    box = shapely.box(3000, 3000, 9000, 9000)  # the slide has 3600 x 3200 px
    feature = {
        "type": "Feature",
        "geometry": json.loads(shapely.to_geojson(box)),
        "properties": {"classification": {"name": "Tumor"}},
    }
    drawn = tmp_path / "other.geojson"
    write_text(drawn, json.dumps(feature))
    with pytest.raises(InputError, match="outside the slide"):
        plan_slide(path, "phantom", NUCLEAR, drawn)


def test_the_card_of_the_nuclei_is_enforced(tmp_path) -> None:
    rgb = np.random.default_rng(0).integers(60, 200, (300, 300, 3), dtype=np.uint8)
    path = tmp_path / "fine.tif"
    tifffile.imwrite(path, rgb, photometric="rgb")
    spec = ScoreSpec(slide=SlideSpec(mpp=0.05), tiles=TileSpec(mpp=0.05))
    with pytest.raises(WrongInput, match=r"classical takes 0\.1 to 1\.25"):
        plan_slide(path, "fine", spec)
