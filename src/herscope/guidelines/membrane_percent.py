"""Membrane staining of tumour cells in percent, as exact numbers.

The six classes of the ``membrane`` block of a result, as shares of evaluable tumour cells, held as
fractions: guidelines cut at exactly 10 %, and a rounded or binary percentage may fall on the wrong
side of it. Whole-number counts are exact by themselves; percentages are taken as the decimal
number that was written, so 10.0 is 10 and not 9.999999.

For stomach and colon a U-shaped (basolateral or lateral) membrane counts like a complete one. The
optional ``basolateral_*`` classes say which part of the incomplete ones is U-shaped.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from herscope.core.errors import InputError, SchemaError, UndefinedStatistic

CLASSES: Final = (
    "complete_intense",
    "complete_moderate",
    "complete_weak",
    "incomplete_moderate",
    "incomplete_faint",
    "none",
)
"""Every cell is in one of these; ``incomplete_moderate`` holds moderate to intense ones."""

BASOLATERAL: Final = {
    "basolateral_intense": "incomplete_moderate",
    "basolateral_moderate": "incomplete_moderate",
    "basolateral_weak": "incomplete_faint",
}
"""What is U-shaped among the incomplete cells, and the class it is part of as a rule; a weak U may
have a darker patch and then lies in ``incomplete_moderate``."""

SUM_TOLERANCE: Final = Fraction(1, 2)
"""Percentage points by which rounded percentages may miss 100 together."""

_KEYS_HINT: Final = "give " + ", ".join(f"{name}_percent" for name in CLASSES)


@dataclass(frozen=True, slots=True)
class MembranePercent:
    """Percentages of evaluable tumour cells, exact.

    Parameters
    ----------
    complete_intense, complete_moderate, complete_weak
        Cells stained all around, by intensity.
    incomplete_moderate
        Cells stained in part, moderately to intensely.
    incomplete_faint
        Cells stained in part, faintly or barely perceptibly.
    none
        Cells without membrane staining.
    cells
        Evaluable tumour cells; None when nobody said.
    basolateral_intense, basolateral_moderate
        U-shaped cells among ``incomplete_moderate``; None when they were not told apart.
    basolateral_weak
        U-shaped cells of weak intensity, among either incomplete class.

    Examples
    --------
    >>> counts = dict.fromkeys(CLASSES, 0) | {"complete_weak": 1, "none": 2}
    >>> MembranePercent.of_counts(counts).complete_weak
    Fraction(100, 3)
    """

    complete_intense: Fraction
    complete_moderate: Fraction
    complete_weak: Fraction
    incomplete_moderate: Fraction
    incomplete_faint: Fraction
    none: Fraction
    cells: int | None = None
    basolateral_intense: Fraction | None = None
    basolateral_moderate: Fraction | None = None
    basolateral_weak: Fraction | None = None

    @classmethod
    def of_percent(cls, percent: Mapping[str, Any], *, cells: Any = None) -> MembranePercent:
        """Check percentages, keyed ``complete_intense_percent`` and so on.

        Raises
        ------
        InputError
            A key is missing or unknown, a value is no number from 0 to 100, the classes do not sum
            to 100 within half a point, or a basolateral class exceeds the class it is part of.
        """
        keys = {f"{name}_percent": name for name in (*CLASSES, *BASOLATERAL)}
        _check_keys(percent, keys, [f"{name}_percent" for name in CLASSES])
        values = {keys[key]: _percentage(key, value) for key, value in percent.items()}
        total = sum((values[name] for name in CLASSES), Fraction(0))
        if abs(total - 100) > SUM_TOLERANCE:
            raise InputError(
                f"the six membrane percentages sum to {float(total):g}, not to 100 "
                f"(tolerance {float(SUM_TOLERANCE):g})",
                hint="they are shares of all evaluable tumour cells, none_percent included",
            )
        _check_parts(values, SUM_TOLERANCE, "_percent")
        return cls(**values, cells=None if cells is None else _whole("cells", cells))

    @classmethod
    def of_counts(cls, counts: Mapping[str, Any]) -> MembranePercent:
        """Check whole numbers of cells, keyed ``complete_intense`` and so on, perhaps ``total``.

        Raises
        ------
        InputError
            A key is missing or unknown, a count is negative or not whole, the counts do not sum to
            ``total``, or a basolateral class exceeds the class it is part of.
        UndefinedStatistic
            There is no cell.
        """
        known = (*CLASSES, *BASOLATERAL, "total")
        _check_keys(counts, dict.fromkeys(known, ""), list(CLASSES))
        numbers_ = {key: _whole(key, value) for key, value in counts.items()}
        cells = sum(numbers_[name] for name in CLASSES)
        stated = numbers_.pop("total", cells)
        if stated != cells:
            raise InputError(
                f"the counts of the six classes sum to {cells:,}, but total says {stated:,}",
                hint="every evaluable tumour cell belongs to exactly one of the six classes",
            )
        if cells == 0:
            raise UndefinedStatistic(
                "no evaluable tumour cell, so there is nothing to score",
                hint="check the tissue detection and the compartments",
            )
        values = {name: Fraction(100 * number, cells) for name, number in numbers_.items()}
        _check_parts(values, Fraction(0), "")
        return cls(**values, cells=cells)

    @property
    def complete(self) -> Fraction:
        """Cells stained all around, at any intensity."""
        return self.complete_intense + self.complete_moderate + self.complete_weak

    @property
    def incomplete(self) -> Fraction:
        """Cells stained in part."""
        return self.incomplete_moderate + self.incomplete_faint

    @property
    def stained(self) -> Fraction:
        """Cells with any membrane staining."""
        return self.complete + self.incomplete

    @property
    def tells_basolateral(self) -> bool:
        """Whether at least one basolateral class was given; the absent ones then count as 0."""
        return any(getattr(self, name) is not None for name in BASOLATERAL)

    def basolateral(self, name: str) -> Fraction:
        """Return a basolateral class, 0 when absent."""
        value: Fraction | None = getattr(self, name)
        return Fraction(0) if value is None else value

    def as_block(self) -> dict[str, float | int]:
        """Return the percentages as floats under the keys of the ``membrane`` block."""
        block: dict[str, float | int] = {
            f"{name}_percent": float(value)
            for name in (*CLASSES, *BASOLATERAL)
            if (value := getattr(self, name)) is not None
        }
        return block if self.cells is None else block | {"cells": self.cells}


def exact(key: str, value: object) -> Fraction:
    """Return a number as the fraction of the decimal number that was written.

    Raises
    ------
    InputError
        It is no finite number.

    Examples
    --------
    >>> exact("ratio", 2.1)
    Fraction(21, 10)
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{key} is {value!r}, not a number", hint="give a plain number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{key} is not a finite number", hint="give a plain number")
    return Fraction(repr(number))


def _percentage(key: str, value: object) -> Fraction:
    number = exact(key, value)
    if not 0 <= number <= 100:
        raise InputError(
            f"{key} is {float(number):g} (allowed: 0 to 100)",
            hint="percentages of evaluable tumour cells, not shares of 1 and not counts",
        )
    return number


def _whole(key: str, value: Any) -> int:
    hint = "counts are whole numbers of cells, 0 or more"
    try:
        number = operator.index(value)
    except TypeError as cause:
        raise InputError(f"{key} is {value!r}, not a whole number", hint=hint) from cause
    if isinstance(value, bool):
        raise InputError(f"{key} is {value!r}, not a whole number", hint=hint)
    if number < 0:
        raise InputError(f"{key} is {number} (allowed: 0 or more)", hint=hint)
    return number


def whole(key: str, value: object) -> int:
    """Return a whole number of at least 0; :class:`InputError` names the key."""
    return _whole(key, value)


def check_mapping(value: object, what: str, hint: str) -> Mapping[str, Any]:
    """Return a mapping; :class:`SchemaError` when it is something else."""
    if not isinstance(value, Mapping):
        raise SchemaError(f"{what} is no table of names and values", hint=hint)
    return value


def refuse_unknown(given: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Refuse a key that is not known; :class:`InputError` names the nearest one."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"unknown key {key!r}", hint=f"{guess}known: {', '.join(known)}")


def _check_keys(given: Mapping[str, Any], known: Mapping[str, str], needed: list[str]) -> None:
    refuse_unknown(given, known)
    for key in needed:
        if key not in given:
            raise InputError(f"{key} is missing", hint=_KEYS_HINT if "_percent" in key else "")


def _check_parts(values: Mapping[str, Fraction], tolerance: Fraction, suffix: str) -> None:
    """Refuse more U-shaped cells than their classes hold; a weak U fits either class."""
    strong, every = ("basolateral_intense", "basolateral_moderate"), tuple(BASOLATERAL)
    incomplete = ("incomplete_moderate", "incomplete_faint")
    for parts, wholes in ((strong, incomplete[:1]), (every, incomplete)):
        given = [part for part in parts if part in values]
        total = sum((values[part] for part in given), Fraction(0))
        limit = sum((values[whole_name] for whole_name in wholes), Fraction(0))
        if total > limit + tolerance:
            raise InputError(
                f"{' + '.join(part + suffix for part in given)} is {float(total):g} % of the "
                f"cells, more than {' + '.join(name + suffix for name in wholes)} with "
                f"{float(limit):g} %",
                hint="a U-shaped membrane is incomplete: count it there as well",
            )
