"""The common form of a statistic: value, interval, method, n, counts and what was left out.

:class:`Estimate` holds a number with its interval, :class:`HypothesisTest` the outcome of a test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Counts = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number of a study with everything a reader needs to judge it.

    Parameters
    ----------
    value
        The statistic.
    low, high
        Its interval; None where there is none, and ``method`` then says why.
    level
        Two-sided confidence level of the interval, 0 to 1.
    method
        One sentence: formula, author and year, kind of interval.
    n
        Cases that entered.
    counts
        What the number was made of.
    left_out
        Reason to the number of cases that did not enter; empty when all did.

    Examples
    --------
    >>> print(Estimate(17 / 21, 0.63, 0.98, 0.95, "Cohen 1960", n=28, counts={"agree": 24}))
    0.810 [0.630, 0.980], n 28
    """

    value: float
    low: float | None
    high: float | None
    level: float
    method: str
    n: int
    counts: Counts
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [spoken(self.value, self.low, self.high), f"n {self.n:,}"]
        parts += [f"left out: {count:,} {why}" for why, count in self.left_out.items()]
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; what is not finite becomes None."""
        return {
            "value": finite_or_none(self.value),
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "level": self.level,
            "method": self.method,
            "n": self.n,
            "counts": {name: finite_or_none(count) for name, count in self.counts.items()},
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class HypothesisTest:
    """The outcome of a test: what was tested, its statistic and its p value.

    Parameters
    ----------
    statistic
        The test statistic, as ``method`` defines it.
    p_value
        Two-sided unless ``method`` says otherwise, 0 to 1.
    hypothesis
        The null hypothesis in plain words.
    method
        One sentence: test, author and year, exact or asymptotic, treatment of ties.
    n
        Cases that entered.
    counts
        What the statistic was made of.
    left_out
        Reason to the number of cases that did not enter.

    Examples
    --------
    >>> print(HypothesisTest(4.0, 0.03906, "no shift", "Wilcoxon 1945", n=8, counts={}))
    statistic 4.000, p 0.039, n 8
    """

    statistic: float
    p_value: float
    hypothesis: str
    method: str
    n: int
    counts: Counts
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"statistic {_figure(self.statistic)}", spoken_p(self.p_value), f"n {self.n:,}"]
        parts += [f"left out: {count:,} {why}" for why, count in self.left_out.items()]
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; what is not finite becomes None."""
        return {
            "statistic": finite_or_none(self.statistic),
            "p_value": finite_or_none(self.p_value),
            "hypothesis": self.hypothesis,
            "method": self.method,
            "n": self.n,
            "counts": {name: finite_or_none(count) for name, count in self.counts.items()},
            "left_out": dict(self.left_out),
        }


def spoken_p(p_value: float) -> str:
    """Write a p value; below 0.001 only that.

    Examples
    --------
    >>> spoken_p(0.0321), spoken_p(2e-9)
    ('p 0.032', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p {p_value:.3f}"


def spoken(value: float, low: float | None, high: float | None) -> str:
    """Write a number and its interval: three decimals, fewer from 10 and from 100 upwards.

    Examples
    --------
    >>> spoken(-2.1176, -22.05, 17.82), spoken(0.5, None, None)
    ('-2.118 [-22.05, 17.82]', '0.500')
    """
    ends = "" if low is None or high is None else f" [{_figure(low)}, {_figure(high)}]"
    return f"{_figure(value)}{ends}"


def finite_or_none(number: float | None) -> float | int | None:
    """Return a number JSON can hold; None for NaN and infinities."""
    return number if number is not None and math.isfinite(number) else None


def _figure(number: float) -> str:
    if not math.isfinite(number):
        return {math.inf: "inf", -math.inf: "-inf"}.get(number, "undefined")
    decimals = 3 if abs(number) < 10 else 2 if abs(number) < 100 else 1
    return f"{number:,.{decimals}f}"
