"""The log-rank test (Mantel-Cox) of two or more groups.

Null hypothesis: the groups have the same hazard at every time. At each event time the events
expected in group k are d n_k / n, and the observed less the expected events have the hypergeometric
covariance d (n - d) / (n - 1) (n_j / n) (delta_jk - n_k / n); over all times
chi2 = Z' V^-1 Z with groups - 1 degrees of freedom (Mantel, Cancer Chemother Rep 1966;50:163; Peto
and Peto, J R Stat Soc A 1972;135:185). It weighs all times alike, so it can miss curves that cross.
Assumes independent patients and censoring that tells nothing, in every group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import Floats, same_length
from herscope.stats.estimate import HypothesisTest, spoken_p
from herscope.stats.survival.outcome import Ints, Outcome

FEW_EXPECTED = 5.0
"""Below this expected count the chi-square approximation is doubtful (Cochran 1954)."""


@dataclass(frozen=True, slots=True)
class GroupEvents:
    """Events of a group and how many the null hypothesis expects."""

    name: str
    n: int
    observed: int
    expected: float

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "name": self.name,
            "n": self.n,
            "observed": self.observed,
            "expected": self.expected,
        }


@dataclass(frozen=True, slots=True)
class LogRank:
    """The test and the events of each group, in the order of the groups.

    Parameters
    ----------
    test
        chi2, p and counts.
    df
        Degrees of freedom: groups - 1.
    groups
        Observed and expected events.
    notes
        What a reader must know before believing p.
    """

    test: HypothesisTest
    df: int
    groups: tuple[GroupEvents, ...]
    notes: tuple[str, ...]

    @property
    def chi2(self) -> float:
        """The statistic."""
        return self.test.statistic

    @property
    def p_value(self) -> float:
        """Its p value."""
        return self.test.p_value

    def __str__(self) -> str:
        return f"chi2 {self.chi2:.3f}, df {self.df}, {spoken_p(self.p_value)}, n {self.test.n:,}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            **self.test.document(),
            "df": self.df,
            "groups": [group.document() for group in self.groups],
            "notes": list(self.notes),
        }


def log_rank(
    outcome: Outcome, groups: Sequence[str], *, order: Sequence[str] | None = None
) -> LogRank:
    """Test whether groups of patients have the same survival.

    Parameters
    ----------
    outcome
        Time and event of all patients.
    groups
        (n,) group of each patient.
    order
        Groups in the order of the result; sorted when absent.

    Raises
    ------
    InputError
        Another number of groups than of patients, or a missing group.
    UndefinedStatistic
        One group, no events, or a group that nobody can be compared with.

    Notes
    -----
    Oracle: lifelines, two and three groups.

    Examples
    --------
    >>> outcome = Outcome(time=[1, 2, 3, 4, 5, 6], event=[1, 1, 1, 1, 0, 1])
    >>> print(log_rank(outcome, ["a", "a", "a", "b", "b", "b"]))
    chi2 5.052, df 1, p 0.025, n 6
    """
    labels = clean_labels(list(groups), "group")
    same_length(patients=outcome.time, groups=labels)
    names = tuple(sorted(set(labels)) if order is None else order)
    if len(set(labels)) < 2:
        raise UndefinedStatistic(
            f"all {len(labels)} patients are in the group {names[0]!r}",
            hint="a log-rank test compares two or more groups",
        )
    if not outcome.events:
        raise UndefinedStatistic(
            f"none of the {len(outcome)} patients had the event",
            hint="check which value of the event column means that it happened",
        )
    place = {name: k for k, name in enumerate(names)}
    index = np.array([place[label] for label in labels])
    observed, expected, covariance = observed_and_expected(outcome, index, len(names))
    sizes = np.bincount(index, minlength=len(names))
    found = tuple(
        GroupEvents(name, int(n), int(o), float(e))
        for name, n, o, e in zip(names, sizes, observed, expected, strict=True)
    )
    return _result(found, observed - expected, covariance)


def observed_and_expected(
    outcome: Outcome, group: Ints, n_groups: int
) -> tuple[Floats, Floats, Floats]:
    """Return (k,) observed and expected events and their (k, k) covariance under the null."""
    times, index = np.unique(outcome.time, return_inverse=True)
    cell = index * n_groups + group
    size = times.size * n_groups
    leaving = np.bincount(cell, minlength=size).reshape(-1, n_groups)
    events = np.bincount(cell[outcome.event], minlength=size).reshape(-1, n_groups)
    at_risk = leaving[::-1].cumsum(axis=0)[::-1]
    fall = events.sum(axis=1) > 0  # (time, group) -> times with an event only
    n, d = at_risk[fall].sum(axis=1), events[fall].sum(axis=1)
    share = at_risk[fall] / n[:, None]
    spread = np.where(n > 1, d * (n - d) / np.maximum(n - 1, 1), 0.0)
    # einsum without BLAS adds in one fixed order.
    covariance = -np.einsum("t,tj,tk->jk", spread, share, share)
    covariance[np.diag_indices(n_groups)] += (spread[:, None] * share).sum(axis=0)
    expected = (d[:, None] * share).sum(axis=0)
    return events.sum(axis=0).astype(np.float64), expected, covariance


def _result(groups: tuple[GroupEvents, ...], difference: Floats, covariance: Floats) -> LogRank:
    from scipy.special import chdtrc

    variances = np.diagonal(covariance)
    never = [g for g, v in zip(groups, variances, strict=True) if v <= 1e-12]
    if never:
        alone = min(never, key=lambda g: g.expected)
        raise UndefinedStatistic(
            f"the group {alone.name!r} has no patient at risk, beside another group, at the time "
            "of an event",
            hint="its patients were censored before the first event: leave the group out",
        )
    chi2 = _quadratic_form(difference[:-1], covariance[:-1, :-1])
    few = [g.name for g in groups if g.expected < FEW_EXPECTED]
    notes = (f"fewer than 5 events expected in {', '.join(few)}: p is approximate",) if few else ()
    df = len(groups) - 1
    counts: dict[str, int | float] = {"events": sum(g.observed for g in groups)}
    for g in groups:
        counts |= {f"observed in {g.name}": g.observed, f"expected in {g.name}": g.expected}
    test = HypothesisTest(
        statistic=chi2,
        p_value=float(chdtrc(df, chi2)),
        hypothesis="the groups have the same hazard at every time",
        method=f"log-rank test, Mantel-Cox (Mantel 1966), unweighted, chi-square with {df} df",
        n=sum(g.n for g in groups),
        counts=counts,
    )
    return LogRank(test, df, groups, notes)


def _quadratic_form(z: Floats, v: Floats) -> float:
    if z.size == 1:
        return float(z[0] ** 2 / v[0, 0])
    scale = np.sqrt(np.diagonal(v))
    if np.linalg.matrix_rank(v / np.outer(scale, scale), tol=1e-10) < z.size:
        raise UndefinedStatistic(
            "some groups are never at risk at the same time as the others",
            hint="compare groups whose follow-up overlaps, two at a time",
        )
    return float(z @ np.linalg.solve(v, z))
