"""HoVer-Net (Graham et al. 2019, Medical Image Analysis 58:101563): nuclei and places in them.

One encoder, two decoders. The encoder is a pre-activated ResNet-50 (He et al. 2016, "Identity
mappings") whose first 7 x 7 convolution keeps the size and which has no pooling, so the coarsest
map is 1/8 of the image, not 1/32. Each decoder enlarges three times by repetition, adds the
encoder's map of that size, and refines with a 5 x 5 convolution and dense units (8 of them at 1/4,
4 at 1/2; each a 1 x 1 to 128 and a 5 x 5 in four groups to 32 more channels, joined to what came
in). One decoder gives nuclear pixels, the other the horizontal and vertical position of a pixel in
its nucleus, seen from the centre of mass: -1 at the left (upper) end, 1 at the right (lower) one.

Output channels: nucleus (a logit), horizontal, vertical (raw values; the loss is theirs, and what
is beyond -1 to 1 is clipped by whoever decodes them).

Departures: convolutions are padded, so the result has the input's size (the paper gives the inner
80 x 80 px of 270 x 270); nuclear pixels have one logit instead of two; the third decoder, for
types of nuclei, is left out. 45,028,611 parameters at three channels and width 1, 2,829,123 at
0.25.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from herscope.core.errors import InputError
from herscope.nn.networks.blocks import (
    check_images,
    cropped,
    initialise,
    initialise_head,
    padded,
    scaled,
)
from herscope.nn.networks.resnet import EXPANSION, STAGE_BLOCKS, STAGE_PLANES, STAGE_STRIDES

STRIDE = 8
CLASSES = ("nucleus", "horizontal", "vertical")
DENSE_UNITS = (8, 4)
"""At 1/4 and at 1/2 of the size."""
DENSE_SQUEEZED, DENSE_GROWTH, DENSE_GROUPS = 128, 32, 4
DECODER_CHANNELS = (256, 128, 64)


def normalised(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU: the pre-activation of whatever follows."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class PreactivatedBottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions, each after its normalisation, beside a shortcut.

    The first of a stage changes size or channels: there the input is activated by what came before
    it, and the shortcut is a 1 x 1 convolution of the same input.
    """

    def __init__(self, inputs: int, planes: int, *, stride: int, first: bool) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.before = nn.Identity() if first else normalised(inputs)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, planes, 1, bias=False),
            normalised(planes),
            nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False),
            normalised(planes),
            nn.Conv2d(planes, outputs, 1, bias=False),
        )
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if first else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 4 planes, H / stride, W / stride)."""
        return self.body(self.before(x)) + self.shortcut(x)


class Encoder(nn.Module):
    """Pre-activated ResNet-50 at an output stride of 8; gives maps at 1, 1/2, 1/4 and 1/8."""

    def __init__(self, channels: int, *, width: float) -> None:
        super().__init__()
        inputs = scaled(64, width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, inputs, 7, padding=3, bias=False), normalised(inputs)
        )
        self.stages = nn.ModuleList()
        widths = []
        for blocks, base, stride in zip(STAGE_BLOCKS, STAGE_PLANES, STAGE_STRIDES, strict=True):
            planes = scaled(base, width)
            stage: list[nn.Module] = [
                PreactivatedBottleneck(inputs, planes, stride=stride, first=True)
            ]
            inputs = planes * EXPANSION
            stage += [
                PreactivatedBottleneck(inputs, planes, stride=1, first=False)
                for _ in range(blocks - 1)
            ]
            self.stages.append(nn.Sequential(*stage, normalised(inputs)))
            widths.append(inputs)
        self.widths = tuple(widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> four maps, finest first."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class DenseUnits(nn.Module):
    """Units that each join a few channels of their own to all that came before."""

    def __init__(self, inputs: int, units: int, *, width: float) -> None:
        super().__init__()
        squeezed, growth = scaled(DENSE_SQUEEZED, width), scaled(DENSE_GROWTH, width)
        self.units = nn.ModuleList(
            nn.Sequential(
                normalised(inputs + number * growth),
                nn.Conv2d(inputs + number * growth, squeezed, 1, bias=False),
                normalised(squeezed),
                nn.Conv2d(squeezed, growth, 5, padding=2, groups=DENSE_GROUPS, bias=False),
            )
            for number in range(units)
        )
        self.outputs = inputs + units * growth
        self.finish = normalised(self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        for unit in self.units:
            x = torch.cat((x, unit(x)), dim=1)
        return self.finish(x)


class Decoder(nn.Module):
    """From the encoder's maps to ``outputs`` channels at full size."""

    def __init__(self, widths: tuple[int, ...], outputs: int, *, width: float) -> None:
        super().__init__()
        fine, middle, coarse = widths[:3]
        first, second, last = (scaled(base, width) for base in DECODER_CHANNELS)
        dense_first = DenseUnits(first, DENSE_UNITS[0], width=width)
        dense_second = DenseUnits(second, DENSE_UNITS[1], width=width)
        self.steps = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(coarse, first, 5, padding=2, bias=False),
                    dense_first,
                    nn.Conv2d(dense_first.outputs, middle, 1, bias=False),
                ),
                nn.Sequential(
                    nn.Conv2d(middle, second, 5, padding=2, bias=False),
                    dense_second,
                    nn.Conv2d(dense_second.outputs, fine, 1, bias=False),
                ),
                nn.Sequential(
                    nn.Conv2d(fine, last, 5, padding=2, bias=False),
                    normalised(last),
                ),
            ]
        )
        self.head = nn.Conv2d(last, outputs, 1)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Refine ``x`` (at 1/8) with ``skips`` (at 1, 1/2, 1/4)."""
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = step(functional.interpolate(x, scale_factor=2.0, mode="nearest") + skip)
        return self.head(x)


class HoverNet(nn.Module):
    """Nuclei and the position of every pixel in its nucleus.

    Parameters
    ----------
    channels
        Channels of the input; 3 for "rgb".
    classes
        3: nucleus, horizontal, vertical.
    width
        Multiplier of all channel counts.

    Raises
    ------
    InputError
        Another number of classes.
    """

    def __init__(self, channels: int = 3, classes: int = 3, *, width: float = 1.0) -> None:
        super().__init__()
        if classes != len(CLASSES):
            raise InputError(
                f"hovernet gives {len(CLASSES)} channels, asked were {classes}",
                hint=f"its channels are {', '.join(CLASSES)}",
            )
        self.channels, self.classes = channels, classes
        self.encoder = Encoder(channels, width=width)
        widths = self.encoder.widths
        self.squeeze = nn.Conv2d(widths[3], widths[2], 1, bias=False)
        self.nucleus = Decoder(widths, 1, width=width)
        self.position = Decoder(widths, 2, width=width)
        initialise(self)
        for decoder in (self.nucleus, self.position):
            initialise_head(decoder.head)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 3, H, W): logit of nucleus, horizontal, vertical."""
        check_images(images, self.channels)
        *skips, deepest = self.encoder(padded(images, STRIDE))
        deepest = self.squeeze(deepest)
        both = (self.nucleus(deepest, skips), self.position(deepest, skips))
        return cropped(torch.cat(both, dim=1), images)
