"""The nearest of some names, whatever their case, for the hint of an error."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

SHOWN: Final = 12


def nearest_name(name: str, known: Sequence[str]) -> str:
    """Return a hint with the nearest name, or with the known ones.

    Examples
    --------
    >>> nearest_name("tils", ["TILs", "age"])
    'did you mean TILs? known: TILs, age'
    """
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.strip().lower(), list(lower), n=1, cutoff=0.6)
    listed = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
    said = f"known: {listed or 'none'}"
    return f"did you mean {lower[close[0]]}? {said}" if close else said
