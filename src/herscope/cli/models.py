"""``herscope models``: the cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from herscope.cli.output import COMMON, Common, Outcome
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
        # A built-in name always means the built-in model; ./NAME means the folder.
        if name not in CARDS and (Path(name).exists() or Path(name).name != name):
            return _folder(name)
        card = CARDS.make(name)
        return Outcome(card.model_dump(mode="json"), ["\n".join(_lines(card))])
    cards = [CARDS.make(known) for known in CARDS]
    table = Table("name", "task", "µm/px", "licence", "sha256", "about", box=None)
    for card in cards:
        table.add_row(
            card.name,
            card.task,
            f"{card.input_mpp_finest:g} to {card.input_mpp_coarsest:g}",
            card.licence,
            card.sha256[:12] if card.sha256 else "no weights",
            card.summary,
        )
    return Outcome({"models": [card.model_dump(mode="json") for card in cards]}, [table])


def _folder(path: str) -> Outcome:
    from herscope.nn.model_file import read_model
    from herscope.nn.runtime import Runner

    model = read_model(path)
    Runner(model, threads=1)  # it opens, and its shapes are those of the card
    said = "verified: the checksum is that of the card, and the network opens with its shapes"
    document: dict[str, Any] = model.card.model_dump(mode="json") | {"verified": True}
    return Outcome(document, ["\n".join([*_lines(model.card), said])])


def _lines(card: ModelCard) -> list[str]:
    return [f"{key}: {value}" for key, value in card.model_dump().items() if value is not None]
