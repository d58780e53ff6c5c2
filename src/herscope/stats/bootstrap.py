"""Bounds of proportions and ratios from counts: Wilson's score interval and the block bootstrap.

The statistic is a ratio of two linear sums over blocks of cells, ``sum(w_g n_g) / sum(n_g)``: a
percentage or an H-score, depending on the weights. A resample is a vector of block multiplicities,
so all resamples of all statistics come from one product of two matrices of whole numbers.

Bounds are percentiles at levels widened for the number of blocks (the expanded percentile interval,
Hesterberg, arXiv:1411.5279, 2014): a plain percentile interval of few blocks is too narrow, as it
lacks both the factor ``sqrt(B / (B - 1))`` and the t quantile.
"""

from __future__ import annotations

import math
import operator
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic

MAX_WEIGHTS_IN_MEMORY: Final = 4_000_000
"""Block multiplicities held at once: 32 MB as float64, whatever the slide's size."""


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (J Am Stat Assoc 1927;22:209), no correction.

    Parameters
    ----------
    successes, trials
        Whole numbers, ``0 <= successes <= trials``.
    level
        Two-sided confidence level, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper bound, 0 to 1.

    Raises
    ------
    InputError
        When the counts or the level are out of range.
    UndefinedStatistic
        When there are no trials.

    Examples
    --------
    >>> low, high = wilson_interval(81, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    k, n = operator.index(successes), operator.index(trials)
    if n < 0 or not 0 <= k <= n:
        raise InputError(f"{k} successes of {n} trials", hint="0 <= successes <= trials")
    if n == 0:
        raise UndefinedStatistic("a proportion of no trials has no interval")
    z = NormalDist().inv_cdf(0.5 + checked_level(level) / 2)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The algebra gives exactly 0 and 1 at the ends; rounding does not.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def block_bootstrap_ratio(
    counts: ArrayLike,
    weights: ArrayLike,
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 20_260,
) -> tuple[float, float]:
    """Bound ``sum(w_g n_g) / sum(n_g)`` by resampling blocks of cells.

    Parameters
    ----------
    counts
        (blocks, grades) whole numbers of cells. A block without cells is a block like any other; a
        resample that holds no cell at all is left out.
    weights
        (grades,) what a cell of each grade contributes, such as ``(0, 100, 200, 300)``.
    n_resamples, level, seed
        Resamples, two-sided confidence level, seed of the generator.

    Returns
    -------
    tuple of float
        Lower and upper bound, in the unit of the weights.

    Raises
    ------
    InputError
        When the shapes disagree, or counts are negative or not whole numbers.
    UndefinedStatistic
        With fewer than two blocks, or without cells.

    Examples
    --------
    >>> low, high = block_bootstrap_ratio([[8, 2, 0, 0], [5, 5, 0, 0]] * 20, [0, 100, 100, 100])
    >>> low < 35 < high
    True
    """
    table = _count_table(counts)
    weight = grade_weights(weights, table.shape[1])
    if table.shape[0] < 2:
        raise UndefinedStatistic(
            f"{table.shape[0]} block of cells: resampling needs at least two",
            hint="use smaller blocks, or resample cells",
        )
    sums = resampled_sums(table, n_resamples, np.random.Generator(np.random.PCG64(seed)))
    return bounds(sums, weight, expanded_tail(level, table.shape[0]))


def expanded_tail(level: float, units: int) -> float:
    """Tail probability of the expanded percentile interval (Hesterberg 2014).

    Solves ``z(tail') sqrt((n - 1) / n) = t(tail, n - 1)`` for tail', with n resampled units.

    Examples
    --------
    >>> round(expanded_tail(0.95, 1_000_000), 4), round(expanded_tail(0.95, 10), 4)
    (0.025, 0.0086)
    """
    from scipy.special import stdtrit

    tail = (1 - checked_level(level)) / 2
    t = float(stdtrit(units - 1, tail))
    return NormalDist().cdf(t * math.sqrt(units / (units - 1)))


def resampled_sums(
    table: NDArray[np.int64], n_resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return (resamples, grades): cells per grade when (blocks, grades) rows are drawn."""
    # Products and sums of whole numbers below 2**53 are exact in float64, so no BLAS and no thread
    # count can change a bit.
    blocks = table.shape[0]
    if int(table.sum()) * blocks >= 1 << 53:
        raise InputError("more cells than can be counted exactly", hint="check the counts")
    counts = table.astype(np.float64)
    sums = np.empty((n_resamples, table.shape[1]))
    rows = max(1, MAX_WEIGHTS_IN_MEMORY // blocks)
    for start in range(0, n_resamples, rows):
        n = min(rows, n_resamples - start)
        drawn = generator.integers(0, blocks, size=(n, blocks), dtype=np.int32).astype(np.int64)
        drawn += np.arange(n, dtype=np.int64)[:, None] * blocks
        times = np.bincount(drawn.ravel(), minlength=n * blocks).reshape(n, blocks)
        sums[start : start + n] = times.astype(np.float64) @ counts
    return sums


def resampled_cells(
    totals: NDArray[np.int64], n_resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return (resamples, grades) when single cells, not blocks, are drawn with replacement."""
    # Drawing n cells and counting their grades is one multinomial draw over the grades.
    cells = int(totals.sum())
    return generator.multinomial(cells, totals / cells, size=n_resamples).astype(np.float64)


def bounds(
    sums: NDArray[np.float64], weight: NDArray[np.float64], tail: float
) -> tuple[float, float]:
    """Percentiles of the ratio over (resamples, grades) sums, at ``tail`` and ``1 - tail``."""
    # The weighted sum is written out in a fixed order: BLAS may add in any.
    top, cells = np.zeros(sums.shape[0]), np.zeros(sums.shape[0])
    for g in range(weight.size):
        top += sums[:, g] * weight[g]
        cells += sums[:, g]
    filled = cells > 0
    if not filled.any():
        raise UndefinedStatistic("no resample holds a cell", hint="there are no cells to resample")
    low, high = np.quantile(top[filled] / cells[filled], [tail, 1 - tail])
    return float(low), float(high)


def checked_level(level: float) -> float:
    """Return the level, or refuse what is not between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"confidence level is {level!r}", hint="give a number between 0 and 1")
    return level


def integers(values: Any, what: str) -> NDArray[np.int64]:
    """Return the values as 64-bit integers, or refuse what are not whole numbers."""
    array = np.asarray(values)
    if array.size and not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise InputError(
            f"{what} have the type {array.dtype}, whole numbers are needed",
            hint="convert them to integers first",
        )
    return array.astype(np.int64)


def _count_table(counts: ArrayLike) -> NDArray[np.int64]:
    table = integers(counts, "cell counts")
    if table.ndim != 2:
        raise InputError(f"cell counts have the shape {table.shape}", hint="(blocks, grades)")
    if table.size and int(table.min()) < 0:
        raise InputError("cell counts contain a negative number", hint="counts start at 0")
    return table


def grade_weights(weights: ArrayLike, n_grades: int) -> NDArray[np.float64]:
    """Return (grades,) weights, or refuse a wrong number of them."""
    weight = np.asarray(weights, np.float64)
    if weight.shape != (n_grades,) or n_grades == 0 or not np.isfinite(weight).all():
        raise InputError(
            f"weights {np.asarray(weights).tolist()!r} do not fit {n_grades} grades",
            hint="give one finite number per grade",
        )
    return weight
