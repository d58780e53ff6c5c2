"""A ResNet-18 H-score regressor, AutoIHC's ResNetRegression.

ResNet-18 of He et al. (CVPR 2016) with the tensor names the public weights use, adapted "in the
same manner as VGG16Regression" (AutoIHC): a mean over the image and layers 512-256-1, the one
channel given three times. 11,176,512 + 131,585 = 11,308,097 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.nn.networks.blocks import check_images, initialise, scaled
from herscope.nn.networks.regression import RegressionHead, as_colours, check_colours

STAGE_PLANES = (64, 128, 256, 512)
STAGE_BLOCKS = 2
HIDDEN = 256


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, planes: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        found: Tensor = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return found


class ResNet18(nn.Module):
    """The convolutions of ResNet-18; ``outputs`` channels come out."""

    first = ("conv1", "bn1")

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        inputs = scaled(64, width)
        self.conv1 = nn.Conv2d(3, inputs, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for number, base in enumerate(STAGE_PLANES, start=1):
            planes = scaled(base, width)
            stage = [BasicBlock(inputs, planes, stride=1 if number == 1 else 2)]
            stage += [BasicBlock(planes, planes, stride=1) for _ in range(STAGE_BLOCKS - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs = planes
        self.outputs = inputs
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 512, H / 32, W / 32) at width 1."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGE_PLANES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x


class ResNet18Regression(nn.Module):
    """ResNet-18 with an H-score head.

    Parameters
    ----------
    channels
        1 (repeated to 3) or 3.
    classes
        Outputs; 1.
    width
        Multiplier of the channel counts; public weights fit width 1 only.
    """

    def __init__(self, channels: int = 1, classes: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        check_colours(channels)
        self.channels = channels
        self.encoder = ResNet18(width=width)
        self.head = RegressionHead(self.encoder.outputs, scaled(HIDDEN, width), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 1), H / 300."""
        check_images(images, self.channels)
        found: Tensor = self.head(self.encoder(as_colours(images)))
        return found
