"""Breast HER2 by IHC: ASCO/CAP 2018, affirmed 2023, over percentages of invasive tumour cells.

Every cut-off of the guideline is a strict "more than 10 %". Looked at from the top, with C for
complete and I for incomplete staining (s intense, m moderate, w weak or faint):

====  ================================  ===================================
3+    C_s > 10                          complete and intense
2+    C_s + C_m + C_w > 10              weak to moderate, complete
2+    I_m > 10                          unusual: moderate to intense, incomplete
2+    floor < C_s <= 10                 unusual: intense and complete, limited
1+    any staining > 10                 faint, incomplete
0     any staining in (0, 10], or none
====  ================================  ===================================

Departures. The guideline lists definitions, not an order; this order covers every case once. A mix
of intense and weaker complete staining counts towards 2+ as one sum. The limited intense pattern
has a floor of ours, for without one a few wrongly outlined cells make every negative case
equivocal. Turning moderately, partly stained cells into completely stained ones may lower 2+ to 1+
where neither sum alone exceeds 10 %: the guideline gives no sum of the two. HER2-low, ultralow and
null are treatment categories with sources of their own: an overlay, never the score.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, Literal

from herscope.core.errors import InputError
from herscope.guidelines.her2_reading import (
    Controls,
    Her2Floors,
    Her2Reading,
    Line,
    Overlay,
    decide,
    indeterminate_why,
    refused,
)
from herscope.guidelines.membrane_percent import MembranePercent
from herscope.guidelines.rule import Rule

IshState = Literal["positive", "negative", "unknown"]
ISH_STATES: Final = ("positive", "negative", "unknown")

GUIDELINE: Final = "ASCO/CAP 2018, affirmed 2023"
SOURCE: Final = (
    "Wolff AC et al. J Clin Oncol 2018;36:2105 (Arch Pathol Lab Med 2018;142:1364); "
    "affirmed 2023: J Clin Oncol 2023;41:3867-3872, doi:10.1200/JCO.22.02864"
)
CUT: Final = Fraction(10)
"""Wolff 2018: every definition asks for more than 10 % of tumour cells."""


def _rule(name: str, text: str) -> Rule:
    return Rule(f"her2-breast-2018-{name}", "ASCO/CAP HER2 breast", 2018, SOURCE, text)


THREE: Final = _rule("3+", "complete, intense membrane staining in more than 10 % of tumour cells")
TWO: Final = _rule(
    "2+", "complete membrane staining, weak to moderate, in more than 10 % of tumour cells"
)
TWO_INCOMPLETE: Final = _rule(
    "2+-incomplete",
    "unusual pattern: moderate to intense but incomplete membrane staining in more than 10 % of "
    "tumour cells, to be taken as 2+",
)
TWO_LIMITED: Final = _rule(
    "2+-limited",
    "unusual pattern: complete, intense membrane staining in no more than 10 % of tumour cells, "
    "to be taken as 2+",
)
ONE: Final = _rule(
    "1+",
    "faint or incomplete membrane staining in more than 10 % of tumour cells, short of any 2+",
)
ZERO_FAINT: Final = _rule(
    "0-faint", "membrane staining in no more than 10 % of tumour cells, short of any 2+"
)
ZERO: Final = _rule("0", "no membrane staining")

RULES: Final = (THREE, TWO, TWO_INCOMPLETE, TWO_LIMITED, ONE, ZERO_FAINT, ZERO)

LOW_SOURCE: Final = (
    "DESTINY-Breast04; ESMO consensus, Tarantino P et al. Ann Oncol 2023;34:645; "
    "FDA label text of 27 January 2025"
)
ULTRALOW_SOURCE: Final = "DESTINY-Breast06; FDA label text of 27 January 2025"
OVERLAY_NOTE: Final = "a treatment category of metastatic disease, not a score"

_COMMENTS: Final = {
    "3+": "Should be readily seen with a low-power objective, in a homogeneous and contiguous "
    "invasive population.",
    "2+": "Equivocal: test the same specimen by ISH, or a new specimen by IHC or ISH.",
    "1+": "The 2023 update affirms this score and makes no HER2-low result category. The line "
    "between 0 and 1+ matters for treatment: look again near it.",
    "0": "The 2023 update affirms this score and makes no HER2-ultralow result category. The line "
    "between 0 and 1+ matters for treatment: look again near it.",
}
_LIMITED_COMMENT: Final = "Another sample of the tumour may hold another percentage."


def her2_breast(
    membrane: MembranePercent,
    *,
    controls: Controls = "unknown",
    ish: IshState = "unknown",
    largest_intense_cluster: int | None = None,
    floors: Her2Floors | None = None,
) -> Her2Reading:
    """Score breast HER2 from membrane staining of evaluable invasive tumour cells.

    Parameters
    ----------
    membrane
        Percentages, exact.
    controls
        ``passed``, ``failed`` (gives ``indeterminate``) or ``unknown``.
    ish
        ISH of the same specimen, ``positive``, ``negative`` or ``unknown``; it enters the overlay
        and never the IHC score.
    largest_intense_cluster
        Cells of the largest contiguous group with complete intense staining; None when unknown,
        the floor then looks at the percentage alone.
    floors
        Our limits; the defaults when None.

    Raises
    ------
    InputError
        ``controls`` or ``ish`` is none of the allowed words.

    Examples
    --------
    >>> def case(weak): return MembranePercent.of_counts({
    ...     "complete_intense": 0, "complete_moderate": 0, "complete_weak": weak,
    ...     "incomplete_moderate": 0, "incomplete_faint": 0, "none": 1000 - weak})
    >>> her2_breast(case(101)).score, her2_breast(case(100)).score
    ('2+', '0')
    """
    floors = floors or Her2Floors()
    if ish not in ISH_STATES:
        raise InputError(f"ish is {ish!r}", hint=f"allowed: {', '.join(ISH_STATES)}")
    inputs: dict[str, object] = membrane.as_block() | {"controls": controls, "ish": ish}
    if largest_intense_cluster is not None:
        inputs |= {"largest_intense_cluster": largest_intense_cluster}
    why = indeterminate_why(membrane.cells, controls, floors)
    if why is not None:
        return refused("her2-breast", GUIDELINE, SOURCE, why, membrane.cells, inputs, floors)
    sums, lines = _table(membrane, largest_intense_cluster, floors)
    decision = decide(lines, sums, "0")
    score = decision.score
    zero = ZERO_FAINT if membrane.stained > 0 else ZERO
    rule = zero if decision.line is None else decision.line.rule
    return Her2Reading(
        marker="her2-breast",
        score=score,
        status=decision.status,
        rule=rule,
        guideline=GUIDELINE,
        comment=_comment(score, rule, membrane, controls, largest_intense_cluster, floors),
        inputs=inputs,
        next_rule=decision.next_rule,
        distance_to_cutoff=decision.distance_to_cutoff,
        distance_to_floor=_to_floor(decision.distance_to_floor, score, membrane, floors),
        overlay=_overlay(score, membrane, ish, floors),
        floors=floors.model_dump(),
    )


def _table(
    membrane: MembranePercent, cluster: int | None, floors: Her2Floors
) -> tuple[dict[str, Fraction], tuple[Line, ...]]:
    scattered = cluster is not None and cluster < floors.intense_cluster_cells
    sums = {
        "intense": membrane.complete_intense,
        "complete": membrane.complete,
        "incomplete": membrane.incomplete_moderate,
        "limited": Fraction(0) if scattered else membrane.complete_intense,
        "stained": membrane.stained,
    }
    floor = Fraction(repr(floors.intense_percent))
    intense, limited = "complete, intense staining", "complete, intense staining (unusual pattern)"
    if scattered:
        limited += f" among at least {floors.intense_cluster_cells} contiguous cells"
    partly = "moderate to intense incomplete staining (unusual pattern)"
    return sums, (
        Line("3+", "positive", THREE, "intense", intense, CUT, strict=True),
        Line("2+", "equivocal", TWO, "complete", "complete staining", CUT, strict=True),
        Line("2+", "equivocal", TWO_INCOMPLETE, "incomplete", partly, CUT, strict=True),
        Line("2+", "equivocal", TWO_LIMITED, "limited", limited, floor, strict=True, ours=True),
        Line("1+", "negative", ONE, "stained", "any membrane staining", CUT, strict=True),
    )


def _overlay(
    score: str, membrane: MembranePercent, ish: IshState, floors: Her2Floors
) -> Overlay | None:
    if score == "3+":
        return Overlay("none", "HER2-positive by IHC", LOW_SOURCE)
    if score in {"1+", "2+"} and ish == "positive":
        return Overlay("none", "HER2-positive by ISH", LOW_SOURCE)
    if score == "2+" and ish == "unknown":
        return Overlay("none", "2+ is HER2-low only once ISH is negative", LOW_SOURCE)
    if score in {"1+", "2+"}:
        what = "IHC 1+" if score == "1+" else "IHC 2+ with negative ISH"
        return Overlay("HER2-low", f"{what}; {OVERLAY_NOTE}", LOW_SOURCE)
    if membrane.stained > Fraction(repr(floors.staining_percent)):
        return Overlay(
            "HER2-ultralow", f"IHC 0 with membrane staining; {OVERLAY_NOTE}", ULTRALOW_SOURCE
        )
    noise = (
        f" above our floor of {floors.staining_percent:g} % of cells" if membrane.stained else ""
    )
    return Overlay(
        "HER2-null", f"IHC 0 without membrane staining{noise}; {OVERLAY_NOTE}", ULTRALOW_SOURCE
    )


def _to_floor(
    distance: float | None, score: str, membrane: MembranePercent, floors: Her2Floors
) -> float | None:
    """Add the line between ultralow and null, which changes the overlay of a 0."""
    if score != "0":
        return distance
    overlay = float(abs(membrane.stained - Fraction(repr(floors.staining_percent))))
    return overlay if distance is None else min(distance, overlay)


def _comment(
    score: str,
    rule: Rule,
    membrane: MembranePercent,
    controls: Controls,
    cluster: int | None,
    floors: Her2Floors,
) -> str:
    parts = [_COMMENTS[score]]
    if rule is TWO_LIMITED:
        parts.append(_LIMITED_COMMENT)
        if cluster is None:
            parts.append("Whether these cells lie together was not stated.")
    elif score in {"0", "1+"} and membrane.complete_intense > 0:
        parts.append(
            "Complete, intense staining was taken for noise: our floor is "
            f"{floors.intense_percent:g} % of cells"
            + ("." if cluster is None else f" and {floors.intense_cluster_cells} contiguous cells.")
        )
    if membrane.cells is None:
        parts.append("The number of evaluable cells was not stated, so it was not checked.")
    if controls == "unknown":
        parts.append("Controls: not stated; they must have stained as expected.")
    return " ".join(parts)
