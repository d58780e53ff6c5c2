"""Regions in and out as GeoJSON, in the form QuPath writes and reads.

Coordinates are level-0 pixels, as in QuPath (RFC 7946 asks for degrees; no viewer of slides obeys).
A feature's class is read from ``properties.classification.name``, then from ``properties.name``,
``class``, ``label`` or ``classification`` as plain text; it is matched without regard to case,
spaces, hyphens and underscores against
:data:`herscope.tissue.classes.ALIASES`. Nothing is repaired in silence: every ring
that had to be made valid and every feature that was left out is a note beside the regions.
"""

from __future__ import annotations

import gzip
import json
import os
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping

from herscope.core.errors import InputError, SchemaError
from herscope.core.store import write_bytes
from herscope.tissue.classes import COLORS, UNKNOWN_COLOR, qupath_name, region_name
from herscope.tissue.geometry import polygons_of, shorten, valid_area
from herscope.tissue.regions import Region

MAX_BYTES: Final = 1 << 30
"""Annotations are outlines; a larger file holds cells and belongs in GeoParquet."""


class Regions(list[Region]):
    """The regions of a file, with ``notes`` on what was repaired or left out."""

    def __init__(self, regions: Iterable[Region] = (), notes: Sequence[str] = ()) -> None:
        super().__init__(regions)
        self.notes = tuple(notes)


def read_regions(path: str | os.PathLike[str]) -> Regions:
    """Read annotations.

    Parameters
    ----------
    path
        ``.geojson``, ``.json`` or either with ``.gz``: a FeatureCollection, a list of Features as
        QuPath exports, or a single Feature.

    Returns
    -------
    regions
        List of :class:`Region` in file order; ``.notes`` says what was repaired or left out
        (points and lines carry no area; detections are not annotations).

    Raises
    ------
    SchemaError
        Not readable as GeoJSON, a feature with no or an unknown class, coordinates that are not
        finite numbers, or no area at all. The message names the feature.
    """
    file = Path(path)
    regions: list[Region] = []
    notes: list[str] = []
    skipped: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for number, feature in enumerate(_features(_load(file), file), start=1):
        where = f"feature {number} of {file.name}"
        properties = _properties(feature, where)
        kind = str(properties.get("objectType", properties.get("object_type", "annotation")))
        if kind.lower() in NOT_ANNOTATIONS:
            skipped[f"{kind} objects"] += 1
            continue
        polygons = polygons_of(feature.get("geometry"), where, skipped)
        label = _label(properties)
        name = region_name(label or "")
        if polygons and name is None:
            unknown[label or "no class"] += 1
        if not polygons or name is None:
            continue
        geometry, note = valid_area(polygons, where)
        if note:
            notes.append(note)
        if geometry is None:
            skipped["empty areas"] += 1
        else:
            regions.append(Region(name, geometry))
    notes += [f"left out {count} {what}" for what, count in sorted(skipped.items())]
    _refuse(file, regions, unknown, notes)
    return Regions(regions, notes)


NOT_ANNOTATIONS: Final = frozenset({"detection", "cell", "tile", "root"})
"""QuPath's kinds of object that are results, not outlines a person drew."""


def _properties(feature: Any, where: str) -> dict[str, Any]:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise SchemaError(
            f"{where} is not a GeoJSON Feature: {shorten(feature)}",
            hint="export annotations as GeoJSON from QuPath (File > Export objects)",
        )
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise SchemaError(f"{where}: properties is not an object", hint="see RFC 7946, 3.2")
    return properties


def _refuse(
    file: Path, regions: Sequence[Region], unknown: Counter[str], notes: Sequence[str]
) -> None:
    """Raise when a class is not known or nothing is left."""
    if unknown:
        found = ", ".join(f"{label!r} ({count})" for label, count in sorted(unknown.items()))
        understood = sorted({region.name for region in regions})
        also = f"; understood: {', '.join(understood)}" if understood else ""
        raise SchemaError(
            f"{file.name} has regions whose class is not known: {found}{also}",
            hint="set the class in QuPath to Tumor, Stroma, Necrosis, Other, Region* or Ignore*",
        )
    if not regions:
        raise SchemaError(
            f"{file.name} holds no area" + (f" ({'; '.join(notes)})" if notes else ""),
            hint="draw at least one closed annotation and give it a class",
        )


def write_regions(path: str | os.PathLike[str], regions: Iterable[Region]) -> None:
    """Write regions so that QuPath opens them with their classes; the file appears whole or not.

    Parameters
    ----------
    path
        Target; compressed when it ends in ``.gz``.
    regions
        In the order they are to be listed.

    Raises
    ------
    OutputError
        The folder does not exist or cannot be written.
    """
    file = Path(path)
    features = []
    for index, region in enumerate(regions):
        identity = uuid.uuid5(
            uuid.NAMESPACE_OID, f"{index}:{region.name}:{region.geometry.wkb_hex}"
        )
        features.append(
            {
                "type": "Feature",
                "id": str(identity),
                "geometry": _mapping(region.geometry),
                "properties": {
                    "objectType": "annotation",
                    "classification": {
                        "name": qupath_name(region.name),
                        "color": list(COLORS.get(region.name, UNKNOWN_COLOR)),
                    },
                    "isLocked": True,
                },
            }
        )
    document = {"type": "FeatureCollection", "features": features}
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    if file.name.lower().endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    write_bytes(file, data)


def _load(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SchemaError(
                f"{file.name} has {file.stat().st_size / 1e9:.1f} GB (at most 1 GB)",
                hint="export annotations only, without cells",
            )
        data = file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            inflater = zlib.decompressobj(wbits=31)
            data = inflater.decompress(data, MAX_BYTES)
            if inflater.unconsumed_tail or not inflater.eof:
                raise SchemaError(
                    f"{file.name} is cut off or larger than 1 GB when unpacked",
                    hint="export it again",
                )
    except FileNotFoundError as error:
        raise InputError(f"no such file: {file}", hint="check the path") from error
    except (OSError, zlib.error) as error:
        raise InputError(f"cannot read {file}: {error}", hint="check the file") from error
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"{file.name} is not text (byte {error.start})", hint="export annotations as GeoJSON"
        ) from error
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{file.name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint="export annotations as GeoJSON from QuPath (File > Export objects)",
        ) from error
    except RecursionError as error:
        raise SchemaError(f"{file.name} is nested too deeply", hint="export it again") from error


def _features(document: Any, file: Path) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        if document.get("type") == "FeatureCollection":
            features = document.get("features")
            if isinstance(features, list):
                return features
            raise SchemaError(
                f"{file.name}: 'features' is {type(features).__name__}, not a list",
                hint="a FeatureCollection lists its Features, see RFC 7946, 3.3",
            )
        if document.get("type") == "Feature":
            return [document]
    raise SchemaError(
        f"{file.name} is JSON but not GeoJSON: {shorten(document)}",
        hint="give a FeatureCollection, a list of Features, or one Feature",
    )


def _label(properties: dict[str, Any]) -> str | None:
    classification = properties.get("classification")
    if isinstance(classification, dict):
        names = classification.get("names")
        joined = ": ".join(map(str, names)) if isinstance(names, list) and names else None
        label = classification.get("name") or joined
        if isinstance(label, str) and label.strip():
            return label.strip()
    for key in ("classification", "class", "label", "name"):
        value = properties.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _mapping(geometry: Polygon | MultiPolygon) -> dict[str, Any]:
    coordinates = shapely.get_coordinates(geometry)
    if coordinates.size and bool((coordinates == np.round(coordinates)).all()):
        # whole pixels as whole numbers: a third of the bytes
        return json.loads(json.dumps(mapping(geometry)).replace(".0,", ",").replace(".0]", "]"))
    return dict(mapping(geometry))
