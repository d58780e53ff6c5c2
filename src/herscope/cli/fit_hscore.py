"""``herscope fit hscore``: train a model; its options are HscoreFitSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.epochs import Epochs, interruptible, summary_lines
from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.recipes.fit_hscore import HscoreFitSpec

DEFAULT = HscoreFitSpec.model_validate({})


def hscore(
    data: Path,
    /,
    *,
    out: Path,
    mpp: float | None = None,
    compartment: Literal["tumor", "stroma"] | None = None,
    encoder: Path | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: Flag = False,
    force: Flag = False,
    spec: Annotated[HscoreFitSpec, Parameter(name="*", negative="")] = DEFAULT,
    common: Common = COMMON,
) -> Outcome:
    """Train an H-score regressor from patches with a target region.

    Parameters
    ----------
    data
        Folder with images/, masks/ of the same stems (0 outside the target, 255 or 1 inside; all
        pixels count without the folder) and hscores.csv (patch,h_score); without that file the
        formula's values are learnt.
    out
        Folder of the model; its name is the model's name.
    mpp
        µm/px of patches that state none.
    compartment
        The masks are compartment masks, and this compartment is the target.
    encoder
        ImageNet weights for vgg16-regression or resnet18-regression, .safetensors or .pth.
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
    from herscope.recipes.fit_hscore import fit_hscore

    as_json = common.json
    told = Epochs({"mean error": "mae", "bias": "bias"})
    with interruptible(told):
        document = fit_hscore(
            data,
            out,
            spec,
            mpp=mpp,
            compartment=compartment,
            encoder=encoder,
            threads=threads,
            licence=licence,
            resume=resume,
            force=force,
            progress=told,
        )
    return Outcome(document, [] if as_json else _said(document))


def _said(document: dict[str, Any]) -> list[Any]:
    found = document["metrics"]
    figures = [
        f"mean absolute error {found['validation_mae']:.1f} points",
        f"bias {found['validation_bias']:+.1f}",
    ]
    if "validation_mape" in found:
        figures.append(f"MAPE {found['validation_mape']:.0f} % over H > 0")
    lines = [*summary_lines(document), f"validation: {', '.join(figures)}"]
    return ["\n".join(lines), f"model in {document['model']}"]
