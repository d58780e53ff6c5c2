"""Open a slide of any format and read any rectangle of it at any resolution it has.

Readers know formats; everything that must be the same for all of them is here: which reader, the
µm/px policy, the level for an asked resolution, area averaging and colour management.

A pixel of a grid has the same bits whatever rectangle it is read in: levels are read unchanged,
averaging weights depend on the pixel's place on the slide alone, and the ICC conversion treats
every pixel by itself. Conversion comes after averaging, where the pixels are fewest; outside the
slide is white, unconverted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from herscope.core.errors import InputError, SlideError, UnreadableSlide
from herscope.core.units import Mpp
from herscope.slide.grid import Grid, choose_grid
from herscope.slide.protocol import Level, Reader, Rgb
from herscope.slide.resolution import SlideSpec, resolve_mpp
from herscope.slide.sniff import Kind, sniff

BLOCK_PX = 2048
"""Side of the level blocks a large read is cut into: 12 MB, and a multiple of the usual tiles."""
WHOLE_READ_PX = 3 * BLOCK_PX**2
HASH_CHUNK_BYTES = 4 << 20
WHITE = 255


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What a slide is: size in level-0 pixels, µm/px with its source, and how it was read.

    ``icc`` is ``none``, ``sRGB (no change)``, ``applied: NAME``, ``present, not applied`` or
    ``unusable: WHY``; ``notes`` are remarks of the reader that a person should see.
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    mpp: Mpp
    mpp_x: Mpp
    mpp_y: Mpp
    mpp_source: str
    vendor: str
    levels: tuple[Level, ...]
    objective_power: float | None
    icc: str
    notes: tuple[str, ...] = ()


class Slide:
    """An open slide; made by :func:`open_slide`. One Slide serves one thread at a time."""

    def __init__(self, reader: Reader, spec: SlideSpec) -> None:
        from herscope.slide.colour import ColourTransform

        self._reader = reader
        self._spec = spec
        self._sha256: str | None = None
        self._colour = ColourTransform(reader.icc_profile, apply=spec.apply_icc)
        mpp_x, mpp_y, source = resolve_mpp(reader.resolution, spec, reader.path)
        self.info = SlideInfo(
            name=reader.path.stem,
            path=reader.path,
            width_px=reader.levels[0].width_px,
            height_px=reader.levels[0].height_px,
            mpp=Mpp((mpp_x + mpp_y) / 2),
            mpp_x=mpp_x,
            mpp_y=mpp_y,
            mpp_source=source,
            vendor=reader.vendor,
            levels=reader.levels,
            objective_power=reader.resolution.objective_power,
            icc=self._colour.label,
            notes=tuple(getattr(reader, "notes", ())),
        )

    def grid(self, mpp: float) -> Grid:
        """Return the grid that serves an asked µm/px.

        Parameters
        ----------
        mpp
            Wanted µm/px, 0.02 to 100.

        Raises
        ------
        UpsamplingRefused
            Finer than the slide was scanned, by more than ``SlideSpec.native_tolerance``.
        InputError
            No microscope's resolution, or over 1024 times coarser than the coarsest level.
        """
        return choose_grid(
            self.info.levels,
            self.info.mpp_x,
            self.info.mpp_y,
            mpp,
            tolerance=self._spec.native_tolerance,
            name=self.info.path.name,
        )

    def read(self, grid: Grid, x: int, y: int, width: int, height: int) -> Rgb:
        """Read a rectangle of a grid.

        Parameters
        ----------
        grid
            From :meth:`grid`.
        x, y, width, height
            Any whole rectangle in grid pixels; what lies outside the slide is white.

        Returns
        -------
        ndarray
            (height, width, 3) uint8, sRGB where a profile was applied.

        Raises
        ------
        InputError
            Width or height below 1.
        SlideError
            A damaged tile, with its place.
        """
        if width < 1 or height < 1:
            raise InputError(
                f"slide {self.info.path.name}: a region of {width} x {height} px was asked",
                hint="width and height are at least 1",
            )
        left, right = max(x, 0), min(x + width, grid.width_px)
        top, bottom = max(y, 0), min(y + height, grid.height_px)
        if left >= right or top >= bottom:
            return np.full((height, width, 3), WHITE, np.uint8)
        inside = self._inside(grid, left, top, right, bottom)
        if inside.shape == (height, width, 3):
            return inside
        out = np.full((height, width, 3), WHITE, np.uint8)
        out[top - y : bottom - y, left - x : right - x] = inside
        return out

    def read_all(self, grid: Grid) -> Rgb:
        """Read a whole grid; the memory is that of the result and some blocks of 2048 px."""
        return self.read(grid, 0, 0, grid.width_px, grid.height_px)

    def _inside(self, grid: Grid, left: int, top: int, right: int, bottom: int) -> Rgb:
        """Read a rectangle that lies inside the grid, large ones block by block."""
        read = self._native if grid.native else self._averaged
        level_px = (right - left) * grid.step_x * (bottom - top) * grid.step_y >> 32
        simple = level_px <= WHOLE_READ_PX or (grid.native and not self._colour.changes)
        if simple:
            return read(grid, left, top, right, bottom)
        # Blocks lie on a lattice of the whole slide, so that they meet the file's tiles.
        step_x = max(1, (BLOCK_PX << 16) // grid.step_x)
        step_y = max(1, (BLOCK_PX << 16) // grid.step_y)
        out = np.empty((bottom - top, right - left, 3), np.uint8)
        for row in range(top // step_y, -(-bottom // step_y)):
            y0, y1 = max(top, row * step_y), min(bottom, (row + 1) * step_y)
            for column in range(left // step_x, -(-right // step_x)):
                x0, x1 = max(left, column * step_x), min(right, (column + 1) * step_x)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = read(grid, x0, y0, x1, y1)
        return out

    def _native(self, grid: Grid, left: int, top: int, right: int, bottom: int) -> Rgb:
        pixels = self._reader.read(grid.level, left, top, right - left, bottom - top)
        return self._colour(pixels)

    def _averaged(self, grid: Grid, left: int, top: int, right: int, bottom: int) -> Rgb:
        from herscope.slide.resample import area_average, footprint

        x0, x1 = footprint(left, right, grid.step_x)
        y0, y1 = footprint(top, bottom, grid.step_y)
        pixels = area_average(
            self._reader.read(grid.level, x0, y0, x1 - x0, y1 - y0),
            x=left,
            y=top,
            width=right - left,
            height=bottom - top,
            step_x=grid.step_x,
            step_y=grid.step_y,
        )
        return self._colour(pixels)

    def sha256(self) -> str:
        """Return the SHA-256 of the file, read in pieces and kept.

        Of a format of many files (MIRAX, DICOM) it is that of the named file.
        """
        if self._sha256 is None:
            digest = hashlib.sha256()
            try:
                with self.info.path.open("rb") as file:
                    while chunk := file.read(HASH_CHUNK_BYTES):
                        digest.update(chunk)
            except OSError as error:
                raise SlideError(
                    f"slide {self.info.path.name} cannot be read: {error.strerror or error}",
                    hint="check that the disk or network share is still there",
                ) from error
            self._sha256 = digest.hexdigest()
        return self._sha256

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_slide(path: str | Path, spec: SlideSpec | None = None) -> Slide:
    """Open a slide of any supported format.

    Parameters
    ----------
    path
        SVS, TIFF, OME-TIFF, any format OpenSlide knows, PNG, JPEG, BMP or WebP.
    spec
        The µm/px policy and colour management; the defaults when None.

    Returns
    -------
    Slide
        A context manager.

    Raises
    ------
    UnreadableSlide
        Missing, empty, a folder, damaged, encrypted, or of no known format; ``causes`` says what
        each reader found.
    UnknownResolution
        The file states no believable µm/px and the Spec none for it.

    Examples
    --------
    >>> open_slide("absent.svs")
    Traceback (most recent call last):
    herscope.core.errors.UnreadableSlide: slide absent.svs does not exist
    """
    path = Path(path)
    reader = _open_reader(path, sniff(path))
    try:
        return Slide(reader, spec or SlideSpec())
    except BaseException:
        reader.close()
        raise


def _open_reader(path: Path, kind: Kind) -> Reader:
    from herscope.slide.tiff_segments import UnsupportedLayout

    causes: dict[str, str] = {}
    hint = ""
    for name, reader in _candidates(path, kind):
        try:
            return reader(path)
        except UnsupportedLayout as error:
            causes[name], hint = error.message, hint or error.hint
        except SlideError as error:
            # Damage found by one reader would only be hidden by another one.
            causes[name], hint = error.message, error.hint
            break
        except OSError as error:
            causes[name] = error.strerror or str(error)
            break
    why = "; ".join(f"{name}: {cause}" for name, cause in causes.items())
    raise UnreadableSlide(
        f"slide {path.name} cannot be read: {why}",
        hint=hint or "export it as a tiled TIFF from the scanner's software or QuPath",
        causes=causes,
    )


def _candidates(path: Path, kind: Kind) -> list[tuple[str, Callable[[Path], Reader]]]:
    """List the readers that may open a file, the best first."""
    if kind == "image":
        return [("image", _image)]
    vendor = _openslide_vendor(path)
    if kind == "tiff":
        # Formats that are TIFF in name only (NDPI, Philips, Leica, Ventana, ...) go to OpenSlide
        # alone: read as plain TIFF they would open with the wrong size or scale.
        if vendor in (None, "aperio", "generic-tiff"):
            also = [("openslide", _openslide)] if vendor else []
            return [("tiff", _tiff), *also, ("image", _image)]
        return [("openslide", _openslide)]
    if kind == "jpeg":  # MIRAX names its slide by a JPEG preview
        return [("openslide", _openslide)] if vendor else [("image", _image)]
    return [("openslide", _openslide)]


def _openslide_vendor(path: Path) -> str | None:
    import openslide

    return openslide.OpenSlide.detect_format(path)


def _tiff(path: Path) -> Reader:
    from herscope.slide.tiff import TiffReader

    return TiffReader(path)


def _openslide(path: Path) -> Reader:
    from herscope.slide.openslide import OpenSlideReader

    return OpenSlideReader(path)


def _image(path: Path) -> Reader:
    from herscope.slide.image import ImageReader

    return ImageReader(path)
