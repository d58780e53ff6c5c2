"""``herscope evaluate nuclei``: how well nuclei are found, by models and by classical means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome


def nuclei(
    model: str,
    data: Path,
    /,
    *,
    against: Annotated[list[str] | None, Parameter(negative="")] = None,
    mpp: float | None = None,
    unseen: Flag = False,
    marker: str = "nuclear",
    engine: Literal["onnx", "openvino"] = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
    common: Common = COMMON,
) -> Outcome:
    """Compare ways to find nuclei: F1, AJI, PQ, Dice, each with an interval.

    Parameters
    ----------
    model
        Folder or name of a model, or `classical`.
    data
        Patch folder with images/ and instances/, points.csv or masks/.
    against
        Another one for the same table; may be given several times.
    mpp
        µm/px of patches that state none.
    unseen
        Leave patches out that a model saw in training or validation.
    marker
        What was stained, for `classical`: whether brown speaks for a nucleus.
    engine
        How the models run; openvino needs the extra `fast`.
    threads
        Processor threads; all when absent.
    seed
        Seed of the intervals.
    """
    from herscope.recipes.evaluate_nuclei import evaluate_nuclei

    del common
    document = evaluate_nuclei(
        [model, *(against or [])],
        data,
        mpp=mpp,
        unseen=unseen,
        marker=marker,
        engine=engine,
        threads=threads,
        seed=seed,
    )
    return Outcome(document, said(document, HEADS[document["truth"]]))


HEADS = {
    "instances": {
        "F1": "f1",
        "precision": "precision",
        "recall": "recall",
        "F1 .5-.9": "f1_50_to_90",
        "AJI": "aji",
        "AJI+": "aji_plus",
        "PQ": "pq",
        "Dice": "dice",
        "count": "count_difference",
    },
    "foreground": {"Dice": "dice", "IoU": "iou", "accuracy": "accuracy"},
    "points": {
        "F1": "f1",
        "precision": "precision",
        "recall": "recall",
        "count": "count_difference",
    },
}
"""Columns of the table by kind of truth; the document has more."""

_SIGNED = {"count_difference"}


def said(document: dict[str, Any], heads: dict[str, str]) -> list[Any]:
    """Make the table for people: models, then differences from the first one."""
    from rich.table import Table

    data = document["data"]
    table = Table("model", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for model in document["models"]:
        shown = (_shown(model["figures"][name], name in _SIGNED) for name in heads.values())
        table.add_row(model["name"], *shown)
    for row in document["differences"]:
        shown = (_shown(row["figures"][name], signed=True) for name in heads.values())
        table.add_row(f"{row['model']} - {row['less']}", *shown)
    spread = (
        f"95 % intervals over {data['groups']} groups"
        if data["groups"] >= 3
        else f"no intervals: {data['groups']} group(s) say nothing of the spread between slides"
    )
    lines = [
        f"{data['evaluated']} of {data['patches']} patches at {data['mpp']:.3g} µm/px",
        f"truth: {document['truth']}",
        spread,
        *(f"note: {note}" for note in document["notes"]),
    ]
    return ["\n".join(lines), "", table]


def _shown(figure: dict[str, Any], signed: bool) -> str:
    if figure["value"] is None:
        return "-"
    sign = "+" if signed else ""
    text = f"{figure['value']:{sign}.3f}"
    span = figure["ci95"]
    return text + (f"\n[{span[0]:{sign}.2f}, {span[1]:{sign}.2f}]" if span else "")
