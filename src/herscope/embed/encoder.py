"""What an encoder must offer: a card that says what it is, and features of tiles."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec

Tiles = NDArray[np.uint8]
"""(tiles, height, width, 3), red green blue."""


class EncoderCard(Spec):
    """What an encoder is and what it takes; part of what makes features comparable."""

    name: str = Field(..., description="Name on the command line.")
    summary: str = Field(..., description="One sentence.")
    features: int = Field(..., ge=1, le=65_536, description="Numbers a tile.")
    input_px: int = Field(
        ..., ge=8, le=4096, description="Edge to which tiles are resized and cropped for it."
    )
    resize: str = Field(
        ..., description="How tiles become that size, such as 'bicubic 224, centre crop 224'."
    )
    mean: tuple[float, float, float] = Field(..., description="Taken from pixels of 0 to 1.")
    std: tuple[float, float, float] = Field(..., description="Divides them afterwards.")
    precision: str = Field(default="float32", description="float32 or bf16.")
    licence: str = Field(..., description="SPDX name of the weights' licence, or who grants it.")
    source: str = Field(..., description="Author, year, and where the weights come from.")
    weights_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Checksum of the weights; absent without weights.",
    )


class Encoder(Protocol):
    """Turns tiles into features; resizing and normalising pixels is its own business."""

    @property
    def card(self) -> EncoderCard:
        """What it is."""

    def embed(self, tiles: Tiles) -> NDArray[np.float32]:
        """(tiles, height, width, 3) uint8 of any size -> (tiles, features)."""
