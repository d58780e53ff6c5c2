"""Interval of a ratio of sums over patients by leaving each patient out once.

With T(-i) the statistic without patient i, the jackknife variance is (n - 1) / n times the sum of
(T(-i) - mean)^2 (Tukey, Ann Math Stat 1958;29:614; for the C-index Therneau and Atkinson, the
survival package's concordance vignette, uses its first-order form). The bounds are symmetric on the
logit scale, so that an index between 0 and 1 has bounds between 0 and 1.
"""

from __future__ import annotations

import math

import numpy as np

from herscope.stats.arguments import Floats, normal_quantile


def jackknife_interval(value: float, without: Floats, level: float) -> tuple[float, float] | None:
    """Bound an index between 0 and 1.

    Parameters
    ----------
    value
        The index on all patients.
    without
        (n,) the index without each patient; NaN where it is then undefined.
    level
        Two-sided confidence level.

    Returns
    -------
    tuple of float or None
        None where the index is 0 or 1 or hangs on a single patient.

    Examples
    --------
    >>> low, high = jackknife_interval(0.7, np.array([0.68, 0.7, 0.72, 0.7]), 0.95)
    >>> round(low, 3), round(high, 3)
    (0.65, 0.746)
    """
    z = normal_quantile(level)
    if without.size < 2 or not np.isfinite(without).all() or not 0 < value < 1:
        return None
    n = without.size
    error = math.sqrt((n - 1) / n * float(np.square(without - without.mean()).sum()))
    step = z * error / (value * (1 - value))
    logit = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(logit + sign * step))) for sign in (-1, 1))
    return low, high
