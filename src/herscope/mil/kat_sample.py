"""Parameters of KAT, and a slide as it takes one.

Defaults are those of the code of Zheng et al. (IEEE Trans Med Imaging 2023), with which the network
has 3,287,300 parameters at 512 features and 4 classes.

A sample holds the features of at most ``max_tiles`` tiles and one (kernels, tiles) array of squared
distances. The reference stores the distance of every tile to every other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.mil.kernel_masks import Squared


class KatSpec(Spec):
    """Parameters of KAT; defaults of Zheng et al. 2023 (code)."""

    tiles_per_kernel: int = Field(
        default=144, ge=4, le=100_000, description="Tiles a kernel; the area of its mask."
    )
    dim: int = Field(default=256, ge=4, le=4096, description="Numbers a token.")
    depth: int = Field(
        default=4,
        ge=2,
        le=16,
        description="Layers; with one, nothing of the tiles would reach the class token.",
    )
    heads: int = Field(default=8, ge=1, le=64, description="Heads of attention.")
    head_dim: int = Field(default=64, ge=1, le=512, description="Numbers a head.")
    mlp: int = Field(default=512, ge=1, le=16_384, description="Hidden numbers of the MLP.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="After attention and in the MLP.")
    embedding_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="After the embedding of the tiles."
    )
    residual: Literal["normed", "standard"] = Field(
        default="normed",
        description="What updates are added to: the normalised tokens, as the released code does, "
        "or the raw ones (pre-norm).",
    )
    max_tiles: int = Field(
        default=4096, ge=4, le=1_000_000, description="More tiles are thinned on their lattice."
    )
    seed: int = Field(default=9, ge=0, lt=2**32, description="Seed of the anchors' K-means.")
    contrast_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Weight of kernel contrastive learning in the loss; 0: none (they used 0.1).",
    )
    contrast_drop: float = Field(
        default=0.6, ge=0, lt=1, description="Largest share of tiles dropped in its two views."
    )
    momentum: float = Field(
        default=0.99, ge=0, lt=1, description="How slowly its target network follows."
    )
    rollout: Literal["path", "last", "mean", "product"] = Field(
        default="path",
        description="Heatmap: the class token's last reading of what kernels read one layer "
        "before; both attentions of the last layer; mean or product over all layers.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class KatSample:
    """A slide for KAT.

    Attributes
    ----------
    features
        (tiles, features) float32.
    squared
        (kernels, tiles) float32, squared distances of anchors and tiles.
    kept
        (tiles,) which tiles of the bag these are.
    """

    features: NDArray[np.float32] = field(repr=False)
    squared: Squared = field(repr=False)
    kept: NDArray[np.int64] = field(repr=False)

    @property
    def tiles(self) -> int:
        """How many tiles it holds."""
        return len(self.features)
