"""Inverse probability of censoring weights: how many patients a seen event stands for.

G(t) is the chance of being still uncensored at t, by Kaplan-Meier with event and censoring
exchanged. A patient with an event at t was uncensored until just before t, so the weight is
1 / G(t-) (Robins and Rotnitzky 1992). Events come before censorings at the same time: patients
with an event at t are not at risk of being censored at t. Assumes that censoring depends on
nothing, the risk score included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herscope.stats.arguments import Floats
from herscope.stats.survival.kaplan_meier import survival_of
from herscope.stats.survival.outcome import Outcome, risk_table


@dataclass(frozen=True, slots=True, eq=False)
class CensoringCurve:
    """Chance of being uncensored, ``uncensored[i]`` from ``time[i]`` on, 1 before."""

    time: Floats
    uncensored: Floats

    def before(self, times: Floats) -> Floats:
        """Return G(t-), the chance of being uncensored just before each time."""
        steps = np.concatenate(([1.0], self.uncensored))
        return np.asarray(steps[np.searchsorted(self.time, times, side="left")])


def censoring_curve(outcome: Outcome) -> CensoringCurve:
    """Estimate G from the censorings.

    Examples
    --------
    >>> curve = censoring_curve(Outcome(time=[1, 2, 3, 4], event=[1, 0, 1, 1]))
    >>> curve.before(curve.time).round(4).tolist()
    [1.0, 1.0, 0.6667, 0.6667]
    """
    table = risk_table(outcome)
    uncensored, _ = survival_of(table.at_risk - table.events, table.censored)
    return CensoringCurve(table.time, uncensored)
