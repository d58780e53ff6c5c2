"""``herscope fit``: train a model; its options are CompartmentFitSpec's fields."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.recipes.fit import CompartmentFitSpec

DEFAULT = CompartmentFitSpec.model_validate({})


def fit(
    task: Literal["compartments"],
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
    """Train a model from patches with masks, or from slides annotated in QuPath.

    Parameters
    ----------
    task
        What the model shall predict.
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
    from herscope.recipes import fit as recipe

    del task
    as_json = common.json
    told = _Told()
    try:
        document = recipe.fit_compartments(
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
    except KeyboardInterrupt:
        if told.epochs:
            told.say(f"{told.epochs} epochs are kept; --resume goes on after them")
        raise
    return Outcome(document, [] if as_json else _said(document))


class _Told:
    """One line an epoch on stderr."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, row: dict[str, float | int | None], best: int) -> None:
        """Say loss, Dice of tumour and stroma, and which epoch is the best so far."""
        self.epochs = int(row["epoch"] or 0)
        parts = [f"epoch {row['epoch']}: loss {row['loss']:.4f}"]
        for name in ("tumor", "stroma"):
            value = row.get(f"val_dice_{name}")
            parts.append(f"{name} Dice {'-' if value is None else f'{value:.3f}'}")
        self.say(f"{', '.join(parts)}, {row['seconds']:.0f} s (best: epoch {best})")

    @staticmethod
    def say(line: str) -> None:
        """Write a line that nobody has to read."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _said(document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    split, patches = document["split"], document["patches"]
    lines = [
        f"trained on {len(split['train'])} patches, validated on {len(split['validation'])}",
        f"{patches['groups']} groups, {patches['mpp']:g} µm/px",
        f"best epoch {document['best_epoch']} of {len(document['history'])}"
        + (", stopped early" if document["stopped_early"] else ""),
        *(f"note: {note}" for note in document["notes"]),
    ]
    table = Table("validation", box=None, pad_edge=False)
    measures = {"IoU": "iou", "Dice": "dice"}
    for head in measures:
        table.add_column(head, justify="right")
    for name in (*patches["pixels"], "mean"):
        found = (document["metrics"].get(f"validation_{m}_{name}") for m in measures.values())
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in found))
    return ["\n".join(lines), "", table, "", f"model in {document['model']}"]
