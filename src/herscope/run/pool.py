"""Where tasks run: in this process, or in worker processes that die with it.

Workers are started by ``forkserver`` (``spawn`` where there is none), never by plain fork: a forked
copy of a process with OpenMP or OpenCV threads can hang. Each worker uses one thread per library,
ignores Ctrl-C (this process decides) and ends itself when this process is gone, even by SIGKILL, so
a killed run leaves no process behind that still writes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, Protocol

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
WINDOWS_MOST_WORKERS = 61
"""ProcessPoolExecutor refuses more on Windows (WaitForMultipleObjects takes 63 handles)."""

__all__ = ["BrokenProcessPool", "Inline", "Pool", "Workers"]


class Pool(Protocol):
    """Anything tasks can be submitted to."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a task."""

    def restart(self) -> None:
        """Forget broken workers; the next task starts new ones."""

    def close(self, *, kill: bool = False) -> None:
        """End the workers, at once when ``kill``."""


class Inline:
    """Tasks run at once in this process; what ``--workers 1`` and a single field use."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run the task now and return it finished."""
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future

    def restart(self) -> None:
        """Nothing can be broken."""

    def close(self, *, kill: bool = False) -> None:
        """Nothing to end."""


class Workers:
    """A process pool that starts when the first task comes and can be restarted after a crash."""

    def __init__(self, workers: int) -> None:
        self.workers = min(workers, WINDOWS_MOST_WORKERS) if sys.platform == "win32" else workers
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Give a task to the workers."""
        if self._executor is None:
            methods = multiprocessing.get_all_start_methods()
            method = "forkserver" if "forkserver" in methods else "spawn"
            if method == "forkserver":
                _start_forkserver()
            self._executor = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context(method),
                initializer=prepare_worker,
            )
        return self._executor.submit(function, *args)

    def restart(self) -> None:
        """Drop the broken pool."""
        self.close(kill=True)

    def close(self, *, kill: bool = False) -> None:
        """End the pool; with ``kill`` running tasks are cut off."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # The executor has no public way to end running workers before Python 3.14.
        running = list((executor._processes or {}).values())  # noqa: SLF001
        if kill:
            for process in running:
                with contextlib.suppress(OSError, ValueError):
                    process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_forkserver() -> None:
    """Start the server of workers deaf to Ctrl-C from its first moment; workers inherit that.

    Ctrl-C reaches every process of a terminal. One that is still starting would die with a
    traceback before it could say that it ignores the signal. The signal is only held back here, so
    this process still gets it.
    """
    from multiprocessing import forkserver, resource_tracker  # not on every system

    resource_tracker.ensure_running()  # it unblocks the signal itself, so it goes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_worker() -> None:
    """Set up a worker process before it imports anything numeric."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    import cv2

    cv2.setNumThreads(1)


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
