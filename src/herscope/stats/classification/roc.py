"""ROC curves and their area, from counts of pairs.

The area under the curve (AUC) is the share of (positive, negative) pairs in which the positive case
has the higher score, ties counting one half (Hanley and McNeil, Radiology 1982;143:29; Bamber, J
Math Psychol 1975;12:387). We count won, tied and lost pairs as whole numbers and divide once, which
is the Mann-Whitney statistic by midranks and exact for any order of the cases.

A case is called positive when its score is at or above the threshold. The curve has one point for
each distinct score, so tied scores make one slanted step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.stats.arguments import Floats, numbers
from herscope.stats.classification.cases import Flags, Ints, both_sides, checked_flags


@dataclass(frozen=True, slots=True)
class RankedPairs:
    """Pairs of a positive and a negative case by who has the higher score.

    Examples
    --------
    >>> RankedPairs(won=3, tied=1, lost=0).auc
    0.875
    """

    won: int
    tied: int
    lost: int

    @property
    def auc(self) -> float:
        """(won + tied / 2) / pairs."""
        return (2 * self.won + self.tied) / (2 * (self.won + self.tied + self.lost))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {"pairs_won": self.won, "pairs_tied": self.tied, "pairs_lost": self.lost}


@dataclass(frozen=True, eq=False)
class RocCurve:
    """True and false positives at each threshold, from "nobody is positive" to "everybody is".

    ``thresholds`` fall from infinity; a case is positive at or above one.
    """

    thresholds: Floats
    tp: Ints
    fp: Ints
    positives: int
    negatives: int

    @property
    def tpr(self) -> Floats:
        """Sensitivity at each threshold."""
        return self.tp / self.positives

    @property
    def fpr(self) -> Floats:
        """1 - specificity at each threshold."""
        return self.fp / self.negatives


def roc_curve(positive: Any, scores: ArrayLike) -> RocCurve:
    """Count true and false positives at every distinct score.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    scores
        (cases,) finite numbers; higher means more likely positive.

    Raises
    ------
    InputError
        For other truths, scores that are not finite, or different lengths; rows are named.
    UndefinedStatistic
        When all cases are of one class.

    Examples
    --------
    >>> curve = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> curve.fpr.tolist(), curve.tpr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    flags, values = checked_ranking(positive, scores)
    n_positive, n_negative = both_sides(flags)
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    last = np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)
    tp = np.cumsum(flags[order], dtype=np.int64)[last]
    return RocCurve(
        thresholds=np.append(np.inf, falling[last]),
        tp=np.append(0, tp),
        fp=np.append(0, last + 1 - tp),
        positives=n_positive,
        negatives=n_negative,
    )


def pair_counts(positive: Any, scores: ArrayLike) -> RankedPairs:
    """Count the pairs that the positive case wins, ties and loses.

    Raises
    ------
    InputError, UndefinedStatistic
        As :func:`roc_curve`.

    Examples
    --------
    >>> pair_counts([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    RankedPairs(won=3, tied=1, lost=0)
    """
    flags, values = checked_ranking(positive, scores)
    n_positive, n_negative = both_sides(flags, "an AUC")
    negative = np.sort(values[~flags])
    below = int(np.searchsorted(negative, values[flags], "left").sum())
    not_above = int(np.searchsorted(negative, values[flags], "right").sum())
    return RankedPairs(below, not_above - below, n_positive * n_negative - not_above)


def checked_ranking(positive: Any, scores: ArrayLike) -> tuple[Flags, Floats]:
    """Return truths and scores of the same cases, or refuse with the row."""
    values = numbers(scores, "scores")
    return checked_flags(positive, values.size), values
