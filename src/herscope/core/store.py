"""Files that appear whole or not at all.

Everything herscope writes goes to a temporary neighbour first (same folder, so the same file
system), is flushed to the disk and then renamed over its final name. A killed process leaves at
most a hidden ``.<name>.<owner>.partial`` behind; :func:`sweep` removes what dead owners left.
A folder is replaced by two renames; if a process dies between them, :func:`sweep` puts the old
folder back, so that finished results are never lost.

JSON is written in one form only (UTF-8, one space of indent, no NaN, one trailing newline), so that
equal documents are equal bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import OutputError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FOREIGN_LEFTOVER_S = 24 * 3600.0
"""A temporary file of another machine is taken for dead after a day; nothing is staged so long."""

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another --out, then run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another --out"),
    errno.EFBIG: (
        "the file would be larger than this disk or account allows",
        "choose another --out",
    ),
    errno.EACCES: ("no permission to write there", "choose a folder you may write to"),
    errno.EPERM: ("no permission to write there", "choose a folder you may write to"),
    errno.EROFS: ("the file system is read-only", "choose a folder you may write to"),
    errno.ENOTDIR: ("a file is in the way of a folder", "choose another --out or move that file"),
    errno.EEXIST: ("something of that name is in the way", "choose another --out or move it"),
    errno.EISDIR: ("a folder is in the way of a file", "choose another --out or move that folder"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "use shorter names"),
    errno.ENOENT: ("the folder does not exist", "create the folder first"),
    errno.EIO: ("the disk reports an error", "check the disk or the network mount"),
}


def output_error(error: OSError, path: Path) -> OutputError:
    """Say in plain words why ``path`` could not be written."""
    reason, hint = _REASONS.get(
        error.errno or 0, (error.strerror or str(error), "choose another --out")
    )
    made = OutputError(f"cannot write {path}: {reason}", hint=hint)
    made.errno = error.errno
    return made


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside the block into an :class:`OutputError` that names ``path``."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise output_error(error, path) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; an existing one is fine."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to fill; at the end of the block it becomes ``path`` at once.

    Parameters
    ----------
    path
        The final file; its folder must exist.

    Raises
    ------
    OutputError
        The file cannot be written; ``path`` is as it was before.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    final = Path(path)
    partial = _partial(final)
    try:
        with writing(final):
            yield partial
            _sync(partial)
            partial.replace(final)
            _sync(final.parent)
    finally:
        with contextlib.suppress(OSError):  # the reason it was not written is told already
            partial.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes so that the file is never seen half-written."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with the same line ends on every system."""
    write_bytes(path, text.encode("utf-8"))


def json_text(document: Any) -> str:
    """Return the one JSON form herscope writes; NaN and infinity are refused.

    Examples
    --------
    >>> print(json_text({"b": 1, "a": None}), end="")
    {
     "b": 1,
     "a": null
    }
    """
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, document: Any) -> None:
    """Write a JSON document atomically."""
    write_text(path, json_text(document))


def read_json(path: str | Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    SchemaError
        The file is no JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"{path} is not JSON: {error}", hint="delete it and run the command that makes it again"
        ) from error


def write_parquet(path: str | Path, table: pa.Table | pd.DataFrame) -> None:
    """Write a table as Parquet (zstd) atomically; schema metadata of an Arrow table is kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    with replacing(path) as partial:
        pq.write_table(arrow, partial, compression="zstd")


@contextlib.contextmanager
def staged_folder(final: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder; at the end of the block it becomes ``final`` at once.

    A folder that is there already is replaced as a whole. When the block raises, nothing changes.
    """
    target = Path(final)
    staged, aside = _partial(target), _partial(target, "old")
    try:
        with writing(target):
            staged.mkdir(parents=True)
            yield staged
            for file in sorted(staged.rglob("*")):
                if file.is_file():
                    _sync(file)
            if target.exists():
                target.replace(aside)
            staged.replace(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: str | Path, name: str | None = None) -> list[str]:
    """Remove what killed processes left in ``folder``; return the names removed or put back.

    Parameters
    ----------
    folder
        Where :func:`replacing` or :func:`staged_folder` worked.
    name
        Only leftovers of this final name; all when ``None``.
    """
    swept = []
    for leftover in sorted(Path(folder).glob(".*")):
        final, owner, kind = _parse(leftover.name)
        if not kind or (name is not None and final != name) or _alive(leftover, owner):
            continue
        target = leftover.with_name(final)
        with writing(leftover):
            if kind == "old" and not target.exists():
                leftover.replace(target)
            elif leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        swept.append(leftover.name)
    return swept


def process_alive(pid: int) -> bool:
    """Whether a process of this machine is running; an ended one that nobody reaped is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists and belongs to someone else
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return True  # no /proc on this system
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def host_token() -> str:
    """Eight digits that tell machines apart without naming them."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _partial(final: Path, kind: str = "partial") -> Path:
    owner = f"{host_token()}-{os.getpid()}-{secrets.token_hex(3)}"
    return final.with_name(f".{final.name}.{owner}.{kind}")


def _parse(name: str) -> tuple[str, str, str]:
    """Split ``.<final>.<owner>.<kind>``; the kind is empty for any other name."""
    body, _, kind = name.removeprefix(".").rpartition(".")
    final, _, owner = body.rpartition(".")
    known = kind in {"partial", "old"} and owner.count("-") == 2 and bool(final)
    return (final, owner, kind) if known else ("", "", "")


def _alive(leftover: Path, owner: str) -> bool:
    host, pid, _ = owner.split("-")
    if host == host_token():
        return process_alive(int(pid)) if pid.isdigit() else False
    try:
        return time.time() - leftover.stat().st_mtime < FOREIGN_LEFTOVER_S
    except FileNotFoundError:
        return True  # its owner has just finished with it


def _sync(path: Path) -> None:
    """Flush a file or a folder entry to the disk; folders cannot be flushed on every system."""
    flags = os.O_RDONLY
    try:
        descriptor = os.open(path, flags)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
