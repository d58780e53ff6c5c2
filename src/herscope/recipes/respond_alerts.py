"""What a reader of a trained model should be warned of, by code, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.recipes.respond_comparison import labelled
from herscope.recipes.respond_patients import Prepared

if TYPE_CHECKING:
    from herscope.respond.training.plan import Plan

FEW_VALIDATION: Final = 20
TELLS: Final = 0.01
"""p below which what is missing goes with the label."""
SIMPLER: Final = frozenset({"baseline", "without", "alone"})


def alerts(
    prepared: Prepared, plan: Plan, figures: dict[str, Any], models: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all of them."""
    found = [*_chance(figures), *_plainer(models), *_few(plan), *_missing(prepared, plan)]
    return [*found, *_sites(prepared, plan), *_windows(prepared, plan)]


def _chance(figures: dict[str, Any]) -> list[dict[str, Any]]:
    auc = (figures["auc"] or {}).get("delong")
    if not auc or auc["low"] is None or not auc["low"] <= 0.5 <= auc["high"]:
        return []
    return [
        {
            "code": "no-better-than-chance",
            "severity": "warning",
            "message": f"the AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}) cannot "
            "be told from chance (0.5)",
            "advice": "do not use these probabilities; more patients, or other modalities",
        }
    ]


def _plainer(models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    full = next(one for one in models if one["kind"] == "full")["auc"]
    better = [
        one
        for one in models
        if full and one["kind"] in SIMPLER and one["auc"] and one["auc"]["value"] > full["value"]
    ]
    if not better or not full:
        return []
    best = max(better, key=lambda one: float(one["auc"]["value"]))
    return [
        {
            "code": "simpler-model-as-good",
            "severity": "warning",
            "message": f"{best['name']} has an AUC of {best['auc']['value']:.3f}, the whole model "
            f"{full['value']:.3f}",
            "advice": "what is simpler and as good is to be preferred; see the differences and "
            "their intervals",
        }
    ]


def _few(plan: Plan) -> list[dict[str, Any]]:
    fewest = min(len(part.validation) for part in plan.parts)
    if fewest >= FEW_VALIDATION:
        return []
    return [
        {
            "code": "few-validation-patients",
            "severity": "warning",
            "message": f"fewer than {FEW_VALIDATION} patients ({fewest}) stop a training, "
            "calibrate it and set its cut-off",
            "advice": "the groups' cut-off is partly chance: look at the AUC, or raise "
            "--validation-share",
        }
    ]


def _missing(prepared: Prepared, plan: Plan) -> list[dict[str, Any]]:
    """Say so where what is missing goes with the label: a model may learn the gaps."""
    from herscope.stats.survival.group_tests import chi_square

    told, y = labelled(prepared, plan)
    tested = [plan.tested[row] for row in told.tolist()]
    found = []
    for part, having in prepared.counts().items():
        there = np.array([part in prepared.patients[i].parts for i in tested])
        if having == 0 or there.all() or not there.any():
            continue
        table = [[int((there & y).sum()), int((there & ~y).sum())],
                 [int((~there & y).sum()), int((~there & ~y).sum())]]  # fmt: skip
        try:
            p = chi_square(table).p_value
        except UndefinedStatistic:
            continue
        if p < TELLS:
            shares = [f"{row[0]} of {sum(row)}" for row in table]
            found.append(
                {
                    "code": "missing-tells-label",
                    "severity": "warning",
                    "message": f"{part} is there or not with the response (responders {shares[0]} "
                    f"where it is there, {shares[1]} where it is missing; p {p:.2g})",
                    "advice": "the model may read the gap instead of the part: look at the AUC of "
                    "patients who have it (by part)",
                }
            )
    return found


def _sites(prepared: Prepared, plan: Plan) -> list[dict[str, Any]]:
    from herscope.recipes.mil_figures import site_alert

    cohort, sites = prepared.cohort, prepared.cohort.sites
    told, _ = labelled(prepared, plan)
    tested = [plan.tested[row] for row in told.tolist()]
    whole = all(
        not {sites[i] for i in part.test} & {sites[i] for i in (*part.train, *part.validation)}
        for part in plan.parts
    )
    alert = site_alert(
        [str(int(cohort.labels[i])) for i in tested], [sites[i] for i in tested], whole
    )
    advice = "repeat with --folds-by site and believe the lower figures"
    return [{**alert, "advice": advice}] if alert else []


def _windows(prepared: Prepared, plan: Plan) -> list[dict[str, Any]]:
    """Say so where CT was tested with a window of grey values that was not made for it."""
    sites = prepared.cohort.sites
    scans = [place for place in plan.tested if prepared.patients[place].radiology is not None]
    trained: dict[int, set[str | None]] = {place: set() for place in scans}
    for part in plan.parts:
        known = {sites[i] for i in part.train if prepared.patients[i].radiology is not None}
        for place in part.test:
            if place in trained:
                trained[place] |= known
    strange = sum(sites[place] not in known for place, known in trained.items())
    if not strange:
        return []
    return [
        {
            "code": "window-fallback",
            "severity": "warning",
            "message": f"{strange} of {len(scans)} tested patients with CT come from hospitals of "
            "which no member that answered had CT: they were shown in the usual window (centre "
            "40, width 400 HU) and not in one made for them",
            "advice": "that is what a patient of a new hospital meets; compare with folds by "
            "patient",
        }
    ]
