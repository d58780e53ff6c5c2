"""The page of a cross-validated response model: ``index.html`` of the model's folder.

Made from ``result.json`` and the predictions alone. It opens with what the AUC means in words, also
when its interval holds 0.5, and with whether plain models do as well; then what was known of whom,
the groups, survival, the models side by side, subgroups, readers. Everything is escaped, nothing is
fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from herscope.core.store import make_folder, write_text
from herscope.report.html import environment
from herscope.report.mil_words import counted, settings_rows
from herscope.report.respond_sections import COIN, sections
from herscope.report.respond_tables import said
from herscope.report.statistics_page import Card
from herscope.respond.evaluation.predictions import PatientPrediction

PAGE: Final = "index.html"
MOST_CARDS: Final = 4
"""One line of cards; the rest stands in the tables."""
SEVERITIES: Final = ("error", "warning", "note")
CAVEAT: Final = (
    "A prediction of response decides nothing about treatment. These figures hold for patients "
    "like those tested here; another hospital, another scanner or another regimen may change them."
)


def write_cohort_page(
    folder: str | Path, document: Mapping[str, Any], rows: Sequence[PatientPrediction]
) -> Path:
    """Write ``index.html``.

    Parameters
    ----------
    folder
        The model's folder.
    document, rows
        As for :func:`cohort_page`.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    home = make_folder(Path(folder))
    write_text(home / PAGE, cohort_page(document, rows))
    return home / PAGE


def cohort_page(document: Mapping[str, Any], rows: Sequence[PatientPrediction]) -> str:
    """Return the page of ``result.json`` (``herscope.respond/1``) as HTML.

    Parameters
    ----------
    document
        ``name``, ``cohort``, ``design``, ``spec``, ``figures`` (of
        :func:`~herscope.respond.evaluation.judging.judge`), ``external``, ``models``,
        ``availability``, ``members``, ``alerts``, ``notes``, ``seconds``; what is absent or null is
        left out of the page.
    rows
        The predictions that were judged.
    """
    figures = document["figures"]
    context = {
        "title": str(document.get("name") or "Response to treatment"),
        "facts": _facts(document),
        "alerts": _alerts(document),
        "caveats": (CAVEAT,),
        "notes": [str(note) for note in document.get("notes") or ()],
        "verdict": verdict(figures),
        "honest": _honest(document),
        "cards": _cards(figures),
        "sections": sections(document, rows),
        "patients": sorted(rows, key=lambda row: (row.probability, row.patient)),
        "any_site": any(row.site is not None for row in rows),
        "undefined": list((figures.get("undefined") or {}).items()),
        "made": _made(document),
        "settings": settings_rows(document.get("spec") or {}),
    }
    return str(environment().get_template("respond_cohort.html.j2").render(context))


def verdict(figures: Mapping[str, Any]) -> str:
    """Say what the AUC means, also when it means nothing.

    Examples
    --------
    >>> auc = {"value": 0.58, "low": 0.49, "high": 0.67, "level": 0.95}
    >>> verdict({"auc": {"delong": auc}}).split(". ")[1]
    'The 95 % interval, 0.490 to 0.670, holds 0.5: on these patients the model cannot be told \
from a coin.'
    """
    auc = figures["auc"]["delong"]
    if auc is None:
        why = (figures.get("undefined") or {}).get("auc.delong", "there are too few labels")
        return f"How well the model orders patients cannot be said: {why}."
    pairs = f"in {100 * auc['value']:.0f} of 100 pairs"
    found = f"AUC {auc['value']:.3f}: the responder of a pair has the higher probability {pairs}."
    if auc["low"] is None or auc["high"] is None:
        return f"{found} There is no interval, so it says little."
    level = f"{100 * auc['level']:g} %"
    ends = f"The {level} interval, {auc['low']:.3f} to {auc['high']:.3f},"
    if auc["high"] < COIN:
        return f"{found} {ends} lies below 0.5: the model orders patients the wrong way round."
    if auc["low"] <= COIN:
        return f"{found} {ends} holds 0.5: on these patients the model cannot be told from a coin."
    return f"{found} {ends} lies above 0.5: better than a coin."


def _honest(document: Mapping[str, Any]) -> list[str]:
    """Say beside the headline what would put it right: plain models, external patients."""
    told = []
    plain = [
        one
        for one in document.get("models") or ()
        if one.get("kind") == "baseline" and (one.get("auc") or {}).get("value") is not None
    ]
    best = max(plain, key=lambda one: one["auc"]["value"], default=None)
    if best is not None:
        words = f"The best plain model, {best['name']}, has an AUC of {said(best['auc'])}."
        difference = best.get("difference") or {}
        if difference.get("low") is not None:
            if difference["low"] > 0:
                words += " It is better than the model."
            elif difference["high"] < 0:
                words += " The model is better than it on the same patients."
            else:
                words += " On the same patients the two cannot be told apart."
        told.append(words)
    outside = document.get("external")
    if outside and outside.get("figures"):
        told.append(
            f"External test, {outside.get('name')}, "
            f"{counted(outside['figures']['patients'], 'patient')}: "
            f"{verdict(outside['figures'])}"
        )
    return told


def _facts(document: Mapping[str, Any]) -> list[str]:
    cohort, design, figures = (document.get(k) or {} for k in ("cohort", "design", "figures"))
    facts = [f"cohort {cohort['name']}"] if cohort.get("name") else []
    facts.append(counted(int(cohort.get("patients") or figures["patients"]), "patient"))
    facts.append(f"{counted(figures['responders'], 'responder')} of {figures['labelled']:,} tested")
    if design.get("evaluation"):
        several = [
            counted(int(design[key]), word)
            for key, word in (("folds", "fold"), ("repeats", "repeat"), ("seeds", "seed"))
            if design.get(key)
        ]
        facts.append(", ".join([str(design["evaluation"]), *several]))
    return facts


def _alerts(document: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [
        {
            "severity": str(one.get("severity", "note")),
            "message": "; ".join(
                str(one[k]).rstrip(".") for k in ("message", "advice") if one.get(k)
            ),
        }
        for one in document.get("alerts") or ()
    ]
    order = {name: place for place, name in enumerate(SEVERITIES)}
    return sorted(found, key=lambda one: order.get(one["severity"], len(order)))


def _cards(figures: Mapping[str, Any]) -> list[Card]:
    members = figures["groups"].get("members") or {}
    named = [
        ("AUC", figures["auc"]["delong"]),
        ("Sensitivity for response", members.get("sensitivity")),
        ("Specificity", members.get("specificity")),
        *(
            (f"C-index, {name.upper()}", one["harrell_c"])
            for name, one in figures["survival"].items()
            if one is not None
        ),
    ][:MOST_CARDS]
    return [
        Card(
            words,
            f"{one['value']:.3f}",
            ""
            if one["low"] is None
            else f"{100 * one['level']:g} % interval {one['low']:.3f} to {one['high']:.3f}, "
            f"n {one['n']:,}",
        )
        for words, one in named
        if one is not None
    ]


def _made(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    design, figures = document.get("design") or {}, document["figures"]
    rows = [(key, str(design[key])) for key in ("evaluation", "method") if design.get(key)]
    members = (figures["cut"].get("members") or {}).get("source")
    rows += [("cut-off", str(members))] if members else []
    named = [
        ("AUC", figures["auc"]["delong"]),
        ("AUC, bootstrap", figures["auc"]["bootstrap"]),
        ("average precision", figures.get("average_precision")),
        ("Brier score", figures.get("brier")),
        ("calibration error", (figures.get("calibration") or {}).get("error")),
        *(
            (f"C-index, {name.upper()}", one["harrell_c"])
            for name, one in figures["survival"].items()
            if one is not None
        ),
    ]
    rows += [(name, str(one["method"])) for name, one in named if one is not None]
    if document.get("seconds") is not None:
        rows.append(("time taken", f"{document['seconds']:,.0f} s"))
    return rows
