"""Pre-trained weights of an encoder from a local file: MoCo v2, ImageNet, or our own.

Reads safetensors, and torch files with ``weights_only`` (no code in the file is ever run). Names
are those in circulation for ResNet-50 and MobileNetV3-Large; the wrappers of MoCo v2
(``module.encoder_q.``) and of data-parallel training (``module.``) are taken off. Classification
layers, projection heads, key encoders and queues are ignored; everything the encoder has must be
in the file, with its shape, or nothing is loaded.

Public weights were trained on normalised RGB; our networks take RGB from 0 to 1. The difference is
put into the first layer: weights divided by the standard deviation, and the mean's part moved into
the running mean of the normalisation that follows. In evaluation mode this is exact but for the
zero border of the first convolution. Other inputs:

* hematoxylin (1 channel): weights summed over the colours, as if the image stood in all three;
* hematoxylin-rgb (4 channels): RGB as above, haematoxylin starts at zero.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from herscope.core.errors import InputError, ModelError, WeightsUnavailable, WrongInput

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the ImageNet training set in sRGB from 0 to 1; MoCo v2 uses the same."""
PREFIXES = (
    "module.encoder_q.",
    "encoder_q.",
    "module.encoder.",
    "encoder.",
    "module.",
    "backbone.",
    "",
)
WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was taken from a file, and what was not.

    Attributes
    ----------
    file, sha256
        The file's name and checksum, for the card of the model that is trained from it.
    prefix
        What stood before every name.
    loaded
        Number of tensors taken.
    ignored
        Names in the file that the encoder has no place for.
    first_layer
        How the first layer was fitted to the channels, in words.
    """

    file: str
    sha256: str
    prefix: str
    loaded: int
    ignored: tuple[str, ...]
    first_layer: str


def load_encoder(module: nn.Module, path: str | Path, *, normalised: bool = True) -> LoadReport:
    """Load pre-trained weights into ``module.encoder``.

    Parameters
    ----------
    module
        A network with an encoder (moco-sm, deeplabv3+, mobilenetv3) at width 1.
    path
        ``.safetensors``, or a torch file (``.pth``, ``.pt``, ``.tar``).
    normalised
        The weights were trained on RGB less IMAGENET_MEAN over IMAGENET_STD.

    Returns
    -------
    LoadReport
        What was taken and what was left.

    Raises
    ------
    InputError
        The network has no encoder of a known kind.
    WeightsUnavailable
        There is no such file.
    ModelError
        It cannot be read without running code from it, or holds no tensors.
    WrongInput
        It belongs to another network: names are missing or shapes differ.
    """
    encoder = getattr(module, "encoder", None)
    first: tuple[str, str] | None = getattr(encoder, "first", None)
    if not isinstance(encoder, nn.Module) or first is None:
        raise InputError(
            f"{type(module).__name__} has no encoder that could be loaded",
            hint="networks with an encoder: moco-sm, deeplabv3+, deeplabv3+mobilenet, mobilenetv3",
        )
    file = Path(path)
    wanted = encoder.state_dict()
    prefix, found, ignored = matched(read_tensors(file), set(wanted), file)
    found, story = fit_first_layer(found, wanted, first, normalised=normalised)
    check_complete(found, wanted, file)
    encoder.load_state_dict(found, strict=False)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return LoadReport(file.name, digest, prefix, len(found), ignored, story)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return all named tensors of a file; raises as :func:`load_encoder` does."""
    if not file.is_file():
        raise WeightsUnavailable(
            f"there are no weights at {file}",
            hint="weights are local files: fetch them first, herscope downloads nothing",
        )
    tensors: Mapping[str, Any]
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file} is not a readable safetensors file: {error}", hint="fetch it again"
            ) from error
    else:
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError) as error:
            raise ModelError(
                f"{file} cannot be read as plain weights",
                hint="it is damaged, or holds more than tensors: keep its state_dict only and "
                "save that as safetensors",
            ) from error
    if isinstance(tensors, Mapping):
        for name in WRAPPERS:
            if isinstance(tensors.get(name), Mapping):
                tensors = tensors[name]
                break
    named = (
        {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
        if isinstance(tensors, Mapping)
        else {}
    )
    if not named:
        raise ModelError(
            f"{file} holds no named tensors",
            hint="a checkpoint is a state_dict, or a table with one under 'state_dict'",
        )
    return named


def matched(
    tensors: Mapping[str, Tensor], wanted: set[str], file: Path
) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Return the prefix under which most wanted names stand, those tensors, and other names."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix) and name.removeprefix(prefix) in wanted
        }

    prefix = max(PREFIXES, key=lambda each: len(under(each)))
    found = under(prefix)
    if not found:
        raise WrongInput(
            f"{file.name} holds none of the encoder's {len(wanted)} tensors; "
            f"its first name is {min(tensors)}",
            hint=f"known wrappers: {', '.join(each for each in PREFIXES if each)}",
        )
    ignored = tuple(sorted(tensors.keys() - {prefix + name for name in found}))
    return prefix, found, ignored


def fit_first_layer(
    found: dict[str, Tensor],
    wanted: Mapping[str, Tensor],
    first: tuple[str, str],
    *,
    normalised: bool,
) -> tuple[dict[str, Tensor], str]:
    """Fit RGB weights to the network's channels and to pixels from 0 to 1."""
    weight_name, mean_name = f"{first[0]}.weight", f"{first[1]}.running_mean"
    if weight_name not in found or mean_name not in found:
        return found, "not in the file"
    weight, channels = found[weight_name], wanted[weight_name].shape[1]
    if weight.ndim != 4 or weight.shape[1] != 3:
        return found, "as in the file"
    fitted, stories = dict(found), []
    if normalised and channels in (3, 4):
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        weight = weight / std[:, None, None]
        # BN(w (x - m) / s) = BN'(w x / s) when the running mean grows by the sum of w m / s.
        shift = (weight.double().sum((2, 3)) @ mean.double()).to(weight.dtype)
        fitted[mean_name] = found[mean_name] + shift
        stories.append("ImageNet's mean and deviation folded in")
    if channels == 1:
        weight = weight.sum(dim=1, keepdim=True)
        stories.append("summed over the colours")
    elif channels == 4:
        weight = torch.cat((torch.zeros_like(weight[:, :1]), weight), dim=1)
        stories.append("haematoxylin starts at zero")
    fitted[weight_name] = weight
    return fitted, ", ".join(stories) or "as in the file"


def check_complete(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    """Refuse a file that lacks a tensor, or has one of another shape."""
    missing = [
        name
        for name in wanted
        # A counter that only matters for cumulative averages; older files lack it.
        if name not in found and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise WrongInput(
            f"{file.name} lacks {len(missing)} of the encoder's tensors, first {missing[0]}",
            hint="it belongs to another network, or to a smaller one of the same family",
        )
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            raise WrongInput(
                f"{name} is {tuple(value.shape)} in {file.name}, "
                f"{tuple(wanted[name].shape)} in the network",
                hint="public weights fit width 1 only; a smaller width trains from scratch",
            )
