"""The 25 features of grey level co-occurrence matrices (GLCM), IBSI 3.6; Haralick et al. 1973.

Every function takes a stack of count matrices ``(m, g, g)`` and gives ``(m,)`` values a feature,
NaN where the matrix does not determine it; see :mod:`.gathering` for what becomes of a NaN.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final = (
    *("joint_max", "joint_avg", "joint_var", "joint_entr", "diff_avg", "diff_var", "diff_entr"),
    *("sum_avg", "sum_var", "sum_entr", "energy", "contrast", "dissimilarity", "inv_diff"),
    *("inv_diff_norm", "inv_diff_mom", "inv_diff_mom_norm", "inv_var", "corr", "auto_corr"),
    *("clust_tend", "clust_shade", "clust_prom", "info_corr1", "info_corr2"),
)

Array = NDArray[np.float64]


def cooccurrence_features(counts: NDArray[np.int64]) -> dict[str, Array]:
    """Turn symmetric co-occurrence counts into the features of IBSI 3.6.

    Parameters
    ----------
    counts
        ``(m, g, g)`` pairs of levels 1 to g; g is the number of grey levels of the region.

    Returns
    -------
    dict
        Name in :data:`NAMES` to ``(m,)``; NaN where a matrix has no pair, and for correlations of
        a matrix with one level. Entropies are in bits.

    Examples
    --------
    >>> values = cooccurrence_features(np.array([[[2, 1], [1, 0]]]))
    >>> round(float(values["joint_avg"][0]), 3), round(float(values["contrast"][0]), 3)
    (1.25, 0.5)
    """
    size = counts.shape[-1]
    pairs = counts.sum(axis=(1, 2)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = counts / pairs[:, None, None]
    level = np.arange(1, size + 1, dtype=np.float64)
    row = share.sum(axis=2)  # (m, g); the matrix is symmetric: also the columns
    mean = row @ level
    variance = (row * (level - mean[:, None]) ** 2).sum(axis=1)
    difference, total = _diagonals(share)  # (m, g) of |i - j|, (m, 2 g - 1) of i + j
    gap = np.arange(size, dtype=np.float64)
    both = np.arange(2, 2 * size + 1, dtype=np.float64)
    diff_avg, sum_avg = difference @ gap, total @ both
    squared = difference @ gap**2
    off_mean = both - 2 * mean[:, None]
    joint_entropy = entropy(share.reshape(len(share), -1))
    auto = np.einsum("mij,i,j->m", share, level, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (auto - mean**2) / variance
    correlation[~(variance > 0)] = np.nan
    one, two = _information(row, joint_entropy)
    values = {
        "joint_max": share.max(axis=(1, 2)),
        "joint_avg": mean,
        "joint_var": variance,
        "joint_entr": joint_entropy,
        "diff_avg": diff_avg,
        "diff_var": (difference * (gap - diff_avg[:, None]) ** 2).sum(axis=1),
        "diff_entr": entropy(difference),
        "sum_avg": sum_avg,
        "sum_var": (total * (both - sum_avg[:, None]) ** 2).sum(axis=1),
        "sum_entr": entropy(total),
        "energy": (share**2).sum(axis=(1, 2)),
        "contrast": squared,
        "dissimilarity": diff_avg,
        "inv_diff": difference @ (1 / (1 + gap)),
        "inv_diff_norm": difference @ (1 / (1 + gap / size)),
        "inv_diff_mom": difference @ (1 / (1 + gap**2)),
        "inv_diff_mom_norm": difference @ (1 / (1 + (gap / size) ** 2)),
        "inv_var": difference[:, 1:] @ (1 / gap[1:] ** 2),
        "corr": correlation,
        "auto_corr": auto,
        "clust_tend": (total * off_mean**2).sum(axis=1),
        "clust_shade": (total * off_mean**3).sum(axis=1),
        "clust_prom": (total * off_mean**4).sum(axis=1),
        "info_corr1": one,
        "info_corr2": two,
    }
    return {name: np.where(pairs > 0, values[name], np.nan) for name in NAMES}


def entropy(share: Array) -> Array:
    """Shannon's entropy of each row in bits; ``0 log 0`` is 0.

    Examples
    --------
    >>> entropy(np.array([[0.5, 0.5, 0.0]])).tolist()
    [1.0]
    """
    positive = np.where(share > 0, share, 1.0)
    return np.asarray(-(np.where(share > 0, share, 0.0) * np.log2(positive)).sum(axis=-1) + 0.0)


def _diagonals(share: Array) -> tuple[Array, Array]:
    """Shares of each difference ``|i - j|`` and of each sum ``i + j``."""
    size = share.shape[-1]
    difference = np.empty((len(share), size))
    total = np.empty((len(share), 2 * size - 1))
    mirrored = share[:, :, ::-1]
    for k in range(size):
        once = np.trace(share, offset=k, axis1=1, axis2=2)
        difference[:, k] = once if k == 0 else 2 * once
    for k in range(2 * size - 1):
        total[:, k] = np.trace(mirrored, offset=size - 1 - k, axis1=1, axis2=2)
    return difference, total


def _information(row: Array, joint_entropy: Array) -> tuple[Array, Array]:
    """First and second measure of information correlation.

    With independent margins the cross entropies HXY1 and HXY2 are both twice the margin's entropy,
    because the matrix is symmetric; so no second matrix is needed.
    """
    margin = entropy(row)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (joint_entropy - 2 * margin) / margin
    first[~(margin > 0)] = np.nan
    # Rounding may leave -1e-16 where the levels are independent.
    second = np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * (2 * margin - joint_entropy))))
    second[~(margin > 0)] = np.nan
    return first, second
