"""MobileNetV3-Large with the lite reduced ASPP head (Howard et al. 2019, section 6.4, figure 10).

The coarse map (1/16) is projected to 128 channels and weighed by a gate made of the image's mean;
it is enlarged to 1/8, classified, and added to a classification of the finer map (1/8).
Departure: the gate averages the whole image (the paper a 49 x 49 window with strides 16 and 20,
which presumes a street scene of a fixed size).
"""

from __future__ import annotations

from torch import Tensor, nn

from herscope.nn.networks.blocks import (
    check_images,
    conv_unit,
    cropped,
    initialise,
    initialise_head,
    padded,
    resized,
    scaled,
)
from herscope.nn.networks.mobilenet import MobileNetV3

STRIDE = 16


class LrAspp(nn.Module):
    """MobileNetV3-Large encoder and LR-ASPP head."""

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.encoder = MobileNetV3(channels, width=width)
        _, fine, coarse = self.encoder.widths
        hidden = scaled(128, width)
        self.project = conv_unit(coarse, hidden, kernel=1)
        self.gate = nn.Conv2d(coarse, hidden, 1, bias=False)
        self.fine_head = nn.Conv2d(fine, classes, 1)
        self.coarse_head = nn.Conv2d(hidden, classes, 1)
        initialise(self.project)
        for part in (self.gate, self.fine_head, self.coarse_head):
            initialise_head(part)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W)."""
        check_images(images, self.channels)
        framed = padded(images, STRIDE)
        _, fine, coarse = self.encoder(framed)
        gate = self.gate(coarse.mean((2, 3), keepdim=True)).sigmoid()
        context = resized(self.project(coarse) * gate, fine)
        logits = self.fine_head(fine) + self.coarse_head(context)
        return cropped(resized(logits, framed), images)
