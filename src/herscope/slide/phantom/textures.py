"""Stationary noise that is drawn once and looked up by absolute pixel.

Gaussian noise filtered in Fourier space is periodic by construction. Each texture is the sum of two
with coprime periods (960 and 1001 px), so the pair repeats only after 961,000 px, and looking it up
walks memory in order, which is what makes a gigapixel phantom affordable.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]

PERIOD_A: Final = 960
PERIOD_B: Final = 1001
FIBRE_TABLE: Final = 8192
"""Samples of the one-dimensional noise that makes fibres; eight samples a fibre."""

GRAIN_UM: Final = 0.55
CLOUD_UM: Final = 4.0
WOBBLE_UM: Final = 2.6


class Textures(NamedTuple):
    """Unit-variance noise: chromatin grain, clouds, bends along x and y (µm), fibre profile."""

    grain_a: Plane
    grain_b: Plane
    cloud_a: Plane
    cloud_b: Plane
    bend_x_a: Plane
    bend_x_b: Plane
    bend_y_a: Plane
    bend_y_b: Plane
    fibre: Plane


@functools.lru_cache(maxsize=2)
def make_textures(seed: int, mpp: float, wobble_um: float) -> Textures:
    """Draw all textures of one slide (about 0.3 s, 32 MB); the last two sets are kept.

    Parameters
    ----------
    seed
        Seed of the slide.
    mpp
        µm per pixel, so that grain has the same size in µm at any resolution.
    wobble_um
        SD of the bend in µm along each axis.
    """
    rng = np.random.Generator(np.random.PCG64(seed))

    def pair(correlation_um: float, scale: float) -> tuple[Plane, Plane]:
        sigma_px = max(correlation_um / mpp, 0.4)
        a, b = (_smooth_noise(rng, period, sigma_px) for period in (PERIOD_A, PERIOD_B))
        factor = np.float32(scale / math.sqrt(2.0))
        return a * factor, b * factor

    grain, cloud = pair(GRAIN_UM, 1.0), pair(CLOUD_UM, 1.0)
    bend_x, bend_y = pair(WOBBLE_UM, wobble_um), pair(WOBBLE_UM, wobble_um)
    frequency = np.fft.rfftfreq(FIBRE_TABLE)
    spectrum = np.fft.rfft(rng.standard_normal(FIBRE_TABLE)) * np.exp(
        -0.5 * (2 * np.pi * frequency * 4.0) ** 2
    )
    profile = np.fft.irfft(spectrum, FIBRE_TABLE)
    profile = (profile - profile.mean()) / profile.std()
    return Textures(*grain, *cloud, *bend_x, *bend_y, profile.astype(np.float32))


def _smooth_noise(rng: np.random.Generator, period: int, sigma_px: float) -> Plane:
    """(period, period) Gaussian noise of unit variance, correlated over ``sigma_px``."""
    spectrum = np.fft.rfft2(rng.standard_normal((period, period)))
    fy = np.fft.fftfreq(period)[:, None]
    fx = np.fft.rfftfreq(period)[None, :]
    spectrum *= np.exp(-0.5 * (2 * np.pi * sigma_px) ** 2 * (fx**2 + fy**2))
    image = np.fft.irfft2(spectrum, (period, period))
    image = (image - image.mean()) / image.std()
    return image.astype(np.float32)


@njit(cache=True)
def at_pixel(a: Plane, b: Plane, x: int, y: int) -> float:
    """Texture value at a whole pixel (negative indices wrap as well)."""
    return a[y % PERIOD_A, x % PERIOD_A] + b[y % PERIOD_B, x % PERIOD_B]


@njit(cache=True)
def at_point(a: Plane, b: Plane, x: float, y: float) -> float:
    """Texture value between pixels, bilinear; ``x``, ``y`` in pixels, centres at whole numbers."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    top = at_pixel(a, b, i, j) * (1 - u) + at_pixel(a, b, i + 1, j) * u
    bottom = at_pixel(a, b, i, j + 1) * (1 - u) + at_pixel(a, b, i + 1, j + 1) * u
    return top * (1 - v) + bottom * v


@njit(cache=True)
def unbend(
    bend_x_a: Plane,
    bend_x_b: Plane,
    bend_y_a: Plane,
    bend_y_b: Plane,
    mpp: float,
    x_um: float,
    y_um: float,
) -> tuple[float, float]:
    """Where a point of the straight plane lies on the slide: solves p + bend(p) = q.

    A fixed point; the bend's slope is well under one, so six rounds leave under 0.01 µm.
    """
    px, py = x_um, y_um
    for _ in range(6):
        i, j = px / mpp - 0.5, py / mpp - 0.5
        px, py = (
            x_um - at_point(bend_x_a, bend_x_b, i, j),
            y_um - at_point(bend_y_a, bend_y_b, i, j),
        )
    return px, py


@njit(cache=True)
def unbend_all(
    bend_x_a: Plane,
    bend_x_b: Plane,
    bend_y_a: Plane,
    bend_y_b: Plane,
    mpp: float,
    points_um: NDArray[np.float64],
) -> NDArray[np.float64]:
    """:func:`unbend` for an array (n, 2) of x, y in µm."""
    out = np.empty_like(points_um)
    for n in range(points_um.shape[0]):
        out[n, 0], out[n, 1] = unbend(
            bend_x_a, bend_x_b, bend_y_a, bend_y_b, mpp, points_um[n, 0], points_um[n, 1]
        )
    return out
