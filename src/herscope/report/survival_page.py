"""The answer of ``herscope survive`` as one self-contained page, with the figure people expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from herscope.core.store import write_text
from herscope.report.html import environment, uri
from herscope.report.survival_chart import survival_chart
from herscope.stats.estimate import spoken, spoken_p
from herscope.stats.survival.kaplan_meier import KaplanMeier
from herscope.stats.survival.survival_summary import SurvivalSummary


def write_survival_page(summary: SurvivalSummary, path: Path) -> Path:
    """Write the page; nothing in it is fetched from elsewhere.

    Parameters
    ----------
    summary
        What was found.
    path
        The HTML file.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    page = environment().get_template("survival.html.j2").render(context(summary))
    write_text(path, page)
    return path


def context(summary: SurvivalSummary) -> dict[str, Any]:
    """Return what the template shows, in words."""
    spec, test = summary.spec, summary.log_rank
    said = f"log-rank {spoken_p(test.p_value)}" if test else ""
    if test is not None and test.df > 1:
        said += f" ({test.df} df)"
    chart = survival_chart(
        summary.curves,
        time_unit=spec.time_unit,
        title=spec.group or "",
        said=said,
    )
    expected = {group.name: group.expected for group in test.groups} if test else {}
    rows = {**summary.groups, "all patients": summary.overall}
    return {
        "title": f"Survival – {summary.table}",
        "summary": summary,
        "spec": spec,
        "level": f"{100 * spec.level:g} %",
        "unit": spec.time_unit,
        "chart": uri(chart),
        "rows": [_row(name, curve, summary, expected) for name, curve in rows.items()],
        "test": test,
        "said": said,
        "p": spoken_p(test.p_value) if test else "",
        "discrimination": _discrimination(summary),
        "cox": _cox(summary),
        "warn": [note for note in summary.notes if _grave(note)],
        "notes": [note for note in summary.notes if not _grave(note)],
        "bands": len(summary.curves),
    }


def _grave(note: str) -> bool:
    """Return whether a note says that a number misleads, not merely how it was made."""
    return "same patients" in note or "LATER" in note


def _row(
    name: str, curve: KaplanMeier, summary: SurvivalSummary, expected: dict[str, float]
) -> dict[str, Any]:
    median = curve.median
    ends = ("not reached" if end is None else f"{end:g}" for end in (median.low, median.high))
    return {
        "name": name,
        "n": curve.n,
        "events": curve.counts["events"],
        "expected": f"{expected[name]:.1f}" if name in expected else "",
        "median": "not reached" if median.value is None else f"{median.value:g}",
        "interval": " to ".join(ends),
        "at": [_share(at) for at in curve.at(summary.spec.at)],
    }


def _share(at: Any) -> str:
    if at.value is None:
        return "beyond follow-up"
    low, high = ("?" if end is None else f"{100 * end:.1f}" for end in (at.low, at.high))
    return f"{100 * at.value:.1f} ({low} to {high})"


def _discrimination(summary: SurvivalSummary) -> list[dict[str, str]]:
    found = summary.discrimination
    if found is None:
        return []
    named = [
        ("Harrell's C", found.harrell),
        (f"Uno's C, tau {found.uno.counts['tau']:g}", found.uno),
        *((f"AUC at {auc.time:g}", auc.estimate) for auc in found.aucs),
    ]
    return [
        {
            "name": name,
            "value": spoken(e.value, e.low, e.high),
            "counts": ", ".join(f"{key} {_count(count)}" for key, count in e.counts.items()),
            "method": e.method,
        }
        for name, e in named
    ]


def _count(count: float) -> str:
    return f"{count:,}" if isinstance(count, int) else f"{count:,.4g}"


def _cox(summary: SurvivalSummary) -> list[dict[str, str]]:
    if summary.cox is None:
        return []
    return [
        {
            "name": row.name,
            "ratio": spoken(row.hazard_ratio.value, row.hazard_ratio.low, row.hazard_ratio.high),
            "p": spoken_p(row.p_value),
            "proportional": spoken_p(row.proportional.p_value),
        }
        for row in summary.cox.rows
    ]
