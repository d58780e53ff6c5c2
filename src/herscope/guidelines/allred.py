"""The Allred score: how many nuclei are stained plus how strongly, 0 or 2 to 8.

Computed from cell counts per grade after Allred et al. (Mod Pathol 1998;11:155) and Harvey et al.
(J Clin Oncol 1999;17:1474). The proportion score uses the original fractions 1/100, 1/10, 1/3 and
2/3, each boundary belonging to the lower class, in exact integer arithmetic. The intensity score is
the mean grade of the positive cells, rounded to the nearest whole grade, a tie going to the
stronger one.

Departures. QuPath gives proportion 3 at exactly 10 %, 4 at exactly 1/3 and 5 at exactly 2/3, and
cuts the mean grade at 5/3 and 7/3 instead of 3/2 and 5/2; a table of whole percentages (3 is
11-33 %, 4 is 34-66 %, 5 is 67 % and more) leaves gaps that the fractions close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from herscope.guidelines.rule import GradeCounts, Rule

ALLRED_SOURCE: Final = (
    "Allred DC et al. Mod Pathol 1998;11:155-168; Harvey JM et al. J Clin Oncol 1999;17:1474-1481"
)

PROPORTION_TEXTS: Final = (
    "no positive cell",
    "positive cells, but fewer than 1 in 100",
    "from 1 in 100 to 1 in 10 cells positive",
    "more than 1 in 10, up to 1 in 3 cells positive",
    "more than 1 in 3, up to 2 in 3 cells positive",
    "more than 2 in 3 cells positive",
)

PROPORTION_RULES: Final = tuple(
    Rule(
        id=f"allred-proportion-{score}",
        guideline="Allred",
        year=1998,
        source=ALLRED_SOURCE,
        text=f"proportion score {score}: {text}",
    )
    for score, text in enumerate(PROPORTION_TEXTS)
)

LOWEST_POSITIVE_TOTAL: Final = 3
"""Harvey 1999: a total above 2 counts as positive."""


@dataclass(frozen=True, slots=True)
class AllredScore:
    """Proportion 0 to 5, intensity 0 to 3, their sum 0 or 2 to 8, and the proportion's rule."""

    proportion: int
    intensity: int
    total: int
    rule: Rule

    @property
    def status(self) -> Literal["negative", "positive"]:
        """Harvey's reading: totals of 0 and 2 are negative, 3 and more positive."""
        return "positive" if self.total >= LOWEST_POSITIVE_TOTAL else "negative"

    def __str__(self) -> str:
        return f"Allred {self.total} (proportion {self.proportion} + intensity {self.intensity})"


def allred(counts: Sequence[int]) -> AllredScore:
    """Score cell counts.

    The proportion never falls when a cell darkens. The total may: many faint cells lower the mean
    grade of the positive ones more than they raise the proportion. That is the score's own doing.

    Parameters
    ----------
    counts
        Evaluable cells of grade 0, 1+, 2+ and 3+.

    Raises
    ------
    InputError
        When the counts are not four whole numbers of at least 0.
    UndefinedStatistic
        When there is no cell.

    Examples
    --------
    >>> print(allred([90, 0, 0, 10]))
    Allred 5 (proportion 2 + intensity 3)
    >>> print(allred([89, 0, 0, 11]))
    Allred 6 (proportion 3 + intensity 3)
    """
    checked = GradeCounts.checked(counts)
    proportion = _proportion(checked.positive, checked.total)
    intensity = checked.mean_positive_grade
    return AllredScore(proportion, intensity, proportion + intensity, PROPORTION_RULES[proportion])


def _proportion(positive: int, total: int) -> int:
    if positive == 0:
        return 0
    if 100 * positive < total:
        return 1
    if 10 * positive <= total:
        return 2
    if 3 * positive <= total:
        return 3
    if 3 * positive <= 2 * total:
        return 4
    return 5
