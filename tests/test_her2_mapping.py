"""HER2 from H-score and PCMS: monotone, exact, readable, refuses what is no table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.tree import DecisionTreeClassifier

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.measure.completeness import CompletenessSpec
from herscope.measure.intensity import GradeSpec
from herscope.score.her2.mapping import GRADES, Box, Her2MappingSpec
from herscope.score.her2.mapping_fit import MIN_LEAF, fit_mapping


def planted(h, pcms):
    """A table of depth 3: PCMS first, then the H-score."""
    if pcms >= 10:
        return "3+" if h >= 200 else "2+"
    return "1+" if h >= 40 else "0"


def cases(n, seed=0, noise=0.0):
    draw = np.random.Generator(np.random.PCG64(seed))
    h, pcms = draw.uniform(0, 300, n), draw.uniform(0, 100, n) ** 1.5 / 10
    scores = [planted(a, b) for a, b in zip(h, pcms, strict=True)]
    wrong = draw.uniform(size=n) < noise
    other = draw.integers(0, 4, n)
    return h, pcms, [GRADES[o] if w else s for s, w, o in zip(scores, wrong, other, strict=True)]


def table(*boxes, **changes):
    values = {"name": "t", "source": "s", "cuts": (0.2, 0.4, 0.6), "complete_share": 0.85}
    made = [Box(score=s, h_score=h, pcms_percent=p) for s, h, p in boxes]
    return Her2MappingSpec(boxes=tuple(made), **(values | changes))


def test_a_planted_rule_comes_back():
    h, pcms, scores = cases(24, seed=4)
    found = fit_mapping(h, pcms, scores, min_leaf=1)
    assert found.predict(h, pcms) == scores
    new_h, new_pcms, new = cases(2000, seed=9)
    told = found.predict(new_h, new_pcms)
    assert np.mean([a == b for a, b in zip(told, new, strict=True)]) > 0.85


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 100), st.sampled_from(GRADES)),
        min_size=2,
        max_size=30,
    ).filter(lambda rows: len({row[2] for row in rows}) > 1),
    st.integers(1, 4),
)
def test_a_higher_case_never_has_a_lower_score(rows, min_leaf):
    h, pcms, scores = zip(*rows, strict=True)
    found = fit_mapping(h, pcms, scores, min_leaf=min_leaf)
    # The Spec refuses boxes that overlap, leave a gap or are not monotone.
    spec = found.spec(name="n", source="s", cuts=(0.2, 0.4, 0.6), complete_share=0.85)
    grid = list(itertools.product(range(0, 301, 25), range(0, 101, 10)))
    rank = {at: GRADES.index(spec.predict(*at)) for at in grid}
    for (a, b), (c, d) in itertools.pairwise(grid):
        assert (c, d) != (a, b)
        assert rank[a, b] <= rank[max(a, c), max(b, d)]


def test_a_threshold_is_never_the_top_of_the_scale() -> None:
    found = fit_mapping([0, 0], [99, 100], ["0", "1+"], min_leaf=1)
    spec = found.spec(name="n", source="s", cuts=(0.2, 0.4, 0.6), complete_share=0.85)
    assert (spec.predict(0, 99), spec.predict(0, 100)) == ("0", "1+")


def smallest_error(h, pcms, ranks, depth, lo=0, hi=3):
    """Try every monotone tree by brute force; no shared code with the fit."""
    best = min(sum(abs(r - k) for r in ranks) for k in range(lo, hi + 1))
    if depth == 0:
        return best
    for values in (h, pcms):
        for cut in sorted(set(values))[1:]:
            up = [v >= cut for v in values]
            parts = [
                [
                    [x for x, u in zip(column, up, strict=True) if u is side]
                    for column in (h, pcms, ranks)
                ]
                for side in (False, True)
            ]
            for middle in range(lo, hi + 1):
                found = smallest_error(*parts[0], depth - 1, lo, middle)
                if found < best:
                    best = min(best, found + smallest_error(*parts[1], depth - 1, middle, hi))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_no_monotone_tree_has_a_smaller_error(seed):
    draw = np.random.Generator(np.random.PCG64(seed))
    h, pcms = draw.integers(0, 8, 12) * 30.0, draw.integers(0, 8, 12) * 10.0
    ranks = draw.integers(0, 4, 12).tolist()
    scores = [GRADES[r] for r in ranks]
    for depth in (1, 2, 3):
        told = fit_mapping(h, pcms, scores, depth=depth, min_leaf=1).predict(h, pcms)
        error = sum(abs(GRADES.index(t) - r) for t, r in zip(told, ranks, strict=True))
        assert error == smallest_error(h.tolist(), pcms.tolist(), ranks, depth)


def test_it_is_about_as_right_on_new_cases_as_another_tree():
    h, pcms, scores = cases(60, seed=1, noise=0.1)
    found = fit_mapping(h, pcms, scores)
    other = DecisionTreeClassifier(max_depth=3, min_samples_leaf=MIN_LEAF, random_state=0)
    other.fit(np.stack([h, pcms], axis=1), scores)
    new_h, new_pcms, new = cases(1500, seed=2)
    ours = np.mean(np.array(found.predict(new_h, new_pcms)) == np.array(new))
    theirs = other.score(np.stack([new_h, new_pcms], axis=1), new)
    assert ours > 0.8
    assert ours >= theirs - 0.08


def test_the_fit_does_not_depend_on_the_order_of_cases():
    h, pcms, scores = cases(40, seed=3, noise=0.2)
    order = np.random.Generator(np.random.PCG64(1)).permutation(40)
    again = fit_mapping(h[order], pcms[order], [scores[i] for i in order])
    assert again == fit_mapping(h, pcms, scores)


def test_every_box_holds_enough_cases_and_depth_is_kept():
    h, pcms, scores = cases(50, seed=5, noise=0.3)
    found = fit_mapping(h, pcms, scores)
    held = [sum(box.holds(a, b) for a, b in zip(h, pcms, strict=True)) for box in found.boxes]
    assert min(held) >= MIN_LEAF
    assert sum(held) == 50
    assert len(found.boxes) <= 8
    assert len(fit_mapping(h, pcms, scores, depth=1).boxes) <= 2


def test_hundreds_of_cases_are_fitted_on_fewer_thresholds():
    h, pcms, scores = cases(400, seed=6)
    told = fit_mapping(h, pcms, scores).predict(h, pcms)
    assert np.mean([a == b for a, b in zip(told, scores, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([("0", (0, 300), (0, 50))], "lies in 0 boxes"),
        ([("0", (0, 300), (0, 100)), ("1+", (100, 300), (0, 100))], "lies in 2 boxes"),
        ([("2+", (0, 100), (0, 100)), ("1+", (100, 300), (0, 100))], "lowers the score"),
        ([("2+", (0, 300), (0, 40)), ("1+", (0, 300), (40, 100))], "lowers the score"),
        ([("0", (0, 310), (0, 100))], "no range"),
        ([("0", (50, 50), (0, 100))], "no range"),
    ],
)
def test_a_table_with_gaps_overlaps_or_steps_down_is_refused(boxes, said):
    with pytest.raises(ValidationError, match=said):
        table(*boxes)


def test_edges_belong_to_the_upper_box_and_the_tops_are_included():
    spec = table(("0", (0, 100), (0, 100)), ("3+", (100, 300), (0, 100)))
    assert [spec.predict(h, 100) for h in (0, 99.99, 100, 300)] == ["0", "0", "3+", "3+"]


@pytest.mark.parametrize("case", [(-1, 5), (301, 5), (10, 101), (float("nan"), 5)])
def test_a_case_that_cannot_be_is_refused(case):
    spec = table(("0", (0, 300), (0, 100)))
    with pytest.raises(InputError, match="H-score"):
        spec.predict(*case)


def test_a_mapping_says_when_the_cut_offs_are_others():
    spec = table(("0", (0, 300), (0, 100)))
    assert spec.why_not(GradeSpec(), CompletenessSpec()) == ""
    assert "cut-offs" in spec.why_not(GradeSpec(cuts=(0.2, 0.4, 0.7)), CompletenessSpec())
    assert "complete_share" in spec.why_not(GradeSpec(), CompletenessSpec(complete_share=0.9))


def test_the_block_beside_the_rule_names_the_mapping_and_its_source():
    block = table(("1+", (0, 300), (0, 100))).alternative(12.5, 3.0)
    assert (block.score, block.h_score, block.mapping, block.source) == ("1+", 12.5, "t", "s")


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        (["0", "0", "0"], UndefinedStatistic),
        (["0", "4+", "1+"], InputError),
        (["0", "1+"], InputError),
    ],
)
def test_cases_that_cannot_be_learnt_from_are_refused(scores, error):
    with pytest.raises(error):
        fit_mapping([1, 2, 3], [1, 2, 3], scores)
    with pytest.raises(InputError, match="PCMS"):
        fit_mapping([1, 2, 3], [1, 2, 300], ["0", "1+", "1+"])
