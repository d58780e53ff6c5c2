"""A number of several members: their mean, and between which values nine in ten of them lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

ENDS: Final = (5.0, 95.0)
"""Percentiles over members; linear between order statistics."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean over members with the 5th and 95th percentile; both None with one member.

    How far training again would move the number. Not an interval of the truth.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def document(self) -> dict[str, float | None]:
        """Return ``value``, ``low``, ``high``."""
        return {"value": self.value, "low": self.low, "high": self.high}


def spread(members: ArrayLike) -> Spread:
    """Summarise a number of each member.

    Examples
    --------
    >>> spread([1.0, 2.0, 3.0]).value, spread([4.0])
    (2.0, Spread(value=4.0, low=None, high=None))
    """
    each = np.asarray(members, np.float64)
    if each.size == 1:
        return Spread(float(each[0]))
    low, high = np.percentile(each, ENDS)
    return Spread(float(each.mean()), float(low), float(high))
