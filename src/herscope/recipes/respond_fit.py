"""From a cohort file to a model of response, tested on patients it has not seen, with its page.

Patients are divided, every fold trains its members on a side that never meets the test side, and
each patient's prediction comes from members that have not seen them. On the same folds: plain
models of the clinical tokens, the same network without its parts, other ways of joining. All
members together are the model that ``herscope respond predict`` uses.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from herscope.core.errors import InputError
from herscope.core.store import make_folder, write_json
from herscope.nn.model_file import NO_LICENCE
from herscope.recipes.in_processes import train_all
from herscope.recipes.model_places import check_target, swap
from herscope.recipes.respond_encoding import like
from herscope.recipes.respond_members import Member, MemberJob, Opening, forget_cohorts
from herscope.recipes.respond_notes import gaps
from herscope.recipes.respond_patients import (
    PreparationSpec,
    Prepared,
    open_cohort,
    prepare_patients,
    tokens_by_set,
    usable_workers,
)
from herscope.recipes.training import need_packages
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.patients import parts_of
from herscope.respond.training.spec import RespondSpec
from herscope.respond.training.variants import FULL, Asked, Variant, absences, variants

if TYPE_CHECKING:
    from herscope.respond.cohort.cohort import Cohort
    from herscope.respond.fusion.loss_spec import LossSpec
    from herscope.respond.training.plan import Plan


def fit_response(
    cohort: str | Path,
    out: str | Path,
    *,
    spec: RespondSpec | None = None,
    network: FusionSpec | None = None,
    loss: LossSpec | None = None,
    preparation: PreparationSpec | None = None,
    survival: Literal["os", "pfs", "none"] = "os",
    leave_out: Sequence[str] = (),
    ablation: Asked = "none",
    baselines: bool = True,
    external: str | Path | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    threads: int = 1,
    licence: str = "LicenseRef-private",
    resume: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Train and test a model of response.

    Parameters
    ----------
    cohort
        ``cohort.toml``.
    out
        Folder of the model, its predictions and its page.
    spec, network, loss, preparation
        Folds and training; the network; its losses; bags and lesions.
    survival
        Follow-up that the survival loss uses.
    leave_out
        Parts or modalities that nobody is given.
    ablation
        ``none``; ``parts``: without and with each part alone; ``all``: other fusions and losses
        as well.
    baselines
        Logistic regression, gradient-boosted trees and Cox on the tokens, on the same folds.
    external
        Another cohort file, whose patients are predicted by all members.
    workers
        Members trained at once; it changes no result.
    cache
        Folder of measured lesions, kept for later calls; without one they are kept until the
        training is done.
    threads
        Processor threads of each member.
    licence
        SPDX name for the model.
    resume, force
        Go on with a training that was cut off; replace what ``out`` holds.

    Returns
    -------
    dict
        The document that ``herscope respond fit --json`` prints, also written as ``result.json``.

    Raises
    ------
    DependencyMissing
        torch, or the reader of a file, is not installed.
    InputError, SchemaError
        Cohort, files or parameters cannot be used; the patient is named.
    OutputError
        Something is in the way.
    """
    from herscope.respond.training.card import FILE

    started = time.perf_counter()
    need_packages("torch", "safetensors", purpose="models of response need")
    from herscope.nn.compute import choose_device
    from herscope.recipes.respond_members import train_one
    from herscope.recipes.respond_report import write_report
    from herscope.respond.fusion.loss_spec import LossSpec

    if threads < 1:
        raise InputError(f"--threads {threads}", hint="at least 1")
    if licence.strip().casefold() in NO_LICENCE:
        raise InputError(
            f"licence {licence!r} is none", hint="an SPDX name, or LicenseRef-private for yourself"
        )
    spec, network, loss = spec or RespondSpec(), network or FusionSpec(), loss or LossSpec()
    count = usable_workers(workers)
    target, work = Path(out), Path(out).with_name(f".{Path(out).name}.training")
    opening = Opening(
        Path(cohort).resolve(), preparation or PreparationSpec(), survival, tuple(leave_out),
        (work / "lesions" if cache is None else Path(cache)).resolve(),
    )  # fmt: skip
    parts_of(opening.leave_out)
    forget_cohorts()
    opened = open_cohort(opening.path)
    outside = None if external is None else _external(opening, opened, Path(external))
    # What can be refused is refused before files are opened, which may take hours.
    plan = _plan(opened, spec)
    alone = choose_device(spec.device).type != "cpu"
    check_target(target, work, FILE, force=force, resume=resume)
    make_folder(work)
    prepared = _prepare(opening, count)
    prepared = replace(prepared, notes=(*prepared.notes, *gaps(prepared)))
    others = None if outside is None else like(_prepare(outside, count), prepared)
    shown = [part for part, having in prepared.counts().items() if having]
    if not shown:
        raise InputError(
            f"nothing is known of any patient of {opened.spec.name}: no slide, no CT, no token",
            hint="name columns in [tokens.columns] and files in [files] of the cohort file; "
            "--leave-out takes away what is named",
        )
    wanted = variants(shown, ablation, network)
    made = make_folder(work / "model")
    jobs = _jobs(
        plan, wanted, prepared, others, spec, network, loss, opening, outside, shown, made, work,
        threads, resume=resume,
    )  # fmt: skip
    members = train_all(train_one, jobs, workers=1 if alone else count)
    document = write_report(
        made, target, prepared, others, plan, spec, network, loss, jobs, members,
        baselines=baselines,
    )  # fmt: skip
    document["seconds"] = round(time.perf_counter() - started, 1)
    write_json(made / "result.json", document)
    _write_model(made, target.name, prepared, spec, network, loss, opening, members, licence)
    swap(made, target)
    shutil.rmtree(work, ignore_errors=True)
    return document


def _prepare(how: Opening, workers: int) -> Prepared:
    """Open a cohort with several processes; the members then find the lesions measured."""
    return prepare_patients(
        open_cohort(how.path), how.preparation, survival=how.survival, leave_out=how.leave_out,
        keep=how.keep, workers=workers,
    )  # fmt: skip


def _external(opening: Opening, cohort: Any, path: Path) -> Opening:
    from herscope.respond.cohort.consistency import apart
    from herscope.respond.cohort.findings import refuse_errors

    other = open_cohort(path)
    refuse_errors(apart(cohort, other), cohort.table.name)
    return Opening(
        path.resolve(), opening.preparation, opening.survival, opening.leave_out, opening.keep
    )


def _plan(cohort: Cohort, spec: RespondSpec) -> Plan:
    from herscope.respond.training.plan import Who, plan_folds

    who = [
        Who(name, int(label), site, side)
        for name, label, site, side in zip(
            cohort.patients, cohort.labels.tolist(), cohort.sites, cohort.split, strict=True
        )
    ]
    return plan_folds(who, spec)


def _jobs(
    plan: Plan,
    wanted: Sequence[Variant],
    prepared: Prepared,
    others: Prepared | None,
    spec: RespondSpec,
    network: FusionSpec,
    loss: LossSpec,
    opening: Opening,
    outside: Opening | None,
    shown: Sequence[str],
    made: Path,
    work: Path,
    threads: int,
    *,
    resume: bool,
) -> list[MemberJob]:
    """List members, those of the whole model first."""
    data = spec.fingerprint(
        network.fingerprint(), loss.fingerprint(), opening.preparation.fingerprint(),
        opening.survival, *opening.leave_out, str(threads), *contents(prepared),
        *([] if others is None else contents(others)),
    )  # fmt: skip
    return [
        MemberJob(
            variant=variant,
            part=part,
            seed=seed,
            spec=spec,
            network=network,
            loss=loss,
            cohort=opening,
            external=outside,
            hidden=absences(shown) if variant is FULL else ((),),
            out=made,
            work=work,
            key=f"{data} {variant} {part} {seed} {outside}",
            threads=threads,
            resume=resume,
        )
        for variant in wanted
        for part in plan.parts
        for seed in range(spec.seeds)
    ]


def contents(prepared: Prepared) -> list[str]:
    """Return a line a patient that changes when anything known of the patient changes."""
    import hashlib

    lines = []
    for one, outcome in zip(prepared.patients, prepared.outcome, strict=True):
        digest = hashlib.sha256(outcome.tobytes())
        for row in (*one.reports.values(), one.tokens):
            digest.update(row.values.tobytes() + row.present.tobytes())
        if one.pathology is not None:
            digest.update(one.pathology.words.tobytes() + one.pathology.word_there.tobytes())
            digest.update(b"" if one.pathology.omics is None else one.pathology.omics.tobytes())
        if one.radiology is not None:
            digest.update(one.radiology.pictures_hu.tobytes() + one.radiology.kinds.tobytes())
            digest.update(b"" if one.radiology.omics is None else one.radiology.omics.tobytes())
        lines.append(f"{one.name} {one.centre} {sorted(one.times.items())} {digest.hexdigest()}")
    return lines


def _write_model(
    made: Path,
    name: str,
    prepared: Prepared,
    spec: RespondSpec,
    network: FusionSpec,
    loss: LossSpec,
    opening: Opening,
    members: Sequence[Member],
    licence: str,
) -> None:
    from herscope.recipes.respond_report import RESEARCH
    from herscope.respond.training.card import BranchNote, ResponseCard, TokenNote, name_key
    from herscope.respond.training.ensemble import write_card
    from herscope.respond.training.layout import layout_of

    cohort = prepared.cohort
    layout = layout_of(prepared.patients, network.picture_network)
    card = ResponseCard(
        name=name,
        # The members hold the weights: where those of the start lay is nobody's business.
        network=network.model_copy(update={"picture_weights": None}).model_dump(mode="json"),
        loss=loss.model_dump(mode="json"),
        training=spec.model_dump(mode="json"),
        preparation={
            **opening.preparation.model_dump(mode="json"),
            "survival": opening.survival,
            "leave_out": list(opening.leave_out),
        },
        branches={
            key: BranchNote(
                features=one.features, omics=one.omics, report=one.report, kinds=one.kinds,
                picture=one.picture,
            )
            for key, one in layout.branches.items()
        },
        tokens={
            key: tuple(
                TokenNote(name=token, categories=of)
                for token, of in zip(tokens.names, tokens.categories, strict=True)
            )
            for key, tokens in tokens_by_set(cohort).items()
        },
        encoder=prepared.encoder,
        encoder_id=prepared.encoder_id,
        omics_names=prepared.omics_names,
        cut_days=cohort.spec.response.cut_days,
        parts=tuple(part for part, having in prepared.counts().items() if having),
        members=tuple(one.note for one in members if one.note is not None),
        cohort_key=name_key(cohort.spec.name),
        names=tuple(sorted(name_key(patient) for patient in cohort.patients)),
        licence=licence,
        notes=(RESEARCH, *prepared.notes),
    )  # fmt: skip
    write_card(made, card)
