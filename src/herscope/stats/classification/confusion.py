"""Confusion counts and what follows from them: accuracy, sensitivity, specificity, PPV, NPV.

Rows of a table are the truth, columns the prediction. Every number is a proportion of counts with
Wilson's score interval (J Am Stat Assoc 1927;22:209), which takes cases as independent; with
several slides per patient it is too narrow, and
:mod:`herscope.stats.classification.auc_bootstrap` draws patients.

Beside an accuracy belongs the share of the most frequent true class: a classifier that always names
it reaches that accuracy without looking (docs/science/classification.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import same_length
from herscope.stats.bootstrap import checked_level, wilson_interval
from herscope.stats.classification.cases import Ints
from herscope.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """True and false positives and negatives of one class against the rest; they add.

    Examples
    --------
    >>> ClassCounts(tp=3, fp=1, fn=0, tn=6) + ClassCounts(tp=1, fp=0, fn=2, tn=7)
    ClassCounts(tp=4, fp=1, fn=2, tn=13)
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def positives(self) -> int:
        """Cases that truly are of the class."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Cases that truly are not."""
        return self.fp + self.tn

    @property
    def n(self) -> int:
        """All cases."""
        return self.positives + self.negatives

    def as_dict(self) -> dict[str, int]:
        """Return the four counts by name."""
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn}


@dataclass(frozen=True)
class ConfusionTable:
    """Cases by true class (rows) and predicted class (columns), in the order of ``classes``."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        size = len(self.classes)
        if len(self.counts) != size or any(len(row) != size for row in self.counts):
            raise InputError(
                f"a confusion table of {size} classes needs {size} rows and columns",
                hint="rows are the truth, columns the prediction",
            )
        if any(count < 0 for row in self.counts for count in row):
            raise InputError("a confusion table has a negative count", hint="counts start at 0")

    @property
    def n(self) -> int:
        """All cases."""
        return sum(map(sum, self.counts))

    @property
    def correct(self) -> int:
        """Cases on the diagonal."""
        return sum(row[place] for place, row in enumerate(self.counts))

    @property
    def true_counts(self) -> dict[str, int]:
        """Cases of each true class."""
        return {name: sum(row) for name, row in zip(self.classes, self.counts, strict=True)}

    def array(self) -> Ints:
        """Return (truth, prediction) counts."""
        return np.array(self.counts, np.int64).reshape(len(self.classes), len(self.classes))

    def of(self, name: str) -> ClassCounts:
        """Return the counts of one class against the rest."""
        if name not in self.classes:
            raise InputError(
                f"there is no class {name!r}", hint=f"the classes are {', '.join(self.classes)}"
            )
        place = self.classes.index(name)
        tp = self.counts[place][place]
        fn = sum(self.counts[place]) - tp
        fp = sum(row[place] for row in self.counts) - tp
        return ClassCounts(tp, fp, fn, self.n - tp - fn - fp)

    def __str__(self) -> str:
        head = ["truth \\ predicted", *self.classes]
        rows = [[name, *map(str, row)] for name, row in zip(self.classes, self.counts, strict=True)]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [head, *rows]
        )


def confusion_table(
    truth: Iterable[Any], predicted: Iterable[Any], *, classes: Sequence[str] | None = None
) -> ConfusionTable:
    r"""Count cases by true and predicted class.

    Parameters
    ----------
    truth, predicted
        One label per case: text or whole numbers.
    classes
        Their order; every label that occurs, sorted, when absent.

    Raises
    ------
    InputError
        When the lengths differ, a label is missing, or a label is not among ``classes``.
    UndefinedStatistic
        Without cases.

    Examples
    --------
    >>> print(confusion_table(["0", "1+", "1+"], ["0", "1+", "0"]))
    truth \ predicted  0  1+
                    0  1   0
                   1+  1   1
    """
    t, p = clean_labels(list(truth), "truth"), clean_labels(list(predicted), "prediction")
    same_length(truth=t, prediction=p)
    if not t:
        raise UndefinedStatistic("no cases, so there is nothing to count")
    names = tuple(sorted({*t, *p})) if classes is None else tuple(map(str, classes))
    t_index, p_index = class_index(t, names, "truth"), class_index(p, names, "prediction")
    size = len(names)
    counts = np.bincount(t_index * size + p_index, minlength=size * size).reshape(size, size)
    return ConfusionTable(names, tuple(tuple(row) for row in counts.tolist()))


def class_index(labels: Sequence[str], classes: Sequence[str], what: str) -> Ints:
    """Return the place of each label among the classes.

    Raises
    ------
    InputError
        For a class that is named twice, or a label that is none of them; its row is named.

    Examples
    --------
    >>> class_index(["b", "a"], ["a", "b"], "truth")
    array([1, 0])
    """
    place = {name: i for i, name in enumerate(classes)}
    if len(place) != len(classes):
        raise InputError(f"a class is named twice in {', '.join(classes)}", hint="name each once")
    for row, label in enumerate(labels, 1):
        if label not in place:
            raise InputError(
                f"{what} of row {row} is {label!r}, which is none of the classes "
                f"{', '.join(classes)}",
                hint="name every class, or leave these cases out",
            )
    return np.array([place[label] for label in labels], np.int64)


def proportion(part: int, whole: int, what: str, *, level: float = 0.95) -> Estimate:
    """Return ``part / whole`` with Wilson's interval; undefined, and said why, when whole is 0.

    Examples
    --------
    >>> round(proportion(81, 263, "positive").low, 4)
    0.2553
    """
    checked_level(level)
    if whole == 0:
        raise UndefinedStatistic(f"{what} is a share of no cases", hint="pool more cases")
    low, high = wilson_interval(part, whole, level=level)
    return Estimate(
        value=part / whole,
        low=low,
        high=high,
        level=level,
        method=f"{what}, {part}/{whole}; Wilson score interval (1927), cases independent",
        n=whole,
        counts={"part": part, "whole": whole},
    )


def accuracy(table: ConfusionTable, *, level: float = 0.95) -> Estimate:
    """Share of cases on the diagonal, 0 to 1.

    Examples
    --------
    >>> accuracy(ConfusionTable(("a", "b"), ((3, 1), (2, 4)))).value
    0.7
    """
    return proportion(table.correct, table.n, "accuracy, correct / all cases", level=level)


def majority_rate(table: ConfusionTable, *, level: float = 0.95) -> Estimate:
    """Share of the most frequent true class: the accuracy of always naming it.

    Examples
    --------
    >>> majority_rate(ConfusionTable(("a", "b"), ((3, 1), (2, 4)))).value
    0.6
    """
    largest = max(table.true_counts.values())
    return proportion(
        largest, table.n, "majority-class rate, most frequent true class / all cases", level=level
    )


def sensitivity(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """TP / (TP + FN), also called recall or true positive rate; undefined without positives.

    Examples
    --------
    >>> sensitivity(ClassCounts(tp=3, fp=1, fn=1, tn=5)).value
    0.75
    """
    return proportion(counts.tp, counts.positives, "sensitivity, TP / (TP + FN)", level=level)


def specificity(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """TN / (TN + FP), the true negative rate; undefined without negatives."""
    return proportion(counts.tn, counts.negatives, "specificity, TN / (TN + FP)", level=level)


def ppv(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """TP / (TP + FP), also called precision; undefined when the class was never predicted.

    It depends on how frequent the class is among these cases.
    """
    return proportion(counts.tp, counts.tp + counts.fp, "PPV, TP / (TP + FP)", level=level)


def npv(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """TN / (TN + FN); undefined when only the class was predicted."""
    return proportion(counts.tn, counts.tn + counts.fn, "NPV, TN / (TN + FN)", level=level)


def false_positive_rate(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """FP / (FP + TN), one minus the specificity."""
    return proportion(
        counts.fp, counts.negatives, "false positive rate, FP / (FP + TN)", level=level
    )


def false_negative_rate(counts: ClassCounts, *, level: float = 0.95) -> Estimate:
    """FN / (FN + TP), one minus the sensitivity."""
    return proportion(
        counts.fn, counts.positives, "false negative rate, FN / (FN + TP)", level=level
    )
