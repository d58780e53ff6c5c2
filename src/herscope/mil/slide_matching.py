"""Put labels and slides together by name, and say which have no partner.

Exact names come first, then names without folders and endings. A table of patients takes every
slide whose name is the patient's, or begins with it and goes on with a sign that is no letter or
digit (``TCGA-A1-A0SB`` takes ``TCGA-A1-A0SB-01Z-00-DX1.B34C267B``). A slide of the table takes a
file whose name goes on after a point, as TCGA's do. One file for two labels, or two for one slide,
is an error: a wrong pair would be a wrong label that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from herscope.core.errors import InputError
from herscope.mil.label_table import LabelRow, LabelTable, Split, in_order, named
from herscope.mil.labels import slide_name

_FROZEN: Final = re.compile(r"^TCGA-\w{2}-\w{4}-\d{2}[A-Z]-\d{2}-[TMB]S", re.IGNORECASE)
"""TCGA's frozen sections: top, middle and bottom slide; DX are the diagnostic ones."""


@dataclass(frozen=True, slots=True)
class LabelledSlide:
    """A slide that is there, with its label."""

    slide: str
    path: Path
    patient: str
    site: str | None
    label: str
    split: Split | None


@dataclass(frozen=True)
class Matched:
    """Slides with labels, and what was left over on either side.

    Attributes
    ----------
    slides
        Sorted by name.
    classes
        Those that occur among them, in the order of the labels.
    unlabelled
        Slides without a label.
    missing
        Labels without a slide: names of slides, or of patients.
    notes
        The same in words, after those of the labels.
    """

    slides: tuple[LabelledSlide, ...] = field(repr=False)
    classes: tuple[str, ...]
    unlabelled: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.slides)


def match(labels: LabelTable, slides: Mapping[str, Path], *, least_classes: int = 2) -> Matched:
    """Find the slides of the labels.

    Parameters
    ----------
    labels
        By slide or by patient.
    slides
        Name to path, as ``find_features`` or ``slide_names`` give them.
    least_classes
        1 where a model is only tested.

    Raises
    ------
    InputError
        No label has a slide (three names of each side are shown), one of them has two, two labels
        have the same one, or all slides found are of one class.

    Examples
    --------
    >>> from herscope.mil.label_table import label_table
    >>> rows = [LabelRow(None, p, None, c, None, n) for n, (p, c) in enumerate(["A0", "B1"], 1)]
    >>> table = label_table(rows, task="classes", source="labels.csv")
    >>> found = match(table, {"A-1": Path("A-1.h5ad"), "A-2": Path("A-2.h5ad"), "B": Path("B.pt")})
    >>> [(s.slide, s.label) for s in found.slides]
    [('A-1', '0'), ('A-2', '0'), ('B', '1')]
    """
    if not slides:
        raise InputError("there are no slides to match", hint="embed them first: herscope embed")
    by_name = _plain_names(slides)
    chosen: dict[str, LabelRow] = {}
    missing: list[str] = []
    for row in labels.rows:
        own = row.slide or row.patient
        names = _of_slide(row, by_name) if row.slide is not None else _of_patient(row, by_name)
        if not names:
            missing.append(own)
        for name in names:
            before = chosen.setdefault(name, row)
            if before is not row:
                raise InputError(
                    f"slide {name!r} fits {before.slide or before.patient!r} (row {before.row}) "
                    f"and {own!r} (row {row.row}) of {labels.source}",
                    hint="give a table with a row a slide and its full name",
                )
    if not chosen:
        raise InputError(
            f"none of {len(labels)} labels in {labels.source} has a slide; labels: "
            f"{named(row.slide or row.patient for row in labels.rows)}; slides: "
            f"{named(sorted(slides))}",
            hint="slides are matched by file name without its ending, or by a patient's number at "
            "its start",
        )
    unlabelled = sorted(set(slides) - set(chosen))
    found = tuple(
        LabelledSlide(name, slides[name], row.patient, row.site, row.label, row.split)
        for name, row in sorted(chosen.items())
    )
    classes = tuple(c for c in in_order(labels.classes) if any(s.label == c for s in found))
    if len(classes) < least_classes:
        raise InputError(
            f"all {len(found)} slides that have a label are of class {classes[0]!r}; "
            f"{len(missing)} labels have no slide: {named(missing)}",
            hint="embed slides of the other classes as well",
        )
    notes = (*labels.notes, *_told(labels, found, unlabelled, missing))
    return Matched(found, classes, tuple(unlabelled), tuple(missing), notes)


def _plain_names(slides: Iterable[str]) -> dict[str, list[str]]:
    """Slides by their name without ending; usually each has its own."""
    plain: dict[str, list[str]] = {}
    for name in sorted(slides):
        plain.setdefault(slide_name(name), []).append(name)
    return plain


def _of_slide(row: LabelRow, by_name: Mapping[str, Sequence[str]]) -> Sequence[str]:
    own = row.slide or ""
    exact = by_name.get(own, ())
    found = exact or [
        name for plain, names in by_name.items() if plain.startswith(f"{own}.") for name in names
    ]
    if len(found) > 1:
        raise InputError(
            f"label {own!r} (row {row.row}) fits {len(found)} slides: {named(found)}",
            hint="write the full name of the slide into the table",
        )
    return found


def _of_patient(row: LabelRow, by_name: Mapping[str, Sequence[str]]) -> list[str]:
    own = row.patient.lower()
    return [
        name
        for plain, names in by_name.items()
        if plain.lower() == own or (plain.lower().startswith(own) and not plain[len(own)].isalnum())
        for name in names
    ]


def _told(
    labels: LabelTable,
    found: Sequence[LabelledSlide],
    unlabelled: Sequence[str],
    missing: Sequence[str],
) -> list[str]:
    patients = len({slide.patient for slide in found})
    notes = [f"{len(found)} slides of {patients} patients have a label"]
    if unlabelled:
        notes.append(f"{len(unlabelled)} slides without a label are left out: {named(unlabelled)}")
    if missing:
        notes.append(f"{len(missing)} labels without a slide: {named(missing)}")
    gone = [c for c in labels.classes if all(s.label != c for s in found)]
    if gone:
        notes.append(f"no slide is left of class {', '.join(gone)}")
    frozen = sum(bool(_FROZEN.match(slide.slide)) for slide in found)
    if frozen:
        notes.append(f"{frozen} of them are TCGA's frozen sections (TS, MS, BS), not diagnostic")
    return notes
