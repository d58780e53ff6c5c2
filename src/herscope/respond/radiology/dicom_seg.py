"""DICOM segmentation objects (SEG) as a mask on the grid of a CT.

Each frame is placed by its ImagePositionPatient and orientation, never by its number; frames may be
fewer, in any order, or a part of the picture. A frame that does not fall on the voxels of the CT to
a tenth of a voxel is refused. Binary objects are read as they are. Fractional ones (probability or
occupancy) are refused unless a threshold is given: a voxel then counts from that share of
MaximumFractionalValue on. Segments that overlap are refused: name those that are wanted.

Source: DICOM PS3.3 A.51 and C.8.20. Not read: label-map SEG (Sup 243, 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.respond.radiology.dicom_file import (
    in_words,
    numbers,
    pixel_array,
    read_dataset,
    words,
)
from herscope.respond.radiology.grid import GRID_TOLERANCE
from herscope.respond.radiology.mask_spec import MaskSpec, wanted_labels
from herscope.respond.radiology.volume import Mask, Volume

SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"


def read_dicom_seg(
    path: str | Path, volume: Volume, *, spec: MaskSpec | None = None, dataset: Any = None
) -> Mask:
    """Read a SEG object on the grid of a CT.

    Parameters
    ----------
    path
        The file.
    volume
        The CT it was drawn on.
    spec
        Which segments, and the threshold of a fractional object.
    dataset
        The file already read, if it was.

    Returns
    -------
    Mask
        Labels are segment numbers, names are SegmentLabel.

    Raises
    ------
    SchemaError
        No SEG, fractional without a threshold, no voxel, damaged.
    InputError
        Another series, another grid, overlapping segments, a segment that is not there.
    """
    spec = spec or MaskSpec()
    file = Path(path)
    seg = read_dataset(file) if dataset is None else dataset
    with in_words(file):
        return _read(seg, volume, spec, file)


def _read(seg: Any, volume: Volume, spec: MaskSpec, file: Path) -> Mask:
    if str(seg.SOPClassUID) != SEGMENTATION:
        raise SchemaError(f"{file.name} is no DICOM segmentation (SEG)")
    check_frame_of_reference(seg, volume, file)
    names = {
        int(one.SegmentNumber): words(one.get("SegmentLabel")) or "no name"
        for one in seg.SegmentSequence
    }
    keep = wanted_labels(spec, names, file.name)
    cut = _threshold(seg, spec, file)
    frames = pixel_array(seg, file)
    count = int(seg.NumberOfFrames)
    frames = frames.reshape(count, int(seg.Rows), int(seg.Columns))
    groups = list(seg.PerFrameFunctionalGroupsSequence)
    if len(groups) != count:
        raise SchemaError(f"{file.name} has {count} frames and places for {len(groups)}")
    labels = [_segment_of(group, seg) for group in groups]
    out = np.zeros(volume.grid.shape, np.uint16)
    for label, group, frame in zip(labels, groups, frames, strict=True):
        if label in keep:
            _place(frame >= cut, label, _frame_lattice(group, seg, file), out, volume, file)
    notes = [] if cut == 1 else [f"fractional segmentation cut at {spec.fraction_threshold:g}"]
    return Mask(
        out,
        {label: names[label] for label in keep},
        volume.spacing_mm,
        volume.origin_mm,
        volume.direction,
        file.name,
        tuple(notes),
    )


def check_frame_of_reference(dataset: Any, volume: Volume, file: Path) -> None:
    """Refuse an object drawn in another frame of reference than the CT's.

    Raises
    ------
    InputError
        Both state a FrameOfReferenceUID and they differ.
    """
    stated = words(dataset.get("FrameOfReferenceUID"))
    if not stated:  # RTSTRUCT keeps it one level down
        inner = dataset.get("ReferencedFrameOfReferenceSequence") or []
        stated = words(inner[0].get("FrameOfReferenceUID")) if len(inner) == 1 else ""
    if stated and volume.frame and stated != volume.frame:
        raise InputError(
            f"{file.name} was drawn in frame of reference ...{stated[-12:]}, {volume.source} lies "
            f"in ...{volume.frame[-12:]}",
            hint="give the mask of this series; another examination lies elsewhere",
        )


def _threshold(seg: Any, spec: MaskSpec, file: Path) -> int:
    """Return the stored value from which a voxel counts."""
    kind = words(seg.get("SegmentationType", "BINARY"), 16)
    if kind == "BINARY":
        return 1
    if kind != "FRACTIONAL":
        raise SchemaError(
            f"{file.name} is a {kind.lower()} segmentation, which is not read",
            hint="save it as a binary segmentation",
        )
    if spec.fraction_threshold is None:
        kind = words(seg.get("SegmentationFractionalType", "fractional"), 16).lower()
        raise SchemaError(
            f"{file.name} is fractional ({kind}): where the lesion ends is not stated",
            hint="state it: fraction_threshold=0.5 takes voxels of half and more",
        )
    # Rounded up: a stored value counts where value / maximum >= threshold.
    return max(int(np.ceil(spec.fraction_threshold * int(seg.MaximumFractionalValue) - 1e-9)), 1)


def _functional(group: Any, seg: Any, sequence: str) -> Any:
    """Return the first item of a macro, from the frame or from what all frames share."""
    found = group.get(sequence)
    if not found:
        shared = seg.get("SharedFunctionalGroupsSequence")
        found = shared[0].get(sequence) if shared else None
    return found[0] if found else None


def _segment_of(group: Any, seg: Any) -> int:
    found = _functional(group, seg, "SegmentIdentificationSequence")
    return int(found.ReferencedSegmentNumber)


def _frame_lattice(group: Any, seg: Any, file: Path) -> NDArray[np.float64]:
    """Return ``(3, 3)`` LPS: place of the first pixel, step along a column, step along a row."""
    macros = {
        "PlanePositionSequence": ("ImagePositionPatient", 3),
        "PlaneOrientationSequence": ("ImageOrientationPatient", 6),
        "PixelMeasuresSequence": ("PixelSpacing", 2),
    }
    found = []
    for sequence, (element, count) in macros.items():
        item = _functional(group, seg, sequence)
        values = None if item is None else numbers(item, element, count)
        if values is None:
            raise SchemaError(f"{file.name} states no {element} for its frames")
        found.append(values)
    place, turned, spacing = found
    return np.stack([place, turned[3:] * spacing[0], turned[:3] * spacing[1]])


def _place(
    drawn: NDArray[np.bool_],
    label: int,
    lattice: NDArray[np.float64],
    out: NDArray[np.uint16],
    volume: Volume,
    file: Path,
) -> None:
    """Write one frame's voxels into the mask, or refuse."""
    rows, columns = np.nonzero(drawn)
    if not rows.size:
        return
    places = lattice[0] + rows[:, None] * lattice[1] + columns[:, None] * lattice[2]
    exact = volume.grid.to_index(places)
    near = np.rint(exact).astype(np.int64)
    off = float(np.abs(exact - near).max())
    if off > GRID_TOLERANCE:
        raise InputError(
            f"segmentation {file.name} lies on another grid than {volume.source}: a voxel is "
            f"{off:.2f} voxel off (limit {GRID_TOLERANCE:g})",
            hint="give the segmentation of this series, or resample it in the program it came from",
        )
    if ((near < 0) | (near >= np.asarray(volume.grid.shape))).any():
        raise InputError(
            f"segmentation {file.name} has voxels outside of {volume.source}",
            hint="the series is not whole, or it is another one",
        )
    z, y, x = near.T
    # Neighbouring pixels on one voxel: the frame is finer than the CT.
    flat = np.ravel_multi_index((z, y, x), volume.grid.shape)
    if np.unique(flat).size != flat.size:
        raise InputError(
            f"segmentation {file.name} is finer than {volume.source}",
            hint="give the segmentation of this series",
        )
    taken = out[z, y, x]
    other = taken[(taken != 0) & (taken != label)]
    if other.size:
        raise InputError(
            f"segments {int(other[0])} and {label} of {file.name} overlap in {other.size} voxels",
            hint="read them one at a time: labels=[...]",
        )
    out[z, y, x] = label
