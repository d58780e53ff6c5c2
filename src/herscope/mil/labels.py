"""Read a table of slide labels: which slide, which patient, which class, which side of a split.

Columns are found by their usual names where they are not given, and every such guess is a note in
the result. TCGA's clinical table is recognised by its columns and read by its own rules
(:mod:`herscope.mil.tcga_labels`). A table with patients and no slides is taken as it is: slides are
found later by their names (:mod:`herscope.mil.slide_matching`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from herscope.core.errors import InputError, SchemaError
from herscope.mil.her2_labels import (
    HER2_TASKS,
    TASKS,
    Her2Task,
    Ish,
    her2_class,
    read_ihc,
    read_ish,
)
from herscope.mil.label_table import (
    LabelRow,
    LabelTable,
    PatientLabels,
    Split,
    label_table,
)
from herscope.mil.tcga_labels import is_tcga, tcga_labels
from herscope.slide.find import SUFFIXES
from herscope.stats.table import Table, read_table

_NAMES: Final = {
    "slide": "slide slide_id slide_name slideid filename file_name file image image_id wsi wsi_id",
    "patient": "patient patient_id patientid case case_id pid subject subject_id participant "
    "submitter_id bcr_patient_barcode",
    "site": "site centre center institution hospital tissue_source_site tss",
    "label": "label class target her2 her2_score her2_ihc her2_ihc_score ihc ihc_score her2_status "
    "score",
    "ish": "fish ish fish_status ish_status her2_fish her2_ish her2_fish_status her2_ish_status "
    "amplification",
    "split": "split set subset partition",
}
USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    role: tuple(names.split()) for role, names in _NAMES.items()
}
"""Names a column may have, in the order in which they are looked for; case does not matter."""

SIDES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "train",
    "valid": "train",
    "validation": "train",
    "test": "test",
    "testing": "test",
    "held-out": "test",
    "external": "test",
}
_VALIDATION: Final = frozenset({"val", "valid", "validation"})
FEATURE_SUFFIXES: Final = frozenset({".h5ad", ".h5", ".pt", ".npy", ".npz"})
_BARCODE: Final = re.compile(r"^(TCGA-([A-Z0-9]{2})-[A-Z0-9]{4})-", re.IGNORECASE)


def read_labels(
    path: str | Path,
    *,
    task: str = "classes",
    slide_column: str | None = None,
    patient_column: str | None = None,
    label_column: str | None = None,
    ish_column: str | None = None,
    site_column: str | None = None,
    split_column: str | None = None,
    patient_labels: PatientLabels = "one",
    drop_missing: bool = False,
    least_classes: int = 2,
) -> LabelTable:
    """Read labels from CSV or Parquet.

    Parameters
    ----------
    path
        A row a slide (or a patient), with a header.
    task
        ``classes``: labels as they are; ``her2-four``, ``her2-positive``, ``her2-low-vs-0``: see
        :mod:`herscope.mil.her2_labels`.
    slide_column, patient_column, label_column, ish_column, site_column, split_column
        Names of columns; found by their usual names (:data:`USUAL`) when absent. Without patients,
        each slide is its own patient, or the patient of its TCGA barcode.
    patient_labels
        ``one``: a patient has one label. ``slide``: slides of a patient may differ.
    drop_missing
        Leave rows out, and count them, whose label is missing or cannot be read.
    least_classes
        1 where a model is only tested.

    Raises
    ------
    SchemaError
        A column that was named is not there, or there is neither slide nor patient, or no label.
    InputError
        A task that does not exist, a cell that cannot be read (the row is named), rows that
        contradict each other, one class.
    LeakyFolds
        A patient stands in train and in test.
    """
    if task not in TASKS:
        raise InputError(f"there is no task {task!r}", hint=f"allowed: {', '.join(TASKS)}")
    table = read_table(path)
    given = {
        "slide": slide_column,
        "patient": patient_column,
        "label": label_column,
        "ish": ish_column,
        "site": site_column,
        "split": split_column,
    }
    if is_tcga(table) and not any(given.values()):
        return tcga_labels(table, "her2-four" if task == "classes" else task)
    columns, notes = _columns(table, given, task)
    rows = _rows(table, columns, task, notes, drop_missing=drop_missing)
    return label_table(
        rows,
        task=task,
        source=table.name,
        notes=notes,
        patient_labels=patient_labels,
        least_classes=least_classes,
    )


def slide_name(text: str) -> str:
    """Return a slide's name: no folder, no ending of a slide or feature file.

    Examples
    --------
    >>> slide_name("scans/case-01.svs"), slide_name("TCGA-A1-A0SB-01Z-00-DX1.B34C267B")
    ('case-01', 'TCGA-A1-A0SB-01Z-00-DX1.B34C267B')
    """
    kind = PureWindowsPath if "\\" in text else PurePosixPath
    name = kind(text).name
    ending = PurePosixPath(name).suffix
    return name[: -len(ending)] if ending.lower() in SUFFIXES | FEATURE_SUFFIXES else name


def _columns(
    table: Table, given: Mapping[str, str | None], task: str
) -> tuple[dict[str, str], list[str]]:
    """Find the column of each role; what was guessed is told."""
    columns: dict[str, str] = {}
    guessed: list[str] = []
    plain = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in table.columns}
    for role, name in given.items():
        if name is not None:
            table.column(name)  # refuses a name that is not there
            columns[role] = name
            continue
        if role == "ish" and task in {"classes", "her2-four"}:
            continue
        taken = set(columns.values()) | {other for other in given.values() if other}
        found = [plain[usual] for usual in USUAL[role] if usual in plain]
        found = [column for column in found if column not in taken]
        if found:
            columns[role] = found[0]
            rest = f" (not {', '.join(found[1:])})" if len(found) > 1 else ""
            guessed.append(f"{role}: {found[0]}{rest}")
    missing = "label" if "label" not in columns else ""
    if "slide" not in columns and "patient" not in columns:
        missing = "slide"
    if missing:
        shown = ", ".join(list(table.columns)[:12])
        raise SchemaError(
            f"{table.name} has no column that looks like the {missing} (columns: {shown})",
            hint=f"name it with --{missing}-column, or call it {', '.join(USUAL[missing][:3])}",
        )
    return columns, [f"columns found by name: {'; '.join(guessed)}"] if guessed else []


def _rows(
    table: Table, columns: Mapping[str, str], task: str, notes: list[str], *, drop_missing: bool
) -> list[LabelRow]:
    cells = {role: table.columns[name] for role, name in columns.items()}
    rows: list[LabelRow] = []
    left: Counter[str] = Counter()
    odd = 0
    guessed: Counter[str] = Counter()
    for place, row in enumerate(table.rows):
        at = {role: column[place] for role, column in cells.items()}
        where = f"{table.name}, row {row}"
        slide, patient, site = _who(at, where, guessed)
        label, why, wrong = _label(at, where, columns["label"], task, drop_missing=drop_missing)
        if label is None:
            left[why] += 1
            continue
        odd += wrong
        split = _side(at.get("split"), where, guessed) if "split" in columns else None
        rows.append(LabelRow(slide, patient, site, label, split, row))
    notes += [f"{what}: {count} row(s)" for what, count in guessed.items()]
    notes += [f"left out: {count} x {why}" for why, count in sorted(left.items())]
    if odd:
        notes.append(f"{odd} row(s) whose ISH contradicts IHC 0, 1+ or 3+: kept as IHC says")
    return rows


def _who(
    at: Mapping[str, str | None], where: str, guessed: Counter[str]
) -> tuple[str | None, str, str | None]:
    """Slide, patient and site of a row."""
    if "slide" in at and at["slide"] is None:
        raise InputError(f"{where}: the slide is missing", hint="complete the table")
    slide = slide_name(at["slide"] or "") if "slide" in at else None
    patient = at.get("patient")
    site = at.get("site")
    barcode = _BARCODE.match(f"{slide or patient or ''}-")
    if barcode and site is None and "site" not in at:
        site = barcode[2].upper()
        guessed["site is the tissue source site of the TCGA barcode"] += 1
    if patient is not None:
        return slide, patient, site
    if "patient" in at or slide is None:
        raise InputError(
            f"{where}: the patient is missing",
            hint="complete it: slides of one patient must never be parted",
        )
    if barcode:
        guessed["patient is the first three fields of the TCGA barcode"] += 1
        return slide, barcode[1].upper(), site
    guessed["no patient column, each slide is taken as a patient of its own"] += 1
    return slide, slide, site


def _label(
    at: Mapping[str, str | None], where: str, column: str, task: str, *, drop_missing: bool
) -> tuple[str | None, str, bool]:
    """Class of a row, or why it has none; and whether ISH contradicts IHC."""
    text = at["label"]
    if text is None:
        if drop_missing:
            return None, "the label is missing", False
        raise InputError(
            f"{where}, column {column}: the label is missing",
            hint="complete the table, or leave such rows out with --drop-missing",
        )
    kind = _her2(task)
    if kind is None:
        return text, "", False
    reading, ish = read_ihc(text), at.get("ish")
    known: bool
    result: Ish | None
    known, result = (True, None) if ish is None else read_ish(ish)
    if reading is None or not known:
        if drop_missing:
            return None, "the result cannot be read", False
        what = f"column {column}: {text!r}" if reading is None else f"ISH {ish!r}"
        raise InputError(
            f"{where}, {what} cannot be read as a HER2 result",
            hint="write 0, 1+, 2+ or 3+, positive or negative; for ISH amplified or not "
            "amplified; or leave such rows out with --drop-missing",
        )
    if reading.ish is not None:
        if result is not None and result != reading.ish:
            raise InputError(
                f"{where}: the label says ISH {reading.ish}, the ISH column {result}",
                hint="correct one of them",
            )
        result = reading.ish
    found, why = her2_class(kind, reading.ihc, result)
    if found is None and kind == "her2-four" and not drop_missing:
        raise InputError(
            f"{where}, column {column}: {text!r} is a status, not a score of 0 to 3+",
            hint="use the task her2-positive, name the column with the scores, or leave such rows "
            "out with --drop-missing",
        )
    from_ihc = her2_class("her2-positive", reading.ihc, None)[0]
    return found, why, bool(found and from_ihc and result and from_ihc != result)


def _her2(task: str) -> Her2Task | None:
    return next((known for known in HER2_TASKS if known == task), None)


def _side(text: str | None, where: str, guessed: Counter[str]) -> Split | None:
    if text is None:
        return None
    word = text.lower()
    if word not in SIDES:
        raise InputError(
            f"{where}: {text!r} is no side of a split",
            hint=f"allowed: {', '.join(SIDES)}; rename the column where it is something else",
        )
    if word in _VALIDATION:
        guessed["validation is taken as train: each fold chooses its own"] += 1
    return SIDES[word]
