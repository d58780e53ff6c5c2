"""Judge compartments by marked nuclei: the share of points that lie in the right compartment.

Where nobody drew compartments, points that say "epithelium" or "stroma" are a truth all the same
(EndoNuke, Naumov et al. 2022, has 210,000 of them). A point is right when the map at its place says
so; background, other or nothing is wrong. Points add over the patches; the interval draws slides or
patients. Epithelium counts as tumour: neither such points nor nests can tell one from the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope import __version__
from herscope.core.errors import InputError
from herscope.recipes.judging import (
    Measure,
    Numbers,
    differences,
    figures,
    ratio,
    seen_note,
    seen_patches,
)
from herscope.recipes.patch_fields import field_at

if TYPE_CHECKING:
    from herscope.nn.patches.marked import MarkedPatch, MarkedPatches
    from herscope.nn.runtime import Engine

SCHEMA: Final = "herscope.evaluation/1"
NESTS: Final = "nests"
TUMOR, STROMA, NEITHER = 0, 1, 2
CLASS_OF: Final = {"tumor": TUMOR, "tumour": TUMOR, "epithelium": TUMOR, "stroma": STROMA}
"""Classes of points that say a compartment; others are counted and not judged."""

COLUMNS: Final = tuple(
    f"{truth}_{called}"
    for truth in ("tumor", "stroma")
    for called in ("tumor", "stroma", "neither")
)
PER_PATCH: Final = ("right", "tumor_right", "stroma_right")

Codes = NDArray[np.uint8]
Caller = Callable[["MarkedPatch", int], Codes]
"""Patch and its place to (height, width) TUMOR, STROMA or NEITHER."""


def evaluate_points(
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
    """Compare compartments with marked nuclei.

    Parameters
    ----------
    models
        Folders or bare names of compartment models, and the word ``nests``.
    data
        Patch folder with ``points.csv``; classes tumor (or epithelium) and stroma are judged.
    mpp
        µm/px of patches whose folder states none.
    unseen
        Only patches that no model saw in training or validation.
    marker
        What was stained, for the nests: whether brown speaks for a nucleus.
    engine, threads
        How the models run.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        The document that ``herscope evaluate points --json`` prints.

    Raises
    ------
    InputError, SchemaError, ModelError, WrongInput
        Patches or models cannot be used, or do not fit each other.
    """
    from herscope.nn.patches.marked import read_marked_patches

    if not models:
        raise InputError("no model was named", hint="herscope evaluate points nests DATA")
    patches = read_marked_patches(data, kind="points", mpp=mpp)
    if not any(name in CLASS_OF for points in patches.points for name in points.classes):
        raise InputError(
            f"no point of {patches.root} says a compartment",
            hint=f"classes that do: {', '.join(sorted(CLASS_OF))}",
        )
    made = [make_caller(m, patches, marker=marker, engine=engine, threads=threads) for m in models]
    seen = [seen_patches(one.folder, patches.digests) if one.folder else set() for one in made]
    which = [i for i in range(len(patches)) if not (unseen and any(i in s for s in seen))]
    if not which:
        raise InputError(
            "the models have seen every one of these patches",
            hint="evaluate on other slides, or leave --unseen out",
        )
    groups = [patches.groups[i] for i in which]
    told: list[dict[str, Any]] = []
    rows, notes = [], [*patches.notes]
    for (name, call, about, _), known in zip(made, seen, strict=True):
        again = len(known & set(which))
        if again:
            notes.append(seen_note(name, again, len(which)))
        row = np.stack([_row(patch, call(patch, i)) for i in which for patch in [patches.load(i)]])
        rows.append(row)
        told.append(
            {
                "name": name,
                **about,
                "seen_patches": again,
                "counts": dict(zip(COLUMNS, row.sum(axis=0).astype(int).tolist(), strict=True)),
                "figures": figures(row, groups, MEASURES, seed),
                "patches": [
                    _told(patches.stems[i], group, one)
                    for i, group, one in zip(which, groups, row, strict=True)
                ],
            }
        )
    return {
        "schema": SCHEMA,
        "herscope": __version__,
        "task": "compartments",
        "truth": "points",
        "data": {**patches.describe(), "evaluated": len(which), "groups": len(set(groups))},
        "engine": engine,
        "models": told,
        "differences": [
            {
                "model": told[k]["name"],
                "less": told[0]["name"],
                "figures": differences(rows[k], rows[0], groups, MEASURES, seed),
            }
            for k in range(1, len(told))
        ],
        "notes": notes,
    }


def _right(*columns: int) -> Measure:
    """Make the share of right points among those of some truths; a truth has three columns."""

    def share(c: Numbers) -> Numbers:
        right = sum((c[..., 3 * k + k] for k in columns), np.zeros(c.shape[:-1]))
        every = sum((c[..., 3 * k : 3 * k + 3].sum(axis=-1) for k in columns), np.zeros(()))
        return ratio(np.asarray(right), np.asarray(every))

    return share


def _balanced(c: Numbers) -> Numbers:
    """Average the two shares: calling everything stroma gives a half, be there ever so much."""
    return np.asarray((_right(TUMOR)(c) + _right(STROMA)(c)) / 2)


MEASURES: Final[dict[str, Measure]] = {
    "right": _right(TUMOR, STROMA),
    "balanced": _balanced,
    "tumor_right": _right(TUMOR),
    "stroma_right": _right(STROMA),
}


def _row(patch: MarkedPatch, called: Codes) -> Numbers:
    counts = np.zeros((2, 3))
    height, width = called.shape
    x, y = np.minimum(patch.points.xy.astype(np.int64), [width - 1, height - 1]).T
    for name, code in zip(patch.points.classes, called[y, x].tolist(), strict=True):
        if name in CLASS_OF:
            counts[CLASS_OF[name], code] += 1
    return counts.ravel()


def _told(stem: str, group: str, row: Numbers) -> dict[str, Any]:
    one: dict[str, Any] = {"patch": stem, "group": group, "points": int(row.sum())}
    for name in PER_PATCH:
        value = float(MEASURES[name](row))
        one[name] = value if np.isfinite(value) else None
    return one


class NamedCaller(NamedTuple):
    """Something that calls compartments: its name, what a document says of it, its folder."""

    name: str
    call: Caller
    about: dict[str, Any]
    folder: Path | None


def make_caller(
    model: str | Path,
    patches: MarkedPatches,
    *,
    marker: str,
    engine: Engine,
    threads: int | None,
) -> NamedCaller:
    """Make what a word names: ``nests``, or the model of a folder or a bare name."""
    if str(model) == NESTS:
        return NamedCaller(NESTS, _by_nests(patches, marker), {"marker": marker}, None)
    from herscope.nn.model_file import find_model, read_model
    from herscope.nn.runtime import Runner

    folder = find_model(model)
    file = read_model(folder, task="compartments")
    card = file.card
    mpp = max(math.sqrt(card.input_mpp_finest * card.input_mpp_coarsest), float(patches.mpp))
    card.check_input(task="compartments", mpp=mpp)
    runner = Runner(file, engine=engine, threads=threads)
    about = {"network": card.network, "inputs": card.inputs, "sha256": card.sha256, "mpp": mpp}
    codes_of = [
        {"tumor": TUMOR, "stroma": STROMA}.get(name, NEITHER) for name in card.classes or []
    ]

    def call(patch: MarkedPatch, index: int) -> Codes:
        from herscope.nn.inputs import network_input
        from herscope.nn.windows import predict_map

        field = field_at(patch.rgb, float(patches.mpp), mpp, patches.stems[index])

        def read(y: int, x: int, height: int, width: int) -> NDArray[np.float32]:
            part = field.read(x, y, width, height)
            return network_input(part, card.inputs or "rgb", patch.white)

        found = predict_map(read, (field.grid.height_px, field.grid.width_px), runner)
        return field.enlarge(np.array(codes_of, np.uint8)[found]).astype(np.uint8)

    return NamedCaller(card.name, call, about, folder)


def _by_nests(patches: MarkedPatches, marker: str) -> Caller:
    from herscope.measure.markers import get_marker
    from herscope.segment.compartments import STROMA_CODE, TUMOR_CODE
    from herscope.segment.nests import NestSpec, find_nests, nest_mpp
    from herscope.stain.deconvolve import deconvolution_table
    from herscope.stain.vectors import RUIFROK_JOHNSTON

    spec, share = NestSpec(), get_marker(marker).nuclear_dab_share
    mpp = float(nest_mpp(float(patches.mpp), spec))

    def call(patch: MarkedPatch, index: int) -> Codes:
        field = field_at(patch.rgb, float(patches.mpp), mpp, patches.stems[index])
        table = deconvolution_table(RUIFROK_JOHNSTON, patch.white, nuclear_dab_share=share)
        tissue = np.ones((8, 8), np.bool_)  # a patch is cut from tissue
        nests = find_nests(field.read, field.grid, tissue, table, spec)
        cells = nests.codes.repeat(nests.cell_px, axis=0).repeat(nests.cell_px, axis=1)
        codes = np.full(cells.shape, NEITHER, np.uint8)
        codes[cells == TUMOR_CODE] = TUMOR
        codes[cells == STROMA_CODE] = STROMA
        inside = codes[: field.grid.height_px, : field.grid.width_px]
        return field.enlarge(inside).astype(np.uint8)

    return call
