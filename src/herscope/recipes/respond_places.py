"""Where predictions and explanations are put: never over a model, and over others when asked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from herscope.core.errors import OutputError
from herscope.core.store import writing

RESULTS: Final = ("result.json", "predictions.csv")
PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
LONGEST: Final = 80
RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)
"""Names of devices on Windows."""


def page_of(patient: str) -> str:
    """Return where a patient's page stands, whatever the identifier holds.

    An identifier that is no plain, short, lower-case word gets a hash behind it: two that differ in
    case only share a file on some systems, and long ones are no file name on any.

    Examples
    --------
    >>> page_of("p-1"), page_of("a/b")[:14], len(page_of("x" * 300)) < 120
    ('patients/p-1.html', 'patients/a%2Fb', True)
    """
    from urllib.parse import quote

    if PLAIN.fullmatch(patient) and patient not in RESERVED:
        return f"patients/{patient}.html"
    stem = quote(patient[:LONGEST], safe="").replace(".", "%2E")[:LONGEST].rstrip("%")
    own = hashlib.sha256(patient.encode()).hexdigest()[:8]
    return f"patients/{stem}-{own}.html"


def check_place(home: Path, *, force: bool) -> None:
    """Refuse a folder that holds results already, unless it may be written over.

    A model's folder is never written over: its own predictions are what a new one is compared with.
    """
    from herscope.respond.training.card import FILE

    if home.exists() and not home.is_dir():
        raise OutputError(f"{home} is a file", hint="choose another --out")
    if (home / FILE).exists():
        raise OutputError(
            f"{home} holds a model, and results would be written over its own",
            hint="choose another --out",
        )
    for name in RESULTS:
        if (home / name).exists() and not force:
            raise OutputError(f"{home} holds {name} already", hint="--force replaces it")


def clear_pages(home: Path, folder: str = "patients", kind: str = "*.html") -> None:
    """Remove the pages of an earlier call, now that new ones can be written."""
    old = home / folder
    if (home / "result.json").is_file() and old.is_dir():
        with writing(old):
            for page in old.glob(kind):
                page.unlink()
