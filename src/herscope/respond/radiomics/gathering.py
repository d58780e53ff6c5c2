"""Texture of a region: counts gathered over slices and directions, then turned into features.

IBSI's ways of putting counts together:

=========== =========================================================================
2D_avg      a matrix for every slice and direction; features averaged
2D_comb     directions of a slice summed; features averaged over slices
2_5D_avg    slices summed for every direction; features averaged over directions
2_5D_comb   everything summed, steps inside slices only
3D_avg      steps in the volume, a matrix for every direction; features averaged
3D_comb     steps in the volume, everything summed
=========== =========================================================================

Families without directions know 2D (by slice, averaged), 2_5D (slices summed) and 3D.
An average is over the matrices that determine the feature; where none does, there is no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.radiomics.cooccurrence import cooccurrence_features
from herscope.respond.radiomics.directions import directions
from herscope.respond.radiomics.emphasis import emphasis_features
from herscope.respond.radiomics.neighbour_counts import neighbours
from herscope.respond.radiomics.neighbour_difference import difference_features
from herscope.respond.radiomics.pair_counts import cooccurrences, runs
from herscope.respond.radiomics.zone_counts import border_steps, tally, zones

Counts = NDArray[np.int64]
Values = dict[str, float | None]

STACK_CELLS: Final = 4_000_000
"""Matrices are turned into features in stacks of at most this many cells: 32 MB a step."""


def dimension(aggregation: str) -> str:
    """Return the part of an aggregation that families without directions know.

    >>> dimension("2_5D_comb")
    '2_5D'
    """
    return aggregation.rsplit("_", 1)[0]


def direction_textures(
    levels: NDArray[np.int32], top: int, aggregations: Iterable[str], classes: Iterable[str]
) -> Values:
    """Compute GLCM and GLRLM features.

    Parameters
    ----------
    levels
        ``(z, y, x)``: 0 outside the region, grey levels 1 to ``top`` inside.
    top
        Number of grey levels.
    aggregations
        Any of the six names above.
    classes
        ``cooccurrence``, ``run_length``; others are ignored.

    Returns
    -------
    dict
        ``cm_..`` and ``rlm_..`` names with the aggregation; None where nothing determines one.
    """
    wanted = list(aggregations)
    out: Values = {}
    for flat in (True, False):
        here = [name for name in wanted if name.startswith("2") == flat]
        if not here:
            continue
        steps = directions(flat=flat)
        by_slice = any(name.startswith("2D") for name in here)
        voxels = _voxels(levels, by_slice=by_slice)
        if "cooccurrence" in classes:
            pairs = cooccurrences(levels, steps, top, by_slice)
            for name in here:
                stack, number = _gather(pairs, voxels, name)
                out |= _averaged("cm", name, stack, number, _of_pairs)
        if "run_length" in classes:
            table = runs(levels, steps, top, by_slice)
            lengths = np.arange(1, table.shape[-1] + 1)
            for name in here:
                stack, number = _gather(table, voxels, name)
                compute = partial(emphasis_features, extents=lengths, family="rlm")
                out |= _averaged("rlm", name, stack, number, compute)
    return out


def neighbourhood_textures(
    levels: NDArray[np.int32],
    mask: NDArray[np.bool_],
    top: int,
    dimensions: Iterable[str],
    classes: Iterable[str],
) -> Values:
    """Compute GLSZM, GLDZM, NGTDM and NGLDM features.

    Parameters
    ----------
    levels
        As for :func:`direction_textures`.
    mask
        ``(z, y, x)``, the region before resegmentation: distances are to its border.
    top
        Number of grey levels.
    dimensions
        Of ``2D``, ``2_5D``, ``3D``.
    classes
        ``size_zone``, ``distance_zone``, ``neighbour_difference``, ``neighbour_dependence``.

    Returns
    -------
    dict
        ``szm_..``, ``dzm_..``, ``ngt_..`` and ``ngl_..`` names with the dimension.
    """
    out: Values = {}
    for name in dimensions:
        flat, by_slice = name != "3D", name == "2D"
        voxels = _voxels(levels, by_slice=by_slice)
        if "size_zone" in classes or "distance_zone" in classes:
            place, level, size, distance = zones(levels, border_steps(mask, flat), flat)
            place = place if by_slice else np.zeros_like(place)
            for family, extent in (("szm", size), ("dzm", distance)):
                if ("size_zone" if family == "szm" else "distance_zone") in classes:
                    extents, column = np.unique(extent, return_inverse=True)
                    table = tally(place, level, column, len(voxels), top, len(extents))
                    compute = partial(emphasis_features, extents=extents, family=family)
                    out |= _averaged(family, name, table, voxels, compute)
        if "neighbour_difference" in classes or "neighbour_dependence" in classes:
            around, apart, alike = neighbours(levels, top, flat, by_slice)
            if "neighbour_difference" in classes:
                out |= _means("ngt", name, difference_features(around, apart))
            if "neighbour_dependence" in classes:
                extents = np.arange(1, alike.shape[-1] + 1)  # a voxel is alike to itself
                compute = partial(emphasis_features, extents=extents, family="ngl")
                out |= _averaged("ngl", name, alike, voxels, compute)
    return out


def _of_pairs(counts: Counts, _: Counts) -> dict[str, NDArray[np.float64]]:
    return cooccurrence_features(counts)


def _voxels(levels: NDArray[np.int32], *, by_slice: bool) -> Counts:
    """Voxels of the region: of each slice, or of all as one number."""
    number = np.count_nonzero(levels, axis=(1, 2)).astype(np.int64)
    return number if by_slice else number.sum(keepdims=True)


def _gather(counts: Counts, voxels: Counts, aggregation: str) -> tuple[Counts, Counts]:
    """Sum (slices, directions, g, c) as an aggregation says; (m, g, c) and voxels (m,)."""
    steps = counts.shape[1]
    if not aggregation.startswith("2D"):
        counts, voxels = counts.sum(axis=0, keepdims=True), voxels.sum(keepdims=True)
    if aggregation.endswith("comb"):
        return counts.sum(axis=1), voxels * steps
    return counts.reshape(-1, *counts.shape[2:]), np.repeat(voxels, steps)


def _averaged(
    family: str,
    aggregation: str,
    stack: Counts,
    voxels: Counts,
    compute: Callable[[Counts, Counts], dict[str, NDArray[np.float64]]],
) -> Values:
    """Turn a stack of tables into features, a part at a time, and average."""
    rows = max(1, STACK_CELLS // (stack.shape[1] * stack.shape[2]))
    parts = [compute(stack[k : k + rows], voxels[k : k + rows]) for k in range(0, len(stack), rows)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _means(family, aggregation, joined)


def _means(family: str, aggregation: str, values: dict[str, NDArray[np.float64]]) -> Values:
    """Average what is determined; None where nothing is."""
    out: Values = {}
    for name, of in values.items():
        known = of[np.isfinite(of)]
        out[f"{family}_{name}_{aggregation}"] = float(known.mean()) if known.size else None
    return out
