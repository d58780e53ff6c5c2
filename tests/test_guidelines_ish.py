"""ISH groups and what they mean beside IHC: all cells of the table, boundaries as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herscope.core.errors import InputError
from herscope.guidelines import ish
from herscope.guidelines.ish import her2_ish, ish_group

CASES = {1: (2.0, 4.0), 2: (2.0, 3.99), 3: (1.99, 6.0), 4: (1.99, 5.99), 5: (1.99, 3.99)}
TABLE = {  # IHC 3+, 2+, 0 or 1+
    1: ("positive", "positive", "positive"),
    2: ("positive", "recount", "negative"),
    3: ("positive", "recount", "negative"),
    4: ("positive", "recount", "negative"),
    5: ("review", "negative", "negative"),
}


@pytest.mark.parametrize(
    ("ratio", "copies", "group"),
    [
        (2.0, 4.0, 1),
        (2, 4, 1),
        (2.0, 3.999999, 2),
        (1.999999, 6.0, 3),
        (1.999999, 5.999999, 4),
        (1.999999, 4.0, 4),
        (1.999999, 3.999999, 5),
        (0, 0, 5),
        (0.5, 40, 3),
        (9.0, 0.5, 2),
    ],
)
def test_groups_change_exactly_at_ratio_two_and_at_four_and_six_copies(ratio, copies, group):
    assert ish_group(ratio, copies) == group


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5])
def test_every_cell_of_the_ish_table(group):
    three, two, low = TABLE[group]
    found = {ihc: her2_ish(*CASES[group], ihc, 20) for ihc in ("0", "1+", "2+", "3+")}

    assert {ihc: reading.status for ihc, reading in found.items()} == {
        "3+": three,
        "2+": two,
        "1+": low,
        "0": low,
    }
    assert {reading.group for reading in found.values()} == {group}
    assert {reading.rule.id for reading in found.values()} == {f"her2-ish-2018-group-{group}"}


def test_negative_results_of_groups_two_to_four_carry_their_own_comment():
    comments = {her2_ish(*CASES[group], "1+", 20).comment for group in (2, 3, 4)}

    assert len(comments) == 3
    assert "" not in comments


@pytest.mark.parametrize(("group", "status"), [(2, "negative"), (3, "positive"), (4, "negative")])
def test_an_unchanged_recount_decides_a_2_plus(group, status):
    reading = her2_ish(*CASES[group], "2+", 20, recounted=(*CASES[group], 20))

    assert (reading.group, reading.status) == (group, status)
    assert bool(reading.comment) == (status == "negative")
    assert reading.her2_low == (status == "negative")


def test_a_recount_that_moves_the_case_is_for_review():
    reading = her2_ish(*CASES[4], "2+", 20, recounted=(*CASES[1], 20))

    assert (reading.status, reading.rule) == ("review", ish.MOVED)
    assert not reading.her2_low


def test_group_five_with_3_plus_is_discordant_and_a_recount_cannot_resolve_it():
    reading = her2_ish(*CASES[5], "3+", 20)

    assert reading.status == "review"
    assert "Discordant" in reading.comment
    with pytest.raises(InputError, match="group 5 with IHC 3"):
        her2_ish(*CASES[5], "3+", 20, recounted=(*CASES[5], 20))


def test_twenty_cells_are_needed_in_both_counts():
    assert her2_ish(2.5, 8, "2+", 20).status == "positive"
    assert her2_ish(2.5, 8, "2+", 19).status == "indeterminate"
    again = her2_ish(*CASES[4], "2+", 40, recounted=(*CASES[4], 19))
    assert (again.status, again.rule) == ("indeterminate", ish.TOO_FEW)


@pytest.mark.parametrize(
    ("group", "ihc", "low"),
    [
        (5, "2+", True),
        (5, "1+", True),
        (5, "0", False),
        (5, "3+", False),
        (4, "1+", True),
        (4, "2+", False),  # a recount is due
        (1, "1+", False),
        (1, "2+", False),
    ],
)
def test_her2_low_is_a_negative_ish_with_1_or_2_plus(group, ihc, low):
    assert her2_ish(*CASES[group], ihc, 20).her2_low is low


@given(st.floats(0, 20), st.floats(0, 100), st.sampled_from(["0", "1+", "2+", "3+"]))
def test_every_ratio_and_copy_number_has_one_group_and_one_status(ratio, copies, ihc):
    reading = her2_ish(ratio, copies, ihc, 20)

    assert reading.group in {1, 2, 3, 4, 5}
    assert (reading.status == "review") == (reading.group == 5 and ihc == "3+")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ((-1, 4, "2+", 20), "ratio is -1"),
        ((2, -4, "2+", 20), "copies is -4"),
        ((float("nan"), 4, "2+", 20), "ratio is not a finite"),
        (("two", 4, "2+", 20), "ratio is 'two'"),
        ((2, 4, "2", 20), "ihc is '2'"),
        ((2, 4, "2+", 20.5), "cells_counted is 20.5"),
        ((2, 4, "2+", -20), "cells_counted is -20"),
    ],
)
def test_impossible_ish_input_is_refused(case, message):
    with pytest.raises(InputError, match=message) as caught:
        her2_ish(*case)

    assert caught.value.hint
