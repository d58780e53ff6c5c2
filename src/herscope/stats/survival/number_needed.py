"""Number needed to treat, with Newcombe's interval of the difference behind it.

NNT = 1 / (p1 - p2). The difference has the hybrid score interval (Newcombe, Stat Med 1998;17:873,
method 10): with Wilson's bounds l, u of each proportion,
from d - sqrt((p1 - l1)^2 + (u2 - p2)^2) to d + sqrt((u1 - p1)^2 + (p2 - l2)^2).
The NNT's bounds are the reciprocals. When the difference's interval holds 0, the NNT's runs through
infinity, from a benefit to a harm (Altman, BMJ 1998;317:1309), and is no interval of plain numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.bootstrap import wilson_interval
from herscope.stats.estimate import Estimate, finite_or_none

METHOD = "Newcombe 1998 method 10: hybrid of two Wilson score intervals, no continuity correction"


@dataclass(frozen=True, slots=True)
class NumberNeeded:
    """How many patients one more good outcome takes.

    Parameters
    ----------
    value
        1 / |difference|.
    direction
        ``benefit`` when the first group does better, ``harm`` when the second does.
    low, high
        Bounds in the same direction; ``high`` is infinite when the difference may be 0.
    opposite
        When the difference may be 0: the bound in the other direction, else None.
    difference
        First proportion minus second, with its interval.
    """

    value: float
    direction: Literal["benefit", "harm"]
    low: float
    high: float
    opposite: float | None
    difference: Estimate
    method: str = f"1 / difference; {METHOD}"

    def __str__(self) -> str:
        here, there = ("NNTB", "NNTH") if self.direction == "benefit" else ("NNTH", "NNTB")
        ends = f"{self.low:.2f} to {self.high:.2f}"
        if self.opposite is not None:
            ends = f"{here} {self.low:.2f} to infinity to {there} {self.opposite:.2f}"
        return f"{here} {self.value:.2f} [{ends}], n {self.difference.n:,}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; infinity is null."""
        return {
            "value": self.value,
            "direction": self.direction,
            "low": self.low,
            "high": finite_or_none(self.high),
            "opposite": self.opposite,
            "method": self.method,
            "difference": self.difference.document(),
        }


def proportion_difference(
    good_1: int, n_1: int, good_2: int, n_2: int, *, level: float = 0.95
) -> Estimate:
    """Return the difference of two independent proportions, first minus second.

    Parameters
    ----------
    good_1, n_1, good_2, n_2
        Patients with a good outcome, and all patients, of two groups; whole numbers.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        A count is negative or larger than its group.
    UndefinedStatistic
        A group is empty.

    Notes
    -----
    Published values: Newcombe 1998, table II, row 10.

    Examples
    --------
    >>> print(proportion_difference(56, 70, 48, 80))
    0.200 [0.052, 0.334], n 150
    """
    low_1, high_1 = _bounds(good_1, n_1, "first", level)
    low_2, high_2 = _bounds(good_2, n_2, "second", level)
    p_1, p_2 = good_1 / n_1, good_2 / n_2
    difference = p_1 - p_2
    return Estimate(
        value=difference,
        low=difference - math.hypot(p_1 - low_1, high_2 - p_2),
        high=difference + math.hypot(high_1 - p_1, p_2 - low_2),
        level=level,
        method=METHOD,
        n=n_1 + n_2,
        counts={"good_1": good_1, "n_1": n_1, "good_2": good_2, "n_2": n_2},
    )


def number_needed_to_treat(
    good_1: int, n_1: int, good_2: int, n_2: int, *, level: float = 0.95
) -> NumberNeeded:
    """Return the number needed to treat in the first way instead of the second.

    Parameters
    ----------
    good_1, n_1, good_2, n_2, level
        As for :func:`proportion_difference`.

    Raises
    ------
    InputError
        As for :func:`proportion_difference`.
    UndefinedStatistic
        A group is empty, or the proportions are equal.

    Notes
    -----
    Published value: 36/38 against 4/10 gives 1.83 (1.28 to 4.24), Chen et al. (MuMo) 2024.

    Examples
    --------
    >>> print(number_needed_to_treat(36, 38, 4, 10))
    NNTB 1.83 [1.28 to 4.24], n 48
    """
    found = proportion_difference(good_1, n_1, good_2, n_2, level=level)
    if good_1 * n_2 == good_2 * n_1:
        raise UndefinedStatistic(
            f"both groups have the same proportion ({good_1}/{n_1} and {good_2}/{n_2}): the number "
            "needed to treat is infinite",
            hint="report the difference and its interval",
        )
    assert found.low is not None
    assert found.high is not None
    benefit = found.value > 0
    near, far = (found.high, found.low) if benefit else (-found.low, -found.high)
    return NumberNeeded(
        value=1 / abs(found.value),
        direction="benefit" if benefit else "harm",
        low=1 / near,
        high=1 / far if far > 0 else math.inf,
        opposite=-1 / far if far < 0 else (math.inf if far == 0 else None),
        difference=found,
    )


def _bounds(good: int, n: int, which: str, level: float) -> tuple[float, float]:
    if not 0 <= good <= n:
        raise InputError(
            f"the {which} group has {good} good outcomes of {n} patients",
            hint="give whole numbers, good outcomes not more than patients",
        )
    if n == 0:
        raise UndefinedStatistic(
            f"the {which} group has no patients", hint="both groups need patients"
        )
    return wilson_interval(good, n, level=level)
