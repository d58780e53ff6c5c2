"""Read the outcome columns of a cohort: RECIST, times in days, events; and label the response.

A cell that cannot be read becomes missing *and* a finding, so that one report can name all of them;
whoever fits a model refuses findings of severity ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.respond.cohort.cohort_spec import DAYS, CohortSpec, OutcomeSpec
from herscope.respond.cohort.findings import Finding, Severity
from herscope.respond.cohort.response import Recist, Response, read_recist, response
from herscope.stats.survival.outcome import Outcome
from herscope.stats.table import Table, number_of

_YES: Final = frozenset({"1", "1.0", "true", "yes", "y"})
_NO: Final = frozenset({"0", "0.0", "false", "no", "n"})


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Time and event of one endpoint for every patient.

    Attributes
    ----------
    days
        (patients,) days, NaN where missing.
    event
        (patients,) True when the event was seen; False also where it is missing.
    known
        (patients,) bool: time and event are both there.
    """

    days: NDArray[np.float64]
    event: NDArray[np.bool_]
    known: NDArray[np.bool_]

    def outcome(self, keep: NDArray[np.bool_] | None = None) -> Outcome:
        """Return the outcome of the patients to keep, of those who have one.

        Raises
        ------
        UndefinedStatistic
            No patient has it.
        """
        used = self.known if keep is None else self.known & keep
        if not used.any():
            raise UndefinedStatistic(
                "no patient has both a time and an event", hint="name both columns in [outcome]"
            )
        return Outcome(time=self.days[used], event=self.event[used])


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcome of every patient, in the order of the table.

    Attributes
    ----------
    recist
        (patients,) best response, None where missing.
    pfs, os
        Progression-free and overall survival.
    responses
        (patients,) the label with its reason.
    findings
        Cells that cannot be read.
    """

    recist: tuple[Recist | None, ...]
    pfs: FollowUp
    os: FollowUp
    responses: tuple[Response, ...]
    findings: tuple[Finding, ...]


def read_outcomes(table: Table, patients: tuple[str, ...], spec: CohortSpec) -> Outcomes:
    """Read the outcome of every row.

    Raises
    ------
    SchemaError
        A column that was named is not there.
    """
    columns = spec.outcome
    severity: Severity = "warning" if spec.tokens.on_unknown == "missing" else "error"
    found: list[Finding] = []

    def read(name: str | None, understood: Callable[[str], Any], allowed: str) -> list[Any]:
        cells = (None,) * len(table) if name is None else table.column(name)
        values: list[Any] = []
        for row, patient, cell in zip(table.rows, patients, cells, strict=True):
            value = None if cell is None else understood(cell)
            values.append(value)
            if cell is not None and value is None:
                found.append(
                    Finding(
                        severity,
                        "unreadable-outcome",
                        f"column {name}: {cell!r} cannot be read ({allowed}); taken as missing",
                        "correct the cell",
                        row,
                        patient,
                        {str(name): cell},
                    )
                )
        return values

    recist = read(columns.recist, read_recist, "CR, PR, SD, PD, NE, non-CR/non-PD")
    follow_ups: list[FollowUp] = []
    for time, event in ((columns.pfs_time, columns.pfs_event), (columns.os_time, columns.os_event)):
        days = read(time, lambda text: days_of(text, columns), "a number, 0 or more")
        events = read(event, flag_of, "1 or 0, yes or no")
        follow_ups.append(_follow_up(days, events))
    pfs, os = follow_ups
    responses = tuple(
        response(best, _known(pfs.days[i]), _event(pfs, i), spec.response)
        for i, best in enumerate(recist)
    )
    return Outcomes(tuple(recist), pfs, os, responses, tuple(found))


def flag_of(text: str) -> bool | None:
    """Read yes or no.

    >>> flag_of("Yes"), flag_of("0"), flag_of("perhaps")
    (True, False, None)
    """
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else None


def days_of(text: str, columns: OutcomeSpec) -> float | None:
    """Read a time as days.

    >>> days_of("8", OutcomeSpec(time_unit="months")), days_of("-1", OutcomeSpec())
    (243.5, None)
    """
    number = number_of(text)
    return None if number is None or number < 0 else number * DAYS[columns.time_unit]


def status_cells(table: Table, name: str | None) -> Iterator[bool | None]:
    """Yield a status column as yes, no or missing."""
    if name is not None:
        for cell in table.column(name):
            yield None if cell is None else flag_of(cell)


def _follow_up(days: list[float | None], events: list[bool | None]) -> FollowUp:
    time = np.array([np.nan if day is None else day for day in days], np.float64)
    event = np.array([bool(flag) for flag in events], np.bool_)
    there = np.array([flag is not None for flag in events], np.bool_)
    return FollowUp(time, event, there & ~np.isnan(time))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _event(follow_up: FollowUp, place: int) -> bool | None:
    return bool(follow_up.event[place]) if follow_up.known[place] else None
