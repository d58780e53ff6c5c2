"""Do groups of patients differ: Mann-Whitney, Levene and chi-square.

*Mann-Whitney* U = pairs in which A is larger, ties half (Ann Math Stat 1947;18:50). Up to
:data:`EXACT_UP_TO` cases p is exact, ties included: all ways to deal the midranks to the two groups
are counted. Beyond, the normal approximation with tie and continuity correction.
*Levene* F of an analysis of variance of |x - centre| (Levene 1960), the centre being the median
(Brown and Forsythe, J Am Stat Assoc 1974;69:364; the default, as it bears skewed data) or the mean.
*chi-square* sum (observed - expected)^2 / expected (Pearson 1900), without Yates' correction unless
asked for, which is too cautious; expected counts below 5 are told (Cochran 1954).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import Floats, at_least, numbers, same_length
from herscope.stats.bootstrap import integers
from herscope.stats.estimate import HypothesisTest
from herscope.stats.survival.outcome import Ints

EXACT_UP_TO = 40
"""Cases of both groups together: the number of ways, 1.4e11 at 20 + 20, is exact in 64 bits."""

FEW_EXPECTED = 5.0

Centre = Literal["median", "mean"]


@dataclass(frozen=True, slots=True, eq=False)
class CrossTable:
    """Counts of cases by two labels."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Ints


def mann_whitney(a: ArrayLike, b: ArrayLike) -> HypothesisTest:
    """Test whether values of one group tend to be larger than those of another.

    Parameters
    ----------
    a, b
        (n,) and (m,) numbers of independent cases.

    Returns
    -------
    HypothesisTest
        The statistic is U of ``a``: pairs with a > b, ties half. ``counts`` holds
        ``probability a larger``, U / (n m), 0.5 when neither tends to be larger.

    Raises
    ------
    InputError
        A value is missing or no number.
    UndefinedStatistic
        A group is empty, or all values are equal.

    Notes
    -----
    Oracle: scipy, exact and asymptotic; with ties, all permutations.

    Examples
    --------
    >>> mann_whitney([1, 2, 3], [4, 5, 6]).p_value
    0.1
    """
    x, y = numbers(a, "group A"), numbers(b, "group B")
    for values, what in ((x, "group A"), (y, "group B")):
        at_least(values.size, 1, f"the Mann-Whitney test ({what})")
    n, m = x.size, y.size
    doubled, ties = _doubled_ranks(np.concatenate((x, y)))
    if ties.size == 1:
        raise UndefinedStatistic(
            f"all {n + m} values are {x[0]:g}", hint="groups without any difference need no test"
        )
    u = (int(doubled[:n].sum()) - n * (n + 1)) / 2
    exact = n + m <= EXACT_UP_TO
    p = _exact_p(doubled, n) if exact else _normal_p(u, n, m, ties)
    return HypothesisTest(
        statistic=u,
        p_value=p,
        hypothesis="a value of A is as likely larger than one of B as it is smaller",
        method="Mann-Whitney U 1947, two-sided, "
        + (
            "exact over all ways to deal the midranks"
            if exact
            else "normal approximation with tie and continuity correction"
        ),
        n=n + m,
        counts={
            "n a": n,
            "n b": m,
            "tied values": int(ties[ties > 1].sum()),
            "probability a larger": u / (n * m),
        },
    )


def levene(groups: Mapping[str, ArrayLike], *, centre: Centre = "median") -> HypothesisTest:
    """Test whether groups vary equally much.

    Parameters
    ----------
    groups
        Two or more groups by name, each (n,) numbers of independent cases.
    centre
        ``median`` (Brown-Forsythe) or ``mean`` (Levene).

    Raises
    ------
    InputError
        A value is missing or no number, or there is no such centre.
    UndefinedStatistic
        Fewer than two groups, a group with one case, or no variation at all.

    Notes
    -----
    Oracle: scipy.

    Examples
    --------
    >>> test = levene({"AI": [1, 2, 3, 4], "reader": [0, 5, 10, 20]})
    >>> round(test.statistic, 3), round(test.p_value, 3)
    (4.742, 0.072)
    """
    if centre not in {"median", "mean"}:
        raise InputError(f"there is no centre {centre!r}", hint="allowed: median, mean")
    values = {name: numbers(group, f"group {name}") for name, group in groups.items()}
    at_least(len(values), 2, "Levene's test of groups")
    for name, group in values.items():
        at_least(group.size, 2, f"Levene's test (group {name})")
    middle = np.median if centre == "median" else np.mean
    spread = [np.abs(group - middle(group)) for group in values.values()]
    n, k = sum(group.size for group in spread), len(spread)
    everyone = float(np.concatenate(spread).mean())
    between = sum(group.size * (float(group.mean()) - everyone) ** 2 for group in spread)
    within = sum(float(np.square(group - group.mean()).sum()) for group in spread)
    if within <= 0:
        raise UndefinedStatistic(
            "within each group all cases are equally far from the centre",
            hint="Levene's test needs variation within the groups",
        )
    f = (n - k) / (k - 1) * between / within
    from scipy.special import fdtrc

    author = "Brown-Forsythe 1974" if centre == "median" else "Levene 1960"
    return HypothesisTest(
        statistic=f,
        p_value=float(fdtrc(k - 1, n - k, f)),
        hypothesis="the groups have the same variance",
        method=f"{author}: F({k - 1}, {n - k}) of the distances to each group's {centre}",
        n=n,
        counts={
            "df between": k - 1,
            "df within": n - k,
            **{f"n {name}": group.size for name, group in values.items()},
        },
    )


def chi_square(table: ArrayLike, *, yates: bool = False) -> HypothesisTest:
    """Test whether rows and columns of a table of counts are independent.

    Parameters
    ----------
    table
        (rows, columns) whole numbers of independent cases, two or more of each.
    yates
        Yates' continuity correction, for two rows and two columns only.

    Raises
    ------
    InputError
        No table of counts, or Yates' correction of a larger table.
    UndefinedStatistic
        A row or a column without a case.

    Notes
    -----
    Oracle: scipy.

    Examples
    --------
    >>> test = chi_square([[29, 26], [92, 28]])
    >>> round(test.statistic, 3), round(test.p_value, 4)
    (10.13, 0.0015)
    """
    counts = integers(table, "the cells of the table")
    if counts.ndim != 2 or min(counts.shape) < 2 or counts.min() < 0:
        raise InputError(
            f"the table has the shape {counts.shape} or a negative count",
            hint="give counts of cases, two or more rows and columns",
        )
    if yates and counts.shape != (2, 2):
        raise InputError(
            f"Yates' correction is for 2 x 2 tables, this one is {counts.shape[0]} x "
            f"{counts.shape[1]}",
            hint="leave yates out",
        )
    rows, columns, n = counts.sum(axis=1), counts.sum(axis=0), int(counts.sum())
    if not (rows.all() and columns.all()):
        raise UndefinedStatistic(
            "a row or a column of the table has no case", hint="leave the empty category out"
        )
    expected = np.outer(rows, columns) / n
    distance = np.abs(counts - expected)
    if yates:
        distance -= np.minimum(0.5, distance)
    chi2 = float((distance**2 / expected).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    few = int((expected < FEW_EXPECTED).sum())
    from scipy.special import chdtrc

    method = f"chi-square 1900, {'with' if yates else 'without'} Yates' correction, {df} df"
    if few:
        method += f"; {few} of {counts.size} expected counts are below 5, so p is approximate"
    return HypothesisTest(
        statistic=chi2,
        p_value=float(chdtrc(df, chi2)),
        hypothesis="rows and columns are independent",
        method=method,
        n=n,
        counts={
            "df": df,
            "expected below 5": few,
            "smallest expected": float(expected.min()),
            "Cramer V": float(np.sqrt(chi2 / (n * (min(counts.shape) - 1)))),
        },
    )


def cross_table(rows: Sequence[str], columns: Sequence[str]) -> CrossTable:
    """Count cases by two labels.

    Examples
    --------
    >>> cross_table(["a", "a", "b"], ["x", "y", "y"]).counts.tolist()
    [[1, 1], [0, 1]]
    """
    one, two = clean_labels(list(rows), "rows"), clean_labels(list(columns), "columns")
    same_length(rows=one, columns=two)
    row_names, i = np.unique(np.array(one), return_inverse=True)
    column_names, j = np.unique(np.array(two), return_inverse=True)
    shape = (row_names.size, column_names.size)
    counts = np.bincount(i * shape[1] + j, minlength=shape[0] * shape[1]).reshape(shape)
    return CrossTable(tuple(row_names.tolist()), tuple(column_names.tolist()), counts)


def _doubled_ranks(values: Floats) -> tuple[Ints, Ints]:
    """Return (n,) twice the midranks, which are whole, and how often each value occurs."""
    _, index, ties = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(ties)
    return (2 * last - ties + 1)[index], ties


def _exact_p(doubled: Ints, n: int) -> float:
    """Two-sided p: ways to choose n ranks whose sum is as far from the middle as ours."""
    top = int(np.sort(doubled)[-n:].sum())
    ways = np.zeros((n + 1, top + 1), np.int64)
    ways[0, 0] = 1
    for taken, rank in enumerate(doubled.tolist(), start=1):
        for k in range(min(taken, n), 0, -1):
            ways[k, rank:] += ways[k - 1, : top + 1 - rank]
    middle = n * (doubled.size + 1)  # the mean of the doubled rank sum
    far = abs(int(doubled[:n].sum()) - middle)
    extreme = np.abs(np.arange(top + 1) - middle) >= far
    return int(ways[n, extreme].sum()) / int(ways[n].sum())


def _normal_p(u: float, n: int, m: int, ties: Ints) -> float:
    from scipy.special import ndtr

    size = n + m
    tied = float((ties.astype(np.float64) ** 3 - ties).sum())
    variance = n * m / 12 * (size + 1 - tied / (size * (size - 1)))
    z = max(0.0, abs(u - n * m / 2) - 0.5) / np.sqrt(variance)
    return float(min(1.0, 2 * ndtr(-z)))
