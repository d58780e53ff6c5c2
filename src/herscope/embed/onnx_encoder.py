"""Encoders as ONNX with a card: no torch, no code of others, any network of standard operators.

    <folder>/
      encoder.json    an :class:`~herscope.embed.encoder.EncoderCard` as JSON
      model.onnx      float32 (tiles, 3, input_px, input_px) -> float32 (tiles, features)

The network is given pixels that were resized, less the mean and over the deviation that the card
states. Its checksum stands in the card, and a file that is another one is refused. It runs on the
CPU in ONNX Runtime through :mod:`herscope.nn.runtime`: the same bits for any number of threads.

In a folder of another kind (transformers, timm, open_clip) an ``encoder.json`` may stand as well;
name, licence, preparation and checksum are then those of the card.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from herscope.core.errors import InputError, ModelError, SchemaError, WeightsUnavailable
from herscope.core.registry import ModelCard
from herscope.core.store import make_folder, read_json, write_bytes, write_json
from herscope.embed.encoder import EncoderCard, Tiles
from herscope.embed.pixel_preparation import Preparation, check_tiles, preparation, prepare
from herscope.nn.model_file import LARGEST_ONNX_BYTES, NO_LICENCE, ModelFile, check_onnx
from herscope.nn.runtime import Runner

CARD_FILE: Final = "encoder.json"
ONNX_FILE: Final = "model.onnx"
LARGEST_BATCH: Final = 64
"""Tiles in one pass; more are taken in turns."""


class OnnxEncoder:
    """A network in ONNX Runtime with its card; see :class:`herscope.embed.encoder.Encoder`."""

    def __init__(self, runner: Runner, card: EncoderCard, how: Preparation) -> None:
        self._runner = runner
        self._card = card
        self._preparation = how

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        return self._card

    def embed(self, tiles: Tiles) -> NDArray[np.float32]:
        """(tiles, height, width, 3) uint8 of any size -> (tiles, features) float32.

        Raises
        ------
        WrongInput
            What is given is no batch of tiles, or is not square after preparation.
        ModelError
            The network fails or gives something else than its card says.
        """
        check_tiles(tiles)
        parts = [np.empty((0, self._card.features), np.float32)]
        for begin in range(0, len(tiles), LARGEST_BATCH):
            pixels = prepare(tiles[begin : begin + LARGEST_BATCH], self._preparation)
            found = self._runner.run(pixels)
            if found.shape != (len(pixels), self._card.features):
                raise ModelError(
                    f"encoder {self._card.name} gives {found.shape} for {len(pixels)} tiles, its "
                    f"card says ({len(pixels)}, {self._card.features})",
                    hint="export it with a head that gives one row a tile, or mend the card",
                )
            parts.append(found)
        return np.concatenate(parts)


def read_encoder_card(file: Path) -> EncoderCard:
    """Read ``encoder.json`` and refuse one that does not say enough.

    Raises
    ------
    SchemaError
        It is no JSON, lacks a field, has one too many, names no licence or checksum, or its
        preparation cannot be or gives another size than ``input_px``.
    WeightsUnavailable
        It is not there.
    """
    if not file.is_file():
        raise WeightsUnavailable(
            f"{file.parent} has no {file.name}",
            hint="docs/howto/use-your-own-encoder.md shows how to write one",
        )
    try:
        card = EncoderCard.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise SchemaError(
            f"{file} is not the card of an encoder: {where}: {first['msg']} "
            f"({error.error_count()} faults)",
            hint="docs/howto/use-your-own-encoder.md lists its fields",
        ) from error
    check_encoder_card(card, file)
    return card


def check_encoder_card(card: EncoderCard, where: str | Path) -> Preparation:
    """Refuse a card without licence or checksum, or with a preparation that contradicts it."""
    how = preparation(card.resize, card.mean, card.std)
    fault = ""
    if card.licence.strip().casefold() in NO_LICENCE:
        fault = f"licence is {card.licence!r}, which is none"
    elif card.weights_sha256 is None:
        fault = "weights_sha256 is missing"
    elif how.input_px != card.input_px:
        fault = f"input_px is {card.input_px}, but {card.resize!r} gives {how.input_px}"
    elif card.precision not in {"float32", "bf16"}:
        fault = f"precision is {card.precision!r} (known: float32, bf16)"
    if fault:
        raise SchemaError(
            f"{where} cannot be used: {fault}",
            hint="docs/howto/use-your-own-encoder.md lists its fields",
        )
    return how


def open_onnx(
    folder: Path, *, device: str = "auto", precision: str = "float32", threads: int | None = None
) -> OnnxEncoder:
    """Open a folder with ``encoder.json`` and ``model.onnx``.

    Raises
    ------
    WeightsUnavailable
        A file is missing.
    SchemaError
        The card says too little.
    ModelError
        The file is not the one of the card, or no ONNX.
    InputError
        A GPU, or another precision than float32.
    """
    if device not in {"auto", "cpu"}:
        raise InputError(
            f"an encoder as ONNX runs on the CPU, not on {device}",
            hint="take the device auto or cpu, or give the folder it was exported from",
        )
    if precision != "float32":
        raise InputError(
            f"an encoder as ONNX computes in float32, not in {precision}", hint="leave it out"
        )
    card = read_encoder_card(folder / CARD_FILE)
    if card.precision != "float32":
        raise InputError(
            f"the card in {folder} says {card.precision}; an encoder as ONNX computes in float32",
            hint="export it in float32 and say so in its card",
        )
    how = check_encoder_card(card, folder / CARD_FILE)
    file = folder / ONNX_FILE
    data = _read(file)
    found = hashlib.sha256(data).hexdigest()
    if found != card.weights_sha256:
        raise ModelError(
            f"{file} is not the file of its card: sha256 {found[:12]}, card "
            f"{(card.weights_sha256 or '')[:12]}",
            hint="fetch or export it again; a changed file is never used",
        )
    check_onnx(data, file)
    model = ModelCard(
        name=card.name,
        task="embedding",
        summary=card.summary,
        input_mpp_finest=0.02,
        input_mpp_coarsest=100.0,
        input_size_px=card.input_px,
        normalisation=f"{card.resize}; less {card.mean}, over {card.std}",
        licence=card.licence,
        source=card.source,
        training_data="see its source",
        sha256=found,
        inputs="rgb",
    )
    return OnnxEncoder(Runner(ModelFile(folder, model, data), threads=threads), card, how)


def write_onnx_encoder(folder: str | Path, card: EncoderCard, onnx: bytes) -> EncoderCard:
    """Write a folder that :func:`open_onnx` reads; the checksum is filled in.

    Parameters
    ----------
    folder
        Made when it does not exist.
    card
        What the encoder is.
    onnx
        The exported network, weights inside.

    Returns
    -------
    EncoderCard
        With the checksum.

    Raises
    ------
    SchemaError, ModelError
        The card says too little, or the bytes are no ONNX; nothing was written.
    OutputError
        The disk does not take it.
    """
    target = Path(folder)
    complete = card.model_copy(update={"weights_sha256": hashlib.sha256(onnx).hexdigest()})
    check_encoder_card(complete, f"the card of {card.name}")
    check_onnx(onnx, f"the network of {card.name}")
    make_folder(target)
    write_bytes(target / ONNX_FILE, onnx)
    write_json(target / CARD_FILE, complete.model_dump(mode="json"))
    return complete


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST_ONNX_BYTES:
            raise ModelError(
                f"{file} is larger than one ONNX file can be ({LARGEST_ONNX_BYTES:,} bytes)",
                hint="export it as one file, or give the folder it was exported from",
            )
        return file.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(
            f"{file} cannot be read: {error.strerror or error}", hint="copy the whole folder"
        ) from error
