"""``herscope fit compartments``: train a model; its options are CompartmentFitSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from herscope.cli.epochs import Epochs, interruptible
from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.recipes.fit import CompartmentFitSpec

DEFAULT = CompartmentFitSpec.model_validate({})


def compartments(
    data: Path,
    /,
    *,
    out: Path,
    mpp: float | None = None,
    slide_mpp: float | None = None,
    encoder: Path | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: Flag = False,
    force: Flag = False,
    spec: Annotated[CompartmentFitSpec, Parameter(name="*", negative="")] = DEFAULT,
    common: Common = COMMON,
) -> Outcome:
    """Train a compartment model from patches with masks, or from slides annotated in QuPath.

    Parameters
    ----------
    data
        Folder with images/ and masks/ of the same stems (0 tumor, 1 stroma, 2 background, 3 other,
        255 not annotated), or folder with slides and CASE.geojson beside each.
    out
        Folder of the model; its name is the model's name.
    mpp
        µm/px of patches that state none; of the patches to cut from slides (1.0 when absent).
    slide_mpp
        µm/px of slides that state none.
    encoder
        Pre-trained encoder weights: MoCo or ImageNet ResNet-50, .safetensors or .pth.
    threads
        Processor threads; all that this process may use when absent. Equal seeds give equal bits
        only with equal threads.
    licence
        SPDX name of the licence for the card.
    resume
        Go on with a training that was cut off.
    force
        Replace a model that is there.
    """
    from herscope.recipes.fit import fit_compartments

    as_json = common.json
    told = Epochs({"tumor Dice": "dice_tumor", "stroma Dice": "dice_stroma"})
    with interruptible(told):
        document = fit_compartments(
            data,
            out,
            spec,
            mpp=mpp,
            slide_mpp=slide_mpp,
            encoder=encoder,
            threads=threads,
            licence=licence,
            resume=resume,
            force=force,
            progress=told,
        )
    return Outcome(document, [] if as_json else _said(document))


def _said(document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    from herscope.cli.epochs import summary_lines

    table = Table("validation", box=None, pad_edge=False)
    measures = {"IoU": "iou", "Dice": "dice"}
    for head in measures:
        table.add_column(head, justify="right")
    for name in (*document["patches"]["pixels"], "mean"):
        found = (document["metrics"].get(f"validation_{m}_{name}") for m in measures.values())
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in found))
    return ["\n".join(summary_lines(document)), "", table, "", f"model in {document['model']}"]
