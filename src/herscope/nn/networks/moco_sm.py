"""MoCo-SM, the tumour-stroma network of AutoIHC: ResNet-50, a 1 x 1 head, bilinear x 32.

The encoder's last map (2048 channels, 16 x 16 for 512 px) goes through one 1 x 1 convolution to
the classes and is enlarged 32 times: 23,516,228 parameters for three channels and four classes.
What the paper does not say: which MoCo v2 weights were used (any file that
:func:`herscope.nn.networks.encoder.load_encoder` reads), and how the one haematoxylin channel
enters a three-channel encoder. Here a one-channel network has a one-channel first layer;
``load_encoder`` sums its weights over the colours, which equals repeating the image three times.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from herscope.nn.networks.blocks import check_images, cropped, initialise_head, padded
from herscope.nn.networks.resnet import ResNet50

STRIDE = 32


class MocoSm(nn.Module):
    """ResNet-50 and a linear classifier of each 32 px cell."""

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.encoder = ResNet50(channels, width=width)
        self.head = nn.Conv2d(self.encoder.widths[-1], classes, 1)
        initialise_head(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W)."""
        check_images(images, self.channels)
        coarse = self.head(self.encoder(padded(images, STRIDE))[-1])
        logits = functional.interpolate(
            coarse, scale_factor=float(STRIDE), mode="bilinear", align_corners=False
        )
        return cropped(logits, images)
