"""The HER2 part of a slide's page, on slide folders that are drawn here."""

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from herscope.core.errors import SchemaError
from herscope.guidelines.her2_reading import Her2Floors
from herscope.measure.completeness import (
    MEMBRANE_CLASSES,
    UNSEEN,
    CompletenessSpec,
    class_counts,
    classify,
    count_sectors,
)
from herscope.report import figures, her2_charts
from herscope.report.cohort import columns, write_cohort
from herscope.report.folder import load_result
from herscope.report.her2_examples import (
    CROP_PX,
    CROP_UM,
    PER_CLASS,
    cut_membrane_examples,
    has_membranes,
    pick_membrane_examples,
    take_membrane_examples,
)
from herscope.report.html import write_slide_report
from herscope.score.her2.reading import read_her2
from herscope.score.result import SlideResult

MPP = 0.5
PITCH_UM = 14.0
PER_ROW = 18
SIDE = round((PER_ROW + 1) * PITCH_UM / MPP)
CUTS = (0.2, 0.4, 0.6)
MILLI = (200, 400, 600)
BROWN = (110, 60, 20)
SPEC = CompletenessSpec()
TILE_COLUMNS = ("x_px", "y_px", "width_px", "height_px", "tissue_px",
                *(f"{k}{g}" for k in "np" for g in range(4)))  # fmt: skip


def profile(kind):
    """32 sectors of a cell of one class."""
    sectors = np.full(32, 20, np.int16)
    whole, strength = {
        "complete_intense": (32, 800),
        "complete_moderate": (32, 500),
        "complete_weak": (31, 300),
        "incomplete_moderate": (18, 700),
        "incomplete_faint": (18, 300),
        "none": (0, 0),
    }[kind]
    sectors[:whole] = strength
    return sectors


def cells_table(kinds, parts=None, seed=1, *, rolled=True):
    """One cell a kind on a lattice; each with its noise and turned by its own angle."""
    rng = np.random.default_rng(seed)
    n = len(kinds)
    at = (np.stack([np.arange(n) % PER_ROW, np.arange(n) // PER_ROW], axis=1) + 1) * PITCH_UM
    sectors = rng.integers(-15, 16, (n, 32)) + np.array([profile(k) for k in kinds]).reshape(n, 32)
    turn = rng.integers(0, 32, n) if rolled else np.zeros(n, int)
    turned = [np.roll(s, t) for s, t in zip(sectors, turn, strict=True)]
    sectors = np.array(turned, np.int16).reshape(n, 32)
    found = classify(sectors, MILLI, SPEC)
    shares = count_sectors(sectors, MILLI).shares()
    radius = rng.uniform(4.5, 5.5, (n, 32)).astype(np.float32)
    points = shapely.points(at / MPP)
    fixed = pa.FixedSizeListArray.from_arrays
    return pa.table(
        {
            "x_um": at[:, 0], "y_um": at[:, 1], "centre_x_um": at[:, 0], "centre_y_um": at[:, 1],
            "compartment": list(parts) if parts is not None else ["tumor"] * n,
            "grade": np.maximum(found.grade, 0), "od": np.full(n, 0.3, np.float32),
            "nucleus": shapely.to_wkb(shapely.buffer(points, 5)),
            "cell": shapely.to_wkb(shapely.buffer(points, 10)),
            "sectors": fixed(pa.array(sectors.ravel()), 32),
            "radius_um": fixed(pa.array(radius.ravel()), 32),
            "membrane_class": [(*MEMBRANE_CLASSES, "not_evaluable")[c] for c in found.code],
            "u_shaped": found.u_shaped,
            **{f"completeness_{k + 1}": shares[:, k] for k in range(3)},
            "found_by": ["rim" if i % 20 == 19 else "nucleus" for i in range(n)],
        }
    )  # fmt: skip


def picture_of(cells):
    """Draw each sector that reaches the first cut-off as a brown line at its radius."""
    rgb = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for cell in cells.to_pylist():
        for s, (value, reach) in enumerate(zip(cell["sectors"], cell["radius_um"], strict=True)):
            if value < MILLI[0]:
                continue
            ends = [
                tuple(np.round((np.array([cell["centre_x_um"], cell["centre_y_um"]])
                       + reach * np.array([np.cos(a), np.sin(a)])) / MPP).astype(int).tolist())
                for a in 2 * np.pi * (s + np.array([-0.5, 0.5])) / 32
            ]  # fmt: skip
            cv2.line(rgb, *ends, BROWN, 2)
    return rgb


def reader(rgb):
    padded = np.pad(rgb, ((200, 200), (200, 200), (0, 0)), constant_values=255)
    return lambda x, y, w, h: padded[y + 200 : y + 200 + h, x + 200 : x + 200 + w]


def counts_of(cells):
    names = Counter(cells["membrane_class"].to_pylist())
    sectors = np.stack([np.array(row) for row in cells["sectors"].to_pylist()]).astype(np.int16)
    found = class_counts(classify(sectors, MILLI, SPEC))
    assert all(names[name] == found[name] for name in MEMBRANE_CLASSES)
    return found


def membrane_block(counts, compartment="tumor"):
    total = sum(counts[name] for name in MEMBRANE_CLASSES)
    percent = {f"{name}_percent": 100 * n / total for name, n in counts.items()} if total else {
        f"{name}_percent": None for name in counts}  # fmt: skip
    pcms = sum(percent[f"complete_{w}_percent"] or 0 for w in ("intense", "moderate", "weak"))
    percent["pcms_percent"] = pcms if total else None
    known = {name: value for name, value in percent.items() if value is not None}
    clusters = {"complete_intense": 12, "intense": 14, "moderate": 16, "faint": 40}
    return {
        "compartment": compartment, "cells": total, "not_evaluable": 3, "without_nucleus": 7,
        "counts": counts, **percent, "mean_completeness_percent": (50.0, 30.0, 10.0),
        "largest_intense_cluster": 12, "largest_clusters": clusters,
        "ci95": {name: (max(0, v - 3.1), v + 3.1) for name, v in known.items()},
        "ci95_settings": {name: (max(0, v - 7.7), v + 7.7) for name, v in known.items()},
        "ci95_method": "spatial block bootstrap",
        "shares": SPEC.model_dump(),
    }  # fmt: skip


def her2_block(marker, membrane, **change):
    block = read_her2(
        marker, membrane["counts"], membrane["largest_clusters"], Her2Floors()
    ).as_block()
    return block | {
        "probability": {"3+": 0.004, "2+": 0.62, "1+": 0.376, "0": 0.0},
        "probability_method": "1,000 resamples", "borderline": False, **change,
    }  # fmt: skip


def part_of(cells):
    n = np.bincount(cells["grade"].to_numpy(), minlength=4).tolist()
    return {
        "area_mm2": 0.05, "cells": sum(n), "counts": n,
        "h_score": {"value": 120.0, "ci95": (110.0, 130.0), "method": "bootstrap"},
        "h_score_pixel": {"value": 100.0, "counts": [4, 3, 2, 1]},
        "positive_percent": {"value": 60.0, "ci95": (50.0, 70.0)},
        "allred": {"proportion": 3, "intensity": 2, "total": 5}, "od_histogram": [9] * 256,
    }  # fmt: skip


def result_of(cells, name, marker, membrane, her2):
    return SlideResult.model_validate(
        {
            "marker": marker,
            "slide": {"name": name, "width_px": SIDE, "height_px": SIDE, "mpp": MPP,
                      "mpp_source": "metadata", "vendor": "phantom", "sha256": "ab" * 32,
                      "working_mpp": MPP, "icc": "no profile"},
            "stains": {"hematoxylin": [0.65, 0.70, 0.29], "dab": [0.27, 0.57, 0.78],
                       "white_point": [245, 245, 245], "white_point_source": "background",
                       "source": "Ruifrok and Johnston 2001", "angle_to_reference_deg": None},
            "compartments": {"all": part_of(cells), "tumor": part_of(cells)},
            "cellularity": {"tumor_cell_fraction": 1.0, "tumor_area_fraction": 1.0},
            "reading": None, "membrane": membrane, "her2": her2, "alerts": [],
            "provenance": {"herscope": "0.1.0", "spec_fingerprint": "0123456789abcdef",
                           "models": {}, "timings_s": {}},
        }
    )  # fmt: skip


MIXED = [*["complete_intense"] * 8, *["complete_moderate"] * 20, *["complete_weak"] * 22,
         *["incomplete_moderate"] * 12, *["incomplete_faint"] * 30, *["none"] * 58]  # fmt: skip


def make_slide(run, name="s", *, marker="her2-breast", kinds=MIXED, counts=None, cells=None,
               membrane=True, examples=True, **change):  # fmt: skip
    folder = run / "slides" / name
    folder.mkdir(parents=True)
    cells = cells_table(kinds) if cells is None else cells
    pq.write_table(cells, folder / "cells.parquet")
    tile = dict.fromkeys(TILE_COLUMNS, 1) | {"x_px": 0, "y_px": 0, "width_px": SIDE,
                                             "height_px": SIDE, "compartment": "tumor"}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([tile]), folder / "tiles.parquet")
    (folder / "regions.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    rgb = picture_of(cells) if membrane else np.full((SIDE, SIDE, 3), 235, np.uint8)
    figures.save_overview(rgb, folder / "overview.png")
    if examples:
        path = folder / "membrane_examples.parquet"
        take_membrane_examples(reader(rgb), cells, path, mpp_x=MPP, mpp_y=MPP)
    block = membrane_block(counts or counts_of(cells)) if membrane else None
    scored = marker.startswith("her2") and membrane
    her2 = her2_block(marker, block, **change) if scored else None
    result = result_of(cells, name, marker, block, her2)
    (folder / "result.json").write_text(result.to_json())
    return folder


class Page(HTMLParser):
    """Text outside style and script, tags, addresses, pictures with their words, sections."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.addresses, self.words, self.hidden = Counter(), [], [], 0
        self.pictures, self.sections, self.open = [], {}, []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags[tag] += 1
        self.hidden += tag in {"style", "script"}
        self.addresses += [v for k, v in attrs if k in {"src", "href", "srcset", "data"}]
        if tag == "img":
            self.pictures.append((given.get("alt"), given["src"]))
        if tag == "section":
            self.open.append(given.get("aria-label"))

    def handle_endtag(self, tag):
        self.hidden -= tag in {"style", "script"}
        if tag == "section":
            self.open.pop()

    def handle_data(self, data):
        if self.hidden:
            return
        self.words.append(data)
        for name in self.open:
            self.sections[name] = " ".join((self.sections.get(name, "") + " " + data).split())

    def picture(self, words):
        (found,) = [src for alt, src in self.pictures if alt and words in alt]
        return base64.b64decode(found.split(",", 1)[1]).decode()


def counts(**some):
    names = (*MEMBRANE_CLASSES, "basolateral_intense", "basolateral_moderate", "basolateral_weak")
    return dict.fromkeys(names, 0) | some


BY_SCORE = {
    "3+": ("her2-breast", counts(complete_intense=80, none=120), "positive",
           "Complete, intense membrane staining in more than 10 %", "3+ is the highest score"),
    "2+": ("her2-breast", counts(complete_weak=80, none=120), "equivocal: needs another test",
           "Complete membrane staining, weak to moderate", "3+ needs complete, intense staining"),
    "1+": ("her2-breast", counts(incomplete_faint=80, none=120), "negative",
           "Faint or incomplete membrane staining", "2+ needs complete staining in more than 10"),
    "0": ("her2-breast", counts(none=200), "negative",
          "No membrane staining.", "1+ needs any membrane staining in more than 10 %"),
    "negative": ("her2-colorectal", counts(none=200), "negative",
                 "Intense membrane staining in no more than 10 %", "2+ needs at least moderate"),
    "indeterminate": ("her2-breast", counts(none=20), "indeterminate: no score",
                      "Too few evaluable tumour cells: no score.", "nothing was scored"),
}  # fmt: skip


@pytest.mark.parametrize("score", BY_SCORE)
def test_each_score_is_shown_with_its_rule_its_source_and_why_not_the_next(tmp_path, score):
    marker, found, status, rule, following = BY_SCORE[score]
    folder = make_slide(tmp_path, marker=marker, counts=found)
    page = Page(write_slide_report(folder, cuts=CUTS))
    verdict = page.sections["HER2 score"]
    her2 = load_result(folder).her2

    assert her2.score == score
    assert re.match(rf"HER2, \w+ {re.escape(score)} {status}", verdict)
    for words in (rule, following, her2.source, her2.guideline, her2.rule, her2.comment):
        assert words in verdict
    assert "An equivocal score is no answer" not in page.text or score == "2+"
    assert re.findall(r"\b(?:nan|None)\b|: null", page.text) == []


def test_the_score_comes_before_the_h_scores_and_the_membranes_after_them(tmp_path):
    text = Page(write_slide_report(make_slide(tmp_path), cuts=CUTS)).text

    places = [text.index(w) for w in ("The rule that fired", "of 300", "Table M1.", "The slide")]
    assert places == sorted(places)


def test_probabilities_are_words_beside_their_bars_and_never_rounded_to_certainty(tmp_path):
    page = Page(write_slide_report(make_slide(tmp_path), cuts=CUTS))

    assert "0 0 % 1+ 38 % 2+ 62 % 3+ < 1 % 1,000 resamples" in page.sections["HER2 score"]
    widths = re.findall(r'class="track"><div style="width:([\d.]+)%', page.source)
    assert [float(w) for w in widths] == [0, 37.6, 62, 0.4]


def test_a_borderline_case_is_told_to_be_read_twice_and_why(tmp_path):
    folder = make_slide(tmp_path, "a", borderline=True, distance_to_cutoff=1.25)
    borderline = Page(write_slide_report(folder, cuts=CUTS)).sections["HER2 score"]
    plain = Page(write_slide_report(make_slide(tmp_path, "b"), cuts=CUTS)).text

    assert (
        "Borderline: have it read twice. 1+ is possible too (38 % of the resamples)" in borderline
    )
    assert "the nearest cut-off is 1.2 percentage points away" in borderline
    assert "read twice" not in plain


def test_treatment_category_stands_apart_from_the_score_with_its_own_source(tmp_path):
    found = counts(incomplete_faint=80, none=120)
    folder = make_slide(tmp_path, counts=found)
    page = Page(write_slide_report(folder, cuts=CUTS))
    box = page.sections["Treatment category, not a score"]

    assert "HER2-low" in box
    assert "DESTINY-Breast04" in box
    assert "HER2-low" not in page.sections["HER2 score"].replace("no HER2-low result category", "")
    assert "DESTINY" not in page.sections["HER2 score"]


def test_the_other_mapping_is_shown_for_comparison_and_says_whether_it_agrees(tmp_path):
    other = {"score": "1+", "h_score": 88.0, "pcms_percent": 33.3, "mapping": "a shallow tree",
             "source": "after AutoIHC"}  # fmt: skip
    page = Page(write_slide_report(make_slide(tmp_path, alternative=other), cuts=CUTS))
    box = page.sections["For comparison: another mapping"]

    assert "Differs from the rule's 2+" in box
    assert "From H-score 88 and PCMS 33.3 %: a shallow tree." in box
    assert "another mapping" not in page.sections["HER2 score"]


def test_every_class_is_listed_with_count_percent_and_both_intervals(tmp_path):
    folder = make_slide(tmp_path)
    text = Page(write_slide_report(folder, cuts=CUTS)).text
    membrane = load_result(folder).membrane

    for name, words in (("complete_weak", "Complete, weak"), ("none", "No membrane staining")):
        percent = getattr(membrane, f"{name}_percent")
        row = [f"{membrane.counts[name]}", f"{percent:.1f}"]
        both = membrane.ci95[f"{name}_percent"], membrane.ci95_settings[f"{name}_percent"]
        row += [f"{low:.1f} to {high:.1f}" for low, high in both]
        assert " ".join([words, *row]) in text
    assert "Complete, any intensity (PCMS) 50 33.3 30.2 to 36.4 25.6 to 41.0" in text


def test_u_shaped_cells_have_rows_only_where_the_guideline_counts_them(tmp_path):
    pages = {
        marker: Page(write_slide_report(make_slide(tmp_path, marker, marker=marker), cuts=CUTS))
        for marker in ("her2-breast", "her2-gastric-resection", "her2-gastric-biopsy")
    }

    assert "of them U-shaped" not in pages["her2-breast"].text
    for marker in ("her2-gastric-resection", "her2-gastric-biopsy"):
        assert pages[marker].text.count("of them U-shaped") == 3
    assert "a cluster of 5 tumour cells or more" in pages["her2-gastric-biopsy"].text.lower()
    assert "not measured in percent" in pages["her2-gastric-biopsy"].text


def test_caveats_name_what_was_not_looked_at(tmp_path):
    folder = make_slide(tmp_path)
    text = Page(write_slide_report(folder, cuts=CUTS)).text
    document = json.loads((folder / "result.json").read_text())
    document["membrane"]["compartment"] = "all"
    document["her2"]["inputs"]["controls"] = "passed"
    (folder / "result.json").write_text(json.dumps(document))
    whole = Page(write_slide_report(folder, cuts=CUTS)).text

    assert "Not assessed by herscope: unknown" in text
    assert "It is counted for both cells" in text
    assert "ISH on the same specimen decides" in text
    assert "7 cells (4.6 %) with a membrane but no nucleus" in text
    assert "at least 85 % of the circumference" in text
    assert "below it is taken for noise. 1 %" in text
    assert "no compartments were given" in whole
    assert "no compartments were given" not in text
    assert "Stated as passed" in whole


def test_other_membrane_markers_show_their_membranes_and_no_her2(tmp_path):
    page = Page(write_slide_report(make_slide(tmp_path, marker="pdl1"), cuts=CUTS))

    assert "HER2 score" not in page.sections
    assert "Table M1." in page.text
    assert "ISH" not in page.text
    assert "invasive" not in page.text
    assert "Not assessed by herscope: unknown" in page.text
    assert page.tags["img"] == 6


def test_without_membranes_the_page_has_no_such_part(tmp_path):
    plain = cells_table(MIXED).select(["x_um", "y_um", "compartment", "grade", "od"])
    folder = make_slide(tmp_path, marker="her2-breast", cells=plain, membrane=False)
    page = Page(write_slide_report(folder, cuts=CUTS))

    assert not (folder / "membrane_examples.parquet").exists()
    assert not has_membranes(plain)
    assert "HER2 score" not in page.sections
    assert "Membranes" not in page.text
    assert "Table M1" not in page.text


def test_everything_in_the_document_is_text_and_never_markup(tmp_path):
    hostile = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    overlay = {"name": hostile, "text": hostile, "source": hostile}
    other = {"score": hostile, "h_score": 1.0, "pcms_percent": 1.0, "mapping": hostile,
             "source": hostile}  # fmt: skip
    words = ("status", "rule", "rule_text", "guideline", "source", "comment", "next_rule",
             "probability_method")  # fmt: skip
    folder = make_slide(tmp_path, **dict.fromkeys(words, hostile), overlay=overlay,
                        alternative=other, probability={hostile: 1.0}, floors={hostile: 1},
                        borderline=True)  # fmt: skip
    document = json.loads((folder / "result.json").read_text())
    document["membrane"]["ci95_method"] = document["her2"]["marker"] = hostile
    document["membrane"]["largest_clusters"] = {hostile: 3}
    (folder / "result.json").write_text(json.dumps(document))
    page = Page(write_slide_report(folder, cuts=CUTS))
    write_cohort(tmp_path)
    index = Page(tmp_path / "index.html")

    assert page.tags["script"] == 0
    assert page.tags["img"] == 6
    assert page.text.count("alert(1)") > 15
    assert index.tags["script"] == 1


def test_page_is_self_contained_described_and_the_same_bytes_every_time(tmp_path):
    folder = make_slide(tmp_path)
    path = write_slide_report(folder, cuts=CUTS)
    page, first = Page(path), path.read_bytes()

    assert all(address.startswith("data:image/") for address in page.addresses)
    assert all(alt for alt, _ in page.pictures)
    assert page.tags["script"] == page.tags["link"] == 0
    assert write_slide_report(folder, cuts=CUTS).read_bytes() == first
    assert 'href="http' not in page.source
    assert set(re.findall(r"href='([^']{1,5})", page.picture("Example cells of each class"))) <= {
        "data:", *(f"#c{row}-{i}" for row in range(6) for i in range(PER_CLASS))}  # fmt: skip


def marks_of(svg, kind):
    return np.array(
        [[float(x), float(y)] for x, y in re.findall(
            rf"class='{kind}' cx='([\d.]+)' cy='([\d.]+)'", svg)]
    ).reshape(-1, 2)  # fmt: skip


def test_a_half_stained_ring_has_coloured_marks_on_its_brown_side_only():
    cells = cells_table(["incomplete_moderate"], rolled=False)  # brown: right, then clockwise
    rgb = picture_of(cells)
    picked = pick_membrane_examples(cells)
    table = cut_membrane_examples(reader(rgb), cells, picked, mpp_x=MPP, mpp_y=MPP)
    row = table.to_pylist()[0]
    svg = her2_charts.ring_sheet([("Incomplete", "1 cell", [row])], CUTS).decode()
    scale = her2_charts.SHOWN_PX / CROP_PX
    centre = np.array(row["centre_xy"]) * scale
    strong, bare = marks_of(svg, "g3") - centre, marks_of(svg, "g0") - centre

    assert (len(strong), len(bare)) == (18, 14)
    assert np.all(strong[1:16, 1] > 0)  # downwards on the screen
    assert np.all(bare[:, 1] < 0)
    reach = np.linalg.norm(strong, axis=1) / scale * CROP_UM / CROP_PX
    assert reach == pytest.approx(np.array(cells["radius_um"][0].as_py())[:18], abs=0.06)
    crop = cv2.imdecode(np.frombuffer(row["png"], np.uint8), cv2.IMREAD_GRAYSCALE)
    at = np.round(np.array(row["ring_xy"]).reshape(-1, 2)).astype(int)
    dark = crop[at[:, 1], at[:, 0]] < 150
    assert dark[1:17].all()
    assert not dark[19:31].any()


def test_marks_follow_the_place_of_the_cell_and_pixels_that_are_not_square():
    cells = cells_table(["complete_intense"] * 3)
    rgb = cv2.resize(picture_of(cells), None, fx=1.0, fy=0.5, interpolation=cv2.INTER_AREA)
    picked = pick_membrane_examples(cells)
    table = cut_membrane_examples(reader(rgb), cells, picked, mpp_x=MPP, mpp_y=2 * MPP)

    for row in table.to_pylist():
        crop = cv2.imdecode(np.frombuffer(row["png"], np.uint8), cv2.IMREAD_GRAYSCALE)
        at = np.round(np.array(row["ring_xy"]).reshape(-1, 2)).astype(int)
        assert crop[at[:, 1], at[:, 0]].max() < 190
        assert crop[round(row["centre_xy"][1]), round(row["centre_xy"][0])] > 220


def test_unseen_sectors_are_grey_crosses_and_grades_differ_in_size():
    cells = cells_table(["complete_intense"]).to_pylist()[0]
    values = [UNSEEN] * 4 + cells["sectors"][4:]
    radius = [float("nan")] * 4 + cells["radius_um"][4:]
    fixed = pa.FixedSizeListArray.from_arrays
    table = cells_table(["complete_intense"])
    for name, found, kind in (("sectors", values, pa.int16()), ("radius_um", radius, pa.float32())):
        column = fixed(pa.array(found, kind), 32)
        table = table.set_column(table.column_names.index(name), name, column)
    rows = cut_membrane_examples(
        reader(picture_of(cells_table([]))), table, pick_membrane_examples(table),
        mpp_x=MPP, mpp_y=MPP).to_pylist()  # fmt: skip
    svg = her2_charts.ring_sheet([("Complete", "1 cell", rows)], CUTS).decode()
    plain = her2_charts.ring_sheet([("Complete", "1 cell", rows)], None).decode()

    assert svg.count("class='unseen'") == 4
    assert len(marks_of(svg, "g3")) == 28
    assert len(set(her2_charts.MARK_RADIUS_PX)) == 4
    assert "nan" not in svg
    assert plain.count("class='unseen'") == 4
    assert not marks_of(plain, "g3").size


def test_example_cells_do_not_depend_on_the_order_of_the_rows():
    cells = cells_table(MIXED)
    turned = cells.take(np.random.default_rng(0).permutation(len(MIXED)))
    one, two = (table.take(pick_membrane_examples(table).rows) for table in (cells, turned))

    assert one.equals(two)
    assert Counter(one["membrane_class"].to_pylist()) == dict.fromkeys(MEMBRANE_CLASSES, PER_CLASS)


def test_first_example_is_typical_and_the_last_lies_at_the_edge_of_its_class():
    kinds = ["complete_moderate"] * 120
    cells = cells_table(kinds)
    sectors = np.stack(cells["sectors"].to_pylist()).astype(np.int16)
    sectors[40:50, ::3] += 180  # ten odd ones
    assert set(classify(sectors, MILLI, SPEC).code) == {1}
    column = pa.FixedSizeListArray.from_arrays(pa.array(sectors.ravel()), 32)
    cells = cells.set_column(cells.column_names.index("sectors"), "sectors", column)
    picked = pick_membrane_examples(cells)

    assert picked.typical == [True, True, True, False]
    assert not set(picked.rows[:3]) & set(range(40, 50))
    assert picked.rows[3] in range(40, 50)
    places = np.stack([cells["x_um"].to_numpy(), cells["y_um"].to_numpy()], axis=1)[picked.rows[:3]]
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(3, 1)]
    assert gaps.min() > 40  # of 250 µm; neighbours are 14 apart


def test_examples_are_not_cut_off_by_the_border_while_there_are_others():
    cells = cells_table(["complete_weak"] * PER_ROW * PER_ROW)
    picked = cells.take(pick_membrane_examples(cells).rows)

    for name in ("x_um", "y_um"):
        at = picked[name].to_numpy()
        assert at.min() >= CROP_UM / 2
        assert at.max() <= PER_ROW * PITCH_UM - CROP_UM / 2


def test_only_tumour_cells_are_examples_where_there_are_compartments():
    kinds = ["complete_weak"] * 40
    mixed = cells_table(kinds, parts=["stroma", "tumor"] * 20)
    whole = cells_table(kinds, parts=["other"] * 40)

    chosen = mixed.take(pick_membrane_examples(mixed).rows)
    assert set(chosen["compartment"].to_pylist()) == {"tumor"}
    assert len(pick_membrane_examples(whole).rows) == PER_CLASS


def test_completeness_is_drawn_of_the_cells_that_were_counted(tmp_path, monkeypatch):
    parts = (["tumor"] * 4 + ["stroma"]) * 30
    cells = cells_table(MIXED, parts=parts)
    folder = make_slide(tmp_path, cells=cells, counts=counts_of(cells))
    seen = {}

    def spy(shares, complete, **options):
        seen.update(options, shares=shares, complete=complete)
        return b"<svg/>"

    monkeypatch.setattr(her2_charts, "completeness_chart", spy)
    write_slide_report(folder, cuts=CUTS)

    tumour = np.array(parts) == "tumor"
    names = np.array(cells["membrane_class"].to_pylist())[tumour]
    assert len(seen["shares"]) == tumour.sum()
    assert seen["complete"].sum() == np.char.startswith(names, "complete").sum()
    assert seen["thresholds"] == (0.85, 0.5, 0.5)
    assert seen["notes"][2] == (
        f"{100 * (names == 'complete_intense').mean():.1f} % of cells complete and intense"
    )


def test_recorded_shares_and_cut_offs_are_used_when_a_page_is_rebuilt(tmp_path):
    folder = make_slide(tmp_path)
    unknown = Page(write_slide_report(folder)).text
    spec = {"grades": {"profile": "ours", "cuts": [0.1, 0.3, 0.5]}}
    (tmp_path / "run.json").write_text(json.dumps({"spec": spec}))
    document = json.loads((folder / "result.json").read_text("utf-8"))
    document["membrane"]["shares"]["complete_share"] = 0.9
    (folder / "result.json").write_text(json.dumps(document))
    known = Page(write_slide_report(folder)).text

    assert "are not recorded with this run and are not drawn" in unknown
    assert "sector (its grade is not known)" in unknown
    assert "from 90 % on a membrane is complete" in known
    assert "1+: 0.1 or more" in known


def test_absent_pictures_are_said_to_be_absent(tmp_path):
    folder = make_slide(tmp_path, examples=False)
    keep = ["x_um", "y_um", "compartment", "grade", "od", "nucleus", "cell"]
    pq.write_table(cells_table(MIXED).select(keep), folder / "cells.parquet")
    text = Page(write_slide_report(folder, cuts=CUTS)).text

    assert "no example cells with their sectors were stored" in text
    assert "the cells of this slide were stored without their completeness" in text


def test_a_slide_without_evaluable_cells_says_so_and_shows_no_percentage(tmp_path):
    folder = make_slide(tmp_path, marker="pdl1", kinds=[], cells=cells_table(["none"]).slice(0, 0),
                        counts=counts(), examples=True)  # fmt: skip
    text = Page(write_slide_report(folder, cuts=CUTS)).text

    assert "No membrane staining 0 not computed not computed not computed" in text
    assert "Figure M1 not computed: no cell could be evaluated" in text


@pytest.mark.parametrize("name", ["cells.parquet", "membrane_examples.parquet"])
def test_broken_tables_are_named_with_what_to_do(tmp_path, name):
    folder = make_slide(tmp_path)
    (folder / name).write_bytes(b"PAR1 not really")

    with pytest.raises(SchemaError, match=name) as caught:
        write_slide_report(folder, cuts=CUTS)
    assert "--force" in caught.value.hint


def test_cohort_lists_the_score_with_its_probability(tmp_path):
    make_slide(tmp_path, "a", borderline=True)
    make_slide(tmp_path, "b", marker="pdl1")
    write_cohort(tmp_path)
    rows = {row["name"]: row for row in pq.read_table(tmp_path / "cohort.parquet").to_pylist()}
    text = Page(tmp_path / "index.html").text

    assert list(rows["a"]) == list(columns())
    assert (rows["a"]["her2_score"], rows["a"]["her2_probability"]) == ("2+", 0.62)
    assert (rows["a"]["her2_rule"], rows["a"]["her2_borderline"]) == ("her2-breast-2018-2+", "yes")
    assert rows["a"]["membrane_pcms_percent"] == pytest.approx(100 / 3)
    assert rows["b"]["membrane_none_percent"] == pytest.approx(100 * 58 / 150)
    assert rows["b"]["her2_score"] is None
    assert "2+ equivocal probability 62 % borderline: read twice" in text
