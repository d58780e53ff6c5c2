"""False positive and negative rates over thresholds, and the threshold of the Youden index.

A case is called positive when its score is at or above the threshold. The Youden index is
J = sensitivity + specificity - 1 (Youden, Cancer 1950;3:32); the threshold with the largest J is
searched among the observed scores, compared as whole numbers so that ties are exact, and among
equal ones the highest is taken (the fewest positives). A threshold that was chosen on the same
cases flatters them: take it from other data before quoting rates (docs/science/roc.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import UndefinedStatistic
from herscope.stats.arguments import numbers
from herscope.stats.classification.cases import both_sides
from herscope.stats.classification.confusion import (
    ClassCounts,
    false_negative_rate,
    false_positive_rate,
    sensitivity,
    specificity,
)
from herscope.stats.classification.roc import checked_ranking, roc_curve
from herscope.stats.estimate import Estimate

TENTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds of the KAT paper's supplementary table, as far as its text tells."""


@dataclass(frozen=True)
class ThresholdRates:
    """Counts at one threshold with both error rates and their Wilson intervals."""

    threshold: float
    counts: ClassCounts
    false_positive_rate: Estimate
    false_negative_rate: Estimate


@dataclass(frozen=True)
class YoudenCut:
    """The threshold with the largest J, its counts, and how many thresholds tie with it."""

    threshold: float
    j: float
    counts: ClassCounts
    sensitivity: Estimate
    specificity: Estimate
    tied: int
    method: str

    def __str__(self) -> str:
        return (
            f"threshold {self.threshold:.4g}: J {self.j:.3f}, sensitivity {self.sensitivity}, "
            f"specificity {self.specificity}"
        )


def rates_over_thresholds(
    positive: Any,
    scores: ArrayLike,
    thresholds: Sequence[float] = TENTHS,
    *,
    level: float = 0.95,
) -> tuple[ThresholdRates, ...]:
    """Count errors at each threshold.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    scores
        (cases,) finite numbers; at or above the threshold is positive.
    thresholds
        In the unit of the scores.
    level
        Two-sided level of the Wilson intervals.

    Raises
    ------
    InputError
        For other truths, scores that are not finite, or different lengths; rows are named.
    UndefinedStatistic
        When all cases are of one class.

    Examples
    --------
    >>> rows = rates_over_thresholds([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [0.3, 0.5])
    >>> [(row.false_positive_rate.value, row.false_negative_rate.value) for row in rows]
    [(0.5, 0.0), (0.0, 0.5)]
    """
    flags, values = checked_ranking(positive, scores)
    both_sides(flags, "a table of error rates")
    rows = []
    for threshold in numbers(thresholds, "thresholds").tolist():
        called = values >= threshold
        tp, fp = int((called & flags).sum()), int((called & ~flags).sum())
        n_positive = int(flags.sum())
        counts = ClassCounts(tp, fp, n_positive - tp, flags.size - n_positive - fp)
        rows.append(
            ThresholdRates(
                threshold,
                counts,
                false_positive_rate(counts, level=level),
                false_negative_rate(counts, level=level),
            )
        )
    return tuple(rows)


def youden_cut(positive: Any, scores: ArrayLike, *, level: float = 0.95) -> YoudenCut:
    """Find the observed score with the largest sensitivity + specificity - 1.

    Parameters
    ----------
    positive, scores, level
        As :func:`rates_over_thresholds`.

    Raises
    ------
    InputError
        As :func:`rates_over_thresholds`.
    UndefinedStatistic
        When all cases are of one class, or all scores are equal.

    Examples
    --------
    >>> cut = youden_cut([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> cut.threshold, cut.j, cut.tied
    (0.8, 0.5, 1)
    """
    curve = roc_curve(positive, scores)
    if curve.thresholds.size == 2:
        raise UndefinedStatistic(
            f"all scores are {curve.thresholds[1]:g}: no threshold separates anything",
            hint="check that the column holds the classifier's scores",
        )
    # J times both group sizes is a whole number, so equal thresholds are found equal.
    scaled = curve.tp[1:] * curve.negatives - curve.fp[1:] * curve.positives
    best = int(np.argmax(scaled))  # thresholds fall: the first is the highest
    tp, fp = int(curve.tp[1 + best]), int(curve.fp[1 + best])
    counts = ClassCounts(tp, fp, curve.positives - tp, curve.negatives - fp)
    return YoudenCut(
        threshold=float(curve.thresholds[1 + best]),
        j=int(scaled[best]) / (curve.positives * curve.negatives),
        counts=counts,
        sensitivity=sensitivity(counts, level=level),
        specificity=specificity(counts, level=level),
        tied=int((scaled == scaled[best]).sum()) - 1,
        method="largest sensitivity + specificity - 1 over the observed scores (Youden 1950), the "
        "highest of equal ones; chosen on these cases, so its rates flatter",
    )
