"""What a command gives back, and how it reaches stdout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, TextIO

from cyclopts import Parameter


@dataclass(frozen=True)
class Outcome:
    """The JSON document of a command, its text for people (strings or rich tables), the code."""

    document: dict[str, Any]
    text: list[Any] = field(default_factory=list)
    code: int = 0


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options of every command."""

    json: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="One JSON document on stdout and nothing else."
        ),
    ] = False
    debug: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Show the traceback of an error."),
    ] = False


Flag = Annotated[bool, Parameter(negative="", show_default=False)]


COMMON = Common()


PIPE_WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""


def print_document(document: dict[str, Any], stream: TextIO) -> None:
    """Write one JSON document; ASCII only, so that no terminal's encoding can break it."""
    _write(json.dumps(document, indent=1, allow_nan=False) + "\n", stream)


def print_text(parts: list[Any], stream: TextIO) -> None:
    """Write text and tables for people."""
    from rich.console import Console

    # Into a string first: on a closed pipe rich would end the process with its own exit code.
    width = shutil.get_terminal_size().columns if stream.isatty() else PIPE_WIDTH
    drawn = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    for part in parts:
        drawn.print(part, soft_wrap=isinstance(part, str))
    assert isinstance(drawn.file, io.StringIO)
    lines = drawn.file.getvalue().splitlines()
    _write("".join(f"{line.rstrip()}\n" for line in lines), stream)


def _write(text: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        # A terminal that cannot show µ shows a question mark.
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); what was to be done is done.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_error(message: str, hint: str) -> None:
    """Write ``error:`` and ``hint:`` to stderr, one line each."""
    for label, text in (("error", message), ("hint", hint)):
        if text:
            with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more
                sys.stderr.write(f"{label}: {' '.join(text.split())}\n")
