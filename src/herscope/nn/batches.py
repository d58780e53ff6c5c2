"""Training batches from a folder of patches, and what a compartment network is judged by.

An epoch is a shuffle by (seed, epoch); every patch gives one square crop, varied by
:func:`herscope.nn.augment.augment`. Where the number of patches is no multiple of the batch, the
few left over are drawn again from the front, so that every batch is full (a batch of one has no
batch statistics). Validation looks at whole patches, one at a time, unvaried, and adds pixel counts
over all of them before any figure is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from herscope.nn.augment import AugmentSpec, augment
from herscope.nn.inputs import network_input
from herscope.nn.patches.compartments import PatchFolder
from herscope.nn.patches.files import CLASSES, IGNORE
from herscope.nn.patches.images import SMALLEST_PX, Labelled
from herscope.stats.segmentation import Overlap, overlap_by_class, pooled_overlap

CACHE_BYTES: Final = 1 << 29
"""Decoded patches are kept up to half a gigabyte."""
MULTIPLE_PX: Final = 32
_ORDER: Final = 1 << 62
"""Sets the stream of the epoch's order apart from the streams of the patches."""


Target = Callable[[NDArray[Any]], NDArray[Any]]


class Source(Protocol):
    """A folder of patches with a number for every pixel."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(patches, 2) height and width."""

    def labelled(self, index: int) -> Labelled:
        """Read one patch."""


def class_codes(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return class codes as a compartment network's target."""
    return labels.astype(np.int64)


class PatchBatches:
    """Batches of a folder of patches; see :class:`herscope.nn.fit.Batches`.

    Parameters
    ----------
    folder
        The patches, of compartments or of nuclei.
    indices
        Which of them; two or more.
    inputs
        What the network is given.
    batch
        Patches a batch; no more than there are.
    crop_px
        Edge of the square crops; smaller where a patch is smaller, a multiple of 32.
    spec
        How patches are varied.
    seed
        Of order, crops and variation.
    target
        Makes of a crop's labels, turned and mirrored with it, what the network should give.
    """

    def __init__(
        self,
        folder: Source,
        indices: Sequence[int],
        *,
        inputs: str,
        batch: int,
        crop_px: int,
        spec: AugmentSpec,
        seed: int,
        target: Target = class_codes,
    ) -> None:
        self.folder, self.indices = folder, tuple(indices)
        self.inputs, self.spec, self.seed, self.target = inputs, spec, seed, target
        self.batch = max(2, min(batch, len(self.indices)))
        smallest = int(folder.sizes[list(self.indices)].min())
        self.crop_px = max(SMALLEST_PX, min(crop_px, smallest) // MULTIPLE_PX * MULTIPLE_PX)
        self._kept: dict[int, Labelled] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return (len(self.indices) + self.batch - 1) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (batch, channels, px, px) float32 and the targets, the batch first."""
        generator = np.random.Generator(np.random.PCG64([self.seed, number, _ORDER]))
        order = generator.permutation(len(self.indices))
        order = np.resize(order, len(self) * self.batch)  # the front again, to fill the last batch
        for start in range(0, len(order), self.batch):
            rows = [
                self._item(int(k), number, start + i)
                for i, k in enumerate(order[start : start + self.batch])
            ]
            inputs = np.stack([image for image, _ in rows])
            target = np.stack([target for _, target in rows])
            yield torch.from_numpy(inputs), torch.from_numpy(target)

    def _item(
        self, place: int, epoch: int, position: int
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        patch = self._load(self.indices[place])
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch, _ORDER + 1, position]))
        height, width = patch.labels.shape
        y = int(generator.integers(height - self.crop_px + 1))
        x = int(generator.integers(width - self.crop_px + 1))
        window = np.s_[y : y + self.crop_px, x : x + self.crop_px]
        rgb, labels = augment(
            patch.rgb[window],
            patch.labels[window],
            patch.white,
            self.spec,
            seed=self.seed,
            epoch=epoch,
            index=position,
        )
        return network_input(rgb, self.inputs, patch.white), self.target(labels)

    def _load(self, index: int) -> Labelled:
        patch = self._kept.get(index)
        if patch is None:
            patch = self.folder.labelled(index)
            if self._kept_bytes < CACHE_BYTES:
                self._kept[index] = patch
                self._kept_bytes += patch.rgb.nbytes + patch.labels.nbytes
        return patch


def overlap_of(
    module: nn.Module,
    device: torch.device,
    folder: PatchFolder,
    indices: Sequence[int],
    inputs: str,
) -> dict[str, Overlap]:
    """Pixel counts of each class over whole patches; the module must be in evaluation mode."""
    images = []
    for index in indices:
        patch = folder.load(index)
        if not (patch.mask != IGNORE).any():
            continue
        array = torch.from_numpy(network_input(patch.rgb, inputs, patch.white)[None])
        logits = module(array.to(device))
        called = logits[0].float().argmax(dim=0).to(torch.uint8).cpu().numpy()
        names = dict(enumerate(CLASSES))
        images.append(overlap_by_class(patch.mask, called, names, ignore=IGNORE))
    return pooled_overlap(images)


def figures(found: Mapping[str, Overlap]) -> dict[str, float | None]:
    """Dice and IoU of each class, and their means over the classes the truth holds.

    Examples
    --------
    >>> one = overlap_by_class([[0, 1]], [[0, 0]], {0: "tumor", 1: "stroma", 2: "other"})
    >>> {name: value for name, value in figures(one).items() if name.startswith("dice")}
    {'dice_tumor': 0.6666666666666666, 'dice_stroma': 0.0, 'dice_other': None, \
'dice_mean': 0.3333333333333333}
    """
    told: dict[str, float | None] = {}
    for measure in ("dice", "iou"):
        there = []
        for name, overlap in found.items():
            value = getattr(overlap, measure)
            told[f"{measure}_{name}"] = value
            if overlap.counts.positives:
                there.append(value)
        told[f"{measure}_mean"] = sum(there) / len(there) if there else None
    return told
