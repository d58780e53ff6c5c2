"""Encode report tokens: a vector per patient and token without a learnt parameter.

A missing value is a vector of zeros *and* a mark in ``present``, since zeros alone could also be a
value (no metastatic site). Values that cannot be read are errors with row and column, or missing
and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.respond.cohort.token_cells import Unreadable, read_cell
from herscope.respond.cohort.token_sets import TokenDeclaration
from herscope.stats.table import Table


@dataclass(frozen=True, slots=True)
class UnreadCell:
    """A value that no category or bin of its token takes."""

    token: str
    row: int
    column: str
    value: str
    why: str


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of every patient.

    Attributes
    ----------
    names
        (t,) names of the tokens.
    widths
        (t,) numbers in each vector.
    values
        (patients, t, widest) float32; a vector is filled up with zeros behind its width.
    present
        (patients, t) bool; False where the value is missing, and the vector is zero.
    categories
        (t,) what the numbers of each vector stand for.
    unread
        Values that were taken as missing because they cannot be read.
    notes
        What was read otherwise than written, with counts.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    values: NDArray[np.float32]
    present: NDArray[np.bool_]
    categories: tuple[tuple[str, ...], ...]
    unread: tuple[UnreadCell, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> NDArray[np.float32]:
        """Return (patients, width) vectors of one token."""
        if name not in self.names:
            raise InputError(
                f"there is no token {name!r}", hint=nearest(name, list(self.names), shown=12)
            )
        place = self.names.index(name)
        return self.values[:, place, : self.widths[place]]

    def select(self, names: Sequence[str]) -> Tokens:
        """Return some of the tokens, in the order asked for."""
        for name in names:
            self.of(name)
        at = [self.names.index(name) for name in names]
        widest = max((self.widths[i] for i in at), default=0)
        return Tokens(
            tuple(names),
            tuple(self.widths[i] for i in at),
            self.values[:, at, :widest],
            self.present[:, at],
            tuple(self.categories[i] for i in at),
        )

    def flat(self) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Return (patients, sum of widths) all vectors side by side, and the columns' names."""
        columns = [self.values[:, i, :width] for i, width in enumerate(self.widths)]
        names = [
            f"{name}: {category}"
            for name, of in zip(self.names, self.categories, strict=True)
            for category in of
        ]
        if not columns:
            return np.zeros((self.values.shape[0], 0), np.float32), ()
        return np.concatenate(columns, axis=1), tuple(names)

    def missing(self) -> dict[str, int]:
        """Return the patients for whom each token is missing."""
        gaps = (~self.present).sum(axis=0)
        return {name: int(gap) for name, gap in zip(self.names, gaps, strict=True)}


def encode(
    table: Table,
    declared: Sequence[TokenDeclaration],
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    spellings: Mapping[str, Mapping[str, str]] | None = None,
    on_unknown: Literal["error", "missing"] = "error",
) -> Tokens:
    """Encode the tokens of every row of a table.

    Parameters
    ----------
    table
        A row a patient.
    declared
        The tokens, in order.
    columns
        Token to its column or columns. Where a token is not named, its declared column is taken if
        the table has it; a token without a column is missing for everyone.
    spellings
        Token to further spellings: text to category, or to ``missing``.
    on_unknown
        What becomes of a value that cannot be read.

    Raises
    ------
    SchemaError
        A column, token or category that was named does not exist.
    InputError
        A value cannot be read (row, column and value are named).

    Examples
    --------
    >>> from herscope.respond.cohort.token_sets import load_set
    >>> from herscope.stats.table import from_columns
    >>> table = from_columns({"sex": ["male", "F", None], "age": [60, 61, 24]})
    >>> tokens = encode(table, load_set("patient").token[:2])
    >>> tokens.of("sex").tolist(), tokens.present[:, 0].tolist()
    ([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], [True, True, False])
    """
    columns, spellings = dict(columns or {}), dict(spellings or {})
    _check_names(declared, columns, spellings)
    widest = max((token.width for token in declared), default=0)
    values = np.zeros((len(table), len(declared), widest), np.float32)
    present = np.zeros((len(table), len(declared)), np.bool_)
    unread: list[UnreadCell] = []
    counts: Counter[str] = Counter()
    notes: list[str] = []
    for place, token in enumerate(declared):
        used = _columns(table, token, columns.get(token.name))
        if not used:  # missing for everyone, which consistency says
            continue
        cells = [table.column(name) for name in used]
        extra = spellings.get(token.name)
        for at, row in enumerate(table.rows):
            mine = [column[at] for column in cells]
            try:
                read = read_cell(token, mine, extra)
            except Unreadable as error:
                value = "; ".join(cell or "" for cell in mine)
                unread.append(UnreadCell(token.name, row, ", ".join(used), value, str(error)))
                continue
            if read.vector is not None:
                values[at, place, : token.width] = read.vector
                present[at, place] = True
            if read.note:
                counts[f"{token.name}: {read.note}"] += 1
    if unread and on_unknown == "error":
        raise _refusal(table, unread)
    notes += [f"{what} ({count})" for what, count in counts.items()]
    return Tokens(
        tuple(token.name for token in declared),
        tuple(token.width for token in declared),
        values,
        present,
        tuple(token.names for token in declared),
        tuple(unread),
        tuple(notes),
    )


def _columns(
    table: Table, token: TokenDeclaration, named: str | Sequence[str] | None
) -> tuple[str, ...]:
    if named is not None:
        used = (named,) if isinstance(named, str) else tuple(named)
        for name in used:
            table.column(name)
        if len(used) > 1 and (
            token.kind not in {"multi-hot", "fractions"} or len(used) != token.width
        ):
            raise SchemaError(
                f"the token {token.name} ({token.kind} of {token.width}) cannot be filled from "
                f"{len(used)} columns",
                hint="one column, or for multi-hot and fractions one a category",
            )
        return used
    return (token.column,) if token.column is not None and token.column in table.columns else ()


def _check_names(
    declared: Sequence[TokenDeclaration],
    columns: Mapping[str, object],
    spellings: Mapping[str, Mapping[str, str]],
) -> None:
    by_name = {token.name: token for token in declared}
    for name in (*columns, *spellings):
        if name not in by_name:
            raise SchemaError(
                f"no token is called {name!r}", hint=nearest(name, list(by_name), shown=12)
            )
    for name, extra in spellings.items():
        known = [*by_name[name].names, "missing"]
        for text, category in extra.items():
            if category not in known or by_name[name].kind == "bins":
                allowed = ["missing"] if by_name[name].kind == "bins" else known
                if category in allowed:
                    continue
                raise SchemaError(
                    f"the token {name} has no category {category!r} for the spelling {text!r}",
                    hint=nearest(category, allowed, shown=12),
                )


def _refusal(table: Table, unread: Sequence[UnreadCell]) -> InputError:
    first = unread[0]
    more = f" ({len(unread)} such values)" if len(unread) > 1 else ""
    return InputError(
        f"{table.name}, row {first.row}, column {first.column}: {first.value!r} cannot be read as "
        f"{first.token}: {first.why}{more}",
        hint='correct it, add the spelling to [tokens.spellings], or set on_unknown = "missing"',
    )
