"""Paired comparisons: signed-rank test, agreement of the sign of changes, mean absolute error.

*Wilcoxon's signed-rank test* (Biometrics Bulletin 1945;1:80) asks whether the differences lie
symmetrically around 0. Zeros are left out and counted, ties share their mid-rank. The p value is
exact (all sign patterns) up to 50 differences, ties included, else normal with the tie correction
and no continuity correction. The size of the shift is the Hodges-Lehmann estimate, the median of
all pairwise means (Ann Math Stat 1963;34:598), with the bounds that belong to the test.

*Sign agreement*: the share of patients in whom two methods see a change in the same direction; a
change of exactly 0 is a direction of its own.

*Mean absolute error* with a bootstrap interval over cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.stats.arguments import normal_quantile, paired_numbers
from herscope.stats.bootstrap import checked_level, wilson_interval
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED, bootstrap_interval
from herscope.stats.estimate import Estimate, HypothesisTest

EXACT_UP_TO: Final = 50
"""Differences up to which the exact distribution is used."""

MOST_FOR_SHIFT: Final = 3000
"""Differences up to which the median of all pairwise means is formed."""


@dataclass(frozen=True, slots=True)
class SignedRank:
    """The test and the size of the shift a - b; ``shift`` is None above 3000 differences."""

    test: HypothesisTest
    shift: Estimate | None

    def __str__(self) -> str:
        return f"{self.test}; shift {self.shift}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "test": self.test.document(),
            "shift": self.shift.document() if self.shift else None,
        }


def wilcoxon_signed_rank(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> SignedRank:
    """Test whether the differences a - b are symmetric around 0.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases.
    level
        Two-sided confidence level of the shift.

    Raises
    ------
    InputError
        Missing values or different lengths.
    UndefinedStatistic
        All differences are 0.

    Examples
    --------
    >>> result = wilcoxon_signed_rank([125, 115, 130, 140, 140], [110, 122, 125, 120, 141])
    >>> result.test.statistic, round(result.test.p_value, 4)
    (11.0, 0.4375)
    """
    from scipy.stats import rankdata

    checked_level(level)
    x, y = paired_numbers(a, b, "the signed-rank test")
    differences = x - y
    moved = differences[differences != 0]
    zeros = differences.size - moved.size
    if not moved.size:
        raise UndefinedStatistic(
            f"all {differences.size} differences are 0, so there is nothing to rank",
            hint="check that the two columns are not copies",
        )
    ranks = rankdata(np.abs(moved))
    rise = float(ranks[moved > 0].sum())
    exact = moved.size <= EXACT_UP_TO
    p_value = _exact_p(ranks, rise) if exact else _normal_p(ranks, rise)
    counts = {
        "rank_sum_a_larger": rise,
        "rank_sum_b_larger": float(ranks.sum()) - rise,
        "a_larger": int((moved > 0).sum()),
        "b_larger": int((moved < 0).sum()),
    }
    how = "exact, ties included" if exact else "normal with tie correction"
    left_out = {"differences of 0": zeros} if zeros else {}
    test = HypothesisTest(
        rise,
        p_value,
        "the differences a - b lie symmetrically around 0",
        f"Wilcoxon's signed-rank test (1945), {how}; the statistic is the rank sum of a > b",
        int(moved.size),
        counts,
        left_out,
    )
    return SignedRank(test, _shift(moved, zeros, level))


def sign_agreement(change_a: ArrayLike, change_b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Find the share of cases whose change has the same sign by both methods.

    Parameters
    ----------
    change_a, change_b
        (n,) changes of the same cases, such as week 6 minus baseline.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Missing values or different lengths.
    UndefinedStatistic
        No cases.

    Examples
    --------
    >>> print(sign_agreement([10, -5, 3, 0], [2, -1, -4, 0]))
    0.750 [0.301, 0.954], n 4
    """
    x, y = paired_numbers(change_a, change_b, "sign agreement", names=("method A", "method B"))
    n = x.size
    first, second = np.sign(x), np.sign(y)
    agreed = int((first == second).sum())
    low, high = wilson_interval(agreed, n, level=level)
    counts = {
        "both_up": int(((first > 0) & (second > 0)).sum()),
        "both_down": int(((first < 0) & (second < 0)).sum()),
        "both_zero": int(((first == 0) & (second == 0)).sum()),
        "opposite": int((first * second < 0).sum()),
        "one_zero": int(((first == 0) != (second == 0)).sum()),
    }
    method = "share of changes with the same sign, 0 a sign of its own; Wilson interval (1927)"
    return Estimate(agreed / n, low, high, level, method, n, counts)


def mean_absolute_error(
    a: ArrayLike,
    b: ArrayLike,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Average the absolute differences of two readers.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases in the same unit.
    level, n_resamples, seed
        Two-sided confidence level; resamples and seed of the bootstrap over cases.

    Returns
    -------
    Estimate
        In the unit of the data; SD, median and range of the absolute errors are in ``counts``.

    Raises
    ------
    InputError
        Missing values or different lengths.
    UndefinedStatistic
        No cases.

    Examples
    --------
    >>> error = mean_absolute_error([10, 20, 30, 44], [12, 20, 27, 40])
    >>> error.value, error.counts["max"]
    (2.25, 4.0)
    """
    x, y = paired_numbers(a, b, "a mean absolute error")
    n = x.size
    checked_level(level)
    error = np.abs(x - y)
    method = "mean absolute difference"
    low = high = None
    if n > 1 and np.ptp(error) > 0:
        low, high, _ = bootstrap_interval(
            n,
            lambda rows: error[rows].mean(axis=1),
            n_resamples=n_resamples,
            level=level,
            seed=seed,
        )
        method += f"; bootstrap over cases, {n_resamples} resamples, expanded percentile"
    else:
        method += "; no interval: all absolute differences are alike, or there is one case"
    counts = {
        "sd": float(error.std(ddof=1)) if n > 1 else math.nan,
        "median": float(np.median(error)),
        "min": float(error.min()),
        "max": float(error.max()),
    }
    return Estimate(float(error.mean()), low, high, level, method, n, counts)


def _exact_p(ranks: NDArray[np.float64], rise: float) -> float:
    """Two-sided p over all 2^n sign patterns; ranks are halves, so twice them are whole."""
    ways = _sign_patterns(np.rint(2 * ranks).astype(np.int64))
    smaller = round(min(2 * rise, ways.size - 1 - 2 * rise))
    return min(1.0, 2.0 * float(ways[: smaller + 1].sum()) / 2.0**ranks.size)


def _sign_patterns(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count the sign patterns that give each rank sum, 0 to the sum of all."""
    ways = np.zeros(int(ranks.sum()) + 1)
    ways[0] = 1.0  # whole numbers up to 2^50: exact in float64
    for rank in ranks.tolist():
        ways[rank:] = ways[rank:] + ways[: ways.size - rank]
    return ways


def _normal_p(ranks: NDArray[np.float64], rise: float) -> float:
    """Two-sided p; the variance is a quarter of the sum of the squared ranks, ties or not."""
    z = (rise - float(ranks.sum()) / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return math.erfc(abs(z) / math.sqrt(2))


def _shift(moved: NDArray[np.float64], zeros: int, level: float) -> Estimate | None:
    """Hodges and Lehmann's estimate with the bounds of the signed-rank test."""
    n = moved.size
    if n > MOST_FOR_SHIFT:
        return None
    i, j = np.triu_indices(n)
    means = np.sort((moved[i] + moved[j]) / 2)
    if n <= EXACT_UP_TO:
        below = np.cumsum(_sign_patterns(np.arange(1, n + 1))) / 2.0**n
        rank = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    else:
        spread = normal_quantile(level) * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        rank = math.floor(n * (n + 1) / 4 - spread)
    low = high = None
    method = "Hodges and Lehmann's median of pairwise means (1963)"
    if rank >= 1:
        low, high = float(means[rank - 1]), float(means[means.size - rank])
        method += "; interval of the signed-rank test, " + (
            "exact" if n <= EXACT_UP_TO else "normal"
        )
    else:
        method += "; no interval: too few differences for this level"
    left_out = {"differences of 0": zeros} if zeros else {}
    value = float(np.median(means))
    return Estimate(value, low, high, level, method, n, {"means": int(means.size)}, left_out)
