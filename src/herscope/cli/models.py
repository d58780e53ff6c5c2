"""``herscope models``: the cards.

Four kinds: methods without weights, the models that come with herscope, those of the folder that
``$HERSCOPE_MODELS`` names, and encoders of tiles. In the list a folder whose card is no good is
named with the reason and hides nothing else. A slide-level model is shown by its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from herscope.cli.output import COMMON, Common, Outcome
from herscope.core.errors import HerscopeError
from herscope.core.registry import CARDS, ModelCard


def models(name: str | None = None, /, *, common: Common = COMMON) -> Outcome:
    """Show all models, or one model's card; a model folder is verified as well.

    Parameters
    ----------
    name
        Name of a model or an encoder, or the folder of a model; all when absent.
    """
    from rich.table import Table

    del common
    if name is not None:
        # The name of a method always means the method; ./NAME means the folder.
        if name in CARDS:
            card = CARDS.make(name)
            return Outcome(card.model_dump(mode="json"), [_lines(card.model_dump())])
        encoders = {one["name"]: one for one in _encoders()}
        if name in encoders:
            return Outcome(encoders[name], [_lines(encoders[name])])
        return _ensemble(name) if (Path(name) / "mil.json").is_file() else _folder(name)
    listed: list[tuple[str, str, ModelCard]] = [
        (known, "method", CARDS.make(known)) for known in CARDS
    ]
    found, faults = _found()
    listed += found
    table = Table("name", "task", "µm/px", "licence", "sha256", "from", "about", box=None)
    for called, where, card in listed:
        table.add_row(
            called,
            card.task,
            f"{card.input_mpp_finest:g} to {card.input_mpp_coarsest:g}",
            card.licence,
            card.sha256[:12] if card.sha256 else "no weights",
            where,
            card.summary,
        )
    document = {
        "models": [
            card.model_dump(mode="json") | {"called": called, "from": where}
            for called, where, card in listed
        ],
        "encoders": _encoders(),
        "faults": faults,
    }
    told = [f"{called} cannot be used: {why}" for called, why in faults.items()]
    return Outcome(document, [table, *told, "", _encoder_table()])


def _encoders() -> list[dict[str, Any]]:
    from herscope.embed.encoders import encoder_cards

    return encoder_cards()


def _encoder_table() -> Any:
    from rich.table import Table

    table = Table("encoder", "features", "input px", "licence", "weights", box=None)
    for one in _encoders():
        weights = "your own, gated" if one["gated"] else "your own"
        table.add_row(
            one["name"],
            str(one["features"]),
            str(one["input_px"]),
            one["licence"],
            weights if one["needs_weights"] else "none needed",
        )
    return table


def _ensemble(path: str) -> Outcome:
    from herscope.mil.ensemble import read_ensemble

    ensemble = read_ensemble(path)
    ensemble.modules()  # every file is that of mil.json, and fits its network
    card = ensemble.card.model_dump(mode="json", by_alias=True)
    told = {
        "name": card["name"],
        "task": f"slide: {card['task']}",
        "model": card["model"],
        "classes": ", ".join(card["classes"]),
        "encoder": f"{card['encoder']['name']} ({card['encoder']['id']})",
        "features": card["encoder"]["features"],
        "members": len(card["members"]),
        "licence": card["licence"],
        "notes": "; ".join(card["notes"]),
    }
    said = "verified: every checksum is that of mil.json, and every member fits its network"
    return Outcome(card | {"verified": True}, [_lines(told), said])


def _found() -> tuple[list[tuple[str, str, ModelCard]], dict[str, str]]:
    """Models in folders, by the name they are called by, and why others cannot be used."""
    from herscope.nn.model_file import read_card
    from herscope.nn.model_folders import known_models

    found, faults = [], {}
    for folder, where in known_models():
        try:
            found.append((folder.name, where, read_card(folder)))
        except HerscopeError as error:
            faults[folder.name] = error.message
    return found, faults


def _folder(path: str) -> Outcome:
    from herscope.nn.model_file import find_model, read_model
    from herscope.nn.runtime import Runner

    model = read_model(find_model(path))
    Runner(model, threads=1)  # it opens, and its shapes are those of the card
    said = "verified: the checksum is that of the card, and the network opens with its shapes"
    document: dict[str, Any] = model.card.model_dump(mode="json") | {"verified": True}
    return Outcome(document, [_lines(model.card.model_dump()), said])


def _lines(card: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in card.items() if value not in (None, ""))
