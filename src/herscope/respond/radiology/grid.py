"""Where the voxels of a volume lie in the patient, in one convention whatever the file's.

**LPS**, as DICOM and ITK have it: x grows to the patient's left, y to the back, z to the head, in
millimetres. An array is ``(z, y, x)``: slices from feet to head, rows from front to back, columns
from the patient's right to left. Drawn as it lies, a slice is what a radiologist expects: the
patient's right on the left of the picture, the front on top, seen from the feet.

A file in another order is turned by swapping and reversing whole axes, never by interpolation, so
no voxel changes. What is left, a table or a head that was not straight, stays in ``direction``.

Source: DICOM PS3.3 C.7.6.2 (image plane module); NIfTI-1.1 states the same with x to the right and
y to the front (RAS), hence the two signs in :mod:`herscope.respond.radiology.nifti`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import SchemaError

GRID_TOLERANCE: Final = 0.1
"""Share of the finest voxel edge by which corners of two grids may differ and be one grid: files
round positions to 0.001 to 0.01 mm, and a mask that is shifted by less moves no voxel."""

SKEW_TOLERANCE: Final = 2e-3
"""Largest cosine between two axes that still counts as a right angle (0.1 degree)."""

THINNEST_MM: Final = 0.01
THICKEST_MM: Final = 100.0


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxel centres.

    Parameters
    ----------
    shape
        Voxels ``(z, y, x)``.
    spacing_mm
        Distance of neighbours ``(z, y, x)``, 0.01 to 100 mm.
    origin_mm
        Place ``(x, y, z)`` of the centre of voxel ``[0, 0, 0]``, LPS.
    direction
        ``(3, 3)``; its columns are the unit vectors, in LPS, along which the x, y and z index grow.
        The identity for a patient who lies straight.

    Raises
    ------
    SchemaError
        A spacing that no scanner has, axes that are not at right angles, numbers that are none.

    Examples
    --------
    >>> grid = Grid((2, 4, 4), (5.0, 0.8, 0.8), (-10.0, -20.0, 30.0), np.eye(3))
    >>> grid.to_mm([[1, 0, 2]]).round(3).tolist()
    [[-8.4, -20.0, 35.0]]
    >>> grid.to_index([[-8.4, -20.0, 35.0]]).round(3).tolist()
    [[1.0, 0.0, 2.0]]
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: NDArray[np.float64]

    def __post_init__(self) -> None:
        if any(not THINNEST_MM <= edge <= THICKEST_MM for edge in self.spacing_mm):
            listed = " x ".join(f"{edge:g}" for edge in self.spacing_mm)
            raise SchemaError(
                f"voxels of {listed} mm (z, y, x) are none of a CT "
                f"(allowed: {THINNEST_MM:g} to {THICKEST_MM:g} mm)",
                hint="the file states no spacing, or in another unit; export it again with spacing",
            )
        axes = np.asarray(self.direction, np.float64)
        if (
            axes.shape != (3, 3)
            or not np.isfinite(axes).all()
            or not np.isfinite(self.origin_mm).all()
        ):
            raise SchemaError("the place of the volume is not given in finite numbers")
        skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
        if skew > SKEW_TOLERANCE:
            raise SchemaError(
                f"the axes of the volume are not at right angles (off by {skew:.3f}, "
                f"limit {SKEW_TOLERANCE:g}): a tilted gantry, or a sheared matrix",
                hint="resample it to a straight grid first, for example with dcm2niix or SimpleITK",
            )
        if np.linalg.det(axes) < 0:
            raise SchemaError(
                "the axes of the volume are mirrored: left would be right",
                hint="bring it to LPS with herscope.respond.radiology.grid.to_lps",
            )
        axes.setflags(write=False)
        object.__setattr__(self, "direction", axes)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """``(3, 3)`` that turns steps ``(x, y, z)`` in voxels into millimetres."""
        return self.direction * np.asarray(self.spacing_mm[::-1])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        z_mm, y_mm, x_mm = self.spacing_mm
        return z_mm * y_mm * x_mm / 1000.0

    def to_mm(self, index: Any) -> NDArray[np.float64]:
        """Turn ``(n, 3)`` voxel indices ``(z, y, x)`` into ``(n, 3)`` places ``(x, y, z)`` mm."""
        steps = np.atleast_2d(np.asarray(index, np.float64))[:, ::-1]
        return np.asarray(steps @ self.matrix.T + np.asarray(self.origin_mm))

    def to_index(self, place_mm: Any) -> NDArray[np.float64]:
        """Turn ``(n, 3)`` places ``(x, y, z)`` mm into ``(n, 3)`` fractional ``(z, y, x)``."""
        from_origin = np.atleast_2d(np.asarray(place_mm, np.float64)) - np.asarray(self.origin_mm)
        return np.asarray((from_origin @ np.linalg.inv(self.matrix).T)[:, ::-1])

    def corners_mm(self) -> NDArray[np.float64]:
        """``(8, 3)`` centres of the corner voxels, LPS mm."""
        ends = [(0, size - 1) for size in self.shape]
        return self.to_mm([(z, y, x) for z in ends[0] for y in ends[1] for x in ends[2]])

    def tilt_degrees(self) -> float:
        """Largest angle between an index axis and the axis of the body it runs along."""
        return float(np.degrees(np.arccos(np.clip(np.diag(self.direction).min(), -1.0, 1.0))))


def grid_difference(one: Grid, other: Grid, *, tolerance: float = GRID_TOLERANCE) -> str:
    """Say in what two grids differ; empty where they are one.

    Parameters
    ----------
    one, other
        Two grids.
    tolerance
        Share of the finest edge of a voxel by which corners may differ.

    Examples
    --------
    >>> a = Grid((2, 4, 4), (5.0, 0.8, 0.8), (0.0, 0.0, 0.0), np.eye(3))
    >>> b = Grid((2, 4, 5), (5.0, 0.8, 0.8), (0.0, 0.0, 0.0), np.eye(3))
    >>> grid_difference(a, b)
    '2 x 4 x 4 and 2 x 4 x 5 voxels (z, y, x)'
    """
    if one.shape != other.shape:
        sizes = [" x ".join(str(size) for size in grid.shape) for grid in (one, other)]
        return f"{sizes[0]} and {sizes[1]} voxels (z, y, x)"
    apart = float(np.linalg.norm(one.corners_mm() - other.corners_mm(), axis=1).max())
    limit = tolerance * min(*one.spacing_mm, *other.spacing_mm)
    if apart <= limit:
        return ""
    if not np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3):
        edges = [" x ".join(f"{edge:g}" for edge in grid.spacing_mm) for grid in (one, other)]
        return f"voxels of {edges[0]} and {edges[1]} mm (z, y, x)"
    return f"corners {apart:.3g} mm apart (limit {limit:.3g} mm)"


def to_lps(
    array: NDArray[Any], matrix: NDArray[np.float64], origin_mm: NDArray[np.float64]
) -> tuple[NDArray[Any], Grid]:
    """Turn an array in any order of axes into ``(z, y, x)`` with LPS directions.

    Parameters
    ----------
    array
        Three axes ``i, j, k`` in any order.
    matrix
        ``(3, 3)``; column n is the step in LPS millimetres along array axis n.
    origin_mm
        ``(3,)`` place of ``array[0, 0, 0]``, LPS.

    Returns
    -------
    tuple
        A view of the array as ``(z, y, x)``, and its grid.

    Raises
    ------
    SchemaError
        The matrix is not that of a lattice at right angles.

    Examples
    --------
    An array (x, y, z) whose x runs to the patient's right is reversed along x:

    >>> seen, grid = to_lps(np.arange(3.0).reshape(3, 1, 1), np.diag([-1.0, 1, 2]), np.zeros(3))
    >>> seen.ravel().tolist(), grid.origin_mm, grid.spacing_mm
    ([2.0, 1.0, 0.0], (-2.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    """
    spacing = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise SchemaError(
            "the file states no spacing: an axis has a step of zero or none at all",
            hint="export it again with its spacing; a spacing is never guessed",
        )
    axes = matrix / spacing
    order = _axis_of_body(axes)
    turned = array.transpose(order[2], order[1], order[0])
    place = np.array(origin_mm, np.float64)
    columns = []
    for body, axis in enumerate(order):
        step = axes[:, axis]
        if step[body] < 0:
            place = place + matrix[:, axis] * (array.shape[axis] - 1)
            turned = np.flip(turned, axis=2 - body)
            step = -step
        columns.append(step)
    grid = Grid(
        shape=(int(turned.shape[0]), int(turned.shape[1]), int(turned.shape[2])),
        spacing_mm=(float(spacing[order[2]]), float(spacing[order[1]]), float(spacing[order[0]])),
        # Adding zero turns -0.0 into 0.0.
        origin_mm=(float(place[0]) + 0.0, float(place[1]) + 0.0, float(place[2]) + 0.0),
        direction=np.stack(columns, axis=1) + 0.0,
    )
    return turned, grid


def _axis_of_body(axes: NDArray[np.float64]) -> tuple[int, int, int]:
    """For x, y and z of the body the array axis that runs along it; the straightest first."""
    left = np.abs(axes).copy()
    found = [-1, -1, -1]
    for _ in range(3):
        body, axis = np.unravel_index(int(np.argmax(left)), left.shape)
        found[int(body)] = int(axis)
        left[body, :] = -1.0
        left[:, axis] = -1.0
    return found[0], found[1], found[2]
