"""Judge compartment models on patches with masks: the figures of AutoIHC's Figure 3.

Pixel counts of every class are added over the patches before IoU, Dice, sensitivity and
specificity are made. The interval draws slides or patients (groups) with replacement, for pixels
and patches of one slide are alike. Patches a model was trained on are found by their pixels and
said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope import __version__
from herscope.core.errors import InputError
from herscope.recipes.judging import ratio, seen_note, seen_patches

if TYPE_CHECKING:
    from herscope.nn.patches.compartments import PatchFolder
    from herscope.nn.runtime import Engine
    from herscope.stats.segmentation import Overlap

SCHEMA = "herscope.evaluation/1"
MEASURES = {
    "iou": lambda c: ratio(c[..., 0], c[..., :3].sum(axis=-1)),
    "dice": lambda c: ratio(2 * c[..., 0], 2 * c[..., 0] + c[..., 1] + c[..., 2]),
    "sensitivity": lambda c: ratio(c[..., 0], c[..., 0] + c[..., 2]),
    "specificity": lambda c: ratio(c[..., 3], c[..., 3] + c[..., 1]),
}
"""Of pixels counted as (tp, fp, fn, tn)."""


def evaluate_compartments(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    mpp: float | None = None,
    unseen: bool = False,
    engine: Engine = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
) -> dict[str, Any]:
    """Compare models with the masks of a patch folder.

    Parameters
    ----------
    models
        Model folders or bare names.
    data
        Patch folder.
    mpp
        µm/px of patches whose folder states none.
    unseen
        Only patches that no model saw in training or validation.
    engine, threads
        How the models run: ``onnx`` or ``openvino``.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        The document that ``herscope evaluate --json`` prints.

    Raises
    ------
    InputError, SchemaError, ModelError, WrongInput
        Patches or models cannot be used, or do not fit each other.
    """
    from herscope.nn.model_file import find_model, read_model
    from herscope.nn.patches.compartments import read_patches

    if not models:
        raise InputError("no model was named", hint="herscope evaluate compartments MODEL DATA")
    folders = [find_model(model) for model in models]
    files = [read_model(folder) for folder in folders]
    patches = read_patches(data, mpp=mpp)
    for file in files:
        file.card.check_input(task="compartments", mpp=float(patches.mpp))
    seen = [seen_patches(folder, patches.digests) for folder in folders]
    which = [i for i in range(len(patches)) if not (unseen and any(i in s for s in seen))]
    if not which:
        raise InputError(
            "the models have seen every one of these patches",
            hint="evaluate on other slides, or leave --unseen out",
        )
    notes = [*patches.notes]
    told = []
    for file, known in zip(files, seen, strict=True):
        again = len(known & set(which))
        if again:
            notes.append(seen_note(file.card.name, again, len(which)))
        rows = _overlaps(file, patches, which, engine, threads)
        told.append(
            {
                "name": file.card.name,
                "network": file.card.network,
                "inputs": file.card.inputs,
                "sha256": file.card.sha256,
                "seen_patches": again,
                "classes": _figures(rows, [patches.groups[i] for i in which], seed),
                "patches": [
                    _row(patches.stems[i], row) for i, row in zip(which, rows, strict=True)
                ],
            }
        )
    return {
        "schema": SCHEMA,
        "herscope": __version__,
        "task": "compartments",
        "data": {**patches.describe(), "evaluated": len(which)},
        "engine": engine,
        "models": told,
        "notes": notes,
    }


def _overlaps(
    file: Any, patches: PatchFolder, which: Sequence[int], engine: Engine, threads: int | None
) -> list[dict[str, Overlap]]:
    from herscope.nn.inputs import network_input
    from herscope.nn.patches.files import CLASSES, IGNORE
    from herscope.nn.runtime import Runner
    from herscope.stats.segmentation import overlap_by_class

    runner = Runner(file, engine=engine, threads=threads)
    names = dict(enumerate(CLASSES))
    found: list[dict[str, Overlap]] = []
    for index in which:
        patch = patches.load(index)
        if not (patch.mask != IGNORE).any():
            found.append({})
            continue
        batch = network_input(patch.rgb, file.card.inputs, patch.white)[None]
        called = runner.run(batch)[0].argmax(axis=0).astype(np.uint8)
        found.append(overlap_by_class(patch.mask, called, names, ignore=IGNORE))
    return found


def _figures(
    rows: Sequence[Mapping[str, Overlap]], groups: Sequence[str], seed: int
) -> dict[str, Any]:
    from herscope.nn.patches.files import CLASSES
    from herscope.recipes.judging import figures

    told: dict[str, Any] = {}
    for name in CLASSES:
        counts = np.zeros((len(rows), 4))
        for k, row in enumerate(rows):
            if name in row:
                c = row[name].counts
                counts[k] = c.tp, c.fp, c.fn, c.tn
        if not counts.any():
            continue
        pixels = zip(("tp", "fp", "fn", "tn"), counts.sum(axis=0), strict=True)
        told[name] = {
            "pixels": {kind: int(count) for kind, count in pixels},
            **figures(counts, groups, MEASURES, seed),
        }
    return told


def _row(stem: str, row: Mapping[str, Overlap]) -> dict[str, Any]:
    return {"patch": stem, **{f"dice_{name}": overlap.dice for name, overlap in row.items()}}
