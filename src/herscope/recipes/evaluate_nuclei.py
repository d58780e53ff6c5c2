"""Judge how nuclei are found on patches: the figures of AutoIHC's Figure 4, and those of instances.

Detection (F1, precision, recall), AJI, AJI+, panoptic quality, foreground Dice, IoU and accuracy,
and the error of the count. Counts are added over the patches before a figure is made; the interval
draws slides or patients. The classical method is one of the "models", and every model is compared
with the first one on the same patches. What the folder holds decides which figures there are:
``instances/``, ``points.csv``, or ``masks/`` (:mod:`herscope.recipes.nucleus_counts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope import __version__
from herscope.core.errors import InputError
from herscope.recipes.judging import (
    Numbers,
    differences,
    figures,
    seen_note,
    seen_patches,
)
from herscope.recipes.nucleus_counts import (
    FOREGROUND_COLUMNS,
    INSTANCE_COLUMNS,
    RADIUS_UM,
    Labels,
    foreground_row,
    instance_row,
    measures,
    point_columns,
    point_row,
)
from herscope.recipes.nucleus_finders import Finder, make_finder
from herscope.slide.protocol import Rgb

if TYPE_CHECKING:
    from herscope.nn.patches.marked import MarkedPatches
    from herscope.nn.patches.nuclei import NucleusPatches
    from herscope.nn.runtime import Engine

SCHEMA: Final = "herscope.evaluation/1"
PER_PATCH: Final = ("f1", "aji", "aji_plus", "pq", "dice", "iou", "accuracy")

Judge = Callable[[int, Labels], Numbers]
Load = Callable[[int], Rgb]


def evaluate_nuclei(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    mpp: float | None = None,
    unseen: bool = False,
    marker: str = "nuclear",
    engine: Engine = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
) -> dict[str, Any]:
    """Compare ways to find nuclei with a folder of patches.

    Parameters
    ----------
    models
        Model folders, bare names of models, and the word ``classical``.
    data
        Patch folder with ``instances/``, ``points.csv`` or ``masks/``.
    mpp
        µm/px of patches whose folder states none.
    unseen
        Only patches that no model saw in training or validation.
    marker
        What was stained, for the classical method: whether brown speaks for a nucleus.
    engine, threads
        How the models run: ``onnx`` or ``openvino``.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        The document that ``herscope evaluate nuclei --json`` prints.

    Raises
    ------
    InputError, SchemaError, ModelError, WrongInput
        Patches or models cannot be used, or do not fit each other.
    """
    if not models:
        raise InputError("no model was named", hint="herscope evaluate nuclei classical DATA")
    patches = read_judged(data, mpp=mpp)
    made = [make_finder(m, patches, marker=marker, engine=engine, threads=threads) for m in models]
    seen = [seen_patches(folder, patches.digests) if folder else set() for _, folder in made]
    which = [i for i in range(len(patches)) if not (unseen and any(i in s for s in seen))]
    if not which:
        raise InputError(
            "the models have seen every one of these patches",
            hint="evaluate on other slides, or leave --unseen out",
        )
    truth, columns, judge, load = _judge(patches)
    told, rows, notes = [], [], [*patches.notes]
    groups = [patches.groups[i] for i in which]
    made_of = measures(columns)
    for (finder, _), known in zip(made, seen, strict=True):
        again = len(known & set(which))
        if again:
            notes.append(seen_note(finder.name, again, len(which)))
        row = _rows(finder, which, judge, load)
        rows.append(row)
        sums = zip(columns, row.sum(axis=0).tolist(), strict=True)
        told.append(
            {
                "name": finder.name,
                **finder.describe(),
                "seen_patches": again,
                "counts": {k: int(v) if v == int(v) else v for k, v in sums},
                "figures": figures(row, groups, made_of, seed),
                "patches": _each(patches.stems, groups, which, row, columns),
            }
        )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "task": "nuclei",
        "truth": truth,
        "data": {**patches.describe(), "evaluated": len(which), "groups": len(set(groups))},
        "engine": engine,
        "models": told,
        "differences": [
            {
                "model": told[k]["name"],
                "less": told[0]["name"],
                "figures": differences(rows[k], rows[0], groups, made_of, seed),
            }
            for k in range(1, len(told))
        ],
        "notes": notes,
    }
    if truth == "points":
        document["radius_um"] = RADIUS_UM
    return document


def read_judged(data: str | Path, *, mpp: float | None = None) -> NucleusPatches | MarkedPatches:
    """Read a patch folder by what it holds: instances, else points, else masks.

    Raises
    ------
    InputError, SchemaError
        It holds none of them, or they cannot be used.
    """
    from herscope.nn.patches.marked import MASKS, POINTS_FILE, read_marked_patches
    from herscope.nn.patches.nuclei import is_nucleus_folder, read_nucleus_patches

    folder = Path(data)
    if is_nucleus_folder(folder):
        return read_nucleus_patches(folder, mpp=mpp)
    if (folder / POINTS_FILE).is_file() or (folder / MASKS).is_dir():
        return read_marked_patches(folder, mpp=mpp)
    raise InputError(
        f"{folder} holds no instances/, no {POINTS_FILE} and no {MASKS}/",
        hint="a folder of patches has images/ and one of them",
    )


def _judge(patches: NucleusPatches | MarkedPatches) -> tuple[str, tuple[str, ...], Judge, Load]:
    """Choose what is counted: kind of truth, columns, the row of a patch, its pixels."""
    from herscope.nn.patches.marked import MarkedPatches

    if not isinstance(patches, MarkedPatches):
        outlined = patches
        return (
            "instances",
            INSTANCE_COLUMNS,
            lambda i, found: instance_row(outlined.load(i).instances, found),
            lambda i: outlined.load(i).rgb,
        )
    marked = patches
    if marked.kind == "foreground":
        return (
            "foreground",
            FOREGROUND_COLUMNS,
            lambda i, found: foreground_row(marked.load(i).truth, found > 0),
            lambda i: marked.load(i).rgb,
        )
    classes = sorted({name for points in marked.points for name in points.classes})

    def points(i: int, found: Labels) -> Numbers:
        patch = marked.load(i)
        return point_row(patch.points, patch.truth, found, float(marked.mpp), classes)

    return "points", point_columns(classes), points, lambda i: marked.load(i).rgb


def _rows(finder: Finder, which: Sequence[int], judge: Judge, load: Load) -> Numbers:
    return np.stack([judge(i, finder.find(i, load(i))) for i in which])


def _each(
    stems: Sequence[str],
    groups: Sequence[str],
    which: Sequence[int],
    rows: Numbers,
    columns: Sequence[str],
) -> list[dict[str, Any]]:
    made_of = measures(columns)
    told = []
    for i, group, row in zip(which, groups, rows, strict=True):
        counts = dict(zip(columns, row.tolist(), strict=True))
        one: dict[str, Any] = {"patch": stems[i], "group": group}
        if "true" in counts:
            one |= {"true": int(counts["true"]), "found": int(counts["found"])}
            one["tp"] = int(counts["tp_50"])
        for name in PER_PATCH:
            if name in made_of:
                value = float(made_of[name](row))
                one[name] = value if np.isfinite(value) else None
        told.append(one)
    return told
