"""Tables of readers beside the model, from the figures of ``result.json`` to words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herscope.report.respond_tables import UNDEFINED, p_of, said
from herscope.report.statistics_page import Grid


def readers_grid(readers: Mapping[str, Any]) -> Grid:
    """Return what every reader reaches alone."""
    rows = tuple(
        (
            _name(name, one),
            f"{one['labelled']:,}",
            *(said(one[key]) for key in ("sensitivity", "specificity", "auc")),
            "graded" if one["graded"] else "yes or no",
        )
        for name, one in readers["each"].items()
    )
    header = ("reader", "patients", "sensitivity", "specificity", "AUC", "ratings")
    return Grid("Readers on the patients they rated, those with a label.", header, rows)


def beside_grid(readers: Mapping[str, Any]) -> Grid:
    """Return the model on the patients of each reader, and the tests between them."""
    rows = tuple(
        (
            _name(name, one),
            said(one["model"]["auc"]),
            said(one["difference"]),
            p_of(one["difference"], "p"),
            said(one["model"]["at_readers_specificity"]),
            p_of(one["mcnemar"]),
        )
        for name, one in readers["each"].items()
    )
    return Grid(
        "The model on the same patients. Difference: AUC of the model minus the reader's, paired "
        "DeLong. Sensitivity: at no more false alarms than the reader's, the threshold sought on "
        "these patients. McNemar: right answers of the model's groups against the reader's.",
        ("reader", "model's AUC", "difference", "p", "model's sensitivity", "McNemar"),
        rows,
    )


def stability_grid(readers: Mapping[str, Any]) -> Grid | None:
    """Return the spread of bootstrap AUCs; None where no reader has it."""
    rows = tuple(
        (
            name,
            f"{one['stability']['model']['sd']:.4f}",
            f"{one['stability']['reader']['sd']:.4f}",
            UNDEFINED
            if one["stability"]["sd_ratio"] is None
            else f"{one['stability']['sd_ratio']:.2f}",
            p_of(one["stability"]["levene"]),
            p_of(one["stability"]["first_tenth"]),
        )
        for name, one in readers["each"].items()
        if one["stability"] is not None
    )
    return (
        Grid(
            "Spread of the AUC over bootstrap resamples of patients, and Levene's test as in the "
            "MuMo paper. Resamples are not independent observations: p falls with their number "
            "alone (compare the last two columns). Read the ratio.",
            ("reader", "SD, model", "SD, reader", "ratio", "Levene", "Levene, a tenth of them"),
            rows,
        )
        if rows
        else None
    )


def agreement_grid(agreement: Mapping[str, Any]) -> Grid | None:
    """Return kappa of readers; None for one reader."""
    rows = [(f"{pair['a']} and {pair['b']}", said(pair["kappa"])) for pair in agreement["pairs"]]
    rows += [("all, Fleiss", said(agreement["all"]))] if rows else []
    return (
        Grid("Agreement of the readers' calls.", ("readers", "kappa"), tuple(rows))
        if rows
        else None
    )


def _name(name: str, one: Mapping[str, Any]) -> str:
    return f"{name}, all readers" if one["made_here"] else name
