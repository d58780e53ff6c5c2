"""The columns of a Cox model, and the checks that the data can decide their coefficients.

Numbers stay as they are. Texts become one indicator per category beside the first in order, which
is the reference. Refused, by name: a covariate that never changes; one that follows from others
(Gram-Schmidt on standardised columns); and one whose highest, or lowest, value at risk fails at
every event, for which the likelihood rises without end (monotone likelihood: Bryson and Johnson,
Technometrics 1981;23:381). Any fit would give a number for these all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import UndefinedStatistic
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import Floats, numbers, same_length
from herscope.stats.survival.outcome import Outcome


def design_columns(
    covariates: Mapping[str, ArrayLike | Sequence[str]], patients: int
) -> dict[str, Floats]:
    """Return the model's columns by name; texts become indicators against the first category.

    Examples
    --------
    >>> columns = design_columns({"line": ["1", "2+", "1"], "age": [61, 70, 55]}, 3)
    >>> {name: column.tolist() for name, column in columns.items()}
    {'line: 2+ against 1': [0.0, 1.0, 0.0], 'age': [61.0, 70.0, 55.0]}
    """
    if not covariates:
        raise UndefinedStatistic("a Cox model without a covariate", hint="name one or more columns")
    made: dict[str, Floats] = {}
    for name, values in covariates.items():
        array = np.asarray(values)
        same_length(patients=range(patients), **{name: array})
        if array.dtype.kind not in "OUS":
            made[name] = numbers(array, name)
            continue
        labels = clean_labels(array.tolist(), name)
        reference, *others = sorted(set(labels))
        if not others:
            made[name] = np.zeros(patients)
        for other in others:
            flag = np.array([label == other for label in labels], np.float64)
            made[f"{name}: {other} against {reference}"] = flag
    return made


def check_design(outcome: Outcome, design: Mapping[str, Floats]) -> None:
    """Refuse what no likelihood can decide, naming the covariate."""
    events = outcome.events
    if events <= len(design):
        raise UndefinedStatistic(
            f"{events} events for {len(design)} coefficients",
            hint="10 events per coefficient are wanted: name fewer covariates or categories",
        )
    for name, column in design.items():
        if np.ptp(column) == 0:
            raise UndefinedStatistic(
                f"the covariate {name!r} is {column[0]:g} in all {column.size} patients",
                hint="leave it out of --covariates",
            )
    _refuse_collinear(design)
    for name, column in design.items():
        _refuse_separation(outcome, name, column)


def _refuse_collinear(design: Mapping[str, Floats]) -> None:
    kept: list[Floats] = []
    names: list[str] = []
    for name, column in design.items():
        x = (column - column.mean()) / column.std()
        rest = x.copy()
        for _ in range(2):  # twice: one pass of Gram-Schmidt leaves rounding behind
            for basis in kept:
                rest -= basis * float((basis * rest).sum())
        size = float(np.sqrt((rest**2).sum() / x.size))
        if size < 1e-6:
            raise UndefinedStatistic(
                f"the covariate {name!r} follows from {', '.join(map(repr, names))}",
                hint="leave one of them out: their effects cannot be told apart",
            )
        kept.append(rest / np.sqrt((rest**2).sum()))
        names.append(name)


def _refuse_separation(outcome: Outcome, name: str, column: Floats) -> None:
    """At every event the highest (or lowest) value at risk fails: b grows without end."""
    order = np.argsort(-outcome.time, kind="stable")
    time, event, x = outcome.time[order], outcome.event[order], column[order]
    # Patients with the same time are at risk together: read the extreme at the end of the tie.
    last = np.searchsorted(-time, -time, side="right") - 1
    highest, lowest = np.maximum.accumulate(x)[last], np.minimum.accumulate(x)[last]
    for side, extreme in (("highest", highest), ("lowest", lowest)):
        if (x[event] == extreme[event]).all():
            raise UndefinedStatistic(
                f"at every event the {side} {name!r} still at risk fails (separation): the hazard "
                "ratio has no finite value",
                hint="a category without events does this: merge it with another, or leave it out",
            )
