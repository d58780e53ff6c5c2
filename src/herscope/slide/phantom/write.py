"""A phantom as a slide file: tiled JPEG BigTIFF pyramid, written in one pass from top to bottom.

Level 0 goes to disk as it is drawn; the coarser levels, each the 2 x 2 mean of the one above, are
kept as JPEG bytes (under a tenth of the slide) until their place in the file comes. Memory is one
band of 1,024 rows, those bytes and the truth, whatever the height. The description has the
``|AppMag = |MPP = `` form of Aperio files, which every reader knows.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import tifffile

from herscope.core.errors import OutputError
from herscope.slide.phantom.render import BLOCK_PX, Plan, draw_block, make_plan
from herscope.slide.phantom.rows import Piece, truth_piece
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import PhantomTruth, truth_of
from herscope.slide.protocol import Rgb

COARSEST_SIDE_PX: Final = 512
"""Levels are added until the longer side is at most this."""
_MICROMETRES_PER_CM: Final = 1e4


def draw_phantom(spec: PhantomSpec, path: Path) -> PhantomTruth:
    """Draw a phantom slide into ``path`` and return its truth.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    spec
        The slide.
    path
        File to write, such as ``phantom.tiff``; its folder must exist.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    plan = make_plan(spec)
    pieces: list[Piece] = []
    write_pyramid(spec, _bands(plan, pieces), path)
    return truth_of(plan, pieces, (0, 0, spec.width_px, spec.height_px))


def write_pyramid(spec: PhantomSpec, bands: Iterator[Rgb], path: Path) -> None:
    """Write a slide's picture as a file, which appears under its name only when it is complete.

    Parameters
    ----------
    spec
        Size, µm/px, tiles and JPEG quality.
    bands
        Rows of full width from top to bottom, 1,024 at a time.
    path
        File to write; its folder must exist.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            _write_levels(spec, bands, draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as cause:
        raise OutputError(
            f"the phantom cannot be written to {path}: {cause}",
            hint="choose a folder that exists, is writable and has space",
        ) from cause


def level_sizes(spec: PhantomSpec) -> list[tuple[int, int]]:
    """Width and height of each level, the finest first; each half of the one above."""
    sizes = [(spec.width_px, spec.height_px)]
    while max(sizes[-1]) > COARSEST_SIDE_PX and min(sizes[-1]) >= 2:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


class _Coarser:
    """Collects rows of one level, cuts them into JPEG tiles and hands the halved rows on."""

    def __init__(self, spec: PhantomSpec, sizes: list[tuple[int, int]]) -> None:
        self.width, self.height = sizes[0]
        self.spec = spec
        self.tiles: list[bytes] = []
        self.rows: list[Rgb] = []
        self.held = 0
        self.seen = 0
        self.next = _Coarser(spec, sizes[1:]) if len(sizes) > 1 else None

    def add(self, rows: Rgb) -> None:
        """Take the next rows of this level."""
        rows = rows[: self.height - self.seen, : self.width]
        self.seen += len(rows)
        self.rows.append(rows)
        self.held += len(rows)
        if self.held < self.spec.tile_px and self.seen < self.height:
            return
        band = np.concatenate(self.rows)
        tile = self.spec.tile_px
        keep = len(band) if self.seen == self.height else len(band) // tile * tile
        self.rows, self.held = [band[keep:]], len(band) - keep
        if keep:
            self.tiles.extend(_tiles(band[:keep], self.spec))
            if self.next is not None:
                self.next.add(_halved(band[:keep]))

    def levels(self) -> Iterator[_Coarser]:
        """Yield this level and all coarser ones."""
        yield self
        if self.next is not None:
            yield from self.next.levels()


def _bands(plan: Plan, pieces: list[Piece]) -> Iterator[Rgb]:
    """Draw the slide in bands of full width, from top to bottom."""
    spec = plan.spec
    for top in range(0, spec.height_px, BLOCK_PX):
        band = np.empty((min(BLOCK_PX, spec.height_px - top), spec.width_px, 3), dtype=np.uint8)
        for left in range(0, spec.width_px, BLOCK_PX):
            drawn = draw_block(plan, left, top, band[:, left : left + BLOCK_PX])
            if drawn is not None:
                pieces.append(truth_piece(plan, drawn))
        yield band


def _halved(image: Rgb) -> Rgb:
    """Take rounded 2 x 2 means; an odd last row or column is dropped, as scanners do."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    out = np.empty((height // 2, width // 2, 3), dtype=np.uint8)
    # in strips: the 16-bit sums of a whole band would be the largest thing in memory
    for top in range(0, height, 128):
        strip = image[top : min(top + 128, height), :width]
        total = strip[::2, ::2].astype(np.uint16)
        total += strip[1::2, ::2]
        total += strip[::2, 1::2]
        total += strip[1::2, 1::2]
        out[top // 2 : top // 2 + len(total)] = (total + 2) // 4
    return out


def _tiles(band: Rgb, spec: PhantomSpec) -> Iterator[bytes]:
    """JPEG tiles of a band whose height is a multiple of the tile, or the level's last rows."""
    side = spec.tile_px
    for top in range(0, band.shape[0], side):
        for left in range(0, band.shape[1], side):
            tile = band[top : top + side, left : left + side]
            missing = (side - tile.shape[0], side - tile.shape[1])
            if any(missing):
                tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            yield _jpeg(tile, spec.jpeg_quality)


def _jpeg(tile: Rgb, quality: int) -> bytes:
    encoded = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(tile),
        level=quality,
        colorspace="RGB",
        outcolorspace="YCBCR",
        subsampling="444",
    )
    return bytes(encoded)


def _write_levels(spec: PhantomSpec, bands: Iterator[Rgb], path: Path) -> None:
    sizes = level_sizes(spec)
    coarser = _Coarser(spec, sizes[1:]) if len(sizes) > 1 else None

    def finest() -> Iterator[bytes]:
        for band in bands:
            if coarser is not None:
                coarser.add(_halved(band))
            yield from _tiles(band, spec)

    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        _write_level(tiff, spec, finest(), sizes[0], 0)
        if coarser is not None:
            for number, level in enumerate(coarser.levels(), start=1):
                _write_level(tiff, spec, iter(level.tiles), sizes[number], number)
                level.tiles.clear()


def _write_level(
    tiff: Any, spec: PhantomSpec, tiles: Iterator[bytes], size: tuple[int, int], number: int
) -> None:
    per_cm = _MICROMETRES_PER_CM / (spec.mpp * spec.width_px / size[0])
    tiff.write(
        tiles,
        shape=(size[1], size[0], 3),
        dtype=np.uint8,
        tile=(spec.tile_px, spec.tile_px),
        compression="jpeg",
        photometric="ycbcr",
        subsampling=(1, 1),
        planarconfig="contig",
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        description=_description(spec) if number == 0 else None,
        metadata=None,
        software="herscope phantom",
        subfiletype=0 if number == 0 else 1,
    )


def _description(spec: PhantomSpec) -> str:
    power = math.floor(10 / spec.mpp + 0.5)
    return (
        "Aperio Image Library layout, drawn by herscope phantom\r\n"
        f"{spec.width_px}x{spec.height_px} ({spec.tile_px}x{spec.tile_px}) "
        f"JPEG/RGB Q={spec.jpeg_quality}"
        f"|AppMag = {power}|MPP = {spec.mpp:.6g}|Phantom = {spec.fingerprint()}"
    )
