"""Dates that cannot be: out of order, unreadable, or another length than the time beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import combinations
from typing import Final

from herscope.respond.cohort.cohort import Cohort
from herscope.respond.cohort.findings import Finding

ORDER: Final = ("birth", "diagnosis", "start", "progression", "last_seen")
DAYS_ALLOWED: Final = 31.0
"""A time and the dates beside it may differ by a month: times are rounded, scans are scheduled."""


def date_findings(cohort: Cohort) -> Iterator[Finding]:
    """Compare the dates of each patient with each other and with PFS and OS."""
    columns = {name: getattr(cohort.spec.dates, name) for name in ORDER}
    used = {name: column for name, column in columns.items() if column is not None}
    cells = {name: cohort.table.column(column) for name, column in used.items()}
    for place, (row, patient) in enumerate(zip(cohort.table.rows, cohort.patients, strict=True)):
        dates: dict[str, date] = {}
        for name, column in cells.items():
            text = column[place]
            if text is None:
                continue
            day = _date(text)
            if day is not None:
                dates[name] = day
                continue
            yield Finding(
                "warning",
                "unreadable-date",
                f"column {used[name]}: {text!r} is no date",
                "write dates as 2021-03-25",
                row,
                patient,
                {name: text},
            )
        yield from _order(dates, row, patient)
        yield from _lengths(cohort, place, dates, row, patient)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _order(dates: dict[str, date], row: int, patient: str) -> Iterator[Finding]:
    there = [name for name in ORDER if name in dates]
    for first, second in combinations(there, 2):
        if dates[second] < dates[first]:
            yield Finding(
                "error",
                "dates-out-of-order",
                f"{second.replace('_', ' ')} on {dates[second]} is before {first} on "
                f"{dates[first]}",
                "look the dates up; times made from them are wrong as well",
                row,
                patient,
                {first: dates[first].isoformat(), second: dates[second].isoformat()},
            )


def _lengths(
    cohort: Cohort, place: int, dates: dict[str, date], row: int, patient: str
) -> Iterator[Finding]:
    pairs = (
        ("progression", cohort.outcomes.pfs, "progression-free time"),
        ("last_seen", cohort.outcomes.os, "survival time"),
    )
    for name, follow_up, said in pairs:
        if name not in dates or "start" not in dates or not follow_up.known[place]:
            continue
        if name == "progression" and not follow_up.event[place]:
            yield Finding(
                "warning",
                "progression-date-without-event",
                f"progression on {dates[name]}, and the event column says censored",
                "find out which is right",
                row,
                patient,
            )
            continue
        days = float((dates[name] - dates["start"]).days)
        stated = float(follow_up.days[place])
        # A death is an event of PFS too, so its time may end before the date of a progression.
        if days >= 0 and abs(days - stated) > DAYS_ALLOWED:
            yield Finding(
                "warning",
                "time-differs-from-dates",
                f"the {said} is {stated:g} days, the dates are {days:g} days apart",
                "check the unit of the times and the start from which they run",
                row,
                patient,
                {"stated_days": stated, "days_between_dates": days},
            )
