"""Bootstrap AUCs, DeLong and site folds, against scikit-learn and the comparison of every pair.

Prints seconds and ratios of one run. Target: 2000 bootstrap AUCs of 500 cases under a second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from herscope.stats.classification.auc_bootstrap import auc_bootstrap
from herscope.stats.classification.delong import delong_variance
from herscope.stats.classification.site_folds import site_folds

CASES, RESAMPLES, ROUNDS = 500, 2000, 5
SLOW_RESAMPLES = 100


def median_seconds(work: Callable[[], object]) -> float:
    """Median time of several calls after one to warm up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    rng = np.random.Generator(np.random.PCG64(0))
    truth = rng.random(CASES) < 0.4
    scores = rng.normal(size=CASES) + truth
    large = rng.random(20_000) < 0.4
    large_scores = rng.normal(size=large.size) + large
    sites = rng.integers(0, 38, 500).astype(str)
    classes = rng.choice(["0", "1+", "2+", "3+"], 500)

    def with_scikit_learn() -> None:
        drawn = np.random.Generator(np.random.PCG64(1))
        for _ in range(SLOW_RESAMPLES):
            rows = drawn.integers(0, CASES, CASES)
            roc_auc_score(truth[rows], scores[rows])

    def every_pair() -> object:
        won = large_scores[large][:, None] > large_scores[~large]
        return won.mean(axis=1).var(), won.mean(axis=0).var()

    ours = median_seconds(lambda: auc_bootstrap(truth, scores, n_resamples=RESAMPLES))
    theirs = median_seconds(with_scikit_learn) * RESAMPLES / SLOW_RESAMPLES
    print(f"{RESAMPLES} bootstrap AUCs of {CASES} cases   {ours:8.3f} s")
    print(f"  scikit-learn, resample by resample  {theirs:8.3f} s   {theirs / ours:6.1f} x")
    fast = median_seconds(lambda: delong_variance(large, large_scores))
    slow = median_seconds(every_pair)
    print(f"DeLong variance of {large.size} cases     {fast:8.4f} s")
    print(f"  comparison of every pair            {slow:8.4f} s   {slow / fast:6.1f} x")
    split = median_seconds(lambda: site_folds(np.arange(500), classes, sites, k=5))
    print(f"site folds, 500 patients, 38 sites    {split:8.3f} s")


if __name__ == "__main__":
    main()
