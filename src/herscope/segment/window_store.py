"""Predicted windows, each made once: in memory for this process, in a folder for its neighbours.

Blocks overlap at their halos, so several of them need the same window. A window is *claimed* before
it is made; whoever needs it meanwhile makes others first and then waits. Between the threads of a
process the claim is a mark in memory, between processes a file that only one can create. A claim of
a process that is gone holds nothing up, and a window made twice has the same bits, so no failure
here can change a result. Memory is bounded; the folder belongs to the run and goes with it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from herscope.core.store import process_alive

Key = tuple[int, int]
Maps = NDArray[np.uint8]

MEMORY_BYTES: Final = 256 * 2**20
"""Without a folder a row of windows must last until the row of blocks below it: 16 MB for each
thousand working pixels of a slide's width, with blocks of 2048 px and three channels."""

SHARED_MEMORY_BYTES: Final = 64 * 2**20
"""With a folder behind it memory saves only the unpacking."""

POLL_S: Final = 0.004
MOST_WAIT_S: Final = 120.0
"""After this a claim is not believed any more, and the window is made twice."""


class WindowStore:
    """Windows of one slide.

    Parameters
    ----------
    shape
        (channels, height, width) of a window's core.
    folder
        Shared with other processes; made when the first window is stored. None: memory alone.
    most_bytes
        Of memory; the windows used longest ago go first.
    """

    def __init__(
        self, shape: tuple[int, int, int], folder: Path | None = None, *, most_bytes: int = 0
    ) -> None:
        self.made = 0
        self._shape = shape
        self._folder = folder
        self._most = most_bytes or (MEMORY_BYTES if folder is None else SHARED_MEMORY_BYTES)
        self._kept: OrderedDict[Key, Maps] = OrderedDict()
        self._busy: set[Key] = set()
        self._turn = threading.Condition()

    def get(self, key: Key) -> Maps | None:
        """Return a window that was made, here or by a neighbour; None when it was not."""
        with self._turn:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = self._read(key)
        if found is not None:
            self._keep(key, found)
        return found

    def claim(self, key: Key) -> bool:
        """Say that this thread will make a window; False when another one is at it, or was."""
        with self._turn:
            if key in self._busy:
                return False
            self._busy.add(key)
        if self._folder is None or self._create(self._claim_file(key)):
            if self.get(key) is None:
                return True
            self.release(key)  # made between the look for it and this claim
            return False
        with self._turn:
            self._busy.discard(key)
        return False

    def put(self, key: Key, maps: Maps) -> None:
        """Store a window that was claimed."""
        self.made += 1
        if self._folder is not None:
            self._write(key, maps)
        self._keep(key, maps)
        self.release(key)

    def release(self, key: Key) -> None:
        """Give a claim up."""
        with self._turn:
            mine = key in self._busy
            self._busy.discard(key)
            self._turn.notify_all()
        if mine and self._folder is not None:
            with contextlib.suppress(OSError):
                self._claim_file(key).unlink(missing_ok=True)

    def wait(self, key: Key) -> Maps | None:
        """Wait for a window that another one claimed; None: it is claimed for you, make it."""
        until = time.monotonic() + MOST_WAIT_S
        while True:
            found = self.get(key)
            if found is not None:
                return found
            if self.claim(key):
                # It may have been stored between the look and the claim.
                found = self.get(key)
                if found is not None:
                    self.release(key)
                return found
            if time.monotonic() > until or self._abandoned(key):
                with self._turn:
                    self._busy.add(key)
                return None
            with self._turn:
                self._turn.wait(POLL_S)

    def _keep(self, key: Key, maps: Maps) -> None:
        with self._turn:
            self._kept[key] = maps
            self._kept.move_to_end(key)
            most = max(1, self._most // max(maps.nbytes, 1))
            while len(self._kept) > most:
                self._kept.popitem(last=False)

    def _abandoned(self, key: Key) -> bool:
        """Whether the process that claimed a window is gone."""
        if self._folder is None:
            return False
        try:
            owner = self._claim_file(key).read_text("ascii")
        except OSError:
            return False  # just released, or of a thread of this process
        return owner.isdigit() and not process_alive(int(owner))

    def _claim_file(self, key: Key) -> Path:
        assert self._folder is not None
        return self._folder / f"{key[0]}-{key[1]}.claim"

    def _file(self, key: Key) -> Path:
        assert self._folder is not None
        return self._folder / f"{key[0]}-{key[1]}.zst"

    def _create(self, claim: Path) -> bool:
        """Create a claim; True as well where the disk takes none: then nothing is shared."""
        try:
            claim.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return True
        try:
            descriptor = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        except OSError:
            return True
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        return True

    def _read(self, key: Key) -> Maps | None:
        if self._folder is None:
            return None
        try:
            packed = self._file(key).read_bytes()
        except OSError:
            return None
        flat = np.frombuffer(imagecodecs.zstd_decode(packed), np.uint8)
        return flat.reshape(self._shape)

    def _write(self, key: Key, maps: Maps) -> None:
        """Write a window; a full disk costs the neighbours time, not the result."""
        file = self._file(key)
        partial = file.with_suffix(f".{os.getpid()}")  # so that nobody reads half a window
        with contextlib.suppress(OSError):
            partial.write_bytes(imagecodecs.zstd_encode(maps.tobytes(), level=1))
            partial.replace(file)
