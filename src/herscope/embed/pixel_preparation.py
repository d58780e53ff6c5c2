"""What is done to a tile before an encoder sees it: resize, crop, mean and deviation.

Resizing is Pillow's, which filters over the area a pixel comes from (antialias) and rounds to whole
levels; this is what torchvision, timm and open_clip do with a Pillow picture, and transformers with
its Pillow processors. Their tensor variants round elsewhere and differ by a level or so. The centre
crop begins at ``round((edge - crop) / 2)``, halves to even, as torchvision does it; for the square
tiles and even differences of every encoder known here transformers does the same.

Mean and deviation are looked up from a table of 256 levels, so the same level gives the same bits
in every batch.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.errors import SchemaError, WrongInput
from herscope.core.spec import Spec
from herscope.embed.encoder import Tiles

Interpolation = Literal["bicubic", "bilinear", "lanczos", "nearest"]
Colour = tuple[float, float, float]

CLIP_MEAN: Final[Colour] = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final[Colour] = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures CLIP was trained on (Radford 2021); most of its descendants keep them."""
IMAGENET_MEAN: Final[Colour] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Colour] = (0.229, 0.224, 0.225)
HALF: Final[Colour] = (0.5, 0.5, 0.5)
"""Moves pixels to -1 to 1 (Inception's convention)."""

_WORDS: Final = re.compile(
    r"(?P<how>bicubic|bilinear|lanczos|nearest) (?:(?P<edge>\d+)|to (?P<square>\d+) x (?P=square))"
    r"(?:, centre crop (?P<crop>\d+))?"
)


class Preparation(Spec):
    """How a tile becomes an encoder's input.

    Examples
    --------
    >>> preparation("bicubic 256, centre crop 224", HALF, HALF).input_px
    224
    """

    interpolation: Interpolation = Field(default="bicubic", description="Filter of the resizing.")
    resize_px: int = Field(..., ge=8, le=8192, description="Edge after resizing: the shorter one.")
    squash: bool = Field(default=False, description="Both edges become resize_px.")
    crop_px: int | None = Field(
        default=None, ge=8, le=8192, description="Edge of the centre crop; none when absent."
    )
    mean: Colour = Field(..., description="Taken from pixels of 0 to 1.")
    std: Colour = Field(..., description="Divides them afterwards.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} must be above 0")
        if self.crop_px is not None and self.crop_px > self.resize_px:
            raise ValueError(f"a crop of {self.crop_px} px from tiles of {self.resize_px} px")
        return self

    @property
    def input_px(self) -> int:
        """Edge of what the encoder sees."""
        return self.resize_px if self.crop_px is None else self.crop_px

    @property
    def words(self) -> str:
        """Resizing as a card states it; :func:`preparation` reads it back."""
        edge = f"to {self.resize_px} x {self.resize_px}" if self.squash else str(self.resize_px)
        crop = "" if self.crop_px is None else f", centre crop {self.crop_px}"
        return f"{self.interpolation} {edge}{crop}"


def preparation(words: str, mean: Colour, std: Colour) -> Preparation:
    """Read the resizing of a card.

    Parameters
    ----------
    words
        ``FILTER N``, ``FILTER N, centre crop M`` or ``FILTER to N x N``, with the filter bicubic,
        bilinear, lanczos or nearest. ``N`` alone is the shorter edge, ``N x N`` both.
    mean, std
        For pixels of 0 to 1.

    Raises
    ------
    SchemaError
        Other words, or sizes and deviations that cannot be.

    Examples
    --------
    >>> preparation("bilinear to 224 x 224", HALF, HALF).words
    'bilinear to 224 x 224'
    """
    found = _WORDS.fullmatch(words)
    if not found:
        raise SchemaError(
            f"the resizing {words!r} of an encoder is not understood",
            hint="write 'bicubic 224, centre crop 224' or 'bicubic to 224 x 224' (filters: "
            "bicubic, bilinear, lanczos, nearest)",
        )
    try:
        return Preparation.model_validate(
            {
                "interpolation": found["how"],
                "resize_px": int(found["edge"] or found["square"]),
                "squash": found["square"] is not None,
                "crop_px": int(found["crop"]) if found["crop"] else None,
                "mean": mean,
                "std": std,
            }
        )
    except ValueError as error:
        raise SchemaError(
            f"the preparation {words!r} of an encoder cannot be: {error}",
            hint="crop no more than is left after resizing; deviations are above 0",
        ) from error


def prepare(tiles: Tiles, how: Preparation) -> NDArray[np.float32]:
    """Resize, crop and normalise tiles.

    Parameters
    ----------
    tiles
        (tiles, height, width, 3) uint8, red green blue.
    how
        The encoder's preparation.

    Returns
    -------
    ndarray
        (tiles, 3, edge, edge) float32; with ``how.squash`` off and no crop the longer side of a
        tile that is not square stays longer.

    Raises
    ------
    WrongInput
        Another shape or type.

    Examples
    --------
    >>> how = preparation("bicubic 8", HALF, HALF)
    >>> prepare(np.full((1, 16, 16, 3), 255, np.uint8), how).max()
    np.float32(1.0)
    """
    check_tiles(tiles)
    if not len(tiles):
        return np.empty((0, 3, how.input_px, how.input_px), np.float32)
    small = np.stack([_resized(tile, how) for tile in tiles])
    levels = np.arange(256, dtype=np.float64)[:, None] / 255.0
    table = ((levels - np.array(how.mean)) / np.array(how.std)).astype(
        np.float32
    )  # (level, colour)
    out = np.empty((len(small), 3, *small.shape[1:3]), np.float32)
    for colour in range(3):
        np.take(table[:, colour], small[..., colour], out=out[:, colour], mode="clip")
    return out


def three(values: Any) -> Colour:
    """Return three numbers for red, green and blue from a configuration; raises ValueError."""
    if isinstance(values, list | tuple) and len(values) == 3:
        red, green, blue = (float(value) for value in values)
        return red, green, blue
    raise ValueError(f"{values!r} is not three numbers for red, green and blue")


def check_tiles(tiles: Tiles) -> None:
    """Refuse what is no batch of tiles."""
    fault = ""
    if not isinstance(tiles, np.ndarray) or tiles.dtype != np.uint8:
        fault = f"uint8 pixels, got {getattr(tiles, 'dtype', type(tiles).__name__)}"
    elif tiles.ndim != 4 or tiles.shape[3] != 3:
        fault = f"(tiles, height, width, 3), got {tiles.shape}"
    elif 0 in tiles.shape[1:]:
        fault = f"tiles of at least one pixel, got {tiles.shape}"
    if fault:
        raise WrongInput(f"an encoder takes {fault}", hint="give red green blue tiles of 0 to 255")


def _resized(tile: NDArray[np.uint8], how: Preparation) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = tile.shape[:2]
    edge = how.resize_px
    if how.squash:
        size = (edge, edge)
    elif width <= height:
        size = (edge, int(edge * height / width))
    else:
        size = (int(edge * width / height), edge)
    if size != (width, height):
        picture = Image.fromarray(np.ascontiguousarray(tile))
        tile = np.asarray(picture.resize(size, Image.Resampling[how.interpolation.upper()]))
    if how.crop_px is not None:
        top, left = (round((side - how.crop_px) / 2) for side in tile.shape[:2])
        tile = tile[top : top + how.crop_px, left : left + how.crop_px]
    return tile
