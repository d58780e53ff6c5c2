"""Response of patients, whatever is known of them, by a trained model.

A patient is encoded as those of the training were; what a cohort file does not have is missing, and
said to be. The probability is the mean over all members, its range their 5th to 95th percentile;
beside it stands how many of the training cohort's patients with a like prediction responded.
Patients of whom nothing is known are refused, one by one, and the others predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError

from herscope import __version__
from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.core.store import make_folder, write_json
from herscope.recipes.respond_alike import alike_words, availability_of, observed, tested_by
from herscope.recipes.respond_encoding import encoded
from herscope.recipes.respond_patients import (
    PreparationSpec,
    Prepared,
    narrowed,
    prepare_patients,
    usable_workers,
)
from herscope.recipes.respond_places import check_place, clear_pages, page_of
from herscope.recipes.training import need_packages
from herscope.respond.radiology.lesions import LesionKind

if TYPE_CHECKING:
    from herscope.respond.evaluation.predictions import PatientPrediction
    from herscope.respond.training.ensemble import LoadedMember, ResponseModel
    from herscope.respond.training.raw import RawPatient

SCHEMA: Final = "herscope.respond-predict/1"


@dataclass(frozen=True, eq=False)
class Asked:
    """A model, and patients it can be asked about.

    Attributes
    ----------
    model, members
        The model and its loaded members.
    prepared
        The cohort as it was opened.
    patients
        Those of whom something is known, encoded as the model's own.
    refused
        Patient to the reason.
    notes
        What was left out.
    availability, tested
        What missing parts cost in the model's own test, and its predictions there.
    """

    model: ResponseModel
    members: list[LoadedMember]
    prepared: Prepared
    patients: list[RawPatient]
    refused: dict[str, str]
    notes: tuple[str, ...]
    availability: list[dict[str, Any]]
    tested: tuple[PatientPrediction, ...]

    def judges(self, patient: str) -> list[int]:
        """Return which members may judge a patient: those that have not seen it, else all."""
        fresh = self.fresh(patient)
        return fresh or list(range(len(self.members)))

    def fresh(self, patient: str) -> list[int]:
        """Return the members that have not seen a patient, by name or by pictures."""
        return list(self._fresh[patient])

    @cached_property
    def _fresh(self) -> dict[str, tuple[int, ...]]:
        from herscope.respond.training.card import keys_of

        cohort, notes = self.prepared.cohort.spec.name, self.model.card.members
        seen = [frozenset(note.seen) for note in notes]
        return {
            raw.name: tuple(
                place for place, own in enumerate(seen) if own.isdisjoint(keys_of(raw, cohort))
            )
            for raw in self.patients
        }

    def namesake(self, patient: str) -> bool:
        """Whether the training cohort, under another name, has a patient of this name."""
        from herscope.respond.training.card import name_key

        card = self.model.card
        other = name_key(self.prepared.cohort.spec.name) != card.cohort_key
        return other and name_key(patient) in card.names


def open_patients(
    model: str | Path,
    cohort: str | Path,
    *,
    without: Sequence[str] = (),
    patients: Sequence[str] = (),
    workers: int | None = None,
    cache: str | Path | None = None,
) -> Asked:
    """Read a model and a cohort of patients for it.

    Parameters
    ----------
    model
        Folder that ``herscope respond fit`` finished.
    cohort
        ``cohort.toml``; outcomes may be missing.
    without
        Parts or modalities that are treated as unknown.
    patients
        Some of them only; all when empty.
    workers
        Processes that measure lesions.
    cache
        Folder of measured lesions, to be found again.

    Raises
    ------
    WeightsUnavailable, SchemaError, ModelError
        The model cannot be used.
    InputError
        The cohort cannot be read, or a patient is not in it.
    WrongInput
        A patient's features are not those the model was trained on.
    """
    need_packages("torch", "safetensors", purpose="models of response need")
    from herscope.respond.cohort.cohort import read_cohort
    from herscope.respond.fusion.patients import PARTS, parts_of
    from herscope.respond.training.ensemble import read_model

    opened = read_model(model)
    card = opened.card
    gone = set(parts_of(without))
    whole = read_cohort(cohort)
    check_names(patients, whole.patients)
    whole = narrowed(whole, patients) if patients else whole
    own = _preparation(opened)
    left = {*gone, *(part for part in PARTS if part not in card.parts)}
    prepared = prepare_patients(
        whole, own, survival="none", leave_out=[part for part in PARTS if part in left],
        workers=usable_workers(workers), keep=cache,
    )  # fmt: skip
    known = {
        name: [(token.name, token.categories) for token in tokens]
        for name, tokens in card.tokens.items()
    }
    seen, notes = encoded(prepared, known)
    keep = [one.without(*gone) for one in seen if not patients or one.name in patients]
    refused = {}
    for one in keep:
        opened.check(one)
        if not one.parts:
            refused[one.name] = "nothing is known of this patient that the model could read"
    return Asked(
        opened, opened.members(), prepared, [one for one in keep if one.name not in refused],
        refused, (*prepared.notes, *notes), availability_of(opened), tested_by(opened),
    )  # fmt: skip


def predict_response(
    model: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    without: Sequence[str] = (),
    patients: Sequence[str] = (),
    workers: int | None = None,
    cache: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Predict the response of patients.

    Parameters
    ----------
    model, cohort, without, patients, workers, cache
        As :func:`open_patients`.
    out
        Folder for ``predictions.csv``, ``result.json``, ``index.html`` and a page a patient.
    force
        Write over predictions that are there.

    Returns
    -------
    dict
        The document that ``herscope respond predict --json`` prints.

    Raises
    ------
    As :func:`open_patients`.
    OutputError
        ``out`` holds predictions already.
    """
    from herscope.report.respond_index import write_index
    from herscope.report.respond_patient_page import write_patient_page
    from herscope.respond.evaluation.predictions import write_predictions

    home = Path(out)
    check_place(home, force=force)
    asked = open_patients(
        model, cohort, without=without, patients=patients, workers=workers, cache=cache
    )
    rows = predict(asked)
    told = [describe(asked, row) for row in rows]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "model": asked.model.card.name,
        "cohort": asked.prepared.cohort.spec.name,
        "members": len(asked.members),
        "without": list(without),
        "patients": told,
        "refused": asked.refused,
        "figures": _figures(asked, rows),
        "notes": notes_of(asked),
        "folder": str(home),
    }
    clear_pages(make_folder(home))
    write_predictions(home / "predictions.csv", rows)
    for one in told:
        page = {**one, "model": asked.model.card.name, "cohort": document["cohort"]}
        write_patient_page(home / one["page"], page, back="../index.html")
    write_json(home / "result.json", document)
    write_index(home / "index.html", document)
    return document


def notes_of(asked: Asked) -> list[str]:
    """Return what a reader should know: of the model's training first, then of these patients."""
    from herscope.recipes.respond_report import RESEARCH

    trained = asked.model.card.notes
    own = [note if note == RESEARCH else f"training: {note}" for note in trained]
    return list(dict.fromkeys((*own, *asked.notes)))


def predict(asked: Asked) -> list[PatientPrediction]:
    """Return a prediction a patient, by all members."""
    from herscope.recipes.respond_members import spread
    from herscope.respond.evaluation.predictions import PatientPrediction

    if not asked.patients:
        return []
    said = np.stack([member.responses(asked.patients) for member in asked.members])
    cuts = np.array([member.cut for member in asked.members])
    cohort = asked.prepared.cohort
    at = {name: place for place, name in enumerate(cohort.patients)}
    rows = []
    for raw, column in zip(asked.patients, said.T, strict=True):
        may = asked.judges(raw.name)
        own = column[may].tolist()
        value, low, high = spread(own)
        place = at[raw.name]
        rows.append(
            PatientPrediction(
                raw.name, int(cohort.labels[place]), value, low, high, tuple(own),
                float(cuts[may].mean()), raw.parts, cohort.sites[place], None,
            )
        )  # fmt: skip
    return rows


def describe(asked: Asked, row: PatientPrediction) -> dict[str, Any]:
    """Return what is told of one patient: the number, its range, what it rests on."""
    from herscope.respond.explaining.spread import Spread
    from herscope.respond.explaining.statement import statement

    missing = [part for part in asked.model.card.parts if part not in row.parts]
    alone = len(row.members) == 1
    ends = (None, None) if alone else (row.low, row.high)
    said = statement(
        Spread(row.probability, *ends), len(row.members), group=row.group,
        cut=row.cut, parts=row.parts, missing=missing, contributions=(),
        availability=asked.availability,
    )  # fmt: skip
    alike = observed(asked.tested, row)
    fresh = len(asked.fresh(row.patient))
    return {
        "patient": row.patient,
        "label": None if row.label < 0 else row.label,
        "probability": row.probability,
        "low": ends[0],
        "high": ends[1],
        "cut": row.cut,
        "group": row.group,
        "members": len(row.members),
        "parts": list(row.parts),
        "missing": missing,
        "statement": [*said, *alike_words(alike)],
        "observed": alike,
        "availability": asked.availability,
        "members_that_saw_it": len(asked.members) - fresh,
        "notes": [*_seen_words(fresh, len(asked.members)), *_doubts(asked, row.patient)],
        "page": page_of(row.patient),
    }


def _seen_words(fresh: int, members: int) -> list[str]:
    if fresh == members:
        return []
    if not fresh:
        return [
            "Every member of the model was trained on this patient: its answer here is no test."
        ]
    said = (
        f"The patient belongs to the training cohort: {fresh} of {members} members, those that "
        "have not seen it, answer here."
    )
    return [said]


def _doubts(asked: Asked, patient: str) -> list[str]:
    """Say what of this patient the model may read otherwise than it should."""
    found = []
    if asked.namesake(patient) and len(asked.fresh(patient)) == len(asked.members):
        found.append(
            "The training cohort has a patient of this name, under another cohort's name: if it is "
            "the same person, this answer is no test."
        )
    raw = next(one for one in asked.patients if one.name == patient)
    if raw.radiology is None or "radiology-images" not in raw.parts:
        return found
    table = asked.members[asked.judges(patient)[0]].scaling.windows
    kinds = {LesionKind(int(kind)) for kind in raw.radiology.kinds}
    return [*found, *(note for kind in sorted(kinds) if (note := table.of(kind, raw.centre)[1]))]


def _figures(asked: Asked, rows: Sequence[PatientPrediction]) -> dict[str, Any] | None:
    """Judge the predictions where outcomes are known of patients the model has not seen."""
    from herscope.recipes.respond_report import judged

    fresh = [row for row in rows if asked.fresh(row.patient) and not asked.namesake(row.patient)]
    outcomes = asked.prepared.cohort.outcomes
    told = any(row.label >= 0 for row in fresh) or bool(outcomes.pfs.known.any())
    return judged(asked.prepared, fresh) if fresh and told else None


def check_names(asked: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a patient that the cohort does not have."""
    odd = [name for name in asked if name not in known]
    if odd:
        raise InputError(
            f"there is no patient {odd[0]!r} in the cohort",
            hint=nearest(odd[0], list(known), shown=5),
        )


def _preparation(model: ResponseModel) -> PreparationSpec:
    """Return how the model's patients were prepared, as its card says."""
    found = model.card.preparation
    try:
        return PreparationSpec.model_validate({name: found[name] for name in ("bags", "lesions")})
    except (KeyError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise SchemaError(
            f"{model.folder} does not say how its patients were prepared: {said}",
            hint="copy the whole folder again, or train again",
        ) from error
