"""High and low risk by a cut-off that carries where it came from.

A cut-off chosen on the patients it is then tested on makes any score look good (Altman et al., J
Natl Cancer Inst 1994;86:829). So a cut-off is not a bare number: it says which data it was taken
from, and groups made with a cut-off of the same data carry a note that says what that does to p.
Higher risk is worse; a risk above the cut-off is high, one equal to it is low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import at_least, numbers

HIGH, LOW = "high risk", "low risk"

SAME_DATA = (
    "the cut-off was taken from these same patients: the difference between the groups and its p "
    "are too good; take the cut-off from other data"
)


@dataclass(frozen=True, slots=True)
class CutOff:
    """A cut-off on a risk and its origin.

    Parameters
    ----------
    value
        Risks above it are high.
    source
        What it is and where it was taken from, in words.
    same_data
        Whether it was chosen on the patients it will be applied to.

    Examples
    --------
    >>> print(CutOff(0.42, "Youden index of the validation cohort"))
    0.42 (Youden index of the validation cohort)
    """

    value: float
    source: str
    same_data: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"the cut-off is {self.value:g}", hint="give a finite number")
        if not self.source.strip():
            raise InputError(
                "a cut-off without a source",
                hint="say where it was taken from, such as 'median of the training cohort'",
            )

    def __str__(self) -> str:
        return f"{self.value:g} ({self.source})"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"value": self.value, "source": self.source, "same_data": self.same_data}


@dataclass(frozen=True, slots=True)
class RiskGroups:
    """Each patient's group, and what the cut-off was.

    Parameters
    ----------
    labels
        ``high risk`` or ``low risk``, one per patient.
    cut
        The cut-off.
    counts
        Patients in each group.
    notes
        A warning when the cut-off was taken from the same patients.
    """

    labels: tuple[str, ...]
    cut: CutOff
    counts: dict[str, int]
    notes: tuple[str, ...]


def median_cut(risk: ArrayLike, source: str, *, same_data: bool = False) -> CutOff:
    """Take the median risk of some patients as a cut-off for others.

    Parameters
    ----------
    risk
        (n,) risks of the patients it is taken from.
    source
        Which patients these are.
    same_data
        True when they are the patients it will be applied to.

    Raises
    ------
    InputError
        A risk is missing or no number.
    UndefinedStatistic
        No risks.

    Examples
    --------
    >>> print(median_cut([0.1, 0.4, 0.9], "training cohort"))
    0.4 (median of 3 risks, training cohort)
    """
    values = numbers(risk, "risk")
    at_least(values.size, 1, "a median cut-off")
    said = f"median of {values.size:,} risks, {source}"
    return CutOff(float(np.median(values)), said, same_data)


def risk_groups(risk: ArrayLike, cut: CutOff) -> RiskGroups:
    """Divide patients into high and low risk.

    Parameters
    ----------
    risk
        (n,) risks, higher is worse.
    cut
        The cut-off and where it came from.

    Raises
    ------
    InputError
        A risk is missing or no number.
    UndefinedStatistic
        All patients fall on one side.

    Examples
    --------
    >>> groups = risk_groups([0.2, 0.5, 0.8], CutOff(0.5, "training cohort"))
    >>> groups.labels
    ('low risk', 'low risk', 'high risk')
    """
    values = numbers(risk, "risk")
    above = values > cut.value
    n_high = int(above.sum())
    if n_high in {0, values.size}:
        ends = f"{values.min():g} to {values.max():g}" if values.size else "none"
        raise UndefinedStatistic(
            f"all {values.size} risks are {'at or below' if n_high == 0 else 'above'} the cut-off "
            f"{cut}",
            hint=f"the risks run from {ends}: is the cut-off on the same scale?",
        )
    return RiskGroups(
        tuple(HIGH if high else LOW for high in above),
        cut,
        {HIGH: n_high, LOW: values.size - n_high},
        (SAME_DATA,) if cut.same_data else (),
    )
