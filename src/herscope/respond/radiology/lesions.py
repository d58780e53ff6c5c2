"""Lesions of a CT: from a mask, one a connected piece or one a label.

A lesion knows its kind (the five of the MuMo paper), its box in voxels, its volume, and its key
slice: the one where most of its voxels lie, the lower one of two alike. Pieces are connected
through faces, edges and corners (26 neighbours), numbered in the order in which they are met from
the feet up. Boxes that a reader typed come from :mod:`herscope.respond.radiology.lesion_boxes`.

Source: MuMo (see docs/science/ct.md); key slice and volume are counted, nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.core.spec import Spec
from herscope.respond.radiology.volume import Mask, Volume, check_grid

MOST_LESIONS: Final = 65_535


class LesionKind(IntEnum):
    """What a lesion is; the codes are those of the MuMo release."""

    LYMPH_NODE = 0
    STOMACH = 1
    LIVER = 2
    PERITONEUM = 3
    OTHER = 4


KIND_NAMES: Final = {
    "lymph node": LesionKind.LYMPH_NODE,
    "node": LesionKind.LYMPH_NODE,
    "ln": LesionKind.LYMPH_NODE,
    "stomach": LesionKind.STOMACH,
    "primary": LesionKind.STOMACH,
    "liver": LesionKind.LIVER,
    "peritoneum": LesionKind.PERITONEUM,
    "other": LesionKind.OTHER,
}
"""Words for a kind that tables use; spleen, bone, soft tissue and adrenal are ``other``."""


def kind_of(text: str | int) -> LesionKind:
    """Return the kind that a word or a code 0 to 4 stands for.

    Raises
    ------
    InputError
        No kind is called that.

    Examples
    --------
    >>> kind_of("LN"), kind_of("2").name
    (<LesionKind.LYMPH_NODE: 0>, 'LIVER')
    """
    word = str(text).strip().casefold().replace("_", " ")
    if word in KIND_NAMES:
        return KIND_NAMES[word]
    if word in {str(int(kind)) for kind in LesionKind}:
        return LesionKind(int(word))
    raise InputError(
        f"no kind of lesion is called {str(text)[:40]}",
        hint=nearest(word, list(KIND_NAMES)) + "; or a code 0 to 4",
    )


@dataclass(frozen=True)
class Box:
    """Voxels ``z0 <= z < z1`` and so on for y and x.

    Examples
    --------
    >>> Box(1, 2, 3, 2, 4, 6).size
    (1, 2, 3)
    """

    z0: int
    y0: int
    x0: int
    z1: int
    y1: int
    x1: int

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.z1 - self.z0, self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of an array."""
        return slice(self.z0, self.z1), slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Lesion:
    """One lesion of one CT.

    Parameters
    ----------
    label
        Its number: in the mask that came with it, or its row in a box file.
    kind
        What it is.
    box
        Its extent in voxels of the CT.
    voxels
        How many are its own; all of the box where only a box is known.
    volume_ml
        Their volume in millilitres.
    key_slice
        Slice with most of its voxels; the middle of the box where only a box is known.
    name
        What the file calls it.
    outlined
        Whether its voxels are known, or its box only.
    """

    label: int
    kind: LesionKind
    box: Box
    voxels: int
    volume_ml: float
    key_slice: int
    name: str = ""
    outlined: bool = True


class LesionSpec(Spec):
    """How lesions are taken from a mask."""

    by: Literal["components", "label"] = Field(
        default="components",
        description="One lesion a connected piece (26 neighbours), or one a label of the mask",
    )
    min_volume_ml: float = Field(
        default=0.0, ge=0, description="Pieces smaller than this are left out; 0 keeps all"
    )


def lesions_from_mask(
    volume: Volume,
    mask: Mask,
    kinds: LesionKind | Mapping[int, LesionKind],
    *,
    spec: LesionSpec | None = None,
) -> tuple[tuple[Lesion, ...], Mask]:
    """Return the lesions of a mask, and a mask in which each has a number of its own.

    Parameters
    ----------
    volume
        The CT.
    mask
        Labels on its grid.
    kinds
        Kind of every lesion, or of every label of the mask.
    spec
        By connected piece or by label, and the smallest piece.

    Returns
    -------
    tuple
        Lesions in the order of their numbers, and the mask of those numbers.

    Raises
    ------
    InputError
        The mask lies on another grid, a label has no kind, or no piece is large enough.

    Examples
    --------
    >>> drawn = np.zeros((3, 6, 6), np.uint16)
    >>> drawn[1, 1:3, 1:3] = 1
    >>> drawn[2, 1:2, 1:3] = 1
    >>> drawn[0, 5, 5] = 1
    >>> at = ((5.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3), "a")
    >>> ct = Volume(np.zeros((3, 6, 6), np.float32), *at)
    >>> found, numbered = lesions_from_mask(ct, Mask(drawn, {1: "liver"}, *at), LesionKind.LIVER)
    >>> [(one.label, one.voxels, one.volume_ml, one.key_slice) for one in found]
    [(1, 1, 0.005, 0), (2, 6, 0.03, 1)]
    """
    from scipy import ndimage

    spec = spec or LesionSpec()
    check_grid(volume, mask)
    present = mask.counts()
    if not isinstance(kinds, LesionKind):
        without = [label for label in present if label not in kinds]
        if without:
            raise InputError(
                f"label {without[0]} ({mask.labels.get(without[0], 'no name')}) of {mask.source} "
                f"has no kind; kinds are given for {sorted(kinds)}",
                hint="give a kind for every label, or read only the labels that are lesions",
            )
    out = np.zeros(mask.array.shape, np.uint16)
    found: list[Lesion] = []
    dropped = 0
    around = ndimage.find_objects(mask.array)
    for label in present:
        kind = kinds if isinstance(kinds, LesionKind) else kinds[label]
        # A label is looked for in its own box: the whole CT would be gone through for each.
        where = around[label - 1]
        pieces, count = _pieces(mask.array[where] == label, spec)
        for number in range(1, count + 1):
            voxels = pieces == number
            if int(voxels.sum()) * volume.grid.voxel_ml < spec.min_volume_ml:
                dropped += 1
                continue
            own = label if spec.by == "label" else len(found) + 1
            if own > MOST_LESIONS:
                raise SchemaError(
                    f"mask {mask.source} falls into more than {MOST_LESIONS:,} pieces",
                    hint="set min_volume_ml, or take lesions by label",
                )
            out[where][voxels] = own
            corner = (where[0].start, where[1].start, where[2].start)
            found.append(_lesion(own, kind, voxels, corner, volume, mask.labels.get(label, "")))
    if not found:
        raise InputError(
            f"no piece of {mask.source} reaches {spec.min_volume_ml:g} ml ({dropped} are smaller)",
            hint="lower min_volume_ml",
        )
    note = (f"{dropped} pieces below {spec.min_volume_ml:g} ml left out",) if dropped else ()
    numbered = Mask(
        out,
        {one.label: one.name for one in found},
        mask.spacing_mm,
        mask.origin_mm,
        mask.direction,
        mask.source,
        (*mask.notes, *note),
    )
    return tuple(found), numbered


def lesion_voxels(lesion: Lesion, mask: Mask | None) -> NDArray[np.bool_] | None:
    """Return which voxels of the lesion's box are its own; None where only the box is known.

    Raises
    ------
    InputError
        The lesion was outlined and no mask, or a mask without it, is given.
    """
    if not lesion.outlined:
        return None
    own = None if mask is None else np.asarray(mask.array[lesion.box.slices] == lesion.label)
    if own is None or int(own.sum()) != lesion.voxels:
        raise InputError(
            f"lesion {lesion.label} was outlined in a mask, and this is not that mask",
            hint="give the numbered mask that lesions_from_mask returned with it",
        )
    return own


def _pieces(voxels: NDArray[np.bool_], spec: LesionSpec) -> tuple[NDArray[np.int32], int]:
    if spec.by == "label":
        return voxels.astype(np.int32), 1
    from scipy import ndimage

    labelled, count = ndimage.label(voxels, structure=np.ones((3, 3, 3), bool))
    return labelled, int(count)


def _lesion(
    label: int,
    kind: LesionKind,
    voxels: NDArray[np.bool_],
    corner: tuple[int, int, int],
    volume: Volume,
    name: str,
) -> Lesion:
    """Describe the lesion whose voxels are given in a box that begins at ``corner``."""
    z, y, x = (axis + first for axis, first in zip(np.nonzero(voxels), corner, strict=True))
    box = Box(
        *(int(axis.min()) for axis in (z, y, x)), *(int(axis.max()) + 1 for axis in (z, y, x))
    )
    # argmax takes the first of equals: the lower slice.
    key = int(np.argmax(np.bincount(z)))
    return Lesion(label, kind, box, z.size, z.size * volume.grid.voxel_ml, key, name)
