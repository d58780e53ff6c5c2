"""What a classifier's statistics are made from: truths, scores and probabilities, checked.

Every statistic of classification begins here, so that a wrong length, a missing value or a text
where a number belongs is told once and the same way: with its row, 1 being the first case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import Floats, numbers

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

SUM_TOLERANCE: Final = 0.02
"""How far the probabilities of a case may be from 1 in sum: three classes rounded to two digits
already miss it by up to 0.015."""


def checked_probabilities(values: ArrayLike, what: str = "probabilities") -> Floats:
    """Return (cases,) numbers from 0 to 1, or refuse with the row.

    Examples
    --------
    >>> checked_probabilities([0.5, 1.0])
    array([0.5, 1. ])
    """
    array = numbers(values, what)
    odd = np.flatnonzero((array < 0) | (array > 1))
    if odd.size:
        raise InputError(
            f"{what}: row {odd[0] + 1} is {array[odd[0]]:g}, no probability (allowed: 0 to 1)",
            hint="turn percentages or logits into probabilities first",
        )
    return array


def checked_probability_table(
    probabilities: ArrayLike, n_cases: int, classes: Sequence[str]
) -> Floats:
    """Return (cases, classes) probabilities whose rows sum to 1 within :data:`SUM_TOLERANCE`.

    The numbers are used as they are, not rescaled.

    Raises
    ------
    InputError
        For a wrong shape, a number outside 0 to 1, or a row with another sum; the row is named.
    """
    try:
        table = np.asarray(probabilities, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"probabilities hold what is not a number: {error}") from None
    if table.shape != (n_cases, len(classes)):
        raise InputError(
            f"probabilities have the shape {table.shape}, needed: ({n_cases}, {len(classes)})",
            hint="one row per case, one column per class",
        )
    for place, name in enumerate(classes):
        checked_probabilities(table[:, place], f"probability of {name}")
    odd = np.flatnonzero(np.abs(table.sum(axis=1) - 1) > SUM_TOLERANCE)
    if odd.size:
        raise InputError(
            f"the probabilities of row {odd[0] + 1} sum to {table[odd[0]].sum():.4g}, not to 1 "
            f"({odd.size} such rows)",
            hint="give one column per class, after the softmax",
        )
    return table


def checked_flags(positive: Any, n_cases: int | None = None) -> Flags:
    """Return (cases,) booleans from booleans or from 0 and 1.

    Raises
    ------
    InputError
        For other values (the row is named) or another length than ``n_cases``.

    Examples
    --------
    >>> checked_flags([0, 1])
    array([False,  True])
    """
    array = np.asarray(positive)
    if array.ndim != 1:
        raise InputError(f"truth has the shape {array.shape}", hint="give one value per case")
    if array.dtype != np.bool_:
        values = array.tolist()
        row = next((i for i, v in enumerate(values, 1) if isinstance(v, str) or v not in (0, 1)), 0)
        if row:
            raise InputError(
                f"truth of row {row} is {values[row - 1]!r}, needed: true or false, 1 or 0",
                hint="say which class is the positive one",
            )
    if n_cases is not None and array.size != n_cases:
        raise InputError(
            f"{array.size} true values for {n_cases} scores", hint="give one of each per case"
        )
    return array.astype(np.bool_)


def both_sides(positive: Flags, what: str = "an ROC curve") -> tuple[int, int]:
    """Return the numbers of positive and negative cases.

    Raises
    ------
    UndefinedStatistic
        When there is none of either.
    """
    n_positive = int(np.count_nonzero(positive))
    n_negative = positive.size - n_positive
    if n_positive == 0 or n_negative == 0:
        only = "no positive case" if n_positive == 0 else "no negative case"
        raise UndefinedStatistic(
            f"{only} among {positive.size}: {what} needs both",
            hint="check which class is the positive one, or pool more cases",
        )
    return n_positive, n_negative
