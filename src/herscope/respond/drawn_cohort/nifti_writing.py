"""Write a volume as a plain NIfTI-1 file: a header of 348 bytes, no extension, both forms.

After the NIfTI-1.1 standard (Cox et al. 2004). Whole numbers only, so nothing is scaled; the gzip
header holds no time and no name, so equal volumes are equal bytes.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import write_bytes

DATATYPES: Final = {"uint8": 2, "int16": 4, "uint16": 512}
"""NIfTI's codes of the types that are written."""
OFFSET: Final = 352
COMPRESSION: Final = 3
"""Noise hardly shrinks: the highest level takes ten times as long for 3 %."""


def write_nifti(
    path: str | Path,
    array: NDArray[Any],
    *,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
) -> None:
    """Write whole numbers on a grid whose axes are those of the patient.

    Parameters
    ----------
    path
        ``.nii.gz``; its folder must exist.
    array
        uint8, int16 or uint16 (z, y, x), LPS: to the head, to the back, to the left.
    spacing_mm
        Of z, y, x.
    origin_mm
        x, y, z of the first voxel's centre, LPS.

    Raises
    ------
    InputError
        Another type of numbers, or not three axes.
    OutputError
        It cannot be written.
    """
    if array.ndim != 3 or array.dtype.name not in DATATYPES:
        raise InputError(
            f"an array of {array.ndim} axes of {array.dtype.name} for a NIfTI file",
            hint=f"three axes of {', '.join(DATATYPES)}",
        )
    header = _header(array, spacing_mm, origin_mm)
    order = array.dtype.newbyteorder("<")
    # NIfTI's first axis runs fastest and is x: the bytes of (z, y, x) in C order.
    body = np.ascontiguousarray(array, order).tobytes()
    write_bytes(path, gzip.compress(header + bytes(4) + body, COMPRESSION, mtime=0))


def _header(
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
) -> bytes:
    (z, y, x), (dz, dy, dx) = array.shape, spacing_mm
    # RAS: x and y count the other way. A half turn about z is the quaternion (0, 0, 0, 1).
    left, back, up = -origin_mm[0], -origin_mm[1], origin_mm[2]
    code, bits = DATATYPES[array.dtype.name], 8 * array.dtype.itemsize
    made = struct.pack("<i36x", 348)
    made += struct.pack("<8h", 3, x, y, z, 1, 1, 1, 1)
    made += struct.pack("<3f4h", 0, 0, 0, 0, code, bits, 0)
    made += struct.pack("<8f", 1, dx, dy, dz, 0, 0, 0, 0)
    made += struct.pack("<3fhBB", OFFSET, 1, 0, 0, 0, 2)  # scaling 1, unit mm
    made += struct.pack("<4f2i", 0, 0, 0, 0, 0, 0)
    made += struct.pack("<80s24s", b"drawn by herscope", b"")
    made += struct.pack("<2h6f", 1, 1, 0, 0, 1, left, back, up)
    made += struct.pack("<12f", -dx, 0, 0, left, 0, -dy, 0, back, 0, 0, dz, up)
    return made + struct.pack("<16s4s", b"", b"n+1\0")
