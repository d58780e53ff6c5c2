"""From labels and feature files to a cross-validated ensemble, its figures and its page.

Labels are matched with feature files, patients are split, every fold trains its members on a side
that never meets the test side, and each patient's prediction comes from members that have not seen
them. The members together are the model that ``herscope mil predict`` uses on other slides.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.store import make_folder, write_json
from herscope.mil.preparing import Reading
from herscope.mil.training_spec import MilSpec
from herscope.nn.model_file import NO_LICENCE
from herscope.recipes.in_processes import train_all
from herscope.recipes.mil_cohort import Cohort, LabelSpec, prepare_cohort
from herscope.recipes.mil_report import NOT_IHC, write_report
from herscope.recipes.model_places import check_target, swap
from herscope.recipes.training import need_packages

if TYPE_CHECKING:
    from herscope.mil.predictions import SlidePrediction
    from herscope.recipes.mil_members import Member, MemberJob


def fit_mil(
    labels: str | Path,
    features: str | Path,
    out: str | Path,
    model: str = "kat",
    *,
    model_spec: Spec | None = None,
    spec: MilSpec | None = None,
    label_spec: LabelSpec | None = None,
    reading: Reading | None = None,
    workers: int | None = None,
    threads: int = 1,
    licence: str = "LicenseRef-private",
    resume: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Train and test a slide-level model.

    Parameters
    ----------
    labels
        CSV or Parquet with a row a slide or a patient.
    features
        Folder of feature files: ours, TRIDENT's, CLAM's or STAMP's.
    out
        Folder of the model, its predictions and its page.
    model
        ``kat``, ``slidegraph``, ``abmil``, ``mean`` or ``max``.
    model_spec
        Parameters of that family; its defaults when None.
    spec
        Folds and training.
    label_spec
        Task and columns.
    reading
        What is stated of feature files that do not say it.
    workers
        Members trained at once; one a core when None, and one on a GPU.
    threads
        Processor threads of each.
    licence
        SPDX name for the model.
    resume
        Go on with a training that was cut off.
    force
        Replace what ``out`` holds.

    Returns
    -------
    dict
        The document that ``herscope mil fit --json`` prints, also written as ``result.json``.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    InputError, SchemaError, LeakyFolds, WrongInput
        Labels, features or parameters cannot be used.
    OutputError
        Something is in the way.
    """
    from herscope.core.provenance import cpu_count
    from herscope.mil.ensemble import FILE
    from herscope.mil.kinds import KINDS, make_model

    started = time.perf_counter()
    need_packages("torch", "safetensors", purpose="slide-level models need")
    from herscope.nn.compute import choose_device

    for name, given in (("workers", workers), ("threads", threads)):
        if given is not None and given < 1:
            raise InputError(f"--{name} {given}", hint="at least 1")
    if licence.strip().casefold() in NO_LICENCE:
        raise InputError(
            f"licence {licence!r} is none", hint="an SPDX name, or LicenseRef-private for yourself"
        )
    spec, label_spec = spec or MilSpec(), label_spec or LabelSpec()
    on_cpu = choose_device(spec.device).type == "cpu"
    kind = KINDS.make(model)
    model_spec = make_model(model, model_spec or kind.spec()).spec
    target, work = Path(out), Path(out).with_name(f".{Path(out).name}.training")
    check_target(target, work, FILE, force=force, resume=resume)
    n_workers = cpu_count() if workers is None else workers
    cohort = prepare_cohort(
        label_spec.read(labels), Path(features), model, model_spec, spec, work,
        reading or Reading(), workers=n_workers,
    )  # fmt: skip
    from herscope.mil.member import uses_ranking
    from herscope.recipes.mil_members import train_one

    uses_ranking(model, spec, len(cohort.matched.classes))
    # All is made aside, so that an earlier model stands until the new one is whole.
    made = make_folder(work / "model")
    jobs = _jobs(cohort, model, model_spec, spec, made, work, threads, resume=resume)
    members = train_all(train_one, jobs, workers=n_workers if on_cpu else 1)
    predictions = _predictions(cohort, jobs, members)
    document = write_report(
        made, target, cohort, model, spec, label_spec, jobs, members, predictions
    )
    document["seconds"] = round(time.perf_counter() - started, 1)
    write_json(made / "result.json", document)
    _write_model(
        made, target.name, cohort, model, model_spec, spec, label_spec.task, members, licence
    )
    swap(made, target)
    shutil.rmtree(work, ignore_errors=True)
    return document


def _jobs(
    cohort: Cohort,
    model: str,
    model_spec: Spec,
    spec: MilSpec,
    target: Path,
    work: Path,
    threads: int,
    *,
    resume: bool,
) -> list[MemberJob]:
    from herscope.mil.member import places_of
    from herscope.recipes.mil_members import MemberJob

    data = spec.fingerprint(
        model, model_spec.fingerprint(), str(threads), *(p.key for p in cohort.ready)
    )
    jobs = []
    for number, fold in enumerate(cohort.plan.folds, 1):
        sides = {
            side: places_of(cohort.patients, getattr(fold, side))
            for side in ("train", "validation", "test")
        }
        for seed in range(spec.seeds):
            jobs.append(  # noqa: PERF401 - a comprehension of this would be harder to read
                MemberJob(
                    fold=number,
                    seed=seed,
                    model=model,
                    model_spec=model_spec,
                    spec=spec,
                    files=tuple(p.file for p in cohort.ready),
                    classes=cohort.codes,
                    n_classes=len(cohort.matched.classes),
                    features=cohort.ready[0].features,
                    train=sides["train"],
                    validation=sides["validation"],
                    test=sides["test"],
                    out=target,
                    work=work,
                    key=f"{data} {number} {seed} {sides} {cohort.codes}",
                    threads=threads,
                    resume=resume,
                )
            )
    return jobs


def _predictions(
    cohort: Cohort, jobs: list[MemberJob], members: list[Member]
) -> list[SlidePrediction]:
    """Join what the members said of the slides they were not trained on."""
    from herscope.mil.predictions import slide_prediction

    said: dict[int, list[tuple[float, ...]]] = {}
    fold: dict[int, int] = {}
    for job, member in zip(jobs, members, strict=True):
        for place, row in zip(job.test, member.probabilities, strict=True):
            said.setdefault(place, []).append(row)
            fold[place] = job.fold
    crossed = cohort.plan.evaluation == "cross-validation"
    return [
        slide_prediction(
            slide.slide,
            said[place],
            cohort.matched.classes,
            patient=slide.patient,
            truth=slide.label,
            fold=fold[place] if crossed else None,
            tiles=cohort.ready[place].tiles,
        )
        for place, slide in enumerate(cohort.matched.slides)
        if place in said
    ]


def _write_model(
    target: Path,
    name: str,
    cohort: Cohort,
    model: str,
    model_spec: Spec,
    spec: MilSpec,
    task: str,
    members: list[Member],
    licence: str,
) -> None:
    from herscope.mil.ensemble import (
        EncoderNote,
        EnsembleCard,
        write_card,
        write_reference,
    )
    from herscope.mil.member import uses_ranking
    from herscope.mil.outliers import make_reference

    trained = {p for fold in cohort.plan.folds for p in (*fold.train, *fold.validation)}
    seen = [i for i, patient in enumerate(cohort.patients) if patient in trained]
    one = cohort.ready[0]
    ranking = uses_ranking(model, spec, len(cohort.matched.classes))
    card = EnsembleCard(
        name=name,
        model=model,
        model_spec=model_spec.model_dump(mode="json"),
        spec=spec.model_dump(mode="json"),
        task=task,
        classes=cohort.matched.classes,
        outputs=1 if ranking else len(cohort.matched.classes),
        encoder=EncoderNote(
            name=one.encoder, id=one.encoder_id, features=one.features, tile_um=one.tile_um
        ),
        members=tuple(member.card for member in members),
        reference_sha256=write_reference(
            target, make_reference([np.asarray(cohort.ready[i].mean) for i in seen])
        ),
        licence=licence,
        notes=(NOT_IHC, *cohort.matched.notes),
    )
    write_card(target, card)
