"""Write features as TRIDENT, CLAM or STAMP would have, for programs that read theirs.

What our features say and their layout has no place for (µm per pixel, the encoder, a tile edge that
is no whole number) goes into attributes that begin with ``herscope_``; their readers look at the
names they know. With these a file read back gives the same bag.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

import h5py
import numpy as np

from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.core.store import replacing
from herscope.embed.bag import FeatureBag
from herscope.embed.foreign_found import EXTRA

Format = Literal["trident", "clam", "stamp"]
FORMATS: Final = ("trident", "clam", "stamp")
STAMP_VERSION: Final = "2.1.0"
"""The first with ``tile_size_um``; STAMP refuses files of versions later than its own."""
USUAL_POWERS: Final = (5, 10, 20, 40, 60, 80)
POWER_SLACK: Final = 0.2
"""A scan is called 40x from about 0.21 to 0.31 µm/px; vendors differ, the lens does not count."""


def write_foreign(bag: FeatureBag, format: str, path: str | Path) -> None:  # noqa: A002 - the word people use for it
    """Write features in another program's layout; the file appears whole or not at all.

    Parameters
    ----------
    bag
        Features and places.
    format
        ``trident``, ``clam`` or ``stamp``.
    path
        The file; the programs expect ``<slide>.h5``. Its folder must exist. CLAM trains on
        ``pt_files``, which its own scripts make from ``h5_files``.

    Raises
    ------
    InputError
        No such format; for STAMP, whose places are in µm, a bag without mpp.
    OutputError
        The file cannot be written.
    """
    if format not in FORMATS:
        raise InputError(
            f"no feature format is called {format}", hint=nearest(format, list(FORMATS))
        )
    if format == "stamp" and bag.mpp is None:
        raise InputError(
            f"features of slide {bag.slide} have no µm per pixel, and STAMP's places are in µm",
            hint="state mpp when they are made or read",
        )
    write = {"trident": _trident, "clam": _clam, "stamp": _stamp}[cast("Format", format)]
    with replacing(path) as partial, h5py.File(partial, "w", libver=("v108", "v108")) as file:
        write(file, bag)


def _trident(file: h5py.File, bag: FeatureBag) -> None:
    edge = round(bag.tile_px)
    power = _power(bag.mpp)
    _rows(
        file, "features", bag.features, {"name": bag.slide, "savetodir": f"features_{bag.encoder}"}
    )
    _rows(
        file,
        "coords",
        bag.xy_px,
        {
            "patch_size": edge,
            "patch_size_level0": edge,
            "level0_magnification": power,
            "target_magnification": power,
            "overlap": 0,
            "name": bag.slide,
            "savetodir": "None",
            "level0_width": bag.width_px,
            "level0_height": bag.height_px,
            **_extras(bag),
        },
    )


def _clam(file: h5py.File, bag: FeatureBag) -> None:
    _rows(file, "features", bag.features, {})
    said: dict[str, Any] = {"patch_size": round(bag.tile_px), "patch_level": 0, "name": bag.slide}
    said["downsample"] = np.array([1.0, 1.0])
    if bag.width_px and bag.height_px:
        said["level_dim"] = np.array([bag.width_px, bag.height_px])
    _rows(file, "coords", bag.xy_px.astype(np.int32), said | _extras(bag))


def _stamp(file: h5py.File, bag: FeatureBag) -> None:
    assert bag.mpp is not None  # write_foreign saw to it
    file["coords"] = (bag.xy_px * bag.mpp).astype(np.float32)
    file["feats"] = bag.features
    said = {
        "stamp_version": STAMP_VERSION,
        "extractor": bag.encoder,
        "unit": "um",
        "tile_size_um": bag.tile_px * bag.mpp,
        "tile_size_px": round(bag.tile_px),
        "feat_type": "tile",
    }
    for name, value in (said | _extras(bag)).items():
        file.attrs[name] = value


def _rows(file: h5py.File, name: str, values: Any, said: Mapping[str, Any]) -> None:
    """Write rows that can be added to, as both programs do; ``None`` as the word they write."""
    data = file.create_dataset(
        name, data=values, maxshape=(None, values.shape[1]), chunks=(1, values.shape[1])
    )
    for key, value in said.items():
        data.attrs[key] = "None" if value is None else value


def _extras(bag: FeatureBag) -> dict[str, Any]:
    said: dict[str, Any] = {
        f"{EXTRA}tile_px": bag.tile_px,
        f"{EXTRA}encoder": bag.encoder,
        f"{EXTRA}encoder_id": bag.encoder_id,
    }
    return said if bag.mpp is None else said | {f"{EXTRA}mpp": bag.mpp}


def _power(mpp: float | None) -> int | float | None:
    """Return the magnification a scan of this resolution is called by."""
    if mpp is None:
        return None
    exact = 10.0 / mpp
    usual = min(USUAL_POWERS, key=lambda each: abs(each - exact) / each)
    return usual if abs(usual - exact) / usual <= POWER_SLACK else exact
