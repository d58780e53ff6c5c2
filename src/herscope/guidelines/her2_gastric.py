"""HER2 in stomach and gastro-oesophageal junction by IHC: resection and biopsy.

Where breast asks for more than 10 %, a resection asks for 10 % *or more*, and a membrane stained on
its base and sides (U-shaped: basolateral, lateral) counts like a complete one. A biopsy needs no
percentage: a cluster of at least five tumour cells stained so strongly is enough.

Departures. If the basolateral classes are not given, every moderately stained incomplete cell
counts as U-shaped towards 2+, and none of them towards 3+, for its class holds moderate and intense
cells alike: the score then may read 2+ where 3+ is right, and its comment says so. If they are
given, incomplete staining that is not U-shaped counts towards 1+ only. Strong and weaker staining
count towards 2+ as one sum.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from herscope.core.errors import InputError
from herscope.guidelines.her2_reading import (
    Controls,
    Her2Floors,
    Her2Reading,
    Her2Score,
    Her2Status,
    Line,
    decide,
    indeterminate_why,
    refused,
)
from herscope.guidelines.membrane_percent import MembranePercent, whole
from herscope.guidelines.rule import Rule

GUIDELINE: Final = "CAP/ASCP/ASCO 2016"
SOURCE: Final = (
    "Bartley AN et al. Arch Pathol Lab Med 2016;140:1345-1363, doi:10.5858/arpa.2016-0331-CP, "
    "after Hofmann 2008 and Rüschoff, doi:10.1038/modpathol.2011.198"
)
CUT: Final = Fraction(10)
"""Hofmann 2008: 10 % of tumour cells or more."""

CLUSTER_CELLS: Final = 5
"""Rüschoff 2010: a biopsy needs a cluster of at least five stained tumour cells."""


def _rule(name: str, text: str) -> Rule:
    return Rule(f"her2-gastric-{name}", "CAP/ASCP/ASCO HER2 gastric", 2016, SOURCE, text)


_SHAPE: Final = "complete, basolateral or lateral membrane staining"
RESECTION: Final = {
    "3+": _rule("resection-3+", f"strong {_SHAPE} in 10 % of tumour cells or more"),
    "2+": _rule("resection-2+", f"weak to moderate {_SHAPE} in 10 % of tumour cells or more"),
    "1+": _rule(
        "resection-1+",
        "faint staining, of part of the membrane, in 10 % of tumour cells or more",
    ),
    "0": _rule("resection-0", "no membrane staining, or in fewer than 10 % of tumour cells"),
}
BIOPSY: Final = {
    "3+": _rule("biopsy-3+", f"a cluster of 5 tumour cells or more with strong {_SHAPE}"),
    "2+": _rule("biopsy-2+", f"a cluster of 5 tumour cells or more with weak to moderate {_SHAPE}"),
    "1+": _rule("biopsy-1+", "a cluster of 5 tumour cells or more with faint membrane staining"),
    "0": _rule("biopsy-0", "no stained tumour cell, or no cluster of 5"),
}

_COMMENTS: Final = {
    "3+": "",
    "2+": "Equivocal: ISH decides; a ratio of 2.0 or more is positive.",
    "1+": "",
    "0": "",
}
_UNTOLD: Final = (
    "U-shaped (basolateral) membranes were not told apart: moderate to intense incomplete staining "
    "counted towards 2+ and not towards 3+."
)
CLUSTERS: Final = ("intense", "moderate", "faint")
"""Keys of the largest cluster: stained at least so strongly, moderate meaning weak to moderate."""


def her2_gastric_resection(
    membrane: MembranePercent,
    *,
    controls: Controls = "unknown",
    floors: Her2Floors | None = None,
) -> Her2Reading:
    """Score gastric HER2 on a resection.

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
    >>> her2_gastric_resection(case(100)).score, her2_gastric_resection(case(99)).score
    ('3+', '0')
    """
    marker, floors = "her2-gastric-resection", floors or Her2Floors()
    inputs: dict[str, object] = membrane.as_block() | {"controls": controls}
    why = indeterminate_why(membrane.cells, controls, floors)
    if why is not None:
        return refused(marker, GUIDELINE, SOURCE, why, membrane.cells, inputs, floors)
    strong = membrane.complete_intense + membrane.basolateral("basolateral_intense")
    told = membrane.tells_basolateral
    partly = (
        membrane.basolateral("basolateral_intense")
        + membrane.basolateral("basolateral_moderate")
        + membrane.basolateral("basolateral_weak")
        if told
        else membrane.incomplete_moderate
    )
    sums = {"strong": strong, "shaped": membrane.complete + partly, "stained": membrane.stained}
    lines = (
        Line("3+", "positive", RESECTION["3+"], "strong", f"strong {_SHAPE}", CUT, strict=False),
        Line("2+", "equivocal", RESECTION["2+"], "shaped", _SHAPE, CUT, strict=False),
        Line("1+", "negative", RESECTION["1+"], "stained", "any staining", CUT, strict=False),
    )
    decision = decide(lines, sums, "0")
    untold = not told and membrane.incomplete_moderate > 0 and decision.score != "3+"
    return Her2Reading(
        marker=marker,
        score=decision.score,
        status=decision.status,
        rule=RESECTION[decision.score],
        guideline=GUIDELINE,
        comment=" ".join(filter(None, [_COMMENTS[decision.score], _UNTOLD if untold else ""])),
        inputs=inputs,
        next_rule=decision.next_rule,
        distance_to_cutoff=decision.distance_to_cutoff,
        floors={"min_cells": floors.min_cells},
    )


def her2_gastric_biopsy(
    *, intense: int, moderate: int, faint: int, controls: Controls = "unknown"
) -> Her2Reading:
    """Score gastric HER2 on a biopsy, whatever the percentage.

    Parameters
    ----------
    intense
        Tumour cells of the largest cluster with strong complete, basolateral or lateral staining.
    moderate
        The same with at least weak to moderate such staining, so never fewer than ``intense``.
    faint
        The same with any membrane staining, so never fewer than ``moderate``.
    controls
        ``passed``, ``failed`` (gives ``indeterminate``) or ``unknown``.

    Raises
    ------
    InputError
        A count is negative or not whole, or a stricter one exceeds a laxer one.

    Examples
    --------
    >>> her2_gastric_biopsy(intense=4, moderate=5, faint=60).score
    '2+'
    """
    marker = "her2-gastric-biopsy"
    found = dict(zip(CLUSTERS, (intense, moderate, faint), strict=True))
    cells = {name: whole(f"largest_cluster.{name}", value) for name, value in found.items()}
    for strict, lax in (("intense", "moderate"), ("moderate", "faint")):
        if cells[strict] > cells[lax]:
            raise InputError(
                f"largest_cluster.{strict} is {cells[strict]}, more than "
                f"largest_cluster.{lax} with {cells[lax]}",
                hint="each is the largest cluster of cells stained at least so strongly",
            )
    inputs = {"largest_cluster": cells, "controls": controls}
    why = indeterminate_why(None, controls, Her2Floors())
    if why is not None:
        return refused(marker, GUIDELINE, SOURCE, why, None, inputs, None)
    sums = {name: Fraction(number) for name, number in cells.items()}
    lines = (
        _cluster_line("3+", "positive", "intense", f"strong {_SHAPE}"),
        _cluster_line("2+", "equivocal", "moderate", _SHAPE),
        _cluster_line("1+", "negative", "faint", "any membrane staining"),
    )
    decision = decide(lines, sums, "0")
    return Her2Reading(
        marker=marker,
        score=decision.score,
        status=decision.status,
        rule=BIOPSY[decision.score],
        guideline=GUIDELINE,
        comment=_COMMENTS[decision.score],
        inputs=inputs,
        next_rule=decision.next_rule,
    )


def _cluster_line(score: Her2Score, status: Her2Status, name: str, words: str) -> Line:
    return Line(
        score,
        status,
        BIOPSY[score],
        name,
        words,
        Fraction(CLUSTER_CELLS),
        strict=False,
        unit="cells",
    )
