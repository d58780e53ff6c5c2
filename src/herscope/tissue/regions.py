"""Regions: named areas of the slide as polygons in level-0 pixels, and masks turned into them.

A mask becomes polygons that run along the edges of its pixels, holes included, so that the area of
the polygons is the area of the pixels exactly and a mask survives the round trip through
:mod:`herscope.tissue.raster` to the bit. Pixels that touch by a corner only are two polygons:
polygons of OGC Simple Features may not touch themselves along a line, and regions that merely
touch are not one piece of tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numba
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from herscope.core.errors import InputError

TUMOR: Final = "Tumor"
STROMA: Final = "Stroma"
NECROSIS: Final = "Necrosis"
TISSUE: Final = "Tissue"
OTHER: Final = "Other"
REGION: Final = "Region"
IGNORE: Final = "Ignore"
NAMES: Final = (TUMOR, STROMA, NECROSIS, TISSUE, OTHER, REGION, IGNORE)


@dataclass(frozen=True, slots=True)
class Region:
    """A named area of the slide.

    Parameters
    ----------
    name
        One of ``Tumor``, ``Stroma``, ``Necrosis``, ``Tissue``, ``Other``, ``Region``, ``Ignore``,
        or a class name of the user's own.
    geometry
        Polygon or MultiPolygon in level-0 pixels; pixel (0, 0) covers 0 to 1 in x and y.

    Examples
    --------
    >>> Region("Tumor", shapely.box(0, 0, 4, 3)).area
    12.0
    """

    name: str
    geometry: Polygon | MultiPolygon

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, Polygon | MultiPolygon) or self.geometry.is_empty:
            raise InputError(
                f"region {self.name!r} is no area: {self.geometry!r:.80}",
                hint="give a shapely Polygon or MultiPolygon that is not empty",
            )
        if not math.isfinite(float(self.geometry.area)):
            raise InputError(
                f"region {self.name!r} has coordinates that are not finite",
                hint="remove NaN and infinite coordinates",
            )

    @property
    def area(self) -> float:
        """Area in square level-0 pixels."""
        return float(self.geometry.area)


def regions_from_mask(
    mask: NDArray[np.bool_],
    scale_x: float,
    scale_y: float,
    name: str,
    *,
    simplify_px: float = 0.0,
) -> list[Region]:
    """Polygons around the pixels of a mask.

    Parameters
    ----------
    mask
        (h, w) bool.
    scale_x, scale_y
        Level-0 pixels per pixel of the mask.
    name
        Name of the regions.
    simplify_px
        Tolerance of simplification in pixels of the mask; 0 keeps every edge and is exact. A
        simplified outline never crosses itself; pieces that vanish are left out.

    Returns
    -------
    regions
        One for each 4-connected piece, from top to bottom, then left to right.

    Raises
    ------
    InputError
        The mask is not two-dimensional, or a scale or tolerance is not a positive number.

    Examples
    --------
    >>> mask = np.zeros((4, 4), bool); mask[1:3, 1:4] = True
    >>> [region.geometry.bounds for region in regions_from_mask(mask, 2.0, 2.0, "Tissue")]
    [(2.0, 2.0, 8.0, 6.0)]
    """
    mask = np.ascontiguousarray(mask)
    if mask.ndim != 2:
        raise InputError(
            f"a mask must be (height, width), not {mask.shape}", hint="pass one channel"
        )
    for field, value in (("scale_x", scale_x), ("scale_y", scale_y)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{field} is {value!r}, not a positive number", hint="level-0 per px")
    if not (math.isfinite(simplify_px) and simplify_px >= 0):
        raise InputError(f"simplify_px is {simplify_px!r}, not a length", hint="0 is exact")
    if not mask.any():
        return []

    corners, offsets = _trace(mask.astype(np.bool_, copy=False))
    rings = [loop for a, b in pairwise(offsets.tolist()) for loop in _simple_loops(corners[a:b])]
    pieces = _nest(rings)
    regions: list[Region] = []
    for piece in pieces:
        shape = piece
        if simplify_px > 0:
            shape = shapely.simplify(piece, simplify_px, preserve_topology=True)
        shape = shapely.transform(shape, lambda xy: xy * np.array([scale_x, scale_y]))
        if shape.area > 0:
            regions.append(Region(name, shape))
    return regions


@numba.njit(nogil=True, cache=True)
def _trace(  # noqa: C901, PLR0912, PLR0915 (one walk, compiled; calls would hide the turns)
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Walk the outlines along pixel edges with the mask on the right hand, corners only.

    Every border edge belongs to one outline. At a corner where two pixels touch diagonally the
    walk turns right, which keeps the pixels apart.
    """
    height, width = mask.shape
    # edge heading east along the top of pixel (r, c) exists where it is set and the one above not
    todo = np.zeros((height, width), np.bool_)
    edges = 0
    for r in range(height):
        for c in range(width):
            if mask[r, c]:
                if r == 0 or not mask[r - 1, c]:
                    todo[r, c] = True
                    edges += 1
                if r == height - 1 or not mask[r + 1, c]:
                    edges += 1
                if c == 0 or not mask[r, c - 1]:
                    edges += 1
                if c == width - 1 or not mask[r, c + 1]:
                    edges += 1
    corners = np.empty((edges + 1, 2), np.int32)
    offsets = np.empty(edges // 4 + 2, np.int64)
    offsets[0] = 0
    rings = 0
    count = 0
    for r0 in range(height):
        for c0 in range(width):
            if not todo[r0, c0]:
                continue
            # headings: 0 east, 1 south, 2 west, 3 north; (x, y) is a grid corner
            x, y, heading = c0, r0, 0
            while True:
                if heading == 0:
                    todo[y, x] = False
                    x += 1
                    right = y < height and x < width and mask[y, x]
                    left = y > 0 and x < width and mask[y - 1, x]
                elif heading == 1:
                    y += 1
                    right = y < height and x > 0 and mask[y, x - 1]
                    left = y < height and x < width and mask[y, x]
                elif heading == 2:
                    x -= 1
                    right = y > 0 and x > 0 and mask[y - 1, x - 1]
                    left = y < height and x > 0 and mask[y, x - 1]
                else:
                    y -= 1
                    right = y > 0 and x < width and mask[y - 1, x]
                    left = y > 0 and x > 0 and mask[y - 1, x - 1]
                # right is the pixel ahead on the inner side, left the one on the outer side
                if not right:
                    turn = 1
                elif left:
                    turn = 3
                else:
                    turn = 0
                if turn:
                    corners[count, 0] = x
                    corners[count, 1] = y
                    count += 1
                    heading = (heading + turn) % 4
                if heading == 0 and x == c0 and y == r0:
                    break
            rings += 1
            offsets[rings] = count
    return corners[:count], offsets[: rings + 1]


def _simple_loops(ring: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Cut an outline where it touches itself, as a valid polygon's rings must not."""
    key = ring[:, 0].astype(np.int64) << 32 | ring[:, 1]
    if np.unique(key).size == key.size:
        return [ring]
    loops: list[NDArray[np.int32]] = []
    path: list[int] = []
    at: dict[int, int] = {}
    for i, corner in enumerate(key.tolist()):
        if corner in at:
            start = at[corner]
            loops.append(ring[path[start:]])
            for j in path[start:]:
                del at[int(key[j])]
            del path[start:]
        at[corner] = len(path)
        path.append(i)
    loops.append(ring[path])
    return loops


def _nest(rings: list[NDArray[np.int32]]) -> list[Polygon]:
    """Join outer outlines and the holes inside them."""
    area2 = np.array([_twice_area(ring) for ring in rings])
    outer = [i for i in range(len(rings)) if area2[i] > 0]
    holes = [i for i in range(len(rings)) if area2[i] < 0]
    shells = [Polygon(rings[i]) for i in outer]
    inside: list[list[NDArray[np.int32]]] = [[] for _ in outer]
    if holes:
        tree = shapely.STRtree(shells)
        # a point half a pixel into the mask from the hole's first edge is in exactly one shell
        points = shapely.points(np.array([_mask_side(rings[i]) for i in holes]))
        hole_index, shell_index = tree.query(points, predicate="within")
        # of nested shells the smallest holds the hole
        best: dict[int, int] = {}
        for h, s in zip(hole_index.tolist(), shell_index.tolist(), strict=True):
            if h not in best or area2[outer[s]] < area2[outer[best[h]]]:
                best[h] = s
        for h in sorted(best):
            inside[best[h]].append(rings[holes[h]])
    return [Polygon(rings[i], hole_rings) for i, hole_rings in zip(outer, inside, strict=True)]


def _twice_area(ring: NDArray[np.int32]) -> int:
    x, y = ring[:, 0].astype(np.int64), ring[:, 1].astype(np.int64)
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _mask_side(ring: NDArray[np.int32]) -> tuple[float, float]:
    """Centre of the mask pixel on the right hand of the edge that ends at the first corner."""
    (x0, y0), (x1, y1) = ring[-1].tolist(), ring[0].tolist()
    dx, dy = int(np.sign(x1 - x0)), int(np.sign(y1 - y0))
    # half a step back from the corner, half a step to the right (y grows downwards)
    return x1 - 0.5 * dx - 0.5 * dy, y1 - 0.5 * dy + 0.5 * dx
