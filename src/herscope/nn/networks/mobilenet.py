"""MobileNetV3-Large as an encoder (Howard et al. 2019, table 1), named as the public weights are.

For segmentation the last three blocks dilate by two instead of halving (section 6.4), so the
coarsest map has a sixteenth of the size. Up to and with the last 1 x 1 convolution: 2,971,952
parameters at three channels and width 1.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from herscope.nn.networks.blocks import initialise

BN_EPS = 1e-3
BN_MOMENTUM = 0.01


class Row(NamedTuple):
    """One line of table 1: kernel, expansion, output, squeeze, h-swish, stride."""

    kernel: int
    expansion: int
    outputs: int
    squeeze: bool
    hswish: bool
    stride: int


# Howard et al. 2019, table 1 (MobileNetV3-Large).
LARGE = (
    Row(3, 16, 16, squeeze=False, hswish=False, stride=1),
    Row(3, 64, 24, squeeze=False, hswish=False, stride=2),
    Row(3, 72, 24, squeeze=False, hswish=False, stride=1),
    Row(5, 72, 40, squeeze=True, hswish=False, stride=2),
    Row(5, 120, 40, squeeze=True, hswish=False, stride=1),
    Row(5, 120, 40, squeeze=True, hswish=False, stride=1),
    Row(3, 240, 80, squeeze=False, hswish=True, stride=2),
    Row(3, 200, 80, squeeze=False, hswish=True, stride=1),
    Row(3, 184, 80, squeeze=False, hswish=True, stride=1),
    Row(3, 184, 80, squeeze=False, hswish=True, stride=1),
    Row(3, 480, 112, squeeze=True, hswish=True, stride=1),
    Row(3, 672, 112, squeeze=True, hswish=True, stride=1),
    Row(5, 672, 160, squeeze=True, hswish=True, stride=2),
    Row(5, 960, 160, squeeze=True, hswish=True, stride=1),
    Row(5, 960, 160, squeeze=True, hswish=True, stride=1),
)
DILATED_FROM = 12
"""Index of the first row that dilates."""
KEPT = (3, 6)
"""Positions in ``features`` after which a map is kept: the last at 1/4 and the last at 1/8."""


def divisible(channels: float) -> int:
    """Return the nearest multiple of 8 that is not more than a tenth below (the papers' rule).

    Examples
    --------
    >>> divisible(18), divisible(11), divisible(66)
    (24, 16, 64)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def unit(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution, batch normalisation and, if given, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs, eps=BN_EPS, momentum=BN_MOMENTUM),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


class Squeeze(nn.Module):
    """Weigh each channel by the image's mean of all channels (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = divisible(channels / 4)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        share = x.mean((2, 3), keepdim=True)
        share = self.fc2(functional.relu(self.fc1(share)))
        return x * functional.hardsigmoid(share)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, squeeze, project; added to the input where shapes allow."""

    def __init__(self, inputs: int, row: Row, *, width: float, dilation: int) -> None:
        super().__init__()
        expanded, outputs = divisible(row.expansion * width), divisible(row.outputs * width)
        stride = 1 if dilation > 1 else row.stride
        self.residual = stride == 1 and inputs == outputs
        activation = nn.Hardswish if row.hswish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(unit(inputs, expanded, activation=activation))
        layers.append(
            unit(
                expanded,
                expanded,
                kernel=row.kernel,
                stride=stride,
                dilation=dilation,
                groups=expanded,
                activation=activation,
            )
        )
        if row.squeeze:
            layers.append(Squeeze(expanded))
        layers.append(unit(expanded, outputs))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """Three feature maps of MobileNetV3-Large at 1/4, 1/8 and 1/16 of the size.

    Attributes
    ----------
    widths
        Channels of the three maps, finest first (24, 40, 960 at width 1).
    """

    first = ("features.0.0", "features.0.1")

    def __init__(self, channels: int = 3, *, width: float = 1.0) -> None:
        super().__init__()
        inputs = divisible(16 * width)
        layers: list[nn.Module] = [
            unit(channels, inputs, kernel=3, stride=2, activation=nn.Hardswish)
        ]
        outputs = [inputs]
        for number, row in enumerate(LARGE):
            dilation = 2 if number >= DILATED_FROM else 1
            layers.append(InvertedResidual(inputs, row, width=width, dilation=dilation))
            inputs = divisible(row.outputs * width)
            outputs.append(inputs)
        layers.append(unit(inputs, 6 * inputs, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.widths = (*(outputs[position] for position in KEPT), 6 * inputs)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> maps at 1/4, 1/8 and 1/16."""
        maps = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in KEPT:
                maps.append(x)
        return (*maps, x)
