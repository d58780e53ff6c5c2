"""Build a vision transformer with the library that knows it, and let it take any size.

transformers and timm are asked by architecture alone: nothing is fetched, no code of a folder is
run, a switch that a folder may not set is refused. What either gives is wrapped so that normalised
pixels go in and tokens come out, and so that its exported graph serves every size in ONNX Runtime
and in OpenVINO. Errors say what a person can do.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from herscope.core.errors import (
    DependencyMissing,
    InputError,
    ModelError,
    SchemaError,
    WrongInput,
)
from herscope.nn.networks.encoder import read_tensors

TIMM_ARGUMENTS: Final = frozenset(
    {
        "act_layer",
        "class_token",
        "depth",
        "dynamic_img_size",
        "embed_dim",
        "global_pool",
        "img_size",
        "init_values",
        "mlp_ratio",
        "no_embed_class",
        "num_classes",
        "num_heads",
        "patch_size",
        "pre_norm",
        "qkv_bias",
        "reg_tokens",
    }
)
"""Arguments a folder may set: sizes and switches, nothing that names a file or an address."""
TRANSFORMERS_TYPES: Final = (
    "clip",
    "clip_vision_model",
    "dinov2",
    "siglip",
    "siglip_vision_model",
    "vit",
)
"""Whose exported graph was compared with the network at several sizes. DINOv2 with registers was
too, and its graph serves one size only; timm has that network as well, where it works."""


class Tokens(nn.Module):
    """The last hidden state of a vision tower of transformers."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        takes = inspect.signature(tower.forward).parameters
        # DINOv2 always interpolates and has no such switch.
        self.options = (
            {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, tokens, features)."""
        return self.tower(pixel_values=images, **self.options).last_hidden_state


class Features(nn.Module):
    """The tokens of a vision transformer of timm, after its last normalisation.

    timm interpolates positions with antialiasing, which OpenVINO computes otherwise (we saw other
    numbers, not an error), so this is done here. At the encoder's own size nothing is interpolated
    and the tokens are timm's.
    """

    PARTS = ("patch_embed", "patch_drop", "norm_pre", "blocks", "norm", "pos_embed")

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit
        self.leading = int(vit.num_prefix_tokens)
        self.placed = 0 if vit.no_embed_class else self.leading
        self.grid: tuple[int, int] = tuple(vit.patch_embed.grid_size)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, tokens, features)."""
        vit = self.vit
        x: Tensor = vit.patch_embed(images)  # (N, rows, columns, features)
        rows, columns = x.shape[1:3]
        places = vit.pos_embed[:, self.placed :].unflatten(1, self.grid).permute(0, 3, 1, 2)
        places = functional.interpolate(
            places, size=(rows, columns), mode="bicubic", align_corners=False
        )
        x = x.flatten(1, 2) + places.flatten(2).transpose(1, 2)
        first = [each for each in (vit.cls_token, vit.reg_token) if each is not None]
        if first:
            leading = torch.cat(first, dim=1)
            if self.placed:
                leading = leading + vit.pos_embed[:, : self.placed]
            x = torch.cat((leading.expand(x.shape[0], -1, -1), x), dim=1)
        return vit.norm(vit.blocks(vit.norm_pre(vit.patch_drop(x))))


def from_timm(config: Mapping[str, Any], weights: Path, root: Path) -> nn.Module:
    """Build a vision transformer of timm and load its weights.

    Parameters
    ----------
    config
        ``config.json`` of the folder.
    weights
        The file of its tensors, under timm's names.
    root
        The folder, for messages.

    Raises
    ------
    DependencyMissing
        timm is not installed.
    InputError
        timm knows no such architecture, or it is no vision transformer.
    SchemaError
        The configuration sets what a file may not set.
    WrongInput
        The weights are those of another network.
    """
    timm = library("timm")
    name, given = str(config["architecture"]), config.get("model_args") or {}
    # A name with a colon would make timm fetch it.
    if not re.fullmatch(r"[a-z0-9_]+", name) or not timm.is_model(name):
        raise InputError(
            f"timm knows no architecture {name!r}, which the configuration in {root} names",
            hint="it may need a newer timm",
        )
    odd = sorted(set(given) - TIMM_ARGUMENTS) if isinstance(given, Mapping) else ["model_args"]
    if odd:
        raise SchemaError(
            f"the configuration in {root} sets {', '.join(odd)}, which is not taken from a file",
            hint="load it with its own code and save it under an architecture of timm",
        )
    arguments = {**given, "num_classes": 0, "dynamic_img_size": True}
    try:
        vit = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"timm cannot build {name} as the configuration in {root} asks: {_line(error)}",
            hint="only vision transformers (vit_...) go into this slot",
        ) from error
    if any(getattr(vit, part, None) is None for part in Features.PARTS):
        raise no_transformer(name)
    found, wanted = read_tensors(weights), vit.state_dict()
    kept = {key: value for key, value in found.items() if key in wanted}
    _complete(kept, wanted, weights)
    vit.load_state_dict(kept)
    return Features(vit)


def _complete(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    missing = sorted(wanted.keys() - found.keys())
    odd = [key for key, value in found.items() if value.shape != wanted[key].shape]
    if missing:
        raise WrongInput(
            f"{file.name} lacks {len(missing)} of {len(wanted)} tensors of the encoder, first "
            f"{missing[0]}",
            hint="the configuration beside it belongs to another network",
        )
    if odd:
        raise WrongInput(
            f"{odd[0]} is {tuple(found[odd[0]].shape)} in {file.name}, "
            f"{tuple(wanted[odd[0]].shape)} in the encoder",
            hint="the configuration beside it belongs to another size of the network",
        )


def from_transformers(root: Path, weights: Path, kind: str) -> nn.Module:
    """Build a vision tower of transformers and load its weights.

    Parameters
    ----------
    root
        The folder.
    weights
        The file of its tensors.
    kind
        The ``model_type`` of its configuration.

    Raises
    ------
    DependencyMissing
        transformers is not installed.
    InputError
        A type of model that was not tried here.
    ModelError
        The library cannot read the folder.
    WrongInput
        Tensors are missing.
    """
    if kind not in TRANSFORMERS_TYPES:
        raise InputError(
            f"the encoder in {root} is of the type {kind}, which does not go into this slot",
            hint=f"types that do: {', '.join(TRANSFORMERS_TYPES)}; vit_... of timm go as well",
        )
    transformers = library("transformers")
    logger = importlib.import_module("transformers.utils.logging")
    before = logger.get_verbosity()
    logger.set_verbosity_error()  # what is missing is told by our own error
    bars = logger.is_progress_bar_enabled()
    logger.disable_progress_bar()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            root,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            use_safetensors=weights.suffix == ".safetensors",
            output_loading_info=True,
        )
    except Exception as error:  # the library raises what its parts raise, down to KeyError
        raise ModelError(
            f"transformers cannot read the encoder in {root}: {_line(error)}",
            hint="it is damaged, needs code of its own, or a newer transformers",
        ) from error
    finally:
        logger.set_verbosity(before)
        if bars:
            logger.enable_progress_bar()
    tower = getattr(model, "vision_model", model)
    of_tower = "vision_model." if tower is not model else ""
    needed = {of_tower + key for key in tower.state_dict()}
    missing = sorted(needed & set(report["missing_keys"]))
    # A pooler that this slot does not use may be fresh.
    missing = [key for key in missing if ".pooler." not in f".{key}"]
    if missing:
        raise WrongInput(
            f"{weights.name} lacks {len(missing)} tensors of the encoder, first {missing[0]}",
            hint="the configuration beside it belongs to another network",
        )
    return Tokens(tower)


def library(name: str) -> Any:
    """Import transformers or timm; an absent one is told with the line that installs it."""
    try:
        _mend_torchvision()
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyMissing(
            f"this encoder is read with {name}, which is not installed or does not load: "
            f"{_line(error)}",
            hint=f"pip install {name}",
        ) from error


def _mend_torchvision() -> None:
    """Let torchvision load beside a CPU build of torch, where two of its operators are missing.

    It registers properties of operators that its own library, which does not load there, would
    have brought; both libraries import it for other things.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _missing_operators()
        importlib.import_module("torchvision")


@functools.cache  # the definitions live as long as the object that made them
def _missing_operators() -> torch.library.Library:
    operators = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        operators.define(schema)  # type: ignore[no-untyped-call]
    return operators


def no_transformer(name: str) -> InputError:
    """Return the error for an encoder that gives no tokens."""
    return InputError(
        f"encoder {name} is no vision transformer: it gives no row of tokens, one a patch",
        hint="a ViT, CLIP, SigLIP or DINOv2 of transformers, or a vit_... of timm",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
