"""What a reader of a model should know of its patients: said once, with how many it holds for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herscope.recipes.respond_patients import Prepared
    from herscope.respond.pathology.bags import PathologyBags
    from herscope.respond.radiology.patient_lesions import PatientLesions


def counted_notes(
    bags: Sequence[PathologyBags | None], lesions: Sequence[PatientLesions | None]
) -> tuple[str, ...]:
    """Return the notes of slides and of CT, each once, with the number of patients it holds for."""
    found = Counter(
        note
        for one in [*map(_bag_notes, bags), *map(_lesion_notes, lesions)]
        for note in dict.fromkeys(one)
    )
    return tuple(
        f"{note} ({count} patients)" if count > 1 else note for note, count in found.items()
    )


def gaps(prepared: Prepared) -> list[str]:
    """Return notes on modalities that nobody has, unless left out, and on unknown patients."""
    gone = set(prepared.patients[0].hidden)
    notes = []
    for modality in ("pathology", "radiology", "patient"):
        own = [part for part in prepared.counts() if part.startswith(modality)]
        if not gone & set(own) and not any(prepared.counts()[part] for part in own):
            notes.append(f"nobody has anything of {modality}: the model is trained without it")
    return [*notes, *unknown_patients(prepared)]


def unknown_patients(prepared: Prepared) -> list[str]:
    """Return a note on patients of whom nothing is known."""
    blank = sum(not one.parts for one in prepared.patients)
    if not blank:
        return []
    return [f"nothing is known of {blank} patients: they get the answer anybody would get"]


def _bag_notes(one: PathologyBags | None) -> list[str]:
    """Return notes of a patient's slides without the slides' names."""
    if one is None:
        return []
    return [_unnamed(note, one.slides) for note in one.notes]


def _lesion_notes(one: PatientLesions | None) -> list[str]:
    """Return notes of a patient's CT without the names of lesions and files, which may name it."""
    if one is None:
        return []
    return [_unnamed(note, (*one.names, *one.sources)) for note in one.notes]


def _unnamed(note: str, names: Sequence[str]) -> str:
    """Leave out which slide or lesion a note begins with, and what stands in brackets behind."""
    head, colon, rest = note.partition(": ")
    if not colon:
        return note
    if any(head == f"lesion {name}" for name in names):
        return f"a lesion: {rest.partition(' (')[0]}"
    file = head in names or ("." in head and " " not in head)
    return rest.partition(" (")[0] if file else note
