"""``herscope rule``: every marker, files and standard input, results, bad input."""

import io
import json

import pytest

from herscope.cli import main
from herscope.guidelines.membrane_percent import CLASSES
from herscope.recipes.guidelines import RULE_MARKERS

WEAK = {f"{name}_percent": 0 for name in CLASSES} | {
    "complete_weak_percent": 34,
    "none_percent": 66,
}
INPUTS = {
    "her2-breast": WEAK,
    "her2-gastric-resection": WEAK | {"basolateral_weak_percent": 0},
    "her2-gastric-biopsy": {"largest_cluster": {"intense": 0, "moderate": 7, "faint": 9}},
    "her2-colorectal": WEAK,
    "er": {"counts": [900, 60, 30, 10], "internal_control": "positive"},
    "pr": {"counts": [900, 60, 30, 10]},
    "ki67": {"counts": [90, 5, 3, 2]},
    "pdl1": {"tumor_cells": 400, "positive_tumor_cells": 20, "positive_immune_cells": 20},
    "allred": {"counts": [10, 60, 30, 10]},
    "ish": {"ratio": 1.4, "copies": 4.5, "ihc": "2+", "cells_counted": 20},
}
ANSWERS = {
    "her2-breast": ("2+", "equivocal"),
    "her2-gastric-resection": ("2+", "equivocal"),
    "her2-gastric-biopsy": ("2+", "equivocal"),
    "her2-colorectal": ("negative", "negative"),
    "er": ("low positive", None),
    "pr": ("positive", None),
    "ki67": ("not reliable", None),
    "pdl1": (10.0, "scored"),
    "allred": (7, "positive"),
    "ish": ("ISH group 4", "recount"),
}


@pytest.fixture
def rule(capsys, monkeypatch):
    def call(marker, document, *words, file=None):
        text = document if isinstance(document, str) else json.dumps(document)
        if file is None:
            monkeypatch.setattr("sys.stdin", io.StringIO(text))
        else:
            file.write_text(text, encoding="utf-8")
        code = main(["rule", marker, *([] if file is None else [str(file)]), *words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def refused(answer):
    code, out, err = answer
    assert code == 1
    assert "Traceback" not in err
    told = json.loads(out)["error"]
    assert told["hint"]
    return told


@pytest.mark.parametrize("marker", RULE_MARKERS)
def test_every_marker_answers_with_a_block_and_a_text(rule, tmp_path, marker):
    code, out, err = rule(marker, INPUTS[marker], "--json", file=tmp_path / "in.json")
    block = json.loads(out)
    assert (code, err) == (0, "")
    assert (block.get("category", block.get("score")), block.get("status")) == ANSWERS[marker]
    assert block["marker"] == marker
    assert block["source"]

    code, out, err = rule(marker, INPUTS[marker])
    assert code == 0
    assert block["rule"] in out
    assert block["rule_text"] in out
    assert "(here " in out or "next_rule" not in block


def test_a_dash_and_nothing_both_mean_standard_input(rule):
    assert rule("her2-breast", WEAK, "--json") == rule("her2-breast", WEAK, "-", "--json")


def test_ish_negative_makes_the_overlay_low_and_failed_controls_end_it(rule):
    _, out, _ = rule("her2-breast", WEAK, "--ish", "negative", "--json")
    assert json.loads(out)["overlay"]["name"] == "HER2-low"
    assert json.loads(out)["score"] == "2+"
    _, out, _ = rule("her2-breast", WEAK, "--controls", "failed", "--json")
    assert json.loads(out)["score"] == "indeterminate"


def test_counts_decide_in_whole_cells_and_floors_can_be_stated(rule):
    counts = dict.fromkeys(CLASSES, 0) | {"complete_intense": 3, "none": 1000, "total": 1003}
    _, out, _ = rule("her2-breast", {"counts": counts}, "--json")
    assert json.loads(out)["score"] == "0"
    _, out, _ = rule(
        "her2-breast", {"counts": counts, "floors": {"intense_percent": 0.2}}, "--json"
    )
    assert json.loads(out)["score"] == "2+"
    assert json.loads(out)["floors"]["intense_percent"] == 0.2


def result(**parts):
    part = {"cells": 812, "counts": [500, 200, 100, 12]}
    return {"schema": "herscope.score/1", "compartments": {"tumor": part, "all": part}} | parts


def test_a_whole_result_is_read_for_its_membrane_or_its_counts(rule):
    _, out, _ = rule("her2-breast", result(membrane=WEAK | {"other_percent": 3}), "--json")
    assert json.loads(out)["score"] == "2+"
    assert json.loads(out)["inputs"]["cells"] == 812
    _, out, _ = rule("er", result(membrane=None), "--json")
    assert json.loads(out)["cells"] == 812
    _, out, _ = rule("pdl1", result(membrane=None), "--json")
    assert json.loads(out)["score"] == pytest.approx(100 * 312 / 812)


def counted(*, cluster=99, floors=None, **counts):
    """A result whose percentages, rounded, lie on the other side of the cut-off than its counts."""
    found = dict.fromkeys(CLASSES, 0) | counts
    found["none"] = 100_000 - sum(found.values())
    largest = {"complete_intense": cluster, "intense": 4, "moderate": 5, "faint": 66}
    membrane = {
        **{f"{name}_percent": round(number / 1000) for name, number in found.items()},
        "counts": found,
        "largest_intense_cluster": cluster,
        "largest_clusters": largest,
    }
    return result(membrane=membrane, her2=floors and {"floors": floors})


def score_of(answer):
    code, out, _ = answer
    assert code == 0
    return json.loads(out)["score"]


def test_the_exact_counts_of_a_result_decide_not_its_rounded_percentages(rule):
    above, at = counted(complete_intense=10_001), counted(complete_intense=10_000)
    rounded = [body["membrane"]["complete_intense_percent"] for body in (above, at)]
    assert rounded == [10, 10]
    assert score_of(rule("her2-breast", above, "--json")) == "3+"
    assert score_of(rule("her2-breast", at, "--json")) == "2+"


def test_the_largest_cluster_of_a_result_decides_on_scattered_intense_cells(rule):
    scattered, together = (counted(complete_intense=2000, cluster=n) for n in (9, 10))
    assert score_of(rule("her2-breast", scattered, "--json")) == "0"
    assert score_of(rule("her2-breast", together, "--json")) == "2+"


def test_the_floors_a_slide_was_scored_with_are_kept(rule):
    strict = {"intense_percent": 5.0, "staining_percent": 3.0}
    body = counted(complete_intense=2000, floors=strict)
    _, out, _ = rule("her2-breast", body, "--json")
    block = json.loads(out)
    assert block["score"] == "0"
    assert block["overlay"]["name"] == "HER2-null"
    assert block["floors"]["intense_percent"] == 5.0


def test_a_biopsy_is_read_again_by_the_clusters_of_its_result(rule):
    body = counted()
    assert score_of(rule("her2-gastric-biopsy", body, "--json")) == "2+"
    body["membrane"]["largest_clusters"]["intense"] = 5
    assert score_of(rule("her2-gastric-biopsy", body, "--json")) == "3+"


@pytest.mark.parametrize(
    ("marker", "document", "words"),
    [
        ("her2-breast", result(membrane=None), "no membrane percentages"),
        ("her2-gastric-biopsy", result(membrane=WEAK), "no largest clusters"),
        ("ish", result(membrane=WEAK), "holds nothing"),
        ("pdl1", {"compartments": {"all": {"counts": [1, 2, 3, 4]}}}, "no tumor compartment"),
        ("pdl1", {"compartments": {"tumor": {"counts": ["a", 2, 3, 4]}}}, "not integers"),
        ("er", {"compartments": {}}, "no cell counts"),
        ("er", {"compartments": {"all": {"counts": "many"}}}, "no cell counts"),
        ("her2-breast", "", "is no JSON"),
        ("her2-breast", "{", "is no JSON"),
        ("her2-breast", "[1, 2]", "no table"),
        ("her2-breast", '{"none_percent": 1, "none_percent": 2}', "twice"),
        ("her2-breast", "[" * 100_000, "no JSON"),
        ("her2-breast", '{"none_percent": NaN}', "missing|finite"),
        ("her2-breast", {}, "complete_intense_percent is missing"),
        ("her2-breast", WEAK | {"ish": "perhaps"}, "ish is 'perhaps'"),
        ("her2-breast", WEAK | {"ish": []}, "ish is"),
        ("her2-breast", WEAK | {"floors": {"min_cell": 3}}, "min_cell"),
        ("her2-breast", WEAK | {"floors": 3}, "floors is no table"),
        ("her2-breast", WEAK | {"cells": "many"}, "cells is 'many'"),
        ("her2-breast", {"counts": [1, 2, 3, 4]}, "counts is no table"),
        ("her2-breast", WEAK | {"none_percent": 10**400}, "finite"),
        ("her2-gastric-biopsy", {}, "largest_cluster is missing"),
        ("her2-gastric-biopsy", {"largest_cluster": {"intense": 1}}, "moderate is missing"),
        ("er", {}, "counts is missing"),
        ("er", {"counts": [1, 2, 3]}, "3 cell counts"),
        ("er", {"counts": [1, 2, 3, 4], "internal_control": []}, "internal control"),
        ("ki67", {"counts": [0, 0, 0, 0]}, "no evaluable cell"),
        ("ki67", {"count": [1, 0, 0, 0]}, "unknown key 'count'"),
        ("pdl1", {"tumor_cells": 100}, "positive_tumor_cells is missing"),
        ("ish", {"ratio": 2}, "copies is missing"),
        ("ish", INPUTS["ish"] | {"recounted": {"ratio": 2}}, "copies is missing in recounted"),
        ("ish", INPUTS["ish"] | {"recounted": 3}, "recounted is no table"),
        ("her2-brest", WEAK, "her2-brest"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(rule, marker, document, words):
    import re

    assert re.search(words, refused(rule(marker, document, "--json"))["message"])


def test_an_unknown_marker_gets_the_nearest_name(rule):
    assert "did you mean her2-breast?" in refused(rule("her2-brest", WEAK, "--json"))["hint"]


def test_a_file_that_is_not_there_is_an_error(capsys, tmp_path):
    assert main(["rule", "er", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_a_keyboard_is_not_waited_for(capsys, monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Keyboard())
    assert main(["rule", "er"]) == 1
    assert "keyboard" in capsys.readouterr().err
