"""RTSTRUCT contours as a mask on the grid of a CT.

Every closed planar contour goes to the slice whose plane is nearest; further than half a slice
from any plane, tilted, or two planes of contours on one slice are errors, because the contours
were then drawn on another series. Inside is decided by the even-odd rule
(:mod:`herscope.respond.radiology.contour_fill`), so a ring has its hole. Slices between the first
and the last contour that carry none are left empty and noted, never filled in. Contours drawn as
points or open lines hold no voxel and are passed over with a note.

Source: DICOM PS3.3 C.8.8.5 and C.8.8.6 (structure set and ROI contour modules).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.respond.radiology.contour_fill import fill_even_odd
from herscope.respond.radiology.dicom_file import in_words, read_dataset, words
from herscope.respond.radiology.dicom_seg import check_frame_of_reference
from herscope.respond.radiology.mask_spec import MaskSpec, wanted_labels
from herscope.respond.radiology.volume import Mask, Volume

STRUCTURES: Final = "1.2.840.10008.5.1.4.1.1.481.3"
HALF_SLICE: Final = 0.5
ROUNDING: Final = 1e-3
"""Slack in slices for places that were written with three decimals."""

ONE_PLANE: Final = 0.05
"""Contours nearer than this share of a slice lie in one plane."""

CLOSED: Final = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


def read_rtstruct(
    path: str | Path, volume: Volume, *, spec: MaskSpec | None = None, dataset: Any = None
) -> Mask:
    """Read an RTSTRUCT on the grid of a CT.

    Parameters
    ----------
    path
        The file.
    volume
        The CT it was drawn on.
    spec
        Which ROIs.
    dataset
        The file already read, if it was.

    Returns
    -------
    Mask
        Labels are ROI numbers, names are ROIName.

    Raises
    ------
    SchemaError
        No RTSTRUCT, no closed contour, no voxel, damaged.
    InputError
        Another series, contours off the planes, overlapping ROIs, a ROI that is not there.
    """
    spec = spec or MaskSpec()
    file = Path(path)
    structures = read_dataset(file) if dataset is None else dataset
    with in_words(file):
        return _read(structures, volume, spec, file)


def _read(structures: Any, volume: Volume, spec: MaskSpec, file: Path) -> Mask:
    if str(structures.SOPClassUID) != STRUCTURES:
        raise SchemaError(f"{file.name} is no DICOM structure set (RTSTRUCT)")
    check_frame_of_reference(structures, volume, file)
    names = {
        int(one.ROINumber): words(one.get("ROIName")) or "no name"
        for one in structures.StructureSetROISequence
    }
    keep = wanted_labels(spec, names, file.name)
    too_large = [label for label in keep if not 0 < label <= np.iinfo(np.uint16).max]
    if too_large:
        raise SchemaError(f"{file.name} has a ROI numbered {too_large[0]} (allowed: 1 to 65535)")
    out = np.zeros(volume.grid.shape, np.uint16)
    notes: list[str] = []
    found = {int(one.ReferencedROINumber): one for one in structures.ROIContourSequence}
    for label in keep:
        if label in found:
            planes, more = _by_slice(found[label], label, volume, file)
            notes += more
            _draw(planes, label, out, file)
    return Mask(
        out,
        {label: names[label] for label in keep},
        volume.spacing_mm,
        volume.origin_mm,
        volume.direction,
        file.name,
        tuple(notes),
    )


def _by_slice(
    roi: Any, label: int, volume: Volume, file: Path
) -> tuple[dict[int, list[NDArray[np.float64]]], list[str]]:
    """Return the contours of a ROI by slice, as ``(points, 2)`` columns and rows."""
    planes: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    heights: dict[int, float] = {}
    passed = 0
    for number, contour in enumerate(roi.get("ContourSequence") or [], start=1):
        points = np.asarray([float(one) for one in contour.ContourData], np.float64)
        if str(contour.ContourGeometricType) not in CLOSED or points.size < 9:
            passed += 1
            continue
        index = volume.grid.to_index(points.reshape(-1, 3))
        where = f"contour {number} of ROI {label} in {file.name}"
        height = _plane(index[:, 0], where, volume)
        z = int(np.clip(np.rint(height), 0, volume.grid.shape[0] - 1))
        if abs(heights.setdefault(z, height) - height) > ONE_PLANE:
            raise InputError(
                f"{where} and another lie in two planes of one slice of {volume.source}",
                hint="the contours were drawn on a series with thinner slices; give that series",
            )
        planes[z].append(index[:, [2, 1]])
    notes = []
    if passed:
        notes.append(f"ROI {label}: {passed} points or open lines hold no voxel")
    if planes:
        empty = sum(1 for z in range(min(planes), max(planes) + 1) if z not in planes)
        if empty:
            notes.append(f"ROI {label}: {empty} slices between its contours carry none")
    return planes, notes


def _plane(heights: NDArray[np.float64], where: str, volume: Volume) -> float:
    """Return the slice index, with its fraction, of a planar contour."""
    middle = float(np.median(heights))
    if float(np.abs(heights - middle).max()) > ONE_PLANE:
        raise InputError(
            f"{where} does not lie in a slice of {volume.source}: it runs over "
            f"{float(np.ptp(heights)):.2f} slices",
            hint="the contours were drawn in another direction; give the series they were drawn on",
        )
    last = volume.grid.shape[0] - 1
    beyond = max(-middle, middle - last)
    if beyond > HALF_SLICE + ROUNDING:
        raise InputError(
            f"{where} lies {beyond * volume.spacing_mm[0]:.2f} mm beyond the first or last slice "
            f"of {volume.source} (limit half a slice, {volume.spacing_mm[0] / 2:.2f} mm)",
            hint="the series is not whole, or it is another one",
        )
    return middle


def _draw(
    planes: dict[int, list[NDArray[np.float64]]],
    label: int,
    out: NDArray[np.uint16],
    file: Path,
) -> None:
    for z, contours in sorted(planes.items()):
        shape = (int(out.shape[1]), int(out.shape[2]))
        corners = np.concatenate(contours)
        if (corners < -1).any() or (corners > np.array(shape[::-1])).any():
            raise InputError(
                f"ROI {label} of {file.name} runs out of the picture in slice {z}",
                hint="the contours were drawn on another series; give that one",
            )
        inside = fill_even_odd(contours, shape)
        taken = out[z][inside]
        if taken.any():
            raise InputError(
                f"ROIs {int(taken[taken > 0][0])} and {label} of {file.name} overlap in "
                f"{int((taken > 0).sum())} voxels of slice {z}",
                hint="read them one at a time: labels=[...]",
            )
        out[z][inside] = label
