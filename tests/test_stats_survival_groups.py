"""Number needed to treat, cut-offs and group tests against published values, scipy and counting."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.survival.cut_source import read_cut
from herscope.stats.survival.group_tests import chi_square, cross_table, levene, mann_whitney
from herscope.stats.survival.number_needed import number_needed_to_treat, proportion_difference
from herscope.stats.survival.risk_groups import HIGH, LOW, CutOff, median_cut, risk_groups
from herscope.stats.table import read_table

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
MUMO = DATA / "clinical" / "mumo_NO_LICENCE" / "anti_her2.csv"
real = pytest.mark.skipif(not MUMO.is_file(), reason="the shared data folder is absent")


# -- number needed to treat ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_differences_have_newcombes_published_intervals(counts, low, high):
    found = proportion_difference(*counts)

    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_differences_are_statsmodels_newcombe():
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(17, 40, 9, 55, method="newcomb", compare="diff")

    found = proportion_difference(17, 40, 9, 55)

    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)


def test_mumo_number_needed_to_treat_comes_out():
    found = number_needed_to_treat(36, 38, 4, 10)

    assert [round(v, 2) for v in (found.value, found.low, found.high)] == [1.83, 1.28, 4.24]
    assert found.opposite is None
    assert str(found) == "NNTB 1.83 [1.28 to 4.24], n 48"


def test_exchanged_groups_are_a_number_needed_to_harm():
    found = number_needed_to_treat(4, 10, 36, 38)

    assert found.direction == "harm"
    assert round(found.high, 2) == 4.24


def test_a_difference_that_may_be_zero_runs_through_infinity():
    found = number_needed_to_treat(12, 20, 10, 20)

    assert found.high == np.inf
    assert found.low == pytest.approx(1 / found.difference.high)
    assert found.opposite == pytest.approx(-1 / found.difference.low)
    assert "to infinity to NNTH" in str(found)
    assert found.document()["high"] is None


def test_number_needed_refuses_what_is_undefined():
    with pytest.raises(UndefinedStatistic, match="infinite"):
        number_needed_to_treat(2, 4, 5, 10)
    with pytest.raises(UndefinedStatistic, match="second group has no patients"):
        number_needed_to_treat(2, 4, 0, 0)
    with pytest.raises(InputError, match="first group has 5 good outcomes of 4"):
        number_needed_to_treat(5, 4, 1, 10)


# -- cut-offs --------------------------------------------------------------------------------------


def test_a_risk_equal_to_the_cut_off_is_low():
    groups = risk_groups([0.2, 0.5, 0.51], CutOff(0.5, "training cohort"))

    assert groups.labels == (LOW, LOW, HIGH)
    assert groups.counts == {HIGH: 1, LOW: 2}
    assert groups.notes == ()


def test_a_cut_off_from_the_same_patients_warns():
    cut = median_cut([1, 2, 3], "these patients", same_data=True)

    assert "same patients" in risk_groups([1, 2, 3], cut).notes[0]


def test_a_cut_off_needs_a_source_and_two_sides():
    with pytest.raises(InputError, match="without a source"):
        CutOff(0.5, " ")
    with pytest.raises(UndefinedStatistic, match="all 2 risks are at or below") as caught:
        risk_groups([0.1, 0.2], CutOff(50, "percent, of the training cohort"))
    assert "0.1 to 0.2" in caught.value.hint


def test_a_median_of_other_files_pools_them_and_knows_the_table_itself(tmp_path):
    other, third, same = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "copy.csv"
    other.write_text("risk\n1\n2\n3\n")
    third.write_text("risk\n10\n20\n")
    subject = tmp_path / "subject.csv"
    subject.write_text("risk\n7\n8\n")
    same.write_bytes(subject.read_bytes())

    cut = read_cut(["median-of", str(other), str(third)], risk="risk", subject=subject)
    assert (cut.value, cut.same_data) == (3.0, False)
    assert "a.csv, b.csv" in cut.source
    assert read_cut(["median-of", str(same)], risk="risk", subject=subject).same_data
    assert read_cut(["median"], risk="risk", subject=subject) is None
    for words in (["half"], ["median-of"], ["0.5", "0.7"]):
        with pytest.raises(InputError, match="the cut-off is"):
            read_cut(words, risk="risk", subject=subject)


# -- group tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 4), (8, 12), (20, 20), (1, 5)])
def test_exact_mann_whitney_without_ties_is_scipy(sizes):
    rng = np.random.default_rng(sum(sizes))
    a, b = rng.normal(0.6, 1, sizes[0]), rng.normal(0, 1, sizes[1])

    found = mann_whitney(a, b)

    theirs = scipy.stats.mannwhitneyu(a, b, method="exact")
    assert found.statistic == theirs.statistic
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-12)
    assert "exact" in found.method


def test_exact_mann_whitney_with_ties_counts_every_deal():
    a, b = [1, 1, 2, 5], [2, 3, 3, 5, 5]
    ranks = scipy.stats.rankdata(a + b)
    sums = np.array([ranks[list(deal)].sum() for deal in combinations(range(9), 4)])
    middle = 4 * 10 / 2
    truth = np.mean(np.abs(sums - middle) >= abs(ranks[:4].sum() - middle) - 1e-9)

    assert mann_whitney(a, b).p_value == pytest.approx(truth, abs=1e-15)


def test_large_mann_whitney_with_ties_is_scipy_asymptotic():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 10, 50), rng.integers(1, 11, 40)

    found = mann_whitney(a, b)

    theirs = scipy.stats.mannwhitneyu(a, b, method="asymptotic")
    assert (found.statistic, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize("centre", ["median", "mean"])
def test_levene_is_scipy(centre):
    rng = np.random.default_rng(2)
    groups = {name: rng.normal(0, s, n) for name, s, n in (("a", 1, 20), ("b", 2, 15), ("c", 1, 9))}

    found = levene(groups, centre=centre)

    theirs = scipy.stats.levene(*groups.values(), center=centre)
    assert (found.statistic, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize("yates", [False, True])
@pytest.mark.parametrize("table", [[[29, 26], [92, 28]], [[3, 2], [1, 9]]])
def test_chi_square_is_scipy(table, yates):
    found = chi_square(table, yates=yates)

    theirs = scipy.stats.chi2_contingency(table, correction=yates)
    assert (found.statistic, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_chi_square_of_a_larger_table_is_scipy_and_tells_small_expected_counts():
    table = [[12, 3, 1], [7, 9, 2]]

    found = chi_square(table)

    theirs = scipy.stats.chi2_contingency(table)
    assert (found.statistic, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.counts["expected below 5"] == int((theirs.expected_freq < 5).sum()) > 0
    assert "below 5" in found.method


def test_group_tests_refuse_what_is_undefined():
    with pytest.raises(UndefinedStatistic, match="all 4 values are 2"):
        mann_whitney([2, 2], [2, 2])
    with pytest.raises(UndefinedStatistic, match="group B"):
        mann_whitney([2, 2], [])
    with pytest.raises(InputError, match="group A, row 2"):
        mann_whitney([2, float("nan")], [1])
    with pytest.raises(UndefinedStatistic, match="equally far"):
        levene({"a": [1, 1], "b": [2, 2]})
    with pytest.raises(UndefinedStatistic, match="a row or a column"):
        chi_square([[0, 0], [3, 4]])
    with pytest.raises(InputError, match="Yates"):
        chi_square([[1, 2, 3], [4, 5, 6]], yates=True)


# -- golden values of the MuMo table (methods.md 4.3) ----------------------------------------------


def labelled(column):
    table = read_table(MUMO)
    table = table.where([c != "-1" for c in table.labels("response_label")], "unlabelled")
    table = table.complete([column], drop_missing=True)
    return table, np.array(table.labels("response_label")) == "1"


@real
def test_mumo_chi_square_of_label_and_peritoneum_comes_out():
    table, _ = labelled("peritoneal_metastasis")

    crossed = cross_table(table.labels("response_label"), table.labels("peritoneal_metastasis"))
    found = chi_square(crossed.counts)

    assert crossed.counts.tolist() == [[29, 26], [92, 28]]
    assert found.statistic == pytest.approx(10.130, abs=5e-4)
    assert found.p_value == pytest.approx(0.0015, abs=5e-5)


@real
def test_mumo_chi_square_of_label_and_line_comes_out():
    table, responder = labelled("treatment_line")
    # "1(postoperative recurrence)" is a first line too.
    later = [not line.startswith("1") for line in table.labels("treatment_line")]

    crossed = cross_table(responder.astype(str), np.array(later).astype(str))

    assert crossed.counts.tolist() == [[40, 24], [122, 22]]
    assert chi_square(crossed.counts).statistic == pytest.approx(12.703, abs=5e-4)


@real
def test_mumo_mann_whitney_of_lymphocytes_comes_out():
    table, responder = labelled("tils")
    tils = table.numbers("tils")

    found = mann_whitney(tils[responder], tils[~responder])

    assert found.statistic == 1474.5
    assert found.p_value == pytest.approx(0.829, abs=5e-4)
    assert (found.counts["n a"], found.counts["n b"]) == (89, 34)
