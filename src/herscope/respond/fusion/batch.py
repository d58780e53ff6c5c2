"""Patients side by side as tensors, padded and masked; zeros stand for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from herscope.respond.fusion.patients import TIMES, BranchLayout, Layout, Patient


@dataclass(frozen=True)
class BranchBatch:
    """One modality of several patients.

    Attributes
    ----------
    words
        (B, N, W, features).
    word_there, there
        (B, N, W), (B, N) bool.
    omics, omics_there
        (B, N, values), (B, N) bool.
    report, report_there
        (B, sum of sizes), (B, tokens) bool.
    time
        (B, 3) one-hot; zeros where unknown.
    kinds
        (B, N) int64, -1 where unknown.
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

    @property
    def known(self) -> Tensor:
        """(B,) whether anything of this modality is known."""
        return self.there.any(dim=1) | self.report_there.any(dim=1)

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        return type(self)(**{k: v.to(device) for k, v in vars(self).items()})


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
    b = len(patients)
    found = [patient.branches.get(name) for patient in patients]
    arrays = [None if f is None or f.instances is None else f.instances for f in found]
    n = max((len(a) for a in arrays if a is not None), default=1)
    w = max((a.shape[1] if a.ndim == 3 else 1 for a in arrays if a is not None), default=1)
    words = np.zeros((b, n, w, layout.features), np.float32)
    word_there = np.zeros((b, n, w), np.bool_)
    omics = np.zeros((b, n, layout.omics), np.float32)
    omics_there = np.zeros((b, n), np.bool_)
    report = np.zeros((b, sum(layout.report)), np.float32)
    report_there = np.zeros((b, len(layout.report)), np.bool_)
    time = np.zeros((b, TIMES), np.float32)
    kinds = np.full((b, n), -1, np.int64)
    for row, (one, array) in enumerate(zip(found, arrays, strict=True)):
        if one is None:
            continue
        report[row], report_there[row] = one.report.values, one.report.present
        if one.time is not None:
            time[row, one.time] = 1.0
        if array is None:
            continue
        part = array if array.ndim == 3 else array[:, None]
        words[row, : len(part), : part.shape[1]] = part
        word_there[row, : len(part), : part.shape[1]] = True
        if one.omics is not None:
            omics[row, : len(part)], omics_there[row, : len(part)] = one.omics, True
        if one.kinds is not None:
            kinds[row, : len(part)] = one.kinds
    values = (words, word_there, word_there.any(axis=2), omics, omics_there)
    return BranchBatch(*(torch.from_numpy(v) for v in (*values, report, report_there, time, kinds)))
