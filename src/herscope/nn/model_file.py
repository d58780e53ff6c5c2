"""A model is a folder with a card, and the card is enforced.

    <name>/
      card.json              what the model is for (:class:`herscope.core.registry.ModelCard`)
      model.onnx             the network; its sha256 stands in the card
      weights.safetensors    optional, for further training; its sha256 stands in the card as well
      history.json           optional, how the training went

Reading a model executes nothing of it. ``model.onnx`` is a graph of standard operators and numbers,
not code; its bytes are read once, checked, and those same bytes are what runs. A model whose card
is absent, incomplete or another one's, whose bytes changed, or whose values lie in further files is
refused. A checksum tells a damaged or exchanged file; it does not tell who made card and file, so a
model is trusted as much as the place it came from.

The card is written last: a folder without a card is a training that has not finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from herscope.core.errors import ModelError, OutputError, SchemaError, WeightsUnavailable
from herscope.core.registry import (
    COMPARTMENT_CLASSES,
    INPUT_CHANNELS,
    ModelCard,
    Task,
)
from herscope.core.store import make_folder, read_json, write_bytes, write_json, writing
from herscope.nn.model_folders import CARD_FILE, find_model
from herscope.nn.onnx_bytes import NotOnnx, has_outside_values

__all__ = [
    "AGAIN",
    "CARD_FILE",
    "HISTORY_FILE",
    "LARGEST_CARD_BYTES",
    "LARGEST_ONNX_BYTES",
    "NO_LICENCE",
    "ONNX_FILE",
    "WEIGHTS_FILE",
    "ModelFile",
    "check_card",
    "check_onnx",
    "find_model",
    "read_card",
    "read_history",
    "read_model",
    "read_weights_bytes",
    "write_model",
]

ONNX_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "weights.safetensors"
HISTORY_FILE: Final = "history.json"

LARGEST_CARD_BYTES: Final = 1_000_000
LARGEST_ONNX_BYTES: Final = 2_000_000_000
"""Protocol Buffers end at 2 GiB; ONNX then moves values to further files, which we refuse."""

NO_LICENCE: Final = frozenset({"", "-", "?", "n/a", "na", "none", "tbd", "todo", "unknown"})
"""What people write where a licence should stand."""

AGAIN: Final = "fetch or export the model again; a changed file is never used"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that was read and checked; ``onnx`` are the bytes the checksum was taken of."""

    folder: Path
    card: ModelCard
    onnx: bytes = field(repr=False)

    @property
    def channels(self) -> int:
        """Channels of the input, by the card."""
        assert self.card.inputs is not None  # check_card saw to it
        return INPUT_CHANNELS[self.card.inputs]


def read_model(
    path: str | Path, *, task: Task | None = None, mpp: float | None = None
) -> ModelFile:
    """Read a model folder and refuse what its card does not vouch for.

    Parameters
    ----------
    path
        The folder; its ``card.json`` or ``model.onnx`` will do as well.
    task
        What it must predict; any task when ``None``.
    mpp
        µm/px of the pixels it will be given; not checked when ``None`` (a task is then checked
        alone).

    Returns
    -------
    ModelFile
        Card and checked bytes.

    Raises
    ------
    WeightsUnavailable
        There is no such folder, no card, or no ``model.onnx``.
    SchemaError
        The card is no JSON, lacks a field, has one too many, or contradicts itself.
    ModelError
        The file is not the one of the card, is no ONNX, or takes values from further files.
    WrongInput
        Another task, or a resolution the card does not allow.
    """
    folder = _folder(Path(path))
    card = read_card(folder)
    if task is not None:
        card.check_input(task=task, mpp=card.input_mpp_finest if mpp is None else mpp)
    elif mpp is not None:
        card.check_input(task=card.task, mpp=mpp)
    file = folder / ONNX_FILE
    data = _read(file, LARGEST_ONNX_BYTES)
    _compare(file, data, card.sha256)
    check_onnx(data, file)
    return ModelFile(folder, card, data)


def read_card(folder: str | Path) -> ModelCard:
    """Read and check the card of a model folder; the network is not looked at.

    Raises
    ------
    WeightsUnavailable
        There is no card.
    SchemaError
        It is no JSON, lacks a field, has one too many, or contradicts itself.
    """
    file = Path(folder) / CARD_FILE
    _read(file, LARGEST_CARD_BYTES)
    document = read_json(file)
    try:
        card = ModelCard.model_validate(document)
    except ValidationError as error:
        raise SchemaError(
            f"{file} is not a model card: {_told(error)}",
            hint="the fields are listed under 'The card' in docs/science/models.md",
        ) from error
    check_card(card, file)
    return card


def check_card(card: ModelCard, where: str | Path) -> None:
    """Refuse a card that does not say enough to use a network.

    Parameters
    ----------
    card
        The card of a model folder (cards of methods without weights need less).
    where
        What to call it in the message.

    Raises
    ------
    SchemaError
        No licence, no checksum, no input, a resolution range that is empty, or classes in
        another order than the task has.
    """
    fault = ""
    if card.licence.strip().casefold() in NO_LICENCE:
        fault = f"licence is {card.licence!r}, which is none"
    elif card.sha256 is None:
        fault = "sha256 is missing"
    elif card.inputs is None:
        fault = f"inputs is missing (allowed: {', '.join(INPUT_CHANNELS)})"
    elif card.input_mpp_finest > card.input_mpp_coarsest:
        fault = (
            f"input_mpp_finest {card.input_mpp_finest:g} is coarser than input_mpp_coarsest "
            f"{card.input_mpp_coarsest:g}"
        )
    elif card.task == "compartments" and tuple(card.classes or ()) != COMPARTMENT_CLASSES:
        fault = (
            f"classes are {', '.join(card.classes or ()) or 'missing'}; compartments are "
            f"{', '.join(COMPARTMENT_CLASSES)}, in this order"
        )
    if fault:
        raise SchemaError(
            f"{where} cannot be used: {fault}",
            hint="only who made the model can say this; ask them for a complete card",
        )


def check_onnx(data: bytes, where: str | Path) -> None:
    """Refuse bytes that are no ONNX model, or one whose values lie in further files.

    Raises
    ------
    ModelError
        With the reason; ``where`` is named in it.
    """
    try:
        outside = has_outside_values(data)
    except NotOnnx as error:
        raise ModelError(f"{where} is no ONNX model: {error}", hint=AGAIN) from error
    if outside:
        raise ModelError(
            f"{where} takes values from further files, which its checksum does not cover",
            hint="export the model as one file, with its weights inside",
        )


def write_model(
    folder: str | Path, card: ModelCard, onnx: bytes, *, weights: bytes | None = None
) -> ModelFile:
    """Write a model folder; other files in it are left as they are.

    An earlier card is removed first and the new one is written last, so that at no moment a card
    stands beside a network that is not its own.

    Parameters
    ----------
    folder
        Made when it does not exist.
    card
        Checksums are filled in.
    onnx
        The network.
    weights
        A safetensors file; an earlier one is removed when ``None``.

    Returns
    -------
    ModelFile
        As :func:`read_model` gives it.

    Raises
    ------
    SchemaError, ModelError
        The card is incomplete, or the bytes are no ONNX; nothing was written.
    OutputError
        The disk does not take it.
    """
    target = Path(folder)
    sums = {
        "sha256": _sha256(onnx),
        "weights_sha256": None if weights is None else _sha256(weights),
    }
    complete = card.model_copy(update=sums)
    check_card(complete, f"the card of {card.name}")
    check_onnx(onnx, f"the network of {card.name}")
    if target.exists() and not target.is_dir():
        raise OutputError(
            f"cannot write {target}: a file is in the way", hint="choose another --out"
        )
    make_folder(target)
    with writing(target):
        (target / CARD_FILE).unlink(missing_ok=True)
        if weights is None:
            (target / WEIGHTS_FILE).unlink(missing_ok=True)
    if weights is not None:
        write_bytes(target / WEIGHTS_FILE, weights)
    write_bytes(target / ONNX_FILE, onnx)
    write_json(target / CARD_FILE, complete.model_dump(mode="json"))
    return ModelFile(target, complete, onnx)


def read_weights_bytes(model: ModelFile) -> bytes:
    """Read ``weights.safetensors`` of a model and check it against the card.

    Raises
    ------
    WeightsUnavailable
        The card names no such file, or it is not there.
    ModelError
        It is not the one of the card.
    """
    if model.card.weights_sha256 is None:
        raise WeightsUnavailable(
            f"model {model.card.name} came without trainable weights",
            hint=f"it can predict, but not be trained further; ask its maker for {WEIGHTS_FILE}",
        )
    file = model.folder / WEIGHTS_FILE
    data = _read(file, LARGEST_ONNX_BYTES)
    _compare(file, data, model.card.weights_sha256)
    return data


def read_history(folder: str | Path) -> Mapping[str, Any] | list[Any] | None:
    """Read ``history.json`` of a model; ``None`` when there is none."""
    file = Path(folder) / HISTORY_FILE
    return read_json(file) if file.is_file() else None


def _folder(path: Path) -> Path:
    folder = path.parent if path.name in {CARD_FILE, ONNX_FILE} and not path.is_dir() else path
    if not folder.is_dir():
        said = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise WeightsUnavailable(
            f"model {path} {said}",
            hint=f"give the folder that holds {CARD_FILE} and {ONNX_FILE}; "
            "herscope models lists the built-in models",
        )
    return folder


def _read(file: Path, limit_bytes: int) -> bytes:
    try:
        size = file.stat().st_size
        if size > limit_bytes:
            raise ModelError(
                f"{file} has {size:,} bytes, more than a model can have ({limit_bytes:,})",
                hint=AGAIN,
            )
        return file.read_bytes()
    except OSError as error:
        finished = file.name != CARD_FILE
        raise WeightsUnavailable(
            f"{file} cannot be read: {error.strerror or error}",
            hint="copy the whole model folder"
            if finished
            else ("the card is written last: is the training still running, or was it cut off?"),
        ) from error


def _compare(file: Path, data: bytes, expected: str | None) -> None:
    found = _sha256(data)
    if found != expected:
        raise ModelError(
            f"{file} is not the file of its card: sha256 {found[:12]}, card "
            f"{(expected or 'none')[:12]}",
            hint=AGAIN,
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _told(error: ValidationError) -> str:
    said = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "the document"
        if fault["type"] == "missing":
            said.append(f"{where} is missing")
        elif fault["type"] == "extra_forbidden":
            said.append(f"{where} is not a field of a card")
        else:
            said.append(f"{where}: {fault['msg']}")
    return "; ".join(said)
