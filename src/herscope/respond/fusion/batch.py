"""Patients side by side as tensors, padded and masked; zeros stand for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from herscope.respond.fusion.patients import (
    TIMES,
    Branch,
    BranchLayout,
    Floats,
    Layout,
    Patient,
)


@dataclass(frozen=True)
class BranchBatch:
    """One modality of several patients.

    Attributes
    ----------
    words
        (B, N, W, features); zeros where instances are pictures.
    word_there, there
        (B, N, W), (B, N) bool.
    omics, omics_there
        (B, M, values), (B, M) bool; M rows, for radiomics may stand without instances.
    report, report_there
        (B, sum of sizes), (B, tokens) bool.
    time
        (B, 3) one-hot; zeros where unknown.
    kinds
        (B, N) int64, -1 where unknown.
    pictures
        (B, N, 3, S, S) of 0 to 1, or None where instances are vectors.
    """

    words: Tensor
    word_there: Tensor
    there: Tensor
    omics: Tensor
    omics_there: Tensor
    report: Tensor
    report_there: Tensor
    time: Tensor
    kinds: Tensor
    pictures: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """(B,) whether anything of this modality is known."""
        return self.there.any(dim=1) | self.omics_there.any(dim=1) | self.report_there.any(dim=1)

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        moved: dict[str, Any] = {
            k: None if v is None else v.to(device) for k, v in vars(self).items()
        }
        return type(self)(**moved)


@dataclass(frozen=True)
class PatientBatch:
    """Several patients.

    Attributes
    ----------
    branches
        Modality to its tensors, for every modality of the layout.
    tokens, tokens_there
        (B, sum of sizes), (B, tokens) bool.
    progress
        0 to 1, how much of the training is done; for weights that change.
    """

    branches: dict[str, BranchBatch]
    tokens: Tensor
    tokens_there: Tensor
    progress: float = 0.0

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        moved = {name: branch.to(device) for name, branch in self.branches.items()}
        return type(self)(
            moved, self.tokens.to(device), self.tokens_there.to(device), self.progress
        )


def collate(patients: Sequence[Patient], layout: Layout, *, progress: float = 0.0) -> PatientBatch:
    """Put patients side by side.

    Raises
    ------
    SchemaError
        A patient has another layout.
    """
    for patient in patients:
        layout.check(patient)
    branches = {name: _branch(patients, name, one) for name, one in layout.branches.items()}
    values = np.stack([p.tokens.values for p in patients])
    there = np.stack([p.tokens.present for p in patients])
    return PatientBatch(branches, torch.from_numpy(values), torch.from_numpy(there), progress)


def _branch(patients: Sequence[Patient], name: str, layout: BranchLayout) -> BranchBatch:
    found = [patient.branches.get(name) for patient in patients]
    words, word_there, pictures = _instances(found, layout)
    omics, omics_there = _omics(found, layout)
    b, n = word_there.shape[:2]
    report = np.zeros((b, sum(layout.report)), np.float32)
    report_there = np.zeros((b, len(layout.report)), np.bool_)
    time = np.zeros((b, TIMES), np.float32)
    kinds = np.full((b, n), -1, np.int64)
    for row, one in enumerate(found):
        if one is None:
            continue
        report[row], report_there[row] = one.report.values, one.report.present
        if one.time is not None:
            time[row, one.time] = 1.0
        if one.kinds is not None:
            kinds[row, : len(one.kinds)] = one.kinds
    return BranchBatch(
        words=torch.from_numpy(words),
        word_there=torch.from_numpy(word_there),
        there=torch.from_numpy(word_there.any(axis=2)),
        omics=torch.from_numpy(omics),
        omics_there=torch.from_numpy(omics_there),
        report=torch.from_numpy(report),
        report_there=torch.from_numpy(report_there),
        time=torch.from_numpy(time),
        kinds=torch.from_numpy(kinds),
        pictures=None if pictures is None else torch.from_numpy(pictures),
    )


def _instances(
    found: Sequence[Branch | None], layout: BranchLayout
) -> tuple[Floats, NDArray[np.bool_], Floats | None]:
    """Vectors of words, which are there, and pictures."""
    arrays = [None if f is None or f.instances is None else f.instances for f in found]
    n = max((len(a) for a in arrays if a is not None), default=1)
    w = max((a.shape[1] if a.ndim == 3 else 1 for a in arrays if a is not None), default=1)
    words = np.zeros((len(found), n, w, layout.features), np.float32)
    there = np.zeros((len(found), n, w), np.bool_)
    edge = layout.picture
    pictures = np.zeros((len(found), n, 3, edge, edge), np.float32) if edge else None
    for row, (one, array) in enumerate(zip(found, arrays, strict=True)):
        if one is None or array is None:
            continue
        if pictures is not None:
            pictures[row, : len(array)], there[row, : len(array)] = array, True
            continue
        part = array if array.ndim == 3 else array[:, None]
        told = True if one.word_there is None else one.word_there
        there[row, : len(part), : part.shape[1]] = told
        words[row, : len(part), : part.shape[1]] = part
    return words, there, pictures


def _omics(
    found: Sequence[Branch | None], layout: BranchLayout
) -> tuple[Floats, NDArray[np.bool_]]:
    rows = [None if f is None or f.omics is None else f.omics for f in found]
    m = max((len(a) for a in rows if a is not None), default=1)
    values = np.zeros((len(found), m, layout.omics), np.float32)
    there = np.zeros((len(found), m), np.bool_)
    for row, part in enumerate(rows):
        if part is not None:
            values[row, : len(part)], there[row, : len(part)] = part, True
    return values, there
