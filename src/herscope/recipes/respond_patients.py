"""From a cohort file to patients: tokens, bags of slides, lesions of CT, and what became of them.

What cannot be read stops everything and names the patient: a modality that is silently missing
would be learnt as a missing one. Lesions take longest (radiomics), so each patient's are kept in
the folder of the training and found again by the content of their files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import HerscopeError, InputError
from herscope.core.spec import Spec
from herscope.recipes.in_processes import in_pool, tell
from herscope.recipes.respond_notes import counted_notes
from herscope.respond.pathology.bag_spec import BagSpec
from herscope.respond.radiology.patient_lesions import PatientLesionSpec

if TYPE_CHECKING:
    from herscope.respond.cohort.cohort import Cohort
    from herscope.respond.cohort.outcomes import FollowUp
    from herscope.respond.cohort.tokens import Tokens
    from herscope.respond.fusion.patients import TokenRow
    from herscope.respond.pathology.bags import PathologyBags
    from herscope.respond.radiology.patient_lesions import PatientLesions
    from herscope.respond.training.raw import RawPatient

TIMES: Final = {"pathology": "pathology_time", "radiology": "radiology_time"}
TOLD_EVERY: Final = 10
NO_CENTRE: Final = "not named"
"""Centre of a patient whose hospital is not known; windows of grey values are by centre."""
ALLOWED: Final = frozenset({"modality-missing-for-all", "no-events"})
"""Errors of a cohort that a model can be trained with."""


class PreparationSpec(Spec):
    """What of each patient's files is used; part of the model."""

    bags: BagSpec = Field(default=BagSpec(), description="Bags and words of slides.")
    lesions: PatientLesionSpec = Field(
        default=PatientLesionSpec(), description="Lesions of CT, their pictures and radiomics."
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cohort with everything opened.

    Attributes
    ----------
    cohort
        As it was read.
    patients
        In the order of the table.
    outcome
        (patients, 3) float32: label or -1, days or NaN, event.
    encoder, encoder_id
        Of the bags; empty without any.
    omics_names
        Modality to names of its radiomics.
    notes
        What a reader of the results should know.
    """

    cohort: Cohort
    patients: tuple[RawPatient, ...]
    outcome: NDArray[np.float32]
    encoder: str
    encoder_id: str
    omics_names: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Return how many patients have each part."""
        from herscope.respond.fusion.patients import PARTS

        found = Counter(part for one in self.patients for part in one.parts)
        return {part: found[part] for part in PARTS}


def open_cohort(path: str | Path) -> Cohort:
    """Read a cohort and refuse what would make a model wrong.

    A modality without a file and a follow-up without an event are errors of a cohort's description,
    for a path or a coding is the usual cause; a model can be trained without, so here they become
    notes.

    Raises
    ------
    InputError
        The first error among what :func:`describe_cohort` finds.
    """
    from herscope.respond.cohort.cohort import read_cohort
    from herscope.respond.cohort.consistency import consistency
    from herscope.respond.cohort.findings import refuse_errors

    cohort = read_cohort(path)
    found = consistency(cohort)
    allowed = [one for one in found if one.severity == "error" and one.code in ALLOWED]
    refuse_errors([one for one in found if one not in allowed], cohort.table.name)
    told = [f"{one.message}: {one.advice}" for one in allowed]
    return replace(cohort, notes=(*told, *cohort.notes))


def narrowed(cohort: Cohort, patients: Collection[str]) -> Cohort:
    """Return a cohort in which only these patients have files: the others' are not opened."""
    files = {
        modality: tuple(
            paths if name in patients else ()
            for name, paths in zip(cohort.patients, of_each, strict=True)
        )
        for modality, of_each in cohort.files.items()
    }
    return replace(cohort, files=files)


def prepare_patients(
    cohort: Cohort,
    spec: PreparationSpec | None = None,
    *,
    survival: Literal["os", "pfs", "none"] = "os",
    leave_out: Sequence[str] = (),
    keep: str | Path | None = None,
    workers: int = 1,
) -> Prepared:
    """Open the files of every patient.

    Parameters
    ----------
    cohort
        See :func:`open_cohort`.
    spec
        Bags and lesions.
    survival
        Which follow-up the survival loss uses.
    leave_out
        Parts or modalities that are not opened, for anybody.
    keep
        Folder for measured lesions; nothing is kept when absent.
    workers
        Processes that measure lesions.

    Raises
    ------
    InputError, SchemaError, DependencyMissing
        A file cannot be used; patient and file are named.
    """
    from herscope.respond.fusion.patients import parts_of
    from herscope.respond.training.raw import RawPatient

    spec = spec or PreparationSpec()
    gone = parts_of(leave_out)
    # Radiomics of bags stand beside the features, so either of them is a reason to open the files.
    unread = {"pathology-images", "pathology-radiomics"} <= set(gone)
    bags = [None] * len(cohort) if unread else _bags(cohort, spec.bags)
    lesions = _lesions(cohort, spec, gone, keep, workers)
    rows = {name: token_rows(_tokens(cohort, name)) for name in ("pathology", "radiology")}
    information = token_rows(_tokens(cohort, "patient"))
    times = {name: _times(cohort, token) for name, token in TIMES.items()}
    patients = tuple(
        RawPatient(
            name,
            cohort.sites[i] or NO_CENTRE,
            bags[i],
            lesions[i],
            {modality: row[i] for modality, row in rows.items()},
            information[i],
            {modality: time[i] for modality, time in times.items()},
            gone,
        )
        for i, name in enumerate(cohort.patients)
    )
    first = next((one for one in bags if one is not None), None)
    notes = counted_notes(bags, lesions)
    return Prepared(
        cohort,
        patients,
        _outcome(cohort, survival),
        "" if first is None else first.encoder,
        "" if first is None else first.encoder_id,
        {
            "pathology": _names(bags, "pathology"),
            "radiology": _names(lesions, "radiology"),
        },
        notes,
    )


def token_rows(tokens: Tokens) -> list[TokenRow]:
    """Return each patient's tokens end to end."""
    from herscope.respond.fusion.patients import TokenRow

    values, _ = tokens.flat()
    return [
        TokenRow(row, there, tokens.widths)
        for row, there in zip(values, tokens.present, strict=True)
    ]


def tokens_by_set(cohort: Cohort) -> dict[str, Tokens]:
    """Return the tokens the network reads: of both reports and of the patient."""
    return {name: _tokens(cohort, name) for name in ("pathology", "radiology", "patient")}


def _tokens(cohort: Cohort, modality: str) -> Tokens:
    """Tokens of a modality; when something was sampled is no token but a flag of its branch."""
    found = cohort.tokens_of(modality)
    return found.select([name for name in found.names if name not in TIMES.values()])


def _times(cohort: Cohort, token: str) -> list[int | None]:
    if token not in cohort.tokens.names:
        return [None] * len(cohort)
    values = cohort.tokens.of(token)
    return [int(row.argmax()) if row.any() else None for row in values]


def _outcome(cohort: Cohort, survival: str) -> NDArray[np.float32]:
    made = np.full((len(cohort), 3), np.nan, np.float32)
    made[:, 0] = cohort.labels
    made[:, 2] = 0.0
    if survival != "none":
        follow: FollowUp = getattr(cohort.outcomes, survival)
        made[follow.known, 1] = follow.days[follow.known]
        made[follow.known, 2] = follow.event[follow.known]
    return made


def _bags(cohort: Cohort, spec: BagSpec) -> list[PathologyBags | None]:
    from herscope.respond.pathology.bags import read_pathology

    files = cohort.files.get("bags", ((),) * len(cohort))
    slides = cohort.files.get("slides", ((),) * len(cohort))
    if not any(files) and any(slides):
        raise InputError(
            f"{sum(map(bool, slides))} patients have slides and nobody has bags: the model reads "
            "feature files",
            hint="herscope respond bags SLIDES --out DIR makes them; then name them under "
            "[files] bags, or leave the slides out with --leave-out pathology-images --leave-out "
            "pathology-radiomics",
        )
    found: list[PathologyBags | None] = []
    for patient, paths in zip(cohort.patients, files, strict=True):
        try:
            found.append(read_pathology(paths, spec) if paths else None)
        except HerscopeError as error:
            raise _named(error, patient) from error
    return found


def _lesions(
    cohort: Cohort,
    spec: PreparationSpec,
    gone: Sequence[str],
    keep: str | Path | None,
    workers: int,
) -> list[PatientLesions | None]:
    empty = ((),) * len(cohort)
    if {"radiology-images", "radiology-radiomics"} <= set(gone):
        return [None] * len(cohort)
    own = spec.lesions
    if "radiology-radiomics" in gone:
        own = own.model_copy(update={"with_radiomics": False})
    files = [cohort.files.get(name, empty) for name in ("ct", "ct_mask", "lesions")]
    calls = [
        (patient, *paths, site or NO_CENTRE, own, keep)
        for patient, site, *paths in zip(cohort.patients, cohort.sites, *files, strict=True)
        if paths[0]
    ]
    if workers > 1 and len(calls) > TOLD_EVERY:
        tell(f"lesions of {len(calls)} CT scans are measured or read again")
    found = dict(in_pool(measure_one, calls, workers=min(workers, len(calls)))) if calls else {}
    for patient, one in found.items():
        if isinstance(one, HerscopeError):
            raise _named(one, patient)
    # A CT without a lesion says nothing of a lesion: the pictures are missing.
    return [one if one and one.names else None for one in map(found.get, cohort.patients)]


def measure_one(
    patient: str,
    ct: Sequence[Path],
    masks: Sequence[Path],
    boxes: Sequence[Path],
    centre: str,
    spec: PatientLesionSpec,
    keep: str | Path | None,
) -> tuple[str, PatientLesions | HerscopeError]:
    """Measure one patient's lesions, or find them measured; runs in a worker."""
    from herscope.respond.radiology.lesion_store import cached_lesions
    from herscope.respond.radiology.patient_lesions import read_lesions

    try:
        if keep is None:
            found = read_lesions(patient, ct, masks, boxes, centre, spec)
        else:
            found, _ = cached_lesions(keep, patient, ct, masks, boxes, centre, spec)
    except HerscopeError as error:
        return patient, error
    return patient, found


def _named(error: HerscopeError, patient: str) -> HerscopeError:
    """Put the patient in front of a message that does not name it."""
    if patient in error.message:
        return error
    return type(error)(f"patient {patient}: {error.message}", hint=error.hint)


def _names(parts: Sequence[Any], what: str) -> tuple[str, ...]:
    """Names of radiomics, the same for everybody."""
    found = {one.omics_names for one in parts if one is not None and one.omics is not None}
    if len(found) > 1:
        raise InputError(
            f"radiomics of {what} have {len(found)} different lists of names in this cohort",
            hint="measure all of them with the same settings",
        )
    return next(iter(found), ())


def usable_workers(workers: int | None) -> int:
    """Return the number of processes; refuse fewer than one."""
    from herscope.core.provenance import cpu_count

    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}", hint="at least 1")
    return workers or cpu_count() or os.cpu_count() or 1
