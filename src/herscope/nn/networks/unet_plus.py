"""U-Net++ (Zhou et al. 2018): the skips of a U-Net filled with dense convolution nodes.

Node x(i, j) is two convolutions over all earlier nodes of its level and the enlarged node below:

    x(i, 0) = H(pool(x(i-1, 0)))          x(i, j) = H([x(i, 0) ... x(i, j-1), up(x(i+1, j-1))])

Widths 32 to 512 as in the paper (9.04 M parameters there; batch normalisation, which the paper
has not, adds a little). With deep supervision the four nodes x(0, 1) to x(0, 4) have a head each:
training takes the loss of every one of :meth:`DeeplySupervised.branches` (the paper gives all the
same weight), and ``forward`` gives their mean. That is the paper's accurate mode; it averages
probabilities, here logits, so that the result stays one. Its fast mode, which cuts the network off
at a shallow head, is not here: choose a smaller width instead.
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

WIDTHS = (32, 64, 128, 256, 512)
STRIDE = 16


class UNetPlusPlus(nn.Module):
    """The nested U-Net."""

    def __init__(
        self, channels: int, classes: int, *, width: float = 1.0, deep_supervision: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        widths = [scaled(base, width) for base in WIDTHS]
        self.depth = len(widths)
        self.pool = nn.MaxPool2d(2)
        self.node = nn.ModuleDict()
        self.enlarge = nn.ModuleDict()
        for level, wide in enumerate(widths):
            above = channels if level == 0 else widths[level - 1]
            self.node[f"{level}_0"] = double_conv(above, wide)
            for column in range(1, self.depth - level):
                name = f"{level}_{column}"
                self.enlarge[name] = nn.ConvTranspose2d(widths[level + 1], wide, 2, stride=2)
                self.node[name] = double_conv((column + 1) * wide, wide)
        columns = range(1, self.depth) if deep_supervision else [self.depth - 1]
        self.head = nn.ModuleDict(
            {str(column): nn.Conv2d(widths[0], classes, 1) for column in columns}
        )
        initialise(self)
        for head in self.head.children():
            assert isinstance(head, nn.Conv2d)
            initialise_head(head)

    def heads(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, channels, H, W) -> logits of every head, (N, classes, H, W) each, shallow first."""
        check_images(images, self.channels)
        x = padded(images, STRIDE)
        rows: list[list[Tensor]] = []
        for level in range(self.depth):
            x = self.node[f"{level}_0"](x if level == 0 else self.pool(x))
            rows.append([x])
        for column in range(1, self.depth):
            for level in range(self.depth - column):
                name = f"{level}_{column}"
                below = self.enlarge[name](rows[level + 1][column - 1])
                rows[level].append(self.node[name](torch.cat((*rows[level], below), dim=1)))
        return tuple(
            cropped(head(rows[0][int(column)]), images) for column, head in self.head.items()
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W), the mean of all heads."""
        maps = self.heads(images)
        return maps[0] if len(maps) == 1 else torch.stack(maps).mean(dim=0)


class DeeplySupervised(UNetPlusPlus):
    """The nested U-Net with a head at each of its four depths."""

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__(channels, classes, width=width, deep_supervision=True)

    def branches(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give what training looks at: the logits of every depth.

        Parameters
        ----------
        images
            (N, channels, H, W).

        Returns
        -------
        tuple of Tensor
            Four (N, classes, H, W), shallow first.
        """
        return self.heads(images)


def unet_plus_plus(
    channels: int, classes: int, *, width: float = 1.0, deep_supervision: bool = False
) -> UNetPlusPlus:
    """Make the nested U-Net; only with deep supervision has it ``branches`` to train on."""
    if deep_supervision:
        return DeeplySupervised(channels, classes, width=width)
    return UNetPlusPlus(channels, classes, width=width)
