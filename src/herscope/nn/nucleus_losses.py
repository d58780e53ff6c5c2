"""Losses of nucleus networks, by what the network gives.

===================================  =============================================================
channels                             loss
===================================  =============================================================
nucleus, distance                    cross-entropy and Dice of the nucleus, cross-entropy of the
                                     distance against its value in 0..1 inside nuclei and in a rim
nucleus, horizontal, vertical        cross-entropy and Dice, mean squares of the two maps and of
                                     their slopes inside nuclei, 1 : 1 : 1 : 2 (Graham et al. 2019
                                     weigh 1, 1, 1 and 2 as well)
nucleus (Triple U-Net)               :func:`herscope.nn.losses.triple_loss` of its three branches
===================================  =============================================================

A cross-entropy against a value between 0 and 1 is least where the sigmoid equals that value, so
the distance is a regression whose slope does not fade at the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from herscope.core.errors import InputError
from herscope.nn.losses import IGNORE, binary_cross_entropy, binary_dice, triple_loss

SLOPE_SHARE = 2.0
"""Weight of the slopes' squares (Graham et al. 2019)."""

Output = Tensor | tuple[Tensor, ...]


def nucleus_loss(channels: Sequence[str]) -> Callable[[Output, Tensor], Tensor]:
    """Return the loss for a network's channels.

    Parameters
    ----------
    channels
        As on the card of the model.

    Returns
    -------
    callable
        Takes the network's output (its branches for the Triple U-Net) and the target of
        :func:`herscope.nn.nucleus_targets.nucleus_target` with :func:`target_channels`.

    Raises
    ------
    InputError
        Channels nobody defined.

    Examples
    --------
    >>> loss = nucleus_loss(["nucleus", "distance"])
    >>> target = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    >>> bool(loss(40 * (2 * target - 1), target) < 1e-6)
    True
    """
    known: dict[tuple[str, ...], Callable[[Output, Tensor], Tensor]] = {
        ("nucleus",): _triple,
        ("nucleus", "distance"): _distance,
        ("nucleus", "horizontal", "vertical"): _hover,
    }
    if tuple(channels) not in known:
        raise InputError(f"no loss for the channels {', '.join(channels)}")
    return known[tuple(channels)]


def target_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of the target; the Triple U-Net learns contours too.

    Examples
    --------
    >>> target_channels(["nucleus"])
    ('nucleus', 'contour')
    """
    return ("nucleus", "contour") if tuple(channels) == ("nucleus",) else tuple(channels)


def _single(output: Output) -> Tensor:
    if not isinstance(output, Tensor):
        raise InputError(f"this loss takes one output, got {len(output)}")
    return output.float()


def _nucleus(logits: Tensor, target: Tensor) -> Tensor:
    return binary_cross_entropy(logits, target) + binary_dice(logits, target)


def _distance(output: Output, target: Tensor) -> Tensor:
    logits = _single(output)
    nucleus = target[:, :1]
    each = functional.binary_cross_entropy_with_logits(
        logits[:, 1:], target[:, 1:], reduction="none"
    )
    # Outside, a distance of 0 is learnt as well, for summits of the background would be nuclei.
    counted = (nucleus != IGNORE).to(each.dtype)
    floor = _entropy(target[:, 1:])
    distance = ((each - floor) * counted).sum() / counted.sum().clamp(min=1)
    return _nucleus(logits[:, :1], nucleus) + SLOPE_SHARE * distance


def _entropy(value: Tensor) -> Tensor:
    """Least a cross-entropy against this value can be, so that a perfect map costs nothing."""
    return -(torch.xlogy(value, value) + torch.xlogy(1 - value, 1 - value))


def _hover(output: Output, target: Tensor) -> Tensor:
    maps = _single(output)
    nucleus, truth, found = target[:, :1], target[:, 1:], maps[:, 1:]
    inside = (nucleus == 1).to(maps.dtype)
    count = inside.sum().clamp(min=1)
    squares = ((found - truth).square() * inside).sum() / count
    off = found - truth
    across = (off[:, :1, :, 2:] - off[:, :1, :, :-2]) / 2 * inside[..., 1:-1]
    down = (off[:, 1:, 2:] - off[:, 1:, :-2]) / 2 * inside[:, :, 1:-1]
    # Central differences; Graham et al. take a Sobel kernel of 5 x 5.
    slopes = (across.square().sum() + down.square().sum()) / count
    return _nucleus(maps[:, :1], nucleus) + squares + SLOPE_SHARE * slopes


def _triple(output: Output, target: Tensor) -> Tensor:
    if isinstance(output, Tensor) or len(output) != 3:
        raise InputError("the Triple U-Net's loss takes its three branches")
    nuclei, contour, colour = (part.float() for part in output)
    return triple_loss(nuclei, contour, colour, target[:, :1], target[:, 1:])
