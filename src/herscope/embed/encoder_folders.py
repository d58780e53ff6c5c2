"""The folder of an encoder: what kind it is, its network, and the card it has or gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from herscope.core.errors import (
    ModelError,
    SchemaError,
    UnknownModel,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.registry import nearest
from herscope.embed.encoder import Encoder, EncoderCard
from herscope.embed.known_encoders import ENCODERS

if TYPE_CHECKING:
    from herscope.embed.encoder_weights import OpenedNetwork

CARD_FILE: Final = "encoder.json"
ONNX_FILE: Final = "model.onnx"
NOT_STATED: Final = "not stated in its folder"
COMPILED: Final = frozenset({".pt2", ".torchscript", ".ts", ".jit", ".so", ".pkl", ".pickle"})
"""Files that hold programs: refused by their ending, and by their content when they are read."""


def find_folder(path: Path, name: str) -> Path:
    """Return the folder of an encoder that is given by path.

    Raises
    ------
    ModelError
        It holds a program.
    SchemaError
        It is a file that says too little alone.
    WeightsUnavailable, UnknownModel
        There is nothing; the latter where ``name`` looks like a name.
    """
    refuse_programs(path)
    if path.is_dir():
        return path
    if path.is_file():
        if path.suffix == ".onnx" and (path.parent / CARD_FILE).is_file():
            return path.parent
        raise SchemaError(
            f"{path} is a file; an encoder is a folder with its configuration or card",
            hint=f"give its folder; for ONNX the card is {CARD_FILE} "
            "(docs/howto/use-your-own-encoder.md)",
        )
    known = list(ENCODERS)
    if path.name != name or path.suffix in {".pt", ".bin", ".safetensors", ".onnx"}:
        raise WeightsUnavailable(
            f"there is no encoder folder {path}", hint=f"known names: {', '.join(known)}"
        )
    raise UnknownModel(
        f"no encoder is called {name}, and there is no such folder", hint=nearest(name, known)
    )


def refuse_programs(path: Path) -> None:
    """Refuse files that hold programs, by their ending; torch refuses them by their content."""
    if path.suffix.lower() in COMPILED:
        raise ModelError(
            f"{path} holds a program, and herscope runs no programs of others",
            hint="save its state_dict as safetensors, or export it as ONNX with a card "
            "(docs/howto/use-your-own-encoder.md)",
        )


def read_folder(folder: Path, kind: str) -> OpenedNetwork:
    """Read the network of a folder with ``open_clip``, ``timm`` or ``transformers``."""
    if kind == "open_clip":
        from herscope.embed.open_clip_encoder import open_open_clip

        return open_open_clip(folder)
    if kind == "timm":
        from herscope.embed.timm_encoder import open_timm

        return open_timm(folder)
    from herscope.embed.clip_encoder import open_transformers

    return open_transformers(folder)


def open_folder(folder: Path, device: str, precision: str, threads: int | None) -> Encoder:
    """Open a folder of any kind with the card it has, or one made of what it says."""
    if (folder / ONNX_FILE).is_file():
        return open_onnx_folder(folder, device, precision, threads)
    opened = read_folder(folder, _kind(folder))
    return in_torch(opened, _folder_card(folder, opened, precision), device, threads)


def _kind(folder: Path) -> str:
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    if not (folder / "config.json").is_file():
        raise SchemaError(
            f"{folder} is no folder of an encoder: it has no config.json, open_clip_config.json "
            f"or {ONNX_FILE}",
            hint="for a known encoder give its name and --weights; else see "
            "docs/howto/use-your-own-encoder.md",
        )
    from herscope.embed.encoder_weights import read_config

    config = read_config(folder / "config.json")
    if "architecture" in config:
        return "timm"
    if "model_type" in config:
        return "transformers"
    raise SchemaError(
        f"{folder / 'config.json'} names no architecture (timm) and no model_type (transformers)",
        hint="an encoder with code of its own goes in as ONNX with a card "
        "(docs/howto/use-your-own-encoder.md)",
    )


def _folder_card(folder: Path, opened: OpenedNetwork, precision: str) -> EncoderCard:
    """Return the card beside the weights, or one made of what the folder says."""
    if (folder / CARD_FILE).is_file():
        from herscope.embed.onnx_encoder import read_encoder_card

        card = read_encoder_card(folder / CARD_FILE)
        if card.weights_sha256 != opened.sha256:
            raise ModelError(
                f"{opened.file} is not the file of its card: sha256 {opened.sha256[:12]}, card "
                f"{(card.weights_sha256 or '')[:12]}",
                hint="fetch it again; a changed file is never used",
            )
        return card.model_copy(update={"precision": precision})
    how = opened.preparation
    if how is None:
        raise SchemaError(
            f"{folder} does not say how its pixels are prepared",
            hint="copy preprocessor_config.json beside it, or write an encoder.json "
            "(docs/howto/use-your-own-encoder.md)",
        )
    return EncoderCard(
        name=opened.architecture,
        summary="An encoder from a local folder.",
        features=_measured(opened, how.input_px),
        input_px=how.input_px,
        resize=how.words,
        mean=how.mean,
        std=how.std,
        precision=precision,
        licence=NOT_STATED,
        source=f"a local folder; {opened.file.name}",
        weights_sha256=opened.sha256,
    )


def _measured(opened: OpenedNetwork, edge: int) -> int:
    """Return how many numbers a tile gets, from a grey one."""
    import torch

    try:
        with torch.inference_mode():
            found = opened.module(torch.zeros(1, 3, edge, edge))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise WrongInput(
            f"{opened.architecture} does not take tiles of {edge} px: "
            f"{' '.join(str(error).split())[:300]}",
            hint="the preparation in its folder belongs to another network",
        ) from error
    if found.ndim != 2:
        raise WrongInput(
            f"{opened.architecture} gives {tuple(found.shape)} for a tile, not a row of features",
            hint="save it with its usual pooling",
        )
    return int(found.shape[1])


def in_torch(opened: OpenedNetwork, card: EncoderCard, device: str, threads: int | None) -> Encoder:
    """Make an encoder of a network and its card; the card says how pixels are prepared."""
    from herscope.embed.pixel_preparation import preparation
    from herscope.embed.torch_encoder import TorchEncoder, check_precision

    check_precision(card.precision)
    how = preparation(card.resize, card.mean, card.std)
    return TorchEncoder(opened.module, card, how, device=device, threads=threads)


def open_onnx_folder(folder: Path, device: str, precision: str, threads: int | None) -> Encoder:
    """Open a folder with ``encoder.json`` and ``model.onnx``."""
    from herscope.embed.onnx_encoder import open_onnx

    return open_onnx(folder, device=device, precision=precision, threads=threads)
