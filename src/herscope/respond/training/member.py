"""One member: trained on a fold's patients, stopped and calibrated by others, tested on none.

After every epoch the network sees all bags and lesions of the validation patients, nothing hidden,
and a figure on those with a response label says how good the epoch is; the weights of the best few
are averaged (MuMo: seven). Then the validation patients set a temperature for each set of known
modalities, so that the network's own softmax is calibrated, and the cut-off between the groups
(Youden's index). No test patient is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from herscope.nn.compute import seed_everything
from herscope.nn.fit import FitResult, FitSpec, Progress, fit
from herscope.nn.monitoring import validation_figures
from herscope.nn.probabilities import calibrate
from herscope.respond.fusion.batch import collate
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.loss_spec import LossSpec
from herscope.respond.fusion.losses import fusion_loss
from herscope.respond.fusion.network import Fused, FusionNetwork
from herscope.respond.fusion.patients import Layout, Patient
from herscope.respond.training.batches import PatientBatches, Target
from herscope.respond.training.spec import RespondSpec
from herscope.stats.classification.thresholds import youden_cut

Floats = NDArray[np.float64]
HALF: Final = 0.5
AT_ONCE: Final = 64
SAVE_EVERY: Final = 10
"""Epochs take a tenth of a second with tokens alone, and saving one nearly as long."""
FEWEST_CALIBRATING: Final = 8
"""Validation patients for a temperature of their own set of modalities."""
CALIBRATING_PRIOR: Final = 20
"""As many patients as the temperature of all counts for in that of a set: twenty alone gave
temperatures from 0.3 to 100 in five members of one drawn cohort."""


@dataclass(frozen=True)
class Side:
    """Scaled patients of one side of a fold, with what became of them.

    ``outcome`` is (patients, 3): label 1, 0 or -1, days or NaN, event.
    """

    patients: Sequence[Patient]
    outcome: NDArray[np.float32]

    @property
    def labelled(self) -> tuple[list[Patient], NDArray[np.int64]]:
        """Patients with a response label, and their labels."""
        told = np.flatnonzero(self.outcome[:, 0] >= 0)
        return [self.patients[i] for i in told.tolist()], self.outcome[told, 0].astype(np.int64)


@dataclass(frozen=True)
class Trained:
    """A member's calibrated network, its cut-off, and how the training went."""

    network: FusionNetwork
    temperatures: tuple[float, ...]
    cut: float
    result: FitResult
    monitor: str
    validation_auc: float | None


def train_member(
    layout: Layout,
    network_spec: FusionSpec,
    loss_spec: LossSpec,
    spec: RespondSpec,
    train: Side,
    validation: Side,
    folder: str | Path,
    *,
    seed: int,
    resume: bool = False,
    progress: Progress | None = None,
    data: str = "",
) -> Trained:
    """Train one member.

    Parameters
    ----------
    layout, network_spec, loss_spec, spec
        What patients look like, the network, the loss, the training.
    train, validation
        Sides of a fold.
    folder
        For checkpoints.
    seed
        Of weights and draws.
    resume, progress, data
        As :func:`herscope.nn.fit.fit`.

    Raises
    ------
    InputError, ModelError, StaleResult
        As :func:`herscope.nn.fit.fit`.
    """
    seed_everything(seed)
    network = FusionNetwork(layout, network_spec)
    batches = PatientBatches(train.patients, train.outcome, layout, spec, seed)
    held, labels = validation.labelled
    complete = set(labels.tolist()) == {0, 1}
    by_auc = complete and spec.monitor == "auc"

    def validate(module: nn.Module, device: torch.device) -> Mapping[str, float | None]:
        outputs = logits_of(module, held, layout, device)
        return validation_figures(outputs, labels, 2, complete=complete)

    def loss(found: Fused, target: Target) -> torch.Tensor:
        return fusion_loss(
            found, target.outcome, loss_spec, kinds=target.kinds, progress=target.progress
        )

    result = fit(
        network,
        batches,
        validate,
        loss,
        FitSpec(
            epochs=spec.epochs,
            patience=spec.patience,
            average=min(spec.average, spec.epochs),
            save_every=SAVE_EVERY,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
            warmup_epochs=spec.warmup_epochs,
            schedule=spec.schedule,
            clip_norm=spec.clip_norm,
            monitor="score" if by_auc else "loss",
            larger_is_better=by_auc,
            seed=seed,
            device=spec.device,
            precision=spec.precision,
        ),
        folder,
        progress=progress,
        resume=resume,
        data=data,
    )
    device = torch.device(result.device)
    auc = validation_figures(
        logits_of(network, held, layout, device), labels, 2, complete=complete
    )["auc"]
    temperatures = _temperatures(network, held, labels, device)
    network.temperature.copy_(torch.tensor(temperatures))
    told = "AUC, then loss" if by_auc else "loss"
    calibrated = responses(logits_of(network, held, layout, device))
    cut = HALF if not complete else _cut(labels, calibrated)
    return Trained(network.cpu(), temperatures, cut, result, told, auc)


def _temperatures(
    network: FusionNetwork,
    held: Sequence[Patient],
    labels: NDArray[np.int64],
    device: torch.device,
) -> tuple[float, ...]:
    """Fit a temperature for each set of known modalities.

    One for all would make a patient who lacks the telling modality as sure as one who has it. The
    others are hidden from the validation patients that have these; the fewer they are, the nearer
    it stays to the temperature of all as they are (mean of logarithms).
    """
    layout = network.layout
    names = list(layout.branches)
    usual = calibrate(logits_of(network, held, layout, device), labels).temperature
    found = []
    for pattern in range(2 ** len(names)):
        known = {name for place, name in enumerate(names) if pattern >> place & 1}
        rows = [i for i, one in enumerate(held) if known <= set(one.branches)]
        both = len(rows) >= FEWEST_CALIBRATING and len(set(labels[rows].tolist())) == 2
        if not both:
            found.append(usual)
            continue
        shown = [held[i].without(*(name for name in names if name not in known)) for i in rows]
        outputs = logits_of(network, shown, layout, device)
        own = calibrate(outputs, labels[rows]).temperature
        weight = len(rows) / (len(rows) + CALIBRATING_PRIOR)
        found.append(float(np.exp(weight * np.log(own) + (1 - weight) * np.log(usual))))
    return tuple(found)


def responses(logits: Floats) -> Floats:
    """(patients, 2) logits -> (patients,) probabilities of a response.

    Examples
    --------
    >>> responses(np.array([[0.0, 0.0]])).tolist()
    [0.5]
    """
    return np.asarray(expit(logits[:, 1] - logits[:, 0]), np.float64)


def logits_of(
    module: nn.Module, patients: Sequence[Patient], layout: Layout, device: torch.device
) -> Floats:
    """(patients, 2) of whole patients; the module must be in evaluation mode.

    Every patient goes through by itself but for padding, which attention does not see.
    """
    rows = []
    with torch.inference_mode():
        for start in range(0, len(patients), AT_ONCE):
            batch = collate(list(patients[start : start + AT_ONCE]), layout)
            rows.append(module(batch.to(device)).float().cpu().numpy())
    return np.concatenate(rows).astype(np.float64)


def _cut(labels: NDArray[np.int64], probability: Floats) -> float:
    """Youden's cut-off, halfway to the next lower score: new patients lie on neither."""
    cut = youden_cut(labels == 1, probability).threshold
    lower = probability[probability < cut]
    return float((cut + lower.max()) / 2) if lower.size else float(cut)
