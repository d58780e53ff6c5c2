"""Augmentation: other laboratories, scanners and orientations, drawn on every patch.

AutoIHC names brightness, contrast and hue. To these we add what varies between IHC laboratories:
amounts of haematoxylin and DAB, scaled in optical density by the deconvolution matrix (Tellez et
al., IEEE Trans Med Imaging 2018;37:2126, there for H&E), focus, and JPEG. Mirror images and turns
by 90° move image and mask together. Every draw comes from (seed, epoch, index of the patch) alone,
and all are drawn whether used or not: switching one effect off changes no other.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import od_table
from herscope.stain.vectors import RUIFROK_JOHNSTON, Triple

DEGREES_PER_HUE_STEP: Final = 2.0
"""OpenCV keeps the hue of 8-bit images in half degrees of 360."""


class AugmentSpec(Spec):
    """How strongly patches are varied. All zero and no flips: not at all."""

    flips: bool = Field(default=True, description="Mirror images and turns by 90 degrees.")
    brightness: float = Field(
        default=0.08, ge=0, le=0.5, description="Largest shift, as share of the range."
    )
    contrast: float = Field(default=0.15, ge=0, le=0.9, description="Largest relative change.")
    hue_deg: float = Field(default=8.0, ge=0, le=90, description="Largest turn of the hue.")
    hematoxylin: float = Field(
        default=0.3, ge=0, le=1.5, description="SD of the logarithm of the amount of haematoxylin."
    )
    dab: float = Field(
        default=0.4, ge=0, le=1.5, description="SD of the logarithm of the amount of DAB."
    )
    blur_share: float = Field(default=0.25, ge=0, le=1, description="Share of patches blurred.")
    blur_sigma_px: float = Field(default=1.2, ge=0, le=5, description="Largest blur.")
    jpeg_share: float = Field(default=0.3, ge=0, le=1, description="Share of patches compressed.")
    jpeg_quality: int = Field(default=50, ge=5, le=100, description="Lowest JPEG quality.")


OFF: Final = AugmentSpec(
    flips=False,
    brightness=0,
    contrast=0,
    hue_deg=0,
    hematoxylin=0,
    dab=0,
    blur_share=0,
    jpeg_share=0,
)
"""No change at all."""


class _Draw(NamedTuple):
    turns: int
    mirrored: bool
    shift: float
    gain: float
    hue: int
    stains: NDArray[np.float64]
    sigma: float
    quality: int


def augment(
    rgb: Rgb,
    mask: NDArray[Any],
    white: Triple,
    spec: AugmentSpec,
    *,
    seed: int,
    epoch: int,
    index: int,
) -> tuple[Rgb, NDArray[Any]]:
    """Vary one patch.

    Parameters
    ----------
    rgb, mask
        (height, width, 3) uint8 and (height, width) of whole numbers; a square patch stays square,
        others may be turned upright.
    white
        White point, for optical density.
    spec
        How strongly.
    seed, epoch, index
        Determine every draw.

    Returns
    -------
    rgb, mask
        New arrays; the mask is turned with the image and never altered otherwise.

    Examples
    --------
    >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> same, _ = augment(image, image[..., 0], (255, 255, 255), OFF, seed=0, epoch=0, index=0)
    >>> bool((same == image).all())
    True
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or mask.shape != rgb.shape[:2]:
        raise InputError(
            f"cannot augment an image {rgb.shape} of {rgb.dtype} with a mask {mask.shape}",
            hint="image (height, width, 3) uint8 and mask (height, width)",
        )
    draw = _draw(spec, np.random.Generator(np.random.PCG64([seed, epoch, index])))
    if draw.turns:
        rgb, mask = np.rot90(rgb, draw.turns), np.rot90(mask, draw.turns)
    if draw.mirrored:
        rgb, mask = rgb[:, ::-1], mask[:, ::-1]
    rgb, mask = np.ascontiguousarray(rgb), np.ascontiguousarray(mask)
    if spec.hematoxylin or spec.dab:
        rgb = _restain(rgb, white, draw.stains)
    if draw.hue:
        rgb = _turn_hue(rgb, draw.hue)
    if draw.shift or draw.gain != 1:
        rgb = _tone(rgb, draw.gain, draw.shift)
    if draw.sigma:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), draw.sigma), np.uint8)
    if draw.quality:
        rgb = _compress(rgb, draw.quality)
    return rgb, mask


def _draw(spec: AugmentSpec, generator: np.random.Generator) -> _Draw:
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    shift, gain, hue = generator.uniform(-1, 1, size=3)
    stains = np.exp(generator.standard_normal(2) * (spec.hematoxylin, spec.dab))
    blurs, sigma, packs, quality = generator.uniform(0, 1, size=4)
    return _Draw(
        turns=turns if spec.flips else 0,
        mirrored=mirrored and spec.flips,
        shift=255 * spec.brightness * float(shift),
        gain=1 + spec.contrast * float(gain),
        hue=round(float(hue) * spec.hue_deg / DEGREES_PER_HUE_STEP),
        stains=np.clip(stains, 0.2, 3.0),
        sigma=spec.blur_sigma_px * max(float(sigma), 0.1) if blurs < spec.blur_share else 0.0,
        quality=(
            spec.jpeg_quality + int(quality * (96 - spec.jpeg_quality))
            if packs < spec.jpeg_share
            else 0
        ),
    )


def _restain(rgb: Rgb, white: Triple, amounts: NDArray[np.float64]) -> Rgb:
    """Scale haematoxylin and DAB; the residual stays."""
    vectors = RUIFROK_JOHNSTON.matrix()
    change = np.linalg.inv(vectors) @ np.diag([*amounts, 1.0]) @ vectors
    table = od_table(white).astype(np.float32)
    density = [table[c][rgb[..., c]] for c in range(3)]
    out = np.empty(rgb.shape, np.uint8)
    for c in range(3):
        # Written out, for a matrix product may add in another order on another machine.
        total = sum(np.float32(change[k, c]) * density[k] for k in range(3))
        light = np.float32(white[c] + 1) * np.exp(np.float32(-np.log(10)) * total) - np.float32(1)
        out[..., c] = np.clip(np.rint(light), 0, 255)
    return out


def _turn_hue(rgb: Rgb, steps: int) -> Rgb:
    hsv = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + steps) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _tone(rgb: Rgb, gain: float, shift: float) -> Rgb:
    """Change contrast about the middle grey, then brightness; one table of 256 values."""
    values = (np.arange(256) - 127.5) * gain + 127.5 + shift
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)[rgb]


def _compress(rgb: Rgb, quality: int) -> Rgb:
    _, packed = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return np.asarray(cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
