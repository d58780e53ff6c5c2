"""Bootstrap intervals of AUCs and the band of an ROC curve, from case multiplicities.

A resample is a whole number per case: how often it was drawn. With the cases sorted by score once,
the AUC of a resample is a sum of products of cumulative multiplicities, so 2000 resamples of 500
cases take hundredths of a second and no resample is ever sorted. Sums are of whole numbers, so the
result is the same to the bit on any machine.

Stratified resamples keep the number of cases of each class (each class is drawn from itself), so no
resample lacks a class. Plain resamples do not; those with only one class have no AUC and are left
out and counted. When several cases belong to one patient, whole patients are drawn: their cases are
alike, and drawing cases would give intervals that are too narrow (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8). Bounds are expanded percentiles
(Hesterberg 2014), as everywhere in herscope; with hundreds of cases they are the plain percentiles
(Efron 1979) that papers report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import Floats, same_length
from herscope.stats.bootstrap import expanded_tail
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.cases import Flags, Ints, both_sides
from herscope.stats.classification.roc import checked_ranking, pair_counts
from herscope.stats.estimate import Estimate

DRAWS_IN_MEMORY: Final = 4_000_000
"""Multiplicities held at once: 32 MB, whatever the number of cases."""


@dataclass(frozen=True)
class Resampler:
    """How cases are drawn: ``n_resamples`` vectors of multiplicities, always the same ones.

    ``units`` numbers what is drawn together (a case, or all cases of a patient); ``strata`` the
    group each unit is drawn within.
    """

    units: Ints
    strata: Ints
    n_resamples: int
    seed: int
    words: str

    def draws(self) -> Iterator[Ints]:
        """Yield (resamples, cases) multiplicities, a chunk at a time."""
        generator = np.random.Generator(np.random.PCG64(self.seed))
        n_units = self.strata.size
        groups = [np.flatnonzero(self.strata == group) for group in np.unique(self.strata)]
        rows = max(1, DRAWS_IN_MEMORY // max(self.units.size, n_units))
        for start in range(0, self.n_resamples, rows):
            n = min(rows, self.n_resamples - start)
            times = np.empty((n, n_units), np.int64)
            for members in groups:
                drawn = generator.integers(0, members.size, size=(n, members.size))
                drawn += np.arange(n)[:, None] * members.size
                counted = np.bincount(drawn.ravel(), minlength=n * members.size)
                times[:, members] = counted.reshape(n, members.size)
            yield times[:, self.units]

    def statistic(self, compute: Callable[[Ints], Floats]) -> Floats:
        """Return ``compute`` of every chunk, joined along the first axis."""
        return np.concatenate([compute(times) for times in self.draws()])


def resampler(
    labels: Iterable[Any],
    *,
    patients: Iterable[Any] | None = None,
    stratified: bool = True,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Resampler:
    """Plan the resamples of a set of cases.

    Parameters
    ----------
    labels
        (cases,) true classes.
    patients
        (cases,) patient of each case; when one has several cases, patients are drawn whole.
    stratified
        Draw within each class (within each combination of classes, for patients).
    n_resamples, seed
        Resamples, 1 or more, and the seed of the PCG64 generator.

    Raises
    ------
    InputError
        For a missing label or patient, different lengths, or no resample.
    UndefinedStatistic
        With fewer than two cases or patients.

    Examples
    --------
    >>> plan = resampler(["a", "a", "b"], n_resamples=3)
    >>> next(plan.draws()).sum(axis=1).tolist()
    [3, 3, 3]
    """
    truth = clean_labels(list(labels), "truth")
    if n_resamples < 1:
        raise InputError(f"{n_resamples} bootstrap resamples", hint="give 1 or more; 2000 is usual")
    names = list(map(str, range(len(truth))))
    if patients is not None:
        names = clean_labels(list(patients), "patient")
        same_length(truth=truth, patient=names)
    distinct, units = np.unique(np.array(names, object).astype(str), return_inverse=True)
    if distinct.size < 2:
        unit = "case" if patients is None else "patient"
        raise UndefinedStatistic(
            f"{distinct.size} {unit}: resampling needs at least two",
            hint="pool more cases; check the patient column",
        )
    grouped = distinct.size < len(truth)
    strata = np.zeros(distinct.size, np.int64)
    if stratified:
        held: list[set[str]] = [set() for _ in range(distinct.size)]
        for unit, label in zip(units.tolist(), truth, strict=True):
            held[unit].add(label)
        kinds = {kind: i for i, kind in enumerate(sorted({tuple(sorted(h)) for h in held}))}
        strata = np.array([kinds[tuple(sorted(h))] for h in held], np.int64)
    unit_words = f"{distinct.size} patients drawn whole" if grouped else f"{len(truth)} cases"
    within = ", within each class" if stratified else ""
    return Resampler(
        units=units.astype(np.int64).ravel(),
        strata=strata,
        n_resamples=n_resamples,
        seed=seed,
        words=f"expanded percentile bootstrap, {n_resamples} resamples, {unit_words}{within}",
    )


def resampled_auc(positive: Flags, scores: Floats) -> Callable[[Ints], Floats]:
    """Return the function from (resamples, cases) multiplicities to (resamples,) AUCs.

    A resample without positives or without negatives gives NaN.
    """
    order = np.argsort(scores, kind="stable")
    rising, flags = scores[order], positive[order]
    first = np.flatnonzero(np.append(True, np.diff(rising) > 0))
    alone = first.size == rising.size

    def compute(times: Ints) -> Floats:
        ordered = times[:, order]
        positives, negatives = ordered * flags, ordered * ~flags
        if not alone:
            positives = np.add.reduceat(positives, first, axis=1)
            negatives = np.add.reduceat(negatives, first, axis=1)
        upto = np.cumsum(negatives, axis=1)
        # Twice the won pairs plus the tied ones: negatives below, and those at the same score.
        doubled = (positives * (2 * upto - negatives)).sum(axis=1)
        pairs = 2 * positives.sum(axis=1) * upto[:, -1]
        out = np.full(times.shape[0], np.nan)
        return np.divide(doubled, pairs, out=out, where=pairs > 0)

    return compute


def percentiles(
    values: Floats, plan: Resampler, level: float, what: str
) -> tuple[float, float, int]:
    """Return both bounds over the defined resamples, and how many were undefined.

    Raises
    ------
    UndefinedStatistic
        When no resample defines the statistic.
    """
    tail = expanded_tail(level, plan.strata.size)
    kept = values[~np.isnan(values)]
    if kept.size == 0:
        raise UndefinedStatistic(f"no resample has a defined {what}", hint="pool more cases")
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high), int(values.size - kept.size)


def auc_bootstrap(
    positive: Any,
    scores: ArrayLike,
    *,
    patients: Iterable[Any] | None = None,
    stratified: bool = True,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = SEED,
) -> Estimate:
    """Area under the ROC curve with a bootstrap percentile interval.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    scores
        (cases,) finite numbers; higher means more likely positive.
    patients
        (cases,) patient of each case; when one has several cases, patients are drawn whole.
    stratified
        Keep the number of cases of each class in every resample.
    n_resamples, level, seed
        Resamples, two-sided confidence level, seed.

    Raises
    ------
    InputError
        For other truths, scores that are not finite, or different lengths; rows are named.
    UndefinedStatistic
        When all cases are of one class.

    Examples
    --------
    >>> found = auc_bootstrap([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.35, 0.8, 0.7])
    >>> round(found.value, 3), round(found.low, 3), found.high
    (0.889, 0.333, 1.0)
    """
    flags, values = checked_ranking(positive, scores)
    pairs = pair_counts(flags, values)
    n_positive, n_negative = both_sides(flags, "an AUC")
    plan = resampler(
        flags.tolist(),
        patients=patients,
        stratified=stratified,
        n_resamples=n_resamples,
        seed=seed,
    )
    drawn = plan.statistic(resampled_auc(flags, values))
    low, high, undefined = percentiles(drawn, plan, level, "AUC")
    # Perfect separation survives every resample: no width, which is not certainty.
    constant = low == high and pairs.auc in {0.0, 1.0}
    how = "no bootstrap interval: every resample has the same AUC" if constant else plan.words
    return Estimate(
        value=pairs.auc,
        low=None if constant else low,
        high=None if constant else high,
        level=level,
        method=f"AUC, won pairs + half the tied / all pairs (Hanley and McNeil 1982); {how}",
        n=values.size,
        counts={"positive": n_positive, "negative": n_negative, **pairs.as_dict()},
        left_out={"resamples of one class": undefined} if undefined else {},
    )


def roc_band(
    positive: Any, scores: ArrayLike, plan: Resampler, *, fpr: ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Pointwise band of an ROC curve: percentiles of the resampled sensitivity at each ``fpr``.

    Resampled curves are joined by straight lines between their points. The band holds the true
    curve at each single false positive rate with the given level, not everywhere at once.

    Parameters
    ----------
    positive, scores
        As :func:`auc_bootstrap`.
    plan
        How cases are drawn, from :func:`resampler`.
    fpr
        (points,) false positive rates, 0 to 1.
    level
        Two-sided confidence level.

    Returns
    -------
    tuple
        (points,) lower and (points,) upper bounds.

    Examples
    --------
    >>> truth, scores = [0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.35, 0.8, 0.7]
    >>> low, high = roc_band(truth, scores, resampler(truth), fpr=[0.0, 0.5, 1.0])
    >>> high.tolist()
    [1.0, 1.0, 1.0]
    """
    flags, values = checked_ranking(positive, scores)
    both_sides(flags)
    at = np.asarray(fpr, np.float64)
    order = np.argsort(-values, kind="stable")
    falling, truth = values[order], flags[order]
    last = np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)

    def compute(times: Ints) -> Floats:
        ordered = times[:, order]
        tp = np.cumsum(ordered * truth, axis=1)[:, last]
        fp = np.cumsum(ordered * ~truth, axis=1)[:, last]
        out = np.full((times.shape[0], at.size), np.nan)
        for row in np.flatnonzero((tp[:, -1] > 0) & (fp[:, -1] > 0)):
            x, y = np.append(0, fp[row]) / fp[row, -1], np.append(0, tp[row]) / tp[row, -1]
            # At a vertical step interp takes the upper end, as the curve itself does.
            out[row] = np.interp(at, x, y)
        return out

    curves = plan.statistic(compute)
    kept = curves[~np.isnan(curves[:, 0])]
    if kept.shape[0] == 0:
        raise UndefinedStatistic("no resample has an ROC curve", hint="pool more cases")
    tail = expanded_tail(level, plan.strata.size)
    low, high = np.quantile(kept, [tail, 1 - tail], axis=0)
    return low, high
