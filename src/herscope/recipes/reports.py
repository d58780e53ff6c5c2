"""Rebuild what people read from what is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herscope.report.refresh import Refreshed


def report(folder: str | Path) -> Refreshed:
    """Rebuild every page of a run from what is on disk."""
    from herscope.report.refresh import refresh
    from herscope.run.folder import RunFolder

    run = RunFolder(folder)
    run.require()
    return refresh(run.root)
