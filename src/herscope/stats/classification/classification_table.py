"""Judge a classifier from a table on disk: which columns mean which class.

A column of probabilities belongs to the class it is named after: ``2+``, ``p_2+``, ``prob 2+`` and
``p(2+)`` all mean the class ``2+``; ``2+=column`` says it outright. One column alone is the
probability of the positive class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from herscope.core.errors import InputError
from herscope.stats.arguments import Floats
from herscope.stats.classification.class_figures import ClassifySpec
from herscope.stats.classification.classification_summary import ClassificationSummary, summarise
from herscope.stats.table import Table, read_table

PREFIX: Final = re.compile(
    r"(?:p|probs?|proba|probability|pred|score)(?:[_ .:-]+|(?=[0-9(]))\(?(.+?)\)?", re.IGNORECASE
)
"""What may stand before a class in a column's name."""


def classify_table(
    path: Path,
    *,
    truth: str,
    probs: Sequence[str],
    positive: str | None = None,
    folds: str | None = None,
    patient: str | None = None,
    drop_missing: bool = False,
    spec: ClassifySpec | None = None,
) -> ClassificationSummary:
    """Read a table and judge the classifier whose probabilities it holds.

    Parameters
    ----------
    path
        CSV or Parquet, one row a case.
    truth
        Column of true classes.
    probs
        Columns of probabilities, ``COLUMN`` or ``CLASS=COLUMN``, one per class, or a single one for
        the positive class.
    positive
        The positive class; ``1`` when there is a single column and the truth is 0 and 1.
    folds, patient
        Columns with the test fold and the patient of each case.
    drop_missing
        Leave rows with a missing value out, and count them, instead of refusing.
    spec
        Level, resamples, seed, bins, thresholds.

    Raises
    ------
    SchemaError
        The file is no table, or has no such column; the nearest ones are named.
    InputError
        A cell is not what it must be; its row is named.
    LeakyFolds
        A patient was tested in two folds.
    """
    table = read_table(path)
    named = [_named(item, table) for item in probs]
    columns = [column for _, column in named]
    if len(set(columns)) < len(columns):
        raise InputError("a probability column is named twice", hint="name each once")
    wanted = [truth, *columns, *(name for name in (folds, patient) if name is not None)]
    table = table.complete(wanted, drop_missing=drop_missing)
    labels = table.labels(truth)
    values = np.stack([table.numbers(column) for column in columns], axis=1)
    if len(columns) == 1:
        labels, classes, positive = _single(labels, named[0][0], positive, table.name, truth)
        p = values[:, 0]
        values = np.stack([1 - p, p], axis=1)
        _in_range(p, columns[0], table)
    else:
        classes = [_class_of(name, column, set(labels)) for name, column in named]
    try:
        return summarise(
            labels,
            values,
            classes,
            positive=positive,
            folds=None if folds is None else table.labels(folds),
            patients=None if patient is None else table.labels(patient),
            left_out=table.dropped,
            spec=spec,
        )
    except InputError as error:
        if not table.dropped:
            raise
        left = sum(table.dropped.values())
        raise type(error)(
            f"{error.message} (rows counted after leaving {left} out)", hint=error.hint
        ) from error


def _named(item: str, table: Table) -> tuple[str | None, str]:
    """Split ``CLASS=COLUMN``; a column whose name holds an equals sign is taken whole."""
    if item in table.columns or "=" not in item:
        return None, item
    name, _, column = item.partition("=")
    return name.strip(), column.strip()


def _class_of(name: str | None, column: str, labels: set[str]) -> str:
    """Return the class that a column of probabilities is about.

    Examples
    --------
    >>> [_class_of(None, column, {"2+"}) for column in ("2+", "p_2+", "prob 3+", "p(0)")]
    ['2+', '2+', '3+', '0']
    """
    if name is not None:
        return name
    found = PREFIX.fullmatch(column)
    return column if column in labels or found is None else found[1]


def _single(
    labels: list[str], name: str | None, positive: str | None, table: str, truth: str
) -> tuple[list[str], list[str], str]:
    """Return labels, both classes and the positive one for a single column of probabilities."""
    kinds = sorted(set(labels))
    chosen = positive or name or ("1" if set(kinds) <= {"0", "1"} else None)
    if chosen is None:
        raise InputError(
            f"{table}: one column of probabilities, and column {truth} has the classes "
            f"{', '.join(kinds[:8])}: which one is it about?",
            hint="state it with --positive, or give one column per class",
        )
    if chosen not in kinds and not set(kinds) <= {"0", "1"}:
        raise InputError(
            f"{table}: no case of column {truth} is {chosen!r}; its classes are "
            f"{', '.join(kinds[:8])}",
            hint="check the spelling of the positive class",
        )
    others = [kind for kind in kinds if kind != chosen]
    rest = others[0] if len(others) == 1 else ("0" if chosen == "1" else f"not {chosen}")
    return [chosen if label == chosen else rest for label in labels], [rest, chosen], chosen


def _in_range(p: Floats, column: str, table: Table) -> None:
    odd = np.flatnonzero((p < 0) | (p > 1))
    if odd.size:
        raise InputError(
            f"{table.name}, row {table.rows[odd[0]]}, column {column}: {p[odd[0]]:g} is no "
            "probability (allowed: 0 to 1)",
            hint="turn percentages or logits into probabilities first",
        )
