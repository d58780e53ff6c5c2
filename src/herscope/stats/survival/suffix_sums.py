"""Weights of the later entries of a sequence with a lower, or an equal, rank: all at once.

The concordance of n patients is n such questions. Compared pair by pair they cost n^2; here the
sequence is cut into blocks of 1, 2, 4, ... entries, each sorted by rank once, and the part of the
sequence from any place on is the sum of at most log2 n blocks (a merge-sort tree), so all questions
cost n log^2 n: 10,000 patients in milliseconds. Whole weights are added exactly.
"""

from __future__ import annotations

import numpy as np

from herscope.stats.arguments import Floats
from herscope.stats.survival.outcome import Ints


def suffix_sums(rank: Ints, weight: Floats, start: Ints, asked: Ints) -> tuple[Floats, Floats]:
    """Sum weights from a place on, over lower ranks and over equal ones.

    Parameters
    ----------
    rank, weight
        (n,) rank, 0 or more, and weight of each entry.
    start, asked
        (q,) first place that counts, 0 to n, and the rank it is compared with.

    Returns
    -------
    tuple of arrays
        (q,) sums over ``rank < asked`` and over ``rank == asked``, among places >= ``start``.

    Examples
    --------
    >>> ones = np.ones(4)
    >>> below, equal = suffix_sums(np.array([2, 0, 1, 1]), ones, np.array([1, 2]), np.array([1, 1]))
    >>> below.tolist(), equal.tolist()
    ([1.0, 0.0], [2.0, 2.0])
    """
    levels = int(rank.size).bit_length()
    size = 1 << levels
    width = max(int(rank.max(initial=0)), int(asked.max(initial=0))) + 2
    # Entries that fill up to a power of two weigh nothing.
    ranks = np.full(size, width - 1, np.int64)
    ranks[: rank.size] = rank
    weights = np.zeros(size)
    weights[: rank.size] = weight
    below, equal = np.zeros(start.size), np.zeros(start.size)
    place = start.astype(np.int64)
    for level in range(levels):
        key = (np.arange(size) >> level) * width + ranks
        order = np.argsort(key, kind="stable")
        keys, total = key[order], np.concatenate(([0.0], np.cumsum(weights[order])))
        now = np.flatnonzero((place >> level) & 1)
        block = place[now] >> level
        left = np.searchsorted(keys, block * width + asked[now], side="left")
        right = np.searchsorted(keys, block * width + asked[now], side="right")
        below[now] += total[left] - total[block << level]
        equal[now] += total[right] - total[left]
        place[now] += 1 << level
    # What is left starts at 0 (the whole sequence) or at its end (nothing).
    whole = np.flatnonzero(place == 0)
    order = np.argsort(ranks, kind="stable")
    total = np.concatenate(([0.0], np.cumsum(weights[order])))
    left = np.searchsorted(ranks[order], asked[whole], side="left")
    right = np.searchsorted(ranks[order], asked[whole], side="right")
    below[whole] += total[left]
    equal[whole] += total[right] - total[left]
    return below, equal
