"""Encoders of ``open_clip``: the picture half of a folder with ``open_clip_config.json``.

BiomedCLIP is one. The text half is never built: it would need a language model that is not in the
folder, and tiles have no words. Features are what ``encode_image`` gives, not divided by their
length. Nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from herscope.core.errors import InputError, SchemaError, WrongInput
from herscope.embed.encoder_weights import OpenedNetwork, load_tensors, read_config, weights_file
from herscope.embed.pixel_preparation import CLIP_MEAN, CLIP_STD, Preparation, preparation, three
from herscope.nn.networks.encoder import read_tensors
from herscope.nn.networks.vision_transformers import library

CONFIG_FILE: Final = "open_clip_config.json"
PICTURE: Final = "visual."
SMALL_TEXT: Final = {"context_length": 4, "vocab_size": 4, "width": 64, "heads": 1, "layers": 1}
"""A text half to be thrown away: open_clip builds both halves, and ours never reads."""


def open_open_clip(root: Path) -> OpenedNetwork:
    """Open a folder that open_clip saved.

    Raises
    ------
    SchemaError
        The configuration is missing, says too little, or asks for a download.
    InputError
        open_clip cannot build it.
    DependencyMissing
        open_clip (or timm, for a tower of timm) is not installed.
    WrongInput
        The weights are those of another network.
    WeightsUnavailable, ModelError
        There are none, or they cannot be read.
    """
    config = read_config(root / CONFIG_FILE)
    model = config.get("model_cfg")
    picture = model.get("vision_cfg") if isinstance(model, Mapping) else None
    if (
        not isinstance(model, Mapping)
        or not isinstance(picture, Mapping)
        or "embed_dim" not in model
    ):
        raise SchemaError(
            f"{root / CONFIG_FILE} has no model_cfg with embed_dim and vision_cfg",
            hint="fetch the encoder again",
        )
    name = str(picture.get("timm_model_name") or f"vit-{picture.get('patch_size', 16)}")
    # True, or a name with a colon, would make timm fetch it.
    if picture.get("timm_model_pretrained") or not re.fullmatch(r"[a-z0-9_.-]+", name):
        raise SchemaError(
            f"{root / CONFIG_FILE} asks for weights from elsewhere ({name})",
            hint="its own weights are in the folder: set timm_model_pretrained to false",
        )
    file = weights_file(root)
    module = _picture_half(model, picture, root)
    tensors = read_tensors(file)
    found = {
        key.removeprefix(PICTURE): value
        for key, value in tensors.items()
        if key.startswith(PICTURE)
    }
    if not found:
        raise WrongInput(
            f"{file.name} holds no tensor of a picture encoder ({PICTURE}...), first name "
            f"{min(tensors)}",
            hint="fetch the whole model of open_clip",
        )
    load_tensors(module, found, file, left_over=())
    where = root / CONFIG_FILE
    how = read_pixels(config.get("preprocess_cfg") or {}, picture, where)
    return OpenedNetwork(module.float().eval(), f"open_clip:{name}", how, file)


def _picture_half(model: Mapping[str, Any], picture: Mapping[str, Any], root: Path) -> nn.Module:
    open_clip = library("open_clip")
    try:
        with torch.random.fork_rng(devices=[]):
            whole = open_clip.CLIP(
                embed_dim=int(model["embed_dim"]),
                vision_cfg=dict(picture),
                text_cfg=dict(SMALL_TEXT),
                quick_gelu=bool(model.get("quick_gelu", False)),
            )
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise InputError(
            f"open_clip cannot build the encoder of {root}: {' '.join(str(error).split())[:300]}",
            hint="it may need a newer open_clip (or timm), or it comes with code of its own, as "
            "CONCH does: export that as ONNX (docs/howto/use-your-own-encoder.md)",
        ) from error
    half: nn.Module = whole.visual
    return half


def read_pixels(table: Mapping[str, Any], picture: Mapping[str, Any], where: Path) -> Preparation:
    """Read ``preprocess_cfg``; what it leaves out is open_clip's own default.

    Raises
    ------
    SchemaError
        Something is not supported.
    """
    try:
        words = _words(table, picture)
        mean, std = three(table.get("mean") or CLIP_MEAN), three(table.get("std") or CLIP_STD)
    except (TypeError, ValueError, IndexError) as error:
        raise SchemaError(
            f"preprocess_cfg in {where} does not say how pixels are prepared: {error}",
            hint="put an encoder.json beside it (docs/howto/use-your-own-encoder.md)",
        ) from error
    return preparation(words, mean, std)


def _words(table: Mapping[str, Any], picture: Mapping[str, Any]) -> str:
    size = table.get("size", picture.get("image_size", 224))
    edge = int(size if isinstance(size, int) else size[0])
    how = str(table.get("interpolation", "bicubic"))
    mode = str(table.get("resize_mode", "shortest"))
    if mode not in {"shortest", "squash"}:
        raise ValueError(f"resize_mode {mode} (known: shortest, squash)")
    return f"{how} to {edge} x {edge}" if mode == "squash" else f"{how} {edge}, centre crop {edge}"
