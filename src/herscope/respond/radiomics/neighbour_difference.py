"""Features of the neighbourhood grey tone difference matrix (NGTDM), IBSI 3.10.

Amadasun and King, IEEE Trans Syst Man Cybern 1989;19:1264. Where IBSI puts a number in place of a
quotient by zero (coarseness 10^6, busyness, strength and contrast 0) we give none.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final = ("coarseness", "contrast", "busyness", "complexity", "strength")

Array = NDArray[np.float64]


def difference_features(voxels: NDArray[np.int64], apart: NDArray[np.int64]) -> dict[str, Array]:
    """Turn the tables of :func:`~.neighbour_counts.neighbours` into the five features.

    Parameters
    ----------
    voxels, apart
        ``(m, g, k + 1)``: voxels by level and number of neighbours, and their summed differences
        in k-ths.

    Returns
    -------
    dict
        Name to ``(m,)``; NaN where no voxel has a neighbour, or where a denominator is 0.

    Examples
    --------
    One voxel without any neighbour:

    >>> lone = difference_features(np.array([[[1, 0]]]), np.array([[[0, 0]]]))
    >>> bool(np.isnan(lone["coarseness"][0]))
    True
    """
    size = voxels.shape[1]
    around = np.arange(1, voxels.shape[2], dtype=np.float64)
    count = voxels[:, :, 1:].sum(axis=2).astype(np.float64)  # (m, g), voxels with a neighbour
    tone = (apart[:, :, 1:] / around).sum(axis=2)  # (m, g), s_i
    number = count.sum(axis=1)
    level = np.arange(1, size + 1, dtype=np.float64)
    values = {name: np.full(len(voxels), np.nan) for name in NAMES}
    for k in np.flatnonzero(number > 0).tolist():
        here = count[k] > 0
        i, p, s = level[here], count[k, here] / number[k], tone[k, here]
        gap = i[:, None] - i[None]
        weight, product = p[:, None] + p[None], p * s
        coarse, busy = float(product.sum()), float(np.abs((i * p)[:, None] - i * p).sum())
        levels = len(i)
        if coarse > 0:
            values["coarseness"][k] = 1 / coarse
        if levels > 1:
            spread = (p[:, None] * p * gap**2).sum() / (levels * (levels - 1))
            values["contrast"][k] = spread * s.sum() / number[k]
        if busy > 0:
            values["busyness"][k] = coarse / busy
        mixed = (product[:, None] + product[None]) / weight
        values["complexity"][k] = (np.abs(gap) * mixed).sum() / number[k]
        if s.sum() > 0:
            values["strength"][k] = (weight * gap**2).sum() / s.sum()
    return values
