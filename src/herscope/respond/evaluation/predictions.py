"""What was predicted for each patient, by members that had not seen the patient.

One row a patient, kept in ``predictions.csv``. The *cut* stands beside every patient because
it is not the same for all: each member has a cut-off from its own validation patients, and a
patient's is the mean over the members that had not seen this patient. Numbers are written so that
reading gives the same bits back.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.store import write_text
from herscope.respond.fusion.patients import PARTS
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Ints

CSV_NAME: Final = "predictions.csv"
COLUMNS: Final = (
    "patient", "label", "probability", "low", "high", "cut", "group", "site", "fold", "parts",
    "members",
)  # fmt: skip
LABELS: Final = (1, 0, -1)
LOW_RISK, HIGH_RISK = "low risk", "high risk"
SHORTENED: Final = 80
_FORMULA: Final = ("=", "+", "-", "@", "'")


@dataclass(frozen=True, slots=True)
class PatientPrediction:
    """One patient's prediction.

    Attributes
    ----------
    patient
        Identifier.
    label
        1 response, 0 none, -1 unknown.
    probability
        Of response, 0 to 1: mean of the members that had not seen the patient.
    low, high
        5th and 95th percentile of these members.
    members
        Their probabilities.
    cut
        On the probability: at or above it the patient is of low risk (response expected).
    parts
        What was known, of :data:`~herscope.respond.fusion.patients.PARTS`.
    site
        Hospital, None where unknown.
    fold
        In which the patient was tested; None outside a cross-validation, or with several repeats.

    Raises
    ------
    InputError
        A number that is no probability, another label, an unknown part, bounds in disorder.

    Examples
    --------
    >>> one = PatientPrediction("p1", 1, 0.7, 0.6, 0.8, (0.6, 0.8), 0.5, ("patient",), None, 0)
    >>> one.group, round(one.risk, 3), one.missing[-1]
    ('low risk', 0.3, 'radiology-report')
    """

    patient: str
    label: int
    probability: float
    low: float
    high: float
    members: tuple[float, ...]
    cut: float
    parts: tuple[str, ...]
    site: str | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        if not self.patient:
            raise InputError("a prediction without a patient", hint="every row needs an id")
        if self.label not in LABELS:
            raise InputError(
                f"patient {self.patient}: the label is {self.label!r}",
                hint="1 response, 0 no response, -1 without a label",
            )
        named = {"probability": self.probability, "low": self.low, "high": self.high}
        for what, value in (*named.items(), *(("member", value) for value in self.members)):
            if not 0.0 <= value <= 1.0:
                raise InputError(
                    f"patient {self.patient}: {what} is {value:g}, no probability (allowed: 0 to "
                    "1)",
                    hint="turn scores into probabilities first",
                )
        if self.low > self.high or not math.isfinite(self.cut):
            raise InputError(
                f"patient {self.patient}: bounds {self.low:g} to {self.high:g}, cut {self.cut:g}",
                hint="low is not above high, and the cut is a number",
            )
        if odd := sorted(set(self.parts) - set(PARTS)):
            raise InputError(
                f"patient {self.patient}: there is no part {odd[0]!r}",
                hint=f"parts are {', '.join(PARTS)}",
            )

    @property
    def risk(self) -> float:
        """1 - probability: higher is worse."""
        return 1.0 - self.probability

    @property
    def group(self) -> str:
        """``low risk`` at or above the cut (response expected), ``high risk`` below it."""
        return LOW_RISK if self.probability >= self.cut else HIGH_RISK

    @property
    def missing(self) -> tuple[str, ...]:
        """Parts that were not known."""
        return tuple(part for part in PARTS if part not in self.parts)


def probabilities_of(rows: Sequence[PatientPrediction]) -> Floats:
    """Return (patients,) probabilities of response."""
    return np.array([row.probability for row in rows], np.float64)


def labels_of(rows: Sequence[PatientPrediction]) -> Ints:
    """Return (patients,) labels: 1, 0, -1."""
    return np.array([row.label for row in rows], np.int64)


def refuse_twice(rows: Sequence[PatientPrediction]) -> None:
    """Refuse a patient that stands twice: it would count twice in every figure.

    Raises
    ------
    InputError
        The patient and both rows are named.
    """
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.patient in seen:
            raise InputError(
                f"patient {row.patient!r} was predicted twice (rows {seen[row.patient]} and "
                f"{number})",
                hint="join a patient's predictions into one row",
            )
        seen[row.patient] = number


def write_predictions(path: str | Path, rows: Sequence[PatientPrediction]) -> None:
    """Write ``predictions.csv``; what is unknown is empty, lists are joined by semicolons.

    An id or a site that a spreadsheet would take for a formula gets an apostrophe before it, which
    :func:`read_predictions` takes away again.

    Raises
    ------
    InputError
        A patient stands twice.
    OutputError
        The file cannot be written.
    """
    refuse_twice(rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            (
                _harmless(row.patient),
                "" if row.label < 0 else row.label,
                *(repr(float(v)) for v in (row.probability, row.low, row.high, row.cut)),
                row.group,
                "" if row.site is None else _harmless(row.site),
                "" if row.fold is None else row.fold,
                ";".join(row.parts),
                ";".join(repr(float(value)) for value in row.members),
            )
        )
    write_text(path, out.getvalue())


def read_predictions(path: str | Path) -> tuple[PatientPrediction, ...]:
    """Read ``predictions.csv``.

    Raises
    ------
    NotComputed
        There is none.
    SchemaError
        A column is missing, a cell is no number, or a row says what cannot be; it is named.
    """
    path = Path(path)
    if not path.is_file():
        raise NotComputed(
            f"{path} is missing: nothing was predicted here", hint="run herscope respond fit"
        )
    try:
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise SchemaError(f"{path} cannot be read: {error}", hint="run the fit again") from error
    head = tuple(lines[0]) if lines else ()
    if lacking := [name for name in COLUMNS if name not in head and name != "group"]:
        raise SchemaError(
            f"{path.name} lacks the column {lacking[0]!r}",
            hint=f"needed: {', '.join(COLUMNS)}",
        )
    rows = tuple(
        _row(dict(zip(head, cells, strict=False)), f"{path.name}, row {number}", len(head))
        for number, cells in enumerate(lines[1:], start=2)
        if cells
    )
    refuse_twice(rows)
    return rows


def _row(cells: dict[str, str], where: str, width: int) -> PatientPrediction:
    if len(cells) != width:
        raise SchemaError(f"{where}: {len(cells)} cells of {width}", hint="repair the file")
    try:
        return PatientPrediction(
            patient=_plain(cells["patient"]),
            label=-1 if not cells["label"] else int(cells["label"]),
            probability=float(cells["probability"]),
            low=float(cells["low"]),
            high=float(cells["high"]),
            members=tuple(float(value) for value in cells["members"].split(";") if value),
            cut=float(cells["cut"]),
            parts=tuple(part for part in cells["parts"].split(";") if part),
            site=_plain(cells["site"]) or None,
            fold=int(cells["fold"]) if cells["fold"] else None,
        )
    except InputError as error:
        raise SchemaError(f"{where}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise SchemaError(f"{where}: {str(error)[:SHORTENED]}", hint="correct the cell") from error


def _harmless(text: str) -> str:
    """Keep a spreadsheet from taking someone's id for a formula; undone by :func:`_plain`."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
