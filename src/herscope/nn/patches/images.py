"""Images and masks of patches, read with nothing let through that is not what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from herscope.core.errors import InputError
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple

Codes = NDArray[np.uint8]
"""(height, width), 0 to 3, 255 for pixels that nobody annotated."""

SMALLEST_PX: Final = 32
"""The deepest networks halve an image five times."""
LARGEST_PX: Final = 4096


class Labelled(NamedTuple):
    """A picture, a whole number for every pixel of it, and the white point of its slide."""

    rgb: Rgb
    labels: NDArray[Any]
    white: Triple


def read_image(path: Path) -> Rgb:
    """Read an RGB image of 8 bits; (height, width, 3) uint8."""
    image = open_image(path)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")  # opaque: the fourth channel says nothing
    if image.mode != "RGB":
        raise InputError(
            f"image {path} is of the kind {image.mode}, not RGB of 8 bits",
            hint="export the patches as RGB",
        )
    rgb: Rgb = np.array(image)
    if not all(SMALLEST_PX <= side <= LARGEST_PX for side in rgb.shape[:2]):
        raise InputError(
            f"image {path} has {rgb.shape[1]} x {rgb.shape[0]} px "
            f"(allowed: {SMALLEST_PX} to {LARGEST_PX:,} on each side)",
            hint="cut patches of 256 to 512 px",
        )
    return rgb


def read_mask(path: Path, table: NDArray[np.int16]) -> Codes:
    """Read a mask and translate its values by a table of 256 entries, -1 for unknown ones."""
    image = open_image(path)
    if image.mode not in {"L", "P", "1"}:
        raise InputError(
            f"mask {path} is of the kind {image.mode}, not grey or indexed of 8 bits",
            hint="a mask has one number a pixel: 0 tumor, 1 stroma, 2 background, 3 other",
        )
    values = np.asarray(image).astype(np.uint8)
    codes = table[values]
    if (codes < 0).any():
        unknown = [int(v) for v in np.unique(values[codes < 0])]
        shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise InputError(
            f"mask {path} holds the value {shown} (known: "
            f"{', '.join(map(str, np.flatnonzero(table >= 0)))})",
            hint="0 tumor, 1 stroma, 2 background, 3 other, 255 not annotated; or say it in "
            'classes.json: {"7": "tumor"}',
        )
    return codes.astype(np.uint8)


def open_image(path: Path) -> Image.Image:
    """Read an image file whole, or say why it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (
        OSError,
        SyntaxError,  # what Pillow raises for a broken PNG
        ValueError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        raise InputError(
            f"{path} cannot be read as an image: {error}", hint="export or copy it again"
        ) from error


def same_size(image: Path, rgb: Rgb, mask_file: Path, mask: NDArray[Any]) -> None:
    """Refuse a mask that does not cover its image pixel by pixel."""
    if rgb.shape[:2] != mask.shape:
        raise InputError(
            f"mask {mask_file} has {mask.shape[1]} x {mask.shape[0]} px, "
            f"image {image.name} {rgb.shape[1]} x {rgb.shape[0]}",
            hint="a mask covers its image pixel by pixel",
        )
