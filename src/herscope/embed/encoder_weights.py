"""Weights of an encoder in a local folder: which file, whose checksum, and whether it fits.

Read are safetensors and, failing that, plain torch files with ``weights_only`` (nothing in a file
is ever run). A tensor the network lacks is an error, and so is one it has no place for: without its
layer scales, say, a transformer still gives numbers, and they are wrong. Only classification heads
and text towers may be left over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from herscope.core.errors import SchemaError, WeightsUnavailable, WrongInput
from herscope.core.store import read_json
from herscope.embed.pixel_preparation import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILES: Final = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "pytorch_model.pt",
)
HEADS: Final = ("head.", "fc.", "classifier.", "head_dist.", "mask_token")
"""Parts of a checkpoint that give no features."""


@dataclass(frozen=True, slots=True)
class OpenedNetwork:
    """A network that was read, before it has a card.

    Attributes
    ----------
    module
        Normalised (N, 3, edge, edge) -> (N, features), in evaluation mode, on the CPU.
    architecture
        What the library calls it, for the name of an encoder that has none.
    preparation
        What the folder says of its pixels; None where it says nothing.
    file
        The weights.
    """

    module: nn.Module
    architecture: str
    preparation: Preparation | None
    file: Path

    @property
    def sha256(self) -> str:
        """Checksum of the weights."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_file(place: Path) -> Path:
    """Return the file of weights in a folder, or the file itself.

    Raises
    ------
    WeightsUnavailable
        There is none, or the weights come in parts.
    """
    if place.is_file():
        return place
    for name in WEIGHTS_FILES:
        if (place / name).is_file():
            return place / name
    parts = sorted(each.name for each in place.glob("*-of-*"))
    raise WeightsUnavailable(
        f"{place} holds no weights ({', '.join(WEIGHTS_FILES)})"
        if place.is_dir()
        else f"there is no folder or file of weights {place}",
        hint=f"its weights come in {len(parts)} parts ({parts[0]} ...): save them as one file"
        if parts
        else "copy the whole folder of the encoder; herscope downloads nothing",
    )


def read_config(file: Path) -> Mapping[str, Any]:
    """Read a table from a JSON file of an encoder's folder.

    Raises
    ------
    SchemaError
        There is no such file, it is no JSON, or holds no table.
    """
    if not file.is_file():
        raise SchemaError(
            f"{file.parent} has no {file.name}",
            hint="it belongs to every encoder its library saved; copy the whole folder",
        )
    found = read_json(file)
    if not isinstance(found, Mapping):
        raise SchemaError(f"{file} holds no table", hint="fetch the encoder again")
    return found


def load_tensors(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    file: Path,
    *,
    left_over: Collection[str] = HEADS,
) -> None:
    """Put tensors into a network, all of them and no others.

    Parameters
    ----------
    module
        Gets the tensors.
    tensors
        By the network's own names.
    file
        Named in messages.
    left_over
        Beginnings of names that the network need not have.

    Raises
    ------
    WrongInput
        A tensor is missing, has another shape, or has no place in the network.
    """
    wanted = module.state_dict()
    missing = sorted(
        name for name in wanted.keys() - tensors.keys() if not name.endswith("num_batches_tracked")
    )
    odd = sorted(
        name for name in tensors.keys() - wanted.keys() if not name.startswith(tuple(left_over))
    )
    shaped = [
        name
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    hint = "the weights belong to another network, or the configuration beside them does"
    if missing:
        raise WrongInput(
            f"{file.name} lacks {len(missing)} of the encoder's {len(wanted)} tensors, first "
            f"{missing[0]}",
            hint=hint,
        )
    if shaped:
        name = shaped[0]
        raise WrongInput(
            f"{name} is {tuple(tensors[name].shape)} in {file.name}, "
            f"{tuple(wanted[name].shape)} in the encoder",
            hint=hint,
        )
    if odd:
        raise WrongInput(
            f"{file.name} holds {len(odd)} tensors the encoder has no place for, first {odd[0]}",
            hint=f"{hint}; features without them would be other features",
        )
    module.load_state_dict({name: tensors[name] for name in wanted if name in tensors})
