"""What in a cohort contradicts itself or is missing altogether. Nothing is corrected here.

Each finding names row, patient, values and what to do. Errors are what would make a model or a
statistic wrong for certain (a patient twice, dates out of order); warnings are what a person must
look up; notes are gaps that are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from herscope.respond.cohort.cohort import Cohort
from herscope.respond.cohort.date_order import date_findings
from herscope.respond.cohort.findings import Finding, by_severity
from herscope.respond.cohort.outcomes import status_cells
from herscope.stats.table import number_of

_LOOK_UP: Final = "look it up in the records; nothing here can know which is right"
FEWEST_CELLS: Final = 8
"""Equal values that make two patients suspicious of being one."""


def consistency(cohort: Cohort) -> tuple[Finding, ...]:
    """Return everything found in a cohort, errors first.

    Parameters
    ----------
    cohort
        Read with ``strict=False``, or its reading errors have been raised already.
    """
    checks: tuple[Callable[[Cohort], Iterable[Finding]], ...] = (
        lambda one: one.findings,
        date_findings,
        _times,
        _statuses,
        _progression,
        _stated_labels,
        _same_record,
        _gaps,
        _classes,
    )
    return by_severity(finding for check in checks for finding in check(cohort))


def apart(first: Cohort, second: Cohort) -> tuple[Finding, ...]:
    """Return the patients that stand in two cohorts, such as training and external test."""
    at = dict(zip(second.patients, second.table.rows, strict=True))
    return tuple(
        Finding(
            "error",
            "patient-in-two-cohorts",
            f"patient {patient!r} is in {first.spec.name} and in {second.spec.name} "
            f"(row {at[patient]})",
            "leave the patient out of one of them: a test on patients trained on proves nothing; "
            "if two people share the number, put the hospital in front of it",
            row,
            patient,
        )
        for row, patient in zip(first.table.rows, first.patients, strict=True)
        if patient in at
    )


def _rows(cohort: Cohort) -> Iterator[tuple[int, int, str]]:
    yield from (
        (place, row, patient)
        for place, (row, patient) in enumerate(zip(cohort.table.rows, cohort.patients, strict=True))
    )


def _times(cohort: Cohort) -> Iterator[Finding]:
    pfs, os = cohort.outcomes.pfs, cohort.outcomes.os
    for place, row, patient in _rows(cohort):
        if not (pfs.known[place] and os.known[place]):
            continue
        free, alive = float(pfs.days[place]), float(os.days[place])
        values = {"pfs_days": free, "os_days": alive}
        if alive < free:
            said = f"survival of {alive:g} days is shorter than {free:g} days without progression"
            yield Finding("error", "os-before-pfs", said, _LOOK_UP, row, patient, values)
        elif os.event[place] and not pfs.event[place] and alive == free:
            said = f"died after {alive:g} days, and is censored for progression on the same day"
            advice = "death without progression is an event of PFS: check the event column"
            yield Finding("warning", "death-without-pfs-event", said, advice, row, patient, values)


def _statuses(cohort: Cohort) -> Iterator[Finding]:
    columns = cohort.spec.outcome
    for status, event, follow_up in (
        (columns.progressed, columns.pfs_event, cohort.outcomes.pfs),
        (columns.died, columns.os_event, cohort.outcomes.os),
    ):
        said = list(status_cells(cohort.table, status))
        for place, row, patient in _rows(cohort) if said else ():
            if said[place] is None or not follow_up.known[place]:
                continue
            if said[place] != bool(follow_up.event[place]):
                yield Finding(
                    "warning",
                    "status-against-event",
                    f"column {status} says {_word(said[place])}, column {event} says "
                    f"{_word(bool(follow_up.event[place]))}",
                    f"{_LOOK_UP}; column {event} is used",
                    row,
                    patient,
                    {str(status): said[place], str(event): bool(follow_up.event[place])},
                )


def _progression(cohort: Cohort) -> Iterator[Finding]:
    pfs, cut = cohort.outcomes.pfs, cohort.spec.response.cut_days
    for place, row, patient in _rows(cohort):
        if cohort.outcomes.recist[place] != "PD" or not pfs.known[place]:
            continue
        days = float(pfs.days[place])
        values = {"recist": "PD", "pfs_days": days}
        if not pfs.event[place]:
            said = f"best response PD, and no progression in {days:g} days of follow-up"
            yield Finding("warning", "pd-without-event", said, _LOOK_UP, row, patient, values)
        elif days > cut:
            said = f"best response PD, and {days:g} days without progression"
            yield Finding("warning", "pd-after-cut-off", said, _LOOK_UP, row, patient, values)


def _stated_labels(cohort: Cohort) -> Iterator[Finding]:
    name = cohort.spec.outcome.label
    if name is None:
        return
    for place, row, patient in _rows(cohort):
        cell = cohort.table.column(name)[place]
        stated = None if cell is None else number_of(cell)
        made = cohort.outcomes.responses[place]
        label = -1 if made.label is None else made.label
        if cell is None or stated == label:
            continue
        yield Finding(
            "warning",
            "label-differs",
            f"column {name} says {cell}, the rule says {label} ({made.explanation})",
            f"the rule's label is used; {_LOOK_UP}",
            row,
            patient,
            {name: cell, "rule": label},
        )


def _same_record(cohort: Cohort) -> Iterator[Finding]:
    """Two ids with the same values everywhere: perhaps one person under two numbers."""
    names = [name for name in cohort.table.columns if name != cohort.spec.patient.id]
    seen: dict[tuple[str | None, ...], tuple[int, str]] = {}
    for place, row, patient in _rows(cohort):
        record = tuple(cohort.table.columns[name][place] for name in names)
        if sum(cell is not None for cell in record) < FEWEST_CELLS:
            continue
        before = seen.setdefault(record, (row, patient))
        if before != (row, patient) and before[1] != patient:
            yield Finding(
                "warning",
                "same-record",
                f"every value is that of patient {before[1]!r} (row {before[0]})",
                "find out whether this is one person under two numbers",
                row,
                patient,
                {"other_patient": before[1], "other_row": before[0]},
            )


def _gaps(cohort: Cohort) -> Iterator[Finding]:
    present = dict(
        zip(cohort.tokens.names, (~cohort.tokens.present).sum(axis=0) < len(cohort), strict=True)
    )
    for one in cohort.sets:
        empty = [token.name for token in one.token if not present[token.name]]
        if len(empty) == len(one.token):
            yield Finding(
                "warning",
                "set-missing-for-all",
                f"all {len(empty)} tokens of {one.name} are missing for every patient",
                "name their columns in [tokens.columns], or take the set out of sets",
            )
            continue
        for name in empty:
            yield Finding(
                "note",
                "token-missing-for-all",
                f"the token {name} of {one.name} is missing for every patient",
                "name its column in [tokens.columns] if there is one",
                values={"token": name},
            )
    for modality, paths in cohort.files.items():
        if not any(paths):
            yield Finding(
                "error",
                "modality-missing-for-all",
                f"no patient has files of {modality}",
                f"check [files.{modality}]; paths are relative to the cohort file",
                values={"modality": modality},
            )


def _classes(cohort: Cohort) -> Iterator[Finding]:
    outcome = cohort.spec.outcome
    for said, column, follow_up in (
        ("PFS", outcome.pfs_event, cohort.outcomes.pfs),
        ("OS", outcome.os_event, cohort.outcomes.os),
    ):
        if column is not None and not follow_up.event[follow_up.known].any():
            advice = "check the coding: 1 is an event; some tables code censoring instead"
            message = f"no patient has an event of {said} (column {column})"
            yield Finding("error", "no-events", message, advice)
    stated = outcome.recist is not None or outcome.pfs_time is not None
    classes = set(np.unique(cohort.labels).tolist()) - {-1}
    if stated and len(classes) < 2:
        only = "no labels"
        if classes:
            only = "only responders" if 1 in classes else "only non-responders"
        advice = "a classifier needs both; survival models can still be fitted"
        yield Finding("error", "one-class", f"the cohort has {only}", advice)


def _word(flag: bool | None) -> str:
    return "yes" if flag else "no"
