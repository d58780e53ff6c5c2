"""Bootstrap intervals where cases come in groups: whole slides or patients are drawn.

Patches of one slide are alike, so drawing patches would give intervals that are too narrow (the
cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED, Bootstrapped, bootstrap_interval


def group_interval(
    groups: Sequence[Hashable],
    statistic: Callable[[NDArray[np.int64]], float],
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = SEED,
) -> Bootstrapped:
    """Bound a statistic by drawing groups with replacement.

    Parameters
    ----------
    groups
        (n,) slide or patient of each case.
    statistic
        Takes case numbers, as many as the drawn groups hold, and returns a value; NaN, or
        :class:`UndefinedStatistic`, where it is undefined.
    n_resamples, level, seed
        As for :func:`herscope.stats.case_bootstrap.bootstrap_interval`.

    Raises
    ------
    InputError
        Too few resamples or a level out of range.
    UndefinedStatistic
        Fewer than two groups, or undefined in more than half of the resamples.

    Examples
    --------
    >>> x = np.array([1.0, 1.0, 1.0, 5.0])
    >>> bounds = group_interval(["a", "a", "b", "c"], lambda rows: float(x[rows].mean()))
    >>> bounds.low, bounds.high
    (1.0, 5.0)
    """
    names = sorted(set(groups), key=str)
    members = [
        np.array([i for i, group in enumerate(groups) if group == name], np.int64) for name in names
    ]

    def value(drawn: NDArray[np.int64]) -> float:
        try:
            return statistic(np.concatenate([members[k] for k in drawn.tolist()]))
        except UndefinedStatistic:
            return float("nan")

    return bootstrap_interval(
        len(names),
        lambda draws: np.array([value(one) for one in draws]),
        n_resamples=n_resamples,
        level=level,
        seed=seed,
    )
