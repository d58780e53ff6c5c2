"""Encoders of ``timm``: a folder as timm saves it, or known weights for a known architecture.

``config.json`` names the ``architecture``, its ``model_args`` and ``pretrained_cfg`` with mean,
std, ``input_size``, ``interpolation``, ``crop_pct`` and ``crop_mode``; weights stand under timm's
names. Features are what timm gives without a classification head. Of Virchow and its kind they
are the class token beside the mean of the patch tokens (Vorontsov 2024), twice the width.

Nothing is fetched: a name that timm would download from is refused, and a folder may set sizes and
switches only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from herscope.core.errors import InputError, SchemaError
from herscope.embed.encoder_weights import OpenedNetwork, load_tensors, read_config, weights_file
from herscope.embed.pixel_preparation import Preparation, preparation, three
from herscope.nn.networks.encoder import read_tensors
from herscope.nn.networks.vision_transformers import TIMM_ARGUMENTS, library

CONFIG_FILE: Final = "config.json"
Pooling = Literal["library", "class-mean"]
USUAL_CROP: Final = 0.875
"""timm's ``crop_pct`` where a configuration has none."""


class ClassAndMean(nn.Module):
    """The class token beside the mean of the patch tokens; registers are left out."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit
        self.leading = int(vit.num_prefix_tokens)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, edge, edge) -> (N, 2 * width)."""
        tokens: Tensor = self.vit(pixels)
        return torch.cat((tokens[:, 0], tokens[:, self.leading :].mean(dim=1)), dim=-1)


def open_timm(root: Path) -> OpenedNetwork:
    """Open a folder that timm saved.

    Raises
    ------
    SchemaError
        The configuration is missing, says too little, or sets what a file may not set.
    InputError
        timm knows no such architecture or cannot build it so.
    DependencyMissing
        timm is not installed.
    WrongInput
        The weights are those of another network.
    WeightsUnavailable, ModelError
        There are none, or they cannot be read.
    """
    config = read_config(root / CONFIG_FILE)
    given = config.get("model_args") or {}
    odd = sorted(set(given) - TIMM_ARGUMENTS) if isinstance(given, Mapping) else ["model_args"]
    if odd:
        raise SchemaError(
            f"the configuration in {root} sets {', '.join(odd)}, which is not taken from a file",
            hint="name the encoder if it is a known one (herscope models), or export it as ONNX",
        )
    name = str(config.get("architecture"))
    file = weights_file(root)
    pixels = config.get("pretrained_cfg")
    how = None if pixels is None else read_pixels(pixels, root / CONFIG_FILE)
    return OpenedNetwork(timm_network(name, given, file), f"timm:{name}", how, file)


def timm_network(
    architecture: str,
    arguments: Mapping[str, Any],
    file: Path,
    *,
    pooling: Pooling = "library",
) -> nn.Module:
    """Build an architecture of timm and load its weights.

    Parameters
    ----------
    architecture
        timm's name, without a source before it.
    arguments
        Of ``timm.create_model``; ``mlp_layer`` may be ``swiglu-packed``.
    file
        The weights.
    pooling
        What is taken as features.

    Raises
    ------
    As :func:`open_timm`.
    """
    timm = library("timm")
    # A name with a colon would make timm fetch it.
    if not re.fullmatch(r"[a-z0-9_]+", architecture) or not timm.is_model(architecture):
        raise InputError(
            f"timm knows no architecture {architecture!r}, which {file.parent} names",
            hint="it may need a newer timm",
        )
    built = {**arguments, "num_classes": 0}
    if built.get("mlp_layer") == "swiglu-packed":
        built["mlp_layer"] = timm.layers.SwiGLUPacked
    if pooling == "class-mean":
        built["global_pool"] = ""
    try:
        with torch.random.fork_rng(devices=[]):  # timm draws weights before they are loaded
            model: nn.Module = timm.create_model(architecture, pretrained=False, **built)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"timm cannot build {architecture} as {file.parent} asks: "
            f"{' '.join(str(error).split())[:300]}",
            hint="the folder was saved by another version of timm, or is damaged",
        ) from error
    load_tensors(model, read_tensors(file), file)
    whole = ClassAndMean(model) if pooling == "class-mean" else model
    return whole.float().eval()


def read_pixels(table: Any, where: Path) -> Preparation:
    """Read ``pretrained_cfg``: timm resizes by ``input_size / crop_pct`` and crops the centre.

    Raises
    ------
    SchemaError
        Something that is needed is not said, or is not supported.
    """
    try:
        words = _words(table)
        mean, std = three(table["mean"]), three(table["std"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SchemaError(
            f"pretrained_cfg in {where} does not say how pixels are prepared: "
            f"{type(error).__name__} {error}",
            hint="needed are input_size, mean and std; or put an encoder.json beside it "
            "(docs/howto/use-your-own-encoder.md)",
        ) from error
    return preparation(words, mean, std)


def _words(table: Any) -> str:
    edge = int(table["input_size"][-1])
    crop = float(table.get("crop_pct") or USUAL_CROP)
    mode = str(table.get("crop_mode") or "center")
    how = str(table.get("interpolation") or "bilinear")
    if mode not in {"center", "squash"}:
        raise ValueError(f"crop_mode {mode} (known: center, squash)")
    wide = math.floor(edge / crop)
    resized = f"to {wide} x {wide}" if mode == "squash" else str(wide)
    return f"{how} {resized}, centre crop {edge}"
