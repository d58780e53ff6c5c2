"""``herscope evaluate points``: compartments judged by marked nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome

HEADS = {
    "right": "right",
    "balanced": "balanced",
    "tumor right": "tumor_right",
    "stroma right": "stroma_right",
}


def points(
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
    """Compare compartments with marked nuclei: the share in the right compartment.

    Parameters
    ----------
    model
        Folder or name of a compartment model, or `nests`.
    data
        Patch folder with images/ and points.csv (patch,x_px,y_px,class).
    against
        Another one for the same table; may be given several times.
    mpp
        µm/px of patches that state none.
    unseen
        Leave patches out that a model saw in training or validation.
    marker
        What was stained, for `nests`: whether brown speaks for a nucleus.
    engine
        How the models run; openvino needs the extra `fast`.
    threads
        Processor threads; all when absent.
    seed
        Seed of the intervals.
    """
    from herscope.cli.evaluate_nuclei import said
    from herscope.recipes.evaluate_points import evaluate_points

    del common
    document = evaluate_points(
        [model, *(against or [])],
        data,
        mpp=mpp,
        unseen=unseen,
        marker=marker,
        engine=engine,
        threads=threads,
        seed=seed,
    )
    return Outcome(document, said(document, HEADS))
