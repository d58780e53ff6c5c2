"""Every vendor format that OpenSlide knows (mrxs, ndpi, scn, vms, bif, DICOM), as a Reader.

OpenSlide places a region by level-0 coordinates and interpolates when these fall between the pixels
of a coarse level, so the same pixel could differ with the rectangle it is read in. We read whole
blocks of a fixed lattice instead and cut the rectangle out of them: the bits are always the same,
and a halo costs no second decode. Transparent pixels are white.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide

from herscope.core.errors import SlideError
from herscope.slide.colour import over_white
from herscope.slide.grid import level_downsample
from herscope.slide.protocol import Level, Rgb, StatedResolution

BLOCK_PX = 512
CACHED_BLOCKS = 80
"""512 x 512 x 3 bytes each: 63 MB."""


class OpenSlideReader:
    """Read a slide through OpenSlide.

    Parameters
    ----------
    path
        The file that names the slide (for multi-file formats, its index file).

    Raises
    ------
    SlideError
        OpenSlide cannot open it; the message is OpenSlide's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideError("not a format OpenSlide knows") from error
        except openslide.OpenSlideError as error:
            raise SlideError(
                str(error), hint="the file is damaged or incomplete: copy all of its parts again"
            ) from error
        properties = self._slide.properties
        self.vendor = str(properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"))
        self._corner, sizes = self._scanned()
        self.levels = tuple(
            Level(
                width_px=width,
                height_px=height,
                downsample_x=level_downsample(sizes[0][0], width),
                downsample_y=level_downsample(sizes[0][1], height),
                tile_width_px=_whole(properties.get(f"openslide.level[{i}].tile-width"), BLOCK_PX),
                tile_height_px=_whole(
                    properties.get(f"openslide.level[{i}].tile-height"), BLOCK_PX
                ),
            )
            for i, (width, height) in enumerate(sizes)
        )
        self.resolution = self._stated()
        profile = self._slide.color_profile
        self.icc_profile: bytes | None = profile.tobytes() if profile is not None else None
        self._blocks: dict[tuple[int, int, int], Rgb] = {}

    def _scanned(self) -> tuple[tuple[int, int], list[tuple[int, int]]]:
        """Return the scanned area's corner and its size at every level.

        A MIRAX slide states a plane far larger than what was scanned. QuPath crops to the stated
        bounds, and GeoJSON from it counts from their corner: so do we.
        """
        names = (
            openslide.PROPERTY_NAME_BOUNDS_X,
            openslide.PROPERTY_NAME_BOUNDS_Y,
            openslide.PROPERTY_NAME_BOUNDS_WIDTH,
            openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
        )
        whole = list(self._slide.level_dimensions)
        x, y, width, height = (_whole(self._slide.properties.get(name), 0) for name in names)
        if width < 1 or height < 1 or (width, height) == whole[0]:
            return (0, 0), whole
        self.notes = ("coordinates count from the corner of the scanned area, as in QuPath",)
        scales = self._slide.level_downsamples
        return (x, y), [(max(1, int(width / s)), max(1, int(height / s))) for s in scales]

    def _stated(self) -> StatedResolution:
        properties = self._slide.properties
        x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
        y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
        power = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        if self.vendor == "generic-tiff":  # OpenSlide takes these from the resolution tags
            return StatedResolution(tag_mpp_x=x, tag_mpp_y=y, objective_power=power)
        return StatedResolution(mpp_x=x, mpp_y=y, objective_power=power)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a rectangle in the level's own pixels; outside the image they are white."""
        out = np.full((height, width, 3), 255, np.uint8)
        size = self.levels[level]
        left, right = max(x, 0), min(x + width, size.width_px)
        top, bottom = max(y, 0), min(y + height, size.height_px)
        if left >= right or top >= bottom:
            return out
        for row in range(top // BLOCK_PX, -(-bottom // BLOCK_PX)):
            y0, y1 = max(top, row * BLOCK_PX), min(bottom, (row + 1) * BLOCK_PX)
            for column in range(left // BLOCK_PX, -(-right // BLOCK_PX)):
                x0, x1 = max(left, column * BLOCK_PX), min(right, (column + 1) * BLOCK_PX)
                block = self._block(level, column, row)
                out[y0 - y : y1 - y, x0 - x : x1 - x] = block[
                    y0 - row * BLOCK_PX : y1 - row * BLOCK_PX,
                    x0 - column * BLOCK_PX : x1 - column * BLOCK_PX,
                ]
        return out

    def _block(self, level: int, column: int, row: int) -> Rgb:
        key = (level, column, row)
        if (found := self._blocks.get(key)) is not None:
            return found
        scale = self._slide.level_downsamples[level]
        corner = (
            self._corner[0] + round(column * BLOCK_PX * scale),
            self._corner[1] + round(row * BLOCK_PX * scale),
        )
        try:
            image = self._slide.read_region(corner, level, (BLOCK_PX, BLOCK_PX))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"slide {self.path.name}: the {BLOCK_PX}-px block in row {row}, column {column} of "
                f"level {level} cannot be decoded: {error}",
                hint="the file is damaged or incomplete: copy all of its parts again",
            ) from error
        block = _rgb(np.asarray(image))
        while len(self._blocks) >= CACHED_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[key] = block
        return block

    def close(self) -> None:
        """Release the file and the blocks kept in memory."""
        self._slide.close()
        self._blocks = {}


def _rgb(rgba: Rgb) -> Rgb:
    if (rgba[:, :, 3] == 255).all():
        return np.ascontiguousarray(rgba[:, :, :3])
    return over_white(rgba[:, :, :3], rgba[:, :, 3:])


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(text: str | None, default: int) -> int:
    number = _number(text)
    return int(number) if number else default
