"""GeoJSON geometries into valid polygons, with what is wrong said in words.

Only areas are taken (Polygon, MultiPolygon, GeometryCollection; RFC 7946, section 3.1); points and
lines are counted and left out. An invalid area is repaired by shapely's ``make_valid`` and said.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import shapely
from shapely.geometry import MultiPolygon, Polygon

from herscope.core.errors import SchemaError

FARTHEST_PX: Final = 100_000_000
"""A hundred times the widest slide; beyond it coordinates are degrees of something else."""


def polygons_of(geometry: Any, where: str, skipped: Counter[str]) -> list[Polygon]:
    """Return the areas of a GeoJSON geometry; points and lines are counted in ``skipped``.

    Raises :class:`SchemaError` that begins with ``where`` when the geometry is malformed.
    """
    if not isinstance(geometry, dict):
        raise SchemaError(
            f"{where} has no geometry: {shorten(geometry)}", hint="every Feature needs one"
        )
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        if not isinstance(members, list):
            raise SchemaError(f"{where}: 'geometries' is not a list", hint="see RFC 7946, 3.1.8")
        return [p for member in members for p in polygons_of(member, where, skipped)]
    coordinates = geometry.get("coordinates")
    if kind in {"Point", "MultiPoint", "LineString", "MultiLineString"}:
        skipped[f"{kind} geometries"] += 1
        return []
    if kind not in {"Polygon", "MultiPolygon"}:
        raise SchemaError(
            f"{where} has a geometry of type {kind!r}",
            hint="areas are Polygon, MultiPolygon or GeometryCollection",
        )
    if not isinstance(coordinates, list):
        raise SchemaError(f"{where} has no coordinates", hint="see RFC 7946, 3.1")
    listed = [coordinates] if kind == "Polygon" else coordinates
    polygons = []
    for rings in listed:
        if not isinstance(rings, list):
            raise SchemaError(f"{where}: a polygon is no list of rings", hint="see RFC 7946, 3.1.6")
        if rings:
            shell, *holes = [_ring(ring, where) for ring in rings]
            polygons.append(Polygon(shell, holes))
    return polygons


def _ring(ring: Any, where: str) -> list[tuple[float, float]]:
    if not isinstance(ring, list):
        raise SchemaError(
            f"{where}: a ring is {shorten(ring)}, not a list of points", hint="see RFC 7946, 3.1.6"
        )
    points: list[tuple[float, float]] = []
    for point in ring:
        pair = point[:2] if isinstance(point, list) else []
        if len(pair) != 2 or not all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in pair
        ):
            raise SchemaError(
                f"{where}: a ring holds {shorten(point)}, not a pair of numbers",
                hint="see RFC 7946, 3.1.6",
            )
        # the comparison is False for NaN, and needs no float for an integer of any length
        if not all(-FARTHEST_PX <= v <= FARTHEST_PX for v in pair):
            raise SchemaError(
                f"{where}: a corner is {shorten(pair)}, not a pixel of any slide",
                hint="coordinates are level-0 pixels; export the annotation again",
            )
        points.append((float(pair[0]), float(pair[1])))
    if points and points[0] != points[-1]:
        points.append(points[0])
    if len(points) < 4:
        raise SchemaError(
            f"{where}: a ring has {max(0, len(points) - 1)} corners (at least 3)",
            hint="draw a closed area",
        )
    return points


def valid_area(polygons: list[Polygon], where: str) -> tuple[Polygon | MultiPolygon | None, str]:
    """Join polygons to one valid area, with a note when it had to be repaired."""
    whole: Any = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    note = ""
    if not whole.is_valid:
        reason = re.sub(r"\[.*", "", shapely.is_valid_reason(whole)).lower()
        before = sum(p.area for p in polygons)
        # each part on its own first: overlapping parts are joined, not cut out of each other
        whole = shapely.union_all([shapely.make_valid(p) for p in polygons])
        note = f"repaired {where}: {reason} (area {before:.0f} -> {whole.area:.0f} px²)"
    nested = [q for p in shapely.get_parts(whole) for q in shapely.get_parts(p)]
    parts = [p for p in nested if isinstance(p, Polygon) and p.area > 0]
    if not parts:
        return None, note
    return (parts[0] if len(parts) == 1 else MultiPolygon(parts)), note


def shorten(value: Any) -> str:
    """Return what a value looks like, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
