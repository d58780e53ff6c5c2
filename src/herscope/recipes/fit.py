"""Train a compartment model from patches with masks, or from annotated slides.

The chain: patches are read and checked, slides or patients are parted 80/20, a network is made,
the one training loop runs, and the best weights become a model folder with ONNX file, card, history
and the list of the patches it was trained on.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from herscope.core.errors import DependencyMissing, InputError, OutputError
from herscope.core.spec import Spec
from herscope.nn.augment import AugmentSpec

if TYPE_CHECKING:
    import torch

    from herscope.nn.fit import FitSpec, Progress
    from herscope.nn.patches import PatchFolder, Split

Inputs = Literal["rgb", "hematoxylin", "hematoxylin-rgb"]
PRETRAINED_LEARNING_RATE = 1e-4
PRETRAINED_ENCODER_RATE = 1e-5
"""AutoIHC states none; few patches and an encoder that has seen many images ask for small steps."""


class CompartmentFitSpec(Spec):
    """What network is trained, on what input, how long."""

    network: str = Field(default="unet", description="Architecture; see docs on compartment models")
    width: float = Field(default=0.25, gt=0, le=4, description="Multiplier of channel counts.")
    inputs: Inputs = Field(default="hematoxylin-rgb", description="What the network is given.")
    epochs: int = Field(default=30, ge=1, le=10_000, description="Passes over the patches.")
    batch: int = Field(default=8, ge=2, le=1024, description="Patches a step.")
    accumulate: int = Field(default=1, ge=1, le=1024, description="Batches a step.")
    crop_px: int = Field(default=256, ge=32, le=2048, description="Edge of training crops.")
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="Highest; 1e-3, and 1e-4 with --encoder, when absent."
    )
    patience: int = Field(default=15, ge=1, description="Epochs without gain before stopping.")
    validation_share: float = Field(default=0.2, gt=0, lt=1, description="Part held back.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of weights, split, variation.")
    device: str = Field(default="auto", description="auto, cpu or cuda.")
    augment: AugmentSpec = Field(default=AugmentSpec(), description="How patches are varied.")


def phantom_patches(
    out: str | Path, n: int, *, seed: int = 0, mpp: float = 1.0, size_px: int = 256
) -> dict[str, Any]:
    """Draw ``n`` training patches from phantoms that differ in everything; see the how-to.

    Returns
    -------
    dict
        The folder, counts and pixels of each class.
    """
    from herscope.nn.patches import describe, read_patches
    from herscope.nn.phantom_patches import make_phantom_patches

    folder = make_phantom_patches(out, n, seed, mpp=mpp, size_px=size_px)
    return {"folder": str(folder), **describe(read_patches(folder))}


def patches_of(
    data: str | Path, cut_into: Path, *, mpp: float | None, slide_mpp: float | None = None
) -> PatchFolder:
    """Read a patch folder, or cut annotated slides into one beside the model.

    Parameters
    ----------
    data
        A folder with ``images`` and ``masks``, or a folder with slides and their GeoJSON.
    cut_into
        Where patches of slides go.
    mpp
        µm/px of the patches; for slides 1.0 when absent.
    slide_mpp
        µm/px of slides that state none.
    """
    from herscope.nn.patches import is_patch_folder, read_patches

    root = Path(data)
    if not root.exists():
        raise InputError(f"{root} does not exist", hint="give a folder of patches or of slides")
    if root.is_dir() and is_patch_folder(root):
        return read_patches(root, mpp=mpp)
    from herscope.core.units import Mpp
    from herscope.nn.slide_patches import cut_patches
    from herscope.slide.find import find_slides
    from herscope.slide.resolution import SlideSpec

    spec = SlideSpec(mpp=None if slide_mpp is None else Mpp(slide_mpp))
    cut = cut_patches(find_slides([root]), cut_into, mpp=Mpp(mpp or 1.0), spec=spec)
    return read_patches(cut)


def fit_compartments(
    data: str | Path,
    out: str | Path,
    spec: CompartmentFitSpec | None = None,
    *,
    mpp: float | None = None,
    slide_mpp: float | None = None,
    encoder: str | Path | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a compartment model.

    Parameters
    ----------
    data
        A patch folder (:mod:`herscope.nn.patches`) or a folder of slides with QuPath GeoJSON.
    out
        Folder of the model; its name is the model's.
    spec
        Network and training.
    mpp, slide_mpp
        µm/px of the patches; of slides that state none.
    encoder
        Pre-trained ResNet-50 weights for networks that have such an encoder.
    threads
        Of the processor; all that this process may use when None.
    licence
        SPDX name for the card: what the weights may be used for depends on your data.
    resume
        Go on with a training that was cut off.
    force
        Replace a model that is there.
    progress
        Told after each epoch.

    Returns
    -------
    dict
        The document that ``herscope fit compartments --json`` prints.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    InputError, SchemaError, ModelError, StaleResult, OutputError
        Data, encoder, checkpoint or target cannot be used.
    """
    spec = spec or CompartmentFitSpec()
    target = Path(out)
    _need_torch()
    _check_request(target, spec, licence, force=force)
    from herscope.core.store import make_folder
    from herscope.nn.batches import PatchBatches, figures, overlap_of
    from herscope.nn.compute import limit_threads
    from herscope.nn.fit import fit
    from herscope.nn.inputs import channels_of
    from herscope.nn.losses import cross_entropy_dice, inverse_frequency
    from herscope.nn.networks.registry import make_network
    from herscope.nn.patch_files import CLASSES
    from herscope.recipes.trained import Trained, write_trained

    make_folder(target.parent)
    patches = patches_of(data, beside(target, "patches"), mpp=mpp, slide_mpp=slide_mpp)
    split = patches.split(share=spec.validation_share, seed=spec.seed)
    network = make_network(
        spec.network,
        channels=channels_of(spec.inputs),
        classes=len(CLASSES),
        width=spec.width,
        seed=spec.seed,
    )
    loaded = _load_encoder(network, encoder)
    batches = PatchBatches(
        patches,
        split.train,
        inputs=spec.inputs,
        batch=spec.batch,
        crop_px=spec.crop_px,
        spec=spec.augment,
        seed=spec.seed,
    )
    training = _fit_spec(spec, patches, split, pretrained=encoder is not None)
    weights = inverse_frequency([*patches.class_pixels(split.train).values()])

    def loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return cross_entropy_dice(logits, mask, weights.to(logits.device))

    def validate(module: torch.nn.Module, device: torch.device) -> dict[str, float | None]:
        found = overlap_of(module, device, patches, split.validation, spec.inputs)
        return figures(found)

    work = beside(target, "training")
    with limit_threads(threads):
        result = fit(
            network,
            batches,
            validate,
            loss,
            training,
            work,
            progress=progress,
            resume=resume,
            data=f"{patches.fingerprint} {spec.fingerprint()} {loaded.get('sha256', '')}",
        )
    made = Trained(network, patches, split, spec, training, result, loaded)
    document = write_trained(target, made, licence)
    shutil.rmtree(work, ignore_errors=True)
    return document


def beside(model: Path, what: str) -> Path:
    """Return the folder of checkpoints or cut patches that belongs to a model."""
    return model.with_name(f"{model.name}.{what}")


def _need_torch() -> None:
    # All of them at once, and first: nobody should train for an hour and then miss the export.
    for package in ("torch", "safetensors", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise DependencyMissing(
                f"training needs {package}, which is not installed",
                hint="pip install 'herscope[learn]'",
            )


def _check_request(target: Path, spec: CompartmentFitSpec, licence: str, *, force: bool) -> None:
    """Refuse before training what would be refused after it."""
    from herscope.nn.model_file import NO_LICENCE
    from herscope.nn.networks.registry import NETWORKS

    task = NETWORKS.make(spec.network).task
    if task != "compartments":
        raise InputError(
            f"network {spec.network} predicts {task}, not compartments",
            hint=f"known: {', '.join(n for n in NETWORKS if NETWORKS.make(n).task != task)}",
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


def _load_encoder(network: torch.nn.Module, path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    from dataclasses import asdict

    from herscope.nn.networks.encoder import load_encoder

    return asdict(load_encoder(network, path))


def _fit_spec(
    spec: CompartmentFitSpec, patches: PatchFolder, split: Split, *, pretrained: bool
) -> FitSpec:
    from herscope.nn.fit import FitSpec

    held = patches.class_pixels(split.validation)
    if not any(held.values()):
        raise InputError(
            "no patch held back for validation has an annotated pixel",
            hint="annotate patches of more slides, or give another --seed",
        )
    highest = PRETRAINED_LEARNING_RATE if pretrained else FitSpec().learning_rate
    return FitSpec(
        epochs=spec.epochs,
        accumulate=spec.accumulate,
        learning_rate=spec.learning_rate or highest,
        encoder_learning_rate=PRETRAINED_ENCODER_RATE if pretrained else None,
        patience=spec.patience,
        # Of data without tumour in validation the mean over the classes decides.
        monitor="dice_tumor" if held["tumor"] else "dice_mean",
        larger_is_better=True,
        seed=spec.seed,
        device=spec.device,
    )
