"""Agreement of two or more readers by category: Fleiss' kappa and Gwet's AC1 and AC2.

All start from the counts ``r[i, k]``: how many readers put case i into category k. Fleiss (Psychol
Bull 1971;76:378) takes as chance agreement the sum of squared category shares; Gwet (Br J Math Stat
Psychol 2008;61:29) takes ``sum(w) / (q (q - 1)) * sum(share (1 - share))``, which does not collapse
when nearly all cases fall into one category. With weights Gwet's coefficient is AC2, without AC1.

Cases may have different numbers of readers: a case with one reader adds to the category shares
only. The variance is Gwet's linearisation over cases (2008; Handbook of Inter-Rater Reliability,
4th ed., 2014, chapter 5), the readers taken as fixed, and the interval uses the t quantile with
n - 1 degrees of freedom and is clipped at -1 and 1. Fleiss' own 1971 variance holds only if there
is no agreement at all, so it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import (
    Label,
    Scale,
    Weights,
    agreement_weights,
    clean_labels,
    find_scale,
)
from herscope.stats.bootstrap import checked_level
from herscope.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class RatingCounts:
    """How many readers put each case into each category.

    ``counts`` is (cases, categories); cases that nobody rated are not in it.
    """

    scale: Scale
    counts: NDArray[np.int64]
    unrated: int = 0

    @property
    def n(self) -> int:
        """Cases with at least one rating."""
        return int(self.counts.shape[0])


def count_ratings(
    readers: Sequence[Sequence[Label | None]], *, order: Sequence[Label] | None = None
) -> RatingCounts:
    """Count ratings per case and category.

    Parameters
    ----------
    readers
        One sequence per reader, each with one label per case, None where the reader gave none.
    order
        All categories from lowest to highest, see
        :func:`herscope.stats.agreement.categories.find_scale`.

    Raises
    ------
    InputError
        Fewer than two readers, or readers with different numbers of cases.

    Examples
    --------
    >>> count_ratings([["0", "1"], ["0", None], ["1", "1"]]).counts.tolist()
    [[2, 1], [0, 2]]
    """
    if len(readers) < 2:
        raise InputError(f"{len(readers)} reader", hint="agreement needs two readers or more")
    sizes = {len(labels) for labels in readers}
    if len(sizes) > 1:
        raise InputError(
            f"the readers have {', '.join(str(len(labels)) for labels in readers)} cases",
            hint="every reader needs one entry per case; match them by id first",
        )
    given = [
        clean_labels([label for label in labels if label is not None], f"reader {number}")
        for number, labels in enumerate(readers, start=1)
    ]
    scale = find_scale([label for labels in given for label in labels], order)
    place = {name: k for k, name in enumerate(scale.names)}
    counts = np.zeros((sizes.pop(), len(place)), np.int64)
    for labels in readers:
        for case, label in enumerate(labels):
            if label is not None:
                counts[case, place[str(label)]] += 1
    rated = counts.sum(axis=1) > 0
    return RatingCounts(scale, counts[rated], int(np.count_nonzero(~rated)))


def rating_counts(table: ArrayLike) -> RatingCounts:
    """Take a finished (cases, categories) table of counts, in the order of the categories.

    Examples
    --------
    >>> rating_counts([[0, 3], [2, 1]]).n
    2
    """
    counts = np.asarray(table)
    if counts.ndim != 2 or counts.shape[1] < 2 or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(
            f"rating counts are a table of whole numbers, this is {counts.dtype} {counts.shape}",
            hint="give one row per case and one column per category",
        )
    if counts.size and int(counts.min()) < 0:
        raise InputError("rating counts contain a negative number", hint="counts start at 0")
    rated = counts.sum(axis=1) > 0
    names = tuple(str(k) for k in range(counts.shape[1]))
    kept = counts[rated].astype(np.int64)
    return RatingCounts(Scale(names, ordered=True), kept, int(np.count_nonzero(~rated)))


def fleiss_kappa(ratings: RatingCounts, *, level: float = 0.95) -> Estimate:
    """Fleiss' kappa of several readers (1971); with two readers it is Scott's pi.

    Parameters
    ----------
    ratings
        From :func:`count_ratings` or :func:`rating_counts`.
    level
        Two-sided confidence level.

    Raises
    ------
    UndefinedStatistic
        No case has two ratings, or all ratings are of one category.

    Examples
    --------
    >>> print(fleiss_kappa(rating_counts([[3, 0], [0, 3], [2, 1], [0, 3]])))
    0.657 [-0.387, 1.000], n 4
    """
    table = np.eye(len(ratings.scale.names))
    share = _shares(ratings)
    expected = float((share**2).sum())
    # Chance agreement of one case: its own mix of categories against everybody's.
    per_case = _mix(ratings) @ share
    method = "Fleiss' kappa (1971), interval by Gwet's linearised variance (2008), t quantile"
    return _coefficient(ratings, table, expected, per_case, level, method)


def gwet_ac(ratings: RatingCounts, *, weights: Weights = "none", level: float = 0.95) -> Estimate:
    """Gwet's AC1 (no weights) or AC2 (linear or quadratic weights).

    Parameters
    ----------
    ratings
        From :func:`count_ratings` or :func:`rating_counts`.
    weights
        ``none``, ``linear`` or ``quadratic``; the last two need ordered categories.
    level
        Two-sided confidence level.

    Raises
    ------
    UndefinedStatistic
        No case has two ratings, or all ratings are of one category.
    InputError
        Weights without an order.

    Examples
    --------
    >>> print(gwet_ac(rating_counts([[3, 0], [0, 3], [2, 1], [0, 3]])))
    0.676 [-0.424, 1.000], n 4
    """
    table = agreement_weights(ratings.scale, weights)
    share = _shares(ratings)
    size = share.size
    factor = float(table.sum()) / (size * (size - 1))
    expected = factor * float((share * (1.0 - share)).sum())
    per_case = factor * (_mix(ratings) @ (1.0 - share))
    name = "AC1" if weights == "none" else f"AC2 with {weights} weights"
    method = f"Gwet's {name} (2008), linearised variance, t quantile"
    return _coefficient(ratings, table, expected, per_case, level, method)


def _coefficient(
    ratings: RatingCounts,
    table: NDArray[np.float64],
    expected: float,
    expected_per_case: NDArray[np.float64],
    level: float,
    method: str,
) -> Estimate:
    """Chance-correct the observed agreement; variance over cases after Gwet 2008."""
    from scipy.special import stdtrit

    checked_level(level)
    counts, n = ratings.counts, ratings.n
    readers = counts.sum(axis=1)
    several = readers >= 2
    agreeing = (counts * (counts @ table - 1.0)).sum(axis=1)  # weighted pairs that agree
    per_case = np.where(several, agreeing / np.maximum(readers * (readers - 1), 1), 0.0)
    pairs = int(several.sum())
    observed = float(per_case.sum()) / pairs
    value = (observed - expected) / (1.0 - expected)
    method += f", categories {ratings.scale}"
    low = high = None
    each = (n / pairs) * (per_case - expected * several) / (1.0 - expected)
    each -= 2.0 * (1.0 - value) * (expected_per_case - expected) / (1.0 - expected)
    spread = float(((each - value) ** 2).sum())
    if n > 1 and observed < 1.0 - 1e-12:
        half = -float(stdtrit(n - 1, (1 - level) / 2)) * math.sqrt(spread / (n * (n - 1)))
        low, high = max(-1.0, value - half), min(1.0, value + half)
    else:
        method += "; no interval: the readers never differ, or there is one case"
    left_out = {"cases nobody rated": ratings.unrated} if ratings.unrated else {}
    tallies = {
        "cases_with_two_ratings": pairs,
        "ratings": int(readers.sum()),
        "p_observed": observed,
        "p_expected": expected,
    }
    return Estimate(value, low, high, level, method, n, tallies, left_out)


def _mix(ratings: RatingCounts) -> NDArray[np.float64]:
    """Share of each category among the ratings of each case."""
    return ratings.counts / ratings.counts.sum(axis=1)[:, None]


def _shares(ratings: RatingCounts) -> NDArray[np.float64]:
    """Mean over cases of the share of each category."""
    if not (ratings.counts.sum(axis=1) >= 2).any():
        raise UndefinedStatistic(
            "no case has two ratings, so nothing can agree",
            hint="every reader's column must be filled for the same cases",
        )
    used = np.count_nonzero(ratings.counts.sum(axis=0))
    if used < 2:
        only = ratings.scale.names[int(np.argmax(ratings.counts.sum(axis=0)))]
        raise UndefinedStatistic(
            f"all ratings are {only!r}, so agreement by chance cannot be judged",
            hint="report the overall agreement; the coefficient needs two categories in use",
        )
    return _mix(ratings).mean(axis=0)
