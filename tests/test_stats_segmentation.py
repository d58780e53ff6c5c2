import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.segmentation import (
    aggregated_jaccard,
    overlap_by_class,
    panoptic_quality,
    pooled_overlap,
)

NAMES = {1: "tumor", 2: "stroma"}
label_maps = npst.arrays(np.int64, (6, 7), elements=st.integers(0, 4))


def maps(seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 3, (20, 30)), rng.integers(0, 3, (20, 30))


def slow_aji(truth, predicted):
    """Kumar's algorithm, object by object."""
    used, top, bottom = set(), 0, 0
    for i in [v for v in np.unique(truth) if v]:
        best, chosen = 0.0, None
        for j in [v for v in np.unique(predicted) if v]:
            both = np.count_nonzero((truth == i) & (predicted == j))
            either = np.count_nonzero((truth == i) | (predicted == j))
            if both / either > best:
                best, chosen = both / either, (j, both, either)
        if chosen is None:
            bottom += np.count_nonzero(truth == i)
        else:
            used.add(chosen[0])
            top += chosen[1]
            bottom += chosen[2]
    for j in [v for v in np.unique(predicted) if v and v not in used]:
        bottom += np.count_nonzero(predicted == j)
    return top, bottom


def slow_pq(truth, predicted):
    ious = []
    for i in [v for v in np.unique(truth) if v]:
        for j in [v for v in np.unique(predicted) if v]:
            both = np.count_nonzero((truth == i) & (predicted == j))
            either = np.count_nonzero((truth == i) | (predicted == j))
            if 2 * both > either:
                ious.append(both / either)
    objects = len(np.unique(truth[truth > 0])) + len(np.unique(predicted[predicted > 0]))
    return sum(ious) / (objects / 2)


def test_overlap_of_classes_equals_scikit_learn():
    truth, predicted = maps()
    found = overlap_by_class(truth, predicted, NAMES)
    for value, name in NAMES.items():
        t, p = truth.ravel() == value, predicted.ravel() == value
        assert found[name].dice == pytest.approx(sk.f1_score(t, p), abs=1e-15)
        assert found[name].iou == pytest.approx(sk.jaccard_score(t, p), abs=1e-15)
        assert found[name].sensitivity == pytest.approx(sk.recall_score(t, p), abs=1e-15)
        assert found[name].specificity == pytest.approx(sk.recall_score(~t, ~p), abs=1e-15)


def test_an_absent_class_is_undefined_not_perfect():
    found = overlap_by_class([[0, 1]], [[1, 1]], NAMES)["stroma"]
    assert found.dice is None
    assert found.iou is None
    assert found.sensitivity is None
    assert found.specificity == 1
    assert "Dice undefined" in str(found)


def test_a_class_that_was_missed_has_a_dice_of_zero():
    found = overlap_by_class([[1, 0]], [[0, 0]], NAMES)["tumor"]
    assert (found.dice, found.iou, found.sensitivity) == (0, 0, 0)


def test_pooled_counts_are_those_of_the_joined_images():
    (a, b), (c, d) = maps(1), maps(2)
    pooled = pooled_overlap([overlap_by_class(a, b, NAMES), overlap_by_class(c, d, NAMES)])
    assert pooled == overlap_by_class(np.vstack([a, c]), np.vstack([b, d]), NAMES)


def test_pixels_that_nobody_annotated_are_left_out():
    found = overlap_by_class([[1, 9, 0]], [[1, 1, 0]], {1: "tumor"}, ignore=9)["tumor"]
    assert (found.counts.n, found.dice) == (2, 1)
    with pytest.raises(UndefinedStatistic, match="no pixel"):
        overlap_by_class([[9]], [[1]], {1: "tumor"}, ignore=9)


@given(label_maps, label_maps)
@settings(deadline=None, max_examples=80)
def test_aji_equals_kumars_algorithm_object_by_object(truth, predicted):
    found = aggregated_jaccard(truth, predicted)
    assert (found.intersection, found.union) == slow_aji(truth, predicted)


def test_aji_worked_by_hand():
    truth = np.zeros((4, 8), int)
    truth[:, :3], truth[:2, 5:7] = 1, 2  # 12 and 4 pixels
    predicted = np.zeros((4, 8), int)
    predicted[:, 1:4], predicted[3, 6:] = 5, 6  # 12 pixels, 8 shared with object 1; 2 alone
    assert aggregated_jaccard(truth, predicted).aji == 8 / (16 + 4 + 2)


@given(label_maps, label_maps)
@settings(deadline=None, max_examples=80)
def test_panoptic_quality_equals_its_definition(truth, predicted):
    if not truth.any() and not predicted.any():
        with pytest.raises(UndefinedStatistic, match="no objects"):
            _ = panoptic_quality(truth, predicted).pq
        return
    assert panoptic_quality(truth, predicted).pq == pytest.approx(
        slow_pq(truth, predicted), abs=1e-14
    )


def test_an_overlap_of_exactly_one_half_is_no_match():
    assert panoptic_quality([[1, 1]], [[7, 0]]).pq == 0
    assert panoptic_quality([[1, 1, 1]], [[7, 7, 0]]).pq == pytest.approx(2 / 3)


def test_equal_maps_are_perfect():
    truth, _ = maps()
    assert aggregated_jaccard(truth, truth).aji == 1
    assert panoptic_quality(truth, truth).pq == 1
    assert overlap_by_class(truth, truth, NAMES)["tumor"].dice == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        ([[0, 1]], [[0], [1]], r"\(1, 2\) and prediction \(2, 1\)"),
        ([[0.5, 1]], [[0, 1]], "float64"),
        ([0, 1], [0, 1], r"shape \(2,\)"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(truth, predicted, said):
    with pytest.raises(InputError, match=said):
        aggregated_jaccard(truth, predicted)


def test_the_aji_of_no_objects_is_undefined():
    with pytest.raises(UndefinedStatistic, match="no objects"):
        _ = aggregated_jaccard([[0]], [[0]]).aji
