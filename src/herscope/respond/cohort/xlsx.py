"""Read one sheet of an Excel file as a table, without a spreadsheet library.

The first row that is not blank is the header. Rows are counted from 1 below it and keep their
number when blank rows lie between them; blank rows and columns at the ends, which spreadsheets
collect, are left out. Both forms of OOXML are read (:mod:`herscope.respond.cohort.ooxml`): the
libraries at hand refuse the strict one, in which published tables are sometimes saved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.respond.cohort.ooxml import Package, attribute, local
from herscope.respond.cohort.xlsx_cells import CellReader, cell_reader
from herscope.stats.table import Table, cell_of

MOST_ROWS: Final = 1 << 20
MOST_COLUMNS: Final = 1 << 14
MOST_CELLS: Final = 4_000_000
"""Limits of the format, and of what a table of patients may be."""

_PLACE: Final = re.compile(r"^([A-Z]{1,3})([1-9][0-9]{0,6})$")


def sheet_names(path: str | Path) -> list[str]:
    """Return the names of the sheets in their order."""
    with Package(path) as package:
        return list(_sheets(package, _workbook(package)))


def read_xlsx(path: str | Path, sheet: str | None = None) -> tuple[Table, tuple[str, ...]]:
    """Read a sheet.

    Parameters
    ----------
    path
        An ``.xlsx`` or ``.xlsm`` file; macros are not looked at.
    sheet
        Name of the sheet; may be left out where there is one.

    Returns
    -------
    tuple
        The table (cells are text, dates ISO) and notes on what was read otherwise than written.

    Raises
    ------
    InputError
        No such file, no such sheet, or several sheets and none named.
    SchemaError
        The file is damaged, too large or no Excel file; no header, a column named twice or not at
        all.
    """
    file = Path(path)
    with Package(file) as package:
        workbook = _workbook(package)
        sheets = _sheets(package, workbook)
        name = _chosen(file.name, sheet, list(sheets))
        reader = cell_reader(package, workbook)
        rows, merged = _rows(package, sheets[name], reader)
    called = file.name if len(sheets) == 1 else f"{file.name}, sheet {name}"
    notes = [f"{called}: {count} {what}" for what, count in reader.told.items()]
    if merged:
        notes.append(f"{called}: {merged} merged range(s); only their first cell has the value")
    return _table(called, rows), tuple(notes)


def _workbook(package: Package) -> str:
    targets = [target for kind, target in package.related("").values() if kind == "officeDocument"]
    found = targets[0] if targets else "xl/workbook.xml"
    if not package.has(found):
        raise SchemaError(
            f"{package.name} is a zip without a workbook, so no Excel file",
            hint="give an .xlsx file, or export the sheet as CSV (UTF-8)",
        )
    return found


def _sheets(package: Package, workbook: str) -> dict[str, str]:
    targets = package.related(workbook)
    sheets: dict[str, str] = {}
    for element in package.elements(workbook, "sheet"):
        relation = next(
            (v for k, v in element.items() if k.startswith("{") and local(k) == "id"), ""
        )
        kind, target = targets.get(relation, ("", ""))
        if kind == "worksheet":
            sheets[attribute(element, "name") or ""] = target
    if not sheets:
        raise SchemaError(f"{package.name} has no sheet with cells", hint="export the table as CSV")
    return sheets


def _chosen(file: str, sheet: str | None, known: list[str]) -> str:
    if sheet is None and len(known) > 1:
        raise InputError(
            f"{file} has {len(known)} sheets: {', '.join(known)}",
            hint='say which: sheet = "..." beside file in cohort.toml',
        )
    if sheet is None:
        return known[0]
    same = {name.strip().lower(): name for name in known}
    if sheet.strip().lower() not in same:
        raise InputError(f"{file} has no sheet {sheet!r}", hint=nearest(sheet, known, shown=12))
    return same[sheet.strip().lower()]


def _rows(package: Package, part: str, reader: CellReader) -> tuple[dict[int, dict[int, str]], int]:
    """Cells that are not blank, by row and column from 1; and the number of merged ranges."""
    rows: dict[int, dict[int, str]] = {}
    merged, row, cells = 0, 0, 0
    for element in package.elements(part, "row", "mergeCell"):
        if local(element.tag) == "mergeCell":
            merged += 1
            continue
        row = _number(element.get("r"), row + 1, package.name)
        column = 0
        for cell in element:
            if local(cell.tag) != "c":
                continue
            column = _column(cell.get("r"), column + 1, package.name)
            said = cell_of(reader.read(cell))
            if said is None:
                continue
            rows.setdefault(row, {})[column] = said
            cells += 1
            if cells > MOST_CELLS:
                raise SchemaError(
                    f"{package.name} has more than {MOST_CELLS:,} cells",
                    hint="a table of patients has fewer; export what is needed as CSV",
                )
    return rows, merged


def _number(said: str | None, following: int, name: str) -> int:
    number = following if said is None else int(said) if said.isdecimal() and len(said) < 9 else 0
    if not 1 <= number <= MOST_ROWS:
        raise SchemaError(f"{name} is damaged: row {said!r}", hint="save it again as .xlsx")
    return number


def _column(said: str | None, following: int, name: str) -> int:
    number = following
    if said is not None:
        place = _PLACE.match(said)
        number = 0
        for letter in place[1] if place else "":
            number = 26 * number + ord(letter) - 64
    if not 1 <= number <= MOST_COLUMNS:
        raise SchemaError(f"{name} is damaged: cell {said!r}", hint="save it again as .xlsx")
    return number


def _table(name: str, rows: dict[int, dict[int, str]]) -> Table:
    if not rows:
        raise SchemaError(f"{name} is empty", hint="name the sheet that holds the table")
    top = min(rows)
    header = rows[top]
    below = [row for row in sorted(rows) if row != top]
    if not below:
        raise SchemaError(
            f"{name} has no rows below its header", hint="give a table with one row per patient"
        )
    for row in below:
        nameless = next((column for column in rows[row] if column not in header), None)
        if nameless is not None:
            raise SchemaError(
                f"{name}, row {row - top}: column {_letters(nameless)} has the value "
                f"{rows[row][nameless]!r} and no heading",
                hint="head the column, or delete what stands beside the table",
            )
    twice = next(_doubled(header), None)
    if twice is not None:
        raise SchemaError(f"{name} has the column {twice!r} more than once", hint="rename one")
    cells = {
        heading: tuple(rows[row].get(column) for row in below)
        for column, heading in sorted(header.items())
    }
    return Table(name, cells, tuple(row - top for row in below))


def _doubled(header: dict[int, str]) -> Iterator[str]:
    seen: set[str] = set()
    for heading in header.values():
        if heading in seen:
            yield heading
        seen.add(heading)


def _letters(column: int) -> str:
    """Name a column as the spreadsheet does.

    >>> _letters(1), _letters(28)
    ('A', 'AB')
    """
    said = ""
    while column:
        column, rest = divmod(column - 1, 26)
        said = chr(65 + rest) + said
    return said
