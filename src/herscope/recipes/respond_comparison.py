"""Models side by side on the same patients: the whole one, without its parts, plain ones; gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, HerscopeError, UndefinedStatistic
from herscope.recipes.respond_members import Member, MemberJob
from herscope.recipes.respond_patients import Prepared
from herscope.respond.training.variants import FULL, Variant

if TYPE_CHECKING:
    from herscope.respond.evaluation.predictions import PatientPrediction
    from herscope.respond.training.plan import Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What members said of tested patients: (repeats, patients) means of each repeat's members.

    NaN where a repeat did not test a patient.
    """

    by_repeat: Floats
    members: tuple[tuple[float, ...], ...]
    cuts: tuple[float, ...]

    @property
    def mean(self) -> Floats:
        """(patients,) mean over all members that had not seen the patient."""
        return np.array([np.mean(one) for one in self.members])


def gather(
    plan: Plan,
    jobs: Sequence[MemberJob],
    members: Sequence[Member],
    variant: Variant = FULL,
    hidden: tuple[str, ...] = (),
) -> Said:
    """Collect what the members of a variant said of each tested patient."""
    tested = plan.tested
    at = {place: row for row, place in enumerate(tested)}
    said: list[list[float]] = [[] for _ in tested]
    cuts: list[list[float]] = [[] for _ in tested]
    repeats = max(job.part.repeat for job in jobs)
    total, count = np.zeros((repeats, len(tested))), np.zeros((repeats, len(tested)))
    for job, member in zip(jobs, members, strict=True):
        if job.variant != variant:
            continue
        for place, value in zip(job.part.test, member.responses[hidden], strict=True):
            row = at[place]
            said[row].append(value)
            cuts[row].append(member.cut)
            total[job.part.repeat - 1, row] += value
            count[job.part.repeat - 1, row] += 1
    with np.errstate(invalid="ignore"):
        by_repeat = np.where(count > 0, total / count, np.nan)
    return Said(
        by_repeat, tuple(tuple(one) for one in said), tuple(float(np.mean(one)) for one in cuts)
    )


def models_table(
    prepared: Prepared,
    plan: Plan,
    jobs: Sequence[MemberJob],
    members: Sequence[Member],
    rows: Sequence[PatientPrediction],
    *,
    baselines: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row a model, on the same patients and folds, and what could not be trained."""
    whole = np.array([row.probability for row in rows])
    wanted = dict.fromkeys(job.variant for job in jobs)
    table = []
    for variant in wanted:
        said = gather(plan, jobs, members, variant)
        about = variant.about + _none_left(prepared, plan, variant)
        table.append(
            _row(prepared, plan, variant.name, variant.kind, about, said.by_repeat,
                 said.mean, None if variant is FULL else whole)
        )  # fmt: skip
    notes: list[str] = []
    if baselines and not plan.folds:
        notes.append("plain models need the folds of a cross-validation: none in a held-out test")
    if baselines and plan.folds:
        found, notes = _baselines(prepared, plan, whole)
        table += found
    return table, notes


def _none_left(prepared: Prepared, plan: Plan, variant: Variant) -> str:
    """Say of how many tested patients a variant knows nothing: they count like anybody."""
    left = [prepared.patients[place].without(*variant.hidden).parts for place in plan.tested]
    blank = sum(not parts for parts in left)
    return f"; knows nothing of {blank} of {len(left)} patients" if blank else ""


def _baselines(
    prepared: Prepared, plan: Plan, whole: Floats
) -> tuple[list[dict[str, Any]], list[str]]:
    from herscope.respond.cohort.baselines import (
        BaselineSpec,
        clinical_tokens,
        evaluate_baselines,
    )

    about = {
        "logistic": "ridge logistic regression on the tokens",
        "trees": "gradient-boosted trees on the tokens",
        "cox": "ridge Cox regression of progression on the tokens",
    }
    cohort, table, notes = prepared.cohort, [], []
    hidden = set(prepared.patients[0].hidden)
    modality = {"pathology": "pathology-report", "radiology": "radiology-report"}
    keep = [
        token.name
        for one in cohort.sets
        for token in one.token
        if token.name in clinical_tokens(cohort).names
        and modality.get(one.modality, "patient") not in hidden
    ]
    for name, said in about.items():
        spec = BaselineSpec.model_validate({"models": (name,), "repeats": len(plan.folds)})
        try:
            report = evaluate_baselines(
                cohort, spec, tokens=cohort.tokens.select(keep), folds=plan.folds
            )
        except (DependencyMissing, UndefinedStatistic) as error:
            notes.append(f"{name} was not trained: {error.message}; {error.hint}")
            continue
        result = report.results[name]
        order = {patient: place for place, patient in enumerate(report.patients)}
        scores = np.full((len(result.scores), len(plan.tested)), np.nan)
        for row, place in enumerate(plan.tested):
            if cohort.patients[place] in order:  # plain models predict those with a label only
                scores[:, row] = result.scores[:, order[cohort.patients[place]]]
        table.append(
            _row(prepared, plan, name, "baseline", said, scores, scores.mean(axis=0), whole)
        )
    return table, notes


def _row(
    prepared: Prepared,
    plan: Plan,
    name: str,
    kind: str,
    about: str,
    by_repeat: Floats,
    mean: Floats,
    whole: Floats | None,
) -> dict[str, Any]:
    """Return a model's figures; ``whole`` are the whole model's predictions to compare with."""
    from herscope.stats.classification.delong import auc

    tested = list(plan.tested)
    told, y = labelled(prepared, plan)
    mean, by_repeat = mean[told], by_repeat[:, told]
    try:
        found = auc(y, mean).document()
    except UndefinedStatistic:
        found = None
    each = [auc(y, one).value for one in by_repeat if np.isfinite(one).all()]
    tested = [tested[row] for row in told.tolist()]
    outcomes = prepared.cohort.outcomes
    return {
        "name": name,
        "kind": kind,
        "about": about,
        "auc": found,
        "auc_of_repeats": each,
        "auc_sd_over_repeats": float(np.std(each, ddof=1)) if len(each) > 1 else None,
        "auc_within_folds": _within(plan, by_repeat, y, tested),
        "c_pfs": _concordance(outcomes.pfs, tested, mean),
        "c_os": _concordance(outcomes.os, tested, mean),
        "difference": None if whole is None else _difference(y, mean, whole[told]),
    }


def labelled(prepared: Prepared, plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows of tested patients that have a label, and who of them responded."""
    labels = prepared.cohort.labels[list(plan.tested)]
    told = np.flatnonzero(labels >= 0)
    return told, labels[told] == 1


def _difference(y: NDArray[np.bool_], mean: Floats, whole: Floats) -> dict[str, Any] | None:
    """AUC minus the whole model's on the same patients; None where it is not determined."""
    from herscope.stats.classification.delong import delong_test

    try:
        found = delong_test(y, mean, whole)
    except HerscopeError:
        return None
    return {
        "value": found.difference, "low": found.low, "high": found.high, "p": found.p,
        "method": found.method,
    }  # fmt: skip


def _within(
    plan: Plan, by_repeat: Floats, y: NDArray[np.bool_], tested: Sequence[int]
) -> float | None:
    """Mean AUC of test folds: free of differences in level between members."""
    from herscope.stats.classification.delong import auc

    at = {place: row for row, place in enumerate(tested)}
    found = []
    for part in plan.parts:
        rows = [at[place] for place in part.test if place in at]
        scores = by_repeat[part.repeat - 1, rows]
        if np.isfinite(scores).all() and 0 < int(y[rows].sum()) < len(rows):
            found.append(auc(y[rows], scores).value)
    return float(np.mean(found)) if found else None


def _concordance(follow: Any, tested: Sequence[int], mean: Floats) -> dict[str, Any] | None:
    from herscope.stats.survival.concordance_index import harrell_c

    known = follow.known[list(tested)]
    if not follow.event[list(tested)][known].any():
        return None
    from herscope.respond.cohort.outcomes import FollowUp

    places = np.asarray(tested)[known]
    one = FollowUp(follow.days[places], follow.event[places], follow.known[places])
    try:
        return harrell_c(one.outcome(), -mean[known]).document()
    except HerscopeError:
        return None


def availability(
    prepared: Prepared, plan: Plan, jobs: Sequence[MemberJob], members: Sequence[Member]
) -> list[dict[str, Any]]:
    """AUC of the whole model with parts hidden in the test, of patients that have the rest."""
    from herscope.stats.classification.delong import auc

    told, y = labelled(prepared, plan)
    tested = [plan.tested[row] for row in told.tolist()]
    shown = [part for part, count in prepared.counts().items() if count]
    table = []
    own = next(job for job in jobs if job.variant is FULL)
    for hidden in own.hidden:
        said = gather(plan, jobs, members, FULL, hidden)
        left = [part for part in shown if part not in hidden]
        # A patient who has none of what is left would be predicted from nothing.
        there = np.array([bool(set(prepared.patients[i].parts) & set(left)) for i in tested])
        try:
            found = auc(y[there], said.mean[told][there]).document()
        except UndefinedStatistic:
            found = None
        table.append(
            {"parts": left, "without": list(hidden), "patients": int(there.sum()), "auc": found}
        )
    return table
