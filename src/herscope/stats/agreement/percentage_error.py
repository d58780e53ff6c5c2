"""Mean percentage error of estimates that may be of nothing, with the zeros told openly.

AutoIHC (2025) judges H-scores by a "mean percentage error" that it does not define. Here

* MAPE: the mean of ``|estimate - truth| / truth`` x 100 over the cases with a truth above 0;
* MPE: the same with its sign, so that over- and underestimates cancel;
* cases with a truth of 0 have no percentage. They are counted, and their mean absolute error is
  given in the unit of the data.

A percentage error is dominated by small truths: an estimate of 30 for an H-score of 10 is 200 %
wrong, one of 280 for 300 is 7 % wrong, and both are 20 points. Read it beside the mean absolute
error.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import paired_numbers
from herscope.stats.bootstrap import checked_level
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.estimate import Estimate
from herscope.stats.group_bootstrap import group_interval


@dataclass(frozen=True, slots=True)
class PercentageError:
    """Errors in per cent of the truth, and what happened where the truth was 0.

    ``absolute`` (MAPE) and ``signed`` (MPE) are None when no truth is above 0; ``at_zero``, the
    mean absolute error where the truth is 0, is None when none is.
    """

    absolute: Estimate | None
    signed: Estimate | None
    at_zero: Estimate | None

    @property
    def zeros(self) -> int:
        """Cases with a truth of 0."""
        return self.at_zero.n if self.at_zero else 0

    def __str__(self) -> str:
        parts = [f"MAPE {self.absolute}", f"MPE {self.signed}"] if self.absolute else []
        if self.at_zero:
            parts.append(f"where the truth is 0: mean absolute error {self.at_zero}")
        return "; ".join(parts)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "absolute_percent": self.absolute.document() if self.absolute else None,
            "signed_percent": self.signed.document() if self.signed else None,
            "zeros": self.zeros,
            "error_at_zero": self.at_zero.document() if self.at_zero else None,
        }


def percentage_error(
    estimates: ArrayLike,
    truth: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> PercentageError:
    """Compare estimates with a truth of 0 or more.

    Parameters
    ----------
    estimates, truth
        (n,) finite numbers of the same cases in the same unit.
    groups
        (n,) slide or patient of each case; the bootstrap draws these. Each case by itself when
        None.
    level, n_resamples, seed
        Two-sided confidence level; resamples and seed of the bootstrap.

    Raises
    ------
    InputError
        Missing values, different lengths, or a truth below 0.
    UndefinedStatistic
        No cases.

    Examples
    --------
    >>> error = percentage_error([110, 180, 20], [100, 200, 0])
    >>> error.absolute.value, error.signed.value, error.zeros, error.at_zero.value
    (10.0, 0.0, 1, 20.0)
    """
    x, y = paired_numbers(
        estimates, truth, "a percentage error", names=("the estimates", "the truth")
    )
    checked_level(level)
    if (y < 0).any():
        raise InputError(
            f"the truth holds {float(y.min()):g}; a percentage of less than 0 has no meaning",
            hint="H-scores, areas and counts are 0 or more",
        )
    of = list(range(y.size)) if groups is None else list(groups)
    if len(of) != y.size:
        raise InputError(f"{y.size} cases and {len(of)} groups, not one each")
    positive, error = y > 0, x - y
    n_zero = int((~positive).sum())
    share = np.full(y.size, np.nan)
    share[positive] = 100 * error[positive] / y[positive]
    left_out = {"truth is 0": n_zero} if n_zero else {}

    def mean_of(values: NDArray[np.float64], which: NDArray[np.bool_], name: str) -> Estimate:
        mine = [group for group, kept in zip(of, which.tolist(), strict=True) if kept]
        kept = values[which]
        low = high = None
        try:
            low, high, _ = group_interval(
                mine,
                lambda rows: float(kept[rows].mean()),
                n_resamples=n_resamples,
                level=level,
                seed=seed,
            )
            what = "cases" if groups is None else "groups"
            name += f"; bootstrap over {what}, {n_resamples} resamples, expanded percentile"
        except UndefinedStatistic:
            name += "; no interval: one group"
        return Estimate(
            float(kept.mean()),
            low,
            high,
            level,
            name,
            int(kept.size),
            {"groups": len(set(mine)), "median": float(np.median(kept))},
            left_out if which is positive else {},
        )

    some = bool(positive.any())
    return PercentageError(
        mean_of(np.abs(share), positive, "mean of |estimate - truth| / truth, in %")
        if some
        else None,
        mean_of(share, positive, "mean of (estimate - truth) / truth, in %") if some else None,
        mean_of(np.abs(error), ~positive, "mean absolute error where the truth is 0")
        if n_zero
        else None,
    )
