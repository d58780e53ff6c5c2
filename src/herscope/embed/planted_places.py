"""Where the tiles of a planted bag lie: tissue-like blobs on a lattice, and patches on them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int64]
"""(tiles, 2) row and column, by row and then by column, from 0."""

HARMONICS: Final = 4
WOBBLE: Final = 0.22
TWO_PIECES: Final = 0.3
"""Share of slides whose tissue is in two pieces."""


def tissue_cells(rng: np.random.Generator, count: int) -> Cells:
    """Draw ``count`` cells of a lattice that look like a section: one or two wobbly blobs.

    Examples
    --------
    >>> cells = tissue_cells(np.random.Generator(np.random.PCG64(0)), 50)
    >>> len(cells), cells.min(axis=0).tolist()
    (50, [0, 0])
    """
    pieces = 2 if rng.random() < TWO_PIECES and count >= 40 else 1
    side = math.ceil(2.2 * math.sqrt(count)) + 4
    rows, columns = np.divmod(np.arange(side * side), side)
    far = np.full(side * side, np.inf)
    turn = float(rng.uniform(0, 2 * math.pi))
    for piece in range(pieces):
        away = (0.55 * math.sqrt(count)) if pieces == 2 else 0.0
        sign = 1 - 2 * piece
        y = rows - side / 2 - sign * away * math.sin(turn)
        x = columns - side / 2 - sign * away * math.cos(turn)
        angle = np.arctan2(y, x)
        stretch = 1.0 + 0.35 * float(rng.random()) * np.cos(2 * (angle - rng.uniform(0, math.pi)))
        for k in range(3, 3 + HARMONICS):
            phase, gain = rng.uniform(0, 2 * math.pi), WOBBLE * float(rng.random()) / (k - 1)
            stretch = stretch + gain * np.cos(k * angle + phase)
        far = np.minimum(far, np.hypot(x, y) / stretch)
    chosen = np.sort(np.argsort(far, kind="stable")[:count])
    cells = np.stack([rows[chosen], columns[chosen]], axis=1).astype(np.int64)
    return cells - cells.min(axis=0)


def gathered_kinds(rng: np.random.Generator, cells: Cells, patch_tiles: int) -> NDArray[np.bool_]:
    """Part cells into two kinds, half of them each (the odd one is False), gathered in patches.

    Patches are the cells nearest to one of some random points, one a ``patch_tiles`` squared; whole
    patches are of one kind but for the one in which half of the cells is reached.
    """
    points = max(round(len(cells) / patch_tiles**2), 2)
    at = _spread(rng, cells, points)
    apart = ((cells[:, None, :] - cells[at][None, :, :]) ** 2).sum(axis=2)
    patch = apart.argmin(axis=1)
    rank = rng.permutation(points)[patch]
    # In the patch that is cut in two, the cut is a straight line and no mixture.
    order = np.lexsort((cells[:, 1], cells[:, 0], rank))
    kinds = np.zeros(len(cells), np.bool_)
    kinds[order[: len(cells) // 2]] = True
    return kinds


def nearest_tiles(cells: Cells, middle: int, count: int) -> NDArray[np.int64]:
    """Return the ``count`` cells nearest to one of them: a focus."""
    apart = ((cells - cells[middle]) ** 2).sum(axis=1)
    return np.argsort(apart, kind="stable")[:count].astype(np.int64)


def neighbours_alike(cells: Cells, kinds: NDArray[np.bool_]) -> float:
    """Share of neighbouring pairs (side by side) that are of one kind: the join count.

    Half when kinds of equal number are mixed at random, near one when they lie in patches.

    Examples
    --------
    >>> grid = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> neighbours_alike(grid, np.array([True, True, False, False]))
    0.5
    """
    where = {(int(r), int(c)): bool(k) for (r, c), k in zip(cells, kinds, strict=True)}
    pairs = [
        where[r, c] == where[near]
        for r, c in where
        for near in ((r + 1, c), (r, c + 1))
        if near in where
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def _spread(rng: np.random.Generator, cells: Cells, points: int) -> NDArray[np.int64]:
    """Choose points that keep away from each other: each the best of eight random ones."""
    at = [int(rng.integers(len(cells)))]
    while len(at) < points:
        tried = rng.integers(len(cells), size=8)
        apart = ((cells[tried][:, None, :] - cells[at][None, :, :]) ** 2).sum(axis=2).min(axis=1)
        at.append(int(tried[apart.argmax()]))
    return np.array(at, np.int64)
