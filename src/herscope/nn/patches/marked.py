"""Patches whose truth is less than outlines: points in nuclei, or one mask of all nuclei.

Points: ``images/`` and ``points.csv`` with the columns ``patch``, ``x_px``, ``y_px``, ``class``;
the middle of the first pixel is 0.5, 0.5. An optional ``areas/NAME.png`` is above 0 where *every*
nucleus has its point; elsewhere nothing is held against anybody. Masks: ``images/`` and ``masks/``,
grey, 0 and one other value (255 as a rule); touching nuclei run together, so nothing can be
counted. ``patches.json`` and ``groups.csv`` are those of all patch folders
(:mod:`herscope.nn.patches.files`). Such patches are good for judging only.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.core.units import Mpp
from herscope.nn.patches.files import (
    IMAGE_SUFFIXES,
    image_pairs,
    read_about,
    read_groups,
    resolution,
)
from herscope.nn.patches.images import open_image, read_image, same_size
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple

POINTS_FILE: Final = "points.csv"
AREAS: Final = "areas"
MASKS: Final = "masks"
_COLUMNS: Final = ("patch", "x_px", "y_px", "class")

Kind = Literal["points", "foreground"]


class Points(NamedTuple):
    """Marked nuclei of a patch: (n, 2) x and y in pixels, and the class of each."""

    xy: NDArray[np.float64]
    classes: tuple[str, ...]


class MarkedPatch(NamedTuple):
    """An image and what is known of it.

    ``truth`` is (height, width) bool: where every nucleus has its point, or the nuclei themselves.
    """

    rgb: Rgb
    truth: NDArray[np.bool_]
    points: Points
    white: Triple


@dataclass(frozen=True)
class MarkedPatches:
    """A checked folder of patches with points or masks.

    Parameters
    ----------
    root
        The folder.
    kind
        ``points`` or ``foreground``.
    stems
        Names of the patches, sorted.
    images, masks
        Their files; the mask of points is the area in which every nucleus is marked, if any.
    points
        Points of each patch; none for masks.
    mpp
        µm/px.
    whites, groups, sizes, digests
        White point, slide or patient, (height, width), SHA-256 of the pixels of each patch.
    fingerprint
        Changes with any pixel, point, mask, white point, group or the µm/px.
    source, notes
        Where they come from; what a person should know.
    """

    root: Path
    kind: Kind
    stems: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    points: tuple[Points, ...]
    mpp: Mpp
    whites: tuple[Triple, ...]
    groups: tuple[str, ...]
    sizes: NDArray[np.int64]
    digests: tuple[str, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stems)

    def load(self, index: int) -> MarkedPatch:
        """Read one patch from the disk."""
        rgb = read_image(self.images[index])
        truth = _mask(self.images[index], rgb, self.masks[index])
        return MarkedPatch(rgb, truth, self.points[index], self.whites[index])

    def describe(self) -> dict[str, Any]:
        """Return counts for documents."""
        told: dict[str, Any] = {
            "patches": len(self),
            "groups": len(set(self.groups)),
            "mpp": float(self.mpp),
            "truth": self.kind,
            "fingerprint": self.fingerprint,
            "source": self.source,
            "notes": list(self.notes),
        }
        if self.kind == "points":
            names = sorted({name for points in self.points for name in points.classes})
            told["points"] = {
                name: sum(points.classes.count(name) for points in self.points) for name in names
            }
        return told


def read_marked_patches(
    root: str | Path, *, kind: Kind | None = None, mpp: float | None = None
) -> MarkedPatches:
    """Read and check a folder of patches with points or masks.

    Parameters
    ----------
    root
        The folder.
    kind
        ``points`` or ``foreground``; None takes points where there is a ``points.csv``.
    mpp
        µm/px, for folders whose ``patches.json`` states none; must agree with one that does.

    Raises
    ------
    InputError
        Not such a folder, an unreadable file, a mask of another size or with other values.
    SchemaError
        ``points.csv``, ``patches.json`` or ``groups.csv`` is malformed.
    UnknownResolution
        Nobody states the µm/px.
    """
    folder = Path(root)
    wanted: Kind = kind or ("points" if (folder / POINTS_FILE).is_file() else "foreground")
    second = AREAS if wanted == "points" else MASKS
    masks: Mapping[str, Path] = {}
    if wanted == "foreground" or (folder / AREAS).is_dir():
        images, masks = image_pairs(folder, second)
    else:
        images = _images(folder)
    stems = tuple(sorted(images))
    about = read_about(folder)
    scale = resolution(folder, about.mpp, mpp)
    groups, notes = read_groups(folder, stems)
    whites = about.whites(folder, stems)
    sizes = np.zeros((len(stems), 2), np.int64)
    digests: list[str] = []
    whole = hashlib.sha256(repr((wanted, float(scale), stems, groups, whites)).encode())
    for k, stem in enumerate(stems):
        rgb = read_image(images[stem])
        truth = _mask(images[stem], rgb, masks.get(stem))
        sizes[k] = rgb.shape[:2]
        digests.append(hashlib.sha256(rgb.tobytes()).hexdigest())
        whole.update(bytes.fromhex(digests[-1]) + np.packbits(truth).tobytes())
    points = _read_points(folder / POINTS_FILE, stems, sizes) if wanted == "points" else {}
    whole.update(repr([(p.xy.tolist(), p.classes) for p in points.values()]).encode())
    none = Points(np.zeros((0, 2)), ())
    return MarkedPatches(
        root=folder,
        kind=wanted,
        stems=stems,
        images=tuple(images[s] for s in stems),
        masks=tuple(masks.get(s) for s in stems),
        points=tuple(points.get(s, none) for s in stems),
        mpp=scale,
        whites=whites,
        groups=groups,
        sizes=sizes,
        digests=tuple(digests),
        fingerprint=whole.hexdigest()[:16],
        source=about.source,
        notes=notes,
    )


def _images(folder: Path) -> dict[str, Path]:
    part = folder / "images"
    files = sorted(part.iterdir()) if part.is_dir() else []
    found = {f.stem: f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != "."}
    if not found:
        raise InputError(
            f"{part} holds no image", hint=f"a folder of points has images/ and {POINTS_FILE}"
        )
    return found


def _mask(image: Path, rgb: Rgb, file: Path | None) -> NDArray[np.bool_]:
    if file is None:
        return np.ones(rgb.shape[:2], np.bool_)
    found = open_image(file)
    values = np.asarray(found).astype(np.int64) if found.mode in {"L", "P", "1"} else None
    if values is None or len(set(np.unique(values)) - {0}) > 1:
        what = f"of the kind {found.mode}" if values is None else f"with {_few(values)}"
        raise InputError(
            f"mask {file} is {what}, not grey with 0 and one other value",
            hint="0 outside nuclei, 255 in them; numbered nuclei belong in instances/",
        )
    same_size(image, rgb, file, values)
    return np.asarray(values > 0)


def _few(values: NDArray[np.int64]) -> str:
    shown = [int(v) for v in np.unique(values)]
    return f"the values {', '.join(map(str, shown[:5]))}{', ...' if len(shown) > 5 else ''}"


def _read_points(file: Path, stems: tuple[str, ...], sizes: NDArray[np.int64]) -> dict[str, Points]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SchemaError(
            f"{file} is no readable CSV: {error}", hint="first line: patch,x_px,y_px,class"
        ) from error
    if not rows or not set(_COLUMNS) <= rows[0].keys():
        raise SchemaError(
            f"{file} has no row, or lacks one of the columns {', '.join(_COLUMNS)}",
            hint="first line: patch,x_px,y_px,class; one row a nucleus",
        )
    places: dict[str, list[tuple[float, float]]] = {stem: [] for stem in stems}
    classes: dict[str, list[str]] = {stem: [] for stem in stems}
    size_of = dict(zip(stems, sizes.tolist(), strict=True))
    for line, row in enumerate(rows, start=2):
        patch, name = (row["patch"] or "").strip(), (row["class"] or "").strip()
        patch = patch if patch in places else Path(patch).stem
        x, y = _number(row["x_px"]), _number(row["y_px"])
        height, width = size_of.get(patch, (0, 0))
        if patch not in places or not name or not (0 <= x <= width and 0 <= y <= height):
            raise SchemaError(
                f"{file}, line {line}: patch {row['patch']!r}, x {row['x_px']}, y {row['y_px']}, "
                f"class {row['class']!r}",
                hint="a patch of images/, a place within it in its own pixels, and a class",
            )
        places[patch].append((x, y))
        classes[patch].append(name)
    return {
        stem: Points(np.array(places[stem], np.float64).reshape(-1, 2), tuple(classes[stem]))
        for stem in stems
    }


def _number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
