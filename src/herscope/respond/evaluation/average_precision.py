"""Average precision: the area under precision over recall, in steps.

AP = sum over thresholds of (recall - recall before) * precision, patients of equal score entering
together; nothing is interpolated, as straight lines between points would flatter (Davis and
Goadrich, ICML 2006). A score without information has the share of positive cases as AP, not one
half, so it is to be read beside that share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.stats.arguments import Floats
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.auc_bootstrap import percentiles, resampler
from herscope.stats.classification.cases import Flags, Ints, both_sides
from herscope.stats.classification.roc import checked_ranking
from herscope.stats.estimate import Estimate


def average_precision(
    positive: Any,
    scores: ArrayLike,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = SEED,
) -> Estimate:
    """Area under precision over recall with a bootstrap interval.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    scores
        (cases,) finite numbers; higher means more likely positive.
    n_resamples, level, seed
        Resamples, stratified by class; two-sided confidence level; seed.

    Raises
    ------
    InputError
        Other truths, scores that are not finite, different lengths.
    UndefinedStatistic
        All cases are of one class.

    Notes
    -----
    Oracle: scikit-learn.

    Examples
    --------
    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.8333
    """
    flags, values = checked_ranking(positive, scores)
    n_positive, n_negative = both_sides(flags, "an average precision")
    compute = _resampled(flags, values)
    plan = resampler(flags.tolist(), n_resamples=n_resamples, seed=seed)
    low, high, _ = percentiles(plan.statistic(compute), plan, level, "average precision")
    return Estimate(
        value=float(compute(np.ones((1, flags.size), np.int64))[0]),
        low=low,
        high=high,
        level=level,
        method=f"average precision, sum of recall steps x precision, ties together; {plan.words}",
        n=flags.size,
        counts={
            "positive": n_positive,
            "negative": n_negative,
            "without information": n_positive / flags.size,
        },
    )


def _resampled(flags: Flags, values: Floats) -> Callable[[Ints], Floats]:
    """Return the function from (resamples, cases) multiplicities to (resamples,) values."""
    order = np.argsort(-values, kind="stable")
    falling, truth = values[order], flags[order]
    last = np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)

    def compute(times: Ints) -> Floats:
        ordered = times[:, order]
        found = np.cumsum(ordered * truth, axis=1)[:, last]
        called = np.cumsum(ordered, axis=1)[:, last]
        precision = np.divide(found, called, out=np.zeros(found.shape), where=called > 0)
        steps = np.diff(found, axis=1, prepend=0)
        return np.asarray((steps * precision).sum(axis=1) / found[:, -1], np.float64)

    return compute
