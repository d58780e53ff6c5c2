"""What a training of slide-level models says of itself: figures, alerts, tables, the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope import __version__
from herscope.core.store import write_text
from herscope.mil.training_spec import MilSpec
from herscope.recipes.mil_cohort import Cohort, LabelSpec

if TYPE_CHECKING:
    from herscope.mil.predictions import SlidePrediction
    from herscope.recipes.mil_members import Member, MemberJob
    from herscope.stats.classification.classification_summary import ClassificationSummary
    from herscope.stats.classification.fold_scores import OverFolds

SCHEMA = "herscope.mil-fit/1"
FEW_VALIDATION = 10
NOT_IHC = "predicted from H&E: it does not replace IHC, and is for research only"


def write_report(
    made: Path,
    target: Path,
    cohort: Cohort,
    model: str,
    spec: MilSpec,
    label_spec: LabelSpec,
    jobs: list[MemberJob],
    members: list[Member],
    predictions: list[SlidePrediction],
) -> dict[str, Any]:
    """Write predictions, curves and the page into ``made``; return the document."""
    from herscope.mil.predictions import by_patient, write_predictions
    from herscope.recipes.mil_figures import counted_notes, judge, over_members, site_alert
    from herscope.report.mil_cohort_page import write_mil_page
    from herscope.stats.classification.classification_document import classification_document

    classes = cohort.matched.classes
    crossed = cohort.plan.evaluation == "cross-validation"
    # Where a patient's slides have labels of their own, slides are judged and patients drawn.
    by_slide = label_spec.patient_labels == "slide"
    whole = predictions if by_slide else by_patient(predictions)
    summary = judge(whole, classes, by_fold=crossed)
    over = dict(summary.folds)
    if not crossed:
        over, _ = over_members(whole, classes, [job.name for job in jobs])
    slides = cohort.matched.slides
    people = {(s.patient, s.label): s.site for s in slides}
    alert = site_alert([label for _, label in people], [*people.values()], cohort.plan.whole_sites)
    alerts = [*_alerts(summary, over), *([alert] if alert else []), *_few(cohort)]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "title": target.name,
        "model": model,
        "task": label_spec.task,
        "classes": list(classes),
        "evaluation": cohort.plan.evaluation,
        "site_folds": cohort.plan.whole_sites,
        "judged": "slides" if by_slide else "patients",
        "method": cohort.plan.method,
        "slides": len(slides),
        "patients": len(set(cohort.patients)),
        "encoder": {
            "name": cohort.ready[0].encoder,
            "id": cohort.ready[0].encoder_id,
            "features": cohort.ready[0].features,
        },
        "settings": {
            "training": spec.model_dump(mode="json"),
            "recipe": spec.recipe(_own_recipe(model)).model_dump(mode="json"),
            "model": jobs[0].model_spec.model_dump(mode="json"),
        },
        "folds": _folds(cohort, jobs, members, whole, crossed=crossed),
        "over_folds": {
            name: {"mean": each.mean, "sd": each.sd, "values": dict(each.values)}
            for name, each in over.items()
        },
        "majority_rate": summary.majority.value,
        "figures": classification_document(summary),
        "caveat": NOT_IHC,
        "notes": [
            *cohort.matched.notes,
            *counted_notes([one.notes for one in cohort.ready]),
            *summary.notes,
        ],
        "alerts": alerts,
        "model_folder": str(target),
    }
    curves = [
        {"fold": job.fold, "seed": job.seed, **row}
        for job, member in zip(jobs, members, strict=True)
        for row in member.history
    ]
    write_predictions(made, predictions, classes)
    write_text(made / "curves.csv", _csv(curves))
    write_mil_page(made, document, summary, curves=curves, predictions=predictions)
    return document


def _own_recipe(model: str) -> Any:
    from herscope.mil.kinds import KINDS

    return KINDS.make(model).recipe


def _alerts(summary: ClassificationSummary, over: Mapping[str, OverFolds]) -> list[dict[str, Any]]:
    """Say so where naming the most frequent class is right more often, pooled or over folds."""
    rows = [("", summary.accuracy.value, summary.majority.value)]
    if "accuracy" in over and "majority-class rate" in over:
        rows.append((", mean over folds", over["accuracy"].mean, over["majority-class rate"].mean))
    return [
        {
            "code": "below-majority",
            "severity": "warning",
            "message": f"accuracy{where} {right:.3f} is below the majority-class rate "
            f"{majority:.3f}: always saying {summary.majority_class} is right more often",
        }
        for where, right, majority in rows
        if right < majority
    ][:1]


def _few(cohort: Cohort) -> list[dict[str, Any]]:
    """Say so where too few patients stop a training and set its calibration."""
    fewest = min(len(fold.validation) for fold in cohort.plan.folds)
    if fewest >= FEW_VALIDATION:
        return []
    return [
        {
            "code": "few-validation-patients",
            "severity": "warning",
            "message": f"{fewest} patients stop a training and set its probabilities (fewer than "
            f"{FEW_VALIDATION}): which epoch is kept, and the calibration, are partly chance",
        }
    ]


def _folds(
    cohort: Cohort,
    jobs: list[MemberJob],
    members: list[Member],
    patients: list[SlidePrediction],
    *,
    crossed: bool,
) -> list[dict[str, Any]]:
    from herscope.recipes.mil_figures import figures_of

    rows = []
    for place, (job, member) in enumerate(zip(jobs, members, strict=True)):
        fold = cohort.plan.folds[job.fold - 1]
        # In cross-validation a fold's members speak together, elsewhere each for itself.
        mine = [one for one in patients if not crossed or one.fold == job.fold]
        if not crossed:
            mine = [_alone(one, place) for one in mine]
        best = member.history[member.card.best_epoch - 1]
        rows.append(
            {
                "fold": job.fold,
                "seed": job.seed,
                "train": len(fold.train),
                "validation": len(fold.validation),
                "test": len(fold.test),
                "best_epoch": member.card.best_epoch,
                "epochs": member.card.epochs,
                "monitor": member.card.monitor,
                "validation_auc": best.get("val_auc"),
                **figures_of(mine, cohort.matched.classes),
            }
        )
    return rows


def _alone(one: SlidePrediction, member: int) -> SlidePrediction:
    from herscope.mil.predictions import slide_prediction

    return slide_prediction(
        one.slide,
        one.members[member],
        one.classes,
        patient=one.patient,
        truth=one.truth,
        tiles=one.tiles,
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
