"""Patches with numbered nuclei: what a nucleus network learns from and is judged by.

A folder holds ``images/`` and ``instances/`` with the same stems. An instance image is a grey PNG
or TIFF of 8 or 16 bits: 0 no nucleus, 1..n the number of the nucleus, 65535 not annotated.
``patches.json`` and ``groups.csv`` are those of compartment patches
(:mod:`herscope.nn.patches.files`). Everything is read and checked before training begins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.units import Mpp
from herscope.nn.nucleus_targets import Instances
from herscope.nn.patches.files import image_pairs, read_about, read_groups, resolution
from herscope.nn.patches.images import Labelled, open_image, read_image, same_size
from herscope.nn.patches.split import VALIDATION_SHARE, Split, split_groups
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import Triple

FOLDER: Final = "instances"
UNKNOWN: Final = 65_535
"""Value of pixels that nobody annotated, in files of 16 bits."""


@dataclass(frozen=True, slots=True)
class NucleusPatch:
    """An image, its nuclei (0 none, 1..n, -1 not annotated) and the white point of its slide."""

    rgb: Rgb
    instances: Instances
    white: Triple


@dataclass(frozen=True)
class NucleusPatches:
    """A checked folder of patches with numbered nuclei.

    Parameters
    ----------
    root
        The folder.
    stems
        Names of the patches, sorted.
    images, labels
        Their files.
    mpp
        µm/px.
    whites
        White point of each patch.
    groups
        Slide or patient of each patch.
    nuclei
        (patches,) how many nuclei each holds.
    sizes
        (patches, 2) height and width.
    digests
        SHA-256 of each image's pixels.
    fingerprint
        Changes with any pixel, nucleus, white point, group or the µm/px.
    source
        Where they come from.
    notes
        What a person should know.
    """

    root: Path
    stems: tuple[str, ...]
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    mpp: Mpp
    whites: tuple[Triple, ...]
    groups: tuple[str, ...]
    nuclei: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: tuple[str, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stems)

    def load(self, index: int) -> NucleusPatch:
        """Read one patch from the disk."""
        rgb = read_image(self.images[index])
        instances = read_instances(self.labels[index])
        same_size(self.images[index], rgb, self.labels[index], instances)
        return NucleusPatch(rgb, instances, self.whites[index])

    def labelled(self, index: int) -> Labelled:
        """Read one patch; its labels are the numbers of the nuclei."""
        patch = self.load(index)
        return Labelled(patch.rgb, patch.instances, patch.white)

    def split(self, *, share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
        """Part the groups into training and validation, nuclei on both sides if that can be."""
        holds = (self.nuclei > 0)[:, None]
        return split_groups(self.stems, self.groups, holds, share=share, seed=seed, where=self.root)

    def describe(self) -> dict[str, Any]:
        """Return counts for documents and cards."""
        return {
            "patches": len(self),
            "groups": len(set(self.groups)),
            "mpp": float(self.mpp),
            "nuclei": int(self.nuclei.sum()),
            "fingerprint": self.fingerprint,
            "source": self.source,
            "notes": list(self.notes),
        }


def is_nucleus_folder(path: Path) -> bool:
    """Whether a folder is meant as patches with numbered nuclei."""
    return (path / FOLDER).is_dir()


def read_instances(path: Path) -> Instances:
    """Read numbered nuclei; (height, width) int32, -1 where nobody annotated.

    Raises
    ------
    InputError
        Unreadable, or not grey of 8 or 16 bits.
    """
    image = open_image(path)
    if image.mode not in {"L", "P", "I", "I;16", "I;16B"}:
        raise InputError(
            f"instance image {path} is of the kind {image.mode}, not grey of 8 or 16 bits",
            hint="one number a pixel: 0 no nucleus, 1..n the nucleus, 65535 not annotated",
        )
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > UNKNOWN:
        raise InputError(
            f"instance image {path} holds {values.min()} to {values.max()} (0 to {UNKNOWN})",
            hint="number the nuclei of each patch from 1",
        )
    return np.where(values == UNKNOWN, -1, values).astype(np.int32)


def read_nucleus_patches(root: str | Path, *, mpp: float | None = None) -> NucleusPatches:
    """Read and check a folder of patches with numbered nuclei.

    Parameters
    ----------
    root
        The folder with ``images/`` and ``instances/``.
    mpp
        µm/px, for folders whose ``patches.json`` states none; must agree with one that does.

    Raises
    ------
    InputError
        Not such a folder; an image without its instances or the reverse; an unreadable file;
        instances of another size; not one nucleus in all of them.
    SchemaError
        ``patches.json`` or ``groups.csv`` is malformed.
    UnknownResolution
        Nobody states the µm/px.
    """
    folder = Path(root)
    images, labels = image_pairs(folder, FOLDER)
    stems = tuple(sorted(images))
    about = read_about(folder)
    scale = resolution(folder, about.mpp, mpp)
    groups, notes = read_groups(folder, stems)
    whites = about.whites(folder, stems)
    counts = np.zeros(len(stems), np.int64)
    sizes = np.zeros((len(stems), 2), np.int64)
    digests: list[str] = []
    whole = hashlib.sha256(repr((float(scale), stems, groups, whites)).encode())
    for k, stem in enumerate(stems):
        rgb = read_image(images[stem])
        instances = read_instances(labels[stem])
        same_size(images[stem], rgb, labels[stem], instances)
        counts[k] = np.count_nonzero(np.unique(instances) > 0)
        sizes[k] = instances.shape
        digests.append(hashlib.sha256(rgb.tobytes()).hexdigest())
        whole.update(bytes.fromhex(digests[-1]) + instances.tobytes())
    if not counts.any():
        raise InputError(
            f"the instances of {folder} hold no nucleus",
            hint="number the nuclei of each patch from 1; 65535 is 'not annotated'",
        )
    return NucleusPatches(
        root=folder,
        stems=stems,
        images=tuple(images[s] for s in stems),
        labels=tuple(labels[s] for s in stems),
        mpp=scale,
        whites=whites,
        groups=groups,
        nuclei=counts,
        sizes=sizes,
        digests=tuple(digests),
        fingerprint=whole.hexdigest()[:16],
        source=about.source,
        notes=notes,
    )
