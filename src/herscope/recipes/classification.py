"""A classifier judged from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herscope.stats.classification.class_figures import ClassifySpec
    from herscope.stats.classification.classification_summary import ClassificationSummary


def classify(
    table: str | Path,
    *,
    truth: str,
    probs: Sequence[str],
    positive: str | None = None,
    folds: str | None = None,
    patient: str | None = None,
    drop_missing: bool = False,
    spec: ClassifySpec | None = None,
    out: str | Path | None = None,
) -> ClassificationSummary:
    """Judge predicted probabilities against true classes, one row a case.

    Parameters
    ----------
    table
        CSV or Parquet.
    truth
        Column of true classes.
    probs
        Columns of probabilities, named after their class or given as ``CLASS=COLUMN``; a single
        one is that of the positive class.
    positive
        The positive class; with more than two classes the others become one.
    folds
        Column with the test fold of each case.
    patient
        Column with the patient; patients with several cases are resampled whole.
    drop_missing
        Leave rows with a missing value out, and count them.
    spec
        Level, resamples, seed; the defaults when None.
    out
        HTML page to write; none when None.

    Raises
    ------
    InputError, SchemaError
        The table, a column or a value cannot be used; the message names the row.
    UndefinedStatistic
        There is only one class.
    """
    from herscope.stats.classification.class_figures import ClassifySpec
    from herscope.stats.classification.classification_table import classify_table

    summary = classify_table(
        Path(table),
        truth=truth,
        probs=list(probs),
        positive=positive,
        folds=folds,
        patient=patient,
        drop_missing=drop_missing,
        spec=spec or ClassifySpec(),
    )
    if out is not None:
        from herscope.report.classification_page import write_classification_page

        write_classification_page(summary, Path(out), title=Path(table).name)
    return summary
