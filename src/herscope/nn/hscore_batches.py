"""Training batches and validation figures of an H-score regressor.

An H-score belongs to a whole patch, so patches are never cropped: all of one folder have the same
square size in training. Patches are turned, mirrored and varied
(:func:`herscope.nn.augment.augment`) by default in everything but the amount of DAB, which is what
is asked for.

The loss is Huber's (1964), on H / 300: squared below 10 points of H-score, absolute beyond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from herscope.core.errors import InputError
from herscope.nn.augment import AugmentSpec, augment
from herscope.nn.batches import CACHE_BYTES
from herscope.nn.hscore_predict import HIGHEST, TargetPatch, h_scores_of
from herscope.nn.inputs import network_input
from herscope.nn.patches.hscores import HscorePatches

HUBER_DELTA: Final = 10 / HIGHEST
"""Readers differ by more than ten points; below that no patch should pull harder than another."""
_ORDER: Final = 1 << 61
"""Sets the stream of the epoch's order apart from the streams of the patches."""


class HscoreBatches:
    """Batches of whole patches; see :class:`herscope.nn.fit.Batches`.

    Parameters
    ----------
    folder
        The patches, with their H-scores.
    indices
        Which patches; two or more.
    inputs
        What the network is given.
    batch
        Patches a batch; no more than there are.
    spec
        How patches are varied.
    seed
        Of order and variation.

    Raises
    ------
    InputError
        Patches of several sizes, or not square.
    """

    def __init__(
        self,
        folder: HscorePatches,
        indices: Sequence[int],
        *,
        inputs: str,
        batch: int,
        spec: AugmentSpec,
        seed: int,
    ) -> None:
        self.folder, self.h_scores, self.indices = folder, folder.known(), tuple(indices)
        self.inputs, self.spec, self.seed = inputs, spec, seed
        self.batch = max(2, min(batch, len(self.indices)))
        sizes = {(int(h), int(w)) for h, w in folder.sizes[list(self.indices)]}
        if len(sizes) > 1 or any(height != width for height, width in sizes):
            told = ", ".join(f"{width} x {height}" for height, width in sorted(sizes)[:4])
            raise InputError(
                f"patches of {folder.root} have {told} px; in training all are square and alike",
                hint="an H-score is of a whole patch, so patches cannot be cropped: cut them anew",
            )
        self._kept: dict[int, TargetPatch] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return (len(self.indices) + self.batch - 1) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (batch, channels, px, px) float32 and (batch, 1) float32, H / 300."""
        generator = np.random.Generator(np.random.PCG64([self.seed, number, _ORDER]))
        order = generator.permutation(len(self.indices))
        order = np.resize(order, len(self) * self.batch)  # the front again, to fill the last batch
        for start in range(0, len(order), self.batch):
            places = [self.indices[int(k)] for k in order[start : start + self.batch]]
            inputs = np.stack([self._input(i, number, start + k) for k, i in enumerate(places)])
            target = (self.h_scores[places] / HIGHEST).astype(np.float32)[:, None]
            yield torch.from_numpy(inputs), torch.from_numpy(target)

    def _input(self, index: int, epoch: int, position: int) -> NDArray[np.float32]:
        patch = self._load(index)
        rgb, mask = augment(
            patch.rgb,
            patch.target.astype(np.uint8),
            patch.white,
            self.spec,
            seed=self.seed,
            epoch=epoch,
            index=position,
        )
        return network_input(rgb, self.inputs, patch.white, target=mask > 0)

    def _load(self, index: int) -> TargetPatch:
        patch = self._kept.get(index)
        if patch is None:
            patch = self.folder.load(index)
            if self._kept_bytes < CACHE_BYTES:
                self._kept[index] = patch
                self._kept_bytes += patch.rgb.nbytes + patch.target.nbytes
        return patch


def h_score_loss(output: Tensor, target: Tensor) -> Tensor:
    """Huber's loss of (n, 1) outputs and targets, both H / 300.

    Examples
    --------
    >>> value = h_score_loss(torch.tensor([[0.5]]), torch.tensor([[0.6]]))
    >>> round(float(value), 5)  # delta (error - delta / 2)
    0.00278
    """
    return functional.huber_loss(output, target, delta=HUBER_DELTA)


def estimates_of(
    module: nn.Module,
    device: torch.device,
    folder: HscorePatches,
    indices: Sequence[int],
    inputs: str,
) -> NDArray[np.float64]:
    """H-scores of whole patches, one at a time; the module must be in evaluation mode."""
    found = []
    for index in indices:
        patch = folder.load(index)
        array = network_input(patch.rgb, inputs, patch.white, target=patch.target)[None]
        output = module(torch.from_numpy(array).to(device)).float().cpu().numpy()
        found.append(float(h_scores_of(output)[0]))
    return np.array(found, np.float64)


def error_figures(
    estimates: NDArray[np.float64], truth: NDArray[np.float64]
) -> dict[str, float | None]:
    """Mean absolute error, bias and mean absolute percentage error; the last over H > 0.

    Examples
    --------
    >>> error_figures(np.array([110.0, 10.0]), np.array([100.0, 0.0]))
    {'mae': 10.0, 'bias': 10.0, 'mape': 10.0}
    """
    error, positive = estimates - truth, truth > 0
    share = np.abs(error[positive]) / truth[positive]
    return {
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "mape": 100 * float(share.mean()) if positive.any() else None,
    }
