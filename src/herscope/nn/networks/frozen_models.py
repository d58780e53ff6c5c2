"""Vision transformers from a local folder, ready for the frozen slot of :mod:`.frozen`.

A folder is what the two libraries save, and what pathology encoders are given out as:

* ``transformers``: ``config.json`` with ``model_type``, the weights, ``preprocessor_config.json``
  with ``image_mean`` and ``image_std`` (CLIP and its vision tower, of which PLIP is one; SigLIP;
  ViT, of which Phikon is one; DINOv2);
* ``timm``: ``config.json`` with ``architecture`` and ``pretrained_cfg`` with ``mean`` and ``std``,
  and the weights under timm's names (UNI and others).

The library builds the network from the configuration; nothing is fetched, no code of the folder is
run, and weights are read as safetensors or, failing that, as plain tensors. A tensor the network
lacks is an error, never a fresh start. Text towers and classification layers are left out. What
the encoder wants taken off and divided by is put into the network, which takes RGB from 0 to 1.

Position embeddings are interpolated (bicubic) to the picture's grid, so that any size goes; the
farther from the size the encoder was trained at, the less it knows. An encoder was
trained at one resolution as well (mostly 0.5 µm/px): give it patches of that.

Departure from the ONNX files one may also find: those are refused. A graph cannot be joined with a
head that is trained in torch without taking it apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from herscope.core.errors import (
    InputError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.store import read_json
from herscope.nn.networks.blocks import scaled
from herscope.nn.networks.frozen import FrozenEncoder
from herscope.nn.networks.vision_transformers import (
    from_timm,
    from_transformers,
    no_transformer,
)

CONFIG_FILE: Final = "config.json"
PIXELS_FILE: Final = "preprocessor_config.json"
WEIGHTS_FILES: Final = ("model.safetensors", "pytorch_model.bin")
HEAD_CHANNELS: Final = 128


@dataclass(frozen=True, slots=True)
class FoundationEncoder:
    """An encoder that was read, and what it says of itself.

    Attributes
    ----------
    module
        Normalised (N, 3, H, W), multiples of ``stride`` -> tokens (N, leading + h * w, features).
    name
        Its architecture.
    features, stride, leading_tokens
        As :class:`herscope.nn.networks.frozen.FrozenEncoder` takes them.
    mean, std
        Of red, green and blue, for pixels 0 to 1.
    file, sha256
        The weights, for the card of a model made with it.
    """

    module: nn.Module
    name: str
    features: int
    stride: int
    leading_tokens: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    file: str
    sha256: str


def frozen_network(
    channels: int, classes: int, *, width: float = 1.0, encoder: str | Path
) -> FrozenEncoder:
    """Make a frozen encoder of a folder with a fresh head.

    Parameters
    ----------
    channels
        3: these encoders see RGB.
    classes
        Channels of the output.
    width
        Multiplier of the head's 128 channels; the encoder is as it is.
    encoder
        The folder.

    Raises
    ------
    WrongInput
        Another number of channels.
    WeightsUnavailable, SchemaError, DependencyMissing, ModelError, InputError
        As :func:`read_foundation_encoder` raises them.
    """
    if channels != 3:
        raise WrongInput(
            f"a foundation encoder takes 3 channels, asked were {channels}",
            hint="give the inputs rgb",
        )
    found = read_foundation_encoder(encoder)
    network = FrozenEncoder(
        found.module,
        channels=channels,
        classes=classes,
        features=found.features,
        stride=found.stride,
        leading_tokens=found.leading_tokens,
        mean=found.mean,
        std=found.std,
        hidden=scaled(HEAD_CHANNELS, width),
    )
    network.origin = {"encoder": found.name, "file": found.file, "sha256": found.sha256}
    return network


def read_foundation_encoder(folder: str | Path) -> FoundationEncoder:
    """Read a vision transformer from a folder of transformers or timm.

    Parameters
    ----------
    folder
        Holds ``config.json`` and ``model.safetensors`` (or ``pytorch_model.bin``).

    Returns
    -------
    FoundationEncoder
        In evaluation mode, on the CPU, in float32.

    Raises
    ------
    WeightsUnavailable
        There is no such folder, or no weights in it.
    SchemaError
        Its configuration is missing, or does not say what is needed.
    DependencyMissing
        transformers or timm is not installed.
    ModelError, WrongInput
        The weights cannot be read or are not those of the architecture.
    InputError
        It is no vision transformer.
    """
    root = Path(folder)
    if not root.is_dir():
        raise WeightsUnavailable(
            f"there is no encoder folder {root}",
            hint=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILES[0]}, as transformers or timm "
            "save it; herscope downloads nothing",
        )
    if not (root / CONFIG_FILE).is_file():
        onnx = any(root.glob("*.onnx"))
        raise SchemaError(
            f"{root} has no {CONFIG_FILE}",
            hint="an encoder as ONNX cannot be joined with a head in training; give the folder "
            "it was exported from"
            if onnx
            else "give the folder that transformers or timm saved",
        )
    config = _table(root / CONFIG_FILE)
    weights = _weights(root)
    with torch.random.fork_rng(devices=[]):  # the libraries draw weights before they load them
        if "architecture" in config:
            module, name = from_timm(config, weights, root), str(config["architecture"])
            pixels, where = config.get("pretrained_cfg", config), "pretrained_cfg"
            mean, std = "mean", "std"
        elif "model_type" in config:
            name = str(config["model_type"])
            module = from_transformers(root, weights, name)
            pixels, where = _pixels(root), PIXELS_FILE
            mean, std = "image_mean", "image_std"
        else:
            raise SchemaError(
                f"{root / CONFIG_FILE} names no architecture (timm) and no model_type "
                "(transformers)",
                hint="CONCH and others that come with code of their own: load their vision tower "
                "with that code and save it as a timm model",
            )
    module = module.float().eval()
    stride = _stride(module)
    features, leading = _probe(module, stride, name)
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FoundationEncoder(
        module,
        name,
        features,
        stride,
        leading,
        _three(pixels, mean, where),
        _three(pixels, std, where, above_zero=True),
        weights.name,
        digest,
    )


def _table(file: Path) -> Mapping[str, Any]:
    found = read_json(file)
    if not isinstance(found, Mapping):
        raise SchemaError(f"{file} holds no table", hint="fetch the encoder again")
    return found


def _weights(root: Path) -> Path:
    for name in WEIGHTS_FILES:
        if (root / name).is_file():
            return root / name
    parts = sorted(each.name for each in root.glob("*-of-*"))
    raise WeightsUnavailable(
        f"{root} has no {' and no '.join(WEIGHTS_FILES)}",
        hint=f"its weights come in {len(parts)} parts ({parts[0]} ...): save them as one file"
        if parts
        else "copy the whole folder of the encoder",
    )


def _pixels(root: Path) -> Mapping[str, Any]:
    if not (root / PIXELS_FILE).is_file():
        raise SchemaError(
            f"{root} has no {PIXELS_FILE}: nobody can tell what its pixels look like",
            hint="it belongs to every encoder that transformers saved; copy it beside the weights",
        )
    return _table(root / PIXELS_FILE)


def _three(table: Any, name: str, where: str, *, above_zero: bool = False) -> tuple[float, ...]:
    values = table.get(name) if isinstance(table, Mapping) else None
    good = (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(v, int | float) and -10 < v < 10 for v in values)
        and (not above_zero or min(values) > 0)
    )
    if not good:
        raise SchemaError(
            f"{name} in {where} is {json.dumps(values)}, not three numbers for red, green and blue",
            hint="for pixels from 0 to 1; ImageNet's mean is 0.485, 0.456, 0.406",
        )
    assert isinstance(values, list)
    return tuple(float(v) for v in values)


def _stride(module: nn.Module) -> int:
    """Return the edge of a patch from the convolution that embeds it."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            height, width = part.stride
            if height == width == part.kernel_size[0] == part.kernel_size[1]:
                return int(height)
            break
    raise no_transformer(type(module).__name__)


def _probe(module: nn.Module, stride: int, name: str) -> tuple[int, int]:
    """Return features and leading tokens, measured on two small pictures."""
    seen = []
    for rows, columns in ((2, 3), (4, 2)):
        try:
            with torch.inference_mode():
                tokens = module(torch.zeros(1, 3, rows * stride, columns * stride))
        except Exception as error:  # whatever a library's module raises at an odd size
            raise InputError(
                f"encoder {name} does not take a picture of {columns * stride} x {rows * stride} "
                f"px: {_line(error)}",
                hint="only encoders that take any size go into this slot",
            ) from error
        if tokens.ndim != 3 or tokens.shape[1] < rows * columns:
            raise no_transformer(name)
        seen.append((int(tokens.shape[2]), int(tokens.shape[1]) - rows * columns))
    if seen[0] != seen[1]:
        raise no_transformer(name)
    return seen[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
