"""From a trained network to a model folder: card, metrics, history, and what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from herscope import __version__

if TYPE_CHECKING:
    import torch

    from herscope.core.registry import ModelCard, Task
    from herscope.core.units import Mpp
    from herscope.nn.batches import Source
    from herscope.nn.fit import FitResult, FitSpec
    from herscope.nn.model_file import ModelFile
    from herscope.nn.patches.split import Split
    from herscope.recipes.training import TrainingSpec

SCHEMA = "herscope.fit/1"
INT8_SAMPLES = 24
MPP_SPAN = 1.25
"""A model takes pixels this much finer or coarser than it was trained on."""


class Patches(Protocol):
    """What a card and a history say of the patches, whatever their task."""

    @property
    def root(self) -> Path:
        """The folder."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Slide or patient of each."""

    @property
    def digests(self) -> tuple[str, ...]:
        """Checksum of each one's pixels."""

    @property
    def mpp(self) -> Mpp:
        """µm/px."""

    @property
    def source(self) -> str:
        """Where they come from."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""

    def describe(self) -> dict[str, Any]:
        """Return counts."""


class About(NamedTuple):
    """What the model is for: task, sentence for the card, output channels, edge of its patches."""

    task: Task
    summary: str
    classes: Sequence[str] | None
    trained_px: int


class Trained(NamedTuple):
    """A network that was trained, on what and how."""

    about: About
    network: torch.nn.Module
    patches: Patches
    split: Split
    spec: TrainingSpec
    training: FitSpec
    result: FitResult
    encoder: dict[str, Any]


def write_trained(
    target: Path, made: Trained, licence: str, int8_from: Source | None = None
) -> dict[str, Any]:
    """Write a trained network as a model folder; return the document of the training.

    Parameters
    ----------
    target
        The folder.
    made
        The network, its patches and how it was trained.
    licence
        SPDX name for the card.
    int8_from
        The patches once more, where an 8-bit copy is wanted.
    """
    from herscope.core.store import write_json
    from herscope.nn.export import export
    from herscope.nn.inputs import channels_of

    patches, split, spec, result = made.patches, made.split, made.spec, made.result
    best = result.history[result.best_epoch - 1]
    metrics = {
        f"validation_{name.removeprefix('val_')}": round(float(value), 6)
        for name, value in best.items()
        if name.startswith("val_") and value is not None
    }
    card = _card(target.name, made, metrics, licence)
    model = export(made.network, channels_of(spec.inputs), target, card)
    notes = [*patches.notes, *([split.note] if split.note else [])]
    if int8_from is not None:
        notes += add_int8(model, int8_from, split.train)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "spec": spec.model_dump(mode="json"),
        "training": made.training.model_dump(mode="json"),
        "encoder": made.encoder or None,
        "patches": patches.describe(),
        "split": {
            side: [patches.stems[i] for i in getattr(split, side)]
            for side in ("train", "validation")
        },
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "resumed_after": result.resumed_after,
        "device": result.device,
        "metrics": metrics,
        "history": list(result.history),
        "notes": notes,
    }
    seen = {
        "seen": {
            side: [patches.digests[i] for i in getattr(split, side)]
            for side in ("train", "validation")
        }
    }
    write_json(target / "history.json", {**document, **seen})
    return {**document, "model": str(target)}


def add_int8(model: ModelFile, patches: Source, which: Sequence[int]) -> list[str]:
    """Write an 8-bit copy beside a model; where it would differ too much, a note says so.

    Parameters
    ----------
    model
        A finished model of compartments or nuclei.
    patches, which
        What it was trained on; some of them set the scales of the copy and test it.
    """
    from herscope.core.errors import ModelError
    from herscope.nn.inputs import network_input
    from herscope.nn.int8_file import write_int8
    from herscope.nn.quantise import quantise

    chosen = which[:: max(1, len(which) // INT8_SAMPLES)][:INT8_SAMPLES]
    read = (patches.labelled(index) for index in chosen)
    inputs = model.card.inputs or "rgb"
    try:
        found = quantise(model, [network_input(one.rgb, inputs, one.white) for one in read])
    except ModelError as error:
        return [f"no 8-bit copy: {error.message}"]
    write_int8(model, found.onnx, found.figures)
    return []


def _card(name: str, made: Trained, metrics: dict[str, float], licence: str) -> ModelCard:
    from herscope.core.registry import ModelCard
    from herscope.nn.inputs import NORMALISATION
    from herscope.nn.networks.registry import NETWORKS

    patches, split, spec = made.patches, made.split, made.spec
    of = len({patches.groups[i] for i in split.train})
    trained = patches.source or f"patches of the folder {patches.root.name}"
    mpp = float(patches.mpp)
    return ModelCard(
        name=name,
        task=made.about.task,
        summary=made.about.summary,
        input_mpp_finest=round(mpp / MPP_SPAN, 4),
        input_mpp_coarsest=round(mpp * MPP_SPAN, 4),
        input_size_px=None,
        normalisation=NORMALISATION[spec.inputs],
        licence=licence,
        source=f"{NETWORKS.make(spec.network).source}; trained with herscope {__version__}",
        training_data=f"{trained}; {len(split.train)} patches of {of} groups trained on, "
        f"{len(split.validation)} held back",
        metrics=metrics,
        inputs=spec.inputs,
        classes=None if made.about.classes is None else list(made.about.classes),
        network=spec.network,
        trained_px=made.about.trained_px,
    )
