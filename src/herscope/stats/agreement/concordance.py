"""Lin's concordance correlation: how close two readers' values lie to the line of identity.

``2 s_ab / (s_a^2 + s_b^2 + (mean_a - mean_b)^2)`` with variances over n: L. I.-K. Lin, Biometrics
1989;45:255. It is Pearson's r times a factor for shift and scale. The interval is made on Fisher's
z with the variance of the 1989 paper as corrected in Biometrics 2000;56:324, and is asymmetric.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from herscope.stats.arguments import normal_quantile, paired_numbers
from herscope.stats.estimate import Estimate


def lin_concordance(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Compare two readers' numbers with the line of identity.

    Parameters
    ----------
    a, b
        (n,) finite numbers of the same cases, n at least 3.
    level
        Two-sided confidence level.

    Returns
    -------
    Estimate
        -1 to 1; Pearson's r, the location shift and the bias factor are among the counts.

    Raises
    ------
    InputError
        Missing values or different lengths.
    UndefinedStatistic
        Fewer than three cases, or a reader who gave one and the same value throughout.

    Examples
    --------
    >>> print(lin_concordance([1, 2, 3, 4, 5], [1.1, 2.3, 2.8, 4.4, 5.1]))
    0.985 [0.873, 0.998], n 5
    """
    x, y = paired_numbers(a, b, "Lin's concordance", needed=3, varying=True)
    n = x.size
    dx, dy = x - x.mean(), y - y.mean()
    var_x, var_y, cov = (float((p * q).mean()) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
    shift = float(x.mean() - y.mean())
    value = 2 * cov / (var_x + var_y + shift**2)
    r = cov / math.sqrt(var_x * var_y)
    u = shift / math.sqrt(math.sqrt(var_x * var_y))
    counts = {"pearson_r": r, "location_shift": u, "bias_factor": value / r if r else math.nan}
    method = "Lin's concordance correlation (1989)"
    z = normal_quantile(level)
    low = high = None
    if r == 0:
        method += "; no interval: Pearson's r is 0"
    elif 1 - abs(value) < 1e-12:
        method += "; no interval: the readers never differ"
    else:
        half = z * math.sqrt(_z_variance(value, r, u, n))
        low, high = math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
        method += "; interval on Fisher's z (Lin 1989, corrected 2000)"
    return Estimate(value, low, high, level, method, n, counts)


def _z_variance(value: float, r: float, u: float, n: int) -> float:
    """Variance of atanh of the coefficient: Lin 2000, correction."""
    if 1 - abs(r) < 1e-12:
        r = math.copysign(1.0, r)
    variance = (
        (1 - r**2) * value**2 * (1 - value**2) / r**2
        + 2 * value**3 * (1 - value) * u**2 / r
        - value**4 * u**4 / (2 * r**2)
    ) / (n - 2)
    return max(variance, 0.0) / (1 - value**2) ** 2
