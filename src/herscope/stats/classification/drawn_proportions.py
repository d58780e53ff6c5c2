"""Proportions and confusion tables when whole patients are drawn.

Wilson's interval takes cases as independent. When a patient has several slides they are not, and
the interval is too narrow. Here a proportion is a ratio of two sums over cases, and its interval
comes from the resamples of :class:`~herscope.stats.classification.auc_bootstrap.Resampler`, which
draws patients whole. When all cases are alike (0 or 100 %), no resample differs; then Wilson's
interval is taken over the patients, as if each had one case.
"""

from __future__ import annotations

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.stats.arguments import Floats
from herscope.stats.bootstrap import wilson_interval
from herscope.stats.classification.auc_bootstrap import Resampler, percentiles
from herscope.stats.classification.cases import Flags, Ints
from herscope.stats.estimate import Estimate


def drawn_proportion(
    part: Flags, whole: Flags, plan: Resampler, what: str, *, level: float = 0.95
) -> Estimate:
    """Share of the ``whole`` cases that are ``part``, with a bootstrap interval over patients.

    Parameters
    ----------
    part, whole
        (cases,) booleans; every part case is a whole case.
    plan
        How cases are drawn.
    what
        Name and formula for ``method``.
    level
        Two-sided confidence level.

    Raises
    ------
    UndefinedStatistic
        When there is no whole case.

    Examples
    --------
    >>> from herscope.stats.classification.auc_bootstrap import resampler
    >>> right = np.array([True, False, True, True])
    >>> plan = resampler(["x"] * 4, patients=["a", "a", "b", "c"])
    >>> drawn_proportion(right, np.ones(4, bool), plan, "accuracy").value
    0.75
    """
    top, bottom = int(np.count_nonzero(part & whole)), int(np.count_nonzero(whole))
    if bottom == 0:
        raise UndefinedStatistic(f"{what} is a share of no cases", hint="pool more cases")
    if top in {0, bottom}:
        patients = int(np.unique(plan.units[whole]).size)
        return Estimate(
            value=top / bottom,
            low=(ends := wilson_interval(patients if top else 0, patients, level=level))[0],
            high=ends[1],
            level=level,
            method=f"{what}, {top}/{bottom}; all cases alike, so Wilson score interval (1927) over "
            f"{patients} patients",
            n=bottom,
            counts={"part": top, "whole": bottom},
        )
    inside, counted = (part & whole).astype(np.int64), whole.astype(np.int64)

    def share(times: Ints) -> Floats:
        held = times @ counted
        out = np.full(held.shape, np.nan)
        return np.divide(times @ inside, held, out=out, where=held > 0)

    low, high, undefined = percentiles(plan.statistic(share), plan, level, what)
    return Estimate(
        value=top / bottom,
        low=low,
        high=high,
        level=level,
        method=f"{what}, {top}/{bottom}; {plan.words}",
        n=bottom,
        counts={"part": top, "whole": bottom},
        left_out={"resamples without such a case": undefined} if undefined else {},
    )


def drawn_tables(truth: Ints, predicted: Ints, n_classes: int, plan: Resampler) -> Ints:
    """Return (resamples, truth, prediction) confusion counts.

    Examples
    --------
    >>> from herscope.stats.classification.auc_bootstrap import resampler
    >>> plan = resampler(["x", "y"], n_resamples=3)
    >>> drawn_tables(np.array([0, 1]), np.array([0, 0]), 2, plan).sum(axis=(1, 2)).tolist()
    [2, 2, 2]
    """
    cell = (truth * n_classes + predicted)[:, None] == np.arange(n_classes * n_classes)
    counted = cell.astype(np.int64)
    tables = np.concatenate([times @ counted for times in plan.draws()])
    return tables.reshape(-1, n_classes, n_classes)
