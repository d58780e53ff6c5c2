"""STAMP's feature files of any version; see :mod:`herscope.embed.foreign_files`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.embed.foreign_found import EXTRA, Found, extras, smallest_step
from herscope.embed.hdf5_reading import number, numbers, text

OLD_STAMP_STEP: Final = 224
OLD_STAMP_UM: Final = 256.0
"""STAMP before version 2 cut tiles of 256 µm and 224 px, and gave places in those pixels."""


def read_stamp(file: h5py.File, path: Path, mpp: float | None, tile_px: float | None) -> Found:
    """Read an open file of STAMP; its µm become pixels of ``mpp``, or of 1 µm with a note.

    Raises
    ------
    SchemaError
        It holds features of a slide or a patient, or places in an unknown unit.
    InputError
        It does not say how large tiles are, and nobody did.
    """
    kind = text(file, "feat_type")
    if "coords" not in file or kind not in {None, "tile"}:
        raise SchemaError(
            f"{path.name} holds features of a {kind or 'slide or patient'}, not of tiles",
            hint="give the folder that stamp preprocess wrote",
        )
    features, places = numbers(file, "feats", path), numbers(file, "coords", path)
    size_um, places, notes = _stamp_um(file, path, places)
    extra = extras(file)
    resolution = mpp if mpp is not None else extra["mpp"]
    input_px = number(file, "tile_size_px")
    if size_um and input_px:
        notes.append(f"tiles were read at {size_um / input_px:.4g} µm/px")
    if resolution is None:
        resolution = 1.0
        notes.append("places are in µm and µm per pixel is not stated: pixels here are 1 µm")
    if size_um is None and tile_px is None:
        raise InputError(
            f"{path.name} does not say how large its tiles are",
            hint="state tile_px (and mpp), or preprocess again with STAMP 2 or later",
        )
    return Found(
        features,
        np.rint(places / resolution) if np.isfinite(places).all() else places,
        number(file, f"{EXTRA}tile_px")
        if mpp is None and number(file, f"{EXTRA}tile_px")
        else (size_um / resolution if size_um else None),
        encoder=extra["encoder"] or text(file, "extractor"),
        mpp=resolution,
        encoder_id=extra["encoder_id"],
        notes=tuple(notes),
    )


def _stamp_um(
    file: h5py.File, path: Path, places: NDArray[Any]
) -> tuple[float | None, NDArray[np.float64], list[str]]:
    """Return the edge of tiles and their places in µm, of any version of STAMP."""
    unit = text(file, "unit")
    if unit not in {None, "um", "µm"}:
        raise SchemaError(
            f"{path.name} gives places in {unit}, which is not understood", hint="µm (um) is"
        )
    stated, old = number(file, "tile_size_um"), number(file, "tile_size")
    as_um = places.astype(np.float64)
    if stated is not None:
        return stated, as_um, []
    if old is not None and unit is not None:
        return old, as_um, []
    try:
        step = old if old is not None else smallest_step(path.name, places)
    except InputError:
        return None, as_um, []
    if round(step) == OLD_STAMP_STEP:
        note = (
            f"tiles are {OLD_STAMP_STEP} steps apart: read as STAMP 1, {OLD_STAMP_UM:g} µm for "
            f"{OLD_STAMP_STEP} px"
        )
        return OLD_STAMP_UM, as_um * (OLD_STAMP_UM / OLD_STAMP_STEP), [note]
    return None, as_um, ["places are taken for µm; the file states no unit"]
