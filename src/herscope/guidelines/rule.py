"""What every guideline here shares: a rule with its source, a reading, and checked cell counts.

A rule is data: who published it, when, and what it says in our own words. A reading carries the
rule that fired, so that a report can always answer "who says so?". Boundaries are compared in whole
numbers of cells (``10 * positive <= cells``), never on a rounded or floating percentage, so a slide
with exactly 10 % positive cells lands on the same side on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from herscope.core.errors import InputError, UndefinedStatistic


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a guideline.

    Parameters
    ----------
    id
        Stable name, such as ``er-2020-low-positive``; results store it.
    guideline
        The guideline as people call it, such as ``ASCO/CAP ER and PgR``.
    year
        The year of the version that is implemented.
    source
        The citation, with a DOI where there is one.
    text
        What the rule says, in our own words.
    """

    id: str
    guideline: str
    year: int
    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} ({self.guideline} {self.year})"


@dataclass(frozen=True, slots=True)
class GuidelineReading:
    """What a guideline makes of the counted cells of one compartment.

    Parameters
    ----------
    marker
        ``ER``, ``PR`` or ``Ki-67``.
    positive, cells
        Positive and evaluable cells.
    percent
        Positive cells in percent, 0 to 100; for display only, the category came from the counts.
    category
        The guideline's word for it.
    rule
        The rule that fired.
    comment
        What must be said beside the number; empty when there is nothing to add.
    intensity
        Average staining of the positive cells: ``none``, ``weak``, ``moderate`` or ``strong``;
        None for markers whose guideline ignores it.
    """

    marker: str
    positive: int
    cells: int
    percent: float
    category: str
    rule: Rule
    comment: str
    intensity: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.marker} {self.category}: {self.percent:.1f} % of {self.cells:,} cells, "
            f"{self.rule.guideline} {self.rule.year}"
        )


@dataclass(frozen=True, slots=True)
class GradeCounts:
    """Cells of grade 0, 1+, 2+ and 3+, checked: whole numbers, none negative, at least one cell.

    Examples
    --------
    >>> GradeCounts.checked([6, 1, 2, 1]).positive
    4
    """

    none: int
    weak: int
    moderate: int
    strong: int

    @classmethod
    def checked(cls, counts: Sequence[int]) -> GradeCounts:
        """Check four counts ``[n0, n1, n2, n3]``.

        Raises
        ------
        InputError
            When there are not four, or one is negative or not a whole number.
        UndefinedStatistic
            When all are zero: there is no cell to score.
        """
        hint = "give four whole numbers: cells of grade 0, 1+, 2+ and 3+"
        if len(counts) != 4:
            raise InputError(f"{len(counts)} cell counts were given, four are needed", hint=hint)
        try:
            n0, n1, n2, n3 = (operator.index(n) for n in counts)
        except TypeError as cause:
            raise InputError(f"cell counts {list(counts)!r} are not integers", hint=hint) from cause
        if min(n0, n1, n2, n3) < 0:
            raise InputError(f"cell counts {[n0, n1, n2, n3]} contain a negative number", hint=hint)
        if n0 + n1 + n2 + n3 == 0:
            raise UndefinedStatistic(
                "no evaluable cell in the compartment, so there is nothing to score",
                hint="check the tissue detection, the compartments and the marker's target",
            )
        return cls(n0, n1, n2, n3)

    @property
    def total(self) -> int:
        """All evaluable cells."""
        return self.none + self.weak + self.moderate + self.strong

    @property
    def positive(self) -> int:
        """Cells of grade 1+ or more."""
        return self.weak + self.moderate + self.strong

    @property
    def percent_positive(self) -> float:
        """Positive cells in percent of all cells."""
        return 100 * self.positive / self.total

    @property
    def mean_positive_grade(self) -> int:
        """Mean grade of the positive cells, 0 (none positive) to 3, halves rounded up.

        Whole-number arithmetic: with S the sum of grades and P the positive cells,
        ``floor(S / P + 1/2) = (2 S + P) // (2 P)``.
        """
        if self.positive == 0:
            return 0
        grades = self.weak + 2 * self.moderate + 3 * self.strong
        return (2 * grades + self.positive) // (2 * self.positive)

    @property
    def intensity(self) -> str:
        """Mean grade of the positive cells as a word."""
        return ("none", "weak", "moderate", "strong")[self.mean_positive_grade]
