"""Open an encoder by name or from a local folder; the one door to all of them.

A name (``herscope models`` lists them) needs the weights its maker gives out, except the built-in
``colour-texture``. A folder is told by what is in it: ``encoder.json`` with ``model.onnx``;
``open_clip_config.json``; ``config.json`` of timm (``architecture``) or of transformers
(``model_type``). Nothing is downloaded, and no code of a folder is run.

torch and the libraries are imported when an encoder that needs them is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope.core.errors import (
    InputError,
    ModelError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.embed.colour_texture_names import colour_texture_card
from herscope.embed.encoder import Encoder
from herscope.embed.encoder_folders import (
    CARD_FILE,
    ONNX_FILE,
    find_folder,
    in_torch,
    open_folder,
    open_onnx_folder,
    read_folder,
    refuse_programs,
)
from herscope.embed.known_encoders import ENCODERS, KnownEncoder

if TYPE_CHECKING:
    from herscope.embed.encoder_weights import OpenedNetwork

__all__ = ["ENCODERS", "encoder_cards", "open_encoder"]

BUILT_IN: Final = "colour-texture"


@ENCODERS.register(BUILT_IN)
def _colour_texture() -> KnownEncoder:
    """Its card is the encoder's own."""
    card = colour_texture_card()
    return KnownEncoder(
        name=BUILT_IN,
        summary=card.summary,
        features=card.features,
        preparation=None,
        input_px=card.input_px,
        mpp=0.5,
        licence=card.licence,
        source=card.source,
        reading="built-in",
    )


def open_encoder(
    name_or_path: str | Path,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    checked: bool = True,
) -> Encoder:
    """Open an encoder.

    Parameters
    ----------
    name_or_path
        A known name, or the folder of an encoder (``./NAME`` for a folder called like a name).
    weights
        Folder or file of a known encoder's weights; also a folder with its ONNX export.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision
        ``float32`` or ``bf16``.
    threads
        Of the CPU; ``None`` for the cores this process may use.
    checked
        Embed two small pictures first: as many numbers as the card says, and not the same for
        both.

    Returns
    -------
    Encoder
        With its card; ``card.fingerprint()`` changes with anything that changes features.

    Raises
    ------
    UnknownModel
        No such name, and no such folder.
    WeightsUnavailable
        The weights are not on this machine; the message says whose they are and what to fetch.
    SchemaError
        A configuration or card is missing or says too little.
    DependencyMissing
        The library that reads it is not installed.
    WrongInput
        The weights are those of another encoder.
    ModelError
        They cannot be read, are not those of the card, or hold a program.
    InputError
        A device this machine lacks, an unknown precision, weights for an encoder without.

    Examples
    --------
    >>> open_encoder("colour-texture").card.weights_sha256 is None
    True
    """
    name = str(name_or_path)
    if name in ENCODERS:
        entry = ENCODERS.make(name)
        place = None if weights is None else Path(weights)
        encoder = _open_known(entry, place, device, precision, threads)
    else:
        if weights is not None and Path(name).exists():
            raise InputError(
                f"weights were given for {name}, which is a folder with its own",
                hint="leave --weights out; it belongs to a known name",
            )
        encoder = open_folder(find_folder(Path(name_or_path), name), device, precision, threads)
    if checked:
        _try(encoder)
    return encoder


def encoder_cards() -> list[dict[str, Any]]:
    """Return what is known of every encoder that has a name, for ``herscope models``.

    Returns
    -------
    list of dict
        ``name``, ``task`` (embedding), ``summary``, ``features``, ``input_px``, ``resize``,
        ``mean``, ``std``, ``mpp``, ``licence``, ``gated``, ``source``, ``reading`` (what reads the
        weights), ``needs_weights``, ``unchecked``; by name.

    Examples
    --------
    >>> {card["name"]: card["features"] for card in encoder_cards()}["plip"]
    512
    """
    listed = []
    for name in ENCODERS:
        entry = ENCODERS.make(name)
        card = colour_texture_card() if entry.reading == "built-in" else entry.card()
        said = card.model_dump(mode="json", exclude={"weights_sha256", "precision"})
        listed.append(
            said
            | {
                "task": "embedding",
                "mpp": entry.mpp,
                "gated": entry.gated,
                "reading": entry.reading,
                "needs_weights": entry.reading != "built-in",
                "unchecked": entry.unchecked,
            }
        )
    return listed


def _open_known(
    entry: KnownEncoder, place: Path | None, device: str, precision: str, threads: int | None
) -> Encoder:
    if entry.reading == "built-in":
        return _open_built_in(entry, place, device, precision)
    if place is None or not place.exists():
        asked = "none were given" if place is None else f"{place} does not exist"
        consent = "with an account, after accepting its terms" if entry.gated else "freely"
        raise WeightsUnavailable(
            f"encoder {entry.name} needs its weights, and {asked} (their licence: {entry.licence})",
            hint=f"fetch them {consent} from {entry.source.rpartition('; ')[2]} and give "
            f"--weights FOLDER; herscope downloads nothing (colour-texture needs no weights)",
        )
    refuse_programs(place)
    if (place / CARD_FILE).is_file() and (place / ONNX_FILE).is_file():
        return _as_known(open_onnx_folder(place, device, precision, threads), entry, place)
    if entry.reading == "onnx":
        raise ModelError(
            f"encoder {entry.name} comes with code of its own, which herscope does not run; "
            f"{place} holds no {CARD_FILE} with {ONNX_FILE}",
            hint="export it as ONNX with a card (docs/howto/use-your-own-encoder.md), or embed "
            "with TRIDENT or STAMP: their feature files are read as they are",
        )
    opened = _read_known(entry, place)
    card = entry.card(precision=precision, weights_sha256=opened.sha256)
    return in_torch(opened, card, device, threads)


def _open_built_in(entry: KnownEncoder, place: Path | None, device: str, precision: str) -> Encoder:
    from herscope.embed.colour_texture import ColourTexture

    fault = ""
    if place is not None:
        fault = "has no weights"
    elif device not in {"auto", "cpu"}:
        fault = f"runs on the CPU, not on {device}"
    elif precision != "float32":
        fault = f"computes in float32, not in {precision}"
    if fault:
        raise InputError(f"encoder {entry.name} {fault}", hint="leave that option out")
    return ColourTexture()


def _read_known(entry: KnownEncoder, place: Path) -> OpenedNetwork:
    from herscope.embed.encoder_weights import OpenedNetwork, weights_file

    if entry.reading == "timm":
        from herscope.embed.timm_encoder import timm_network

        assert entry.architecture is not None
        file = weights_file(place)
        module = timm_network(entry.architecture, entry.arguments, file, pooling=entry.pooling)
        return OpenedNetwork(module, f"timm:{entry.architecture}", None, file)
    if not place.is_dir():
        raise SchemaError(
            f"{place} is a file; encoder {entry.name} is read from a folder with its configuration",
            hint="give the folder it lies in",
        )
    return read_folder(place, entry.reading)


def _as_known(encoder: Encoder, entry: KnownEncoder, place: Path) -> Encoder:
    found = encoder.card
    if (found.features, found.input_px) != (entry.features, entry.input_px):
        raise WrongInput(
            f"{place} gives {found.features} features of {found.input_px} px, {entry.name} "
            f"{entry.features} of {entry.input_px} px",
            hint=f"open it by its folder instead, if it is not {entry.name}",
        )
    return encoder


def _try(encoder: Encoder) -> None:
    """Embed two pictures: sizes as the card says, and not blind."""
    edge = encoder.card.input_px
    rng = np.random.Generator(np.random.PCG64(0))
    pair = np.stack(
        [np.full((edge, edge, 3), 235, np.uint8), rng.integers(0, 256, (edge, edge, 3), np.uint8)]
    )
    found = encoder.embed(pair)
    if np.array_equal(found[0], found[1]):
        raise ModelError(
            f"encoder {encoder.card.name} gives the same features for an empty and a full tile",
            hint="its weights are all zero, or were never trained",
        )
