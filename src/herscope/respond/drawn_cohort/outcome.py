"""What became of a drawn patient: RECIST, PFS, OS and dates that agree with the label's rule.

Whoever is lost early has no decisive RECIST and is last seen without progression before the cut-off
of 240 days: no label, by design as often with a response as without. Of the others the rule of
:mod:`herscope.respond.cohort.response` gives back the label that was drawn. Death follows
progression; responders live longer after it. Numbers of days are whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from herscope.respond.cohort.cohort_spec import CUT_DAYS
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec, PatientPlan, generator

CUT: Final = int(CUT_DAYS)
FIRST_START: Final = date(2008, 1, 7)
START_DAYS: Final = 5_400
"""Treatments start over fifteen years."""
RESPONSES: Final = (("PR", 0.55), ("CR", 0.08), ("SD", 0.32), ("", 0.05))
NON_RESPONSES: Final = (("PD", 0.55), ("SD", 0.40), ("", 0.05))
UNDECIDED: Final = (("SD", 0.7), ("NE", 0.15), ("", 0.15))
DIED_FIRST: Final = 0.08
"""Share of PFS events that are deaths without a progression before."""
DAYS_AFTER: Final = (170.0, 340.0)
"""Mean days from progression to death without and with a response."""
READER_RIGHT: Final = 0.65
READERS: Final = ("reader_1", "reader_2")


@dataclass(frozen=True, slots=True)
class DrawnOutcome:
    """Outcome of a patient.

    Attributes
    ----------
    recist
        Best response; empty where nobody wrote it down.
    pfs_days, pfs_event, os_days, os_event
        Days, and 1 for an event.
    diagnosis, start, last_seen
        Dates.
    progression
        Its date; None without one.
    """

    recist: str
    pfs_days: int
    pfs_event: int
    os_days: int
    os_event: int
    diagnosis: date
    start: date
    progression: date | None
    last_seen: date


def draw_outcome(spec: DrawnCohortSpec, plan: PatientPlan) -> DrawnOutcome:
    """Draw the outcome of a patient.

    Examples
    --------
    >>> from herscope.respond.drawn_cohort.spec import plan_patient
    >>> spec = DrawnCohortSpec()
    >>> one = draw_outcome(spec, plan_patient(spec, 0))
    >>> one.pfs_days <= one.os_days, one.start < one.last_seen
    (True, True)
    """
    rng = generator(spec, "outcome", plan.number)
    start = FIRST_START + timedelta(days=int(rng.integers(START_DAYS)))
    diagnosis = start - timedelta(days=int(rng.integers(7, 120)))
    recist, pfs, event = _progression(rng, plan)
    died_first = bool(rng.uniform() < DIED_FIRST)
    after = 14 + int(rng.exponential(DAYS_AFTER[plan.label]))
    seen_on, died = int(rng.integers(0, 60)), bool(rng.uniform() < 0.7)
    if not event:
        os_days, death = pfs + seen_on, 0
    elif died_first and recist != "PD":
        os_days, death = pfs, 1
    else:
        os_days, death = pfs + after, int(died)
    progressed = event and os_days > pfs
    return DrawnOutcome(
        recist,
        pfs,
        event,
        os_days,
        death,
        diagnosis,
        start,
        start + timedelta(days=pfs) if progressed else None,
        start + timedelta(days=os_days),
    )


def draw_readers(spec: DrawnCohortSpec, plan: PatientPlan) -> tuple[int, ...]:
    """Guess the response as two readers who are right in 65 of 100 patients."""
    right = generator(spec, "readers", plan.number).uniform(size=len(READERS)) < READER_RIGHT
    return tuple(plan.label if one else 1 - plan.label for one in right.tolist())


def _progression(rng: np.random.Generator, plan: PatientPlan) -> tuple[str, int, int]:
    """Return RECIST, days and event of PFS."""
    if plan.lost_early:
        return pick(rng, UNDECIDED), int(rng.integers(30, CUT + 1)), 0
    if not plan.label:
        recist = pick(rng, NON_RESPONSES)
        days = rng.integers(20, 100) if recist == "PD" else rng.integers(45, CUT + 1)
        return recist, int(days), 1
    recist = pick(rng, RESPONSES)
    earliest = 60 if recist in {"PR", "CR"} else CUT + 1
    longer = int(rng.exponential(280.0 if earliest < CUT else 160.0))
    return recist, earliest + longer, int(rng.uniform() < 0.75)


def pick(rng: np.random.Generator, shares: tuple[tuple[str, float], ...]) -> str:
    """Choose a word by its share.

    >>> pick(np.random.Generator(np.random.PCG64(0)), (("a", 0.0), ("b", 1.0)))
    'b'
    """
    edges = np.cumsum([share for _, share in shares])
    place = int(np.searchsorted(edges, float(rng.uniform()) * edges[-1], side="right"))
    return shares[min(place, len(shares) - 1)][0]
