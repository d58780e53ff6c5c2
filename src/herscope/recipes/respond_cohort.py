"""What a cohort file describes: labels with reasons, tokens, survival, contradictions."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from herscope.respond.cohort.cohort import Cohort
    from herscope.respond.cohort.findings import Finding
    from herscope.respond.cohort.outcomes import FollowUp

SCHEMA: Final = "herscope.cohort-description/1"
_FORMULA: Final = ("=", "+", "-", "@")


def describe_cohort(
    path: str | Path, *, out: str | Path | None = None, other: str | Path | None = None
) -> dict[str, Any]:
    """Read a cohort without refusing what is wrong in it, and tell all of it.

    Parameters
    ----------
    path
        ``cohort.toml``.
    out
        Folder for ``cohort.json``, ``responses.csv`` (label, rule and explanation of every patient)
        and ``findings.csv``; nothing is written when None.
    other
        A second cohort file, such as an external test; patients in both are named.

    Returns
    -------
    dict
        JSON-ready: counts of labels and of the rules that gave them, survival, tokens with those
        missing, files, findings with severity, notes. Findings name patients and values.

    Raises
    ------
    InputError, SchemaError
        A file or a named column is not there, or has not the form it must have.
    """
    from herscope.respond.cohort.cohort import read_cohort
    from herscope.respond.cohort.consistency import apart, consistency
    from herscope.respond.cohort.findings import by_severity

    cohort = read_cohort(path, strict=False)
    found = consistency(cohort)
    if other is not None:
        found = by_severity((*found, *apart(cohort, read_cohort(other, strict=False))))
    document = _document(cohort, found)
    if out is not None:
        _write(Path(out), cohort, found, document)
    return document


def _document(cohort: Cohort, found: Sequence[Finding]) -> dict[str, Any]:
    from herscope.respond.cohort.findings import ORDER

    labels = Counter(cohort.labels.tolist())
    severities = Counter(finding.severity for finding in found)
    missing = cohort.tokens.missing()
    return {
        "schema": SCHEMA,
        "cohort": cohort.spec.name,
        "table": cohort.table.name,
        "patients": len(cohort),
        "labels": {"response": labels[1], "no response": labels[0], "none": labels[-1]},
        "reasons": dict(
            Counter(
                f"{_word(one.label)}: {one.rule}" for one in cohort.outcomes.responses
            ).most_common()
        ),
        "cut_days": cohort.spec.response.cut_days,
        "pfs": _survival(cohort.outcomes.pfs),
        "os": _survival(cohort.outcomes.os),
        "sites": dict(Counter(site for site in cohort.sites if site is not None).most_common()),
        "split": dict(Counter(side for side in cohort.split if side is not None)),
        "tokens": [
            {
                "token": token.name,
                "set": one.name,
                "kind": token.kind,
                "width": token.width,
                "missing": missing[token.name],
            }
            for one in cohort.sets
            for token in one.token
        ],
        "files": {name: sum(bool(p) for p in paths) for name, paths in cohort.files.items()},
        "severities": {severity: severities[severity] for severity in ORDER},
        "findings": [finding.document() for finding in found],
        "notes": list(cohort.notes),
    }


def _survival(follow_up: FollowUp) -> dict[str, Any] | None:
    from herscope.stats.estimate import finite_or_none
    from herscope.stats.survival.kaplan_meier import kaplan_meier

    if not follow_up.known.any():
        return None
    outcome = follow_up.outcome()
    median = kaplan_meier(outcome).median
    return {
        "patients": len(outcome),
        "events": outcome.events,
        "median_days": finite_or_none(median.value),
        "low_days": finite_or_none(median.low),
        "high_days": finite_or_none(median.high),
    }


def _word(label: int | None) -> str:
    return {1: "response", 0: "no response"}.get(-1 if label is None else label, "no label")


def _write(
    folder: Path, cohort: Cohort, found: Sequence[Finding], document: dict[str, Any]
) -> None:
    from herscope.core.store import make_folder, write_json, write_text

    make_folder(folder)
    write_json(folder / "cohort.json", document)
    rows = zip(cohort.table.rows, cohort.patients, cohort.outcomes.responses, strict=True)
    told = [
        (row, patient, "" if one.label is None else one.label, one.rule, one.explanation)
        for row, patient, one in rows
    ]
    heads = ("row", "patient", "label", "rule", "explanation")
    write_text(folder / "responses.csv", _csv(heads, told))
    said = [(f.severity, f.code, f.row or "", f.patient or "", f.message, f.advice) for f in found]
    columns = ("severity", "code", "row", "patient", "message", "advice")
    write_text(folder / "findings.csv", _csv(columns, said))


def _csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _harmless(cell: Any) -> Any:
    """Keep a spreadsheet from taking a text of someone else's table for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
