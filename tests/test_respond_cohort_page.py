"""The page of a response cohort: honest words first, everything escaped, nothing fetched."""

import json
import re
from functools import cache

import numpy as np
import pytest

from herscope.report.respond_charts import (
    ForestRow,
    curve_of,
    forest_chart,
    response_roc_chart,
    response_survival_chart,
)
from herscope.report.respond_cohort_page import cohort_page, verdict
from herscope.report.respond_tables import availability_grid, groups_grid, known_grid, models_grid
from herscope.respond.cohort.outcomes import FollowUp
from herscope.respond.evaluation.judging import JudgingSpec, PatientPrediction, compare, judge
from herscope.stats.survival.kaplan_meier import kaplan_meier

QUICK = JudgingSpec(bootstraps=100)
HOSTILE = "<script>alert('x')</script>"


def drawn(n=80, *, signal=2.0, seed=4, names="p{}"):
    rng = np.random.Generator(np.random.PCG64(seed))
    label = (rng.random(n) < 0.5).astype(int)
    p = 1 / (1 + np.exp(-(signal * (label - 0.5) + rng.normal(size=n))))
    return [
        PatientPrediction(
            names.format(i), int(label[i]), float(p[i]), float(p[i] * 0.9),
            float(min(1, p[i] * 1.1)), (float(p[i]),), 0.5, ("patient",), "AB"[i % 2], i % 5,
        )
        for i in range(n)
    ]  # fmt: skip


def follow_up(rows, seed=2):
    rng = np.random.Generator(np.random.PCG64(seed))
    p = np.array([row.probability for row in rows])
    known = np.ones(len(rows), np.bool_)
    return FollowUp(rng.exponential(100 + 600 * p) + 1, rng.random(len(rows)) < 0.8, known)


@cache
def example():
    """Return a document as ``respond fit`` writes it, through JSON, and its predictions."""
    rows = drawn()
    worse = drawn(signal=0.3)
    pfs = follow_up(rows)
    figures = judge(
        rows,
        pfs=pfs,
        os=pfs,
        groups={"sex": ["male", "female"] * 40, HOSTILE: [HOSTILE, "$\\frac$"] * 40},
        numbers={"age": [40.0 + i for i in range(80)]},
        readers={"A": [float(row.label) for row in rows], "B": [float(i % 2) for i in range(80)]},
        spec=QUICK,
    )
    other = judge(worse, spec=QUICK)
    history = [
        {"epoch": e, "loss": 1 / e, "val_loss": None if e == 3 else 0.7, "val_auc": 0.5 + e / 50}
        for e in range(1, 9)
    ]
    document = {
        "schema": "herscope.respond/1",
        "name": f"model {HOSTILE}",
        "cohort": {"name": HOSTILE, "patients": 90},
        "design": {"evaluation": "repeated cross-validation", "folds": 5, "repeats": 2, "seeds": 1,
                   "method": "stratified by label"},
        "spec": {"width": 16, "training": {"epochs": 8}},
        "figures": figures,
        "external": {"name": "Vienna", "patients": 80, "figures": other},
        "models": [
            {"name": "full", "kind": "full", "auc": figures["auc"]["delong"],
             "auc_sd_over_repeats": 0.011, "auc_within_folds": 0.81, "difference": None},
            {"name": "logistic", "kind": "baseline", "auc": other["auc"]["delong"],
             "difference": compare(worse, rows)},
            {"name": "patient alone", "kind": "alone", "auc": None, "difference": None},
        ],
        "availability": [{"parts": ["patient"], "without": ["radiology-report"], "patients": 80,
                          "auc": figures["auc"]["delong"]}],
        "members": [{"fold": f, "repeat": 0, "seed": 0, "best_epochs": [4, 6], "epochs": 8,
                     "history": history} for f in range(5)],
        "alerts": [
            {"code": "n", "severity": "note", "message": "a remark", "advice": ""},
            {"code": "e", "severity": "error", "message": "a part is missing", "advice": "add it"},
        ],
        "notes": [HOSTILE],
        "seconds": 12.3,
    }  # fmt: skip
    return json.loads(json.dumps(document, allow_nan=False)), rows


@cache
def whole_page():
    return cohort_page(*example())


def light():
    """Return the document without what takes long to draw."""
    document, rows = example()
    figures = {**document["figures"], "subgroups": {}, "roc": None, "calibration": None,
               "survival": {"pfs": None, "os": None}, "readers": None}  # fmt: skip
    return {**document, "figures": figures, "members": [], "external": None}, rows[:4]


def text_of(page):
    body = re.sub(r"<style>.*?</style>|data:[^\"]*", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_is_self_contained_and_escaped():
    document, _ = light()
    of_patients = cohort_page(document, drawn(5, names=HOSTILE + "{}"))

    for page in (whole_page(), of_patients):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "default-src 'none'" in page
        assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert of_patients == cohort_page(document, drawn(5, names=HOSTILE + "{}"))


def test_alerts_come_first_and_the_gravest_of_them():
    page = cohort_page(*light())

    error, note, headline = (
        page.index(words) for words in ("a part is missing; add it", "a remark", 'class="verdict"')
    )
    assert error < note < headline


def test_every_section_is_there():
    page = whole_page()

    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Result", "What was known", "When parts are missing", "Models side by side",
        "Groups of low and high risk", "Progression-free survival", "Overall survival",
        "Subgroups", "Readers", "Calibration", "Hospitals", "External test: Vienna", "Training",
        "Patients", "How it was made",
    ]  # fmt: skip
    assert page.count("<img") == 9
    said = text_of(page)
    assert "repeated cross-validation, 5 folds, 2 repeats, 1 seed" in said
    assert "External test, Vienna, 80 patients: AUC" in said


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.62, 0.55, 0.69, "better than a coin"),
        (0.55, 0.45, 0.65, "holds 0.5: on these patients the model cannot be told from a coin"),
        (0.60, 0.50, 0.70, "holds 0.5"),
        (0.40, 0.30, 0.49, "the wrong way round"),
        (0.80, None, None, "no interval"),
    ],
)
def test_the_headline_says_what_the_interval_means(value, low, high, words):
    auc = {"value": value, "low": low, "high": high, "level": 0.95}

    assert words in verdict({"auc": {"delong": auc}})


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ({"value": 0.1, "low": 0.02, "high": 0.2}, "It is better than the model."),
        ({"value": -0.1, "low": -0.2, "high": -0.01}, "The model is better than it"),
        ({"value": -0.1, "low": -0.2, "high": 0.01}, "the two cannot be told apart"),
    ],
)
def test_the_best_plain_model_stands_beside_the_headline(difference, words):
    document, rows = light()
    models = [dict(one) for one in document["models"]]
    models[1]["difference"] = {**difference, "p": 0.5}

    said = text_of(cohort_page({**document, "models": models}, rows))

    assert "The best plain model, logistic, has an AUC of" in said
    assert words in said


def test_a_document_of_nothing_but_figures_makes_a_page():
    rows = [PatientPrediction("only", -1, 0.3, 0.3, 0.3, (), 0.5, ())]
    bare = {
        "figures": judge(rows), "name": None, "cohort": None, "design": None, "external": None,
        "models": None, "availability": None, "members": None, "alerts": None, "notes": None,
    }  # fmt: skip

    for document, known in ((bare, rows), ({"figures": judge(rows)}, ())):
        said = text_of(cohort_page(document, known))

        assert "How well the model orders patients cannot be said" in said
        assert "undefined" in said
        assert "None" not in said
        assert "nan" not in said


def test_the_curve_read_back_is_the_curve_written():
    rows = drawn()
    every = FollowUp(follow_up(rows).days, np.ones(80, np.bool_), np.ones(80, np.bool_))
    made = kaplan_meier(every.outcome())
    assert np.isnan(made.high[-1])  # written as null

    back = curve_of(json.loads(json.dumps(made.document())))

    np.testing.assert_array_equal(back.survival, made.survival)
    np.testing.assert_array_equal(back.high, made.high)
    assert back.median == made.median
    assert back.at_risk([0, 100]) == made.at_risk([0, 100])
    assert back.document() == made.document()


def test_charts_without_figures_are_left_out():
    assert response_roc_chart({"roc": None}) is None
    assert response_survival_chart(None, "x") is None
    assert response_survival_chart({"curves": {"low risk": None}, "log_rank": None}, "x") is None


def test_a_forest_plot_draws_any_name():
    rows = [
        ForestRow("$\\frac$ 早期 _x", 0.6, 0.5, 0.7, "3/4"),
        ForestRow("heading", heading=True),
        ForestRow("x" * 200, 1.0, 0.2, 1.0),
        ForestRow("no value", said="0/2"),
    ]

    picture = forest_chart(rows, axis="AUC", line=0.5)

    assert picture.startswith(b"<?xml")
    assert picture == forest_chart(rows, axis="AUC", line=0.5)


def test_tables_say_undefined_and_never_none():
    document, _ = example()

    grids = [
        models_grid(document["models"]),
        known_grid(document["figures"]),
        groups_grid(document["figures"]),
        availability_grid([{"parts": [], "without": ["patient"], "patients": 2, "auc": None}]),
    ]

    cells = [cell for grid in grids for row in grid.rows for cell in row]
    assert all(isinstance(cell, str) for cell in cells)
    assert "None" not in " ".join(cells)
    assert grids[0].rows[2][2] == "undefined"
    assert grids[1].rows[-1][1] == "80 (100 %)"
    assert grids[3].rows[0] == ("nothing", "2", "undefined")


def test_a_number_needed_that_runs_through_infinity_is_not_given_as_an_interval():
    labels = [1, 1, 0, 1, 0, 1, 0, 0]
    rows = [
        PatientPrediction(f"p{i}", label, p, p, p, (p,), 0.5, ())
        for i, (label, p) in enumerate(zip(labels, np.linspace(0.9, 0.1, 8).tolist(), strict=True))
    ]

    grid = groups_grid(judge(rows, spec=QUICK))

    assert grid.rows[-1][0] == "number needed to treat"
    assert "runs through infinity" in grid.rows[-1][1]
