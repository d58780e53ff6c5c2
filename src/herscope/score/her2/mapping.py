"""HER2 from the H-score and PCMS: a table of boxes that stands beside the guideline's rule.

PCMS is the percentage of tumour cells with complete membrane staining. The AutoIHC paper (Yin T et
al., doi:10.1177/15330338251407734) maps the two to 0, 1+, 2+ or 3+ and does not say how. Ours is a
table that a person can read: a range of H-scores, a range of PCMS, a score. Every case lies in one
box, and a higher H-score or PCMS never lowers the score; a table that breaks either is refused.

No mapping is shipped: no data set with the needed licence exists. ``herscope calibrate --mapping``
fits one to a laboratory's own slides (:mod:`herscope.score.her2.mapping_fit`).
"""

from __future__ import annotations

import itertools
from typing import Final, Literal

import numpy as np
from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.measure.completeness import CompletenessSpec
from herscope.measure.intensity import Cuts, GradeSpec
from herscope.score.result import Her2Alternative

Her2Grade = Literal["0", "1+", "2+", "3+"]
Range = tuple[float, float]

GRADES: Final[tuple[Her2Grade, ...]] = ("0", "1+", "2+", "3+")
H_TOP: Final = 300.0
PCMS_TOP: Final = 100.0


class Box(Spec):
    """One line of the table: low <= value < high; the top of each scale is included."""

    score: Her2Grade = Field(description="The score inside.")
    h_score: Range = Field(description="From, up to; 0 to 300.")
    pcms_percent: Range = Field(description="From, up to; 0 to 100.")

    def holds(self, h_score: float, pcms_percent: float) -> bool:
        """Whether a case lies inside."""
        return _inside(h_score, self.h_score, H_TOP) and _inside(
            pcms_percent, self.pcms_percent, PCMS_TOP
        )


class Her2MappingSpec(Spec):
    """A table from H-score and PCMS to the HER2 score; boxes cover all cases once, monotone.

    Examples
    --------
    >>> table = Her2MappingSpec(name="two boxes", source="example", cuts=(0.2, 0.4, 0.6),
    ...     complete_share=0.85, boxes=(
    ...         Box(score="0", h_score=(0, 300), pcms_percent=(0, 10)),
    ...         Box(score="2+", h_score=(0, 300), pcms_percent=(10, 100))))
    >>> table.predict(120.0, 9.9), table.predict(120.0, 10.0)
    ('0', '2+')
    """

    name: str = Field(min_length=1, description="Name of the mapping, as printed beside the score.")
    source: str = Field(min_length=1, description="Slides and readers it was fitted to.")
    cuts: Cuts = Field(description="Cut-offs, DAB optical density, its H-score and PCMS are at.")
    complete_share: float = Field(
        gt=0.5, le=1, description="Least stained circumference that counted as complete."
    )
    boxes: tuple[Box, ...] = Field(min_length=1, description="The table.")

    @model_validator(mode="after")
    def _whole(self) -> Her2MappingSpec:
        for box in self.boxes:
            for what, (low, high), top in (
                ("h_score", box.h_score, H_TOP),
                ("pcms_percent", box.pcms_percent, PCMS_TOP),
            ):
                if not 0 <= low < high <= top:
                    raise ValueError(f"{what} {low:g} to {high:g} is no range within 0 to {top:g}")
        edges_h = sorted({edge for box in self.boxes for edge in box.h_score} | {0.0, H_TOP})
        edges_p = sorted(
            {edge for box in self.boxes for edge in box.pcms_percent} | {0.0, PCMS_TOP}
        )
        ranks = np.zeros((len(edges_h) - 1, len(edges_p) - 1), np.int64)
        for (i, h), (j, p) in itertools.product(enumerate(edges_h[:-1]), enumerate(edges_p[:-1])):
            found = [box for box in self.boxes if box.holds(h, p)]
            if len(found) != 1:
                raise ValueError(
                    f"H-score {h:g} with PCMS {p:g} lies in {len(found)} boxes; every case must "
                    "lie in exactly one"
                )
            ranks[i, j] = GRADES.index(found[0].score)
        if (np.diff(ranks, axis=0) < 0).any() or (np.diff(ranks, axis=1) < 0).any():
            raise ValueError("a higher H-score or PCMS lowers the score somewhere")
        return self

    def predict(self, h_score: float, pcms_percent: float) -> Her2Grade:
        """Return the score of one case.

        Raises
        ------
        InputError
            A value is out of range.
        """
        if not (0 <= h_score <= H_TOP and 0 <= pcms_percent <= PCMS_TOP):
            raise InputError(
                f"H-score {h_score} with PCMS {pcms_percent} %",
                hint="an H-score is 0 to 300, PCMS 0 to 100 percent",
            )
        return next(box.score for box in self.boxes if box.holds(h_score, pcms_percent))

    def why_not(self, grades: GradeSpec, completeness: CompletenessSpec) -> str:
        """Say why it does not fit these settings; empty when it does.

        Its H-score and PCMS mean nothing at other cut-offs than those it was fitted with.
        """
        if tuple(self.cuts) != grades.values:
            return f"it was fitted at the cut-offs {self.cuts}, these are {grades.values}"
        if self.complete_share != completeness.complete_share:
            return (
                f"it was fitted at complete_share {self.complete_share:g}, this is "
                f"{completeness.complete_share:g}"
            )
        return ""

    def alternative(self, h_score: float, pcms_percent: float) -> Her2Alternative:
        """Return the block that stands beside the rule's score."""
        return Her2Alternative(
            score=self.predict(h_score, pcms_percent),
            h_score=h_score,
            pcms_percent=pcms_percent,
            mapping=self.name,
            source=self.source,
        )


def _inside(value: float, span: Range, top: float) -> bool:
    return span[0] <= value < span[1] or value == span[1] == top
