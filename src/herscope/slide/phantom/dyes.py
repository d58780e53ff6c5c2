"""Dyes and glass: unit optical-density vectors of what is drawn, and their variation.

Haematoxylin, eosin and DAB after Ruifrok and Johnston (Anal Quant Cytol Histol 2001;23:291). They
are kept here, apart from :mod:`herscope.stain`, because they are the drawn truth: a measuring
layer that changes its own vectors must not change the phantom along with them.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.slide.phantom.spec import PhantomSpec

HEMATOXYLIN: Final = (0.650, 0.704, 0.286)
EOSIN: Final = (0.072, 0.990, 0.105)
DAB: Final = (0.268, 0.570, 0.776)

PEN_INKS: Final = ((1.25, 0.62, 0.12), (1.1, 0.25, 0.95), (0.9, 0.95, 0.9))
"""Optical density in red, green, blue of a blue, a green and a black felt pen."""


def dye_vectors(spec: PhantomSpec) -> NDArray[np.float64]:
    """(3, 3) rows haematoxylin, DAB, eosin: unit optical density in red, green, blue.

    ``stain_rotation_deg`` turns haematoxylin towards DAB and DAB towards haematoxylin, each by
    that angle, within the plane they span.

    Examples
    --------
    >>> np.linalg.norm(dye_vectors(PhantomSpec()), axis=1).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    h, d, e = (np.asarray(v) / np.linalg.norm(v) for v in (HEMATOXYLIN, DAB, EOSIN))
    if spec.stain_rotation_deg:
        angle = math.radians(spec.stain_rotation_deg)
        h, d = _turned(h, d, angle), _turned(d, h, angle)
    return np.stack([h, d, e])


def _turned(
    vector: NDArray[np.float64], towards: NDArray[np.float64], angle: float
) -> NDArray[np.float64]:
    side = towards - (towards @ vector) * vector
    turned = math.cos(angle) * vector + math.sin(angle) * side / np.linalg.norm(side)
    # a dye cannot emit light: an extreme turn is held at the border of what is possible
    turned = np.maximum(turned, 0.0)
    out: NDArray[np.float64] = turned / np.linalg.norm(turned)
    return out
