"""How sure a membrane reading is: intervals of the percentages, probability of each HER2 score.

Two questions are kept apart. *Sampling*: another part of the same tissue might have been on the
glass. That is the spatial block bootstrap of :mod:`herscope.stats.resampling`, with every setting
as it is. *Settings*: the cut-offs, the stain vectors and the share that makes a membrane complete
are conventions or estimates, and might have been a little different. They are drawn anew in each
resample (:mod:`herscope.score.her2.settings_drawn`), and the cells classified again. The guideline
then reads every resample; the share of resamples with a score is that score's probability.

Departures. The AutoIHC paper gives no uncertainty of a slide's class. The widths of the settings
are assumptions of ours, stated as parameters; a laboratory should replace them by its own. It is a
probability under those assumptions, not a frequency of being right: errors of segmentation, of the
focus and of the tissue's processing are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError
from herscope.guidelines.her2_gastric import CLUSTER_CELLS
from herscope.guidelines.her2_reading import Her2Floors, Her2Reading
from herscope.measure.completeness import (
    NOT_EVALUABLE,
    SECTORS,
    CompletenessSpec,
    Sectors,
    classify,
)
from herscope.score.her2.clusters import ClusterSpec
from herscope.score.her2.probability import (
    CLUSTERS_READ,
    SCORES,
    borderline_why,
    score_probability,
    unscored,
)
from herscope.score.her2.settings_drawn import Her2UncertaintySpec, draw_settings
from herscope.score.her2.settings_grid import Kinds, cluster_size, kind_of, levels, neighbours
from herscope.score.result import Ci95
from herscope.stain.vectors import StainVectors
from herscope.stats.bootstrap import bounds, expanded_tail, resampled_cells, resampled_sums
from herscope.stats.resampling import (
    Interval,
    ResamplingSpec,
    choose_blocks,
    spatial_intervals,
)

__all__ = ["Her2Uncertainty", "Her2UncertaintySpec", "her2_uncertainty"]

PCMS: Final = "pcms"
COMPLETE: Final = ("complete_intense", "complete_moderate", "complete_weak")


@dataclass(frozen=True, slots=True)
class Her2Uncertainty:
    """How sure the percentages and the score are.

    Parameters
    ----------
    ci95
        Sampling interval of every percentage of the ``membrane`` block, by its key; empty without
        an evaluable cell. The level is that of the resampling.
    ci95_settings
        The same with the settings varied too; never narrower.
    method
        How the intervals were made, in one sentence.
    probability
        Share of resamples with each score; the scores of the guideline, in order, and
        ``indeterminate`` when nothing could be scored. None without a guideline or a cell.
    probability_method
        How, in one sentence; empty without.
    borderline
        Whether the case should be read a second time.
    borderline_why
        Why; empty when it is not.
    """

    ci95: dict[str, Ci95]
    ci95_settings: dict[str, Ci95]
    method: str
    probability: dict[str, float] | None
    probability_method: str
    borderline: bool
    borderline_why: str


def her2_uncertainty(
    x_um: ArrayLike,
    y_um: ArrayLike,
    sectors: Sectors,
    *,
    marker: str,
    cuts_milli: Sequence[int],
    vectors: StainVectors,
    completeness: CompletenessSpec,
    clusters: ClusterSpec,
    floors: Her2Floors,
    resampling: ResamplingSpec,
    spec: Her2UncertaintySpec,
    reading: Her2Reading | None,
) -> Her2Uncertainty:
    """Find intervals of the percentages and probabilities of the scores.

    Parameters
    ----------
    x_um, y_um
        (cells,) centres in µm from the slide's corner.
    sectors
        (cells, 32) membrane DAB by direction in milli-OD; cells of one compartment, in any order.
    marker
        ``her2-breast`` and so on; a marker that no HER2 guideline reads has intervals only.
    cuts_milli
        Three rising cut-offs in milli-OD, as used.
    vectors
        Stain vectors, as used.
    completeness, clusters, floors, resampling
        As used for the reading.
    spec
        What is varied, and by how much.
    reading
        The guideline's reading of these cells; None when there is none.

    Raises
    ------
    InputError
        The arrays disagree in length, a position is not finite, there are not three rising
        cut-offs, or the reading is of another marker.

    Examples
    --------
    >>> from herscope.stain.vectors import RUIFROK_JOHNSTON
    >>> x, y = (20.0 * axis.ravel() for axis in np.indices((20, 20)))
    >>> sectors = np.zeros((400, 32), np.int16)
    >>> sectors[::3] = 900
    >>> found = her2_uncertainty(
    ...     x, y, sectors, marker="membrane", cuts_milli=(200, 400, 600), vectors=RUIFROK_JOHNSTON,
    ...     completeness=CompletenessSpec(), clusters=ClusterSpec(), floors=Her2Floors(),
    ...     resampling=ResamplingSpec(), spec=Her2UncertaintySpec(), reading=None)
    >>> low, high = found.ci95["complete_intense_percent"]
    >>> low < 100 / 3 < high, found.probability
    (True, None)
    """
    x, y, values = _checked(x_um, y_um, sectors, cuts_milli)
    if reading is not None and reading.marker != marker:
        raise InputError(
            f"the reading is of {reading.marker}, the cells of {marker}", hint="read these cells"
        )
    classes = classify(values, cuts_milli, completeness)
    evaluable = classes.code != NOT_EVALUABLE
    if not evaluable.any():
        return Her2Uncertainty({}, {}, "no evaluable cell, so no interval", None, "", False, "")
    x, y, values = x[evaluable], y[evaluable], values[evaluable]
    block, blocks, _ = choose_blocks(x, y, resampling)
    drawn = draw_settings(vectors, spec, resampling.n_resamples)
    kinds, walk = levels(values, cuts_milli, block, blocks, completeness, drawn)
    wanted = () if reading is None or unscored(reading) else CLUSTERS_READ.get(marker, ())
    pairs = neighbours(x, y, clusters) if wanted else None
    enough = max(floors.intense_cluster_cells, CLUSTER_CELLS)

    sums = np.empty((resampling.n_resamples, len(kinds.keys)))
    sizes = {name: np.zeros(resampling.n_resamples, np.int64) for name in wanted}
    for level in walk:
        shares = [s for s, who in enumerate(level.resamples) if who.size]
        redrawn = _resampled([level.tables[s] for s in shares], blocks, resampling)
        for s, cells in zip(shares, redrawn, strict=True):
            who = level.resamples[s]
            sums[who] = cells[who]
            for name, size in sizes.items():
                assert pairs is not None
                size[who] = cluster_size(pairs, level.kind[s], kinds.members[name], enough)

    weights = _weights(kinds)
    nominal = kind_of(classes, kinds)[evaluable]
    sampling = spatial_intervals(x, y, nominal, weights, resampling)
    units = blocks if blocks >= resampling.min_blocks else len(x)
    probability = None if reading is None else _probability(reading, sums, kinds, sizes, floors)
    why = borderline_why(reading, probability, spec) if reading and probability else ""
    return Her2Uncertainty(
        ci95={name: (one.low, one.high) for name, one in sampling.items()},
        ci95_settings=_with_settings(sampling, sums, weights, units, resampling.level),
        method=_method(sampling, spec),
        probability=probability,
        probability_method=_probability_method(reading, resampling, spec),
        borderline=bool(why),
        borderline_why=why,
    )


def _checked(
    x_um: ArrayLike, y_um: ArrayLike, sectors: Sectors, cuts_milli: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Sectors]:
    x, y, values = np.asarray(x_um, np.float64), np.asarray(y_um, np.float64), np.asarray(sectors)
    if x.ndim != 1 or y.shape != x.shape or values.shape != (len(x), SECTORS):
        raise InputError(
            f"positions have the shapes {x.shape} and {y.shape}, sectors {values.shape}",
            hint=f"give one x, one y and {SECTORS} sectors per cell",
        )
    if values.dtype != np.int16:
        raise InputError(
            f"sectors have the type {values.dtype}", hint="they are whole milli-OD, int16"
        )
    cuts = list(cuts_milli)
    if len(cuts) != 3 or not 0 < cuts[0] < cuts[1] < cuts[2]:
        raise InputError(f"cut-offs are {cuts!r}", hint="give three rising ones in milli-OD")
    return x, y, values


def _resampled(
    tables: list[NDArray[np.int64]], blocks: int, spec: ResamplingSpec
) -> list[NDArray[np.float64]]:
    """(resamples, kinds) for each table, all from the same draws, which are those of ``ci95``."""
    if blocks >= spec.min_blocks:
        generator = np.random.Generator(np.random.PCG64(spec.seed))
        sums = resampled_sums(np.concatenate(tables, axis=1), spec.n_resamples, generator)
        return np.split(sums, len(tables), axis=1)
    return [
        resampled_cells(
            table.sum(axis=0), spec.n_resamples, np.random.Generator(np.random.PCG64(spec.seed))
        )
        for table in tables
    ]


def _weights(kinds: Kinds) -> dict[str, NDArray[np.float64]]:
    """Return what a cell of each kind adds to each percentage, 0 or 100."""
    counts = dict(zip(kinds.names, kinds.counts.T.astype(np.float64), strict=True))
    counts[PCMS] = np.zeros(len(kinds.keys))
    for name in COMPLETE:
        counts[PCMS] += counts[name]
    return {f"{name}_percent": 100 * each for name, each in counts.items()}


def _with_settings(
    sampling: Mapping[str, Interval],
    sums: NDArray[np.float64],
    weights: Mapping[str, NDArray[np.float64]],
    units: int,
    level: float,
) -> dict[str, Ci95]:
    tail = expanded_tail(level, max(units, 2))
    out = {}
    for name, plain in sampling.items():
        # Settings that shift every cell the same way may narrow the percentiles (a share that
        # saturates at 0 or 100 %); more doubt must not print as less.
        low, high = bounds(sums, weights[name], tail)
        out[name] = (min(low, plain.low), max(high, plain.high))
    return out


def _probability(
    reading: Her2Reading,
    sums: NDArray[np.float64],
    kinds: Kinds,
    sizes: Mapping[str, NDArray[np.int64]],
    floors: Her2Floors,
) -> dict[str, float]:
    if unscored(reading):
        return dict.fromkeys(SCORES[reading.marker], 0.0) | {reading.score: 1.0}
    cells = np.rint(sums).astype(np.int64) @ kinds.counts
    counts = dict(zip(kinds.names, cells.T, strict=True))
    return score_probability(reading.marker, counts, sizes, floors)


def _varied(spec: Her2UncertaintySpec) -> str:
    return (
        f"the cut-offs (a common factor, SD {100 * spec.cut_sd:g} %), the stain vectors "
        f"(SD {spec.vectors_sd_deg:g}° each) and the share of a complete membrane "
        f"(SD {spec.complete_share_sd:g})"
    )


def _method(sampling: Mapping[str, Interval], spec: Her2UncertaintySpec) -> str:
    methods = {one.method for one in sampling.values()}
    drawn = sorted(how for how in methods if "bootstrap" in how)
    how = drawn[0] if drawn else min(methods)
    if drawn and len(methods) > 1:
        how += "; Wilson score bound for 0 % and 100 %"
    return f"{how}; with settings: {_varied(spec)} drawn anew in each resample"


def _probability_method(
    reading: Her2Reading | None, resampling: ResamplingSpec, spec: Her2UncertaintySpec
) -> str:
    if reading is None:
        return ""
    if unscored(reading):
        return "nothing was scored, so nothing was varied"
    whole = ", clusters of cells counted on all cells," if reading.marker in CLUSTERS_READ else ","
    return (
        f"share of {resampling.n_resamples} resamples of the tissue that the guideline gives each "
        f"score{whole} with {_varied(spec)} drawn anew in each; the widths are assumptions of ours"
    )
