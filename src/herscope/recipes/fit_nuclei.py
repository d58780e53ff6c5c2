"""Train a nucleus model from patches with numbered nuclei.

The chain is that of compartments (:mod:`herscope.recipes.fit`). Validation makes nuclei of the
network's maps exactly as scoring does and counts those that overlap a true one by half: what
decides is the F1 that a user gets, not the loss.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from herscope.recipes.training import MapTrainingSpec, beside, check_request, need_training

if TYPE_CHECKING:
    import torch

    from herscope.nn.fit import Progress
    from herscope.nn.patches.nuclei import NucleusPatches

TRUE_IOU = 0.5


class NucleusFitSpec(MapTrainingSpec):
    """How a nucleus network is trained."""

    network: str = Field(
        default="unet-distance", description="unet-distance, hovernet or triple-unet."
    )


def phantom_nuclei(
    out: str | Path, n: int, *, seed: int = 0, mpp: float = 0.5, size_px: int = 256
) -> dict[str, Any]:
    """Draw ``n`` patches with numbered nuclei; see :mod:`herscope.nn.patches.phantom_nuclei`.

    Returns
    -------
    dict
        The folder and counts.
    """
    from herscope.nn.patches.nuclei import read_nucleus_patches
    from herscope.nn.patches.phantom_nuclei import make_phantom_nuclei

    folder = make_phantom_nuclei(out, n, seed, mpp=mpp, size_px=size_px)
    return {"folder": str(folder), **read_nucleus_patches(folder).describe()}


def fit_nuclei(
    data: str | Path,
    out: str | Path,
    spec: NucleusFitSpec | None = None,
    *,
    mpp: float | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a nucleus model.

    Parameters
    ----------
    data
        A patch folder (:mod:`herscope.nn.patches.nuclei`).
    out
        Folder of the model; its name is the model's.
    spec
        Network and training. The input of ``triple-unet`` is always ``hematoxylin-rgb``.
    mpp
        µm/px of patches that state none.
    threads, licence, resume, force, progress
        As for :func:`herscope.recipes.fit.fit_compartments`.

    Returns
    -------
    dict
        The document that ``herscope fit nuclei --json`` prints.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    InputError, SchemaError, ModelError, StaleResult, OutputError
        Data, checkpoint or target cannot be used.
    """
    spec = spec or NucleusFitSpec()
    target = Path(out)
    need_training()
    check_request(target, spec.network, "nuclei", licence, force=force)
    from herscope.core.store import make_folder
    from herscope.nn.batches import PatchBatches
    from herscope.nn.compute import limit_threads
    from herscope.nn.fit import FitSpec, fit
    from herscope.nn.inputs import channels_of
    from herscope.nn.networks.registry import NETWORKS, make_network
    from herscope.nn.nucleus_losses import nucleus_loss, target_channels
    from herscope.nn.nucleus_targets import nucleus_target
    from herscope.nn.patches.nuclei import read_nucleus_patches
    from herscope.recipes.trained import About, Trained, write_trained

    if spec.network == "triple-unet":
        spec = spec.model_copy(update={"inputs": "hematoxylin-rgb"})
    make_folder(target.parent)
    patches = read_nucleus_patches(data, mpp=mpp)
    split = patches.split(share=spec.validation_share, seed=spec.seed)
    channels = NETWORKS.make(spec.network).output
    wanted = target_channels(channels)
    network = make_network(
        spec.network,
        channels=channels_of(spec.inputs),
        classes=len(channels),
        width=spec.width,
        seed=spec.seed,
    )
    batches = PatchBatches(
        patches,
        split.train,
        inputs=spec.inputs,
        batch=spec.batch,
        crop_px=spec.crop_px,
        spec=spec.augment,
        seed=spec.seed,
        target=lambda labels: nucleus_target(labels, wanted),
    )
    training = FitSpec(
        epochs=spec.epochs,
        accumulate=spec.accumulate,
        learning_rate=spec.learning_rate or FitSpec().learning_rate,
        patience=spec.patience,
        keep=spec.keep,
        monitor="f1",
        larger_is_better=True,
        seed=spec.seed,
        device=spec.device,
        precision=spec.precision,
    )

    def validate(module: torch.nn.Module, device: torch.device) -> dict[str, float | None]:
        return nucleus_figures(module, device, patches, split.validation, spec.inputs, channels)

    work = beside(target, "training")
    with limit_threads(threads):
        result = fit(
            network,
            batches,
            validate,
            nucleus_loss(channels),
            training,
            work,
            progress=progress,
            resume=resume,
            data=f"{patches.fingerprint} {spec.fingerprint()}",
        )
    about = About(
        "nuclei",
        f"Nuclei by {spec.network}, width {spec.width:g}, from {spec.inputs}.",
        channels,
        batches.crop_px,
    )
    made = Trained(about, network, patches, split, spec, training, result, {})
    document = write_trained(target, made, licence, int8_from=patches if spec.int8 else None)
    shutil.rmtree(work, ignore_errors=True)
    return document


def nucleus_figures(
    module: torch.nn.Module,
    device: torch.device,
    patches: NucleusPatches,
    which: Sequence[int],
    inputs: str,
    channels: Sequence[str],
) -> dict[str, float | None]:
    """F1, precision and recall at IoU 0.5 and Dice over whole patches; counts are added first."""
    import numpy as np
    import torch

    from herscope.nn.inputs import network_input
    from herscope.segment.learned_nuclei import LearnedNucleiSpec, decode_nuclei, quantise
    from herscope.stats.detection import match_instances, pooled
    from herscope.stats.segmentation import overlap_by_class, pooled_overlap

    spec = LearnedNucleiSpec()
    counts, overlaps = [], []
    for index in which:
        patch = patches.load(index)
        known = patch.instances >= 0
        if not known.any():
            continue
        batch = torch.from_numpy(network_input(patch.rgb, inputs, patch.white)[None])
        raw = module(batch.to(device))[0].float().cpu().numpy()
        found = decode_nuclei(quantise(raw, channels), channels, float(patches.mpp), spec).labels
        found = np.where(known, found, 0)
        truth = np.where(known, patch.instances, 0)
        counts.append(match_instances(truth, found, iou=TRUE_IOU))
        mask = np.where(known, truth > 0, 255).astype(np.uint8)
        overlaps.append(
            overlap_by_class(mask, (found > 0).astype(np.uint8), {1: "nucleus"}, ignore=255)
        )
    total = pooled(counts)
    dice = pooled_overlap(overlaps)["nucleus"].dice if overlaps else None
    return {"f1": total.f1, "precision": total.precision, "recall": total.recall, "dice": dice}
