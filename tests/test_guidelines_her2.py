"""HER2 by IHC: every row of every table, boundaries to the cell, properties over all vectors."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.guidelines import her2_breast as breast
from herscope.guidelines import her2_colorectal as colorectal
from herscope.guidelines import her2_gastric as gastric
from herscope.guidelines.her2_breast import her2_breast
from herscope.guidelines.her2_colorectal import her2_colorectal
from herscope.guidelines.her2_gastric import her2_gastric_biopsy, her2_gastric_resection
from herscope.guidelines.her2_reading import ORDER, Her2Floors
from herscope.guidelines.membrane_percent import BASOLATERAL, CLASSES, MembranePercent

SHORT = {
    "cs": "complete_intense",
    "cm": "complete_moderate",
    "cw": "complete_weak",
    "im": "incomplete_moderate",
    "iw": "incomplete_faint",
    "bs": "basolateral_intense",
    "bm": "basolateral_moderate",
    "bw": "basolateral_weak",
}
NO_FLOORS = Her2Floors(intense_percent=0, staining_percent=0)
BREAST_RULES = {rule.id for rule in breast.RULES}

vectors = st.lists(st.integers(0, 400), min_size=6, max_size=6).filter(lambda v: sum(v) >= 100)


def cells(total=1000, **short):
    """Counts: cs, cm, cw, im, iw as stated, all other cells unstained."""
    counts = {SHORT[key]: n for key, n in short.items()}
    stained = sum(n for key, n in counts.items() if key in CLASSES)
    return MembranePercent.of_counts(
        dict.fromkeys(CLASSES, 0) | counts | {"none": total - stained, "total": total}
    )


def percent(**short):
    table = dict.fromkeys((f"{name}_percent" for name in CLASSES), 0)
    table |= {f"{SHORT[key]}_percent": value for key, value in short.items()}
    stained = sum(v for k, v in table.items() if not k.startswith("basolateral"))
    return table | {"none_percent": 100 - stained}


def of_vector(vector):
    return MembranePercent.of_counts(dict(zip(CLASSES, vector, strict=True)))


@pytest.mark.parametrize(
    ("case", "score", "status", "rule"),
    [
        # 3+: complete and intense in more than 10 %
        ({"cs": 101}, "3+", "positive", breast.THREE),
        ({"cs": 1000}, "3+", "positive", breast.THREE),
        ({"cs": 101, "cw": 800}, "3+", "positive", breast.THREE),
        ({"cs": 100}, "2+", "equivocal", breast.TWO_LIMITED),
        ({"cs": 99}, "2+", "equivocal", breast.TWO_LIMITED),
        # 2+: weak to moderate, complete, in more than 10 %
        ({"cw": 101}, "2+", "equivocal", breast.TWO),
        ({"cm": 101}, "2+", "equivocal", breast.TWO),
        ({"cs": 100, "cw": 1}, "2+", "equivocal", breast.TWO),
        ({"cm": 50, "cw": 51}, "2+", "equivocal", breast.TWO),
        ({"cw": 100}, "0", "negative", breast.ZERO_FAINT),
        ({"cw": 100, "iw": 1}, "1+", "negative", breast.ONE),
        # unusual pattern a: moderate to intense, incomplete
        ({"im": 101}, "2+", "equivocal", breast.TWO_INCOMPLETE),
        ({"im": 100}, "0", "negative", breast.ZERO_FAINT),
        ({"im": 100, "iw": 1}, "1+", "negative", breast.ONE),
        # unusual pattern b: intense and complete in 10 % or less, above our floor of 1 %
        ({"cs": 11}, "2+", "equivocal", breast.TWO_LIMITED),
        ({"cs": 10}, "0", "negative", breast.ZERO_FAINT),
        ({"cs": 10, "iw": 91}, "1+", "negative", breast.ONE),
        # 1+: incomplete, faint, in more than 10 %
        ({"iw": 101}, "1+", "negative", breast.ONE),
        ({"iw": 1000}, "1+", "negative", breast.ONE),
        ({"iw": 100}, "0", "negative", breast.ZERO_FAINT),
        ({"iw": 99}, "0", "negative", breast.ZERO_FAINT),
        # 0
        ({"iw": 1}, "0", "negative", breast.ZERO_FAINT),
        ({}, "0", "negative", breast.ZERO),
    ],
)
def test_breast_scores_every_row_of_the_table_to_the_cell(case, score, status, rule):
    reading = her2_breast(cells(**case))

    assert (reading.score, reading.status, reading.rule) == (score, status, rule)
    assert reading.guideline == "ASCO/CAP 2018, affirmed 2023"


@pytest.mark.parametrize("total", [999, 1001, 12_345, 30_007])
def test_breast_cuts_between_two_cells_at_any_total(total):
    below = total // 10  # the largest count that is not more than 10 %

    assert her2_breast(cells(total, cs=below)).score == "2+"
    assert her2_breast(cells(total, cs=below + 1)).score == "3+"
    assert her2_breast(cells(total, cw=below)).score == "0"
    assert her2_breast(cells(total, cw=below + 1)).score == "2+"


@pytest.mark.parametrize("ten", [10, 10.0])
def test_ten_percent_as_written_is_exactly_ten(ten):
    assert her2_breast(MembranePercent.of_percent(percent(cw=ten))).score == "0"
    assert her2_breast(MembranePercent.of_percent(percent(cw=10.000001))).score == "2+"
    assert her2_breast(MembranePercent.of_percent(percent(cw=9.999999))).score == "0"


def test_percentages_that_add_to_ten_are_exactly_ten_where_floats_do_not():
    assert 0.3 + 7.9 + 1.8 > 10  # as binary floats
    given_percent = percent() | {
        "complete_intense_percent": 0.3,
        "complete_moderate_percent": 7.9,
        "complete_weak_percent": 1.8,
        "none_percent": 90.0,
    }

    membrane = MembranePercent.of_percent(given_percent)

    assert membrane.complete == Fraction(10)
    assert her2_breast(membrane).rule is not breast.TWO


@given(vectors)
def test_every_vector_fires_exactly_one_breast_rule(vector):
    reading = her2_breast(of_vector(vector))

    assert reading.rule.id in BREAST_RULES
    assert sum(1 for rule in _definitions(vector) if rule) == 1
    assert _definitions(vector)[_which(reading.rule)]


def _which(rule):
    return list(breast.RULES).index(rule)


def _definitions(vector):
    """Return the guideline's rows as exclusive conditions, from whole numbers alone."""
    cs, cm, cw, im, iw, _none = vector
    n, complete, stained = sum(vector), cs + cm + cw, cs + cm + cw + im + iw
    three = 10 * cs > n
    two = not three and 10 * complete > n
    partly = not three and not two and 10 * im > n
    limited = not (three or two or partly) and 100 * cs > n
    higher = three or two or partly or limited
    one = not higher and 10 * stained > n
    return [
        three,
        two,
        partly,
        limited,
        one,
        not higher and not one and stained > 0,
        stained == 0,
    ]


DARKER = (
    [("none", to) for to in CLASSES[:-1]]
    + [("incomplete_faint", to) for to in CLASSES[:4]]
    + [
        ("complete_weak", "complete_moderate"),
        ("complete_weak", "complete_intense"),
        ("complete_moderate", "complete_intense"),
        ("incomplete_moderate", "complete_intense"),
    ]
)


@pytest.mark.parametrize("floors", [NO_FLOORS, Her2Floors()], ids=["no floors", "floors"])
@given(data=st.data(), vector=vectors)
def test_more_or_darker_complete_membrane_never_lowers_a_breast_score(floors, data, vector):
    """All moves but one: from moderate incomplete, whose own 10 % line is then undercut."""
    source, target = data.draw(
        st.sampled_from([move for move in DARKER if move[0] != "incomplete_moderate"])
    )
    i, j = CLASSES.index(source), CLASSES.index(target)
    assume(vector[i] > 0)
    moved = data.draw(st.integers(1, vector[i]))
    darker = list(vector)
    darker[i] -= moved
    darker[j] += moved

    before = her2_breast(of_vector(vector), floors=floors)
    after = her2_breast(of_vector(darker), floors=floors)

    assert ORDER.index(after.score) >= ORDER.index(before.score)


def test_the_one_move_that_may_lower_a_breast_score_is_the_documented_one():
    assert her2_breast(cells(im=110)).score == "2+"
    assert her2_breast(cells(im=60, cw=50)).score == "1+"
    assert "2+ to 1+" in breast.__doc__


def test_few_cells_and_failed_controls_are_indeterminate():
    assert her2_breast(cells(99, cs=99)).score == "indeterminate"
    assert her2_breast(cells(100, cs=100)).score == "3+"
    failed = her2_breast(cells(cs=500), controls="failed")
    assert (failed.score, failed.status) == ("indeterminate", "indeterminate")
    assert failed.rule.id == "her2-breast-indeterminate-controls"
    assert failed.overlay is None
    assert "99" in her2_breast(cells(99, cs=99)).comment


@pytest.mark.parametrize(
    ("case", "ish", "overlay"),
    [
        ({"cs": 500}, "unknown", "none"),
        ({"cw": 500}, "unknown", "none"),
        ({"cw": 500}, "negative", "HER2-low"),
        ({"cw": 500}, "positive", "none"),
        ({"iw": 500}, "unknown", "HER2-low"),
        ({"iw": 500}, "negative", "HER2-low"),
        ({"iw": 500}, "positive", "none"),
        ({"iw": 100}, "unknown", "HER2-ultralow"),
        ({"iw": 11}, "unknown", "HER2-ultralow"),
        ({"iw": 10}, "unknown", "HER2-null"),  # our floor of 1 %
        ({}, "unknown", "HER2-null"),
    ],
)
def test_the_overlay_is_beside_the_score_and_never_the_score(case, ish, overlay):
    reading = her2_breast(cells(**case), ish=ish)

    assert reading.overlay.name == overlay
    assert reading.overlay.source
    assert reading.score in {"0", "1+", "2+", "3+"}
    assert reading.score == her2_breast(cells(**case)).score


def test_floors_are_parameters_and_are_printed():
    loose = Her2Floors(intense_percent=0, staining_percent=0)

    assert her2_breast(cells(cs=1), floors=loose).rule is breast.TWO_LIMITED
    assert her2_breast(cells(iw=1), floors=loose).overlay.name == "HER2-ultralow"
    assert her2_breast(cells(iw=1), floors=loose).as_block()["floors"]["staining_percent"] == 0
    assert "noise" in her2_breast(cells(cs=5)).comment


def test_scattered_intense_cells_are_not_the_limited_pattern():
    assert her2_breast(cells(cs=50), largest_intense_cluster=10).score == "2+"
    scattered = her2_breast(cells(cs=50), largest_intense_cluster=9)
    one = her2_breast(cells(cs=50, iw=100), largest_intense_cluster=9)
    assert (scattered.score, one.score) == ("0", "1+")
    assert "10 contiguous cells" in scattered.comment
    assert "10 contiguous cells" in one.next_rule


@pytest.mark.parametrize(
    ("case", "distance", "floor"),
    [
        ({"cs": 400}, 30.0, None),  # 3+ falls to 2+
        ({"cs": 20, "cw": 320}, 8.0, None),  # 2+ rises to 3+ before it could fall
        ({"cw": 120}, 2.0, None),  # 2+ falls
        ({"iw": 150}, 5.0, 1.0),  # 1+ falls to 0; a hundredth of intense cells would make it 2+
        ({"iw": 95}, 0.5, 1.0),
        ({"cs": 100}, 0.0, 9.0),  # on the cut-off: one cell more is 3+
    ],
)
def test_the_distance_is_to_the_nearest_cut_off_that_changes_the_score(case, distance, floor):
    reading = her2_breast(cells(**case))

    assert reading.distance_to_cutoff == pytest.approx(distance, abs=1e-12)
    if floor is not None:
        assert reading.distance_to_floor == pytest.approx(floor, abs=1e-12)


@given(vectors)
def test_crossing_the_nearest_cut_off_is_needed_to_change_a_score(vector):
    reading = her2_breast(of_vector(vector))
    nearest = min(
        d for d in (reading.distance_to_cutoff, reading.distance_to_floor) if d is not None
    )
    n = sum(vector)
    moved = int(nearest * n / 100 * 0.999) - 1  # a little less than the distance
    assume(moved > 0)
    for source, target in itertools.permutations(range(6), 2):
        if vector[source] < moved:
            continue
        other = list(vector)
        other[source] -= moved
        other[target] += moved
        assert her2_breast(of_vector(other)).score == reading.score


def test_it_is_told_why_the_next_higher_score_did_not_fire():
    assert her2_breast(cells(cs=20, cw=300)).next_rule == (
        "3+ needs complete, intense staining in more than 10 % (here 2 %)"
    )
    one = her2_breast(cells(iw=300, cw=40, im=30)).next_rule
    assert one.startswith("2+ needs complete staining in more than 10 % (here 4 %), or ")
    assert "(here 3 %)" in one
    assert "floor of ours" in one
    assert her2_breast(cells(cs=500)).next_rule == "3+ is the highest score"


def test_the_told_figure_never_seems_to_lie_on_the_cut_off():
    text = her2_breast(cells(100_000, iw=9_999)).next_rule

    assert "(here 9.999 %)" in text


def test_the_block_has_the_keys_of_the_result():
    block = her2_breast(cells(cw=340)).as_block()

    for key in ("score", "status", "rule", "guideline", "overlay", "probability"):
        assert key in block
    assert block["probability"] is None
    assert block["inputs"]["complete_weak_percent"] == 34.0
    assert block["inputs"]["cells"] == 1000


# Gastric, resection


@pytest.mark.parametrize(
    ("case", "score", "status"),
    [
        ({"cs": 100}, "3+", "positive"),
        ({"cs": 99}, "0", "negative"),
        ({"im": 100, "bs": 100}, "3+", "positive"),
        ({"cs": 40, "im": 60, "bs": 60}, "3+", "positive"),
        ({"im": 100, "bs": 99, "bm": 1}, "2+", "equivocal"),
        ({"cw": 100}, "2+", "equivocal"),
        ({"cm": 100}, "2+", "equivocal"),
        ({"cw": 99}, "0", "negative"),
        ({"im": 100, "bm": 100}, "2+", "equivocal"),
        ({"iw": 100, "bw": 100}, "2+", "equivocal"),
        ({"im": 100}, "2+", "equivocal"),  # basolateral not told apart
        ({"im": 99}, "0", "negative"),
        ({"im": 100, "bm": 99, "bs": 0}, "1+", "negative"),
        ({"iw": 100}, "1+", "negative"),
        ({"iw": 99}, "0", "negative"),
        ({}, "0", "negative"),
    ],
)
def test_gastric_resection_scores_every_row_from_ten_percent_on(case, score, status):
    reading = her2_gastric_resection(cells(**case))

    assert (reading.score, reading.status) == (score, status)
    assert reading.rule is gastric.RESECTION[score]


def test_a_u_shape_that_is_not_told_apart_is_said():
    assert "not told apart" in her2_gastric_resection(cells(im=300)).comment
    assert "not told apart" not in her2_gastric_resection(cells(im=300, bs=300)).comment


@given(vectors)
def test_exactly_ten_percent_separates_breast_from_stomach(vector):
    """The stomach never scores lower: its lines are looser and its shapes count more."""
    membrane = of_vector(vector)
    floors = Her2Floors(intense_percent=10)

    at_stomach = her2_gastric_resection(membrane).score

    assert ORDER.index(at_stomach) >= ORDER.index(her2_breast(membrane, floors=floors).score)


@given(data=st.data(), vector=vectors)
def test_darker_or_more_complete_membrane_never_lowers_stomach_or_colon(data, vector):
    source, target = data.draw(st.sampled_from(DARKER))
    i, j = CLASSES.index(source), CLASSES.index(target)
    assume(vector[i] > 0)
    moved = data.draw(st.integers(1, vector[i]))
    darker = list(vector)
    darker[i] -= moved
    darker[j] += moved

    for read in (her2_gastric_resection, her2_colorectal):
        before, after = read(of_vector(vector)), read(of_vector(darker))
        assert ORDER.index(after.score) >= ORDER.index(before.score)


# Gastric, biopsy


@pytest.mark.parametrize(
    ("clusters", "score", "status"),
    [
        ((5, 5, 5), "3+", "positive"),
        ((4, 5, 5), "2+", "equivocal"),
        ((4, 4, 5), "1+", "negative"),
        ((4, 4, 4), "0", "negative"),
        ((0, 0, 0), "0", "negative"),
        ((0, 5, 900), "2+", "equivocal"),
        ((0, 0, 900), "1+", "negative"),
    ],
)
def test_a_gastric_biopsy_needs_a_cluster_of_five_and_no_percentage(clusters, score, status):
    intense, moderate, faint = clusters
    reading = her2_gastric_biopsy(intense=intense, moderate=moderate, faint=faint)

    assert (reading.score, reading.status) == (score, status)
    assert reading.rule is gastric.BIOPSY[score]
    assert reading.distance_to_cutoff is None


def test_a_biopsy_is_told_which_cluster_it_lacks():
    text = her2_gastric_biopsy(intense=0, moderate=4, faint=9).next_rule

    assert text.startswith("2+ needs complete")
    assert text.endswith("in 5 or more cells of one cluster (here 4)")


def test_biopsy_clusters_must_be_nested():
    with pytest.raises(InputError, match=r"largest_cluster\.intense is 6"):
        her2_gastric_biopsy(intense=6, moderate=5, faint=9)
    with pytest.raises(InputError, match=r"largest_cluster\.faint is -1"):
        her2_gastric_biopsy(intense=0, moderate=0, faint=-1)


# Colorectal


@pytest.mark.parametrize(
    ("case", "score", "status", "rule"),
    [
        ({"cs": 1000}, "3+", "positive", colorectal.POSITIVE),
        ({"cs": 500}, "3+", "positive", colorectal.POSITIVE),
        ({"im": 500, "bs": 500}, "3+", "positive", colorectal.POSITIVE),
        ({"cs": 499}, "3+", "equivocal", colorectal.PENDING),
        ({"cs": 101}, "3+", "equivocal", colorectal.PENDING),
        ({"cs": 101, "cm": 899}, "3+", "equivocal", colorectal.PENDING),
        ({"cs": 100}, "negative", "negative", colorectal.NEGATIVE),
        ({"cm": 500}, "2+", "equivocal", colorectal.EQUIVOCAL),
        ({"im": 500, "bm": 500}, "2+", "equivocal", colorectal.EQUIVOCAL),
        ({"im": 500}, "2+", "equivocal", colorectal.EQUIVOCAL),
        ({"cs": 100, "cm": 400}, "2+", "equivocal", colorectal.EQUIVOCAL),
        ({"cm": 499}, "negative", "negative", colorectal.NEGATIVE),
        ({"cw": 1000}, "negative", "negative", colorectal.NEGATIVE),
        ({}, "negative", "negative", colorectal.NEGATIVE),
    ],
)
def test_colorectal_scores_every_row_of_heracles(case, score, status, rule):
    reading = her2_colorectal(cells(**case))

    assert (reading.score, reading.status, reading.rule) == (score, status, rule)


def test_colorectal_positive_pending_ish_says_so_and_what_would_suffice():
    reading = her2_colorectal(cells(cs=300))

    assert "ISH" in reading.comment
    assert "50 % or more" in reading.next_rule
    assert reading.distance_to_cutoff == 20.0


# Bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"complete_weak_percent": -1}, ["complete_weak_percent", "-1", "0 to 100"]),
        ({"complete_weak_percent": 101}, ["complete_weak_percent", "101", "0 to 100"]),
        ({"none_percent": 60}, ["sum to 70", "tolerance 0.5"]),
        ({"none_percent": 90.6}, ["sum to 100.6"]),
        ({"complete_weak_percent": "ten"}, ["complete_weak_percent", "'ten'"]),
        ({"complete_weak_percent": None}, ["complete_weak_percent", "None"]),
        ({"complete_weak_percent": True}, ["complete_weak_percent", "True"]),
        ({"complete_weak_percent": float("nan")}, ["complete_weak_percent", "finite"]),
        ({"basolateral_weak_percent": 3}, ["basolateral_weak_percent", "incomplete_faint"]),
    ],
)
def test_percentages_that_cannot_be_are_refused_with_the_key(change, words):
    with pytest.raises(InputError) as caught:
        MembranePercent.of_percent(percent(cw=10) | change)

    for word in words:
        assert word in caught.value.message
    assert caught.value.hint


def test_rounded_percentages_may_miss_hundred_by_half_a_point():
    MembranePercent.of_percent(percent(cw=10) | {"none_percent": 90.5})
    MembranePercent.of_percent(percent(cw=10) | {"none_percent": 89.5})


def test_a_missing_key_is_named_and_an_unknown_one_gets_the_nearest_name():
    table = percent(cw=10)
    del table["incomplete_faint_percent"]
    with pytest.raises(InputError, match="incomplete_faint_percent is missing"):
        MembranePercent.of_percent(table)
    with pytest.raises(InputError) as caught:
        MembranePercent.of_percent(percent(cw=10) | {"complet_weak_percent": 1})
    assert "did you mean complete_weak_percent?" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"none": -1}, "none is -1"),
        ({"none": 1.5}, "none is 1.5"),
        ({"none": True}, "none is True"),
        ({"total": 7}, "total says 7"),
        ({"basolateral_intense": 1}, "more than incomplete_moderate"),
    ],
)
def test_counts_that_cannot_be_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        MembranePercent.of_counts(dict.fromkeys(CLASSES, 0) | {"none": 5} | change)


def test_no_cell_is_an_error_not_a_score():
    with pytest.raises(UndefinedStatistic):
        MembranePercent.of_counts(dict.fromkeys(CLASSES, 0))


def test_unknown_states_are_refused_with_the_allowed_ones():
    for options in ({"controls": "fine"}, {"ish": "maybe"}):
        with pytest.raises(InputError) as caught:
            her2_breast(cells(cw=1), **options)
        assert "unknown" in caught.value.hint


def test_every_her2_rule_has_its_own_id_and_a_source():
    rules = [
        *breast.RULES,
        *gastric.RESECTION.values(),
        *gastric.BIOPSY.values(),
        colorectal.POSITIVE,
        colorectal.PENDING,
        colorectal.EQUIVOCAL,
        colorectal.NEGATIVE,
    ]

    assert len({rule.id for rule in rules}) == len(rules) == 19
    assert all(rule.source and rule.text for rule in rules)
    assert set(BASOLATERAL.values()) <= set(CLASSES)
