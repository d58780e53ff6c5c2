"""Agreement of categories: each coefficient against a published value and an independent oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats import inter_rater, proportion

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.categories import count_pairs, counts_of, find_scale
from herscope.stats.agreement.kappa import cohen_kappa, kappa_of_counts
from herscope.stats.agreement.krippendorff import krippendorff_alpha, krippendorff_alpha_of_labels
from herscope.stats.agreement.multi_rater import count_ratings, fleiss_kappa, gwet_ac, rating_counts
from herscope.stats.agreement.overall import (
    category_agreement,
    concordance_of_counts,
    overall_concordance,
)

GRADES = ("0", "1+", "2+", "3+")
NAN = math.nan

# Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section C: 4 observers, 12 units.
KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]

# Fleiss, Psychol Bull 1971;76:378, table 1: 30 patients, 6 psychiatrists, 5 diagnoses.
FLEISS_1971 = np.array(
    [
        *[[0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0]],
        *[[2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6]],
        *[[1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1]],
        *[[0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0], [0, 2, 0, 4, 0], [1, 0, 2, 0, 3]],
        *[[0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0], [1, 0, 0, 4, 1]],
        *[[0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6]],
    ]
)


def random_readers(seed: int, n: int = 60) -> tuple[list[str], list[str]]:
    rng = np.random.Generator(np.random.PCG64(seed))
    first = rng.integers(0, 4, n)
    second = np.clip(first + rng.choice([-1, 0, 0, 0, 1, 2], n), 0, 3)
    return [GRADES[k] for k in first], [GRADES[k] for k in second]


@pytest.mark.parametrize(
    ("weights", "wt", "sklearn_weights"),
    [("none", None, None), ("linear", "linear", "linear"), ("quadratic", "fc", "quadratic")],
)
def test_cohen_kappa_and_its_interval_equal_statsmodels_and_scikit_learn(
    weights, wt, sklearn_weights
):
    for seed in range(5):
        a, b = random_readers(seed)

        ours = cohen_kappa(a, b, weights=weights)

        theirs = inter_rater.cohens_kappa(count_pairs(a, b).counts, wt=wt)
        assert ours.value == pytest.approx(theirs.kappa, abs=1e-12)
        assert ours.low == pytest.approx(theirs.kappa_low, abs=1e-12)
        assert ours.high == pytest.approx(theirs.kappa_upp, abs=1e-12)
        theirs = cohen_kappa_score(a, b, labels=list(GRADES), weights=sklearn_weights)
        assert ours.value == pytest.approx(theirs, abs=1e-12)


def test_kappa_of_fleiss_cohen_and_everitt_1969_comes_out():
    # Their table 1 as shares of 200 cases: kappa .429, variance .002885 unweighted.
    table = counts_of([[106, 10, 4], [22, 28, 10], [2, 12, 6]])

    result = kappa_of_counts(table)

    assert result.value == pytest.approx(0.4286, abs=5e-4)
    error = (result.high - result.low) / 2 / 1.959964
    assert error**2 == pytest.approx(0.002885, abs=2e-5)


def test_gwets_abstractors_give_kappa_0_7964_with_standard_error_0_0589():
    result = kappa_of_counts(counts_of([[13, 0, 0], [0, 20, 7], [0, 4, 56]]))

    assert result.value == pytest.approx(0.7964094, abs=5e-8)
    assert result.counts["p_observed"] == pytest.approx(0.89)
    assert (result.low, result.high) == pytest.approx((0.680, 0.913), abs=2e-3)


def test_autoihc_contest_24_of_28_with_balanced_truth_gives_kappa_0_8095():
    table = counts_of([[6, 1, 0, 0], [0, 6, 1, 0], [0, 1, 6, 0], [0, 0, 1, 6]])

    result = kappa_of_counts(table)

    assert result.counts["agreed"] == 24
    assert result.counts["p_expected"] == pytest.approx(0.25)
    assert round(result.value, 4) == 0.8095


def test_kappa_is_undefined_when_both_readers_use_one_category():
    with pytest.raises(UndefinedStatistic, match=r"'0'.*0/0"):
        cohen_kappa(["0"] * 9, ["0"] * 9)


def test_perfect_agreement_gives_kappa_1_without_a_false_certainty():
    result = cohen_kappa(["0", "1+", "2+"] * 7, ["0", "1+", "2+"] * 7, weights="linear")

    assert result.value == 1.0
    assert result.low is None
    assert "never differ" in result.method


def test_a_grade_that_nobody_used_still_counts_as_a_step():
    a, b = ["0", "1+", "3+", "3+", "0"], ["0", "3+", "3+", "1+", "1+"]

    result = cohen_kappa(a, b, weights="linear")

    assert result.value == pytest.approx(
        cohen_kappa_score(a, b, labels=list(GRADES), weights="linear")
    )
    assert "0 < 1+ < 2+ < 3+" in result.method


def test_weights_need_an_order_and_the_hint_says_so():
    with pytest.raises(InputError, match="no known order") as caught:
        cohen_kappa(["Basal", "LumA"], ["LumA", "Basal"], weights="linear")
    assert "state the order" in caught.value.hint
    stated = cohen_kappa(
        ["Basal", "LumA"], ["LumA", "Basal"], weights="linear", order=["LumA", "Basal"]
    )
    assert stated.value == -1.0


def test_two_spellings_of_one_grade_are_refused():
    with pytest.raises(InputError, match=r"mean the same grade"):
        find_scale(["0", "1", "1+"])


@pytest.mark.parametrize(
    ("labels", "names", "ordered"),
    [
        (["3+", "0"], ("0", "1+", "2+", "3+"), True),
        (["1+", "2+"], ("0", "1+", "2+", "3+"), True),
        (["8", "0", "2"], tuple("012345678"), True),
        (["Positive", "negative"], ("negative", "equivocal", "Positive"), True),
        (["luminal", "basal"], ("basal", "luminal"), False),
    ],
)
def test_the_scale_of_labels_is_found(labels, names, ordered):
    scale = find_scale(labels)

    assert (scale.names, scale.ordered) == (names, ordered)


def test_a_missing_label_is_refused_with_its_row():
    with pytest.raises(InputError, match="reader B, row 3"):
        cohen_kappa(["0", "1", "1"], ["0", "1", None])
    with pytest.raises(InputError, match="different numbers of rows: a 2, b 1"):
        cohen_kappa(["0", "1"], ["0"])


def test_fleiss_1971_worked_example_gives_0_430():
    result = fleiss_kappa(rating_counts(FLEISS_1971))

    assert round(result.value, 3) == 0.430
    assert round(result.counts["p_observed"], 3) == 0.556
    assert round(result.counts["p_expected"], 3) == 0.220
    theirs = inter_rater.fleiss_kappa(FLEISS_1971, method="fleiss")
    assert result.value == pytest.approx(theirs, abs=1e-12)


def test_gwets_published_values_for_six_raters_come_out():
    # Gwet's irrCAC documentation, dataset distrib.6raters: the first 15 patients of Fleiss 1971.
    ratings = rating_counts(FLEISS_1971[:15])

    ac1, kappa = gwet_ac(ratings), fleiss_kappa(ratings)

    assert ac1.value == pytest.approx(0.4448007, abs=5e-8)
    assert (round(ac1.low, 3), round(ac1.high, 3)) == (0.264, 0.625)
    assert kappa.value == pytest.approx(0.4139265, abs=5e-8)
    assert (round(kappa.low, 3), round(kappa.high, 3)) == (0.240, 0.588)


def test_gwets_published_values_with_missing_ratings_come_out():
    # Gwet's irrCAC documentation, dataset cac.raw4raters: Krippendorff's 2011 example.
    ratings = count_ratings(
        [[None if math.isnan(v) else int(v) for v in row] for row in KRIPPENDORFF_2011]
    )

    ac1, kappa = gwet_ac(ratings), fleiss_kappa(ratings)

    assert round(ac1.value, 5) == 0.77544
    assert (round(ac1.low, 3), ac1.high) == (0.461, 1.0)
    assert ac1.counts["p_expected"] == pytest.approx(0.1903212, abs=5e-8)
    assert round(kappa.value, 5) == 0.76117
    assert (round(kappa.low, 3), kappa.high) == (0.424, 1.0)


def test_gwet_ac1_of_two_readers_has_its_published_value():
    ratings = count_ratings(
        [
            ["E"] * 13 + ["A"] * 27 + ["N"] * 60,
            ["E"] * 13 + ["A"] * 20 + ["N"] * 7 + ["A"] * 4 + ["N"] * 56,
        ]
    )

    assert gwet_ac(ratings).value == pytest.approx(0.8493305, abs=5e-8)


def test_gwet_ac2_forgives_near_misses_as_its_equation_says():
    counts = [[2, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 2], [1, 0, 1]]

    result = gwet_ac(rating_counts(counts), weights="quadratic")

    w = 1 - (np.subtract.outer(range(3), range(3)) / 2) ** 2
    observed = np.mean([1, 0.75, 0.75, 1, 0])
    share = np.array([4, 2, 4]) / 10
    expected = w.sum() / 6 * (share * (1 - share)).sum()
    assert result.value == pytest.approx((observed - expected) / (1 - expected))


@pytest.mark.parametrize(
    ("measurement", "published"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_krippendorff_2011_example_gives_its_published_alpha(measurement, published):
    result = krippendorff_alpha(KRIPPENDORFF_2011, measurement=measurement, n_resamples=200)

    assert round(result.value, 3) == published
    assert result.counts["pairable_values"] == 40
    assert result.left_out == {"units with fewer than two values": 1}
    assert result.low < result.value < result.high


@pytest.mark.parametrize("measurement", ["nominal", "ordinal", "interval", "ratio"])
def test_krippendorff_alpha_equals_its_coincidence_matrix_written_out(measurement):
    rng = np.random.Generator(np.random.PCG64(8))
    data = rng.integers(1, 6, (3, 20)).astype(float)
    data[rng.random((3, 20)) < 0.2] = np.nan

    ours = krippendorff_alpha(data, measurement=measurement, n_resamples=100).value

    assert ours == pytest.approx(coincidence_alpha(data, measurement), abs=1e-12)


def coincidence_alpha(data: np.ndarray, measurement: str) -> float:
    values = np.unique(data[~np.isnan(data)])
    matrix = np.zeros((values.size, values.size))
    for unit in data.T:
        there = unit[~np.isnan(unit)]
        if there.size < 2:
            continue
        for i, x in enumerate(there):
            for j, y in enumerate(there):
                if i != j:
                    matrix[values == x, values == y] += 1 / (there.size - 1)
    margin = matrix.sum(axis=1)

    def apart(c: int, k: int) -> float:
        low, high = min(c, k), max(c, k)
        return {
            "nominal": float(c != k),
            "ordinal": margin[low : high + 1].sum() - (margin[c] + margin[k]) / 2,
            "interval": values[c] - values[k],
            "ratio": (values[c] - values[k]) / (values[c] + values[k]),
        }[measurement] ** 2

    pairs = [(c, k) for c in range(values.size) for k in range(values.size) if c != k]
    observed = sum(matrix[c, k] * apart(c, k) for c, k in pairs)
    expected = sum(margin[c] * margin[k] * apart(c, k) for c, k in pairs)
    return 1 - (margin.sum() - 1) * observed / expected


def test_the_bootstrap_of_alpha_is_the_same_every_time_and_follows_the_seed():
    first = krippendorff_alpha(KRIPPENDORFF_2011, measurement="ordinal", n_resamples=300)
    again = krippendorff_alpha(KRIPPENDORFF_2011, measurement="ordinal", n_resamples=300)
    other = krippendorff_alpha(KRIPPENDORFF_2011, measurement="ordinal", n_resamples=300, seed=1)

    assert first == again
    assert first.low != other.low


def test_alpha_of_labels_uses_the_full_scale_and_refuses_ordinal_without_order():
    readers = [["0", "3+", "3+", None], ["0", "3+", "1+", "0"]]

    assert krippendorff_alpha_of_labels(readers, measurement="ordinal", n_resamples=200).n == 3
    with pytest.raises(InputError, match="no known order"):
        krippendorff_alpha_of_labels([["x", "y"], ["x", "y"]], measurement="ordinal")


def test_coefficients_of_several_readers_are_undefined_for_one_category_or_no_pairs():
    for coefficient in (fleiss_kappa, gwet_ac):
        with pytest.raises(UndefinedStatistic, match="all ratings are"):
            coefficient(count_ratings([["0", "0"], ["0", "0"]]))
        with pytest.raises(UndefinedStatistic, match="no case has two"):
            coefficient(count_ratings([["0", None], [None, "1"]]))
    with pytest.raises(UndefinedStatistic, match="alike"):
        krippendorff_alpha([[1, 1], [1, 1]], measurement="interval")
    with pytest.raises(UndefinedStatistic, match="no unit has two"):
        krippendorff_alpha([[1, NAN], [NAN, 1]], measurement="interval")


def test_overall_concordance_has_wilsons_interval_and_keeps_met_and_shown_apart():
    low, high = proportion.proportion_confint(92, 100, method="wilson")

    held = overall_concordance(["0"] * 100, ["0"] * 92 + ["1+"] * 8, line=0.90)

    assert (held.estimate.low, held.estimate.high) == pytest.approx((low, high))
    assert (held.met, held.shown) == (True, False)
    assert concordance_of_counts(counts_of([[500, 5], [5, 490]])).shown
    with pytest.raises(InputError, match="line is 90"):
        overall_concordance(["0"], ["0"], line=90)


def test_positive_agreement_is_the_f1_score_and_its_bounds_are_wilsons_carried_over():
    pairs = counts_of([[20, 5], [10, 15]])

    row = category_agreement(pairs)[0]

    assert row.positive.value == pytest.approx(2 * 20 / (2 * 20 + 15))
    assert row.negative.value == pytest.approx(2 * 15 / (2 * 15 + 15))
    low, high = proportion.proportion_confint(20, 35, method="wilson")
    assert row.positive.low == pytest.approx(2 * low / (1 + low))
    assert row.positive.high == pytest.approx(2 * high / (1 + high))
    assert row.with_reference.value == pytest.approx(20 / 30)


def test_a_category_nobody_used_has_no_positive_agreement():
    rows = {row.category: row for row in category_agreement(count_pairs(["0", "3+"], ["0", "3+"]))}

    assert rows["2+"].positive is None
    assert rows["2+"].with_reference is None
    assert rows["2+"].negative.value == 1.0
