"""HER2 by dual-probe ISH in breast: groups 1 to 5, read together with IHC (ASCO/CAP 2018).

=====  =====  ==============  ============  ==============================  =======================
group  ratio  signals a cell  with IHC 3+   with IHC 2+                     with IHC 0 or 1+
=====  =====  ==============  ============  ==============================  =======================
1      >= 2   >= 4            positive      positive                        positive
2      >= 2   < 4             positive      recount; unchanged: negative*   negative*
3      < 2    >= 6            positive      recount; unchanged: positive    negative*
4      < 2    >= 4, < 6       positive      recount; unchanged: negative*   negative*
5      < 2    < 4             for review    negative                        negative
=====  =====  ==============  ============  ==============================  =======================

``*`` with a comment. The recount is blinded, of at least 20 cells that include the 2+ area. If it
falls into another group the case is for review, by the laboratory's own procedure. Group 5 with IHC
3+ contradicts itself and is never resolved here. Cut-offs are compared on the decimal numbers as
written: a ratio of 2.0 is group 1 or 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from herscope.core.errors import InputError
from herscope.guidelines.membrane_percent import exact, whole
from herscope.guidelines.rule import Rule

IshStatus = Literal["positive", "negative", "recount", "review", "indeterminate"]
IHC_SCORES: Final = ("0", "1+", "2+", "3+")

GUIDELINE: Final = "ASCO/CAP 2018, affirmed 2023"
SOURCE: Final = (
    "Wolff AC et al. J Clin Oncol 2018;36:2105 (Arch Pathol Lab Med 2018;142:1364), figures 3 to 6"
)
MIN_CELLS: Final = 20
"""Wolff 2018: at least 20 cells are counted."""

RATIO_CUT: Final = Fraction(2)
COPIES_LOW: Final = Fraction(4)
COPIES_HIGH: Final = Fraction(6)


def _rule(name: str, text: str) -> Rule:
    return Rule(f"her2-ish-2018-{name}", "ASCO/CAP HER2 ISH", 2018, SOURCE, text)


GROUP_TEXTS: Final = {
    1: "ratio 2.0 or more, 4.0 or more HER2 signals a cell",
    2: "ratio 2.0 or more, fewer than 4.0 HER2 signals a cell",
    3: "ratio below 2.0, 6.0 or more HER2 signals a cell",
    4: "ratio below 2.0, from 4.0 to fewer than 6.0 HER2 signals a cell",
    5: "ratio below 2.0, fewer than 4.0 HER2 signals a cell",
}
_COMMENTS: Final = {
    2: "Low copy number: in trials such tumours had no apparent benefit from HER2 therapy.",
    3: "Tumours with a ratio below 2.0 could not enter the first trials.",
    4: "Close to the threshold: a repeated test may differ by chance alone.",
}
DISCORDANT: Final = (
    "Discordant: negative by ISH, positive by IHC. Both tests and the sample are to be reviewed; "
    "nothing is resolved here."
)
TOO_FEW: Final = _rule("too-few-cells", "fewer than 20 cells counted: no result")
MOVED: Final = _rule(
    "recount-moved",
    "the recount falls into another group: resolved by the laboratory's own procedure",
)

Ihc = Literal["0", "1+", "2+", "3+"]


def _table() -> dict[tuple[int, str], tuple[IshStatus, str]]:
    """Status and comment of every group and IHC score, before any recount."""
    table: dict[tuple[int, str], tuple[IshStatus, str]] = {}
    for ihc in IHC_SCORES:
        table[1, ihc] = ("positive", "")
        table[5, ihc] = ("negative", "")
        for group in (2, 3, 4):
            table[group, ihc] = ("negative", _COMMENTS[group])
    for group in (2, 3, 4):
        told = "Blinded recount of at least 20 cells, the IHC 2+ area among them."
        table[group, "2+"] = ("recount", told)
        table[group, "3+"] = ("positive", "Positive by IHC 3+.")
    table[5, "3+"] = ("review", DISCORDANT)
    return table


TABLE: Final = _table()
AFTER_RECOUNT: Final[dict[int, IshStatus]] = {2: "negative", 3: "positive", 4: "negative"}


@dataclass(frozen=True, slots=True)
class IshReading:
    """The ISH group (0 when too few cells were counted) and what it means beside IHC."""

    group: int
    status: IshStatus
    rule: Rule
    comment: str
    her2_low: bool
    inputs: dict[str, Any]

    def as_block(self) -> dict[str, Any]:
        """Return a block of the form of ``her2``; ``score`` is the group."""
        score = f"ISH group {self.group}" if self.group else "indeterminate"
        return {
            "marker": "ish",
            "score": score,
            "group": self.group or None,
            "status": self.status,
            "rule": self.rule.id,
            "rule_text": self.rule.text,
            "guideline": GUIDELINE,
            "source": self.rule.source,
            "her2_low": self.her2_low,
            "comment": self.comment,
            "inputs": self.inputs,
        }


def ish_group(ratio: float, copies: float) -> int:
    """Return the group, 1 to 5.

    Parameters
    ----------
    ratio
        HER2 signals over CEP17 signals.
    copies
        Mean HER2 signals a cell.

    Raises
    ------
    InputError
        A value is negative or no number.

    Examples
    --------
    >>> ish_group(2.0, 4.0), ish_group(1.99, 6.0), ish_group(1.99, 5.99)
    (1, 3, 4)
    """
    r, c = exact("ratio", ratio), exact("copies", copies)
    for name, value in (("ratio", r), ("copies", c)):
        if value < 0:
            raise InputError(
                f"{name} is {float(value):g} (allowed: 0 or more)",
                hint="ratio is HER2/CEP17, copies is the mean number of HER2 signals a cell",
            )
    if r >= RATIO_CUT:
        return 1 if c >= COPIES_LOW else 2
    if c >= COPIES_HIGH:
        return 3
    return 4 if c >= COPIES_LOW else 5


def her2_ish(
    ratio: float,
    copies: float,
    ihc: Ihc,
    cells_counted: int,
    *,
    recounted: tuple[float, float, int] | None = None,
) -> IshReading:
    """Read dual-probe ISH beside the IHC score of the same tissue sample.

    Parameters
    ----------
    ratio, copies
        HER2/CEP17 and mean HER2 signals a cell.
    ihc
        ``0``, ``1+``, ``2+`` or ``3+``.
    cells_counted
        Cells counted; below 20 the result is ``indeterminate``.
    recounted
        Ratio, copies and cells of the blinded recount that groups 2, 3 and 4 need with IHC 2+; in
        other cases it must be None.

    Returns
    -------
    IshReading
        ``status`` is ``recount`` when a recount is due and ``review`` when people must resolve it;
        ``her2_low`` is whether IHC 1+ or 2+ meets a negative ISH.

    Raises
    ------
    InputError
        A value cannot be used, or a recount was given that the guideline does not ask for.

    Examples
    --------
    >>> her2_ish(1.4, 4.5, "2+", 20).status
    'recount'
    >>> after = her2_ish(1.4, 4.5, "2+", 20, recounted=(1.5, 4.2, 20))
    >>> after.status, after.her2_low
    ('negative', True)
    """
    if ihc not in IHC_SCORES:
        raise InputError(f"ihc is {ihc!r}", hint=f"allowed: {', '.join(IHC_SCORES)}")
    group, cells = ish_group(ratio, copies), whole("cells_counted", cells_counted)
    inputs: dict[str, Any] = {
        "ratio": float(ratio),
        "copies": float(copies),
        "ihc": ihc,
        "cells_counted": cells,
    }
    status, comment = TABLE[group, ihc]
    if recounted is not None:
        again, cells_again = ish_group(*recounted[:2]), whole("recounted.cells", recounted[2])
        inputs["recounted"] = {
            "ratio": float(recounted[0]),
            "copies": float(recounted[1]),
            "cells": cells_again,
        }
        if status != "recount":
            raise InputError(
                f"a recount was given for group {group} with IHC {ihc}",
                hint="the guideline asks for one only in groups 2, 3 and 4 with IHC 2+",
            )
        cells = min(cells, cells_again)
    if cells < MIN_CELLS:
        told = f"{cells} cells counted, at least {MIN_CELLS} are needed."
        return IshReading(0, "indeterminate", TOO_FEW, told, her2_low=False, inputs=inputs)
    if recounted is not None:
        if again != group:
            told = f"First count group {group}, recount group {again}."
            return IshReading(again, "review", MOVED, told, her2_low=False, inputs=inputs)
        status, comment = AFTER_RECOUNT[group], _COMMENTS[group] if group != 3 else ""
    low = status == "negative" and ihc in {"1+", "2+"}
    rule = _rule(f"group-{group}", f"group {group}: {GROUP_TEXTS[group]}")
    return IshReading(group, status, rule, comment, her2_low=low, inputs=inputs)
