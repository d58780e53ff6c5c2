"""Train an H-score regressor from patches with a target and, where there are, readers' H-scores.

AutoIHC's third module. The chain is that of the other tasks; what the network shall give is
``hscores.csv``, or the formula's value of each patch without it. The card says which.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from herscope.core.errors import InputError
from herscope.nn.augment import AugmentSpec
from herscope.recipes.training import TrainingSpec, beside, check_request, need_training

if TYPE_CHECKING:
    import torch

    from herscope.nn.fit import FitSpec, Progress
    from herscope.nn.patches.hscores import HscorePatches, TargetCompartment

LEARNING_RATE = 1e-3
PRETRAINED_LEARNING_RATE = 1e-4
PRETRAINED_ENCODER_RATE = 1e-5
"""AutoIHC states none; the published default of Adam, and small steps for what was pre-trained."""
UNNORMALISED_LEARNING_RATE = 1e-4
"""VGG16 has no batch normalisation: from scratch it does not survive larger steps."""

AUGMENT = AugmentSpec(brightness=0.02, contrast=0.05, hue_deg=2.0, dab=0.0)
"""What is asked for is the amount of brown, so brown itself is not varied, and light only a bit."""


class HscoreFitSpec(TrainingSpec):
    """How an H-score regressor is trained."""

    network: str = Field(
        default="stain-intensity-net", description="Architecture; see the docs on H-score models."
    )
    width: float = Field(default=1.0, gt=0, le=4, description="Multiplier of channel counts.")
    inputs: Literal["dab-target"] = Field(
        default="dab-target", description="What the network is given: the DAB of the target."
    )
    epochs: int = Field(default=100, ge=1, le=10_000, description="Passes over the patches.")
    batch: int = Field(default=16, ge=2, le=1024, description="Patches a step.")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Highest; 1e-3, for vgg16-regression and with --encoder 1e-4, when absent.",
    )
    patience: int = Field(default=25, ge=1, description="Epochs without gain before stopping.")
    cuts: tuple[float, float, float] | None = Field(
        default=None,
        description="Cut-offs of the formula where no reader gave H-scores; 0.2 0.4 0.6 if absent.",
    )
    augment: AugmentSpec = Field(default=AUGMENT, description="How patches are varied.")


def phantom_hscores(
    out: str | Path,
    n: int,
    *,
    seed: int = 0,
    mpp: float = 0.5,
    size_px: int = 256,
    region: Literal["cell", "marker"] = "cell",
) -> dict[str, Any]:
    """Draw ``n`` patches with targets and the true H-scores of the drawn cells.

    Returns
    -------
    dict
        The folder, counts and the spread of the H-scores.
    """
    from herscope.nn.patches.hscores import read_hscore_patches
    from herscope.nn.patches.phantom_hscores import make_phantom_hscores

    folder = make_phantom_hscores(out, n, seed, mpp=mpp, size_px=size_px, region=region)
    return {"folder": str(folder), **read_hscore_patches(folder).describe()}


def fit_hscore(
    data: str | Path,
    out: str | Path,
    spec: HscoreFitSpec | None = None,
    *,
    mpp: float | None = None,
    compartment: TargetCompartment | None = None,
    encoder: str | Path | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train an H-score regressor.

    Parameters
    ----------
    data
        A folder (:mod:`herscope.nn.patches.hscores`).
    out
        Folder of the model; its name is the model's.
    spec
        Network and training.
    mpp
        µm/px of patches that state none.
    compartment
        ``tumor`` or ``stroma`` when the masks are compartment masks.
    encoder
        ImageNet weights for ``vgg16-regression`` or ``resnet18-regression``, at width 1.
    threads, licence, resume, force, progress
        As for :func:`herscope.recipes.fit.fit_compartments`.

    Returns
    -------
    dict
        The document that ``herscope fit hscore --json`` prints.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    InputError, SchemaError, ModelError, StaleResult, OutputError
        Data, encoder, checkpoint or target cannot be used.
    """
    spec = spec or HscoreFitSpec()
    target = Path(out)
    need_training()
    check_request(target, spec.network, "hscore", licence, force=force)
    from herscope.core.store import make_folder
    from herscope.measure.intensity import GradeSpec
    from herscope.nn.compute import limit_threads
    from herscope.nn.fit import fit
    from herscope.nn.hscore_batches import HscoreBatches, error_figures, estimates_of, h_score_loss
    from herscope.nn.inputs import channels_of
    from herscope.nn.networks.registry import make_network
    from herscope.nn.patches.hscores import read_hscore_patches
    from herscope.recipes.hscore_formula import with_truth
    from herscope.recipes.trained import About, Trained, write_trained

    grading = _grading(spec, GradeSpec)
    make_folder(target.parent)
    patches = with_truth(read_hscore_patches(data, mpp=mpp, compartment=compartment), grading)
    _check_truth(patches)
    split = patches.split(share=spec.validation_share, seed=spec.seed)
    network = make_network(
        spec.network, channels=channels_of(spec.inputs), classes=1, width=spec.width, seed=spec.seed
    )
    loaded = _load_encoder(network, encoder)
    batches = HscoreBatches(
        patches,
        split.train,
        inputs=spec.inputs,
        batch=spec.batch,
        spec=spec.augment,
        seed=spec.seed,
    )
    training = _fit_spec(spec, pretrained=encoder is not None)
    truth = patches.known()

    def validate(module: torch.nn.Module, device: torch.device) -> dict[str, float | None]:
        found = estimates_of(module, device, patches, split.validation, spec.inputs)
        return error_figures(found, truth[list(split.validation)])

    work = beside(target, "training")
    with limit_threads(threads):
        result = fit(
            network,
            batches,
            validate,
            h_score_loss,
            training,
            work,
            progress=progress,
            resume=resume,
            data=f"{patches.fingerprint} {spec.fingerprint()} {loaded.get('sha256', '')}",
        )
    of = "readers' H-scores" if patches.truth == "readers" else "the formula's values"
    about = About(
        "hscore",
        f"H-score of a target region by {spec.network}, width {spec.width:g}, trained on {of}.",
        None,
        int(patches.sizes[0, 0]),
    )
    made = Trained(about, network, patches, split, spec, training, result, loaded)
    document = write_trained(target, made, licence)
    shutil.rmtree(work, ignore_errors=True)
    return document


def _grading(spec: HscoreFitSpec, kind: type[Any]) -> Any:
    from herscope.core.study import build

    return kind() if spec.cuts is None else build(kind, {"cuts": spec.cuts}, where="--cuts")


def _check_truth(patches: HscorePatches) -> None:
    known = patches.known()
    if len(known) > 1 and np.ptp(known) == 0:
        raise InputError(
            f"all {len(known)} patches have the H-score {known[0]:g}: there is nothing to learn",
            hint="give patches from unstained to strongly stained",
        )


def _load_encoder(network: torch.nn.Module, path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    from dataclasses import asdict

    from herscope.nn.networks.regression import load_regression_encoder

    return asdict(load_regression_encoder(network, path))


def _fit_spec(spec: HscoreFitSpec, *, pretrained: bool) -> FitSpec:
    from herscope.nn.fit import FitSpec

    highest = LEARNING_RATE
    if pretrained:
        highest = PRETRAINED_LEARNING_RATE
    elif spec.network == "vgg16-regression":
        highest = UNNORMALISED_LEARNING_RATE
    return FitSpec(
        epochs=spec.epochs,
        accumulate=spec.accumulate,
        learning_rate=spec.learning_rate or highest,
        encoder_learning_rate=PRETRAINED_ENCODER_RATE if pretrained else None,
        patience=spec.patience,
        keep=spec.keep,
        monitor="mae",
        larger_is_better=False,
        seed=spec.seed,
        device=spec.device,
        precision=spec.precision,
    )
