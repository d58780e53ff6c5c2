import csv
import json
import re

import numpy as np
import pytest
from sklearn import metrics as sk

from herscope.cli import main
from herscope.core.errors import InputError, LeakyFolds
from herscope.stats.classification.class_figures import ClassifySpec
from herscope.stats.classification.classification_document import classification_document
from herscope.stats.classification.classification_summary import summarise

CLASSES = ["0", "1+", "2+", "3+"]
FAST = ClassifySpec(bootstrap=200)


def cases(n=160, seed=1):
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = rng.choice(4, n, p=[0.15, 0.4, 0.25, 0.2])
    logit = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[truth]
    p = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    return [CLASSES[i] for i in truth], p


def write(path, truth, p, **extra):
    names = [f"p_{name}" for name in CLASSES]
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["her2", *names, *extra])
        for i, label in enumerate(truth):
            out.writerow([label, *(f"{x:.6f}" for x in p[i]), *(col[i] for col in extra.values())])
    return path


@pytest.fixture
def table(tmp_path):
    truth, p = cases()
    n = len(truth)
    return write(
        tmp_path / "kat.csv",
        truth,
        p,
        fold=[i % 4 + 1 for i in range(n)],
        patient=[f"p{i}" for i in range(n)],
    )


def run(capsys, *words):
    code = main([*map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def ask(capsys, table, *words):
    probs = [f"p_{name}" for name in CLASSES]
    words = (table, "--truth", "her2", "--probs", *probs, "--bootstrap", 200, *words)
    return run(capsys, "classify", *words)


def test_the_command_prints_one_json_document_that_agrees_with_scikit_learn(table, capsys):
    code, out, _ = ask(capsys, table, "--json")
    found = json.loads(out)
    truth, p = cases()
    p = np.round(p, 6)
    predicted = [CLASSES[i] for i in p.argmax(axis=1)]

    assert code == 0
    assert found["schema"] == "herscope.classify/1"
    assert found["n"] == 160
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found["f1"]["micro"]["value"] == found["accuracy"]["value"]
    assert found["f1"]["macro"]["value"] == pytest.approx(
        sk.f1_score(truth, predicted, average="macro")
    )
    one = found["classes"]["3+"]["auc_delong"]
    assert one["value"] == pytest.approx(sk.roc_auc_score([t == "3+" for t in truth], p[:, 3]))
    assert one["low"] < one["value"] < one["high"]
    assert {"value", "low", "high", "level", "method", "n", "counts"} <= one.keys()
    assert len(found["classes"]["3+"]["thresholds"]) == 9


def test_the_text_shows_the_majority_rate_beside_the_accuracy(table, capsys):
    code, out, _ = ask(capsys, table)
    assert code == 0
    assert re.search(
        r"accuracy +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\n.*majority-class rate \(1\+\)", out
    )
    assert "F1 micro (= accuracy)" in out


def test_folds_give_mean_and_sd_with_divisor_k_minus_one(table, capsys):
    _, out, _ = ask(capsys, table, "--folds", "fold", "--patient", "patient", "--json")
    found = json.loads(out)["folds"]["accuracy"]
    values = list(found["values"].values())
    truth, p = cases()
    right = np.array([CLASSES.index(t) for t in truth]) == p.argmax(axis=1)
    assert values == pytest.approx([right[i::4].mean() for i in range(4)])
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["ddof"] == 1


def test_a_patient_in_two_folds_is_an_error_that_names_the_patient(tmp_path, capsys):
    truth, p = cases(40)
    patients = [f"p{i // 2}" for i in range(40)]
    path = write(tmp_path / "t.csv", truth, p, fold=[i % 2 for i in range(40)], patient=patients)
    code, out, err = ask(capsys, path, "--folds", "fold", "--patient", "patient", "--json")
    assert code == 1
    assert json.loads(out)["error"]["error"] == "LeakyFolds"
    assert "patient 'p0' is in the test sets of folds 0 and 1" in err
    with pytest.raises(LeakyFolds):
        summarise(truth, p, CLASSES, folds=[i % 2 for i in range(40)], patients=patients)


def test_patients_with_several_cases_widen_the_intervals_and_take_delong_away():
    truth, p = cases(60)
    truth, p = truth * 3, np.tile(p, (3, 1))
    patients = [f"p{i % 60}" for i in range(180)]
    alone = summarise(truth, p, CLASSES, spec=FAST)
    grouped = summarise(truth, p, CLASSES, patients=patients, spec=FAST)
    assert grouped.accuracy.value == alone.accuracy.value
    for figure in ("accuracy", "majority"):
        assert getattr(grouped, figure).value == getattr(alone, figure).value
    assert width(grouped.accuracy) > 1.4 * width(alone.accuracy)
    assert width(grouped.f1.macro) > 1.4 * width(alone.f1.macro)
    assert grouped.classes[0].auc_delong is None
    assert width(grouped.classes[0].auc_bootstrap) > 1.3 * width(alone.classes[0].auc_bootstrap)
    assert any("draw patients whole" in note for note in grouped.notes)


def width(estimate):
    return estimate.high - estimate.low


def test_an_accuracy_below_the_majority_rate_is_said_as_for_the_kat_table():
    truth = ["1+"] * 63 + ["0"] * 17 + ["2+"] * 44 + ["3+"] * 26
    p = np.full((150, 4), 0.1)
    rng = np.random.Generator(np.random.PCG64(0))
    p[np.arange(150), rng.integers(0, 4, 150)] = 0.7
    found = summarise(truth, p, CLASSES, spec=FAST)
    assert round(found.majority.value, 3) == 0.420
    assert "below the majority-class rate 0.420" in found.notes[0]


def test_one_positive_class_makes_two_classes_of_four():
    truth, p = cases()
    found = summarise(truth, p, CLASSES, positive="3+", spec=FAST)
    assert found.table.classes == ("not 3+", "3+")
    assert [one.name for one in found.classes] == ["3+"]
    assert found.brier.value == pytest.approx(
        sk.brier_score_loss([t == "3+" for t in truth], p[:, 3])
    )


def test_a_single_column_of_probabilities_takes_one_as_positive(tmp_path, capsys):
    path = tmp_path / "b.csv"
    path.write_text("y,score\n0,0.2\n1,0.7\n0,0.6\n1,0.9\n", encoding="utf-8")
    code, out, _ = run(capsys, "classify", path, "--truth", "y", "--probs", "score", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["positive"] == "1"
    assert found["confusion"]["counts"] == [[1, 1], [0, 2]]
    assert found["classes"]["1"]["auc_delong"]["value"] == 1.0


def test_a_class_without_cases_is_undefined_with_a_reason_and_the_rest_is_given():
    truth, p = cases(40)
    truth = ["1+" if t == "3+" else t for t in truth]
    found = summarise(truth, p, CLASSES, spec=FAST)
    document = classification_document(found)
    assert document["classes"]["3+"]["auc_delong"] is None
    assert "no positive case among 40" in document["undefined"]["AUC of 3+"]
    assert "no case of class 3+" in document["undefined"]["AUC over all classes"]
    assert document["classes"]["0"]["auc_delong"]["value"] > 0.5
    json.dumps(document, allow_nan=False)


def test_equal_input_gives_equal_documents_and_the_order_of_rows_does_not_change_values():
    truth, p = cases()
    first = classification_document(summarise(truth, p, CLASSES, spec=FAST))
    assert classification_document(summarise(truth, p, CLASSES, spec=FAST)) == first
    turned = classification_document(summarise(truth[::-1], p[::-1], CLASSES, spec=FAST))
    assert turned["confusion"] == first["confusion"]
    assert turned["auc"]["macro one-vs-one"]["value"] == first["auc"]["macro one-vs-one"]["value"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--truth", "Her2"), "no column 'Her2'"),
        (("--positive", "4+"), "'4+' is none of 0, 1+, 2+, 3+"),
        (("--folds", "her3"), "no column 'her3'"),
        (("--bootstrap", "5"), "bootstrap"),
        (("--level", "1.5"), "level"),
    ],
)
def test_wrong_options_end_with_one_line_and_no_traceback(table, capsys, change, said):
    words = {"--truth": "her2", "--bootstrap": "200"} | dict([change])
    flat = [x for pair in words.items() for x in pair]
    probs = [f"p_{name}" for name in CLASSES]
    code, out, err = run(capsys, "classify", table, "--probs", *probs, *flat)
    assert code == 1
    assert out == ""
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["0", "0.5", "high", "0.2", "0.1"], "row 161, column p_1+: 'high' is not a number"),
        (["0", "0.9", "0.9", "0.2", "0.1"], "row 161 sum to 2.1"),
        (["0", "1.5", "-0.5", "0", "0"], "row 161 is 1.5"),
        (["4+", "0.7", "0.1", "0.1", "0.1"], "row 161 is '4+'"),
        (["", "0.7", "0.1", "0.1", "0.1"], "row 161, column her2: the value is missing"),
    ],
)
def test_a_wrong_row_is_named(table, capsys, cells, said):
    with table.open("a") as file:
        file.write(",".join([*cells, "1", "p161"]) + "\n")
    code, _, err = ask(capsys, table)
    assert code == 1
    assert said in err
    assert "hint:" in err


def test_rows_with_a_missing_value_are_left_out_and_counted_when_asked(table, capsys):
    with table.open("a") as file:
        file.write("NA,0.7,0.1,0.1,0.1,1,p161\n")
    code, out, _ = ask(capsys, table, "--drop-missing", "--json")
    assert code == 0
    assert json.loads(out)["left_out"] == {"rows with a missing value": 1}
    assert json.loads(out)["n"] == 160


def test_the_page_stands_alone_escapes_text_and_shows_every_class(tmp_path, capsys):
    truth, p = cases(80)
    evil = ["<b>x</b>" if t == "3+" else t for t in truth]
    path = write(tmp_path / "t.csv", evil, p)
    probs = ["p_0", "p_1+", "p_2+", "<b>x</b>=p_3+"]
    page = tmp_path / "new" / "page.html"
    words = ("--truth", "her2", "--probs", *probs, "--bootstrap", 200, "--out", page)
    code, _, err = run(capsys, "classify", path, *words)
    text = page.read_text(encoding="utf-8")
    assert (code, err) == (0, "")
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    for heading in ("Confusion matrix", "ROC curves", "Reliability", "Error rates over thresholds"):
        assert heading in text


def test_the_same_table_gives_the_same_page_to_the_byte(table, tmp_path, capsys):
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        ask(capsys, table, "--out", page)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_labels_of_another_length_than_the_folds_are_refused():
    truth, p = cases(20)
    with pytest.raises(InputError, match="truth 20, other 3"):
        summarise(truth, p, CLASSES, folds=[1, 2, 3])
