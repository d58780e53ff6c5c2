"""Intraclass correlation: the six coefficients of Shrout and Fleiss with their F intervals.

P. E. Shrout and J. L. Fleiss, Psychol Bull 1979;86:420. From the mean squares of n cases by k
readers (between cases MSB, within cases MSW, between readers MSR, residual MSE):

======== ============================== ======================================================
ICC(1,1) each case has other readers     (MSB - MSW) / (MSB + (k-1) MSW)
ICC(2,1) readers are a sample, absolute  (MSB - MSE) / (MSB + (k-1) MSE + k (MSR - MSE) / n)
ICC(3,1) these readers only, consistency (MSB - MSE) / (MSB + (k-1) MSE)
ICC(.,k) the mean of the k readers       the same for the mean of k readings
======== ============================== ======================================================

Intervals are those of the paper: exact F for models 1 and 3, Satterthwaite's approximation for
model 2 (also McGraw and Wong, Psychol Methods 1996;1:30). They assume normal, independent cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import at_least, numbers
from herscope.stats.bootstrap import checked_level
from herscope.stats.estimate import Estimate

Form = Literal["1,1", "2,1", "3,1", "1,k", "2,k", "3,k"]

FORMS: Final[dict[Form, str]] = {
    "1,1": "one reading, each case read by other readers",
    "2,1": "one reading, readers a random sample, absolute agreement",
    "3,1": "one reading, these readers only, consistency",
    "1,k": "mean of the readings, each case read by other readers",
    "2,k": "mean of the readings, readers a random sample, absolute agreement",
    "3,k": "mean of the readings, these readers only, consistency",
}

SHORT: Final = {"1": "one-way", "2": "absolute agreement", "3": "consistency"}


def form_name(form: Form) -> str:
    """Return a short name of a form for tables.

    Examples
    --------
    >>> form_name("2,k")
    'ICC(2,k), absolute agreement, mean of readings'
    """
    return f"ICC({form}), {SHORT[form[0]]}{', mean of readings' if form[2] == 'k' else ''}"


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Two-way analysis of variance of n cases by k readers, one value each."""

    n: int
    k: int
    cases: float
    within: float
    readers: float
    residual: float


class _Bounds(NamedTuple):
    value: float
    low: float | None
    high: float | None


def intraclass_correlation(readers: ArrayLike, form: Form, *, level: float = 0.95) -> Estimate:
    """Compute one intraclass correlation.

    Parameters
    ----------
    readers
        (readers, cases) finite numbers, two readers and two cases at least.
    form
        ``1,1``, ``2,1``, ``3,1``, ``1,k``, ``2,k`` or ``3,k``; ``2,1`` is the usual choice for
        readers who stand for others of their kind.
    level
        Two-sided confidence level.

    Returns
    -------
    Estimate
        At most 1; below 0 when cases differ less than readings of one case do.

    Raises
    ------
    InputError
        Missing values, readers with different cases, an unknown form.
    UndefinedStatistic
        Too few cases or readers, or all values alike.

    Examples
    --------
    >>> ratings = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]
    >>> print(intraclass_correlation(ratings, "2,1"))
    0.290 [0.019, 0.761], n 6
    """
    return icc_of_squares(mean_squares(readers), form, level=level)


def mean_squares(readers: ArrayLike) -> MeanSquares:
    """Split the variance of (readers, cases) numbers into cases, readers and residual.

    Examples
    --------
    >>> mean_squares([[1, 2, 3], [2, 3, 4]])
    MeanSquares(n=3, k=2, cases=2.0, within=0.5, readers=1.5, residual=0.0)
    """
    table = np.asarray(readers)
    if table.ndim != 2:
        raise InputError(
            f"readings have the shape {table.shape}", hint="give (readers, cases), none missing"
        )
    y = np.array([numbers(row, f"reader {i}") for i, row in enumerate(table, start=1)])
    k, n = y.shape
    at_least(k, 2, "an intraclass correlation between readers")
    at_least(n, 2, "an intraclass correlation")
    y = y - y.mean()  # squares of large numbers would cancel
    case, reader = y.mean(axis=0), y.mean(axis=1)
    within = float(((y - case) ** 2).sum())
    between_readers = n * float((reader**2).sum())
    residual = float(((y - case - reader[:, None]) ** 2).sum())
    return MeanSquares(
        n,
        k,
        cases=k * float((case**2).sum()) / (n - 1),
        within=within / (n * (k - 1)),
        readers=between_readers / (k - 1),
        residual=residual / ((n - 1) * (k - 1)),
    )


def icc_of_squares(squares: MeanSquares, form: Form, *, level: float = 0.95) -> Estimate:
    """Turn mean squares into a coefficient; see :func:`intraclass_correlation`."""
    if form not in FORMS:
        raise InputError(f"ICC({form})", hint=f"allowed: {', '.join(FORMS)}")
    checked_level(level)
    if squares.cases + squares.within == 0:
        raise UndefinedStatistic(
            "all readings are alike, so there is no variance to share",
            hint="an intraclass correlation needs cases that differ",
        )
    model = _random_readers if form[0] == "2" else _f_ratio
    single = model(squares, form, (1 - level) / 2)
    value, low, high = single if form[2] == "1" else _of_mean(squares, form, single)
    method = f"ICC({form}), {FORMS[form]} (Shrout and Fleiss 1979)"
    if low is None:
        method += "; no interval: no error variance"
    else:
        method += "; F interval" + (", Satterthwaite degrees of freedom" if form[0] == "2" else "")
    counts = {
        "readers": squares.k,
        "mean_square_cases": squares.cases,
        "mean_square_within": squares.within,
        "mean_square_readers": squares.readers,
        "mean_square_residual": squares.residual,
    }
    return Estimate(value, low, high, level, method, squares.n, counts)


def _f_ratio(squares: MeanSquares, form: str, tail: float) -> _Bounds:
    """ICC(1,1) and ICC(3,1): a monotone function of one F ratio."""
    from scipy.stats import f as f_distribution

    n, k = squares.n, squares.k
    error = squares.within if form[0] == "1" else squares.residual
    df = n * (k - 1) if form[0] == "1" else (n - 1) * (k - 1)
    value = (squares.cases - error) / (squares.cases + (k - 1) * error)
    if _negligible(error, squares):
        return _Bounds(value, None, None)
    ratio = squares.cases / error
    low = ratio / float(f_distribution.isf(tail, n - 1, df))
    high = ratio * float(f_distribution.isf(tail, df, n - 1))
    return _Bounds(value, (low - 1) / (low + k - 1), (high - 1) / (high + k - 1))


def _random_readers(squares: MeanSquares, form: str, tail: float) -> _Bounds:
    """ICC(2,1): Shrout and Fleiss 1979, page 424, with v degrees of freedom."""
    from scipy.stats import f as f_distribution

    del form
    n, k, msb, msr, mse = squares.n, squares.k, squares.cases, squares.readers, squares.residual
    value = (msb - mse) / (msb + (k - 1) * mse + k * (msr - mse) / n)
    if _negligible(mse, squares):
        return _Bounds(value, None, None)
    ratio = msr / mse
    part = n * (1 + (k - 1) * value) - k * value
    top = (k - 1) * (n - 1) * (k * value * ratio + part) ** 2
    df = top / ((n - 1) * k**2 * value**2 * ratio**2 + part**2)
    upper = float(f_distribution.isf(tail, n - 1, df))
    lower = float(f_distribution.isf(tail, df, n - 1))
    rest = k * msr + (k * n - k - n) * mse
    low = n * (msb - upper * mse) / (upper * rest + n * msb)
    high = n * (lower * msb - mse) / (rest + n * lower * msb)
    return _Bounds(value, low, high)


def _of_mean(squares: MeanSquares, form: str, single: _Bounds) -> _Bounds:
    """Coefficient of the mean of k readings: Spearman and Brown's formula, bounds alike."""
    k = squares.k

    def stepped(one: float) -> float:
        denominator = 1 + (k - 1) * one
        return k * one / denominator if denominator > 0 else -np.inf

    value = stepped(single.value)
    if not np.isfinite(value):
        raise UndefinedStatistic(
            f"ICC({form}): the cases do not differ at all on the mean of the readers",
            hint="report the coefficient of one reading",
        )
    if single.low is None or single.high is None:
        return _Bounds(value, None, None)
    return _Bounds(value, stepped(single.low), stepped(single.high))


def _negligible(error: float, squares: MeanSquares) -> bool:
    """Return whether an error variance is nothing but rounding."""
    return error <= 1e-24 * (squares.cases + squares.readers)
