"""StainIntensityNet: AutoIHC's H-score network of about 0.1 million parameters.

AutoIHC calls it a lightened RAM-CNN with a single input; its figure is in a Supplement that is not
available to us. Ours has five 3 x 3 convolutions 1-16-32-64-64-64, each with batch normalisation,
ReLU and 2 x 2 pooling, a mean over the image, and layers 64-32-1: 99,505 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.nn.networks.blocks import check_images, conv_unit, initialise, scaled
from herscope.nn.networks.regression import RegressionHead

WIDTHS = (16, 32, 64, 64, 64)
HIDDEN = 32


class StainIntensityNet(nn.Module):
    """Five convolutions and a small head.

    Parameters
    ----------
    channels
        Of the input; 1 for the DAB of the target.
    classes
        Outputs; 1.
    width
        Multiplier of the channel counts.
    """

    def __init__(self, channels: int = 1, classes: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        self.channels = channels
        stages: list[nn.Module] = []
        inputs = channels
        for base in WIDTHS:
            outputs = scaled(base, width)
            stages += [conv_unit(inputs, outputs), nn.MaxPool2d(2)]
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        initialise(self.stages)
        self.head = RegressionHead(inputs, scaled(HIDDEN, width), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 1), H / 300."""
        check_images(images, self.channels)
        found: Tensor = self.head(self.stages(images))
        return found
