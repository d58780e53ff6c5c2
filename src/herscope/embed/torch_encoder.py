"""An encoder that runs in torch: preparation, one pass, features as float32.

``bf16`` rounds activations to 8 bits of mantissa (autocast; weights, normalisations and softmax
stay float32): features then differ by about 1 % of their size, so the card says which it was. On
one machine, with one number of threads and one size of batch, the same tiles give the same bits.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from herscope.core.errors import InputError, ModelError, WrongInput
from herscope.embed.encoder import EncoderCard, Tiles
from herscope.embed.pixel_preparation import Preparation, check_tiles, prepare
from herscope.nn.compute import choose_device, limit_threads

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["float32", "bf16"]
PRECISIONS: Final = ("float32", "bf16")
LARGEST_BATCH: Final = 256
"""Tiles in one pass; more are taken in turns, so that no caller can fill the memory."""


class TorchEncoder:
    """A network with its card; see :class:`herscope.embed.encoder.Encoder`.

    Parameters
    ----------
    module
        Normalised (N, 3, edge, edge) -> (N, features).
    card
        Says what it is; its ``resize``, ``mean`` and ``std`` are those of ``preparation``.
    preparation
        What is done to tiles before.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    threads
        Of the CPU; ``None`` for the cores this process may use.
    """

    def __init__(
        self,
        module: nn.Module,
        card: EncoderCard,
        preparation: Preparation,
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._card = card
        self._preparation = preparation
        self._device = choose_device(device)
        self._threads = threads
        self._module = module.eval().requires_grad_(requires_grad=False).to(self._device)

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        return self._card

    def embed(self, tiles: Tiles) -> NDArray[np.float32]:
        """Return features of tiles.

        Parameters
        ----------
        tiles
            (tiles, height, width, 3) uint8 of any size.

        Returns
        -------
        ndarray
            (tiles, features) float32.

        Raises
        ------
        WrongInput
            What is given is no batch of tiles.
        ModelError
            The network fails, or gives values that are no numbers or another number of them.
        """
        check_tiles(tiles)
        parts = [
            self._one_pass(prepare(tiles[begin : begin + LARGEST_BATCH], self._preparation))
            for begin in range(0, len(tiles), LARGEST_BATCH)
        ]
        return np.concatenate([np.empty((0, self._card.features), np.float32), *parts])

    def _one_pass(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        rounded = (
            torch.autocast(self._device.type, torch.bfloat16)
            if self._card.precision == "bf16"
            else contextlib.nullcontext()
        )
        try:
            with limit_threads(self._threads), torch.inference_mode(), rounded:
                found = self._module(torch.from_numpy(pixels).to(self._device))
        except (RuntimeError, AssertionError, ValueError) as error:
            line = " ".join(str(error).split())[:300]
            raise ModelError(
                f"encoder {self._card.name} failed on {pixels.shape[0]} tiles of "
                f"{pixels.shape[3]} px: {line}",
                hint="take a smaller batch if memory ran out; otherwise its card states a size "
                "the network does not take",
            ) from error
        if not isinstance(found, torch.Tensor):
            raise ModelError(
                f"encoder {self._card.name} gives {type(found).__name__}, no tensor",
                hint="an encoder gives a row of features a tile",
            )
        features = found.float().cpu().numpy()
        check_features(features, len(pixels), self._card)
        return features


def check_precision(precision: str) -> Precision:
    """Return the precision, or say which there are."""
    if precision == "float32":
        return "float32"
    if precision == "bf16":
        return "bf16"
    raise InputError(
        f"no precision of encoders is called {precision}", hint=f"known: {', '.join(PRECISIONS)}"
    )


def check_features(features: NDArray[np.floating], tiles: int, card: EncoderCard) -> None:
    """Refuse features of another number than the card's, or that are no numbers."""
    if features.shape != (tiles, card.features):
        raise WrongInput(
            f"encoder {card.name} gives {features.shape} for {tiles} tiles, its card says "
            f"({tiles}, {card.features})",
            hint="these are the weights of another encoder, or the card is another one's",
        )
    if not np.isfinite(features).all():
        raise ModelError(
            f"encoder {card.name} gives values that are no numbers",
            hint="its weights are damaged, or bf16 overflows: take float32",
        )
