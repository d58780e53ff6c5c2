"""Triple U-Net with progressive dense feature aggregation (Zhao et al. 2020), for nuclei.

Two U-Nets look at the same field, one at its colours (RGB), one at its haematoxylin (H); the first
learns nuclei, the second their contours. A third branch has no image of its own: at every level it
joins its own features with those of the two by progressive dense feature aggregation (PDFA):

    o_1 = conv5x5(x_1)        o_i = conv5x5([o_1 ... o_{i-1}, x_i])        out = two 3x3 of o_n

Widths 64, 128, 256, 512 and three halvings. A halving is a 1 x 1 convolution of stride 2 and a
1 x 1; the colour branches enlarge bilinearly with a 1 x 1, the third by repetition with a 3 x 3
that halves the channels. Order inside PDFA: own features first, then H, then RGB (arbitrary
according to the authors).

Departures: the input is one tensor of four channels, haematoxylin first, and the H branch begins
with one channel (equal to repeating it three times); bilinear enlargement aligns pixel centres,
not corners, so that a result does not depend on the size of its window; sigmoids are left to the
loss, so that ``forward`` gives logits.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from herscope.core.errors import InputError
from herscope.nn.networks.blocks import (
    check_images,
    conv_unit,
    cropped,
    double_conv,
    initialise,
    initialise_head,
    padded,
    scaled,
)

WIDTHS = (64, 128, 256, 512)
STRIDE = 8
INPUT_CHANNELS = 4


def halved(inputs: int, outputs: int) -> nn.Sequential:
    """1 x 1 convolution of stride 2, then 1 x 1."""
    return nn.Sequential(
        conv_unit(inputs, outputs, kernel=1, stride=2), conv_unit(outputs, outputs, kernel=1)
    )


class Pdfa(nn.Module):
    """Progressive dense aggregation of ``count`` maps of ``wide`` channels into one."""

    def __init__(self, count: int, wide: int) -> None:
        super().__init__()
        self.join = nn.ModuleList(
            conv_unit(number * wide, wide, kernel=5) for number in range(1, count + 1)
        )
        self.finish = double_conv(wide, wide)

    def forward(self, *maps: Tensor) -> Tensor:
        """``count`` maps (N, wide, H, W) -> (N, wide, H, W)."""
        outputs: list[Tensor] = []
        for join, x in zip(self.join, maps, strict=True):
            outputs.append(join(torch.cat((*outputs, x), dim=1)))
        return self.finish(outputs[-1])


class Branch(nn.Module):
    """The U-Net of one image; gives its logits and its features at every level."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.halve = nn.ModuleList(halved(fine, fine) for fine, _ in pairs)
        self.down = nn.ModuleList(
            double_conv(before, after)
            for before, after in zip((channels, *widths[:-1]), widths, strict=True)
        )
        self.enlarge = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
                conv_unit(coarse, fine, kernel=1),
            )
            for fine, coarse in reversed(pairs)
        )
        self.up = nn.ModuleList(
            nn.Sequential(conv_unit(2 * fine, fine, kernel=1), double_conv(fine, fine))
            for fine, _ in reversed(pairs)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return logits, encoder maps (finest first) and decoder maps (coarsest first)."""
        down: list[Tensor] = []
        for level, step in enumerate(self.down):
            x = step(x if level == 0 else self.halve[level - 1](x))
            down.append(x)
        up: list[Tensor] = []
        for enlarge, step, skip in zip(self.enlarge, self.up, down[-2::-1], strict=True):
            x = step(torch.cat((enlarge(x), skip), dim=1))
            up.append(x)
        return self.head(x), down, up


class TripleUNet(nn.Module):
    """Nuclei from colours and haematoxylin.

    Parameters
    ----------
    channels
        4: haematoxylin, then red, green, blue (inputs "hematoxylin-rgb").
    classes
        1: nucleus or not.
    width
        Multiplier of all channel counts.
    """

    def __init__(self, channels: int = 4, classes: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        if channels != INPUT_CHANNELS or classes != 1:
            raise InputError(
                f"triple-unet takes {INPUT_CHANNELS} channels and gives 1 class, "
                f"asked were {channels} and {classes}",
                hint="its inputs are hematoxylin-rgb",
            )
        self.channels, self.classes = channels, classes
        widths = [scaled(base, width) for base in WIDTHS]
        pairs = list(pairwise(widths))
        self.hematoxylin, self.rgb = Branch(1, widths), Branch(3, widths)
        self.halve = nn.ModuleList(halved(fine, coarse) for fine, coarse in pairs)
        self.down = nn.ModuleList(
            Pdfa(2 if level == 0 else 3, wide) for level, wide in enumerate(widths)
        )
        self.enlarge = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), conv_unit(coarse, fine))
            for fine, coarse in reversed(pairs)
        )
        self.up = nn.ModuleList(Pdfa(4, fine) for fine, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], 1, 1)
        initialise(self)
        for head in (self.head, self.hematoxylin.head, self.rgb.head):
            initialise_head(head)

    def branches(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, 1, H, W) of nuclei, of contours from H, and of nuclei from RGB."""
        check_images(images, self.channels)
        framed = padded(images, STRIDE)
        contour, stain_down, stain_up = self.hematoxylin(framed[:, :1])
        colour, rgb_down, rgb_up = self.rgb(framed[:, 1:])
        x = self.down[0](stain_down[0], rgb_down[0])
        skips = [x]
        for level, halve in enumerate(self.halve, start=1):
            x = self.down[level](halve(x), stain_down[level], rgb_down[level])
            skips.append(x)
        for step, enlarge in enumerate(self.enlarge):
            skip = skips[-2 - step]
            x = self.up[step](enlarge(x), skip, stain_up[step], rgb_up[step])
        return (
            cropped(self.head(x), images),
            cropped(contour, images),
            cropped(colour, images),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 4, H, W) -> logits of nuclei (N, 1, H, W)."""
        return self.branches(images)[0]
