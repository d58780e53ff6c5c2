"""The slide's own white point: the light that passes where there is no tissue.

Optical density needs the incident light. A scanner's clean glass is rarely 255, and an error of
five grey levels is 0.01 OD on every pixel. The median of clean glass in the overview is used; where
a field shows no glass, the brightest light in each channel stands for it, and the source says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple

MIN_GLASS_PIXELS: Final = 150
DARKEST_WHITE: Final = 120.0
_BRIGHTEST_PERCENT: Final = 99.9


@dataclass(frozen=True, slots=True)
class WhitePoint:
    """Red, green, blue of unstained light (0 to 255), and how it was found."""

    values: Triple
    source: str
    measured: bool


def white_point(rgb: Rgb, glass: NDArray[np.bool_]) -> WhitePoint:
    """Measure the white point of an overview.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8 overview.
    glass
        (height, width) clean glass, from :func:`herscope.tissue.detection.detect_tissue`.

    Returns
    -------
    WhitePoint
        Each channel's median over glass, or, with fewer than 150 such pixels or a median darker
        than 120, its 99.9th percentile over the picture.

    Examples
    --------
    >>> picture = np.full((20, 20, 3), 240, np.uint8)
    >>> white_point(picture, np.ones((20, 20), bool)).values
    (240.0, 240.0, 240.0)
    """
    pixels = rgb[glass]
    if len(pixels) >= MIN_GLASS_PIXELS:
        medians = [float(np.median(pixels[:, c])) for c in range(3)]
        if min(medians) >= DARKEST_WHITE:
            return WhitePoint(
                (medians[0], medians[1], medians[2]),
                f"median of {len(pixels):,} clean overview pixels",
                measured=True,
            )
    bright = [
        max(float(np.percentile(rgb[..., c], _BRIGHTEST_PERCENT)), DARKEST_WHITE) for c in range(3)
    ]
    return WhitePoint(
        (bright[0], bright[1], bright[2]),
        "assumed: no clean glass in the picture, brightest 0.1 % of each channel",
        measured=False,
    )
