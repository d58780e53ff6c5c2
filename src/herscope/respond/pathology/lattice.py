"""Words into bags: squares on a lattice that begins at the slide's upper left corner.

A word belongs to the bag in which its centre lies. That follows from its place and the resolution
alone, so it is the same for any order of the words, and a word more or less elsewhere changes
nothing here. Where a bag's edge is within 5 % of a whole number of words it becomes that number, so
that a slide cut at its own resolution has whole bags as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError, UnknownResolution
from herscope.embed.bag import FeatureBag
from herscope.respond.pathology.bag_spec import BagSpec

SNAP: Final = 0.05
"""An edge this near to a whole number of words becomes that number."""
WORTH_SAYING: Final = 0.01
"""A change of the edge above this is told."""


@dataclass(frozen=True, slots=True, eq=False)
class SlideBags:
    """Bags of one slide, by row and then by column.

    Attributes
    ----------
    xy_px
        (bags, 2) int64, upper left corners in level-0 pixels.
    edge_px
        Their edge in level-0 pixels.
    cells
        (bags, 2) int64, row and column on the lattice of bags.
    words
        (bags, words) int64, rows of the feature bag, by row and then by column; -1 behind the last.
    notes
        What a person should know.
    """

    xy_px: NDArray[np.int64]
    edge_px: float
    cells: NDArray[np.int64]
    words: NDArray[np.int64] = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return some of the bags."""
        return replace(self, xy_px=self.xy_px[keep], cells=self.cells[keep], words=self.words[keep])


def bags_of(found: FeatureBag, spec: BagSpec) -> SlideBags:
    """Gather the words of a slide into bags.

    Parameters
    ----------
    found
        Words with their places.
    spec
        ``bag_um`` and ``min_share``.

    Returns
    -------
    SlideBags
        At least one bag.

    Raises
    ------
    UnknownResolution
        ``bag_um`` is given and the features do not say their resolution.
    InputError
        A bag would be smaller than a word.
    EmptyTissue
        No bag has enough of its words.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> places = np.array([[x, y] for y in (0, 64) for x in (0, 64, 128, 192)])
    >>> words = make_bag("a", np.ones((8, 2)), places, tile_px=64, mpp=0.5, encoder="e",
    ...                  encoder_id="e")
    >>> bags = bags_of(words, BagSpec(bag_um=64))
    >>> bags.xy_px.tolist(), bags.words.tolist()
    ([[0, 0], [128, 0]], [[0, 1, 4, 5], [2, 3, 6, 7]])
    """
    if spec.bag_um is None:
        alone = np.arange(len(found), dtype=np.int64)[:, None]
        return SlideBags(found.xy_px, found.tile_px, found.grid, alone)
    edge, along, notes = _edge(found, spec.bag_um)
    column_row = np.floor((found.xy_px + found.tile_px / 2) / edge).astype(np.int64)
    cells, owner, counts = np.unique(
        column_row[:, ::-1], axis=0, return_inverse=True, return_counts=True
    )
    whole = along * along
    width = max(math.ceil(whole - 1e-9), int(counts.max()))
    words = np.full((len(cells), width), -1, np.int64)
    order = np.argsort(owner.ravel(), kind="stable")  # inside a bag: by row, then by column
    starts = np.cumsum(counts) - counts
    words[owner.ravel()[order], np.arange(len(order)) - np.repeat(starts, counts)] = order
    enough = counts >= spec.min_share * whole - 1e-9
    if not enough.any():
        raise EmptyTissue(
            f"slide {found.slide}: none of {len(cells)} bags of {spec.bag_um:g} µm has "
            f"{spec.min_share:.0%} of its {whole:.3g} words (the fullest has {counts.max()})",
            hint="lower --min-share, or make bags smaller; scattered tissue fills no bag",
        )
    if not enough.all():
        notes.append(
            f"{int((~enough).sum())} of {len(cells)} bags have less than {spec.min_share:.0%} of "
            "their words and are left out"
        )
    corners = np.rint(cells[:, ::-1] * edge).astype(np.int64)
    return SlideBags(corners, edge, cells, words, tuple(notes)).take(enough)


def _edge(found: FeatureBag, bag_um: float) -> tuple[float, float, list[str]]:
    """Edge of a bag in level-0 pixels, words along it, notes."""
    if found.mpp is None:
        raise UnknownResolution(
            f"the features of slide {found.slide} do not say their resolution; bags of {bag_um:g} "
            "µm cannot be laid",
            hint="state the µm/px of the slide, or take every tile as a bag",
        )
    # Rounded places may lie a pixel nearer than the tile is wide without any overlap.
    step = found.step_px if found.step_px < found.tile_px - 1 else found.tile_px
    asked = bag_um / found.mpp
    whole = max(1, round(asked / step))
    if asked < step * (1 - SNAP):
        raise InputError(
            f"slide {found.slide}: bags of {bag_um:g} µm are smaller than its words of "
            f"{step * found.mpp:.4g} µm",
            hint="embed smaller words, or take every tile as a bag",
        )
    off = abs(whole * step / asked - 1)
    if off > SNAP:
        note = (
            f"bags of {bag_um:g} µm are {asked / step:.3g} words wide, no whole number: they hold "
            "different numbers of words"
        )
        return asked, asked / step, [note]
    told = []
    if off > WORTH_SAYING:
        told = [f"bags are {whole * step * found.mpp:.4g} µm wide, {whole} words; {bag_um:g} asked"]
    return whole * step, float(whole), told
