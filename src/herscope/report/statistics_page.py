"""A self-contained page of statistics: facts, figures, tables, and how every number was made.

The same frame for every statistics command. As in :mod:`herscope.report.html` everything is inlined
and escaped, and the page may fetch nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from herscope.core.store import write_text
from herscope.report.html import environment, uri


@dataclass(frozen=True)
class Picture:
    """A chart (SVG), what it shows for those who cannot see it, and its caption."""

    svg: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The chart as a data URI."""
        return uri(self.svg)


@dataclass(frozen=True)
class Grid:
    """A table of text: the first column names the row, the last may be a sentence."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading with pictures side by side, tables below them, and paragraphs of text."""

    heading: str
    pictures: tuple[Picture, ...] = ()
    grids: tuple[Grid, ...] = ()
    paragraphs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """A number at the top of the page: its name, value, and interval in words."""

    words: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class StatisticsPage:
    """What a page of statistics holds, top to bottom."""

    title: str
    facts: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    notes: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    provenance: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def html(self) -> str:
        """Return the page."""
        return str(environment().get_template("statistics.html.j2").render(page=self))

    def write(self, path: str | Path) -> Path:
        """Write the page; :class:`~herscope.core.errors.OutputError` says why it cannot be."""
        write_text(path, self.html())
        return Path(path)
