"""Pictures inside pages: averaged down to what is shown, as JPEG, as a data URI."""

from __future__ import annotations

import base64
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
QUALITY: Final = 88


def fitting(rgb: Rgb, side_px: int) -> Rgb:
    """Average a picture down until its longer side is ``side_px`` at most."""
    import cv2

    height, width = rgb.shape[:2]
    if max(height, width) <= side_px:
        return rgb
    factor = side_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def jpeg_bytes(rgb: Rgb, quality: int = QUALITY) -> bytes:
    """Return (height, width, 3) RGB as a JPEG."""
    import cv2

    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return bytes(packed.tobytes())


def jpeg_uri(jpeg: bytes) -> str:
    """Return a JPEG as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
