"""Average linkage of things of which most pairs are not alike at all, exact and without a matrix.

The similarity of two clusters is the mean similarity of their pairs, S / (n m), S being the sum
over the pairs that are alike at all. S is kept on the edges of a sparse graph whose memory is that
of these pairs, and clusters are joined by nearest-neighbour chains (Benzecri 1982; Muellner 2011),
which is exact for average linkage: joining two clusters never brings the result nearer to a third,
so two that are each other's nearest may be joined at once, and a cluster whose nearest neighbour is
beyond the cut is final.

Similarities are whole numbers of 2^-30, so sums do not depend on the order of joining. Of equal
neighbours the one with the lowest number is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

UNIT: Final = 1 << 30
"""A similarity of 1."""


@dataclass(frozen=True, slots=True, eq=False)
class NearPairs:
    """Pairs of tiles within the cut-off, ``first < second``, in order, with their similarities.

    ``weight`` is in units of 2^-30.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.int64]


def link(tiles: int, pairs: NearPairs, cut: float) -> NDArray[np.int64]:
    """Average linkage of sparse similarities, cut at a mean distance.

    Parameters
    ----------
    tiles
        How many there are.
    pairs
        Those that are alike at all.
    cut
        Clusters are joined while their mean distance is at most this, in (0, 1).

    Returns
    -------
    ndarray
        (tiles,) int64, the lowest tile of each tile's cluster: the partition of
        ``scipy.cluster.hierarchy`` with ``average`` and ``fcluster(distance)`` where no two
        distances are equal.

    Examples
    --------
    >>> one = np.array([0, 1]), np.array([1, 2]), np.array([UNIT // 2, UNIT // 4])
    >>> link(3, NearPairs(*one), 0.8).tolist()
    [0, 0, 2]
    >>> link(3, NearPairs(*one), 0.9).tolist()
    [0, 0, 0]
    """
    floor = (1.0 - cut) * UNIT
    parent = _chains(tiles, pairs.first, pairs.second, pairs.weight.copy(), floor)
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return parent
        parent = above


@numba.njit(nogil=True, cache=True)
def _unhook(edge, owner, head, before, after):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba
    """Take an edge out of its owner's list."""
    if before[edge] >= 0:
        after[before[edge]] = after[edge]
    else:
        head[owner] = after[edge]
    if after[edge] >= 0:
        before[after[edge]] = before[edge]


@numba.njit(nogil=True, cache=True)
def _hook(edge, owner, head, before, after):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba
    """Put an edge at the front of its owner's list."""
    before[edge] = -1
    after[edge] = head[owner]
    if head[owner] >= 0:
        before[head[owner]] = edge
    head[owner] = edge


@numba.njit(nogil=True, cache=True)
def _join(keep, gone, to, weight, head, before, after, seen):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba
    """Give the edges of one cluster to another; edges to a common neighbour are added up."""
    edge = head[keep]
    while edge >= 0:
        seen[to[edge]] = edge
        edge = after[edge]
    edge = head[gone]
    while edge >= 0:
        following, other, twin = after[edge], to[edge], edge ^ 1
        if other == keep:
            _unhook(twin, keep, head, before, after)
        elif seen[other] >= 0:
            weight[seen[other] >> 1] += weight[edge >> 1]
            _unhook(twin, other, head, before, after)
        else:
            to[twin] = keep
            _hook(edge, keep, head, before, after)
            seen[other] = edge
        edge = following
    head[gone] = -1
    seen[gone] = -1
    edge = head[keep]
    while edge >= 0:
        seen[to[edge]] = -1
        edge = after[edge]


@numba.njit(nogil=True, cache=True)
def _chains(tiles, first, second, weight, floor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba
    """Nearest-neighbour chains; gives each tile's parent, clusters being their lowest tile.

    Edge 2k leads from first[k] to second[k], edge 2k + 1 back; both share weight[k].
    """
    edges = 2 * len(first)
    to = np.empty(edges, np.int32)
    before, after = np.empty(edges, np.int32), np.empty(edges, np.int32)
    head, seen = np.full(tiles, -1, np.int32), np.full(tiles, -1, np.int32)
    for k in range(len(first)):
        to[2 * k], to[2 * k + 1] = second[k], first[k]
        _hook(2 * k, first[k], head, before, after)
        _hook(2 * k + 1, second[k], head, before, after)
    size, parent = np.ones(tiles, np.int64), np.arange(tiles)
    final, chain = np.zeros(tiles, np.bool_), np.empty(tiles + 1, np.int64)
    for start in range(tiles):
        while parent[start] == start and not final[start]:
            length = 1
            chain[0] = start
            while length > 0:
                top = chain[length - 1]
                previous = chain[length - 2] if length > 1 else -1
                best, nearest = -1.0, -1
                edge = head[top]
                while edge >= 0:
                    other = to[edge]
                    mean = weight[edge >> 1] / (size[top] * size[other])
                    # Of equal ones the previous (or the chain would never end), then the lowest.
                    if mean > best or (
                        mean == best
                        and nearest != previous
                        and (other == previous or other < nearest)
                    ):
                        best, nearest = mean, other
                    edge = after[edge]
                if best < floor:
                    final[top] = True
                    length -= 1
                elif nearest == previous:
                    keep, gone = min(top, previous), max(top, previous)
                    _join(keep, gone, to, weight, head, before, after, seen)
                    size[keep] += size[gone]
                    parent[gone] = keep
                    length -= 2
                else:
                    chain[length] = nearest
                    length += 1
    return parent
