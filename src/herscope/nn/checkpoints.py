"""Checkpoints of the training loop: safetensors for numbers, one JSON file that makes them valid.

``state.json`` is written last and names the other files with their SHA-256, so a training that is
killed at any moment leaves the last whole epoch. ``epoch-0007.safetensors`` holds weights, buffers
and AdamW's moments of the last epoch, ``best-0004.safetensors`` the weights of the best one, or of
each of the best few where their mean is wanted. Files that ``state.json`` does not name are
removed. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from herscope.core.errors import ModelError, SchemaError, StaleResult
from herscope.core.store import read_json, write_bytes, write_json, writing

if TYPE_CHECKING:
    from herscope.core.spec import Spec

SCHEMA: Final = "herscope.training/2"
STATE_FILE: Final = "state.json"
_MODULE, _MOMENTS = "module/", "adamw/"
AGAIN: Final = "train from the beginning, without --resume"


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far, counted from 1; 0 before the first."""

    epoch: int = 0
    value: float = float("nan")


@dataclass(frozen=True, slots=True)
class State:
    """How far a training is; ``top`` holds the best epochs, the best one first."""

    epoch: int = 0
    top: tuple[Best, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    @property
    def best(self) -> Best:
        """The best epoch; epoch 0 before the first."""
        return self.top[0] if self.top else Best()

    def after(self, row: dict[str, Any], value: float, *, larger: bool, keep: int = 1) -> State:
        """Return the state after one more epoch; of equal values the earlier epoch is better."""
        epoch = self.epoch + 1
        ranked = sorted(
            (*self.top, Best(epoch, value)),
            key=lambda one: (-one.value if larger else one.value, one.epoch),
        )
        return State(epoch, tuple(ranked[:keep]), (*self.history, row))


class Checkpoint(NamedTuple):
    """What is saved, and the key it is saved under."""

    module: nn.Module
    optimizer: torch.optim.AdamW
    key: str
    spec: Spec


def save(folder: Path, now: Checkpoint, state: State) -> None:
    """Save an epoch; when this returns, training can go on from here."""
    last = f"epoch-{state.epoch:04d}.safetensors"
    last_sha256 = _write(folder / last, _tensors(now.module, now.optimizer))
    known = {} if state.epoch == 1 else {one["epoch"]: one for one in _top_of(folder)}
    top = [known.get(one.epoch) or _best(folder, now.module, one) for one in state.top]
    document = {
        "schema": SCHEMA,
        "key": now.key,
        "spec": now.spec.model_dump(mode="json"),
        "epoch": state.epoch,
        "checkpoint": {"file": last, "sha256": last_sha256},
        "top": top,
        "history": list(state.history),
    }
    write_json(folder / STATE_FILE, document)
    named = {last, *(one["file"] for one in top)}
    with writing(folder):
        for old in [*folder.glob("epoch-*.safetensors"), *folder.glob("best-*.safetensors")]:
            if old.name not in named:
                old.unlink()


def _top_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(folder / STATE_FILE)["top"]
    return found


def _best(folder: Path, module: nn.Module, one: Best) -> dict[str, Any]:
    """Write the weights of the present epoch, which is among the best."""
    file = f"best-{one.epoch:04d}.safetensors"
    sha256 = _write(folder / file, _tensors(module, None))
    return {"epoch": one.epoch, "value": one.value, "file": file, "sha256": sha256}


def forget(folder: Path) -> None:
    """Remove the training a folder holds; the state first, so that no half of it is believed."""
    with writing(folder):
        for file in (folder / STATE_FILE, *folder.glob("*-[0-9]*.safetensors")):
            file.unlink(missing_ok=True)


def read_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.AdamW, *, key: str, spec: Spec
) -> State | None:
    """Put the last epoch back into module and optimiser; None where there is none.

    Raises
    ------
    StaleResult
        It was made with another Spec, network or data.
    ModelError
        It is damaged.
    """
    document = _document(folder)
    if document is None:
        return None
    if document["key"] != key:
        raise StaleResult(
            f"{folder} holds a training with other parameters: "
            f"{_differences(document['spec'], spec)}",
            hint=f"give the same parameters and data, or {AGAIN}",
        )
    tensors = _read(folder, document["checkpoint"])
    _load_module(module, tensors, folder)
    for name, parameter in _trained(module, optimizer):
        optimizer.state[parameter] = {
            part: tensors[f"{_MOMENTS}{name}/{part}"].to(
                parameter.device if part != "step" else "cpu"
            )
            for part in ("step", "exp_avg", "exp_avg_sq")
        }
    top = tuple(Best(int(one["epoch"]), float(one["value"])) for one in document["top"])
    return State(int(document["epoch"]), top, tuple(document["history"]))


def read_best(folder: Path, module: nn.Module) -> None:
    """Put the mean of the weights of the best epochs into the module: of one, its own.

    Means are taken in float64 and in the order of rank; whole numbers are those of the best epoch.
    """
    document = _document(folder)
    if document is None:
        raise ModelError(f"{folder} holds no training", hint=AGAIN)
    found = [_read(folder, one) for one in document["top"]]
    mean = {
        name: torch.stack([one[name].double() for one in found]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point() and len(found) > 1
        else tensor
        for name, tensor in found[0].items()
    }
    _load_module(module, mean, folder)


def _document(folder: Path) -> dict[str, Any] | None:
    file = folder / STATE_FILE
    if not file.is_file():
        return None
    said = read_json(file)
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise SchemaError(f"{file} is no training of this version of herscope", hint=AGAIN)
    return said


def _differences(stored: dict[str, Any], spec: Spec) -> str:
    mine = spec.model_dump(mode="json")
    told = [
        f"{name} was {stored.get(name)}, is {mine.get(name)}"
        for name in sorted(mine.keys() | stored.keys())
        if mine.get(name) != stored.get(name)
    ]
    return "; ".join(told) or "the network or the patches have changed"


def _trained(module: nn.Module, optimizer: torch.optim.AdamW) -> list[tuple[str, nn.Parameter]]:
    ours = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in module.named_parameters() if id(p) in ours]


def _tensors(module: nn.Module, optimizer: torch.optim.AdamW | None) -> dict[str, Tensor]:
    """Collect copies: safetensors takes no views, and training goes on."""
    found = {f"{_MODULE}{name}": tensor for name, tensor in module.state_dict().items()}
    for name, parameter in _trained(module, optimizer) if optimizer is not None else []:
        moments = optimizer.state[parameter] if optimizer is not None else {}
        if not moments:  # a parameter that took no part in the output
            moments = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        found |= {f"{_MOMENTS}{name}/{part}": moments[part] for part in moments}
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in found.items()}


def _write(path: Path, tensors: dict[str, Tensor]) -> str:
    data = safetensors.torch.save(tensors)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path, named: dict[str, Any]) -> dict[str, Tensor]:
    path = folder / str(named["file"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"checkpoint {path} cannot be read", hint=AGAIN) from error
    if hashlib.sha256(data).hexdigest() != named["sha256"]:
        raise ModelError(f"checkpoint {path} is not the file that training wrote", hint=AGAIN)
    try:
        loaded: dict[str, Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"checkpoint {path} is damaged: {error}", hint=AGAIN) from error
    return loaded


def _load_module(module: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    weights = {
        name.removeprefix(_MODULE): tensor
        for name, tensor in tensors.items()
        if name.startswith(_MODULE)
    }
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the checkpoint in {folder} is of another network", hint=AGAIN) from error
