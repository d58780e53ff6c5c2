"""How numbers, intervals and absences are put into words in tables and headings.

A number that was not computed is shown as ``not computed`` together with the reason the result
document gives; ``nan``, ``None`` and empty cells never reach a reader.
"""

from __future__ import annotations

from herscope.report.palette import COMPARTMENTS
from herscope.score.result import Alert, Compartment, SlideResult

NOT_COMPUTED = "not computed"


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with thousands separators.

    Examples
    --------
    >>> number(18402, 0), number(212.345), number(None)
    ('18,402', '212.3', 'not computed')
    """
    if value is None:
        return NOT_COMPUTED
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def interval(ends: tuple[float, float] | None, digits: int = 1) -> str:
    """Return ``lo to hi``: a dash would read as a minus sign.

    Examples
    --------
    >>> interval((198.2, 226.0), 0)
    '198 to 226'
    """
    if ends is None:
        return NOT_COMPUTED
    return f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def why_missing(result: SlideResult, name: str) -> str:
    """Return why a compartment's number is null, in a few words.

    The alerts say it best; where none speaks of this compartment the counts do.
    """
    compartment = result.compartments[name]  # type: ignore[index]  # name is one of its keys
    where = COMPARTMENTS.get(name, name).lower()
    if not compartment.area_mm2:
        return f"there is no {where} on this slide"
    if not compartment.cells:
        return f"no cells were found in {where}"
    alert = _alert_about(result.alerts, name)
    return alert.message if alert else "the result document gives no reason; see the alerts"


def why_no_interval(compartment: Compartment) -> str:
    """Return why a number stands without an interval."""
    if compartment.cells < 2:
        return f"an interval needs more than {compartment.cells} cells"
    return compartment.h_score.method or "the result document gives no reason; see the alerts"


def severity_order(alerts: list[Alert]) -> list[Alert]:
    """Return the alerts, errors first, then warnings, then notes; otherwise in their order."""
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(alerts, key=lambda alert: rank[alert.severity])


def alert_number(value: float | str | None) -> str:
    """Return an alert's value or limit, short.

    Examples
    --------
    >>> alert_number(0.08417), alert_number(87.0), alert_number("guessed")
    ('0.08417', '87', 'guessed')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def _alert_about(alerts: list[Alert], name: str) -> Alert | None:
    spelled = {"tumor": ("tumor", "tumour"), "stroma": ("stroma",), "all": ("tissue", "cells")}
    for alert in severity_order(alerts):
        text = f"{alert.code} {alert.message}".lower()
        if any(word in text for word in spelled.get(name, (name,))):
            return alert
    return None
