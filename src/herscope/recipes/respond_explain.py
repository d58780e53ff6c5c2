"""What a prediction rests on, a page a patient: parts, tokens, bags on the slide, lesions.

A patient of the training is explained by the members that have not seen it. Slides are opened only
where the cohort file names them. Partial dependence is of all patients that are opened, so the
pages of one run share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope import __version__
from herscope.core.errors import HerscopeError
from herscope.core.store import make_folder, write_json
from herscope.recipes.respond_pictures import bag_pictures, lesion_pictures
from herscope.recipes.respond_places import check_place, clear_pages, page_of
from herscope.recipes.respond_predict import (
    Asked,
    describe,
    notes_of,
    open_patients,
    predict,
)

if TYPE_CHECKING:
    from herscope.respond.evaluation.predictions import PatientPrediction
    from herscope.respond.explaining.dependence import Cohort
    from herscope.respond.explaining.explanation import Explanation
    from herscope.respond.explaining.places import Place
    from herscope.respond.explaining.words import TokenWords
    from herscope.respond.training.raw import RawPatient

SCHEMA: Final = "herscope.respond-explain/1"
FEWEST_FOR_DEPENDENCE: Final = 10
MOST_FOR_DEPENDENCE: Final = 100
SETS: Final = {
    "pathology-report": "pathology",
    "radiology-report": "radiology",
    "patient": "patient",
}


def explain_response(
    model: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    patients: Sequence[str] = (),
    without: Sequence[str] = (),
    dependence: bool | None = None,
    bags: int = 12,
    workers: int | None = None,
    cache: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Explain the predictions of patients.

    Parameters
    ----------
    model, cohort, without, workers, cache
        As :func:`~herscope.recipes.respond_predict.open_patients`.
    out
        Folder for ``explanations/*.json``, ``dependence.json``, a page a patient, ``index.html``.
    patients
        Some of them only; all when empty.
    dependence
        Whether partial dependence is computed, for which all patients are opened; it takes longest.
        By default it is, unless patients are named.
    bags
        Pictures of bags a patient, where slides are named; 0: none.
    force
        Write over what is there.

    Returns
    -------
    dict
        The document that ``herscope respond explain --json`` prints.

    Raises
    ------
    As :func:`~herscope.recipes.respond_predict.open_patients`.
    OutputError
        ``out`` holds explanations already.
    """
    from herscope.report.respond_index import write_index
    from herscope.report.respond_patient_page import write_patient_page
    from herscope.respond.explaining.explain import dependence_document

    home = Path(out)
    check_place(home, force=force)
    # Partial dependence is of all patients; without it nobody else's files need be opened.
    dependence = not patients if dependence is None else dependence
    asked = open_patients(
        model, cohort, without=without, patients=() if dependence else patients, workers=workers,
        cache=cache,
    )  # fmt: skip
    _check(asked, patients)
    rows = {row.patient: row for row in predict(asked)}
    words = token_words(asked)
    found: dict[str, Any] = {"tokens": [], "parts": []}
    if dependence and len(asked.patients) >= FEWEST_FOR_DEPENDENCE:
        found = dependence_document(*_dependence(asked, words))
    clear_pages(make_folder(home))
    clear_pages(home, "explanations", "*.json")
    make_folder(home / "explanations")
    told, notes = [], []
    for raw in asked.patients:
        if patients and raw.name not in patients:
            continue
        one = _explain(asked, raw, rows[raw.name], words)
        said = describe(asked, rows[raw.name])
        alike = said["statement"][-1:] if said["observed"] else []
        document = {
            **one.document(dependence=found if found["parts"] else None),
            # To the last bit what predicting says: explaining adds in another order.
            **{key: said[key] for key in ("probability", "low", "high", "group")},
            "statement": [*one.statement, *alike],
            "observed": said["observed"],
            "notes": said["notes"],
            "herscope": __version__,
        }
        stem = Path(said["page"]).stem
        write_json(home / "explanations" / f"{stem}.json", document)
        shown = {
            **document,
            "model": asked.model.card.name,
            "cohort": asked.prepared.cohort.spec.name,
        }
        shown |= lesion_pictures(asked, raw, one, shown["lesions"])
        try:
            shown |= bag_pictures(asked.prepared, raw, shown["bags"], most=bags)
        except HerscopeError as error:
            notes.append(f"{raw.name}: no pictures of bags: {error.message}")
        write_patient_page(home / page_of(raw.name), shown, back="../index.html")
        told.append({**said, "contributions": document["contributions"]})
    document = {
        "schema": SCHEMA,
        "herscope": __version__,
        "model": asked.model.card.name,
        "cohort": asked.prepared.cohort.spec.name,
        "members": len(asked.members),
        "without": list(without),
        "patients": told,
        "refused": {
            who: why for who, why in asked.refused.items() if not patients or who in patients
        },
        "dependence": found,
        "notes": [*notes_of(asked), *notes],
        "folder": str(home),
    }
    write_json(home / "dependence.json", found)
    write_json(home / "result.json", document)
    write_index(home / "index.html", document)
    return document


def token_words(asked: Asked) -> dict[str, tuple[TokenWords, ...]]:
    """Return what the model's tokens are called."""
    from herscope.respond.explaining.words import TokenWords

    about = {t.name: t.about for one in asked.prepared.cohort.sets for t in one.token}
    return {
        name: tuple(
            TokenWords(token.name, token.categories, about.get(token.name, ""))
            for token in asked.model.card.tokens[modality]
        )
        for name, modality in SETS.items()
    }


def _check(asked: Asked, patients: Sequence[str]) -> None:
    from herscope.recipes.respond_predict import check_names

    check_names(patients, asked.prepared.cohort.patients)


def _dependence(
    asked: Asked, words: Mapping[str, Sequence[TokenWords]]
) -> tuple[list[Any], list[Any]]:
    """Vary every token and part over patients, each judged by members that may.

    By the members of one repeat, which have all patients between them, and over at most a hundred
    patients, evenly chosen: scaled copies of more would not fit into memory, and each is asked some
    eighty times.
    """
    from herscope.respond.explaining.dependence import part_dependence, token_dependence

    chosen = [place for place, note in enumerate(asked.model.card.members) if note.repeat == 1]
    step = np.linspace(0, len(asked.patients) - 1, min(MOST_FOR_DEPENDENCE, len(asked.patients)))
    patients = [asked.patients[int(place)] for place in np.unique(step.round())]
    may = {raw.name: set(asked.judges(raw.name)) for raw in patients}
    patients = [raw for raw in patients if may[raw.name] & set(chosen)]
    networks = [asked.members[place].network for place in chosen]
    cohorts: list[Cohort] = [
        [asked.members[place].patient(raw) if place in may[raw.name] else None for raw in patients]
        for place in chosen
    ]
    return token_dependence(networks, cohorts, words), part_dependence(networks, cohorts)


def _explain(
    asked: Asked,
    raw: RawPatient,
    row: PatientPrediction,
    words: Mapping[str, Sequence[TokenWords]],
) -> Explanation:
    from herscope.respond.explaining.explain import Beside, explain_patient

    members = [asked.members[place] for place in asked.judges(raw.name)]
    seen = [member.patient(raw) for member in members]
    places = {name: of for name, of in places_of(raw).items() if name in seen[0].branches and of}
    beside = Beside(
        cut=row.cut,
        label=None if row.label < 0 else row.label,
        words=words,
        places=places,
        availability=tuple(asked.availability),
        able=asked.model.card.parts,
    )
    return explain_patient([member.network for member in members], seen, beside)


def places_of(raw: RawPatient) -> dict[str, Sequence[Place]]:
    """Return where a patient's bags and lesions are; nothing of what is hidden."""
    from herscope.respond.explaining.places import BagPlace, LesionPlace
    from herscope.respond.radiology.lesions import LesionKind

    found: dict[str, Sequence[Place]] = {}
    bags, lesions = raw.pathology, raw.radiology
    if bags is not None and "pathology-images" in raw.parts:
        found["pathology"] = [
            BagPlace(bags.slides[int(of)], int(x), int(y), float(edge))
            for of, (x, y), edge in zip(bags.slide, bags.xy_px, bags.edges_px, strict=True)
        ]
    if lesions is not None and "radiology-images" in raw.parts:
        found["radiology"] = [
            LesionPlace(
                name, LesionKind(int(kind)).name.lower().replace("_", " "), source, int(place)
            )
            for name, kind, source, place in zip(
                lesions.names, lesions.kinds, lesions.sources, lesions.key_slices, strict=True
            )
        ]
    return found
