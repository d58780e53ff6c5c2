"""Bags of a patient: the slides of one person as bags of words, ready for the fusion model.

The response paper cut bags of 448 px into 49 words of 64 px and drew 5 bags a patient at random,
also while it validated. Here a patient's bags are chosen evenly over the slides, and always the
same ones. What a bag lacks is zeros with a mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError, SchemaError, StaleResult
from herscope.embed.bag import FeatureBag
from herscope.embed.open_features import read_any
from herscope.embed.tile_list import spread
from herscope.respond.pathology.bag_spec import BagSpec
from herscope.respond.pathology.lattice import SlideBags, bags_of
from herscope.respond.pathology.radiomics_table import BagRadiomics, read_table, table_beside
from herscope.respond.pathology.word_regions import restricted

__all__ = ["BagSpec", "PathologyBags", "read_pathology", "slide_bags"]

SAME_EDGE: Final = 1e-6


@dataclass(frozen=True, eq=False)
class PathologyBags:
    """Bags of a patient.

    Attributes
    ----------
    words
        (bags, words, features) float32; zeros where there is no word.
    word_there
        (bags, words) bool, at least one a bag.
    xy_px
        (bags, 2) int64, upper left corners in level-0 pixels.
    edges_px
        (bags,) float64, edges in level-0 pixels; they differ where slides differ in resolution.
    slide
        (bags,) int64, which of ``slides`` a bag is of; rising.
    slides, slide_paths
        By name; and where they lay when they were embedded, a hint.
    omics
        (bags, values) float32, NaN where not measurable; None without radiomics.
    omics_names
        Of the values.
    encoder, encoder_id
        What made the words, the same for all slides.
    notes
        What a person should know; the slide's name first.
    """

    words: NDArray[np.float32] = field(repr=False)
    word_there: NDArray[np.bool_] = field(repr=False)
    xy_px: NDArray[np.int64] = field(repr=False)
    edges_px: NDArray[np.float64] = field(repr=False)
    slide: NDArray[np.int64] = field(repr=False)
    slides: tuple[str, ...]
    slide_paths: tuple[str | None, ...]
    omics: NDArray[np.float32] | None = field(repr=False)
    omics_names: tuple[str, ...] = field(repr=False)
    encoder: str
    encoder_id: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    @property
    def bag_px(self) -> float:
        """Edge of the first bag in level-0 pixels; that of all where slides are alike."""
        return float(self.edges_px[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One slide's share of a patient."""

    found: FeatureBag
    bags: SlideBags
    table: BagRadiomics | None
    rows: NDArray[np.int64]
    """(bags,) row of the table each bag is in."""


def read_pathology(paths: Sequence[str | Path], spec: BagSpec | None = None) -> PathologyBags:
    """Read the bags of one patient.

    Parameters
    ----------
    paths
        Feature files of the patient's slides, of ours, TRIDENT, CLAM or STAMP. Beside a file may
        lie ``<slide>.bags.parquet`` (radiomics: only the measured bags are taken then) and
        ``<slide>.regions.geojson`` (only words inside are taken).
    spec
        How words become bags; the defaults when absent.

    Returns
    -------
    PathologyBags
        The same for any order of ``paths``.

    Raises
    ------
    InputError
        No file, a slide named twice, features of different encoders, a bag smaller than a word.
    UnknownResolution
        A file does not say its resolution and bags have an edge in µm.
    EmptyTissue
        No bag of any slide has enough words.
    NotComputed, SchemaError
        A file is missing or damaged.
    StaleResult
        Radiomics were measured of other bags.

    Examples
    --------
    >>> read_pathology([])
    Traceback (most recent call last):
    herscope.core.errors.InputError: a patient without a feature file has no bags
    """
    spec = spec or BagSpec()
    files = _checked([Path(path) for path in paths])
    parts: list[_Part] = []
    notes: list[str] = []
    first: tuple[Path, FeatureBag] | None = None
    empty: EmptyTissue | None = None
    for path in files:
        found = read_any(path, mpp=spec.mpp)
        if first is None:
            first = path, found
        _same_encoder(first, (path, found))
        try:
            found, bags = _gathered(found, path, spec)
        except EmptyTissue as error:
            empty = empty or error
            notes.append(error.message)
            continue
        part = _with_radiomics(path, found, bags, spec)
        notes += [f"{found.slide}: {note}" for note in (*found.notes, *bags.notes)]
        if part.table is not None:
            notes += [f"{found.slide}: {note}" for note in part.table.notes]
        parts.append(part)
    if not parts:
        assert empty is not None
        raise empty
    return _joined(parts, spec, notes)


def slide_bags(path: Path, spec: BagSpec) -> tuple[FeatureBag, SlideBags]:
    """Gather one slide: its words inside the regions beside the file, and all of its bags.

    Raises
    ------
    As :func:`read_pathology`.
    """
    return _gathered(read_any(path, mpp=spec.mpp), path, spec)


def _gathered(found: FeatureBag, path: Path, spec: BagSpec) -> tuple[FeatureBag, SlideBags]:
    kept = restricted(found, path)
    return kept, bags_of(kept, spec)


def _checked(files: Sequence[Path]) -> list[Path]:
    """By name, so that the order in which a table lists them changes nothing."""
    if not files:
        raise InputError(
            "a patient without a feature file has no bags",
            hint="leave pathology out: it is missing",
        )
    twice = [name for name, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise InputError(
            f"slide {twice[0]} is named {Counter(p.stem for p in files)[twice[0]]} times for one "
            "patient",
            hint="name each slide once; rename one of two slides that are called alike",
        )
    return sorted(files, key=lambda path: path.stem)


def _same_encoder(first: tuple[Path, FeatureBag], other: tuple[Path, FeatureBag]) -> None:
    (one, mine), (two, theirs) = first, other
    if (mine.encoder_id, mine.size) != (theirs.encoder_id, theirs.size):
        raise InputError(
            f"{one.name} holds {mine.size} features of {mine.encoder} ({mine.encoder_id}), "
            f"{two.name} {theirs.size} of {theirs.encoder} ({theirs.encoder_id})",
            hint="embed all slides with one encoder, one tile and one normalisation",
        )


def _with_radiomics(path: Path, found: FeatureBag, bags: SlideBags, spec: BagSpec) -> _Part:
    """Keep the bags that were measured, where some were."""
    beside = table_beside(path)
    if not spec.radiomics or not beside.is_file():
        return _Part(found, bags, None, np.full(len(bags), -1, np.int64))
    table = read_table(beside)
    if abs(table.edge_px / bags.edge_px - 1) > SAME_EDGE:
        raise StaleResult(
            f"{beside.name} measured bags of {table.edge_px:.1f} px, these are of "
            f"{bags.edge_px:.1f} px",
            hint="run herscope respond bags again with these bags, or take no radiomics",
        )
    places = {place: row for row, place in enumerate(map(tuple, table.xy_px.tolist()))}
    rows = np.array([places.get(tuple(place), -1) for place in bags.xy_px.tolist()], np.int64)
    keep = rows >= 0
    if not keep.any():
        raise StaleResult(
            f"{beside.name} measured none of the {len(bags)} bags of {path.name}",
            hint="run herscope respond bags again: the words or the regions have changed",
        )
    return _Part(found, bags.take(keep), table, rows[keep])


def _joined(parts: Sequence[_Part], spec: BagSpec, notes: list[str]) -> PathologyBags:
    slide = np.repeat(np.arange(len(parts)), [len(part.bags) for part in parts])
    chosen = _chosen([part.bags for part in parts], spec.max_bags)
    if len(chosen) < len(slide):
        notes = [*notes, f"{len(chosen):,} of {len(slide):,} bags, evenly spread"]
    names, values = _omics(parts, notes)
    there = np.zeros((len(chosen), max(p.bags.words.shape[1] for p in parts)), np.bool_)
    words = np.zeros((*there.shape, parts[0].found.size), np.float32)
    begin = end = before = 0
    for part in parts:
        mine = chosen[(chosen >= before) & (chosen < before + len(part.bags))] - before
        before, end = before + len(part.bags), begin + len(mine)
        index = part.bags.words[mine]
        there[begin:end, : index.shape[1]] = index >= 0
        words[begin:end, : index.shape[1]] = part.found.features[index]
        begin = end
    words[~there] = 0.0
    edges = np.repeat([p.bags.edge_px for p in parts], [len(p.bags) for p in parts])
    return PathologyBags(
        words=words,
        word_there=there,
        xy_px=np.concatenate([part.bags.xy_px for part in parts])[chosen],
        edges_px=edges[chosen],
        slide=slide[chosen].astype(np.int64),
        slides=tuple(part.found.slide for part in parts),
        slide_paths=tuple(part.found.slide_path for part in parts),
        omics=None if values is None else values[chosen],
        omics_names=names,
        encoder=parts[0].found.encoder,
        encoder_id=parts[0].found.encoder_id,
        notes=tuple(notes),
    )


def _chosen(bags: Sequence[SlideBags], number: int) -> NDArray[np.int64]:
    """(taken,) indices of bags, evenly over all slides; rising."""
    total = sum(len(one) for one in bags)
    if not number or number >= total:
        return np.arange(total, dtype=np.int64)
    # Slides stand one below the other, each in a square of its own of the order's curve, so that
    # one slide follows another in it and every n-th bag is taken of all of them.
    edge = 1 << int(max(one.cells.max() for one in bags)).bit_length()
    stacked = [one.cells + np.array([number * edge, 0]) for number, one in enumerate(bags)]
    return spread(np.concatenate(stacked), number)


def _omics(
    parts: Sequence[_Part], notes: list[str]
) -> tuple[tuple[str, ...], NDArray[np.float32] | None]:
    """Names and (bags, values) of all bags, NaN for slides that were not measured."""
    tables = [(part, part.table) for part in parts if part.table is not None]
    if not tables:
        return (), None
    names = tables[0][1].names
    for part, table in tables:
        if table.names != names:
            raise SchemaError(
                f"slides {tables[0][0].found.slide} and {part.found.slide} have different "
                f"radiomics ({len(names)} and {len(table.names)} values)",
                hint="measure both with the same parameters: herscope respond bags",
            )
    blocks = []
    for part in parts:
        if part.table is None:
            notes.append(f"{part.found.slide}: no radiomics beside its features")
            blocks.append(np.full((len(part.bags), len(names)), np.nan, np.float32))
        else:
            blocks.append(part.table.values[part.rows].astype(np.float32))
    return names, np.concatenate(blocks)
