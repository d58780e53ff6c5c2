"""What a cell of an Excel sheet says: shared and inline texts, numbers, dates, errors.

Excel stores a date as a number of days whose meaning is only in the cell's format; it is read as an
ISO date when the format shows years, months, days, hours or seconds. Day 60 of the 1900 system is
29 February 1900, which never was (ECMA-376-1, 18.17.4.1); the count is corrected for it. Numbers
are written as the shortest text that reads back to the same value: 0.55, where the file has
0.55000000000000004.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final
from xml.etree import ElementTree as ET

from herscope.core.errors import SchemaError
from herscope.respond.cohort.ooxml import Package, attribute, local
from herscope.stats.table import number_of

_DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
"""Built-in number formats that show a date or a time (ECMA-376-1, 18.8.30)."""

_QUOTED: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
_NEVER: Final = 60
_LAST_DAY: Final = 2_958_465
"""31 December 9999, the last date of the format."""


@dataclass(frozen=True)
class CellReader:
    """Reads the cells of one workbook.

    Parameters
    ----------
    shared
        Texts that cells refer to by number.
    date_styles
        Numbers of the cell styles that show a date.
    from_1904
        Whether days are counted from 1904 (old Macintosh files).
    """

    shared: tuple[str, ...]
    date_styles: frozenset[int]
    from_1904: bool
    told: dict[str, int] = field(default_factory=dict)

    def read(self, cell: ET.Element) -> str | None:
        """Return what a ``c`` element says, None when it is empty."""
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            inline = next((part for part in cell if local(part.tag) == "is"), None)
            return None if inline is None else rich_text(inline)
        value = next((part.text for part in cell if local(part.tag) == "v"), None)
        if value is None:
            if any(local(part.tag) == "f" for part in cell):
                self._tell("formulas without a stored result, read as missing")
            return None
        if kind == "s":
            return self._shared(value)
        if kind == "b":
            return "true" if value.strip() == "1" else "false"
        if kind in {"str", "e", "d"}:
            return value.removesuffix("T00:00:00") if kind == "d" else value
        return self._number(value, cell.get("s"))

    def _shared(self, value: str) -> str:
        place = int(value) if value.strip().isdecimal() and len(value) < 12 else -1
        if not 0 <= place < len(self.shared):
            raise SchemaError(
                f"the workbook is damaged: a cell refers to text {value!r} of {len(self.shared)}",
                hint="open it in the spreadsheet program and save it again as .xlsx",
            )
        return self.shared[place]

    def _number(self, value: str, style: str | None) -> str:
        number = number_of(value.strip())
        if number is None:
            return value
        if style is not None and style.isdecimal() and int(style) in self.date_styles:
            return self._date(number, value)
        if number.is_integer() and abs(number) < 1e15:
            return str(int(number))
        shortest = repr(number)
        if len(value.strip()) > len(shortest) and len(value.strip()) >= 17:
            self._tell("numbers with digits beyond their precision, such as 0.55000000000000004")
        return shortest

    def _date(self, number: float, value: str) -> str:
        days, part = math.floor(number), number - math.floor(number)
        if not 1 <= days <= _LAST_DAY - 1462 * self.from_1904:
            return value
        if self.from_1904:
            start = date(1904, 1, 1)
        elif days == _NEVER:
            return value
        else:
            start = date(1899, 12, 30) if days > _NEVER else date(1899, 12, 31)
        day = start + timedelta(days=days)
        seconds = round(part * 86_400)
        if not seconds:
            return day.isoformat()
        midnight = datetime.combine(day, time.min)
        moment = midnight + timedelta(seconds=seconds)
        return moment.isoformat(sep=" ")

    def _tell(self, what: str) -> None:
        self.told[what] = self.told.get(what, 0) + 1


def cell_reader(package: Package, workbook: str) -> CellReader:
    """Read what the cells of a workbook refer to."""
    parts = dict(package.related(workbook).values())
    shared: tuple[str, ...] = ()
    if "sharedStrings" in parts and package.has(parts["sharedStrings"]):
        shared = tuple(map(rich_text, package.elements(parts["sharedStrings"], "si")))
    styles: frozenset[int] = frozenset()
    if "styles" in parts and package.has(parts["styles"]):
        styles = _date_styles(package, parts["styles"])
    late = [attribute(p, "date1904") for p in package.elements(workbook, "workbookPr")]
    return CellReader(shared, styles, from_1904=any(flag in {"1", "true"} for flag in late))


def rich_text(element: ET.Element) -> str:
    """Join the runs of a text; readings of Japanese characters (``rPh``) are no part of it."""
    said: list[str] = []
    for part in element:
        if local(part.tag) == "t":
            said.append(part.text or "")
        elif local(part.tag) == "r":
            said += [run.text or "" for run in part if local(run.tag) == "t"]
    return "".join(said)


def shows_a_date(code: str) -> bool:
    r"""Whether a number format shows a date or a time.

    >>> shows_a_date(r"yyyy\-mm\-dd"), shows_a_date('0.0" days"'), shows_a_date("[Red]0")
    (True, False, False)
    """
    plain = _QUOTED.sub("", code.partition(";")[0]).lower()
    return plain != "general" and bool(re.search(r"[ymdhs]", plain))


def _date_styles(package: Package, part: str) -> frozenset[int]:
    codes: dict[str, str] = {}
    found: list[int] = []
    for element in package.elements(part, "numFmts", "cellXfs"):
        if local(element.tag) == "numFmts":
            codes |= {f.get("numFmtId", ""): f.get("formatCode", "") for f in element}
            continue
        formats = [f.get("numFmtId", "0") for f in element if local(f.tag) == "xf"]
        found = [place for place, number in enumerate(formats) if _is_date(number, codes)]
    return frozenset(found)


def _is_date(number: str, codes: Mapping[str, str]) -> bool:
    if number in codes:
        return shows_a_date(codes[number])
    return number.isdecimal() and int(number) in _DATES
