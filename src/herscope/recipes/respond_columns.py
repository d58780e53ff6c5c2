"""What a cohort's table tells for tests: levels of tokens, numbers, what readers expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from herscope.core.errors import InputError
from herscope.stats.table import number_of

if TYPE_CHECKING:
    from herscope.respond.cohort.cohort import Cohort
    from herscope.respond.cohort.token_sets import TokenDeclaration

TIMES = frozenset({"pathology_time", "radiology_time"})
YES, NO = frozenset({"yes", "true", "response", "responder"}), frozenset({"no", "false"})


def level_columns(cohort: Cohort) -> dict[str, list[str | None]]:
    """Return the level of each patient by token, for tokens that have one level a patient."""
    found: dict[str, list[str | None]] = {}
    for token in _tokens(cohort):
        if token.kind not in {"one-hot", "bins"} or token.name in TIMES:
            continue
        values = cohort.tokens.of(token.name)
        levels = [token.names[int(row.argmax())] if row.any() else None for row in values]
        if len({level for level in levels if level is not None}) > 1:
            found[token.name.replace("_", " ")] = levels
    return found


def number_columns(cohort: Cohort) -> dict[str, list[float | None]]:
    """Return the numbers behind binned tokens, such as TILs and age; dates are left out."""
    found: dict[str, list[float | None]] = {}
    for token in _tokens(cohort):
        named = cohort.spec.tokens.columns.get(token.name, token.column)
        if token.kind != "bins" or token.year or not isinstance(named, str):
            continue
        if named not in cohort.table.columns:
            continue
        cells = [_number(cell) for cell in cohort.table.column(named)]
        if len({cell for cell in cells if cell is not None}) > 1:
            found[token.name.replace("_", " ")] = cells
    return found


def reader_columns(cohort: Cohort) -> dict[str, list[float | None]]:
    """Return what each reader expected: 1 a response, 0 none, or anything between.

    Raises
    ------
    InputError
        A cell is none of these; row and column are named.
    """
    return {name: _reader(cohort, name) for name in cohort.spec.outcome.readers}


def _reader(cohort: Cohort, name: str) -> list[float | None]:
    found: list[float | None] = []
    for row, cell in zip(cohort.table.rows, cohort.table.column(name), strict=True):
        word = "" if cell is None else cell.strip().casefold()
        number = 1.0 if word in YES else 0.0 if word in NO else number_of(word)
        if word and (number is None or not 0.0 <= number <= 1.0):
            raise InputError(
                f"row {row}, column {name}: {cell!r} is no prediction of a reader",
                hint="write 1 or yes for an expected response, 0 or no for none, or a probability",
            )
        found.append(None if not word else number)
    return found


def _tokens(cohort: Cohort) -> list[TokenDeclaration]:
    return [token for one in cohort.sets for token in one.token]


def _number(cell: str | None) -> float | None:
    text = "" if cell is None else cell.strip()
    if text.endswith("%"):
        share = number_of(text[:-1])
        return None if share is None else share / 100
    return number_of(text)
