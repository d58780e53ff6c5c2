"""Patches with a target region and, where readers gave them, H-scores.

    images/NAME.png     RGB, 8 bits
    masks/NAME.png      optional: 0 outside the target, 255 (or 1) target; without the folder every
                        pixel counts. With a compartment named: compartment masks (0 tumor,
                        1 stroma, ...; classes.json says what other values mean)
    hscores.csv         optional, patch,h_score: what readers gave, 0 to 300
    patches.json, groups.csv    as for compartments (:mod:`herscope.nn.patches.files`)

A compartment mask read as a binary one would make stroma the target: other values than these, and 1
beside 255, are refused. A patch without any target pixel has no H-score and is left out, with a
note. Everything is read and checked before training begins.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.units import Mpp
from herscope.nn.hscore_predict import HIGHEST, TargetPatch
from herscope.nn.patches.files import (
    CLASSES,
    IMAGE_SUFFIXES,
    image_pairs,
    mask_table,
    read_about,
    read_groups,
    resolution,
)
from herscope.nn.patches.images import read_image, read_mask, same_size
from herscope.nn.patches.split import VALIDATION_SHARE, Split, split_groups
from herscope.stain.vectors import Triple

TargetCompartment = Literal["tumor", "stroma"]
Truth = Literal["readers", "formula"]
SCORES_FILE: Final = "hscores.csv"
LAYOUT: Final = "a folder for H-scores has images/, and may have masks/ and hscores.csv"
BINARY: Final = "0 is outside the target, 255 or 1 inside; --compartment reads compartment masks"

_OUTSIDE, _ONE, _FULL, _UNKNOWN = range(4)


@dataclass(frozen=True)
class HscorePatches:
    """A checked folder; see the module for the files.

    Parameters
    ----------
    root
        The folder.
    stems
        Names of the patches with a target, sorted.
    images, masks
        Their files; no mask where every pixel counts.
    mpp
        µm/px.
    whites, groups
        White point, and slide or patient, of each patch.
    h_scores
        (patches,) the truth, 0 to 300: what readers gave, or None without ``hscores.csv`` until
        the formula's values are put in (:func:`herscope.recipes.hscore_formula.with_truth`).
    truth
        ``readers`` or ``formula``.
    target_px
        (patches,) pixels of the target.
    sizes
        (patches, 2) height and width.
    digests
        SHA-256 of each image's pixels.
    fingerprint
        Changes with any pixel, mask, H-score, white point, group or the µm/px.
    compartment
        Which compartment of the masks is the target; None for binary masks.
    source, notes
        Where the patches come from; what a person should know.
    """

    root: Path
    stems: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    mpp: Mpp
    whites: tuple[Triple, ...]
    groups: tuple[str, ...]
    h_scores: NDArray[np.float64] | None
    truth: Truth
    target_px: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: tuple[str, ...]
    fingerprint: str
    compartment: TargetCompartment | None
    source: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stems)

    def load(self, index: int) -> TargetPatch:
        """Read one patch from the disk."""
        rgb = read_image(self.images[index])
        target = _target(self.root, self.masks[index], self.compartment).mask
        if target is None:
            target = np.ones(rgb.shape[:2], np.bool_)
        return TargetPatch(rgb, target, self.whites[index])

    def known(self) -> NDArray[np.float64]:
        """(patches,) the truth.

        Raises
        ------
        NotComputed
            There are no readers' H-scores, and the formula's were not put in.
        """
        if self.h_scores is None:
            raise NotComputed(
                f"{self.root} has no {SCORES_FILE}, and the formula's H-scores were not computed",
                hint="herscope.recipes.hscore_formula.with_truth(patches)",
            )
        return self.h_scores

    def split(self, *, share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
        """Part the groups into training and validation, low, middle and high H-scores on both."""
        third = np.minimum(self.known() // 100, 2)
        holds = third[:, None] == np.arange(3)
        return split_groups(self.stems, self.groups, holds, share=share, seed=seed, where=self.root)

    def describe(self) -> dict[str, Any]:
        """Return counts and the spread of the H-scores, for documents and cards."""
        scores = self.known()
        return {
            "patches": len(self),
            "groups": len(set(self.groups)),
            "mpp": float(self.mpp),
            "target_px": int(self.target_px.sum()),
            "compartment": self.compartment,
            "truth": self.truth,
            "h_score": {
                "lowest": float(scores.min()),
                "median": float(np.median(scores)),
                "highest": float(scores.max()),
                "zeros": int((scores == 0).sum()),
            },
            "fingerprint": self.fingerprint,
            "source": self.source,
            "notes": list(self.notes),
        }


def read_hscore_patches(
    root: str | Path,
    *,
    mpp: float | None = None,
    compartment: TargetCompartment | None = None,
) -> HscorePatches:
    """Read and check a folder of patches for H-scores.

    Parameters
    ----------
    root
        The folder with ``images/``.
    mpp
        µm/px, for folders whose ``patches.json`` states none; must agree with one that does.
    compartment
        ``tumor`` or ``stroma`` when the masks are compartment masks.

    Raises
    ------
    InputError
        No image; a mask that is missing, of another size or with unknown values; no target
        anywhere; a compartment without masks.
    SchemaError
        ``hscores.csv``, ``patches.json``, ``classes.json`` or ``groups.csv`` is malformed, lacks a
        patch, or has an H-score outside 0 to 300.
    UnknownResolution
        Nobody states the µm/px.
    """
    folder = Path(root)
    images, masks = _files(folder, compartment)
    stems = tuple(sorted(images))
    about = read_about(folder)
    scale = resolution(folder, about.mpp, mpp)
    groups, notes = read_groups(folder, stems)
    whites = about.whites(folder, stems)
    readers = read_h_scores(folder, stems)
    sizes = np.zeros((len(stems), 2), np.int64)
    pixels = np.zeros(len(stems), np.int64)
    digests: list[str] = []
    kinds: dict[int, str] = {}
    whole = hashlib.sha256(repr((float(scale), stems, groups, whites, compartment)).encode())
    whole.update(b"" if readers is None else readers.tobytes())
    for k, stem in enumerate(stems):
        rgb = read_image(images[stem])
        found = _target(folder, masks.get(stem), compartment)
        target = np.ones(rgb.shape[:2], np.bool_) if found.mask is None else found.mask
        same_size(images[stem], rgb, masks.get(stem, images[stem]), target)
        kinds.update(dict.fromkeys(found.kinds, stem))
        sizes[k], pixels[k] = target.shape, target.sum()
        digests.append(hashlib.sha256(rgb.tobytes()).hexdigest())
        whole.update(bytes.fromhex(digests[-1]) + np.packbits(target).tobytes())
    if {_ONE, _FULL} <= kinds.keys():
        raise InputError(
            f"masks of {folder} hold 1 (such as {kinds[_ONE]}) and 255 (such as {kinds[_FULL]})",
            hint="compartment masks? --compartment tumor or stroma says which is the target",
        )
    kept = np.flatnonzero(pixels)
    if not len(kept):
        raise InputError(
            f"no patch of {folder} has a pixel of the target"
            + (f" ({compartment})" if compartment else ""),
            hint=BINARY,
        )
    if len(kept) < len(stems):
        empty = [stem for stem, n in zip(stems, pixels, strict=True) if n == 0]
        notes = (*notes, f"{len(empty)} patches without target left out, such as {empty[0]}")
    return HscorePatches(
        root=folder,
        stems=tuple(stems[i] for i in kept),
        images=tuple(images[stems[i]] for i in kept),
        masks=tuple(masks.get(stems[i]) for i in kept),
        mpp=scale,
        whites=tuple(whites[i] for i in kept),
        groups=tuple(groups[i] for i in kept),
        h_scores=None if readers is None else readers[kept],
        truth="formula" if readers is None else "readers",
        target_px=pixels[kept],
        sizes=sizes[kept],
        digests=tuple(digests[i] for i in kept),
        fingerprint=whole.hexdigest()[:16],
        compartment=compartment,
        source=about.source,
        notes=notes,
    )


def read_h_scores(folder: Path, stems: Sequence[str]) -> NDArray[np.float64] | None:
    """Read ``hscores.csv``: one H-score of 0 to 300 for every patch; None without the file.

    Raises
    ------
    SchemaError
        Not readable, another form, an unknown or a missing patch, two values for one, or a value
        out of range.
    """
    file = folder / SCORES_FILE
    if not file.is_file():
        return None
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SchemaError(f"{file} is no readable CSV: {error}", hint="patch,h_score") from error
    if not rows or not {"patch", "h_score"} <= rows[0].keys():
        raise SchemaError(
            f"{file} has no columns patch and h_score", hint="first line: patch,h_score"
        )
    known, found = set(stems), dict[str, float]()
    for line, row in enumerate(rows, start=2):
        patch = (row["patch"] or "").strip()
        patch = patch if patch in known else Path(patch).stem
        if patch not in known:
            raise SchemaError(
                f"{file}, line {line}: there is no patch {row['patch']!r} in images/",
                hint="every line names a patch and its H-score",
            )
        value = _h_score(file, line, row["h_score"])
        if found.setdefault(patch, value) != value:
            raise SchemaError(
                f"{file}, line {line}: patch {patch} has {found[patch]:g} and {value:g}",
                hint="one H-score a patch; give the readers' mean, or one reader's",
            )
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise SchemaError(
            f"{file} has no H-score of patch {missing[0]} ({len(missing)} such in all)",
            hint="score every patch, or take those without a score out of images/",
        )
    return np.array([found[stem] for stem in stems], np.float64)


class _Target(NamedTuple):
    """Target pixels, None for all, and which kinds of target values a binary mask held."""

    mask: NDArray[np.bool_] | None
    kinds: frozenset[int]


def _target(folder: Path, file: Path | None, compartment: TargetCompartment | None) -> _Target:
    if file is None:
        return _Target(None, frozenset())
    if compartment is not None:
        codes = read_mask(file, mask_table(folder))
        return _Target(codes == CLASSES.index(compartment), frozenset())
    table = np.full(256, _UNKNOWN, np.int16)
    table[[0, 1, 255]] = _OUTSIDE, _ONE, _FULL
    codes = read_mask(file, table)
    if (codes == _UNKNOWN).any():
        y, x = (int(v[0]) for v in np.nonzero(codes == _UNKNOWN))
        raise InputError(
            f"mask {file} holds values other than 0, 1 and 255, first at x {x}, y {y}",
            hint=BINARY,
        )
    held = {kind for kind in (_ONE, _FULL) if (codes == kind).any()}
    return _Target(codes != _OUTSIDE, frozenset(held))


def _files(
    folder: Path, compartment: TargetCompartment | None
) -> tuple[dict[str, Path], dict[str, Path]]:
    if compartment not in (None, "tumor", "stroma"):
        raise InputError(f"compartment {compartment!r} is not tumor or stroma")
    if compartment is not None or (folder / "masks").is_dir():
        return image_pairs(folder, "masks")
    part = folder / "images"
    if not part.is_dir():
        raise InputError(f"{folder} has no folder images", hint=LAYOUT)
    images: dict[str, Path] = {}
    for file in sorted(part.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if file.stem in images:
            raise InputError(
                f"{images[file.stem]} and {file.name} have the same stem",
                hint="give every patch a name of its own",
            )
        images[file.stem] = file
    if not images:
        raise InputError(f"{part} holds no image", hint=LAYOUT)
    return images, {}


def _h_score(file: Path, line: int, written: str | None) -> float:
    try:
        value = float(written or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= HIGHEST:
        raise SchemaError(
            f"{file}, line {line}: {(written or '').strip() or 'nothing'} is no H-score "
            f"(allowed: 0 to {HIGHEST:g})",
            hint="100 x the mean grade of the cells: 0 none stained, 300 all 3+",
        )
    return value
