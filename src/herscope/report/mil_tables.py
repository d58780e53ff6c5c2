"""Tables of the page of slide-level models, from summaries to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from herscope.mil.predictions import SlidePrediction
from herscope.report.classification_page import said
from herscope.report.mil_words import FIGURES, counted, model_words, share
from herscope.report.statistics_page import Grid
from herscope.stats.classification.class_figures import ClassFigures
from herscope.stats.classification.classification_summary import ClassificationSummary
from herscope.stats.estimate import Estimate

COLUMNS: Final = ("ACC", "AUC", "F1, micro", "F1, macro", "majority class")
CROSSED: Final = "cross-validation"


def judged_on(document: Mapping[str, Any], summary: ClassificationSummary | None) -> str:
    """Return what was judged, ``patient`` or ``slide``: a patient's slides may have own labels."""
    slides = document.get("judged") == "slides" or (summary is not None and summary.grouped)
    return "slide" if slides else "patient"


def pooled_words(document: Mapping[str, Any], where: str) -> str:
    """Say what pooling does to the figures of a cross-validation; empty for other evaluations."""
    if document.get("evaluation") != CROSSED:
        return ""
    what = f"Pooled {where}: scores of every fold's members, each calibrated for itself."
    if document.get("site_folds"):
        return (
            f"{what} Folds are whole sites, so the order between folds may be chance: use the mean "
            "over folds."
        )
    return f"{what} The mean over folds compares no scores of two folds."


def with_interval(estimate: Estimate | None) -> str:
    """Return a value with its interval, ``[-]`` where it has none, or ``undefined``."""
    if estimate is None or (estimate.low is not None and estimate.high is not None):
        return said(estimate)
    return f"{said(estimate)} [-]"


def table_two(document: Mapping[str, Any], summary: ClassificationSummary, level: str) -> Grid:
    """Return accuracy, AUC and F1 as mean ± SD, and of all patients with their intervals."""
    over = {FIGURES.get(name, name): each for name, each in document.get("over_folds", {}).items()}
    # With one class a patient, micro F1 is the accuracy, fold by fold.
    over.setdefault("F1, micro", over.get("ACC"))
    auc = summary.auc.get("macro one-vs-rest")
    if auc is None and len(summary.classes) == 1:
        auc = summary.classes[0].auc_delong or summary.classes[0].auc_bootstrap
    pooled = (summary.accuracy, auc, summary.f1.micro, summary.f1.macro, summary.majority)
    crossed = document.get("evaluation") == CROSSED
    rows = []
    if any(over.get(name) for name in COLUMNS):
        what = "folds" if crossed else "members"
        rows.append((f"mean ± SD over {what}", *(_mean_sd(over.get(name)) for name in COLUMNS)))
    unit = judged_on(document, summary)
    words = f"all {unit}s, each by members that had not seen it" if crossed else "ensemble"
    rows.append((f"{words} [{level}]", *(with_interval(estimate) for estimate in pooled)))
    of = "macro one-vs-rest" if len(summary.classes) > 1 else f"of {summary.positive}"
    caption = (
        f"{counted(summary.table.n, unit)}. Majority class: always naming "
        f"{summary.majority_class}. AUC: {of}. The SD (divisor k - 1) is over trainings, the "
        "interval over patients; neither covers another laboratory."
    )
    return Grid(caption, (model_words(str(document.get("model", ""))), *COLUMNS), tuple(rows))


def _mean_sd(figure: Mapping[str, Any] | None) -> str:
    if not figure:
        return ""
    sd = figure.get("sd")
    return f"{figure['mean']:.3f}" + (f" ± {sd:.3f}" if sd is not None else "")


def class_grid(summary: ClassificationSummary, level: str, unit: str = "patient") -> Grid:
    """Return figures of each class against the rest; ``unit`` is what was judged."""
    rates = ("sensitivity", "specificity", "ppv", "npv")
    header = ("class", f"{unit}s", "AUC", "sensitivity", "specificity", "PPV", "NPV", "F1")
    rows = [
        (
            one.name,
            f"{one.cases:,}",
            with_interval(one.auc_delong or one.auc_bootstrap),
            *(with_interval(one.rates.get(name)) for name in rates),
            "undefined" if one.f1 is None else f"{share(one.f1)} [-]",
        )
        for one in summary.classes
    ]
    caption = (
        f"Each class against the rest [{level} interval]. [-]: none is computed for the F1 of "
        "one class; macro F1 above has one."
    )
    return Grid(caption, header, tuple(rows))


def calibration_grid(summary: ClassificationSummary, level: str) -> Grid:
    """Return Brier score and calibration errors."""
    figures = (
        ("Brier score", summary.brier),
        ("expected calibration error, equal width", summary.calibration.equal_width),
        ("expected calibration error, equal mass", summary.calibration.equal_mass),
    )
    rows = tuple((name, with_interval(estimate)) for name, estimate in figures)
    # The reason is the estimate's own, see expected_calibration_error.
    why = "[-]: no interval, as resampling cases would add error to an error."
    missing = any(row[1].endswith("[-]") for row in rows)
    return Grid(why if missing else "", ("calibration", f"value [{level}]"), rows)


def threshold_grid(one: ClassFigures) -> Grid:
    """Return error rates of one class over thresholds."""
    header = ("threshold", "TP", "FP", "FN", "TN", "false positive rate", "false negative rate")
    rows = tuple(
        (
            f"{row.threshold:.4g}",
            *(f"{getattr(row.counts, name):,}" for name in ("tp", "fp", "fn", "tn")),
            said(row.false_positive_rate),
            said(row.false_negative_rate),
        )
        for row in one.thresholds
    )
    return Grid(f"{one.name} against the rest", header, rows)


def member_grid(folds: Sequence[Mapping[str, Any]]) -> Grid:
    """Return a row a member: patients of each side, best epoch, figures on the test side."""
    several = len({row["fold"] for row in folds}) < len(folds)
    counts = ("train", "validation", "test")
    sited = any(row.get("sites") for row in folds)
    header = ("fold", *(("seed",) if several else ()), "train", "validation", "test",
              *(("sites tested",) if sited else ()),
              "best epoch", "ACC", "AUC", "F1, micro", "F1, macro")  # fmt: skip
    rows = tuple(
        (
            str(row["fold"]),
            *((str(row.get("seed", "")),) if several else ()),
            *(f"{row[name]:,}" if name in row else "" for name in counts),
            *((", ".join(map(str, row.get("sites", ()))),) if sited else ()),
            _epochs(row),
            *(share(row.get(name)) for name in ("accuracy", "auc", "f1_micro", "f1_macro")),
        )
        for row in folds
    )
    return Grid("Patients of each side, and figures on the test side.", header, rows)


def _epochs(row: Mapping[str, Any]) -> str:
    of = f" of {row['epochs']}" if row.get("epochs") else ""
    return f"{row['best_epoch']}{of}" if row.get("best_epoch") else ""


def folds_grid(predictions: Sequence[SlidePrediction], unit: str = "patient") -> list[Grid]:
    """Return the patients or slides of each class tested in each fold; nothing without folds."""
    known = [one for one in predictions if one.truth is not None]
    folds = sorted({one.fold for one in known if one.fold is not None})
    if not folds:
        return []
    classes = known[0].classes
    seen: dict[tuple[int, str], set[str]] = {}
    for one in known:
        seen.setdefault((int(one.fold or 0), str(one.truth)), set()).add(
            one.slide if unit == "slide" else one.patient
        )
    rows = tuple(
        (str(fold), *(f"{len(seen.get((fold, name), ())):,}" for name in classes)) for fold in folds
    )
    return [Grid(f"{unit.capitalize()}s tested, by true class.", ("fold", *classes), rows)]
