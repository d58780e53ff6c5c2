"""Features, radiomics and grey values on one scale, by what the training patients show.

A feature becomes (x - mean) / SD over all words (or bags, or lesions) of the training patients; one
that never varies becomes 0. Radiomics likewise over what could be measured; what could not be is
put at the mean, 0 (MuMo: NaN becomes 0 after z-normalisation). Grey values of CT get the windows of
:mod:`herscope.respond.radiology.windows`. A patient that is tested has no part in any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from herscope.respond.fusion.patients import Branch, Patient
from herscope.respond.radiology.windows import WindowTable, fit_windows
from herscope.respond.training.raw import RawPatient

Floats = NDArray[np.float32]
SAME: Final = 1e-6
"""SD below this share of the mean is rounding of float32. Radiomics may be of any size."""
SMALLEST_SD: Final = 1e-30
FAR: Final = 10.0
"""Standard deviations: what lies further out is put there, so that no outlier drowns the rest."""


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and reciprocal of the SD of each column, float32; 0 where a column never varies."""

    mean: Floats = field(repr=False)
    factor: Floats = field(repr=False)

    def __call__(self, x: Floats) -> Floats:
        """Scale (..., columns); what is no number becomes 0."""
        known = np.where(np.isfinite(x), x, self.mean)
        return np.clip((known - self.mean) * self.factor, -FAR, FAR).astype(np.float32)


def fit_scale(tables: Callable[[], Iterable[Floats]], columns: int) -> Scale:
    """Fit a scale to (n, columns) tables, one a patient; NaN are left out.

    The tables are asked for twice, so that they need not be held at once.

    Examples
    --------
    >>> scale = fit_scale(lambda: [np.array([[1.0, 5.0], [3.0, np.nan]], np.float32)], 2)
    >>> scale(np.array([[3.0, 9.0]], np.float32)).tolist()
    [[1.0, 0.0]]
    """
    count, total = np.zeros(columns), np.zeros(columns)
    for table in tables():
        known = np.isfinite(table)
        count += known.sum(axis=0)
        total += np.where(known, table, 0.0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(columns)
    for table in tables():  # about the mean: differences of large sums would lose small SDs
        squares += np.where(np.isfinite(table), (table - mean) ** 2, 0.0).sum(axis=0)
    sd = np.sqrt(squares / np.maximum(count, 1))
    varies = sd > np.maximum(SAME * np.abs(mean), SMALLEST_SD)
    factor = np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)
    return Scale(mean.astype(np.float32), factor.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Scaling:
    """All that a member learnt of its training patients before it was trained.

    Attributes
    ----------
    scales
        By name: ``pathology-images``, ``pathology-radiomics``, ``radiology-radiomics``; what no
        training patient has is absent.
    windows
        Windows of grey values.
    """

    scales: dict[str, Scale]
    windows: WindowTable

    def patient(self, raw: RawPatient) -> Patient:
        """Return a patient as the network sees one."""
        branches = {"pathology": self._pathology(raw), "radiology": self._radiology(raw)}
        kept = {
            name: whole
            for name, branch in branches.items()
            if branch is not None and (whole := branch.keeping(name, raw.hidden)) is not None
        }
        return Patient(raw.name, kept, raw.information)

    def _pathology(self, raw: RawPatient) -> Branch | None:
        report, bags = raw.report("pathology"), raw.pathology
        scale = self.scales.get("pathology-images")
        if bags is None or scale is None:  # bags that no training patient had say nothing
            return _report_only(raw, "pathology")
        words = scale(bags.words) * bags.word_there[..., None]
        return Branch(
            words,
            report,
            self._omics("pathology", bags.omics),
            raw.times["pathology"],
            None,
            bags.word_there,
        )

    def _radiology(self, raw: RawPatient) -> Branch | None:
        report, lesions = raw.report("radiology"), raw.radiology
        if lesions is None:
            return _report_only(raw, "radiology")
        pictures = lesions.pictures(self.windows, raw.centre)
        omics = self._omics("radiology", lesions.omics)
        return Branch(pictures, report, omics, raw.times["radiology"], lesions.kinds)

    def _omics(self, name: str, values: Floats | None) -> Floats | None:
        scale = self.scales.get(f"{name}-radiomics")
        return None if values is None or scale is None else scale(values)


class Scaled(Sequence[Patient]):
    """Patients that are scaled when they are asked for: a scaled copy of all would fill memory."""

    def __init__(self, scaling: Scaling, raw: Sequence[RawPatient]) -> None:
        self.scaling, self.raw = scaling, raw

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, place: int) -> Patient: ...

    @overload
    def __getitem__(self, place: slice) -> Scaled: ...

    def __getitem__(self, place: int | slice) -> Patient | Scaled:
        if isinstance(place, slice):
            return Scaled(self.scaling, self.raw[place])
        return self.scaling.patient(self.raw[place])


def _report_only(raw: RawPatient, name: str) -> Branch | None:
    report = raw.report(name)
    known = bool(report.present.any())
    return Branch(None, report, time=raw.times[name]) if known else None


def fit_scaling(training: Sequence[RawPatient]) -> Scaling:
    """Fit everything to the training patients."""
    slides = [raw.pathology for raw in training if raw.pathology is not None]
    scans = [raw.radiology for raw in training if raw.radiology is not None]
    scales = {}
    if slides:
        words = partial(map, lambda bags: bags.words[bags.word_there], slides)
        scales["pathology-images"] = fit_scale(words, slides[0].words.shape[2])
    for name, measured in (("pathology", slides), ("radiology", scans)):
        omics = [one.omics for one in measured if one.omics is not None]
        if omics:
            scales[f"{name}-radiomics"] = fit_scale(partial(iter, omics), omics[0].shape[1])
    counts = [count for one in scans for count in one.counts]
    return Scaling(scales, fit_windows(counts) if counts else WindowTable())
