"""Encoders from a folder of ``transformers``: CLIP (PLIP is one), SigLIP, ViT, DINOv2.

What counts as the features of a tile, by the ``model_type`` of the folder:

=================  ==============================================================================
clip               the class token after its last normalisation, through the projection into the
                   space shared with text: what ``get_image_features`` gives (512 of ViT-B/32)
clip_vision_model  the same if the folder holds the projection, else the class token before it
siglip             what its attention pooling gives
vit, dinov2        the class token after the last normalisation
=================  ==============================================================================

PLIP is often confused here: its features have 512 numbers, not the 768 of the hidden state before
the projection, and they are not divided by their length.

Nothing is fetched and no code of a folder is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from herscope.core.errors import InputError, ModelError, SchemaError, WrongInput
from herscope.embed.encoder_weights import OpenedNetwork, read_config, weights_file
from herscope.embed.pixel_preparation import Preparation, preparation, three
from herscope.nn.networks.vision_transformers import library

CONFIG_FILE: Final = "config.json"
PIXELS_FILE: Final = "preprocessor_config.json"
Pick = Literal["projected", "pooled", "class"]
PICKS: Final[dict[str, Pick]] = {
    "clip": "projected",
    "clip_vision_model": "pooled",
    "dinov2": "class",
    "siglip": "pooled",
    "siglip_vision_model": "pooled",
    "vit": "class",
}
FILTERS: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as ``resample`` gives them."""


class _Tower(nn.Module):
    """A vision tower and what is taken of it."""

    def __init__(self, tower: nn.Module, projection: nn.Module | None, pick: Pick) -> None:
        super().__init__()
        self.tower = tower
        self.projection = projection
        self.pick = pick

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, edge, edge) -> (N, features)."""
        found = self.tower(pixel_values=pixels)
        if self.pick == "class":
            taken: Tensor = found.last_hidden_state[:, 0]
            return taken
        pooled: Tensor = found.pooler_output
        return pooled if self.projection is None else self.projection(pooled)


def open_transformers(root: Path) -> OpenedNetwork:
    """Open a folder that transformers saved.

    Parameters
    ----------
    root
        Holds ``config.json`` with ``model_type``, the weights and, unless the encoder is a known
        one, ``preprocessor_config.json``.

    Raises
    ------
    InputError
        A type of model that was not tried here.
    SchemaError
        The configuration is missing or says too little.
    DependencyMissing
        transformers is not installed.
    ModelError
        The library cannot read it.
    WrongInput
        Tensors are missing.
    """
    config = read_config(root / CONFIG_FILE)
    kind = str(config.get("model_type"))
    if kind not in PICKS:
        raise InputError(
            f"the encoder in {root} is of the type {kind}, which is not read here",
            hint=f"types that are: {', '.join(PICKS)}; others as ONNX with a card "
            "(docs/howto/use-your-own-encoder.md)",
        )
    file = weights_file(root)
    transformers = library("transformers")
    maker = transformers.AutoModel
    if "CLIPVisionModelWithProjection" in (config.get("architectures") or ()):
        maker = transformers.CLIPVisionModelWithProjection
    model, missing = _from_pretrained(maker, root, safe=file.suffix == ".safetensors")
    pick = PICKS[kind]
    tower = getattr(model, "vision_model", model)
    projection = getattr(model, "visual_projection", None) if kind.startswith("clip") else None
    if pick == "projected" and projection is None:
        raise WrongInput(
            f"the encoder in {root} has no projection, and CLIP's features are those after it",
            hint="fetch the whole model, or state model_type clip_vision_model if the hidden "
            "state is meant",
        )
    prefix = "vision_model." if tower is not model else ""
    needed = {prefix + name for name in tower.state_dict()}
    needed |= (
        {f"visual_projection.{name}" for name in projection.state_dict()} if projection else set()
    )
    lacking = sorted(needed & missing)
    if pick == "class":  # a pooler that is not used here may be fresh
        lacking = [name for name in lacking if "pooler." not in name]
    if lacking:
        raise WrongInput(
            f"{file.name} lacks {len(lacking)} tensors of the encoder, first {lacking[0]}",
            hint="the configuration beside it belongs to another network",
        )
    pixels = root / PIXELS_FILE
    return OpenedNetwork(
        _Tower(tower, projection, pick).float().eval(),
        f"transformers:{kind}",
        read_pixels(read_config(pixels), pixels) if pixels.is_file() else None,
        file,
    )


def _from_pretrained(maker: Any, root: Path, *, safe: bool) -> tuple[nn.Module, set[str]]:
    """Return the model and the names of tensors that were not in the file."""
    logger = importlib.import_module("transformers.utils.logging")
    before, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity_error()  # what is missing is told by our own error
    logger.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):  # it draws weights before it loads them
            model, report = maker.from_pretrained(
                root,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                use_safetensors=safe,
                output_loading_info=True,
            )
    except Exception as error:  # the library raises what its parts raise, down to KeyError
        raise ModelError(
            f"transformers cannot read the encoder in {root}: {' '.join(str(error).split())[:300]}",
            hint="it is damaged, of another network, or needs a newer transformers",
        ) from error
    finally:
        logger.set_verbosity(before)
        if bars:
            logger.enable_progress_bar()
    return model, set(report["missing_keys"])


def read_pixels(table: Mapping[str, Any], where: Path) -> Preparation:
    """Read ``preprocessor_config.json``.

    Raises
    ------
    SchemaError
        Something that is needed is not said, or cannot be.
    """
    try:
        words = _words(table)
        mean, std = three(table["image_mean"]), three(table["image_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(
            f"{where} does not say how pixels are prepared: {type(error).__name__} {error}",
            hint="needed are size, resample, image_mean and image_std, and crop_size if it crops; "
            "or put an encoder.json beside it (docs/howto/use-your-own-encoder.md)",
        ) from error
    return preparation(words, mean, std)


def _words(table: Mapping[str, Any]) -> str:
    if not table.get("do_resize", True):
        raise ValueError("do_resize is false, so the encoder's input size is not known")
    size, how = table["size"], FILTERS[int(table["resample"])]
    kind = str(table.get("image_processor_type") or table.get("feature_extractor_type") or "")
    if isinstance(size, int):
        square = kind.startswith(("ViT", "Siglip"))
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if "shortest_edge" in size:
        words = f"{how} {int(size['shortest_edge'])}"
    elif int(size["height"]) == int(size["width"]):
        words = f"{how} to {int(size['height'])} x {int(size['width'])}"
    else:
        raise ValueError(f"size {dict(size)} is not square")
    if not table.get("do_center_crop", "crop_size" in table):
        return words
    crop = table["crop_size"]
    if not isinstance(crop, int):
        if int(crop["height"]) != int(crop["width"]):
            raise ValueError(f"crop_size {dict(crop)} is not square")
        crop = crop["height"]
    return f"{words}, centre crop {int(crop)}"
