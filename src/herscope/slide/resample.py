"""Area averaging from a level to a coarser grid, the same bits whatever rectangle is asked for.

A grid pixel is the mean of the level pixels it covers, partly covered ones by the covered part. The
edges of grid pixel ``i`` are ``i * step`` and ``(i + 1) * step`` with ``step`` a whole number of
1/65536 level pixels counted from the slide's corner, so the weights depend on the global position
alone. Sums are integers; the only rounding is one IEEE division at the end, halves up. Whole-number
steps 2 and 4 (the usual pyramid) have their own loops, which give the same bits.

Box averaging is the exact model of a coarser camera pixel and needs no pixels beyond its own
footprint; a Lanczos kernel would be sharper, but it rings at membranes and reads further.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from herscope.slide.grid import ONE_PX, STEP_BITS
from herscope.slide.protocol import Rgb

LARGEST_FACTOR_32 = 256
"""Up to here one column's sum, 256 * 65536 * 255, fits 32 bits: half the memory traffic."""


def footprint(start: int, stop: int, step: int) -> tuple[int, int]:
    """Return the level pixels ``[first, last)`` that grid pixels ``[start, stop)`` cover.

    Examples
    --------
    >>> footprint(10, 20, 3 << 15)
    (15, 30)
    """
    return (start * step) >> STEP_BITS, -((-stop * step) >> STEP_BITS)


def area_average(
    source: Rgb, *, x: int, y: int, width: int, height: int, step_x: int, step_y: int
) -> Rgb:
    """Average level pixels to a rectangle of a coarser grid.

    Parameters
    ----------
    source
        (rows, columns, 3) level pixels of the rectangle's :func:`footprint` on both axes.
    x, y, width, height
        The rectangle in grid pixels from the slide's corner.
    step_x, step_y
        Level pixels per grid pixel times 65536, at least 65536.

    Returns
    -------
    ndarray
        (height, width, 3) uint8.

    Examples
    --------
    >>> pixels = np.array([[[0, 0, 0], [3, 3, 3]], [[4, 4, 4], [3, 3, 3]]], np.uint8)
    >>> area_average(pixels, x=0, y=0, width=1, height=1, step_x=2 << 16, step_y=2 << 16).tolist()
    [[[3, 3, 3]]]
    """
    source = np.ascontiguousarray(source)
    out = np.empty((height, width, 3), np.uint8)
    if step_x == step_y == 2 * ONE_PX:
        _mean_2(source, out)
    elif step_x == step_y == 4 * ONE_PX:
        _mean_4(source, out)
    else:
        narrow = step_y <= LARGEST_FACTOR_32 * ONE_PX
        column_sums = np.empty(source.shape[1] * 3, np.uint32 if narrow else np.uint64)
        _mean_any(source, out, column_sums, x, y, step_x, step_y)
    return out


@numba.njit(nogil=True, cache=True)
def _mean_2(source: Rgb, out: Rgb) -> None:
    height, width, _ = out.shape
    for i in range(height):
        upper, lower = source[2 * i], source[2 * i + 1]
        for j in range(width):
            for c in range(3):
                total = (
                    np.uint32(upper[2 * j, c])
                    + np.uint32(upper[2 * j + 1, c])
                    + np.uint32(lower[2 * j, c])
                    + np.uint32(lower[2 * j + 1, c])
                )
                out[i, j, c] = np.uint8((total + np.uint32(2)) >> np.uint32(2))


@numba.njit(nogil=True, cache=True)
def _mean_4(source: Rgb, out: Rgb) -> None:
    height, width, _ = out.shape
    columns = np.empty((4 * width, 3), np.uint16)
    for i in range(height):
        a, b = source[4 * i], source[4 * i + 1]
        c, d = source[4 * i + 2], source[4 * i + 3]
        for j in range(4 * width):
            for k in range(3):
                columns[j, k] = (
                    np.uint16(a[j, k])
                    + np.uint16(b[j, k])
                    + np.uint16(c[j, k])
                    + np.uint16(d[j, k])
                )
        for j in range(width):
            for k in range(3):
                total = (
                    np.uint32(columns[4 * j, k])
                    + np.uint32(columns[4 * j + 1, k])
                    + np.uint32(columns[4 * j + 2, k])
                    + np.uint32(columns[4 * j + 3, k])
                )
                out[i, j, k] = np.uint8((total + np.uint32(8)) >> np.uint32(4))


@numba.njit(nogil=True, cache=True)
def _mean_any(
    source: Rgb,
    out: Rgb,
    column_sums: NDArray[np.unsignedinteger],
    x: int,
    y: int,
    step_x: int,
    step_y: int,
) -> None:
    one = 65536
    height, width, _ = out.shape
    rows, columns, _ = source.shape
    flat = source.reshape(rows, columns * 3)
    first_row, first_column = (y * step_y) >> 16, (x * step_x) >> 16
    whole = float(step_x) * float(step_y)
    for i in range(height):
        top, bottom = (y + i) * step_y, (y + i + 1) * step_y
        column_sums[:] = 0
        for row in range(top >> 16, (bottom + one - 1) >> 16):
            weight = column_sums.dtype.type(min(bottom, (row + 1) * one) - max(top, row * one))
            line = flat[row - first_row]
            for k in range(columns * 3):
                column_sums[k] += weight * column_sums.dtype.type(line[k])
        for j in range(width):
            left, right = (x + j) * step_x, (x + j + 1) * step_x
            red = green = blue = np.uint64(0)
            for column in range(left >> 16, (right + one - 1) >> 16):
                share = np.uint64(min(right, (column + 1) * one) - max(left, column * one))
                k = 3 * (column - first_column)
                red += share * np.uint64(column_sums[k])
                green += share * np.uint64(column_sums[k + 1])
                blue += share * np.uint64(column_sums[k + 2])
            out[i, j, 0] = np.uint8(float(red) / whole + 0.5)
            out[i, j, 1] = np.uint8(float(green) / whole + 0.5)
            out[i, j, 2] = np.uint8(float(blue) / whole + 0.5)
