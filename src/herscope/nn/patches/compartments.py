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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.units import Mpp
from herscope.nn.patches.files import (
    CLASSES,
    IGNORE,
    image_pairs,
    mask_table,
    read_about,
    read_groups,
    resolution,
)
from herscope.nn.patches.images import Codes, Labelled, read_image, read_mask, same_size
from herscope.nn.patches.split import VALIDATION_SHARE, Split, split_groups
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple


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

    def describe(self) -> dict[str, Any]:
        """Return counts for documents and cards."""
        return {
            "patches": len(self),
            "groups": len(set(self.groups)),
            "mpp": float(self.mpp),
            "pixels": self.class_pixels(),
            "fingerprint": self.fingerprint,
            "source": self.source,
            "notes": list(self.notes),
        }

    def split(self, *, share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
        """Part the groups into training and validation; see :func:`split_groups`."""
        return split_groups(
            self.stems, self.groups, self.pixels > 0, share=share, seed=seed, where=self.root
        )

    def labelled(self, index: int) -> Labelled:
        """Read one patch; its labels are the classes."""
        patch = self.load(index)
        return Labelled(patch.rgb, patch.mask, patch.white)


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
    images, masks = image_pairs(folder, "masks")
    stems = tuple(sorted(images))
    about = read_about(folder)
    table = mask_table(folder)
    scale = resolution(folder, about.mpp, mpp)
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


def _classes(folder: Path, pixels: NDArray[np.int64]) -> None:
    present = [name for name, n in zip(CLASSES, pixels.sum(axis=0), strict=True) if n]
    if len(present) < 2:
        what = f"one class only ({present[0]})" if present else "no annotated pixel at all"
        raise InputError(
            f"the masks of {folder} hold {what}",
            hint="a network needs two classes or more; is classes.json right?",
        )
