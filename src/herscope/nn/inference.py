"""Which model is used, with which engine, and one runner a process for it.

A Spec names a model by name and checksum, so that results made with another network never pass for
the same; where its folder lies is told beside and is no part of the fingerprint.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator

from herscope.core.errors import ModelError
from herscope.core.provenance import package_version
from herscope.core.registry import ModelCard, Task
from herscope.core.spec import Spec
from herscope.nn.model_file import AGAIN, ModelFile, find_model, read_card, read_model
from herscope.nn.runtime import ENGINES, Engine, Precision, Runner

MOST_RUNNERS: Final = 3
"""Compiled networks a process keeps: one of the nuclei, one of the compartments."""


class InferenceSpec(Spec):
    """How networks are computed.

    Examples
    --------
    >>> InferenceSpec().engine
    'onnx'
    """

    engine: Engine = Field(
        default="onnx", description="onnx: ONNX Runtime; openvino: needs the extra fast."
    )
    precision: Precision = Field(
        default="float32", description="Of the arithmetic; others than float32 are for openvino."
    )

    @model_validator(mode="after")
    def _can_be_had(self) -> InferenceSpec:
        if self.precision == "bf16" and self.engine != "openvino":
            raise ValueError("bf16 needs the engine openvino")
        return self


class ModelUse(Spec):
    """A model that is used: its name, its checksum, and where it lies.

    Examples
    --------
    >>> here, there = (ModelUse(name="a", sha256="0" * 64, folder=f) for f in ("x", "y"))
    >>> here.fingerprint() == there.fingerprint()
    True
    """

    name: str = Field(..., description="Name on the model's card.")
    sha256: str = Field(..., pattern="^[0-9a-f]{64}$", description="Checksum of its network.")
    folder: str = Field(
        default="", exclude=True, description="Where it lies; looked for by name when empty."
    )


def use_model(name_or_path: str | Path, task: Task) -> ModelUse:
    """Find a model, read its card and say which one it is.

    Raises
    ------
    UnknownModel, WeightsUnavailable, SchemaError
        There is none, or its card is no good.
    WrongInput
        It is for another task.
    """
    folder = find_model(name_or_path).resolve()
    card = read_card(folder)
    card.check_input(task=task, mpp=card.input_mpp_finest)
    return ModelUse(name=card.name, sha256=card.sha256 or "", folder=str(folder))


def load_model(use: ModelUse, *, task: Task, mpp: float) -> ModelFile:
    """Read the model that is meant, and refuse another one of that name.

    Raises
    ------
    ModelError
        The network there is not the one of this checksum; or as
        :func:`herscope.nn.model_file.read_model`.
    """
    model = read_model(use.folder or find_model(use.name), task=task, mpp=mpp)
    if model.card.sha256 != use.sha256:
        raise ModelError(
            f"model {use.name} in {model.folder} has the sha256 {(model.card.sha256 or '')[:12]}, "
            f"not {use.sha256[:12]} as when it was chosen",
            hint=AGAIN,
        )
    return model


def find_card(use: ModelUse) -> ModelCard:
    """Read the card of a model that is used."""
    return read_card(use.folder or find_model(use.name))


class _Shared:
    """Runners of this process, the latest used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runners: OrderedDict[tuple[Any, ...], Runner] = OrderedDict()


_SHARED: Final = _Shared()


def runner_for(model: ModelFile, spec: InferenceSpec, threads: int | None = None) -> Runner:
    """Return this process' runner of a model; made once, and kept while it is used.

    Parameters
    ----------
    model
        A model that was read and checked.
    spec
        Engine and precision.
    threads
        As many as :func:`process_threads` says when None. They change no result.

    Raises
    ------
    InputError, DependencyMissing, ModelError
        As :class:`herscope.nn.runtime.Runner`.
    """
    count = threads or process_threads()
    key = (model.card.sha256, spec.engine, spec.precision, count)
    with _SHARED.lock:
        if key not in _SHARED.runners:
            _SHARED.runners[key] = Runner(model, spec.engine, count, spec.precision)
        _SHARED.runners.move_to_end(key)
        while len(_SHARED.runners) > MOST_RUNNERS:
            _SHARED.runners.popitem(last=False)
        return _SHARED.runners[key]


def process_threads() -> int | None:
    """One in a worker process, whose neighbours use the other cores; None, for all, elsewhere."""
    return None if multiprocessing.parent_process() is None else 1


def describe(name: str, sha256: str, spec: InferenceSpec) -> dict[str, str | None]:
    """Return what a result says of a network, without loading it."""
    return {
        "name": name,
        "sha256": sha256,
        "engine": spec.engine,
        "engine_version": package_version(ENGINES[spec.engine]),
        "precision": spec.precision,
    }
