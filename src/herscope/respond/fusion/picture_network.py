"""What makes a vector of a lesion's picture: three slices as channels, 0 to 1, square.

``small``
    Ours, to be trained from scratch on a CPU: a stem of stride 2, three residual stages (He et al.,
    CVPR 2016) of 32, 64 and 96 channels at strides 4, 8 and 8, and the mean over the picture. Group
    normalisation (Wu and He, ECCV 2018), not batch normalisation: a batch holds few lesions, and
    the average of several checkpoints' weights needs no statistics computed anew. 0.22 million
    parameters; pictures of 112 px give maps of 14 x 14.
``mnasnet``
    torchvision's MnasNet 1.0 (Tan et al., CVPR 2019) as in MuMo, from a local file of ImageNet
    weights; its batch normalisation keeps the statistics of that file, for the same two reasons.

Both give ``maps``, the last convolution's output that Grad-CAM needs, and ``pool`` them. Every
picture is read on its own: what a picture becomes does not depend on the batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from herscope.core.errors import DependencyMissing, InputError
from herscope.nn.networks.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_complete,
    matched,
    read_tensors,
)
from herscope.respond.fusion.fusion_spec import PICTURE_FEATURES, PictureKind

CHANNELS: Final = 3
GROUPS: Final = 8
SMALL_STAGES: Final = ((32, 2), (64, 2), (PICTURE_FEATURES["small"], 1))
"""Channels and stride of each residual stage."""
SMALL_CENTRE, SMALL_SPREAD = 0.5, 0.25
"""Takes 0 to 1 to about -2 to 2, as the other network's pictures are."""


class PictureNetwork(nn.Module):
    """Pictures to vectors.

    Parameters
    ----------
    kind
        ``small`` or ``mnasnet``.
    weights
        A local file for ``mnasnet``: safetensors, or a torch file with nothing but tensors.
    pretrained
        False where weights follow, as when a trained model is loaded: ``weights`` is not read.

    Attributes
    ----------
    features
        Numbers a picture becomes.

    Raises
    ------
    DependencyMissing
        ``mnasnet`` without torchvision.
    InputError
        ``mnasnet`` without a file.
    ModelError
        The file cannot be read or belongs to another network.

    Examples
    --------
    >>> network = PictureNetwork("small")
    >>> x = torch.zeros(2, 3, 112, 112)
    >>> network.maps(x).shape, network(x).shape
    (torch.Size([2, 96, 14, 14]), torch.Size([2, 96]))
    """

    def __init__(
        self, kind: PictureKind, weights: str | None = None, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.kind = kind
        self.features = PICTURE_FEATURES[kind]
        self.layers: nn.Module = _small() if kind == "small" else _mnasnet(weights, pretrained)
        mean, spread = (
            ((SMALL_CENTRE,) * CHANNELS, (SMALL_SPREAD,) * CHANNELS)
            if kind == "small"
            else (IMAGENET_MEAN, IMAGENET_STD)
        )
        for name, values in (("mean", mean), ("spread", spread)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.mean: Tensor
        self.spread: Tensor

    def maps(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) of 0 to 1 -> (n, features, h, w), the last convolution's output."""
        made: Tensor = self.layers((x - self.mean) / self.spread)
        return made

    @staticmethod
    def pool(maps: Tensor) -> Tensor:
        """(n, features, h, w) -> (n, features), the mean over the picture."""
        return maps.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) of 0 to 1 -> (n, features)."""
        return self.pool(self.maps(x))

    def train(self, mode: bool = True) -> PictureNetwork:
        """As any module; batch normalisation stays with the statistics of its file."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


class Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _convolution(before, after, stride),
            nn.GroupNorm(GROUPS, after),
            nn.ReLU(inplace=True),
            _convolution(after, after, 1),
            nn.GroupNorm(GROUPS, after),
        )
        self.short = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) -> (n, after, h / stride, w / stride)."""
        return torch.relu(self.inner(x) + self.short(x))


def _convolution(before: int, after: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False)


def _small() -> nn.Sequential:
    first = SMALL_STAGES[0][0] // 2
    layers: list[nn.Module] = [
        _convolution(CHANNELS, first, 2),
        nn.GroupNorm(GROUPS, first),
        nn.ReLU(inplace=True),
    ]
    before = first
    for after, stride in SMALL_STAGES:
        layers.append(Residual(before, after, stride))
        before = after
    return nn.Sequential(*layers)


def _mnasnet(weights: str | None, pretrained: bool) -> nn.Module:
    network = _torchvision().models.mnasnet1_0(weights=None)
    layers: nn.Module = network.layers
    if not pretrained:
        return layers
    if weights is None:
        raise InputError(
            "picture_network mnasnet without picture_weights",
            hint="give a local file of its ImageNet weights, or take picture_network small, which "
            "is trained from scratch",
        )
    file = Path(weights)
    wanted = {f"layers.{name}": value for name, value in layers.state_dict().items()}
    _, found, _ = matched(read_tensors(file), set(wanted), file)
    check_complete(found, wanted, file)
    layers.load_state_dict(
        {name.removeprefix("layers."): value for name, value in found.items()}, strict=False
    )
    return layers


def _torchvision() -> Any:
    from herscope.nn.networks.vision_transformers import library

    try:
        return library("torchvision")
    except DependencyMissing as error:
        raise DependencyMissing(
            "picture_network mnasnet needs torchvision, which is not installed or does not load",
            hint="pip install 'herscope[foundation]', or take picture_network small",
        ) from error
