"""The line between two methods that both have errors: Passing-Bablok and Deming regression.

Passing and Bablok (J Clin Chem Clin Biochem 1983;21:709) take the median of the slopes of all pairs
of cases, shifted by the number K of slopes below -1 so that the two methods may be exchanged; the
intercept is the median of ``y - slope x``. Bounds are order statistics of the slopes. No
distribution is assumed, but a linear relation is; their cusum test looks for deviations from it.

Deming (W. E. Deming, Statistical Adjustment of Data, 1943) minimises the squared errors of both
methods for a given ratio of their error variances. Bounds are the jackknife's with the t quantile
and n - 2 degrees of freedom (K. Linnet, Stat Med 1990;9:1463).

A line says the methods agree when the slope's interval holds 1 and the intercept's holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import normal_quantile, paired_numbers
from herscope.stats.estimate import Estimate, HypothesisTest

METHODS: Final = ("method x", "method y")

MAX_CASES: Final = 5000
"""Cases of Passing-Bablok: all pairs of slopes are held in memory, 100 MB at this number."""


@dataclass(frozen=True, slots=True)
class Line:
    """``y = intercept + slope x`` and, for Passing-Bablok, the cusum test of linearity."""

    slope: Estimate
    intercept: Estimate
    linearity: HypothesisTest | None = None

    def __str__(self) -> str:
        return f"slope {self.slope}; intercept {self.intercept}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "slope": self.slope.document(),
            "intercept": self.intercept.document(),
            "linearity": self.linearity.document() if self.linearity else None,
        }


def passing_bablok(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Line:
    """Fit Passing and Bablok's line.

    Parameters
    ----------
    x, y
        (n,) finite numbers of the same cases, n from 3 to 5000, positively related.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Missing values, different lengths, or more than 5000 cases.
    UndefinedStatistic
        Fewer than three cases, no slopes, or a shift beyond the last slope (no positive relation).

    Examples
    --------
    >>> line = passing_bablok([1, 2, 3, 4, 5, 6], [1.2, 2.1, 3.3, 4.0, 5.4, 6.1])
    >>> round(line.slope.value, 4), round(line.intercept.value, 4)
    (1.0, 0.15)
    """
    first, second = paired_numbers(
        x, y, "Passing-Bablok regression", needed=3, varying=True, names=METHODS
    )
    n = first.size
    if n > MAX_CASES:
        raise InputError(
            f"{n} cases; Passing-Bablok regression takes {MAX_CASES} at most",
            hint="use Deming regression, or a random sample of the cases",
        )
    slopes = _slopes(first, second)
    shift = int((slopes < -1).sum())
    z = normal_quantile(level)
    slope = _shifted_median(slopes, shift)
    spread = z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    rank = round((slopes.size - spread) / 2)  # M1 of the paper, from 1
    low = high = None
    how = "; order-statistic interval"
    if rank >= 1 and slopes.size - rank + shift < slopes.size:
        low = float(slopes[rank - 1 + shift])
        high = float(slopes[slopes.size - rank + shift])
    else:
        how = "; no interval: too few slopes for this level"
    counts = {"slopes": int(slopes.size), "slopes_below_minus_1": shift}
    method = f"Passing and Bablok (1983){how}"
    intercept = float(np.median(second - slope * first))
    ends = [None if b is None else float(np.median(second - b * first)) for b in (high, low)]
    if not all(b is None or math.isfinite(b) for b in (low, high)):
        ends = [None, None]
    return Line(
        Estimate(slope, low, high, level, f"slope, {method}", n, counts),
        Estimate(intercept, ends[0], ends[1], level, f"intercept, {method}", n, counts),
        _cusum(first, second, slope, intercept),
    )


def deming(x: ArrayLike, y: ArrayLike, *, error_ratio: float = 1.0, level: float = 0.95) -> Line:
    """Fit Deming's line with jackknife intervals.

    Parameters
    ----------
    x, y
        (n,) finite numbers of the same cases, n at least 4.
    error_ratio
        Variance of y's error over variance of x's error, above 0.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Missing values, different lengths, or a ratio that is not above 0.
    UndefinedStatistic
        Fewer than four cases, or no relation between x and y.

    Examples
    --------
    >>> line = deming([1, 2, 3, 4, 5, 6], [1.2, 2.1, 3.3, 4.0, 5.4, 6.1])
    >>> round(line.slope.value, 4), round(line.intercept.value, 4)
    (1.006, 0.1625)
    """
    from scipy.special import stdtrit

    first, second = paired_numbers(x, y, "Deming regression", needed=4, varying=True, names=METHODS)
    n = first.size
    normal_quantile(level)
    if not (math.isfinite(error_ratio) and error_ratio > 0):
        raise InputError(f"error ratio is {error_ratio:g}", hint="give a number above 0")
    slope, intercept = _deming_line(_Moments.of(first, second), error_ratio)
    t = float(stdtrit(n - 2, 0.5 + level / 2))
    without = np.array([_deming_line(left, error_ratio) for left in _leave_one_out(first, second)])
    full = np.array([slope, intercept])
    pseudo = n * full - (n - 1) * without
    error = pseudo.std(axis=0, ddof=1) / math.sqrt(n)
    method = (
        f"Deming (1943), error variance ratio {error_ratio:g}; jackknife interval (Linnet 1990)"
    )

    def around(value: float, half: float, name: str) -> Estimate:
        return Estimate(value, value - half, value + half, level, f"{name}, {method}", n, {})

    return Line(
        around(slope, t * float(error[0]), "slope"),
        around(intercept, t * float(error[1]), "intercept"),
    )


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes of all pairs, sorted; equal pairs and slopes of exactly -1 are left out."""
    i, j = np.triu_indices(x.size, 1)
    dx, dy = x[i] - x[j], y[i] - y[j]
    distinct = (dx != 0) | (dy != 0)
    dx, dy = dx[distinct], dy[distinct]
    with np.errstate(divide="ignore"):
        # The sign of a vertical slope is that of dy, as the paper has it.
        slopes = np.where(dx == 0, np.copysign(np.inf, dy), dy / np.where(dx == 0, 1.0, dx))
    return np.sort(slopes[slopes != -1])


def _shifted_median(slopes: NDArray[np.float64], shift: int) -> float:
    size = slopes.size
    upper = size // 2 + shift
    if size == 0 or upper >= size:
        raise UndefinedStatistic(
            f"{shift} of {size} slopes are below -1: the methods do not rise together",
            hint="Passing-Bablok regression needs positively related methods; plot them first",
        )
    if size % 2:
        return float(slopes[upper])
    slope = 0.5 * float(slopes[upper - 1] + slopes[upper])
    if not math.isfinite(slope):
        raise UndefinedStatistic(
            "the median slope is vertical", hint="too many cases share one value of x"
        )
    return slope


def _cusum(
    x: NDArray[np.float64], y: NDArray[np.float64], slope: float, intercept: float
) -> HypothesisTest | None:
    """Cusum test of linearity, Passing and Bablok 1983, section 4; None when no case is off."""
    from scipy.special import kolmogorov

    residual = y - (intercept + slope * x)
    off = np.abs(residual) > 1e-12 * max(float(np.abs(y).max()), 1.0)
    above, below = int((off & (residual > 0)).sum()), int((off & (residual < 0)).sum())
    if not (above and below) or slope == 0:
        return None
    score = np.where(residual > 0, math.sqrt(below / above), -math.sqrt(above / below)) * off
    along = (y + x / slope - intercept) / math.sqrt(1 + 1 / slope**2)
    largest = float(np.abs(np.cumsum(score[np.argsort(along, kind="stable")])).max())
    statistic = largest / math.sqrt(below + 1)
    return HypothesisTest(
        statistic,
        float(kolmogorov(statistic)),
        "the methods are linearly related",
        "cusum test (Passing and Bablok 1983), Kolmogorov's distribution",
        x.size,
        {"above": above, "below": below},
    )


class _Moments(NamedTuple):
    """Means and centred sums of squares and products of two methods."""

    x: float
    y: float
    sxx: float
    syy: float
    sxy: float

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> _Moments:
        dx, dy = x - x.mean(), y - y.mean()
        sums = (float((p * q).sum()) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
        return cls(float(x.mean()), float(y.mean()), *sums)


def _leave_one_out(x: NDArray[np.float64], y: NDArray[np.float64]) -> Iterator[_Moments]:
    """Moments without each case in turn, from those of all: n steps instead of n squared."""
    whole, n = _Moments.of(x, y), x.size
    dx, dy, part = x - whole.x, y - whole.y, n / (n - 1)
    columns = (
        whole.x - dx / (n - 1),
        whole.y - dy / (n - 1),
        whole.sxx - part * dx * dx,
        whole.syy - part * dy * dy,
        whole.sxy - part * dx * dy,
    )
    for row in np.stack(columns, axis=1).tolist():
        yield _Moments(*row)


def _deming_line(sums: _Moments, ratio: float) -> tuple[float, float]:
    if sums.sxy == 0:
        raise UndefinedStatistic(
            "x and y do not vary together, so Deming's line has no direction",
            hint="plot the two methods first",
        )
    apart = sums.syy - ratio * sums.sxx
    slope = (apart + math.sqrt(apart**2 + 4 * ratio * sums.sxy**2)) / (2 * sums.sxy)
    return slope, sums.y - slope * sums.x
