"""The report layer, on slide folders that are written here: no slide is needed to report on one."""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from herscope.core.errors import HerscopeError, InputError, NotComputed, SchemaError
from herscope.report import charts, figures
from herscope.report.cohort import columns, write_cohort
from herscope.report.examples import cut_examples, pick_examples, write_examples
from herscope.report.folder import load_overview, load_result
from herscope.report.html import write_slide_report
from herscope.report.qupath import write_cells_geojson
from herscope.report.refresh import refresh
from herscope.score.result import SlideResult

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
CUTS = (0.2, 0.4, 0.6)
MPP = 0.5
SIDE = 400
TILE = 100


def cells_table(count=240, seed=3, compartments=("tumor", "stroma")):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(12, SIDE - 12, (2, count))
    od = rng.gamma(2.0, 0.18, count).astype(np.float32)
    cytoplasm = (od * 0.5).astype(np.float32)
    cytoplasm[::7] = np.nan
    names = [compartments[int(at > SIDE / 2) % len(compartments)] for at in x]
    points = shapely.points(x, y)
    return pa.table(
        {
            "x_um": x * MPP,
            "y_um": y * MPP,
            "area_um2": np.full(count, 60, dtype=np.float32),
            "compartment": names,
            "grade": np.searchsorted(CUTS, od, side="right").astype(np.int8),
            "od": od,
            "nucleus_od": od,
            "cytoplasm_od": cytoplasm,
            "membrane_od": od,
            "nucleus": shapely.to_wkb(shapely.buffer(points, 5, quad_segs=3)),
            "cell": shapely.to_wkb(shapely.buffer(points, 9, quad_segs=3)),
        }
    )


def tiles_table(cells):
    x, y = cells["x_um"].to_numpy() / MPP, cells["y_um"].to_numpy() / MPP
    grade, name = cells["grade"].to_numpy(), np.array(cells["compartment"].to_pylist())
    rows = []
    for top in range(0, SIDE, TILE):
        for left in range(0, SIDE, TILE):
            inside = (x >= left) & (x < left + TILE) & (y >= top) & (y < top + TILE)
            for part in sorted(set(name)):
                mine = grade[inside & (name == part)]
                rows.append(
                    {
                        "x_px": left,
                        "y_px": top,
                        "width_px": TILE,
                        "height_px": TILE,
                        "compartment": str(part),
                        "tissue_px": TILE * TILE,
                        "area_um2": 2500.0,
                        **{f"n{g}": int((mine == g).sum()) for g in range(4)},
                        **{f"p{g}": 100 * (4 - g) for g in range(4)},
                        "od_histogram": [1] * 256,
                    }
                )
    return pa.Table.from_pylist(rows)


def compartment(grades):
    n = [int((grades == g).sum()) for g in range(4)]
    total = sum(n)
    h = 100 * (n[1] + 2 * n[2] + 3 * n[3]) / total if total else None
    positive = 100 * (total - n[0]) / total if total else None
    return {
        "area_mm2": 0.02 if total else 0.0,
        "cells": total,
        "counts": n,
        "h_score": {"value": h, "ci95": [h - 9, h + 9] if total else None, "method": "bootstrap"},
        "h_score_pixel": {"value": h, "counts": [400, 300, 200, 100]},
        "positive_percent": {
            "value": positive,
            "ci95": [positive - 1, positive] if total else None,
        },
        "allred": dict.fromkeys(("proportion", "intensity", "total"), 3 if total else None),
        "od_histogram": [100] * 64 + [0] * 192 if total else [0] * 256,
    }


def result_of(cells, name, *, marker="her2-breast", alerts=()):
    grade, part = cells["grade"].to_numpy(), np.array(cells["compartment"].to_pylist())
    parts = {"all": compartment(grade)}
    if "other" not in part:
        parts |= {key: compartment(grade[part == key]) for key in ("tumor", "stroma")}
    document = {
        "marker": marker,
        "slide": {
            "name": name,
            "width_px": SIDE,
            "height_px": SIDE,
            "mpp": MPP,
            "vendor": "phantom",
            "mpp_source": "metadata",
            "sha256": "ab" * 32,
            "working_mpp": MPP,
            "icc": "no profile",
        },
        "stains": {
            "hematoxylin": [0.65, 0.70, 0.29],
            "dab": [0.27, 0.57, 0.78],
            "white_point": [245, 245, 245],
            "white_point_source": "background",
            "source": "Ruifrok and Johnston 2001",
            "angle_to_reference_deg": None,
        },
        "compartments": parts,
        "cellularity": {"tumor_cell_fraction": None, "tumor_area_fraction": None},
        "reading": None,
        "alerts": list(alerts),
        "provenance": {
            "herscope": "0.1.0",
            "spec_fingerprint": "0123456789abcdef",
            "models": {"nuclei": "classical"},
            "timings_s": {"read": 1.5},
        },
    }
    return SlideResult.model_validate(document)


def square(x0, y0, x1, y1):
    return json.loads(shapely.to_geojson(shapely.box(x0, y0, x1, y1)))


def overview_rgb():
    rgb = np.full((200, 200, 3), 238, np.uint8)
    rgb[40:160, 40:160] = (150, 100, 60)
    return rgb


def make_slide(run, name="slide-1", *, title=None, cells=None, **facts):
    folder = run / "slides" / name
    folder.mkdir(parents=True)
    cells = cells_table() if cells is None else cells
    pq.write_table(cells, folder / "cells.parquet")
    pq.write_table(tiles_table(cells_table() if not cells.num_rows else cells),
                   folder / "tiles.parquet")  # fmt: skip
    regions = [
        {
            "type": "Feature",
            "geometry": square(*box),
            "properties": {"objectType": "annotation", "classification": {"name": word}},
        }
        for word, box in (("Tissue", (0, 0, 400, 400)), ("Tumor", (9, 9, 200, 390)))
    ]
    document = {"type": "FeatureCollection", "features": regions}
    (folder / "regions.geojson").write_text(json.dumps(document))
    figures.save_overview(overview_rgb(), folder / "overview.png")
    write_examples(
        cut_examples(read_white, cells, pick_examples(cells), mpp=MPP), folder / "examples.parquet"
    )
    (folder / "result.json").write_text(result_of(cells, title or name, **facts).to_json())
    return folder


def read_white(x0, y0, width, height):
    del x0, y0
    return np.full((height, width, 3), 240, np.uint8)


class Page(HTMLParser):
    """What a browser would see: text outside style and script, tags, and every address."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.addresses, self.words, self.hidden = Counter(), [], [], 0
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.hidden += tag in {"style", "script"}
        self.addresses += [v for k, v in attrs if k in {"src", "href", "srcset", "data"}]

    def handle_endtag(self, tag):
        self.hidden -= tag in {"style", "script"}

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)


ALERTS = [
    {"code": code, "severity": severity, "message": f"message {code}", "value": 0.08,
     "limit": 0.1, "source": "here"}
    for code, severity in (("a-note", "note"), ("an-error", "error"), ("a-warning", "warning"))
]  # fmt: skip


def test_slide_report_shows_each_compartments_score_with_its_interval_and_cell_count(tmp_path):
    folder = make_slide(tmp_path)
    page = Page(write_slide_report(folder, cuts=CUTS))

    for part in load_result(folder).compartments.values():
        low, high = part.h_score.ci95
        assert f"{part.h_score.value:.1f}" in page.text
        assert f"{low:.1f} to {high:.1f}" in page.text
        assert f"{part.cells} cells" in page.text
        assert f"{part.positive_percent.value:.2f}" in page.text
    assert "Research use only" in page.text
    assert "0123456789abcdef" in page.text


def test_slide_report_fetches_nothing_and_carries_its_pictures_inside(tmp_path):
    page = Page(write_slide_report(make_slide(tmp_path), cuts=CUTS))

    assert page.tags["img"] == 5
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert page.tags["script"] == page.tags["link"] == 0


def test_research_notice_is_printed_on_every_sheet_and_shown_on_every_page(tmp_path):
    make_slide(tmp_path)
    refresh(tmp_path, cuts=CUTS)

    for name in ("index.html", "slides/slide-1/report.html"):
        page = Page(tmp_path / name)
        assert page.text.count("Research use only") >= 2  # at the top and at the end
        assert re.search(r"@page\{[^}]*@bottom-left\{content:\"Research use only", page.source)


def test_alerts_come_before_the_numbers_with_the_worst_first(tmp_path):
    page = Page(write_slide_report(make_slide(tmp_path, alerts=ALERTS), cuts=CUTS))

    at = [page.text.index(f"message {code}") for code in ("an-error", "a-warning", "a-note")]
    assert at == sorted(at)
    assert at[-1] < page.text.index("H-score, 95 % interval")


def test_hostile_slide_names_are_text_and_never_markup(tmp_path):
    hostile = "<script>alert('x')</script>\" onload=\"y & <b>"
    folder = make_slide(tmp_path, "hostile & 'odd' name", title=hostile, alerts=[
        {**ALERTS[0], "message": "<img src=x onerror=alert(1)>"}])  # fmt: skip
    (tmp_path / "failures.json").write_text(
        json.dumps(
            {"<script>bad</script>": {"error": "E", "message": "<i>", "hint": "", "stage": ""}}
        )
    )
    page = Page(write_slide_report(folder, cuts=CUTS))
    write_cohort(tmp_path)
    index = Page(tmp_path / "index.html")

    assert hostile in page.text.replace("  ", " ")
    assert page.tags["script"] == 0
    assert page.tags["img"] == 5
    assert index.tags["script"] == 1
    assert "<script>bad</script>" in index.text
    assert "slides/hostile%20%26%20%27odd%27%20name/report.html" in index.addresses


def test_null_is_shown_as_not_computed_with_the_reason(tmp_path):
    folder = make_slide(tmp_path, cells=cells_table(0))
    page = Page(write_slide_report(folder, cuts=CUTS))

    assert "H-score not computed there is no tumour on this slide" in page.text
    assert "0 cells in 0.000 mm²" in page.text
    assert re.findall(r"\b(?:nan|none|null)\b", page.text, re.IGNORECASE) == []


def test_markers_read_by_percentage_put_the_percentage_first(tmp_path):
    ki67 = Page(write_slide_report(make_slide(tmp_path, "k", marker="ki67"), cuts=CUTS))
    her2 = Page(write_slide_report(make_slide(tmp_path, "h"), cuts=CUTS))

    assert "Positive cells, 95 % interval" in ki67.text
    assert "% positive cells per tile" in ki67.text
    assert "H-score, 95 % interval" in her2.text
    assert "H-score per tile" in her2.text


def test_cut_offs_come_from_the_runs_own_record_and_are_not_invented(tmp_path):
    folder = make_slide(tmp_path)
    unknown = Page(write_slide_report(folder)).text
    grades = {"profile": "ours", "cuts": [0.1, 0.3, 0.5]}
    (tmp_path / "run.json").write_text(json.dumps({"spec": {"grades": grades}}))
    known = Page(write_slide_report(folder)).text
    (tmp_path / "run.json").write_text(
        json.dumps({"spec": {"grades": {"profile": "qupath-default", "cuts": None}}})
    )
    named = Page(write_slide_report(folder)).text

    assert "not recorded with this run" in unknown
    assert "cut-offs 0.1, 0.3 and 0.5" in known
    assert "cut-offs 0.2, 0.4 and 0.6" in named
    with pytest.raises(InputError, match="do not rise"):
        write_slide_report(folder, cuts=(0.4, 0.2, 0.6))


def test_same_folder_gives_the_same_bytes(tmp_path):
    folder = make_slide(tmp_path)
    first = write_slide_report(folder, cuts=CUTS).read_bytes()
    cells = write_cells_geojson(folder).read_bytes()

    assert write_slide_report(folder, cuts=CUTS).read_bytes() == first
    assert write_cells_geojson(folder).read_bytes() == cells
    with zipfile.ZipFile(folder / "cells.geojson.zip") as packed:  # no clock in the bytes
        assert packed.infolist()[0].date_time[0] == 1980


def qupath_h_scores(path):
    """H-scores as QuPath makes them: by the parent of the intensity class, over cell objects."""
    with zipfile.ZipFile(path) as packed:
        (name,) = packed.namelist()
        assert name.endswith(".geojson")
        features = json.loads(packed.read(name))["features"]
    counts = {}
    for feature in features:
        assert feature["properties"]["objectType"] == "cell"
        found = feature["properties"]["classification"]
        *parents, word = found.get("names") or [found["name"]]
        counts.setdefault(": ".join(parents), Counter())[word] += 1
    weights = {"Negative": 0, "1+": 1, "2+": 2, "3+": 3}
    return features, {
        parent: 100 * sum(weights[w] * n for w, n in count.items()) / sum(count.values())
        for parent, count in counts.items()
    }


def test_h_score_that_qupath_computes_from_the_export_is_ours(tmp_path):
    folder = make_slide(tmp_path)
    result = load_result(folder)
    _, scores = qupath_h_scores(write_cells_geojson(folder))

    assert scores["Tumor"] == pytest.approx(result.tumor.h_score.value, abs=1e-9)
    assert scores["Stroma"] == pytest.approx(result.stroma.h_score.value, abs=1e-9)


def test_without_compartments_the_qupath_class_is_the_grade_alone(tmp_path):
    folder = make_slide(tmp_path, cells=cells_table(compartments=("other",)))
    _, scores = qupath_h_scores(write_cells_geojson(folder))

    ours = load_result(folder).compartments["all"].h_score.value
    assert scores == {"": pytest.approx(ours, abs=1e-9)}


def test_exported_cells_carry_both_outlines_and_only_known_measurements(tmp_path):
    folder = make_slide(tmp_path)
    features, _ = qupath_h_scores(write_cells_geojson(folder))
    cells = pq.read_table(folder / "cells.parquet").to_pylist()

    assert len(features) == len(cells)
    for feature, cell in list(zip(features, cells, strict=True))[:20]:
        outline = shapely.from_geojson(json.dumps(feature["geometry"]))
        nucleus = shapely.from_geojson(json.dumps(feature["nucleusGeometry"]))
        assert outline.covers(nucleus)
        assert outline.hausdorff_distance(shapely.from_wkb(cell["cell"])) < 0.01
        measured = feature["properties"]["measurements"]
        assert measured["DAB: OD"] == pytest.approx(cell["od"], abs=1e-4)
        assert ("Cytoplasm: DAB OD" in measured) == np.isfinite(cell["cytoplasm_od"])


def test_a_slide_without_cells_exports_an_empty_collection(tmp_path):
    folder = make_slide(tmp_path, cells=cells_table(0))
    assert qupath_h_scores(write_cells_geojson(folder)) == ([], {})


def test_examples_are_the_same_for_any_order_of_the_cells():
    cells = cells_table(900)
    order = np.random.default_rng(0).permutation(900)
    one = cells.take(pick_examples(cells)).select(["x_um", "od", "grade"])
    two = cells.take(order)
    two = two.take(pick_examples(two)).select(["x_um", "od", "grade"])

    assert one.equals(two)
    assert Counter(one["grade"].to_pylist()) == dict.fromkeys(range(4), 6)


def test_examples_lie_near_the_median_at_both_edges_and_apart():
    cells = cells_table(4000, compartments=("tumor",))
    chosen = pick_examples(cells, per_grade=6)
    grade, od = cells["grade"].to_numpy(), cells["od"].to_numpy()
    mine = chosen[grade[chosen] == 1]
    ranks = np.searchsorted(np.sort(od[grade == 1]), od[mine]) / (grade == 1).sum()
    xy = np.stack([cells["x_um"].to_numpy(), cells["y_um"].to_numpy()], axis=1)[mine]
    gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2)[np.triu_indices(6, 1)]

    assert ranks[0] < 0.05
    assert ranks[-1] > 0.95
    assert np.all(np.abs(ranks[1:-1] - 0.5) < 0.1)
    assert gaps.min() > 30  # of 200 µm; neighbours would be about 3 apart


def test_example_crops_are_centred_on_their_cell():
    cells = cells_table(30)

    def read_dot(x0, y0, width, height):
        picture = np.full((SIDE + 200, SIDE + 200, 3), 255, np.uint8)
        for x, y in zip(cells["x_um"].to_numpy(), cells["y_um"].to_numpy(), strict=True):
            cv2.circle(picture, (round(x / MPP) + 100, round(y / MPP) + 100), 4, (90, 40, 10), -1)
        return picture[y0 + 100 : y0 + 100 + height, x0 + 100 : x0 + 100 + width]

    table = cut_examples(read_dot, cells, [0, 5], mpp=MPP)
    for row in table.to_pylist():
        crop = cv2.imdecode(np.frombuffer(row["png"], np.uint8), cv2.IMREAD_COLOR)
        outline = np.array(row["cell_xy"]).reshape(-1, 2)
        assert crop.shape == (128, 128, 3)
        assert crop[64, 64].tolist() == pytest.approx([10, 40, 90], abs=12)  # BGR
        assert outline.mean(axis=0) == pytest.approx([64, 64], abs=3)
        assert np.ptp(outline[:, 0]) == pytest.approx(18 * 128 / 64, abs=1.5)


def test_cohort_has_a_row_for_every_slide_failed_ones_included(tmp_path):
    make_slide(tmp_path, "good", alerts=ALERTS)
    make_slide(tmp_path, "empty", cells=cells_table(0))
    failure = {"error": "UnreadableSlide", "message": "bad.svs is cut short", "hint": "copy it"}
    (tmp_path / "failures.json").write_text(json.dumps({"bad.svs": {**failure, "stage": "plan"}}))
    write_cohort(tmp_path)

    with (tmp_path / "cohort.csv").open(newline="") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    table = {r["name"]: r for r in pq.read_table(tmp_path / "cohort.parquet").to_pylist()}
    result = load_result(tmp_path / "slides" / "good")
    assert list(rows) == list(table) == ["bad.svs", "empty", "good"]
    assert list(rows["good"]) == list(columns())
    assert float(rows["good"]["tumor_h_score"]) == result.tumor.h_score.value
    assert table["good"]["tumor_n3"] == result.tumor.counts[3]
    assert [table["good"][f"alerts_{kind}"] for kind in ("error", "warning", "note")] == [1, 1, 1]
    assert rows["empty"]["tumor_h_score"] == ""
    assert table["empty"]["tumor_h_score"] is None
    assert (rows["bad.svs"]["status"], rows["bad.svs"]["hint"]) == ("failed", "copy it")
    page = Page(tmp_path / "index.html")
    assert "bad.svs is cut short" in page.text
    assert "copy it" in page.text


def test_a_slide_that_failed_last_shows_nothing_of_an_older_result(tmp_path):
    write_slide_report(make_slide(tmp_path, "again"), cuts=CUTS)
    failure = {"error": "SlideError", "message": "gone", "hint": "look", "stage": "tiles"}
    (tmp_path / "failures.json").write_text(json.dumps({"again": failure}))
    write_cohort(tmp_path)

    (row,) = pq.read_table(tmp_path / "cohort.parquet").to_pylist()
    assert (row["status"], row["tumor_h_score"]) == ("failed", None)
    assert Page(tmp_path / "index.html").addresses == []


def test_refresh_names_the_broken_slides_and_rebuilds_the_others(tmp_path):
    good = make_slide(tmp_path, "good")
    broken = {
        "no-result": ("result.json", None),
        "bad-result": ("result.json", b'{"schema": "herscope.score/1"}'),
        "bad-tiles": ("tiles.parquet", b"PAR1 not really"),
        "bad-regions": ("regions.geojson", b'{"features": [3'),
        "bad-overview": ("overview.png", b""),
        "bad-cells": ("cells.parquet", b"xx"),
    }
    for name, (file, content) in broken.items():
        target = make_slide(tmp_path, name) / file
        target.unlink() if content is None else target.write_bytes(content)
    done = refresh(tmp_path, cuts=CUTS)

    assert good / "report.html" in done.reports
    assert set(done.problems) == set(broken)
    for name, (file, _) in broken.items():
        problem = done.problems[name]
        assert isinstance(problem, NotComputed | SchemaError)
        assert file in problem.message
        assert problem.hint
    assert "bad-result" in Page(tmp_path / "index.html").text


@pytest.mark.parametrize("kind", ["missing", "file", "no-slides", "empty"])
def test_refresh_refuses_what_is_no_run(tmp_path, kind):
    run = tmp_path / "run"
    if kind == "file":
        run.write_text("x")
    elif kind != "missing":
        (run / ("slides" if kind == "empty" else "other")).mkdir(parents=True)

    with pytest.raises(HerscopeError) as caught:
        refresh(run)
    assert str(run) in caught.value.message
    assert "herscope score" in caught.value.hint


def test_overview_is_made_smaller_but_keeps_its_shape_and_colours(tmp_path):
    rgb = np.zeros((900, 3000, 3), np.uint8)
    rgb[:, :1500] = (200, 30, 90)
    figures.save_overview(rgb, tmp_path / "overview.png")
    back = load_overview(tmp_path)

    assert back.shape == (614, 2048, 3)
    assert back[300, 100].tolist() == [200, 30, 90]
    with pytest.raises(InputError, match="shape"):
        figures.save_overview(rgb[..., 0], tmp_path / "overview.png")


def test_grade_intervals_cover_the_truth_when_tiles_differ():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        share = rng.beta(4, 6, 40)  # tiles differ: a binomial interval would cover far less
        positive = rng.binomial(50, share)
        ends = charts.share_intervals(np.stack([50 - positive, positive, 0 * positive,
                                                0 * positive], axis=1))[1]  # fmt: skip
        hits += ends[0] < 40 < ends[1]

    assert 0.91 < hits / 300 < 0.985


def test_importing_the_report_layer_loads_no_heavy_library():
    code = (
        "import sys, herscope.report.html, herscope.report.cohort, herscope.report.refresh;"
        "print([m for m in ('matplotlib', 'cv2', 'pyarrow', 'shapely', 'scipy', 'pandas', 'jinja2')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_real_picture_reports_in_full(tmp_path):
    picture = DATA / "ihc" / "deepliif" / "ki67_22_2.png"
    if not picture.is_file():
        pytest.skip("the real images are not beside this repository")
    folder = make_slide(tmp_path)
    rgb = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    figures.save_overview(rgb, folder / "overview.png")

    page = Page(write_slide_report(folder, cuts=CUTS))
    assert page.tags["img"] == 5
    assert len(page.source) < 3_000_000
