"""ER, PR, Ki-67 and Allred: boundaries to the cell, and properties over all counts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.guidelines import hormone_receptor, ki67
from herscope.guidelines.allred import PROPORTION_RULES, allred
from herscope.guidelines.hormone_receptor import er_reading, pr_reading
from herscope.guidelines.ki67 import ki67_reading, net_grade
from herscope.guidelines.rule import GradeCounts, Rule

READINGS = [allred, er_reading, pr_reading, ki67_reading, net_grade]
ER_ORDER = ["negative", "low positive", "positive"]
KI67_ORDER = ["low", "not reliable", "high"]

counts_of_cells = st.lists(st.integers(0, 5000), min_size=4, max_size=4).filter(any)


def positives(n: int, total: int) -> list[int]:
    return [total - n, n, 0, 0]


@pytest.mark.parametrize(
    ("positive", "total", "score"),
    [
        (0, 1_000_000, 0),
        (1, 1_000_000, 1),
        (9, 1000, 1),
        (10, 1000, 2),
        (100, 1000, 2),  # exactly 10 %: QuPath says 3
        (101, 1000, 3),
        (333, 1000, 3),
        (334, 1000, 4),
        (1000, 3000, 3),  # exactly a third
        (1001, 3000, 4),
        (2000, 3000, 4),  # exactly two thirds
        (2001, 3000, 5),
        (666, 1000, 4),
        (667, 1000, 5),
        (1, 1, 5),
    ],
)
def test_allred_proportion_changes_exactly_at_the_original_fractions(positive, total, score):
    result = allred(positives(positive, total))

    assert result.proportion == score
    assert result.rule == PROPORTION_RULES[score]


@pytest.mark.parametrize(
    ("counts", "intensity"),
    [
        ([5, 0, 0, 0], 0),
        ([0, 4, 0, 0], 1),
        ([0, 1, 1, 0], 2),  # mean 1.5: a tie goes to the stronger grade
        ([0, 1_000_001, 1_000_000, 0], 1),
        ([0, 0, 1, 1], 3),  # mean 2.5
        ([0, 0, 1_000_001, 1_000_000], 2),
        ([9, 1, 0, 1], 2),
        ([9, 0, 0, 1], 3),
    ],
)
def test_allred_intensity_is_the_rounded_mean_grade_of_positive_cells(counts, intensity):
    assert allred(counts).intensity == intensity


@given(counts_of_cells)
def test_allred_total_is_never_one_and_is_the_sum_of_its_parts(counts):
    result = allred(counts)

    assert result.total == result.proportion + result.intensity
    assert result.total in {0, 2, 3, 4, 5, 6, 7, 8}
    assert (result.total == 0) == (sum(counts[1:]) == 0)
    assert result.status == ("positive" if result.total > 2 else "negative")


@given(counts_of_cells, st.integers(0, 2), st.integers(1, 5000))
def test_darker_cells_never_lower_a_proportion_or_an_er_or_ki67_category(counts, grade, moved):
    assume(counts[grade] > 0)
    darker = list(counts)
    darker[grade] -= min(moved, counts[grade])
    darker[grade + 1] += min(moved, counts[grade])

    assert allred(darker).proportion >= allred(counts).proportion
    for read, order in (
        (er_reading, ER_ORDER),
        (pr_reading, ER_ORDER),
        (ki67_reading, KI67_ORDER),
    ):
        assert order.index(read(darker).category) >= order.index(read(counts).category)
        assert read(darker).percent >= read(counts).percent


@given(counts_of_cells, st.integers(1, 2), st.integers(1, 5000))
def test_a_stained_cell_that_darkens_never_lowers_the_allred_total(counts, grade, moved):
    assume(counts[grade] > 0)
    darker = list(counts)
    darker[grade] -= min(moved, counts[grade])
    darker[grade + 1] += min(moved, counts[grade])

    assert allred(darker).total >= allred(counts).total


@given(counts_of_cells, st.integers(2, 50))
def test_scores_depend_on_shares_not_on_the_number_of_cells(counts, times):
    many = [times * n for n in counts]

    assert allred(many) == allred(counts)
    assert er_reading(many).category == er_reading(counts).category
    assert pr_reading(many).category == pr_reading(counts).category
    assert ki67_reading(many).category == ki67_reading(counts).category


@pytest.mark.parametrize(
    ("positive", "category"),
    [
        (0, "negative"),
        (9, "negative"),
        (10, "low positive"),
        (100, "low positive"),
        (101, "positive"),
        (1000, "positive"),
    ],
)
def test_er_changes_at_one_and_just_above_ten_percent(positive, category):
    assert er_reading(positives(positive, 1000)).category == category


@pytest.mark.parametrize(
    ("positive", "category"),
    [(0, "negative"), (9, "negative"), (10, "positive"), (100, "positive")],
)
def test_pr_has_the_one_percent_line_and_no_low_category(positive, category):
    assert pr_reading(positives(positive, 1000)).category == category


def test_only_er_low_positive_carries_the_comment_on_endocrine_therapy():
    low, high = er_reading(positives(50, 1000)), er_reading(positives(500, 1000))

    assert hormone_receptor.LOW_POSITIVE_COMMENT in low.comment
    assert high.comment == ""
    assert hormone_receptor.LOW_POSITIVE_COMMENT not in pr_reading(positives(50, 1000)).comment


@pytest.mark.parametrize("read", [er_reading, pr_reading])
def test_the_control_is_reported_up_to_ten_percent_and_not_above(read):
    for state, text in hormone_receptor.CONTROL_COMMENTS.items():
        assert text in read(positives(0, 1000), internal_control=state).comment
        assert text in read(positives(100, 1000), internal_control=state).comment
        assert text not in read(positives(101, 1000), internal_control=state).comment


def test_an_unknown_control_state_is_refused_and_the_allowed_ones_are_named():
    with pytest.raises(InputError) as caught:
        er_reading([1, 0, 0, 0], internal_control="fine")

    assert "absent" in caught.value.hint


def test_er_names_the_average_intensity_and_ki67_does_not():
    assert er_reading([50, 0, 0, 50]).intensity == "strong"
    assert er_reading([50, 0, 0, 0]).intensity == "none"
    assert ki67_reading([50, 0, 0, 50]).intensity is None


@pytest.mark.parametrize(
    ("positive", "category", "rule"),
    [
        (0, "low", ki67.LOW),
        (50, "low", ki67.LOW),
        (51, "not reliable", ki67.NOT_RELIABLE),
        (299, "not reliable", ki67.NOT_RELIABLE),
        (300, "high", ki67.HIGH),
        (1000, "high", ki67.HIGH),
    ],
)
def test_ki67_is_usable_up_to_five_and_from_thirty_percent(positive, category, rule):
    result = ki67_reading(positives(positive, 1000))

    assert (result.category, result.rule) == (category, rule)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(1, 500))
def test_ki67_ignores_how_strong_the_staining_is(weak, moderate, strong, negative):
    graded = ki67_reading([negative, weak, moderate, strong])
    flat = ki67_reading([negative, weak + moderate + strong, 0, 0])

    assert graded == flat


@pytest.mark.parametrize(
    ("positive", "grade"), [(0, "G1"), (29, "G1"), (30, "G2"), (200, "G2"), (201, "G3")]
)
def test_net_grade_changes_at_three_and_just_above_twenty_percent(positive, grade):
    assert net_grade(positives(positive, 1000)).category == grade


def test_net_grade_needs_five_hundred_cells():
    assert net_grade(positives(1, 500)).category == "G1"
    with pytest.raises(UndefinedStatistic, match="499"):
        net_grade(positives(1, 499))


@pytest.mark.parametrize("read", READINGS)
def test_no_cells_is_an_error_with_a_hint_not_a_number(read):
    with pytest.raises(UndefinedStatistic) as caught:
        read([0, 0, 0, 0])

    assert caught.value.hint


@pytest.mark.parametrize("read", READINGS)
@pytest.mark.parametrize("bad", [[1, 2, 3], [1, 2, 3, 4, 5], [1, -1, 3, 4], [1.0, 2, 3, 4], "abcd"])
def test_counts_that_are_not_four_whole_numbers_are_refused(read, bad):
    with pytest.raises(InputError):
        read(bad)


def test_counts_may_come_as_numpy_integers():
    assert er_reading(np.array([1, 2, 3, 4])).positive == 9
    assert type(er_reading(np.array([1, 2, 3, 4])).percent) is float


def test_a_reading_cannot_be_changed_and_says_who_says_so():
    result = er_reading([900, 60, 30, 10])

    with pytest.raises(dataclasses.FrozenInstanceError):
        result.category = "positive"
    assert str(result) == "ER low positive: 10.0 % of 1,000 cells, ASCO/CAP ER and PgR testing 2020"


def test_every_rule_has_its_own_id_a_year_and_a_source():
    rules = [*PROPORTION_RULES, *ki67.NET_GRADES]
    for module in (hormone_receptor, ki67):
        rules += [value for value in vars(module).values() if isinstance(value, Rule)]

    assert len({rule.id for rule in rules}) == len(rules) == 17
    assert all(1985 <= rule.year <= 2026 and rule.source and rule.text for rule in rules)


def test_mean_positive_grade_agrees_with_fractions():
    from fractions import Fraction

    for counts in np.ndindex(1, 7, 7, 7):
        if not any(counts):
            continue
        positive = sum(counts)
        mean = Fraction(counts[1] + 2 * counts[2] + 3 * counts[3], positive)
        whole, rest = divmod(mean, 1)

        assert GradeCounts.checked(counts).mean_positive_grade == whole + (rest >= Fraction(1, 2))
