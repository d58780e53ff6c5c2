"""HER2 in colorectal cancer by IHC: the HERACLES criteria (Valtorta et al. 2015).

Complete, basolateral and lateral staining count alike.

=========================================  ==================================
intense in 50 % or more                    3+, positive
intense in more than 10 %, below 50 %      3+, positive once ISH confirms it
at least moderate in 50 % or more          2+, equivocal: ISH decides
everything else                            negative
=========================================  ==================================

The middle row is given the status ``equivocal``: nobody may act on it before ISH.

Departures. Moderate and intense staining count towards the 50 % of 2+ as one sum, so that a cell
that darkens never lowers the result. What the criteria call negative is not graded any further. If
the basolateral classes are not given, incomplete moderate to intense staining counts as moderate.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from herscope.guidelines.her2_reading import (
    Controls,
    Her2Floors,
    Her2Reading,
    Line,
    decide,
    indeterminate_why,
    refused,
)
from herscope.guidelines.membrane_percent import MembranePercent
from herscope.guidelines.rule import Rule

GUIDELINE: Final = "HERACLES 2015"
SOURCE: Final = "Valtorta E et al. Mod Pathol 2015, doi:10.1038/modpathol.2015.98, table 3"
HALF: Final = Fraction(50)
TENTH: Final = Fraction(10)


def _rule(name: str, text: str) -> Rule:
    return Rule(f"her2-colorectal-heracles-{name}", "HERACLES", 2015, SOURCE, text)


POSITIVE: Final = _rule("3+", "intense membrane staining in 50 % of tumour cells or more")
PENDING: Final = _rule(
    "3+-confirm",
    "intense membrane staining in more than 10 % and fewer than 50 % of tumour cells: positive "
    "once ISH confirms it",
)
EQUIVOCAL: Final = _rule("2+", "moderate membrane staining in 50 % of tumour cells or more")
NEGATIVE: Final = _rule(
    "negative",
    "intense membrane staining in no more than 10 % and moderate in fewer than 50 % of tumour "
    "cells",
)
_COMMENTS: Final = {
    POSITIVE: "",
    PENDING: "Positive only once ISH confirms it.",
    EQUIVOCAL: "Equivocal: ISH decides.",
    NEGATIVE: "The criteria do not grade negative cases.",
}
_UNTOLD: Final = (
    "U-shaped (basolateral) membranes were not told apart: moderate to intense incomplete staining "
    "counted as moderate."
)


def her2_colorectal(
    membrane: MembranePercent,
    *,
    controls: Controls = "unknown",
    floors: Her2Floors | None = None,
) -> Her2Reading:
    """Score colorectal HER2; the score of a negative case is ``negative``.

    Parameters
    ----------
    membrane
        Percentages of evaluable tumour cells, with the basolateral classes if they are known.
    controls
        ``passed``, ``failed`` (gives ``indeterminate``) or ``unknown``.
    floors
        Our limits, of which only ``min_cells`` is used; the defaults when None.

    Raises
    ------
    InputError
        ``controls`` is none of the allowed words.

    Examples
    --------
    >>> def case(strong): return MembranePercent.of_counts({
    ...     "complete_intense": strong, "complete_moderate": 0, "complete_weak": 0,
    ...     "incomplete_moderate": 0, "incomplete_faint": 0, "none": 1000 - strong})
    >>> [her2_colorectal(case(n)).status for n in (100, 101, 499, 500)]
    ['negative', 'equivocal', 'equivocal', 'positive']
    """
    marker, floors = "her2-colorectal", floors or Her2Floors()
    inputs: dict[str, object] = membrane.as_block() | {"controls": controls}
    why = indeterminate_why(membrane.cells, controls, floors)
    if why is not None:
        return refused(marker, GUIDELINE, SOURCE, why, membrane.cells, inputs, floors)
    told = membrane.tells_basolateral
    intense = membrane.complete_intense + membrane.basolateral("basolateral_intense")
    partly = (
        membrane.basolateral("basolateral_intense") + membrane.basolateral("basolateral_moderate")
        if told
        else membrane.incomplete_moderate
    )
    sums = {
        "intense": intense,
        "moderate": membrane.complete_intense + membrane.complete_moderate + partly,
    }
    strong, enough = "intense membrane staining", "at least moderate membrane staining"
    lines = (
        Line("3+", "positive", POSITIVE, "intense", strong, HALF, strict=False),
        Line("3+", "equivocal", PENDING, "intense", strong, TENTH, strict=True),
        Line("2+", "equivocal", EQUIVOCAL, "moderate", enough, HALF, strict=False),
    )
    decision = decide(lines, sums, "negative")
    rule = NEGATIVE if decision.line is None else decision.line.rule
    next_rule = decision.next_rule
    if rule is PENDING:
        next_rule = f"positive without ISH needs {lines[0].why_not(sums)}"
    elif rule is NEGATIVE:
        next_rule += f"; 3+ needs {lines[1].why_not(sums)}"
    elif rule is EQUIVOCAL:
        next_rule = f"3+ needs {lines[1].why_not(sums)}"
    untold = not told and membrane.incomplete_moderate > 0 and rule is not POSITIVE
    return Her2Reading(
        marker=marker,
        score=decision.score,
        status=decision.status,
        rule=rule,
        guideline=GUIDELINE,
        comment=" ".join(filter(None, [_COMMENTS[rule], _UNTOLD if untold else ""])),
        inputs=inputs,
        next_rule=next_rule,
        distance_to_cutoff=decision.distance_to_cutoff,
        floors={"min_cells": floors.min_cells},
    )
