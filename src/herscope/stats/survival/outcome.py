"""The outcome of survival analysis: how long each patient was followed, and whether the event came.

One typed value carries both, made by keyword only, so that time and event cannot change places: a
time column of nothing but 0 and 1 is refused, and so is an event column of other values unless the
caller says which of them is the event. ``event`` is True when the event happened at ``time`` and
False when the patient was last seen without it (right censoring).

Patients at the same time: events come before censorings, so a patient censored at t is at risk at
t (Kaplan and Meier, J Am Stat Assoc 1958;53:457, section 2.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import Floats, numbers, same_length
from herscope.stats.table import Table, number_of

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

TRUE, FALSE = {"true", "1"}, {"false", "0"}
VALUES_SHOWN = 6


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """Follow-up time and event of every patient.

    Parameters
    ----------
    time
        (n,) follow-up from the start, 0 or more, in one unit (days, months).
    event
        (n,) True or 1 when the event happened at ``time``, False or 0 when censored then.

    Raises
    ------
    InputError
        Missing values, negative times, other events than true, false, 1 and 0, different lengths,
        or times that are all 0 or 1 (then the two are probably swapped).
    UndefinedStatistic
        Without patients.

    Examples
    --------
    >>> outcome = Outcome(time=[42, 202, 155], event=[0, 1, True])
    >>> len(outcome), outcome.events
    (3, 2)
    """

    time: Floats
    event: Flags

    def __post_init__(self) -> None:
        time = numbers(self.time, "time", minimum=0.0).copy()
        event = event_flags(self.event)
        if not same_length(time=time, event=event):
            raise UndefinedStatistic("there are no patients", hint="give one row per patient")
        _refuse_swapped(time, "time")
        for array in (time, event):
            array.setflags(write=False)
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "event", event)

    def __len__(self) -> int:
        return self.time.size

    @property
    def events(self) -> int:
        """Patients who had the event."""
        return int(np.count_nonzero(self.event))

    @property
    def counts(self) -> dict[str, int]:
        """Events and censored patients by name."""
        return {"events": self.events, "censored": len(self) - self.events}

    def where(self, keep: Flags) -> Outcome:
        """Return the patients to keep."""
        if not keep.any():
            raise UndefinedStatistic("no patient is left", hint="check what is left out")
        made = object.__new__(Outcome)
        # Checked once; a group of early patients may well have times of only 0 and 1.
        for name, array in (("time", self.time[keep]), ("event", self.event[keep])):
            array.setflags(write=False)
            object.__setattr__(made, name, array)
        return made


@dataclass(frozen=True, slots=True, eq=False)
class RiskTable:
    """Counts at each distinct time, rising: what every statistic of survival is made from.

    Parameters
    ----------
    time
        (t,) distinct times of events and censorings.
    at_risk, events, censored
        (t,) patients with this time or a later one, events and censorings at it.
    """

    time: Floats
    at_risk: Ints
    events: Ints
    censored: Ints


def risk_table(outcome: Outcome) -> RiskTable:
    """Count patients at risk, events and censorings at each distinct time.

    Examples
    --------
    >>> risk_table(Outcome(time=[5, 8, 8, 9], event=[1, 1, 0, 1])).at_risk.tolist()
    [4, 3, 1]
    """
    times, index = np.unique(outcome.time, return_inverse=True)
    leaving = np.bincount(index, minlength=times.size)
    events = np.bincount(index[outcome.event], minlength=times.size)
    at_risk = leaving[::-1].cumsum()[::-1]
    return RiskTable(times, at_risk, events, leaving - events)


def outcome_of(table: Table, time: str, event: str, *, event_value: str | None = None) -> Outcome:
    """Read the outcome from two columns of a table; messages name the row of the file.

    Parameters
    ----------
    table
        Complete in both columns.
    time, event
        Column names.
    event_value
        The cell that means the event happened; every other cell is then a censoring.

    Raises
    ------
    SchemaError
        There is no such column.
    InputError
        As for :class:`Outcome` and :func:`event_flags`.

    Examples
    --------
    >>> from herscope.stats.table import from_columns
    >>> table = from_columns({"months": [3, 12.5], "status": ["DECEASED", "LIVING"]})
    >>> outcome_of(table, "months", "status", event_value="DECEASED").event
    array([ True, False])
    """
    if time == event:
        raise InputError(
            f"the column {time!r} was named as time and as event",
            hint="--time is how long the patient was followed, --event whether the event happened",
        )
    values = table.numbers(time)
    early = np.flatnonzero(values < 0)
    if early.size:
        raise InputError(
            f"{table.name}, row {table.rows[early[0]]}, column {time}: "
            f"the time {values[early[0]]:g} is negative ({early.size} such of {values.size})",
            hint="times run from the start of follow-up and are 0 or more; check the dates",
        )
    _refuse_swapped(values, f"{table.name}, column {time}")
    what = f"{table.name}, column {event}"
    if table.dropped:
        # Where only patients without the event have a time, this is why the event is not found.
        what += f" ({sum(table.dropped.values()):,} patients left out)"
    flags = event_flags(table.labels(event), what, event_value=event_value, rows=table.rows)
    return Outcome(time=values, event=flags)


def event_flags(
    values: ArrayLike | Sequence[Any],
    what: str = "event",
    *,
    event_value: str | None = None,
    rows: Sequence[int] | None = None,
) -> Flags:
    """Return (n,) booleans: whether the event happened.

    Parameters
    ----------
    values
        (n,) booleans, 0 and 1, or the texts ``true``, ``false``, ``0``, ``1``; anything when
        ``event_value`` is given.
    what
        Name for messages.
    event_value
        The value that means the event happened; compared as a number where both are numbers.
    rows
        Row numbers for messages; 1, 2, ... when absent.

    Raises
    ------
    InputError
        A value has no stated meaning, or ``event_value`` does not occur.

    Examples
    --------
    >>> event_flags(["1", "0.0", "true"])
    array([ True, False,  True])
    >>> event_flags(["dead", "alive"], event_value="dead")
    array([ True, False])
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{what} has the shape {array.shape}", hint="give one value per patient")
    if array.dtype == np.bool_:
        return array.copy()
    words = [_word(value) for value in array.tolist()]
    if event_value is not None:
        wanted = _word(event_value)
        if wanted not in words:
            raise InputError(
                f"{what}: no row has the event value {event_value!r}",
                hint=f"the values are {_listed(words)}",
            )
        return np.array([word == wanted for word in words], np.bool_)
    odd = next((i for i, word in enumerate(words) if word.lower() not in TRUE | FALSE), None)
    if odd is not None:
        row = rows[odd] if rows is not None else odd + 1
        several = len(set(words)) > VALUES_SHOWN
        raise InputError(
            f"{what}, row {row}: {words[odd]!r} does not say whether the event happened "
            "(understood: 1, 0, true, false)",
            hint="are time and event swapped? the event column has many different values"
            if several and number_of(words[odd]) is not None
            else f"say which value is the event with --event-value; values: {_listed(words)}",
        )
    return np.array([word.lower() in TRUE for word in words], np.bool_)


def _word(value: Any) -> str:
    """One spelling per value: 1, 1.0 and "1.0" are ``1``."""
    text = " ".join(str(value).split())
    number = number_of(text)
    return text if number is None else f"{number:.15g}"


def _listed(words: list[str]) -> str:
    counts = Counter(words).most_common()
    shown = ", ".join(f"{word!r} ({n})" for word, n in counts[:VALUES_SHOWN])
    return shown + (", ..." if len(counts) > VALUES_SHOWN else "")


def _refuse_swapped(time: Floats, what: str) -> None:
    if time.size > 1 and np.isin(time, (0.0, 1.0)).all():
        raise InputError(
            f"{what}: every time is 0 or 1",
            hint="time and event may be swapped: time is how long the patient was followed",
        )
