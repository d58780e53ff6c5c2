"""One process per slide: a lock file with process, machine and start; stale ones are taken over.

Shards and cooperating processes share a RUN folder. A lock is stale when its process is gone (same
machine) or when it has not been touched for ``SILENT_S`` (another machine).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from pathlib import Path

from herscope.core.store import host_token, process_alive, writing

SILENT_S = 600.0
"""The holder touches its lock at least every ``BEAT_S``; ten minutes of silence mean it is dead."""
BEAT_S = 30.0


class Lock:
    """An exclusive claim on a name within a folder.

    Parameters
    ----------
    path
        The lock file; its folder must exist.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / ".a.lock"
    >>> mine = Lock(path)
    >>> mine.acquire(), Lock(path).acquire()
    (True, False)
    >>> mine.release()
    >>> Lock(path).acquire()
    True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = json.dumps(
            {
                "pid": os.getpid(),
                "pid_started": _started(os.getpid()),
                "host": host_token(),
                "since": time.time(),
                "token": secrets.token_hex(4),
            }
        )
        self._last_beat = 0.0

    def acquire(self) -> bool:
        """Take the lock if it is free or stale; never waits."""
        return self._create() or (self._take_over_stale() and self._create())

    def wait(self, limit_s: float) -> bool:
        """Take the lock, waiting at most ``limit_s`` seconds."""
        until = time.monotonic() + limit_s
        while not self.acquire():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def beat(self) -> None:
        """Show other machines that the holder lives; cheap enough to call often."""
        now = time.monotonic()
        if now - self._last_beat > BEAT_S:
            self._last_beat = now
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        with contextlib.suppress(OSError):
            if self.path.read_text("utf-8") == self._content:
                self.path.unlink()

    def clear_stale(self) -> None:
        """Remove the lock if its holder is gone."""
        self._take_over_stale()

    def _create(self) -> bool:
        # A hard link of a complete file: nobody ever sees a lock without its holder's name in it.
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}-{secrets.token_hex(3)}")
        with writing(self.path):
            draft.write_text(self._content, "utf-8")
            try:
                os.link(draft, self.path)
            except FileExistsError:
                return False
            except OSError:
                return self._create_exclusively()  # file systems without hard links
            else:
                return True
            finally:
                draft.unlink(missing_ok=True)

    def _create_exclusively(self) -> bool:
        try:
            with self.path.open("x", encoding="utf-8") as stream:
                stream.write(self._content)
        except FileExistsError:
            return False
        return True

    def _take_over_stale(self) -> bool:
        """Move a stale lock away; true when the place is free now.

        Renaming is atomic, so of several processes that saw the same stale lock one moves it. A
        fresh lock that slipped in between is put back.
        """
        try:
            seen = self.path.read_text("utf-8")
            if not self._stale(seen):
                return False
            moved = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.stale")
            self.path.rename(moved)
            if moved.read_text("utf-8") != seen:
                with contextlib.suppress(OSError):
                    os.link(moved, self.path)
            moved.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        return not self.path.exists()

    def _stale(self, content: str) -> bool:
        try:
            holder = json.loads(content)
            pid, host, started = holder["pid"], holder["host"], holder["pid_started"]
        except (ValueError, KeyError, TypeError):
            host, pid, started = "", 0, None
        if host != host_token():
            return time.time() - self.path.stat().st_mtime > SILENT_S
        return not process_alive(pid) or _started(pid) != started


def _started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (Linux); process ids are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
