"""A cut-off on the risk as a user states it: a number, or the median of other patients' risks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from herscope.core.errors import InputError
from herscope.stats.survival.risk_groups import CutOff, median_cut
from herscope.stats.table import number_of, read_table

HINT = "give a number, 'median-of other.csv', or 'median' for the median of these same patients"


def read_cut(
    words: Sequence[str], *, risk: str, subject: Path, drop_missing: bool = False
) -> CutOff | None:
    """Return the cut-off that was asked for; None for ``median``, which needs the patients kept.

    Parameters
    ----------
    words
        ``0.5``; ``median-of FILE ...``; or ``median``.
    risk
        Column of the risk in the other files.
    subject
        The table the cut-off will be applied to; among the other files it is recognised by its
        content, and the cut-off then counts as taken from the same data.
    drop_missing
        Skip patients of the other files without a risk.

    Raises
    ------
    InputError
        The words are none of these, or a file cannot be read as a table.

    Examples
    --------
    >>> print(read_cut(["0.5"], risk="risk", subject=Path("test.csv")))
    0.5 (stated; where it was taken from is not recorded)
    """
    first, *files = words or [""]
    if first == "median" and not files:
        return None
    value = number_of(first)
    if value is not None and not files:
        return CutOff(value, "stated; where it was taken from is not recorded")
    if first != "median-of" or not files:
        raise InputError(f"the cut-off is {' '.join(words)!r}", hint=HINT)
    tables = [read_table(path) for path in files]
    values = [table.complete([risk], drop_missing=drop_missing).numbers(risk) for table in tables]
    mine = _digest(subject)
    same = any(_digest(Path(path)) == mine for path in files)
    named = ", ".join(table.name for table in tables)
    return median_cut(np.concatenate(values), f"column {risk} of {named}", same_data=same)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)
