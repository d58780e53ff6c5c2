"""Mean and standard deviation of a classifier's figures over cross-validation folds.

The standard deviation is over folds with the divisor k - 1 (``ddof=1``): what would vary with
another split of the same cohort. It is not the standard error of the mean and no interval for a new
cohort: folds share training patients, so no unbiased estimate of that exists (Bengio and
Grandvalet, J Mach Learn Res 2004;5:1089). Published tables often leave the divisor unsaid; NumPy's
default is k.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.classification.calibration import brier_score_multiclass
from herscope.stats.classification.cases import Flags, Ints
from herscope.stats.classification.confusion import ConfusionTable
from herscope.stats.classification.f_scores import f1_scores
from herscope.stats.classification.multiclass_auc import Case, average_auc, truth_labels

DDOF = 1


@dataclass(frozen=True)
class OverFolds:
    """One figure in each fold (None where undefined), their mean and their SD (ddof 1)."""

    values: Mapping[str, float | None]
    mean: float
    sd: float | None
    ddof: int = DDOF

    def __str__(self) -> str:
        defined = sum(value is not None for value in self.values.values())
        sd = "undefined" if self.sd is None else f"{self.sd:.3f}"
        left = len(self.values) - defined
        said = f"; undefined in {left}" if left else ""
        return f"{self.mean:.3f} (SD {sd}, ddof {self.ddof}, {defined} folds{said})"


def over_folds(values: Mapping[str, float | None]) -> OverFolds:
    """Take mean and SD over the folds in which a figure is defined.

    Raises
    ------
    UndefinedStatistic
        When it is undefined in every fold.

    Examples
    --------
    >>> print(over_folds({"1": 0.5, "2": 0.6, "3": 0.7}))
    0.600 (SD 0.100, ddof 1, 3 folds)
    """
    defined = [value for value in values.values() if value is not None]
    if not defined:
        raise UndefinedStatistic(
            f"undefined in all of {len(values)} fold(s)", hint="pool the folds instead"
        )
    sd = statistics.stdev(defined) if len(defined) > 1 else None
    return OverFolds(dict(values), statistics.fmean(defined), sd)


def fold_scores(
    case: Case, predicted: Ints, folds: Sequence[str]
) -> tuple[dict[str, OverFolds], dict[str, str]]:
    """Accuracy, F1, AUC (macro one-vs-rest) and Brier score of each test fold.

    Parameters
    ----------
    case
        Truths and probabilities.
    predicted
        (cases,) places of the predicted classes.
    folds
        (cases,) fold in which each case was tested.

    Returns
    -------
    tuple
        Figure name to its values over folds; figure and fold to why it is undefined there.

    Raises
    ------
    InputError
        With fewer than two folds.
    """
    names = sorted(set(folds), key=lambda name: (len(name), name))
    if len(names) < 2:
        raise InputError(
            f"the fold column has one value only, {names[0] if names else 'none'}",
            hint="name the column that holds the test fold of each case",
        )
    of = np.array(folds, object)
    why: dict[str, str] = {}
    out: dict[str, OverFolds] = {}
    for figure, compute in _FIGURES.items():
        values: dict[str, float | None] = {}
        for name in names:
            try:
                values[name] = compute(*_part(case, predicted, of == name))
            except UndefinedStatistic as undefined:
                values[name] = None
                why[f"{figure}, fold {name}"] = undefined.message
        if any(value is not None for value in values.values()):
            out[figure] = over_folds(values)
    return out, why


def _part(case: Case, predicted: Ints, keep: Flags) -> tuple[Case, Ints]:
    return Case(case.truth[keep], case.table[keep], case.classes), predicted[keep]


def _table(case: Case, predicted: Ints) -> ConfusionTable:
    size = len(case.classes)
    counts = np.bincount(case.truth * size + predicted, minlength=size * size)
    return ConfusionTable(
        case.classes, tuple(tuple(row) for row in counts.reshape(size, size).tolist())
    )


def _macro_f1(case: Case, predicted: Ints) -> float:
    return f1_scores(_table(case, predicted), n_resamples=1).macro.value


_FIGURES: Mapping[str, Callable[[Case, Ints], float]] = {
    "accuracy": lambda case, predicted: float((case.truth == predicted).mean()),
    "majority-class rate": lambda case, _: float(case.counts().max() / case.truth.size),
    "F1 macro": _macro_f1,
    "AUC macro one-vs-rest": lambda case, _: average_auc(case, "macro one-vs-rest"),
    "Brier score": lambda case, _: (
        brier_score_multiclass(truth_labels(case), case.table, case.classes).value
    ),
}
