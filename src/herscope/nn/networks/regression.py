"""What the H-score regressors share: the head, the one channel as three, weights from a file.

All take float32 (N, 1, H, W), the optical density of DAB with 0 outside the target, of any height
and width from 32 px, and give (N, 1): H / 300, linear. Clipping to 0 to 300 belongs to inference
(:mod:`herscope.nn.hscore_predict`); a clipped output has no gradient where it is wrong most.

Features are averaged over the whole image before the head (global average pooling), so the size of
the image is free. Pixels outside the target are 0 and are averaged as well: a network has to learn
how much of the image is target from the difference between 0 and the faint brown of a negative
cell.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from herscope.core.errors import InputError
from herscope.nn.networks.encoder import LoadReport, load_encoder

MIDDLE = 0.5
"""A fresh network says 150 of 300, from where both ends are equally near."""


class RegressionHead(nn.Module):
    """Mean over the image, one hidden layer with ReLU, linear output."""

    def __init__(self, features: int, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Linear(hidden, outputs)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        nn.init.zeros_(self.hidden.bias)
        nn.init.normal_(self.out.weight, std=0.1 / hidden**0.5)
        nn.init.constant_(self.out.bias, MIDDLE)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, features, h, w) -> (N, outputs)."""
        found: Tensor = self.out(self.relu(self.hidden(maps.mean(dim=(2, 3)))))
        return found


def as_colours(images: Tensor) -> Tensor:
    """(N, 1, H, W) -> (N, 3, H, W), the one channel three times; three channels stay.

    Examples
    --------
    >>> as_colours(torch.zeros(2, 1, 32, 40)).shape
    torch.Size([2, 3, 32, 40])
    """
    return images if images.shape[1] == 3 else torch.cat((images, images, images), dim=1)


def check_colours(channels: int) -> None:
    """Refuse channels that an encoder of colour images cannot be given.

    Raises
    ------
    InputError
        Neither one channel nor three.
    """
    if channels not in (1, 3):
        raise InputError(
            f"an encoder of colour images cannot be given {channels} channels",
            hint="the input dab-target has 1",
        )


def load_regression_encoder(network: nn.Module, path: str | Path) -> LoadReport:
    """Load ImageNet weights into the encoder of an H-score regressor.

    They are taken as they are: the input is optical density, not a colour, so ImageNet's mean and
    deviation have no counterpart in it.

    Parameters
    ----------
    network
        ``vgg16-regression`` or ``resnet18-regression`` at width 1.
    path
        ``.safetensors``, or a torch file (``.pth``), with the names torchvision uses.

    Raises
    ------
    InputError
        The network has no such encoder.
    WeightsUnavailable, ModelError, WrongInput
        As :func:`herscope.nn.networks.encoder.load_encoder`.
    """
    if not hasattr(network, "encoder"):
        raise InputError(
            f"{type(network).__name__} has no encoder that could be loaded",
            hint="H-score networks with an encoder: vgg16-regression, resnet18-regression",
        )
    report = load_encoder(network, path, normalised=False)
    return replace(report, first_layer="as in the file; the one channel stands in all colours")
