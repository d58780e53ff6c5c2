"""Patches with masks: what a compartment network learns from and is judged by.

A patch folder holds ``images/`` and ``masks/`` with the same stems. A mask is an 8-bit grey or
indexed PNG: 0 tumor, 1 stroma, 2 background (glass and fat), 3 other (artefact, normal gland, large
vessel: the four classes of AutoIHC), 255 not annotated. ``patches.json`` states µm/px and, where
known, white points; ``classes.json`` says what other mask values mean; ``groups.csv`` says which
slide or patient a patch is of. Everything is read and checked before training begins.

Patches of one slide are alike: the split into training and validation never parts a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, UnknownResolution
from herscope.core.units import Mpp
from herscope.nn.patch_files import (
    CLASSES,
    IGNORE,
    mask_table,
    read_about,
    read_groups,
)
from herscope.nn.patch_images import Codes, read_image, read_mask, same_size
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple

IMAGE_SUFFIXES: Final = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
SPLIT_TRIES: Final = 64
VALIDATION_SHARE: Final = 0.2
"""AutoIHC: 80/20."""

LAYOUT = "a patch folder has images/ and masks/ with files of the same stem, see herscope fit"


@dataclass(frozen=True, slots=True)
class Patch:
    """An image, its mask and the white point of its slide."""

    rgb: Rgb
    mask: Codes
    white: Triple


@dataclass(frozen=True)
class PatchFolder:
    """A checked patch folder.

    Parameters
    ----------
    root
        The folder.
    stems
        Names of the patches, sorted.
    images, masks
        Their files.
    mpp
        µm/px.
    whites
        White point of each patch.
    groups
        Slide or patient of each patch.
    pixels
        (patches, 4) pixels of each class.
    sizes
        (patches, 2) height and width.
    digests
        SHA-256 of each image's pixels.
    fingerprint
        Changes with any pixel, mask, white point, group or the µm/px.
    table
        (256,) what each mask value means.
    notes
        What a person should know.
    """

    root: Path
    stems: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    mpp: Mpp
    whites: tuple[Triple, ...]
    groups: tuple[str, ...]
    pixels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: tuple[str, ...]
    fingerprint: str
    table: NDArray[np.int16]
    source: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stems)

    def load(self, index: int) -> Patch:
        """Read one patch from the disk."""
        rgb = read_image(self.images[index])
        mask = read_mask(self.masks[index], self.table)
        same_size(self.images[index], rgb, self.masks[index], mask)
        return Patch(rgb, mask, self.whites[index])

    def class_pixels(self, indices: Sequence[int] | None = None) -> dict[str, int]:
        """Pixels of each class over some patches; over all when None."""
        rows = self.pixels if indices is None else self.pixels[list(indices)]
        return {name: int(n) for name, n in zip(CLASSES, rows.sum(axis=0), strict=True)}

    def split(self, *, share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
        """Part the groups into training and validation.

        Groups are shuffled and taken for validation until they hold ``share`` of the patches. Of
        64 shuffles the first is taken that leaves every class on both sides; else the one that
        keeps the most classes in training, then in validation.

        Parameters
        ----------
        share
            Part of the patches for validation, above 0 and below 1.
        seed
            Seed of the shuffles.

        Raises
        ------
        InputError
            Fewer than two patches, or a share out of range.
        """
        if not 0 < share < 1:
            raise InputError(f"a validation share of {share:g} is not between 0 and 1")
        if len(self) < 2:
            raise InputError(
                f"{self.root} holds one patch: none is left for validation",
                hint="give two patches or more, better of two slides or more",
            )
        note, groups = "", self.groups
        if len(set(groups)) == 1:
            groups = self.stems
            note = (
                f"all patches are of one group ({self.groups[0]}), so patches were parted: "
                "validation figures are too good"
            )
        generator = np.random.Generator(np.random.PCG64(seed))
        names = sorted(set(groups))
        present = self.pixels.sum(axis=0) > 0
        best: tuple[int, int] = (-1, -1)
        chosen: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        for _ in range(SPLIT_TRIES):
            order = [names[k] for k in generator.permutation(len(names))]
            train, held = _deal(groups, order, share)
            found = tuple(int((self.pixels[list(s)].sum(axis=0) > 0).sum()) for s in (train, held))
            if found > best:
                best, chosen = (found[0], found[1]), (train, held)
            if found == (present.sum(), present.sum()):
                break
        return Split(*chosen, note)


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of patches to train on and to validate on; disjoint, and so are their groups."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    note: str = ""


def _deal(
    groups: Sequence[str], order: Sequence[str], share: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    wanted, held, taken = share * len(groups), 0, set[str]()
    for name in order[:-1]:  # one group at least is trained on
        if held >= wanted:
            break
        taken.add(name)
        held += sum(group == name for group in groups)
    train = tuple(i for i, group in enumerate(groups) if group not in taken)
    return train, tuple(i for i, group in enumerate(groups) if group in taken)


def is_patch_folder(path: Path) -> bool:
    """Whether a folder is meant as patches and not as slides."""
    return (path / "images").is_dir() or (path / "masks").is_dir()


def read_patches(root: str | Path, *, mpp: float | None = None) -> PatchFolder:
    """Read and check a patch folder.

    Parameters
    ----------
    root
        The folder with ``images/`` and ``masks/``.
    mpp
        µm/px, for folders whose ``patches.json`` states none; must agree with one that does.

    Raises
    ------
    InputError
        Not a patch folder; an image without mask or a mask without image; an unreadable file; a
        mask of another size or with an unknown value; fewer than two classes in all masks.
    SchemaError
        ``patches.json``, ``classes.json`` or ``groups.csv`` is malformed.
    UnknownResolution
        Nobody states the µm/px.
    """
    folder = Path(root)
    images, masks = _pairs(folder)
    stems = tuple(sorted(images))
    about = read_about(folder)
    table = mask_table(folder)
    scale = _resolution(folder, about.mpp, mpp)
    groups, notes = read_groups(folder, stems)
    whites = about.whites(folder, stems)
    pixels = np.zeros((len(stems), len(CLASSES)), np.int64)
    sizes = np.zeros((len(stems), 2), np.int64)
    digests: list[str] = []
    whole = hashlib.sha256(repr((float(scale), stems, groups, whites)).encode())
    for k, stem in enumerate(stems):
        rgb = read_image(images[stem])
        mask = read_mask(masks[stem], table)
        same_size(images[stem], rgb, masks[stem], mask)
        pixels[k] = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: len(CLASSES)]
        sizes[k] = mask.shape
        digests.append(hashlib.sha256(rgb.tobytes()).hexdigest())
        whole.update(bytes.fromhex(digests[-1]) + mask.tobytes())
    _classes(folder, pixels)
    if (pixels.sum(axis=1) == 0).any():
        empty = [s for s, n in zip(stems, pixels.sum(axis=1), strict=True) if n == 0]
        notes = (*notes, f"{len(empty)} patches hold no annotated pixel, such as {empty[0]}")
    return PatchFolder(
        root=folder,
        stems=stems,
        images=tuple(images[s] for s in stems),
        masks=tuple(masks[s] for s in stems),
        mpp=scale,
        whites=whites,
        groups=groups,
        pixels=pixels,
        sizes=sizes,
        digests=tuple(digests),
        fingerprint=whole.hexdigest()[:16],
        table=table,
        source=about.source,
        notes=notes,
    )


def _pairs(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", hint=LAYOUT)
    found = []
    for name in ("images", "masks"):
        part = folder / name
        if not part.is_dir():
            raise InputError(f"{folder} has no folder {name}", hint=LAYOUT)
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
    if not images:
        raise InputError(f"{folder / 'images'} holds no image", hint=LAYOUT)
    for kind, have, other in (("image", images, masks), ("mask", masks, images)):
        alone = sorted(have.keys() - other.keys())
        if alone:
            missing = "mask" if kind == "image" else "image"
            raise InputError(
                f"{kind} {have[alone[0]]} has no {missing} ({len(alone)} such in all)",
                hint=f"its {missing} is {folder / (missing + 's') / alone[0]}.png",
            )
    return images, masks


def _resolution(folder: Path, written: float | None, stated: float | None) -> Mpp:
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


def _classes(folder: Path, pixels: NDArray[np.int64]) -> None:
    present = [name for name, n in zip(CLASSES, pixels.sum(axis=0), strict=True) if n]
    if len(present) < 2:
        what = f"one class only ({present[0]})" if present else "no annotated pixel at all"
        raise InputError(
            f"the masks of {folder} hold {what}",
            hint="a network needs two classes or more; is classes.json right?",
        )


def describe(folder: PatchFolder) -> dict[str, Any]:
    """Return counts of a folder for documents and cards."""
    return {
        "patches": len(folder),
        "groups": len(set(folder.groups)),
        "mpp": float(folder.mpp),
        "pixels": folder.class_pixels(),
        "fingerprint": folder.fingerprint,
        "source": folder.source,
        "notes": list(folder.notes),
    }
