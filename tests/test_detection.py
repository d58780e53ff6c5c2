"""Matching against brute force on small random images, and the edges of the definitions."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from herscope.core.errors import InputError
from herscope.stats.detection import DetectionCounts, match_instances, match_points, pooled

small_labels = arrays(np.int64, (4, 5), elements=st.integers(0, 3))


def iou_of(truth, predicted, t, p):
    a, b = truth == t, predicted == p
    return (a & b).sum() / (a | b).sum()


def best_matching(candidates):
    """Try every one-to-one subset: most pairs, then the largest sum of scores."""
    best = (0, 0.0)
    left = sorted({t for t, _ in candidates})
    right = sorted({p for _, p in candidates})
    for size in range(1, min(len(left), len(right)) + 1):
        for ts in combinations(left, size):
            for ps in permutations(right, size):
                pairs = list(zip(ts, ps, strict=True))
                if all(pair in candidates for pair in pairs):
                    best = max(best, (size, sum(candidates[pair] for pair in pairs)))
    return best


@settings(max_examples=200, deadline=None)
@given(small_labels, small_labels, st.sampled_from([0.1, 0.2, 1 / 3, 0.5, 0.51, 0.7, 1.0]))
def test_instances_match_as_brute_force_says(truth, predicted, threshold):
    names_t, names_p = set(truth.ravel()) - {0}, set(predicted.ravel()) - {0}
    candidates = {
        (t, p): iou
        for t in names_t
        for p in names_p
        if (iou := iou_of(truth, predicted, t, p)) >= threshold
    }
    pairs, total = best_matching(candidates)

    counts = match_instances(truth, predicted, iou=threshold)

    assert (counts.tp, counts.fp, counts.fn) == (pairs, len(names_p) - pairs, len(names_t) - pairs)
    assert counts.iou_sum == pytest.approx(total)
    assert all(pair in candidates for pair in counts.pairs)
    assert len({t for t, _ in counts.pairs}) == len({p for _, p in counts.pairs}) == pairs


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(0, 4), st.just(2)), elements=st.integers(0, 6)),
    arrays(np.int64, st.tuples(st.integers(0, 4), st.just(2)), elements=st.integers(0, 6)),
    st.sampled_from([1.0, 2.0, 3.5]),
)
def test_points_match_as_brute_force_says(truth, predicted, radius):
    candidates = {
        (i, j): 1 - np.hypot(*(a - b)) / radius
        for i, a in enumerate(truth)
        for j, b in enumerate(predicted)
        if np.hypot(*(a - b)) <= radius
    }
    pairs, closeness = best_matching(candidates)

    counts = match_points(truth, predicted, radius)

    assert (counts.tp, counts.fp, counts.fn) == (pairs, len(predicted) - pairs, len(truth) - pairs)
    assert sum(candidates[pair] for pair in counts.pairs) == pytest.approx(closeness)


def test_one_prediction_over_two_nuclei_finds_at_most_one():
    counts = match_instances([[1, 1, 1, 2, 2]], [[9, 9, 9, 9, 9]])

    assert (counts.tp, counts.fp, counts.fn, counts.pairs) == (1, 0, 1, ((1, 9),))
    assert counts.f1 == pytest.approx(2 / 3)


def test_two_halves_that_both_reach_half_the_overlap_are_matched_once():
    counts = match_instances([[1, 1, 1, 1]], [[5, 5, 6, 6]], iou=0.5)

    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 0)


def test_a_perfect_prediction_with_other_labels_is_perfect():
    truth = np.array([[0, 3, 3], [8, 0, 3]])

    counts = match_instances(truth, np.where(truth > 0, truth + 1_000_000_007, 0))

    assert (counts.precision, counts.recall, counts.f1, counts.mean_iou) == (1, 1, 1, 1)


def test_two_far_pairs_are_better_than_one_close_pair():
    counts = match_points([[0, 0], [3, 0]], [[0.5, 0], [-3, 0]], radius=3.2)

    assert counts.pairs == ((0, 1), (1, 0))


def test_images_without_objects_have_counts_but_no_ratios():
    empty = np.zeros((3, 3), int)
    counts = match_instances(empty, empty)

    assert (counts.tp, counts.fp, counts.fn) == (0, 0, 0)
    assert (counts.precision, counts.recall, counts.f1, counts.mean_iou) == (None,) * 4
    assert match_instances(empty, empty + 1).fp == 1
    assert match_instances(empty + 1, empty).fn == 1


def test_pooling_adds_counts_and_not_ratios():
    many = pooled([DetectionCounts(1, 1, 0, 0.8, ((1, 1),)), DetectionCounts(8, 0, 0, 6.4)])

    assert many.precision == 0.9
    assert many.mean_iou == pytest.approx(0.8)
    assert many.pairs == ()
    assert pooled([DetectionCounts(1, 0, 0), DetectionCounts(1, 0, 0, 0.9)]).mean_iou is None


def test_a_crowd_of_touching_objects_is_matched_without_a_huge_matrix():
    truth = np.arange(1, 20_001).reshape(100, 200)  # 20,000 one-pixel objects in one chain
    predicted = np.repeat(np.arange(1, 10_001), 2).reshape(100, 200)

    counts = match_instances(truth, predicted, iou=0.5)

    assert (counts.tp, counts.fp, counts.fn) == (10_000, 0, 10_000)


@pytest.mark.parametrize(
    ("truth", "predicted", "iou"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), 0.5),
        (np.zeros((2, 2)), np.zeros((2, 2), int), 0.5),
        (np.zeros((2, 2), int) - 1, np.zeros((2, 2), int), 0.5),
        (np.zeros(4, int), np.zeros(4, int), 0.5),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), 0.0),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), 1.1),
    ],
)
def test_images_that_cannot_be_compared_are_refused(truth, predicted, iou):
    with pytest.raises(InputError) as caught:
        match_instances(truth, predicted, iou=iou)

    assert caught.value.hint


@pytest.mark.parametrize(
    ("points", "radius"), [([[1, 2, 3]], 1), ([[np.nan, 1]], 1), ([[1, 2]], 0), ([[1, 2]], np.nan)]
)
def test_points_that_cannot_be_compared_are_refused(points, radius):
    with pytest.raises(InputError):
        match_points(points, [[0, 0]], radius)
