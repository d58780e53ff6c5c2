"""Where models lie, so that one can be called by its bare name.

A name is looked for in this order: a model folder of that path, ``$HERSCOPE_MODELS/NAME`` (one
folder, or several with the system's path separator between them), and the models that come with
herscope. The first one found is taken; its card and checksums are read where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from herscope.core.errors import UnknownModel
from herscope.core.registry import nearest

CARD_FILE: Final = "card.json"
MODELS_VARIABLE: Final = "HERSCOPE_MODELS"
BUILT_IN: Final = Path(__file__).resolve().parents[1] / "models"
"""Models that come with herscope."""


class Home(NamedTuple):
    """A folder of models, and what a list calls it."""

    folder: Path
    called: str


def model_homes() -> list[Home]:
    """Return the folders that bare names are looked for in, in order."""
    stated = os.environ.get(MODELS_VARIABLE, "")
    own = [Home(Path(one), f"${MODELS_VARIABLE}") for one in stated.split(os.pathsep) if one]
    return [*own, Home(BUILT_IN, "herscope")]


def known_models() -> Iterator[tuple[Path, str]]:
    """Every model folder with a card, and where it lies; a name that is hidden is left out.

    Folders that are not there, or cannot be listed, hold no models.
    """
    seen: set[str] = set()
    for home in model_homes():
        try:
            folders = sorted(home.folder.iterdir())
        except OSError:
            continue
        for folder in folders:
            if folder.name not in seen and (folder / CARD_FILE).is_file():
                seen.add(folder.name)
                yield folder, home.called


def find_model(name_or_path: str | Path) -> Path:
    """Return the folder of a model that is named by path or by bare name.

    Parameters
    ----------
    name_or_path
        A model folder (its ``card.json`` or ``model.onnx`` will do as well), or a name without
        separators.

    Raises
    ------
    UnknownModel
        Nothing has this name.

    Examples
    --------
    >>> find_model("no-such-model")
    Traceback (most recent call last):
    herscope.core.errors.UnknownModel: no model is called no-such-model
    """
    path = Path(name_or_path)
    if path.is_file() and (path.parent / CARD_FILE).is_file():
        return path.parent
    if (path / CARD_FILE).is_file():
        return path
    if is_bare(name_or_path):
        for home in model_homes():
            if (home.folder / path / CARD_FILE).is_file():
                return home.folder / path
    if path.is_dir():
        return path  # without a card: who reads it says so
    known = sorted(folder.name for folder, _ in known_models())
    where = "is called" if is_bare(name_or_path) else "lies at"
    raise UnknownModel(
        f"no model {where} {name_or_path}",
        hint=f"give a model folder, or a name; {nearest(path.name, known)}; "
        f"${MODELS_VARIABLE} may name a folder of models",
    )


def is_bare(name_or_path: str | Path) -> bool:
    """Whether this is a name alone, without a folder.

    Examples
    --------
    >>> is_bare("unet-small"), is_bare("./unet-small"), is_bare("..")
    (True, False, False)
    """
    text = str(name_or_path)
    return bool(text) and text not in {".", ".."} and not any(mark in text for mark in "/\\")
