"""The one training loop of the package: AdamW, warm-up and cosine, early stopping, resume.

AdamW (Loshchilov and Hutter, ICLR 2019) with a learning rate that rises linearly over the warm-up
and falls to zero along a half cosine (Loshchilov and Hutter, ICLR 2017), or stays as it is;
gradients are clipped by their norm. After every epoch a named validation metric decides which
weights are the best; training stops when it has not improved for ``patience`` epochs, and the best
weights are put back, or the mean of those of the best few epochs (Izmailov et al., UAI 2018,
average along the way, MuMo its best seven). The loop sees training batches and a validation
function, never test data.

Before validation the statistics of batch normalisation are computed anew, with the weights as they
then are, over some batches (Wu and Johnson, arXiv:2105.07576, 2021). Their running averages belong
to the weights of some steps ago; with ten steps an epoch and varied stains we saw the Dice of
stroma fall from 0.7 to 0 and back between epochs while the training loss fell steadily.

After every epoch the folder holds all that is needed to go on (see
:mod:`herscope.nn.checkpoints`). Randomness restarts from (seed, epoch) at every epoch, and the
learning rate is computed from the step: a training that was cut off and resumed gives the same bits
as one that was not, on one machine with one number of threads. Other machines or thread counts add
floating-point sums in another order; expect differences that grow from about 1e-6 of the loss in
the first step. Mixed precision (bfloat16) is used on a GPU; on a processor only when asked for,
since without the instructions it is slow (with them we saw two to three times the speed).

Batches are not laid out channels last. That is faster by half, but in torch 2.13 the backward pass
of a 1 x 1 convolution of stride 2 then writes beyond its memory on processors, and with it a
resumed training once gave other bits (why was not found; without it that was not seen).

A network whose loss looks at more than its result has a method ``branches``; in training the loss
is given what that returns.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from herscope.core.errors import InputError, ModelError, UndefinedStatistic
from herscope.core.spec import Spec
from herscope.core.store import make_folder
from herscope.nn.checkpoints import Checkpoint, State, forget, read_best, read_checkpoint, save
from herscope.nn.compute import choose_device, seed_everything

Loss = Callable[[Any, Any], Tensor]
"""Takes the network's output, or the tuple of its branches, and the target."""
Validate = Callable[[nn.Module, torch.device], Mapping[str, float | None]]
Row = dict[str, float | int | None]
FOREVER = 1_000_000


class FitSpec(Spec):
    """How to train. The number of epochs shapes the learning rate, so it is part of the method."""

    epochs: int = Field(default=30, ge=1, le=10_000, description="Passes over the patches.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Highest learning rate.")
    encoder_learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Highest learning rate of a pre-trained encoder (parameters 'encoder.*').",
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="AdamW's weight decay.")
    warmup_epochs: float = Field(default=1.0, ge=0, description="Epochs of linear warm-up.")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="What the learning rate does after the warm-up."
    )
    clip_norm: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    accumulate: int = Field(default=1, ge=1, le=1024, description="Batches a step.")
    patience: int = Field(
        default=15, ge=1, description="Epochs without improvement after which training stops."
    )
    monitor: str = Field(default="loss", description="Validation metric that decides.")
    larger_is_better: bool = Field(default=False, description="Whether the metric should rise.")
    keep: Literal["best", "last"] = Field(
        default="best", description="Weights of the best epoch, or of the last one."
    )
    save_every: int = Field(
        default=1,
        ge=1,
        description="Epochs between checkpoints; those among the best are saved in any case.",
    )
    average: int = Field(
        default=1, ge=1, le=100, description="Best epochs whose weights are averaged; 1: none."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of weights, order and variation")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:1.")
    norm_batches: int = Field(
        default=8,
        ge=0,
        le=1024,
        description="Batches for the statistics of batch normalisation; 0: running averages.",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto", description="auto: bf16 on a GPU, float32 on a processor."
    )


class Inputs(Protocol):
    """What a network is given: a tensor, or anything of tensors that knows how to move."""

    def to(self, device: torch.device) -> Any:
        """Return it on a device."""


class Batches(Protocol):
    """Training batches; the same ones for the same epoch, whatever came before."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, number: int) -> Iterable[tuple[Inputs, Inputs]]:
        """Give inputs and targets of an epoch, counted from 0."""


class Progress(Protocol):
    """What the loop tells while it works."""

    def epoch(self, row: Row, best: int) -> None:
        """Report an epoch's row of the history (``best`` is the best epoch so far, from 1)."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """What training gave; the module holds the weights of ``best_epoch`` (counted from 1).

    With ``keep="last"`` that is the last epoch, and ``best_value`` its figure. ``averaged`` holds
    the epochs whose weights were averaged, the best one first.

    ``history`` has a row an epoch: ``epoch``, ``loss`` (training), ``learning_rate``, ``seconds``
    and the validation metrics with ``val_`` before their names.
    """

    history: tuple[Row, ...]
    best_epoch: int
    best_value: float
    stopped_early: bool
    resumed_after: int
    device: str
    averaged: tuple[int, ...] = ()


def fit(
    module: nn.Module,
    batches: Batches,
    validate: Validate,
    loss: Loss,
    spec: FitSpec,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    data: str = "",
) -> FitResult:
    """Train a module.

    Parameters
    ----------
    module
        Any network; parameters with ``requires_grad=False`` stay as they are.
    batches
        Training data.
    validate
        Called after each epoch with the module in evaluation mode and without gradients; returns
        named figures, among them ``spec.monitor``.
    loss
        Takes (output, target), returns a scalar.
    spec
        How to train.
    folder
        Checkpoints go there; what it holds of an earlier training is removed unless ``resume``.
    progress
        Told after each epoch; when it raises, the epoch is saved already where it is due.
    resume
        Go on from the last whole epoch in ``folder``; from the beginning where there is none.
    data
        Fingerprint of data and network; resuming with another one is refused.

    Raises
    ------
    InputError
        No batch, no trainable parameter, or validation without the monitored metric.
    StaleResult
        The folder's training had another Spec, network or data.
    ModelError
        The loss is not finite; a checkpoint is damaged.

    Notes
    -----
    ``KeyboardInterrupt`` passes through; the folder then holds the last epoch that was due.
    """
    device = choose_device(spec.device)
    root = make_folder(Path(folder))
    seed_everything(spec.seed)
    module.to(device)
    optimizer = _optimizer(module, spec)
    steps = -(-len(batches) // spec.accumulate)
    if steps == 0:
        raise InputError("there is no batch to train on", hint="give patches")
    key = spec.fingerprint(data)
    if not resume:
        forget(root)
    found = read_checkpoint(root, module, optimizer, key=key, spec=spec) if resume else None
    state = found or State()
    before = state.epoch
    while state.epoch < spec.epochs and not _stale(state, spec):
        started = time.perf_counter()
        mean, rate = _train_epoch(module, batches, loss, optimizer, spec, state.epoch, device)
        _renew_norms(module, batches, spec, state.epoch, device)
        metrics = _validate(module, validate, device)
        row: Row = {
            "epoch": state.epoch + 1,
            "loss": mean,
            "learning_rate": rate,
            **{f"val_{name}": value for name, value in metrics.items()},
            "seconds": round(time.perf_counter() - started, 3),
        }
        value = _monitored(metrics, spec)
        state = state.after(row, value, larger=spec.larger_is_better, keep=spec.average)
        if _is_due(state, spec):
            save(root, Checkpoint(module, optimizer, key, spec), state)
        if progress is not None:
            progress.epoch(row, state.best.epoch)
    kept, value = state.best.epoch, state.best.value
    averaged = tuple(one.epoch for one in state.top)
    if spec.keep == "best":
        read_best(root, module)
        if len(averaged) > 1:
            _renew_norms(module.train(), batches, spec, kept - 1, device)
    else:
        averaged = (state.epoch,)
        kept, value = state.epoch, _monitored(_figures(state.history[-1]), spec)
    module.eval()
    stopped = state.epoch < spec.epochs
    return FitResult(state.history, kept, value, stopped, before, str(device), averaged)


def learning_rate_at(
    step: int, steps: int, warmup: float, schedule: Literal["cosine", "constant"] = "cosine"
) -> float:
    """Return the factor of the highest learning rate at a step, 0 to 1.

    Parameters
    ----------
    step, steps
        Step from 0, and how many there are.
    warmup
        Steps of linear warm-up.
    schedule
        Whether it falls after that, or stays.

    Examples
    --------
    >>> [round(learning_rate_at(k, 10, 2), 3) for k in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if schedule == "constant":
        return 1.0
    left = max(1.0, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / left)))


def _is_due(state: State, spec: FitSpec) -> bool:
    """Whether an epoch is saved: what follows can be trained again to the bit."""
    among_best = any(one.epoch == state.epoch for one in state.top)
    return among_best or state.epoch % spec.save_every == 0 or state.epoch == spec.epochs


def _figures(row: Row) -> dict[str, float | None]:
    """Return the validation figures of a row of the history."""
    return {k.removeprefix("val_"): v for k, v in row.items() if k.startswith("val_")}


def _stale(state: State, spec: FitSpec) -> bool:
    return state.epoch - state.best.epoch >= spec.patience


def _optimizer(module: nn.Module, spec: FitSpec) -> torch.optim.AdamW:
    """Give the optimiser its parameters; biases and norms are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = spec.learning_rate
        if spec.encoder_learning_rate is not None and name.startswith("encoder."):
            rate = spec.encoder_learning_rate
        decay = spec.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    if not groups:
        raise InputError("the network has no parameter to train", hint="is all of it frozen?")
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "highest": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ]
    )


def _train_epoch(
    module: nn.Module,
    batches: Batches,
    loss: Loss,
    optimizer: torch.optim.AdamW,
    spec: FitSpec,
    epoch: int,
    device: torch.device,
) -> tuple[float, float]:
    """Train one epoch; return the mean loss and the last learning rate."""
    # Dropout and the like draw from (seed, epoch), so nothing of a generator has to be stored.
    seed_everything((spec.seed * FOREVER + epoch + 1) % 2**63)
    module.train()
    count = len(batches)
    steps = -(-count // spec.accumulate)
    total, rate = 0.0, 0.0
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    forward: Callable[[Any], Any] = getattr(module, "branches", module)
    optimizer.zero_grad(set_to_none=True)
    for number, (inputs, target) in enumerate(batches.epoch(epoch)):
        # The last step of an epoch may have fewer batches.
        together = min(spec.accumulate, count - number // spec.accumulate * spec.accumulate)
        with _precision(device, spec):
            value = loss(forward(inputs.to(device)), target.to(device))
        now = float(value.detach())
        if not math.isfinite(now):
            raise ModelError(
                f"training diverged: the loss is {now} in epoch {epoch + 1}, batch {number + 1}",
                hint=f"lower the learning rate (now {spec.learning_rate:g}); the last epoch is "
                "kept",
            )
        (value / together).backward()  # type: ignore[no-untyped-call]
        total += now
        if (number + 1) % spec.accumulate and number + 1 < count:
            continue
        step = epoch * steps + number // spec.accumulate
        factor = learning_rate_at(
            step, spec.epochs * steps, spec.warmup_epochs * steps, spec.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * factor
        rate = spec.learning_rate * factor
        nn.utils.clip_grad_norm_(parameters, spec.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return total / count, rate


def _renew_norms(
    module: nn.Module, batches: Batches, spec: FitSpec, epoch: int, device: torch.device
) -> None:
    """Compute the statistics of batch normalisation with the present weights."""
    # Those of a frozen encoder, which stays in evaluation mode, are left alone.
    norms = [
        norm
        for norm in module.modules()
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and norm.training
    ]
    if not norms or spec.norm_batches == 0:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    with torch.no_grad():
        for inputs, _ in itertools.islice(batches.epoch(epoch), spec.norm_batches):
            with _precision(device, spec):
                module(inputs.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _precision(device: torch.device, spec: FitSpec) -> Any:
    mixed = spec.precision == "bf16" or (device.type == "cuda" and spec.precision == "auto")
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)


def _validate(
    module: nn.Module, validate: Validate, device: torch.device
) -> Mapping[str, float | None]:
    module.eval()
    with torch.inference_mode():
        return validate(module, device)


def _monitored(metrics: Mapping[str, float | None], spec: FitSpec) -> float:
    if spec.monitor not in metrics:
        raise InputError(
            f"validation gives no {spec.monitor}", hint=f"it gives: {', '.join(sorted(metrics))}"
        )
    value = metrics[spec.monitor]
    if value is None or not math.isfinite(value):
        raise UndefinedStatistic(
            f"the validation metric {spec.monitor} is {value}: training cannot be steered by it",
            hint="add validation data that hold every class, or lower the learning rate",
        )
    return float(value)
