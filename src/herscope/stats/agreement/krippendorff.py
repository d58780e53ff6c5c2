"""Krippendorff's alpha for any number of readers, missing values, and four kinds of measurement.

``alpha = 1 - D_o / D_e``, observed over expected disagreement (K. Krippendorff, Computing
Krippendorff's Alpha-Reliability, 2011). Values are paired within each unit; a unit of m values
weighs its pairs by 1 / (m - 1), and units with fewer than two values are left out. The squared
difference of two values is, by kind: nominal 0 or 1; ordinal the ratings lying between them in the
pooled data, which equals the difference of their mid-ranks; interval the difference; ratio the
difference over the sum.

Where we depart: the interval comes from drawing units with replacement (all of D_o and D_e are made
anew). The algorithm of Hayes and Krippendorff (2007) keeps D_e fixed and draws single deviations,
which treats the pairs of one unit as independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import Label, find_scale
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED, bootstrap_interval
from herscope.stats.estimate import Estimate

Measurement = Literal["nominal", "ordinal", "interval", "ratio"]


@dataclass(frozen=True, slots=True)
class Units:
    """Values per unit: ``code`` is (units, readers), the place in ``values``, -1 where missing."""

    values: NDArray[np.float64]
    code: NDArray[np.int64]
    left_out: int


def krippendorff_alpha(
    readers: ArrayLike,
    *,
    measurement: Measurement,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Compare readers whose values are numbers.

    Parameters
    ----------
    readers
        (readers, units) numbers, NaN where a reader gave none.
    measurement
        ``nominal``, ``ordinal``, ``interval`` or ``ratio`` (not below 0).
    level, n_resamples, seed
        Two-sided confidence level; resamples and seed of the bootstrap over units.

    Returns
    -------
    Estimate
        Alpha, at most 1; 0 is chance.

    Raises
    ------
    InputError
        Not a (readers, units) table of numbers, or a negative value on a ratio scale.
    UndefinedStatistic
        No unit has two values, or all values are alike.

    Examples
    --------
    >>> round(krippendorff_alpha([[1, 2, 3, 3], [1, 2, 3, 2]], measurement="nominal").value, 4)
    0.6667
    """
    table = np.asarray(readers, np.float64)
    if table.ndim != 2 or table.shape[0] < 2:
        raise InputError(
            f"readings have the shape {table.shape}", hint="give (readers, units), two readers"
        )
    if np.isinf(table).any():
        raise InputError("a reading is infinite", hint="use NaN for missing readings")
    if measurement not in {"nominal", "ordinal", "interval", "ratio"}:
        raise InputError(
            f"measurement {measurement!r}", hint="allowed: nominal, ordinal, interval, ratio"
        )
    if measurement == "ratio" and np.nanmin(table, initial=0.0) < 0:
        reader, unit = np.argwhere(table < 0)[0]
        raise InputError(
            f"reader {reader + 1}, row {unit + 1}: {table[reader, unit]:g} on a ratio scale",
            hint="a ratio scale starts at 0; use measurement 'interval'",
        )
    units = _collect(table)
    value = float(_alpha(units.code[None], units.values, measurement)[0])
    if np.isnan(value):
        raise UndefinedStatistic(
            f"all {int((units.code >= 0).sum())} values are alike, so alpha is 0/0",
            hint="alpha needs units that differ; report the overall agreement",
        )
    method = f"Krippendorff's alpha, {measurement} (2011)"
    n = units.code.shape[0]
    low = high = None
    undefined = 0
    if value < 1.0 and n > 1:
        low, high, undefined = bootstrap_interval(
            n,
            lambda rows: _alpha(units.code[rows], units.values, measurement),
            n_resamples=n_resamples,
            level=level,
            seed=seed,
        )
        method += f"; bootstrap over units, {n_resamples} resamples, expanded percentile"
    else:
        method += "; no interval: the readers never differ, or there is one unit"
    counts = {
        "pairable_values": int((units.code >= 0).sum()),
        "distinct_values": int(units.values.size),
        "undefined_resamples": undefined,
    }
    left_out = {"units with fewer than two values": units.left_out} if units.left_out else {}
    return Estimate(value, low, high, level, method, n, counts, left_out)


def krippendorff_alpha_of_labels(
    readers: Sequence[Sequence[Label | None]],
    *,
    measurement: Literal["nominal", "ordinal"],
    order: Sequence[Label] | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Compare readers who gave labels; see :func:`krippendorff_alpha`.

    Raises
    ------
    InputError
        ``ordinal`` was asked for and the labels have no known order.

    Examples
    --------
    >>> readers = [["0", "1+", "3+", None], ["0", "2+", "3+", "0"]]
    >>> krippendorff_alpha_of_labels(readers, measurement="ordinal").n
    3
    """
    given = [label for labels in readers for label in labels if label is not None]
    scale = find_scale(given, order)
    if measurement == "ordinal" and not scale.ordered:
        raise InputError(
            f"the categories {scale} have no known order",
            hint="state the order from lowest to highest, or use measurement 'nominal'",
        )
    place = {name: float(k) for k, name in enumerate(scale.names)}
    return krippendorff_alpha(
        [[np.nan if x is None else place[str(x)] for x in labels] for labels in readers],
        measurement=measurement,
        level=level,
        n_resamples=n_resamples,
        seed=seed,
    )


def _collect(table: NDArray[np.float64]) -> Units:
    columns = table.T
    pairable = np.count_nonzero(~np.isnan(columns), axis=1) >= 2
    kept = columns[pairable]
    if not kept.size:
        raise UndefinedStatistic(
            "no unit has two values, so nothing can be compared",
            hint="every reader's column must be filled for the same cases",
        )
    there = ~np.isnan(kept)
    values, index = np.unique(kept[there], return_inverse=True)
    code = np.full(kept.shape, -1, np.int64)
    code[there] = index
    return Units(values, code, int(np.count_nonzero(~pairable)))


def _alpha(
    code: NDArray[np.int64], values: NDArray[np.float64], measurement: Measurement
) -> NDArray[np.float64]:
    """Alpha of each resample: (resamples, units, readers) codes -> (resamples,), NaN if 0/0."""
    there = code >= 0
    resamples, distinct = code.shape[0], values.size
    # (resamples, distinct): how often each value occurs, missing ones counted in a spare place
    shifted = code.reshape(resamples, -1) + 1 + np.arange(resamples)[:, None] * (distinct + 1)
    tally = np.bincount(shifted.ravel(), minlength=resamples * (distinct + 1))
    times = tally.reshape(resamples, distinct + 1)[:, 1:].astype(np.float64)
    total = times.sum(axis=1)
    weight = 1.0 / (there.sum(axis=2) - 1)  # (resamples, units)
    if measurement in {"ordinal", "interval"}:
        points = np.broadcast_to(values, times.shape)
        if measurement == "ordinal":
            points = np.cumsum(times, axis=1) - times / 2  # mid-ranks in the pooled data
        # Taken from the middle, so that squares of large numbers do not cancel.
        points = points - (times * points).sum(axis=1, keepdims=True) / total[:, None]
        expected = 2.0 * total * (times * points**2).sum(axis=1)
        rows = np.arange(resamples)[:, None, None]
        own = np.where(there, points[rows, np.maximum(code, 0)], 0.0)
        m = there.sum(axis=2)
        within = 2.0 * (m * (own**2).sum(axis=2) - own.sum(axis=2) ** 2)
        observed = (np.maximum(within, 0.0) * weight).sum(axis=1)
    else:
        apart = _distance(values, measurement)
        expected = ((times @ apart) * times).sum(axis=1)
        observed = np.zeros(resamples)
        readers = code.shape[2]
        for i in range(readers):
            for j in range(i + 1, readers):
                both = there[:, :, i] & there[:, :, j]
                differ = np.where(both, apart[code[:, :, i], code[:, :, j]], 0.0)
                observed += 2.0 * (differ * weight).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1.0 - (total - 1.0) * observed / expected, np.nan)


def _distance(values: NDArray[np.float64], measurement: Measurement) -> NDArray[np.float64]:
    """(distinct, distinct) squared differences; two zeros on a ratio scale do not differ."""
    if measurement == "nominal":
        return 1.0 - np.eye(values.size)
    total = values[:, None] + values
    return ((values[:, None] - values) / np.where(total > 0, total, 1.0)) ** 2
