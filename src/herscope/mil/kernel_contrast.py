"""Kernel contrastive learning for KAT: two views of a slide should give the same kernels.

Zheng et al. (KAT with kernel contrastive learning, IEEE Trans Med Imaging 2023; their code, MIT),
after BYOL (Grill et al., NeurIPS 2020): an online and a target network; the target's parameters
follow the online ones, target <- m target + (1 - m) online. Tiles are dropped at random, twice.
The tokens of the kernels after every layer go through a projector and, online, a predictor, and
each should point where the target's of the other view points. The loss is

    cross-entropy + weight * (1 - mean cosine)                             weight 0.1 in their code

Anchors do not move when tiles are dropped, so kernel k of one view is kernel k of the other.

Departures: the target works without dropout, so that it does not follow noise; the class is
predicted from the first view; kernels of all bags weigh the same. Their schedule (50 epochs of
warm-up, a cosine from 1e-4 to 1e-6, weight decay rising from 0.04 to 0.4) is the trainer's affair.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from herscope.mil.kat_network import KatBatch, KatNetwork

HIDDEN, PROJECTED = 512, 256
"""Zheng et al. 2023 (code): widths of projector and predictor."""


class KernelContrast(nn.Module):
    """An online KAT with its slowly following target; used like the online one.

    Parameters
    ----------
    online
        The network to train; its Spec holds momentum and the share of tiles dropped.
    """

    def __init__(self, online: KatNetwork) -> None:
        super().__init__()
        spec = online.spec
        self.online = online
        self.projector = _mlp(spec.dim, spec.dropout)
        self.predictor = _mlp(PROJECTED, spec.dropout)
        self.target = copy.deepcopy(online).requires_grad_(requires_grad=False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(requires_grad=False)
        self.momentum, self.drop = spec.momentum, spec.contrast_drop

    def forward(self, batch: KatBatch) -> Tensor:
        """Return the online network's raw outputs."""
        found: Tensor = self.online(batch)
        return found

    def rollout(self, batch: KatBatch, how: str) -> Tensor:
        """Return the online network's attention rollout."""
        return self.online.rollout(batch, how)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; the target stays in evaluation mode."""
        super().train(mode)
        self.target.eval()
        self.target_projector.eval()
        return self

    def branches(self, batch: KatBatch) -> tuple[Tensor, Tensor]:
        """Let the target follow, make two views, compare them; for the training loop.

        Returns
        -------
        outputs
            (bags, outputs), raw, of the first view.
        cosines
            (2 * layers * kernels,), of both directions.
        """
        self.follow()
        views = [batch.keep(drop_tiles(batch.layout.tiles, self.drop)) for _ in range(2)]
        outputs, online = zip(*(self.online.with_kernels(view) for view in views), strict=True)
        said = [self.predictor(self.projector(kernels)) for kernels in online]
        with torch.no_grad():
            aims = [self.target_projector(self.target.with_kernels(v)[1]) for v in views]
        cosines = [
            F.cosine_similarity(mine.float(), aim.float(), dim=1)
            for mine, aim in zip(said, reversed(aims), strict=True)
        ]
        return outputs[0], torch.cat(cosines)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target a step towards the online network."""
        for mine, ours in ((self.target, self.online), (self.target_projector, self.projector)):
            for old, new in zip(mine.parameters(), ours.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)


def contrast_loss(
    weight: float, classify: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
) -> Callable[[tuple[Tensor, Tensor], Tensor], Tensor]:
    """Return the loss of what :meth:`KernelContrast.branches` gives: (branches, classes) -> scalar.

    Parameters
    ----------
    weight
        Of 1 - mean cosine.
    classify
        Loss of (outputs, classes).
    """

    def loss(branches: tuple[Tensor, Tensor], classes: Tensor) -> Tensor:
        outputs, cosines = branches
        return classify(outputs, classes) + weight * (1 - cosines.mean())

    return loss


def drop_tiles(tiles: list[int], most: float) -> list[Tensor]:
    """Draw which tiles stay, as rising indices a bag; each bag drops a share of 0 to ``most``.

    Drawn on the processor by torch's generator, so that every device sees the same views. At least
    one tile of a bag stays.
    """
    kept = []
    for count in tiles:
        share = float(torch.rand(1)) * most
        stay = torch.nonzero(torch.rand(count) >= share)[:, 0]
        kept.append(stay if len(stay) else torch.zeros(1, dtype=torch.int64))
    return kept


def _mlp(size: int, drop: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, HIDDEN, bias=False),
        nn.LayerNorm(HIDDEN),
        nn.GELU(),
        nn.Dropout(drop),
        nn.Linear(HIDDEN, PROJECTED),
    )
