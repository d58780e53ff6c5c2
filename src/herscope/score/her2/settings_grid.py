"""The membrane classes of every cell under many settings at once.

The settings are those of :mod:`herscope.score.her2.settings_drawn`: a grid of factors on the
cut-offs, in equal steps of their logarithm, times a few shares. Cut-offs are whole milli-OD, so
the node in the middle is exactly the reading itself. A cell's class depends on how many of its
sectors reach each cut-off and on whether they lie as a U; the classes of all such counts are asked
once of :func:`~herscope.measure.completeness.classify_counts`, then looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.measure.completeness import (
    SECTORS,
    UNSEEN,
    Completeness,
    CompletenessSpec,
    MembraneClasses,
    Sectors,
    class_counts,
    classify_counts,
    u_shaped,
)
from herscope.score.her2.clusters import ClusterSpec, largest_clusters
from herscope.score.her2.settings_drawn import Drawn

MIN_COMPLETE_MILL: Final = 501
"""Completeness of no more than half a membrane is no completeness (CompletenessSpec)."""


class Level(NamedTuple):
    """All cells at one factor, for each of the shares.

    ``resamples`` lists, by share, which resamples drew it. ``kind`` is (shares, cells), rows of
    :attr:`Kinds.counts`; ``tables`` is (shares, blocks, kinds).
    """

    resamples: list[NDArray[np.int64]]
    kind: NDArray[np.int8]
    tables: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kinds:
    """The different cells there can be: class, grade and shape together.

    ``counts`` is (kinds, names): what one cell adds to each name of ``names``, the keys of
    :func:`~herscope.measure.completeness.class_counts`. ``members`` maps a name of
    :data:`~herscope.score.her2.clusters.CLUSTERS` to (kinds,), whether it may belong to one.
    Both are asked of those functions with one cell at a time, so no rule is written twice.
    """

    keys: NDArray[np.int64]
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    members: dict[str, NDArray[np.bool_]]


def levels(
    sectors: Sectors,
    cuts_milli: Sequence[int],
    block: NDArray[np.int64],
    blocks: int,
    spec: CompletenessSpec,
    drawn: Drawn,
) -> tuple[Kinds, Iterator[Level]]:
    """Classify the cells at every setting that was drawn.

    Parameters
    ----------
    sectors
        (cells, 32) of evaluable cells.
    cuts_milli
        Three rising cut-offs in milli-OD.
    block, blocks
        (cells,) block of each cell, and how many there are.
    spec
        The shares in use.
    drawn
        From :func:`draw_settings`.

    Returns
    -------
    tuple
        The kinds of cells, and the levels in order of the factor.
    """
    steps, specs = _shares(spec, drawn)
    cells = np.ascontiguousarray(sectors)
    seen, row = np.unique((cells != UNSEEN).sum(axis=1), return_inverse=True)
    keys, lookup = _lookup(seen, specs)

    def walk() -> Iterator[Level]:
        for level in np.unique(drawn.factor):
            factor = np.exp(float(level) * drawn.factor_step)
            cuts = np.maximum(np.floor(np.asarray(cuts_milli) * factor + 0.5), 1).astype(np.int64)
            u = u_shaped(cells, int(cuts[0]), spec)
            kind, tables = _tabulate(cells, cuts, u, row.ravel(), lookup, block, blocks, len(keys))
            here = drawn.factor == level
            who = [np.flatnonzero(here & (drawn.share == step)) for step in steps]
            yield Level(who, kind, tables)

    return _kinds(keys), walk()


def neighbours(
    x_um: NDArray[np.float64], y_um: NDArray[np.float64], spec: ClusterSpec
) -> NDArray[np.int64]:
    """(pairs, 2) cells that are no further apart than a cluster's cells may be."""
    from scipy.spatial import cKDTree

    tree = cKDTree(np.stack([x_um, y_um], axis=1))
    return np.asarray(tree.query_pairs(spec.reach_um, output_type="ndarray"), np.int64)


def cluster_size(
    pairs: NDArray[np.int64], kind: NDArray[np.int8], member: NDArray[np.bool_], enough: int
) -> int:
    """Count the cells of the largest cluster of members, no further than ``enough``.

    The rules ask only whether a cluster has so many cells; a large one is found at its first ones.

    Examples
    --------
    >>> pairs = np.array([[0, 1], [1, 2], [2, 3]])
    >>> kind = np.array([0, 0, 0, 1], np.int8)
    >>> cluster_size(pairs, kind, np.array([True, False]), 10)
    3
    """
    return int(_cluster_size(pairs, kind, member, enough))


def kind_of(classes: MembraneClasses, kinds: Kinds) -> NDArray[np.int64]:
    """(cells,) kind of each cell, from its class."""
    return np.searchsorted(kinds.keys, _key(classes))


def _key(classes: MembraneClasses) -> NDArray[np.int64]:
    return (classes.code.astype(np.int64) * 4 + classes.grade) * 4 + classes.u_grade


def _one(key: int) -> MembraneClasses:
    """One cell of that kind."""
    rest, u_grade = divmod(int(key), 4)
    code, grade = divmod(rest, 4)
    return MembraneClasses(*(np.array([number], np.int8) for number in (code, grade, u_grade)))


def _kinds(keys: NDArray[np.int64]) -> Kinds:
    counts = [class_counts(_one(key)) for key in keys]
    names = tuple(counts[0])
    spot = np.zeros(1)
    clusters = [largest_clusters(spot, spot, _one(key), ClusterSpec()) for key in keys]
    return Kinds(
        keys=keys,
        names=names,
        counts=np.array([[count[name] for name in names] for count in counts], np.int64),
        members={
            name: np.array([cluster[name] > 0 for cluster in clusters]) for name in clusters[0]
        },
    )


def _shares(spec: CompletenessSpec, drawn: Drawn) -> tuple[list[int], list[CompletenessSpec]]:
    """Return the steps of the share that were drawn, and the parameters of each."""
    # A share stays within what CompletenessSpec allows.
    steps = [int(step) for step in np.unique(drawn.share)]
    least = max(MIN_COMPLETE_MILL / 1000, spec.u_share)
    shares = [min(max(spec.complete_share + s * drawn.share_step, least), 1.0) for s in steps]
    return steps, [
        spec if step == 0 else CompletenessSpec(**spec.model_dump() | {"complete_share": share})
        for step, share in zip(steps, shares, strict=True)
    ]


def _lookup(
    seen: NDArray[np.int_], specs: Sequence[CompletenessSpec]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return the kinds' keys, and the kind by share, row of ``seen``, three counts and shape."""
    # Sectors that reach a cut-off cannot rise from one cut-off to the next, nor exceed those seen.
    n = np.arange(SECTORS + 1)
    first, second, third = (axis.ravel() for axis in np.meshgrid(n, n, n, indexing="ij"))
    falling = (first >= second) & (second >= third)
    reached = np.stack([first, second, third], axis=1)[falling].astype(np.int16)
    shape = (len(specs), len(seen), SECTORS + 1, SECTORS + 1, SECTORS + 1, 2)
    table = np.zeros(shape, np.int8)
    for a, spec in enumerate(specs):
        for b, number in enumerate(seen):
            here = reached[reached[:, 0] <= number]
            counts = Completeness(np.full(len(here), number, np.int16), here)
            for u in (False, True):
                found = classify_counts(counts, np.full(len(here), u), spec)
                table[a, b, here[:, 0], here[:, 1], here[:, 2], int(u)] = 1 + _key(found)
    keys = np.unique(table)
    keys = keys[keys > 0]
    number = np.zeros(int(keys[-1]) + 1, np.int8)
    number[keys] = np.arange(len(keys))
    return keys.astype(np.int64) - 1, number[table]


@njit(cache=True, nogil=True)
def _tabulate(sectors, cuts, u, row, lookup, block, blocks, kinds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n, around = sectors.shape
    shares = lookup.shape[0]
    kind = np.empty((shares, n), np.int8)
    tables = np.zeros((shares, blocks, kinds), np.int64)
    for i in range(n):
        first, second, third = 0, 0, 0
        for s in range(around):
            value = sectors[i, s]
            first += value >= cuts[0]
            second += value >= cuts[1]
            third += value >= cuts[2]
        for a in range(shares):
            found = lookup[a, row[i], first, second, third, int(u[i])]
            kind[a, i] = found
            tables[a, block[i], found] += 1
    return kind, tables


@njit(cache=True, nogil=True)
def _cluster_size(pairs, kind, member, enough):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n = len(kind)
    root, size = np.arange(n), np.ones(n, np.int64)
    largest = 0
    for i in range(n):
        if member[kind[i]]:
            largest = 1
            break
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        if not (member[kind[a]] and member[kind[b]]):
            continue
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a == b:
            continue
        if size[a] < size[b]:
            a, b = b, a
        root[b] = a
        size[a] += size[b]
        largest = max(largest, size[a])
        if largest >= enough:
            break
    return min(largest, enough)
