"""Vary pictures of lesions in training: mirrored, turned, cropped, each with a chance of a half.

After MuMo's code: a flip, a turn by up to 30 degrees, a crop that is enlarged again. One draw holds
for the three slices of a lesion, whose places belong together.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CHANCE: Final = 0.5
TURN_DEG: Final = 30.0
SMALLEST_CROP: Final = 0.75
"""Edge of the smallest crop; the released code states none."""


def vary(pictures: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(lesions, 3, edge, edge) -> the same shape; every lesion drawn by itself.

    Examples
    --------
    >>> shown = vary(np.ones((2, 3, 8, 8), np.float32), np.random.default_rng(0))
    >>> shown.shape, float(shown.max())
    ((2, 3, 8, 8), 1.0)
    """
    return np.stack([_one(picture, rng) for picture in pictures])


def _one(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    flips, turns, crops = (rng.uniform(size=3) < CHANCE).tolist()
    degrees = float(rng.uniform(-TURN_DEG, TURN_DEG)) if turns else 0.0
    share = float(rng.uniform(SMALLEST_CROP, 1.0)) if crops else 1.0
    where = rng.uniform(-1.0, 1.0, 2) * (1.0 - share) / 2
    edge = picture.shape[-1]
    middle = (edge - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0 / share)
    matrix[:, 2] += where * edge / share
    moved = cv2.warpAffine(
        np.ascontiguousarray(picture.transpose(1, 2, 0)), matrix, (edge, edge),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0, 0.0, 0.0),
    )  # fmt: skip
    made = moved[:, ::-1] if flips else moved
    return np.ascontiguousarray(made.transpose(2, 0, 1), np.float32)
