"""Fit the table from H-score and PCMS to the HER2 score: an exact, monotone, shallow tree.

*Monotone.* At every split on "less than t", all scores on the lower side are at most those on the
upper side. Of two cases one of which is at least as high in both numbers, the higher one can leave
the other only towards an upper side, so it never has the lower score.

*Exact.* Among all such trees of depth 3 at most, with at least :data:`MIN_LEAF` slides in a box and
splits at the offered thresholds, the fit has the smallest sum of absolute differences in grade,
then the fewest boxes; no greedy step and no chance. Thresholds are the roundest numbers between
neighbouring values, at most :data:`MOST_THRESHOLDS` of each kind, spread evenly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.measure.intensity import Cuts
from herscope.score.her2.mapping import (
    GRADES,
    H_TOP,
    PCMS_TOP,
    Box,
    Her2Grade,
    Her2MappingSpec,
)

DEPTH: Final = 3
MIN_LEAF: Final = 3
"""Fewest slides of a box: one that holds a single slide has learnt it by heart."""
MOST_THRESHOLDS: Final = 24
_ERROR: Final = 1000
"""Cost of one grade of difference; a box costs 1, so boxes only ever break ties."""


@dataclass(frozen=True)
class Her2Mapping:
    """Fitted boxes; ``predict`` as the Spec's, for many cases."""

    boxes: tuple[Box, ...]

    def predict(self, h_score: ArrayLike, pcms_percent: ArrayLike) -> list[Her2Grade]:
        """Return the scores of cases."""
        pairs = zip(np.atleast_1d(h_score), np.atleast_1d(pcms_percent), strict=True)
        return [
            next(box.score for box in self.boxes if box.holds(float(h), float(p))) for h, p in pairs
        ]

    def spec(self, *, name: str, source: str, cuts: Cuts, complete_share: float) -> Her2MappingSpec:
        """Return it as parameters of a study, with where it comes from."""
        return Her2MappingSpec(
            name=name, source=source, cuts=cuts, complete_share=complete_share, boxes=self.boxes
        )


def fit_mapping(
    h_score: ArrayLike,
    pcms_percent: ArrayLike,
    scores: Sequence[str],
    *,
    depth: int = DEPTH,
    min_leaf: int = MIN_LEAF,
) -> Her2Mapping:
    """Fit the table to cases of known score.

    Parameters
    ----------
    h_score, pcms_percent
        (n,) 0 to 300 and 0 to 100.
    scores
        (n,) ``0``, ``1+``, ``2+`` or ``3+``.
    depth
        Splits from the root to a box at most, 0 to 3.
    min_leaf
        Fewest cases of a box.

    Raises
    ------
    InputError
        Different lengths, a value out of range, an unknown score.
    UndefinedStatistic
        Cases of fewer than two scores.

    Examples
    --------
    >>> h, pcms = [10, 20, 30, 200, 210, 220], [0, 1, 2, 40, 50, 60]
    >>> fit_mapping(h, pcms, ["0"] * 3 + ["3+"] * 3).predict([5, 250], [0, 70])
    ['0', '3+']
    """
    h, pcms = np.asarray(h_score, np.float64), np.asarray(pcms_percent, np.float64)
    ranks = _checked(h, pcms, scores)
    if not (0 <= depth <= DEPTH and min_leaf >= 1):
        raise InputError(
            f"depth {depth}, min_leaf {min_leaf}", hint=f"depth 0 to {DEPTH}, min_leaf 1 or more"
        )
    edges = (_thresholds(h), _thresholds(pcms))
    tree = _Tree(h, pcms, ranks, edges, min(min_leaf, len(ranks)))
    whole = (0, len(edges[0]) + 1, 0, len(edges[1]) + 1)
    best = tree.best(whole, depth)[0, len(GRADES) - 1]
    assert best is not None  # a single box always fits
    return Her2Mapping(tuple(tree.box(area, rank) for area, rank in best.leaves))


Area = tuple[int, int, int, int]
"""Cells of the grid of thresholds: first and last + 1 in H-score, then in PCMS."""


class _Plan(NamedTuple):
    """A tree: its cost and its boxes from low to high."""

    cost: int
    leaves: tuple[tuple[Area, int], ...]


class _Tree:
    """Best tree of every rectangle, for scores between every lowest and highest one."""

    def __init__(
        self,
        h: NDArray[np.float64],
        pcms: NDArray[np.float64],
        ranks: NDArray[np.int64],
        edges: tuple[list[float], list[float]],
        min_leaf: int,
    ) -> None:
        self.edges, self.min_leaf = edges, min_leaf
        i, j = (np.searchsorted(e, v, side="right") for e, v in zip(edges, (h, pcms), strict=True))
        counts = np.zeros((len(edges[0]) + 2, len(edges[1]) + 2, len(GRADES)), np.int64)
        np.add.at(counts, (i + 1, j + 1, ranks), 1)
        self.sums = counts.cumsum(axis=0).cumsum(axis=1)
        apart = np.abs(np.arange(len(GRADES))[:, None] - np.arange(len(GRADES)))
        self.apart = _ERROR * apart
        self.known: dict[tuple[Area, int], dict[tuple[int, int], _Plan | None]] = {}

    def counts(self, area: Area) -> NDArray[np.int64]:
        """(4,) cases of each score in a rectangle."""
        a, b, c, d = area
        s = self.sums
        found: NDArray[np.int64] = s[b, d] - s[a, d] - s[b, c] + s[a, c]
        return found

    def best(self, area: Area, depth: int) -> dict[tuple[int, int], _Plan | None]:
        """Best plan by lowest and highest score allowed; None without enough cases."""
        key = (area, depth)
        if key not in self.known:
            self.known[key] = self._best(area, depth)
        return self.known[key]

    def _best(self, area: Area, depth: int) -> dict[tuple[int, int], _Plan | None]:
        counts = self.counts(area)
        spans = [(lo, hi) for lo in range(len(GRADES)) for hi in range(lo, len(GRADES))]
        if counts.sum() < self.min_leaf:
            return dict.fromkeys(spans)
        costs = (self.apart @ counts).tolist()
        plans: dict[tuple[int, int], _Plan | None] = {}
        for lo, hi in spans:
            rank = min(range(lo, hi + 1), key=costs.__getitem__)
            plans[lo, hi] = _Plan(costs[rank] + 1, ((area, rank),))
        if depth == 0 or np.count_nonzero(counts) < 2 or counts.sum() < 2 * self.min_leaf:
            return plans
        if depth == 1:
            self._cut_once(area, plans)
            return plans
        for below, above in self._splits(area)[0]:
            low, high = self.best(below, depth - 1), self.best(above, depth - 1)
            for lo, hi in spans:
                for middle in range(lo, hi + 1):
                    first, second, now = low[lo, middle], high[middle, hi], plans[lo, hi]
                    if first is None or second is None or now is None:
                        continue
                    if first.cost + second.cost < now.cost:
                        leaves = first.leaves + second.leaves
                        plans[lo, hi] = _Plan(first.cost + second.cost, leaves)
        return plans

    def _cut_once(self, area: Area, plans: dict[tuple[int, int], _Plan | None]) -> None:
        """Improve the plans by one split into two boxes; all splits at once, for speed."""
        splits, counts = self._splits(area)
        if not splits:
            return
        below = counts @ self.apart
        above = (self.counts(area) - counts) @ self.apart
        for a, b in itertools.combinations(range(len(GRADES)), 2):
            costs = below[:, a] + above[:, b]
            at = int(costs.argmin())
            cost = int(costs[at]) + 2
            for (lo, hi), now in plans.items():
                if lo <= a and b <= hi and now is not None and cost < now.cost:
                    plans[lo, hi] = _Plan(cost, ((splits[at][0], a), (splits[at][1], b)))

    def _splits(self, area: Area) -> tuple[list[tuple[Area, Area]], NDArray[np.int64]]:
        """Find the splits with enough cases on both sides, and (splits, 4) cases on the lower."""
        a, b, c, d = area
        s = self.sums
        by_h = s[a + 1 : b, d] - s[a, d] - s[a + 1 : b, c] + s[a, c]
        by_pcms = s[b, c + 1 : d] - s[a, c + 1 : d] - s[b, c] + s[a, c]
        found = [((a, m, c, d), (m, b, c, d)) for m in range(a + 1, b)]
        found += [((a, b, c, m), (a, b, m, d)) for m in range(c + 1, d)]
        counts = np.concatenate([by_h, by_pcms])
        n = counts.sum(axis=1)
        enough = np.flatnonzero(
            (n >= self.min_leaf) & (self.counts(area).sum() - n >= self.min_leaf)
        )
        return [found[i] for i in enough.tolist()], counts[enough]

    def box(self, area: Area, rank: int) -> Box:
        """Return a rectangle in H-score and percent."""
        a, b, c, d = area
        h, pcms = [0.0, *self.edges[0], H_TOP], [0.0, *self.edges[1], PCMS_TOP]
        return Box(score=GRADES[rank], h_score=(h[a], h[b]), pcms_percent=(pcms[c], pcms[d]))


def _checked(
    h: NDArray[np.float64], pcms: NDArray[np.float64], scores: Sequence[str]
) -> NDArray[np.int64]:
    if not len(h) == len(pcms) == len(scores):
        raise InputError(
            f"{len(h)} H-scores, {len(pcms)} PCMS, {len(scores)} scores", hint="one of each a case"
        )
    for what, values, top in (("H-score", h, H_TOP), ("PCMS", pcms, PCMS_TOP)):
        if not np.all((values >= 0) & (values <= top)):
            raise InputError(f"a {what} is not within 0 to {top:g}", hint="check the units")
    unknown = next((score for score in scores if score not in GRADES), None)
    if unknown is not None:
        raise InputError(f"{unknown!r} is no HER2 score", hint="0, 1+, 2+ or 3+")
    ranks = np.array([GRADES.index(score) for score in scores], np.int64)
    if len(set(ranks.tolist())) < 2:
        raise UndefinedStatistic(
            f"{len(ranks)} cases of fewer than two scores: there is nothing to tell apart",
            hint="add cases of other scores",
        )
    return ranks


def _thresholds(values: NDArray[np.float64]) -> list[float]:
    """Offer the roundest number in each gap between neighbouring values."""
    distinct = np.unique(values)
    gaps = [_round_between(float(a), float(b)) for a, b in itertools.pairwise(distinct)]
    if len(gaps) > MOST_THRESHOLDS:
        keep = np.linspace(0, len(gaps) - 1, MOST_THRESHOLDS).round().astype(int)
        gaps = [gaps[i] for i in sorted(set(keep.tolist()))]
    return gaps


def _round_between(a: float, b: float) -> float:
    """Return the middle of (a, b) with as few decimals as keep it there.

    >>> _round_between(10.02, 12.4), _round_between(0.101, 0.105)
    (11.0, 0.103)
    """
    middle = (a + b) / 2
    for decimals in range(9):
        short = round(middle, decimals)
        if a < short < b:
            return short
    return b
