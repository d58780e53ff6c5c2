"""What a network is punished for: cross-entropy, soft Dice, focal and truncated cross-entropy.

* Cross-entropy with a weight for each class, as the weighted mean over the pixels that count.
* Soft Dice (Milletari et al. 2016) for each class over all pixels of the batch, averaged over the
  classes that occur in it. A class that does not occur has no overlap to gain; what is wrongly
  called so is punished by cross-entropy.
* Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma.
* Truncated cross-entropy (Zhao et al. 2020, Triple U-Net): flat for pixels the network is sure are
  mislabelled, because nuclei were outlined in part by machine.

Class weights are by inverse frequency (methods of AutoIHC are unpublished; the choice is ours).
Targets equal to ``ignore`` count nowhere, and a batch without any counted pixel costs 0.

Sums are taken in float32 through a one-hot mask rather than by gathering, because the gradient of
a gather is a scatter, whose order of additions is not fixed on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from herscope.core.errors import InputError

IGNORE = 255
"""The mask value of pixels nobody annotated."""
FOCAL_GAMMA = 2.0
"""Lin et al. 2017."""
TRUNCATED_BELOW = 0.2
"""Zhao et al. 2020."""
TRIPLE_SHARE = 0.3
"""Zhao et al. 2020: share of each loss beside the truncated cross-entropy."""
SMOOTH = 1.0
"""Pixels added above and below in Dice, so that a tiny class does not swing it."""


def inverse_frequency(counts: Sequence[int] | Tensor, *, at_most: float = 10.0) -> Tensor:
    """Return a weight for each class that makes every class that occurs count the same.

    weight_c = total / (classes that occur * count_c), 0 where the class does not occur; no more
    than ``at_most`` times the smallest, so that a few pixels of a rare class do not rule.

    Parameters
    ----------
    counts
        Pixels of each class in the training set, shape (classes,).
    at_most
        Largest ratio of two weights, at least 1.

    Returns
    -------
    Tensor
        float32 (classes,).

    Raises
    ------
    InputError
        No pixel at all, a negative count, or ``at_most`` below 1.

    Examples
    --------
    >>> inverse_frequency([30, 10, 0]).tolist()
    [0.6666666865348816, 2.0, 0.0]
    """
    pixels = torch.as_tensor(counts, dtype=torch.float64)
    if pixels.ndim != 1 or bool((pixels < 0).any()) or float(pixels.sum()) <= 0:
        raise InputError(
            f"class weights need the pixels of each class, got {pixels.tolist()}",
            hint="every mask may be empty: check that masks hold 0 to 3 and not only 255",
        )
    if at_most < 1:
        raise InputError(f"the largest ratio of class weights is at least 1, got {at_most:g}")
    occurs = pixels > 0
    weights = torch.zeros_like(pixels)
    weights[occurs] = pixels.sum() / (occurs.sum() * pixels[occurs])
    limit = at_most * float(weights[occurs].min())
    return weights.clamp(max=limit).to(torch.float32)


def one_hot_target(logits: Tensor, target: Tensor, ignore: int) -> Tensor:
    """Return float32 (N, classes, H, W): 1 at the true class, 0 everywhere where ignored.

    Raises
    ------
    InputError
        Shapes that do not belong together, or a value that is neither a class nor ``ignore``.
    """
    classes = logits.shape[1]
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise InputError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not belong together",
            hint="logits are (images, classes, height, width), the target (images, height, width)",
        )
    if target.is_floating_point():
        raise InputError(f"a target holds whole class numbers, got {target.dtype}")
    target = target.long()
    known = ((target >= 0) & (target < classes)) | (target == ignore)
    if not bool(known.all()):
        value = int(target[~known][0])
        raise InputError(
            f"the target holds the value {value}, classes are 0 to {classes - 1}",
            hint=f"pixels without annotation are {ignore}",
        )
    numbers = torch.arange(classes, device=target.device)
    # (N, 1, H, W) == (classes, 1, 1); an ignored value that is also a class number is ignored.
    hot = (target[:, None] == numbers[:, None, None]) & (target != ignore)[:, None]
    return hot.to(torch.float32)


def mean_over_counted(values: Tensor, hot: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean of -``values`` at the true class; 0 (with a gradient) when nothing counts."""
    if weights is not None:
        if weights.shape != (hot.shape[1],):
            raise InputError(
                f"{hot.shape[1]} classes need as many weights, got {tuple(weights.shape)}"
            )
        hot = hot * weights.to(hot)[:, None, None]
    total = hot.sum()
    return -(hot * values).sum() / torch.where(total > 0, total, torch.ones_like(total))


def cross_entropy(
    logits: Tensor, target: Tensor, weights: Tensor | None = None, *, ignore: int = IGNORE
) -> Tensor:
    """Weighted cross-entropy in nats.

    Parameters
    ----------
    logits
        (N, classes, H, W).
    target
        Whole numbers (N, H, W), 0 to classes - 1, or ``ignore``.
    weights
        (classes,), or all equal.
    ignore
        The target value that counts nowhere.

    Returns
    -------
    Tensor
        A scalar: sum of w_t * -log p_t over counted pixels, divided by the sum of w_t.

    Raises
    ------
    InputError
        Shapes that do not fit, or unknown target values.
    """
    hot = one_hot_target(logits, target, ignore)
    return mean_over_counted(functional.log_softmax(logits.float(), dim=1), hot, weights)


def soft_dice(logits: Tensor, target: Tensor, *, ignore: int = IGNORE) -> Tensor:
    """Return 1 - the mean soft Dice of the classes that occur in the batch, in [0, 1].

    Dice_c = (2 sum p_c g_c + 1) / (sum p_c + sum g_c + 1) over all counted pixels of the batch.
    Parameters and errors as in :func:`cross_entropy`.
    """
    hot = one_hot_target(logits, target, ignore)
    counted = hot.sum(dim=1, keepdim=True)
    chance = logits.float().softmax(dim=1) * counted
    axes = (0, 2, 3)
    truth = hot.sum(axes)
    dice = (2 * (chance * hot).sum(axes) + SMOOTH) / (chance.sum(axes) + truth + SMOOTH)
    occurs = (truth > 0).to(dice.dtype)
    classes = occurs.sum()
    return ((1 - dice) * occurs).sum() / torch.where(classes > 0, classes, torch.ones_like(classes))


def cross_entropy_dice(
    logits: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    ignore: int = IGNORE,
    dice_share: float = 1.0,
) -> Tensor:
    """Cross-entropy plus ``dice_share`` times soft Dice, the default loss of compartments.

    Parameters and errors as in :func:`cross_entropy`; the weights act on the cross-entropy only,
    for Dice gives every class the same say already.

    Examples
    --------
    >>> logits = torch.zeros(1, 4, 2, 2)
    >>> target = torch.tensor([[[0, 1], [2, 255]]])
    >>> round(float(cross_entropy_dice(logits, target, dice_share=0)), 4)  # ln 4
    1.3863
    """
    loss = cross_entropy(logits, target, weights, ignore=ignore)
    return loss + dice_share * soft_dice(logits, target, ignore=ignore)


def focal(
    logits: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = FOCAL_GAMMA,
    ignore: int = IGNORE,
) -> Tensor:
    """Focal loss: cross-entropy of each pixel times (1 - p_t)^gamma, weighted mean.

    Parameters and errors as in :func:`cross_entropy`; ``gamma`` 0 is cross-entropy itself.
    """
    if gamma < 0:
        raise InputError(f"gamma of the focal loss is at least 0, got {gamma:g}")
    hot = one_hot_target(logits, target, ignore)
    log_p = functional.log_softmax(logits.float(), dim=1)
    # 1 - p from the log keeps digits where p is close to 1; the clamp keeps the slope finite.
    missing = (-torch.expm1(log_p)).clamp(min=1e-12)
    return mean_over_counted(missing**gamma * log_p, hot, weights)


def compartment_loss(
    weights: Tensor, name: str = "cross-entropy"
) -> Callable[[Tensor | tuple[Tensor, ...], Tensor], Tensor]:
    """Return the loss of a compartment network.

    Parameters
    ----------
    weights
        Of the classes.
    name
        What is added to soft Dice: ``cross-entropy`` or ``focal``.

    Returns
    -------
    callable
        Takes logits, or the logits of every depth (their losses are averaged, Zhou et al. 2018),
        and the target.

    Raises
    ------
    InputError
        Another name.

    Examples
    --------
    >>> loss = compartment_loss(torch.ones(4))
    >>> logits, target = torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)
    >>> bool(loss((logits, logits), target) == loss(logits, target))
    True
    """
    if name not in {"cross-entropy", "focal"}:
        raise InputError(f"no loss is called {name}", hint="cross-entropy or focal")

    def one(logits: Tensor, target: Tensor) -> Tensor:
        share = weights.to(logits.device)
        if name == "focal":
            return focal(logits, target, share) + soft_dice(logits, target)
        return cross_entropy_dice(logits, target, share)

    def every(output: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return one(output, target)
        return torch.stack([one(logits, target) for logits in output]).mean()

    return every


def check_binary(logits: Tensor, target: Tensor, counted: Tensor) -> None:
    """Refuse a binary target of another shape, or with values other than 0, 1 and ignored ones."""
    if logits.shape != target.shape or logits.ndim != 4 or logits.shape[1] != 1:
        raise InputError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} "
            "must both be (images, 1, height, width)"
        )
    wrong = counted & (target != 0) & (target != 1)
    if bool(wrong.any()):
        raise InputError(f"a binary target is 0 or 1, found {target[wrong][0].item():g}")


def binary_dice(logits: Tensor, target: Tensor, *, ignore: int = IGNORE) -> Tensor:
    """Return 1 - soft Dice of one class, (N, 1, H, W) against 0 and 1, over the whole batch."""
    counted = target != ignore
    check_binary(logits, target, counted)
    chance = logits.float().sigmoid() * counted
    truth = (target == 1).to(chance.dtype) * counted
    overlap = 2 * (chance * truth).sum() + SMOOTH
    return 1 - overlap / (chance.sum() + truth.sum() + SMOOTH)


def binary_cross_entropy(logits: Tensor, target: Tensor, *, ignore: int = IGNORE) -> Tensor:
    """Mean of -log p_t over counted pixels, (N, 1, H, W) against 0 and 1."""
    counted = target != ignore
    check_binary(logits, target, counted)
    log_p = log_of_truth(logits, target)
    return -(log_p * counted).sum() / counted.sum().clamp(min=1)


def truncated_cross_entropy(
    logits: Tensor, target: Tensor, *, below: float = TRUNCATED_BELOW, ignore: int = IGNORE
) -> Tensor:
    """Cross-entropy whose slope fades where the network contradicts the label with certainty.

    -log p_t where p_t > d, and 1/2 - log d - p_t^2 / (2 d^2) below; both meet at d with the same
    slope (Zhao et al. 2020).

    Parameters
    ----------
    logits, target
        (N, 1, H, W), the target 0, 1 or ``ignore``.
    below
        d, in (0, 1].

    Raises
    ------
    InputError
        Shapes, values, or d out of range.
    """
    if not 0 < below <= 1:
        raise InputError(f"the truncation is in (0, 1], got {below:g}")
    counted = target != ignore
    check_binary(logits, target, counted)
    log_p = log_of_truth(logits, target)
    edge = torch.log(torch.tensor(below))
    flat = 0.5 - edge - log_p.exp().square() / (2 * below**2)
    each = torch.where(log_p > edge, -log_p, flat)
    return (each * counted).sum() / counted.sum().clamp(min=1)


def log_of_truth(logits: Tensor, target: Tensor) -> Tensor:
    """Return log p of the true one of two classes, exact for large logits."""
    raw = logits.float()
    return functional.logsigmoid(torch.where(target == 1, raw, -raw))


def triple_loss(
    nuclei: Tensor, contour: Tensor, colour: Tensor, mask: Tensor, outline: Tensor
) -> Tensor:
    """Loss of the Triple U-Net's three outputs (Zhao et al. 2020).

    0.3 Dice(nuclei) + truncated CE(nuclei) + 0.3 Dice(contour from H) + 0.3 BCE(nuclei from RGB).

    Parameters
    ----------
    nuclei, contour, colour
        Logits (N, 1, H, W) of :meth:`herscope.nn.networks.triple_unet.TripleUNet.branches`.
    mask, outline
        (N, 1, H, W): 1 inside nuclei, 1 on their contours, 255 where not annotated.
    """
    return (
        truncated_cross_entropy(nuclei, mask)
        + TRIPLE_SHARE * binary_dice(nuclei, mask)
        + TRIPLE_SHARE * binary_dice(contour, outline)
        + TRIPLE_SHARE * binary_cross_entropy(colour, mask)
    )
