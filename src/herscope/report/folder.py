"""Read what a finished slide left on disk, and say plainly what is missing or broken.

The report needs no slide: ``result.json``, ``tiles.parquet``, ``regions.geojson`` and
``overview.png`` carry everything it shows. ``examples.parquet`` may be absent (a slide without
cells has none); ``cells.parquet`` is read only by the QuPath export.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.store import read_json
from herscope.score.result import SlideResult

AGAIN = "score the slide again with --force; other slides are not affected"
TILE_COLUMNS = (
    *("x_px", "y_px", "width_px", "height_px", "compartment", "tissue_px"),
    *("n0", "n1", "n2", "n3", "p0", "p1", "p2", "p3"),
)


def slide_folders(run: Path) -> list[Path]:
    """Return the finished, failed or waiting slide folders of a run, sorted by name.

    Raises
    ------
    InputError
        ``run`` does not exist, is a file, or holds no ``slides`` folder.
    """
    run = Path(run)
    if not run.is_dir():
        kind = "is a file" if run.exists() else "does not exist"
        raise InputError(
            f"{run} {kind}, not the folder of a run",
            hint="give the folder that was passed to `herscope score --out`",
        )
    slides = run / "slides"
    if not slides.is_dir():
        raise InputError(
            f"{run} is not the folder of a run: it holds no folder named slides",
            hint="give the folder that was passed to `herscope score --out`",
        )
    # Names with a leading dot belong to slides that are being written or were left half-written.
    found = (entry for entry in slides.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return sorted(found, key=lambda entry: entry.name)


def load_result(folder: Path) -> SlideResult:
    """Return the result document of a slide folder.

    Raises
    ------
    NotComputed
        There is no ``result.json``.
    SchemaError
        It is not a ``herscope.score/1`` document.
    """
    path = present(Path(folder) / "result.json")
    try:
        return SlideResult.model_validate_json(path.read_bytes())
    except ValidationError as bad:
        first = bad.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise SchemaError(
            f"{path} is not a herscope.score/1 document: {where}: {first['msg']} "
            f"({bad.error_count()} problems in all)",
            hint=AGAIN,
        ) from bad
    except OSError as bad:
        raise SchemaError(f"{path} cannot be read: {bad}", hint=AGAIN) from bad


def load_table(path: Path, columns: tuple[str, ...]) -> Any:
    """Return a Parquet file as a ``pyarrow.Table`` after checking that it has ``columns``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = present(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as bad:
        raise SchemaError(
            f"{path} is not a readable Parquet file: {_one_line(bad)}", hint=AGAIN
        ) from bad
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise SchemaError(f"{path} lacks the column {', '.join(missing)}", hint=AGAIN)
    return table


def load_regions(folder: Path) -> list[tuple[str, Any]]:
    """Return ``(class name, shapely geometry in level-0 px)`` of every region, in file order."""
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    path = present(Path(folder) / "regions.geojson")
    try:
        document = json.loads(path.read_bytes())
        features = document["features"] if isinstance(document, dict) else document
        return [
            (_class_name(feature), shape(feature["geometry"]))
            for feature in features
            if feature.get("geometry")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, ShapelyError, OSError) as bad:
        raise SchemaError(f"{path} is not readable GeoJSON: {_one_line(bad)}", hint=AGAIN) from bad


def load_overview(folder: Path) -> NDArray[np.uint8]:
    """Return ``overview.png`` as (height, width, 3) RGB."""
    import cv2

    path = present(Path(folder) / "overview.png")
    # np.fromfile: cv2.imread cannot open paths outside the code page on Windows.
    data = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise SchemaError(f"{path} is not a readable PNG image", hint=AGAIN)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def load_json(path: Path) -> Any:
    """Return a JSON document, ``None`` when the file is absent."""
    return read_json(path) if path.is_file() else None


def present(path: Path) -> Path:
    """Return ``path`` when the file is there, else :class:`NotComputed`."""
    if not path.is_file():
        raise NotComputed(f"{path} is missing: this slide was not scored to the end", hint=AGAIN)
    return path


def _class_name(feature: dict[str, Any]) -> str:
    """QuPath writes ``name``, or ``names`` for a class with parents, or a bare string."""
    found = feature.get("properties", {}).get("classification") or {}
    if isinstance(found, str):
        return found
    return str(found.get("name") or ": ".join(found.get("names", [])) or "Unclassified")


def _one_line(bad: BaseException) -> str:
    return " ".join(str(bad).split())[:200] or type(bad).__name__
