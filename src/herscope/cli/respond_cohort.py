"""``herscope respond cohort``: what a cohort file describes, and what contradicts itself in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from herscope.cli.output import COMMON, Common, Flag, Outcome

CONTRADICTIONS = 3
SHOWN = 20


def cohort(
    path: Path,
    /,
    *,
    other: Path | None = None,
    out: Path | None = None,
    template: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Check a cohort: labels with their reasons, tokens, survival, contradictions.

    Parameters
    ----------
    path
        The cohort file, cohort.toml.
    other
        A second cohort file; a patient who stands in both is named.
    out
        Folder for cohort.json, responses.csv and findings.csv.
    template
        Write a commented cohort file with every key to this path, and do nothing else.
    """
    if template:
        return _template(path)
    from herscope.recipes.respond_cohort import describe_cohort

    document = describe_cohort(path, out=out, other=other)
    code = CONTRADICTIONS if document["severities"]["error"] else 0
    return Outcome(document, [] if common.json else _said(document, out), code)


def _template(path: Path) -> Outcome:
    from herscope.core.errors import OutputError
    from herscope.core.store import write_text
    from herscope.respond.cohort.cohort_toml import template

    if path.exists():
        raise OutputError(f"{path} exists already", hint="name another file")
    write_text(path, template())
    return Outcome({"cohort": str(path)}, [f"wrote {path}: name your columns in it"])


def _said(document: dict[str, Any], out: Path | None) -> list[Any]:
    from rich.table import Table

    labels = document["labels"]
    told = f"response {labels['response']:,}, no response {labels['no response']:,}"
    lines = [
        f"{document['cohort']}: {document['patients']:,} patients in {document['table']}",
        f"{told}, no label {labels['none']:,} (cut-off {document['cut_days']:g} days)",
        *(f"  {count:>5,}  {reason}" for reason, count in document["reasons"].items()),
    ]
    for name in ("pfs", "os"):
        lines += [_survival(name.upper(), document[name])] if document[name] else []
    lines += [f"{count:,} patients have {what}" for what, count in document["files"].items()]
    tokens = Table("token", "set", "kind", box=None, pad_edge=False)
    for name in ("numbers", "missing"):
        tokens.add_column(name, justify="right")
    for one in document["tokens"]:
        tokens.add_row(
            one["token"], one["set"], one["kind"], str(one["width"]), f"{one['missing']:,}"
        )
    shown = [tokens] if document["tokens"] else ["no report tokens: sets = [] in [tokens]"]
    after = ["", *_findings(document["findings"])]
    after += [f"note: {note}" for note in document["notes"]]
    if out is not None:
        after.append(f"every label with its reason in {out / 'responses.csv'}")
    return ["\n".join(lines), "", *shown, "\n".join(after)]


def _survival(name: str, found: dict[str, Any]) -> str:
    said = f"{name}: {found['patients']:,} patients, {found['events']:,} events, median "
    return said + (
        "not reached" if found["median_days"] is None else f"{found['median_days']:.0f} d"
    )


def _findings(findings: list[dict[str, Any]]) -> list[str]:
    if not findings:
        return ["no contradictions found"]
    lines = []
    for one in findings[:SHOWN]:
        row = "" if one["row"] is None else f"row {one['row']}, {one['patient']}: "
        lines.append(f"{one['severity']}: {row}{one['message']}\n    {one['advice']}")
    if len(findings) > SHOWN:
        lines.append(f"and {len(findings) - SHOWN} more; --out writes all of them")
    return lines
