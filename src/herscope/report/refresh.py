"""Rebuild every page of a run from what is on disk: ``herscope report DIR``.

A slide whose files are missing or broken is reported and skipped; the others are rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from herscope.core.errors import HerscopeError, InputError, OutputError
from herscope.report.cohort import write_cohort
from herscope.report.folder import load_json, slide_folders
from herscope.report.html import Cuts, write_slide_report
from herscope.report.qupath import write_cells_geojson


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was rebuilt, and which slides could not be and why."""

    index: Path
    reports: tuple[Path, ...]
    problems: Mapping[str, HerscopeError]


def refresh(run: Path, *, cuts: Cuts | None = None) -> Refreshed:
    """Rebuild all reports, QuPath exports and the cohort table of a run.

    Parameters
    ----------
    run
        The folder that was given to ``herscope score --out``.
    cuts
        OD cut-offs to draw; when absent, those that ``run.json`` recorded.

    Raises
    ------
    InputError
        ``run`` is no run, or no slide in it has begun.
    OutputError
        Nothing can be written there (a full disk concerns every slide alike).
    """
    run = Path(run)
    folders = slide_folders(run)
    failures = load_json(run / "failures.json") or {}
    if not folders and not failures:
        raise InputError(
            f"{run} is a run without slides", hint="score slides into it with `herscope score`"
        )
    reports: list[Path] = []
    problems: dict[str, HerscopeError] = {}
    for folder in folders:
        if folder.name in failures:
            continue
        try:
            reports.append(write_slide_report(folder, cuts=cuts))
            write_cells_geojson(folder)
        except OutputError:
            raise
        except HerscopeError as bad:
            problems[folder.name] = bad
    write_cohort(run)
    return Refreshed(run / "index.html", tuple(reports), problems)
