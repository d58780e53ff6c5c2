"""Surface of a mask: triangles in 3-D, their volume and area, and distances on their hull.

The surface is that of marching cubes at 0.5 (Lewiner et al. 2003, through scikit-image) on a mask
with a border of zeros; what is computed from it is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from skimage.measure import marching_cubes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface.

    ``points`` (n, 3): corners ``(z, y, x)`` in mm. ``triangles`` (m, 3): their numbers.
    """

    points: Array
    triangles: NDArray[np.int64]

    def volume_mm3(self) -> float:
        """Enclosed volume: signed tetrahedra from the origin."""
        a, b, c = (self.points[self.triangles[:, k]] for k in range(3))
        return abs(float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum())) / 6

    def area_mm2(self) -> float:
        """Area of the triangles."""
        a, b, c = (self.points[self.triangles[:, k]] for k in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2

    def hull(self) -> Hull:
        """Convex hull of the corners."""
        return hull_of(self.points)


@dataclass(frozen=True, eq=False)
class Hull:
    """Convex hull: its corners, its volume and surface (in 2-D: area and perimeter)."""

    corners: Array
    volume: float
    area: float

    def diameter(self) -> float:
        """Return the largest distance between two corners."""
        most = 0.0
        for k in range(len(self.corners) - 1):  # a row at a time: hulls have up to 10^4 corners
            apart = ((self.corners[k + 1 :] - self.corners[k]) ** 2).sum(axis=1)
            most = max(most, float(apart.max()))
        return float(np.sqrt(most))


def hull_of(points: Array) -> Hull:
    """Return the convex hull of points in 2-D or 3-D."""
    try:
        hull = ConvexHull(points)
    except QhullError:  # needles below Qhull's precision: joggled by 1e-12 of their size
        hull = ConvexHull(points, qhull_options="QJ")
    return Hull(points[hull.vertices], float(hull.volume), float(hull.area))


def surface(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> Mesh:
    """Return the surface of a mask.

    Parameters
    ----------
    mask
        ``(z, y, x)`` with at least one voxel.
    spacing_mm
        ``(z, y, x)``.

    Examples
    --------
    One voxel is an octahedron with half a voxel to each side:

    >>> mesh = surface(np.ones((1, 1, 1), np.bool_), (2.0, 2.0, 2.0))
    >>> round(mesh.volume_mm3(), 6)
    1.333333
    """
    # Centred coordinates keep the tetrahedra small, so that their sum loses no digits.
    padded = np.pad(mask, 1).astype(np.float32)
    points, triangles, _, _ = marching_cubes(padded, level=0.5)
    centred = points.astype(np.float64) - (np.asarray(padded.shape) - 1) / 2
    return Mesh(centred * np.asarray(spacing_mm), triangles.astype(np.int64))
