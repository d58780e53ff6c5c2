"""Patients for tests of survival statistics: R's leukaemia trial, drawn cohorts, pair counts."""

from itertools import combinations

import numpy as np

from herscope.stats.survival.outcome import Outcome

# Acute myelogenous leukaemia, R's survival::aml (Miller 1981): weeks of remission, 1 = relapse.
MAINTAINED = Outcome(
    time=[9, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161],
    event=[1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0],
)
NOT_MAINTAINED = Outcome(
    time=[5, 5, 8, 8, 12, 16, 23, 27, 30, 33, 43, 45],
    event=[1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1],
)
AML = Outcome(
    time=[*MAINTAINED.time, *NOT_MAINTAINED.time], event=[*MAINTAINED.event, *NOT_MAINTAINED.event]
)
ARM = ["maintained"] * 11 + ["not maintained"] * 12


def cohort(seed, n=120, *, ties=True):
    """Patients whose risk works, with censoring and, when asked, many equal times and risks."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time = rng.exponential(60 * np.exp(-0.7 * risk))
    censored = rng.exponential(80, n)
    event = time <= censored
    time = np.minimum(time, censored)
    if ties:
        time, risk = np.ceil(time / 10) * 10, np.round(risk, 1)
    return Outcome(time=time, event=event), risk


def brute_force_c(outcome, risk, weight, *, same_time=True):
    """Every pair by the definition."""
    top = bottom = 0.0
    for i, j in combinations(range(len(outcome)), 2):
        for a, b in ((i, j), (j, i)):
            waits = same_time and outcome.time[a] == outcome.time[b] and not outcome.event[b]
            if outcome.event[a] and (outcome.time[a] < outcome.time[b] or waits):
                bottom += weight[a]
                top += weight[a] * ((risk[a] > risk[b]) + 0.5 * (risk[a] == risk[b]))
    return top / bottom
