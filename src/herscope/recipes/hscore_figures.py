"""How far estimates of H-scores are from the truth, and from one another.

Values come from :mod:`herscope.stats.agreement`; intervals draw slides or patients, for patches of
one slide are alike. So do the paired tests between estimators: the absolute errors are averaged
within each group first, and groups are what Wilcoxon's test counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.recipes.judging import FEWEST_GROUPS, by_group

if TYPE_CHECKING:
    from herscope.stats.estimate import Estimate

Numbers = NDArray[np.float64]
N_RESAMPLES = 1000
"""Ranks are made anew in every resample; a thousand hold the 2.5 % bounds to about a tenth."""


def hscore_figures(
    estimates: Numbers, truth: Numbers, groups: Sequence[str], seed: int
) -> dict[str, Any]:
    """Every figure of one estimator.

    Parameters
    ----------
    estimates, truth
        (patches,) H-scores.
    groups
        Slide or patient of each patch.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``mae``, ``bias``, ``lower_limit``, ``upper_limit`` (of agreement), ``mape``, ``mpe`` (per
        cent, over H > 0), ``spearman`` and ``ccc``, each ``{"value", "ci95"}`` with None where the
        patches do not determine it; ``zeros``: how many patches have H = 0, and ``mae`` there.
    """
    from herscope.stats.agreement.bland_altman import bland_altman
    from herscope.stats.agreement.concordance import lin_concordance
    from herscope.stats.agreement.correlation import spearman
    from herscope.stats.agreement.percentage_error import percentage_error
    from herscope.stats.arguments import normal_quantile

    error = estimates - truth
    wide = normal_quantile(0.95)

    def figure(
        value: Callable[[], float], statistic: Callable[[NDArray[np.int64]], float]
    ) -> dict[str, Any]:
        try:
            found = value()
        except UndefinedStatistic:
            return {"value": None, "ci95": None}
        return {"value": found, "ci95": _interval(groups, statistic, seed)}

    def limit(side: int) -> Callable[[NDArray[np.int64]], float]:
        return lambda rows: float(error[rows].mean() + side * wide * error[rows].std(ddof=1))

    share = percentage_error(estimates, truth, groups=groups, n_resamples=N_RESAMPLES, seed=seed)
    return {
        "mae": figure(
            lambda: float(np.abs(error).mean()), lambda rows: float(np.abs(error[rows]).mean())
        ),
        "bias": figure(lambda: float(error.mean()), lambda rows: float(error[rows].mean())),
        "lower_limit": figure(lambda: bland_altman(estimates, truth).lower.value, limit(-1)),
        "upper_limit": figure(lambda: bland_altman(estimates, truth).upper.value, limit(1)),
        "mape": _told(share.absolute),
        "mpe": _told(share.signed),
        "zeros": {"patches": share.zeros, "mae": _told(share.at_zero)},
        "spearman": figure(
            lambda: spearman(estimates, truth).value,
            lambda rows: spearman(estimates[rows], truth[rows]).value,
        ),
        "ccc": figure(
            lambda: lin_concordance(estimates, truth).value,
            lambda rows: lin_concordance(estimates[rows], truth[rows]).value,
        ),
    }


def comparisons(
    estimates: Mapping[str, Numbers], truth: Numbers, groups: Sequence[str]
) -> list[dict[str, Any]]:
    """Wilcoxon's signed-rank test of the absolute errors of every pair of estimators.

    Parameters
    ----------
    estimates
        (patches,) H-scores by the estimator's name.
    truth, groups
        As for :func:`hscore_figures`.

    Returns
    -------
    list of dict
        ``a``, ``b``, ``shift`` (Hodges and Lehmann, points by which the errors of a are larger),
        ``ci95`` of it, ``p_value``, ``n`` groups, ``method``; ``p_value`` is None where the errors
        do not differ. The p values are not adjusted for the number of pairs.
    """
    from herscope.stats.agreement.paired import wilcoxon_signed_rank

    names = sorted(estimates)
    rows = np.stack([np.abs(estimates[name] - truth) for name in names], axis=1)
    counted = by_group(np.concatenate([np.ones((len(rows), 1)), rows], axis=1), groups)
    means = dict(zip(names, (counted[:, 1:] / counted[:, :1]).T, strict=True))
    told = []
    for a, b in combinations(estimates, 2):
        row: dict[str, Any] = {"a": a, "b": b, "shift": None, "ci95": None, "p_value": None}
        try:
            found = wilcoxon_signed_rank(means[a], means[b])
        except UndefinedStatistic as error:
            told.append({**row, "n": len(counted), "method": error.message})
            continue
        shift = found.shift
        row["p_value"] = found.test.p_value
        if shift is not None:
            row["shift"] = shift.value
            row["ci95"] = None if shift.low is None else [shift.low, shift.high]
        method = f"{found.test.method}; of absolute errors averaged in each group"
        told.append({**row, "n": found.test.n, "method": method})
    return told


def _told(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"value": None, "ci95": None}
    enough = estimate.low is not None and estimate.counts["groups"] >= FEWEST_GROUPS
    return {"value": estimate.value, "ci95": [estimate.low, estimate.high] if enough else None}


def _interval(
    groups: Sequence[str], statistic: Callable[[NDArray[np.int64]], float], seed: int
) -> list[float] | None:
    from herscope.stats.group_bootstrap import group_interval

    if len(set(groups)) < FEWEST_GROUPS:
        return None
    try:
        bounds = group_interval(groups, statistic, n_resamples=N_RESAMPLES, seed=seed)
    except UndefinedStatistic:
        return None
    return [bounds.low, bounds.high]
