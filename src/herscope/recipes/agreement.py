"""Agreement of readers from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from herscope.core.errors import InputError

if TYPE_CHECKING:
    from herscope.stats.agreement.agreement_report import AgreementReport, AgreementSpec
    from herscope.stats.table import Table

Kind = Literal["auto", "categorical", "continuous"]

WIDEST_SCALE = 10
"""Whole numbers beyond this are measurements (an H-score); up to it they are categories (HER2 0
to 3, Allred 0 to 8)."""

NAMED = 8


def agree(
    table: str | Path,
    readers: Sequence[str],
    *,
    case_id: str | None = None,
    kind: Kind = "auto",
    spec: AgreementSpec | None = None,
    missing: Literal["refuse", "drop", "keep"] = "refuse",
    recode: Mapping[str, str] | None = None,
    out: str | Path | None = None,
) -> AgreementReport:
    """Compare the columns of two or more readers, one row a case.

    Parameters
    ----------
    table
        CSV or Parquet.
    readers
        Their columns, two or more.
    case_id
        Column with the case's name, each in one row only; named in messages.
    kind
        ``categorical``, ``continuous``, or what the values look like.
    spec
        Weights, order, line, level, resamples, seed; the defaults when None.
    missing
        Refuse rows with a missing value, drop them and count them, or keep what was read
        (categories of three or more readers only).
    recode
        Label to the label it means, for readers with different words.
    out
        HTML page to write; none when None.

    Raises
    ------
    InputError, SchemaError
        The table, a column or a value cannot be used; the message names the row.
    UndefinedStatistic
        Nothing can be compared.
    """
    from herscope.stats.agreement.agreement_report import AgreementSpec
    from herscope.stats.agreement.agreement_summary import (
        categorical_agreement,
        continuous_agreement,
    )
    from herscope.stats.table import read_table

    spec = spec or AgreementSpec()
    _check_readers(readers)
    cases = _recoded(read_table(table), readers, recode or {})
    if case_id is not None:
        cases.unique(case_id)
    found, note = _kind(cases, readers, kind)
    if missing == "keep":
        if found == "continuous" or len(readers) < 3:
            raise InputError(
                "cases that a reader left out can be kept only for categories of three or more "
                f"readers, these are {len(readers)} readers of {found} values",
                hint="leave such cases out with --drop-missing",
            )
    else:
        if case_id is not None and missing == "refuse":
            _name_missing(cases, readers, case_id)
        cases = cases.complete(readers, drop_missing=missing == "drop")
    if found == "categorical":
        labels = {name: list(cases.column(name)) for name in readers}
        report = categorical_agreement(labels, spec, left_out=cases.dropped, notes=note)
    else:
        values = {name: cases.numbers(name) for name in readers}
        report = continuous_agreement(values, spec, left_out=cases.dropped, notes=note)
    if out is not None:
        from herscope.report.agreement_page import write_agreement_page

        write_agreement_page(report, out, source=cases.name, seed=spec.seed)
    return report


def _check_readers(readers: Sequence[str]) -> None:
    if len(readers) < 2:
        raise InputError(
            f"{len(readers)} reader column", hint="name two with --a and --b, or --readers A,B,C"
        )
    twice = next((name for name in readers if readers.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"the column {twice!r} is named twice", hint="a reader always agrees with itself"
        )


def _recoded(cases: Table, readers: Sequence[str], recode: Mapping[str, str]) -> Table:
    from dataclasses import replace

    columns = {name: cases.column(name) for name in readers}  # a missing column is named first
    used = {cell for cells in columns.values() for cell in cells}
    unused = [label for label in recode if label not in used]
    if unused:
        raise InputError(
            f"--recode names {unused[0]!r}, which no reader used",
            hint=f"labels in use: {', '.join(sorted(str(c) for c in used if c is not None)[:20])}",
        )
    changed = {
        name: tuple(recode.get(cell, cell) if cell is not None else None for cell in cells)
        for name, cells in columns.items()
    }
    return replace(cases, columns={**cases.columns, **changed})


def _kind(
    cases: Table, readers: Sequence[str], kind: Kind
) -> tuple[Literal["categorical", "continuous"], tuple[str, ...]]:
    from herscope.stats.table import number_of

    if kind != "auto":
        return kind, ()
    cells = [cell for name in readers for cell in cases.column(name) if cell is not None]
    values = [value for cell in cells if (value := number_of(cell)) is not None]
    grades = all(value.is_integer() and abs(value) <= WIDEST_SCALE for value in values)
    text = next((name for name in readers if not cases.is_numeric(name)), None)
    if text is not None and grades:
        return "categorical", (f"read as categories: {text} holds text",)
    if text is not None or not values:
        return "continuous", ()  # a word among measurements is refused with its row
    low, high = min(values), max(values)
    if grades:
        said = f"read as categories: whole numbers from {low:g} to {high:g}"
        return "categorical", (f"{said}; --kind continuous takes them as measurements",)
    return "continuous", (f"read as measurements from {low:g} to {high:g}",)


def _name_missing(cases: Table, readers: Sequence[str], case_id: str) -> None:
    """Refuse readers who read different cases, and name the cases."""
    ids = cases.column(case_id)
    for reader in readers:
        cells = cases.column(reader)
        gaps = [str(name) for name, cell in zip(ids, cells, strict=True) if cell is None]
        if gaps:
            listed = ", ".join(gaps[:NAMED]) + (", ..." if len(gaps) > NAMED else "")
            raise InputError(
                f"{cases.name}: {reader} has not read {len(gaps)} of {len(cases)} cases: {listed}",
                hint="complete the readings, or compare only the cases all have read with "
                "--drop-missing",
            )
