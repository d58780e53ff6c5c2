"""Checks of what a statistic is given: finite numbers, equal lengths, rows named from 1.

A statistic never drops, fills or guesses a value; what cannot be used is refused with the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.bootstrap import checked_level

Floats = NDArray[np.float64]

LARGEST, SMALLEST = 1e100, 1e-100
"""Magnitudes between which squares and their sums stay finite and do not vanish."""


def numbers(values: ArrayLike, what: str, *, minimum: float | None = None) -> Floats:
    """Return (n,) finite numbers, or name the first row that is not one.

    Parameters
    ----------
    values
        (n,) numbers.
    what
        The column's or reader's name for messages.
    minimum
        Smallest allowed value; None for any.

    Raises
    ------
    InputError
        Text, a missing value, infinity, a value below ``minimum``, or no one-dimensional array.

    Examples
    --------
    >>> numbers([1, 2.5], "reader A")
    array([1. , 2.5])
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(
            f"{what} has the shape {array.shape}", hint="give one column: one value per case"
        )
    if array.dtype.kind not in "biuf":
        array = _from_objects(array, what)
    out = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(out))
    if bad.size:
        said = "missing (NaN)" if np.isnan(out[bad[0]]) else f"{out[bad[0]]:g}"
        raise InputError(
            f"{what}, row {bad[0] + 1}: the value is {said} ({bad.size} such of {out.size})",
            hint="complete the value, or leave the case out (commands: --drop-missing)",
        )
    size = np.abs(out)
    odd = np.flatnonzero((size > LARGEST) | ((size > 0) & (size < SMALLEST)))
    if odd.size:
        raise InputError(
            f"{what}, row {odd[0] + 1}: {out[odd[0]]:g} is no measurement "
            f"(allowed: 0 and sizes from {SMALLEST:g} to {LARGEST:g})",
            hint="correct the value or choose another unit",
        )
    if minimum is not None and out.size and out.min() < minimum:
        row = int(np.argmax(out < minimum))
        raise InputError(
            f"{what}, row {row + 1}: {out[row]:g} is below {minimum:g}",
            hint=f"values of {minimum:g} or more are allowed; correct the row",
        )
    return out


def same_length(**columns: Sequence[object] | NDArray[np.generic]) -> int:
    """Return the common number of rows, or name the columns that differ.

    Examples
    --------
    >>> same_length(time=[1, 2], event=[0, 1])
    2
    """
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(
            f"the columns have different numbers of rows: {listed}",
            hint="every case needs one value in each; match them by id first",
        )
    return next(iter(sizes.values()))


def paired_numbers(
    a: ArrayLike,
    b: ArrayLike,
    statistic: str,
    *,
    needed: int = 1,
    varying: bool = False,
    names: tuple[str, str] = ("reader A", "reader B"),
) -> tuple[Floats, Floats]:
    """Return two columns of numbers of the same cases.

    Parameters
    ----------
    a, b
        (n,) numbers.
    statistic
        What they are for, as it stands in messages: "a correlation".
    needed
        Cases the statistic needs.
    varying
        Refuse a column that holds one and the same value throughout.
    names
        The columns' names for messages.

    Raises
    ------
    InputError
        What :func:`numbers` refuses, or different lengths.
    UndefinedStatistic
        Too few cases, or a constant column where values must vary.

    Examples
    --------
    >>> paired_numbers([1, 2], [3, 4], "a difference")
    (array([1., 2.]), array([3., 4.]))
    """
    columns = numbers(a, names[0]), numbers(b, names[1])
    n = same_length(a=columns[0], b=columns[1])
    at_least(n, needed, statistic)
    for name, values in zip(names, columns, strict=True):
        if varying and np.ptp(values) == 0:
            raise UndefinedStatistic(
                f"{name} gave {values[0]:g} to all {n} cases, so {statistic} is undefined",
                hint="values must differ; report the mean difference instead",
            )
    return columns


def at_least(n: int, needed: int, statistic: str) -> None:
    """Refuse a statistic that needs more cases than there are."""
    if n < needed:
        raise UndefinedStatistic(
            f"{statistic} needs at least {needed} cases, there are {n}", hint="add cases"
        )


def normal_quantile(level: float) -> float:
    """Return z of a two-sided level: 1.96 for 0.95.

    Examples
    --------
    >>> round(normal_quantile(0.95), 4)
    1.96
    """
    return NormalDist().inv_cdf(0.5 + checked_level(level) / 2)


def _from_objects(array: NDArray[np.generic], what: str) -> Floats:
    """Convert cell by cell, so that the first cell that is no number can be named."""
    out = np.full(array.size, np.nan)
    text = []
    for row, value in enumerate(array.tolist()):
        if isinstance(value, (int, float)):
            out[row] = float(value)
        elif value is not None:
            text.append(row)
    if text:
        # A list of numbers and words arrives as words: name the one that is no number.
        row = next((row for row in text if not _reads_as_number(array[row])), text[0])
        raise InputError(
            f"{what}, row {row + 1}: {str(array[row])!r} is not a number",
            hint="numbers are needed here; correct the cell or name another column",
        )
    return out


def _reads_as_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
