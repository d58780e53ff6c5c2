"""Intervals: published values, exactness, fall-backs, and coverage of clustered cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats import bootstrap
from herscope.stats.bootstrap import expanded_tail
from herscope.stats.resampling import (
    ResamplingSpec,
    assign_blocks,
    block_bootstrap_ratio,
    spatial_interval,
    spatial_intervals,
    wilson_interval,
)

H = (0, 100, 200, 300)
POSITIVE = (0, 100, 100, 100)


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def slide(n=4000, side_um=3000.0, seed=0):
    rng = generator(seed)
    x, y = rng.uniform(0, side_um, (2, n))
    return x, y, rng.integers(0, 4, n)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # Newcombe, Stat Med 1998;17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_gives_the_published_values(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_where_the_score_test_just_rejects(case):
    k, n = case
    low, high = wilson_interval(k, n)

    assert 0 <= low <= k / n <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert (k - n * bound) ** 2 / (n * bound * (1 - bound)) == pytest.approx(3.8414588)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_wilson_interval_refuses_impossible_counts(k, n):
    with pytest.raises(InputError):
        wilson_interval(k, n)


def test_a_proportion_of_nothing_has_no_interval():
    with pytest.raises(UndefinedStatistic):
        wilson_interval(0, 0)


def test_blocks_lie_on_the_grid_of_the_slide_origin():
    index, n = assign_blocks([0, 249.999, 250, 10, 600], [0, 249.999, 0, 250, 600], 250)

    assert index.tolist() == [0, 0, 1, 2, 3]
    assert n == 4


def test_far_apart_cells_give_the_same_blocks_as_the_dense_table(monkeypatch):
    x, y, _ = slide()
    dense = assign_blocks(x, y, 100)
    monkeypatch.setattr("herscope.stats.resampling.MAX_DENSE_GRID", 1)

    sorted_way = assign_blocks(x, y, 100)

    assert dense[1] == sorted_way[1]
    np.testing.assert_array_equal(dense[0], sorted_way[0])


@pytest.mark.parametrize(
    ("x", "y", "edge"),
    [
        ([1, np.nan], [1, 2], 250),
        ([1], [1, 2], 250),
        ([1], [1], 0),
        ([1], [1], np.nan),
        ([1e300], [1], 1),
    ],
)
def test_impossible_positions_and_edges_are_refused(x, y, edge):
    with pytest.raises(InputError):
        assign_blocks(x, y, edge)


def test_expanded_percentile_matches_the_students_t_interval_of_a_mean():
    blocks = generator(1).normal(150, 20, 12)
    table = np.stack([np.zeros(12), np.rint(blocks)], 1).astype(int)
    table[:, 0] = 1000 - table[:, 1]  # equal cells per block: the ratio is a mean of blocks
    low, high = block_bootstrap_ratio(table, [0, 1], n_resamples=40_000)

    share = table[:, 1] / 1000
    half = 2.200985 * share.std(ddof=1) / np.sqrt(12)  # t(0.975, 11)

    assert high - low == pytest.approx(2 * half, rel=0.05)
    assert (low, high) == pytest.approx((share.mean() - half, share.mean() + half), abs=0.2 * half)


def test_expansion_fades_with_many_blocks():
    assert expanded_tail(0.95, 10) < expanded_tail(0.95, 100) < 0.025
    assert expanded_tail(0.95, 10**7) == pytest.approx(0.025, abs=1e-6)


def test_bootstrap_agrees_with_resampling_blocks_one_by_one():
    table = generator(3).integers(0, 30, (25, 4))
    low, high = block_bootstrap_ratio(table, H, n_resamples=20_000, seed=1)

    rng, weights = generator(99), np.array(H)
    values = []
    for _ in range(20_000):
        drawn = table[rng.integers(0, 25, 25)]
        values.append((drawn @ weights).sum() / drawn.sum())
    tail = expanded_tail(0.95, 25)
    expected = np.quantile(values, [tail, 1 - tail])

    assert (low, high) == pytest.approx(tuple(expected), abs=0.08 * (expected[1] - expected[0]))


def test_bounds_do_not_depend_on_how_much_is_held_in_memory(monkeypatch):
    table = generator(4).integers(0, 30, (50, 4))
    whole = block_bootstrap_ratio(table, H)
    monkeypatch.setattr(bootstrap, "MAX_WEIGHTS_IN_MEMORY", 333)

    assert block_bootstrap_ratio(table, H) == whole


def test_bounds_do_not_depend_on_the_order_of_the_cells():
    x, y, grade = slide()
    order = generator(5).permutation(x.size)

    assert spatial_interval(x, y, grade, H) == spatial_interval(x[order], y[order], grade[order], H)


def test_the_seed_and_nothing_else_decides_the_resamples():
    x, y, grade = slide()
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    first = spatial_interval(x, y, grade, H, ResamplingSpec(seed=1))
    np.random.seed(2)  # noqa: NPY002 - as above
    assert spatial_interval(x, y, grade, H, ResamplingSpec(seed=1)) == first
    assert spatial_interval(x, y, grade, H, ResamplingSpec(seed=2)) != first


def test_several_statistics_at_once_give_the_same_as_one_by_one():
    x, y, grade = slide()
    both = spatial_intervals(x, y, grade, {"h": H, "positive": POSITIVE})

    assert list(both) == ["h", "positive"]
    assert both["h"] == spatial_interval(x, y, grade, H)
    assert both["positive"] == spatial_interval(x, y, grade, POSITIVE)


def test_resamples_without_cells_are_left_out():
    table = np.zeros((3, 4), int)
    table[0] = [1, 1, 0, 0]

    assert block_bootstrap_ratio(table, POSITIVE) == (50.0, 50.0)


def test_blocks_without_any_cell_are_an_error():
    with pytest.raises(UndefinedStatistic):
        block_bootstrap_ratio(np.zeros((3, 4), int), POSITIVE)
    with pytest.raises(UndefinedStatistic):
        block_bootstrap_ratio([[1, 1]], [0, 1])


def test_small_tissue_gets_smaller_blocks_until_there_are_enough():
    x, y, grade = slide(side_um=600)  # 3 x 3 blocks of 250 µm

    interval = spatial_interval(x, y, grade, H)

    assert (interval.edge_um, interval.blocks) == (125.0, 25)
    assert "25 blocks of 125 µm" in interval.method


def test_large_tissue_gets_larger_blocks_while_enough_of_them_remain():
    x, y, grade = slide(n=20_000, side_um=10_000)

    assert spatial_interval(x, y, grade, H).edge_um == 1000  # 100 blocks; 2000 µm leaves 25
    assert spatial_interval(x, y, grade, H, ResamplingSpec(max_edge_um=500)).edge_um == 500
    assert spatial_interval(x, y, grade, H, ResamplingSpec(enough_blocks=25)).blocks == 25


def test_too_little_tissue_resamples_cells_and_says_so():
    x, y, grade = slide(n=200, side_um=40)

    interval = spatial_interval(x, y, grade, H)

    assert (interval.edge_um, interval.blocks) == (None, 0)
    assert "cell bootstrap" in interval.method
    assert "independent" in interval.method
    h = 100 * grade.mean()
    half = 196 * grade.std() / np.sqrt(200)
    assert (interval.low, interval.high) == pytest.approx((h - half, h + half), abs=0.2 * half)


def test_blocks_are_never_smaller_than_the_smallest_allowed():
    x, y, grade = slide(n=400, side_um=100)
    finest = spatial_interval(x, y, grade, H, ResamplingSpec(min_edge_um=20))
    coarser = spatial_interval(x, y, grade, H, ResamplingSpec(min_edge_um=60))

    assert finest.edge_um == 31.25
    assert coarser.edge_um is None


@pytest.mark.parametrize(
    ("grade", "weights", "low", "high"),
    [
        (0, POSITIVE, 0.0, 100 * 3.8414588 / 403.8414588),
        (2, POSITIVE, 100 - 100 * 3.8414588 / 403.8414588, 100.0),
        (0, H, 0.0, 300 * 3.8414588 / 403.8414588),
        (1, H, 100 - 100 * 3.8414588 / 403.8414588, 100 + 200 * 3.8414588 / 403.8414588),
    ],
)
def test_cells_of_one_grade_do_not_pretend_certainty(grade, weights, low, high):
    x, y, _ = slide(n=400)

    interval = spatial_interval(x, y, np.full(400, grade), weights)

    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert "Wilson" in interval.method


def test_all_cells_positive_of_mixed_grades_is_certain_in_neither_statistic():
    x, y, grade = slide()
    both = spatial_intervals(x, y, grade % 3 + 1, {"h": H, "positive": POSITIVE})

    assert "Wilson" in both["positive"].method
    assert both["positive"].low < 100 == both["positive"].high
    assert "spatial block" in both["h"].method


def test_clustered_cells_get_a_wider_interval_than_scattered_ones():
    x, y, _ = slide()
    clustered = ((x // 500 + y // 500) % 2).astype(int)
    scattered = generator(8).permutation(clustered)

    wide = spatial_interval(x, y, clustered, [0, 100])
    narrow = spatial_interval(x, y, scattered, [0, 100])

    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_one_cell_still_gets_an_honest_interval():
    interval = spatial_interval([5.0], [5.0], [2], POSITIVE)

    assert interval.low == pytest.approx(20.654, abs=1e-3)
    assert interval.high == 100


@pytest.mark.parametrize("grade", [[0, 4], [0, -1], [0.0, 1.0], [0]])
def test_grades_that_do_not_fit_are_refused(grade):
    with pytest.raises(InputError):
        spatial_interval([1, 2], [1, 2], grade, H)


def test_no_cells_is_an_error_with_a_hint():
    with pytest.raises(UndefinedStatistic) as caught:
        spatial_interval([], [], np.zeros(0, int), H)

    assert caught.value.hint


@settings(deadline=None)  # the first call imports scipy
@given(st.integers(1, 60), st.integers(0, 10_000), st.floats(20, 5000))
def test_an_interval_is_ordered_and_stays_within_the_weights(n, seed, side_um):
    x, y, grade = slide(n=n, side_um=side_um, seed=seed)

    interval = spatial_interval(x, y, grade, H, ResamplingSpec(n_resamples=100))

    assert 0 <= interval.low <= interval.high <= 300


def clustered_field(seed, side_um, patch_um, n):
    """Patches with their own share of positive cells: mean 0.3, strong clustering."""
    rng = generator(seed)
    x, y = rng.uniform(0, side_um, (2, n))
    patches = int(np.ceil(side_um / patch_um)) + 1
    share = rng.beta(0.6, 1.4, (patches, patches))
    shift_x, shift_y = rng.uniform(0, patch_um, 2)
    column = ((x + shift_x) // patch_um).astype(int)
    row = ((y + shift_y) // patch_um).astype(int)
    return x, y, (rng.random(n) < share[row, column]).astype(int)


@pytest.mark.parametrize(
    ("side_um", "patch_um", "n", "least"),
    [(3000.0, 120.0, 3000, 0.90), (6000.0, 400.0, 8000, 0.90), (900.0, 120.0, 1500, 0.87)],
)
def test_nominal_95_percent_covers_clustered_cells(side_um, patch_um, n, least):
    spec, runs, covered, naively = ResamplingSpec(n_resamples=500), 400, 0, 0
    for seed in range(runs):
        x, y, grade = clustered_field(seed, side_um, patch_um, n)
        interval = spatial_interval(x, y, grade, [0, 1], spec)
        covered += interval.low <= 0.3 <= interval.high
        low, high = wilson_interval(int(grade.sum()), n)
        naively += low <= 0.3 <= high

    assert covered / runs >= least
    assert naively / runs < 0.85  # what ignoring the patches would claim
