"""``herscope rule``: a guideline applied to percentages or counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Outcome


def rule(
    marker: str,
    percentages: Annotated[Path, Parameter(allow_leading_hyphen=True)] = Path("-"),
    /,
    *,
    controls: str | None = None,
    ish: str | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Apply a guideline to percentages or counts.

    Parameters
    ----------
    marker
        her2-breast, her2-gastric-resection, her2-gastric-biopsy, her2-colorectal, er, pr, ki67,
        pdl1, allred or ish.
    percentages
        JSON file with the numbers, a whole result.json, or - for standard input.
    controls
        passed, failed or unknown: how the HER2 controls stained.
    ish
        positive, negative or unknown: ISH of the same breast specimen, for the HER2-low overlay.
    """
    from herscope import recipes
    from herscope.recipes.guidelines import read_rule_input, rule_text

    del common
    if str(percentages) == "-":
        where, text = "standard input", _standard_input()
    else:
        where, text = str(percentages), rule_text(percentages)
    block = recipes.rule(marker, read_rule_input(text, where), controls=controls, ish=ish)
    return Outcome(block, [_said(block)])


def _standard_input() -> str:
    from herscope.core.errors import InputError

    if sys.stdin.isatty():
        raise InputError(
            "standard input is a keyboard, not a file",
            hint="give a JSON file, or pipe one in: herscope rule MARKER < FILE",
        )
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(
            "standard input is not text in UTF-8", hint="give a JSON document"
        ) from error


def _said(block: dict[str, Any]) -> str:
    """Say a block to a reader: what, who says so, why not more, what else to know."""
    lines = [_headline(block)]
    told = {
        "rule": block["rule_text"],
        "": f"{block['rule']}, {block['guideline']}",
        "next": block.get("next_rule"),
        "distance": _distance(block),
        "overlay": _overlay(block),
        "comment": block["comment"],
        "floors": ", ".join(f"{k} {v:g}" for k, v in (block.get("floors") or {}).items()),
        "source": block["source"],
    }
    lines += [f"  {label:9} {text}" for label, text in told.items() if text]
    return "\n".join(lines)


def _headline(block: dict[str, Any]) -> str:
    if "category" in block:
        cells = f"{block['percent']:.1f} % of {block['cells']:,} cells"
        return f"{block['marker']}: {block['category']}, {cells}"
    score, status = block["score"], block["status"]
    if "name" in block:
        shown = "indeterminate" if score is None else f"{score:.1f}"
        return f"{block['marker']}: {block['name']} {shown}"
    return f"{block['marker']}: {score}" + ("" if score == status else f", {status}")


def _distance(block: dict[str, Any]) -> str:
    told = []
    for key, what in (("distance_to_cutoff", "cut-off"), ("distance_to_floor", "floor of ours")):
        if block.get(key) is not None:
            told.append(f"{block[key]:.3g} points to the nearest {what}")
    return ", ".join(told)


def _overlay(block: dict[str, Any]) -> str:
    overlay = block.get("overlay")
    if not overlay:
        return ""
    return f"{overlay['name']}: {overlay['text']} ({overlay['source']})"
