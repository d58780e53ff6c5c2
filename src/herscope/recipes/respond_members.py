"""Train the members of a model of response, each in a process of its own, and let them predict.

A member computes with a fixed number of threads, so its bits do not depend on how many are trained
at once. What is finished is written down and found again by --resume.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from herscope.core.store import read_json, write_json, writing
from herscope.recipes.in_processes import Told
from herscope.recipes.respond_patients import (
    PreparationSpec,
    Prepared,
    open_cohort,
    prepare_patients,
)
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.training.plan import Part
from herscope.respond.training.spec import RespondSpec
from herscope.respond.training.variants import Variant

if TYPE_CHECKING:
    from herscope.respond.fusion.loss_spec import LossSpec
    from herscope.respond.training.card import MemberNote

DONE: Final = "done.json"
HELD: Final = 2
"""Cohorts a process keeps open: the one it trains on, and the external one."""


@dataclass(frozen=True)
class Opening:
    """How a process opens the cohort again; what is slow has been kept in a folder."""

    path: Path
    preparation: PreparationSpec
    survival: Literal["os", "pfs", "none"]
    leave_out: tuple[str, ...]
    keep: Path

    def open(self) -> Prepared:
        """Return the prepared cohort; the same object within a process."""
        return _opened(self)


@functools.lru_cache(maxsize=HELD)
def _opened(how: Opening) -> Prepared:
    return prepare_patients(
        open_cohort(how.path),
        how.preparation,
        survival=how.survival,
        leave_out=how.leave_out,
        keep=how.keep,
    )


def forget_cohorts() -> None:
    """Open cohorts anew from here on: their files may have changed since this process did."""
    _opened.cache_clear()


@dataclass(frozen=True)
class MemberJob:
    """Everything a process needs to train one member and to predict with it."""

    variant: Variant
    part: Part
    seed: int
    spec: RespondSpec
    network: FusionSpec
    loss: LossSpec
    cohort: Opening
    external: Opening | None
    hidden: tuple[tuple[str, ...], ...]
    out: Path
    work: Path
    key: str
    threads: int
    resume: bool

    @property
    def name(self) -> str:
        """Stem of its files."""
        place = f"repeat{self.part.repeat}-fold{self.part.fold}-seed{self.seed}"
        return place if self.variant.kind == "full" else f"{self.variant.file}-{place}"


@dataclass(frozen=True)
class Member:
    """What a member said.

    Attributes
    ----------
    note
        For the card; None of a variant, whose weights are not kept.
    history
        A row an epoch.
    responses
        Hidden parts to probabilities of a response of the test patients.
    external
        Of the external patients; empty without any.
    cut
        Its cut-off.
    """

    note: MemberNote | None
    history: tuple[dict[str, Any], ...]
    responses: dict[tuple[str, ...], tuple[float, ...]]
    external: tuple[float, ...]
    cut: float


def train_one(job: MemberJob) -> Member:
    """Train one member, or find it finished."""
    from herscope.nn.compute import limit_threads
    from herscope.recipes.respond_encoding import like
    from herscope.respond.training.card import keys_of
    from herscope.respond.training.ensemble import LoadedMember, write_member
    from herscope.respond.training.layout import layout_of
    from herscope.respond.training.member import Side, train_member
    from herscope.respond.training.scaling import Scaled, fit_scaling

    folder = job.work / job.name
    finished = _finished(folder / DONE, job)
    if finished is not None:
        return finished
    prepared = job.cohort.open()
    raw = [one.without(*job.variant.hidden) for one in prepared.patients]
    network = job.variant.network_spec(job.network)
    layout = layout_of(prepared.patients, network.picture_network)
    scaling = fit_scaling([prepared.patients[i] for i in job.part.train])
    sides = {
        name: Side(Scaled(scaling, [raw[i] for i in places]), prepared.outcome[list(places)])
        for name, places in (("train", job.part.train), ("validation", job.part.validation))
    }
    cohort = prepared.cohort
    seen = [prepared.patients[i] for i in (*job.part.train, *job.part.validation)]
    about = {
        "repeat": job.part.repeat,
        "fold": job.part.fold,
        "seed": job.seed,
        "seen": tuple(sorted({key for one in seen for key in keys_of(one, cohort.spec.name)})),
    }
    with limit_threads(job.threads):
        trained = train_member(
            layout, network, job.variant.loss_spec(job.loss), job.spec,
            sides["train"], sides["validation"], folder,
            seed=seed_of(job.spec.seed, job.part, job.seed), resume=job.resume,
            progress=Told(job.name), data=job.key,
        )  # fmt: skip
        member = LoadedMember(trained.network, scaling, trained.cut, layout)
        tested = [raw[i] for i in job.part.test]
        responses = {
            hidden: tuple(member.roughly([one.without(*hidden) for one in tested]).tolist())
            for hidden in job.hidden
        }
        responses[()] = tuple(member.responses(tested).tolist())
        others = () if job.external is None else like(job.external.open(), prepared).patients
        outside = (
            tuple(member.responses([one.without(*job.variant.hidden) for one in others]).tolist())
            if others
            else ()
        )
        note = None
        if job.variant.kind == "full":
            note = write_member(job.out, job.name, trained, scaling, **about)
    rows = tuple(dict(row) for row in trained.result.history)
    made = Member(note, rows, responses, outside, trained.cut)
    write_json(folder / DONE, _document(made, job.key))
    # Weights of the best epochs of every member would fill a disk; state.json stays, and refuses
    # to go on with other parameters.
    with writing(folder):
        for checkpoint in folder.glob("*.safetensors"):
            checkpoint.unlink()
    return made


def seed_of(seed: int, part: Part, member: int) -> int:
    """Return the seed of one member.

    Examples
    --------
    >>> seed_of(7, Part(2, 3, (), (), ()), 1)
    2003008
    """
    return (seed + 1_000_000 * part.repeat + 1_000 * part.fold + member) % 2**31


def _document(made: Member, key: str) -> dict[str, Any]:
    return {
        "key": key,
        "note": None if made.note is None else made.note.model_dump(mode="json"),
        "history": list(made.history),
        "responses": [[list(hidden), list(rows)] for hidden, rows in made.responses.items()],
        "external": list(made.external),
        "cut": made.cut,
    }


def _finished(file: Path, job: MemberJob) -> Member | None:
    from herscope.respond.training.card import MemberNote

    if not (job.resume and file.is_file()):
        return None
    found = read_json(file)
    if not isinstance(found, dict) or found.get("key") != job.key:
        return None
    note = None if found["note"] is None else MemberNote.model_validate(found["note"])
    if note is not None and not (job.out / note.file).is_file():
        return None
    responses = {tuple(hidden): tuple(rows) for hidden, rows in found["responses"]}
    return Member(
        note, tuple(found["history"]), responses, tuple(found["external"]), float(found["cut"])
    )


def spread(members: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, 5th and 95th percentile of what members said of one patient."""
    values = np.asarray(members, np.float64)
    low, high = np.percentile(values, (5, 95))
    return float(values.mean()), float(low), float(high)
