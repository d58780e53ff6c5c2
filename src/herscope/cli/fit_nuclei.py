"""``herscope fit nuclei``: train a model; its options are NucleusFitSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from herscope.cli.epochs import Epochs, interruptible, summary_lines
from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.recipes.fit_nuclei import NucleusFitSpec

DEFAULT = NucleusFitSpec.model_validate({})


def nuclei(
    data: Path,
    /,
    *,
    out: Path,
    mpp: float | None = None,
    threads: int | None = None,
    licence: str = "LicenseRef-private",
    resume: Flag = False,
    force: Flag = False,
    spec: Annotated[NucleusFitSpec, Parameter(name="*", negative="")] = DEFAULT,
    common: Common = COMMON,
) -> Outcome:
    """Train a nucleus model from patches with numbered nuclei.

    Parameters
    ----------
    data
        Folder with images/ and instances/ of the same stems: grey images of 8 or 16 bits, 0 no
        nucleus, 1..n its number, 65535 not annotated.
    out
        Folder of the model; its name is the model's name.
    mpp
        µm/px of patches that state none; scoring works at 0.5.
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
    from herscope.recipes.fit_nuclei import fit_nuclei

    as_json = common.json
    told = Epochs({"F1": "f1", "Dice": "dice"})
    with interruptible(told):
        document = fit_nuclei(
            data,
            out,
            spec,
            mpp=mpp,
            threads=threads,
            licence=licence,
            resume=resume,
            force=force,
            progress=told,
        )
    return Outcome(document, [] if as_json else _said(document))


def _said(document: dict[str, Any]) -> list[Any]:
    names = {"F1 at IoU 0.5": "f1", "precision": "precision", "recall": "recall", "Dice": "dice"}
    figures = [
        f"{said} {value:.3f}"
        for said, name in names.items()
        if (value := document["metrics"].get(f"validation_{name}")) is not None
    ]
    lines = [*summary_lines(document), f"validation: {', '.join(figures)}"]
    return ["\n".join(lines), f"model in {document['model']}"]
