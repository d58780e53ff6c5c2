"""Attention, mean and maximum over the tiles of a slide, as models of bags.

They do not see where tiles lie. Attention is Ilse et al.'s (ICML 2018), known as ABMIL; mean and
maximum are what every other model has to beat. See :mod:`herscope.mil.pooling_network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag

if TYPE_CHECKING:
    from torch import nn

    from herscope.mil.pooling_network import TileBatch


class PoolingSpec(Spec):
    """Parameters of the pooling models."""

    pooling: Literal["gated", "plain", "mean", "max"] = Field(
        default="gated", description="Gated or plain attention, mean, or maximum."
    )
    width: int = Field(default=256, ge=1, le=65_536, description="Numbers an embedded tile.")
    hidden: int = Field(default=128, ge=1, le=65_536, description="Numbers inside the attention.")
    dropout: float = Field(default=0.25, ge=0, lt=1, description="Dropout of embedded tiles.")


@dataclass(frozen=True, slots=True, eq=False)
class PoolingSample:
    """A slide without places: ``features`` (tiles, features) float32."""

    features: NDArray[np.float32] = field(repr=False)

    @property
    def tiles(self) -> int:
        """How many tiles it holds."""
        return len(self.features)


class PoolingModel:
    """Attention, mean or maximum; see :class:`herscope.mil.model.BagModel`.

    Parameters
    ----------
    spec
        Its parameters.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> bag = make_bag("a", np.eye(3), np.arange(6).reshape(3, 2) * 256, tile_px=256, mpp=0.5,
    ...                encoder="e", encoder_id="e")
    >>> model = PoolingModel()
    >>> sample = model.sample(bag)
    >>> module = model.build(3, 4).eval()
    >>> module(model.collate([sample])).shape, model.tile_scores(module, sample).shape
    (torch.Size([1, 4]), (3, 1))
    """

    def __init__(self, spec: PoolingSpec | None = None) -> None:
        self.spec = spec or PoolingSpec()

    @property
    def name(self) -> str:
        """``abmil``, ``mean`` or ``max``."""
        return self.spec.pooling if self.spec.pooling in {"mean", "max"} else "abmil"

    def sample(self, bag: FeatureBag) -> PoolingSample:
        """Take the features."""
        return PoolingSample(bag.features)

    def thin(self, sample: PoolingSample, keep: NDArray[np.bool_]) -> PoolingSample:
        """Return the bag without the tiles that are not kept; the first stays if none would."""
        stays = np.asarray(keep, np.bool_)
        if stays.all():
            return sample
        return PoolingSample(sample.features[stays] if stays.any() else sample.features[:1])

    def collate(self, samples: Sequence[PoolingSample]) -> TileBatch:
        """Put bags end to end."""
        from herscope.mil.pooling_network import join_tiles

        return join_tiles(samples)

    def build(self, features: int, outputs: int) -> nn.Module:
        """Return a new network; its weights come from torch's generator."""
        from herscope.mil.pooling_network import PoolingNetwork

        return PoolingNetwork(
            features,
            outputs,
            pooling=self.spec.pooling,
            width=self.spec.width,
            hidden=self.spec.hidden,
            dropout=self.spec.dropout,
        )

    def tile_scores(self, module: nn.Module, sample: PoolingSample) -> NDArray[np.float32]:
        """How much each tile counts.

        Attention: (tiles, 1), its weight times the number of tiles, so that 1 is the share of an
        even map. Mean and maximum: (tiles, outputs), what the tile alone would give; the slide's
        output is their mean, or their maximum.
        """
        import torch

        from herscope.mil.pooling_network import PoolingNetwork

        assert isinstance(module, PoolingNetwork)
        device = next(module.parameters()).device
        with torch.inference_mode():
            found = module.scores(self.collate([sample]).to(device))
        return np.asarray(found.float().cpu().numpy(), np.float32)
