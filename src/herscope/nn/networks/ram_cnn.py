"""A single-input regressor after RAM-CNN, the larger relative of StainIntensityNet.

The region attention multi-column network of Liu et al. (IEEE Trans Med Imaging 2019;38:617) looks
at two stain intensity images of a tissue core, one masked by all nuclei and one by the tumour
nuclei, in a column each, joins the columns and gives the H-score. AutoIHC adapted it to one input;
it does not say how. Ours, therefore: one column of five convolutions 1-32-64-128-128-128, 5 x 5
in the first two and 3 x 3 in the others, each with batch normalisation, ReLU and 2 x 2 pooling, a
mean over the image, and layers 128-64-1: 429,921 parameters. The kept idea is that attention is the
mask; batch normalisation, the mean over the image and all widths are ours.
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.nn.networks.blocks import check_images, conv_unit, initialise, scaled
from herscope.nn.networks.regression import RegressionHead

STAGES = ((32, 5), (64, 5), (128, 3), (128, 3), (128, 3))
"""Channels and kernel of each convolution."""
HIDDEN = 64


class RamCnn(nn.Module):
    """One column of a RAM-CNN.

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
        for base, kernel in STAGES:
            outputs = scaled(base, width)
            stages += [conv_unit(inputs, outputs, kernel=kernel), nn.MaxPool2d(2)]
            inputs = outputs
        self.column = nn.Sequential(*stages)
        initialise(self.column)
        self.head = RegressionHead(inputs, scaled(HIDDEN, width), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 1), H / 300."""
        check_images(images, self.channels)
        found: Tensor = self.head(self.column(images))
        return found
