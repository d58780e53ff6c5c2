"""The slot for foundation encoders: a frozen module that gives features, and a small trained head.

Any module will do that turns (N, C, H, W) into a map (N, features, h, w) or, like a vision
transformer, into tokens (N, leading + h * w, features), row by row. Its weights do not change, its
normalisation layers stay in evaluation mode, and no gradient runs through it, so that a head is
trained in little memory. The head is ours (CONCH-SM in AutoIHC is described as "frozen CONCH plus
head"): 1 x 1 to ``hidden`` channels, two 3 x 3, classes, bilinear to the input's size.

The encoder's weights have a licence of their own; a model file made with it must name that
licence in its card.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from herscope.core.errors import WrongInput
from herscope.nn.networks.blocks import (
    check_images,
    conv_unit,
    cropped,
    initialise,
    initialise_head,
    padded,
    resized,
)


class FrozenEncoder(nn.Module):
    """A frozen encoder with a trained segmentation head.

    Parameters
    ----------
    encoder
        Gives a feature map or tokens.
    channels, classes
        Of input and output.
    features
        Channels of the encoder's features.
    stride
        Input pixels per feature pixel (a ViT's patch size); the input is padded to multiples.
    leading_tokens
        Tokens before those of the image, such as the class token; only for token encoders.
    mean, std
        What the encoder expects taken off and divided by, one number a channel, for pixels 0 to 1.
    hidden
        Channels of the head.

    Attributes
    ----------
    origin
        Where the encoder came from, for the card of a model made with it; empty when it was not
        read from a file.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        channels: int,
        classes: int,
        features: int,
        stride: int,
        leading_tokens: int = 0,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.features, self.stride = features, stride
        self.leading_tokens = leading_tokens
        self.origin: dict[str, str] = {}
        self.encoder = encoder.requires_grad_(requires_grad=False).eval()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.head = nn.Sequential(
            conv_unit(features, hidden, kernel=1),
            conv_unit(hidden, hidden),
            conv_unit(hidden, hidden),
            nn.Conv2d(hidden, classes, 1),
        )
        initialise(self.head[:-1])
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        initialise_head(last)

    def train(self, mode: bool = True) -> Self:
        """Put the head into training mode; the encoder stays as it was trained."""
        super().train(mode)
        self.encoder.eval()
        return self

    def feature_map(self, images: Tensor) -> Tensor:
        """(N, channels, H, W), multiples of the stride -> (N, features, H / stride, W / stride).

        Raises
        ------
        WrongInput
            The encoder gives another number of features or of tokens than was stated.
        """
        rows, columns = (side // self.stride for side in images.shape[-2:])
        with torch.no_grad():
            maps: Tensor = self.encoder((images - self.mean) / self.std)
        if maps.ndim == 3:
            maps = maps[:, self.leading_tokens :].transpose(1, 2)
            # In an export shapes are symbols; comparing them would tie the graph to one size.
            if not torch.onnx.is_in_onnx_export() and maps.shape[2] != rows * columns:
                raise WrongInput(
                    f"the encoder gives {maps.shape[2]} tokens for {rows} x {columns} places",
                    hint="state the stride (patch size) and the leading tokens of this encoder",
                )
            maps = maps.reshape(-1, maps.shape[1], rows, columns)
        if maps.ndim != 4 or maps.shape[1] != self.features:
            raise WrongInput(
                f"the encoder gives {tuple(maps.shape)}, stated were {self.features} features"
            )
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> logits (N, classes, H, W)."""
        check_images(images, self.channels)
        framed = padded(images, self.stride)
        return cropped(resized(self.head(self.feature_map(framed)), framed), images)
