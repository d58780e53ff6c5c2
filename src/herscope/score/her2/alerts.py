"""Alerts about membranes and the HER2 score that was read off them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from herscope.score.alerts import OURS, alert
from herscope.score.result import Alert

if TYPE_CHECKING:
    from herscope.score.her2.membranes import MembraneRead

COARSEST_MEMBRANE_MPP: Final = 0.6
"""Two pixels across a membrane of 1.2 µm; coarser ones fade and break."""

CYTOPLASM_SHARE: Final = 0.25
"""From here on a strong membrane may lose a grade to the cytoplasm that is taken off."""

CYTOPLASM_WARNING: Final = 0.40
SOFT_SHARPNESS: Final = 0.74
"""Drawn slides with a blur of 0.25, 0.36, 0.5 and 0.7 µm have 0.77, 0.74, 0.70 and 0.64 (median);
six stained real fields 0.77 to 0.88. From 0.36 µm on strong membranes lost a grade."""

FEW_STAINED_PERCENT: Final = 10.0
RIM_SHARE: Final = 0.05
UNSEEN_SHARE: Final = 0.10


def membrane_alerts(
    read: MembraneRead, *, working_mpp: float, separated: bool, sharpness: float | None = None
) -> Iterator[Alert]:
    """Say what to know about membranes and their reading.

    Parameters
    ----------
    read
        The membranes of the compartment that is read.
    working_mpp
        Resolution of the scoring, µm/px.
    separated
        Whether compartments were given.
    sharpness
        Focus measure of the sharper windows of the slide; None when it could not be judged.
    """
    membrane, her2 = read.membrane, read.her2
    if her2 is not None and her2.status == "indeterminate":
        yield alert("her2-not-scored", "warning", f"HER2 was not scored. {her2.comment}")
    elif her2 is not None:
        if her2.borderline:
            yield alert(
                "her2-borderline",
                "warning",
                f"{read.borderline_why[:1].upper()}{read.borderline_why[1:]}.",
                (her2.probability or {}).get(her2.score),
            )
        yield alert(
            "her2-controls",
            "note",
            "Control tissue was not assessed: the score holds only if the controls stained.",
            source=her2.guideline,
        )
        if not separated:
            yield alert(
                "her2-all-cells",
                "warning",
                "HER2 was read over all cells: stroma, lymphocytes and normal ducts dilute or "
                "raise it. Give the invasive tumour as annotations (--compartments).",
                source=her2.guideline,
            )
    if working_mpp > COARSEST_MEMBRANE_MPP:
        yield alert(
            "membrane-coarse",
            "warning",
            f"At {working_mpp:.3g} µm/px a membrane is hardly two pixels wide: completeness reads "
            "low.",
            working_mpp,
            COARSEST_MEMBRANE_MPP,
        )
    stained = 100 - (100 if membrane.none_percent is None else membrane.none_percent)
    if sharpness is not None and sharpness < SOFT_SHARPNESS and stained > FEW_STAINED_PERCENT:
        yield alert(
            "membrane-soft",
            "warning",
            f"The picture is soft (sharpness {sharpness:.2f}): blur takes up to a quarter of a "
            "thin membrane's density, and strong ones may read a grade too low.",
            sharpness,
            SOFT_SHARPNESS,
        )
    rim = membrane.without_nucleus / membrane.cells if membrane.cells else 0.0
    if rim > RIM_SHARE:
        yield alert(
            "cells-by-rim",
            "note",
            f"{rim:.0%} of the cells show no nucleus and were found by their stained rim.",
            rim,
            RIM_SHARE,
        )
    unseen = membrane.not_evaluable / max(membrane.cells + membrane.not_evaluable, 1)
    if unseen > UNSEEN_SHARE:
        yield alert(
            "membrane-unseen",
            "note",
            f"The membrane of {unseen:.0%} of the cells lies partly outside the picture; they are "
            "left out of the membrane's percentages.",
            unseen,
            UNSEEN_SHARE,
        )
    share = read.cytoplasm_share
    if share is not None and share > CYTOPLASM_SHARE:
        yield alert(
            "membrane-cytoplasm",
            "warning" if share > CYTOPLASM_WARNING else "note",
            f"The cytoplasm of stained cells is {share:.0%} as brown as their membrane. It is "
            "taken off: membranes may read a grade lower than they look.",
            share,
            CYTOPLASM_SHARE,
        )
    yield alert(
        "membrane-shared",
        "note",
        "The line between two cells counts for both: a stained cell lends its stain to an "
        "unstained neighbour.",
        source=OURS,
    )
