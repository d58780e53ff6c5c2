"""What the readers said: their scores by slide, one consensus, and how far they agree.

*HER2 scores*: the consensus is the lower median, a category that a reader gave; where two camps
are of equal size the lower one is taken, so that a calibration never learns to over-call from a
split vote. *H-scores and percentages*: the ordinary median. A slide counts as soon as one reader
read it; agreement is of the slides that all read.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.measure.markers import Marker
from herscope.stats.table import Table, number_of

What = Literal["her2", "h-score", "positive"]

HER2_RANK: Final = {"negative": 0, "0": 0, "1": 1, "1+": 1, "2": 2, "2+": 2, "3": 3, "3+": 3}
SCORES: Final = ("0", "1+", "2+", "3+")
TOP: Final[dict[What, float]] = {"her2": 3, "h-score": 300, "positive": 100}
NAMED: Final = 8


@dataclass(frozen=True)
class Reading:
    """The readers' scores of n slides.

    ``values`` is (readers, n), NaN where a reader did not read; HER2 scores are 0 to 3.
    """

    what: What
    guessed: str
    readers: tuple[str, ...]
    slides: tuple[str, ...]
    patients: tuple[str, ...]
    values: NDArray[np.float64]
    unread: tuple[str, ...]

    @property
    def consensus(self) -> NDArray[np.float64]:
        """(n,) the readers' median; see the module for ties."""
        out = []
        for column in self.values.T:
            read = np.sort(column[~np.isnan(column)])
            lower = read[(len(read) - 1) // 2]
            out.append(lower if self.what == "her2" else float(np.median(read)))
        return np.array(out)

    @property
    def split(self) -> tuple[str, ...]:
        """Slides on which the readers divide into two equal camps of HER2 scores."""
        if self.what != "her2":
            return ()
        found = []
        for slide, column in zip(self.slides, self.values.T, strict=True):
            read = np.sort(column[~np.isnan(column)])
            if len(read) % 2 == 0 and read[len(read) // 2] != read[len(read) // 2 - 1]:
                found.append(slide)
        return tuple(found)

    def keep(self, names: Sequence[str]) -> Reading:
        """Return the reading of these slides, in this order."""
        place = {slide: i for i, slide in enumerate(self.slides)}
        at = [place[name] for name in names]
        return Reading(
            self.what,
            self.guessed,
            self.readers,
            tuple(names),
            tuple(self.patients[i] for i in at),
            self.values[:, at],
            self.unread,
        )

    def agreement(self) -> dict[str, Any] | None:
        """Coefficients of the readers among themselves; None with a single reader."""
        if len(self.readers) < 2:
            return None
        from herscope.stats.agreement.agreement_report import AgreementSpec
        from herscope.stats.agreement.agreement_summary import (
            categorical_agreement,
            continuous_agreement,
        )

        whole = ~np.isnan(self.values).any(axis=0)
        values = self.values[:, whole]
        try:
            if self.what == "her2":
                report = categorical_agreement(
                    {
                        name: [SCORES[int(v)] for v in row]
                        for name, row in zip(self.readers, values, strict=True)
                    },
                    AgreementSpec(order=SCORES),
                )
            else:
                report = continuous_agreement(dict(zip(self.readers, values, strict=True)))
        except (InputError, UndefinedStatistic) as error:
            return {"n": int(whole.sum()), "why_not": error.message}
        told = report.document()
        return {"n": told["n"], "coefficients": told["coefficients"]}


def read_readings(
    table: Table,
    known: Sequence[str],
    marker: Marker,
    *,
    readers: Sequence[str] | None = None,
    slide: str = "slide",
    patient: str | None = None,
    what: What | None = None,
) -> Reading:
    """Take the readers' scores from a table.

    Parameters
    ----------
    table
        One row a slide.
    known
        Slides of the run; a slide file's name with its ending is understood as well.
    marker
        Of the run.
    readers
        Columns; every column but slide and patient when None.
    slide, patient
        Columns with the slide's name and, where slides share patients, the patient's.
    what
        What the scores are; seen from marker and values when None.

    Raises
    ------
    SchemaError
        A column does not exist.
    InputError
        A slide is unknown or stands twice, a value is no such score, or it is unclear what the
        values are.
    """
    table.unique(slide)
    names = _match(table, table.labels(slide), known, slide)
    patients = table.labels(patient) if patient is not None else list(names)
    columns = list(readers or (c for c in table.columns if c not in {slide, patient}))
    if not columns:
        raise InputError(f"{table.name} has no column with scores", hint="give one a reader")
    twice = next((c for c in columns if columns.count(c) > 1), None)
    if twice is not None or {slide, patient} & set(columns):
        raise InputError(
            f"the column {twice or slide!r} cannot be a reader", hint="name each reader once"
        )
    cells = {name: table.column(name) for name in columns}
    found, guessed = (what, "") if what is not None else _guess(cells, marker)
    if found == "her2" and not marker.her2:
        raise InputError(
            f"HER2 scores cannot be read for the marker {marker.name}",
            hint="give --marker her2-breast if that was stained, or --what h-score",
        )
    values = np.array(
        [[_value(table, row, name, found) for row in range(len(table))] for name in columns]
    )
    if found == "her2" and marker.name == "her2-colorectal":
        values[values == 1] = 0  # HERACLES does not grade negative cases
    read = ~np.isnan(values).all(axis=0)
    if not read.any():
        raise InputError(
            f"{table.name}: no slide has a score in {', '.join(columns)}",
            hint="name the readers' columns with --reader",
        )
    at = np.flatnonzero(read).tolist()
    return Reading(
        what=found,
        guessed=guessed,
        readers=tuple(columns),
        slides=tuple(names[i] for i in at),
        patients=tuple(patients[i] for i in at),
        values=values[:, at],
        unread=tuple(name for name in known if name not in {names[i] for i in at}),
    )


def _match(table: Table, labels: Sequence[str], known: Sequence[str], column: str) -> list[str]:
    by_name = {name: name for name in known}
    out, unknown = [], []
    for label in labels:
        # Slides are named after their files, without the ending.
        name = by_name.get(label) or by_name.get(label.rpartition(".")[0])
        out.append(name or "")
        if name is None:
            unknown.append(label)
    if unknown:
        near = [
            f"{label} -> {close[0]}"
            for label in unknown[:NAMED]
            if (close := difflib.get_close_matches(label, known, n=1, cutoff=0.5))
        ]
        shown = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        raise InputError(
            f"{table.name}, column {column}: {len(unknown)} of {len(labels)} slides are not in the "
            f"run: {shown}",
            hint=f"did you mean {'; '.join(near)}?" if near else f"the run has {_few(known)}",
        )
    twice = next((name for name in out if out.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{table.name}: two rows mean the slide {twice!r}", hint="keep one row a slide"
        )
    return out


def _guess(cells: Mapping[str, Sequence[str | None]], marker: Marker) -> tuple[What, str]:
    said = [cell for column in cells.values() for cell in column if cell is not None]
    if said and all(cell in HER2_RANK for cell in said):
        if marker.her2:
            return "her2", "read as HER2 scores; --what h-score or positive takes them as numbers"
        if any(cell.endswith("+") for cell in said):
            return "her2", ""  # refused with the reason
        raise InputError(
            f"scores from 0 to 3 for the marker {marker.name}: H-scores or percentages?",
            hint="say so: --what h-score or --what positive",
        )
    numbers = [value for cell in said if (value := number_of(cell)) is not None]
    if numbers and max(numbers) > TOP["positive"]:
        return "h-score", f"read as H-scores: values up to {max(numbers):g}"
    if marker.reading is not None or marker.name == "pdl1":
        return "positive", f"read as percent positive: {marker.title}, values up to 100"
    return "h-score", "read as H-scores; --what positive takes them as percentages"


def _value(table: Table, row: int, column: str, what: What) -> float:
    cell = table.column(column)[row]
    if cell is None:
        return float("nan")
    place = f"{table.name}, row {table.rows[row]}, column {column}"
    if what == "her2":
        if cell not in HER2_RANK:
            raise InputError(
                f"{place}: {cell!r} is no HER2 score",
                hint="0, 1+, 2+ or 3+; leave the cell empty where nobody scored, and name the "
                "readers' columns with --reader if this is none",
            )
        return HER2_RANK[cell]
    number = number_of(cell)
    if number is None or not 0 <= number <= TOP[what]:
        name = "an H-score" if what == "h-score" else "a percentage"
        raise InputError(
            f"{place}: {cell!r} is not {name} from 0 to {TOP[what]:g}",
            hint="correct the cell, or name the readers' columns with --reader",
        )
    return number


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
