"""What predictions of response are worth: figures, their reasons when undefined, golden values."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from herscope.core.errors import InputError, NotComputed, SchemaError, UndefinedStatistic
from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.outcomes import FollowUp
from herscope.respond.evaluation.average_precision import average_precision
from herscope.respond.evaluation.judging import JudgingSpec, PatientPrediction, compare, judge
from herscope.respond.evaluation.paired_tests import holm, mcnemar
from herscope.respond.evaluation.predictions import read_predictions, write_predictions

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
MUMO = DATA / "clinical" / "mumo_NO_LICENCE" / "anti_her2.csv"
QUICK = JudgingSpec(bootstraps=200)
COHORT = """
[table]
file = '{file}'
[patient]
id = "id"
[outcome]
recist = "recist"
pfs_time = "pfs_days"
pfs_event = "pfs_flag"
os_time = "os_days"
os_event = "os_flag"
progressed = "progressed"
died = "dead"
label = "response_label"
[tokens]
on_unknown = "missing"
[tokens.columns]
line = "treatment_line"
"""


def prediction(name, label, probability, *, cut=0.5, site=None, parts=("patient",)):
    return PatientPrediction(
        name, label, probability, probability, probability, (probability,), cut, parts, site
    )


def drawn(n=120, *, signal=1.5, seed=1, unlabelled=0):
    """Draw patients whose probability orders their label, with PFS that goes with the label."""
    rng = np.random.Generator(np.random.PCG64(seed))
    label = (rng.random(n) < 0.6).astype(int)
    p = 1 / (1 + np.exp(-(signal * (label - 0.5) + rng.normal(size=n))))
    label[:unlabelled] = -1
    rows = [
        prediction(f"p{i}", int(label[i]), float(p[i]), site="AB"[i % 2], cut=0.5 + 0.01 * (i % 3))
        for i in range(n)
    ]
    days = rng.exponential(100 + 500 * p) + 1
    event = rng.random(n) < 0.8
    return rows, FollowUp(days, event, np.ones(n, np.bool_))


# -- predictions ---------------------------------------------------------------------------------


def test_predictions_come_back_to_the_bit(tmp_path):
    rows = [
        PatientPrediction(
            "=1+1", -1, 0.1 + 0.2, 1 / 3, 2 / 3, (1 / 7, 0.5), 0.4, ("patient",), "'-x", 3
        ),
        PatientPrediction(
            "NA", 1, 1.0, 1.0, 1.0, (), 0.5, ("radiology-report", "patient"), None, None
        ),
        PatientPrediction('ä "b", c\nd', 0, 0.0, 0.0, 0.0, (0.0,), 1.5, (), "NA", 0),
    ]

    write_predictions(tmp_path / "predictions.csv", rows)

    assert read_predictions(tmp_path / "predictions.csv") == tuple(rows)
    assert "'=1+1" in (tmp_path / "predictions.csv").read_text("utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"probability": 1.2},
        {"probability": float("nan")},
        {"members": (0.2, -0.1)},
        {"label": 2},
        {"cut": float("nan")},
        {"low": 0.9},
        {"parts": ("blood",)},
        {"patient": ""},
    ],
)
def test_a_prediction_that_cannot_be_is_refused(change):
    with pytest.raises(InputError):
        replace(prediction("p", 1, 0.5), **change)


def test_a_patient_may_stand_only_once(tmp_path):
    rows = [prediction("p", 1, 0.5), prediction("q", 1, 0.5), prediction("p", 0, 0.6)]

    with pytest.raises(InputError, match="rows 1 and 3"):
        write_predictions(tmp_path / "predictions.csv", rows)
    with pytest.raises(InputError, match="rows 1 and 3"):
        judge(rows)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.25", "a quarter", "row 2"),
        ("0.25", "2.5", "no probability"),
        ("probability", "p", "lacks the column 'probability'"),
        (",patient,", ",blood,", "no part 'blood'"),
        (",patient,0.25", "", "row 2: 9 cells of 11"),
    ],
)
def test_a_damaged_table_is_told_with_its_row(tmp_path, old, new, said):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [prediction("p1", 1, 0.25)])
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")

    with pytest.raises(SchemaError, match=said):
        read_predictions(path)


def test_without_a_table_the_command_is_named(tmp_path):
    with pytest.raises(NotComputed) as told:
        read_predictions(tmp_path / "predictions.csv")
    assert "respond fit" in told.value.hint


# -- the whole document --------------------------------------------------------------------------


def test_the_document_is_json_and_the_same_every_time():
    rows, pfs = drawn(unlabelled=9)
    variables = {"sex": ["m", "f", None] * 40}

    first = judge(rows, pfs=pfs, os=pfs, groups=variables, spec=QUICK)
    again = judge(rows, pfs=pfs, os=pfs, groups=variables, spec=QUICK)

    text = json.dumps(first, allow_nan=False)
    assert text == json.dumps(again, allow_nan=False)
    assert (first["patients"], first["labelled"], first["without_label"]) == (120, 111, 9)
    assert first["auc"]["delong"]["n"] == 111
    assert first["survival"]["pfs"]["patients"] == 120
    assert first["undefined"] == {}


def test_auc_average_precision_and_brier_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rows, _ = drawn()
    rows = [replace(row, probability=round(row.probability, 1), low=0.0, high=1.0) for row in rows]
    y, p = [row.label for row in rows], [row.probability for row in rows]

    figures = judge(rows, spec=QUICK)

    assert figures["auc"]["delong"]["value"] == pytest.approx(metrics.roc_auc_score(y, p))
    found = figures["average_precision"]
    assert found["value"] == pytest.approx(metrics.average_precision_score(y, p))
    assert found["low"] < found["value"] < found["high"]
    assert figures["brier"]["value"] == pytest.approx(metrics.brier_score_loss(y, p))


def test_average_precision_of_a_perfect_and_of_no_order():
    assert average_precision([0, 0, 1, 1], [1, 2, 3, 4]).value == 1
    assert average_precision([0, 1, 0, 0], [1, 1, 1, 1]).value == 0.25


def test_calibration_stands_beside_saying_the_rate():
    rows = [prediction(f"p{i}", int(i < 15), 0.75) for i in range(20)]

    figures = judge(rows, spec=QUICK)

    assert figures["calibration"]["observed"] == figures["calibration"]["expected"] == 0.75
    assert figures["brier"]["value"] == figures["calibration"]["brier_of_the_rate"] == 0.1875


# -- groups --------------------------------------------------------------------------------------


def test_every_patient_is_judged_by_the_own_cut():
    rows = [
        prediction("a", 1, 0.6, cut=0.6),
        prediction("b", 1, 0.6, cut=0.7),
        prediction("c", 0, 0.1, cut=0.05),
        prediction("d", 0, 0.1, cut=0.2),
    ]

    figures = judge(rows, spec=QUICK)

    assert figures["groups"]["members"]["table"] == {
        "low risk": {"response": 1, "no response": 1},
        "high risk": {"response": 1, "no response": 1},
    }
    assert figures["cut"]["members"]["value"] is None
    assert "differs from patient to patient" in figures["cut"]["members"]["note"]
    assert [row.group for row in rows] == ["low risk", "high risk", "low risk", "high risk"]
    assert figures["cut"]["members"]["distinct"] == 4
    assert not figures["cut"]["members"]["same_data"]


def test_the_cut_of_the_same_data_is_marked_as_optimistic():
    rows, _ = drawn(signal=0.0, seed=5)

    figures = judge(rows, spec=QUICK)
    same, members = figures["groups"]["same_data"], figures["groups"]["members"]

    def youden(group):
        return group["sensitivity"]["value"] + group["specificity"]["value"] - 1

    assert youden(same) > youden(members)
    assert "too good" in figures["cut"]["same_data"]["note"]
    assert figures["cut"]["same_data"]["same_data"]


def test_the_published_table_gives_the_published_number_needed():
    cells = [(1, 0.9, 36), (0, 0.9, 2), (1, 0.1, 4), (0, 0.1, 6)]
    labels = [(label, p) for label, p, count in cells for _ in range(count)]
    rows = [prediction(f"p{i}", label, p) for i, (label, p) in enumerate(labels)]

    found = judge(rows, spec=QUICK)["groups"]["members"]

    needed = found["number_needed_to_treat"]
    assert [round(needed[k], 2) for k in ("value", "low", "high")] == [1.83, 1.28, 4.24]
    assert found["sensitivity"]["counts"] == {"part": 36, "whole": 40}
    assert found["npv"]["counts"] == {"part": 6, "whole": 10}
    assert found["risk_difference"]["value"] == pytest.approx(36 / 38 - 4 / 10)


# -- what cannot be computed ---------------------------------------------------------------------


def test_one_class_leaves_null_and_a_reason():
    rows = [prediction(f"p{i}", 1, i / 10) for i in range(8)]

    figures = judge(rows, readers={"A": [1.0] * 8}, groups={"sex": ["m", "f"] * 4}, spec=QUICK)

    assert figures["auc"] == {"delong": None, "bootstrap": None, "test": None}
    assert figures["groups"]["same_data"] is None
    assert "no negative case" in figures["undefined"]["auc.delong"]
    assert figures["groups"]["members"]["specificity"] is None
    assert figures["groups"]["members"]["sensitivity"]["n"] == 8
    json.dumps(figures, allow_nan=False)


def test_one_patient_without_label_gives_a_document_of_reasons():
    figures = judge([prediction("p", -1, 0.3)], groups={"sex": ["m"]}, numbers={"age": [60]})

    assert figures["auc"]["delong"] is None
    assert figures["calibration"] is None
    assert figures["groups"]["members"]["patients"] == {"low risk": 0, "high risk": 1}
    json.dumps(figures, allow_nan=False)


def test_no_events_and_an_empty_group_are_told():
    rows = [prediction(f"p{i}", i % 2, 0.6 + i / 100) for i in range(10)]
    never = FollowUp(np.arange(1.0, 11) * 30, np.zeros(10, np.bool_), np.ones(10, np.bool_))
    nobody = FollowUp(np.full(10, np.nan), np.zeros(10, np.bool_), np.zeros(10, np.bool_))

    figures = judge(rows, pfs=never, os=nobody, spec=QUICK)

    pfs, os_ = figures["survival"]["pfs"], figures["survival"]["os"]
    assert pfs["all"]["median"]["value"] is None
    assert pfs["harrell_c"] is None
    assert pfs["groups"]["members"]["curves"]["high risk"] is None
    assert pfs["groups"]["members"]["log_rank"] is None
    assert os_["all"] is None
    assert os_["left_out"] == {"time or event unknown": 10}
    reasons = figures["undefined"]
    assert "high risk" in reasons["survival.pfs.groups.members.curves.high risk"]
    assert "no labelled patient is of high risk" in reasons["groups.members.risk_difference"]
    assert "time and an event" in reasons["survival.os"]


def test_a_variable_with_a_level_a_patient_is_not_compared():
    rows, _ = drawn(40)

    figures = judge(rows, groups={"id": [row.patient for row in rows]}, spec=QUICK)

    assert figures["subgroups"]["id"] is None
    assert "40 levels" in figures["undefined"]["subgroups.id"]


def test_columns_of_another_length_and_no_patients_are_refused():
    rows, pfs = drawn(30)

    with pytest.raises(InputError, match="sex has 2 values for 30"):
        judge(rows, groups={"sex": ["m", "f"]})
    with pytest.raises(InputError, match="pfs has 30 values for 29"):
        judge(rows[1:], pfs=pfs)
    with pytest.raises(InputError, match="could not convert"):
        judge(rows, numbers={"age": ["old"] * 30})
    with pytest.raises(UndefinedStatistic):
        judge([])


# -- survival and subgroups ----------------------------------------------------------------------


def test_the_high_risk_group_has_the_higher_hazard():
    pytest.importorskip("lifelines")
    rows, pfs = drawn(200)

    found = judge(rows, pfs=pfs, spec=QUICK)["survival"]["pfs"]

    members = found["groups"]["members"]
    assert members["hazard_ratio"]["of"] == "high risk against low risk"
    assert members["hazard_ratio"]["value"] > 1.2
    assert found["harrell_c"]["value"] > 0.55
    curves = members["curves"]
    assert curves["low risk"]["median"]["value"] > curves["high risk"]["median"]["value"]
    assert curves["low risk"]["curve"]["survival"][-1] <= 1


def test_unknown_follow_up_is_left_out_and_counted():
    rows, pfs = drawn(60)
    known = np.arange(60) >= 7
    part = FollowUp(np.where(known, pfs.days, np.nan), pfs.event & known, known)

    found = judge(rows, pfs=part, spec=QUICK)["survival"]["pfs"]

    assert found["patients"] == 53
    assert found["left_out"] == {"time or event unknown": 7}
    assert sum(c["n"] for c in found["groups"]["members"]["curves"].values()) == 53


def test_levels_are_compared_in_pairs_and_adjusted():
    rows, pfs = drawn(150)
    levels = [None if i % 10 == 0 else "abc"[i % 3] for i in range(150)]
    rows = [
        replace(row, probability=row.probability * (0.4 if level == "a" else 1), low=0.0, high=1.0)
        for row, level in zip(rows, levels, strict=True)
    ]

    found = judge(rows, pfs=pfs, groups={"type": levels}, spec=QUICK)["subgroups"]["type"]

    assert found["missing"] == 15
    assert [(pair["a"], pair["b"]) for pair in found["between"]] == [
        ("a", "b"), ("a", "c"), ("b", "c")
    ]  # fmt: skip
    by_pair = {pair["a"] + pair["b"]: pair for pair in found["between"]}
    assert by_pair["ab"]["p_value"] < by_pair["ab"]["p_holm"] < 0.001
    assert by_pair["ab"]["median_difference"] > 0.2
    assert by_pair["bc"]["p_holm"] == by_pair["bc"]["p_value"]
    counted = Counter(level for level in levels if level)
    assert {one["level"]: one["patients"] for one in found["levels"]} == dict(counted)
    assert found["survival"]["pfs"]["log_rank"]["df"] == 2


def test_a_level_of_two_patients_is_shown_and_not_compared():
    rows, _ = drawn(40)
    levels = ["rare"] * 2 + ["a", "b"] * 19

    found = judge(rows, groups={"type": levels}, spec=QUICK)["subgroups"]["type"]

    assert [one["level"] for one in found["levels"]] == ["a", "b", "rare"]
    assert [(pair["a"], pair["b"]) for pair in found["between"]] == [("a", "b")]


def test_a_number_goes_with_the_risk():
    rows, _ = drawn(80)
    numbers = [None if i < 5 else row.risk * 10 for i, row in enumerate(rows)]

    found = judge(rows, numbers={"burden": numbers}, spec=QUICK)["numbers"]["burden"]

    assert found["pearson"]["value"] == pytest.approx(1.0)
    assert found["spearman"]["value"] == 1.0
    assert (found["patients"], found["missing"]) == (75, 5)
    assert found["by_label"]["p_value"] < 0.01


def test_auc_by_site_and_by_what_was_known():
    rows, _ = drawn(80)
    rows = [
        replace(row, parts=("radiology-report", "patient") if i % 4 else ("patient",))
        for i, row in enumerate(rows)
    ]
    rows[1] = replace(rows[1], parts=("patient", "radiology-report"))

    figures = judge(rows, spec=QUICK)

    assert [(one["site"], one["patients"]) for one in figures["by_site"]] == [("A", 40), ("B", 40)]
    assert [(one["parts"], one["patients"]) for one in figures["by_parts"]] == [
        (["radiology-report", "patient"], 60),
        (["patient"], 20),
    ]
    assert "pathology-images" in figures["by_parts"][0]["without"]
    told = {(one["part"], one["known"]): one["patients"] for one in figures["by_part"]}
    assert told["radiology-report", True] == 60
    assert told["radiology-report", False] == 20
    assert told["patient", True] == 80
    assert ("patient", False) not in told


# -- two models, readers -------------------------------------------------------------------------


def test_two_models_are_compared_on_the_patients_both_predicted():
    rows, _ = drawn(100)
    worse = [replace(row, probability=0.5, low=0.0, high=1.0) for row in rows[10:]]
    worse = [*worse[::-1], prediction("other", 1, 0.9)]

    found = compare(rows, worse)

    assert found["n"] == 90
    assert found["left_out"] == {"predicted by one only": 11}
    assert found["second"] == 0.5
    assert found["value"] == pytest.approx(found["first"] - 0.5)
    assert found["low"] < found["value"] < found["high"]
    assert compare(worse, rows)["value"] == pytest.approx(-found["value"])


def test_a_model_against_itself_differs_by_nothing_and_says_why():
    rows, _ = drawn(30)

    found = compare(rows, rows)

    assert (found["value"], found["low"], found["p"]) == (0.0, None, None)
    assert "no variance" in found["method"]
    assert compare(rows, [])["value"] is None
    with pytest.raises(InputError, match="one label"):
        compare(rows, [replace(rows[0], label=1 - rows[0].label)])


def test_mcnemar_agrees_with_the_binomial_test():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.Generator(np.random.PCG64(3))
    a, b = rng.random(60) < 0.8, rng.random(60) < 0.6

    found = mcnemar(a, b)

    only = int((a & ~b).sum()), int((b & ~a).sum())
    assert found.p_value == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    with pytest.raises(UndefinedStatistic):
        mcnemar(a, a)


def test_holm_never_falls_and_stays_a_probability():
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_reader_is_judged_beside_the_model():
    rows, _ = drawn(100, unlabelled=4)
    truth = np.array([row.label for row in rows])
    rng = np.random.Generator(np.random.PCG64(9))
    right = rng.random(100) < 0.7
    ratings = [None if i % 20 == 19 else float(t == 1) if right[i] else float(t != 1)
               for i, t in enumerate(truth)]  # fmt: skip

    found = judge(rows, readers={"R1": ratings}, spec=QUICK)["readers"]
    one = found["each"]["R1"]

    known = [(t == 1, r == 1.0) for t, r in zip(truth, ratings, strict=True)
             if t >= 0 and r is not None]  # fmt: skip
    tp, fp = sum(t and r for t, r in known), sum(r and not t for t, r in known)
    assert (one["table"]["tp"], one["table"]["fp"]) == (tp, fp)
    assert one["rated"] == 95
    assert one["labelled"] == len(known)
    half = (one["sensitivity"]["value"] + one["specificity"]["value"]) / 2
    assert one["auc"]["value"] == pytest.approx(half)
    same = one["model"]["at_readers_specificity"]
    assert same["counts"]["false alarms"] <= fp
    assert one["difference"]["value"] == pytest.approx(
        one["model"]["auc"]["value"] - one["auc"]["value"]
    )
    assert sum(one["mcnemar"]["counts"].values()) == len(known)
    assert found["agreement"]["all"] is None


def test_graded_ratings_need_a_cut_on_their_scale():
    rows, _ = drawn(60)
    graded = [1 + round(4 * row.probability) for row in rows]

    wrong = judge(rows, readers={"R": graded}, spec=QUICK)
    right = judge(rows, readers={"R": graded}, spec=QUICK.model_copy(update={"reader_cut": 3.0}))

    assert "one side" in wrong["undefined"]["readers.R.cut"]
    assert "readers.R.cut" not in right["undefined"]
    assert right["readers"]["each"]["R"]["graded"]
    counts = right["readers"]["each"]["R"]["table"]
    assert counts["tp"] + counts["fp"] == sum(grade >= 3 for grade in graded)
    assert right["readers"]["each"]["R"]["specificity"]["value"] > 0


def test_readers_agree_and_form_a_consensus():
    rows, _ = drawn(90)
    truth = [float(row.label) for row in rows]
    flipped = [1 - t if i % 5 == 0 else t for i, t in enumerate(truth)]
    third = [1 - t if i % 7 == 0 else t for i, t in enumerate(truth)]

    found = judge(rows, readers={"A": truth, "B": flipped, "C": third}, spec=QUICK)["readers"]

    kappas = {pair["a"] + pair["b"]: pair["kappa"] for pair in found["agreement"]["pairs"]}
    assert set(kappas) == {"AB", "AC", "BC"}
    assert kappas["AB"]["value"] > kappas["BC"]["value"]
    assert found["agreement"]["all"]["n"] == 90
    consensus = found["each"]["consensus"]
    assert consensus["made_here"]
    assert consensus["table"]["fp"] + consensus["table"]["fn"] == 3
    assert not found["each"]["A"]["made_here"]


def test_an_even_vote_is_undecided():
    rows, _ = drawn(50)
    truth = [float(row.label) for row in rows]

    found = judge(rows, readers={"A": truth, "B": [1 - t for t in truth]}, spec=QUICK)["readers"]

    assert found["each"]["consensus"]["undecided"] == 50


def test_levenes_p_falls_with_the_number_of_resamples_but_the_spread_does_not():
    rows, _ = drawn(100, signal=2.5)
    ratings = [float(row.label) if i % 3 else 1.0 - row.label for i, row in enumerate(rows)]

    few = judge(rows, readers={"R": ratings}, spec=JudgingSpec(bootstraps=200))
    many = judge(rows, readers={"R": ratings}, spec=JudgingSpec(bootstraps=2000))

    a, b = (one["readers"]["each"]["R"]["stability"] for one in (few, many))
    assert b["levene"]["p_value"] < a["levene"]["p_value"]
    assert b["levene"]["p_value"] < b["first_tenth"]["p_value"]
    assert a["sd_ratio"] == pytest.approx(b["sd_ratio"], abs=0.1)
    assert b["sd_ratio"] < 1
    assert "depends on how many" in b["caution"]


# -- golden values of the released table (methods.md 4.3) ----------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Judge the true labels as if they were predictions: what follows from labels alone."""
    if not MUMO.is_file():
        pytest.skip("the shared data folder is absent")
    path = tmp_path_factory.mktemp("mumo") / "cohort.toml"
    path.write_text(COHORT.format(file=MUMO.resolve()), encoding="utf-8")
    cohort = read_cohort(path)
    table = cohort.table
    labels = [int(text) for text in table.column("response_label")]
    rows = [
        prediction(patient, label, {1: 1.0, 0: 0.0, -1: 0.5}[label])
        for patient, label in zip(cohort.patients, labels, strict=True)
    ]
    variables = {
        "label": [{1: "response", 0: "none"}.get(label) for label in labels],
        "peritoneal": table.column("peritoneal_metastasis"),
        "line": [
            "first" if cell.startswith("1") else "other" for cell in table.column("treatment_line")
        ],
        "sex": table.column("sex"),
    }
    tils = [None if cell is None else float(cell) for cell in table.column("tils")]
    outcomes = cohort.outcomes

    def judged(keep):
        kept = np.flatnonzero(keep)
        pfs, os_ = (
            FollowUp(one.days[kept], one.event[kept], one.known[kept])
            for one in (outcomes.pfs, outcomes.os)
        )
        return judge(
            [rows[i] for i in kept],
            pfs=pfs,
            os=os_,
            groups={name: [values[i] for i in kept] for name, values in variables.items()},
            numbers={"tils": [tils[i] for i in kept]},
            spec=QUICK,
        )

    return judged(np.ones(len(rows), bool)), judged(np.array(labels) >= 0)


def test_golden_counts_and_medians(released):
    every, _ = released

    assert (every["patients"], every["responders"], every["non_responders"]) == (271, 144, 64)
    assert every["without_label"] == 63
    medians = [every["survival"][name]["all"]["median"]["value"] for name in ("pfs", "os")]
    assert medians == [253, 455]
    by_label = every["subgroups"]["label"]["survival"]
    found = {
        name: [by_label[name]["curves"][group]["median"]["value"] for group in ("response", "none")]
        for name in ("pfs", "os")
    }
    assert found == {"pfs": [329, 111], "os": [579, 288]}
    sexes = {one["level"]: one["patients"] for one in every["subgroups"]["sex"]["levels"]}
    assert sorted(sexes.values()) == [46, 225]


def test_golden_log_rank_and_concordance(released):
    every, labelled = released

    groups = every["subgroups"]
    chi2 = {
        (variable, name): groups[variable]["survival"][name]["log_rank"]["statistic"]
        for variable in ("label", "peritoneal")
        for name in ("pfs", "os")
    }
    assert chi2["label", "pfs"] == pytest.approx(166.39, abs=0.005)
    assert chi2["label", "os"] == pytest.approx(59.05, abs=0.005)
    assert chi2["peritoneal", "pfs"] == pytest.approx(4.592, abs=0.0005)
    assert chi2["peritoneal", "os"] == pytest.approx(7.073, abs=0.0005)
    # Groups by the cut are the labels here.
    by_cut = labelled["survival"]["pfs"]["groups"]["members"]["log_rank"]["statistic"]
    assert by_cut == pytest.approx(166.39, abs=0.005)
    c = [labelled["survival"][name]["harrell_c"]["value"] for name in ("pfs", "os")]
    # 0.7059 where a censoring at the time of an event is not compared; we count it as later.
    assert [round(value, 4) for value in c] == [0.7060, 0.6403]


def test_golden_chi_square_and_mann_whitney(released):
    every, _ = released

    peritoneal, line = (every["subgroups"][name]["chi_square"] for name in ("peritoneal", "line"))
    assert peritoneal["statistic"] == pytest.approx(10.130, abs=0.0005)
    assert peritoneal["p_value"] == pytest.approx(0.0015, abs=0.00005)
    assert line["statistic"] == pytest.approx(12.703, abs=0.0005)
    cells = sorted(count for row in line["table"].values() for count in row.values())
    assert cells == [22, 24, 40, 122]
    tils = every["numbers"]["tils"]["by_label"]
    u, pairs = tils["statistic"], 89 * 34
    assert min(u, pairs - u) == 1474.5
    assert (tils["counts"]["n a"], tils["counts"]["n b"]) == (89, 34)
    assert tils["p_value"] == pytest.approx(0.829, abs=0.0005)
