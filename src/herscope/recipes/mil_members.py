"""Train the members of a slide-level ensemble, each fold in a process of its own.

A member computes with a fixed number of threads, one unless another is asked for, so its bits do
not depend on how many are trained at once. A member that is finished is written down and not
trained again when the command is repeated with --resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.spec import Spec
from herscope.core.store import read_json, write_json
from herscope.mil.training_spec import MilSpec
from herscope.recipes.in_processes import Told

if TYPE_CHECKING:
    from herscope.mil.ensemble import MemberCard

DONE = "done.json"


@dataclass(frozen=True)
class MemberJob:
    """Everything a process needs to train one member and to predict its test slides."""

    fold: int
    seed: int
    model: str
    model_spec: Spec
    spec: MilSpec
    files: tuple[str, ...]
    classes: tuple[int, ...]
    n_classes: int
    features: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    out: Path
    work: Path
    key: str
    threads: int
    resume: bool

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True)
class Member:
    """A trained member: its card, its curve, and (test slides, classes) probabilities."""

    card: MemberCard
    history: tuple[dict[str, Any], ...]
    probabilities: tuple[tuple[float, ...], ...]


def train_one(job: MemberJob) -> Member:
    """Train one member, or find it finished."""
    from herscope.mil.ensemble import MemberCard, write_member
    from herscope.mil.kinds import KINDS, make_model
    from herscope.mil.sample_store import SampleStore
    from herscope.nn.compute import choose_device, limit_threads

    folder = job.work / job.name
    finished = _finished(folder / DONE, job)
    if finished is not None:
        return finished
    from herscope.mil.bag_batches import outputs_of
    from herscope.mil.member import Task, train_member

    store = SampleStore([Path(file) for file in job.files], KINDS.make(job.model).sample)
    task = Task(
        train=job.train,
        validation=job.validation,
        classes=job.classes,
        n_classes=job.n_classes,
        features=job.features,
        seed=job.spec.seed + 1000 * job.fold + job.seed,
    )
    with limit_threads(job.threads):
        trained = train_member(
            job.model,
            job.model_spec,
            job.spec,
            task,
            store,
            folder,
            resume=job.resume,
            progress=Told(job.name),
            data=job.key,
        )
        module = trained.module.to(choose_device(job.spec.device)).eval()
        model = make_model(job.model, job.model_spec)
        device = next(module.parameters()).device
        outputs = outputs_of(module, device, model, store, job.test)
        card = write_member(job.out, job.name, trained, fold=job.fold, seed=job.seed)
    rows = tuple(tuple(row) for row in trained.calibration(outputs).tolist())
    member = Member(card, tuple(dict(row) for row in trained.result.history), rows)
    document = {
        "key": job.key,
        "card": MemberCard.model_dump(card, mode="json"),
        "history": list(member.history),
        "probabilities": [list(row) for row in rows],
    }
    write_json(folder / DONE, document)
    return member


def _finished(file: Path, job: MemberJob) -> Member | None:
    from herscope.mil.ensemble import MemberCard

    if not (job.resume and file.is_file()):
        return None
    found = read_json(file)
    card = MemberCard.model_validate(found["card"])
    if found["key"] != job.key or not (job.out / card.file).is_file():
        return None
    rows = tuple(tuple(row) for row in found["probabilities"])
    return Member(card, tuple(found["history"]), rows)
