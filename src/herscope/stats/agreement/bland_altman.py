"""Limits of agreement of two methods, their intervals, and proportional bias.

J. M. Bland and D. G. Altman, Lancet 1986;i:307 and Stat Methods Med Res 1999;8:135. The differences
a - b have mean d and standard deviation s; 95 % of them are expected within ``d ± 1.96 s``. The
interval of the bias uses ``s / sqrt(n)``, that of a limit ``s sqrt(1/n + c^2 / 2(n - 1))``, c the
multiple of s (1999; the paper of 1986 rounds this to ``sqrt(3/n) s`` and c to 2), both with the t
quantile. Normal differences of constant spread are assumed; proportional bias, the regression of
the differences on the means of a and b, is the check for a bias that grows with the value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import normal_quantile, paired_numbers
from herscope.stats.estimate import Estimate, HypothesisTest

LimitError = Literal["1999", "1986"]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Agreement of two methods in the unit of the measurement.

    ``lower`` and ``upper`` are the limits of agreement, ``slope`` the change of the difference per
    unit of the mean (None when all means are alike), ``slope_test`` its test against 0.
    """

    bias: Estimate
    lower: Estimate
    upper: Estimate
    sd: float
    slope: Estimate | None
    slope_test: HypothesisTest | None

    @property
    def n(self) -> int:
        """Cases."""
        return self.bias.n

    def __str__(self) -> str:
        return f"bias {self.bias}; limits of agreement {self.lower} to {self.upper}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "bias": self.bias.document(),
            "lower": self.lower.document(),
            "upper": self.upper.document(),
            "sd": self.sd,
            "proportional_bias": self.slope.document() if self.slope else None,
            "proportional_bias_test": self.slope_test.document() if self.slope_test else None,
        }


def bland_altman(
    a: ArrayLike,
    b: ArrayLike,
    *,
    level: float = 0.95,
    multiple: float | None = None,
    limit_error: LimitError = "1999",
) -> BlandAltman:
    """Compare two methods by their differences a - b.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases in the same unit, n at least 3.
    level
        Two-sided confidence level of the intervals, and the share of differences that the limits
        are to hold.
    multiple
        Standard deviations from the bias to a limit; 1.96 at level 0.95 when None, 2 in the 1986
        paper.
    limit_error
        Standard error of the limits: ``1999`` or the rounded one of ``1986``.

    Raises
    ------
    InputError
        Missing values, different lengths, or parameters out of range.
    UndefinedStatistic
        Fewer than three cases, or differences that are all alike.

    Examples
    --------
    >>> print(bland_altman([10, 12, 15, 18, 22], [11, 12, 13, 19, 20]).bias)
    0.400 [-1.483, 2.283], n 5
    """
    x, y = paired_numbers(a, b, "limits of agreement", needed=3)
    n = x.size
    c = normal_quantile(level) if multiple is None else multiple
    if not (math.isfinite(c) and c > 0):
        raise InputError(f"multiple is {c:g}", hint="give a number above 0, such as 1.96")
    if limit_error not in {"1999", "1986"}:
        raise InputError(f"limit_error {limit_error!r}", hint="allowed: 1999, 1986")
    differences = x - y
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    if sd == 0:
        raise UndefinedStatistic(
            f"all {n} differences are {bias:g}, so the limits of agreement have no width",
            hint="report the constant difference; check that the columns are not copies",
        )
    t = _t(level, n - 1)
    scale = math.sqrt(3 / n if limit_error == "1986" else 1 / n + c**2 / (2 * (n - 1)))
    counts = {"a_larger": int((differences > 0).sum()), "b_larger": int((differences < 0).sum())}
    counts["equal"] = n - sum(counts.values())

    def around(value: float, error: float, method: str) -> Estimate:
        return Estimate(value, value - t * error, value + t * error, level, method, n, counts)

    name = f"limit of agreement, bias {{}} {c:.3g} SD (Bland and Altman {limit_error}), t interval"
    slope, test = _proportional_bias((x + y) / 2, differences, level)
    return BlandAltman(
        around(bias, sd / math.sqrt(n), "mean difference a - b (Bland and Altman), t interval"),
        around(bias - c * sd, sd * scale, name.format("-")),
        around(bias + c * sd, sd * scale, name.format("+")),
        sd,
        slope,
        test,
    )


def _proportional_bias(
    means: NDArray[np.float64], differences: NDArray[np.float64], level: float
) -> tuple[Estimate | None, HypothesisTest | None]:
    from scipy.special import stdtr

    n = means.size
    x, y = means - means.mean(), differences - differences.mean()
    spread = float((x * x).sum())
    if spread == 0:
        return None, None
    slope = float((x * y).sum()) / spread
    error = math.sqrt(float(((y - slope * x) ** 2).sum()) / (n - 2) / spread)
    half = _t(level, n - 2) * error
    intercept = float(differences.mean() - slope * means.mean())
    method = "slope of the differences on the means, least squares, t interval"
    estimate = Estimate(
        slope, slope - half, slope + half, level, method, n, {"intercept": intercept}
    )
    t = slope / error if error > 0 else math.copysign(math.inf, slope)
    test = HypothesisTest(
        t,
        2 * float(stdtr(n - 2, -abs(t))),
        "the difference does not change with the mean",
        f"t test of the slope, {n - 2} degrees of freedom",
        n,
        {},
    )
    return estimate, test


def _t(level: float, df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
