"""Polygons into pixels, the same bits whatever rectangle is asked.

A pixel belongs to a polygon when its centre does (even-odd rule, holes included). Every crossing
of an edge with a row is computed in float64 from the slide's own coordinates, never from those of
the tile, and an edge takes the upper of its two ends but not the lower; so two tiles agree on their
common pixels, and polygons that share an edge share no pixel and leave none between them.

Where regions overlap the smaller one wins: an island of stroma drawn inside a tumour outline says
more about its pixels than the outline does. Equal areas: the later in the list wins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from herscope.core.errors import InputError

Coded = tuple[Polygon | MultiPolygon, int]
"""A geometry in level-0 pixels and the code, 1 to 255, its pixels get."""


def rasterise(
    shapes: Sequence[Coded],
    x: int,
    y: int,
    width: int,
    height: int,
    scale_x: float,
    scale_y: float,
) -> NDArray[np.uint8]:
    """Codes of a rectangle of pixels.

    Parameters
    ----------
    shapes
        Geometries in level-0 pixels with their codes; outside all of them pixels are 0.
    x, y
        Left and top of the rectangle, in its own pixels.
    width, height
        Its size in its own pixels.
    scale_x, scale_y
        Level-0 pixels per pixel; the centre of pixel (i, j) of the rectangle lies at
        ``(x + i + 0.5) * scale_x, (y + j + 0.5) * scale_y``.

    Returns
    -------
    codes
        (height, width) uint8.

    Raises
    ------
    InputError
        A code outside 1 to 255, a negative size, a scale that is not positive.

    Examples
    --------
    >>> rasterise([(shapely.box(2, 0, 6, 2), 1)], 0, 0, 4, 2, 2.0, 2.0)
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]], dtype=uint8)
    """
    if width < 0 or height < 0 or not (scale_x > 0 and scale_y > 0):
        raise InputError(
            f"cannot rasterise {width} x {height} px at {scale_x:g} x {scale_y:g}",
            hint="sizes must not be negative and scales must be positive",
        )
    for _, code in shapes:
        if not 1 <= code <= 255:
            raise InputError(f"region code {code} is not 1 to 255", hint="0 is outside of all")
    out = np.zeros((height, width), np.uint8)
    left, top = x * scale_x, y * scale_y
    right, bottom = (x + width) * scale_x, (y + height) * scale_y
    order = sorted(range(len(shapes)), key=lambda i: (-shapes[i][0].area, i))
    for index in order:
        geometry, code = shapes[index]
        x0, y0, x1, y1 = geometry.bounds
        if x1 < left or x0 > right or y1 < top or y0 > bottom:
            continue
        for polygon in shapely.get_parts(geometry):
            edges = _edges(polygon)
            _fill(out, edges, code, x, y, float(scale_x), float(scale_y))
    return out


def _edges(polygon: Polygon) -> NDArray[np.float64]:
    """(n, 4) x0, y0, x1, y1 of all rings, holes included; upper end first."""
    parts = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)
        parts.append(np.concatenate([points[:-1], points[1:]], axis=1))
    edges = np.concatenate(parts)
    # one orientation for an edge that two polygons share: the crossing is then the same float
    swap = edges[:, 1] > edges[:, 3]
    edges[swap] = edges[swap][:, [2, 3, 0, 1]]
    return np.ascontiguousarray(edges[edges[:, 1] != edges[:, 3]])


@numba.njit(nogil=True, cache=True)
def _row_at_or_below(level0: float, scale: float) -> int:
    """Smallest global row whose centre is at or beyond ``level0``."""
    row = int(np.floor(level0 / scale - 0.5)) - 1
    while (row + 0.5) * scale < level0:
        row += 1
    return row


@numba.njit(nogil=True, cache=True)
def _fill(
    out: NDArray[np.uint8],
    edges: NDArray[np.float64],
    code: int,
    x: int,
    y: int,
    scale_x: float,
    scale_y: float,
) -> None:
    height, width = out.shape
    # rows that each edge crosses: first <= row < last, from the half-open rule on y
    first = np.empty(edges.shape[0], np.int64)
    last = np.empty(edges.shape[0], np.int64)
    starts = np.zeros(height + 1, np.int64)
    for e in range(edges.shape[0]):
        first[e] = min(max(_row_at_or_below(edges[e, 1], scale_y) - y, 0), height)
        last[e] = min(max(_row_at_or_below(edges[e, 3], scale_y) - y, 0), height)
        for row in range(first[e], last[e]):
            starts[row + 1] += 1
    for row in range(height):
        starts[row + 1] += starts[row]
    columns = np.empty(starts[height], np.int64)
    cursor = starts[:-1].copy()
    for e in range(edges.shape[0]):
        x0, y0, x1, y1 = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
        for row in range(first[e], last[e]):
            centre = (y + row + 0.5) * scale_y
            crossing = x0 + (centre - y0) * ((x1 - x0) / (y1 - y0))
            # global column first, then clipped: the same pixel in every tile
            column = _row_at_or_below(crossing, scale_x) - x
            columns[cursor[row]] = min(max(column, 0), width)
            cursor[row] += 1
    for row in range(height):
        a, b = starts[row], starts[row + 1]
        if b - a < 2:
            continue
        crossings = np.sort(columns[a:b])
        for k in range(0, b - a - 1, 2):
            out[row, crossings[k] : crossings[k + 1]] = code
