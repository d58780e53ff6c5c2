"""KAT, the kernel attention transformer, as a model of bags.

Zheng et al. (MICCAI 2022; IEEE Trans Med Imaging 2023; code MIT). No torch here: see
:mod:`herscope.mil.kat_network` for the network, :mod:`herscope.mil.kat_sample` for its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.embed.bag import FeatureBag
from herscope.mil.anchors import place_anchors
from herscope.mil.kat_sample import KatSample, KatSpec
from herscope.mil.kernel_masks import squared_distances
from herscope.mil.lattice import thin_lattice

if TYPE_CHECKING:
    from torch import nn

    from herscope.mil.kat_network import KatBatch


@dataclass(frozen=True)
class KatModel:
    """KAT with fixed parameters: a :class:`herscope.mil.model.BagModel`."""

    spec: KatSpec = field(default_factory=KatSpec)
    name: ClassVar[str] = "kat"

    def sample(self, bag: FeatureBag) -> KatSample:
        """Thin the bag, place anchors, measure distances.

        Examples
        --------
        >>> from herscope.embed.bag import make_bag
        >>> xy = np.stack(np.meshgrid(np.arange(12), np.arange(13)), -1).reshape(-1, 2) * 256
        >>> bag = make_bag("a", np.ones((156, 5)), xy, tile_px=256, mpp=0.5, encoder="e",
        ...                encoder_id="e")
        >>> sample = KatModel().sample(bag)
        >>> sample.features.shape, sample.squared.shape
        ((156, 5), (2, 156))
        """
        kept, f = thin_lattice(bag, self.spec.max_tiles)
        grid = bag.grid[kept]
        # Thinned places are divided by f for the anchors too: K-means knows no scale.
        anchors = place_anchors(grid, self.spec.tiles_per_kernel, self.spec.seed)
        return KatSample(bag.features[kept], squared_distances(grid, anchors, f), kept)

    def thin(self, sample: KatSample, keep: NDArray[np.bool_]) -> KatSample:
        """Drop tiles; the anchors stay where they are, also those whose tile is dropped.

        Where no tile is to be kept, the first one is.
        """
        if len(keep) != sample.tiles:
            raise InputError(f"{len(keep)} decisions for {sample.tiles} tiles")
        chosen = np.flatnonzero(keep)
        if len(chosen) == 0:
            chosen = np.zeros(1, np.int64)
        return replace(
            sample,
            features=sample.features[chosen],
            squared=np.ascontiguousarray(sample.squared[:, chosen]),
            kept=sample.kept[chosen],
        )

    def collate(self, samples: Sequence[KatSample]) -> KatBatch:
        """Put samples end to end."""
        from herscope.mil.kat_network import collate

        return collate(samples)

    def build(self, features: int, outputs: int) -> nn.Module:
        """Return a new network; with kernel contrastive learning where its weight is not 0."""
        from herscope.mil.kat_network import KatNetwork
        from herscope.mil.kernel_contrast import KernelContrast

        network = KatNetwork(features, outputs, self.spec)
        return KernelContrast(network) if self.spec.contrast_weight else network

    def tile_scores(self, module: nn.Module, sample: KatSample) -> NDArray[np.float32]:
        """(kept tiles, 1): attention rollout, see :meth:`KatNetwork.rollout`."""
        device = next(module.parameters()).device
        batch = self.collate([sample]).to(device)
        network: Any = module
        scores = network.rollout(batch, self.spec.rollout)
        found: NDArray[np.float32] = scores.float().cpu().numpy()[:, None]
        return found
