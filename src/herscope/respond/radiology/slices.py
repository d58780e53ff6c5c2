"""What the network is shown of a lesion: its key slice and the two beside it, cut out and windowed.

The box of the lesion over all slices gets a margin, is made square in millimetres so that round
stays round, and resized: averaged where it shrinks, bilinear where it grows. ``three_slices``
windows to 0..255 before it resizes, so that metal and gas do not bleed; ``three_slices_hu`` knows
no window yet, since windows are fitted on training patients, and gives HU to be windowed later.
Outside the picture it is black, like air. At the first and last slice of the CT the key slice is
repeated. All that was made up is said in ``notes``.

Source: MuMo (three slices -1, 0, +1 about the key slice; 112 px in its experiments, 224 its
default).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.respond.radiology.lesions import Box, Lesion
from herscope.respond.radiology.volume import Volume
from herscope.respond.radiology.windows import BINS, FALLBACK, LOWEST_HU, Window

HIGHEST_HU: Final = LOWEST_HU + BINS - 1
"""What windows are made of; no window reaches beyond, so nothing that it shows is lost."""


class SliceSpec(Spec):
    """How a lesion is cut out."""

    size_px: int = Field(default=224, ge=16, le=1024, description="Edge of the picture in pixels")
    margin_mm: float = Field(
        default=10.0,
        ge=0,
        le=100,
        description="Tissue kept around the box of the lesion on each side",
    )


@dataclass(frozen=True, eq=False)
class LesionSlices:
    """Three slices of a lesion.

    Parameters
    ----------
    pixels
        float32 ``(3, size, size)``: slices below, at and above the key slice; 0..255, or HU from
        :func:`three_slices_hu`.
    slices
        Which slices of the CT they are.
    box
        Voxels that were cut out of each, before resizing; may reach outside of the CT.
    pixel_mm
        Edge of a pixel of the picture in millimetres ``(y, x)``.
    notes
        What was made up: repeated slices, parts outside of the picture.
    """

    pixels: NDArray[np.float32]
    slices: tuple[int, int, int]
    box: Box
    pixel_mm: tuple[float, float]
    notes: tuple[str, ...]


def three_slices(
    volume: Volume,
    lesion: Lesion,
    *,
    window: Window = FALLBACK,
    spec: SliceSpec | None = None,
) -> LesionSlices:
    """Cut a lesion out of a CT.

    Parameters
    ----------
    volume
        The CT.
    lesion
        One of its lesions.
    window
        From :meth:`~herscope.respond.radiology.windows.WindowTable.of`; 40/400 HU unless given.
    spec
        Size and margin.

    Raises
    ------
    InputError
        The lesion lies outside of this CT.

    Examples
    --------
    >>> from herscope.respond.radiology.lesions import LesionKind
    >>> ct = Volume(np.full((1, 40, 40), 40, np.float32), (5, 1, 1), (0, 0, 0), np.eye(3), "a")
    >>> one = Lesion(1, LesionKind.LIVER, Box(0, 15, 15, 1, 25, 25), 100, 0.5, 0)
    >>> cut = three_slices(ct, one, spec=SliceSpec(size_px=32))
    >>> cut.pixels.shape, cut.slices, float(cut.pixels.mean()), len(cut.notes)
    ((3, 32, 32), (0, 0, 0), 127.5, 1)
    """
    return _three(volume, lesion, spec or SliceSpec(), window.apply, 0.0, (0.0, 255.0))


def three_slices_hu(
    volume: Volume, lesion: Lesion, *, spec: SliceSpec | None = None
) -> LesionSlices:
    """Cut a lesion out of a CT as Hounsfield units, clipped to -1024..3071 and not windowed.

    Parameters
    ----------
    volume, lesion, spec
        As for :func:`three_slices`.

    Returns
    -------
    LesionSlices
        HU; -1024 outside of the picture. Windowed afterwards they differ from
        :func:`three_slices` at edges of air, bone and metal only; docs/science/ct.md has figures.

    Raises
    ------
    InputError
        The lesion lies outside of this CT.

    Examples
    --------
    >>> from herscope.respond.radiology.lesions import LesionKind
    >>> ct = Volume(np.full((1, 40, 40), 40, np.float32), (5, 1, 1), (0, 0, 0), np.eye(3), "a")
    >>> one = Lesion(1, LesionKind.LIVER, Box(0, 15, 15, 1, 25, 25), 100, 0.5, 0)
    >>> float(three_slices_hu(ct, one, spec=SliceSpec(size_px=32)).pixels.mean())
    40.0
    """
    lowest, highest = float(LOWEST_HU), float(HIGHEST_HU)

    def clip(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(hu, np.float32(lowest), np.float32(highest))

    return _three(volume, lesion, spec or SliceSpec(), clip, lowest, (lowest, highest))


def _three(
    volume: Volume,
    lesion: Lesion,
    spec: SliceSpec,
    tone: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    outside_value: float,
    ends: tuple[float, float],
) -> LesionSlices:
    """Cut and resize what ``tone`` makes of the HU."""
    import cv2

    depth = volume.grid.shape[0]
    _check_inside(volume, lesion)
    box = square_box(volume, lesion, spec.margin_mm)
    wanted = [lesion.key_slice - 1, lesion.key_slice, lesion.key_slice + 1]
    taken = [min(max(z, 0), depth - 1) for z in wanted]
    notes = []
    if taken != wanted:
        notes.append("the key slice is at the end of the CT: it stands for the one beyond as well")
    _, height, width = box.size
    shrinks = max(height, width) > spec.size_px
    flag = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    pixels = np.empty((3, spec.size_px, spec.size_px), np.float32)
    for channel, z in enumerate(taken):
        cut, outside = _cut(volume.array[z], box, tone, outside_value)
        resized = cv2.resize(cut, (spec.size_px, spec.size_px), interpolation=flag)
        pixels[channel] = np.clip(resized, *ends)
    if outside:
        notes.append(f"{outside:.0%} of the cut-out lies outside of the picture and is black")
    edge_mm = (height * volume.spacing_mm[1], width * volume.spacing_mm[2])
    return LesionSlices(
        pixels,
        (taken[0], taken[1], taken[2]),
        box,
        (edge_mm[0] / spec.size_px, edge_mm[1] / spec.size_px),
        tuple(notes),
    )


def _check_inside(volume: Volume, lesion: Lesion) -> None:
    low = (lesion.box.z0, lesion.box.y0, lesion.box.x0)
    high = (lesion.box.z1, lesion.box.y1, lesion.box.x1)
    shape = volume.grid.shape
    if not 0 <= lesion.key_slice < shape[0] or any(
        not 0 <= first < last <= size for first, last, size in zip(low, high, shape, strict=True)
    ):
        raise InputError(
            f"lesion {lesion.label} lies outside of {volume.source}",
            hint="give the CT that the lesion was found in",
        )


def square_box(volume: Volume, lesion: Lesion, margin_mm: float) -> Box:
    """Return the key slice's box with a margin, square in millimetres to half a voxel a side."""
    _, y_mm, x_mm = volume.spacing_mm
    box = lesion.box
    edge_mm = max((box.y1 - box.y0) * y_mm, (box.x1 - box.x0) * x_mm) + 2 * margin_mm
    (y0, y1), (x0, x1) = (
        _about((low + high) / 2, edge_mm / step)
        for low, high, step in ((box.y0, box.y1, y_mm), (box.x0, box.x1, x_mm))
    )
    return Box(lesion.key_slice, y0, x0, lesion.key_slice + 1, y1, x1)


def _about(middle: float, length: float) -> tuple[int, int]:
    """Return ``first, last + 1`` of a whole number of voxels about a middle."""
    count = max(int(np.floor(length + 0.5)), 1)
    first = int(np.floor(middle - count / 2 + 0.5))
    return first, first + count


def _cut(
    picture: NDArray[np.float32],
    box: Box,
    tone: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    outside_value: float,
) -> tuple[NDArray[np.float32], float]:
    """Return the box of a picture, black where it reaches outside, and the share that does."""
    height, width = picture.shape
    y0, y1 = max(box.y0, 0), min(box.y1, height)
    x0, x1 = max(box.x0, 0), min(box.x1, width)
    out = np.full(box.size[1:], outside_value, np.float32)
    out[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = tone(picture[y0:y1, x0:x1])
    return out, 1.0 - (y1 - y0) * (x1 - x0) / out.size
