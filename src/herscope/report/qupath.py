"""Cells as QuPath objects, so that QuPath's own H-score over them equals ours.

QuPath (0.4 and newer) opens GeoJSON as ``.geojson``, ``.json`` or inside a ``.zip``, not as
``.gz`` (``PathIO.readObjects``); a zip is a seventh of the size, so ``cells.geojson.zip`` is what
we write: drag it onto the image, or File > Import objects from file. A feature with
``objectType`` "cell" and a ``nucleusGeometry`` becomes a cell object with both outlines. Its class
is ``Tumor: 1+`` and so on, with QuPath's four intensity names Negative, 1+, 2+ and 3+, from which
QuPath shows ``Tumor: H-score`` = 100 (n1 + 2 n2 + 3 n3) / (n0 + n1 + n2 + n3) for an annotation or
the whole image. Where no compartments were given, the class is the intensity name alone.

Cells are streamed batch by batch: memory does not grow with the slide.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from herscope.core.errors import SchemaError
from herscope.core.store import replacing
from herscope.report.folder import AGAIN, load_result, present
from herscope.report.palette import QUPATH_COLORS, QUPATH_COMPARTMENTS, QUPATH_GRADES

CELLS_NAME = "cells.geojson.zip"
MEASUREMENTS = {
    "od": "DAB: OD",
    "nucleus_od": "Nucleus: DAB OD",
    "cytoplasm_od": "Cytoplasm: DAB OD",
    "completeness_1": "Membrane: completeness 1+",
    "completeness_2": "Membrane: completeness 2+",
    "completeness_3": "Membrane: completeness 3+",
}
BATCH_ROWS = 16_384
DECIMALS = 2
# The oldest date a zip can hold: the same cells are the same bytes on any day.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_cells_geojson(folder: Path) -> Path:
    """Write every cell of ``cells.parquet`` as a QuPath object; returns the path.

    Parameters
    ----------
    folder
        ``RUN/slides/<name>``; ``cells.parquet`` and ``result.json`` are read.

    Returns
    -------
    Path
        ``cells.geojson.zip`` in the folder. Coordinates are level-0 pixels, rounded to 0.01.

    Raises
    ------
    NotComputed, SchemaError
        A file is missing or broken.
    OutputError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    split = "tumor" in load_result(folder).compartments
    source = present(folder / "cells.parquet")
    entry = zipfile.ZipInfo("cells.geojson", date_time=EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    # Level 1 takes a fifth of the default's time. Python below 3.13 has no public name for it.
    entry._compresslevel = 1  # type: ignore[attr-defined] # noqa: SLF001
    entry.external_attr = 0o644 << 16
    target = folder / CELLS_NAME
    try:
        with (
            pq.ParquetFile(source) as cells,
            replacing(target) as partial,
            zipfile.ZipFile(partial, "w") as packed,
            packed.open(entry, "w", force_zip64=True) as out,
        ):
            out.write(b'{"type":"FeatureCollection","features":[')
            separator = b"\n"
            for text in _batches(cells, split=split):
                out.write(separator + text)
                separator = b",\n"
            out.write(b"\n]}\n")
    except (pa.ArrowException, KeyError) as bad:
        raise SchemaError(f"{source} is not a readable table of cells: {bad}", hint=AGAIN) from bad
    return target


def class_json(compartment: str, grade: int, *, split: bool) -> str:
    """Return QuPath's classification of a cell as JSON.

    Examples
    --------
    >>> class_json("tumor", 1, split=True)
    '{"names":["Tumor","1+"],"color":[255,215,0]}'
    >>> class_json("other", 0, split=False)
    '{"name":"Negative","color":[90,90,180]}'
    """
    word = QUPATH_GRADES[grade]
    color = list(QUPATH_COLORS[grade])
    if not split:
        return json.dumps({"name": word, "color": color}, separators=(",", ":"))
    parent = QUPATH_COMPARTMENTS.get(compartment, compartment.capitalize())
    return json.dumps({"names": [parent, word], "color": color}, separators=(",", ":"))


def _batches(cells: Any, *, split: bool) -> Iterator[bytes]:
    measured = [name for name in MEASUREMENTS if name in cells.schema_arrow.names]
    columns = ["compartment", "grade", "cell", "nucleus", *measured]
    classes: dict[tuple[str, int], str] = {}
    for batch in cells.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        outlines = _outlines(batch.column("cell"))
        nuclei = _outlines(batch.column("nucleus"))
        values = [_measurements(batch.column(name), MEASUREMENTS[name]) for name in measured]
        rows = []
        pairs = zip(
            batch.column("compartment").to_pylist(), batch.column("grade").to_pylist(), strict=True
        )
        for row, key in enumerate(pairs):
            if key not in classes:
                classes[key] = class_json(*key, split=split)
            texts = ",".join(filter(None, (column[row] for column in values)))
            nucleus = f'"nucleusGeometry":{nuclei[row]},' if nuclei[row] else ""
            rows.append(
                f'{{"type":"Feature","geometry":{outlines[row] or nuclei[row]},{nucleus}'
                f'"properties":{{"objectType":"cell","classification":{classes[key]},'
                f'"measurements":{{{texts}}}}}}}'
            )
        if rows:
            yield ",\n".join(rows).encode("ascii")


def _outlines(column: Any) -> list[str | None]:
    """GeoJSON texts of WKB polygons; ``None`` where there is no outline."""
    import shapely

    try:
        shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    except shapely.errors.ShapelyError as bad:
        raise SchemaError(f"an outline in cells.parquet is no WKB: {bad}", hint=AGAIN) from bad
    shapes = np.where(shapely.is_empty(shapes), None, shapes)
    shapes = shapely.set_coordinates(shapes, shapely.get_coordinates(shapes).round(DECIMALS))
    return list(shapely.to_geojson(shapes))


def _measurements(column: Any, name: str) -> list[str]:
    """One ``"name":value`` a cell; empty where the value is unknown: JSON has no NaN."""
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    key = json.dumps(name)
    return [f"{key}:{value:.4f}" if value == value else "" for value in values.tolist()]  # noqa: PLR0124 - NaN
