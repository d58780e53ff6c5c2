"""Probability of each HER2 score, and when a case should be read twice.

The guideline engine reads every resample of the cells; the share of resamples to which it gives a
score is that score's probability. No rule is written here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.guidelines.her2_reading import Her2Floors, Her2Reading
from herscope.score.her2.reading import read_her2
from herscope.score.her2.settings_drawn import Her2UncertaintySpec

SCORES: Final = {
    "her2-breast": ("0", "1+", "2+", "3+"),
    "her2-gastric-resection": ("0", "1+", "2+", "3+"),
    "her2-gastric-biopsy": ("0", "1+", "2+", "3+"),
    "her2-colorectal": ("negative", "2+", "3+"),
}
"""The scores a guideline knows, from low to high; HERACLES does not grade negative cases."""

CLUSTERS_READ: Final = {
    "her2-breast": ("complete_intense",),
    "her2-gastric-biopsy": ("intense", "moderate", "faint"),
}
"""Clusters that a guideline looks at; one that asks for another fails loudly."""

Tally = Mapping[str, NDArray[np.int64]]
"""Name to (resamples,) cells."""


def score_probability(
    marker: str, counts: Tally, clusters: Tally, floors: Her2Floors
) -> dict[str, float]:
    """Share of resamples with each score.

    Parameters
    ----------
    marker
        A key of :data:`SCORES`.
    counts
        Cells by class, keyed as by :func:`~herscope.measure.completeness.class_counts`.
    clusters
        Cells of the largest clusters, keyed as in :data:`CLUSTERS_READ`.
    floors
        As used for the reading, but for ``min_cells``: whether there are enough cells is known of
        the slide, and no resample may change it.

    Examples
    --------
    >>> from herscope.guidelines.membrane_percent import CLASSES
    >>> counts = dict.fromkeys(CLASSES, np.zeros(4, np.int64))
    >>> counts |= {"complete_intense": np.array([9, 10, 11, 12]), "none": np.full(4, 90)}
    >>> score_probability("her2-gastric-resection", counts, {}, Her2Floors())
    {'0': 0.25, '1+': 0.0, '2+': 0.0, '3+': 0.75}
    """
    floors = floors.model_copy(update={"min_cells": 1})
    columns = np.stack([*counts.values(), *clusters.values()], axis=1)
    cases, times = np.unique(columns, axis=0, return_counts=True)
    tally = dict.fromkeys(SCORES[marker], 0)
    for case, n in zip(cases.tolist(), times.tolist(), strict=True):
        named = dict(zip(counts, case[: len(counts)], strict=True))
        sizes = dict(zip(clusters, case[len(counts) :], strict=True))
        read = read_her2(marker, named, sizes, floors)
        assert read is not None, "a resample of evaluable cells has cells"
        tally[read.score] += n
    return {score: n / len(columns) for score, n in tally.items()}


def unscored(reading: Her2Reading) -> bool:
    """Whether nothing could be scored, for want of cells or of controls."""
    return reading.score not in SCORES[reading.marker]


def borderline_why(
    reading: Her2Reading, probability: Mapping[str, float], spec: Her2UncertaintySpec
) -> str:
    """Say why the case should be read twice; empty when it need not be."""
    # What could not be scored is sure to be indeterminate, and has no distance.
    said: list[str] = []
    own = probability[reading.score]
    if own < spec.borderline_probability:
        others = {score: p for score, p in probability.items() if score != reading.score}
        rival = max(others, key=lambda score: others[score])
        limit = 100 * spec.borderline_probability
        said.append(
            f"{reading.score} has a probability of {_below(100 * own, limit)} %, below {limit:g} % "
            f"({rival} has {100 * others[rival]:.3g} %)"
        )
    distance = reading.distance_to_cutoff
    if distance is not None and distance < spec.borderline_points:
        said.append(
            f"{_below(distance, spec.borderline_points)} percentage points from a cut-off of the "
            f"guideline, less than {spec.borderline_points:g}"
        )
    return f"borderline, have it read twice: {'; '.join(said)}" if said else ""


def _below(value: float, limit: float) -> str:
    """Round to one decimal, but never up to the limit that the value is said to be below."""
    rounded = round(value, 1)
    return f"{rounded if rounded < limit else math.floor(10 * value + 1e-9) / 10:g}"
