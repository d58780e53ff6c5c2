"""All that ``herscope survive`` tells of a table of patients, as one value.

Which of it is there depends on what was asked: curves always; groups and their log-rank test with
a group column or a cut-off; C-index and AUC with a risk; a Cox model with covariates. Notes say
what a reader must know before believing a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import find_scale
from herscope.stats.estimate import Estimate
from herscope.stats.survival.concordance_index import harrell_c, uno_c
from herscope.stats.survival.cox import CoxModel, cox
from herscope.stats.survival.kaplan_meier import (
    KaplanMeier,
    MedianTime,
    kaplan_meier,
    median_follow_up,
)
from herscope.stats.survival.log_rank import LogRank, log_rank
from herscope.stats.survival.outcome import Outcome, outcome_of
from herscope.stats.survival.risk_groups import HIGH, LOW, CutOff, median_cut, risk_groups
from herscope.stats.survival.survival_spec import SurvivalSpec
from herscope.stats.survival.time_auc import TimeAuc, time_auc
from herscope.stats.table import Table

SCHEMA = "herscope.survival/1"

MOST_GROUPS = 10
"""More curves than these cannot be told apart; such a column is a number or an id."""

LARGEST_WEIGHT = 100.0
"""Uno's weight 1 / G^2 where G is 0.1: one event then counts for a hundred."""


@dataclass(frozen=True, slots=True)
class Discrimination:
    """How well a risk orders the patients."""

    column: str
    harrell: Estimate
    uno: Estimate
    aucs: tuple[TimeAuc, ...]

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "column": self.column,
            "direction": "higher is worse",
            "harrell_c": self.harrell.document(),
            "uno_c": self.uno.document(),
            "auc": [auc.document() for auc in self.aucs],
        }


@dataclass(frozen=True, slots=True, eq=False)
class SurvivalSummary:
    """The answers; None or empty is what was not asked."""

    table: str
    spec: SurvivalSpec
    overall: KaplanMeier
    follow_up: MedianTime
    left_out: Mapping[str, int]
    groups: Mapping[str, KaplanMeier] = field(default_factory=dict)
    log_rank: LogRank | None = None
    cut: CutOff | None = None
    discrimination: Discrimination | None = None
    cox: CoxModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def curves(self) -> dict[str, KaplanMeier]:
        """The curves to draw: of the groups, else of all patients."""
        return dict(self.groups) or {"all patients": self.overall}

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the command."""
        found = self.discrimination
        return {
            "schema": SCHEMA,
            "table": self.table,
            "spec": self.spec.model_dump(mode="json"),
            "left_out": dict(self.left_out),
            "overall": self._curve(self.overall),
            "median_follow_up": self.follow_up.document(),
            "groups": [{"name": n, **self._curve(c)} for n, c in self.groups.items()],
            "log_rank": self.log_rank.document() if self.log_rank else None,
            "cut": self.cut.document() if self.cut else None,
            "discrimination": found.document() if found else None,
            "cox": self.cox.document() if self.cox else None,
            "notes": list(self.notes),
        }

    def _curve(self, curve: KaplanMeier) -> dict[str, Any]:
        return {**curve.document(), "at": [at.document() for at in curve.at(self.spec.at)]}


def summarise(
    table: Table, spec: SurvivalSpec, *, cut: CutOff | None = None, median: bool = False
) -> SurvivalSummary:
    """Answer what the Spec asks of a table.

    Parameters
    ----------
    table
        One row per patient.
    spec
        Columns, times and level.
    cut
        Divides the patients by their risk.
    median
        Divide at the median risk of these same patients instead; the result then carries a note.

    Raises
    ------
    SchemaError
        A column does not exist.
    InputError
        A cell cannot be used, or options contradict each other.
    UndefinedStatistic
        Nobody had the event, there is one group only, and the like.

    Examples
    --------
    >>> from herscope.stats.table import from_columns
    >>> table = from_columns({"days": [10, 40, 90, 120], "dead": [1, 1, 0, 1]})
    >>> print(summarise(table, SurvivalSpec(time="days", event="dead")).overall.median)
    40 [10, NR]
    """
    divided = cut is not None or median
    if divided and (spec.risk is None or spec.group is not None):
        raise InputError(
            "a cut-off divides patients by their risk",
            hint="add --risk COLUMN" if spec.risk is None else "give --group or --cut, not both",
        )
    kept = _kept(table, spec)
    outcome = outcome_of(kept, spec.time, spec.event, event_value=spec.event_value)
    notes = _event_notes(kept, spec)
    if not outcome.events:
        raise UndefinedStatistic(
            f"{table.name}: none of {len(outcome)} patients had the event",
            hint="check which value of the event column means that it happened (--event-value)",
        )
    labels: list[str] = []
    names: tuple[str, ...] = ()
    if divided:
        assert spec.risk is not None
        risk = kept.numbers(spec.risk)
        used = cut or median_cut(risk, f"column {spec.risk} of these patients", same_data=True)
        divisions = risk_groups(risk, used)
        labels, names, cut = list(divisions.labels), (LOW, HIGH), used
        notes += divisions.notes
    elif spec.group is not None:
        labels = kept.labels(spec.group)
        names = spec.groups or _group_names(labels, spec.group)
    curves, test = _compared(outcome, labels, names, spec.level)
    discrimination, said = _discrimination(kept, outcome, spec)
    model = _model(kept, outcome, spec)
    notes += (test.notes if test else ()) + said + (model.notes if model else ())
    return SurvivalSummary(
        table=table.name,
        spec=spec,
        overall=kaplan_meier(outcome, level=spec.level),
        follow_up=median_follow_up(outcome, level=spec.level),
        left_out=kept.dropped,
        groups=curves,
        log_rank=test,
        cut=cut,
        discrimination=discrimination,
        cox=model,
        notes=notes,
    )


def _kept(table: Table, spec: SurvivalSpec) -> Table:
    if spec.groups:
        assert spec.group is not None
        cells = table.column(spec.group)
        absent = [name for name in spec.groups if name not in cells]
        if absent:
            raise InputError(
                f"{table.name}, column {spec.group}: no patient is in the group {absent[0]!r}",
                hint=f"groups: {', '.join(sorted({c for c in cells if c is not None})[:12])}",
            )
        # A missing group is no other group: it is refused, or dropped and counted, below.
        keep = [cell is None or cell in spec.groups for cell in cells]
        table = table.where(keep, "in other groups")
    kept = table.complete(spec.columns, drop_missing=spec.drop_missing)
    if spec.id is not None:
        kept.unique(spec.id)
    return kept


def _event_notes(kept: Table, spec: SurvivalSpec) -> tuple[str, ...]:
    if spec.event_value is None:
        return ()
    others = Counter(c for c in kept.labels(spec.event) if c != spec.event_value)
    listed = ", ".join(f"{value} ({count})" for value, count in others.most_common(6))
    return (f"the event is {spec.event_value!r}; taken as censored: {listed}",) if listed else ()


def _group_names(labels: list[str], column: str) -> tuple[str, ...]:
    used = set(labels)
    if len(used) > MOST_GROUPS:
        raise InputError(
            f"the column {column} has {len(used)} different values, too many for groups "
            f"(at most {MOST_GROUPS})",
            hint="for a number use --risk COLUMN with --cut, or --covariates COLUMN; or name "
            "some groups with --groups",
        )
    return tuple(name for name in find_scale(labels).names if name in used)


def _compared(
    outcome: Outcome, labels: list[str], names: tuple[str, ...], level: float
) -> tuple[dict[str, KaplanMeier], LogRank | None]:
    if not labels:
        return {}, None
    group = np.array(labels)
    test = log_rank(outcome, labels, order=names)
    return {n: kaplan_meier(outcome.where(group == n), level=level) for n in names}, test


def _discrimination(
    kept: Table, outcome: Outcome, spec: SurvivalSpec
) -> tuple[Discrimination | None, tuple[str, ...]]:
    if spec.risk is None:
        return None, ()
    risk = kept.numbers(spec.risk)
    harrell = harrell_c(outcome, risk, level=spec.level)
    uno = uno_c(outcome, risk, tau=spec.tau, level=spec.level)
    notes: list[str] = []
    # Without an interval (every pair the wrong way round) the value itself decides.
    if (harrell.value if harrell.high is None else harrell.high) < 0.5:
        notes.append(
            f"a higher {spec.risk} goes with a LATER event (C {harrell.value:.3f}): it is no risk; "
            "turn its sign round"
        )
    if uno.counts["largest weight"] > LARGEST_WEIGHT:
        notes.append(
            f"one event counts for {uno.counts['largest weight']:,.0f} patients in Uno's C: almost "
            "all were censored before it; give an earlier --tau"
        )
    aucs: list[TimeAuc] = []
    for time in spec.at:
        try:
            aucs.append(time_auc(outcome, risk, time, level=spec.level))
        except UndefinedStatistic as error:
            # One time outside the follow-up must not take the others with it.
            notes.append(error.message)
    return Discrimination(spec.risk, harrell, uno, tuple(aucs)), tuple(notes)


def _model(kept: Table, outcome: Outcome, spec: SurvivalSpec) -> CoxModel | None:
    if not spec.covariates:
        return None
    columns = {
        name: kept.numbers(name) if kept.is_numeric(name) else kept.labels(name)
        for name in spec.covariates
    }
    return cox(outcome, columns, level=spec.level)
