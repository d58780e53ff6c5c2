"""``herscope classify``: a classifier judged from a table of truths and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from herscope.stats.classification.class_figures import ClassFigures
    from herscope.stats.classification.classification_summary import ClassificationSummary
    from herscope.stats.estimate import Estimate


CLASSES_ABREAST = 3


def classify(
    table: Path,
    /,
    *,
    truth: str,
    probs: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    positive: str | None = None,
    folds: str | None = None,
    patient: str | None = None,
    out: Path | None = None,
    drop_missing: Flag = False,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 20_260,
    common: Common = COMMON,
) -> Outcome:
    """Judge a classifier: accuracy, F1, AUC, error rates, calibration, each with an interval.

    Parameters
    ----------
    table
        CSV or Parquet, one row a case.
    truth
        Column of true classes.
    probs
        Columns of probabilities, one per class (named after it, or CLASS=COLUMN), or a single one
        for the positive class.
    positive
        The positive class; with more than two classes the others become one.
    folds
        Column with the test fold of each case: mean and SD over folds (ddof 1).
    patient
        Column with the patient; with several cases each, patients are resampled whole.
    out
        Write a page with confusion matrix, ROC curves, reliability and thresholds.
    drop_missing
        Leave rows with a missing value out, and count them.
    bootstrap
        Bootstrap resamples.
    level
        Two-sided confidence level.
    seed
        Seed of the resamples.
    """
    from herscope import recipes
    from herscope.core.study import with_values
    from herscope.stats.classification.class_figures import ClassifySpec
    from herscope.stats.classification.classification_document import classification_document

    del common
    spec = with_values(
        ClassifySpec(),
        {"level": level, "bootstrap": bootstrap, "seed": seed},
        where="herscope classify",
    )
    summary = recipes.classify(
        table,
        truth=truth,
        probs=[name for item in probs for name in _columns(item)],
        positive=positive,
        folds=folds,
        patient=patient,
        drop_missing=drop_missing,
        spec=spec,
        out=out,
    )
    document = {"table": str(table), "truth": truth, **classification_document(summary)}
    said: list[Any] = _said(summary)
    if out is not None:
        document["page"] = str(out)
        said.append(f"page: {out}")
    return Outcome(document, said)


def _columns(item: str) -> list[str]:
    return [name.strip() for name in item.split(",") if name.strip()]


def _said(summary: ClassificationSummary) -> list[Any]:
    level = f"{100 * summary.spec.level:g} %"
    about = "" if summary.positive is None else f", positive class {summary.positive}"
    people = "" if summary.patients is None else f" of {summary.patients:,} patients"
    head = f"{summary.table.n:,} cases{people}{about}; intervals {level}"
    left = [f"left out: {count:,} {reason}" for reason, count in summary.left_out.items()]
    parts: list[Any] = ["\n".join([head, *left])]
    for table in (_overall(summary), _confusion(summary), *_classes(summary)):
        parts += ["", table]
    parts.append("")
    parts += [f"over folds, {name}: {figure}" for name, figure in summary.folds.items()]
    parts += [f"undefined: {what}: {why}" for what, why in summary.undefined.items()]
    parts += [f"note: {note}" for note in summary.notes]
    return parts


def _grid(*titles: str, caption: str = "") -> Table:
    from rich.table import Table

    grid = Table(title=caption or None, title_justify="left", box=None, pad_edge=False)
    for place, title in enumerate(titles):
        grid.add_column(title, justify="left" if place == 0 else "right", no_wrap=True)
    return grid


def _value(estimate: Estimate | None) -> str:
    from herscope.stats.estimate import spoken

    if estimate is None:
        return "undefined"
    return spoken(estimate.value, estimate.low, estimate.high)


def _overall(summary: ClassificationSummary) -> Table:
    grid = _grid("", "value")
    grid.add_row("accuracy", _value(summary.accuracy))
    grid.add_row(f"majority-class rate ({summary.majority_class})", _value(summary.majority))
    grid.add_row("F1 micro (= accuracy)", _value(summary.f1.micro))
    grid.add_row("F1 macro", _value(summary.f1.macro))
    grid.add_row("F1 weighted", _value(summary.f1.weighted))
    for name, estimate in summary.auc.items():
        grid.add_row(f"AUC {name}", _value(estimate))
    grid.add_row("Brier score", _value(summary.brier))
    error = summary.calibration.equal_width
    expected = error.counts["expected_if_calibrated"]
    grid.add_row("ECE, equal width", f"{error.value:.3f} ({expected:.3f} if calibrated)")
    return grid


def _confusion(summary: ClassificationSummary) -> Table:
    table = summary.table
    grid = _grid("truth \\ predicted", *table.classes)
    for name, row in zip(table.classes, table.counts, strict=True):
        grid.add_row(name, *(f"{count:,}" for count in row))
    return grid


def _classes(summary: ClassificationSummary) -> list[Table]:
    """Return one small table for every few classes, so that no column is cut on a terminal."""
    grids = []
    for start in range(0, len(summary.classes), CLASSES_ABREAST):
        shown = summary.classes[start : start + CLASSES_ABREAST]
        grid = _grid("class", *(one.name for one in shown))
        grid.add_row("cases", *(f"{one.cases:,}" for one in shown))
        grid.add_row("AUC", *(_value(_area(one)) for one in shown))
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            words = name.upper() if name in {"ppv", "npv"} else name
            grid.add_row(words, *(_value(one.rates.get(name)) for one in shown))
        grid.add_row("Youden cut", *(_cut(one) for one in shown))
        grids.append(grid)
    return grids


def _cut(one: ClassFigures) -> str:
    return "undefined" if one.youden is None else f"{one.youden.threshold:.3g}"


def _area(one: ClassFigures) -> Estimate | None:
    return one.auc_delong or one.auc_bootstrap
