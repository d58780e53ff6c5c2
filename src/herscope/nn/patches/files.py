"""The small files beside patches: ``patches.json``, ``classes.json``, ``groups.csv``.

All are optional. ``patches.json`` has ``mpp`` and may have ``white_point`` (of all patches),
``white_points`` (by stem) and ``source``. ``classes.json`` maps mask values to ``tumor``,
``stroma``, ``background``, ``other`` or ``ignore``. ``groups.csv`` has the columns ``patch`` and
``group``; without it the group is the stem up to its first underscore.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError, SchemaError, UnknownResolution
from herscope.core.registry import COMPARTMENT_CLASSES, nearest
from herscope.core.spec import Spec
from herscope.core.store import read_json
from herscope.core.study import build
from herscope.core.units import Mpp
from herscope.stain.vectors import Triple

SCHEMA: Final = "herscope.patches/1"
CLASSES: Final = COMPARTMENT_CLASSES
"""Codes 0 to 3 (AutoIHC's four classes; background holds glass and fat)."""
IGNORE: Final = 255
IMAGE_SUFFIXES: Final = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
WHITE: Final = (255.0, 255.0, 255.0)
"""White point of patches that state none."""


class AboutPatches(Spec):
    """What ``patches.json`` says."""

    schema_name: str = Field(default=SCHEMA, alias="schema", description="Form of the file.")
    mpp: float | None = Field(default=None, gt=0, description="µm/px of all patches.")
    white_point: Triple = Field(default=WHITE, description="White point of all patches, 0 to 255.")
    white_points: dict[str, Triple] = Field(
        default_factory=dict, description="White point by stem, where it differs."
    )
    source: str = Field(default="", description="Where the patches come from, for the card.")

    def whites(self, folder: Path, stems: Sequence[str]) -> tuple[Triple, ...]:
        """Return the white point of every patch."""
        for where, white in (("white_point", self.white_point), *self.white_points.items()):
            if not all(math.isfinite(v) and 64 <= v <= 255 for v in white):
                raise SchemaError(
                    f"{folder / 'patches.json'}: {where} is {white}",
                    hint="red, green and blue of empty glass, each 64 to 255",
                )
        return tuple(self.white_points.get(stem, self.white_point) for stem in stems)


def read_about(folder: Path) -> AboutPatches:
    """Read ``patches.json``; the defaults where there is none."""
    file = folder / "patches.json"
    if not file.is_file():
        return AboutPatches()
    said = _object(file)
    about = build(AboutPatches, said, where=str(file))
    if about.schema_name != SCHEMA:
        raise SchemaError(
            f"{file} has the form {about.schema_name!r}, not {SCHEMA}",
            hint="it was written by another version of herscope",
        )
    return about


def mask_table(folder: Path) -> NDArray[np.int16]:
    """(256,) class code of every mask value, -1 for values nobody explains."""
    table = np.full(256, -1, np.int16)
    file = folder / "classes.json"
    if not file.is_file():
        table[: len(CLASSES)] = range(len(CLASSES))
        table[IGNORE] = IGNORE
        return table
    names = {**{name: code for code, name in enumerate(CLASSES)}, "ignore": IGNORE}
    for key, name in _object(file).items():
        if not (key.isascii() and key.isdigit() and int(key) <= 255):
            raise SchemaError(
                f"{file}: {key!r} is no mask value (0 to 255)",
                hint='such as {"1": "tumor", "2": "stroma", "0": "ignore"}',
            )
        if name not in names:
            raise SchemaError(
                f"{file}: value {key} is called {name!r}", hint=nearest(str(name), list(names))
            )
        table[int(key)] = names[name]
    if table[IGNORE] < 0:
        table[IGNORE] = IGNORE
    return table


def read_groups(folder: Path, stems: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the group of every patch, and notes."""
    file = folder / "groups.csv"
    if not file.is_file():
        groups = tuple(stem.split("_", 1)[0] for stem in stems)
        note = (
            f"no groups.csv: {len(set(groups))} groups by the name before the first underscore; "
            "patches of one slide or patient must share it"
        )
        return groups, (note,)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SchemaError(f"{file} is no readable CSV: {error}", hint="patch,group") from error
    if not rows or not {"patch", "group"} <= rows[0].keys():
        raise SchemaError(f"{file} has no columns patch and group", hint="first line: patch,group")
    found: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        patch, group = (row["patch"] or "").strip(), (row["group"] or "").strip()
        patch = patch if patch in stems else Path(patch).stem
        if not group or patch not in stems:
            raise SchemaError(
                f"{file}, line {line}: patch {row['patch']!r}, group {row['group']!r}",
                hint="every line names a patch of images/ and its slide or patient",
            )
        if found.setdefault(patch, group) != group:
            raise SchemaError(
                f"{file}, line {line}: patch {patch} is in {found[patch]} and in {group}",
                hint="a patch is of one slide",
            )
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise SchemaError(
            f"{file} says nothing of patch {missing[0]} ({len(missing)} such in all)",
            hint="list every patch",
        )
    return tuple(found[stem] for stem in stems), ()


def image_pairs(folder: Path, labels: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images and their labels by stem; ``labels`` is the name of the second folder.

    Raises
    ------
    InputError
        A folder is absent, there is no image, two files share a stem, or one has no partner.
    """
    layout = f"a patch folder has images/ and {labels}/ with files of the same stem"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", hint=layout)
    found = []
    for name in ("images", labels):
        part = folder / name
        if not part.is_dir():
            raise InputError(f"{folder} has no folder {name}", hint=layout)
        files: dict[str, Path] = {}
        for file in sorted(part.iterdir()):
            if file.name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if file.stem in files:
                raise InputError(
                    f"{files[file.stem]} and {file.name} have the same stem",
                    hint="give every patch a name of its own",
                )
            files[file.stem] = file
        found.append(files)
    images, masks = found
    singular = labels.removesuffix("s")
    if not images:
        raise InputError(f"{folder / 'images'} holds no image", hint=layout)
    for kind, have, other in (("image", images, masks), (singular, masks, images)):
        alone = sorted(have.keys() - other.keys())
        if alone:
            missing = singular if kind == "image" else "image"
            raise InputError(
                f"{kind} {have[alone[0]]} has no {missing} ({len(alone)} such in all)",
                hint=f"its {missing} is {folder / (missing + 's') / alone[0]}.png",
            )
    return images, masks


def resolution(folder: Path, written: float | None, stated: float | None) -> Mpp:
    """Return the µm/px of a folder's patches: what it states, or what the user says.

    Raises
    ------
    UnknownResolution
        Nobody says.
    InputError
        Both do, and they differ.
    """
    if written is None and stated is None:
        raise UnknownResolution(
            f"nobody states the µm/px of the patches in {folder}",
            hint='pass --mpp 1.0 (or whatever is true), or write {"mpp": 1.0} to patches.json',
        )
    if written is not None and stated is not None and abs(written / stated - 1) > 1e-3:
        raise InputError(
            f"patches.json of {folder} states {written:g} µm/px, --mpp {stated:g}",
            hint="leave --mpp out, or correct patches.json",
        )
    return Mpp(written if written is not None else float(stated or 0))


def _object(file: Path) -> dict[str, Any]:
    said = read_json(file)
    if not isinstance(said, dict):
        raise SchemaError(f"{file} is not a JSON object", hint="it begins with {")
    return said
