"""ResNet-50 as an encoder (He et al. 2016), with the parameter names the public weights use.

The stride of a bottleneck sits in its 3 x 3 convolution, as in the weights that are in
circulation (supervised on ImageNet, MoCo v2), not in its first 1 x 1 as in the paper. With
``output_stride`` 16 or 8 the last stages keep their size and dilate instead (Chen et al. 2017).
The classification layer is left out: 23,508,032 parameters at three channels and width 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.core.errors import InputError
from herscope.nn.networks.blocks import initialise, scaled

STAGE_BLOCKS = (3, 4, 6, 3)
STAGE_PLANES = (64, 128, 256, 512)
STAGE_STRIDES = (1, 2, 2, 2)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, planes: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(
            planes, planes, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 4 planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(nn.Module):
    """The four feature maps of ResNet-50.

    Parameters
    ----------
    channels
        Channels of the input.
    width
        Multiplier of all channel counts; public weights fit width 1 only.
    output_stride
        Input pixels per pixel of the last map: 32, 16 or 8.

    Attributes
    ----------
    widths
        Channels of the four maps, finest first (256, 512, 1024, 2048 at width 1).
    """

    first = ("conv1", "bn1")

    def __init__(self, channels: int = 3, *, width: float = 1.0, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise InputError(f"output stride {output_stride} is not 8, 16 or 32")
        inputs = scaled(64, width)
        self.conv1 = nn.Conv2d(channels, inputs, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        reached, dilation = 4, 1
        widths = []
        for number, (blocks, base, asked) in enumerate(
            zip(STAGE_BLOCKS, STAGE_PLANES, STAGE_STRIDES, strict=True), start=1
        ):
            planes, stride, before = scaled(base, width), asked, dilation
            if reached * asked > output_stride:
                stride, dilation = 1, dilation * asked
            reached *= stride
            # The first block still sees features of the finer spacing, hence its own dilation.
            stage = [Bottleneck(inputs, planes, stride=stride, dilation=before)]
            inputs = planes * EXPANSION
            stage += [
                Bottleneck(inputs, planes, stride=1, dilation=dilation) for _ in range(blocks - 1)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            widths.append(inputs)
        self.widths = tuple(widths)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> four maps at 1/4, 1/8, 1/16 and 1/32 of the size (less if dilated)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for number in range(1, len(STAGE_BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        return tuple(maps)
