"""What every slide reader must offer: levels, what the file says of its resolution, and pixels.

A reader knows one file format and nothing else. Choosing a level, resampling to an asked
resolution, colour management and the resolution policy are written once, in
:mod:`herscope.slide.opened`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
"""(height, width, 3), red green blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Level:
    """One image of the pyramid.

    ``downsample_x`` and ``downsample_y`` are level-0 pixels per pixel of this level;
    ``tile_width_px`` and ``tile_height_px`` are how the file is cut (the whole width for strips).
    """

    width_px: int
    height_px: int
    downsample_x: float
    downsample_y: float
    tile_width_px: int
    tile_height_px: int


@dataclass(frozen=True, slots=True)
class StatedResolution:
    """What the file itself says about its scale; every field may be absent.

    ``mpp_x``/``mpp_y`` come from the vendor's metadata, ``tag_mpp_x``/``tag_mpp_y`` from the
    format's resolution tags (which often hold a printer's dpi), all in µm/px at level 0.
    """

    mpp_x: float | None = None
    mpp_y: float | None = None
    tag_mpp_x: float | None = None
    tag_mpp_y: float | None = None
    objective_power: float | None = None


class Reader(Protocol):
    """A file that can be read by level and rectangle. One reader serves one thread at a time."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def vendor(self) -> str:
        """The maker of the file as the format names it, such as ``aperio`` or ``generic-tiff``."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """All pyramid levels, the finest first."""

    @property
    def resolution(self) -> StatedResolution:
        """What the file says of its scale."""

    @property
    def icc_profile(self) -> bytes | None:
        """The embedded ICC profile, if any."""

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a rectangle in the level's own pixels; outside the image they are white."""

    def close(self) -> None:
        """Release the file."""
