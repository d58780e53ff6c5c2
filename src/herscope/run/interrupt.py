"""Ctrl-C at a safe point.

Python raises ``KeyboardInterrupt`` wherever it happens to be. In the middle of importing a compiled
library the interrupt is turned into an ``ImportError`` and lost, with a half-imported library left
behind that fails every later slide. So the first Ctrl-C is only noted and acted on between tasks;
a second one is raised at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

POLL_S = 0.25
"""How often a process that waits for its workers looks whether it was interrupted."""


class Interruption:
    """Collects Ctrl-C inside a ``with`` block of the main thread; elsewhere it does nothing.

    Examples
    --------
    >>> with Interruption() as interruption:
    ...     interruption.check()
    """

    def __init__(self) -> None:
        self._seen = False
        self._previous: Any = None

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C came since the block began."""
        if self._seen:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        known = signal.getsignal(signal.SIGINT)
        ignored = known in {None, signal.SIG_IGN}  # a background job stays deaf to Ctrl-C
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._seen:
            raise KeyboardInterrupt
        self._seen = True
