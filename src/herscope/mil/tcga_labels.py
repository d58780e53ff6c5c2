"""HER2 labels from TCGA's clinical table of breast cancer, one row a patient.

Columns (TCGA-BRCA clinical supplement): ``her2_ihc_score``, ``her2_status_by_ihc``,
``her2_fish_status``, ``her2_copy_number``, ``her2_cent17_ratio``; missing values are words in
brackets. The rules:

1. The IHC score is the score, where there is one. For ``her2-positive`` a status by IHC (positive,
   negative, equivocal) stands in for a missing score; the other tasks need the score.
2. 2+ and equivocal are settled by the FISH status; where that is absent or undecided, by ratio and
   copy number if both are numbers and the ISH group is 1 (positive) or 5 (negative).
3. Where there is neither score nor usable status, FISH alone decides ``her2-positive``.
4. A score whose status or FISH says otherwise is a contradiction. It is kept as scored, counted and
   told; ``contradictions="drop"`` leaves it out.

The site is the tissue source site, the second field of the barcode. It tells where tissue came
from, so site-preserving folds can be made. The labels were written by the laboratories of the time
(before 2013), under other guidelines than today's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from herscope.core.errors import InputError, SchemaError
from herscope.guidelines.ish import ish_group
from herscope.mil.her2_labels import (
    HER2_TASKS,
    Her2Task,
    Ihc,
    Ish,
    disagree,
    her2_class,
    read_ihc,
    read_ish,
)
from herscope.mil.label_table import LabelRow, LabelTable, label_table
from herscope.stats.table import Table, number_of, read_table

BARCODE: Final = "bcr_patient_barcode"
SCORE: Final = "her2_ihc_score"
STATUS: Final = "her2_status_by_ihc"
FISH: Final = "her2_fish_status"
COPIES: Final = "her2_copy_number"
RATIO: Final = "her2_cent17_ratio"
NEEDED: Final = (BARCODE, SCORE, STATUS, FISH)

Contradictions = Literal["keep", "drop"]
_BY_GROUP: Final[dict[int, Ish]] = {1: "positive", 5: "negative"}
_STATUS_OF: Final = {"0": "negative", "1+": "negative", "2+": "equivocal", "3+": "positive"}


def is_tcga(table: Table) -> bool:
    """Whether a table has the columns of TCGA's clinical supplement."""
    return BARCODE in table.columns and SCORE in table.columns


def read_tcga(
    path: str | Path, task: str = "her2-four", *, contradictions: Contradictions = "keep"
) -> LabelTable:
    """Read HER2 labels of TCGA patients; slides are found later by barcode.

    Parameters
    ----------
    path
        CSV or Parquet with the columns named above.
    task
        ``her2-four``, ``her2-positive`` or ``her2-low-vs-0``.
    contradictions
        ``keep`` patients whose score and status, or score and FISH, disagree, as scored; or
        ``drop`` them.

    Raises
    ------
    InputError
        Another task, a barcode that is none, a value that cannot be read (the row is named).
    SchemaError
        A column is missing.
    """
    return tcga_labels(read_table(path), task, contradictions=contradictions)


def tcga_labels(
    table: Table, task: str = "her2-four", *, contradictions: Contradictions = "keep"
) -> LabelTable:
    """Make the labels of a table that is read already; see :func:`read_tcga`."""
    kind = _task_of(table, task)
    if contradictions not in {"keep", "drop"}:
        raise InputError(f"contradictions is {contradictions!r}", hint="allowed: keep, drop")
    rows: list[LabelRow] = []
    left, odd, settled, by = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for place, patient in enumerate(_barcodes(table)):
        score, status = (_read_ihc(table, place, name, patient) for name in (SCORE, STATUS))
        fish = _read_fish(table, place, patient)
        counted = None if fish else _by_counts(table, place)
        how = "FISH ratio and copy number" if counted else "FISH status"
        ihc = score or (status if kind == "her2-positive" else None)
        label, why = _decide(kind, ihc, fish or counted, how, settled)
        wrong = _contradiction(score, status, fish) if ihc else ""
        if wrong and label is not None:
            odd[wrong] += 1
            if contradictions == "drop":
                label, why = None, f"contradiction, {wrong}"
        if label is None:
            left[why] += 1
            continue
        by["score" if score else "status" if status else "FISH alone"] += 1
        site = patient.split("-")[1]
        rows.append(LabelRow(None, patient, site, label, None, table.rows[place]))
    notes = [f"{len(table)} patients of TCGA, {len(rows)} labelled, site = tissue source site"]
    if set(by) - {"score"}:
        notes.append("labelled by " + _listed(by))
    notes += [f"left out: {count} x {why}" for why, count in sorted(left.items())]
    if settled:
        notes.append("2+ or equivocal settled by " + _listed(settled))
    if odd and contradictions == "keep":
        notes.append(f"{odd.total()} contradictions kept as scored: {_listed(odd)}")
    return label_table(rows, task=task, source=table.name, notes=notes)


def _task_of(table: Table, task: str) -> Her2Task:
    lacks = [name for name in NEEDED if name not in table.columns]
    if lacks:
        raise SchemaError(
            f"{table.name} lacks the column {lacks[0]!r} of TCGA's clinical table",
            hint=f"needed: {', '.join(NEEDED)}",
        )
    for known in HER2_TASKS:
        if task == known:
            return known
    raise InputError(
        f"{table.name} is TCGA's clinical table; it has no task {task!r}",
        hint=f"allowed: {', '.join(HER2_TASKS)}",
    )


def _barcodes(table: Table) -> Iterator[str]:
    for row, text in zip(table.rows, table.unique(BARCODE), strict=True):
        parts = text.upper().split("-")
        if len(parts) < 3 or parts[0] != "TCGA" or not all(parts):
            raise InputError(
                f"{table.name}, row {row}: {text!r} is no TCGA barcode",
                hint="such as TCGA-A1-A0SB; for other patients name the columns yourself",
            )
        yield "-".join(parts[:3])


def _read_ihc(table: Table, place: int, name: str, patient: str) -> Ihc | None:
    """Return a score or status, None where it is missing or undecided."""
    cell = table.columns[name][place]
    if cell is None or cell.lower() == "indeterminate":
        return None
    reading = read_ihc(cell)
    allowed = _STATUS_OF if name == SCORE else {"negative", "positive", "equivocal"}
    if reading is None or reading.ihc not in allowed:
        raise _unreadable(table, place, name, patient)
    return reading.ihc


def _read_fish(table: Table, place: int, patient: str) -> Ish | None:
    cell = table.columns[FISH][place]
    known, ish = (True, None) if cell is None else read_ish(cell)
    if not known:
        raise _unreadable(table, place, FISH, patient)
    return ish


def _unreadable(table: Table, place: int, name: str, patient: str) -> InputError:
    return InputError(
        f"{table.name}, row {table.rows[place]}, patient {patient}, column {name}: "
        f"{table.columns[name][place]!r} cannot be read",
        hint="write 0, 1+, 2+ or 3+ for a score; positive, negative or equivocal for a status; "
        "[Not Available] where nothing is known",
    )


def _decide(
    task: Her2Task, ihc: Ihc | None, ish: Ish | None, how: str, settled: Counter[str]
) -> tuple[str | None, str]:
    if ihc is None:
        if task != "her2-positive":
            return None, "no IHC score"
        return (ish, "") if ish else (None, "neither score nor status nor FISH")
    if task != "her2-four" and ihc in {"2+", "equivocal"} and ish is not None:
        settled[how] += 1
    return her2_class(task, ihc, ish)


def _by_counts(table: Table, place: int) -> Ish | None:
    cells = [
        table.columns[name][place] if name in table.columns else None for name in (RATIO, COPIES)
    ]
    ratio, copies = (None if cell is None else number_of(cell) for cell in cells)
    if ratio is None or copies is None or min(ratio, copies) < 0:
        return None
    return _BY_GROUP.get(ish_group(ratio, copies))


def _contradiction(score: Ihc | None, status: Ihc | None, fish: Ish | None) -> str:
    if score is None:
        return f"status {status} with FISH {fish}" if status and disagree(status, fish) else ""
    # A 2+ that FISH settled may well be called positive or negative: the status is then final.
    final = score == "2+" and status == fish and fish is not None
    if status is not None and status != _STATUS_OF[score] and not final:
        return f"score {score} with status {status}"
    return f"score {score} with FISH {fish}" if disagree(score, fish) else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{why} {count}" for why, count in sorted(counts.items()))
