"""The values that a slide would have at other cut-offs: H-score, percent positive, HER2 score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import NotComputed
from herscope.guidelines.her2_reading import Her2Floors
from herscope.measure.completeness import CompletenessSpec
from herscope.score.calibration.cells import Settings, SlideCells
from herscope.score.calibration.readers import HER2_RANK, TOP, What
from herscope.score.her2.reading import read_her2

SHAPED = frozenset({"her2-gastric-resection", "her2-gastric-biopsy", "her2-colorectal"})
"""Markers whose guideline counts U-shaped membranes."""

CUTS = ("low", "middle", "high")


@dataclass(frozen=True)
class Stained:
    """H-score (all three cut-offs) or percent positive (the first one only)."""

    slides: Sequence[SlideCells]
    what: What
    present: Settings
    lowest_share: int = 1000

    @property
    def free(self) -> tuple[str, ...]:
        """What may move."""
        return CUTS if self.what == "h-score" else CUTS[:1]

    @property
    def top(self) -> float:
        """The largest value there can be."""
        return TOP[self.what]

    def values(self, at: Settings) -> NDArray[np.float64]:
        """(n,) H-scores or percentages."""
        if self.what == "h-score":
            return np.array([slide.h_score(at) for slide in self.slides])
        return np.array([slide.positive_percent(at) for slide in self.slides])


@dataclass
class Her2Scored:
    """The HER2 score by the marker's guideline, 0 to 3; the cut-offs and complete_share move."""

    slides: Sequence[SlideCells]
    marker: str
    present: Settings
    completeness: CompletenessSpec
    floors: Her2Floors
    free: tuple[str, ...] = (*CUTS, "share")
    top: float = TOP["her2"]
    _read: dict[Any, str | None] = field(init=False, default_factory=dict)

    @property
    def lowest_share(self) -> int:
        """The smallest complete_share that the other shares allow, in thousandths."""
        return max(501, round(1000 * self.completeness.u_share))

    def values(self, at: Settings) -> NDArray[np.float64]:
        """(n,) ranks of the scores; slides without one must have been left out."""
        scores = [self.score(slide, at) for slide in self.slides]
        return np.array([HER2_RANK[score] for score in scores if score is not None], np.float64)

    def score(self, slide: SlideCells, at: Settings) -> str | None:
        """Score one slide; None when it has no evaluable cell, or too few of them."""
        membranes = slide.membranes
        if membranes is None:
            raise NotComputed(f"{slide.name} has no membrane sectors", hint="score it again")
        if not len(membranes):
            return None
        counts = membranes.counts(at, shapes=self.marker in SHAPED)
        # Clusters are costly to find and seldom decide: first see whether they can.
        most = _at_most(counts)
        lowest = self._reading(counts, dict.fromkeys(most, 0))
        if lowest == self._reading(counts, most):
            return lowest
        return self._reading(counts, membranes.largest(at))

    def _reading(self, counts: dict[str, int], clusters: dict[str, int]) -> str | None:
        key = (*counts.values(), -1, *(clusters[name] for name in sorted(clusters)))
        if key not in self._read:
            reading = read_her2(self.marker, counts, clusters, self.floors)
            told = None if reading is None or reading.score == "indeterminate" else reading.score
            self._read[key] = told
        return self._read[key]


def _at_most(counts: dict[str, int]) -> dict[str, int]:
    """No cluster is larger than the number of cells that may belong to it."""
    complete = [counts[f"complete_{name}"] for name in ("intense", "moderate", "weak")]
    u = [counts.get(f"basolateral_{name}", 0) for name in ("intense", "moderate", "weak")]
    return {
        "complete_intense": complete[0],
        "intense": complete[0] + u[0],
        "moderate": sum(complete) + sum(u),
        "faint": sum(counts[name] for name in _STAINED),
    }


_STAINED = (
    "complete_intense",
    "complete_moderate",
    "complete_weak",
    "incomplete_moderate",
    "incomplete_faint",
)
