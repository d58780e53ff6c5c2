"""One member of an ensemble: trained on a fold's patients, stopped by others, tested on none.

After every epoch the module sees the whole bags of the validation slides. The largest macro
one-vs-rest AUC decides which epoch's weights are kept, of equal ones the lower loss; where the
validation side lacks a class, the loss alone. Then its outputs on those slides set the calibration.
The function is given validation slides and training slides and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from herscope.mil.bag_batches import BagBatches, outputs_of
from herscope.mil.kinds import KINDS, make_model
from herscope.mil.sample_store import SampleStore
from herscope.mil.training_spec import MilSpec
from herscope.nn.compute import seed_everything
from herscope.nn.fit import FitResult, FitSpec, Progress, fit
from herscope.nn.monitoring import validation_figures
from herscope.nn.probabilities import Calibration, calibrate


@dataclass(frozen=True)
class Task:
    """What a member is trained on: places in the store, classes of all slides."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    classes: tuple[int, ...]
    n_classes: int
    features: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """A member's module with its calibration and how the training went."""

    module: nn.Module
    calibration: Calibration
    result: FitResult
    monitor: str


def train_member(
    model_name: str,
    model_spec: Any,
    spec: MilSpec,
    task: Task,
    store: SampleStore,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    data: str = "",
) -> Trained:
    """Train one member.

    Parameters
    ----------
    model_name, model_spec
        The family and its parameters.
    spec
        How it is trained.
    task
        Which slides it may see, and their classes.
    store
        Samples of all slides.
    folder
        For checkpoints.
    resume, progress, data
        As :func:`herscope.nn.fit.fit`.

    Raises
    ------
    ModelError, InputError, StaleResult, UndefinedStatistic
        As :func:`herscope.nn.fit.fit`.
    """
    model = make_model(model_name, model_spec)
    recipe = spec.recipe(KINDS.make(model_name).recipe)
    ranking = uses_ranking(model_name, spec, task.n_classes)
    seed_everything(task.seed)
    module = model.build(task.features, 1 if ranking else task.n_classes)
    if hasattr(module, "fit_statistics"):
        module.fit_statistics([store[place] for place in task.train])
    classes = np.asarray(task.classes, np.int64)
    batches = BagBatches(
        model,
        store,
        task.train,
        classes,
        batch=recipe.batch,
        balanced=spec.sampling == "balanced",
        drop=recipe.drop,
        seed=task.seed,
    )
    held = classes[list(task.validation)]
    complete = len(set(held.tolist())) == task.n_classes
    loss = _loss(model, ranking=ranking)

    def validate(module: nn.Module, device: torch.device) -> Mapping[str, float | None]:
        outputs = outputs_of(module, device, model, store, task.validation)
        return validation_figures(outputs, held, task.n_classes, complete=complete)

    result = fit(
        module,
        batches,
        validate,
        loss,
        FitSpec(
            epochs=recipe.epochs,
            patience=recipe.patience,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            warmup_epochs=spec.warmup_epochs,
            schedule=spec.schedule,
            clip_norm=spec.clip_norm,
            monitor="score",
            larger_is_better=True,
            norm_batches=0,
            seed=task.seed,
            device=spec.device,
            precision=spec.precision,
        ),
        folder,
        progress=progress,
        resume=resume,
        data=data,
    )
    device = torch.device(result.device)
    found = calibrate(outputs_of(module, device, model, store, task.validation), held)
    monitor = "AUC macro one-vs-rest, then loss" if complete else "loss (a class is not there)"
    return Trained(module.cpu(), found, result, monitor)


def uses_ranking(model_name: str, spec: MilSpec, n_classes: int) -> bool:
    """Whether one output and the ranking loss are used.

    Raises
    ------
    InputError
        Ranking was asked for with more than two classes.
    """
    from herscope.core.errors import InputError

    if spec.loss == "ranking" and n_classes != 2:
        raise InputError(
            f"the ranking loss orders two classes, and there are {n_classes}",
            hint="take --loss cross-entropy, or a task of two classes",
        )
    own = KINDS.make(model_name).ranks and n_classes == 2
    return spec.loss == "ranking" or (spec.loss == "auto" and own)


def _loss(model: Any, *, ranking: bool) -> Any:
    plain = _ranking if ranking else _cross_entropy
    weight = getattr(model.spec, "contrast_weight", 0.0)
    if not weight:
        return plain
    from herscope.mil.kernel_contrast import contrast_loss

    return contrast_loss(weight, plain)


def _ranking(outputs: Tensor, classes: Tensor) -> Tensor:
    from herscope.mil.ranking_loss import ranking_loss

    return ranking_loss(outputs[:, 0].float(), classes)


def _cross_entropy(outputs: Tensor, classes: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.float(), classes)


def places_of(patients: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return the places of these patients' slides."""
    inside = frozenset(wanted)
    return tuple(i for i, patient in enumerate(patients) if patient in inside)
