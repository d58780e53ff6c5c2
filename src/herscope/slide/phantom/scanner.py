"""What a scanner does to the light before it is stored: colours mixed, a power, sharpening.

The light is the share that the slide lets through, so that empty glass, which is one in every
channel, stays as it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.light import Planes, blur, blur_weights
from herscope.slide.phantom.spec import PhantomSpec

_STEPS: Final = 4096


class Scanner(NamedTuple):
    """Colour matrix (rows sum to 1), power as a table, unsharp mask; None or 0 does nothing."""

    matrix: NDArray[np.float32] | None
    curve: NDArray[np.float32] | None
    sharpening: float
    mask: NDArray[np.float32]
    halo_px: int


def make_scanner(spec: PhantomSpec) -> Scanner:
    """Collect what the scanner of a slide does."""
    matrix = None
    if any(spec.color_mix):
        a, b, c, d, e, f = spec.color_mix
        matrix = np.array(
            [[1 - a - b, a, b], [c, 1 - c - d, d], [e, f, 1 - e - f]], dtype=np.float32
        )
    curve = None
    if spec.gamma != 1.0:
        curve = (np.linspace(0.0, 1.0, _STEPS + 1) ** spec.gamma).astype(np.float32)
    mask = blur_weights(spec.sharpening_um / spec.mpp if spec.sharpening else 0.0)
    return Scanner(matrix, curve, spec.sharpening, mask, mask.size // 2)


def apply_scanner(scanner: Scanner, light: Planes) -> Planes:
    """Change (3, h, w) light; the result is smaller by ``halo_px`` on every side."""
    if scanner.matrix is not None:
        red, green, blue = light
        light = np.stack([m[0] * red + m[1] * green + m[2] * blue for m in scanner.matrix])
        # a colour that mixing would make negative is black
        light = np.maximum(light, np.float32(0.0))
    if scanner.curve is not None:
        light = _curved(light, scanner.curve)
    if scanner.sharpening:
        soft = blur(light, scanner.mask)
        height, width = soft.shape[1:]
        near = scanner.halo_px
        sharp = light[:, near : near + height, near : near + width]
        light = np.maximum(sharp + np.float32(scanner.sharpening) * (sharp - soft), 0.0)
    return np.ascontiguousarray(light, dtype=np.float32)


@njit(cache=True, nogil=True)
def _curved(light: Planes, curve: NDArray[np.float32]) -> Planes:
    """Look light up in a table over [0, 1]; a power of the library may differ by its lane."""
    out = np.empty_like(light)
    for channel in range(light.shape[0]):
        for y in range(light.shape[1]):
            for x in range(light.shape[2]):
                place = min(max(light[channel, y, x], np.float32(0)), np.float32(1)) * np.float32(
                    4096.0
                )
                i = min(int(place), 4095)
                part = place - np.float32(i)
                out[channel, y, x] = curve[i] + (curve[i + 1] - curve[i]) * part
    return out
