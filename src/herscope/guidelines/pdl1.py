"""PD-L1: tumour proportion score (TPS) and combined positive score (CPS) from cell counts.

    TPS = 100 x positive viable tumour cells / viable tumour cells
    CPS = 100 x (positive viable tumour cells + positive lymphocytes and macrophages)
              / viable tumour cells, at most 100

A tumour cell is positive with any membrane staining, partial or complete. Immune cells count within
the tumour's nests and the stroma beside them; plasma cells, neutrophils, eosinophils, and cells of
in situ or necrotic parts do not. Fewer than 100 viable tumour cells give no score. Which cut-off
matters depends on the tumour and the drug, so none is applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from herscope.core.errors import InputError
from herscope.guidelines.membrane_percent import whole
from herscope.guidelines.rule import Rule

GUIDELINE: Final = "PD-L1 IHC 22C3 pharmDx"
SOURCE: Final = (
    "PD-L1 IHC 22C3 pharmDx, interpretation manual and package insert, Dako/Agilent 2020"
)
MIN_TUMOR_CELLS: Final = 100
"""22C3 manual: at least 100 viable tumour cells."""

CPS_MAX: Final = 100


def _rule(name: str, text: str) -> Rule:
    return Rule(f"pdl1-{name}", GUIDELINE, 2020, SOURCE, text)


TPS: Final = _rule("tps", "positive viable tumour cells in percent of all viable tumour cells")
CPS: Final = _rule(
    "cps",
    "positive tumour cells, lymphocytes and macrophages per 100 viable tumour cells, at most 100",
)
TOO_FEW: Final = _rule("too-few-cells", "fewer than 100 viable tumour cells: no score")


@dataclass(frozen=True, slots=True)
class Pdl1Reading:
    """TPS in percent or CPS, 0 to 100; ``value`` is None when there were too few cells."""

    name: Literal["TPS", "CPS"]
    value: float | None
    capped: bool
    rule: Rule
    comment: str
    inputs: dict[str, int]

    @property
    def status(self) -> Literal["scored", "indeterminate"]:
        """Whether there were enough cells."""
        return "indeterminate" if self.value is None else "scored"

    def as_block(self) -> dict[str, Any]:
        """Return a block of the form of ``her2``; ``score`` is the value."""
        return {
            "marker": "pdl1",
            "name": self.name,
            "score": self.value,
            "status": self.status,
            "capped": self.capped,
            "rule": self.rule.id,
            "rule_text": self.rule.text,
            "guideline": f"{GUIDELINE} {self.rule.year}",
            "source": self.rule.source,
            "comment": self.comment,
            "inputs": self.inputs,
        }


def tps(*, positive_tumor_cells: int, tumor_cells: int) -> Pdl1Reading:
    """Return the tumour proportion score.

    Parameters
    ----------
    positive_tumor_cells
        Viable tumour cells with any membrane staining.
    tumor_cells
        All viable tumour cells.

    Raises
    ------
    InputError
        A count is negative or not whole, or more cells are positive than there are.

    Examples
    --------
    >>> tps(positive_tumor_cells=49, tumor_cells=98).status
    'indeterminate'
    >>> tps(positive_tumor_cells=50, tumor_cells=100).value
    50.0
    """
    inputs = _checked(positive_tumor_cells, tumor_cells)
    if tumor_cells < MIN_TUMOR_CELLS:
        return _too_few("TPS", inputs)
    value = 100 * positive_tumor_cells / tumor_cells
    return Pdl1Reading("TPS", value, capped=False, rule=TPS, comment="", inputs=inputs)


def cps(*, positive_tumor_cells: int, positive_immune_cells: int, tumor_cells: int) -> Pdl1Reading:
    """Return the combined positive score; parameters and errors as for :func:`tps`.

    Parameters
    ----------
    positive_tumor_cells, tumor_cells
        As for :func:`tps`.
    positive_immune_cells
        Positive lymphocytes and macrophages in the nests and the stroma beside them.

    Examples
    --------
    >>> reading = cps(positive_tumor_cells=90, positive_immune_cells=20, tumor_cells=100)
    >>> reading.value, reading.capped
    (100.0, True)
    """
    inputs = _checked(positive_tumor_cells, tumor_cells)
    inputs["positive_immune_cells"] = whole("positive_immune_cells", positive_immune_cells)
    if tumor_cells < MIN_TUMOR_CELLS:
        return _too_few("CPS", inputs)
    positive = positive_tumor_cells + positive_immune_cells
    capped = positive > tumor_cells
    value = float(CPS_MAX) if capped else 100 * positive / tumor_cells
    told = (
        f"{positive} positive cells for {tumor_cells} tumour cells, cut to 100." if capped else ""
    )
    return Pdl1Reading("CPS", value, capped=capped, rule=CPS, comment=told, inputs=inputs)


def _checked(positive: int, cells: int) -> dict[str, int]:
    counts = {
        "positive_tumor_cells": whole("positive_tumor_cells", positive),
        "tumor_cells": whole("tumor_cells", cells),
    }
    if counts["positive_tumor_cells"] > counts["tumor_cells"]:
        raise InputError(
            f"positive_tumor_cells is {positive}, more than tumor_cells with {cells}",
            hint="positive tumour cells are part of all viable tumour cells",
        )
    return counts


def _too_few(name: Literal["TPS", "CPS"], inputs: dict[str, int]) -> Pdl1Reading:
    told = (
        f"{inputs['tumor_cells']} viable tumour cells, at least {MIN_TUMOR_CELLS} are needed: "
        "take another block or sample."
    )
    return Pdl1Reading(name, None, capped=False, rule=TOO_FEW, comment=told, inputs=inputs)
