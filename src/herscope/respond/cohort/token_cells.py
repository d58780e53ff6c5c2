"""Read the cell of a token: a vector, nothing, or the reason why it cannot be read.

Nothing is guessed: ``1+%`` has no percentage, so it is unreadable, even where the others leave only
one. A code of flags that has lost leading zeros in a spreadsheet is filled up, since its length
says how many are gone, and that is told.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.cohort.token_sets import TokenDeclaration
from herscope.stats.table import number_of

Vector = NDArray[np.float32]

PERCENT_TOLERANCE: Final = 1.0
"""Percentages may miss 100 by one, as rounded ones do; they are then scaled to sum to one."""

_SEPARATORS: Final = re.compile(r"[;,/|+&]| and ", re.IGNORECASE)
_YEAR: Final = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?(?:[ T].*)?)?$")


class Unreadable(Exception):
    """A cell that has a value which the token does not know; the text says why."""


@dataclass(frozen=True, slots=True)
class Read:
    """A vector (None when the value is missing) and what was read otherwise than spelt."""

    vector: Vector | None
    note: str = ""


def read_cell(
    token: TokenDeclaration, cells: Sequence[str | None], extra: Mapping[str, str] | None = None
) -> Read:
    """Read one patient's cells of a token.

    Parameters
    ----------
    token
        Its declaration.
    cells
        One cell; for multi-hot and fractions also one a category, with 0 or 1, or a share.
    extra
        Further spellings: text to the name of a category, or to ``missing``.

    Raises
    ------
    Unreadable
        A value that the declaration does not know.

    Examples
    --------
    >>> from herscope.respond.cohort.token_sets import load_set
    >>> tils, her2, _ = load_set("pathology-report").token
    >>> int(read_cell(tils, ["1.0"]).vector.argmax())
    9
    >>> read_cell(her2, ["heterogeneity(3+60%, 2+40%)"]).vector.tolist()
    [0.0, 0.0, 0.4000000059604645, 0.6000000238418579]
    """
    missing = {text.lower() for text in token.missing}
    spelt = {text.lower(): name for text, name in (extra or {}).items()}
    missing |= {text for text, name in spelt.items() if name == "missing"}
    there = [None if cell is None or cell.lower() in missing else cell for cell in cells]
    if all(cell is None for cell in there):
        return Read(None)
    if len(there) > 1:
        return _several(token, there)
    text = there[0]
    assert text is not None
    if token.kind == "bins":
        return Read(_binned(token, text))
    if token.kind == "one-hot":
        place = _category(token, text, spelt)
        return Read(_hot(token, [place]), _other_case(token, text, place))
    if token.kind == "fractions":
        return Read(_fractions(token, text, spelt))
    return _multi(token, text, spelt)


def _several(token: TokenDeclaration, cells: Sequence[str | None]) -> Read:
    if token.kind not in {"multi-hot", "fractions"} or len(cells) != token.width:
        raise Unreadable(f"{len(cells)} columns fill no {token.kind} token of {token.width}")
    found = [0.0 if cell is None else number_of(cell.rstrip("% ")) for cell in cells]
    values = [value for value in found if value is not None]
    if len(values) != len(found):
        raise Unreadable("a value is no number")
    if token.kind == "fractions":
        return Read(_shares(token, values))
    if set(values) - {0.0, 1.0}:
        raise Unreadable("flags are 0 or 1")
    return Read(np.array(values, np.float32))


def _hot(token: TokenDeclaration, places: Sequence[int]) -> Vector:
    vector = np.zeros(token.width, np.float32)
    vector[list(places)] = 1.0
    return vector


def _category(token: TokenDeclaration, text: str, spelt: Mapping[str, str]) -> int:
    names = [category.name for category in token.categories]
    lower = text.strip().lower()
    if lower in spelt:
        return names.index(spelt[lower])
    for place, category in enumerate(token.categories):
        if lower in {known.lower() for known in (category.name, *category.spellings)}:
            return place
    for place, category in enumerate(token.categories):
        if any(lower.startswith(start.lower()) for start in category.starts_with):
            return place
    raise Unreadable(f"not one of {', '.join(names)}")


def _other_case(token: TokenDeclaration, text: str, place: int) -> str:
    """Tell a spelling that differs from an accepted one in case only, or goes on after it."""
    category = token.categories[place]
    if text in {category.name, *category.spellings}:
        return ""
    return f"{text!r} read as {category.name}"


def _binned(token: TokenDeclaration, text: str) -> Vector:
    number = _year(text) if token.year else number_of(text)
    if token.share and number is None and text.endswith("%"):
        percent = number_of(text.rstrip("% "))
        # Through decimals: 55 % is 0.55, not 0.55000000000000004.
        number = None if percent is None else round(percent / 100, 12)
    if number is None:
        raise Unreadable("no year" if token.year else "no number")
    low, high = token.minimum, token.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        allowed = (
            f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"
        )
        raise Unreadable(f"{number:g} is outside {allowed}")
    above = token.edge_belongs == "above"
    place = bisect_right(token.edges, number) if above else bisect_left(token.edges, number)
    return _hot(token, [place])


def _year(text: str) -> float | None:
    found = _YEAR.match(text)
    if found is None:
        return None
    year, month, day = (int(part) if part else 1 for part in found.groups())
    try:
        return float(date(year, month, day).year)
    except ValueError:
        return None


def _fractions(token: TokenDeclaration, text: str, spelt: Mapping[str, str]) -> Vector:
    spellings = {
        known.lower(): place
        for place, category in enumerate(token.categories)
        for known in (category.name, *category.spellings)
    }
    names = [category.name for category in token.categories]
    spellings |= {known: names.index(name) for known, name in spelt.items() if name in names}
    lower = text.lower()
    for word in token.words:
        lower = lower.replace(word.lower(), " ")
    lower = " ".join(re.sub(r"[()\[\],;:=]", " ", lower).split())
    if lower in spellings:
        return _hot(token, [spellings[lower]])
    # Behind a bare digit a blank is needed: "15%" is not 5 % of category 1.
    one = "|".join(
        re.escape(known) + (r"\s" if known[-1].isdigit() else "")
        for known in sorted(spellings, key=len, reverse=True)
    )
    pair = re.compile(rf"(?<![\w.])({one})\s*(\d+(?:\.\d+)?)\s*%")
    values = [0.0] * token.width
    for known, percent in pair.findall(lower):
        place = spellings[known.strip()]
        if values[place]:
            raise Unreadable(f"{names[place]} has two percentages")
        values[place] = float(percent)
    rest = " ".join(pair.sub(" ", lower).split())
    if rest:
        raise Unreadable(f"{rest!r} is no category with a percentage")
    return _shares(token, values)


def _shares(token: TokenDeclaration, values: Sequence[float]) -> Vector:
    total = sum(values)
    if min(values) < 0:
        raise Unreadable("a share is negative")
    whole = 100.0 if total > 1.5 else 1.0
    if abs(total - whole) > PERCENT_TOLERANCE * whole / 100 + 1e-9:
        raise Unreadable(f"the shares sum to {100 * total / whole:g} %, not to 100")
    assert len(values) == token.width
    return np.array([value / total for value in values], np.float32)


def _multi(token: TokenDeclaration, text: str, spelt: Mapping[str, str]) -> Read:
    if token.code == "digits" and text.isdecimal():
        places = [int(digit) for digit in text]
        if max(places) >= token.width or len(set(places)) < len(places):
            raise Unreadable(f"digits are 0 to {token.width - 1}, each once")
        return Read(_hot(token, places))
    if token.code == "flags":
        if set(text) - {"0", "1"} or len(text) > token.width:
            raise Unreadable(f"a code is {token.width} digits of 0 and 1")
        flags = text.zfill(token.width)
        note = "" if flags == text else "codes had lost leading zeros"
        return Read(_hot(token, [place for place, flag in enumerate(flags) if flag == "1"]), note)
    parts = [part.strip() for part in _SEPARATORS.split(text) if part.strip()]
    return Read(_hot(token, [_category(token, part, spelt) for part in parts]))
