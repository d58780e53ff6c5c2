"""The colour scale of scores: pale straw (0) through ochre to near-black brown (the maximum).

Lightness falls evenly from end to end, so that the scale is read without hue (colour blindness,
black-and-white print); interpolation is linear in sRGB between nine anchors of our own choosing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCORE_RAMP = (
    "#fbf3d4",
    "#f8e3a3",
    "#f2cc74",
    "#e7b04f",
    "#d69236",
    "#bd7425",
    "#9b561b",
    "#733a14",
    "#45200e",
)


def ramp_colors(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) RGB, 0 to 255, for fractions of the scale; outside 0 to 1 they are clipped.

    Examples
    --------
    >>> ramp_colors(np.array([0.0, 1.0])).astype(int).tolist()
    [[251, 243, 212], [69, 32, 14]]
    """
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in SCORE_RAMP])
    where = np.clip(fractions, 0.0, 1.0) * (len(anchors) - 1)
    knots = np.arange(len(anchors))
    return np.stack([np.interp(where, knots, anchors[:, channel]) for channel in range(3)], axis=1)
