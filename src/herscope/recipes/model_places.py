"""Where a trained ensemble is put: made aside, so that an earlier one stands until it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from herscope.core.errors import OutputError
from herscope.core.store import writing
from herscope.recipes.in_processes import tell


def check_target(target: Path, work: Path, card: str, *, force: bool, resume: bool) -> None:
    """Refuse a place that is taken; nothing is removed but a training that was cut off.

    Parameters
    ----------
    target, work
        Where the model will stand, and where it is made.
    card
        Name of the file that makes a folder a model.
    force, resume
        Replace a model; go on with a training that was cut off.

    Raises
    ------
    OutputError
        The place is taken.
    """
    done = (target / card).is_file()
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file", hint="choose another --out")
    if done and not force:
        raise OutputError(
            f"{target} holds a model already", hint="--force replaces it, or name another --out"
        )
    if target.is_dir() and any(target.iterdir()) and not done:
        raise OutputError(f"{target} is not a model", hint="choose another --out or move it")
    begun = [folder.name for folder in work.glob("*fold*")] if work.is_dir() else []
    if begun and not resume:
        if not force:
            raise OutputError(
                f"a training of {target} was cut off, {len(begun)} member(s) were begun",
                hint="--resume goes on with it, --force begins again",
            )
        tell(f"note: a training that was cut off is begun again ({len(begun)} members)")
        shutil.rmtree(work, ignore_errors=True)


def swap(made: Path, target: Path) -> None:
    """Put a finished model in its place; an earlier one goes."""
    with writing(target):
        if target.is_dir():
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            made.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            made.rename(target)
