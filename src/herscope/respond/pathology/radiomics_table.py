"""Radiomics of a slide's bags on disk: ``<slide>.bags.parquet`` beside the features.

A row a bag: ``x_px``, ``y_px`` (upper left corner, level 0), then the features in the order of
:func:`herscope.respond.radiomics.catalogue.feature_names`, null where a bag does not determine one.
The schema's metadata say how wide the bags are and what the figures were made from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import SchemaError
from herscope.core.store import write_parquet

SCHEMA: Final = "herscope.bags/1"
SUFFIX: Final = ".bags.parquet"
HINT: Final = "delete it and run herscope respond bags again"
_PLACE: Final = ("x_px", "y_px")
_KEY: Final = b"herscope"


@dataclass(frozen=True, slots=True, eq=False)
class BagRadiomics:
    """What was measured of a slide's bags.

    Attributes
    ----------
    xy_px
        (bags, 2) int64, upper left corners, level 0.
    edge_px
        Edge of a bag in level-0 pixels.
    names
        Of the values.
    values
        (bags, values) float64, NaN where not measurable.
    fingerprint
        What decides the figures.
    notes
        What a person should know.
    """

    xy_px: NDArray[np.int64]
    edge_px: float
    names: tuple[str, ...] = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)
    fingerprint: str = ""
    notes: tuple[str, ...] = ()


def table_beside(features: Path) -> Path:
    """Where the radiomics of a feature file's bags lie."""
    return features.with_name(f"{features.stem}{SUFFIX}")


def write_table(path: Path, found: BagRadiomics, about: Mapping[str, Any]) -> None:
    """Write the table; it appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    found
        What was measured.
    about
        JSON values that say how.
    """
    import pyarrow as pa

    columns: dict[str, Any] = dict(zip(_PLACE, found.xy_px.T, strict=True))
    for name, values in zip(found.names, found.values.T, strict=True):
        columns[name] = pa.array(values, mask=np.isnan(values))
    said = {
        "schema": SCHEMA,
        "edge_px": found.edge_px,
        "fingerprint": found.fingerprint,
        "notes": list(found.notes),
        "about": dict(about),
    }
    text = json.dumps(said, sort_keys=True, allow_nan=False)
    write_parquet(path, pa.table(columns).replace_schema_metadata({_KEY: text.encode()}))


def read_table(path: Path) -> BagRadiomics:
    """Read the table.

    Raises
    ------
    SchemaError
        It is damaged, of another schema, or holds values that are no numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        said = _known(json.loads((table.schema.metadata or {})[_KEY]), path)
        names = tuple(name for name in table.column_names if name not in _PLACE)
        places = np.stack([table[name].to_numpy() for name in _PLACE], axis=1).astype(np.int64)
        values = np.empty((len(places), len(names)), np.float64)
        for column, name in enumerate(names):
            values[:, column] = table[name].to_numpy()
        edge = float(said["edge_px"])
        told = str(said["fingerprint"]), tuple(str(note) for note in said["notes"])
    except SchemaError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise SchemaError(
            f"{path.name} is no table of bags: {type(error).__name__}", hint=HINT
        ) from error
    if np.isinf(values).any() or not (math.isfinite(edge) and edge > 0):
        raise SchemaError(f"{path.name} holds values that are no numbers", hint=HINT)
    return BagRadiomics(places, edge, names, values, *told)


def _known(said: dict[str, Any], path: Path) -> dict[str, Any]:
    if said["schema"] != SCHEMA:
        raise SchemaError(
            f"{path.name} has the schema {said['schema']!r}, this version reads {SCHEMA!r}",
            hint=HINT,
        )
    return said
