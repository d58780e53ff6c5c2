"""Slices of a CT series in their order along the normal, and whether they make a volume.

The distance of slices is measured between positions, since SliceThickness is the width of the beam
and not the step of the table. A lattice is accepted where

* all slices have one size, one pixel spacing (0.1 %) and one orientation (0.1 degree);
* no two lie at one place (0.01 mm);
* no step is 1.5 times the median step or more: slices are missing there;
* every slice lies within 10 % of the step, at least 0.1 mm, of its place on an even lattice:
  archives round positions to 0.1 mm;
* the line through the slices' corners is their normal, to half a pixel over the whole series: a
  tilted gantry shears the volume;
* the step is not over 10 % (at least 0.1 mm) wider than the slices are thick, unless gaps are
  allowed: every second slice may be missing, which no step betrays.

Slices that overlap (step below the thickness) are usual and fine. Departure: none from DICOM, which
sets no tolerance; the limits above are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import SchemaError
from herscope.respond.radiology.grid import SKEW_TOLERANCE

SAME_PLACE_MM: Final = 0.01
ROUNDED_MM: Final = 0.1
MISSING_STEP: Final = 1.5
TILT_PX: Final = 0.5
SPACING_SHARE: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Slice:
    """Where one file's slice lies.

    Parameters
    ----------
    path
        The file.
    position_mm
        ``(3,)`` LPS centre of its first pixel.
    orientation
        ``(6,)`` direction along a row, then along a column, LPS.
    spacing_mm
        ``(between rows, between columns)``.
    thickness_mm
        SliceThickness; None where it is not stated.
    rows, columns
        Size.
    frame
        FrameOfReferenceUID.
    """

    path: Path
    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    rows: int
    columns: int
    frame: str = ""


@dataclass(frozen=True, eq=False)
class SliceOrder:
    """Slices in order, and the lattice ``(slice, row, column)`` they make.

    Parameters
    ----------
    slices
        Ascending along the normal.
    matrix
        ``(3, 3)``; columns are the LPS steps in mm along slice, row and column index.
    origin_mm
        ``(3,)`` LPS place of the first voxel.
    notes
        What a reader should know.
    """

    slices: tuple[Slice, ...]
    matrix: NDArray[np.float64]
    origin_mm: NDArray[np.float64]
    notes: tuple[str, ...]


def order_slices(slices: Sequence[Slice], *, tolerance: float, allow_gaps: bool) -> SliceOrder:
    """Sort slices along their normal and check that they make a volume.

    Parameters
    ----------
    slices
        At least one, in any order.
    tolerance
        Share of the step by which a slice may be off its place.
    allow_gaps
        Accept a step wider than the slices are thick.

    Raises
    ------
    SchemaError
        One of the rules at the top of this module is broken; the message names the slice.
    """
    by_name = sorted(slices, key=lambda one: one.path.name)
    first = by_name[0]
    _check_alike(first, by_name)
    along_row, along_column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(along_row, along_column)
    if (
        abs(float(np.linalg.norm(along_row)) - 1) > SKEW_TOLERANCE
        or abs(float(np.linalg.norm(along_column)) - 1) > SKEW_TOLERANCE
        or abs(float(along_row @ along_column)) > SKEW_TOLERANCE
    ):
        raise SchemaError(
            f"{first.path.name}: the directions of its rows and columns are not at right angles",
            hint="the header is damaged; export the series again",
        )
    normal = normal / np.linalg.norm(normal)
    # Orientation is rounded in files; every slice is measured along one normal, the first's.
    heights = np.array([float(one.position_mm @ normal) for one in by_name])
    order = np.argsort(heights, kind="stable")
    ordered = tuple(by_name[int(index)] for index in order)
    heights = heights[order]
    step, notes = _step(ordered, heights, tolerance, allow_gaps=allow_gaps)
    _check_tilt(ordered, normal)
    row_mm, column_mm = first.spacing_mm
    matrix = np.stack([normal * step, along_column * row_mm, along_row * column_mm], axis=1)
    return SliceOrder(ordered, matrix, ordered[0].position_mm, tuple(notes))


def _check_alike(first: Slice, slices: Sequence[Slice]) -> None:
    for one in slices:
        names = f"{one.path.name} and {first.path.name}"
        if (one.rows, one.columns) != (first.rows, first.columns):
            raise SchemaError(
                f"{names} have {one.rows} x {one.columns} and "
                f"{first.rows} x {first.columns} pixels",
                hint="they are not of one volume; name the series, or take the odd file away",
            )
        if not np.allclose(one.spacing_mm, first.spacing_mm, rtol=SPACING_SHARE, atol=0):
            raise SchemaError(
                f"{names} have pixels of {one.spacing_mm[0]:g} and {first.spacing_mm[0]:g} mm",
                hint="they are not of one volume; take the odd file away",
            )
        if float(np.abs(one.orientation - first.orientation).max()) > SKEW_TOLERANCE:
            raise SchemaError(
                f"{names} are cut in different directions",
                hint="a scout view or a reformatted slice lies among them; take it away",
            )
        if one.frame != first.frame:
            raise SchemaError(
                f"{names} have different frames of reference (FrameOfReferenceUID)",
                hint="they were not taken in one position; take the odd file away",
            )


def _step(
    slices: tuple[Slice, ...], heights: NDArray[np.float64], tolerance: float, *, allow_gaps: bool
) -> tuple[float, list[str]]:
    """Return the distance of slices in mm, and notes."""
    thick = slices[0].thickness_mm
    if len(slices) == 1:
        if thick is None:
            raise SchemaError(
                f"{slices[0].path.name} is the only slice and states no SliceThickness",
                hint="give the whole series, or a slice with its thickness",
            )
        return thick, ["one slice only: its thickness was taken for the distance of slices"]
    steps = np.diff(heights)
    low = int(np.argmin(steps))
    if steps[low] <= SAME_PLACE_MM:
        raise SchemaError(
            f"{slices[low].path.name} and {slices[low + 1].path.name} lie at one place "
            f"({heights[low]:.2f} mm)",
            hint="two phases or two copies in one series; take one of them away",
        )
    median = float(np.median(steps))
    wide = int(np.argmax(steps))
    if steps[wide] >= MISSING_STEP * median:
        lost = max(round(float(steps[wide]) / median) - 1, 1)
        raise SchemaError(
            f"{lost} slice{'s are' if lost > 1 else ' is'} missing between "
            f"{slices[wide].path.name} ({heights[wide]:.2f} mm) and {slices[wide + 1].path.name} "
            f"({heights[wide + 1]:.2f} mm); the others are {median:.2f} mm apart",
            hint="export the whole series again; slices are never invented",
        )
    step = float((heights[-1] - heights[0]) / (len(slices) - 1))
    off = np.abs(heights - (heights[0] + step * np.arange(len(slices))))
    limit = max(tolerance * step, ROUNDED_MM)
    worst = int(np.argmax(off))
    if off[worst] > limit:
        raise SchemaError(
            f"{slices[worst].path.name} lies {off[worst]:.2f} mm off an even spacing of "
            f"{step:.2f} mm (limit {limit:.2f} mm)",
            hint="the slices are unevenly spaced; resample the series to even slices first, "
            "or raise spacing_tolerance",
        )
    return step, _thickness_notes(slices, step, tolerance, allow_gaps=allow_gaps)


def _thickness_notes(
    slices: tuple[Slice, ...], step: float, tolerance: float, *, allow_gaps: bool
) -> list[str]:
    stated = {one.thickness_mm for one in slices}
    thick = max((one for one in stated if one is not None), default=None)
    if thick is None:
        return ["no SliceThickness stated: whether slices are missing evenly cannot be told"]
    notes = []
    if len(stated) > 1:
        notes.append("SliceThickness differs between slices")
    if step > thick + max(tolerance * thick, ROUNDED_MM):
        told = f"slices are {step:.2f} mm apart and {thick:.2f} mm thick"
        if not allow_gaps:
            raise SchemaError(
                f"{slices[0].path.name} and on: {told}: every second one may be missing",
                hint="export the whole series; if it was taken with gaps, allow them "
                "(allow_gaps=True)",
            )
        notes.append(f"{told}: tissue between them is not seen")
    elif step < thick - max(tolerance * thick, ROUNDED_MM):
        notes.append(f"slices overlap: {step:.2f} mm apart, {thick:.2f} mm thick")
    return notes


def _check_tilt(slices: tuple[Slice, ...], normal: NDArray[np.float64]) -> None:
    origin = slices[0].position_mm
    away = np.stack([one.position_mm - origin for one in slices])
    aside = away - np.outer(away @ normal, normal)
    shift = np.linalg.norm(aside, axis=1)
    worst = int(np.argmax(shift))
    limit = TILT_PX * min(slices[0].spacing_mm)
    if shift[worst] > limit:
        height = abs(float(away[worst] @ normal))
        angle = float(np.degrees(np.arctan2(shift[worst], max(height, SAME_PLACE_MM))))
        raise SchemaError(
            f"{slices[worst].path.name} is shifted {shift[worst]:.2f} mm sideways against "
            f"{slices[0].path.name} (limit {limit:.2f} mm): the gantry was tilted {angle:.1f} "
            "degrees, or the table moved",
            hint="straighten the series first, for example with dcm2niix, and give the NIfTI file",
        )
