"""Membranes end to end: the truth comes back, every number can be redone, tiles change nothing."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
from collections import deque
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import jsonschema
import numpy as np
import pandas as pd
import pytest
import shapely

from herscope.cli import main
from herscope.core.store import write_text
from herscope.guidelines.membrane_percent import BASOLATERAL, CLASSES
from herscope.measure.completeness import SECTORS, UNSEEN
from herscope.measure.intensity import GradeSpec
from herscope.recipes import rule
from herscope.score.plan import plan_slide
from herscope.score.result import SlideResult
from herscope.score.slide import ScoredSlide, finish_slide, score_opened, score_tiles
from herscope.score.spec import ScoreSpec
from herscope.slide.opened import open_slide
from herscope.slide.phantom.presets import MEMBRANE
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import PhantomTruth
from herscope.slide.phantom.write import draw_phantom

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("HERSCOPE_DATA", ROOT.parent / "shared" / "data"))
FIELDS = DATA / "ihc" / "her2_fractal_lab_NO_LICENCE"
HER2 = ("her2-breast", "her2-gastric-resection", "her2-gastric-biopsy", "her2-colorectal")
SHARES = ScoreSpec().completeness
CUTS = (200, 400, 700)
"""The membrane's own cut-offs in milli-OD."""


def changed(**fields) -> PhantomSpec:
    return PhantomSpec(**{**MEMBRANE.model_dump(), "tumor_fraction": 0.7, **fields})


def drawn(folder: Path, **fields) -> tuple[Path, Path, PhantomTruth]:
    path = folder / "phantom.tiff"
    truth = draw_phantom(changed(**fields), path)
    truth.write(folder, "phantom")
    return path, folder / "phantom.annotations.geojson", truth


def score(path: Path, marker: str = "her2-breast", annotations=None, **fields) -> ScoredSlide:
    spec = ScoreSpec(marker=marker, **fields)
    with open_slide(path, spec.slide) as slide:
        return score_opened(slide, spec, annotations)


@functools.cache
def benchmark() -> ModuleType:
    """The benchmark's own functions, so that it and the tests mean the same by truth."""
    where = importlib.util.spec_from_file_location(
        "membrane_benchmark", ROOT / "benchmarks" / "membrane.py"
    )
    module = importlib.util.module_from_spec(where)
    sys.modules[where.name] = module  # its dataclasses look themselves up there
    where.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> tuple[Path, Path, PhantomTruth]:
    return drawn(tmp_path_factory.mktemp("phantom"), width_um=360, height_um=340, seed=3)


@pytest.fixture(scope="module")
def scored(phantom) -> ScoredSlide:
    return whole(*phantom[:2])


@pytest.fixture(scope="module")
def cells(scored) -> pd.DataFrame:
    return scored.cells.to_pandas()


@pytest.fixture(scope="module")
def pale(tmp_path_factory) -> tuple[Path, Path]:
    """Strongly stained cells whose nuclei hardly show: found by their rims."""
    return drawn(
        tmp_path_factory.mktemp("pale"),
        width_um=360,
        height_um=340,
        seed=5,
        hematoxylin_od=0.1,
        tumor_grade_fractions=(0.1, 0.1, 0.1, 0.7),
        grade_clustering=0.6,
    )[:2]


CROPPED_UM = 220.0


@pytest.fixture(scope="module")
def cropped(tmp_path_factory) -> Path:
    """A field cut out of tissue: cells lie on all of its four edges."""
    return drawn(
        tmp_path_factory.mktemp("cropped"),
        width_um=CROPPED_UM,
        height_um=CROPPED_UM,
        seed=7,
        tissue_fraction=1.0,
    )[0]


@functools.cache
def whole(path: Path, annotations: Path | None = None, marker: str = HER2[0]) -> ScoredSlide:
    """Score with the defaults, once for all tests."""
    return score(path, marker, annotations)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_completeness_comes_back_within_five_points_a_cell(tmp_path, mpp: float) -> None:
    found = benchmark().completeness_accuracy(
        tmp_path, changed(width_um=300, height_um=300, seed=1), mpp
    )
    assert found.cells > 100
    assert found.found > 0.98
    assert max(found.error) <= 5.0
    assert max(map(abs, found.bias)) <= 2.5


def test_the_classes_of_the_truth_come_back(phantom, scored) -> None:
    bench, truth = benchmark(), phantom[2]
    _, _, classes = bench.true_classes(truth, ScoreSpec(marker="her2-breast"))
    true = bench.sums_of(bench.class_counts(classes))
    assert bench.sums_of(scored.result.membrane.counts) == pytest.approx(true, abs=6)


def share_of(reached: int, seen: int) -> Fraction:
    return Fraction(reached, max(seen, 1))


def class_of(sectors: np.ndarray) -> tuple[str, int]:
    """Class and grade of one cell, as the documentation says it, in fractions."""
    seen = [int(value) for value in sectors if value != UNSEEN]
    if share_of(len(seen), SECTORS) < Fraction(repr(SHARES.seen_share)):
        return "not_evaluable", 0
    covered = [share_of(sum(value >= cut for value in seen), len(seen)) for cut in CUTS]
    if covered[0] >= Fraction(repr(SHARES.complete_share)):
        grade = sum(each >= Fraction(repr(SHARES.intensity_share)) for each in covered)
        grade = max(grade, 1)
        return f"complete_{('weak', 'moderate', 'intense')[grade - 1]}", grade
    if covered[0] < Fraction(repr(SHARES.stained_share)):
        # a patch that grades an incomplete membrane also stains it
        return "none", 0
    grade = 1 + sum(each >= Fraction(repr(SHARES.patch_share)) for each in covered[1:])
    return ("incomplete_moderate" if grade > 1 else "incomplete_faint"), grade


def test_the_membrane_block_is_the_recount_of_the_cells_sectors(scored, cells) -> None:
    block = scored.result.membrane
    recounted = [class_of(np.asarray(sectors)) for sectors in cells["sectors"]]
    assert cells["membrane_class"].tolist() == [name for name, _ in recounted]
    mine = (cells["compartment"] == "tumor") & (cells["membrane_class"] != "not_evaluable")
    names = cells.loc[mine, "membrane_class"]
    assert block.compartment == "tumor"
    assert block.cells == len(names) > 200
    for name in CLASSES:
        assert block.counts[name] == (names == name).sum()
        percent = getattr(block, f"{name}_percent")
        assert percent == pytest.approx(100 * block.counts[name] / block.cells, abs=1e-4)
    assert sum(block.counts[name] for name in CLASSES) == block.cells
    # a U is graded like a complete membrane
    shares = cells[["completeness_1", "completeness_2", "completeness_3"]].to_numpy()
    grades = np.maximum((shares >= SHARES.intensity_share).sum(axis=1), 1)
    shaped = mine & cells["u_shaped"]
    for name, grade in zip(BASOLATERAL, (3, 2, 1), strict=True):
        assert block.counts[name] == (shaped & (grades == grade)).sum()
    complete = sum(block.counts[name] for name in CLASSES[:3])
    assert block.pcms_percent == pytest.approx(100 * complete / block.cells, abs=1e-4)


def test_completeness_and_density_of_a_cell_follow_from_its_sectors(scored, cells) -> None:
    sectors = np.stack(cells["sectors"].to_numpy())
    seen = sectors != UNSEEN
    for k, cut in enumerate(CUTS):
        share = (sectors >= cut).sum(axis=1) / seen.sum(axis=1)
        assert cells[f"completeness_{k + 1}"].to_numpy() == pytest.approx(share, abs=1e-6)
    mine = (cells["compartment"] == "tumor") & (cells["membrane_class"] != "not_evaluable")
    means = [100 * cells.loc[mine, f"completeness_{k}"].mean() for k in (1, 2, 3)]
    assert scored.result.membrane.mean_completeness_percent == pytest.approx(means, abs=1e-3)
    od = np.where(seen, sectors, 0).sum(axis=1) / seen.sum(axis=1) / 1000
    assert cells["od"].to_numpy() == pytest.approx(od, abs=1e-5)
    clear = abs(od[:, None] - np.array(CUTS) / 1000).min(axis=1) > 1e-5
    grades = (od[:, None] >= np.array(CUTS) / 1000).sum(axis=1)
    assert (cells["grade"] == grades)[clear].all()
    assert scored.result.cutoffs.od == (0.2, 0.4, 0.7)


def test_the_line_of_a_membrane_runs_around_its_cell(cells) -> None:
    radius = np.stack(cells["radius_um"].to_numpy())
    turn = 2 * np.pi * np.arange(SECTORS) / SECTORS
    x = cells["centre_x_um"].to_numpy()[:, None] + radius * np.cos(turn)
    y = cells["centre_y_um"].to_numpy()[:, None] + radius * np.sin(turn)
    lines = shapely.polygons(np.stack([x, y], axis=-1))
    nuclei = shapely.from_wkb(cells["nucleus"].to_numpy())
    nuclei = shapely.transform(nuclei, lambda level_0: level_0 * 0.25)
    tumor = (cells["compartment"] == "tumor").to_numpy()
    inside = shapely.area(shapely.intersection(shapely.make_valid(lines), nuclei))
    assert np.median((inside / shapely.area(nuclei))[tumor]) > 0.98


def test_membranes_are_unseen_where_the_slide_ends(cropped) -> None:
    table = whole(cropped).cells.to_pandas()
    sectors = np.stack(table["sectors"].to_numpy())
    x, y = table["x_um"], table["y_um"]
    for outwards, away in {16: x, 0: CROPPED_UM - x, 24: y, 8: CROPPED_UM - y}.items():
        near, far = (away < 5).to_numpy(), (away > 30).to_numpy()
        assert near.sum() >= 2
        assert (sectors[near, outwards] == UNSEEN).all()
        assert (sectors[near, (outwards + 16) % SECTORS] != UNSEEN).all()
        assert (sectors[far, outwards] != UNSEEN).all()


def test_a_brown_cytoplasm_is_not_read_as_complete_membranes(tmp_path) -> None:
    spec = PhantomSpec(stain="cytoplasmic", width_um=240, height_um=240, seed=2, tumor_fraction=0.7)
    truth = draw_phantom(spec, tmp_path / "phantom.tiff")
    truth.write(tmp_path, "phantom")
    annotations = tmp_path / "phantom.annotations.geojson"
    found = score(tmp_path / "phantom.tiff", annotations=annotations).result
    assert found.tumor.cells > 100
    assert found.membrane.pcms_percent < 5
    assert found.membrane.complete_intense_percent < 1
    assert found.her2.score != "3+"


def test_the_largest_cluster_is_that_of_a_plain_search(scored, cells) -> None:
    mine = cells[(cells["compartment"] == "tumor") & (cells["membrane_class"] == CLASSES[0])]
    places = mine[["x_um", "y_um"]].to_numpy()
    near = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) <= 20
    left, largest = set(range(len(places))), 0
    while left:
        found = {left.pop()}
        queue = deque(found)
        while queue:
            here = queue.popleft()
            new = {int(other) for other in np.flatnonzero(near[here])} & left
            left -= new
            found |= new
            queue.extend(new)
        largest = max(largest, len(found))
    block = scored.result.membrane
    assert block.largest_intense_cluster == largest > 5
    assert block.largest_clusters["complete_intense"] == largest


def document(scored: ScoredSlide) -> dict:
    return json.loads(scored.result.to_json())


def test_the_document_meets_its_schema_with_the_new_blocks(scored) -> None:
    body = document(scored)
    jsonschema.validate(body, SlideResult.model_json_schema(by_alias=True))
    assert body["membrane"]["counts"]
    assert body["her2"]["probability"]


@pytest.mark.parametrize("marker", HER2)
def test_the_rule_command_reads_the_result_as_it_was_scored(phantom, marker: str) -> None:
    path, annotations, _ = phantom
    body = document(whole(path, annotations, marker))
    again = rule(marker, body)
    for key in ("score", "status", "rule", "guideline", "source", "distance_to_cutoff"):
        assert again[key] == body["her2"][key], key


def test_the_rule_command_knows_that_intense_cells_were_scattered(tmp_path) -> None:
    path, annotations, _ = drawn(
        tmp_path,
        width_um=240,
        height_um=240,
        seed=12,
        tumor_grade_fractions=(0.95, 0.0, 0.0, 0.05),
        membrane_complete=1.0,
        membrane_incomplete=0.0,
        membrane_basolateral=0.0,
    )
    body = document(score(path, annotations=annotations))
    assert 1 < body["membrane"]["complete_intense_percent"] < 10
    assert body["membrane"]["largest_intense_cluster"] < 10
    again = rule("her2-breast", body)
    assert (again["score"], again["rule"]) == (body["her2"]["score"], body["her2"]["rule"])


def test_without_compartments_all_cells_are_read_and_it_is_said(phantom, scored) -> None:
    path, _, _ = phantom
    everything = score(path).result
    assert everything.membrane.compartment == "all"
    assert everything.membrane.cells > scored.result.membrane.cells + 20
    assert everything.membrane.none_percent > scored.result.membrane.none_percent
    assert "her2-all-cells" in [alert.code for alert in everything.alerts]
    assert "her2-all-cells" not in [alert.code for alert in scored.result.alerts]


def test_cells_that_are_not_evaluable_are_counted_in_the_compartment_that_is_read(
    cropped, tmp_path
) -> None:
    everything = whole(cropped)
    blind = everything.cells.to_pandas()["membrane_class"] == "not_evaluable"
    assert everything.result.membrane.not_evaluable == blind.sum() > 3
    middle = score(cropped, annotations=annotated(tmp_path, (50, 50, 170, 170))).result
    assert middle.membrane.cells == middle.tumor.cells > 30
    assert middle.membrane.not_evaluable == 0


@pytest.mark.parametrize(("size", "along"), [(200, 1), (200, 4), (512, 1), (512, 4)])
@pytest.mark.parametrize("which", ["phantom", "pale"])
def test_tiles_change_no_bit(request, which: str, size: int, along: int) -> None:
    path, annotations = request.getfixturevalue(which)[:2]
    plain = whole(path, annotations)
    spec = ScoreSpec(marker="her2-breast", tiles={"size_px": size, "block_tiles": along})
    plan = plan_slide(path, "phantom", spec, annotations)
    assert size * along > 700 or len(plan.tiles) > 3
    again = finish_slide(plan, score_tiles(plan, plan.tiles)[::-1], {})
    expected, found = document(plain), document(again)
    for body in (expected, found):
        del body["provenance"], body["slide"]["name"]
    assert found == expected
    assert again.cells.equals(plain.cells)
    if which == "pale":
        assert (plain.cells.to_pandas()["found_by"] == "rim").sum() > 20


def test_cells_found_by_their_rim_are_counted_and_said(pale) -> None:
    plain = whole(*pale)
    table = plain.cells.to_pandas()
    rims = (table["found_by"] == "rim") & (table["compartment"] == "tumor")
    rims &= table["membrane_class"] != "not_evaluable"
    assert plain.result.membrane.without_nucleus == rims.sum() > 20
    assert "cells-by-rim" in [alert.code for alert in plain.result.alerts]


@pytest.mark.parametrize("marker", HER2)
def test_every_her2_marker_gives_both_blocks(phantom, marker: str) -> None:
    result = whole(*phantom[:2], marker).result
    assert result.membrane.pcms_percent > 10
    assert result.her2.marker == marker
    assert result.her2.score == "3+"
    assert sum(result.her2.probability.values()) == pytest.approx(1)
    assert result.her2.rule_text
    assert result.her2.source
    assert result.reading is None
    assert (result.her2.overlay is None) == (marker != "her2-breast")


@pytest.mark.parametrize("marker", ["membrane", "pdl1"])
def test_other_membrane_markers_give_percentages_and_no_her2_score(phantom, scored, marker) -> None:
    path, annotations, _ = phantom
    result = score(path, marker, annotations).result
    assert result.her2 is None
    assert result.membrane.counts == scored.result.membrane.counts
    assert not [alert.code for alert in result.alerts if alert.code.startswith("her2")]


@pytest.mark.parametrize("marker", ["er", "nuclear", "cytoplasmic"])
def test_markers_elsewhere_in_the_cell_give_neither(phantom, marker: str) -> None:
    found = score(phantom[0], marker, phantom[1])
    assert found.result.membrane is None
    assert found.result.her2 is None
    assert not {"sectors", "membrane_class", "found_by"} & set(found.cells.column_names)


def annotated(folder: Path, box_um: tuple[float, float, float, float]) -> Path:
    """Tumour in this rectangle only."""
    box = shapely.box(*(np.array(box_um) / 0.25))
    feature = {
        "type": "Feature",
        "geometry": json.loads(shapely.to_geojson(box)),
        "properties": {"classification": {"name": "Tumor"}},
    }
    path = folder / "box.geojson"
    write_text(path, json.dumps(feature))
    return path


def test_no_evaluable_cell_is_no_percentage_and_no_score(phantom, cells, tmp_path) -> None:
    blind = cells[cells["membrane_class"] == "not_evaluable"].iloc[0]
    x, y = blind["x_um"], blind["y_um"]
    box = (max(x - 3, 0), max(y - 3, 0), x + 3, y + 3)
    result = score(phantom[0], annotations=annotated(tmp_path, box)).result
    assert result.tumor.cells == 1
    assert result.membrane.cells == 0
    assert result.membrane.pcms_percent is None
    assert result.membrane.mean_completeness_percent is None
    assert result.membrane.ci95 == {}
    assert result.her2 is None
    assert "NaN" not in result.to_json()


def test_too_few_cells_are_indeterminate(phantom, tmp_path) -> None:
    box = annotated(tmp_path, (100, 100, 190, 190))
    result = score(phantom[0], annotations=box).result
    assert 0 < result.membrane.cells < 100
    assert (result.her2.score, result.her2.rule) == ("indeterminate", "her2-breast-too-few-cells")
    assert "her2-not-scored" in [alert.code for alert in result.alerts]


def test_stated_cut_offs_are_used_and_printed(phantom, scored) -> None:
    path, annotations, _ = phantom
    darker = score(path, annotations=annotations, grades=GradeSpec(cuts=(0.3, 0.5, 1.2))).result
    assert darker.cutoffs.od == (0.3, 0.5, 1.2)
    assert darker.membrane.complete_intense_percent < 2
    assert darker.membrane.pcms_percent < scored.result.membrane.pcms_percent


def test_the_command_prints_the_score_as_json(phantom, tmp_path, capsys) -> None:
    path, annotations, _ = phantom
    out = tmp_path / "run"
    options = ["--marker", "her2-breast", "--compartments", str(annotations), "--workers", "1"]
    code = main(["score", str(path), "--out", str(out), *options, "--json"])
    body = json.loads(capsys.readouterr().out)
    assert code == 0
    (slide,) = body["slides"].values()
    assert slide["status"] == "done"
    assert slide["result"]["her2"]["score"] == "3+"
    saved = json.loads(Path(slide["result_path"]).read_text(encoding="utf-8"))
    assert saved == slide["result"]
    assert main(["rule", "her2-breast", slide["result_path"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == "3+"


@functools.cache
def field(name: str) -> SlideResult:
    path = FIELDS / f"{name}.jpg"
    if not path.is_file():
        pytest.skip(f"no HER2 fields under {DATA}; set HERSCOPE_DATA")
    return score(path, slide={"mpp": 0.25}).result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image_her2_00017", "0"),
        ("case07_01_score1", "1+"),
        ("case07_02_score1", "1+"),
        ("case07_03_score1", "1+"),
        ("case10_04_score2", "2+"),
        ("case10_05_score2", "2+"),
        ("image_her2_00001", "3+"),
    ],
)
def test_a_real_field_has_the_score_its_readers_gave(name: str, expected: str) -> None:
    result = field(name)
    assert result.her2.score == expected
    assert {"mpp-stated", "her2-controls", "her2-all-cells"} <= {a.code for a in result.alerts}


def test_the_order_of_the_real_fields_comes_out() -> None:
    weak = [field(f"case07_0{k}_score1").membrane.pcms_percent for k in (1, 2, 3)]
    equivocal = [field(f"case10_0{k}_score2").membrane.pcms_percent for k in (4, 5)]
    positive = field("image_her2_00001").membrane.pcms_percent
    bare = [field(f"case07_0{k}_score1").membrane.none_percent for k in (1, 2, 3)]
    assert max(bare) < 60 < field("image_her2_00017").membrane.none_percent
    assert max(weak) < 0.5 * min(equivocal)
    assert max(equivocal) < 0.7 * positive


@pytest.mark.slow
def test_random_phantoms_get_their_true_score_away_from_the_cut_offs() -> None:
    cases = [case for case in benchmark().random_cases(40, 1) if case.away]
    wrong = [(case.seed, case.true, case.found) for case in cases if case.true != case.found]
    assert len(cases) >= 15
    assert {case.true for case in cases} == {"0", "1+", "2+", "3+"}
    assert len(wrong) <= 0.05 * len(cases), wrong
