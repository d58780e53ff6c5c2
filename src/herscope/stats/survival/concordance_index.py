"""Harrell's and Uno's C: does a higher risk go with an earlier event.

SIGN: ``risk`` is a risk, HIGHER IS WORSE. C is 1 when patients with a higher risk always have the
event earlier, 0.5 for a coin, 0 when the score is upside down. A score of which more is better
(a survival time, a response probability) must be turned round first.

A pair of patients is comparable when it is known who had the event first: the earlier one had it,
and the other was followed longer (a patient censored at the very time of the other's event counts
as longer). Two events at one time are not comparable. Over comparable pairs
C = (concordant + tied risk / 2) / (concordant + discordant + tied risk)
(Harrell et al., JAMA 1982;247:2543; ties as R's survival::concordance and lifelines). Some programs
do not compare a patient censored at the very time of an event: ``same_time="left out"``.

Harrell's C depends on the censoring. Uno's C weighs each pair by 1 / G(t-)^2 at the earlier event,
up to a time tau (Uno et al., Stat Med 2011;30:1105), and does not, when censoring depends on
nothing. Departure: where two times are the same we use G(t-), not G(t), since events come first.
Intervals: jackknife on the logit scale; for Uno's C the weights are held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import Floats, numbers, same_length
from herscope.stats.estimate import Estimate
from herscope.stats.jackknife import jackknife_interval
from herscope.stats.survival.censoring import censoring_curve
from herscope.stats.survival.outcome import Outcome, risk_table
from herscope.stats.survival.suffix_sums import suffix_sums

SameTime = Literal["censored later", "left out"]

HARRELL = (
    "Harrell's C 1982 (higher risk = earlier event), risk ties count half, events at one time are "
    "not compared, a censoring at the time of an event counts as {same_time}"
)
UNO = "Uno's C 2011 (higher risk = earlier event), weights 1/G(t-)^2, events before tau {tau:g}"
JACKKNIFE = "; interval: jackknife over patients, logit scale"
FIXED_WEIGHTS = "; interval: jackknife over patients with the weights held fixed, logit scale"
NO_INTERVAL = "; no interval: the jackknife has none at 0, at 1, or when one patient decides"


@dataclass(frozen=True, slots=True, eq=False)
class ComparablePairs:
    """Comparable pairs by the patient with the earlier event and by the other one.

    Parameters
    ----------
    concordant, tied, pairs
        (n,) pairs in which the patient has the earlier event: won, same risk, all.
    later_points, later_pairs
        (n,) concordant + tied / 2, and all pairs, in which the patient is the later one; each pair
        with the weight of the earlier event.
    """

    concordant: Floats
    tied: Floats
    pairs: Floats
    later_points: Floats
    later_pairs: Floats


def comparable_pairs(
    outcome: Outcome, risk: Floats, weight: Floats, *, same_time: SameTime = "censored later"
) -> ComparablePairs:
    """Count pairs patient by patient; an earlier event without weight has none."""
    n = len(outcome)
    rank = np.unique(risk, return_inverse=True)[1].astype(np.int64)
    waits = ~outcome.event if same_time == "censored later" else np.zeros(n, np.bool_)
    # In this order, those known to be followed longer than an event are all from a place on.
    order = np.lexsort((waits, outcome.time))
    key = 2 * np.unique(outcome.time, return_inverse=True)[1] + waits
    earlier = outcome.event & (weight > 0)
    start = np.searchsorted(key[order], key + 1, side="left")
    won, tied, pairs = np.zeros(n), np.zeros(n), np.zeros(n)
    won[earlier], tied[earlier] = suffix_sums(
        rank[order], np.ones(n), start[earlier], rank[earlier]
    )
    pairs[earlier] = n - start[earlier]
    # The other way round: events by falling start, so that those before a patient come last.
    falling = np.flatnonzero(earlier)[np.argsort(-start[earlier], kind="stable")]
    position = np.empty(n, np.int64)
    position[order] = np.arange(n)
    first = falling.size - np.searchsorted(np.sort(start[earlier]), position, side="right")
    w, turned = weight[falling], int(rank.max()) - rank
    above, same = suffix_sums(turned[falling], w, first, turned)
    everyone = np.concatenate((np.cumsum(w[::-1])[::-1], [0.0]))[first]
    return ComparablePairs(won, tied, pairs, above + same / 2, everyone)


def harrell_c(
    outcome: Outcome,
    risk: ArrayLike,
    *,
    same_time: SameTime = "censored later",
    level: float = 0.95,
) -> Estimate:
    """Return Harrell's C of a risk score; higher risk is worse.

    Parameters
    ----------
    outcome
        Time and event.
    risk
        (n,) any numbers; only their order counts.
    same_time
        ``censored later``: a patient censored at the time of another's event was followed longer
        (R, lifelines, scikit-survival); ``left out``: the pair is not compared.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        The risk is missing or no number, or there are more or fewer than patients.
    UndefinedStatistic
        No comparable pair (no events, or nobody was followed beyond one), or all risks are equal.

    See Also
    --------
    uno_c : less dependent on the censoring.

    Examples
    --------
    >>> outcome = Outcome(time=[2, 5, 7, 9], event=[1, 1, 0, 1])
    >>> harrell_c(outcome, [0.9, 0.3, 0.4, 0.1]).value
    0.8
    """
    scores = _checked_risk(outcome, risk)
    ones = np.ones(len(outcome))
    if same_time not in get_args(SameTime):
        raise InputError(
            f"there is no rule {same_time!r} for censorings at the time of an event",
            hint=f"allowed: {', '.join(get_args(SameTime))}",
        )
    counts = comparable_pairs(outcome, scores, ones, same_time=same_time)
    said = HARRELL.format(same_time=same_time)
    return _estimate(outcome, counts, ones, level, said, JACKKNIFE, {})


def uno_c(
    outcome: Outcome, risk: ArrayLike, *, tau: float | None = None, level: float = 0.95
) -> Estimate:
    """Return Uno's C of a risk score; higher risk is worse.

    Parameters
    ----------
    outcome, risk, level
        As for :func:`harrell_c`.
    tau
        Events at this time or later do not count: late events carry huge weights. When absent, just
        after the last event.

    Raises
    ------
    InputError
        As for :func:`harrell_c`, or ``tau`` is not above 0.
    UndefinedStatistic
        As for :func:`harrell_c`, with the events before ``tau``.

    Examples
    --------
    >>> outcome = Outcome(time=[2, 5, 7, 9], event=[1, 1, 0, 1])
    >>> round(uno_c(outcome, [0.9, 0.3, 0.4, 0.1], tau=6).value, 3)
    0.8
    """
    scores = _checked_risk(outcome, risk)
    if tau is not None and not (np.isfinite(tau) and tau > 0):
        raise InputError(f"tau is {tau:g}", hint="give a time above 0")
    if not outcome.events:
        _refuse_no_pair(outcome)
    last = float(outcome.time[outcome.event].max())
    until = np.nextafter(last, np.inf) if tau is None else tau
    counted = outcome.event & (outcome.time < until)
    weight = np.zeros(len(outcome))
    weight[counted] = censoring_curve(outcome).before(outcome.time[counted]) ** -2.0
    counts = comparable_pairs(outcome, scores, weight)
    said = UNO.format(tau=last if tau is None else tau)
    if tau is None:
        said += " (the last event, which counts)"
    extra = {"tau": last if tau is None else tau, "largest weight": float(weight.max())}
    return _estimate(outcome, counts, weight, level, said, FIXED_WEIGHTS, extra)


def _checked_risk(outcome: Outcome, risk: ArrayLike) -> Floats:
    scores = numbers(risk, "risk")
    same_length(patients=outcome.time, risks=scores)
    if (scores == scores[0]).all():
        raise UndefinedStatistic(
            f"all {scores.size} patients have the same risk {scores[0]:g}",
            hint="a score that never differs cannot order patients",
        )
    return scores


def _refuse_no_pair(outcome: Outcome) -> None:
    raise UndefinedStatistic(
        f"no pair of the {len(outcome)} patients can be compared ({outcome.events} events)",
        hint="at least one patient must be followed beyond the event of another",
    )


def _estimate(
    outcome: Outcome,
    pairs: ComparablePairs,
    weight: Floats,
    level: float,
    said: str,
    interval_said: str,
    extra: dict[str, float],
) -> Estimate:
    points = weight * (pairs.concordant + pairs.tied / 2)
    total = weight * pairs.pairs
    top, bottom = float(points.sum()), float(total.sum())
    if bottom <= 0:
        _refuse_no_pair(outcome)
    rest = bottom - total - pairs.later_pairs
    without = np.full(len(outcome), np.nan)
    some = rest > bottom * 1e-12
    without[some] = (top - points - pairs.later_points)[some] / rest[some]
    ends = jackknife_interval(top / bottom, without, level)
    n, events = len(outcome), risk_table(outcome).events
    tied_time = int((events * (events - 1) // 2).sum())
    won, tied, compared = (int(x.sum()) for x in (pairs.concordant, pairs.tied, pairs.pairs))
    counts: dict[str, int | float] = {
        "events": outcome.events,
        "concordant": won,
        "discordant": compared - won - tied,
        "tied risk": tied,
        "tied time": tied_time,
        "not comparable": n * (n - 1) // 2 - compared - tied_time,
        **extra,
    }
    return Estimate(
        value=top / bottom,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        level=level,
        method=said + (interval_said if ends else NO_INTERVAL),
        n=n,
        counts=counts,
    )
