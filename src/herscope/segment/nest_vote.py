"""From sums to nests: the score of a place, the slide's own cut, and what becomes of specks.

A part of :mod:`herscope.segment.nests`, which says what is decided and why.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.segment.nest_tally import (
    COLLAR,
    COLLAR_SIGNAL,
    NUCLEI,
    WEIGHT_ONE,
    WIDTH,
    Sums,
    smooth_sums,
)

WIDEST_SCORE_UM: Final = 12.8
_BINS_PER_UM: Final = 10


def score_map(
    sums: Sums, *, sigma: float, bar_um: float, gain_um: float, contrast_od: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score every cell of the map and count the nuclei around it.

    Parameters
    ----------
    sums
        (N_SUMS, rows, columns) of the whole slide.
    sigma
        Gaussian sigma of the averages, in cells.
    bar_um, gain_um
        ``bar_um`` and ``collar_gain_um`` of the Spec.
    contrast_od
        Contrast of the slide's nuclei, which the collar is measured by.

    Returns
    -------
    score
        (rows, columns) float64, µm; of no meaning where there are no nuclei.
    around
        (rows, columns) float64: nuclei, each weighted by a Gaussian of height 1.

    Examples
    --------
    >>> sums = np.ones((4, 9, 9), np.int32) * np.array([1, 600, 10, 900])[:, None, None]
    >>> score, around = score_map(sums, sigma=1.0, bar_um=7.0, gain_um=0.8, contrast_od=0.06)
    >>> round(float(score[4, 4]), 2), round(float(around[4, 4]), 1)  # a collar of 0.09 OD
    (0.2, 6.3)
    """
    nuclei, width, collar, collar_signal = (
        smooth_sums(sums[plane], sigma).astype(np.float64)
        for plane in (NUCLEI, WIDTH, COLLAR, COLLAR_SIGNAL)
    )
    score = width / np.maximum(nuclei, 1) / 100 - bar_um
    score += gain_um * (collar_signal / np.maximum(collar, 1) / (1000 * contrast_od))
    return score, nuclei * (2 * math.pi * sigma * sigma / WEIGHT_ONE**2)


def own_cut(score: NDArray[np.float64], nuclei: NDArray[np.int32], split_um: float) -> float | None:
    """Cut a slide's nuclei into two groups by their scores (Otsu 1979).

    Parameters
    ----------
    score, nuclei
        (n,) score and number of nuclei of each cell of the map.
    split_um
        Least difference of the groups' means.

    Returns
    -------
    float or None
        The cut, a whole tenth of a µm; None where the groups lie closer together.

    Examples
    --------
    >>> own_cut(np.array([-3.0, -2.95, 1.0]), np.array([50, 40, 30]), 1.2)
    -2.9
    >>> own_cut(np.array([-0.4, -0.2, 0.1]), np.array([50, 40, 30]), 1.2) is None
    True
    """
    half = math.floor(WIDEST_SCORE_UM * _BINS_PER_UM)
    bins = np.clip(np.floor(score * _BINS_PER_UM).astype(np.int64), -half, half - 1) + half
    counts = np.zeros(2 * half, np.int64)
    np.add.at(counts, bins, nuclei)
    place = np.arange(2 * half, dtype=np.int64)
    below, first = np.cumsum(counts), np.cumsum(counts * place)
    total, moment = int(below[-1]), int(first[-1])
    inner = np.flatnonzero((below > 0) & (below < total))
    if len(inner) == 0:
        return None
    n0, s0 = below[inner].astype(np.float64), first[inner].astype(np.float64)
    n1, s1 = total - n0, moment - s0
    apart = s1 / n1 - s0 / n0
    best = int(np.argmax(n0 * n1 * apart * apart))
    if apart[best] < split_um * _BINS_PER_UM:
        return None
    return float(int(inner[best]) + 1 - half) / _BINS_PER_UM


def absorb(codes: NDArray[np.uint8], code: int, into: int, least_cells: float) -> None:
    """Give pieces of ``code`` that are too small to ``into`` where they touch it; in place.

    Parameters
    ----------
    codes
        (rows, columns) map.
    code, into
        Whose pieces, and who takes them.
    least_cells
        Pieces of fewer cells (4-connected) are too small.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (codes == code).astype(np.uint8), connectivity=4
    )
    other = (codes == into).astype(np.uint8)
    beside = np.zeros(count, np.bool_)
    beside[labels[cv2.dilate(other, np.ones((3, 3), np.uint8)) > 0]] = True
    gone = beside & (stats[:, cv2.CC_STAT_AREA] < least_cells)
    gone[0] = False
    codes[gone[labels]] = into
