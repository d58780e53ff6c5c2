"""DeLong's variance of an AUC, its interval, and the test of two AUCs on the same cases.

Each positive case has a placement: the share of negatives it beats (ties one half); each negative
case likewise. The variance of the AUC is the variance of the placements of the positives over their
number plus that of the negatives over theirs (DeLong, DeLong and Clarke-Pearson, Biometrics
1988;44:837, after Sen 1960). We get the placements from midranks in O(n log n) (Sun and Xu, IEEE
Signal Process Lett 2014;21:1389) instead of comparing every pair.

Intervals are normal and clipped to 0 to 1, as published ones mostly are (a bound of exactly 1.000
gives it away). At an AUC of exactly 0 or 1 the variance is 0 and that interval would have no width;
then we give Newcombe's score-like interval instead (method 5 of Stat Med 2006;25:559), and
``method`` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import UndefinedStatistic
from herscope.stats.arguments import Floats, normal_quantile
from herscope.stats.classification.cases import Flags, both_sides
from herscope.stats.classification.roc import checked_ranking, pair_counts
from herscope.stats.estimate import Estimate, spoken

FEWEST_PER_SIDE = 2
"""A variance of placements needs two positive and two negative cases."""


@dataclass(frozen=True, slots=True)
class DeLongTest:
    """Two AUCs of the same cases and their difference (first - second) with interval and p."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    z: float
    p: float
    n_positive: int
    n_negative: int
    method: str

    def __str__(self) -> str:
        return (
            f"AUC {self.first:.3f} and {self.second:.3f}, difference "
            f"{spoken(self.difference, self.low, self.high)}, z {self.z:.3f}, p {self.p:.4f}"
        )


def auc(positive: Any, scores: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Area under the ROC curve with DeLong's interval.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    scores
        (cases,) finite numbers; higher means more likely positive.
    level
        Two-sided confidence level.

    Returns
    -------
    Estimate
        0 to 1. Without an interval when there is only one positive or one negative case.

    Raises
    ------
    InputError
        For other truths, scores that are not finite, or different lengths; rows are named.
    UndefinedStatistic
        When all cases are of one class.

    Examples
    --------
    >>> print(auc([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.35, 0.8, 0.7]))
    0.889 [0.581, 1.000], n 6
    """
    flags, values = checked_ranking(positive, scores)
    pairs = pair_counts(flags, values)
    n_positive, n_negative = both_sides(flags, "an AUC")
    value = pairs.auc
    rule = "AUC, won pairs + half the tied / all pairs (Hanley and McNeil 1982)"
    z = normal_quantile(level)
    bounds: tuple[float, float] | None = None
    if value in {0.0, 1.0}:
        bounds = newcombe_interval(value, n_positive, n_negative, level=level)
        how = (
            f"Newcombe's score-like interval (2006), as DeLong's variance is 0 at an AUC of "
            f"{value:g}"
        )
    elif min(n_positive, n_negative) < FEWEST_PER_SIDE:
        how = "no interval: DeLong's variance needs two positive and two negative cases"
    else:
        half = z * math.sqrt(_covariance(flags, values[None])[0, 0])
        bounds = max(0.0, value - half), min(1.0, value + half)
        how = "DeLong interval (1988), normal, clipped to 0 to 1, cases independent"
    return Estimate(
        value=value,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        level=level,
        method=f"{rule}; {how}",
        n=values.size,
        counts={"positive": n_positive, "negative": n_negative, **pairs.as_dict()},
    )


def delong_variance(positive: Any, scores: ArrayLike) -> float:
    """Variance of an AUC (DeLong 1988).

    Raises
    ------
    InputError
        As :func:`auc`.
    UndefinedStatistic
        With fewer than two positive or two negative cases.

    Examples
    --------
    >>> round(delong_variance([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.35, 0.8, 0.7]), 4)
    0.0247
    """
    flags, values = checked_ranking(positive, scores)
    _enough(flags)
    return float(_covariance(flags, values[None])[0, 0])


def delong_test(
    positive: Any, first: ArrayLike, second: ArrayLike, *, level: float = 0.95
) -> DeLongTest:
    """Compare two scores of the same cases by their AUCs: two-sided, normal.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    first, second
        (cases,) two scores of the same cases in the same order.
    level
        Two-sided confidence level of the difference's interval.

    Raises
    ------
    InputError
        As :func:`auc`.
    UndefinedStatistic
        With fewer than two cases on a side, or when the two scores rank every pair alike, so that
        the difference has no variance.

    Examples
    --------
    >>> truth = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> print(delong_test(truth, [1, 2, 3, 5, 4, 6, 7, 8], [1, 6, 2, 5, 3, 4, 8, 7]))
    AUC 0.938 and 0.750, difference 0.188 [-0.144, 0.519], z 1.108, p 0.2679
    """
    flags, one = checked_ranking(positive, first)
    _, two = checked_ranking(flags, second)
    n_positive, n_negative = _enough(flags)
    z = normal_quantile(level)
    variances = _covariance(flags, np.stack([one, two]))
    variance = float(variances[0, 0] + variances[1, 1] - 2 * variances[0, 1])
    a, b = pair_counts(flags, one).auc, pair_counts(flags, two).auc
    # Placements are multiples of 1/(2m): a variance below rounding is none.
    if variance <= 1e-15:
        raise UndefinedStatistic(
            f"the difference of the two AUCs ({a - b:g}) has no variance on these cases",
            hint="the scores rank all pairs alike, or both separate the classes; nothing to test",
        )
    deviate = (a - b) / math.sqrt(variance)
    half = z * math.sqrt(variance)
    return DeLongTest(
        first=a,
        second=b,
        difference=a - b,
        low=max(-1.0, a - b - half),
        high=min(1.0, a - b + half),
        level=level,
        z=deviate,
        p=2 * NormalDist().cdf(-abs(deviate)),
        n_positive=n_positive,
        n_negative=n_negative,
        method="difference of two AUCs on the same cases, DeLong 1988 by midranks (Sun and Xu "
        "2014); normal interval and two-sided test, cases independent",
    )


def newcombe_interval(
    value: float, n_positive: int, n_negative: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Score-like interval of an AUC: all areas no further than z of their own standard errors away.

    The variance at an area is Hanley and McNeil's (1982) under exponential scores with both group
    sizes replaced by their mean (Newcombe 2006, method 5).

    Examples
    --------
    >>> low, high = newcombe_interval(1.0, 10, 10)
    >>> round(low, 3), high
    (0.8, 1.0)
    """
    z = normal_quantile(level)
    mean = (n_positive + n_negative) / 2

    def outside(area: float) -> bool:
        spread = 2 * mean - 1 - (3 * mean - 3) / ((2 - area) * (1 + area))
        variance = area * (1 - area) * spread / (n_positive * n_negative)
        return (area - value) ** 2 > z * z * variance

    return _edge(0.0, value, outside), _edge(1.0, value, outside)


def _edge(end: float, value: float, outside: Any) -> float:
    """Bisect between an end of the scale and the value for the first area that is not outside."""
    if value == end:
        return end
    far, near = end, value
    for _ in range(80):
        middle = (far + near) / 2
        if outside(middle):
            far = middle
        else:
            near = middle
    return near


def _enough(flags: Flags) -> tuple[int, int]:
    n_positive, n_negative = both_sides(flags, "DeLong's variance")
    if min(n_positive, n_negative) < FEWEST_PER_SIDE:
        raise UndefinedStatistic(
            f"{n_positive} positive and {n_negative} negative case(s): DeLong's variance needs "
            "two of each",
            hint="pool more cases",
        )
    return n_positive, n_negative


def _covariance(flags: Flags, scores: Floats) -> Floats:
    """(scores, cases) -> (scores, scores) covariance of the AUCs."""
    from scipy.stats import rankdata

    m, n = int(np.count_nonzero(flags)), int(np.count_nonzero(~flags))
    # Midrank among all minus midrank among one's own kind: how many of the other kind are below.
    everyone = rankdata(scores, axis=1)
    positive = (everyone[:, flags] - rankdata(scores[:, flags], axis=1)) / n
    negative = 1 - (everyone[:, ~flags] - rankdata(scores[:, ~flags], axis=1)) / m
    return _cov(positive) / m + _cov(negative) / n


def _cov(rows: Floats) -> Floats:
    # Written out, as a BLAS product may add in any order.
    centred = rows - rows.mean(axis=1, keepdims=True)
    return (centred[:, None] * centred[None]).sum(axis=2) / (rows.shape[1] - 1)
