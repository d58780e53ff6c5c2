"""From dye to pixels: transmitted light, optics, sensor.

Light through the slide is white x 10^-(sum of amount x vector); then Gaussian blur of the light;
then white point, shading and noise; then rounding to 8 bits. The power comes from a table with
linear interpolation and the blur's weights are multiples of 2^-14 that sum to exactly one, so empty
glass stays exactly white and the same pixel has the same bits whatever rectangle it is drawn in.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import mix

Planes = NDArray[np.float32]

LARGEST_OD: Final = 4.0
_STEPS: Final = 4096
_UNIT: Final = 1 << 14

POWERS: Final[Planes] = (10.0 ** -(np.arange(_STEPS + 2) * (LARGEST_OD / _STEPS))).astype(
    np.float32
)


@njit(cache=True, nogil=True)
def densities(dyes: Planes, vectors: NDArray[np.float32]) -> Planes:
    """(3, h, w) amounts of dye to (3, h, w) optical density in red, green, blue."""
    out = np.empty_like(dyes)
    for channel in range(3):
        a, b, c = vectors[0, channel], vectors[1, channel], vectors[2, channel]
        for y in range(dyes.shape[1]):
            for x in range(dyes.shape[2]):
                out[channel, y, x] = a * dyes[0, y, x] + b * dyes[1, y, x] + c * dyes[2, y, x]
    return out


@njit(cache=True, nogil=True)
def transmit(density: Planes, powers: Planes) -> None:
    """Optical density to transmitted share of light, in place."""
    scale = np.float32(4096.0 / 4.0)
    top = np.float32(4095.999)
    for channel in range(3):
        for y in range(density.shape[1]):
            for x in range(density.shape[2]):
                position = min(max(density[channel, y, x] * scale, np.float32(0)), top)
                i = int(position)
                part = position - np.float32(i)
                low = powers[i]
                density[channel, y, x] = low + (powers[i + 1] - low) * part


def blur_weights(sigma_px: float) -> Planes:
    """Gaussian weights out to 3 SD; one weight when the blur is under a fifth of a pixel."""
    if sigma_px < 0.2:
        return np.ones(1, dtype=np.float32)
    radius = math.ceil(3 * sigma_px)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (x / sigma_px) ** 2)
    whole = np.floor(weights / weights.sum() * _UNIT + 0.5)
    whole[radius] += _UNIT - whole.sum()
    return (whole / _UNIT).astype(np.float32)


@njit(cache=True, nogil=True)
def blur(light: Planes, weights: Planes) -> Planes:
    """Separable convolution; the result is smaller by the radius on every side."""
    radius = weights.size // 2
    if radius == 0:
        return light
    channels, height, width = light.shape
    across = np.zeros((channels, height, width - 2 * radius), np.float32)
    for channel in range(channels):
        for y in range(height):
            for k in range(weights.size):
                weight = weights[k]
                for x in range(width - 2 * radius):
                    across[channel, y, x] += weight * light[channel, y, x + k]
    out = np.zeros((channels, height - 2 * radius, width - 2 * radius), np.float32)
    for channel in range(channels):
        for y in range(height - 2 * radius):
            for k in range(weights.size):
                weight = weights[k]
                for x in range(width - 2 * radius):
                    out[channel, y, x] += weight * across[channel, y + k, x]
    return out


def shading_profile(start_px: int, count: int, mpp: float, depth: float, phase: float) -> Planes:
    """Relative illumination along one axis, period 1.7 mm, between 1 - depth/2 and 1."""
    um = (start_px + np.arange(count) + 0.5) * mpp
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * (um / 1700.0 + phase))
    profile: Planes = (1.0 - 0.5 * depth * wave).astype(np.float32)
    return profile


@njit(cache=True, nogil=True)
def expose(
    light: Planes,
    empty: bool,
    white: NDArray[np.float32],
    shade_x: Planes,
    shade_y: Planes,
    seed: np.uint64,
    noise_sd: float,
    x0: int,
    y0: int,
    out: NDArray[np.uint8],
) -> None:
    """Write 8-bit pixels of a rectangle whose corner is (x0, y0); ``empty``: no dye anywhere.

    Noise is a centred sum of four 16-bit uniforms per channel, hashed from the pixel's address.
    """
    gain = np.float32(noise_sd * math.sqrt(3.0) / 65536.0)
    one = np.float32(1)
    for y in range(out.shape[0]):
        row = mix(np.uint64(seed) ^ mix(np.uint64(y0 + y)))
        for x in range(out.shape[1]):
            level = shade_x[x] * shade_y[y]
            word = row + np.uint64(x0 + x) * np.uint64(0xD1B54A32D192ED03)
            for channel in range(3):
                value = white[channel] * level * (one if empty else light[channel, y, x])
                if noise_sd > 0:
                    h = mix(word + np.uint64(channel))
                    total = (
                        np.int64(h & np.uint64(0xFFFF))
                        + np.int64((h >> np.uint64(16)) & np.uint64(0xFFFF))
                        + np.int64((h >> np.uint64(32)) & np.uint64(0xFFFF))
                        + np.int64(h >> np.uint64(48))
                    )
                    value += gain * np.float32(total - 131070)
                out[y, x, channel] = np.uint8(
                    min(max(value + np.float32(0.5), np.float32(0)), np.float32(255))
                )
