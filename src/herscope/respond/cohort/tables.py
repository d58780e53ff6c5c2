"""Read a patient table from CSV, Parquet or Excel, clean what is only spelling, and tell it.

Cleaned, since it changes no meaning: full-width letters, digits and punctuation (``（３＋）``),
blanks at the ends and doubled or unusual ones, invisible characters, and decimals that a binary
number cannot hold (0.55000000000000004). What is missing is spelt as in
:mod:`herscope.stats.table`. Each kind of cleaning but that of blanks is a note with
its count. Nothing else is altered here: a value that cannot be understood is refused by whoever
needs it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.respond.cohort.cohort_spec import TableSpec
from herscope.respond.cohort.xlsx import read_xlsx
from herscope.stats.table import Table, cell_of, number_of, read_table

_WIDE: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: 0x20, 0x3001: 0x2C, 0x3002: 0x2E, 0xFE63: 0x2D, 0x2212: 0x2D
}  # fmt: skip
"""Full-width forms, ideographic blank, comma and stop, small hyphen and minus sign."""

_UNSEEN: Final = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD])
_SMEARED: Final = re.compile(r"^[+-]?\d*\.\d{15,}(?:[eE][+-]?\d+)?$")
_EXCEL: Final = frozenset({".xlsx", ".xlsm"})


def read_tables(
    specs: Sequence[TableSpec], patient: str, folder: Path
) -> tuple[Table, tuple[str, ...]]:
    """Read the tables of a cohort and put them together.

    Parameters
    ----------
    specs
        The first table has the patients. One whose ``adds`` is ``columns`` is matched to them by
        ``patient``; one whose ``adds`` is ``rows`` brings more patients with the same columns.
    patient
        Column of patient ids; in every table.
    folder
        What paths are relative to.

    Returns
    -------
    tuple
        One table, a row a patient where the tables allow it, and notes.

    Raises
    ------
    InputError, SchemaError
        A file, sheet or column cannot be used; a table adds a column that is there already, or
        columns for a patient twice.
    """
    table, notes = read_sheet(folder / specs[0].file, specs[0].sheet)
    _all_named(table, patient)
    said = list(notes)
    for spec in specs[1:]:
        other, notes = read_sheet(folder / spec.file, spec.sheet)
        _all_named(other, patient)
        said += notes
        table, note = (_rows if spec.adds == "rows" else _columns)(table, other, patient)
        said.append(note)
    return table, tuple(said)


def read_sheet(path: str | Path, sheet: str | None = None) -> tuple[Table, tuple[str, ...]]:
    """Read one table and clean its spelling.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt``, ``.parquet`` or ``.xlsx``.
    sheet
        Sheet of an Excel file.

    Raises
    ------
    InputError, SchemaError
        As :func:`~herscope.stats.table.read_table` and
        :func:`~herscope.respond.cohort.xlsx.read_xlsx`; a sheet named for a file that has none.
    """
    path = Path(path)
    notes: tuple[str, ...] = ()
    if path.suffix.lower() == ".xls":
        raise InputError(
            f"{path.name} is an old Excel file", hint="save it as .xlsx or CSV (UTF-8)"
        )
    if path.suffix.lower() in _EXCEL:
        table, notes = read_xlsx(path, sheet)
    elif sheet is not None:
        raise InputError(
            f"{path.name} is no Excel file and has no sheet {sheet!r}", hint="leave sheet out"
        )
    else:
        table = read_table(path)
    cleaned, more = clean(table)
    return cleaned, (*notes, *more)


def clean(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Clean spellings that change no meaning.

    Examples
    --------
    >>> from herscope.stats.table import from_columns
    >>> table, notes = clean(from_columns({"her2（HE）": ["ａｌｌ　３＋", "0.55000000000000004"]}))
    >>> table.columns, notes
    ({'her2(HE)': ('all 3+', '0.55')}, ('table: 2 cell(s) with full-width characters', \
'table: 1 number(s) with digits beyond their precision'))
    """
    counts: Counter[str] = Counter()
    columns: dict[str, tuple[str | None, ...]] = {}
    for name, cells in table.columns.items():
        heading = _cleaned(name, counts) or name
        if heading in columns:
            raise SchemaError(
                f"{table.name} has the column {heading!r} more than once once it is cleaned",
                hint="rename one of them",
            )
        columns[heading] = tuple(_cleaned(cell, counts) for cell in cells)
    notes = tuple(f"{table.name}: {count} {what}" for what, count in sorted(counts.items()))
    return replace(table, columns=columns), notes


def _cleaned(text: str | None, counts: Counter[str]) -> str | None:
    if text is None:
        return None
    narrow = text.translate(_WIDE)
    counts["cell(s) with full-width characters"] += narrow != text
    seen = narrow.translate(_UNSEEN)
    counts["cell(s) with invisible characters"] += seen != narrow
    plain = cell_of(seen)
    if plain is not None and _SMEARED.match(plain):
        number = number_of(plain)
        if number is not None and len(repr(number)) < len(plain):
            counts["number(s) with digits beyond their precision"] += 1
            plain = repr(number)
    for what in [what for what, count in counts.items() if not count]:
        del counts[what]
    return plain


def _all_named(table: Table, patient: str) -> None:
    for row, name in zip(table.rows, table.column(patient), strict=True):
        if name is None:
            raise InputError(
                f"{table.name}, row {row}, column {patient}: the patient is missing",
                hint="complete the id, or delete the row: nobody can say whose values these are",
            )


def _columns(table: Table, other: Table, patient: str) -> tuple[Table, str]:
    both = sorted((set(table.columns) & set(other.columns)) - {patient})
    if both:
        raise SchemaError(
            f"{table.name} and {other.name} both have the column {both[0]!r}",
            hint="rename it in one of them: nothing here can know which is right",
        )
    place = {name: at for at, name in enumerate(other.unique(patient))}
    ids = table.labels(patient)
    known = set(ids)
    strange = [name for name in place if name not in known]
    columns = dict(table.columns)
    for name, cells in other.columns.items():
        if name != patient:
            columns[name] = tuple(cells[place[one]] if one in place else None for one in ids)
    without = sum(one not in place for one in known)
    note = (
        f"{other.name} adds {len(other.columns) - 1} column(s); {without} patient(s) of "
        f"{table.name} are not in it, {len(strange)} of its own are left out"
    )
    return Table(table.name, columns, table.rows, table.dropped), note


def _rows(table: Table, other: Table, patient: str) -> tuple[Table, str]:
    del patient
    odd = sorted(set(table.columns) ^ set(other.columns))
    if odd:
        where = table.name if odd[0] in table.columns else other.name
        missing = other if where == table.name else table
        raise SchemaError(
            f"{other.name} cannot add rows to {table.name}: only {where} has the column {odd[0]!r}",
            hint=nearest(odd[0], list(missing.columns), shown=12),
        )
    columns = {name: cells + other.columns[name] for name, cells in table.columns.items()}
    # Rows of the second file go on counting, so that every row keeps a number of its own.
    start = table.rows[-1]
    rows = table.rows + tuple(start + row for row in other.rows)
    note = f"{other.name} adds {len(other)} row(s), counted from row {start + other.rows[0]} on"
    return Table(f"{table.name} and {other.name}", columns, rows), note
