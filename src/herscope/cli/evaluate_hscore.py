"""``herscope evaluate hscore``: how far models, and the formula, are from known H-scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome


def hscore(
    model: str,
    data: Path,
    /,
    *,
    against: Annotated[list[str] | None, Parameter(negative="")] = None,
    mpp: float | None = None,
    compartment: Literal["tumor", "stroma"] | None = None,
    cuts: tuple[float, float, float] | None = None,
    unseen: Flag = False,
    engine: Literal["onnx", "openvino"] = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
    common: Common = COMMON,
) -> Outcome:
    """Compare H-score models and the formula with readers' H-scores: MAPE, points, agreement.

    Parameters
    ----------
    model
        Folder or name of a model; `formula` for the formula alone.
    data
        Folder with images/, and usually masks/ and hscores.csv.
    against
        Another model for the same table; may be given several times.
    mpp
        µm/px of patches that state none.
    compartment
        The masks are compartment masks, and this compartment is the target.
    cuts
        Three optical densities at which the formula begins 1+, 2+ and 3+.
    unseen
        Leave patches out that a model saw in training or validation.
    engine
        How the models run; openvino needs the extra `fast`.
    threads
        Processor threads; all when absent.
    seed
        Seed of the intervals.
    """
    from herscope.recipes.evaluate_hscore import evaluate_hscore

    del common
    document = evaluate_hscore(
        [model, *(against or [])],
        data,
        mpp=mpp,
        compartment=compartment,
        cuts=cuts,
        unseen=unseen,
        engine=engine,
        threads=threads,
        seed=seed,
    )
    return Outcome(document, _said(document))


_HEADS = {
    "MAE": ("mae", "{:.1f}"),
    "bias": ("bias", "{:+.1f}"),
    "MAPE %": ("mape", "{:.0f}"),
    "MPE %": ("mpe", "{:+.0f}"),
    "Spearman": ("spearman", "{:.2f}"),
    "CCC": ("ccc", "{:.2f}"),
}


def _said(document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    data = document["data"]
    table = Table("model", box=None, pad_edge=False)
    for head in (*_HEADS, "limits", "MAE at H = 0"):
        table.add_column(head, justify="right")
    zeros = 0
    for model in document["models"]:
        found = model["figures"]
        zeros = found["zeros"]["patches"]
        low, high = found["lower_limit"]["value"], found["upper_limit"]["value"]
        limits = "-" if low is None else f"{low:+.0f} to {high:+.0f}"
        shown = (_shown(found[name], form) for name, form in _HEADS.values())
        table.add_row(model["name"], *shown, limits, _shown(found["zeros"]["mae"], "{:.1f}"))
    tests = Table("errors of", "less those of", box=None, pad_edge=False)
    for head in ("points", "p (Wilcoxon, not adjusted)"):
        tests.add_column(head, justify="right")
    for row in document["comparisons"]:
        p = "-" if row["p_value"] is None else f"{row['p_value']:.3g}"
        shift = {"value": row["shift"], "ci95": row["ci95"]}
        tests.add_row(row["a"], row["b"], _shown(shift, "{:+.1f}"), p)
    lines = [
        f"{data['evaluated']} of {data['patches']} patches at {data['mpp']:g} µm/px",
        f"95 % intervals and tests over {data['evaluated_groups']} groups",
        f"{zeros} patches have H = 0: they have no percentage",
        *(f"note: {note}" for note in document["notes"]),
    ]
    text: list[Any] = ["\n".join(lines), "", table]
    return [*text, "", tests] if document["comparisons"] else text


def _shown(figure: dict[str, Any], form: str) -> str:
    if figure["value"] is None:
        return "-"
    span = figure["ci95"]
    said = form.format(figure["value"])
    return said + (f" [{form.format(span[0])}, {form.format(span[1])}]" if span else "")
