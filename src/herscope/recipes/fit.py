"""Train a compartment model from patches with masks, or from annotated slides.

The chain: patches are read and checked, slides or patients are parted 80/20, a network is made,
the one training loop runs, and the best weights become a model folder with ONNX file, card, history
and the list of the patches it was trained on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from herscope.core.errors import InputError
from herscope.recipes.training import MapTrainingSpec, beside, check_request, need_training

if TYPE_CHECKING:
    import torch

    from herscope.nn.fit import FitSpec, Progress
    from herscope.nn.patches.compartments import PatchFolder
    from herscope.nn.patches.split import Split

PRETRAINED_LEARNING_RATE = 1e-4
PRETRAINED_ENCODER_RATE = 1e-5
"""AutoIHC states none; few patches and an encoder that has seen many images ask for small steps."""


class CompartmentFitSpec(MapTrainingSpec):
    """How a compartment network is trained."""

    network: str = Field(default="unet", description="Architecture; see docs on compartment models")
    inputs: Literal["rgb", "hematoxylin", "hematoxylin-rgb"] = Field(
        default="hematoxylin-rgb", description="What the network is given."
    )
    deep_supervision: bool = Field(
        default=False, description="Train unet++ on the maps of all its depths."
    )
    loss: Literal["cross-entropy", "focal"] = Field(
        default="cross-entropy", description="What is added to Dice."
    )


def phantom_patches(
    out: str | Path, n: int, *, seed: int = 0, mpp: float = 1.0, size_px: int = 256
) -> dict[str, Any]:
    """Draw ``n`` training patches from phantoms that differ in everything; see the how-to.

    Returns
    -------
    dict
        The folder, counts and pixels of each class.
    """
    from herscope.nn.patches.compartments import read_patches
    from herscope.nn.patches.phantom_compartments import make_phantom_patches

    folder = make_phantom_patches(out, n, seed, mpp=mpp, size_px=size_px)
    return {"folder": str(folder), **read_patches(folder).describe()}


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
    from herscope.nn.patches.compartments import is_patch_folder, read_patches

    root = Path(data)
    if not root.exists():
        raise InputError(f"{root} does not exist", hint="give a folder of patches or of slides")
    if root.is_dir() and is_patch_folder(root):
        return read_patches(root, mpp=mpp)
    from herscope.core.units import Mpp
    from herscope.nn.patches.from_slides import cut_patches
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
        A patch folder (:mod:`herscope.nn.patches.compartments`), or a folder of slides with QuPath
        GeoJSON.
    out
        Folder of the model; its name is the model's.
    spec
        Network and training.
    mpp, slide_mpp
        µm/px of the patches; of slides that state none.
    encoder
        Pre-trained ResNet-50 weights for networks that have such an encoder; for ``frozen`` the
        folder of a foundation encoder, which stays as it is.
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
    need_training()
    check_request(target, spec.network, "compartments", licence, force=force)
    from herscope.core.store import make_folder
    from herscope.nn.batches import PatchBatches, figures, overlap_of
    from herscope.nn.compute import limit_threads
    from herscope.nn.fit import fit
    from herscope.nn.inputs import channels_of
    from herscope.nn.losses import compartment_loss, inverse_frequency
    from herscope.nn.networks.registry import NETWORKS, make_network
    from herscope.nn.patches.files import CLASSES
    from herscope.recipes.trained import About, Trained, write_trained

    make_folder(target.parent)
    patches = patches_of(data, beside(target, "patches"), mpp=mpp, slide_mpp=slide_mpp)
    split = patches.split(share=spec.validation_share, seed=spec.seed)
    inside = "encoder" in NETWORKS.make(spec.network).takes  # the network is made around it
    network = make_network(
        spec.network,
        channels=channels_of(spec.inputs),
        classes=len(CLASSES),
        width=spec.width,
        seed=spec.seed,
        encoder=encoder if inside else None,
        deep_supervision=spec.deep_supervision,
    )
    loaded = getattr(network, "origin", {}) if inside else _load_encoder(network, encoder)
    batches = PatchBatches(
        patches,
        split.train,
        inputs=spec.inputs,
        batch=spec.batch,
        crop_px=spec.crop_px,
        spec=spec.augment,
        seed=spec.seed,
    )
    training = _fit_spec(spec, patches, split, pretrained=encoder is not None and not inside)
    weights = inverse_frequency([*patches.class_pixels(split.train).values()])

    def validate(module: torch.nn.Module, device: torch.device) -> dict[str, float | None]:
        found = overlap_of(module, device, patches, split.validation, spec.inputs)
        return figures(found)

    work = beside(target, "training")
    with limit_threads(threads):
        result = fit(
            network,
            batches,
            validate,
            compartment_loss(weights, spec.loss),
            training,
            work,
            progress=progress,
            resume=resume,
            data=f"{patches.fingerprint} {spec.fingerprint()} {loaded.get('sha256', '')}",
        )
    about = About(
        "compartments",
        f"Tumour, stroma, background and other by {spec.network}, width {spec.width:g}, "
        f"from {spec.inputs}.",
        CLASSES,
        batches.crop_px,
    )
    made = Trained(about, network, patches, split, spec, training, result, loaded)
    document = write_trained(target, made, licence, int8_from=patches if spec.int8 else None)
    shutil.rmtree(work, ignore_errors=True)
    return document


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
        keep=spec.keep,
        # Of data without tumour in validation the mean over the classes decides.
        monitor="dice_tumor" if held["tumor"] else "dice_mean",
        larger_is_better=True,
        seed=spec.seed,
        device=spec.device,
        precision=spec.precision,
    )
