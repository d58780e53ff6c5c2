"""Lesion boxes that a reader typed into a table.

One row a lesion, columns ``patient, lesion, kind, unit, x0, y0, z0, x1, y1, z1``. ``unit`` says
what the six numbers are; it is never guessed:

``mm``
    Places in the patient, LPS, as DICOM states them. A voxel belongs where its centre lies in
    ``x0 <= x < x1`` and so on.
``mm_ras``
    The same with x to the right and y to the front, as NIfTI files and 3D Slicer show them.
``voxel``
    Whole voxels ``x0 <= x < x1`` of the volume **as herscope holds it**: x from the right,
    y from the front, z from the feet, counted from 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from herscope.core.errors import HerscopeError, InputError, SchemaError
from herscope.respond.radiology.lesions import Box, Lesion, LesionKind, kind_of
from herscope.respond.radiology.volume import Volume
from herscope.stats.table import Table, read_table

EDGES: Final = ("x0", "y0", "z0", "x1", "y1", "z1")
COLUMNS: Final = ("patient", "lesion", "kind", "unit", *EDGES)
UNITS: Final = ("mm", "mm_ras", "voxel")


def read_boxes(path: str | Path) -> Table:
    """Read a table of boxes and check its columns.

    Raises
    ------
    SchemaError
        No table, a column is missing, a cell is empty.
    """
    table = read_table(path)
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise SchemaError(
            f"{Path(path).name} has no column {lacking[0]}",
            hint=f"a box file has the columns {', '.join(COLUMNS)}",
        )
    return table.complete(COLUMNS)


def lesions_from_boxes(table: Table, patient: str, volume: Volume) -> tuple[Lesion, ...]:
    """Return the lesions of one patient.

    Parameters
    ----------
    table
        What :func:`read_boxes` returned.
    patient
        As the table writes it.
    volume
        The CT.

    Returns
    -------
    tuple
        In the order of the table; ``label`` counts them from 1, ``voxels`` are all of the box and
        the key slice is the middle one (the lower of two).

    Raises
    ------
    InputError
        No such patient, an unknown kind or unit, or a box outside of the CT.
    """
    who = table.labels("patient")
    rows = [row for row, name in enumerate(who) if name == patient]
    if not rows:
        raise InputError(
            f"{table.name} has no box of patient {patient}",
            hint=f"it has {len(set(who))} other patients; names must be written alike",
        )
    kinds, units, names = (table.labels(name) for name in ("kind", "unit", "lesion"))
    edges = np.stack([table.numbers(name) for name in EDGES], axis=1)
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            box = _box(edges[row], units[row], volume)
            kind: LesionKind = kind_of(kinds[row])
        except HerscopeError as error:
            raise InputError(
                f"{table.name}, patient {patient}, lesion {names[row]}: {error.message}",
                hint=error.hint,
            ) from error
        voxels = int(np.prod(box.size))
        key = (box.z0 + box.z1 - 1) // 2
        found.append(
            Lesion(number, kind, box, voxels, voxels * volume.grid.voxel_ml, key, names[row], False)
        )
    return tuple(found)


def _box(edges: np.ndarray, unit: str, volume: Volume) -> Box:
    """Turn six numbers ``x0 y0 z0 x1 y1 z1`` into voxels of the volume."""
    if unit not in UNITS:
        raise InputError(f"no unit is called {unit[:20]}", hint=f"known: {', '.join(UNITS)}")
    low, high = edges[:3], edges[3:]
    if not (low < high).all():
        raise InputError("its first corner is not below its second in x, y and z")
    if unit == "voxel":
        if (edges != np.floor(edges)).any():
            raise InputError("its voxels are no whole numbers", hint="is the unit mm?")
        first, last = low[::-1], high[::-1]
    else:
        if unit == "mm_ras":
            low, high = (
                np.array([-high[0], -high[1], low[2]]),
                np.array([-low[0], -low[1], high[2]]),
            )
        first, last = _voxels_within(low, high, volume)
    size = np.asarray(volume.grid.shape)
    if (first < 0).any() or (last > size).any():
        told = ", ".join(
            f"{name} {int(first[axis])} to {int(last[axis]) - 1}" for axis, name in enumerate("zyx")
        )
        raise InputError(
            f"its box (voxels {told}) is not within the {' x '.join(map(str, size))} voxels "
            f"(z, y, x) of {volume.source}",
            hint="check the unit (mm is LPS, mm_ras is as 3D Slicer shows) and the series",
        )
    if (first >= last).any():
        raise InputError("its box holds no voxel's centre", hint="check the unit")
    z0, y0, x0 = (int(one) for one in first)
    z1, y1, x1 = (int(one) for one in last)
    return Box(z0, y0, x0, z1, y1, x1)


def _voxels_within(
    low: np.ndarray, high: np.ndarray, volume: Volume
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``first <= index < last`` whose centres lie in the box of millimetres.

    On a tilted grid the box of voxels is the one around the corners of the box of millimetres.
    """
    ends = list(zip(low, high, strict=True))
    corners = [(x, y, z) for x in ends[0] for y in ends[1] for z in ends[2]]
    index = volume.grid.to_index(corners)
    # A billionth of a voxel takes the rounding of a place that is meant to be a centre.
    first = np.ceil(index.min(axis=0) - 1e-9)
    last = np.ceil(index.max(axis=0) - 1e-9)
    return first, last
