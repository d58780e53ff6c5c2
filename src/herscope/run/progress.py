"""Progress on stderr: bars on a terminal, one plain line a slide elsewhere, nothing when asked."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID


class Progress(Protocol):
    """What the engine tells while it works."""

    def start(self, total: int, already: int) -> None:
        """Begin: so many slides are due, so many were done before."""

    def tiles(self, name: str, done: int, total: int) -> None:
        """Report the tiles scored of a large slide."""

    def slide(self, name: str, status: str, message: str = "") -> None:
        """Report that a slide is ``done``, ``failed`` or ``busy`` (another process has it)."""

    def close(self) -> None:
        """Stop showing anything."""


class Quiet:
    """No progress at all."""

    def start(self, total: int, already: int) -> None:
        """Ignore."""

    def tiles(self, name: str, done: int, total: int) -> None:
        """Ignore."""

    def slide(self, name: str, status: str, message: str = "") -> None:
        """Ignore."""

    def close(self) -> None:
        """Ignore."""


class Rate:
    """Slides per hour and time left, from the slides this process has finished.

    Examples
    --------
    >>> rate = Rate(total=4)
    >>> rate.said(done=2, seconds=10.0)
    '720 slides/h, 10 s left'
    """

    def __init__(self, total: int) -> None:
        self.total = total

    def said(self, done: int, seconds: float) -> str:
        """Return the two figures as text."""
        if done == 0 or seconds <= 0:
            return ""
        left = (self.total - done) * seconds / done
        return f"{done / seconds * 3600:.0f} slides/h, {duration(left)} left"


def duration(seconds: float) -> str:
    """Write a time span for people.

    Examples
    --------
    >>> duration(8), duration(200), duration(9000)
    ('8 s', '3 min 20 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Lines:
    """One line a slide, for logs; ``verb`` is what is done with the slides."""

    def __init__(self, stream: TextIO, verb: str = "scoring") -> None:
        self._stream = stream
        self._verb = verb
        self._rate = Rate(0)
        self._done = 0
        self._since = time.monotonic()

    def start(self, total: int, already: int) -> None:
        """Say how much there is to do."""
        self._rate, self._since = Rate(total), time.monotonic()
        earlier = f" ({already} done before)" if already else ""
        self._say(f"{self._verb} {total} slide{'' if total == 1 else 's'}{earlier}")

    def tiles(self, name: str, done: int, total: int) -> None:
        """Tiles of a slide are not worth a line each."""

    def slide(self, name: str, status: str, message: str = "") -> None:
        """Write the slide's line."""
        self._done += 1
        rate = self._rate.said(self._done, time.monotonic() - self._since)
        tail = f": {message}" if message else ""
        self._say(f"[{self._done}/{self._rate.total}] {name} {status}{tail}  {rate}".rstrip())

    def close(self) -> None:
        """Nothing is left open."""

    def _say(self, line: str) -> None:
        # A log that cannot be written any more is no reason to stop the work.
        with contextlib.suppress(OSError, ValueError):
            print(line, file=self._stream, flush=True)


class Bars:
    """A bar for the slides and one for the tiles of the slide being scored."""

    def __init__(self) -> None:
        self._bars: RichBars | None = None
        self._slides: TaskID | None = None
        self._tiles: TaskID | None = None
        self._rate = Rate(0)
        self._done = 0
        self._since = time.monotonic()

    def start(self, total: int, already: int) -> None:
        """Show the bars."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichBars

        self._rate, self._since = Rate(total), time.monotonic()
        self._bars = RichBars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._slides = self._bars.add_task("slides", total=total, note="")
        self._tiles = self._bars.add_task("tiles", total=1, note="", visible=False)
        self._bars.start()
        if already:
            self._bars.console.print(f"{already} slides were done before", highlight=False)

    def tiles(self, name: str, done: int, total: int) -> None:
        """Move the tile bar."""
        if self._bars is not None and self._tiles is not None:
            self._bars.update(
                self._tiles, completed=done, total=total, note=name, visible=done < total
            )

    def slide(self, name: str, status: str, message: str = "") -> None:
        """Move the slide bar; a failed slide leaves a line."""
        self._done += 1
        if self._bars is None or self._slides is None:
            return
        note = self._rate.said(self._done, time.monotonic() - self._since)
        self._bars.update(self._slides, completed=self._done, note=note)
        if status != "done":
            self._bars.console.print(
                f"{name} {status}: {message}", markup=False, highlight=False, soft_wrap=True
            )

    def close(self) -> None:
        """Take the bars off the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def for_terminal(verb: str = "scoring") -> Progress:
    """Return bars when stderr is a terminal, lines otherwise."""
    return Bars() if sys.stderr.isatty() else Lines(sys.stderr, verb)
