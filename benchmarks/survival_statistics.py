"""Log-rank, Kaplan-Meier and C-index against lifelines on the same patients.

Prints milliseconds and ratios of one run. Target: a 10,000-patient log-rank in milliseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import concordance_index

from herscope.stats.survival.concordance_index import harrell_c
from herscope.stats.survival.kaplan_meier import kaplan_meier
from herscope.stats.survival.log_rank import log_rank
from herscope.stats.survival.outcome import Outcome
from herscope.stats.survival.time_auc import time_auc

PATIENTS, ROUNDS = 10_000, 5


def median_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median time of several calls after one to warm up."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def main() -> None:
    """Measure and print."""
    rng = np.random.Generator(np.random.PCG64(0))
    risk = rng.normal(size=PATIENTS)
    death, lost = rng.exponential(400 * np.exp(-risk)), rng.exponential(600, PATIENTS)
    outcome = Outcome(time=np.ceil(np.minimum(death, lost)), event=death <= lost)
    group = rng.integers(0, 2, PATIENTS).astype(str).tolist()
    t, e = outcome.time, outcome.event
    rows = [
        ("log-rank", lambda: log_rank(outcome, group),
         lambda: multivariate_logrank_test(t, group, e)),
        ("Kaplan-Meier with intervals", lambda: kaplan_meier(outcome),
         lambda: KaplanMeierFitter().fit(t, e)),
        ("Harrell's C (ours with interval)", lambda: harrell_c(outcome, risk),
         lambda: concordance_index(t, -risk, e)),
    ]  # fmt: skip
    for name, ours, theirs in rows:
        mine, other = median_ms(ours), median_ms(theirs, 3)
        print(f"{name:34} {mine:8.2f} ms   lifelines {other:8.2f} ms   {other / mine:6.1f} x")
    print(
        f"{'AUC(365) with interval':34} {median_ms(lambda: time_auc(outcome, risk, 365)):8.2f} ms"
    )


if __name__ == "__main__":
    main()
