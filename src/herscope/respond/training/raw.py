"""A patient before anything was learnt from a cohort: numbers as they were measured.

What scales them (means, windows of grey values) belongs to a member and is fitted on its training
patients only; see :mod:`herscope.respond.training.scaling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from herscope.respond.fusion.patients import BRANCHES, TokenRow, no_tokens, parts_of
from herscope.respond.pathology.bags import PathologyBags
from herscope.respond.radiology.patient_lesions import PatientLesions


@dataclass(frozen=True, eq=False)
class RawPatient:
    """What is known of a patient.

    Attributes
    ----------
    name, centre
        Identifier, and the hospital as the lesions were read with.
    pathology, radiology
        Bags of slides and lesions of CT; None where there are none.
    reports
        Modality to its report's tokens.
    tokens
        Patient information.
    times
        Modality to 0, 1, 2 or None: when it was sampled.
    hidden
        Parts that are treated as if they were not there.
    """

    name: str
    centre: str
    pathology: PathologyBags | None
    radiology: PatientLesions | None
    reports: Mapping[str, TokenRow]
    tokens: TokenRow
    times: Mapping[str, int | None]
    hidden: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of :data:`~herscope.respond.fusion.patients.PARTS` are there."""
        found = {f"{name}-report" for name in BRANCHES if self.reports[name].present.any()}
        for name, images in (("pathology", self.pathology), ("radiology", self.radiology)):
            if images is not None:
                found.add(f"{name}-images")
                found |= set() if images.omics is None else {f"{name}-radiomics"}
        if self.tokens.present.any():
            found.add("patient")
        return tuple(part for part in parts_of([*found]) if part not in self.hidden)

    def without(self, *names: str) -> RawPatient:
        """Return the patient as if these parts (or modalities) were unknown."""
        return replace(self, hidden=parts_of([*self.hidden, *names]))

    def report(self, name: str) -> TokenRow:
        """Return a modality's report; all missing where it is hidden."""
        row = self.reports[name]
        return no_tokens(row.sizes) if f"{name}-report" in self.hidden else row

    @property
    def information(self) -> TokenRow:
        """Patient information; all missing where it is hidden."""
        return no_tokens(self.tokens.sizes) if "patient" in self.hidden else self.tokens
