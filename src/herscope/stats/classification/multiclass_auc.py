"""AUC of more than two classes: one-vs-rest per class, their averages, and one-vs-one.

*One-vs-rest*: the AUC of the class's probability against all other cases; *macro* is the plain
mean over classes, *weighted* the mean by true cases (Fawcett, Pattern Recognit Lett 2006;27:861).
*One-vs-one*: for each pair of classes, only cases of the two, the mean of the AUC of either
probability; then the plain mean over pairs (Hand and Till, Mach Learn 2001;45:171). It does not
change with how frequent the classes are. Published tables often give "AUC" without saying which;
we give all.

When a class has no case, its AUC is undefined, and so is every average over the classes: a mean of
the others would be another statistic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import Floats
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.auc_bootstrap import (
    Resampler,
    percentiles,
    resampled_auc,
    resampler,
)
from herscope.stats.classification.cases import Ints, checked_probability_table
from herscope.stats.classification.confusion import class_index
from herscope.stats.classification.roc import pair_counts
from herscope.stats.estimate import Estimate

Average = Literal["macro one-vs-rest", "weighted one-vs-rest", "macro one-vs-one"]
AVERAGES: tuple[Average, ...] = ("macro one-vs-rest", "weighted one-vs-rest", "macro one-vs-one")
_SAID: dict[Average, str] = {
    "macro one-vs-rest": "mean of one-vs-rest AUCs over classes (Fawcett 2006)",
    "weighted one-vs-rest": "mean of one-vs-rest AUCs by true cases (Fawcett 2006)",
    "macro one-vs-one": "mean of one-vs-one AUCs over pairs of classes (Hand and Till 2001)",
}


@dataclass(frozen=True)
class Case:
    """True class places, (cases, classes) probabilities and the classes' names, checked."""

    truth: Ints
    table: Floats
    classes: tuple[str, ...]

    def counts(self) -> Ints:
        """Return (classes,) true cases."""
        return np.bincount(self.truth, minlength=len(self.classes))


def multiclass_auc(
    truth: Iterable[Any],
    probabilities: ArrayLike,
    classes: Sequence[str],
    *,
    patients: Iterable[Any] | None = None,
    stratified: bool = True,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = SEED,
) -> dict[Average, Estimate]:
    """All three averages of the AUC with bootstrap intervals from the same resamples.

    Parameters
    ----------
    truth
        (cases,) labels.
    probabilities
        (cases, classes) 0 to 1, rows summing to 1.
    classes
        Names in the order of the columns.
    patients, stratified, n_resamples, level, seed
        As :func:`~herscope.stats.classification.auc_bootstrap.auc_bootstrap`.

    Raises
    ------
    InputError
        For labels that are none of the classes, or wrong probabilities; rows are named.
    UndefinedStatistic
        When a class has no case, or there is one class only.

    Examples
    --------
    >>> p = [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2], [0.1, 0.5, 0.4]]
    >>> found = multiclass_auc(["a", "b", "c", "a", "c"], p, ["a", "b", "c"], n_resamples=50)
    >>> round(found["macro one-vs-rest"].value, 4)
    0.9583
    """
    case = checked_case(truth, probabilities, classes)
    _all_present(case)
    plan = resampler(
        truth_labels(case),
        patients=patients,
        stratified=stratified,
        n_resamples=n_resamples,
        seed=seed,
    )
    return averages(case, plan, level=level)


def averages(case: Case, plan: Resampler, *, level: float = 0.95) -> dict[Average, Estimate]:
    """Compute the averages with the resamples of ``plan``."""
    _all_present(case)
    out: dict[Average, Estimate] = {}
    counted = {
        f"true {n}": int(c) for n, c in zip(case.classes, case.counts().tolist(), strict=True)
    }
    for name in AVERAGES:
        low, high, undefined = percentiles(
            plan.statistic(partial(_resampled, case, name)), plan, level, name
        )
        out[name] = Estimate(
            value=average_auc(case, name),
            low=low,
            high=high,
            level=level,
            method=f"{_SAID[name]}; {plan.words}",
            n=case.truth.size,
            counts=counted,
            left_out={"resamples without a class": undefined} if undefined else {},
        )
    return out


def average_auc(case: Case, average: Average) -> float:
    """Return one average of the AUC without an interval.

    Raises
    ------
    UndefinedStatistic
        When a class has no case.
    """
    _all_present(case)
    if average == "macro one-vs-one":
        return float(np.mean([_pair_auc(case, a, b) for a, b in _pairs(case)]))
    each = [
        pair_counts(case.truth == place, case.table[:, place]).auc
        for place in range(len(case.classes))
    ]
    if average == "macro one-vs-rest":
        return float(np.mean(each))
    return float((np.array(each) * case.counts()).sum() / case.truth.size)


def checked_case(truth: Iterable[Any], probabilities: ArrayLike, classes: Sequence[str]) -> Case:
    """Check labels and probabilities once.

    Raises
    ------
    InputError
        As :func:`multiclass_auc`.
    """
    labels = clean_labels(list(truth), "truth")
    names = tuple(map(str, classes))
    index = class_index(labels, names, "truth")
    return Case(index, checked_probability_table(probabilities, len(labels), names), names)


def truth_labels(case: Case) -> list[str]:
    """Return the true class of each case by name."""
    return [case.classes[place] for place in case.truth.tolist()]


def _all_present(case: Case) -> None:
    missing = [n for n, c in zip(case.classes, case.counts().tolist(), strict=True) if not c]
    if missing or len(case.classes) < 2:
        said = f"no case of class {', '.join(missing)}" if missing else "there is one class only"
        raise UndefinedStatistic(
            f"{said}: an AUC over all classes is undefined",
            hint="pool more cases, or name the classes that occur",
        )


def _pairs(case: Case) -> list[tuple[int, int]]:
    return list(combinations(range(len(case.classes)), 2))


def _pair_auc(case: Case, a: int, b: int) -> float:
    keep = (case.truth == a) | (case.truth == b)
    of_a = case.truth[keep] == a
    return (
        pair_counts(of_a, case.table[keep, a]).auc + pair_counts(~of_a, case.table[keep, b]).auc
    ) / 2


def _resampled(case: Case, average: Average, times: Ints) -> Floats:
    """(resamples, cases) -> (resamples,); NaN where a resample lacks a class."""
    if average == "macro one-vs-one":
        parts = []
        for a, b in _pairs(case):
            keep = (case.truth == a) | (case.truth == b)
            of_a = case.truth[keep] == a
            drawn = times[:, keep]
            parts += [
                resampled_auc(of_a, case.table[keep, a])(drawn),
                resampled_auc(~of_a, case.table[keep, b])(drawn),
            ]
        return np.mean(parts, axis=0)
    each = np.stack(
        [
            resampled_auc(case.truth == place, case.table[:, place])(times)
            for place in range(len(case.classes))
        ]
    )
    if average == "macro one-vs-rest":
        return each.mean(axis=0)
    support = np.stack([times[:, case.truth == i].sum(axis=1) for i in range(len(case.classes))])
    return (each * support).sum(axis=0) / times.sum(axis=1)
