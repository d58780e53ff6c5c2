"""Tests of several at once and of the same patients twice: Holm, McNemar, DeLong of two models.

*Holm* (Scand J Stat 1979;6:65): p values in rising order times the number of those not yet passed,
never falling, at most 1; holds the chance of any false finding among them. *McNemar* (Psychometrika
1947;12:153): of the patients whom only one of two got right, is either more often right; exact, by
the binomial distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

from herscope.core.errors import HerscopeError, InputError, UndefinedStatistic
from herscope.respond.evaluation.predictions import (
    PatientPrediction,
    labels_of,
    probabilities_of,
    refuse_twice,
)
from herscope.stats.arguments import same_length
from herscope.stats.classification.cases import Flags
from herscope.stats.classification.delong import delong_test
from herscope.stats.estimate import HypothesisTest


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number; returns them in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for passed, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - passed)))
        adjusted[place] = highest
    return adjusted


def mcnemar(first_right: Flags, second_right: Flags) -> HypothesisTest:
    """Compare how often two are right on the same patients: exact, two-sided.

    Parameters
    ----------
    first_right, second_right
        (patients,) whether each was right.

    Raises
    ------
    UndefinedStatistic
        They are right and wrong together throughout, or there is no patient.

    Examples
    --------
    >>> import numpy as np
    >>> test = mcnemar(np.array([1, 1, 1, 1, 0], bool), np.array([0, 0, 0, 1, 0], bool))
    >>> test.counts["only first right"], test.p_value
    (3, 0.25)
    """
    n = same_length(first=first_right, second=second_right)
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    discordant = only_first + only_second
    if not discordant:
        raise UndefinedStatistic(
            f"both are right, or wrong, on each of {n} patients", hint="there is nothing to test"
        )
    tail = sum(comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return HypothesisTest(
        statistic=float(only_first),
        p_value=min(1.0, 2 * tail / 2**discordant),
        hypothesis="of patients whom one of the two gets right, either is as likely the one",
        method="McNemar 1947, exact binomial, two-sided",
        n=n,
        counts={
            "both right": int((first_right & second_right).sum()),
            "only first right": only_first,
            "only second right": only_second,
            "both wrong": int((~first_right & ~second_right).sum()),
        },
    )


def compare(
    first: Sequence[PatientPrediction],
    second: Sequence[PatientPrediction],
    *,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compare two models by AUC on the labelled patients that both predicted.

    Parameters
    ----------
    first, second
        Predictions; matched by patient, in any order.
    level
        Two-sided confidence level.

    Returns
    -------
    dict
        ``value`` (AUC of the first minus that of the second), ``low``, ``high``, ``level``, ``p``,
        ``first``, ``second``, ``n``, ``positive``, ``negative``, ``left_out``, ``method``. What is
        undefined is None, and ``method`` says why.

    Raises
    ------
    InputError
        A patient stands twice, or has two labels.

    Examples
    --------
    >>> def row(name, label, p):
    ...     return PatientPrediction(name, label, p, p, p, (p,), 0.5, ())
    >>> truth = [0, 0, 0, 1, 1, 1]
    >>> a = [row(f"p{i}", t, 0.1 * i) for i, t in enumerate(truth)]
    >>> b = [row(f"p{i}", t, [0.3, 0.5, 0.1, 0.4, 0.2, 0.6][i]) for i, t in enumerate(truth)]
    >>> found = compare(a, b)
    >>> round(found["value"], 3), round(found["p"], 3)
    (0.333, 0.221)
    """
    refuse_twice(first)
    refuse_twice(second)
    other = {row.patient: row for row in second}
    pairs = [(row, other[row.patient]) for row in first if row.patient in other]
    conflicts = [a.patient for a, b in pairs if a.label != b.label]
    if conflicts:
        raise InputError(
            f"patient {conflicts[0]!r} has one label in the first predictions and another in the "
            "second",
            hint="compare models of one cohort file",
        )
    ours, theirs = [a for a, _ in pairs if a.label >= 0], [b for a, b in pairs if a.label >= 0]
    left_out = {
        "without a label": len(pairs) - len(ours),
        "predicted by one only": len(first) + len(second) - 2 * len(pairs),
    }
    document: dict[str, Any] = {
        "value": None,
        "low": None,
        "high": None,
        "level": level,
        "p": None,
        "first": None,
        "second": None,
        "n": len(ours),
        "positive": sum(row.label == 1 for row in ours),
        "negative": sum(row.label == 0 for row in ours),
        "left_out": {why: count for why, count in left_out.items() if count},
        "method": "",
    }
    try:
        found = delong_test(
            labels_of(ours) == 1, probabilities_of(ours), probabilities_of(theirs), level=level
        )
    except HerscopeError as error:
        same = ours and all(
            a.probability == b.probability for a, b in zip(ours, theirs, strict=True)
        )
        return {**document, "value": 0.0 if same else None, "method": error.message}
    return document | {
        "value": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "first": found.first,
        "second": found.second,
        "method": found.method,
    }
