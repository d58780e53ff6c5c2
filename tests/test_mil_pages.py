"""Predictions in files, and the pages of a slide and of a cohort."""

from __future__ import annotations

import csv
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.mil.heatmap import make_heatmap
from herscope.mil.predictions import (
    Outlier,
    SlidePrediction,
    by_patient,
    read_predictions,
    slide_prediction,
    write_predictions,
)
from herscope.report.mil_charts import curves_chart, probability_chart
from herscope.report.mil_cohort_page import write_mil_page
from herscope.report.mil_slide_page import slide_page, write_mil_slide_page
from herscope.report.mil_tables import folds_grid
from herscope.slide.opened import open_slide
from herscope.stats.classification.class_figures import ClassifySpec
from herscope.stats.classification.classification_summary import (
    ClassificationSummary,
    summarise,
)

FOUR = ("0", "1+", "2+", "3+")
FAR = Outlier(9.1, 100.0, 7.0, True, "its features lie 9.1 from the training mean, limit 7.0")


def cohort(n: int = 40, *, skill: float = 1.5, classes: tuple[str, ...] = FOUR, members: int = 3
           ) -> list[SlidePrediction]:  # fmt: skip
    draw = np.random.Generator(np.random.PCG64(4))
    made = []
    for number in range(n):
        place = number % len(classes)
        logit = draw.normal(0, 0.6, len(classes)) + skill * (np.arange(len(classes)) == place)
        table = np.exp(logit + draw.normal(0, 0.2, (members, len(classes))))
        made.append(
            slide_prediction(
                f"case-{number:02d}",
                table / table.sum(axis=1, keepdims=True),
                classes,
                patient=f"P{number:02d}",
                truth=classes[place],
                fold=number // len(classes) % 5 + 1,
                tiles=100 + number,
            )
        )
    return made


def judged(predictions: list[SlidePrediction]) -> ClassificationSummary:
    return summarise(
        [one.truth for one in predictions],
        [list(one.probabilities.values()) for one in predictions],
        predictions[0].classes,
        folds=[one.fold for one in predictions],
        spec=ClassifySpec(bootstrap=100),
    )


def document(summary: ClassificationSummary | None = None, **more: Any) -> dict[str, Any]:
    over = {} if summary is None else summary.folds
    return {
        "title": "her2",
        "model": "kat",
        "task": "her2-four",
        "classes": list(FOUR),
        "evaluation": "cross-validation",
        "encoder": {"name": "plip", "features": 512, "card": {"licence": "MIT"}},
        "settings": {"training": {"seeds": 2}},
        "folds": [
            {"fold": f, "seed": 0, "train": 24, "validation": 8, "test": 8, "best_epoch": 2,
             "epochs": 3, "accuracy": 0.5, "auc": None, "f1_micro": 0.5, "f1_macro": 0.4}
            for f in range(1, 6)
        ],
        "over_folds": {name: {"mean": each.mean, "sd": each.sd} for name, each in over.items()},
        "notes": [],
        "alerts": [],
        **more,
    }  # fmt: skip


def said(page: Path) -> str:
    """Return what a reader sees of a page: its text without tags, on one line."""
    html = page.read_text("utf-8")
    body = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("&amp;", "&").split())


# --- predictions


def test_predictions_come_back_with_members_and_outlier_note(tmp_path: Path) -> None:
    made = [*cohort(7), slide_prediction("new", [[0.1, 0.2, 0.3, 0.4]], FOUR, tiles=5, outlier=FAR)]

    write_predictions(tmp_path, made, FOUR)
    back, classes = read_predictions(tmp_path)

    assert classes == FOUR
    for old, new in zip(made, back, strict=True):
        assert np.array_equal(old.members, new.members)
        for name in ("slide", "patient", "truth", "fold", "predicted", "tiles", "outlier",
                     "probabilities", "spread"):  # fmt: skip
            assert getattr(old, name) == getattr(new, name)


def test_the_table_of_predictions_has_plain_columns_and_empty_cells_for_the_unknown(
    tmp_path: Path,
) -> None:
    one = slide_prediction("a", [[0.25, 0.75]], ["low", "0"], tiles=5)

    write_predictions(tmp_path, [one], ["low", "0"])

    with (tmp_path / "predictions.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert list(row) == [
        "slide", "patient", "fold", "truth", "predicted", "prob_low", "prob_0", "sd_low", "sd_0",
        "tiles", "outlier_percentile",
    ]  # fmt: skip
    assert (row["predicted"], row["prob_0"], row["sd_0"], row["truth"]) == ("0", "0.75", "", "")


def test_missing_and_foreign_predictions_say_so(tmp_path: Path) -> None:
    with pytest.raises(NotComputed, match="nothing was predicted"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.parquet").write_bytes(b"no parquet")
    with pytest.raises(SchemaError):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("table", "why"),
    [([[0.5, np.nan]], "no probabilities"), ([[0.9, 0.9]], "miss 1"), ([[0.2, 0.3, 0.5]], "shape")],
)
def test_values_that_are_no_probabilities_are_refused(table: list[list[float]], why: str) -> None:
    with pytest.raises(InputError, match=why):
        slide_prediction("a", table, ["neg", "pos"], tiles=1)


def test_a_patient_is_the_mean_of_the_slides() -> None:
    a = slide_prediction("a", [[0.2, 0.8], [0.4, 0.6]], ["n", "p"], patient="x", tiles=3, truth="p")
    b = slide_prediction("b", [[0.8, 0.2], [0.8, 0.2]], ["n", "p"], patient="x", tiles=4, truth="p",
                         outlier=FAR)  # fmt: skip
    c = slide_prediction("c", [[0.8, 0.2]], ["n", "p"], tiles=4)

    found = by_patient([a, c, b])

    assert [one.patient for one in found] == ["x", "c"]
    assert found[0].probabilities == pytest.approx({"n": 0.55, "p": 0.45})
    assert found[0].members.shape == (2, 2)
    assert (found[0].tiles, found[0].predicted, found[0].outlier) == (7, "n", FAR)


def test_slides_of_one_patient_with_two_labels_are_refused() -> None:
    a = slide_prediction("a", [[0.2, 0.8]], ["n", "p"], patient="x", tiles=3, truth="p")
    b = slide_prediction("b", [[0.2, 0.8]], ["n", "p"], patient="x", tiles=3, truth="n")

    with pytest.raises(InputError, match=r"patient x .* truth: n and p"):
        by_patient([a, b])


# --- the slide's page


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    rgb = np.full((900, 1500, 3), (225, 190, 215), np.uint8)
    path = tmp_path / "case.tif"
    tifffile.imwrite(
        path, rgb, tile=(256, 256), compression="deflate", photometric="rgb",
        resolution=(2e4, 2e4), resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    return path


def test_a_slide_page_shows_prediction_map_tiles_and_every_caveat(
    tmp_path: Path, drawn: Path
) -> None:
    one = slide_prediction(
        "case <b>1</b>", [[0.1, 0.1, 0.2, 0.6], [0.1, 0.1, 0.4, 0.4]], FOUR,
        truth="2+", tiles=15, outlier=FAR,
    )  # fmt: skip
    xy = [(x * 256, y * 256) for y in range(3) for x in range(5)]
    heat = make_heatmap(
        "case", xy, np.arange(15) / 15, tile_px=256, mpp=0.5, what="attention", target="3+",
        model="kat", width_px=1500, height_px=900,
    )  # fmt: skip

    with open_slide(drawn) as slide:
        page = write_mil_slide_page(
            slide_page(tmp_path, "case"), one, document(), heatmaps=[heat], slide=slide,
            files={"Raw scores": "case/heat map.parquet"}, back="../index.html",
        )  # fmt: skip

    html, text = page.read_text("utf-8"), said(page)
    assert page == tmp_path / "slides" / "case.html"
    assert "Predicted 3+, probability 0.500; truth 2+, wrong" in text
    for caveat in ("H&E does not replace IHC", "0.795", "0.579", "0.314",
                   "Attention is not causation",
                   "Research use only", "unlike those of the training", "licence"):  # fmt: skip
        assert caveat in text
    assert html.count("data:image/svg+xml;base64,") == 4
    assert "Highest scores towards 3+: 1 tile; no other stands out." in text
    assert "case/heat%20map.parquet" in html
    assert "<b>1</b>" not in html
    assert "<script" not in html
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html).replace("http-equiv", "")
    assert not re.search(r"\b(nan|None)\b", text)


def test_a_slide_page_without_slide_and_map_still_stands(tmp_path: Path) -> None:
    one = slide_prediction("a", [[0.3, 0.7]], ["neg", "pos"], tiles=4)

    text = said(write_mil_slide_page(tmp_path / "a.html", one, {}))

    assert "no heatmap was made of this slide" in text
    assert "one member, so no spread" in text
    assert "H&E does not replace IHC" in text


def test_the_chart_of_a_slide_is_the_same_bytes_each_time() -> None:
    [one] = cohort(1)

    assert probability_chart(one) == probability_chart(one)


# --- the cohort's page


def test_the_cohort_page_has_the_papers_table_with_the_majority_class_beside_it(
    tmp_path: Path,
) -> None:
    predictions = cohort()
    summary = judged(predictions)
    over = summary.folds["accuracy"]

    text = said(write_mil_page(tmp_path, document(summary), summary, predictions=predictions))

    assert "ACC AUC F1, micro F1, macro majority class" in text
    assert f"{over.mean:.3f} ± {over.sd:.3f}" in text
    assert f"{summary.accuracy.value:.3f} [{summary.accuracy.low:.3f}" in text
    assert f"{summary.majority.value:.3f} [{summary.majority.low:.3f}" in text
    for part in ("false positive rate", "Confusion and calibration",
                 "Patients tested, by true class",
                 "0.795", "H&E does not replace IHC", "2 of 3", "training.seeds"):  # fmt: skip
        assert part in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_only_slide_pages_that_exist_are_linked(tmp_path: Path) -> None:
    predictions = cohort(8)
    there = slide_page(tmp_path, "case-03")
    there.parent.mkdir()
    there.write_text("page")

    html = write_mil_page(tmp_path, document(), None, predictions=predictions).read_text()

    assert re.findall(r'href="([^"]+)"', html) == ["slides/case-03.html"]


def test_an_accuracy_below_the_majority_class_is_said_once_and_as_a_warning(
    tmp_path: Path,
) -> None:
    predictions = cohort(40, skill=-2.0)
    summary = judged(predictions)
    alert = {"code": "below", "severity": "warning", "message": "accuracy is below the majority"}

    html = write_mil_page(
        tmp_path, document(summary, alerts=[alert]), summary, predictions=predictions
    ).read_text()

    assert summary.accuracy.value < summary.majority.value
    assert (
        'class="alert warning"><strong>warning</strong><span class="say">accuracy is below' in html
    )
    assert "always naming the most frequent class would be right more often" not in html


def test_errors_stand_before_warnings_and_notes(tmp_path: Path) -> None:
    alerts = [{"code": n, "severity": n, "message": f"a {n}"} for n in ("note", "warning", "error")]

    text = said(write_mil_page(tmp_path, document(alerts=alerts), None, predictions=cohort(4)))

    assert text.index("a error") < text.index("a warning") < text.index("a note")


def test_a_question_of_two_classes_has_its_auc_in_the_table(tmp_path: Path) -> None:
    predictions = cohort(30, classes=("negative", "positive"))
    summary = judged(predictions)
    auc = summary.classes[0].auc_delong
    assert auc is not None

    text = said(write_mil_page(tmp_path, document(summary), summary, predictions=predictions))

    assert f"{auc.value:.3f} [{auc.low:.3f}" in text
    assert "AUC: of positive" in text


def test_a_prediction_without_truth_shows_no_figures_of_skill(tmp_path: Path) -> None:
    one = slide_prediction("a", [[0.3, 0.7]], ["neg", "pos"], tiles=4, outlier=FAR)

    text = said(
        write_mil_page(tmp_path, {"title": "new", "model": "mean"}, None, predictions=[one])
    )

    assert "new 1 slide · mean pooling" in text
    assert "no truth known" in text
    assert "outside" in text
    assert "ACC" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("top", "words"), [(12, "3 tiles; no other stands out."), (3, ": 3 tiles. Shown")]
)
def test_the_page_says_how_many_tiles_stand_out(
    tmp_path: Path, drawn: Path, top: int, words: str
) -> None:
    xy = [(x * 60, y * 60) for y in range(10) for x in range(10)]
    scores = np.linspace(0.1, 0.9, 100)
    scores[[0, 9, 90]] = (40, 30, 20)
    heat = make_heatmap("case", xy, scores, tile_px=60, mpp=0.5, what="attention", model="abmil",
                        width_px=1500, height_px=900)  # fmt: skip
    one = slide_prediction("case", [[0.3, 0.7]], ["neg", "pos"], tiles=100)

    with open_slide(drawn) as slide:
        page = write_mil_slide_page(
            tmp_path / "a.html", one, {}, heatmaps=[heat], slide=slide, top=top
        )

    assert words in said(page)


def test_a_slide_seen_in_training_says_so_on_its_own_page(tmp_path: Path) -> None:
    one = slide_prediction("a", [[0.3, 0.7]], ["neg", "pos"], tiles=4, outlier=FAR)
    alerts = [
        {"code": "slides-seen", "severity": "warning", "message": "1 slide(s) trained this model"},
        {"code": "slides-unlike-training", "severity": "warning", "message": "1 of 1 further"},
    ]

    text = said(write_mil_slide_page(tmp_path / "a.html", one, {"alerts": alerts}))

    assert "1 slide(s) trained this model" in text
    assert "This slide is unlike those of the training" in text
    assert "1 of 1 further" not in text


def test_pages_name_the_trained_model_without_the_path_to_it(tmp_path: Path) -> None:
    told = {"title": "new", "model": "kat", "model_folder": "/secret/runs/her2-kat"}
    one = slide_prediction("a", [[0.3, 0.7]], ["neg", "pos"], tiles=4)

    for document in (told, {**told, "model_name": "HER2 A"}):
        for page in (
            write_mil_page(tmp_path, document, None, predictions=[one]),
            write_mil_slide_page(tmp_path / "a.html", one, document),
        ):
            text = said(page)
            name = "HER2 A (folder her2-kat)" if "model_name" in document else "her2-kat"
            assert f"· model {name}" in text
            assert f"trained model {name}" in text
            assert "secret" not in text


def test_unusual_is_explained_by_what_was_computed(tmp_path: Path) -> None:
    one = slide_prediction("a", [[0.3, 0.7]], ["neg", "pos"], tiles=4,
                           outlier=Outlier(1.0, 40.0, 7.0, False, "40 %"))  # fmt: skip

    text = said(write_mil_page(tmp_path, {}, None, predictions=[one]))

    assert "share of the training slides that lie nearer to the others than this one" in text
    assert "three nearest training slides" in text
    assert "training mean" not in text


@pytest.mark.parametrize("sites", [True, False])
def test_pooled_figures_of_a_cross_validation_say_what_they_pool(
    tmp_path: Path, sites: bool
) -> None:
    predictions = cohort()
    summary = judged(predictions)

    text = said(
        write_mil_page(
            tmp_path, document(summary, site_folds=sites), summary, predictions=predictions
        )
    )

    assert text.count("each calibrated for itself") == 2
    assert text.count("may be chance: use the mean over folds") == (2 if sites else 0)
    for other in ("external test", "held-out test"):
        page = write_mil_page(
            tmp_path, document(summary, evaluation=other), summary, predictions=predictions
        )
        assert "each calibrated for itself" not in said(page)


@pytest.mark.parametrize(("classes", "square"), [(("negative", "positive"), 1), (FOUR, 0)])
def test_the_roc_of_one_class_does_not_fill_the_page(
    tmp_path: Path, classes: tuple[str, ...], square: int
) -> None:
    predictions = cohort(24, classes=classes)
    summary = judged(predictions)

    html = write_mil_page(tmp_path, document(), summary, predictions=predictions).read_text()

    assert html.count('<figure class="square">') == square


def test_patients_are_left_out_where_none_was_told(tmp_path: Path) -> None:
    bare = [slide_prediction(n, [[0.3, 0.7]], ["neg", "pos"], tiles=4) for n in "ab"]
    known = slide_prediction("b", [[0.3, 0.7]], ["neg", "pos"], tiles=4, truth="pos")
    other = slide_prediction("b", [[0.3, 0.7]], ["neg", "pos"], tiles=4, patient="p")

    assert "patient" not in said(write_mil_page(tmp_path, {}, None, predictions=bare)).split(
        "Slides 2 slides"
    )[1]  # fmt: skip
    for one in (known, other):
        page = write_mil_page(tmp_path, {}, None, predictions=[bare[0], one])
        assert "2 slides of 2 patients" in said(page)


@pytest.mark.parametrize("told", [{"judged": "slides"}, {}])
def test_where_slides_were_judged_the_page_says_slides(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    predictions = cohort()
    summary = judged(predictions)
    if not told:
        summary = dataclasses.replace(summary, grouped=True)

    page = write_mil_page(tmp_path, document(**told), summary, predictions=predictions)

    text = said(page)
    for words in ("40 slides. Majority class", "all slides, each by", "class slides AUC",
                  "Slides tested, by true class", "Slides by true class", "slides per bin",
                  "A slide counts as positive"):  # fmt: skip
        assert words in text
    assert "Patients tested" not in text


def test_slides_of_one_patient_are_counted_one_by_one_where_slides_were_judged() -> None:
    two = [
        slide_prediction(n, [[0.3, 0.7]], ["neg", "pos"], patient="p", truth="pos", fold=1, tiles=4)
        for n in "ab"
    ]

    assert folds_grid(two)[0].rows == (("1", "0", "1"),)
    assert folds_grid(two, "slide")[0].rows == (("1", "0", "2"),)


@pytest.mark.parametrize(
    ("told", "differ"),
    [
        ({}, False),
        ({"ranking": True}, True),
        ({"settings": {"training": {"loss": "ranking"}}}, True),
        ({"settings": {"training": {"loss": "cross-entropy"}}}, False),
    ],
)
def test_two_losses_of_different_kind_are_said_to_be_so(
    tmp_path: Path, told: dict[str, Any], differ: bool
) -> None:
    rows = [{"fold": 1, "seed": 0, "epoch": e, "loss": 1.0, "val_loss": 1.0, "val_auc": 0.5}
            for e in (1, 2)]  # fmt: skip

    page = write_mil_page(tmp_path, document(**told), None, curves=rows)

    assert ("of different kind" in said(page)) is differ


def test_a_figure_without_interval_says_so_under_a_column_of_intervals(tmp_path: Path) -> None:
    predictions = cohort()
    summary = judged(predictions)
    error, f1 = summary.calibration.equal_width, summary.classes[0].f1
    assert error.low is None
    assert f1 is not None

    text = said(write_mil_page(tmp_path, document(), summary, predictions=predictions))

    assert f"equal width {error.value:.3f} [-]" in text
    assert f"{f1:.3f} [-]" in text
    assert "[-]: no interval" in text
    assert f"Brier score {summary.brier.value:.3f} [{summary.brier.low:.3f}" in text


@pytest.mark.parametrize("members", [1, 3])
def test_one_member_has_no_column_of_its_spread(tmp_path: Path, members: int) -> None:
    html = write_mil_page(
        tmp_path, {"title": "new"}, None, predictions=cohort(4, members=members)
    ).read_text()

    assert ('<th scope="col">SD</th>' in html) is (members > 1)
    assert ("SD: over the members" in html) is (members > 1)
    table = html.split("<h2>Slides</h2>")[1].split("</table>")[0]
    cells = [len(re.findall("<t[hd][ >]", row)) for row in re.findall(r"<tr.*", table)]
    assert cells == [10 + (members > 1)] * 5


def test_slides_of_the_training_are_no_external_test(tmp_path: Path) -> None:
    predictions = cohort(8)
    alert = {"code": "slides-seen", "severity": "warning", "message": "3 slide(s) trained it"}
    made = document(evaluation="external test")

    assert "external test" in said(write_mil_page(tmp_path, made, None, predictions=predictions))
    made["alerts"] = [alert]
    text = said(write_mil_page(tmp_path, made, None, predictions=predictions))
    assert "external test" not in text
    assert text.count("labelled slides, some seen in training") == 2


def test_curves_with_missing_figures_and_one_wild_loss_are_drawn() -> None:
    rows: list[dict[str, Any]] = [
        {"fold": fold, "seed": seed, "epoch": epoch, "loss": 1 / epoch, "val_loss": 1.2 / epoch,
         "val_auc": None if epoch == 2 else 0.6}
        for fold in (1, 2) for seed in (0, 1) for epoch in range(1, 6)
    ]  # fmt: skip
    rows[0]["loss"] = 1e9

    made = curves_chart(rows, {(1, 0): 3})

    assert made.startswith(b"<?xml")
    assert made == curves_chart(rows, {(1, 0): 3})
    assert made != curves_chart(rows, {(1, 0): 4})


def test_pages_and_heatmaps_know_nothing_of_torch() -> None:
    code = (
        "import sys; import herscope.report.mil_cohort_page, herscope.report.heatmap_export;"
        "print('torch' in sys.modules, 'tifffile' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["False", "False"]
