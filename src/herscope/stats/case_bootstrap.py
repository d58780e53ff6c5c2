"""Bootstrap intervals of any statistic of independent cases: draw cases with replacement.

Bounds are expanded percentiles (Hesterberg, arXiv:1411.5279, 2014), as everywhere in herscope: a
plain percentile interval of few cases is too narrow. A resample in which the statistic is undefined
(all cases alike) is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.bootstrap import expanded_tail

MAX_DRAWS_IN_MEMORY: Final = 2_000_000
"""Drawn case numbers held at once: 16 MB, whatever the number of cases."""

SEED: Final = 20_260
N_RESAMPLES: Final = 2000


class Bootstrapped(NamedTuple):
    """Bounds, and the resamples in which the statistic was undefined."""

    low: float
    high: float
    undefined: int


def bootstrap_interval(
    n: int,
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = SEED,
) -> Bootstrapped:
    """Bound a statistic by drawing cases.

    Parameters
    ----------
    n
        Cases, 2 or more.
    statistic
        Takes (resamples, n) case numbers and returns (resamples,) values, NaN where undefined.
    n_resamples, level, seed
        Resamples from 100, two-sided confidence level, seed of the PCG64 generator.

    Raises
    ------
    InputError
        Too few resamples or a level out of range.
    UndefinedStatistic
        Fewer than two cases, or undefined in more than half of the resamples.

    Examples
    --------
    >>> x = np.arange(50.0)
    >>> bounds = bootstrap_interval(50, lambda rows: x[rows].mean(axis=1))
    >>> bounds.low < 24.5 < bounds.high
    True
    """
    if n_resamples < 100:
        raise InputError(f"{n_resamples} resamples are too few", hint="give 100 or more")
    if n < 2:
        raise UndefinedStatistic(f"a bootstrap of {n} cases has no interval", hint="add cases")
    tail = expanded_tail(level, n)
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = max(1, MAX_DRAWS_IN_MEMORY // n)
    values = np.concatenate(
        [
            statistic(generator.integers(0, n, size=(min(rows, n_resamples - start), n)))
            for start in range(0, n_resamples, rows)
        ]
    )
    defined = values[np.isfinite(values)]
    if 2 * defined.size < n_resamples:
        raise UndefinedStatistic(
            f"the statistic is undefined in {n_resamples - defined.size} of {n_resamples} "
            "resamples",
            hint="too few cases differ; add cases",
        )
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Bootstrapped(float(low), float(high), n_resamples - int(defined.size))
