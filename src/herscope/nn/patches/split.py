"""Patches parted into training and validation, groups kept whole.

Patches of one slide or patient are alike: a split never parts a group, or validation figures would
be too good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError

SPLIT_TRIES: Final = 64
VALIDATION_SHARE: Final = 0.2
"""AutoIHC: 80/20."""


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of patches to train on and to validate on; disjoint, and so are their groups."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    note: str = ""


def split_groups(
    stems: Sequence[str],
    groups: Sequence[str],
    holds: NDArray[np.bool_],
    *,
    share: float = VALIDATION_SHARE,
    seed: int = 0,
    where: Path | str = "the folder",
) -> Split:
    """Part groups into training and validation.

    Groups are shuffled and taken for validation until they hold ``share`` of the patches. Of
    64 shuffles the first is taken that leaves every class on both sides; else the one that keeps
    the most classes in training, then in validation.

    Parameters
    ----------
    stems, groups
        Name and slide or patient of every patch.
    holds
        (patches, classes) whether a patch holds a class.
    share
        Part of the patches for validation, above 0 and below 1.
    seed
        Seed of the shuffles.
    where
        The folder, for messages.

    Raises
    ------
    InputError
        Fewer than two patches, or a share out of range.

    Examples
    --------
    >>> split_groups(["a1", "a2", "b1"], ["a", "a", "b"], np.ones((3, 1), bool)).train
    (2,)
    """
    if not 0 < share < 1:
        raise InputError(f"a validation share of {share:g} is not between 0 and 1")
    if len(stems) < 2:
        raise InputError(
            f"{where} holds one patch: none is left for validation",
            hint="give two patches or more, better of two slides or more",
        )
    note = ""
    if len(set(groups)) == 1:
        note = (
            f"all patches are of one group ({groups[0]}), so patches were parted: "
            "validation figures are too good"
        )
        groups = stems
    generator = np.random.Generator(np.random.PCG64(seed))
    names = sorted(set(groups))
    present = holds.any(axis=0).sum()
    best: tuple[int, int] = (-1, -1)
    chosen: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    for _ in range(SPLIT_TRIES):
        order = [names[k] for k in generator.permutation(len(names))]
        train, held = _deal(groups, order, share)
        found = tuple(int(holds[list(side)].any(axis=0).sum()) for side in (train, held))
        if found > best:
            best, chosen = (found[0], found[1]), (train, held)
        if found == (present, present):
            break
    return Split(*chosen, note)


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
