"""A CT as numbers, and the labels that lie on it.

``Volume`` holds Hounsfield units: -1000 is air, 0 is water, by definition. Both it and ``Mask``
lie on a :class:`~herscope.respond.radiology.grid.Grid` in LPS, slices from feet to head. Two that
do not lie on one grid are never put together in silence: :func:`check_grid` refuses, and
:func:`resample_mask` moves a mask when it is asked to, by nearest neighbour, and says so in its
notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.respond.radiology.grid import GRID_TOLERANCE, Grid, grid_difference

TILT_WORTH_A_NOTE_DEGREES: Final = 1.0
NO_AIR_HU: Final = -300.0
"""A CT in HU without a voxel below this has no air, no lung and no edge of the body."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT in Hounsfield units.

    Parameters
    ----------
    array
        float32 ``(z, y, x)`` in HU, slices from feet to head; made read-only.
    spacing_mm
        ``(z, y, x)``.
    origin_mm
        Centre ``(x, y, z)`` of voxel ``[0, 0, 0]``, LPS.
    direction
        ``(3, 3)``, columns are the directions of the x, y and z index in LPS.
    source
        Name of the file or folder, for messages.
    notes
        What a reader should know about how it was read.
    frame
        FrameOfReferenceUID of a DICOM series; empty where there is none.

    Raises
    ------
    SchemaError
        Not three axes, no voxel, values that are not finite, or a grid that cannot be.

    Examples
    --------
    >>> ct = Volume(np.zeros((2, 4, 4), np.float32), (5.0, 0.8, 0.8), (0, 0, 0), np.eye(3), "a.nii")
    >>> ct.grid.shape, round(ct.grid.voxel_ml, 4)
    ((2, 4, 4), 0.0032)
    """

    array: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: NDArray[np.float64]
    source: str
    notes: tuple[str, ...] = ()
    frame: str = ""
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, np.float32)
        if array.ndim != 3 or array.size == 0:
            raise SchemaError(f"{self.source} has no volume: shape {array.shape}, not (z, y, x)")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise SchemaError(
                f"{self.source} has {bad} voxels without a number (NaN or infinite)",
                hint="export it again as Hounsfield units, air outside the scan as -1000",
            )
        _keep(self, array)


@dataclass(frozen=True, eq=False)
class Mask:
    """Labels on the grid of a volume; 0 is background.

    Parameters
    ----------
    array
        uint16 ``(z, y, x)``; made read-only.
    labels
        Name of every label but 0 that the file speaks of.
    spacing_mm, origin_mm, direction, source, notes
        As for :class:`Volume`.

    Raises
    ------
    SchemaError
        No voxel has a label, or a grid that cannot be.

    Examples
    --------
    >>> drawn = np.zeros((2, 4, 4), np.uint16)
    >>> drawn[1, 1:3, 1:3] = 1
    >>> mask = Mask(drawn, {1: "liver"}, (5.0, 0.8, 0.8), (0, 0, 0), np.eye(3), "a.nii")
    >>> mask.label_of("liver"), mask.counts()
    (1, {1: 4})
    """

    array: NDArray[np.uint16]
    labels: Mapping[int, str]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: NDArray[np.float64]
    source: str
    notes: tuple[str, ...] = ()
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, np.uint16)
        if array.ndim != 3 or array.size == 0:
            raise SchemaError(f"{self.source} has no mask: shape {array.shape}, not (z, y, x)")
        if not array.any():
            raise SchemaError(
                f"mask {self.source} has no voxel: all of it is background",
                hint="nothing was drawn, or it was drawn on another series; look at it in a viewer",
            )
        _keep(self, array)

    def counts(self) -> dict[int, int]:
        """Return the voxels of every label that has any, smallest label first."""
        found = np.bincount(self.array.ravel())
        return {label: int(found[label]) for label in np.flatnonzero(found).tolist() if label}

    def label_of(self, name: str | int) -> int:
        """Return the number of a label given by name or number.

        Raises
        ------
        InputError
            No label is called that; the message lists those there are.
        """
        present = self.counts()
        by_name = {text.casefold(): number for number, text in self.labels.items()}
        number = name if isinstance(name, int) else by_name.get(name.casefold(), -1)
        if number not in present:
            listed = ", ".join(f"{one} ({self.labels.get(one, 'no name')})" for one in present)
            raise InputError(
                f"mask {self.source} has no voxel labelled {name}; it has {listed}",
                hint="give one of these, by number or by name",
            )
        return number


def _keep(of: Volume | Mask, array: NDArray[np.float32] | NDArray[np.uint16]) -> None:
    """Finish a frozen value: its array read-only, its grid made and checked."""
    array = array.view()
    array.setflags(write=False)
    object.__setattr__(of, "array", array)
    try:
        grid = Grid(
            (int(array.shape[0]), int(array.shape[1]), int(array.shape[2])),
            of.spacing_mm,
            of.origin_mm,
            np.asarray(of.direction, np.float64),
        )
    except SchemaError as error:
        raise SchemaError(f"{of.source}: {error.message}", hint=error.hint) from error
    object.__setattr__(of, "grid", grid)
    object.__setattr__(of, "direction", grid.direction)


def same_grid(volume: Volume, mask: Mask, *, tolerance: float = GRID_TOLERANCE) -> bool:
    """Return whether a mask lies on the grid of a volume.

    Parameters
    ----------
    volume, mask
        What should lie on each other.
    tolerance
        Share of the finest edge of a voxel by which corners may differ; 0.1 unless told.
    """
    return not grid_difference(volume.grid, mask.grid, tolerance=tolerance)


def check_grid(volume: Volume, mask: Mask) -> None:
    """Refuse a mask that lies on another grid.

    Raises
    ------
    InputError
        Another shape, spacing, place or direction; the message says which.
    """
    difference = grid_difference(volume.grid, mask.grid)
    if difference:
        raise InputError(
            f"mask {mask.source} lies on another grid than {volume.source}: {difference}",
            hint="give the mask of this series, or ask for it to be moved by nearest neighbour "
            "(resample=True)",
        )


def resample_mask(mask: Mask, volume: Volume) -> Mask:
    """Move a mask to the grid of a volume by nearest neighbour; only when somebody asks for it.

    Each voxel of the volume gets the label of the mask's voxel whose centre is nearest; outside of
    the mask's grid it is background. Halves go up. Thin structures may break or vanish: the note
    that is added names the voxels before and after.

    Raises
    ------
    SchemaError
        Nothing of the mask is left: they do not overlap.
    """
    if same_grid(volume, mask):
        return mask
    depth, height, width = volume.grid.shape
    out = np.zeros(volume.grid.shape, np.uint16)
    rows, columns = np.mgrid[0:height, 0:width]
    for z in range(depth):
        index = np.stack([np.full(rows.size, z), rows.ravel(), columns.ravel()], axis=1)
        near = np.floor(mask.grid.to_index(volume.grid.to_mm(index)) + 0.5).astype(np.int64)
        inside = ((near >= 0) & (near < np.asarray(mask.grid.shape))).all(axis=1)
        there = near[inside]
        out[z].reshape(-1)[inside] = mask.array[there[:, 0], there[:, 1], there[:, 2]]
    before = int((mask.array > 0).sum()) * mask.grid.voxel_ml
    after = int((out > 0).sum()) * volume.grid.voxel_ml
    note = f"mask moved to the grid of the CT by nearest neighbour: {before:.4g} ml, {after:.4g} ml"
    return Mask(
        out,
        mask.labels,
        volume.spacing_mm,
        volume.origin_mm,
        volume.direction,
        mask.source,
        (*mask.notes, note),
    )


def with_notes(volume: Volume, *notes: str) -> Volume:
    """Return the volume with more notes."""
    return replace(volume, notes=(*volume.notes, *notes))


def reading_notes(array: NDArray[np.float32], grid: Grid) -> list[str]:
    """Return what is odd about a volume as a whole: a tilt, or numbers that are hardly HU."""
    notes = []
    if grid.tilt_degrees() > TILT_WORTH_A_NOTE_DEGREES:
        notes.append(
            f"the slices are tilted {grid.tilt_degrees():.1f} degrees against the body's axes"
        )
    low, high = float(array.min()), float(array.max())
    if low > NO_AIR_HU:
        notes.append(
            f"values from {low:g} to {high:g}: no air in the picture; hardly Hounsfield units"
            if low >= 0
            else f"values from {low:g} to {high:g}: no air in the picture"
        )
    return notes
