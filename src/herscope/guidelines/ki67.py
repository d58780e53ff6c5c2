"""Ki-67: the share of stained tumour nuclei, and what may be concluded from it.

Breast: International Ki-67 in Breast Cancer Working Group (Nielsen et al. 2021). Any nuclear
staining counts, its intensity does not. In T1-2, N0-1, ER-positive, HER2-negative disease an index
of 5 % or less, or of 30 % or more, can be used for prognosis; what lies between is not reliable.

Neuroendocrine tumours: WHO 2022 grades by Ki-67 (< 3, 3 to 20, > 20 %), counted in the hot spot on
at least 500 cells. The WHO grade is the higher of the Ki-67 grade and the mitotic grade; mitoses
are not counted here, so the grade is a lower bound and its comment says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from herscope.core.errors import UndefinedStatistic
from herscope.guidelines.rule import GradeCounts, GuidelineReading, Rule

_IKWG: Final = "IKWG Ki-67"
_IKWG_SOURCE: Final = (
    "Nielsen TO et al. J Natl Cancer Inst 2021;113:808-819, doi:10.1093/jnci/djaa201"
)
_WHO: Final = "WHO neuroendocrine tumours"
_WHO_SOURCE: Final = "WHO Classification of Endocrine and Neuroendocrine Tumours, 5th ed., 2022"

LOW: Final = Rule(
    id="ki67-2021-low",
    guideline=_IKWG,
    year=2021,
    source=_IKWG_SOURCE,
    text="5 % or fewer of tumour nuclei stain: usable for prognosis",
)
NOT_RELIABLE: Final = Rule(
    id="ki67-2021-not-reliable",
    guideline=_IKWG,
    year=2021,
    source=_IKWG_SOURCE,
    text="more than 5 % and fewer than 30 % of tumour nuclei stain: not reliable for decisions",
)
HIGH: Final = Rule(
    id="ki67-2021-high",
    guideline=_IKWG,
    year=2021,
    source=_IKWG_SOURCE,
    text="30 % or more of tumour nuclei stain: usable for prognosis",
)

IKWG_COMMENT: Final = (
    "Holds for T1-2, N0-1, ER-positive, HER2-negative breast cancer; any nuclear staining counts."
)
IKWG_BETWEEN_COMMENT: Final = (
    "Between 5 and 30 % laboratories and readers differ too much for the index to guide treatment."
)

NET_MIN_CELLS: Final = 500
"""WHO 2022: the index needs at least this many tumour cells, in the area of highest labelling."""

NET_GRADES: Final = tuple(
    Rule(
        id=f"net-2022-g{grade}", guideline=_WHO, year=2022, source=_WHO_SOURCE, text=f"Ki-67 {text}"
    )
    for grade, text in ((1, "below 3 %"), (2, "from 3 to 20 %"), (3, "above 20 %"))
)

NET_COMMENT: Final = (
    "By Ki-67 alone: the WHO grade is the higher of this and the mitotic grade, "
    "and the count belongs in the hot spot."
)


def ki67_reading(counts: Sequence[int]) -> GuidelineReading:
    """Read Ki-67 of a breast cancer from tumour nuclei per grade (IKWG 2021).

    Parameters
    ----------
    counts
        Evaluable tumour nuclei of grade 0, 1+, 2+ and 3+; 1+ to 3+ all count as stained.

    Returns
    -------
    GuidelineReading
        ``category`` is ``low`` (<= 5 %), ``not reliable`` or ``high`` (>= 30 %).

    Raises
    ------
    InputError
        When the counts are not four whole numbers of at least 0.
    UndefinedStatistic
        When there is no cell.

    Examples
    --------
    >>> [ki67_reading([100 - n, n, 0, 0]).category for n in (5, 6, 29, 30)]
    ['low', 'not reliable', 'not reliable', 'high']
    """
    checked = GradeCounts.checked(counts)
    if 20 * checked.positive <= checked.total:
        return _reading(checked, "low", LOW, IKWG_COMMENT)
    if 10 * checked.positive >= 3 * checked.total:
        return _reading(checked, "high", HIGH, IKWG_COMMENT)
    return _reading(checked, "not reliable", NOT_RELIABLE, f"{IKWG_BETWEEN_COMMENT} {IKWG_COMMENT}")


def net_grade(counts: Sequence[int]) -> GuidelineReading:
    """Grade a well-differentiated neuroendocrine tumour by Ki-67 (WHO 2022).

    Parameters
    ----------
    counts
        Tumour nuclei of grade 0, 1+, 2+ and 3+ in the hot spot; 1+ to 3+ all count as stained.

    Returns
    -------
    GuidelineReading
        ``category`` is ``G1``, ``G2`` or ``G3``.

    Raises
    ------
    InputError
        When the counts are not four whole numbers of at least 0.
    UndefinedStatistic
        With fewer than 500 cells.

    Examples
    --------
    >>> [net_grade([1000 - n, n, 0, 0]).category for n in (29, 30, 200, 201)]
    ['G1', 'G2', 'G2', 'G3']
    """
    checked = GradeCounts.checked(counts)
    if checked.total < NET_MIN_CELLS:
        raise UndefinedStatistic(
            f"{checked.total} tumour cells are too few for a neuroendocrine grade "
            f"(at least {NET_MIN_CELLS})",
            hint="draw a larger hot spot, or report the percentage without a grade",
        )
    if 100 * checked.positive < 3 * checked.total:
        grade = 1
    elif 5 * checked.positive <= checked.total:
        grade = 2
    else:
        grade = 3
    return _reading(checked, f"G{grade}", NET_GRADES[grade - 1], NET_COMMENT)


def _reading(checked: GradeCounts, category: str, rule: Rule, comment: str) -> GuidelineReading:
    return GuidelineReading(
        marker="Ki-67",
        positive=checked.positive,
        cells=checked.total,
        percent=checked.percent_positive,
        category=category,
        rule=rule,
        comment=comment,
    )
