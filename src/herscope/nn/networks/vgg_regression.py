"""VGG16Regression: the features of VGG16 and a small head, AutoIHC's default H-score network.

The thirteen convolutions of configuration D of Simonyan and Zisserman (ICLR 2015) without batch
normalisation, with the tensor names the public weights use (``features.0.weight``). AutoIHC says
that the whole pre-trained feature extractor is kept and that there are 15 million parameters; its
Supplement with the head is not available to us. Ours is a mean over the image and layers
512-256-1: 14,714,688 + 131,585 = 14,846,273 parameters. The one channel is given three times.
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.nn.networks.blocks import check_images, initialise, scaled
from herscope.nn.networks.regression import RegressionHead, as_colours, check_colours

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage; every stage ends with 2 x 2 pooling."""
HIDDEN = 256


class Vgg16(nn.Module):
    """The convolutions of VGG16; ``outputs`` channels come out."""

    first = ("features.0", "features.0")

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for base, convolutions in STAGES:
            outputs = scaled(base, width)
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.outputs = inputs
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 512, H / 32, W / 32) at width 1."""
        maps: Tensor = self.features(x)
        return maps


class Vgg16Regression(nn.Module):
    """VGG16 with an H-score head.

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
        self.encoder = Vgg16(width=width)
        self.head = RegressionHead(self.encoder.outputs, scaled(HIDDEN, width), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 1), H / 300."""
        check_images(images, self.channels)
        found: Tensor = self.head(self.encoder(as_colours(images)))
        return found
