"""Correlation of two readers with intervals: Pearson, Spearman, Kendall's tau-b.

All intervals are made on Fisher's z, ``tanh(atanh(r) ± z s)``, with the standard error s by

* Fisher (1921): ``1 / sqrt(n - 3)``, for Pearson's r, and as the AutoIHC paper for Spearman's rho;
* D. G. Bonett and T. A. Wright (Psychometrika 2000;65:23): ``sqrt((1 + rho^2 / 2) / (n - 3))`` for
  Spearman's rho, which holds its level where Fisher's is too narrow (large rho);
* E. C. Fieller, H. O. Hartley and E. S. Pearson (Biometrika 1957;44:470): ``sqrt(0.437 / (n - 4))``
  for Kendall's tau.

Correlation is not agreement: readers who differ by a constant correlate perfectly.
"""

from __future__ import annotations

import bisect
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import at_least, normal_quantile, paired_numbers
from herscope.stats.estimate import Counts, Estimate

StandardError = Literal["fisher", "bonett-wright", "fieller"]

SOURCES = {
    "fisher": "Fisher's z (1921)",
    "bonett-wright": "Fisher's z, standard error of Bonett and Wright (2000)",
    "fieller": "Fisher's z, standard error of Fieller, Hartley and Pearson (1957)",
}


def fisher_interval(
    r: float, n: int, *, level: float = 0.95, standard_error: StandardError = "fisher"
) -> tuple[float, float]:
    """Return the interval of a correlation of n cases.

    Parameters
    ----------
    r
        The correlation, strictly between -1 and 1.
    n
        Cases, at least 4 (5 for ``fieller``).
    level
        Two-sided confidence level.
    standard_error
        ``fisher``, ``bonett-wright`` or ``fieller``.

    Raises
    ------
    InputError
        A value out of range.
    UndefinedStatistic
        Too few cases, or a correlation of exactly -1 or 1.

    Examples
    --------
    >>> low, high = fisher_interval(0.84, 94)
    >>> round(low, 2), round(high, 2)
    (0.77, 0.89)
    """
    if not -1 <= r <= 1:
        raise InputError(f"a correlation of {r:g}", hint="correlations lie between -1 and 1")
    if standard_error not in SOURCES:
        raise InputError(
            f"standard error {standard_error!r}", hint=f"allowed: {', '.join(SOURCES)}"
        )
    at_least(n, 5 if standard_error == "fieller" else 4, "the interval of a correlation")
    if abs(r) == 1:
        raise UndefinedStatistic(
            f"a correlation of {r:g} has no interval on Fisher's z", hint="report it without"
        )
    variance = {
        "fisher": 1 / (n - 3),
        "bonett-wright": (1 + r * r / 2) / (n - 3),
        "fieller": 0.437 / (n - 4) if n > 4 else math.inf,
    }[standard_error]
    half = normal_quantile(level) * math.sqrt(variance)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def pearson(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Correlate the values of two readers.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases, n at least 3.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Missing values or different lengths.
    UndefinedStatistic
        Fewer than three cases, or a reader who gave the same value throughout.

    Examples
    --------
    >>> print(pearson([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]))
    0.800 [-0.280, 0.986], n 5
    """
    x, y = paired_numbers(a, b, "a correlation", needed=3, varying=True)
    return _estimate(_r(x, y), x.size, level, "Pearson's r", "fisher", {})


def spearman(
    a: ArrayLike,
    b: ArrayLike,
    *,
    level: float = 0.95,
    standard_error: Literal["fisher", "bonett-wright"] = "bonett-wright",
) -> Estimate:
    """Correlate the ranks of two readers; ties get their mid-rank.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases, n at least 3.
    level
        Two-sided confidence level.
    standard_error
        ``bonett-wright``, or ``fisher`` as in the AutoIHC paper.

    Raises
    ------
    InputError, UndefinedStatistic
        As for :func:`pearson`.

    Examples
    --------
    >>> print(spearman([1, 2, 3, 4, 5, 6], [10, 30, 20, 50, 40, 90], standard_error="fisher"))
    0.886 [0.264, 0.987], n 6
    """
    if standard_error not in {"fisher", "bonett-wright"}:
        raise InputError(
            f"standard error {standard_error!r}", hint="allowed: fisher, bonett-wright"
        )
    from scipy.stats import rankdata

    x, y = paired_numbers(a, b, "a rank correlation", needed=3, varying=True)
    counts = {"distinct_a": int(np.unique(x).size), "distinct_b": int(np.unique(y).size)}
    rho = _r(rankdata(x), rankdata(y))
    return _estimate(rho, x.size, level, "Spearman's rho (1904), mid-ranks", standard_error, counts)


def kendall_tau_b(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Compare the order that two readers give to every pair of cases, ties allowed for.

    ``(concordant - discordant) / sqrt(pairs untied in a * pairs untied in b)``: M. G. Kendall,
    Biometrika 1945;33:239.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases, n at least 3.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError, UndefinedStatistic
        As for :func:`pearson`.

    Examples
    --------
    >>> print(kendall_tau_b([1, 2, 3, 4, 5, 6], [1, 3, 2, 5, 4, 6]).value)
    0.7333333333333333
    """
    x, y = paired_numbers(a, b, "Kendall's tau", needed=3, varying=True)
    concordant, discordant = _ordered_pairs(x, y)
    n = x.size
    pairs = n * (n - 1) // 2
    untied = [pairs - _tied(values) for values in (x, y)]
    tau = (concordant - discordant) / math.sqrt(untied[0] * untied[1])
    counts = {
        "concordant": concordant,
        "discordant": discordant,
        "untied_a": untied[0],
        "untied_b": untied[1],
        "pairs": pairs,
    }
    return _estimate(tau, n, level, "Kendall's tau-b (1945)", "fieller", counts)


def _r(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    dx, dy = x - x.mean(), y - y.mean()
    # Scaled first: the squares of very large or very small numbers do not fit.
    dx, dy = dx / np.abs(dx).max(), dy / np.abs(dy).max()
    r = float((dx * dy).sum()) / math.sqrt(float((dx * dx).sum()) * float((dy * dy).sum()))
    # Rounding must not turn a perfect correlation into a nearly perfect one, or exceed it.
    return math.copysign(1.0, r) if abs(r) > 1 - 1e-14 else r


def _estimate(
    r: float,
    n: int,
    level: float,
    name: str,
    standard_error: StandardError,
    counts: Counts,
) -> Estimate:
    normal_quantile(level)
    fewest = 5 if standard_error == "fieller" else 4
    if abs(r) == 1 or n < fewest:
        why = "perfect correlation" if abs(r) == 1 else f"fewer than {fewest} cases"
        return Estimate(r, None, None, level, f"{name}; no interval: {why}", n, counts)
    low, high = fisher_interval(r, n, level=level, standard_error=standard_error)
    return Estimate(r, low, high, level, f"{name}; {SOURCES[standard_error]}", n, counts)


def _ordered_pairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[int, int]:
    """Count concordant and discordant pairs in whole numbers.

    In the order of x (then of y) a pair is discordant when the earlier case has the larger y.
    """
    seen: list[float] = []
    discordant = 0
    for place, value in enumerate(y[np.lexsort((y, x))].tolist()):
        at = bisect.bisect_right(seen, value)
        discordant += place - at
        seen.insert(at, value)
    both = np.unique(np.stack([x, y]), axis=1, return_counts=True)[1]
    tied = _tied(x) + _tied(y) - int((both * (both - 1) // 2).sum())
    return x.size * (x.size - 1) // 2 - tied - discordant, discordant


def _tied(values: NDArray[np.float64]) -> int:
    times = np.unique(values, return_counts=True)[1]
    return int((times * (times - 1) // 2).sum())
