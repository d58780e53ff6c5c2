"""Judge H-score models, and the formula, on patches with known H-scores: AutoIHC's Figure 4.

AutoIHC compares by a mean percentage error. That is told here with what it cannot judge (patches
with H = 0) and with the error in points, bias, limits of agreement, rank correlation and
concordance. The formula (Eq. 1) stands in the same table, unless it made the truth itself. Without
any model the formula alone is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope import __version__
from herscope.core.errors import InputError

if TYPE_CHECKING:
    from herscope.measure.intensity import Cuts
    from herscope.nn.model_file import ModelFile
    from herscope.nn.patches.hscores import HscorePatches, TargetCompartment
    from herscope.nn.runtime import Engine

SCHEMA = "herscope.evaluation/1"
FORMULA = "formula"
OF_FORMULA = (
    "the truth is the formula's own value (no hscores.csv): the models are judged by how well they "
    "copy it, and the formula has no row"
)


class _Estimator(NamedTuple):
    name: str
    about: dict[str, Any]
    seen: int
    values: NDArray[np.float64]


def evaluate_hscore(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    mpp: float | None = None,
    compartment: TargetCompartment | None = None,
    cuts: Cuts | None = None,
    unseen: bool = False,
    engine: Engine = "onnx",
    threads: int | None = None,
    seed: int = 20_260,
) -> dict[str, Any]:
    """Compare H-score models and the formula with the truth of a folder.

    Parameters
    ----------
    models
        Folders or names of models; ``formula``, or none, where readers gave H-scores.
    data
        A folder (:mod:`herscope.nn.patches.hscores`).
    mpp
        µm/px of patches whose folder states none.
    compartment
        ``tumor`` or ``stroma`` when the masks are compartment masks.
    cuts
        Cut-offs of the formula; 0.2, 0.4, 0.6 when None.
    unseen
        Only patches that no model saw in training or validation.
    engine, threads
        How the models run: ``onnx`` or ``openvino``.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        The document that ``herscope evaluate hscore --json`` prints.

    Raises
    ------
    InputError, SchemaError, ModelError, WrongInput
        Patches or models cannot be used, or do not fit each other.
    """
    from herscope.core.study import build
    from herscope.measure.intensity import GradeSpec
    from herscope.nn.model_file import find_model, read_model
    from herscope.nn.patches.hscores import read_hscore_patches
    from herscope.recipes.hscore_figures import comparisons, hscore_figures
    from herscope.recipes.hscore_formula import formula_h_scores
    from herscope.recipes.judging import seen_note, seen_patches

    grading = GradeSpec() if cuts is None else build(GradeSpec, {"cuts": cuts}, where="--cuts")
    folders = [find_model(model) for model in models if str(model) != FORMULA]
    files = [read_model(folder) for folder in folders]
    patches = read_hscore_patches(data, mpp=mpp, compartment=compartment)
    for file in files:
        file.card.check_input(task="hscore", mpp=float(patches.mpp))
    seen = [seen_patches(folder, patches.digests) for folder in folders]
    which = [i for i in range(len(patches)) if not (unseen and any(i in s for s in seen))]
    if not which:
        raise InputError(
            "the models have seen every one of these patches",
            hint="evaluate on other slides, or leave --unseen out",
        )
    notes = [*patches.notes]
    formula = formula_h_scores(patches, grading)
    rows: list[_Estimator] = []
    if patches.h_scores is None:
        patches = replace(patches, h_scores=formula)
        notes.append(OF_FORMULA)
    else:
        about: dict[str, Any] = {
            "network": None,
            "inputs": None,
            "sha256": None,
            "cuts": list(grading.values),
        }
        rows.append(_Estimator(FORMULA, about, 0, formula[which]))
    if not (files or rows):
        raise InputError(
            "no model was named, and without hscores.csv the formula is the truth",
            hint="herscope evaluate hscore MODEL DATA",
        )
    for file, known in zip(files, seen, strict=True):
        again = len(known & set(which))
        if again:
            notes.append(seen_note(file.card.name, again, len(which)))
        name = _unique(file.card.name, [row.name for row in rows])
        about = {
            "network": file.card.network,
            "inputs": file.card.inputs,
            "sha256": file.card.sha256,
            "cuts": None,
        }
        rows.append(_Estimator(name, about, again, _predict(file, patches, which, engine, threads)))
    truth = patches.known()[which]
    groups = [patches.groups[i] for i in which]
    return {
        "schema": SCHEMA,
        "herscope": __version__,
        "task": "hscore",
        "data": {
            **patches.describe(),
            "evaluated": len(which),
            "evaluated_groups": len(set(groups)),
        },
        "engine": engine,
        "models": [
            {
                "name": row.name,
                **row.about,
                "seen_patches": row.seen,
                "figures": hscore_figures(row.values, truth, groups, seed),
            }
            for row in rows
        ],
        "comparisons": comparisons({row.name: row.values for row in rows}, truth, groups),
        "patches": [
            {
                "patch": patches.stems[i],
                "group": patches.groups[i],
                "target_px": int(patches.target_px[i]),
                "truth": float(truth[k]),
                **{row.name: round(float(row.values[k]), 4) for row in rows},
            }
            for k, i in enumerate(which)
        ],
        "notes": notes,
    }


def _predict(
    file: ModelFile,
    patches: HscorePatches,
    which: Sequence[int],
    engine: Engine,
    threads: int | None,
) -> NDArray[np.float64]:
    from herscope.nn.hscore_predict import predict_h_scores

    return predict_h_scores(
        file,
        (patches.load(i) for i in which),
        mpp=float(patches.mpp),
        engine=engine,
        threads=threads,
    )


def _unique(name: str, taken: Sequence[str]) -> str:
    """Tell two models of one name apart: ours, ours (2)."""
    number, found = 1, name
    while found in taken or found in {"patch", "group", "target_px", "truth"}:
        number += 1
        found = f"{name} ({number})"
    return found
