"""How far a slide lies from the slides a model was trained on, and when to say so.

A slide is its mean feature, each feature divided by its spread over the training slides. Its
distance is the mean Euclidean distance to its three nearest training slides, divided by the root of
the number of features. The same figure, each training slide against the others, tells what is
usual; further than the furthest of them is outside. Of n exchangeable slides a new one lands there
by chance once in n + 1 times. It finds another stain, scanner or organ; it does not find a tumour
that merely looks like another class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from herscope.embed.bag import FeatureBag
from herscope.mil.predictions import Outlier

NEAREST: Final = 3
SAME: Final = 1e-3
"""Standardised distance below which two slides are one; stored values are float32."""
FEWEST: Final = 10
"""Training slides below which no statement is made."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Mean features of the training slides and how far they lie apart.

    ``mean`` and ``scale`` are (features,), ``slides`` (slides, features) standardised, ``usual``
    (slides,) sorted distances of each training slide to the others.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    slides: NDArray[np.float32]
    usual: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return its arrays by name."""
        return {name: getattr(self, name) for name in ("mean", "scale", "slides", "usual")}

    def holds(self, bag: FeatureBag) -> bool:
        """Whether this very slide is among them, whatever it is called."""
        mean = bag.features.mean(axis=0, dtype=np.float64)
        return bool(cdist(((mean - self.mean) / self.scale)[None], self.slides).min() < SAME)

    def judge(self, bag: FeatureBag) -> Outlier | None:
        """Say how far a slide lies; None where there were too few training slides."""
        return self.judge_mean(bag.features.mean(axis=0, dtype=np.float64))

    def judge_mean(self, mean: NDArray[np.float64]) -> Outlier | None:
        """Judge a slide by its mean feature."""
        if len(self.slides) < FEWEST:
            return None
        at = ((mean - self.mean) / self.scale)[None]
        apart = cdist(at, self.slides)
        if apart.min() < SAME:  # the slide itself, where the model was trained on it
            apart[0, apart.argmin()] = np.inf
        distance = float(_nearest(apart)[0] / np.sqrt(len(self.mean)))
        limit = float(self.usual[-1])
        percentile = 100.0 * float(np.searchsorted(self.usual, distance)) / len(self.usual)
        outside = bool(distance > limit * (1 + SAME))
        said = (
            f"further from the training slides ({distance:.2f}) than any of those from the others "
            f"(up to {limit:.2f}): another stain, scanner or tissue? Do not rely on this prediction"
            if outside
            else f"{percentile:.0f} % of the training slides lie nearer to the others than this one"
        )
        return Outlier(
            distance=distance, percentile=percentile, limit=limit, outside=outside, said=said
        )


def make_reference(means: Iterable[NDArray[Any]]) -> Reference:
    """Make a reference from the training slides' mean features.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> reference = make_reference(rng.normal(size=(20, 4)))
    >>> reference.judge_mean(np.zeros(4)).outside, reference.judge_mean(np.full(4, 9.0)).outside
    (False, True)
    """
    table = np.stack([np.asarray(one, np.float64) for one in means])
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale = np.where(scale > 1e-6 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
    slides = (table - mean) / scale
    apart = cdist(slides, slides)
    np.fill_diagonal(apart, np.inf)
    usual = np.sort(_nearest(apart)) / np.sqrt(table.shape[1])
    return Reference(*(np.asarray(a, np.float32) for a in (mean, scale, slides, usual)))


def _nearest(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each row's mean of its nearest finite distances."""
    nearest = np.sort(distances, axis=1)[:, :NEAREST]
    finite = np.isfinite(nearest)
    return np.where(finite, nearest, 0.0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
