"""A cohort: who the patients are, what became of them, and what is known of each.

Made from ``cohort.toml`` and the tables it names; files beside them (slides, bags, CT) are found
here and opened by whoever needs them. A modality without a file for a patient is missing for this
patient, which is no error.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.respond.cohort.cohort_spec import CohortSpec, FileSpec
from herscope.respond.cohort.cohort_toml import load_cohort
from herscope.respond.cohort.findings import Finding, Severity, refuse_errors
from herscope.respond.cohort.outcomes import Outcomes, read_outcomes
from herscope.respond.cohort.tables import read_tables
from herscope.respond.cohort.token_sets import TokenSet, load_sets
from herscope.respond.cohort.tokens import Tokens, encode
from herscope.stats.table import Table

MODALITIES: Final = ("slides", "bags", "ct", "ct_mask", "lesions")
SIDES: Final = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_UNSAFE: Final = frozenset("/\\\0")


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort in memory; every sequence is in the order of the table's rows.

    Attributes
    ----------
    spec, folder
        The cohort file and where it lies.
    table
        The cleaned table, text.
    patients
        (n,) ids.
    outcomes
        RECIST, PFS, OS and the response label.
    sets, tokens
        What was declared, and the encoded tokens of all sets in order.
    sites, split
        (n,) hospital and side, None where unknown.
    files
        Modality to (n,) paths of each patient, empty where there are none.
    findings
        What could not be read; see :mod:`herscope.respond.cohort.consistency` for the rest.
    notes
        What was read otherwise than written.
    """

    spec: CohortSpec
    folder: Path
    table: Table
    patients: tuple[str, ...]
    outcomes: Outcomes
    sets: tuple[TokenSet, ...]
    tokens: Tokens
    sites: tuple[str | None, ...]
    split: tuple[str | None, ...]
    files: Mapping[str, tuple[tuple[Path, ...], ...]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) response label: 1, 0, and -1 where there is none."""
        made = [one.label for one in self.outcomes.responses]
        return np.array([-1 if label is None else label for label in made], np.int64)

    def tokens_of(self, modality: str) -> Tokens:
        """Return the tokens of ``pathology``, ``radiology`` or ``patient``."""
        names = [t.name for one in self.sets if one.modality == modality for t in one.token]
        return self.tokens.select(names)


def read_cohort(path: str | Path, *, strict: bool = True) -> Cohort:
    """Read a cohort file and everything it names.

    Parameters
    ----------
    path
        ``cohort.toml``.
    strict
        Refuse values that cannot be read and patients that stand twice. False collects them in
        ``findings``, so that all can be told at once.

    Raises
    ------
    InputError
        A file cannot be read; a value cannot, when strict.
    SchemaError
        The cohort file or a table has not the form it must have; a column does not exist.
    """
    file = Path(path)
    spec = load_cohort(file)
    folder = file.parent
    table, notes = read_tables((spec.table, *spec.more_tables), spec.patient.id, folder)
    patients = tuple(table.labels(spec.patient.id))
    outcomes = read_outcomes(table, patients, spec)
    sets = load_sets(spec.tokens.sets, folder)
    tokens = encode(
        table,
        [token for one in sets for token in one.token],
        columns=spec.tokens.columns,
        spellings=spec.tokens.spellings,
        on_unknown="missing",
    )
    split, odd = _split(table, patients, spec.patient.split)
    files, absent = _files(table, patients, spec, folder)
    findings = (
        *_twice(table, patients),
        *outcomes.findings,
        *_unread(tokens, table, patients, spec),
    )
    findings += (*odd, *absent)
    if strict:
        refuse_errors(findings, table.name)
    return Cohort(
        spec, folder, table, patients, outcomes, sets, tokens, _cells(table, spec.patient.site),
        split, files, findings, (*notes, *tokens.notes),
    )  # fmt: skip


def _cells(table: Table, name: str | None) -> tuple[str | None, ...]:
    return (None,) * len(table) if name is None else table.column(name)


def _twice(table: Table, patients: Sequence[str]) -> list[Finding]:
    rows: dict[str, list[int]] = {}
    for row, patient in zip(table.rows, patients, strict=True):
        rows.setdefault(patient, []).append(row)
    return [
        Finding(
            "error",
            "patient-twice",
            f"patient {patient!r} stands in rows {', '.join(map(str, at))}",
            "keep one row per patient: a patient in two rows would be trained on and tested on",
            at[0],
            patient,
            {"rows": at},
        )
        for patient, at in rows.items()
        if len(at) > 1
    ]


def _unread(
    tokens: Tokens, table: Table, patients: Sequence[str], spec: CohortSpec
) -> list[Finding]:
    who = dict(zip(table.rows, patients, strict=True))
    severity: Severity = "error" if spec.tokens.on_unknown == "error" else "warning"
    return [
        Finding(
            severity,
            "unknown-value",
            f"column {cell.column}: {cell.value!r} cannot be read as {cell.token}: {cell.why}; "
            "taken as missing",
            'correct it, add the spelling to [tokens.spellings], or set on_unknown = "missing"',
            cell.row,
            who[cell.row],
            {"column": cell.column, "value": cell.value, "token": cell.token},
        )
        for cell in tokens.unread
    ]


def _split(
    table: Table, patients: Sequence[str], name: str | None
) -> tuple[tuple[str | None, ...], list[Finding]]:
    sides: list[str | None] = []
    odd: list[Finding] = []
    for row, patient, cell in zip(table.rows, patients, _cells(table, name), strict=True):
        sides.append(None if cell is None else SIDES.get(cell.lower()))
        if cell is not None and sides[-1] is None:
            said = f"column {name}: {cell!r} is no side of a split (train or test)"
            odd.append(Finding("error", "unknown-split", said, "write train or test", row, patient))
    return tuple(sides), odd


def _files(
    table: Table, patients: Sequence[str], spec: CohortSpec, folder: Path
) -> tuple[dict[str, tuple[tuple[Path, ...], ...]], list[Finding]]:
    found: dict[str, tuple[tuple[Path, ...], ...]] = {}
    absent: list[Finding] = []
    for modality in MODALITIES:
        how: FileSpec = getattr(spec.files, modality)
        if how.pattern is not None:
            found[modality] = tuple(_matching(folder, how.pattern, name) for name in patients)
        elif how.column is not None:
            cells = zip(table.rows, patients, table.column(how.column), strict=True)
            listed = [(row, name, _listed(folder, cell)) for row, name, cell in cells]
            absent += [
                _absent(row, name, modality, path)
                for row, name, paths in listed
                for path in paths
                if not path.exists()
            ]
            found[modality] = tuple(tuple(p for p in paths if p.exists()) for _, _, paths in listed)
    return found, absent


def _matching(folder: Path, pattern: str, patient: str) -> tuple[Path, ...]:
    if _UNSAFE & set(patient) or patient in {".", ".."}:
        raise InputError(
            f"patient {patient!r}: an id with a slash cannot be put into the pattern {pattern!r}",
            hint="name the files in a column, or rename the patient",
        )
    whole = glob.escape(str(folder)) + "/" + pattern.replace("{patient}", glob.escape(patient))
    if Path(pattern).is_absolute():
        whole = pattern.replace("{patient}", glob.escape(patient))
    return tuple(Path(name) for name in sorted(glob.glob(whole)))  # noqa: PTH207 - the pattern may be absolute or climb


def _listed(folder: Path, cell: str | None) -> tuple[Path, ...]:
    return tuple(folder / part.strip() for part in (cell or "").split(";") if part.strip())


def _absent(row: int, patient: str, modality: str, path: Path) -> Finding:
    values: dict[str, Any] = {"modality": modality, "path": path.as_posix()}
    return Finding(
        "error",
        "file-absent",
        f"there is no {modality} file {path}",
        "correct the path, or empty the cell if the patient has none",
        row,
        patient,
        values,
    )
