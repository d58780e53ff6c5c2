"""Training batches of patients: bags drawn, parts hidden, pictures varied; the same every time.

Every patient comes once an epoch. From (seed, epoch, patient) alone follow which of its bags are
shown, which modalities and which parts are hidden, and how pictures are turned, each from a stream
of its own: the order of the batches and what else is switched on change none of it. Now and then a
patient is left with nothing; so the network learns what to say of somebody of whom nothing is
known, from which explanations count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from herscope.respond.fusion.batch import PatientBatch, collate
from herscope.respond.fusion.patients import BRANCHES, PARTS, Branch, Layout, Patient
from herscope.respond.training.picture_variation import vary
from herscope.respond.training.spec import RespondSpec

_ORDER = 1 << 61


@dataclass(frozen=True)
class Target:
    """What a batch is judged by.

    Attributes
    ----------
    outcome
        (patients, 3): label (-1 without), days (NaN without), event.
    kinds
        Modality to (patients, instances) true kinds, -1 where unknown.
    progress
        0 to 1, how much of the training is done.
    """

    outcome: Tensor
    kinds: dict[str, Tensor]
    progress: float

    def to(self, device: torch.device) -> Target:
        """Return it on a device."""
        moved = {name: kinds.to(device) for name, kinds in self.kinds.items()}
        return Target(self.outcome.to(device), moved, self.progress)


class PatientBatches:
    """Batches for :func:`herscope.nn.fit.fit`.

    Parameters
    ----------
    patients
        Scaled training patients.
    outcome
        (patients, 3) float32, as of :class:`Target`.
    layout
        What they look like.
    spec
        Batch, epochs, what is drawn and hidden.
    seed
        Of everything random.
    """

    def __init__(
        self,
        patients: Sequence[Patient],
        outcome: np.ndarray,
        layout: Layout,
        spec: RespondSpec,
        seed: int,
    ) -> None:
        self.patients, self.layout, self.spec, self.seed = patients, layout, spec, seed
        self.outcome = torch.from_numpy(np.asarray(outcome, np.float32))

    def __len__(self) -> int:
        return (len(self.patients) + self.spec.batch - 1) // self.spec.batch

    def epoch(self, number: int) -> Iterator[tuple[PatientBatch, Target]]:
        """Yield batches and what they are judged by."""
        order = _random(self.seed, number, _ORDER).permutation(len(self.patients))
        progress = number / self.spec.epochs
        # Batches of nearly the same size: a last one of a single patient has no order of risks.
        for chosen in np.array_split(order, len(self)):
            seen = [self.shown(place, number) for place in chosen.tolist()]
            batch = collate(seen, self.layout, progress=progress)
            kinds = {name: one.kinds for name, one in batch.branches.items()}
            yield batch, Target(self.outcome[chosen], kinds, progress)

    def shown(self, place: int, epoch: int) -> Patient:
        """Return a patient as an epoch shows it."""
        patient = self.patients[place]
        streams = (_random(self.seed, epoch, place, what) for what in range(len(BRANCHES) + 1))
        hiding, *drawing = streams
        branches = {
            name: self._drawn(patient.branches[name], rng)
            for name, rng in zip(BRANCHES, drawing, strict=True)
            if name in patient.branches
        }
        return _hidden(replace(patient, branches=branches), self.spec, hiding)

    def _drawn(self, branch: Branch, rng: np.random.Generator) -> Branch:
        if branch.instances is None:
            return branch
        if branch.picture:
            varied = vary(branch.instances, rng) if self.spec.vary_pictures else branch.instances
            return replace(branch, instances=varied)
        count, most = len(branch.instances), self.spec.bags
        if most == 0 or count <= most:
            return branch
        keep = np.sort(rng.choice(count, most, replace=False))
        return replace(
            branch,
            instances=branch.instances[keep],
            omics=None if branch.omics is None else branch.omics[keep],
            kinds=None if branch.kinds is None else branch.kinds[keep],
            word_there=None if branch.word_there is None else branch.word_there[keep],
        )


def _hidden(patient: Patient, spec: RespondSpec, rng: np.random.Generator) -> Patient:
    """Hide modalities and parts by chance; all are drawn, whether there or not."""
    away = [name for name in BRANCHES if rng.uniform() < spec.drop_modality]
    away += [part for part in PARTS if rng.uniform() < spec.drop_part]
    return patient.without(*away)


def _random(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(numbers)))
