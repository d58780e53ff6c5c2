"""Intervals of membrane percentages and probabilities of HER2 scores: what they must do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.guidelines.her2_reading import Her2Floors, Her2Reading
from herscope.measure.completeness import (
    NOT_EVALUABLE,
    UNSEEN,
    CompletenessSpec,
    class_counts,
    classify,
)
from herscope.score.her2.clusters import CLUSTERS, ClusterSpec, largest_clusters
from herscope.score.her2.probability import CLUSTERS_READ, SCORES, borderline_why
from herscope.score.her2.reading import read_her2
from herscope.score.her2.settings_drawn import draw_settings, vector_factors
from herscope.score.her2.settings_grid import cluster_size, kind_of, levels, neighbours
from herscope.score.her2.uncertainty import Her2Uncertainty, Her2UncertaintySpec, her2_uncertainty
from herscope.score.result import Membrane
from herscope.stain.vectors import RUIFROK_JOHNSTON, StainVectors
from herscope.stats.bootstrap import wilson_interval
from herscope.stats.resampling import ResamplingSpec

CUTS = (200, 400, 600)
FIXED = Her2UncertaintySpec(cut_sd=0, vectors_sd_deg=0, complete_share_sd=0)
FEW = ResamplingSpec(n_resamples=500)
INTENSE = "complete_intense_percent"


def lattice(n: int, pitch_um: float = 15.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side = math.ceil(math.sqrt(n))
    row, column = np.divmod(np.arange(n), side)
    return column * pitch_um, row * pitch_um


def rings(od: NDArray[Any]) -> NDArray[np.int16]:
    return np.repeat(np.asarray(od, np.int16)[:, None], 32, axis=1)


def share_at_random(n: int, share: float, od: int, seed: int = 3) -> NDArray[np.int16]:
    """Exactly ``share`` of the cells with an even membrane of that OD, well mixed."""
    values = np.zeros(n)
    values[: round(share * n)] = od
    return rings(np.random.Generator(np.random.PCG64(seed)).permutation(values))


def read(marker: str, x, y, sectors, floors: Her2Floors | None = None) -> Her2Reading | None:
    classes = classify(sectors, CUTS, CompletenessSpec())
    clusters = largest_clusters(x, y, classes, ClusterSpec())
    return read_her2(marker, class_counts(classes), clusters, floors or Her2Floors())


def uncertainty(
    x,
    y,
    sectors,
    *,
    marker: str = "her2-breast",
    spec: Her2UncertaintySpec | None = None,
    resampling: ResamplingSpec = FEW,
    completeness: CompletenessSpec | None = None,
    cuts=CUTS,
) -> Her2Uncertainty:
    reading = read(marker, x, y, sectors) if marker in SCORES else None
    return her2_uncertainty(
        x,
        y,
        sectors,
        marker=marker,
        cuts_milli=cuts,
        vectors=RUIFROK_JOHNSTON,
        completeness=completeness or CompletenessSpec(),
        clusters=ClusterSpec(),
        floors=Her2Floors(),
        resampling=resampling,
        spec=spec or Her2UncertaintySpec(),
        reading=reading,
    )


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def mixed_case(n: int = 1500, seed: int = 5):
    """Return cells of every class, noisy, with gaps, some of them at the slide's edge."""
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = rng.uniform(0, 1200, (2, n))
    od = rng.choice([0, 250, 450, 750], n)[:, None] + rng.normal(0, 60, (n, 32))
    gap = np.arange(32)[None, :] < rng.integers(0, 30, n)[:, None]
    od[gap & (rng.random(n) < 0.6)[:, None]] = 10
    sectors = od.astype(np.int16)
    sectors[rng.random((n, 32)) < 0.03] = UNSEEN
    sectors[: n // 20, :12] = UNSEEN
    return x, y, sectors


@pytest.mark.parametrize("marker", SCORES)
def test_the_probabilities_of_a_guidelines_scores_sum_to_one(marker: str) -> None:
    found = uncertainty(*mixed_case(), marker=marker)
    assert found.probability is not None
    assert tuple(found.probability) == SCORES[marker]
    assert sum(found.probability.values()) == pytest.approx(1, abs=1e-12)


def test_a_clear_3_plus_is_sure_and_not_borderline() -> None:
    x, y = lattice(2000)
    found = uncertainty(x, y, share_at_random(2000, 0.7, 1200))
    assert found.probability is not None
    assert found.probability["3+"] > 0.99
    assert not found.borderline
    assert found.borderline_why == ""


def test_a_clear_negative_is_sure_and_not_borderline() -> None:
    x, y = lattice(2000)
    found = uncertainty(x, y, share_at_random(2000, 0.0, 0))
    assert found.probability == {"0": 1.0, "1+": 0.0, "2+": 0.0, "3+": 0.0}
    assert not found.borderline


@pytest.mark.parametrize(("positive", "score"), [(100, "2+"), (101, "3+")])
def test_one_cell_either_side_of_the_cut_off_is_borderline_with_a_split(positive, score) -> None:
    # Intense cells in groups of a dozen: at exactly 10 % the unusual pattern, 2+.
    x, y = lattice(1000)
    od = np.zeros(1000)
    groups = np.flatnonzero(np.arange(1000) % 96 < 12)
    od[groups[:positive]] = 1200
    reading = read("her2-breast", x, y, rings(od))
    assert reading is not None
    assert reading.score == score
    found = uncertainty(x, y, rings(od))
    assert found.borderline
    assert "percentage points from a cut-off" in found.borderline_why
    assert found.probability is not None
    assert 0.2 < found.probability["3+"] < 0.8
    assert 0.2 < found.probability["2+"] < 0.8


def test_a_case_far_from_the_cut_off_in_points_is_borderline_when_its_stain_is_near_one() -> None:
    # 60 % of cells just above the third cut-off: a slightly higher one makes all of them moderate.
    x, y = lattice(2000)
    found = uncertainty(x, y, share_at_random(2000, 0.6, 615))
    assert found.borderline
    assert "probability" in found.borderline_why
    assert "2+ has" in found.borderline_why


def test_the_text_of_a_borderline_case_never_contradicts_itself() -> None:
    x, y = lattice(1000)
    reading = read("her2-gastric-resection", x, y, share_at_random(1000, 0.11, 1200))
    assert reading is not None
    assert reading.distance_to_cutoff == 1.0
    spec = Her2UncertaintySpec(borderline_points=1.0, borderline_probability=0.8)
    sure = {"0": 0.0, "1+": 0.0, "2+": 0.0, "3+": 1.0}
    assert borderline_why(reading, sure, spec) == ""
    almost = sure | {"3+": 0.7999, "0": 0.2001}
    assert "79.9 %, below 80 % (0 has 20 %)" in borderline_why(reading, almost, spec)


def test_a_wider_doubt_about_the_cut_offs_widens_the_intervals_with_settings() -> None:
    case = mixed_case()
    widths = [
        width(uncertainty(*case, spec=Her2UncertaintySpec(cut_sd=sd)).ci95_settings[INTENSE])
        for sd in (0.0, 0.1, 0.3)
    ]
    assert widths[0] < widths[1] < widths[2]


def test_stain_vectors_in_doubt_widen_the_intervals_with_settings() -> None:
    x, y = lattice(1500)
    sectors = rings(np.random.Generator(np.random.PCG64(6)).uniform(300, 900, 1500))
    widths = [
        width(uncertainty(x, y, sectors, spec=spec).ci95_settings[INTENSE])
        for spec in (FIXED, *(FIXED.model_copy(update={"vectors_sd_deg": sd}) for sd in (2.0, 5.0)))
    ]
    assert 1.5 * widths[0] < widths[1] < widths[2] / 1.5


def test_the_complete_share_in_doubt_widens_only_what_depends_on_it() -> None:
    # Three quarters of each cell are stained, intensely: complete or not is the share's question.
    n = 1500
    x, y = lattice(n)
    sectors = share_at_random(n, 0.5, 900)
    sectors[:, :5] = 0
    spec = FIXED.model_copy(update={"complete_share_sd": 0.05})
    found, plain = uncertainty(x, y, sectors, spec=spec), uncertainty(x, y, sectors, spec=FIXED)
    assert width(found.ci95_settings["pcms_percent"]) > 40
    assert width(plain.ci95_settings["pcms_percent"]) < 10
    assert found.ci95_settings["none_percent"] == plain.ci95_settings["none_percent"]


def test_intervals_with_settings_contain_those_of_sampling() -> None:
    found = uncertainty(*mixed_case())
    for name, (low, high) in found.ci95.items():
        assert found.ci95_settings[name][0] <= low
        assert found.ci95_settings[name][1] >= high


@pytest.mark.parametrize("cells", [40, 1500])
def test_without_doubt_about_the_settings_both_intervals_are_the_same(cells: int) -> None:
    x, y, sectors = mixed_case(cells)
    if cells == 40:
        x, y = x / 12, y / 12  # too little tissue for blocks: cells are drawn
    found = uncertainty(x, y, sectors, spec=FIXED)
    assert found.ci95_settings == found.ci95


def test_staining_in_patches_widens_the_interval_of_sampling() -> None:
    n = 10_000
    x, y = lattice(n)
    patch = ((x // 200 + 7 * (y // 200)) % 3 == 0).astype(int)
    clustered = rings(900 * patch)
    mixed = share_at_random(n, float(patch.mean()), 900)
    wide = uncertainty(x, y, clustered, spec=FIXED).ci95[INTENSE]
    narrow = uncertainty(x, y, mixed, spec=FIXED).ci95[INTENSE]
    assert width(wide) > 2 * width(narrow)


def test_every_percentage_of_the_membrane_block_has_both_intervals() -> None:
    found = uncertainty(*mixed_case())
    # mean_completeness_percent is three numbers, no percentage of cells
    keys = {key for key in Membrane.model_fields if key.endswith("_percent")}
    keys -= {"mean_completeness_percent"}
    assert set(found.ci95) == set(found.ci95_settings) == keys
    for name, (low, high) in {**found.ci95, **found.ci95_settings}.items():
        assert 0 <= low <= high <= 100, name


def test_the_sampling_interval_holds_the_percentage_itself() -> None:
    x, y, sectors = mixed_case()
    counts = class_counts(classify(sectors, CUTS, CompletenessSpec()))
    cells = sum(counts[name] for name in list(counts)[:6])
    found = uncertainty(x, y, sectors)
    for name, count in counts.items():
        low, high = found.ci95[f"{name}_percent"]
        assert low <= 100 * count / cells <= high


def test_no_evaluable_cell_gives_no_interval_and_no_probability() -> None:
    x, y = lattice(50)
    found = uncertainty(x, y, np.full((50, 32), UNSEEN, np.int16))
    assert found.ci95 == found.ci95_settings == {}
    assert found.probability is None
    assert not found.borderline
    assert "no evaluable cell" in found.method
    none = uncertainty(np.zeros(0), np.zeros(0), np.zeros((0, 32), np.int16))
    assert none == found


def test_cells_that_were_not_seen_change_nothing() -> None:
    x, y, sectors = mixed_case()
    x2, y2 = np.append(x, [5000.0, -80.0]), np.append(y, [5000.0, 40.0])
    more = np.concatenate([sectors, np.full((2, 32), UNSEEN, np.int16)])
    assert uncertainty(x2, y2, more) == uncertainty(x, y, sectors)


def test_the_order_of_the_cells_does_not_matter() -> None:
    x, y, sectors = mixed_case()
    order = np.random.Generator(np.random.PCG64(8)).permutation(len(x))
    for marker in ("her2-breast", "her2-gastric-biopsy"):
        there = uncertainty(x[order], y[order], sectors[order], marker=marker)
        assert there == uncertainty(x, y, sectors, marker=marker)


def test_the_seed_of_the_settings_moves_only_what_depends_on_settings() -> None:
    case = mixed_case()
    one, other = (uncertainty(*case, spec=Her2UncertaintySpec(seed=seed)) for seed in (1, 2))
    assert one.ci95 == other.ci95
    assert one.ci95_settings != other.ci95_settings


def test_one_cell_has_an_interval_and_says_it_is_no_score() -> None:
    found = uncertainty(np.array([5.0]), np.array([5.0]), rings(np.array([900])))
    assert found.ci95[INTENSE][0] < 100 == found.ci95[INTENSE][1]
    assert found.probability == {
        "0": 0.0,
        "1+": 0.0,
        "2+": 0.0,
        "3+": 0.0,
        "indeterminate": 1.0,
    }
    assert not found.borderline


def test_enough_cells_stay_enough_in_every_resample() -> None:
    # Exactly the floor of 100 cells; half of all resamples hold fewer.
    rng = np.random.Generator(np.random.PCG64(4))
    x, y = rng.uniform(0, 500, (2, 100))
    found = uncertainty(x, y, share_at_random(100, 0.5, 900))
    assert found.probability is not None
    assert "indeterminate" not in found.probability


@pytest.mark.parametrize("marker", ["pdl1", "membrane"])
def test_a_marker_without_a_her2_guideline_has_intervals_only(marker: str) -> None:
    case = mixed_case()
    found = uncertainty(*case, marker=marker)
    assert found.probability is None
    assert found.probability_method == ""
    assert not found.borderline
    assert found.ci95_settings == uncertainty(*case).ci95_settings


def test_the_grid_at_the_settings_in_use_is_the_reading_itself() -> None:
    x, y, sectors = mixed_case()
    spec = CompletenessSpec()
    classes = classify(sectors, CUTS, spec)
    keep = classes.code != NOT_EVALUABLE
    drawn = draw_settings(RUIFROK_JOHNSTON, Her2UncertaintySpec(), 500)
    block = np.zeros(keep.sum(), np.int64)
    kinds, walk = levels(sectors[keep], CUTS, block, 1, spec, drawn)
    steps = np.unique(drawn.share).tolist()
    for level, at in zip(walk, np.unique(drawn.factor), strict=True):
        if at == 0:
            kind, table = level.kind[steps.index(0)], level.tables[steps.index(0)]
    assert kind.tolist() == kind_of(classes, kinds)[keep].tolist()
    counts = dict(zip(kinds.names, (table @ kinds.counts)[0].tolist(), strict=True))
    assert counts == class_counts(classes)
    pairs = neighbours(x[keep], y[keep], ClusterSpec())
    sizes = {name: cluster_size(pairs, kind, kinds.members[name], 10_000) for name in CLUSTERS}
    assert sizes == largest_clusters(x, y, classes, ClusterSpec())


@pytest.mark.parametrize("step", [-20, -7, 9, 20])
def test_the_grid_elsewhere_is_a_reading_with_those_cut_offs_and_that_share(step: int) -> None:
    _, _, sectors = mixed_case(600)
    spec = CompletenessSpec()
    keep = classify(sectors, CUTS, spec).code != NOT_EVALUABLE
    drawn = draw_settings(RUIFROK_JOHNSTON, Her2UncertaintySpec(), 2000)
    drawn = drawn._replace(factor=np.full(2000, step))
    block = np.zeros(keep.sum(), np.int64)
    kinds, walk = levels(sectors[keep], CUTS, block, 1, spec, drawn)
    (level,) = walk
    cuts = [math.floor(cut * math.exp(step * drawn.factor_step) + 0.5) for cut in CUTS]
    for number, share in enumerate((0.75, 0.80, 0.85, 0.90, 0.95)):
        there = classify(sectors[keep], cuts, CompletenessSpec(complete_share=share))
        assert level.kind[number].tolist() == kind_of(there, kinds).tolist()


def test_clusters_are_counted_up_to_what_decides() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4], [5, 6], [6, 7], [7, 5]])
    kind = np.array([0, 0, 0, 0, 1, 0, 0, 0, 1], np.int8)
    member = np.array([True, False])
    assert cluster_size(pairs, kind, member, 10) == 3
    assert cluster_size(pairs, kind, member, 2) == 2
    two_pairs_meet = np.array([[0, 1], [2, 3], [1, 2]])
    assert cluster_size(two_pairs_meet, np.zeros(4, np.int8), member, 3) == 3
    assert cluster_size(pairs, np.ones(9, np.int8), member, 10) == 0


def test_biopsies_are_read_by_clusters_at_every_setting() -> None:
    # Five neighbours just above the third cut-off: the grade of their cluster is in doubt.
    x, y = lattice(400)
    od = np.zeros(400)
    od[100:105] = 615
    found = uncertainty(x, y, rings(od), marker="her2-gastric-biopsy")
    assert found.probability is not None
    assert found.probability["2+"] + found.probability["3+"] == 1
    assert 0.3 < found.probability["3+"] < 0.8
    assert "clusters of cells counted on all cells" in found.probability_method


def test_every_cluster_a_guideline_reads_is_known() -> None:
    assert set(CLUSTERS_READ) <= set(SCORES)
    assert {name for names in CLUSTERS_READ.values() for name in names} <= set(CLUSTERS)


def test_other_vectors_multiply_dab_as_the_deconvolution_itself_says() -> None:
    # The oracle turns the vectors by hand and solves for the coordinates of pure DAB.
    h, d = np.asarray(RUIFROK_JOHNSTON.hematoxylin), np.asarray(RUIFROK_JOHNSTON.dab)
    factors = vector_factors(RUIFROK_JOHNSTON, 3.0, 50, np.random.Generator(np.random.PCG64(2)))
    rng = np.random.Generator(np.random.PCG64(2))
    turned = []
    for vector in (h, d):
        angle, towards = np.deg2rad(3.0 * rng.standard_normal(50)), 2 * np.pi * rng.random(50)
        first = np.cross(vector, np.eye(3)[np.abs(vector).argmin()])
        first /= np.linalg.norm(first)
        side = np.outer(np.cos(towards), first) + np.outer(np.sin(towards), np.cross(vector, first))
        turned.append(np.cos(angle)[:, None] * vector + np.sin(angle)[:, None] * side)
    for factor, h_off, d_off in zip(factors, *turned, strict=True):
        off = StainVectors("off", tuple(h_off), tuple(d_off), "test", 2000)
        assert factor == pytest.approx(np.linalg.solve(off.matrix().T, d)[1], rel=1e-9)


def test_vectors_without_doubt_change_nothing_and_absurd_ones_are_bounded() -> None:
    generator = np.random.Generator(np.random.PCG64(2))
    assert set(vector_factors(RUIFROK_JOHNSTON, 0.0, 10, generator)) == {1.0}
    close = StainVectors("close", (0.5, 0.6, 0.5), (0.5, 0.6, 0.65), "test", 2000)
    wild = vector_factors(close, 10.0, 1000, generator)
    assert wild.min() == 0.5
    assert wild.max() == 2.0


@settings(max_examples=15, deadline=None)
@given(
    share=st.floats(0.51, 1.0),
    sd=st.floats(0, 0.2),
    cells=st.integers(1, 60),
    seed=st.integers(0, 2**32),
)
def test_no_settings_make_it_fail_or_leave_0_to_100(share, sd, cells, seed) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    sectors = rng.integers(-50, 1500, (cells, 32)).astype(np.int16)
    sectors[rng.random((cells, 32)) < 0.1] = UNSEEN
    found = uncertainty(
        *rng.uniform(0, 300, (2, cells)),
        sectors,
        marker="membrane",
        spec=Her2UncertaintySpec(complete_share_sd=sd, cut_sd=0.5, vectors_sd_deg=10),
        resampling=ResamplingSpec(n_resamples=100),
        completeness=CompletenessSpec(complete_share=round(share, 3)),
    )
    for low, high in found.ci95_settings.values():
        assert 0 <= low <= high <= 100


def test_the_sampling_interval_covers_the_truth_of_patchy_tissue() -> None:
    # Patches of 120 µm on 1.8 mm, each with a share of positive cells of its own; truth 30 %.
    rng = np.random.Generator(np.random.PCG64(12))
    x, y = lattice(3600, 30.0)
    patch = (y // 120).astype(int) * 15 + (x // 120).astype(int)
    few = ResamplingSpec(n_resamples=200)
    held = naive = 0
    trials = 120
    for _ in range(trials):
        share = rng.beta(0.6, 1.4, 225)[patch]
        positive = rng.random(3600) < share
        found = uncertainty(
            x, y, rings(900 * positive), marker="membrane", spec=FIXED, resampling=few
        )
        held += found.ci95[INTENSE][0] <= 30 <= found.ci95[INTENSE][1]
        low, high = wilson_interval(int(positive.sum()), 3600)
        naive += low <= 0.3 <= high
    assert held / trials > 0.86
    assert naive / trials < 0.7


def test_the_probability_is_honest_when_the_settings_err_as_assumed() -> None:
    # The truth is read, then each slide is measured with an error of a tenth on its densities.
    rng = np.random.Generator(np.random.PCG64(5))
    x, y = lattice(900, 20.0)
    spec = FIXED.model_copy(update={"cut_sd": 0.1})
    fewer = ResamplingSpec(n_resamples=200)
    believed, right, too_sure = 0.0, 0, 0.0
    trials = 60
    for _ in range(trials):
        od = np.exp(rng.normal(math.log(rng.uniform(450, 650)), 0.15, 900))
        od[rng.random(900) > 0.4] = 0
        truth = read("her2-breast", x, y, rings(od))
        seen = rings(od * math.exp(rng.normal(0, 0.1)))
        honest = uncertainty(x, y, seen, spec=spec, resampling=fewer).probability
        blind = uncertainty(x, y, seen, spec=FIXED, resampling=fewer).probability
        assert truth is not None
        assert honest is not None
        assert blind is not None
        best = max(honest, key=lambda score: honest[score])
        believed += honest[best]
        right += best == truth.score
        too_sure += max(blind.values())
    assert believed / trials == pytest.approx(right / trials, abs=0.1)
    assert too_sure / trials > right / trials + 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": np.zeros(3)}, "shapes"),
        ({"sectors": np.zeros((4, 31), np.int16)}, "sectors"),
        ({"sectors": np.zeros((4, 32))}, "float64"),
        ({"x": np.array([0, 1, 2, np.nan])}, "not a finite number"),
        ({"cuts": (200, 400)}, "cut-offs"),
        ({"cuts": (400, 400, 600)}, "cut-offs"),
        ({"cuts": (0, 400, 600)}, "cut-offs"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change: dict[str, Any], said: str) -> None:
    given_ = {"x": np.zeros(4), "y": np.zeros(4), "sectors": np.zeros((4, 32), np.int16)} | change
    with pytest.raises(InputError, match=said):
        uncertainty(**given_, marker="membrane")


def test_a_reading_of_another_marker_is_refused() -> None:
    x, y, sectors = mixed_case()
    with pytest.raises(InputError, match="the reading is of her2-colorectal"):
        her2_uncertainty(
            x,
            y,
            sectors,
            marker="her2-breast",
            cuts_milli=CUTS,
            vectors=RUIFROK_JOHNSTON,
            completeness=CompletenessSpec(),
            clusters=ClusterSpec(),
            floors=Her2Floors(),
            resampling=FEW,
            spec=FIXED,
            reading=read("her2-colorectal", x, y, sectors),
        )


def test_the_method_names_the_widths_that_were_assumed() -> None:
    found = uncertainty(*mixed_case())
    for text in (found.method, found.probability_method):
        assert "SD 15 %" in text
        assert "SD 2°" in text
        assert "SD 0.05" in text
    assert "spatial block bootstrap" in found.method
