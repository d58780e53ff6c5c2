"""Colour management: from the scanner's own colours to sRGB, so that two scanners can be compared.

Conversion by Little CMS through Pillow, relative colorimetric, without black point compensation:
compensation stretches the dark end to sRGB's black, which would raise the optical density of strong
DAB by an amount that depends on the scanner. Every pixel is converted by itself, so the result does
not depend on the rectangle that was read. Once a slide has brought as many pixels as there are
colours, all colours are converted once into a table, which gives the same bits at a sixth of the
cost (13 ms per million pixels become 2, as much as decoding JPEG).

A profile that moves no probe colour by more than one grey value is taken as sRGB and skipped; this
is measured on a lattice of colours, not read from the profile's name.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from herscope.slide.protocol import Rgb

NO_PROFILE = "none"
SAME_AS_SRGB = "sRGB (no change)"
NOT_APPLIED = "present, not applied"

PROBE_STEP = 15
"""Probe colours at 0, 15, ... 255 of each channel: 18 ** 3 colours."""
UNNOTICED = 1
TABLE_PAYS_PX = 256**3

ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
"""Values of TIFF's ExtraSamples tag: colours already multiplied by alpha, or not."""


class ColourTransform:
    """A slide's colour conversion and what it is called in the result.

    Parameters
    ----------
    profile
        The embedded ICC profile, or None.
    apply
        Whether the user wants it applied.

    Attributes
    ----------
    label : str
        ``none``, ``sRGB (no change)``, ``applied: NAME``, ``present, not applied`` or
        ``unusable: WHY``.

    Examples
    --------
    >>> ColourTransform(None, apply=True).label
    'none'
    """

    def __init__(self, profile: bytes | None, *, apply: bool) -> None:
        self._transform: Any = None
        self._table: NDArray[np.uint8] | None = None
        self._converted_px = 0
        self.label = NO_PROFILE if not profile else NOT_APPLIED
        if profile and apply:
            self.label = self._build(profile)

    @property
    def changes(self) -> bool:
        """Whether pixels are changed at all."""
        return self._transform is not None

    def _build(self, profile: bytes) -> str:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            if space != "RGB":
                return f"unusable: a profile for {space} on a colour image"
            transform = ImageCms.buildTransform(
                source,
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            )
            name = ImageCms.getProfileDescription(source).strip() or "unnamed profile"
            axis = np.arange(0, 256, PROBE_STEP, dtype=np.uint8)
            probe = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
            moved = np.abs(_convert(transform, probe).astype(int) - probe.astype(int)).max()
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            return f"unusable: {str(error).strip() or type(error).__name__}"
        if moved <= UNNOTICED:
            return SAME_AS_SRGB
        self._transform = transform
        return f"applied: {name}"

    def __call__(self, pixels: Rgb) -> Rgb:
        """Return the pixels in sRGB; the same array when nothing changes."""
        if self._transform is None:
            return pixels
        if self._table is None:
            self._converted_px += pixels.shape[0] * pixels.shape[1]
            if self._converted_px < TABLE_PAYS_PX:
                return _convert(self._transform, pixels)
            self._table = _all_colours(self._transform)
        from herscope.slide.colour_table import look_up

        return look_up(pixels, self._table)


def _all_colours(transform: Any) -> NDArray[np.uint8]:
    """Convert all 256 ** 3 colours: (red, green, blue, channel), 50 MB."""
    table = np.empty((256, 256, 256, 3), np.uint8)
    plane = np.empty((256, 256, 3), np.uint8)
    plane[:, :, 1] = np.arange(256)[:, None]
    plane[:, :, 2] = np.arange(256)
    for red in range(256):
        plane[:, :, 0] = red
        table[red] = _convert(transform, plane)
    return table


def _convert(transform: Any, pixels: Rgb) -> Rgb:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    ImageCms.applyTransform(image, transform, inPlace=True)
    return np.asarray(image, dtype=np.uint8)


def over_white(pixels: Rgb, alpha: NDArray[np.uint8], kind: int = UNASSOCIATED_ALPHA) -> Rgb:
    """Lay pixels over white glass; an extra channel that is no alpha is dropped.

    Examples
    --------
    >>> over_white(np.full((1, 1, 3), 100, np.uint8), np.zeros((1, 1, 1), np.uint8)).tolist()
    [[[255, 255, 255]]]
    """
    clear = 255 - alpha.astype(np.int32)
    if kind == UNASSOCIATED_ALPHA:
        mixed = (pixels.astype(np.int32) * (255 - clear) + 255 * clear + 127) // 255
    elif kind == ASSOCIATED_ALPHA:
        mixed = np.minimum(pixels.astype(np.int32) + clear, 255)
    else:
        return pixels
    return mixed.astype(np.uint8)
