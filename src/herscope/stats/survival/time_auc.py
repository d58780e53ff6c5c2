"""Time-dependent AUC: who has the event by time t, against who is still free of it.

Cumulative cases (event at or before t) and dynamic controls (followed beyond t). Patients censored
before t are neither; the cases stand for them by the weight 1 / G(T-):
AUC(t) = sum_ij w_i [r_i > r_j] / (sum_i w_i m),     i cases, j the m controls, ties count half
(Uno et al., J Am Stat Assoc 2007;102:527; Hung and Chiang, Can J Stat 2010;38:8). HIGHER RISK IS
WORSE. Without censoring before t it is the ordinary AUC of "event by t". Censoring must not depend
on the risk. Interval: jackknife with the weights held fixed, on the logit scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import Floats, numbers, same_length
from herscope.stats.estimate import Estimate
from herscope.stats.jackknife import jackknife_interval
from herscope.stats.survival.censoring import censoring_curve
from herscope.stats.survival.outcome import Outcome

METHOD = (
    "cumulative/dynamic AUC(t), weights 1/G(t-) (Uno 2007, Hung and Chiang 2010), higher risk = "
    "earlier event"
)


@dataclass(frozen=True, slots=True)
class TimeAuc:
    """The AUC at one time."""

    time: float
    estimate: Estimate

    def __str__(self) -> str:
        return f"AUC({self.time:g}) {self.estimate}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"time": self.time, **self.estimate.document()}


def time_auc(outcome: Outcome, risk: ArrayLike, time: float, *, level: float = 0.95) -> TimeAuc:
    """Return the AUC for the event by a time; higher risk is worse.

    Parameters
    ----------
    outcome
        Time and event.
    risk
        (n,) any numbers; only their order counts.
    time
        When, in the unit of the outcome, above 0.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Missing risks, another number of them than of patients, or a time that is not above 0.
    UndefinedStatistic
        Nobody had the event by then, or nobody was followed beyond.

    Examples
    --------
    >>> outcome = Outcome(time=[2, 5, 7, 9], event=[1, 1, 0, 1])
    >>> time_auc(outcome, [0.9, 0.3, 0.4, 0.1], 6).estimate.value
    0.75
    """
    scores = numbers(risk, "risk")
    same_length(patients=outcome.time, risks=scores)
    if not (np.isfinite(time) and time > 0):
        raise InputError(f"the AUC was asked at the time {time:g}", hint="give a time above 0")
    case = outcome.event & (outcome.time <= time)
    control = outcome.time > time
    n_cases, n_controls = int(case.sum()), int(control.sum())
    if not n_cases or not n_controls:
        why = "had the event by" if not n_cases else "was followed beyond"
        latest = f"events from {outcome.time[outcome.event].min():g}" if outcome.events else "none"
        raise UndefinedStatistic(
            f"nobody {why} {time:g}, so there is no AUC at that time",
            hint=f"choose a time within the follow-up ({latest}, last seen {outcome.time.max():g})",
        )
    weight = 1 / censoring_curve(outcome).before(outcome.time[case])
    value, without = _weighted_auc(scores[case], weight, scores[control])
    # Who is neither case nor control changes nothing when left out.
    neither = np.full(len(outcome) - n_cases - n_controls, value)
    ends = jackknife_interval(value, np.concatenate((without, neither)), level)
    said = "; interval: jackknife over patients with the weights held fixed, logit scale"
    none = "; no interval: the AUC is 0 or 1, or one patient decides"
    estimate = Estimate(
        value=value,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        level=level,
        method=METHOD + (said if ends else none),
        n=len(outcome),
        counts={
            "cases": n_cases,
            "controls": n_controls,
            "censored before": neither.size,
            "largest weight": float(weight.max()),
        },
    )
    return TimeAuc(float(time), estimate)


def _weighted_auc(cases: Floats, weight: Floats, controls: Floats) -> tuple[float, Floats]:
    """Return the AUC, and the AUC without each case and without each control (NaN if undefined)."""
    by_case = _below(cases, np.sort(controls), np.ones(controls.size)) / controls.size
    order = np.argsort(cases, kind="stable")
    above = weight.sum() - _below(controls, cases[order], weight[order])  # weight of cases above
    total = float(weight.sum())
    value = float((weight * by_case).sum()) / total
    without = np.full(cases.size + controls.size, np.nan)
    if cases.size > 1:
        without[: cases.size] = (value * total - weight * by_case) / (total - weight)
    if controls.size > 1:
        m = controls.size
        without[cases.size :] = (value * m - above / total) / (m - 1)
    return value, without


def _below(values: Floats, rising: Floats, weight: Floats) -> Floats:
    """Weight of the rising numbers below each value, those equal to it counting half."""
    steps = np.concatenate(([0.0], np.cumsum(weight)))
    left = steps[np.searchsorted(rising, values, side="left")]
    right = steps[np.searchsorted(rising, values, side="right")]
    return np.asarray((left + right) / 2)
