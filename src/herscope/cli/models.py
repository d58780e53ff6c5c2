"""``herscope models``: the cards.

Three kinds: methods without weights, the models that come with herscope, and those of the folder
that ``$HERSCOPE_MODELS`` names. In the list a folder whose card is no good is named with the reason
and hides nothing else.
"""

from __future__ import annotations

from typing import Any

from herscope.cli.output import COMMON, Common, Outcome
from herscope.core.errors import HerscopeError
from herscope.core.registry import CARDS, ModelCard


def models(name: str | None = None, /, *, common: Common = COMMON) -> Outcome:
    """Show all models, or one model's card; a model folder is verified as well.

    Parameters
    ----------
    name
        A model's name, or the folder of a model; all models when absent.
    """
    from rich.table import Table

    del common
    if name is not None:
        # The name of a method always means the method; ./NAME means the folder.
        if name in CARDS:
            card = CARDS.make(name)
            return Outcome(card.model_dump(mode="json"), ["\n".join(_lines(card))])
        return _folder(name)
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
        "faults": faults,
    }
    told = [f"{called} cannot be used: {why}" for called, why in faults.items()]
    return Outcome(document, [table, *told])


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
    return Outcome(document, ["\n".join([*_lines(model.card), said])])


def _lines(card: ModelCard) -> list[str]:
    return [f"{key}: {value}" for key, value in card.model_dump().items() if value is not None]
