"""What every page about slide-level prediction from H&E says, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any, Final

NOT_IHC: Final = (
    "H&E does not replace IHC. HER2 status is decided by immunohistochemistry, with in-situ "
    "hybridisation for 2+; a prediction from H&E decides nothing about treatment."
)
TRANSFER: Final = (
    "Such models may fail on slides of another laboratory, and nothing on the slide says so. In "
    "the study these models follow (HER2 scores from H&E with PLIP features and KAT, four classes) "
    "AUC was 0.795 inside the centre that trained it and 0.579 on slides of another source; "
    "accuracy there was 0.314, below the majority class: always naming the most frequent score "
    "would have been right in 0.420. Believe figures of your own slides only."
)
CAVEATS: Final = (NOT_IHC, TRANSFER)

MAP_MEANS: Final = (
    (
        "A tile's colour says how much it counted in this model's answer on this slide, compared "
        "with the slide's other tiles."
    ),
    (
        "It is not where HER2 is. Attention is not causation: a model may look at a place and be "
        "moved by another, and a tile may count because it speaks against the class."
    ),
    (
        "Colours are scaled within the slide: every slide has its brightest tile, also one whose "
        "tiles all count alike. The raw scores under the scale say how uneven the map is; of "
        "attention, 1 is what an even map would give every tile."
    ),
    "A map of a wrong prediction looks as convincing as one of a right prediction.",
)

FIGURES: Final[Mapping[str, str]] = {
    "accuracy": "ACC",
    "AUC macro one-vs-rest": "AUC",
    "auc": "AUC",
    "F1 macro": "F1, macro",
    "f1_macro": "F1, macro",
    "F1 micro": "F1, micro",
    "f1_micro": "F1, micro",
    "majority-class rate": "majority class",
    "Brier score": "Brier score",
}
"""Names of figures as documents spell them, and as the tables do."""

MODELS: Final[Mapping[str, str]] = {
    "kat": "KAT (kernel attention transformer)",
    "slidegraph": "SlideGraph+ (graph neural network)",
    "abmil": "ABMIL (gated attention)",
    "mean": "mean pooling (baseline)",
    "max": "max pooling (baseline)",
}


def model_words(name: str) -> str:
    """Return a model family in words; an unknown one stays as it is.

    Examples
    --------
    >>> model_words("abmil"), model_words("own")
    ('ABMIL (gated attention)', 'own')
    """
    return MODELS.get(name, name)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "slide"), counted(1200, "slide")
    ('1 slide', '1,200 slides')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def model_named(document: Mapping[str, Any]) -> str:
    """Return what the model calls itself and its folder's name; empty where neither is told.

    Examples
    --------
    >>> model_named({"model_folder": "runs/her2-kat", "model_name": "HER2 A"})
    'HER2 A (folder her2-kat)'
    >>> model_named({"model_folder": "runs/her2-kat"}), model_named({})
    ('her2-kat', '')
    """
    told = str(document.get("model_folder") or "")
    # Splits at both slashes; documents are also read on another system than they were made on.
    folder = PureWindowsPath(told).name or told
    name = str(document.get("model_name") or "")
    return f"{name} (folder {folder})" if name and folder not in ("", name) else name or folder


def named_rows(document: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Return what a document says under its keys, as rows; the model's name and folder last.

    Examples
    --------
    >>> named_rows({"task": "her2-low", "model_folder": "runs/a"}, ("task", "method"))
    [('task', 'her2-low'), ('trained model', 'a')]
    """
    rows = [(key.replace("_", " "), str(document[key])) for key in keys if document.get(key)]
    named = model_named(document)
    return [*rows, ("trained model", named)] if named else rows


def has_alert(document: Mapping[str, Any], code: str) -> bool:
    """Return whether a document holds an alert of this code.

    Examples
    --------
    >>> has_alert({"alerts": [{"code": "slides-seen"}]}, "slides-seen"), has_alert({}, "other")
    (True, False)
    """
    return any(alert.get("code") == code for alert in document.get("alerts", ()))


def share(value: float | None, digits: int = 3) -> str:
    """Write a share of 0 to 1.

    Examples
    --------
    >>> share(0.25), share(None)
    ('0.250', 'undefined')
    """
    return "undefined" if value is None else f"{value:.{digits}f}"


def settings_rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as rows of two words, in their order.

    Examples
    --------
    >>> settings_rows({"training": {"seeds": 3, "device": "auto"}})
    [('training.seeds', '3'), ('training.device', 'auto')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += settings_rows(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows.append((prefix + name, ", ".join(str(each) for each in value)))
        else:
            rows.append((prefix + name, "none" if value is None else str(value)))
    return rows


def encoder_rows(encoder: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a document says of its encoder, card and all, as rows."""
    flat = {name: value for name, value in encoder.items() if name != "card"}
    return settings_rows({**flat, **(encoder.get("card") or {})})
