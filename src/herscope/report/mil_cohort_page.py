"""The page of a cross-validation or a test of slide-level models: ``index.html``.

The first table has the layout of the table the field compares by (accuracy, AUC and F1 as mean and
standard deviation over folds or members), with what is usually left out beside it: the rate of the
majority class, intervals over patients, and both kinds of F1. Charts and tables of the classifier
are those of ``herscope classify``; figures are of patients, or of slides where a patient's slides
have labels of their own, and the list at the end is of slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from herscope.core.store import make_folder, write_text
from herscope.mil.predictions import SlidePrediction
from herscope.report.classification_charts import confusion_chart, reliability_chart, roc_chart
from herscope.report.html import environment
from herscope.report.mil_charts import curves_chart, has_curves
from herscope.report.mil_slide_page import slide_page
from herscope.report.mil_tables import (
    CROSSED,
    calibration_grid,
    class_grid,
    folds_grid,
    judged_on,
    member_grid,
    pooled_words,
    table_two,
    threshold_grid,
)
from herscope.report.mil_words import (
    CAVEATS,
    counted,
    encoder_rows,
    has_alert,
    model_named,
    model_words,
    named_rows,
    settings_rows,
)
from herscope.report.statistics_page import Picture, Section
from herscope.stats.classification.classification_summary import ClassificationSummary

PAGE: Final = "index.html"
THRESHOLDS_SAY: Final = (
    "A {unit} counts as positive for a class when its probability is at or above the threshold. "
    "A threshold that is chosen from this table must be tested on others."
)
SEVERITIES: Final = ("error", "warning", "note")
EXTERNAL: Final = "external test"
SEEN: Final = "labelled slides, some seen in training"


@dataclass(frozen=True)
class SquarePicture(Picture):
    """A chart about as wide as high, which across the page would fill it."""

    kind: ClassVar[str] = "square"


def write_mil_page(
    folder: str | Path,
    document: Mapping[str, Any],
    summary: ClassificationSummary | None,
    *,
    curves: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[SlidePrediction] = (),
) -> Path:
    """Write the page.

    Parameters
    ----------
    folder
        Folder of results; ``slides/<slide>.html`` in it are linked where they exist.
    document
        ``title``, ``model``, ``model_name``, ``model_folder``, ``task``, ``classes``, ``encoder``
        (name, card), ``judged`` (``slides`` where not patients), ``ranking``, ``folds`` (a row a
        member: fold, seed, train, validation, test, best_epoch, auc, accuracy, f1_micro,
        f1_macro), ``over_folds`` (figure to mean and sd), ``notes``, ``alerts`` (severity,
        message), ``evaluation``, ``site_folds``, ``method``, ``settings``. What is missing is left
        out of the page.
    summary
        The classifier judged on patients; None where no truth is known.
    curves
        Rows of every epoch, as :func:`~herscope.report.mil_charts.curves_chart` takes them.
    predictions
        One a slide.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    home = make_folder(Path(folder))
    sections = [] if summary is None else _judged(document, summary)
    context = {
        "title": str(document.get("title", "H&E model")),
        "facts": _facts(document, summary, predictions),
        "alerts": _alerts(document, summary),
        "caveats": CAVEATS,
        "notes": _notes(document, summary),
        "sections": [
            *sections,
            *_training(document, curves, predictions, judged_on(document, summary)),
        ],
        "slides": [(one, _link(home, one.slide)) for one in predictions],
        "classes": _classes(document, predictions),
        "any_fold": any(one.fold is not None for one in predictions),
        "any_patient": _patients_told(predictions),
        "any_spread": any(
            value is not None for one in predictions for value in one.spread.values()
        ),
        "any_truth": any(one.truth is not None for one in predictions),
        "any_wrong": any(one.right is False for one in predictions),
        "any_outlier": any(one.outlier is not None for one in predictions),
        "made": _made(document, summary),
        "settings": settings_rows(document.get("settings", {})),
    }
    page = environment().get_template("mil_cohort.html.j2").render(context)
    write_text(home / PAGE, page)
    return home / PAGE


def _facts(
    document: Mapping[str, Any],
    summary: ClassificationSummary | None,
    predictions: Sequence[SlidePrediction],
) -> list[str]:
    patients = len({one.patient for one in predictions})
    of = f" of {counted(patients, 'patient')}" if _patients_told(predictions) else ""
    facts = [counted(len(predictions), "slide") + of]
    if "model" in document:
        facts.append(model_words(str(document["model"])))
    # The page of a training has the model's own title.
    if (named := model_named(document)) and named != document.get("title"):
        facts.append(f"model {named}")
    if name := document.get("encoder", {}).get("name"):
        facts.append(f"features of {name}")
    facts.append(_evaluation(document) or "prediction")
    if document.get("evaluation") == CROSSED:
        facts.append("folds of whole sites" if document.get("site_folds") else "folds of patients")
    if summary is None:
        facts.append("no truth known")
    return facts


def _patients_told(predictions: Sequence[SlidePrediction]) -> bool:
    """Whether patients are known: without a label table every slide stands for its own."""
    return any(one.truth is not None or one.patient != one.slide for one in predictions)


def _evaluation(document: Mapping[str, Any]) -> str:
    """Return how the model was judged; slides of the training make no external test."""
    told = str(document.get("evaluation") or "")
    return SEEN if told == EXTERNAL and has_alert(document, "slides-seen") else told


def _classes(
    document: Mapping[str, Any], predictions: Sequence[SlidePrediction]
) -> tuple[str, ...]:
    return predictions[0].classes if predictions else tuple(document.get("classes", ()))


def _alerts(
    document: Mapping[str, Any], summary: ClassificationSummary | None
) -> list[dict[str, str]]:
    found = [
        {"severity": str(alert["severity"]), "message": str(alert["message"])}
        for alert in document.get("alerts", ())
    ]
    if summary is not None:
        found += [
            {"severity": "warning", "message": f"undefined: {what}: {why}"}
            for what, why in summary.undefined.items()
        ]
    order = {name: place for place, name in enumerate(SEVERITIES)}
    return sorted(found, key=lambda alert: order.get(alert["severity"], len(order)))


def _notes(document: Mapping[str, Any], summary: ClassificationSummary | None) -> list[str]:
    """Return every note once, without those the page's own words or alerts say."""
    told = [str(alert["message"]) for alert in document.get("alerts", ())]
    notes = [str(note) for note in document.get("notes", ())]
    notes += [] if summary is None else [note for note in summary.notes if note not in notes]
    below = any("below the majority" in message for message in told)
    return [note for note in notes if not (below and "below the majority" in note)]


def _judged(document: Mapping[str, Any], summary: ClassificationSummary) -> list[Section]:
    level = f"{100 * summary.spec.level:g} %"
    unit = judged_on(document, summary)
    pooled = pooled_words(
        document, "in the last row, the ROC, the class table, the thresholds and the calibration"
    )
    drawn = [one for one in summary.classes if one.curve is not None]
    roc = (
        (SquarePicture if len(drawn) == 1 else Picture)(
            roc_chart(drawn, summary.spec.level),
            "ROC curves",
            f"ROC curves{', each class against the rest' if len(drawn) > 1 else ''}. Band: "
            f"pointwise {level} bootstrap interval of the sensitivity, "
            f"{summary.spec.bootstrap:,} resamples. {pooled_words(document, 'here')}".strip(),
        ),
    )
    matrix = Picture(
        confusion_chart(summary.table),
        "Confusion matrix",
        f"{unit.capitalize()}s by true class (rows) and predicted class (columns); shade and per "
        "cent: share of the true class.",
    )
    reliable = Picture(
        reliability_chart(summary.calibration),
        "Reliability diagram",
        f"{summary.calibration.about.capitalize()} against the share that came true, with {level} "
        f"Wilson intervals; dashed: perfect. Below: {unit}s per bin.",
    )
    return [
        Section(
            "Result",
            grids=(table_two(document, summary, level),),
            paragraphs=(pooled,) if pooled else (),
        ),
        Section(
            "Classes", pictures=roc if drawn else (), grids=(class_grid(summary, level, unit),)
        ),
        Section(
            "Confusion and calibration",
            pictures=(matrix, reliable),
            grids=(calibration_grid(summary, level),),
        ),
        Section(
            "Error rates over thresholds",
            grids=tuple(threshold_grid(one) for one in summary.classes if one.thresholds),
            paragraphs=(THRESHOLDS_SAY.format(unit=unit),),
        ),
    ]


def _training(
    document: Mapping[str, Any],
    curves: Sequence[Mapping[str, Any]],
    predictions: Sequence[SlidePrediction],
    unit: str,
) -> list[Section]:
    folds = list(document.get("folds", ()))
    pictures: tuple[Picture, ...] = ()
    if has_curves(curves):
        best = {
            (int(row["fold"]), int(row.get("seed") or 0)): int(row["best_epoch"])
            for row in folds
            if row.get("best_epoch")
        }
        pictures = (
            Picture(
                curves_chart(curves, best),
                "Training curves",
                "Every epoch of every member. Above: loss in training (dashed) and on validation "
                "slides (line); below: AUC on validation slides. Ring: the epoch whose weights "
                f"were kept, chosen on validation slides alone.{_two_losses(document)}",
            ),
        )
    grids = ([member_grid(folds)] if folds else []) + folds_grid(predictions, unit)
    return (
        [Section("Folds and training", pictures=pictures, grids=tuple(grids))]
        if (pictures or grids)
        else []
    )


def _two_losses(document: Mapping[str, Any]) -> str:
    """Say that the two losses are no pair, where training ranks slides."""
    training = document.get("settings", {}).get("training") or {}
    if not document.get("ranking") and training.get("loss") != "ranking":
        return ""
    return (
        " The loss in training ranks pairs of slides, that on validation slides is cross-entropy: "
        "of different kind, they are not to be compared."
    )


def _made(
    document: Mapping[str, Any], summary: ClassificationSummary | None
) -> list[tuple[str, str]]:
    told = {**document, "evaluation": _evaluation(document)}
    rows = named_rows(told, ("task", "evaluation", "method", "herscope"))
    rows += [(f"encoder {name}", text) for name, text in encoder_rows(document.get("encoder", {}))]
    if summary is not None:
        rows += [
            ("accuracy", summary.accuracy.method),
            ("F1, macro", summary.f1.macro.method),
            *((f"AUC, {name}", estimate.method) for name, estimate in summary.auc.items()),
            ("calibration", summary.calibration.equal_width.method),
            ("bootstrap", f"{summary.spec.bootstrap:,} resamples, seed {summary.spec.seed}"),
        ]
    return rows


def _link(home: Path, slide: str) -> str:
    page = slide_page(home, slide)
    return f"slides/{quote(page.name)}" if page.is_file() else ""
