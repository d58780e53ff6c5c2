"""``herscope evaluate compartments``: how well models agree with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome


def compartments(
    model: Path,
    data: Path,
    /,
    *,
    against: Annotated[list[Path] | None, Parameter(negative="")] = None,
    mpp: float | None = None,
    unseen: Flag = False,
    engine: Literal["onnx", "openvino"] = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
    common: Common = COMMON,
) -> Outcome:
    """Compare models with masks: IoU, Dice, sensitivity, specificity of each class.

    Parameters
    ----------
    model
        Folder of the model.
    data
        Patch folder with images/ and masks/.
    against
        Another model for the same table; may be given several times.
    mpp
        µm/px of patches that state none.
    unseen
        Leave patches out that a model saw in training or validation.
    engine
        How the models run; openvino needs the extra `fast`.
    threads
        Processor threads; all when absent.
    seed
        Seed of the intervals.
    """
    from herscope.recipes.evaluate import evaluate_compartments

    del common
    document = evaluate_compartments(
        [model, *(against or [])],
        data,
        mpp=mpp,
        unseen=unseen,
        engine=engine,
        threads=threads,
        seed=seed,
    )
    return Outcome(document, _said(document))


_HEADS = {
    "IoU": "iou",
    "Dice": "dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def _said(document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    data = document["data"]
    table = Table("model", "class", box=None, pad_edge=False)
    for head in (*_HEADS, "pixels"):
        table.add_column(head, justify="right")
    for model in document["models"]:
        for place, (name, row) in enumerate(model["classes"].items()):
            pixels = row["pixels"]["tp"] + row["pixels"]["fn"]
            shown = (_shown(row[measure]) for measure in _HEADS.values())
            table.add_row("" if place else model["name"], name, *shown, f"{pixels:,}")
    lines = [
        f"{data['evaluated']} of {data['patches']} patches at {data['mpp']:g} µm/px",
        f"95 % intervals over {data['groups']} groups",
        *(f"note: {note}" for note in document["notes"]),
    ]
    return ["\n".join(lines), "", table]


def _shown(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    span = figure["ci95"]
    return f"{figure['value']:.3f}" + (f" [{span[0]:.2f}, {span[1]:.2f}]" if span else "")
