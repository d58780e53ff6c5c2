"""DeepLabV3+ (Chen et al. 2018): atrous spatial pyramid pooling and a small decoder.

Encoder at output stride 16 (ResNet-50, or MobileNetV3-Large for little machines), ASPP with a
1 x 1 and three dilated 3 x 3 convolutions (rates 6, 12, 18) and the image's mean, 256 channels
each; enlarged 4 times, joined with the encoder's map at 1/4 (reduced to 48 channels), two 3 x 3
convolutions, classes, enlarged 4 times. Rates, 48 and 256 are the paper's (section 3.1, tables 1
and 2). Plain instead of depthwise separable convolutions, as the paper's ResNet rows.

Departure: the branch of the image's mean has a bias instead of batch normalisation, which cannot
be trained on a batch of one (its map is a single pixel).
"""

from __future__ import annotations

import torch
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
from herscope.nn.networks.resnet import ResNet50

RATES = (6, 12, 18)
"""Chen et al. 2017, for output stride 16."""
PYRAMID_CHANNELS = 256
LOW_LEVEL_CHANNELS = 48
DROPOUT = 0.1
STRIDE = 16


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: five views of one map, joined."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.views = nn.ModuleList(
            [
                conv_unit(inputs, outputs, kernel=1),
                *(conv_unit(inputs, outputs, dilation=rate) for rate in RATES),
            ]
        )
        self.image = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.join = conv_unit((len(RATES) + 2) * outputs, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        views = [view(x) for view in self.views]
        image = self.image(x.mean((2, 3), keepdim=True)).expand_as(views[0])
        return self.join(torch.cat((*views, image), dim=1))


class DeepLabV3Plus(nn.Module):
    """ASPP on an encoder, refined by the encoder's finest map.

    Parameters
    ----------
    encoder
        A module that gives feature maps finest first, the first at 1/4 and the last at 1/16 of
        the size, and states their channels in ``widths``.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        encoder: ResNet50 | MobileNetV3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.encoder = encoder
        wide, low = scaled(PYRAMID_CHANNELS, width), scaled(LOW_LEVEL_CHANNELS, width)
        self.aspp = Aspp(encoder.widths[-1], wide)
        self.dropout = nn.Dropout(DROPOUT)
        self.low_level = conv_unit(encoder.widths[0], low, kernel=1)
        self.refine = nn.Sequential(conv_unit(wide + low, wide), conv_unit(wide, wide))
        self.head = nn.Conv2d(wide, classes, 1)
        for part in (self.aspp, self.low_level, self.refine):
            initialise(part)
        initialise_head(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W)."""
        check_images(images, self.channels)
        framed = padded(images, STRIDE)
        maps = self.encoder(framed)
        fine = self.low_level(maps[0])
        context = resized(self.dropout(self.aspp(maps[-1])), fine)
        logits = self.head(self.refine(torch.cat((context, fine), dim=1)))
        return cropped(resized(logits, framed), images)


def deeplab_resnet(channels: int, classes: int, *, width: float = 1.0) -> DeepLabV3Plus:
    """DeepLabV3+ on ResNet-50."""
    encoder = ResNet50(channels, width=width, output_stride=STRIDE)
    return DeepLabV3Plus(channels, classes, encoder=encoder, width=width)


def deeplab_mobilenet(channels: int, classes: int, *, width: float = 1.0) -> DeepLabV3Plus:
    """DeepLabV3+ on MobileNetV3-Large."""
    encoder = MobileNetV3(channels, width=width)
    return DeepLabV3Plus(channels, classes, encoder=encoder, width=width)
