"""From the membrane's optical density by direction to completeness and the guideline's classes.

*Completeness* at a cut-off is the share of a cell's circumference, in 32 sectors of equal angle,
whose membrane reaches it. The guidelines' words are put into numbers as follows; no guideline gives
one, so every share is a parameter (:class:`CompletenessSpec`) that a laboratory may calibrate.

* *complete*: completeness at the first cut-off is at least ``complete_share``. Its grade is the
  highest cut-off that ``intensity_share`` of the circumference reaches.
* *incomplete*: at least ``stained_share`` is stained. Its grade is moderate or intense when
  ``patch_share`` reaches that cut-off, otherwise weak: a dark spot makes no moderate membrane.
* *U-shaped*: incomplete, and the stain lies as in a gland seen from the side: in one arc of at
  least ``u_share`` (basolateral), or in two opposite arcs that are as much together (lateral). As
  guidelines count it like a complete one, its grade is found like that of a complete one.

A cell is judged by the sectors that were seen; one at the slide's edge, of which fewer than
``seen_share`` were, is not evaluable. A darker sector never lowers a class: every share is counted
over the whole circumference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.spec import Spec

SECTORS: Final = 32
"""Sector 0 points right, the others follow clockwise on the screen."""

UNSEEN: Final = -32768
"""Value of a sector that could not be measured: it lies outside the slide."""

MEMBRANE_CLASSES: Final = (
    "complete_intense",
    "complete_moderate",
    "complete_weak",
    "incomplete_moderate",
    "incomplete_faint",
    "none",
)
"""Class 0 to 5 of a cell, named as in the ``membrane`` block of a result."""

NOT_EVALUABLE: Final = 6
"""Class of a cell of which too little was seen."""

Sectors = NDArray[np.int16]
"""(cells, 32) membrane DAB by direction, milli-OD without the cytoplasm's; or ``UNSEEN``."""

Share = float


class CompletenessSpec(Spec):
    """How much of a membrane the guideline's words mean; ours, to be calibrated."""

    complete_share: Share = Field(
        default=0.85,
        gt=0.5,
        le=1,
        description="Least stained share of a complete membrane.",
    )
    intensity_share: Share = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A complete membrane has the grade that this share of it reaches.",
    )
    stained_share: Share = Field(
        default=0.2, gt=0, le=0.5, description="Less stained circumference is no staining."
    )
    patch_share: Share = Field(
        default=0.3,
        gt=0,
        le=0.5,
        description="An incomplete membrane has the higher grade that this share of it reaches.",
    )
    u_share: Share = Field(
        default=0.5, gt=0, le=1, description="Least stained circumference of a U-shaped membrane."
    )
    seen_share: Share = Field(
        default=0.75, gt=0, le=1, description="Cells of which less was seen are not evaluable."
    )

    @model_validator(mode="after")
    def _rising(self) -> CompletenessSpec:
        shares = (self.stained_share, self.patch_share, self.u_share, self.complete_share)
        if list(shares) != sorted(shares):
            raise ValueError(
                f"stained, patch, u and complete share must not fall, but are {shares}"
            )
        return self


class Completeness(NamedTuple):
    """Sectors of each cell, counted: ``seen`` (n,), and ``reached`` (n, 3), one per cut-off."""

    seen: NDArray[np.int16]
    reached: NDArray[np.int16]

    def shares(self) -> NDArray[np.float32]:
        """(n, 3) completeness at the three cut-offs, 0 to 1; NaN when nothing was seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.reached / self.seen[:, None].astype(np.float32), np.float32)


class MembraneClasses(NamedTuple):
    """One entry a cell.

    ``code``: its place in :data:`MEMBRANE_CLASSES`, or :data:`NOT_EVALUABLE`. ``grade``: 0 to 3.
    ``u_grade``: 1 to 3 when it is U-shaped, otherwise 0.
    """

    code: NDArray[np.int8]
    grade: NDArray[np.int8]
    u_grade: NDArray[np.int8]

    @property
    def u_shaped(self) -> NDArray[np.bool_]:
        """Basolateral or lateral, and incomplete."""
        return self.u_grade > 0


def count_sectors(sectors: Sectors, cuts_milli: Sequence[int]) -> Completeness:
    """Count the sectors that were seen and that reach each cut-off.

    Parameters
    ----------
    sectors
        (n, 32) milli-OD.
    cuts_milli
        Three rising cut-offs in milli-OD; ``value >= cut`` reaches it.

    Examples
    --------
    >>> sectors = np.full((1, 32), 700, np.int16)
    >>> sectors[0, :8] = 0
    >>> count_sectors(sectors, (200, 400, 600)).shares().tolist()
    [[0.75, 0.75, 0.75]]
    """
    cuts = np.maximum(np.asarray(cuts_milli, np.int64), UNSEEN + 1)
    seen = (sectors != UNSEEN).sum(axis=1, dtype=np.int16)
    reached = np.stack([(sectors >= cut).sum(axis=1, dtype=np.int16) for cut in cuts], axis=1)
    return Completeness(seen, reached.reshape(-1, len(cuts)))


def classify(
    sectors: Sectors, cuts_milli: Sequence[int], spec: CompletenessSpec
) -> MembraneClasses:
    """Put every cell into one of the guideline's classes.

    Parameters
    ----------
    sectors, cuts_milli
        As for :func:`count_sectors`.
    spec
        The shares.

    Examples
    --------
    >>> ring, arc = np.full(32, 700, np.int16), np.full(32, 300, np.int16)
    >>> arc[:12] = 10
    >>> found = classify(np.stack([ring, arc]), (200, 400, 600), CompletenessSpec())
    >>> [MEMBRANE_CLASSES[code] for code in found.code], found.u_shaped.tolist()
    (['complete_intense', 'incomplete_faint'], [False, True])
    """
    counts = count_sectors(sectors, cuts_milli)
    return classify_counts(counts, u_shaped(sectors, int(cuts_milli[0]), spec), spec)


def classify_counts(
    counts: Completeness, u_shaped: NDArray[np.bool_], spec: CompletenessSpec
) -> MembraneClasses:
    """As :func:`classify`, from counted sectors and the shape of the stain."""
    seen, reached = counts.seen.astype(np.int64), counts.reached.astype(np.int64)

    def covers(share: Share) -> NDArray[np.bool_]:
        return 1000 * reached >= _mill(share) * np.maximum(seen, 1)[:, None]

    # Counts fall from cut-off to cut-off, so the number of those passed is the grade.
    complete = covers(spec.complete_share)[:, 0]
    grade_complete = np.maximum(covers(spec.intensity_share).sum(axis=1), 1)
    partial = covers(spec.patch_share)
    partial[:, 0] = covers(spec.stained_share)[:, 0]
    grade_partial = partial.sum(axis=1)
    grade = np.where(complete, grade_complete, grade_partial)
    code = np.where(
        complete,
        3 - grade,
        np.select([grade_partial >= 2, grade_partial == 1], [3, 4], 5),
    )
    blind = 1000 * seen < _mill(spec.seen_share) * SECTORS
    code[blind], grade[blind] = NOT_EVALUABLE, 0
    u_grade = np.where(u_shaped & ((code == 3) | (code == 4)), grade_complete, 0)
    return MembraneClasses(code.astype(np.int8), grade.astype(np.int8), u_grade.astype(np.int8))


def class_counts(classes: MembraneClasses) -> dict[str, int]:
    """Cells of each class, then the U-shaped among the incomplete ones; evaluable cells only.

    Examples
    --------
    >>> ring = np.full((2, 32), 700, np.int16)
    >>> counts = class_counts(classify(ring, (200, 400, 600), CompletenessSpec()))
    >>> counts["complete_intense"], counts["none"]
    (2, 0)
    """
    found = np.bincount(classes.code, minlength=NOT_EVALUABLE + 1)
    counts = {name: int(found[i]) for i, name in enumerate(MEMBRANE_CLASSES)}
    by_grade = np.bincount(classes.u_grade, minlength=4)
    return counts | {
        "basolateral_intense": int(by_grade[3]),
        "basolateral_moderate": int(by_grade[2]),
        "basolateral_weak": int(by_grade[1]),
    }


def _mill(share: Share) -> int:
    """Return a share in thousandths; as whole numbers 0.85 of 20 sectors is 17."""
    return round(share * 1000)


def u_shaped(sectors: Sectors, cut_milli: int, spec: CompletenessSpec) -> NDArray[np.bool_]:
    """(n,) whether the sectors that reach a cut-off lie in one arc, or in two opposite ones."""
    return np.asarray(_u_shaped(sectors, cut_milli, _mill(spec.u_share)))


@njit(cache=True, nogil=True)
def _u_shaped(sectors, cut, least):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901, PLR0912 - one walk round
    n, around = sectors.shape
    out = np.zeros(n, np.bool_)
    on = np.zeros(around, np.bool_)
    first, length = np.empty(around, np.int64), np.empty(around, np.int64)
    for i in range(n):
        total, seen = 0, 0
        for s in range(around):
            on[s] = sectors[i, s] >= cut
            total += on[s]
            seen += sectors[i, s] != UNSEEN
        if total in (0, around) or 1000 * total < least * seen:
            continue
        # A gap, then an arc, of one sector is noise.
        for value in (False, True):
            for s in range(around):
                if on[s] == value and on[s - 1] != value and on[(s + 1) % around] != value:
                    on[s] = not value
        start = 0
        while start < around and (on[start] or not on[(start + 1) % around]):
            start += 1
        if start == around:
            continue
        arcs, run = 0, 0
        for k in range(1, around + 1):
            s = (start + k) % around
            if on[s]:
                if run == 0:
                    first[arcs] = s
                run += 1
            elif run:
                length[arcs] = run
                arcs += 1
                run = 0
        if arcs == 1:
            out[i] = True
        elif arcs == 2 and min(length[0], length[1]) * 5 >= around:
            # middles in half sectors; opposite to within 45 degrees
            apart = abs((2 * first[0] + length[0]) - (2 * first[1] + length[1])) % (2 * around)
            apart = min(apart, 2 * around - apart)
            out[i] = 4 * apart >= 3 * around
    return out
