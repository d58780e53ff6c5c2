"""What in a cohort contradicts itself or is missing altogether. Nothing is corrected here.

Each finding names row, patient, values and what to do. Errors are what would make a model or a
statistic wrong for certain (a patient twice, dates out of order); warnings are what a person must
look up; notes are gaps that are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from herscope.respond.cohort.cohort import Cohort
from herscope.respond.cohort.cohort_spec import DAYS
from herscope.respond.cohort.date_order import date_findings
from herscope.respond.cohort.findings import Finding, by_severity
from herscope.respond.cohort.outcomes import status_cells
from herscope.stats.table import number_of

_LOOK_UP: Final = "look it up in the records; nothing here can know which is right"
LONGEST_DAYS: Final = 36_525.0
"""A hundred years."""
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
        _long_times,
        _statuses,
        _progression,
        _stated_labels,
        _same_record,
        _files,
        _sampling,
        _headings,
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


def _long_times(cohort: Cohort) -> Iterator[Finding]:
    """Find times no person lives through: of another unit, or dates read as numbers."""
    unit = cohort.spec.outcome.time_unit
    for name, follow_up in (("PFS", cohort.outcomes.pfs), ("OS", cohort.outcomes.os)):
        for place, row, patient in _rows(cohort):
            days = float(follow_up.days[place])
            if follow_up.known[place] and days > LONGEST_DAYS:
                said = f"{name} of {days:g} days ({days / DAYS['years']:,.0f} years)"
                advice = f"is the unit {unit}? set time_unit in [outcome], or correct the cell"
                values = {f"{name.lower()}_days": days}
                yield Finding("error", "time-too-long", said, advice, row, patient, values)


def _files(cohort: Cohort) -> Iterator[Finding]:
    """Find masks without a CT to lie on, and CT in which nothing says where lesions are."""
    files = cohort.files
    none: tuple[tuple[Path, ...], ...] = ((),) * len(cohort)
    scans, masks, boxes = (files.get(name, none) for name in ("ct", "ct_mask", "lesions"))
    for place, row, patient in _rows(cohort):
        lone = [path.name for path in (*masks[place], *boxes[place])]
        if lone and not scans[place]:
            said = f"{lone[0]} has no CT to lie on: no file of [files.ct] is this patient's"
            advice = "name the CT, or take the mask away: without its CT it is not used"
            yield Finding("warning", "mask-without-ct", said, advice, row, patient)
        if scans[place] and not lone:
            said = f"{scans[place][0].name} has neither mask nor lesion table"
            advice = "name a mask under [files.ct_mask] or boxes under [files.lesions]; herscope "
            advice += "respond fit refuses such a CT, or takes it as missing (on_missing_mask)"
            yield Finding("warning", "ct-without-lesions", said, advice, row, patient)


def _sampling(cohort: Cohort) -> Iterator[Finding]:
    """Find files of a modality that was never sampled by what the table says."""
    for modality, token in (("bags", "pathology_time"), ("ct", "radiology_time")):
        if token not in cohort.tokens.names or modality not in cohort.files:
            continue
        timed = cohort.tokens.present[:, cohort.tokens.names.index(token)]
        if not timed.any():
            continue
        for place, row, patient in _rows(cohort):
            if bool(cohort.files[modality][place]) and not timed[place]:
                said = f"there are files of {modality}, and {token} says that there are none"
                advice = "correct the column; the files are used, without a time"
                yield Finding("warning", "time-against-files", said, advice, row, patient)


def _headings(cohort: Cohort) -> Iterator[Finding]:
    """Find tokens without a column where a heading differs from theirs in its letters only."""
    used = cohort.spec.tokens.columns
    alike = {_letters(name): name for name in cohort.table.columns}
    for token in (token for one in cohort.sets for token in one.token):
        asked = token.column or token.name
        found = alike.get(_letters(asked))
        if token.name in used or found is None or asked in cohort.table.columns:
            continue
        yield Finding(
            "warning",
            "heading-not-used",
            f"column {found} is not read: token {token.name} is taken from {asked}, letter by "
            "letter",
            f'write {token.name} = "{found}" under [tokens.columns], or rename the column',
            values={"token": token.name, "column": found},
        )


def _letters(heading: str) -> str:
    return "".join(sign for sign in heading.casefold() if sign.isalnum())


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
    if (cohort.labels < 0).all():
        said = f"column {name} is there, and no outcome from which a label could be made by rule"
        advice = "name recist, or pfs_time and pfs_event: a stated label is never used as the truth"
        yield Finding("warning", "label-differs", said, advice, values={"column": name})
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
