"""Our feature files: ``<slide>.h5ad``, HDF5 in the layout of AnnData.

One row a tile: ``X`` (tiles x features, float32), ``obs`` with the places in level-0 pixels and µm
and the share of tissue, ``obsm/spatial`` with the tiles' centres as spatial tools expect them, and
``uns`` with the encoder's card and what the features were made from, as JSON text. ``anndata``,
``scanpy`` and ``squidpy`` open such a file; it is written and read here with ``h5py`` alone.

X is stored in chunks with a checksum each, without compression: features hardly shrink, and a
training loop reads them again and again. The same features give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from herscope.core.errors import SchemaError
from herscope.core.store import replacing
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.encoder import EncoderCard
from herscope.embed.hdf5_reading import opened_hdf5
from herscope.embed.tile_spec import EmbedTileSpec

SCHEMA: Final = "herscope.features/1"
SUFFIX: Final = ".h5ad"
CHUNK_BYTES: Final = 1 << 20
HINT: Final = "delete it and run herscope embed again"
_TEXT: Final = h5py.string_dtype("utf-8")
_JSON: Final = ("encoder", "tiles", "slide", "provenance")


def write_features(
    path: str | Path,
    bag: FeatureBag,
    *,
    card: EncoderCard,
    tiles: EmbedTileSpec,
    provenance: Mapping[str, Any],
    tissue: NDArray[np.floating] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Write a slide's features; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file; its folder must exist.
    bag
        Features and places.
    card, tiles
        The encoder, and how the slide was cut.
    provenance
        What else made the features; JSON values.
    tissue
        (tiles,) share of each tile that is tissue, in the bag's order; left out when absent.
    names
        What the features are called; their numbers when absent.

    Raises
    ------
    SchemaError
        Numbers of tiles or features that do not belong together.
    OutputError
        The file cannot be written.
    """
    n, d = bag.features.shape
    called = [f"{card.name}_{i}" for i in range(d)] if names is None else list(names)
    if card.features != d or len(called) != d or (tissue is not None and len(tissue) != n):
        raise SchemaError(
            f"features of slide {bag.slide}: {n} x {d}, but {card.features} on the encoder's card, "
            f"{len(called)} names and {n if tissue is None else len(tissue)} shares of tissue",
            hint="embed the slide again",
        )
    columns: dict[str, NDArray[Any]] = {
        "x_px": bag.xy_px[:, 0],
        "y_px": bag.xy_px[:, 1],
    }
    if bag.mpp is not None:
        columns |= {"x_um": bag.xy_px[:, 0] * bag.mpp, "y_um": bag.xy_px[:, 1] * bag.mpp}
    if tissue is not None:
        columns["tissue"] = np.asarray(tissue, np.float32)
    facts = {
        "name": bag.slide,
        "width_px": bag.width_px,
        "height_px": bag.height_px,
        "mpp": bag.mpp,
        "tile_px": bag.tile_px,
        "path": bag.slide_path,
        "encoder_id": bag.encoder_id,
        "notes": list(bag.notes),
    }
    said = {
        "encoder": card.model_dump(mode="json"),
        "tiles": tiles.model_dump(mode="json"),
        "slide": facts,
        "provenance": dict(provenance),
    }
    with replacing(path) as partial, h5py.File(partial, "w", libver=("v108", "v108")) as file:
        _mark(file, "anndata", "0.1.0")
        chunk = (max(1, min(n, CHUNK_BYTES // (4 * d))), d)
        x = file.create_dataset("X", data=bag.features, chunks=chunk, fletcher32=True)
        _mark(x, "array", "0.2.0")
        places = [f"{x}_{y}" for x, y in bag.xy_px.tolist()]
        _frame(file, "obs", places, columns)
        _frame(file, "var", called, {})
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _mark(file.create_group(name), "dict", "0.1.0")
        centres = bag.xy_px + bag.tile_px / 2
        _mark(file["obsm"].create_dataset("spatial", data=centres), "array", "0.2.0")
        _text(file["uns"], "schema", SCHEMA)
        for name in _JSON:
            text = json.dumps(said[name], ensure_ascii=False, allow_nan=False, sort_keys=True)
            _text(file["uns"], name, text)


def read_features(path: str | Path) -> FeatureBag:
    """Read a slide's features.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        Damaged, truncated, of another kind or schema, or with values that are no numbers.

    Examples
    --------
    >>> read_features("absent.h5ad")
    Traceback (most recent call last):
    herscope.core.errors.NotComputed: feature file absent.h5ad does not exist
    """
    path = Path(path)
    with opened_hdf5(path) as file:
        header = _header(file, path)
        features = file["X"][()]
        xy = np.stack([file["obs/x_px"][()], file["obs/y_px"][()]], axis=1)
        facts, card = header["slide"], header["encoder"]
        wanted = (header["shape"][0], card["features"])
        if features.shape != wanted or features.dtype.kind != "f":
            raise SchemaError(
                f"feature file {path.name}: X is {features.shape} {features.dtype}, its encoder's "
                f"card says {card['features']} features",
                hint=HINT,
            )
        return make_bag(
            str(facts["name"]),
            features,
            xy,
            tile_px=float(facts["tile_px"]),
            mpp=facts["mpp"],
            encoder=str(card["name"]),
            encoder_id=str(facts["encoder_id"]),
            width_px=facts["width_px"],
            height_px=facts["height_px"],
            slide_path=facts["path"],
            notes=tuple(facts["notes"]),
        )


def read_header(path: str | Path) -> dict[str, Any]:
    """Read what made a feature file, without its features.

    Returns
    -------
    dict
        ``encoder``, ``tiles``, ``slide`` and ``provenance`` as they were written, and ``shape``.

    Raises
    ------
    NotComputed, SchemaError
        As :func:`read_features`.
    """
    path = Path(path)
    with opened_hdf5(path) as file:
        return _header(file, path)


def _header(file: Any, path: Path) -> dict[str, Any]:
    if "uns/schema" not in file:
        raise SchemaError(
            f"{path.name} is an HDF5 file, but none of herscope's feature files (it holds: "
            f"{', '.join(list(file)[:6]) or 'nothing'})",
            hint="files of TRIDENT, CLAM and STAMP are read by herscope mil as they are",
        )
    schema = _string(file["uns/schema"])
    if schema != SCHEMA:
        raise SchemaError(
            f"feature file {path.name} has the schema {schema!r}, this version reads {SCHEMA!r}",
            hint="embed the slide again with this version",
        )
    header: dict[str, Any] = {name: json.loads(_string(file[f"uns/{name}"])) for name in _JSON}
    try:
        EncoderCard.model_validate(header["encoder"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SchemaError(
            f"feature file {path.name}: the encoder's card is no good at "
            f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}",
            hint=HINT,
        ) from error
    return header | {"shape": tuple(file["X"].shape)}


def _string(dataset: Any) -> str:
    value = dataset[()]
    if not isinstance(value, bytes):
        raise SchemaError(f"feature file: {dataset.name} is no text", hint=HINT)
    return value.decode("utf-8")


def _mark(node: Any, kind: str, version: str) -> None:
    """Say how AnnData is to read a group or a dataset."""
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version


def _text(group: Any, name: str, text: str) -> None:
    _mark(group.create_dataset(name, data=text, dtype=_TEXT), "string", "0.2.0")


def _frame(file: Any, name: str, index: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> None:
    """Write a table in AnnData's form."""
    group = file.create_group(name)
    _mark(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    # an empty list has no type of its own, and AnnData wants text
    group.attrs.create("column-order", np.array(list(columns), dtype=_TEXT), dtype=_TEXT)
    labels = group.create_dataset("_index", data=np.array(index, dtype=object), dtype=_TEXT)
    _mark(labels, "string-array", "0.2.0")
    for column, values in columns.items():
        _mark(group.create_dataset(column, data=values), "array", "0.2.0")
