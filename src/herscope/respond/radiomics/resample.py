"""Voxels of another size, IBSI 2.4: the two grids share their centre.

The new grid has ``ceil(n s / s')`` voxels on an axis of n voxels of s mm. Linear interpolation is
done axis by axis, which is the trilinear formula; positions beyond the outermost centres take the
outermost value. Only the part around the region is computed, on the grid of the whole image, so
that cutting out changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """Where the new voxels of one axis lie in the old one.

    ``at``: positions in old voxels. ``step_mm``: spacing of the new ones. ``same``: nothing moves.
    """

    at: Array
    step_mm: float
    same: bool


def new_axis(
    size: int, step_mm: float, new_mm: float | None, first: int, last: int, margin_mm: float
) -> Axis:
    """Choose the new voxels of an axis that cover old voxels first to last and a margin.

    Parameters
    ----------
    size, step_mm
        Old voxels of the whole axis and their spacing.
    new_mm
        New spacing; None keeps the old.
    first, last
        Old voxels to cover, both ends included.
    margin_mm
        What is wanted on both sides.

    Examples
    --------
    Four voxels of 1 mm as two of 2 mm, around the same centre:

    >>> new_axis(4, 1.0, 2.0, 0, 3, 0.0).at.tolist()
    [0.5, 2.5]
    """
    new = step_mm if new_mm is None else new_mm
    same = new_mm is None or math.isclose(new_mm, step_mm, rel_tol=1e-9)
    # 1e-9: 10 voxels of 0.3 mm are 3 of 1 mm, whatever the rounding of 10 * 0.3.
    number = size if same else max(1, math.ceil(size * step_mm / new - 1e-9))
    at = (size - 1) / 2 + (np.arange(number, dtype=np.float64) - (number - 1) / 2) * (new / step_mm)
    if same:
        at = np.arange(size, dtype=np.float64)
    reach = margin_mm / step_mm + (0.0 if same else 1.0)
    near = (at >= first - reach) & (at <= last + reach)
    if not near.any():  # one huge new voxel whose centre lies elsewhere
        near[int(np.argmin(np.abs(at - (first + last) / 2)))] = True
    return Axis(at[near], new, same)


def resample(values: NDArray[Any], axes: list[Axis], *, linear: bool) -> NDArray[Any]:
    """Interpolate at the new voxels of all axes.

    Parameters
    ----------
    values
        ``(z, y, x)`` of the whole image.
    axes
        One for each axis of the array.
    linear
        Else the nearest voxel, halves up.
    """
    out = values
    # Cut first, so that a small region of a large image costs little.
    cut = [
        (max(0, math.floor(axis.at[0])), min(size, math.ceil(axis.at[-1]) + 1))
        for axis, size in zip(axes, values.shape, strict=True)
    ]
    ends = [
        (min(low, size - 1), max(high, 1))
        for (low, high), size in zip(cut, values.shape, strict=True)
    ]
    out = values[tuple(slice(low, high) for low, high in ends)]
    for k, (axis, (low, _)) in enumerate(zip(axes, ends, strict=True)):
        if axis.same:
            continue
        at, most = np.clip(axis.at - low, 0.0, out.shape[k] - 1.0), out.shape[k] - 1
        if linear:
            below = np.minimum(np.floor(at).astype(np.int64), most)
            part = (at - below).reshape([-1 if j == k else 1 for j in range(out.ndim)])
            above = np.minimum(below + 1, most)
            out = np.take(out, below, axis=k) * (1 - part) + np.take(out, above, axis=k) * part
        else:
            out = np.take(out, np.floor(at + 0.5).astype(np.int64), axis=k)
    return np.ascontiguousarray(out)
