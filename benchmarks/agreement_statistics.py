"""Agreement statistics against the libraries that offer the same number, in the same run.

Prints seconds and ratios. Statistics without a peer are given with their time only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from herscope.stats.agreement.agreement_summary import categorical_agreement, continuous_agreement
from herscope.stats.agreement.correlation import kendall_tau_b, spearman
from herscope.stats.agreement.kappa import cohen_kappa
from herscope.stats.agreement.krippendorff import krippendorff_alpha
from herscope.stats.agreement.method_comparison import passing_bablok
from herscope.stats.agreement.paired import wilcoxon_signed_rank

CASES, ROUNDS = 500, 5


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
    truth = rng.uniform(0, 300, CASES)
    a, b = truth + rng.normal(0, 15, CASES), truth + rng.normal(5, 15, CASES)
    first, second = ([f"{grade}+" for grade in (x // 76).clip(0, 3).astype(int)] for x in (a, b))
    rows: list[tuple[str, Callable[[], object], Callable[[], object] | None]] = [
        (
            "Cohen's kappa / scikit-learn",
            lambda: cohen_kappa(first, second, weights="quadratic"),
            lambda: cohen_kappa_score(first, second, weights="quadratic"),
        ),
        ("Spearman / scipy", lambda: spearman(a, b), lambda: stats.spearmanr(a, b)),
        ("Kendall / scipy", lambda: kendall_tau_b(a, b), lambda: stats.kendalltau(a, b)),
        ("Wilcoxon / scipy", lambda: wilcoxon_signed_rank(a, b), lambda: stats.wilcoxon(a, b)),
        (
            "Passing-Bablok / Theil-Sen",
            lambda: passing_bablok(a, b),
            lambda: stats.theilslopes(b, a),
        ),
        (
            "alpha, ordinal, 2000 resamples",
            lambda: krippendorff_alpha([a.round(), b.round()], measurement="ordinal"),
            None,
        ),
        ("full report, categories", lambda: categorical_agreement({"a": first, "b": second}), None),
        ("full report, measurements", lambda: continuous_agreement({"a": a, "b": b}), None),
    ]
    print(f"{CASES} cases")
    for name, ours, theirs in rows:
        seconds = median_seconds(ours)
        peer = f"  {seconds / median_seconds(theirs):6.2f} of the peer's time" if theirs else ""
        print(f"{name:34}{seconds * 1e3:9.2f} ms{peer}")


if __name__ == "__main__":
    main()
