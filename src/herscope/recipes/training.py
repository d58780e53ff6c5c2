"""What training a model of any task has in common: options, what is refused first, places."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from pydantic import Field

from herscope.core.errors import DependencyMissing, InputError, OutputError
from herscope.core.registry import ModelInputs, Task
from herscope.core.spec import Spec
from herscope.nn.augment import AugmentSpec


class TrainingSpec(Spec):
    """What network is trained and how long; every task has defaults of its own."""

    network: str = Field(..., description="Architecture; see the docs on models.")
    width: float = Field(default=0.25, gt=0, le=4, description="Multiplier of channel counts.")
    inputs: ModelInputs = Field(default="rgb", description="What the network is given.")
    epochs: int = Field(default=30, ge=1, le=10_000, description="Passes over the patches.")
    batch: int = Field(default=8, ge=2, le=1024, description="Patches a step.")
    accumulate: int = Field(default=1, ge=1, le=1024, description="Batches a step.")
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="Highest; 1e-3, and 1e-4 with --encoder, when absent."
    )
    patience: int = Field(default=15, ge=1, description="Epochs without gain before stopping.")
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Weights of the best epoch; last where few patches are held back to tell.",
    )
    validation_share: float = Field(default=0.2, gt=0, lt=1, description="Part held back.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of weights, split, variation.")
    device: str = Field(default="auto", description="auto, cpu or cuda.")
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto",
        description="auto: bf16 on a GPU, else float32; bf16 helps on processors that have it.",
    )
    augment: AugmentSpec = Field(default=AugmentSpec(), description="How patches are varied.")


class MapTrainingSpec(TrainingSpec):
    """The same for networks that give a map, and so may be trained on crops."""

    inputs: Literal["rgb", "hematoxylin", "hematoxylin-rgb"] = Field(
        default="rgb", description="What the network is given."
    )
    crop_px: int = Field(default=256, ge=32, le=2048, description="Edge of training crops.")
    int8: bool = Field(
        default=False, description="Write an 8-bit copy as well, where it agrees; for processors."
    )


def beside(model: Path, what: str) -> Path:
    """Return the folder of checkpoints or cut patches that belongs to a model."""
    return model.with_name(f"{model.name}.{what}")


def need_training() -> None:
    """Refuse at once where a package for training or for the export after it is absent."""
    need_packages("torch", "safetensors", "onnx", "onnxscript", purpose="training needs")


def need_packages(*packages: str, purpose: str) -> None:
    """Refuse at once where a package of the extra ``learn`` is absent.

    Raises
    ------
    DependencyMissing
        Naming the first that is.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise DependencyMissing(
                f"{purpose} {package}, which is not installed",
                hint="pip install 'herscope[learn]'",
            )


def check_request(target: Path, network: str, task: Task, licence: str, *, force: bool) -> None:
    """Refuse before training what would be refused after it.

    Raises
    ------
    UnknownModel, InputError
        No such network, one of another task, or a licence that is none.
    OutputError
        Something is in the way.
    """
    from herscope.nn.model_file import NO_LICENCE
    from herscope.nn.networks.registry import NETWORKS

    kind = NETWORKS.make(network).task
    if kind != task:
        known = (name for name in NETWORKS if NETWORKS.make(name).task == task)
        raise InputError(
            f"network {network} predicts {kind}, not {task}", hint=f"known: {', '.join(known)}"
        )
    if licence.strip().casefold() in NO_LICENCE:
        raise InputError(
            f"licence {licence!r} is none, and a model without licence is refused by everyone",
            hint="an SPDX name such as CC-BY-4.0; LicenseRef-private keeps it to yourself",
        )
    if target.exists() and not force:
        raise OutputError(f"{target} exists already", hint="--force replaces it, or name an --out")
    if target.exists() and not (target / "card.json").is_file():
        raise OutputError(f"{target} is not a model", hint="choose another --out or move it")
