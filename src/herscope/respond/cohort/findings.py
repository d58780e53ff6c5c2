"""One thing in a table that a person should look at before anything is computed from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from herscope.core.errors import InputError

Severity = Literal["error", "warning", "note"]
ORDER: Final[tuple[Severity, ...]] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction, a gap or an unknown value. Nothing is corrected for it.

    Attributes
    ----------
    severity
        ``error``: a model must not be fitted on this; ``warning``: look at it, a number may be
        wrong; ``note``: good to know.
    code
        What kind, in a few words joined by hyphens.
    message
        What was found, with the values.
    advice
        What to do.
    row
        Row of the table, from 1, header not counted; None where it is about the whole cohort.
    patient
        Who; None where it is about the whole cohort.
    values
        The values that contradict each other.
    """

    severity: Severity
    code: str
    message: str
    advice: str
    row: int | None = None
    patient: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "severity": self.severity,
            "code": self.code,
            "row": self.row,
            "patient": self.patient,
            "message": self.message,
            "advice": self.advice,
            "values": dict(self.values),
        }


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort errors first, then by kind and row; the same for any order of the checks."""
    return tuple(
        sorted(findings, key=lambda f: (ORDER.index(f.severity), f.code, f.row or 0, f.message))
    )


def refuse_errors(findings: Iterable[Finding], where: str) -> None:
    """Raise the first error among findings.

    Raises
    ------
    InputError
        Naming its row, and how many more there are.
    """
    errors = [finding for finding in by_severity(findings) if finding.severity == "error"]
    if not errors:
        return
    first = errors[0]
    row = "" if first.row is None else f", row {first.row}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise InputError(f"{where}{row}: {first.message}{more}", hint=first.advice)
