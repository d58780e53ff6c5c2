"""Oestrogen and progesterone receptor: negative, low positive (ER only) or positive.

Rules of the ASCO/CAP guideline update of 2020 (Allison et al.) over counts of tumour nuclei: any
nuclear staining counts; 1 % and more is positive; for ER, 1 to 10 % is reported as Low Positive
with a comment; from 0 to 10 % the state of the controls is part of the report. The same 1 % line
holds for PR, which has no low-positive category.

Boundaries are exact: 10 % is still Low Positive, one cell more is Positive. A reader who rounds to
whole percentages would call 10.4 % still 10 %; we do not round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from herscope.core.errors import InputError
from herscope.guidelines.rule import GradeCounts, GuidelineReading, Rule

ControlState = Literal["positive", "negative", "absent", "unknown"]
"""How the slide's internal control (normal ducts and lobules) stained, or that nobody said."""

CONTROL_STATES: Final = ("positive", "negative", "absent", "unknown")

_GUIDELINE: Final = "ASCO/CAP ER and PgR testing"
_YEAR: Final = 2020
_SOURCE: Final = (
    "Allison KH et al. J Clin Oncol 2020;38:1346-1366, doi:10.1200/JCO.19.02309; "
    "Arch Pathol Lab Med 2020;144:545-563"
)


def _rule(name: str, text: str) -> Rule:
    return Rule(id=name, guideline=_GUIDELINE, year=_YEAR, source=_SOURCE, text=text)


ER_NEGATIVE: Final = _rule("er-2020-negative", "fewer than 1 % of tumour nuclei stain for ER")
ER_LOW_POSITIVE: Final = _rule("er-2020-low-positive", "1 to 10 % of tumour nuclei stain for ER")
ER_POSITIVE: Final = _rule("er-2020-positive", "more than 10 % of tumour nuclei stain for ER")
PR_NEGATIVE: Final = _rule("pr-2020-negative", "fewer than 1 % of tumour nuclei stain for PR")
PR_POSITIVE: Final = _rule("pr-2020-positive", "1 % or more of tumour nuclei stain for PR")

LOW_POSITIVE_COMMENT: Final = (
    "ER Low Positive: few data exist on the benefit of endocrine therapy at 1 to 10 % of nuclei; "
    "they suggest a possible benefit, so treatment can be considered, yet many of these tumours "
    "resemble ER-negative ones in biology and behaviour."
)
"""The comment that the guideline asks for, in our own words."""

CONTROL_COMMENTS: Final[dict[str, str]] = {
    "positive": "Internal control: stained as expected.",
    "negative": "Internal control: not stained as expected; the result should not be used, "
    "repeat the stain.",
    "absent": "Internal control: none in the section; rely on the external control or repeat on "
    "tissue that has one.",
    "unknown": "Internal control: not stated; at 0 to 10 % the guideline asks for it to be "
    "reported.",
}


def er_reading(
    counts: Sequence[int], *, internal_control: ControlState = "unknown"
) -> GuidelineReading:
    """Read ER from tumour nuclei per grade.

    Parameters
    ----------
    counts
        Evaluable tumour nuclei of grade 0, 1+, 2+ and 3+.
    internal_control
        How normal ducts on the slide stained; goes into the comment at 0 to 10 %.

    Raises
    ------
    InputError
        When the counts are not four whole numbers of at least 0, or the control state is unknown.
    UndefinedStatistic
        When there is no cell.

    Examples
    --------
    >>> er_reading([900, 60, 30, 10]).category
    'low positive'
    >>> er_reading([899, 61, 30, 10]).category
    'positive'
    """
    checked = GradeCounts.checked(counts)
    if 100 * checked.positive < checked.total:
        return _reading("ER", checked, "negative", ER_NEGATIVE, "", internal_control)
    if 10 * checked.positive <= checked.total:
        return _reading(
            "ER", checked, "low positive", ER_LOW_POSITIVE, LOW_POSITIVE_COMMENT, internal_control
        )
    return _reading("ER", checked, "positive", ER_POSITIVE, "", internal_control)


def pr_reading(
    counts: Sequence[int], *, internal_control: ControlState = "unknown"
) -> GuidelineReading:
    """Read PR from tumour nuclei per grade; parameters and errors as for :func:`er_reading`.

    Examples
    --------
    >>> pr_reading([990, 10, 0, 0]).category, pr_reading([991, 9, 0, 0]).category
    ('positive', 'negative')
    """
    checked = GradeCounts.checked(counts)
    if 100 * checked.positive < checked.total:
        return _reading("PR", checked, "negative", PR_NEGATIVE, "", internal_control)
    return _reading("PR", checked, "positive", PR_POSITIVE, "", internal_control)


def _reading(
    marker: str,
    checked: GradeCounts,
    category: str,
    rule: Rule,
    comment: str,
    internal_control: ControlState,
) -> GuidelineReading:
    if internal_control not in CONTROL_STATES:
        raise InputError(
            f"internal control is {internal_control!r}",
            hint=f"allowed: {', '.join(CONTROL_STATES)}",
        )
    few = 10 * checked.positive <= checked.total
    parts = [comment, CONTROL_COMMENTS[internal_control] if few else ""]
    return GuidelineReading(
        marker=marker,
        positive=checked.positive,
        cells=checked.total,
        percent=checked.percent_positive,
        category=category,
        rule=rule,
        comment=" ".join(part for part in parts if part),
        intensity=checked.intensity,
    )
