"""The command ``herscope``: one module per command, imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code (see :mod:`herscope.cli.app`)."""
    from herscope.cli.app import run

    return run(argv)
