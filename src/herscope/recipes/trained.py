"""From a trained network to a model folder: card, metrics, history, and what it has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from herscope import __version__

if TYPE_CHECKING:
    import torch

    from herscope.core.registry import ModelCard
    from herscope.nn.fit import FitResult, FitSpec
    from herscope.nn.patches import PatchFolder, Split
    from herscope.recipes.fit import CompartmentFitSpec

SCHEMA = "herscope.fit/1"
MPP_SPAN = 1.25
"""A model takes pixels this much finer or coarser than it was trained on."""


class Trained(NamedTuple):
    """A network that was trained, on what and how."""

    network: torch.nn.Module
    patches: PatchFolder
    split: Split
    spec: CompartmentFitSpec
    training: FitSpec
    result: FitResult
    encoder: dict[str, Any]


def write_trained(target: Path, made: Trained, licence: str) -> dict[str, Any]:
    """Write a trained network as a model folder; return the document of the training."""
    from herscope.core.store import write_json
    from herscope.nn.export import export
    from herscope.nn.inputs import channels_of
    from herscope.nn.patches import describe

    patches, split, spec, result = made.patches, made.split, made.spec, made.result
    best = result.history[result.best_epoch - 1]
    metrics = {
        f"validation_{name.removeprefix('val_')}": round(float(value), 6)
        for name, value in best.items()
        if name.startswith("val_") and value is not None
    }
    card = _card(target.name, made, metrics, licence)
    export(made.network, channels_of(spec.inputs), target, card)
    notes = [*patches.notes, *([split.note] if split.note else [])]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "spec": spec.model_dump(mode="json"),
        "training": made.training.model_dump(mode="json"),
        "encoder": made.encoder or None,
        "patches": describe(patches),
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


def _card(name: str, made: Trained, metrics: dict[str, float], licence: str) -> ModelCard:
    from herscope.core.registry import ModelCard
    from herscope.nn.inputs import NORMALISATION
    from herscope.nn.networks.registry import NETWORKS
    from herscope.nn.patch_files import CLASSES

    patches, split, spec = made.patches, made.split, made.spec
    of = len({patches.groups[i] for i in split.train})
    trained = patches.source or f"patches of the folder {patches.root.name}"
    mpp = float(patches.mpp)
    return ModelCard(
        name=name,
        task="compartments",
        summary=(
            f"Tumour, stroma, background and other by {spec.network}, width {spec.width:g}, "
            f"from {spec.inputs}."
        ),
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
        classes=list(CLASSES),
        network=spec.network,
    )
