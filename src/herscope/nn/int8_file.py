"""The 8-bit copy of a network, beside it in the model folder.

    model.int8.onnx        its sha256 stands in the card as ``int8_sha256``

It is made from ``model.onnx`` by :mod:`herscope.nn.quantise` and holds that file's checksum among
its own metadata. A copy of another network, one that changed, or one the card does not name is
refused: an 8-bit copy of yesterday's weights would give yesterday's numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from herscope.core.errors import ModelError, WeightsUnavailable
from herscope.core.store import write_bytes, write_json
from herscope.nn.model_file import AGAIN, CARD_FILE, ModelFile, check_onnx
from herscope.nn.onnx_bytes import metadata

INT8_FILE: Final = "model.int8.onnx"
MADE_FROM: Final = "herscope.made_from"
"""Metadata of the copy: sha256 of the float32 network."""


def read_int8(model: ModelFile) -> ModelFile:
    """Return a model with the bytes of its 8-bit copy in place of its own.

    Parameters
    ----------
    model
        As :func:`herscope.nn.model_file.read_model` gives it.

    Returns
    -------
    ModelFile
        The same card and folder; ``onnx`` are the checked bytes of the copy.

    Raises
    ------
    WeightsUnavailable
        The card names no copy, or it is not there.
    ModelError
        The file is not the one of the card, is no ONNX, or was made from another network.
    """
    card = model.card
    if card.int8_sha256 is None:
        raise WeightsUnavailable(
            f"model {card.name} has no 8-bit copy",
            hint="take precision float32, or make one with herscope.nn.quantise",
        )
    file = Path(model.folder) / INT8_FILE
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(
            f"{file} cannot be read: {error.strerror or error}", hint="copy the whole model folder"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != card.int8_sha256:
        raise ModelError(
            f"{file} is not the file of its card: sha256 {found[:12]}, card "
            f"{card.int8_sha256[:12]}",
            hint=AGAIN,
        )
    check_onnx(data, file)
    _check_made_from(data, model, file)
    return replace(model, onnx=data)


def write_int8(model: ModelFile, data: bytes, figures: dict[str, float]) -> ModelFile:
    """Write the 8-bit copy beside its network and name it in the card.

    Parameters
    ----------
    model
        The network it was made from, as it stands in its folder.
    data, figures
        As :func:`herscope.nn.quantise.quantise` gives them; the figures go into the card's metrics.

    Returns
    -------
    ModelFile
        The model with its new card.

    Raises
    ------
    ModelError
        The bytes are no ONNX, or were made from another network; nothing was written.
    OutputError
        The disk does not take it.
    """
    file = Path(model.folder) / INT8_FILE
    check_onnx(data, file)
    _check_made_from(data, model, file)
    card = model.card.model_copy(
        update={
            "int8_sha256": hashlib.sha256(data).hexdigest(),
            "metrics": model.card.metrics | figures,
        }
    )
    write_bytes(file, data)
    write_json(Path(model.folder) / CARD_FILE, card.model_dump(mode="json"))
    return replace(model, card=card)


def _check_made_from(data: bytes, model: ModelFile, file: Path) -> None:
    origin = metadata(data).get(MADE_FROM, "")
    if origin != model.card.sha256:
        raise ModelError(
            f"{file} was made from another network ({origin[:12] or 'which is not said'}) than "
            f"{model.card.name} ({(model.card.sha256 or '')[:12]})",
            hint="make the 8-bit copy again with herscope.nn.quantise",
        )
