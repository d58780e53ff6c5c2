"""From counts to the result document: sums first, then every number once.

Cells are put in one order (by the position of their summit) whatever blocks they came from, and
all sums are of whole numbers, so the document does not depend on tiles, workers or arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

import herscope
from herscope.core.errors import UndefinedStatistic
from herscope.guidelines.allred import allred
from herscope.guidelines.hormone_receptor import er_reading, pr_reading
from herscope.guidelines.ki67 import ki67_reading
from herscope.measure.intensity import grade_counts
from herscope.nn.inference import describe
from herscope.score.alerts import Facts, find_alerts
from herscope.score.block import BETWEEN_CELLS, BlockResult, Cells
from herscope.score.her2.alerts import membrane_alerts
from herscope.score.her2.membranes import MembraneRead, read_membranes
from herscope.score.learned_hscore import h_score_alerts, pool
from herscope.score.plan import CODES_OF, SlidePlan
from herscope.score.result import (
    Alert,
    Allred,
    Cellularity,
    Compartment,
    CompartmentName,
    Cutoffs,
    HScore,
    ModelHScore,
    NetworkFacts,
    Percent,
    PixelHScore,
    Provenance,
    Reading,
    SlideFacts,
    SlideResult,
    StainFacts,
    TileFacts,
)
from herscope.segment.compartments import N_CODES, TUMOR_CODE
from herscope.segment.predicted import NESTS
from herscope.stain.vectors import angle_deg
from herscope.stats.resampling import spatial_intervals

if TYPE_CHECKING:
    from herscope.stats.resampling import ResamplingSpec

H_WEIGHTS: Final = (0, 100, 200, 300)
POSITIVE_WEIGHTS: Final = (0, 100, 100, 100)
_READINGS: Final = {"er": er_reading, "pr": pr_reading, "ki67": ki67_reading}


@dataclass(frozen=True, slots=True)
class Totals:
    """The slide's sums: ``tissue_px`` (codes,), ``histograms`` (codes + 1, 256), all cells.

    ``target_px`` (tiles, codes) and ``h_scores`` (tiles, compartments, or none) are not added up:
    H-scores of a network are weighted by the pixels of their target.
    """

    tissue_px: NDArray[np.int64]
    histograms: NDArray[np.int64]
    target_px: NDArray[np.int64]
    h_scores: NDArray[np.float64]
    cells: Cells


def add_up(results: Sequence[BlockResult]) -> Totals:
    """Add blocks up, in any order of arrival."""
    ordered = sorted(results, key=lambda result: result.index)
    joined = {
        field.name: np.concatenate([getattr(result.cells, field.name) for result in ordered])
        for field in fields(Cells)
    }
    order = np.lexsort((joined["seed_x"], joined["seed_y"]))
    return Totals(
        tissue_px=np.sum([result.tissue_px.sum(axis=0) for result in ordered], axis=0),
        histograms=np.sum([result.histograms.sum(axis=0) for result in ordered], axis=0),
        target_px=np.concatenate(
            [result.histograms[:, :N_CODES].sum(axis=2) for result in ordered]
        ),
        h_scores=np.concatenate([result.h_scores for result in ordered]),
        cells=Cells(**{name: column[order] for name, column in joined.items()}),
    )


def h_score(counts: Sequence[int] | NDArray[np.int64]) -> float | None:
    """H-score of counts of grade 0, 1+, 2+, 3+: 100 (n1 + 2 n2 + 3 n3) / n; None without any.

    Examples
    --------
    >>> h_score([25, 25, 25, 25]), h_score([0, 0, 0, 0])
    (150.0, None)
    """
    n = [int(c) for c in counts]
    return 100 * (n[1] + 2 * n[2] + 3 * n[3]) / sum(n) if sum(n) else None


def summarise(
    plan: SlidePlan, totals: Totals, *, sha256: str, timings_s: dict[str, float]
) -> SlideResult:
    """Make the result document.

    Parameters
    ----------
    plan
        The slide's plan.
    totals
        The slide's sums.
    sha256
        Of the slide's file.
    timings_s
        Seconds a stage took.
    """
    compartments = {name: _compartment(plan, totals, name) for name in plan.parts}
    where: CompartmentName = "tumor" if plan.compartments.given else "all"
    membranes = None
    if plan.marker.target == "membrane":
        mine = np.isin(totals.cells.code, CODES_OF[where])
        value = compartments[where].h_score.value
        membranes = read_membranes(plan, totals.cells, where, mine, value)
    return SlideResult(
        marker=plan.marker.name,
        slide=_slide_facts(plan, sha256),
        stains=_stain_facts(plan),
        cutoffs=Cutoffs(profile=plan.spec.grading.profile, od=plan.spec.grading.values),
        compartments=compartments,
        cellularity=_cellularity(plan, totals, compartments),
        reading=_reading(plan, compartments),
        membrane=None if membranes is None else membranes.membrane,
        her2=None if membranes is None else membranes.her2,
        alerts=_alerts(plan, totals, compartments, membranes),
        provenance=Provenance(
            herscope=herscope.__version__,
            spec_fingerprint=plan.spec.fingerprint(*filter(None, [plan.compartments.digest])),
            tile=TileFacts(**asdict(plan.tile)),
            models=_models(plan),
            networks=_networks(plan),
            timings_s={name: round(seconds, 3) for name, seconds in timings_s.items()},
        ),
    )


def _compartment(plan: SlidePlan, totals: Totals, name: CompartmentName) -> Compartment:
    spec, cells, codes = plan.spec, totals.cells, plan.parts[name]
    mine = np.isin(cells.code, codes)
    counts = [int(n) for n in np.bincount(cells.grade[mine], minlength=4)]
    histogram = totals.histograms[list(codes)].sum(axis=0)
    pixels = [int(n) for n in grade_counts(histogram, spec.grading)]
    area_px = int(totals.tissue_px[list(codes)].sum())
    value = h_score(counts)
    positive = 100 * sum(counts[1:]) / sum(counts) if value is not None else None
    if value is None:
        score = HScore(value=None, ci95=None, method="not computed: no cells")
        percent = Percent(value=None, ci95=None)
        total = Allred(proportion=None, intensity=None, total=None)
    else:
        h_ci, p_ci, method = _intervals(plan, cells, mine, spec.uncertainty)
        score = HScore(value=round(value, 4), ci95=h_ci, method=method)
        percent = Percent(value=None if positive is None else round(positive, 4), ci95=p_ci)
        points = allred(counts)
        total = Allred(proportion=points.proportion, intensity=points.intensity, total=points.total)
    pixel = h_score(pixels)
    return Compartment(
        area_mm2=round(area_px * _px_um2(plan) / 1e6, 6),
        cells=len(cells.x[mine]),
        counts=counts,
        h_score=score,
        h_score_pixel=PixelHScore(value=None if pixel is None else round(pixel, 4), counts=pixels),
        h_score_model=_model_h_score(plan, totals, name),
        positive_percent=percent,
        allred=total,
        od_histogram=[int(n) for n in histogram],
    )


def _model_h_score(plan: SlidePlan, totals: Totals, name: CompartmentName) -> ModelHScore | None:
    if plan.h_score is None:
        return None
    target_px = totals.target_px[:, list(plan.parts[name])].sum(axis=1)
    values = totals.h_scores[:, list(plan.parts).index(name)]
    return pool(plan.h_score, values, target_px, _px_um2(plan))


def _models(plan: SlidePlan) -> dict[str, str]:
    named = {"nuclei": plan.nuclei_name}
    source = plan.compartments.source
    if source not in {"", "annotations"}:
        named["compartments"] = source
    return named if plan.h_score is None else named | {"hscore": plan.h_score.use.name}


def _networks(plan: SlidePlan) -> dict[str, NetworkFacts]:
    used = {}
    if plan.windows is not None:
        used["nuclei"] = (plan.windows.use.name, plan.windows.use.sha256)
    if plan.compartments.source not in {"", "annotations", NESTS}:
        used["compartments"] = (plan.compartments.source, plan.compartments.digest)
    if plan.h_score is not None:
        used["hscore"] = (plan.h_score.use.name, plan.h_score.use.sha256)
    return {
        part: NetworkFacts.model_validate(describe(*which, plan.spec.inference))
        for part, which in used.items()
    }


def _px_um2(plan: SlidePlan) -> float:
    grid, info = plan.grid, plan.info
    return grid.scale_x * info.mpp_x * grid.scale_y * info.mpp_y


def _intervals(
    plan: SlidePlan, cells: Cells, mine: NDArray[np.bool_], spec: ResamplingSpec
) -> tuple[tuple[float, float], tuple[float, float], str]:
    grid, info = plan.grid, plan.info
    found = spatial_intervals(
        cells.x[mine] * grid.scale_x * info.mpp_x,
        cells.y[mine] * grid.scale_y * info.mpp_y,
        cells.grade[mine].astype(np.int64),
        {"h": H_WEIGHTS, "positive": POSITIVE_WEIGHTS},
        spec,
    )
    h, p = found["h"], found["positive"]
    return (round(h.low, 4), round(h.high, 4)), (round(p.low, 4), round(p.high, 4)), h.method


def _slide_facts(plan: SlidePlan, sha256: str) -> SlideFacts:
    info = plan.info
    return SlideFacts(
        name=plan.name,
        width_px=info.width_px,
        height_px=info.height_px,
        mpp=round(float(info.mpp), 6),
        mpp_source=info.mpp_source,
        vendor=info.vendor,
        sha256=sha256,
        working_mpp=round(float(plan.grid.mpp), 6),
        icc=info.icc,
    )


def stain_angle_deg(plan: SlidePlan) -> float | None:
    """Larger angle between the slide's own stains and the vectors in use; None if not estimable."""
    own = plan.preview.estimate
    if not own.valid or own.hematoxylin is None or own.dab is None:
        return None
    used = plan.spec.stain.vectors()
    return max(angle_deg(own.hematoxylin, used.hematoxylin), angle_deg(own.dab, used.dab))


def _stain_facts(plan: SlidePlan) -> StainFacts:
    vectors = plan.spec.stain.vectors()
    angle = stain_angle_deg(plan)
    return StainFacts(
        hematoxylin=[round(v, 6) for v in vectors.hematoxylin],
        dab=[round(v, 6) for v in vectors.dab],
        white_point=[round(v, 3) for v in plan.white.values],
        white_point_source=plan.white.source,
        source=f"{vectors.name}: {vectors.source}, {vectors.year}",
        angle_to_reference_deg=None if angle is None else round(angle, 3),
    )


def _cellularity(
    plan: SlidePlan, totals: Totals, found: dict[CompartmentName, Compartment]
) -> Cellularity:
    if not plan.compartments.given:
        return Cellularity(tumor_cell_fraction=None, tumor_area_fraction=None)
    cells = found["all"].cells
    tissue = int(totals.tissue_px[: N_CODES - 1].sum())
    return Cellularity(
        tumor_cell_fraction=round(found["tumor"].cells / cells, 6) if cells else None,
        tumor_area_fraction=(
            round(int(totals.tissue_px[TUMOR_CODE]) / tissue, 6) if tissue else None
        ),
    )


def _reading(plan: SlidePlan, found: dict[CompartmentName, Compartment]) -> Reading | None:
    kind = plan.marker.reading
    if kind is None:
        return None
    where: CompartmentName = "tumor" if plan.compartments.given else "all"
    try:
        read = _READINGS[kind](found[where].counts)
    except UndefinedStatistic:
        return None
    return Reading(
        marker=read.marker,
        value=round(read.percent, 4),
        category=read.category,
        rule=read.rule.id,
        guideline=f"{read.rule.guideline} {read.rule.year}",
        comment=read.comment,
    )


def _alerts(
    plan: SlidePlan,
    totals: Totals,
    found: dict[CompartmentName, Compartment],
    membranes: MembraneRead | None,
) -> list[Alert]:
    between = totals.histograms[BETWEEN_CELLS]
    # Between the cells of a nuclear marker nothing is brown; around cells that are stained outside
    # their nucleus only the clearest quarter is sure to be background.
    share = 2 if plan.marker.target == "nucleus" else 4
    level = np.searchsorted(np.cumsum(between), between.sum() / share)
    facts = Facts(
        marker=plan.marker,
        mpp=float(plan.info.mpp),
        mpp_source=plan.info.mpp_source,
        working_mpp=float(plan.grid.mpp),
        asked_mpp=float(plan.spec.tiles.mpp),
        icc=plan.info.icc,
        white=plan.white,
        preview=plan.preview,
        stain_angle_deg=stain_angle_deg(plan),
        compartments=plan.compartments,
        nuclei=plan.windows,
        cells={name: compartment.cells for name, compartment in found.items()},
        tissue_px={
            name: int(totals.tissue_px[list(codes)].sum()) for name, codes in CODES_OF.items()
        },
        background_od=float(level) / 100 if between.sum() else None,
    )
    more: list[Alert] = []
    if plan.h_score is not None:
        more += h_score_alerts(plan.h_score, found, plan.spec.alerts)
    if membranes is not None:
        more += membrane_alerts(
            membranes,
            working_mpp=facts.working_mpp,
            separated=plan.compartments.given,
            sharpness=plan.preview.sharpness,
        )
    return find_alerts(facts, plan.spec.alerts, more)
