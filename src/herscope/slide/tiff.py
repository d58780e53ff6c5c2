"""Tiled and stripped TIFF (Aperio SVS, OME-TIFF, generic pyramids) at the speed of the decoder.

tifffile reads the directories once; after that a read is a seek, one imagecodecs call per tile and
one copy. Levels are the pages or SubIFDs of the same shape as the largest image; labels, macro
pictures and Aperio's stripped thumbnail are left out. Nothing here knows of resolution policy,
resampling or colour management: see :mod:`herscope.slide.opened`.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from herscope.core.errors import SlideError
from herscope.slide.grid import level_downsample
from herscope.slide.protocol import Level, Rgb
from herscope.slide.tiff_scale import stated_resolution, vendor_of
from herscope.slide.tiff_segments import (
    Segments,
    UnsupportedLayout,
    decode_segment,
    segments_of,
)

CACHE_BYTES = 64 << 20
REDUCED_IMAGE, MASK = 1, 4
LEAST_DOWNSAMPLE = 1.2
ASPECT_TOLERANCE = 0.01
MOST_IMAGES = 1000
DAMAGED = "the file is damaged or was cut off: copy it again from its source"


class TiffReader:
    """Read a TIFF by level and rectangle.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UnsupportedLayout
        A sound TIFF of a kind that is not read here.
    SlideError
        The file is damaged or cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        with _tifffile_remarks() as remarks, _plain_errors(), tifffile.TiffFile(path) as tif:
            self._parse(tif)
        _refuse_cut_off(path.stat().st_size, self._last_byte, remarks)
        self._file = path.open("rb", buffering=0)
        self._cache = _TileCache(CACHE_BYTES)
        self._scratch: Rgb = np.empty((0, 0, 3), np.uint8)

    def _parse(self, tif: Any) -> None:
        pages = _all_pages(tif)
        if not pages:
            raise SlideError("it has no image directory: it was cut off", hint=DAMAGED)
        description = str(pages[0].description or "")
        self.vendor = vendor_of(description)
        main = _main_page(pages, self.vendor)
        self._last_byte = max(map(_last_byte, pages))
        self.resolution = stated_resolution(main, description)
        self.icc_profile: bytes | None = main.iccprofile
        first = segments_of(main, tif.byteorder)
        images = [first]
        for page in pages:
            if page is not main and _is_level_of(page, main, self.vendor):
                try:
                    images.append(segments_of(page, tif.byteorder))
                except UnsupportedLayout:
                    continue  # a preview in another coding; the finer level serves in its place
        images.sort(key=lambda image: -image.width_px)
        self._images = images
        self.levels = tuple(_level(image, first) for image in images)
        if first.bits == 16:
            self.notes = ("16-bit channels were scaled to 8 bits (65535 becomes 255)",)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a rectangle in the level's own pixels; outside the image they are white."""
        image = self._images[level]
        left, right = max(x, 0), min(x + width, image.width_px)
        top, bottom = max(y, 0), min(y + height, image.height_px)
        inside = left == x and top == y and right == x + width and bottom == y + height
        out = np.empty((height, width, 3), np.uint8)
        if not inside:
            out[:] = 255
        if left >= right or top >= bottom:
            return out
        tile_w, tile_h = image.tile_width_px, image.tile_height_px
        # On the file's own tile grid no neighbour will ask for these tiles again: keep none.
        keep = not (
            left % tile_w == 0
            and top % tile_h == 0
            and (right % tile_w == 0 or right == image.width_px)
            and (bottom % tile_h == 0 or bottom == image.height_px)
        )
        for row in range(top // tile_h, -(-bottom // tile_h)):
            y0, y1 = max(top, row * tile_h), min(bottom, (row + 1) * tile_h)
            for column in range(left // tile_w, -(-right // tile_w)):
                x0, x1 = max(left, column * tile_w), min(right, (column + 1) * tile_w)
                tile = self._tile(level, row, column, keep=keep)
                target = out[y0 - y : y1 - y, x0 - x : x1 - x]
                if tile is None:
                    target[:] = 255
                    continue
                part = tile[
                    y0 - row * tile_h : y1 - row * tile_h,
                    x0 - column * tile_w : x1 - column * tile_w,
                ]
                if part.shape != target.shape:
                    raise self._damaged(
                        level,
                        row,
                        column,
                        f"it holds {tile.shape[1]} x {tile.shape[0]} of {tile_w} x {tile_h} px",
                    )
                target[:] = part
        return out

    def _tile(self, level: int, row: int, column: int, *, keep: bool) -> Rgb | None:
        """Decode a tile; None is a tile that was never written. The array is overwritten later."""
        image = self._images[level]
        index = row * image.columns + column
        found = self._cache.get((level, index))
        if found is not None:
            return found
        per_plane = image.columns * image.rows
        data = []
        for place in range(index, per_plane * image.planes, per_plane):
            offset, count = int(image.offsets[place]), int(image.counts[place])
            if not offset or not count:
                return None
            piece = self._bytes(offset, count)
            if len(piece) < count:
                raise self._damaged(level, row, column, "the file ends inside it")
            data.append(piece)
        try:
            pixels = decode_segment(
                image, data, image.height_of(row), out=None if keep else self._room(image, row)
            )
        except (RuntimeError, ValueError, TypeError, MemoryError, OSError) as error:
            raise self._damaged(level, row, column, str(error) or type(error).__name__) from error
        if keep:
            self._cache.put((level, index), pixels)
        return pixels

    def _bytes(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):  # no file position: a forked process may read the same handle
            return os.pread(self._file.fileno(), count, offset)
        self._file.seek(offset)
        return self._file.read(count)

    def _room(self, image: Segments, row: int) -> Rgb:
        # One warm buffer: a fresh array per tile costs a third of a decode in page faults.
        shape = (image.height_of(row), image.tile_width_px, 3)
        if self._scratch.shape != shape:
            self._scratch = np.empty(shape, np.uint8)
        return self._scratch

    def _damaged(self, level: int, row: int, column: int, why: str) -> SlideError:
        kind = "tile" if self._images[level].tiled else "strip"
        return SlideError(
            f"slide {self.path.name}: {kind} in row {row}, column {column} of level {level} "
            f"cannot be decoded: {why}",
            hint=DAMAGED,
        )

    def close(self) -> None:
        """Release the file and the tiles kept in memory."""
        self._file.close()
        self._cache = _TileCache(0)


class _TileCache:
    """The tiles decoded last, oldest out first, bounded in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._tiles: dict[tuple[int, int], Rgb] = {}

    def get(self, key: tuple[int, int]) -> Rgb | None:
        return self._tiles.get(key)

    def put(self, key: tuple[int, int], tile: Rgb) -> None:
        self._tiles[key] = tile
        self._held += tile.nbytes
        # One tile is always kept: a file in a single strip would be decoded anew for every read.
        while self._held > self._limit and len(self._tiles) > 1:
            oldest = next(iter(self._tiles))
            self._held -= self._tiles.pop(oldest).nbytes


@contextmanager
def _tifffile_remarks() -> Iterator[list[str]]:
    """Collect tifffile's remarks on damaged tags instead of letting them onto the screen."""
    remarks: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        remarks.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield remarks
    finally:
        logger.removeFilter(collect)


def _last_byte(page: Any) -> int:
    """Return where the file must reach for an image, previews included."""
    return max(
        (
            offset + count
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ),
        default=0,
    )


def _refuse_cut_off(size: int, needed: int, remarks: list[str]) -> None:
    if needed > size:
        raise SlideError(
            f"it ends at byte {size:,}, but its tiles reach to byte {needed:,}: it was cut off",
            hint=DAMAGED,
        )
    # The images that are there may be whole: a copy that broke near its end is still a broken copy.
    if any("invalid page offset" in remark for remark in remarks):
        raise SlideError(
            f"it ends at byte {size:,}, before its last image directory: it was cut off",
            hint=DAMAGED,
        )


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except SlideError:
        raise
    except tifffile.TiffFileError as error:
        raise SlideError(f"its TIFF structure cannot be read ({error})", hint=DAMAGED) from error
    except (
        struct.error,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        ZeroDivisionError,
        RuntimeError,
        MemoryError,
    ) as error:  # what tifffile raises on garbage differs by tag and version
        raise SlideError(
            f"its TIFF directory cannot be read ({str(error) or type(error).__name__})",
            hint=DAMAGED,
        ) from error


def _all_pages(tif: Any) -> list[Any]:
    if len(tif.pages) > MOST_IMAGES:
        raise SlideError(
            f"it holds {len(tif.pages)} images (at most {MOST_IMAGES})",
            hint="export the slide alone",
        )
    pages = []
    for page in tif.pages:
        pages.append(page)
        if page.subifds:
            pages.extend(page.pages)
    return [page for page in pages if not int(page.subfiletype) & MASK]


def _main_page(pages: list[Any], vendor: str) -> Any:
    """Return the largest image that is no label or macro picture; refuse stacks of equal images."""
    slides = [page for page in pages if not _is_accessory(page, vendor)]
    if not slides:
        raise SlideError("it holds only labels or previews", hint="give the slide itself")
    tiled = [page for page in slides if page.is_tiled]
    main = max(tiled or slides, key=lambda page: page.imagewidth * page.imagelength)
    equal = [
        page
        for page in slides
        if not int(page.subfiletype) & REDUCED_IMAGE
        and (page.imagewidth, page.imagelength) == (main.imagewidth, main.imagelength)
        and page.is_tiled == main.is_tiled
    ]
    if len(equal) > 1:
        what = "fluorescence channels or a stack" if main.samplesperpixel == 1 else "a focus stack"
        raise SlideError(
            f"it holds {len(equal)} images of {main.imagewidth} x {main.imagelength} px "
            f"({what}?), and which one to score is not ours to guess",
            hint="export the one RGB image to score as a TIFF of its own",
        )
    return main


def _is_accessory(page: Any, vendor: str) -> bool:
    first_lines = str(page.description or "")[:300]
    if vendor == "aperio":
        # Aperio: every level is tiled; thumbnail, label and macro are strips.
        return not page.is_tiled or bool(re.search(r"\n(?:label|macro)\b", first_lines))
    return bool(re.match(r"\s*(?:label|macro|thumbnail|overview)\b", first_lines, re.IGNORECASE))


def _is_level_of(page: Any, main: Any, vendor: str) -> bool:
    if _is_accessory(page, vendor) or page.samplesperpixel != main.samplesperpixel:
        return False
    if page.bitspersample != main.bitspersample or page.sampleformat != main.sampleformat:
        return False
    width, height = int(page.imagewidth), int(page.imagelength)
    factor_x, factor_y = main.imagewidth / width, main.imagelength / height
    # Each side is rounded to whole pixels: a small level may be off by one on either.
    slack = ASPECT_TOLERANCE + 1 / width + 1 / height
    return min(factor_x, factor_y) >= LEAST_DOWNSAMPLE and abs(factor_x / factor_y - 1) <= slack


def _level(image: Segments, first: Segments) -> Level:
    return Level(
        width_px=image.width_px,
        height_px=image.height_px,
        downsample_x=level_downsample(first.width_px, image.width_px),
        downsample_y=level_downsample(first.height_px, image.height_px),
        tile_width_px=image.tile_width_px,
        tile_height_px=image.tile_height_px,
    )
