"""Kaplan-Meier survival with pointwise intervals, and the median with its interval.

S(t) = product over event times u <= t of (1 - d_u / n_u)    (J Am Stat Assoc 1958;53:457), with the
variance of log S by Greenwood (1926), V(t) = sum d_u / (n_u (n_u - d_u)). The interval is symmetric
for log(-log S) (Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 1980), so
that it stays within 0 and 1; ``plain`` gives Greenwood's own S (1 +- z sqrt V), cut at 0 and 1.

The median is the first time with S(t) <= 0.5. Its interval holds every time at which a
median of 0.5 is not refused: the first times at which the lower and the upper bound are <= 0.5
(Brookmeyer and Crowley, Biometrics 1982;38:29, with the bounds named above). What the curve never
reaches is None.
Departure from R's ``survfit``: where S is exactly 0.5 for a while, R takes the middle of that
stretch, we its beginning. Censoring is assumed to tell nothing about the event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from herscope.core.errors import InputError
from herscope.stats.arguments import Floats, normal_quantile
from herscope.stats.estimate import Counts, finite_or_none
from herscope.stats.survival.outcome import Ints, Outcome, RiskTable, risk_table

IntervalKind = Literal["log-log", "plain"]

HALF = 0.5 + 1e-9
"""Products of fractions round: (3/4)(2/3) must still count as one half."""

CURVE_METHODS = {
    "log-log": "Kaplan-Meier 1958, Greenwood variance, log-log interval "
    "(Kalbfleisch and Prentice 1980)",
    "plain": "Kaplan-Meier 1958, plain Greenwood interval cut at 0 and 1",
}


@dataclass(frozen=True, slots=True)
class MedianTime:
    """The time by which half of the patients have had the event.

    Parameters
    ----------
    value, low, high
        Median and interval in the unit of the times; None where the curve does not reach it.
    level, method, n, counts
        As in :class:`~herscope.stats.estimate.Estimate`.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int
    counts: Counts

    def __str__(self) -> str:
        value = "not reached" if self.value is None else f"{self.value:g}"
        low, high = ("NR" if end is None else f"{end:g}" for end in (self.low, self.high))
        return f"{value} [{low}, {high}]"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "method": self.method,
            "n": self.n,
            "counts": dict(self.counts),
        }


@dataclass(frozen=True, slots=True)
class SurvivalAt:
    """Survival at one time; None after the last patient was censored, when nobody knows.

    Parameters
    ----------
    time
        When.
    value, low, high
        Share without the event after ``time``, 0 to 1.
    at_risk
        Patients followed until ``time`` or longer, without an event before.
    """

    time: float
    value: float | None
    low: float | None
    high: float | None
    at_risk: int

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "time": self.time,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "at_risk": self.at_risk,
        }


@dataclass(frozen=True, slots=True, eq=False)
class KaplanMeier:
    """A survival curve; it falls at the event times of ``table`` and is level between them.

    Parameters
    ----------
    table
        Counts at each distinct time.
    survival, low, high
        (t,) share without the event after each time and its interval; NaN where a bound is
        unknown (the upper one once everybody has had the event).
    median
        Median time.
    level, method, n, counts
        As in :class:`~herscope.stats.estimate.Estimate`.
    """

    table: RiskTable
    survival: Floats
    low: Floats
    high: Floats
    median: MedianTime
    level: float
    method: str
    n: int
    counts: Counts

    def __str__(self) -> str:
        return f"median {self.median}, {self.counts['events']} events of {self.n:,}"

    def at(self, times: Iterable[float]) -> tuple[SurvivalAt, ...]:
        """Return the survival at some times.

        Raises
        ------
        InputError
            A time is negative or not finite.
        """
        asked = [_checked_time(t) for t in times]
        return tuple(
            self._one(t, at_risk) for t, at_risk in zip(asked, self.at_risk(asked), strict=True)
        )

    def at_risk(self, times: Iterable[float]) -> list[int]:
        """Return how many patients were followed until each time or longer."""
        remaining = np.append(self.table.at_risk, 0)
        places = np.searchsorted(self.table.time, np.fromiter(times, np.float64), side="left")
        return [int(n) for n in remaining[places]]

    def _one(self, time: float, at_risk: int) -> SurvivalAt:
        place = int(np.searchsorted(self.table.time, time, side="right")) - 1
        if place < 0:
            return SurvivalAt(time, 1.0, 1.0, 1.0, at_risk)
        value, low, high = (float(a[place]) for a in (self.survival, self.low, self.high))
        if time > self.table.time[-1] and value > 0:
            return SurvivalAt(time, None, None, None, at_risk)
        return SurvivalAt(time, value, finite_or_none(low), finite_or_none(high), at_risk)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the whole curve included."""
        curve: dict[str, Any] = {
            "time": self.table.time.tolist(),
            "at_risk": self.table.at_risk.tolist(),
            "events": self.table.events.tolist(),
            "censored": self.table.censored.tolist(),
        }
        for name, array in (("survival", self.survival), ("low", self.low), ("high", self.high)):
            curve[name] = [finite_or_none(v) for v in array.tolist()]
        return {
            "n": self.n,
            "counts": dict(self.counts),
            "median": self.median.document(),
            "level": self.level,
            "method": self.method,
            "curve": curve,
        }


def kaplan_meier(
    outcome: Outcome, *, level: float = 0.95, interval: IntervalKind = "log-log"
) -> KaplanMeier:
    """Estimate the survival curve of a group of patients.

    Parameters
    ----------
    outcome
        Time and event; without any event the curve stays at 1.
    level
        Two-sided confidence level of the pointwise interval, between 0 and 1.
    interval
        ``log-log`` or ``plain``.

    Raises
    ------
    InputError
        The level or the interval is none of those allowed.

    Notes
    -----
    Oracle: lifelines; the median's interval against R's published example (docs/science).

    Examples
    --------
    >>> outcome = Outcome(time=[6, 6, 6, 7, 10, 13], event=[1, 1, 0, 1, 0, 1])
    >>> curve = kaplan_meier(outcome)
    >>> [round(s, 3) for s in curve.survival.tolist()], curve.median.value
    ([0.667, 0.444, 0.444, 0.0], 7.0)
    """
    if interval not in CURVE_METHODS:
        raise InputError(
            f"there is no interval {interval!r}", hint=f"allowed: {', '.join(CURVE_METHODS)}"
        )
    table = risk_table(outcome)
    survival, variance = survival_of(table.at_risk, table.events)
    low, high = _bounds(survival, variance, normal_quantile(level), interval)
    method = CURVE_METHODS[interval]
    median = MedianTime(
        _first(table.time, survival),
        _first(table.time, low),
        _first(table.time, high),
        level,
        f"first time with S <= 0.5; interval Brookmeyer and Crowley 1982 ({interval} bounds)",
        len(outcome),
        outcome.counts,
    )
    return KaplanMeier(
        table, survival, low, high, median, level, method, len(outcome), outcome.counts
    )


def median_follow_up(outcome: Outcome, *, level: float = 0.95) -> MedianTime:
    """Return the median follow-up: Kaplan-Meier with event and censoring exchanged.

    Schemper and Smith, Control Clin Trials 1996;17:343: a patient who had the event would have been
    followed longer, so the event censors the follow-up.

    Examples
    --------
    >>> median_follow_up(Outcome(time=[2, 4, 6, 9], event=[1, 0, 0, 1])).value
    6.0
    """
    reverse = Outcome(time=outcome.time, event=~outcome.event)
    found = kaplan_meier(reverse, level=level).median
    method = "reverse Kaplan-Meier (Schemper and Smith 1996), interval Brookmeyer and Crowley 1982"
    return MedianTime(found.value, found.low, found.high, level, method, found.n, outcome.counts)


def survival_of(at_risk: Ints, events: Ints) -> tuple[Floats, Floats]:
    """Return (t,) product-limit survival and Greenwood's variance of its logarithm.

    The variance is infinite once everybody at risk has had the event.
    """
    factor = np.ones(at_risk.size)
    some = at_risk > 0
    factor[some] = (at_risk[some] - events[some]) / at_risk[some]
    left = at_risk * (at_risk - events)
    term = np.where(events > 0, np.inf, 0.0)
    np.divide(events, left, out=term, where=left > 0)
    return np.cumprod(factor, dtype=np.float64), np.cumsum(term, dtype=np.float64)


def _bounds(
    survival: Floats, variance: Floats, z: float, interval: IntervalKind
) -> tuple[Floats, Floats]:
    low, high = survival.copy(), survival.copy()
    inside = (survival > 0) & (survival < 1)
    s, spread = survival[inside], z * np.sqrt(variance[inside])
    if interval == "plain":
        low[inside], high[inside] = np.maximum(s - s * spread, 0), np.minimum(s + s * spread, 1)
    else:
        power = np.exp(spread / -np.log(s))
        low[inside], high[inside] = s**power, s ** (1 / power)
    # Nobody is left: the curve cannot be lower than 0, and how much higher is unknown.
    high[survival <= 0] = np.nan
    return low, high


def _first(time: Floats, curve: Floats) -> float | None:
    """First time at which a curve is at or below one half; NaN is not."""
    reached = np.flatnonzero(curve <= HALF)
    return float(time[reached[0]]) if reached.size else None


def _checked_time(time: float) -> float:
    if not (np.isfinite(time) and time >= 0):
        raise InputError(f"survival was asked at the time {time:g}", hint="give times of 0 or more")
    return float(time)
