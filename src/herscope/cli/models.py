"""``herscope models``: the cards."""

from __future__ import annotations

from herscope.cli.output import COMMON, Common, Outcome
from herscope.core.registry import CARDS


def models(name: str | None = None, /, *, common: Common = COMMON) -> Outcome:
    """Show all models, or one model's card.

    Parameters
    ----------
    name
        A model's name; all models when absent.
    """
    from rich.table import Table

    del common
    if name is not None:
        card = CARDS.make(name)
        lines = [f"{key}: {value}" for key, value in card.model_dump().items() if value is not None]
        return Outcome(card.model_dump(mode="json"), ["\n".join(lines)])
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
