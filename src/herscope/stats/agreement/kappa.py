"""Cohen's kappa of two readers, unweighted or weighted, with its large-sample interval.

``kappa = (p_o - p_e) / (1 - p_e)`` where ``p_o`` is the (weighted) share of agreement and ``p_e``
what the margins alone would give: J. Cohen, Educ Psychol Meas 1960;20:37 and, weighted, Psychol
Bull 1968;70:213. The variance is that of J. L. Fleiss, J. Cohen and B. S. Everitt, Psychol Bull
1969;72:323, equation 13, which holds for any weights. We clip the interval at -1 and 1, and give
none for perfect agreement, where the formula would claim certainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.stats.agreement.categories import (
    Label,
    PairCounts,
    Weights,
    agreement_weights,
    count_pairs,
)
from herscope.stats.arguments import normal_quantile
from herscope.stats.estimate import Estimate


def cohen_kappa(
    a: Sequence[Label],
    b: Sequence[Label],
    *,
    weights: Weights = "none",
    order: Sequence[Label] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Compare two readers who labelled the same cases.

    Parameters
    ----------
    a, b
        (n,) labels of the same cases in the same order.
    weights
        ``none``, ``linear`` or ``quadratic``; the last two need ordered categories.
    order
        All categories from lowest to highest; ``0 1+ 2+ 3+`` and the like need none.
    level
        Two-sided confidence level.

    Returns
    -------
    Estimate
        Kappa, -1 to 1, its interval, and p_o and p_e among the counts.

    Raises
    ------
    InputError
        Different lengths, missing labels, or weights without an order.
    UndefinedStatistic
        No pairs, or both readers used one and the same category throughout.

    Examples
    --------
    >>> a = ["0"] * 20 + ["1+"] * 5 + ["0"] * 10 + ["1+"] * 15
    >>> b = ["0"] * 25 + ["1+"] * 25
    >>> print(cohen_kappa(a, b))
    0.400 [0.151, 0.649], n 50
    """
    return kappa_of_counts(count_pairs(a, b, order=order), weights=weights, level=level)


def kappa_of_counts(
    pairs: PairCounts, *, weights: Weights = "none", level: float = 0.95
) -> Estimate:
    """Turn counts of pairs into kappa; see :func:`cohen_kappa`."""
    table = agreement_weights(pairs.scale, weights)
    share = pairs.counts / pairs.n
    observed, expected, kappa = _kappa(pairs, share, table)
    method = f"Cohen's kappa, {_spoken_weights(weights)}, categories {pairs.scale}"
    z = normal_quantile(level)
    low = high = None
    if observed < 1.0 and pairs.n > 1:
        half = z * math.sqrt(_variance(share, table, kappa, expected) / pairs.n)
        low, high = max(-1.0, kappa - half), min(1.0, kappa + half)
        method += "; large-sample interval (Fleiss, Cohen and Everitt 1969)"
    else:
        method += "; no interval: the readers never differ, so the large-sample variance is 0"
    counts = {"agreed": pairs.agreed, "p_observed": observed, "p_expected": expected}
    return Estimate(kappa, low, high, level, method, pairs.n, counts)


def _kappa(
    pairs: PairCounts, share: NDArray[np.float64], table: NDArray[np.float64]
) -> tuple[float, float, float]:
    rows, columns = pairs.counts.sum(axis=1), pairs.counts.sum(axis=0)
    if np.count_nonzero(rows + columns) < 2:
        only = pairs.scale.names[int(np.argmax(rows + columns))]
        raise UndefinedStatistic(
            f"both readers put all {pairs.n} cases in the category {only!r}, "
            "so chance agreement is 1 and kappa is 0/0",
            hint="report the overall agreement; kappa needs cases of two categories",
        )
    observed = float((table * share).sum())
    expected = float((table * np.outer(rows / pairs.n, columns / pairs.n)).sum())
    if pairs.agreed == pairs.n:
        observed = 1.0  # rounding of the shares may miss it
    return observed, expected, (observed - expected) / (1.0 - expected)


def _variance(
    share: NDArray[np.float64], table: NDArray[np.float64], kappa: float, expected: float
) -> float:
    """Variance of kappa times n: Fleiss, Cohen and Everitt 1969, equation 13."""
    row_weight = table @ share.sum(axis=0)  # mean weight of row i over the columns' margin
    column_weight = share.sum(axis=1) @ table
    apart = table - (row_weight[:, None] + column_weight) * (1.0 - kappa)
    spread = float((share * apart**2).sum()) - (kappa - expected * (1.0 - kappa)) ** 2
    return max(spread, 0.0) / (1.0 - expected) ** 2


def _spoken_weights(weights: Weights) -> str:
    return {
        "none": "unweighted (Cohen 1960)",
        "linear": "linear weights (Cohen 1968; Cicchetti and Allison 1971)",
        "quadratic": "quadratic weights (Cohen 1968; Fleiss and Cohen 1973)",
    }[weights]
