"""From measured membranes to the ``membrane`` and ``her2`` parts of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from herscope.guidelines.her2_reading import Her2Reading
from herscope.guidelines.membrane_percent import BASOLATERAL, CLASSES
from herscope.measure.completeness import (
    NOT_EVALUABLE,
    Completeness,
    MembraneClasses,
    class_counts,
    classify_counts,
    count_sectors,
    u_shaped,
)
from herscope.score.her2.clusters import largest_clusters
from herscope.score.her2.reading import read_her2
from herscope.score.her2.uncertainty import Her2Uncertainty, her2_uncertainty
from herscope.score.result import CompartmentName, Her2, Her2Alternative, Her2Overlay, Membrane

if TYPE_CHECKING:
    from herscope.score.block import Cells
    from herscope.score.plan import SlidePlan
    from herscope.score.spec import ScoreSpec


@dataclass(frozen=True, slots=True)
class MembraneRead:
    """What the membranes of one compartment say.

    ``borderline_why`` is empty when the score is clear; ``cytoplasm_share`` is how brown the
    cytoplasm of a stained cell is, as a share of its membrane's whole density (None without any).
    """

    membrane: Membrane
    her2: Her2 | None
    borderline_why: str
    cytoplasm_share: float | None


def cuts_milli(spec: ScoreSpec) -> tuple[int, int, int]:
    """Cut-offs between the grades in milli-OD."""
    low, middle, high = spec.grading.bins
    return 10 * low, 10 * middle, 10 * high


def classify_cells(spec: ScoreSpec, cells: Cells) -> tuple[MembraneClasses, Completeness]:
    """Put every cell into its class, with the counted sectors behind it."""
    cuts = cuts_milli(spec)
    counts = count_sectors(cells.sectors, cuts)
    shaped = u_shaped(cells.sectors, cuts[0], spec.completeness)
    return classify_counts(counts, shaped, spec.completeness), counts


def read_membranes(
    plan: SlidePlan,
    cells: Cells,
    where: CompartmentName,
    mine: NDArray[np.bool_],
    h_score: float | None,
) -> MembraneRead:
    """Read the membranes of one compartment.

    Parameters
    ----------
    plan
        The slide's plan.
    cells
        All cells.
    where, mine
        The compartment, and its cells.
    h_score
        Its H-score, for the mapping that stands beside the rule.
    """
    spec, marker = plan.spec, plan.marker
    classes, counts = classify_cells(spec, cells)
    blind = classes.code == NOT_EVALUABLE
    unseen, mine = int((mine & blind).sum()), mine & ~blind
    grid, info = plan.grid, plan.info
    x, y = cells.x[mine] * grid.scale_x * info.mpp_x, cells.y[mine] * grid.scale_y * info.mpp_y
    own = MembraneClasses(classes.code[mine], classes.grade[mine], classes.u_grade[mine])
    found = class_counts(own)
    clusters = largest_clusters(x, y, own, spec.clusters)
    reading = read_her2(marker.name, found, clusters, spec.her2) if marker.her2 else None
    unsure = her2_uncertainty(
        x,
        y,
        cells.sectors[mine],
        marker=marker.name,
        cuts_milli=cuts_milli(spec),
        vectors=spec.stain.vectors(),
        completeness=spec.completeness,
        clusters=spec.clusters,
        floors=spec.her2,
        resampling=spec.uncertainty,
        spec=spec.her2_uncertainty,
        reading=reading,
    )
    membrane = Membrane(
        compartment=where,
        cells=int(mine.sum()),
        not_evaluable=unseen,
        without_nucleus=int(cells.by_rim[mine].sum()),
        counts=found,
        **_percentages(found),
        mean_completeness_percent=_means(counts.shares()[mine]),
        largest_intense_cluster=clusters["complete_intense"],
        largest_clusters=clusters,
        ci95=_rounded(unsure.ci95),
        ci95_settings=_rounded(unsure.ci95_settings),
        ci95_method=unsure.method,
        shares=spec.completeness.model_dump(),
    )
    her2 = None
    if reading is not None:
        her2 = _her2(reading, unsure, _alternative(spec, h_score, membrane))
    share = _cytoplasm_share(cells, mine & (classes.grade > 0))
    return MembraneRead(membrane, her2, unsure.borderline_why, share)


def _cytoplasm_share(cells: Cells, stained: NDArray[np.bool_]) -> float | None:
    """Median of cytoplasm / (cytoplasm + membrane above it) over stained cells."""
    if not stained.any():
        return None
    inner, above = cells.cytoplasm_od[stained], cells.od[stained]
    return float(np.median(inner / np.maximum(inner + above, 1e-3)))


def _percentages(counts: dict[str, int]) -> dict[str, float | None]:
    total = sum(counts[name] for name in CLASSES)

    def percent(number: int) -> float | None:
        return round(100 * number / total, 4) if total else None

    found = {f"{name}_percent": percent(counts[name]) for name in (*CLASSES, *BASOLATERAL)}
    return found | {"pcms_percent": percent(sum(counts[name] for name in CLASSES[:3]))}


def _means(shares: NDArray[np.float32]) -> tuple[float, float, float] | None:
    if len(shares) == 0:
        return None
    low, middle, high = (round(float(value), 4) for value in 100 * shares.mean(0, np.float64))
    return low, middle, high


def _rounded(intervals: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in intervals.items()}


def _alternative(
    spec: ScoreSpec, h_score: float | None, membrane: Membrane
) -> Her2Alternative | None:
    pcms = membrane.pcms_percent
    if spec.mapping is None or h_score is None or pcms is None:
        return None
    return spec.mapping.alternative(h_score, pcms)


def _her2(
    reading: Her2Reading, unsure: Her2Uncertainty, alternative: Her2Alternative | None
) -> Her2:
    block = reading.as_block()
    overlay = block["overlay"]
    block |= {
        "overlay": None if overlay is None else Her2Overlay(**overlay),
        "probability": unsure.probability,
        "probability_method": unsure.probability_method,
        "borderline": unsure.borderline,
        "alternative": alternative,
    }
    return Her2(**block)
