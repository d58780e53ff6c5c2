"""Categories, their order, and the counts of two readers' labels.

Weighted agreement depends on the order of the categories and on those nobody used: between ``1+``
and ``3+`` lies ``2+`` even if no case got it. So labels that are whole numbers, with or without a
plus sign (``0 1+ 2+ 3+``), are put on the full scale from the smallest to the largest, labels with
plus signs on 0 to 3+ at least; the words in :data:`WORD_SCALES` are known; any other labels have no
order unless the caller states one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.arguments import same_length

Weights = Literal["none", "linear", "quadratic"]
Label = str | int | bool

WORD_SCALES: Final = (
    ("negative", "equivocal", "positive"),
    ("negative", "indeterminate", "positive"),
    ("none", "weak", "moderate", "strong"),
    ("absent", "weak", "moderate", "strong"),
    ("low", "intermediate", "high"),
    ("low", "medium", "high"),
    ("no", "yes"),
    ("false", "true"),
)
"""Scales of words that need no stated order; compared without regard to capitals."""

LONGEST_SCALE: Final = 50
"""Steps up to which gaps between whole numbers are filled; more are no categories."""

GRADE: Final = re.compile(r"(-?[0-9]{1,3})(\+?)")


@dataclass(frozen=True, slots=True)
class Scale:
    """Categories and whether their order means anything.

    ``names`` are in order, with the categories in between that no reader used.
    """

    names: tuple[str, ...]
    ordered: bool

    def __str__(self) -> str:
        return (" < " if self.ordered else ", ").join(self.names)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """How two readers labelled the same cases: ``counts[i, j]`` is A in i and B in j."""

    scale: Scale
    counts: NDArray[np.int64]  # (categories, categories)

    @property
    def n(self) -> int:
        """Cases."""
        return int(self.counts.sum())

    @property
    def agreed(self) -> int:
        """Cases with the same label."""
        return int(np.trace(self.counts))


def find_scale(labels: Iterable[Label], order: Sequence[Label] | None = None) -> Scale:
    """Put labels in order.

    Parameters
    ----------
    labels
        The labels in use.
    order
        All categories from lowest to highest; found as the module says when None.

    Returns
    -------
    Scale
        With ``ordered`` False and alphabetical names when nothing tells the order.

    Raises
    ------
    InputError
        A label is not in ``order``, or two spellings mean the same grade (``1`` and ``1+``).

    Examples
    --------
    >>> print(find_scale(["3+", "0", "1+"]))
    0 < 1+ < 2+ < 3+
    >>> print(find_scale(["Luminal A", "Basal"]))
    Basal, Luminal A
    """
    used = sorted({str(label) for label in labels})
    if order is not None:
        return _stated(used, [str(name) for name in order])
    grades = {label: GRADE.fullmatch(label) for label in used}
    if used and all(grades.values()):
        return _grades({label: found for label, found in grades.items() if found is not None})
    for words in WORD_SCALES:
        if used and all(label.lower() in words for label in used):
            spelled = {label.lower(): label for label in used}
            if len(spelled) < len(used):
                raise InputError(
                    f"the labels {', '.join(used)} differ in capitals only",
                    hint="spell each category in one way",
                )
            return Scale(tuple(spelled.get(word, word) for word in words), ordered=True)
    return Scale(tuple(used), ordered=False)


def count_pairs(
    a: Sequence[Label], b: Sequence[Label], *, order: Sequence[Label] | None = None
) -> PairCounts:
    """Count the pairs of labels of two readers.

    Parameters
    ----------
    a, b
        (n,) labels of the same cases in the same order.
    order
        As in :func:`find_scale`.

    Raises
    ------
    InputError
        Different lengths, a missing label, or labels outside ``order``.
    UndefinedStatistic
        No cases.

    Examples
    --------
    >>> count_pairs(["0", "1+", "1+"], ["0", "1+", "0"], order=["0", "1+"]).counts.tolist()
    [[1, 0], [1, 1]]
    """
    n = same_length(a=a, b=b)
    if n == 0:
        raise UndefinedStatistic("there are no pairs of labels", hint="check the two columns")
    first, second = clean_labels(a, "reader A"), clean_labels(b, "reader B")
    scale = find_scale([*first, *second], order)
    place = {name: i for i, name in enumerate(scale.names)}
    size = len(place)
    code = np.array([place[i] * size + place[j] for i, j in zip(first, second, strict=True)])
    return PairCounts(scale, np.bincount(code, minlength=size * size).reshape(size, size))


def counts_of(table: Any, order: Sequence[Label] | None = None) -> PairCounts:
    """Take a finished (categories, categories) table of counts.

    Raises
    ------
    InputError
        It is not square, or holds what are no counts.
    UndefinedStatistic
        It is empty.

    Examples
    --------
    >>> counts_of([[20, 5], [10, 15]]).n
    50
    """
    counts = np.asarray(table)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] < 2:
        raise InputError(
            f"a table of two readers is square, this one is {counts.shape}",
            hint="give one row and one column per category",
        )
    whole = np.issubdtype(counts.dtype, np.integer)
    if not whole or int(counts.min()) < 0:
        raise InputError(
            "the table holds what are no counts", hint="whole numbers from 0 are needed"
        )
    if not counts.any():
        raise UndefinedStatistic("the table counts no cases", hint="check the two columns")
    names = range(counts.shape[0]) if order is None else order
    return PairCounts(Scale(tuple(map(str, names)), ordered=True), counts.astype(np.int64))


def agreement_weights(scale: Scale, weights: Weights) -> NDArray[np.float64]:
    """Return (categories, categories) agreement weights, 1 on the diagonal, 0 at the far corners.

    Linear ``1 - |i - j| / (k - 1)`` (Cicchetti and Allison 1971), quadratic
    ``1 - (i - j)^2 / (k - 1)^2`` (Fleiss and Cohen 1973).

    Raises
    ------
    InputError
        Weights were asked for and the categories have no order.

    Examples
    --------
    >>> agreement_weights(find_scale(["0", "1", "2"]), "linear").tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    size = len(scale.names)
    if weights == "none":
        return np.eye(size)
    if weights not in {"linear", "quadratic"}:
        raise InputError(f"weights {weights!r}", hint="allowed: none, linear, quadratic")
    if not scale.ordered:
        raise InputError(
            f"the categories {scale} have no known order, so {weights} weights mean nothing",
            hint="state the order from lowest to highest, or use no weights",
        )
    place = np.arange(size)
    apart = np.abs(place[:, None] - place) / max(size - 1, 1)
    return 1.0 - (apart if weights == "linear" else apart**2)


def clean_labels(labels: Sequence[Label], what: str) -> list[str]:
    """Return labels as text; a missing one is refused with its row."""
    out = []
    for row, label in enumerate(labels, start=1):
        # A label that is not equal to itself is NaN, whatever library made it.
        if label is None or label != label or not str(label).strip():  # noqa: PLR0124 - NaN
            raise InputError(
                f"{what}, row {row}: the label is missing",
                hint="complete it, or leave the case out",
            )
        out.append(str(label))
    return out


def _stated(used: list[str], names: list[str]) -> Scale:
    unknown = [label for label in used if label not in names]
    if unknown or len(set(names)) < len(names):
        wrong = f"does not hold {', '.join(unknown)}" if unknown else "names a category twice"
        raise InputError(
            f"the stated order {', '.join(names)} {wrong}",
            hint="state every category once, from lowest to highest",
        )
    return Scale(tuple(names), ordered=True)


def _grades(found: dict[str, re.Match[str]]) -> Scale:
    by_value: dict[int, str] = {}
    for label, match in found.items():
        value = int(match[1])
        if value in by_value:
            raise InputError(
                f"the labels {by_value[value]!r} and {label!r} mean the same grade",
                hint="spell each category in one way",
            )
        by_value[value] = label
    plus = any(match[2] for match in found.values())
    low, high = min(by_value), max(by_value)
    if plus:
        low, high = 0, max(high, 3)
    if high - low > LONGEST_SCALE:
        return Scale(tuple(by_value[value] for value in sorted(by_value)), ordered=True)
    names = (
        by_value.get(value, f"{value}+" if plus and value else str(value))
        for value in range(low, high + 1)
    )
    return Scale(tuple(names), ordered=True)
