"""Anchors of KAT's kernels: tiles in the middle of clusters of neighbouring tiles.

Zheng et al. (KAT, IEEE Trans Med Imaging 2023; their code, MIT): the places of the tiles, row and
column on the lattice, are divided into K = floor(tiles / tiles_per_kernel) + 1 clusters by K-means
with at most 10 iterations, and the anchor of a kernel is the tile nearest to its cluster's mean.

Here the start is the greedy k-means++ of Arthur and Vassilvitskii (SODA 2007): each new centre is
the best of 2 + floor(ln K) tiles drawn with probability proportional to the squared distance to
the nearest centre so far. The draws come from PCG64 and all sums are of whole numbers, so the
anchors are the same on every machine. Departures: ties go to the lower index, a cluster that runs
empty takes the tile furthest from its centre, and two kernels never share an anchor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.core.errors import InputError

ITERATIONS = 10
"""Zheng et al. 2023 (code): at most so many rounds of K-means."""

Places = NDArray[np.int64]
"""(tiles, 2) row and column."""


def count_kernels(tiles: int, tiles_per_kernel: int) -> int:
    """Return how many kernels a slide of so many tiles has.

    >>> count_kernels(4096, 144), count_kernels(144, 144), count_kernels(1, 144)
    (29, 2, 1)
    """
    return tiles // tiles_per_kernel + 1


def place_anchors(grid: Places, tiles_per_kernel: int, seed: int = 9) -> NDArray[np.int64]:
    """Choose the anchor tile of every kernel.

    Parameters
    ----------
    grid
        (tiles, 2) row and column of every tile.
    tiles_per_kernel
        Tiles a kernel on average; at least 2.
    seed
        Of the start.

    Returns
    -------
    ndarray
        (kernels,) indices of tiles, all different.

    Raises
    ------
    InputError
        No tile, or fewer than 2 tiles a kernel.

    Examples
    --------
    >>> place_anchors(np.array([[0, 0], [0, 1], [0, 2], [0, 20], [0, 21], [0, 22]]), 4).tolist()
    [1, 4]
    """
    if len(grid) == 0 or tiles_per_kernel < 2:
        raise InputError(
            f"{len(grid)} tiles at {tiles_per_kernel} tiles a kernel: at least 1 and 2 are needed"
        )
    places = np.ascontiguousarray(grid, np.int64)
    centres = cluster_places(places, count_kernels(len(places), tiles_per_kernel), seed)
    # In a fixed order: the numbering of clusters depends on the draws alone.
    return np.sort(_nearest_tiles(places, centres))


def cluster_places(
    grid: Places, clusters: int, seed: int, iterations: int = ITERATIONS
) -> NDArray[np.float64]:
    """Return (clusters, 2), the centres of K-means on places of tiles.

    Examples
    --------
    >>> np.sort(cluster_places(np.array([[0, 0], [0, 2], [0, 20], [0, 22]]), 2, 0)[:, 1]).tolist()
    [1.0, 21.0]
    """
    trials = 2 + int(math.log(clusters))
    generator = np.random.Generator(np.random.PCG64(seed))
    first = int(generator.integers(len(grid)))
    draws = generator.random((clusters, trials))
    return _lloyd(grid, _spread(grid, clusters, first, draws), iterations)


@njit(nogil=True, cache=True)
def _spread(
    grid: Places, clusters: int, first: int, draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Greedy k-means++: (clusters,) tiles to start from."""
    tiles = len(grid)
    chosen = np.empty(clusters, np.int64)
    chosen[0] = first
    near = np.empty(tiles, np.int64)  # squared distance to the nearest centre so far
    total = 0
    for i in range(tiles):
        near[i] = (grid[i, 0] - grid[first, 0]) ** 2 + (grid[i, 1] - grid[first, 1]) ** 2
        total += near[i]
    trial, best = np.empty(tiles, np.int64), np.empty(tiles, np.int64)
    for k in range(1, clusters):
        least, winner = -1, 0
        for t in range(draws.shape[1]):
            goal = np.int64(draws[k, t] * total)
            at, running = 0, near[0]
            while running <= goal and at < tiles - 1:
                at += 1
                running += near[at]
            spread = 0
            for i in range(tiles):
                far = (grid[i, 0] - grid[at, 0]) ** 2 + (grid[i, 1] - grid[at, 1]) ** 2
                trial[i] = min(near[i], far)
                spread += trial[i]
            if least < 0 or spread < least:
                least, winner = spread, at
                best, trial = trial, best
        chosen[k] = winner
        near, best = best, near
        total = least
    return chosen


@njit(nogil=True, cache=True)
def _assign(
    grid: Places,
    centres: NDArray[np.float64],
    owner: NDArray[np.int64],
    far: NDArray[np.float64],
) -> bool:
    """Give every tile to its nearest centre, in place; whether one changed hands."""
    moved = False
    for i in range(len(grid)):
        at, least = 0, np.inf
        for k in range(len(centres)):
            d = (grid[i, 0] - centres[k, 0]) ** 2 + (grid[i, 1] - centres[k, 1]) ** 2
            if d < least:
                at, least = k, d
        moved |= owner[i] != at
        owner[i], far[i] = at, least
    return moved


@njit(nogil=True, cache=True)
def _furthest(owner: NDArray[np.int64], counts: NDArray[np.int64], far: NDArray[np.float64]) -> int:
    """Return the tile furthest from its centre among those of clusters with another tile."""
    furthest, most = -1, -1.0
    for i in range(len(owner)):
        if counts[owner[i]] > 1 and far[i] > most:
            furthest, most = i, far[i]
    return furthest


@njit(nogil=True, cache=True)
def _lloyd(grid: Places, start: NDArray[np.int64], iterations: int) -> NDArray[np.float64]:
    """K-means from given tiles; centres are the means of the last assignment."""
    tiles, clusters = len(grid), len(start)
    centres = np.empty((clusters, 2))
    for k in range(clusters):
        centres[k, 0], centres[k, 1] = grid[start[k], 0], grid[start[k], 1]
    owner, far = np.full(tiles, -1, np.int64), np.empty(tiles)
    for _ in range(iterations):
        moved = _assign(grid, centres, owner, far)
        sums, counts = np.zeros((clusters, 2), np.int64), np.zeros(clusters, np.int64)
        for i in range(tiles):
            counts[owner[i]] += 1
            sums[owner[i]] += grid[i]
        for k in range(clusters):
            if counts[k]:
                continue
            furthest = _furthest(owner, counts, far)
            counts[owner[furthest]] -= 1
            sums[owner[furthest]] -= grid[furthest]
            owner[furthest], far[furthest], counts[k], moved = k, 0.0, 1, True
            sums[k] = grid[furthest]
        for k in range(clusters):
            centres[k, 0], centres[k, 1] = sums[k, 0] / counts[k], sums[k, 1] / counts[k]
        if not moved:
            break
    return centres


@njit(nogil=True, cache=True)
def _nearest_tiles(grid: Places, centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """(clusters,) nearest tile to each centre that no centre before took."""
    taken = np.zeros(len(grid), np.bool_)
    found = np.empty(len(centres), np.int64)
    for k in range(len(centres)):
        at, least = -1, np.inf
        for i in range(len(grid)):
            d = (grid[i, 0] - centres[k, 0]) ** 2 + (grid[i, 1] - centres[k, 1]) ** 2
            if not taken[i] and d < least:
                at, least = i, d
        taken[at] = True
        found[k] = at
    return found
