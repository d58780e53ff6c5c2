"""What the HER2 rules share: a row of a table, our floors, a decision, a reading.

A guideline is a table whose rows are looked at from the highest score down; the first whose
staining passes its cut-off fires. Each row is data, so the same rows also answer the two questions
of a reader: how far is the case from another score, and why did the next higher one not fire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal

from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.guidelines.rule import Rule

Her2Score = Literal["0", "1+", "2+", "3+", "negative", "indeterminate"]
Her2Status = Literal["positive", "equivocal", "negative", "indeterminate"]
Controls = Literal["passed", "failed", "unknown"]

ORDER: Final = ("negative", "0", "1+", "2+", "3+")
"""Scores from low to high. ``negative`` is HERACLES' word for what it does not grade."""

RULE_YEAR: Final = 2026
"""Year of the rules that are ours."""

CONTROLS: Final = ("passed", "failed", "unknown")


class Her2Floors(Spec):
    """Limits below which staining or cells are not believed; ours, no guideline states them."""

    min_cells: int = Field(
        default=100, ge=1, description="Fewest evaluable tumour cells for a score."
    )
    intense_percent: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Complete intense staining must exceed this share of cells to count as the "
        "unusual pattern (2+); below it is taken for noise.",
    )
    intense_cluster_cells: int = Field(
        default=10,
        ge=1,
        description="Contiguous cells with complete intense staining that this pattern needs, "
        "where the largest cluster is given.",
    )
    staining_percent: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Membrane staining must exceed this share of cells to tell ultralow from null; "
        "below it is taken for noise.",
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a guideline's table: this much of this staining gives this score.

    ``unit`` is ``%`` of cells or ``cells`` of one cluster; ``ours`` marks a floor of ours.
    """

    score: Her2Score
    status: Her2Status
    rule: Rule
    staining: str
    words: str
    cut: Fraction
    strict: bool
    unit: Literal["%", "cells"] = "%"
    ours: bool = False

    def fires(self, sums: Mapping[str, Fraction]) -> bool:
        """Whether the staining passes the cut-off."""
        return _passes(sums[self.staining], self)

    def why_not(self, sums: Mapping[str, Fraction]) -> str:
        """Say what the row asks for and what there is."""
        unit = " %" if self.unit == "%" else ""
        cut = f"{_g(self.cut)}{unit}"
        limit = f"more than {cut}" if self.strict else f"{cut} or more"
        here = f"{_g(sums[self.staining])}{unit}"
        cells = "" if unit else " cells of one cluster"
        ours = "; floor of ours" if self.ours else ""
        return f"{self.words} in {limit}{cells} (here {here}{ours})"


@dataclass(frozen=True, slots=True)
class Overlay:
    """A treatment category beside the score, never instead of it."""

    name: Literal["HER2-low", "HER2-ultralow", "HER2-null", "none"]
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The row that fired (None: none did), and the distances to other scores."""

    line: Line | None
    score: Her2Score
    status: Her2Status
    next_rule: str
    distance_to_cutoff: float | None
    distance_to_floor: float | None


@dataclass(frozen=True, slots=True)
class Her2Reading:
    """A HER2 score and who says so.

    Parameters
    ----------
    marker
        Such as ``her2-breast``.
    score, status
        The score, and what it means: positive, equivocal (needs another test), negative or
        indeterminate.
    rule
        The rule that fired.
    guideline
        As printed.
    comment
        What must be said beside the score.
    inputs
        What was decided on, as it was given.
    next_rule
        Why the next higher score did not fire.
    distance_to_cutoff
        Percentage points, 0 or more, to the nearest cut-off of the guideline whose crossing by
        that sum alone would change the score; None where cells of a cluster are counted or
        nothing was scored.
    distance_to_floor
        The same for our floors; None when none matters.
    overlay
        HER2-low, ultralow or null (breast only).
    floors
        Our limits, as used.
    """

    marker: str
    score: Her2Score
    status: Her2Status
    rule: Rule
    guideline: str
    comment: str
    inputs: Mapping[str, Any]
    next_rule: str
    distance_to_cutoff: float | None = None
    distance_to_floor: float | None = None
    overlay: Overlay | None = None
    floors: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = self.score if self.score == self.status else f"{self.score} ({self.status})"
        return f"HER2 {said}: {self.rule.text}, {self.guideline}"

    def as_block(self) -> dict[str, Any]:
        """Return the ``her2`` block of a result; ``probability`` needs the cells, so it is None."""
        overlay = self.overlay
        return {
            "marker": self.marker,
            "score": self.score,
            "status": self.status,
            "rule": self.rule.id,
            "rule_text": self.rule.text,
            "guideline": self.guideline,
            "source": self.rule.source,
            "overlay": None
            if overlay is None
            else {"name": overlay.name, "text": overlay.text, "source": overlay.source},
            "probability": None,
            "distance_to_cutoff": self.distance_to_cutoff,
            "distance_to_floor": self.distance_to_floor,
            "next_rule": self.next_rule,
            "comment": self.comment,
            "inputs": dict(self.inputs),
            "floors": dict(self.floors),
        }


def decide(lines: Sequence[Line], sums: Mapping[str, Fraction], lowest: Her2Score) -> Decision:
    """Go down the rows; the first that fires decides.

    Parameters
    ----------
    lines
        The rows, highest score first.
    sums
        Staining by name, in percent of cells or in cells.
    lowest
        The score when no row fires.
    """
    line = _first(lines, sums)
    score = lowest if line is None else line.score
    status: Her2Status = "negative" if line is None else line.status
    guideline, floor = (
        min(_distances(lines, sums, (score, status), lowest, ours=ours), default=None)
        for ours in (False, True)
    )
    return Decision(line, score, status, _why_not_higher(lines, sums, score), guideline, floor)


def indeterminate_why(
    cells: int | None, controls: Controls, floors: Her2Floors
) -> Literal["controls", "cells"] | None:
    """Say why nothing may be scored; :class:`InputError` when the controls' state is no word."""
    if controls not in CONTROLS:
        raise InputError(f"controls is {controls!r}", hint=f"allowed: {', '.join(CONTROLS)}")
    if controls == "failed":
        return "controls"
    return "cells" if cells is not None and cells < floors.min_cells else None


def refused(
    marker: str,
    guideline: str,
    source: str,
    why: Literal["controls", "cells"],
    cells: int | None,
    inputs: Mapping[str, Any],
    floors: Her2Floors | None,
) -> Her2Reading:
    """Return the reading ``indeterminate``, with the reason as its rule."""
    if why == "controls":
        told = "controls did not stain as they must: no score"
        rule = Rule(f"{marker}-indeterminate-controls", guideline, RULE_YEAR, source, told)
        comment = "No score: repeat the stain."
    else:
        limit = "?" if floors is None else floors.min_cells
        told = "too few evaluable tumour cells: no score"
        ours = "a floor of herscope; the guideline states none"
        rule = Rule(f"{marker}-too-few-cells", "herscope", RULE_YEAR, ours, told)
        comment = f"No score: {cells} evaluable cells, at least {limit} are needed (our floor)."
    return Her2Reading(
        marker=marker,
        score="indeterminate",
        status="indeterminate",
        rule=rule,
        guideline=guideline,
        comment=comment,
        inputs=inputs,
        next_rule="nothing was scored",
        floors={} if floors is None else floors.model_dump(),
    )


def _first(
    lines: Sequence[Line], sums: Mapping[str, Fraction], flipped: tuple[str, Fraction] | None = None
) -> Line | None:
    """Return the first row that fires; rows on the ``flipped`` cut-off answer the other way."""
    for line in lines:
        fires = line.fires(sums)
        if flipped is not None and line.staining == flipped[0]:
            # Standing just across the cut-off: rows of the same staining follow suit.
            fires = _passes_across(sums[line.staining], flipped[1], line)
        if fires:
            return line
    return None


def _passes(value: Fraction, line: Line) -> bool:
    return value > line.cut if line.strict else value >= line.cut


def _passes_across(value: Fraction, cut: Fraction, line: Line) -> bool:
    """Whether the row fires when ``value`` has just crossed ``cut``."""
    if line.cut == cut:
        return not _passes(value, line)
    return cut > line.cut


def _distances(
    lines: Sequence[Line],
    sums: Mapping[str, Fraction],
    here: tuple[Her2Score, Her2Status],
    lowest: Her2Score,
    *,
    ours: bool,
) -> list[float]:
    found = []
    for line in lines:
        if line.ours is not ours or line.unit != "%":
            continue
        other = _first(lines, sums, (line.staining, line.cut))
        there = (lowest, "negative") if other is None else (other.score, other.status)
        if there != here:
            found.append(float(abs(sums[line.staining] - line.cut)))
    return found


def _why_not_higher(lines: Sequence[Line], sums: Mapping[str, Fraction], score: Her2Score) -> str:
    rank = ORDER.index(score)
    higher = [line for line in lines if ORDER.index(line.score) > rank]
    if not higher:
        return f"{score} is the highest score"
    lowest = min(ORDER.index(line.score) for line in higher)
    missed = [line for line in higher if ORDER.index(line.score) == lowest]
    return f"{ORDER[lowest]} needs " + ", or ".join(line.why_not(sums) for line in missed)


def _g(value: Fraction) -> str:
    """Print a percentage to read, never so rounded that it seems to lie on a cut-off."""
    for digits in range(1, 9):
        text = f"{float(value):.{digits}f}"
        if Fraction(text) == value or (digits > 1 and Fraction(text).denominator != 1):
            return text.rstrip("0").rstrip(".")
    return repr(float(value))
