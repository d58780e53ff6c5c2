"""What every network here is made of: convolution units, the width multiplier, padding, resizing.

All networks take (N, C, H, W) of any height and width and give (N, classes, H, W). A network that
halves its input k times works on multiples of 2^k, so the input is padded at the right and the
bottom with its last row and column and the result is cropped. Padding by repetition adds no edge
that is not tissue; padding only at the far sides keeps the pixel (0, 0) where it was.

Nothing here branches on the values of a tensor, so a traced graph serves every size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from herscope.core.errors import InputError, WrongInput

NARROWEST = 4
"""Fewest channels of a layer, and the step to which widths are rounded."""


def scaled(channels: int, width: float, *, step: int = NARROWEST) -> int:
    """Return a layer's channels at a width multiplier, rounded to ``step``, at least ``step``.

    Examples
    --------
    >>> scaled(64, 1.0), scaled(64, 0.25), scaled(64, 0.01)
    (64, 16, 4)
    """
    if width == 1.0:
        return channels
    return max(step, round(channels * width / step) * step)


def check_images(images: Tensor, channels: int) -> None:
    """Refuse a batch that is not (N, channels, H, W).

    Raises
    ------
    WrongInput
        Another number of axes or of channels.
    """
    if torch.onnx.is_in_onnx_export():  # shapes are symbols there; comparing them warns
        return
    if images.ndim != 4 or images.shape[1] != channels:
        raise WrongInput(
            f"the network takes (images, {channels} channels, height, width), "
            f"got {tuple(images.shape)}",
            hint="the channels follow from the inputs: rgb 3, hematoxylin 1, hematoxylin-rgb 4",
        )


def padded(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of ``multiple``.

    Examples
    --------
    >>> padded(torch.zeros(1, 3, 50, 64), 32).shape
    torch.Size([1, 3, 64, 64])
    """
    height, width = images.shape[-2:]
    return functional.pad(
        images, (0, (-width) % multiple, 0, (-height) % multiple), mode="replicate"
    )


def cropped(maps: Tensor, like: Tensor) -> Tensor:
    """Cut away what :func:`padded` added to ``like``."""
    height, width = like.shape[-2:]
    return maps[..., :height, :width]


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Return ``maps`` bilinearly at the height and width of ``like`` (pixel centres aligned)."""
    height, width = like.shape[-2:]
    return functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def conv_unit(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; the size is kept at stride 1."""
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolution units, the step of every U-Net."""
    return nn.Sequential(conv_unit(inputs, outputs), conv_unit(outputs, outputs))


def initialise(module: nn.Module) -> None:
    """Draw weights that keep the variance through ReLU layers (He et al. 2015), biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def initialise_head(head: nn.Conv2d) -> None:
    """Draw the weights of a last layer so that fresh logits lie near 0.5, whatever feeds it."""
    nn.init.normal_(head.weight, std=0.5 / head.in_channels**0.5)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def check_sizes(channels: int, classes: int, width: float) -> None:
    """Refuse a network that cannot be built.

    Raises
    ------
    InputError
        No channels, no classes, or a width outside (0, 4].
    """
    if channels < 1 or classes < 1:
        raise InputError(
            f"a network needs at least one channel and one class, got {channels} and {classes}"
        )
    if not 0.0 < width <= 4.0:
        raise InputError(
            f"width {width:g} is not between 0 and 4",
            hint="1 is the published network, 0.25 has about a sixteenth of its parameters",
        )


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters, running statistics not counted.

    Examples
    --------
    >>> parameter_count(nn.Conv2d(3, 8, 1))
    32
    """
    return sum(part.numel() for part in module.parameters())
