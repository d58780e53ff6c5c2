"""What nuclei say about their surroundings: whole-number sums per cell of a coarse map.

Everything :mod:`herscope.segment.nests` decides on is a ratio of sums over neighbours, so a window
leaves nothing but sums: of the nuclei whose seed lies in its core, and of the pixels of its core.
Sums of whole numbers are the same whatever the windows and their order, and so is their smoothing,
whose weights are whole numbers too.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.segment.nuclei import Nuclei
from herscope.segment.smoothing import TRUNCATION_SIGMAS

NUCLEI: Final = 0
"""Nuclei."""
WIDTH: Final = 1
"""Their widths (shorter axis of the ellipse of equal second moments), hundredths of a µm."""
COLLAR: Final = 2
"""Pixels within the collar of a nucleus and in no nucleus."""
COLLAR_SIGNAL: Final = 3
"""Their nuclear signal, milli-OD, at most one OD each."""
N_SUMS: Final = 4

WEIGHT_ONE: Final = 1 << 12
_DARKEST_MILLI_OD: Final = 1000  # darker: a nucleus that was not outlined, not cytoplasm

Sums = NDArray[np.int32]
"""(N_SUMS, rows, columns) of the map."""


def tally(
    nuclei: Nuclei,
    signal: NDArray[np.uint16],
    mpp: float,
    *,
    core: tuple[int, int, int, int],
    cell_px: int,
    collar_um: float,
) -> Sums:
    """Sum up one window.

    Parameters
    ----------
    nuclei
        Of the window and its halo.
    signal
        (height, width) uint16 nuclear signal of the same pixels, milli-OD.
    mpp
        Micrometres per pixel.
    core
        y0, x0, y1, x1 of the core in these pixels; it begins on a border of the map's cells.
    cell_px
        Edge of a cell of the map in pixels.
    collar_um
        Width of the collar round a nucleus.

    Returns
    -------
    Sums
        Of the core's cells; those of the last row and column may be cut.

    Examples
    --------
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[16:24, 12:28] = 1
    >>> nuclei = Nuclei(labels, np.array([[20, 20]], np.int32))
    >>> signal = np.where(labels > 0, 400, 100).astype(np.uint16)
    >>> sums = tally(nuclei, signal, 1.0, core=(0, 0, 40, 40), cell_px=20, collar_um=4.0)
    >>> sums[NUCLEI].tolist(), int(sums[COLLAR_SIGNAL].sum() / sums[COLLAR].sum())
    ([[0, 0], [0, 1]], 100)
    >>> round(int(sums[WIDTH, 1, 1]) / 100, 1)  # of a bar 8 px wide: 8 * 4 / sqrt(12)
    9.2
    """
    y0, x0, y1, x1 = core
    rows, columns = -(-(y1 - y0) // cell_px), -(-(x1 - x0) // cell_px)
    sums = np.zeros((N_SUMS, rows, columns), np.int32)
    inside = nuclei.labels > 0
    radius = max(1, math.floor(collar_um / mpp + 0.5))
    near = cv2.dilate(inside.view(np.uint8), _disk(radius), borderValue=0)
    collar = np.asarray(near).view(np.bool_) & ~inside
    _tally_collar(sums, collar, signal, y0, x0, y1, x1, cell_px)
    if len(nuclei.seeds) == 0:
        return sums
    y, x = (nuclei.seeds[:, axis].astype(np.int64) for axis in (0, 1))
    own = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    width = _widths(_moments(nuclei.labels, len(own))[:, own], mpp)
    cell = ((y - y0) // cell_px * columns + (x - x0) // cell_px)[own]
    flat = sums.reshape(N_SUMS, -1)
    np.add.at(flat[NUCLEI], cell, 1)
    np.add.at(flat[WIDTH], cell, width)
    return sums


def smooth_sums(plane: NDArray[np.int32], sigma: float) -> NDArray[np.int64]:
    """Gaussian sum over neighbours in whole numbers; beyond the border there is nothing.

    Parameters
    ----------
    plane
        (rows, columns) sums.
    sigma
        Standard deviation in cells of the map, above 0.

    Returns
    -------
    (rows, columns) int64
        Times :data:`WEIGHT_ONE` squared.

    Examples
    --------
    >>> plane = np.zeros((9, 9), np.int32)
    >>> plane[4, 4] = 3
    >>> int(smooth_sums(plane, 1.0).sum()) == 3 * WEIGHT_ONE**2
    True
    """
    radius = math.ceil(TRUNCATION_SIGMAS * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = np.floor(kernel / kernel.sum() * WEIGHT_ONE + 0.5).astype(np.int64)
    weights[radius] += WEIGHT_ONE - weights.sum()
    out = plane.astype(np.int64)
    for _ in range(2):  # down the columns, then, turned, along the rows
        length = out.shape[0]
        padded = np.pad(out, ((radius, radius), (0, 0)))
        out = np.zeros_like(out)
        for k, weight in enumerate(weights.tolist()):
            out += weight * padded[k : k + length]
        out = out.T
    return out


def _disk(radius: int) -> NDArray[np.uint8]:
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (yy * yy + xx * xx <= radius * radius).astype(np.uint8)


def _widths(moments: NDArray[np.int64], mpp: float) -> NDArray[np.int32]:
    """Widths of nuclei in hundredths of a µm.

    Only sums, products, quotients and roots, which IEEE 754 rounds alike on every machine.
    """
    n, sy, sx, syy, sxx, sxy = moments.astype(np.float64)
    square = 1 / 12  # second moment of a pixel, which is a square and no point
    vy = syy / n - (sy / n) * (sy / n) + square
    vx = sxx / n - (sx / n) * (sx / n) + square
    vxy = sxy / n - (sx / n) * (sy / n)
    apart = np.sqrt((vx - vy) * (vx - vy) + 4 * vxy * vxy)
    short = np.sqrt(np.maximum((vx + vy - apart) / 2, square))
    return np.floor(100 * 4 * mpp * short + 0.5).astype(np.int32)


@njit(cache=True, nogil=True)
def _moments(labels, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Pixels, sums of y and x from the nucleus' first pixel, and of their products.

    Places count from the first pixel, not the window's corner, so that the quotients above are the
    same bits in every window.
    """
    out = np.zeros((6, count), np.int64)
    first = np.zeros((2, count), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x] - 1
            if k < 0:
                continue
            if out[0, k] == 0:
                first[0, k] = y
                first[1, k] = x
            dy, dx = y - first[0, k], x - first[1, k]
            out[0, k] += 1
            out[1, k] += dy
            out[2, k] += dx
            out[3, k] += dy * dy
            out[4, k] += dx * dx
            out[5, k] += dx * dy
    return out


@njit(cache=True, nogil=True)
def _tally_collar(sums, collar, signal, y0, x0, y1, x1, cell):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for y in range(y0, y1):
        r = (y - y0) // cell
        for x in range(x0, x1):
            if collar[y, x]:
                c = (x - x0) // cell
                sums[COLLAR, r, c] += 1
                sums[COLLAR_SIGNAL, r, c] += min(signal[y, x], _DARKEST_MILLI_OD)
