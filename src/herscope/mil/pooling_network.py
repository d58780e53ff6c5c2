"""Networks that pool the tiles of a bag without their places: attention, mean, maximum.

Attention (Ilse, Tomczak, Welling, ICML 2018): tiles are embedded, h = ReLU(Linear(x)), and

    a_k = softmax over k of w^T (tanh(V h_k) * sigmoid(U h_k))        gated; without U: plain
    z = sum over k of a_k h_k,   output = Linear(z)

Mean: the output of the mean of h, which is the mean of the tiles' own outputs. Maximum: the largest
of the tiles' own outputs, each class for itself (Ilse's instance-level pooling). Dropout of h and
standardisation of features by the training slides are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from herscope.mil.segment_sums import segment_max, segment_mean, segment_softmax, segment_sum
from herscope.mil.standardise import Standardise, check_size

if TYPE_CHECKING:
    from herscope.mil.pooling import PoolingSample

Pooling = Literal["gated", "plain", "mean", "max"]


@dataclass(frozen=True, eq=False)
class TileBatch:
    """Bags end to end: ``features`` (tiles, features) float32, ``sizes`` (bags,) int64."""

    features: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        return type(self)(self.features.to(device), self.sizes.to(device))


def join_tiles(samples: Sequence[PoolingSample]) -> TileBatch:
    """Put bags end to end.

    Raises
    ------
    WrongInput
        Their features are not of one size.
    """
    for sample in samples:
        check_size(sample.features.shape[1], samples[0].features.shape[1])
    return TileBatch(
        features=torch.cat([torch.from_numpy(sample.features) for sample in samples]),
        sizes=torch.tensor([sample.tiles for sample in samples]),
    )


class Attention(nn.Module):
    """How much each tile counts: (tiles, inputs) -> (tiles, 1), before the softmax.

    Parameters
    ----------
    inputs, hidden
        Numbers a tile, and inside.
    gated
        With the sigmoid branch U.
    """

    def __init__(self, inputs: int, hidden: int, *, gated: bool) -> None:
        super().__init__()
        self.v = nn.Linear(inputs, hidden)
        self.u = nn.Linear(inputs, hidden) if gated else None
        self.w = nn.Linear(hidden, 1)

    def forward(self, tiles: Tensor) -> Tensor:
        """Apply it."""
        inside = torch.tanh(self.v(tiles))
        if self.u is not None:
            inside = inside * torch.sigmoid(self.u(tiles))
        found: Tensor = self.w(inside)
        return found


class PoolingNetwork(nn.Module):
    """Bags -> (bags, outputs).

    Parameters
    ----------
    features
        Numbers a tile.
    outputs
        Classes, or 1.
    pooling
        ``gated`` or ``plain`` attention, ``mean`` or ``max``.
    width, hidden
        Numbers a tile after the embedding, and inside the attention.
    dropout
        Of the embedded tiles.

    Examples
    --------
    >>> sum(p.numel() for p in PoolingNetwork(512, 4, pooling="gated").parameters())
    198277
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        pooling: Pooling,
        width: int = 256,
        hidden: int = 128,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.standardise = Standardise(features)
        self.embedding = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout))
        self.attention = (
            Attention(width, hidden, gated=pooling == "gated")
            if pooling in {"gated", "plain"}
            else None
        )
        self.head = nn.Linear(width, outputs)

    def fit_statistics(self, samples: Sequence[PoolingSample]) -> None:
        """Take mean and deviation of the features from the tiles of training slides."""
        self.standardise.fit_statistics(sample.features for sample in samples)

    def forward(self, batch: TileBatch) -> Tensor:
        """(bags, outputs), raw."""
        tiles = self.embedding(self.standardise(batch.features))  # (tiles, width)
        if self.attention is not None:
            weights = segment_softmax(self.attention(tiles), batch.sizes)
            pooled = segment_sum(weights * tiles, batch.sizes)
            found: Tensor = self.head(pooled)
            return found
        if self.pooling == "max":
            return segment_max(self.head(tiles), batch.sizes)
        mean: Tensor = self.head(segment_mean(tiles, batch.sizes))
        return mean

    def scores(self, batch: TileBatch) -> Tensor:
        """(tiles, 1) attention, mean 1; of mean and maximum each tile's own outputs."""
        tiles = self.embedding(self.standardise(batch.features))
        if self.attention is not None:
            weights = segment_softmax(self.attention(tiles), batch.sizes)
            return weights * torch.repeat_interleave(batch.sizes, batch.sizes)[:, None]
        found: Tensor = self.head(tiles)
        return found
