"""TRIDENT's and CLAM's feature files; see :mod:`herscope.embed.foreign_files` for the layouts.

Both come from one laboratory and look alike: ``features`` beside ``coords`` in level-0 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from herscope.core.errors import SchemaError
from herscope.embed.foreign_found import EXTRA, Found, extras
from herscope.embed.hdf5_reading import number, numbers, opened_hdf5, text

TRIDENT_ATTRIBUTES: Final = ("patch_size_level0", "level0_magnification", "target_magnification")


def read_trident(file: h5py.File, path: Path) -> Found:
    """Read an open file of TRIDENT; the encoder is named by the folder it was saved to."""
    coords, features = file["coords"], file["features"]
    extra = extras(coords)
    size = number(coords, f"{EXTRA}tile_px") or number(coords, "patch_size_level0")
    patch, level0, target = (
        number(coords, name)
        for name in ("patch_size", "level0_magnification", TRIDENT_ATTRIBUTES[2])
    )
    if size is None and patch and level0 and target:
        size = patch * level0 / target
    notes = []
    if level0 and target and extra["mpp"] is None:
        notes.append(f"level 0 is {level0:g}x, tiles were taken at {target:g}x")
    encoder = extra["encoder"]
    if encoder is None:
        for folder in (text(features, "savetodir"), str(path.resolve().parent)):
            name = Path((folder or "").replace("\\", "/")).name
            if name.startswith("features_"):
                encoder = name.removeprefix("features_")
                notes.append(f"the encoder is named by the folder {name}, not by the file")
                break
    width, height = number(coords, "level0_width"), number(coords, "level0_height")
    return Found(
        numbers(file, "features", path),
        numbers(file, "coords", path),
        size,
        encoder=encoder,
        mpp=extra["mpp"],
        encoder_id=extra["encoder_id"],
        width_px=int(width) if width else None,
        height_px=int(height) if height else None,
        notes=tuple(notes),
    )


def read_clam(file: h5py.File, path: Path) -> Found:
    """Read an open file of CLAM; the size of tiles may lie in its file of places."""
    features, places = numbers(file, "features", path), numbers(file, "coords", path)
    coords, extra = file["coords"], extras(file["coords"])
    size = number(coords, f"{EXTRA}tile_px")
    notes: tuple[str, ...] = ()
    if size is None:
        size, notes = _clam_size(coords)
    if size is None:
        size, notes = _size_from_patches(path, len(places))
    width, height = _clam_slide(coords)
    return Found(
        features,
        places,
        size,
        encoder=extra["encoder"],
        mpp=extra["mpp"],
        encoder_id=extra["encoder_id"],
        width_px=width,
        height_px=height,
        notes=notes,
    )


def _clam_size(coords: Any) -> tuple[float | None, tuple[str, ...]]:
    """Return the edge at level 0 of CLAM's patches, which are so many pixels of some level."""
    patch, level = number(coords, "patch_size"), number(coords, "patch_level")
    scale = number(coords, "downsample") or (1.0 if level == 0 else None)
    if patch is None or scale is None:
        return None, ()
    further = number(coords, "custom_downsample") or 1.0
    note = f"tiles were made {further:g} times smaller once more (custom_downsample)"
    return patch * scale * further, (note,) if further != 1.0 else ()


def _clam_slide(coords: Any) -> tuple[int | None, int | None]:
    if number(coords, "patch_level") != 0 or "level_dim" not in coords.attrs:
        return None, None
    sides = np.ravel(coords.attrs["level_dim"])
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else (None, None)


def _places_files(path: Path) -> list[Path]:
    """Where CLAM keeps the places of a slide, seen from its features."""
    up, name = path.parent.parent, f"{path.stem}.h5"
    near = [path.parent / name, up / "h5_files" / name, up / "patches" / name]
    return [each for each in [*near, up.parent / "patches" / name] if each.is_file()]


def _size_from_patches(path: Path, tiles: int) -> tuple[float | None, tuple[str, ...]]:
    for other in _places_files(path):
        if other == path:
            continue
        with opened_hdf5(other) as file:
            if "coords" in file and len(file["coords"]) == tiles:
                size, notes = _clam_size(file["coords"])
                if size is not None:
                    told = f"the size of tiles is that of {other.parent.name}/{other.name}"
                    return size, (told, *notes)
    return None, ()


def read_clam_tensor(path: Path) -> Found:
    """Read CLAM's tensor and the places near it, which stand in the same order.

    Raises
    ------
    SchemaError
        No tensor, no places, or another number of them.
    DependencyMissing
        torch is not installed.
    """
    from herscope.embed.torch_file import read_tensor

    features = read_tensor(path)
    for other in _places_files(path):
        with opened_hdf5(other) as file:
            if "coords" not in file:
                continue
            places = numbers(file, "coords", other)
            size, notes = _clam_size(file["coords"])
        if len(places) != len(features):
            raise SchemaError(
                f"{path.name} holds {len(features)} tiles, {other.parent.name}/{other.name} "
                f"{len(places)} places",
                hint="they are not of one run of CLAM",
            )
        if size is None:
            size, notes = _size_from_patches(other, len(places))
        told = f"places are those of {other.parent.name}/{other.name}"
        return Found(features, places, size, notes=(told, *notes))
    raise SchemaError(
        f"{path.name} holds features without places",
        hint=f"put {path.stem}.h5 beside it, or into h5_files or patches next to its folder",
    )
