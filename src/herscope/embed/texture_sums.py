"""Sums over one tile from which the colour-texture features are made; whole numbers throughout.

Every plane is in milli-OD (int16), every sum is an int64, so no order of addition can change a
bit. Blocks at the right and lower border may be smaller than the others; a block counts by its
pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

BINS: Final = 512
"""Of a histogram: 8 milli-OD each, from ``BIN_FROM``; what lies outside falls into the last."""
BIN_MILLI: Final = 8
BIN_FROM: Final = -512


@njit(cache=True, nogil=True)
def colour_sums(rgb, table, hematoxylin, eosin, grey):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill ``grey`` with the mean OD; return sums of red, green, blue, H, E, and the histograms.

    ``table`` is (3, 256) int64 milli-OD. Sums are n, then for each plane its sum and its sum of
    squares, then that of H times E.
    """
    sums = np.zeros(12, np.int64)
    histograms = np.zeros((4, BINS), np.int64)  # H, E, red OD, mean OD
    height, width = hematoxylin.shape
    for y in range(height):
        for x in range(width):
            r = table[0, rgb[y, x, 0]]
            g = table[1, rgb[y, x, 1]]
            b = table[2, rgb[y, x, 2]]
            h, e = np.int64(hematoxylin[y, x]), np.int64(eosin[y, x])
            mean = (r + g + b) // 3
            grey[y, x] = mean
            sums[0] += 1
            sums[1] += r
            sums[2] += r * r
            sums[3] += g
            sums[4] += g * g
            sums[5] += b
            sums[6] += b * b
            sums[7] += h
            sums[8] += h * h
            sums[9] += e
            sums[10] += e * e
            sums[11] += h * e
            for k, value in enumerate((h, e, r, mean)):
                place = (value - BIN_FROM) // BIN_MILLI
                histograms[k, min(BINS - 1, max(0, place))] += 1
    return sums, histograms


@njit(cache=True, nogil=True)
def block_sums(plane, block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count, sum and sum of squares of each block: (3, blocks) int64."""
    height, width = plane.shape
    rows, columns = (height + block - 1) // block, (width + block - 1) // block
    out = np.zeros((3, rows * columns), np.int64)
    for y in range(height):
        row = (y // block) * columns
        for x in range(width):
            k = row + x // block
            value = np.int64(plane[y, x])
            out[0, k] += 1
            out[1, k] += value
            out[2, k] += value * value
    return out


@njit(cache=True, nogil=True)
def halved(plane):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Means of 2 x 2 pixels, rounded down; a last odd row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    out = np.empty((height, width), np.int16)
    for y in range(height):
        for x in range(width):
            total = (
                np.int64(plane[2 * y, 2 * x])
                + plane[2 * y, 2 * x + 1]
                + plane[2 * y + 1, 2 * x]
                + plane[2 * y + 1, 2 * x + 1]
            )
            out[y, x] = total // 4
    return out


@njit(cache=True, nogil=True)
def edge_sums(plane, block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Inner pixels, sum of the absolute Laplacian, and the structure tensor of each block.

    The tensor is (3, blocks): sums of dx dx, dy dy and dx dy, differences of the neighbours on both
    sides.
    """
    height, width = plane.shape
    rows, columns = (height + block - 1) // block, (width + block - 1) // block
    tensor = np.zeros((3, rows * columns), np.int64)
    pixels, laplacian = np.int64(0), np.int64(0)
    for y in range(1, height - 1):
        row = (y // block) * columns
        for x in range(1, width - 1):
            left, right = np.int64(plane[y, x - 1]), np.int64(plane[y, x + 1])
            above, below = np.int64(plane[y - 1, x]), np.int64(plane[y + 1, x])
            dx, dy = right - left, below - above
            k = row + x // block
            tensor[0, k] += dx * dx
            tensor[1, k] += dy * dy
            tensor[2, k] += dx * dy
            pixels += 1
            laplacian += abs(left + right + above + below - 4 * np.int64(plane[y, x]))
    return pixels, laplacian, tensor


@njit(cache=True, nogil=True)
def blob_sums(labels, count, signal):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Pixels, sums of x, y, xx, yy, xy and of the signal of each label: (7, count) int64."""
    out = np.zeros((7, count), np.int64)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            if k == 0:
                continue
            out[0, k] += 1
            out[1, k] += x
            out[2, k] += y
            out[3, k] += x * x
            out[4, k] += y * y
            out[5, k] += x * y
            out[6, k] += np.int64(signal[y, x])
    return out


@njit(cache=True, nogil=True)
def otsu_bin(histogram, low, high):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Last bin of the darker half of Otsu's division (1979), kept within low and high."""
    total, weighted = np.int64(0), np.int64(0)
    for i in range(histogram.size):
        total += histogram[i]
        weighted += i * histogram[i]
    best, best_value = low, -1.0
    below, below_weighted = np.int64(0), np.int64(0)
    for i in range(histogram.size):
        below += histogram[i]
        below_weighted += i * histogram[i]
        above = total - below
        if below == 0 or above == 0:
            continue
        gap = below_weighted / below - (weighted - below_weighted) / above
        value = float(below) * float(above) * gap * gap
        if value > best_value:
            best, best_value = i, value
    return min(high, max(low, best))
