"""Training batches of bags: balanced draws, dropped tiles, the same for the same epoch.

An epoch has as many draws as there are training slides. Balanced sampling draws with replacement
and with weights inverse to the frequency of the class (KAT's ``WeightedRandomSampler``); without it
every slide comes once. Of each drawn bag a share of the tiles is dropped, the share itself uniform
between 0 and a limit (KAT: 0.5), so that no epoch sees the same bag twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from herscope.mil.model import BagModel
from herscope.mil.sample_store import SampleStore

_ORDER: Final = 1 << 61
"""Sets the stream of an epoch's draws apart from the streams of its bags."""


class BagBatches:
    """Batches for :func:`herscope.nn.fit.fit`.

    Parameters
    ----------
    model
        Thins and collates.
    store
        Samples of all slides.
    places
        Which of them to train on.
    classes
        (slides of the store,) class of each, from 0.
    batch
        Bags a batch.
    balanced
        Draw every class equally often.
    drop
        Largest share of tiles dropped, 0 to below 1.
    seed
        Of draws and drops.
    """

    def __init__(
        self,
        model: BagModel[Any],
        store: SampleStore,
        places: Sequence[int],
        classes: NDArray[np.int64],
        *,
        batch: int,
        balanced: bool,
        drop: float,
        seed: int,
    ) -> None:
        self.model, self.store, self.seed = model, store, seed
        self.places = np.asarray(places, np.int64)
        self.classes = np.asarray(classes, np.int64)
        self.batch = max(1, min(batch, len(self.places)))
        self.drop = drop
        mine = self.classes[self.places]
        weight = 1.0 / np.bincount(mine)[mine]
        self.weights = weight / weight.sum() if balanced else None

    def __len__(self) -> int:
        return (len(self.places) + self.batch - 1) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[Any, Tensor]]:
        """Yield batches of bags and (bags,) int64 classes."""
        drawn = self.draws(number)
        for start in range(0, len(drawn), self.batch):
            chosen = drawn[start : start + self.batch].tolist()
            samples = [self._thinned(p, number, start + i) for i, p in enumerate(chosen)]
            yield self.model.collate(samples), torch.from_numpy(self.classes[chosen])

    def draws(self, number: int) -> NDArray[np.int64]:
        """Return the slides of an epoch in order."""
        generator = np.random.Generator(np.random.PCG64([self.seed, number, _ORDER]))
        if self.weights is None:
            return generator.permutation(self.places)
        return generator.choice(self.places, len(self.places), p=self.weights)

    def _thinned(self, place: int, epoch: int, position: int) -> Any:
        sample = self.store[place]
        if self.drop <= 0:
            return sample
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch, _ORDER + 1, position]))
        share = generator.uniform(0.0, self.drop)
        keep = generator.uniform(size=sample.tiles) >= share
        if not keep.any():
            keep[int(generator.integers(sample.tiles))] = True
        return self.model.thin(sample, keep)


def outputs_of(
    module: torch.nn.Module,
    device: torch.device,
    model: BagModel[Any],
    store: SampleStore,
    places: Sequence[int],
    *,
    batch: int = 8,
) -> NDArray[np.float64]:
    """(slides, outputs) of whole bags, nothing dropped; the module must be in evaluation mode."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(places), batch):
            samples = [store[place] for place in places[start : start + batch]]
            rows.append(module(model.collate(samples).to(device)).float().cpu().numpy())
    return np.concatenate(rows).astype(np.float64)
