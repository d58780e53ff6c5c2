"""Which lesions of a patient are looked at: few, large, and not all of one kind.

The largest first; at most two of a kind and five in all, as RECIST 1.1 takes its target lesions
(Eisenhauer et al., Eur J Cancer 2009;45:228: five a patient, two an organ) and as MuMo did.
Departures: *kind* stands for organ, so spleen, bone and soft tissue, which are all ``other``, share
two places; size is volume instead of the longest diameter. A lesion of which only a box is known
counts with the ellipsoid in that box, pi/6 of it, or boxes would go before outlines of the same
size. Equal sizes go by place: the earlier CT, then the lower, front-most, right-most.

This choice by size is greedy, and no other choice within the two limits has a larger first lesion,
nor, with that, a larger second, and so on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from herscope.respond.radiology.lesions import Lesion

MAX_LESIONS: Final = 5
MOST_OF_A_KIND: Final = 2
ELLIPSOID_OF_BOX: Final = math.pi / 6


def size_ml(lesion: Lesion) -> float:
    """Return the volume by which a lesion is ranked: its own, or that of the ellipsoid in its box.

    Examples
    --------
    >>> from herscope.respond.radiology.lesions import Box, LesionKind
    >>> box = Box(0, 0, 0, 1, 10, 10)
    >>> size_ml(Lesion(1, LesionKind.LIVER, box, 60, 60.0, 0))
    60.0
    >>> round(size_ml(Lesion(1, LesionKind.LIVER, box, 100, 100.0, 0, outlined=False)), 2)
    52.36
    """
    return lesion.volume_ml if lesion.outlined else lesion.volume_ml * ELLIPSOID_OF_BOX


def choose_lesions(
    lesions: Sequence[tuple[int, Lesion]],
    *,
    max_lesions: int = MAX_LESIONS,
    most_of_a_kind: int = MOST_OF_A_KIND,
) -> tuple[list[int], str]:
    """Choose the lesions of one patient.

    Parameters
    ----------
    lesions
        Number of the CT, and the lesion, of each.
    max_lesions, most_of_a_kind
        Limits; 0 sets none.

    Returns
    -------
    tuple
        Indices of the chosen ones, largest first, and a note of what was left out (empty: nothing).

    Examples
    --------
    >>> from herscope.respond.radiology.lesions import Box, LesionKind
    >>> def one(kind, ml):
    ...     return 0, Lesion(1, LesionKind[kind], Box(0, 0, 0, 1, 1, 1), 1, ml, 0)
    >>> found = [one("LIVER", 3.0), one("LIVER", 9.0), one("STOMACH", 1.0), one("LIVER", 5.0)]
    >>> choose_lesions(found)
    ([1, 3, 2], '1 of 4 lesions left out (liver 3 ml): at most 5 a patient and 2 of a kind')
    """
    order = sorted(range(len(lesions)), key=lambda index: _rank(*lesions[index]))
    chosen: list[int] = []
    left: list[int] = []
    kinds: Counter[int] = Counter()
    for index in order:
        kind = int(lesions[index][1].kind)
        full = 0 < max_lesions <= len(chosen) or 0 < most_of_a_kind <= kinds[kind]
        (left if full else chosen).append(index)
        kinds[kind] += not full
    smaller = [lesions[index][1] for index in left]
    return chosen, _left_out(smaller, len(lesions), max_lesions, most_of_a_kind)


def _rank(ct: int, lesion: Lesion) -> tuple[float, int, int, int, int, int]:
    box = lesion.box
    # A millionth of a microlitre: boxes and outlines of one size differ in the last bit only.
    return (-round(size_ml(lesion), 9), ct, lesion.key_slice, box.y0, box.x0, lesion.label)


def _left_out(left: Sequence[Lesion], count: int, most: int, of_a_kind: int) -> str:
    if not left:
        return ""
    sizes = ", ".join(
        f"{one.kind.name.lower().replace('_', ' ')} {size_ml(one):.3g} ml" for one in left[:3]
    )
    limits = " and ".join(
        text
        for limit, text in ((most, f"{most} a patient"), (of_a_kind, f"{of_a_kind} of a kind"))
        if limit
    )
    more = ", ..." if len(left) > 3 else ""
    return f"{len(left)} of {count} lesions left out ({sizes}{more}): at most {limits}"
