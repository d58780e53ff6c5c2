"""Are probabilities what they say? Brier score, reliability bins, expected calibration error.

*Brier score*: mean squared distance between the probabilities and what happened. For one class it
is the mean of (p - y)^2, 0 to 1; for several classes Brier's own form, the sum over classes, 0 to 2
(Brier, Mon Weather Rev 1950;78:1), which for two classes is twice the other.

*Reliability bins*: cases are grouped by probability, either in bins of equal width or in bins of
equal mass (as many cases each; equal probabilities stay together). A bin is open below and closed
above, as in Guo et al. (ICML 2017, arXiv:1706.04599); the first contains 0. Each shows its mean
probability and the observed share with Wilson's interval. *ECE* is the mean distance of the two by
cases. It depends on the bins and is above 0 even for perfect probabilities, the more so the fewer
the cases, so we also give its expectation under perfect calibration, ``expected_if_calibrated``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import Floats, normal_quantile
from herscope.stats.bootstrap import wilson_interval
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.cases import Flags, checked_flags, checked_probabilities
from herscope.stats.classification.multiclass_auc import checked_case
from herscope.stats.estimate import Estimate

Spacing = Literal["equal width", "equal mass"]
MOST_BINS = 1000


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Cases with a probability in (lower, upper]: how many, how probable, how many happened."""

    lower: float
    upper: float
    n: int
    happened: int
    mean_probability: float
    low: float
    high: float

    @property
    def observed(self) -> float:
        """Share that happened; ``low`` and ``high`` are its Wilson interval."""
        return self.happened / self.n


def brier_score(positive: Any, probabilities: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Brier score of one class, 0 (perfect) to 1.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    probabilities
        (cases,) probability of being positive.
    level
        Two-sided level of the normal interval of a mean, clipped at 0 and 1.

    Raises
    ------
    InputError
        For other truths, probabilities outside 0 to 1, or different lengths; rows are named.
    UndefinedStatistic
        Without cases.

    Examples
    --------
    >>> round(brier_score([0, 1, 1], [0.1, 0.9, 0.6]).value, 4)
    0.06
    """
    flags, p = _checked(positive, probabilities)
    happened = int(flags.sum())
    return _mean_score(
        (p - flags) ** 2,
        1.0,
        "Brier score, mean (p - y)^2 (Brier 1950, one class)",
        level,
        {"positive": happened, "negative": p.size - happened},
    )


def brier_score_multiclass(
    truth: Iterable[Any], probabilities: ArrayLike, classes: Sequence[str], *, level: float = 0.95
) -> Estimate:
    """Brier score over all classes, 0 (perfect) to 2.

    Parameters
    ----------
    truth
        (cases,) labels.
    probabilities
        (cases, classes) 0 to 1, rows summing to 1.
    classes
        Names in the order of the columns.
    level
        As :func:`brier_score`.

    Raises
    ------
    InputError, UndefinedStatistic
        As :func:`brier_score`, and for a label that is none of the classes.

    Examples
    --------
    >>> round(brier_score_multiclass(["a", "b"], [[0.8, 0.2], [0.4, 0.6]], ["a", "b"]).value, 4)
    0.2
    """
    case = checked_case(truth, probabilities, classes)
    if case.truth.size == 0:
        raise UndefinedStatistic("a Brier score of no cases is undefined")
    happened = case.truth[:, None] == np.arange(len(case.classes))
    counts = zip(case.classes, case.counts().tolist(), strict=True)
    return _mean_score(
        ((case.table - happened) ** 2).sum(axis=1),
        2.0,
        "Brier score, mean over cases of the sum over classes of (p - y)^2 (Brier 1950)",
        level,
        {f"true {name}": int(count) for name, count in counts},
    )


def reliability_bins(
    positive: Any,
    probabilities: ArrayLike,
    *,
    bins: int = 10,
    spacing: Spacing = "equal width",
    level: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """Group cases by probability; bins without a case are left out.

    Parameters
    ----------
    positive
        (cases,) booleans, or 1 and 0.
    probabilities
        (cases,) 0 to 1.
    bins
        At most so many, 1 to 1000; fewer when equal probabilities fill several.
    spacing
        ``equal width`` or ``equal mass``.
    level
        Two-sided level of the Wilson intervals.

    Raises
    ------
    InputError, UndefinedStatistic
        As :func:`brier_score`, and for a number of bins out of range.

    Examples
    --------
    >>> [(b.n, b.observed) for b in reliability_bins([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], bins=2)]
    [(2, 0.0), (2, 1.0)]
    """
    flags, p = _checked(positive, probabilities)
    edges = _edges(p, bins, spacing)
    place = np.searchsorted(edges[1:-1], p, side="left")
    found = []
    for which in np.unique(place).tolist():
        inside = place == which
        n, happened = int(inside.sum()), int(flags[inside].sum())
        low, high = wilson_interval(happened, n, level=level)
        found.append(
            ReliabilityBin(
                lower=float(edges[which]),
                upper=float(edges[which + 1]),
                n=n,
                happened=happened,
                mean_probability=float(p[inside].mean()),
                low=low,
                high=high,
            )
        )
    return tuple(found)


def expected_calibration_error(
    positive: Any,
    probabilities: ArrayLike,
    *,
    bins: int = 10,
    spacing: Spacing = "equal width",
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Mean distance between probability and observed share over bins, by cases.

    Parameters
    ----------
    positive, probabilities, bins, spacing, level
        As :func:`reliability_bins`. For several classes give whether the predicted class was right
        and its probability (Guo 2017), or one class against the rest.
    n_resamples, seed
        Outcomes drawn from the probabilities themselves, to see what perfect calibration gives.

    Returns
    -------
    Estimate
        0 to 1, without an interval: resampling cases adds error to an error. ``counts`` has
        ``expected_if_calibrated``, the mean ECE of perfectly calibrated outcomes, and ``p``, the
        share of them with an ECE at least as large (each side counted with one more).

    Raises
    ------
    InputError, UndefinedStatistic
        As :func:`reliability_bins`.

    Examples
    --------
    >>> round(expected_calibration_error([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], bins=2).value, 4)
    0.2
    """
    flags, p = _checked(positive, probabilities)
    edges = _edges(p, bins, spacing)
    place = np.searchsorted(edges[1:-1], p, side="left")
    size = edges.size - 1
    expected = np.bincount(place, p, minlength=size)
    value = float(np.abs(np.bincount(place, flags, minlength=size) - expected).sum() / p.size)
    generator = np.random.Generator(np.random.PCG64(seed))
    perfect = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = np.bincount(place, generator.random(p.size) < p, minlength=size)
        perfect[i] = np.abs(drawn - expected).sum() / p.size
    return Estimate(
        value=value,
        low=None,
        high=None,
        level=level,
        method=f"ECE, mean |observed share - mean probability| over at most {bins} bins of "
        f"{spacing} by cases (Guo 2017); no interval, compared with {n_resamples} draws of "
        "perfectly calibrated outcomes",
        n=p.size,
        counts={
            "positive": int(flags.sum()),
            "bins": int(np.unique(place).size),
            "expected_if_calibrated": float(perfect.mean()),
            # Rounding makes equal errors differ in the last digit; they count as equal.
            "p": (1 + int((perfect >= value - 1e-12).sum())) / (1 + n_resamples),
        },
    )


def _checked(positive: Any, probabilities: ArrayLike) -> tuple[Flags, Floats]:
    p = checked_probabilities(probabilities)
    flags = checked_flags(positive, p.size)
    if p.size == 0:
        raise UndefinedStatistic("calibration of no cases is undefined", hint="pool more cases")
    return flags, p


def _edges(p: Floats, bins: int, spacing: Spacing) -> Floats:
    if not 1 <= bins <= MOST_BINS:
        raise InputError(f"{bins} calibration bins", hint=f"give 1 to {MOST_BINS}; 10 is usual")
    if spacing == "equal width":
        return np.arange(bins + 1) / bins
    rising = np.sort(p)
    # The probability of the last case of each bin is its closed upper end.
    ends = rising[[-(-p.size * i // bins) - 1 for i in range(1, bins)]]
    return np.concatenate([[0.0], np.unique(ends[ends < rising[-1]]), [1.0]])


def _mean_score(
    scores: Floats, largest: float, what: str, level: float, counts: dict[str, int]
) -> Estimate:
    value, n = float(scores.mean()), scores.size
    z = normal_quantile(level)
    half = z * float(scores.std(ddof=1)) / n**0.5 if np.unique(scores).size > 1 else None
    how = (
        "normal interval of a mean, clipped"
        if half is not None
        else "no interval, as all cases score alike"
    )
    return Estimate(
        value=value,
        low=None if half is None else max(0.0, value - half),
        high=None if half is None else min(largest, value + half),
        level=level,
        method=f"{what}; {how}, cases independent",
        n=n,
        counts=counts,
    )
