"""Sections of a response cohort's page: each a heading with its charts and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from herscope.report.mil_charts import curves_chart, has_curves
from herscope.report.mil_cohort_page import SquarePicture
from herscope.report.mil_words import counted
from herscope.report.respond_charts import (
    ForestRow,
    forest_chart,
    probability_chart,
    response_reliability_chart,
    response_roc_chart,
    response_survival_chart,
)
from herscope.report.respond_reader_tables import (
    agreement_grid,
    beside_grid,
    readers_grid,
    stability_grid,
)
from herscope.report.respond_tables import (
    CUTS,
    availability_grid,
    figures_grid,
    groups_grid,
    known_grid,
    models_grid,
    numbers_grid,
    pairs_grid,
    sites_grid,
    survival_grid,
    variables_grid,
)
from herscope.report.statistics_page import Grid, Picture, Section
from herscope.respond.evaluation.predictions import PatientPrediction

MOST_CURVES: Final = 60
"""Members whose epochs are drawn; more hide one another."""
COIN: Final = 0.5
ENDS: Final = {"pfs": "Progression-free survival", "os": "Overall survival"}


@dataclass(frozen=True)
class NarrowPicture(Picture):
    """A chart that would be too large across the page."""

    kind: ClassVar[str] = "narrow"


def sections(document: Mapping[str, Any], rows: Sequence[PatientPrediction]) -> list[Section]:
    """Return the sections of a page that have anything to show, top to bottom.

    Parameters
    ----------
    document, rows
        As for :func:`~herscope.report.respond_cohort_page.cohort_page`.
    """
    figures = document["figures"]
    every = [
        _result(figures, rows),
        Section("What was known", grids=(known_grid(figures),)),
        _missing(document),
        _models(document),
        Section("Groups of low and high risk", grids=(groups_grid(figures),)),
        *_survival(figures),
        _subgroups(figures),
        _readers(figures),
        _calibration(figures, rows),
        Section("Hospitals", grids=_some(sites_grid(figures.get("by_site") or ()))),
        *_outside(document),
        _training(document),
    ]
    return [part for part in every if part.pictures or part.grids]


def _result(figures: Mapping[str, Any], rows: Sequence[PatientPrediction]) -> Section:
    curve = response_roc_chart(figures)
    pictures = []
    if curve is not None:
        pictures.append(
            Picture(
                curve,
                "ROC curve",
                "ROC curve of the labelled patients with a pointwise bootstrap band. Dots: the "
                "groups by both cut-offs"
                + ("; red marks: readers." if figures.get("readers") else "."),
            )
        )
    if rows:
        pictures.append(
            Picture(
                probability_chart(rows),
                "Probabilities by label",
                "Patients by probability of response and label. Strip and dashed line: range and "
                "median of the patients' cut-offs.",
            )
        )
    return Section("Result", pictures=tuple(pictures), grids=(figures_grid(figures),))


def _missing(document: Mapping[str, Any]) -> Section:
    rows = document.get("availability") or ()
    return Section("When parts are missing", grids=(availability_grid(rows),) if rows else ())


def _models(document: Mapping[str, Any]) -> Section:
    models = document.get("models") or ()
    if not models:
        return Section("Models side by side")
    drawn = [
        ForestRow(str(one["name"]), *_ends(one.get("auc")), heading=one.get("kind") == "full")
        for one in models
    ]
    chart = Picture(
        forest_chart(drawn, axis="AUC", line=COIN, limits=_limits(drawn)),
        "AUC of every model",
        "AUC of every model with its DeLong interval; dashed: a coin. Intervals of one cohort go "
        "up and down together: look at the differences in the table.",
    )
    return Section("Models side by side", pictures=(chart,), grids=(models_grid(models),))


def _survival(figures: Mapping[str, Any]) -> list[Section]:
    found = []
    for name, one in figures["survival"].items():
        grid = survival_grid(name, one)
        if grid is None:
            continue
        groups = one["groups"].get("members")
        drawn = response_survival_chart(groups, CUTS["members"])
        pictures: tuple[Picture, ...] = ()
        if drawn is not None:
            words = (
                f"{ENDS[name]} by risk group, {CUTS['members']}; bands: pointwise intervals, "
                "ticks: censored, below: patients at risk."
            )
            pictures = (NarrowPicture(drawn, f"Kaplan-Meier curves, {name.upper()}", words),)
        found.append(Section(ENDS[name], pictures=pictures, grids=(grid,)))
    return found


def _subgroups(figures: Mapping[str, Any]) -> Section:
    subgroups, numbers = figures.get("subgroups") or {}, figures.get("numbers") or {}
    drawn = [ForestRow("all patients", *_ends(figures["auc"]["delong"]), said=_of(figures))]
    for name, one in subgroups.items():
        if one is not None:
            drawn.append(ForestRow(name, heading=True))
            drawn += [
                ForestRow(level["level"], *_ends(level["auc"]), said=_of(level))
                for level in one["levels"]
            ]
    pictures: tuple[Picture, ...] = ()
    if len(drawn) > 1:
        pictures = (
            Picture(
                forest_chart(drawn, axis="AUC within the level", line=COIN),
                "AUC in subgroups",
                "AUC within each level of a variable, DeLong intervals; after it, responders of "
                "labelled patients. Levels of one class have none. Many intervals are drawn: one "
                "or two that miss the rest are to be expected.",
            ),
        )
    found = (pairs_grid(subgroups), variables_grid(subgroups), numbers_grid(numbers))
    return Section("Subgroups", pictures=pictures, grids=tuple(g for g in found if g is not None))


def _readers(figures: Mapping[str, Any]) -> Section:
    readers = figures.get("readers")
    if not readers:
        return Section("Readers")
    found = (
        readers_grid(readers),
        beside_grid(readers),
        stability_grid(readers),
        agreement_grid(readers["agreement"]),
    )
    return Section("Readers", grids=tuple(grid for grid in found if grid is not None))


def _calibration(figures: Mapping[str, Any], rows: Sequence[PatientPrediction]) -> Section:
    drawn = response_reliability_chart(figures.get("calibration"), rows)
    if drawn is None:
        return Section("Calibration")
    said_of = (
        "Probability against the share that responded, bins of equal mass with Wilson intervals "
        "and their patients; dashed: perfect. Ticks: responders above, non-responders below."
    )
    return Section("Calibration", pictures=(SquarePicture(drawn, "Calibration", said_of),))


def _outside(document: Mapping[str, Any]) -> list[Section]:
    outside = document.get("external") or {}
    figures = outside.get("figures")
    if not figures:
        return []
    title = f"External test: {outside.get('name')}"
    pictures: tuple[Picture, ...] = ()
    curve = response_roc_chart(figures)
    if curve is not None:
        words = "ROC curve of the external patients, pointwise bootstrap band."
        pictures = (SquarePicture(curve, "ROC curve of the external test", words),)
    first = Section(title, pictures=pictures, grids=(figures_grid(figures), groups_grid(figures)))
    return [first, *(replace(one, heading=f"{title}: {one.heading}") for one in _survival(figures))]


def _training(document: Mapping[str, Any]) -> Section:
    members = document.get("members") or ()
    drawn = members[:MOST_CURVES]
    numbers = {id(one): place for place, one in enumerate(drawn)}
    curves = [
        {**epoch, "fold": one.get("fold") or 0, "seed": numbers[id(one)]}
        for one in drawn
        for epoch in one.get("history") or ()
    ]
    if not has_curves(curves):
        return Section("Training")
    best = {
        (int(one.get("fold") or 0), numbers[id(one)]): int(one["best_epochs"][0])
        for one in drawn
        if one.get("best_epochs")
    }
    more = f" The first {MOST_CURVES} of {len(members)}." if len(members) > MOST_CURVES else ""
    words = (
        f"Every epoch of {counted(len(drawn), 'member')}. Above: loss in training (dashed) and on "
        "validation patients (line); below: AUC on validation patients. Ring: the first of the "
        f"epochs whose weights were averaged, chosen on validation patients alone.{more}"
    )
    return Section(
        "Training", pictures=(NarrowPicture(curves_chart(curves, best), "Training", words),)
    )


def _ends(estimate: Mapping[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    if not estimate:
        return None, None, None
    return estimate["value"], estimate["low"], estimate["high"]


def _of(counts: Mapping[str, Any]) -> str:
    return f"{counts['responders']:,}/{counts['labelled']:,}"


def _limits(rows: Sequence[ForestRow]) -> tuple[float, float]:
    """Return ends that hold every interval, in tenths, and 0.5."""
    ends = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    low, high = min([COIN, *ends]), max([COIN, *ends])
    return max(0.0, int(low * 10) / 10), min(1.0, -int(-high * 10 - 1) / 10)


def _some(grid: Grid | None) -> tuple[Grid, ...]:
    return () if grid is None else (grid,)
