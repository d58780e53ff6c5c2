"""Labels of slides or of patients, checked: what every reader of labels returns.

A row is one slide with its patient, or one patient whose slides are found later by their names.
Rows that contradict each other are refused here, with both rows named, because nothing after this
can know which of them is right: one slide with two labels, one patient with two labels, one patient
from two sites, one patient on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from herscope.core.errors import InputError, LeakyFolds

Split = Literal["train", "test"]
PatientLabels = Literal["one", "slide"]

HER2_ORDER: Final = ("0", "1+", "2+", "3+")
KNOWN_ORDERS: Final = (HER2_ORDER, ("0", "low"), ("negative", "positive"))
NAMED: Final = 3
"""Patients or slides named in a message; the others are counted."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One slide, or one patient where ``slide`` is None, with its label.

    Attributes
    ----------
    slide
        Name of the slide without its ending.
    patient, site
        Who, and from which hospital; ``site`` is None where the table does not say.
    label
        One of the table's classes.
    split
        The side the table puts it on, None where it says nothing.
    row
        Row of the source, from 1, header not counted.
    """

    slide: str | None
    patient: str
    site: str | None
    label: str
    split: Split | None
    row: int


@dataclass(frozen=True)
class LabelTable:
    """Labels that do not contradict each other.

    Attributes
    ----------
    rows
        In the order of the source.
    classes
        Those that occur, in order: HER2 scores by degree, numbers by size, else sorted.
    task
        What the labels tell.
    notes
        What was guessed, merged and left out, with counts and reasons.
    source
        Name of the file.
    """

    rows: tuple[LabelRow, ...] = field(repr=False)
    classes: tuple[str, ...]
    task: str
    notes: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def by_patient(self) -> bool:
        """Whether rows are patients, whose slides are found by name."""
        return any(row.slide is None for row in self.rows)

    @property
    def patients(self) -> dict[str, int]:
        """Patients of each class; one with slides of two classes counts in both."""
        held = {(row.patient, row.label) for row in self.rows}
        return {name: sum(label == name for _, label in held) for name in self.classes}

    def check_folds(self, folds: int) -> None:
        """Refuse more folds than the rarest class has patients.

        Raises
        ------
        InputError
            Naming all classes with their patients.
        """
        few = [name for name, count in self.patients.items() if count < folds]
        if few:
            told = ", ".join(f"{name} {count}" for name, count in self.patients.items())
            rest = min(self.patients.values())
            hint = f"use at most {rest} folds" if rest > 1 else "label more patients"
            raise InputError(
                f"{self.source}: class {few[0]!r} has {self.patients[few[0]]} patient(s), "
                f"{folds} folds need at least {folds} (patients by class: {told})",
                hint=f"{hint}, join the class with its neighbour, or choose another task",
            )


def label_table(
    rows: Sequence[LabelRow],
    *,
    task: str,
    source: str,
    notes: Iterable[str] = (),
    patient_labels: PatientLabels = "one",
    least_classes: int = 2,
) -> LabelTable:
    """Check rows against each other and make the table.

    Parameters
    ----------
    rows
        As read; a slide that stands twice with the same label is kept once, and counted.
    task, source, notes
        As in :class:`LabelTable`.
    patient_labels
        ``one``: a patient has one label. ``slide``: slides of a patient may differ.
    least_classes
        1 where a model is only tested.

    Raises
    ------
    InputError
        No row, one class, or rows that contradict each other; both are named.
    LeakyFolds
        A patient stands in train and in test.

    Examples
    --------
    >>> rows = [LabelRow("a", "p", None, "3+", None, 1), LabelRow("b", "q", None, "0", None, 2)]
    >>> label_table(rows, task="classes", source="labels.csv").classes
    ('0', '3+')
    """
    if not rows:
        raise InputError(
            f"{source} gives no label for the task {task}",
            hint="; ".join(notes) or "look at its label column",
        )
    kept, merged = _once(rows, source)
    _one_site(kept, source)
    _one_side(kept, source)
    if patient_labels == "one":
        _one_label(kept, source)
    told = [*notes]
    if merged:
        told.append(f"{merged} row(s) repeat a slide with the same label: kept once")
    classes = in_order({row.label for row in kept})
    if len(classes) < least_classes:
        raise InputError(
            f"{source}: all {len(kept)} rows have the label {classes[0]!r} in the task {task}; "
            "a classifier needs two classes",
            hint="add slides of another class, or choose another task",
        )
    return LabelTable(tuple(kept), classes, task, tuple(told), source)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Put classes in order: HER2 scores by degree, numbers by size, other names sorted.

    Examples
    --------
    >>> in_order({"3+", "0", "1+"}), in_order({"10", "9"}), in_order({"b", "a"})
    (('0', '1+', '3+'), ('9', '10'), ('a', 'b'))
    """
    names = set(labels)
    for order in KNOWN_ORDERS:
        if names <= set(order):
            return tuple(name for name in order if name in names)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def named(names: Iterable[str]) -> str:
    """Name the first of them and count the rest.

    >>> named(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _once(rows: Sequence[LabelRow], source: str) -> tuple[list[LabelRow], int]:
    """Keep each slide, or each patient without slides, once."""
    first: dict[tuple[str, str], LabelRow] = {}
    merged = 0
    for row in rows:
        kind, name = ("patient", row.patient) if row.slide is None else ("slide", row.slide)
        before = first.setdefault((kind, name), row)
        if before is row:
            continue
        for what in ("label", "patient", "site", "split"):
            one, other = getattr(before, what), getattr(row, what)
            if one != other:
                error = LeakyFolds if what == "split" else InputError
                raise error(
                    f"{source}: {kind} {name!r} has the {what} {one!r} in row {before.row} and "
                    f"{other!r} in row {row.row}",
                    hint="correct the table: nothing here can know which is right",
                )
        merged += 1
    return list(first.values()), merged


def _one_site(rows: Sequence[LabelRow], source: str) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        before = first.setdefault(row.patient, row)
        if before.site != row.site:
            raise InputError(
                f"{source}: patient {row.patient!r} is from site {before.site or 'unknown'} in row "
                f"{before.row} and from {row.site or 'unknown'} in row {row.row}",
                hint="if two people share the number, write the site in front of it; else correct "
                "the site, since a patient cannot be kept whole in two sites",
            )


def _one_side(rows: Sequence[LabelRow], source: str) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        before = first.setdefault(row.patient, row)
        if before.split != row.split:
            raise LeakyFolds(
                f"{source}: patient {row.patient!r} is in {before.split or 'no part'} (row "
                f"{before.row}) and in {row.split or 'no part'} (row {row.row}) of the split",
                hint="put all slides of a patient on one side",
            )


def _one_label(rows: Sequence[LabelRow], source: str) -> None:
    first: dict[str, LabelRow] = {}
    differ: dict[str, str] = {}
    for row in rows:
        before = first.setdefault(row.patient, row)
        if before.label != row.label:
            differ.setdefault(
                row.patient,
                f"{row.patient} ({before.label} in row {before.row}, {row.label} in row {row.row})",
            )
    if differ:
        raise InputError(
            f"{source}: {len(differ)} patient(s) have slides with different labels: "
            f"{named(differ.values())}",
            hint="correct them, or let slides of one patient differ with patient labels by slide",
        )
