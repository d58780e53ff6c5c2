"""Read a table of cases, one row a case, and refuse what a statistic cannot use.

CSV (comma, semicolon or tab; UTF-8, with or without a byte order mark) and Parquet. Cells stay text
until a statistic asks for numbers, so that a label such as ``1+`` or ``007`` is never altered. Rows
are counted from 1, the header not counted, and keep their number when others are left out. Blank
cells and the spellings in :data:`MISSING` are missing values; rows that have one are refused unless
the caller asks to leave them out, and then they are counted.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError

MISSING: Final = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "-nan", "[not available]", "[not applicable]"}
    | {"[not evaluated]", "[unknown]", "[discrepancy]", "[pending]"}
)
"""Spellings of a missing value, lower case; those in brackets are TCGA's."""

NAMES_SHOWN: Final = 12


@dataclass(frozen=True)
class Table:
    """Columns of text with the row each cell came from.

    Parameters
    ----------
    name
        File name, for messages.
    columns
        Column name to its cells; None is a missing value.
    rows
        (n,) numbers of the rows in the file, from 1, header not counted.
    dropped
        Reason to the number of rows that were left out.
    """

    name: str
    columns: Mapping[str, tuple[str | None, ...]]
    rows: tuple[int, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> tuple[str | None, ...]:
        """Return the cells of a column; :class:`SchemaError` names the nearest one that exists."""
        if name not in self.columns:
            raise SchemaError(
                f"{self.name} has no column {name!r}", hint=_nearest(name, list(self.columns))
            )
        return self.columns[name]

    def labels(self, name: str) -> list[str]:
        """Return the cells of a column as labels.

        Raises
        ------
        SchemaError
            There is no such column.
        InputError
            A value is missing.
        """
        cells = self.column(name)
        out = [cell for cell in cells if cell is not None]
        if len(out) != len(cells):
            self._refuse_missing(name)
        return out

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return the cells of a column as (n,) finite numbers.

        Raises
        ------
        SchemaError
            There is no such column.
        InputError
            A cell is missing, text or infinite; the row is named.
        """
        values = np.empty(len(self))
        for place, cell in enumerate(self.labels(name)):
            number = number_of(cell)
            if number is None:
                raise InputError(
                    f"{self.name}, row {self.rows[place]}, column {name}: {cell!r} is not a number",
                    hint=_why_no_number(cell),
                )
            values[place] = number
        return values

    def is_numeric(self, name: str) -> bool:
        """Return whether every value that is there reads as a number."""
        return all(cell is None or number_of(cell) is not None for cell in self.column(name))

    def complete(self, names: Iterable[str], *, drop_missing: bool = False) -> Table:
        """Return the rows that have a value in all of these columns.

        Parameters
        ----------
        names
            Columns that are needed.
        drop_missing
            Leave rows with a missing value out, and count them, instead of refusing.

        Raises
        ------
        InputError
            A value is missing and ``drop_missing`` is False, or no row is complete.
        """
        needed = list(dict.fromkeys(names))
        gaps = {name: [cell is None for cell in self.column(name)] for name in needed}
        bad = [any(gaps[name][i] for name in needed) for i in range(len(self))]
        if not any(bad):
            return self
        if not drop_missing:
            self._refuse_missing(*needed)
        if all(bad):
            listed = ", ".join(f"{name}: {sum(gap)}" for name, gap in gaps.items())
            raise InputError(
                f"{self.name}: no row has a value in all of {', '.join(needed)} "
                f"(missing of {len(self)}: {listed})",
                hint="name columns that were filled for the same cases",
            )
        return self.where([not b for b in bad], "rows with a missing value")

    def where(self, keep: Sequence[bool], reason: str) -> Table:
        """Return the rows to keep; the others are counted under ``reason``."""
        left = sum(not k for k in keep)
        return Table(
            self.name,
            {
                name: tuple(cell for cell, k in zip(cells, keep, strict=True) if k)
                for name, cells in self.columns.items()
            },
            tuple(row for row, k in zip(self.rows, keep, strict=True) if k),
            {**self.dropped, reason: self.dropped.get(reason, 0) + left} if left else self.dropped,
        )

    def unique(self, name: str) -> list[str]:
        """Return the ids of a column, each of which may stand in one row only.

        Raises
        ------
        InputError
            An id is missing or stands in several rows; the first and its rows are named.
        """
        seen: dict[str, list[int]] = {}
        for row, label in zip(self.rows, self.labels(name), strict=True):
            seen.setdefault(label, []).append(row)
        twice = {label: at for label, at in seen.items() if len(at) > 1}
        if twice:
            label, at = next(iter(twice.items()))
            raise InputError(
                f"{self.name}, column {name}: {label!r} stands in rows "
                f"{', '.join(map(str, at[:5]))} ({len(twice)} ids stand in several rows)",
                hint="cases must be independent: keep one row per case, or leave --id out if the "
                "column is no case id",
            )
        return list(seen)

    def _refuse_missing(self, *names: str) -> None:
        counts = {name: sum(cell is None for cell in self.column(name)) for name in names}
        name = next(name for name, count in counts.items() if count)
        row = self.rows[next(i for i, cell in enumerate(self.column(name)) if cell is None)]
        listed = ", ".join(f"{column} {count}" for column, count in counts.items() if count)
        raise InputError(
            f"{self.name}, row {row}, column {name}: the value is missing "
            f"(missing of {len(self)} rows: {listed})",
            hint="complete the table, or leave such rows out with --drop-missing",
        )


def read_table(path: str | Path) -> Table:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt`` or ``.parquet``.

    Raises
    ------
    InputError
        There is no such file, or it has another ending.
    SchemaError
        It is no table: no header, a column name twice, rows of another width, no rows.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a table", hint="give a .csv or .parquet file")
    if not path.is_file():
        raise InputError(f"there is no file {path}", hint="check the path of the table")
    kind = path.suffix.lower()
    if kind in {".parquet", ".pq"}:
        return _checked(path.name, *_parquet(path))
    if kind in {".csv", ".tsv", ".txt"}:
        return _checked(path.name, *_delimited(path))
    raise InputError(
        f"{path.name} is neither CSV nor Parquet",
        hint="save the sheet as CSV (UTF-8) and give that file",
    )


def from_columns(columns: Mapping[str, Sequence[Any]], name: str = "table") -> Table:
    """Make a table of columns in memory; None, NaN and the spellings of missing are missing.

    Examples
    --------
    >>> table = from_columns({"a": ["1+", "NA", "3+"], "b": [1, 2, None]})
    >>> table.complete(["a", "b"], drop_missing=True).labels("a")
    ['1+']
    """
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) != 1:
        raise InputError(f"{name}: columns of different length", hint="give one value per case")
    cells = {str(key): tuple(cell_of(v) for v in values) for key, values in columns.items()}
    return Table(name, cells, tuple(range(1, lengths.pop() + 1)))


def cell_of(value: Any) -> str | None:
    """Return the text of a cell, None when it is missing; 2.0 from a number column reads ``2``."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = " ".join(str(value).split())
    return None if text.lower() in MISSING else text


def number_of(text: str) -> float | None:
    """Return the finite number a text spells, or None.

    Examples
    --------
    >>> number_of("1e-3"), number_of("1+"), number_of("inf"), number_of("1_0")
    (0.001, None, None, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _checked(name: str, header: list[str], columns: list[tuple[str | None, ...]]) -> Table:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise SchemaError(
            f"{name} has the column {twice[0]!r} more than once", hint="rename one of them"
        )
    rows = len(columns[0]) if columns else 0
    if not rows:
        raise SchemaError(
            f"{name} has no rows below its header", hint="give a table with one row per case"
        )
    return Table(name, dict(zip(header, columns, strict=True)), tuple(range(1, rows + 1)))


def _delimited(path: Path) -> tuple[list[str], list[tuple[str | None, ...]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"{path.name} is not UTF-8 text (byte {error.start})",
            hint="save it as CSV UTF-8; a spreadsheet file must be exported first",
        ) from error
    first = text.partition("\n")[0]
    if not first.strip():
        raise SchemaError(f"{path.name} has no header line", hint="name the columns in line 1")
    mark = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except csv.Error as error:
        raise SchemaError(
            f"{path.name} is no CSV table: {error}", hint="check the quotation marks"
        ) from error
    header = [" ".join(column.split()) for column in lines[0]]
    body = [line for line in lines[1:] if any(cell.strip() for cell in line)]
    for row, line in enumerate(body, start=1):
        if len(line) != len(header):
            raise SchemaError(
                f"{path.name}, row {row}: {len(line)} cells, the header has {len(header)}",
                hint="put text that contains the separator between double quotes",
            )
    return header, [tuple(cell_of(line[i]) for line in body) for i in range(len(header))]


def _parquet(path: Path) -> tuple[list[str], list[tuple[str | None, ...]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(
            f"{path.name} is no readable Parquet file: {error}", hint="write it again"
        ) from error
    flat = [tuple(map(cell_of, column.to_pylist())) for column in table.columns]
    return list(table.column_names), flat


def _nearest(name: str, known: Sequence[str]) -> str:
    lower = {column.lower(): column for column in known}
    close = difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)
    if close:
        return f"nearest: {', '.join(lower[column] for column in close)}"
    shown = ", ".join(known[:NAMES_SHOWN]) + (", ..." if len(known) > NAMES_SHOWN else "")
    return f"columns: {shown}"


def _why_no_number(text: str) -> str:
    if number_of(text.replace(",", ".", 1)) is not None:
        return "write the decimal point as a point: 1.5, not 1,5"
    if number_of(text.rstrip(" %")) is not None:
        return "leave the unit out of the cell"
    return "numbers are needed here; correct the cell or name another column"
