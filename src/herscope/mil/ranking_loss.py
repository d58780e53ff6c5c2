"""Pairwise hinge: a slide of the higher class should score at least as much higher.

SlideGraph+ (Lu et al., Med Image Anal 2022;80:102486):

    mean over pairs with y_i != y_j of max(0, 1 - (y_i - y_j)(z_i - z_j))

A batch of one class has no such pair; it costs 0 and moves nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ranking_loss(scores: Tensor, classes: Tensor) -> Tensor:
    """Punish pairs of slides that are scored in the wrong order, or too close.

    Parameters
    ----------
    scores
        (slides,) or (slides, 1).
    classes
        (slides,), 0 or 1; of more than two, a step of k asks for a gap of 1/k.

    Returns
    -------
    Tensor
        Scalar, at least 0.

    Examples
    --------
    >>> float(ranking_loss(torch.tensor([0.0, 0.5]), torch.tensor([0, 1])))
    0.5
    >>> float(ranking_loss(torch.tensor([0.0, 0.5]), torch.tensor([1, 1])))
    0.0
    """
    z = scores.reshape(-1).float()
    y = classes.reshape(-1).to(z.dtype)
    step = y[:, None] - y[None, :]
    cost = torch.relu(1 - step * (z[:, None] - z[None, :]))
    apart = (step != 0).to(z.dtype)
    return (cost * apart).sum() / apart.sum().clamp(min=1)
