"""Exact smoothing of whole-number images: a Gaussian whose result cannot depend on the tile.

Image libraries round the last columns of a row, which their vector loops do not cover, by another
rule than the rest, and accumulate in floating point in an order that depends on the width. Either
is enough to move a threshold by one count and with it a nucleus. Here the weights are whole numbers
that sum to 4096 and the sums are integers, so a pixel has one value wherever the tile begins.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

TRUNCATION_SIGMAS: Final = 2.5
"""The kernel ends here; its discarded tails hold 1.2 % of the weight, which is given back."""

_NARROWEST_SIGMA_PX: Final = 0.3  # a narrower kernel is one weight of 4096


def kernel_radius_px(sigma_px: float) -> int:
    """Half width of the kernel: no pixel further than this matters to a smoothed one.

    Examples
    --------
    >>> kernel_radius_px(2.0), kernel_radius_px(0.1)
    (5, 0)
    """
    return 0 if sigma_px < _NARROWEST_SIGMA_PX else math.ceil(TRUNCATION_SIGMAS * sigma_px)


def smooth(image: NDArray[np.uint16], sigma_px: float) -> NDArray[np.uint16]:
    """Gaussian smoothing in whole numbers, edge pixels repeated outwards.

    Parameters
    ----------
    image
        (height, width) uint16.
    sigma_px
        Standard deviation in pixels; below 0.3 the image is returned as it is.

    Examples
    --------
    >>> flat = np.full((4, 5), 700, np.uint16)
    >>> bool((smooth(flat, 1.5) == 700).all())
    True
    """
    radius = kernel_radius_px(sigma_px)
    if radius == 0 or image.size == 0:
        return image
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights = np.floor(kernel / kernel.sum() * 4096 + 0.5).astype(np.int32)
    weights[radius] += 4096 - weights.sum()
    return _convolve(np.ascontiguousarray(image), weights)


@njit(cache=True, nogil=True)
def _convolve(image, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Both passes row by row; the weights are symmetric, so each pair of taps costs one product."""
    height, width = image.shape
    r = weights.size // 2
    out = np.empty((height, width), np.uint16)
    line = np.empty(width, np.int32)
    padded = np.empty(width + 2 * r, np.int32)
    centre = weights[r]
    for y in range(height):
        for x in range(width):
            line[x] = 2048 + centre * np.int32(image[y, x])
        for k in range(1, r + 1):
            w = weights[r + k]
            above, below = image[max(y - k, 0)], image[min(y + k, height - 1)]
            for x in range(width):
                line[x] += w * (np.int32(above[x]) + np.int32(below[x]))
        for x in range(width):
            padded[r + x] = line[x] >> 12
        padded[:r] = padded[r]
        padded[r + width :] = padded[r + width - 1]
        for x in range(width):
            line[x] = 2048 + centre * padded[r + x]
        for k in range(1, r + 1):
            w = weights[r + k]
            left, right = padded[r - k : r - k + width], padded[r + k : r + k + width]
            for x in range(width):
                line[x] += w * (left[x] + right[x])
        for x in range(width):
            out[y, x] = line[x] >> 12
    return out
