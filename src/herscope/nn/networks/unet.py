"""U-Net (Ronneberger et al. 2015): four halvings, skips by concatenation, up-convolutions.

Departures: batch normalisation after every convolution (the paper has none), and padded
convolutions, so the result has the input's size (the paper crops). Widths 64 to 1024 at width 1,
as in the paper: 31,037,828 parameters for three channels and four classes; 1,942,628 at 0.25.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from herscope.nn.networks.blocks import (
    check_images,
    cropped,
    double_conv,
    initialise,
    initialise_head,
    padded,
    scaled,
)

WIDTHS = (64, 128, 256, 512, 1024)
STRIDE = 16


class UNet(nn.Module):
    """The U-Net with batch normalisation."""

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        widths = [scaled(base, width) for base in WIDTHS]
        self.down = nn.ModuleList(
            double_conv(before, after)
            for before, after in zip((channels, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (1024, 512), (512, 256) ...
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in pairs
        )
        self.up = nn.ModuleList(double_conv(2 * fine, fine) for _, fine in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)
        initialise(self)
        initialise_head(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W)."""
        check_images(images, self.channels)
        x = padded(images, STRIDE)
        skips: list[Tensor] = []
        for level, step in enumerate(self.down):
            x = step(x if level == 0 else self.pool(x))
            skips.append(x)
        for enlarge, step, skip in zip(self.enlarge, self.up, skips[-2::-1], strict=True):
            x = step(torch.cat((skip, enlarge(x)), dim=1))
        return cropped(self.head(x), images)
