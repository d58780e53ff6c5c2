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
from numpy.typing import NDArray

from herscope import __version__
from herscope.core.errors import InputError, UndefinedStatistic

if TYPE_CHECKING:
    from herscope.nn.patches import PatchFolder
    from herscope.nn.runtime import Engine
    from herscope.stats.segmentation import Overlap

SCHEMA = "herscope.evaluation/1"
MEASURES = ("iou", "dice", "sensitivity", "specificity")
FEWEST_GROUPS = 3
"""Fewer slides than this say nothing of the spread between slides."""


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
        Model folders.
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
    from herscope.nn.model_file import read_model
    from herscope.nn.patches import describe, read_patches

    if not models:
        raise InputError("no model was named", hint="herscope evaluate compartments MODEL DATA")
    files = [read_model(Path(model)) for model in models]
    patches = read_patches(data, mpp=mpp)
    for file in files:
        file.card.check_input(task="compartments", mpp=float(patches.mpp))
    seen = [_seen(Path(model), patches) for model in models]
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
            notes.append(
                f"{file.card.name} saw {again} of these {len(which)} patches in training or "
                "validation: its figures are too good; --unseen leaves them out"
            )
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
        "data": {**describe(patches), "evaluated": len(which)},
        "engine": engine,
        "models": told,
        "notes": notes,
    }


def _overlaps(
    file: Any, patches: PatchFolder, which: Sequence[int], engine: Engine, threads: int | None
) -> list[dict[str, Overlap]]:
    from herscope.nn.inputs import network_input
    from herscope.nn.patch_files import CLASSES, IGNORE
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
    from herscope.nn.patch_files import CLASSES
    from herscope.stats.segmentation import pooled_overlap

    pooled = pooled_overlap(rows)
    names = sorted(set(groups))
    told: dict[str, Any] = {}
    for name in CLASSES:
        if name not in pooled:
            continue
        counts = np.zeros((len(names), 4), np.int64)
        for row, group in zip(rows, groups, strict=True):
            if name in row:
                c = row[name].counts
                counts[names.index(group)] += (c.tp, c.fp, c.fn, c.tn)
        c = pooled[name].counts
        told[name] = {
            "pixels": {"tp": c.tp, "fp": c.fp, "fn": c.fn, "tn": c.tn},
            **{
                measure: {
                    "value": getattr(pooled[name], measure),
                    "ci95": _interval(counts, measure, seed),
                }
                for measure in MEASURES
            },
        }
    return told


def _interval(counts: NDArray[np.int64], measure: str, seed: int) -> list[float] | None:
    """Bound a figure by drawing groups; None where they do not say."""
    from herscope.stats.case_bootstrap import bootstrap_interval

    if len(counts) < FEWEST_GROUPS:
        return None

    def statistic(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        tp, fp, fn, tn = np.moveaxis(counts[drawn].sum(axis=1), 1, 0).astype(np.float64)
        part, whole = {
            "iou": (tp, tp + fp + fn),
            "dice": (2 * tp, 2 * tp + fp + fn),
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
        }[measure]
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    try:
        bounds = bootstrap_interval(len(counts), statistic, seed=seed)
    except UndefinedStatistic:
        return None
    return [bounds.low, bounds.high]


def _row(stem: str, row: Mapping[str, Overlap]) -> dict[str, Any]:
    return {"patch": stem, **{f"dice_{name}": overlap.dice for name, overlap in row.items()}}


def _seen(model: Path, patches: PatchFolder) -> set[int]:
    """Which patches a model met before, by their pixels."""
    from herscope.core.store import read_json

    file = model / "history.json"
    if not file.is_file():
        return set()
    document = read_json(file)
    told = document.get("seen", {}) if isinstance(document, dict) else {}
    known = {digest for side in told.values() for digest in side} if told else set()
    return {i for i, digest in enumerate(patches.digests) if digest in known}
