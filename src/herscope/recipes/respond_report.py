"""What a training of response says of itself: figures, comparisons, what missing parts cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope import __version__
from herscope.recipes.respond_alerts import alerts
from herscope.recipes.respond_columns import level_columns, number_columns, reader_columns
from herscope.recipes.respond_comparison import availability, gather, models_table
from herscope.recipes.respond_members import Member, MemberJob, spread
from herscope.recipes.respond_patients import Prepared
from herscope.respond.evaluation.predictions import PatientPrediction
from herscope.respond.training.variants import FULL

if TYPE_CHECKING:
    from herscope.respond.fusion.fusion_spec import FusionSpec
    from herscope.respond.fusion.loss_spec import LossSpec
    from herscope.respond.training.plan import Plan
    from herscope.respond.training.spec import RespondSpec

SCHEMA: Final = "herscope.respond/1"
RESEARCH: Final = "for research only: no treatment may be chosen by it"


def write_report(
    made: Path,
    target: Path,
    prepared: Prepared,
    others: Prepared | None,
    plan: Plan,
    spec: RespondSpec,
    network: FusionSpec,
    loss: LossSpec,
    jobs: Sequence[MemberJob],
    members: Sequence[Member],
    *,
    baselines: bool,
) -> dict[str, Any]:
    """Write predictions and the page into ``made``; return the document."""
    from herscope.report.respond_cohort_page import write_cohort_page
    from herscope.respond.evaluation.predictions import write_predictions

    cohort = prepared.cohort
    rows = predictions(prepared, plan, jobs, members)
    figures = judged(prepared, rows)
    models, told = models_table(prepared, plan, jobs, members, rows, baselines=baselines)
    labels = cohort.labels
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "name": target.name,
        "cohort": {
            "name": cohort.spec.name,
            "file": Path(cohort.table.name).name,
            "patients": len(cohort),
            "labelled": int((labels >= 0).sum()),
            "responders": int((labels == 1).sum()),
            "non_responders": int((labels == 0).sum()),
            "without_label": int((labels < 0).sum()),
            "parts": prepared.counts(),
            "sites": len({site for site in cohort.sites if site is not None}),
        },
        "design": {
            "evaluation": plan.evaluation,
            "folds": spec.folds,
            "repeats": 1 if plan.evaluation == "held-out test" else spec.repeats,
            "seeds": spec.seeds,
            "method": plan.method,
            "tested": int((labels[list(plan.tested)] >= 0).sum()),
            "predicted": len(plan.tested),
            "members": sum(job.variant is FULL for job in jobs),
        },
        "spec": {
            "training": spec.model_dump(mode="json"),
            "network": network.model_dump(mode="json"),
            "loss": loss.model_dump(mode="json"),
        },
        "figures": figures,
        "external": None if others is None else _external(others, prepared, jobs, members),
        "models": models,
        "availability": availability(prepared, plan, jobs, members),
        "members": _members(jobs, members),
        "alerts": alerts(prepared, plan, figures, models),
        "notes": [RESEARCH, *prepared.notes, *cohort.notes, *told],
        "model_folder": str(target),
    }
    write_predictions(made / "predictions.csv", rows)
    write_cohort_page(made, document, rows)
    return document


def predictions(
    prepared: Prepared, plan: Plan, jobs: Sequence[MemberJob], members: Sequence[Member]
) -> list[PatientPrediction]:
    """Return a row a tested patient."""
    said = gather(plan, jobs, members)
    cohort = prepared.cohort
    rows = []
    for row, place in enumerate(plan.tested):
        value, low, high = spread(said.members[row])
        rows.append(
            PatientPrediction(
                patient=cohort.patients[place],
                label=int(cohort.labels[place]),
                probability=value,
                low=low,
                high=high,
                members=said.members[row],
                cut=said.cuts[row],
                parts=prepared.patients[place].parts,
                site=cohort.sites[place],
                fold=None,
            )
        )
    return rows


def judged(prepared: Prepared, rows: Sequence[PatientPrediction]) -> dict[str, Any]:
    """Judge rows of patients of this cohort."""
    from herscope.respond.cohort.outcomes import FollowUp
    from herscope.respond.evaluation.judging import judge

    cohort = prepared.cohort
    at = {name: place for place, name in enumerate(cohort.patients)}
    places = [at[row.patient] for row in rows]

    def follow(one: FollowUp) -> FollowUp | None:
        if not one.known.any():
            return None
        return FollowUp(one.days[places], one.event[places], one.known[places])

    def kept(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: [values[i] for i in places] for name, values in columns.items()}

    return judge(
        rows,
        pfs=follow(cohort.outcomes.pfs),
        os=follow(cohort.outcomes.os),
        groups=kept(level_columns(cohort)),
        numbers=kept(number_columns(cohort)),
        readers=kept(reader_columns(cohort)) or None,
    )


def _otherwise(others: Prepared, prepared: Prepared) -> list[str]:
    """Say what of the external cohort is judged or shown otherwise than in the training."""
    mine, theirs = (one.cohort.spec.response.cut_days for one in (prepared, others))
    found = []
    if mine != theirs:
        found.append(
            f"its response without RECIST is {theirs:g} days without progression, that of the "
            f"training {mine:g}: the AUC is of another question"
        )
    known = {one.centre for one in prepared.patients if one.radiology is not None}
    strange = sum(one.radiology is not None and one.centre not in known for one in others.patients)
    if strange:
        found.append(
            f"CT of {strange} patients come from hospitals that the training has no CT of: they "
            "are shown in the usual window (centre 40, width 400 HU)"
        )
    return found


def _external(
    others: Prepared, prepared: Prepared, jobs: Sequence[MemberJob], members: Sequence[Member]
) -> dict[str, Any]:
    """Judge the external patients, predicted by all members of the whole model."""
    own = [m for job, m in zip(jobs, members, strict=True) if job.variant == FULL]
    cut = float(np.mean([member.cut for member in own]))
    cohort = others.cohort
    rows = []
    for place, patient in enumerate(cohort.patients):
        said = tuple(member.external[place] for member in own)
        value, low, high = spread(said)
        rows.append(
            PatientPrediction(
                patient, int(cohort.labels[place]), value, low, high, said, cut,
                others.patients[place].parts, cohort.sites[place], None,
            )
        )  # fmt: skip
    return {
        "name": cohort.spec.name,
        "patients": len(rows),
        "figures": judged(others, rows),
        "notes": [*_otherwise(others, prepared), *others.notes, *cohort.notes],
    }


def _members(jobs: Sequence[MemberJob], members: Sequence[Member]) -> list[dict[str, Any]]:
    return [
        {
            "file": member.note.file,
            "fold": job.part.fold,
            "repeat": job.part.repeat,
            "seed": job.seed,
            "best_epochs": list(member.note.best_epochs),
            "epochs": member.note.epochs,
            "monitor": member.note.monitor,
            "validation_auc": member.note.validation_auc,
            "history": [
                {key: row.get(key) for key in ("epoch", "loss", "val_auc", "val_loss")}
                for row in member.history
            ],
        }
        for job, member in zip(jobs, members, strict=True)
        if member.note is not None
    ]
