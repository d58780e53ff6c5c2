"""From sectors to a guideline's class: exact at every boundary, and never wrong way round."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import ValidationError

from herscope.guidelines.her2_gastric import her2_gastric_resection
from herscope.guidelines.membrane_percent import BASOLATERAL, CLASSES, MembranePercent
from herscope.measure.completeness import (
    MEMBRANE_CLASSES,
    NOT_EVALUABLE,
    SECTORS,
    UNSEEN,
    CompletenessSpec,
    class_counts,
    classify,
    count_sectors,
    u_shaped,
)

CUTS = (200, 400, 600)
SPEC = CompletenessSpec()
NAMES = (*MEMBRANE_CLASSES, "not_evaluable")


def least(share: float, sectors: int = SECTORS) -> int:
    """Fewest of so many sectors that are this share."""
    return math.ceil(Fraction(repr(share)) * sectors)


def cell(*parts: tuple[int, int]) -> NDArray[np.int16]:
    """Arcs one after the other, (sectors, milli-OD); the rest is bare."""
    values = [od for sectors, od in parts for _ in range(sectors)]
    return np.array([*values, *[0] * (SECTORS - len(values))], np.int16)


def spread(sectors: int, od: int, rest: int = 0) -> NDArray[np.int16]:
    """So many sectors, spaced evenly."""
    out = np.full(SECTORS, rest, np.int16)
    out[np.floor(np.arange(sectors) * SECTORS / max(sectors, 1)).astype(int)] = od
    return out


def name_of(sectors: NDArray[np.int16], spec: CompletenessSpec = SPEC) -> str:
    return NAMES[classify(sectors[None], CUTS, spec).code[0]]


def grade_of(sectors: NDArray[np.int16]) -> int:
    return int(classify(sectors[None], CUTS, SPEC).grade[0])


def shaped(sectors: NDArray[np.int16]) -> bool:
    return bool(classify(sectors[None], CUTS, SPEC).u_shaped[0])


def test_a_cut_off_is_reached_at_its_very_value() -> None:
    counts = count_sectors(cell((8, 200), (8, 199), (8, 400), (8, 600))[None], CUTS)
    assert counts.seen.tolist() == [SECTORS]
    assert counts.reached.tolist() == [[24, 16, 8]]
    assert counts.shares().tolist() == [[0.75, 0.5, 0.25]]


def test_an_unseen_sector_is_neither_stained_nor_bare() -> None:
    sectors = cell((8, 700))
    sectors[16:] = UNSEEN
    counts = count_sectors(sectors[None], CUTS)
    assert counts.seen.tolist() == [16]
    assert counts.shares().tolist() == [[0.5, 0.5, 0.5]]
    nothing = count_sectors(np.full((1, SECTORS), UNSEEN, np.int16), CUTS)
    assert nothing.seen.tolist() == [0]
    assert np.isnan(nothing.shares()).all()


def test_a_cut_off_below_everything_still_leaves_the_unseen_out() -> None:
    sectors = np.full((1, SECTORS), UNSEEN, np.int16)
    sectors[0, :4] = -300
    assert count_sectors(sectors, (-40_000, 0, 1)).reached.tolist() == [[4, 0, 0]]


@pytest.mark.parametrize(
    ("sectors", "expected"),
    [
        (spread(28, 700), "complete_intense"),  # 27.2 of 32 are 85 %
        (spread(27, 700), "incomplete_moderate"),
        (cell((16, 600), (16, 200)), "complete_intense"),
        (cell((15, 600), (17, 200)), "complete_weak"),
        (cell((15, 600), (1, 400), (16, 200)), "complete_moderate"),
        (cell((15, 400), (17, 399)), "complete_weak"),
        (cell((32, 599)), "complete_moderate"),
        (cell((32, 399)), "complete_weak"),
        (cell((32, 199)), "none"),
        (cell((7, 200)), "incomplete_faint"),  # 6.4 of 32 are 20 %
        (cell((6, 900)), "none"),
        (cell((10, 400)), "incomplete_moderate"),  # 9.6 of 32 are 30 %
        (cell((9, 900), (10, 200)), "incomplete_faint"),
        (cell((9, 900), (1, 400), (10, 200)), "incomplete_moderate"),
        (cell((27, 399)), "incomplete_faint"),
    ],
)
def test_a_class_begins_at_its_sector_and_not_one_before(sectors, expected: str) -> None:
    assert name_of(sectors) == expected


@pytest.mark.parametrize(
    ("sectors", "grade"),
    [
        (cell((32, 700)), 3),
        (cell((32, 500)), 2),
        (cell((32, 300)), 1),
        (cell((32, 100)), 0),
        (cell((10, 600), (10, 200)), 3),
        (cell((9, 600), (10, 400)), 2),
        (cell((9, 600), (10, 200)), 1),
        (cell((6, 600)), 0),
    ],
)
def test_the_grade_is_that_of_the_complete_or_of_the_patch(sectors, grade: int) -> None:
    assert grade_of(sectors) == grade


@pytest.mark.parametrize("seen", [24, 25, 29, 32])
@pytest.mark.parametrize(
    ("share", "od", "rest", "reached", "missed"),
    [
        ("complete_share", 200, 0, "complete_weak", "incomplete_faint"),
        ("intensity_share", 600, 200, "complete_intense", "complete_weak"),
        ("stained_share", 200, 0, "incomplete_faint", "none"),
        ("patch_share", 400, 0, "incomplete_moderate", "incomplete_faint"),
    ],
)
@pytest.mark.parametrize("step", range(4))
def test_shares_are_exact_for_any_number_of_seen_sectors(
    share: str, od: int, rest: int, reached: str, missed: str, seen: int, step: int
) -> None:
    values = {"complete_share": 0.55, "stained_share": 0.15, "patch_share": 0.25}
    value = round(values.get(share, 0.35) + step * (0.05 if share != "patch_share" else 0.06), 2)
    spec = CompletenessSpec(**{share: value})
    count = least(value, seen)
    assert Fraction(count - 1, seen) < Fraction(repr(value)) <= Fraction(count, seen)
    for number, expected in ((count, reached), (count - 1, missed)):
        sectors = cell((number, od), (seen - number, rest), (SECTORS - seen, UNSEEN))
        assert name_of(sectors, spec) == expected


@pytest.mark.parametrize(("seen", "evaluable"), [(24, True), (23, False), (0, False)])
def test_a_cell_of_which_too_little_is_seen_has_no_class(seen: int, evaluable: bool) -> None:
    sectors = cell((seen, 700), (SECTORS - seen, UNSEEN))
    found = classify(sectors[None], CUTS, SPEC)
    assert (found.code[0] == NOT_EVALUABLE) != evaluable
    assert found.grade[0] == (3 if evaluable else 0)
    assert not found.u_shaped[0]


def test_an_unseen_gap_does_not_make_a_membrane_incomplete() -> None:
    assert name_of(cell((24, 700), (8, UNSEEN))) == "complete_intense"


@pytest.mark.parametrize(
    ("what", "sectors", "expected"),
    [
        ("one arc of half the way", cell((16, 700)), True),
        ("one arc of less", cell((15, 700)), False),
        ("one arc that is all but complete", cell((27, 700)), True),
        ("complete", cell((28, 700)), False),
        ("one arc with a hole of one sector", cell((9, 700), (1, 0), (10, 700)), True),
        ("one arc and a speck", cell((17, 700), (6, 0), (1, 700)), True),
        ("two opposite arcs", cell((8, 700), (8, 0), (8, 700)), True),
        ("two arcs almost opposite", cell((8, 700), (4, 0), (8, 700)), True),
        ("two arcs side by side", cell((8, 700), (3, 0), (8, 700)), False),
        ("a long arc and a short one", cell((11, 700), (8, 0), (6, 700)), False),
        ("a long arc and one just long enough", cell((10, 700), (8, 0), (7, 700)), True),
        ("three arcs", cell((6, 700), (4, 0), (6, 700), (4, 0), (6, 700)), False),
        ("every other sector", spread(16, 700), False),
        ("nothing", cell(), False),
    ],
)
def test_a_u_is_one_arc_or_two_opposite_ones(what: str, sectors, expected: bool) -> None:
    for turn in range(SECTORS):
        assert shaped(np.roll(sectors, turn)) == expected, (what, turn)


def test_a_u_is_told_by_the_first_cut_off_and_keeps_its_grade() -> None:
    found = classify(np.stack([cell((20, 300)), cell((20, 700)), cell((20, 190))]), CUTS, SPEC)
    assert found.u_shaped.tolist() == [True, True, False]
    assert class_counts(found) == dict.fromkeys((*CLASSES, *BASOLATERAL), 0) | {
        "incomplete_moderate": 1,
        "incomplete_faint": 1,
        "none": 1,
        "basolateral_intense": 1,
        "basolateral_weak": 1,
    }


def test_the_names_are_those_of_the_guidelines() -> None:
    assert MEMBRANE_CLASSES == CLASSES
    names = list(class_counts(classify(np.zeros((0, SECTORS), np.int16), CUTS, SPEC)))
    assert names == [*CLASSES, *BASOLATERAL]


@pytest.mark.parametrize(
    "shares",
    [
        {"stained_share": 0.4},
        {"u_share": 0.2},
        {"complete_share": 0.5},
        {"complete_share": 0.55, "u_share": 0.6},
        {"seen_share": 0},
        {"shape": 1},
    ],
)
def test_shares_that_contradict_each_other_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CompletenessSpec(**shares)


ODS = st.sampled_from([-100, 0, 150, 199, 200, 250, 399, 400, 500, 599, 600, 900, 32767])
CELLS = hnp.arrays(np.int16, (SECTORS,), elements=ODS)
PATCHY = st.lists(st.tuples(st.integers(1, 12), ODS), min_size=1, max_size=6).map(
    lambda arcs: np.resize(np.repeat([od for _, od in arcs], [n for n, _ in arcs]), SECTORS)
)
STAINED = st.one_of(CELLS, PATCHY).map(lambda sectors: sectors.astype(np.int16))
BLIND = st.sets(st.integers(0, SECTORS - 1), max_size=12)


@given(STAINED, BLIND)
def test_every_cell_has_exactly_one_class_and_a_grade_that_fits(sectors, blind: set[int]) -> None:
    sectors[list(blind)] = UNSEEN
    found = classify(sectors[None], CUTS, SPEC)
    code, grade = int(found.code[0]), int(found.grade[0])
    counts = class_counts(found)
    assert sum(counts[name] for name in CLASSES) == (code != NOT_EVALUABLE)
    allowed = {0: {3}, 1: {2}, 2: {1}, 3: {2, 3}, 4: {1}, 5: {0}, NOT_EVALUABLE: {0}}
    assert grade in allowed[code]
    if found.u_shaped[0]:
        assert code in {3, 4}
    if code != NOT_EVALUABLE:
        MembranePercent.of_counts(counts)  # every U is part of the class it must be part of


NEARLY = st.tuples(st.integers(5, 16), st.sampled_from([400, 600]), st.integers(12, 22)).map(
    lambda it: np.resize(np.repeat([it[1], 200, 0], [it[0], it[2], SECTORS]), SECTORS)
)
"""Stained almost all around, a part of it more strongly."""


@given(st.one_of(STAINED, NEARLY), BLIND, st.integers(0, SECTORS - 1), st.integers(0, 2000))
def test_a_darker_sector_never_lowers_the_class(sectors, blind, which: int, more: int) -> None:
    sectors = sectors.astype(np.int16)
    sectors[list(blind)] = UNSEEN
    darker = sectors.copy()
    if darker[which] != UNSEEN:
        darker[which] = min(int(darker[which]) + more, 32767)
    before, after = (classify(each[None], CUTS, SPEC) for each in (sectors, darker))
    assert after.code[0] <= before.code[0]
    if (before.code[0] <= 2) == (after.code[0] <= 2):
        assert after.grade[0] >= before.grade[0]


@given(st.one_of(STAINED, NEARLY), st.tuples(*[st.integers(0, 150)] * 3))
def test_lower_cut_offs_never_lower_the_class(sectors, fall: tuple[int, int, int]) -> None:
    sectors = sectors.astype(np.int16)
    low, middle, high = sorted(cut - less for cut, less in zip(CUTS, fall, strict=True))
    before = classify(sectors[None], CUTS, SPEC)
    after = classify(sectors[None], (low, middle, high), SPEC)
    assert after.code[0] <= before.code[0]
    if (before.code[0] <= 2) == (after.code[0] <= 2):
        assert after.grade[0] >= before.grade[0]


@pytest.mark.parametrize("od", [400, 600])
def test_closing_a_u_never_lowers_what_a_guideline_counts_it_as(od: int) -> None:
    open_, closed = (
        classify(cell((10, od), (stained, 200))[None], CUTS, SPEC) for stained in (17, 18)
    )
    assert open_.u_grade[0] >= 1
    assert closed.grade[0] >= open_.u_grade[0]


def test_closing_membranes_never_lowers_a_gastric_score() -> None:
    scores = []
    for sectors in (cell((10, 600), (17, 200)), cell((10, 600), (18, 200))):
        counts = class_counts(classify(np.repeat(sectors[None], 200, axis=0), CUTS, SPEC))
        scores.append(her2_gastric_resection(MembranePercent.of_counts(counts)).score)
    assert scores[1] >= scores[0], scores


@given(STAINED, BLIND, st.integers(0, SECTORS - 1))
def test_turning_or_mirroring_a_cell_changes_nothing(sectors, blind: set[int], turn: int) -> None:
    sectors[list(blind)] = UNSEEN
    for other in (np.roll(sectors, turn), np.roll(sectors[::-1], turn)):
        here, there = (classify(each[None], CUTS, SPEC) for each in (sectors, other))
        assert here.code == there.code
        assert here.grade == there.grade
        assert here.u_shaped == there.u_shaped


@given(st.lists(STAINED, max_size=12))
def test_cells_are_classified_each_by_itself_and_counts_add(cells) -> None:
    together = np.array(cells, np.int16).reshape(-1, SECTORS)
    found = classify(together, CUTS, SPEC)
    parts = [class_counts(classify(each[None], CUTS, SPEC)) for each in together]
    whole = class_counts(found)
    assert whole == {name: sum(part[name] for part in parts) for name in whole}
    assert found.u_shaped.tolist() == [
        bool(one) and 3 <= code <= 4
        for one, code in zip(u_shaped(together, CUTS[0], SPEC), found.code, strict=True)
    ]
