"""What every model that reads bags offers, and the batch of bags it is given.

A slide is turned once into a *sample*: numbers, places and whatever structure the model needs
(anchors, a graph), without torch. Samples are put together into a batch, end to end and without
padding; the module turns a batch into one row of outputs a bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag

if TYPE_CHECKING:
    import torch
    from torch import nn


class Sample(Protocol):
    """A slide as one model needs it; numbers only, made once, never changed."""

    @property
    def tiles(self) -> int:
        """How many tiles it holds."""


class Batch(Protocol):
    """Samples end to end as tensors."""

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""


S = TypeVar("S", bound=Sample)


class BagModel(Protocol[S]):
    """A family of models, with its parameters fixed."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def spec(self) -> Spec:
        """Its parameters."""

    def sample(self, bag: FeatureBag) -> S:
        """Make a slide's sample; the same for any order of the tiles in the file."""

    def thin(self, sample: S, keep: NDArray[np.bool_]) -> S:
        """Return the sample without the tiles that are not kept (node dropping)."""

    def collate(self, samples: Sequence[S]) -> Any:
        """Put samples end to end; returns a :class:`Batch`."""

    def build(self, features: int, outputs: int) -> nn.Module:
        """Return a new module: batch -> (bags, outputs), raw."""

    def tile_scores(self, module: nn.Module, sample: S) -> NDArray[np.float32]:
        """(tiles, outputs or 1): how much each tile counts; for heatmaps. Module in eval mode."""
