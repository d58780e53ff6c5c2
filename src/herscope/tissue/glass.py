"""Where the clean glass is, and how bright it is there.

Everything that tells tissue from glass is relative to the glass of this very picture: scanners
disagree on white by 0.1 OD, cameras tilt the colour, and lamps fall off towards the corners. Glass
is what is at once bright, nearly grey and locally flat. Its colour is one number per channel; its
brightness may be a quadratic surface, because vignetting and uneven lamps are grey and smooth.

All pixel arithmetic is in whole thousandths of optical density (log10), so that thresholds fall on
integers and two runs give the same bits. A picture without glass (a field that is all tissue) is
recognised as such: then a typical scanner's white is assumed, never the palest tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
MilliOd = NDArray[np.int32]

TYPICAL_GLASS_MILLI_OD: Final = (21, 21, 21)
"""243 of 255: the white of every glass-balanced scanner picture we measured."""

MAX_SURFACE_MILLI_OD: Final = 150
"""A lamp that falls by more than a third over one picture is a shadow, not vignetting."""

_LUT: Final = np.round(-1000.0 * np.log10(np.maximum(np.arange(256), 1) / 255.0)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Glass:
    """The glass of one picture.

    Parameters
    ----------
    mask
        (h, w) bool, pixels that look like clean glass.
    milli_od
        (3, h, w) int32, optical density relative to the glass, in thousandths.
    found
        False when the picture shows no glass and a typical white was assumed.
    flat
        (h, w) bool, pixels whose surroundings vary no more than noise.
    texture
        (h, w) int32, local standard deviation of mean OD, in thousandths.
    noise
        The glass's own texture in thousandths of OD.
    """

    mask: Mask
    milli_od: MilliOd
    found: bool
    flat: Mask
    texture: MilliOd
    noise: int


def milli_od(picture: NDArray[np.uint8]) -> MilliOd:
    """Optical density against 255 in whole thousandths of log10; 0 counts as 1.

    (h, w, 3) gives (3, h, w), (h, w) gives (1, h, w): planes are read faster by every later pass.
    """
    channels = [picture] if picture.ndim == 2 else cv2.split(picture)
    # cv2.LUT is four times NumPy's fancy indexing here
    return np.stack([cv2.LUT(channel, _LUT) for channel in channels])


def box_sum(plane: NDArray[np.int32], size_px: int) -> NDArray[np.float64]:
    """Sum over a square window; whole numbers in float64, hence exact."""
    return np.asarray(
        cv2.boxFilter(
            plane, cv2.CV_64F, (size_px, size_px), normalize=False, borderType=cv2.BORDER_REFLECT
        )
    )


def local_texture(mean: NDArray[np.int32], size_px: int) -> MilliOd:
    """Local standard deviation of a plane of whole numbers, rounded down."""
    n = size_px * size_px
    total = box_sum(mean, size_px)
    squares = box_sum(mean * mean, size_px)
    return np.sqrt(np.maximum(n * squares - total * total, 0.0)).astype(np.int32) // n


def find_glass(
    od: MilliOd,
    *,
    usable: Mask,
    texture: MilliOd,
    max_milli_od: int,
    flat_milli_od: int,
    tolerance_milli_od: int,
    min_fraction: float,
) -> Glass:
    """Find the glass and express the picture relative to it.

    Parameters
    ----------
    od
        (3, h, w) int32 from :func:`milli_od`.
    usable
        (h, w) bool: pixels that may be glass (not pen, not black border).
    texture
        (h, w) int32, local standard deviation of mean OD, thousandths.
    max_milli_od
        Darkest glass: mean OD plus half the spread between channels, thousandths.
    flat_milli_od
        Largest local standard deviation of glass, thousandths.
    tolerance_milli_od
        How far glass may lie from the fitted white in any channel, thousandths.
    min_fraction
        Smallest share of the usable pixels that counts as having found glass.

    Returns
    -------
    Glass
    """
    red, green, blue = od
    mean = (red + green + blue) // 3
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)

    bright = usable & (2 * mean + spread <= 2 * max_milli_od)
    noise = int(np.percentile(texture[bright], 5)) if bright.any() else 0
    flat = texture <= max(flat_milli_od, min(3 * noise, 2 * flat_milli_od))
    candidate = bright & flat
    # a reader pads with exact white: that is paper, not this slide's glass
    padding = candidate & (mean == 0) & (texture == 0)
    if 4 * int(padding.sum()) < 3 * int(candidate.sum()):
        candidate &= ~padding

    index = np.flatnonzero(candidate)
    needed = max(48, int(min_fraction * int(usable.sum())))
    fit = None
    if index.size >= needed:
        # every k-th candidate is plenty for a colour and six coefficients
        step = max(1, index.size // SAMPLE)
        fit = _fit(od.reshape(3, -1), index[::step], mean.shape, tolerance_milli_od, needed // step)
    if fit is None:
        tint = np.asarray(TYPICAL_GLASS_MILLI_OD, np.int32)
        surface = np.zeros(mean.shape, np.int32)
    else:
        tint, surface = fit
    relative = od - tint[:, None, None] - surface
    glass = np.zeros(mean.shape, bool)
    if fit is not None:
        glass = candidate.copy()
        for plane in relative:
            glass &= np.abs(plane) <= tolerance_milli_od
    found = int(glass.sum()) >= needed
    return Glass(
        mask=glass if found else np.zeros(mean.shape, bool),
        milli_od=relative,
        found=found,
        flat=flat,
        texture=texture,
        noise=int(np.median(texture[glass])) if found else noise,
    )


SAMPLE: Final = 8_000
"""Glass pixels that the fit looks at."""


def _fit(
    pixels: MilliOd, index: NDArray[np.int64], shape: tuple[int, int], tolerance: int, needed: int
) -> tuple[NDArray[np.int32], MilliOd] | None:
    """Colour of the glass and its brightness surface, from sampled candidates."""
    od = pixels[:, index].T
    mean = od.sum(axis=1) // 3
    brightest = int(np.percentile(mean, 5))
    start = np.abs(mean - brightest) <= tolerance // 2
    colour = np.median(od[start], axis=0).astype(np.int32)
    tint = (colour - int(colour.sum()) // 3).astype(np.int32)
    y, x = index // shape[1], index % shape[1]
    coefficients = np.zeros(6)
    coefficients[0] = int(colour.sum()) // 3
    for _ in range(6):
        level = np.round(_design(x / shape[1], y / shape[0]) @ coefficients).astype(np.int32)
        glass = (np.abs(od - tint - level[:, None]) <= tolerance).all(axis=1)
        if int(glass.sum()) < max(16, needed):
            return None
        coefficients = _quadratic(x[glass] / shape[1], y[glass] / shape[0], mean[glass], index.size)
    xs = (np.arange(shape[1]) / shape[1])[None, :]
    ys = (np.arange(shape[0]) / shape[0])[:, None]
    c = coefficients
    u, v = xs - 0.5, ys - 0.5
    slope = (c[1] * u + c[3] * u * u) + (c[2] * v + c[5] * v * v) + c[4] * u * v
    limit = MAX_SURFACE_MILLI_OD
    return tint, np.round(np.clip(slope, -limit, limit) + c[0]).astype(np.int32)


def _design(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    u, v = x - 0.5, y - 0.5
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def _quadratic(
    x: NDArray[np.float64], y: NDArray[np.float64], level: NDArray[np.int32], sampled: int
) -> NDArray[np.float64]:
    """Least-squares quadratic where the glass spans the picture, else its median."""
    flat = np.zeros(6)
    flat[0] = float(np.median(level))
    low, high = np.array([0.02, 0.98]), 0.35
    spans = np.ptp(np.quantile(x, low)) > high and np.ptp(np.quantile(y, low)) > high
    if not spans or level.size < 0.1 * sampled:
        return flat
    design = _design(x, y)
    # einsum without BLAS: one fixed order of addition on every machine
    moments = np.einsum("ik,ij->kj", design, design)
    right = np.einsum("ik,i->k", design, level.astype(np.float64))
    return np.asarray(np.linalg.solve(moments + 1e-9 * np.eye(6), right))
