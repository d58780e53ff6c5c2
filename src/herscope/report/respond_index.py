"""The page over the patients of a prediction or explanation: who, how probable, what was known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from herscope.core.store import write_text
from herscope.report.html import environment
from herscope.report.mil_words import counted
from herscope.report.respond_tables import said
from herscope.respond.explaining.words import PART_WORDS, listed

CAVEAT: Final = (
    "A prediction of response decides nothing about treatment. The range says how far training "
    "again would move a number, not how likely it is to be right."
)
TRUTHS: Final = {1: "response", 0: "no response", None: ""}


def write_index(path: str | Path, document: Mapping[str, Any]) -> Path:
    """Write the page; arguments as :func:`index_page`.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    target = Path(path)
    write_text(target, index_page(document))
    return target


def index_page(document: Mapping[str, Any]) -> str:
    """Return the page of ``result.json`` of a prediction or an explanation.

    Parameters
    ----------
    document
        ``model``, ``cohort``, ``members``, ``patients`` (``patient``, ``probability``, ``low``,
        ``high``, ``group``, ``parts``, ``missing``, ``label``, ``page``), ``refused``, ``figures``
        or nothing, ``without``, ``notes``, ``herscope``.

    Examples
    --------
    >>> "<b>" in index_page({"model": "<b>", "cohort": "c", "members": 2, "patients": []})
    False
    """
    patients: Sequence[Mapping[str, Any]] = document["patients"]
    refused = dict(document.get("refused") or {})
    context = {
        "title": f"Response of {document['cohort']}",
        "facts": [
            counted(len(patients), "patient"),
            f"model {document['model']}",
            counted(int(document["members"]), "member"),
        ],
        "alerts": [],
        "caveats": (CAVEAT,),
        "notes": [str(note) for note in document.get("notes") or ()],
        "verdict": _verdict(patients, refused),
        "auc": _auc(document.get("figures")),
        "strip": None,
        "patients": [_row(one) for one in sorted(patients, key=_order)],
        "labelled": any(one.get("label") is not None for one in patients),
        "refused": list(refused.items()),
        "made": _made(document),
    }
    return str(environment().get_template("respond_index.html.j2").render(context))


def _order(one: Mapping[str, Any]) -> tuple[float, str]:
    return float(one["probability"]), str(one["patient"])


def _verdict(patients: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> str:
    if not patients:
        return "No patient was predicted"
    high = sum(one["group"] == "high risk" for one in patients)
    said_high = f"No response is expected of {high} of {counted(len(patients), 'patient')}"
    return f"{said_high}; {len(refused)} could not be predicted" if refused else said_high


def _auc(figures: Mapping[str, Any] | None) -> str:
    """Say how the predictions fared where the truth is known."""
    found = ((figures or {}).get("auc") or {}).get("delong")
    if not figures or not found:
        return ""
    return (
        f"{figures['labelled']} of them have a known response and were met by none of the members "
        f"that answered, by cohort and identifier and by their pictures: AUC {said(found)}."
    )


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    known = [PART_WORDS.get(part, part) for part in one["parts"]]
    missing = [PART_WORDS.get(part, part) for part in one["missing"]]
    return {
        "patient": str(one["patient"]),
        "link": quote(str(one["page"])),
        "probability": f"{one['probability']:.2f}",
        "range": "one member" if one["low"] is None else f"{one['low']:.2f} to {one['high']:.2f}",
        "group": str(one["group"]),
        "known": listed(known) if known else "nothing",
        "missing": listed(missing) if missing else "nothing",
        "truth": TRUTHS[one.get("label")],
    }


def _made(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    without = document.get("without") or ()
    return [
        ("Model", str(document["model"])),
        ("Hidden on request", listed([str(part) for part in without]) if without else "nothing"),
        ("herscope", str(document.get("herscope", ""))),
    ]
