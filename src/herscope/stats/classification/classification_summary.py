"""Everything ``herscope classify`` says about one classifier, composed from the single statistics.

Truths and probabilities in, one frozen summary out: counts, accuracy beside the majority-class
rate, F1, AUC per class and over classes, error rates over thresholds, calibration, folds. What the
data do not determine is listed with its reason under ``undefined``, never as a number.

The predicted class has the largest probability, of equal ones the first in the order of the
columns; in a question of two classes the positive one is predicted when its probability is at least
that of the other. With several cases per patient, intervals of proportions, F1 and AUC draw
patients whole; DeLong's interval, which would be too narrow, is not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import same_length
from herscope.stats.classification.calibration import (
    ReliabilityBin,
    brier_score,
    brier_score_multiclass,
    expected_calibration_error,
    reliability_bins,
)
from herscope.stats.classification.cases import Ints
from herscope.stats.classification.class_figures import ClassFigures, ClassifySpec, Judge
from herscope.stats.classification.confusion import ConfusionTable, confusion_table, majority_rate
from herscope.stats.classification.f_scores import F1Scores
from herscope.stats.classification.fold_scores import OverFolds, fold_scores
from herscope.stats.classification.folds import check_patients_apart
from herscope.stats.classification.multiclass_auc import Case, averages, checked_case, truth_labels
from herscope.stats.estimate import Estimate


@dataclass(frozen=True)
class Calibration:
    """Reliability of one probability: of the positive class, or of the predicted one."""

    about: str
    bins: tuple[ReliabilityBin, ...]
    equal_width: Estimate
    equal_mass: Estimate


@dataclass(frozen=True)
class ClassificationSummary:
    """All figures of one classifier; ``undefined`` says why a figure is missing."""

    table: ConfusionTable
    positive: str | None
    patients: int | None
    grouped: bool
    spec: ClassifySpec
    accuracy: Estimate
    majority: Estimate
    majority_class: str
    f1: F1Scores
    classes: tuple[ClassFigures, ...]
    auc: Mapping[str, Estimate]
    brier: Estimate
    calibration: Calibration
    folds: Mapping[str, OverFolds]
    undefined: Mapping[str, str]
    notes: tuple[str, ...]
    left_out: Mapping[str, int]


def summarise(
    truth: Sequence[Any],
    probabilities: Any,
    classes: Sequence[str],
    *,
    positive: str | None = None,
    folds: Sequence[Any] | None = None,
    patients: Sequence[Any] | None = None,
    left_out: Mapping[str, int] | None = None,
    spec: ClassifySpec | None = None,
) -> ClassificationSummary:
    """Judge a classifier.

    Parameters
    ----------
    truth
        (cases,) labels.
    probabilities
        (cases, classes) 0 to 1, rows summing to 1.
    classes
        Names in the order of the columns.
    positive
        Ask "this class or not": with two classes, which one is meant (the second when absent);
        with more, all others become one class.
    folds
        (cases,) fold in which each case was tested.
    patients
        (cases,) patient of each case.
    left_out
        Reason to the number of cases that were left out before.
    spec
        Level, resamples, seed, bins, thresholds.

    Raises
    ------
    InputError
        For wrong labels or probabilities; the row is named.
    LeakyFolds
        When a patient was tested in two folds.
    UndefinedStatistic
        Without cases.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8]]
    >>> found = summarise(["no", "no", "yes", "yes", "no", "no"], p, ["no", "yes"])
    >>> round(found.accuracy.value, 3), found.positive, found.notes[0][:30]
    (0.833, 'yes', 'the class of largest probabili')
    """
    spec = spec or ClassifySpec()
    case = checked_case(truth, probabilities, classes)
    if case.truth.size == 0:
        raise UndefinedStatistic("there are no cases to judge", hint="check the table")
    case, positive = _question(case, positive)
    ids = None if patients is None else clean_labels(list(patients), "patient")
    tested = None if folds is None else clean_labels(list(folds), "fold")
    labels = truth_labels(case)
    for other in (ids, tested):
        if other is not None:
            same_length(truth=labels, other=other)
    if ids is not None and tested is not None:
        check_patients_apart(ids, tested)
    grouped = ids is not None and len(set(ids)) < len(ids)
    predicted, tied = _predict(case, positive)
    undefined: dict[str, str] = {}
    judged = Judge(case, predicted, ids if grouped else None, spec, undefined)
    table = confusion_table(labels, [case.classes[i] for i in predicted], classes=case.classes)
    right, f1 = judged.overall(table)
    majority = majority_rate(table, level=spec.level)
    asked = [positive] if positive is not None else list(case.classes)
    by_fold: dict[str, OverFolds] = {}
    if tested is not None:
        by_fold, why = fold_scores(case, predicted, tested)
        undefined |= why
    return ClassificationSummary(
        table=table,
        positive=positive,
        patients=None if ids is None else len(set(ids)),
        grouped=grouped,
        spec=spec,
        accuracy=right,
        majority=majority,
        majority_class=max(table.true_counts, key=lambda name: table.true_counts[name]),
        f1=f1,
        classes=tuple(judged.one_class(name, f1) for name in asked),
        auc=_averages(judged) if positive is None else {},
        brier=_brier(case, positive, spec),
        calibration=_calibration(case, predicted, positive, spec),
        folds=by_fold,
        undefined=undefined,
        notes=_notes(right, majority, tied, grouped, positive),
        left_out=dict(left_out or {}),
    )


def _question(case: Case, positive: str | None) -> tuple[Case, str | None]:
    """Reduce to "this class or not" when that is asked; two classes always are."""
    if positive is not None and positive not in case.classes:
        raise InputError(
            f"the positive class {positive!r} is none of {', '.join(case.classes)}",
            hint="name one of the classes",
        )
    if len(case.classes) == 2:
        return case, positive or case.classes[1]
    if positive is None:
        return case, None
    place = case.classes.index(positive)
    p = case.table[:, place]
    names = (f"not {positive}", positive)
    return Case((case.truth == place).astype(np.int64), np.stack([1 - p, p], axis=1), names), (
        positive
    )


def _predict(case: Case, positive: str | None) -> tuple[Ints, int]:
    """Return places of predicted classes and the number of cases whose largest are equal."""
    top = case.table.max(axis=1)
    tied = int(((case.table == top[:, None]).sum(axis=1) > 1).sum())
    if positive is None:
        return case.table.argmax(axis=1), tied
    place = case.classes.index(positive)
    called = case.table[:, place] >= case.table[:, 1 - place]
    return np.where(called, place, 1 - place), tied


def _averages(judged: Judge) -> dict[str, Estimate]:
    found = judged.attempt(
        "AUC over all classes",
        lambda: averages(judged.case, judged.plan(), level=judged.spec.level),
    )
    return dict(found or {})


def _brier(case: Case, positive: str | None, spec: ClassifySpec) -> Estimate:
    if positive is None:
        return brier_score_multiclass(
            truth_labels(case), case.table, case.classes, level=spec.level
        )
    place = case.classes.index(positive)
    return brier_score(case.truth == place, case.table[:, place], level=spec.level)


def _calibration(
    case: Case, predicted: Ints, positive: str | None, spec: ClassifySpec
) -> Calibration:
    if positive is None:
        about = "probability of the predicted class"
        happened, p = predicted == case.truth, case.table.max(axis=1)
    else:
        about, place = f"probability of {positive}", case.classes.index(positive)
        happened, p = case.truth == place, case.table[:, place]
    options: dict[str, Any] = {"bins": spec.bins, "level": spec.level}
    drawn = {"n_resamples": spec.bootstrap, "seed": spec.seed}
    return Calibration(
        about,
        reliability_bins(happened, p, **options),
        expected_calibration_error(happened, p, spacing="equal width", **options, **drawn),
        expected_calibration_error(happened, p, spacing="equal mass", **options, **drawn),
    )


def _notes(
    right: Estimate, majority: Estimate, tied: int, grouped: bool, positive: str | None
) -> tuple[str, ...]:
    notes = []
    if right.value < majority.value:
        notes.append(
            f"accuracy {right.value:.3f} is below the majority-class rate {majority.value:.3f}: "
            "always naming the most frequent class would be right more often"
        )
    rule = "the class of largest probability is predicted"
    if positive is None:
        notes.append(f"{rule}; of equal ones the first column ({tied} case(s) here)")
    else:
        notes.append(f"{rule}; of equal ones {positive} ({tied} case(s) here)")
    notes.append("micro F1 equals the accuracy when every case has one class")
    if grouped:
        notes.append(
            "patients have several cases: intervals of rates, F1 and AUC draw patients whole; "
            "those of the thresholds, Brier score and reliability bins take cases as independent "
            "and are too narrow"
        )
    return tuple(notes)
