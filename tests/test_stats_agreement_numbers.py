"""Agreement of numbers: each statistic against a published value and an independent oracle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.agreement.bland_altman import bland_altman
from herscope.stats.agreement.concordance import lin_concordance
from herscope.stats.agreement.correlation import fisher_interval, kendall_tau_b, pearson, spearman
from herscope.stats.agreement.icc import FORMS, intraclass_correlation, mean_squares
from herscope.stats.agreement.method_comparison import deming, passing_bablok
from herscope.stats.agreement.paired import (
    mean_absolute_error,
    sign_agreement,
    wilcoxon_signed_rank,
)

# Bland and Altman, Lancet 1986;i:307, table: first readings, l/min, of 17 subjects.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Shrout and Fleiss, Psychol Bull 1979;86:420, table 2: 4 judges, 6 targets.
SHROUT_FLEISS = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]


def readings(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = rng.uniform(0, 300, n)
    return truth + rng.normal(0, 15, n), 1.05 * truth + 5 + rng.normal(0, 15, n)


@pytest.mark.parametrize(
    ("form", "published", "low", "high"),
    [
        ("1,1", 0.17, -0.13, 0.72),
        ("2,1", 0.29, 0.02, 0.76),
        ("3,1", 0.71, 0.34, 0.95),
        ("1,k", 0.44, -0.88, 0.91),
        ("2,k", 0.62, 0.07, 0.93),
        ("3,k", 0.91, 0.68, 0.99),
    ],
)
def test_shrout_fleiss_1979_table_4_and_its_intervals_come_out(form, published, low, high):
    result = intraclass_correlation(SHROUT_FLEISS, form)

    # ICC(3,1) is 0.7148, which the paper prints as .71.
    assert result.value == pytest.approx(published, abs=0.005)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.005)


def test_mean_squares_equal_the_analysis_of_variance_of_statsmodels():
    table = np.array(SHROUT_FLEISS, float)
    reader, case = np.indices(table.shape)
    frame = pd.DataFrame({"y": table.ravel(), "reader": reader.ravel(), "case": case.ravel()})
    anova = sm.stats.anova_lm(ols("y ~ C(reader) + C(case)", frame).fit())

    ours = mean_squares(SHROUT_FLEISS)

    theirs = anova["sum_sq"] / anova["df"]
    assert ours.readers == pytest.approx(theirs["C(reader)"])
    assert ours.cases == pytest.approx(theirs["C(case)"])
    assert ours.residual == pytest.approx(theirs["Residual"])
    within = anova["sum_sq"]["C(reader)"] + anova["sum_sq"]["Residual"]
    assert ours.within == pytest.approx(within / 18)


def test_the_interval_of_icc_1_1_covers_the_truth_as_often_as_it_says():
    rng = np.random.Generator(np.random.PCG64(4))
    hits = 0
    for _ in range(300):
        cases = rng.normal(0, 1, 12)
        result = intraclass_correlation(cases + rng.normal(0, 1, (3, 12)), "1,1")
        hits += result.low <= 0.5 <= result.high

    assert 0.92 < hits / 300 < 0.98


def test_icc_refuses_what_it_cannot_say():
    with pytest.raises(UndefinedStatistic, match="alike"):
        intraclass_correlation([[5, 5, 5], [5, 5, 5]], "2,1")
    with pytest.raises(InputError, match="reader 2, row 3: the value is missing"):
        intraclass_correlation([[1, 2, 3], [1, 2, math.nan]], "2,1")
    with pytest.raises(UndefinedStatistic, match="at least 2 cases"):
        intraclass_correlation([[1], [2]], "1,1")
    for form in FORMS:
        same = intraclass_correlation([[1, 2, 3], [1, 2, 3]], form)
        assert same.value == 1.0
        assert same.low is None


def test_bland_altman_1986_peak_flow_gives_its_published_digits():
    result = bland_altman(WRIGHT, MINI, multiple=2, limit_error="1986")

    # Printed: bias -2.1, SD 38.8, limits -79.7 and 75.5 from those rounded numbers; intervals
    # -22.0 to 17.8, -114.3 to -45.1 and 40.9 to 110.1.
    bias, sd = round(result.bias.value, 1), round(result.sd, 1)
    assert (bias, sd) == (-2.1, 38.8)
    assert (round(bias - 2 * sd, 1), round(bias + 2 * sd, 1)) == (-79.7, 75.5)
    assert (result.lower.value, result.upper.value) == pytest.approx((-79.7, 75.5), abs=0.1)
    assert (result.bias.low, result.bias.high) == pytest.approx((-22.0, 17.8), abs=0.06)
    assert (result.lower.low, result.lower.high) == pytest.approx((-114.3, -45.1), abs=0.2)
    assert (result.upper.low, result.upper.high) == pytest.approx((40.9, 110.1), abs=0.2)


def test_bland_altman_bias_and_slope_equal_statsmodels():
    a, b = readings(1)
    difference = a - b

    result = bland_altman(a, b)

    low, high = sm.stats.DescrStatsW(difference).tconfint_mean()
    assert (result.bias.low, result.bias.high) == pytest.approx((low, high))
    fit = sm.OLS(difference, sm.add_constant((a + b) / 2)).fit()
    assert result.slope.value == pytest.approx(fit.params[1])
    assert (result.slope.low, result.slope.high) == pytest.approx(tuple(fit.conf_int()[1]))
    assert result.slope_test.p_value == pytest.approx(fit.pvalues[1])


def test_limits_hold_the_stated_share_and_their_intervals_cover_the_true_limits():
    rng = np.random.Generator(np.random.PCG64(5))
    hits = 0
    for _ in range(400):
        result = bland_altman(rng.normal(0, 1, 50), np.zeros(50))
        hits += result.upper.low <= 1.959964 <= result.upper.high

    assert 0.92 < hits / 400 < 0.98


def test_a_constant_difference_has_no_limits():
    with pytest.raises(UndefinedStatistic, match="all 3 differences are 1"):
        bland_altman([2, 3, 4], [1, 2, 3])


def test_lin_concordance_of_the_peak_flow_meters_is_0_943():
    result = lin_concordance(WRIGHT, MINI)

    assert round(result.value, 3) == 0.943
    assert result.counts["pearson_r"] == pytest.approx(stats.pearsonr(WRIGHT, MINI).statistic)
    assert result.value == pytest.approx(result.counts["pearson_r"] * result.counts["bias_factor"])


def test_the_interval_of_lin_concordance_covers_the_truth():
    rng = np.random.Generator(np.random.PCG64(6))
    mean, cov = [0.0, 0.3], [[1.0, 0.8], [0.8, 1.2]]
    truth = 2 * 0.8 / (1.0 + 1.2 + 0.09)
    hits = 0
    for _ in range(400):
        a, b = rng.multivariate_normal(mean, cov, 80).T
        result = lin_concordance(a, b)
        hits += result.low <= truth <= result.high

    assert 0.92 < hits / 400 < 0.98


def test_passing_bablok_equals_theil_and_sen_where_no_slope_is_below_minus_1():
    rng = np.random.Generator(np.random.PCG64(7))
    x = np.sort(rng.uniform(0, 100, 25))
    y = 1.2 * x + 4 + rng.normal(0, 0.01, 25)

    line = passing_bablok(x, y)

    assert line.slope.counts["slopes_below_minus_1"] == 0
    theirs = stats.theilslopes(y, x)
    assert line.slope.value == pytest.approx(theirs.slope)
    assert (line.slope.low, line.slope.high) == pytest.approx(
        (theirs.low_slope, theirs.high_slope), rel=1e-4
    )


def test_passing_bablok_gives_the_inverse_line_when_the_methods_are_exchanged():
    a, b = readings(2, 31)

    forward, backward = passing_bablok(a, b), passing_bablok(b, a)

    assert forward.slope.counts["slopes_below_minus_1"] > 0
    assert forward.slope.value == pytest.approx(1 / backward.slope.value)
    assert forward.slope.low == pytest.approx(1 / backward.slope.high)


def test_passing_bablok_equals_the_paper_written_out_pair_by_pair():
    rng = np.random.Generator(np.random.PCG64(9))
    x = rng.integers(0, 30, 24).astype(float)  # ties on purpose
    y = x + rng.integers(-4, 5, 24)

    line = passing_bablok(x, y)

    slopes = []
    for i, j in itertools.combinations(range(24), 2):
        if x[i] == x[j]:
            slopes += [math.copysign(math.inf, y[i] - y[j])] if y[i] != y[j] else []
        elif (y[i] - y[j]) / (x[i] - x[j]) != -1:
            slopes.append((y[i] - y[j]) / (x[i] - x[j]))
    slopes.sort()
    n, shift = len(slopes), sum(s < -1 for s in slopes)
    if n % 2:
        slope = slopes[(n + 1) // 2 + shift - 1]
    else:
        slope = (slopes[n // 2 + shift - 1] + slopes[n // 2 + shift]) / 2
    c = 1.959964 * math.sqrt(24 * 23 * 53 / 18)
    m1 = round((n - c) / 2)
    assert line.slope.value == pytest.approx(slope)
    assert line.slope.low == slopes[m1 + shift - 1]
    assert line.slope.high == slopes[n - m1 + 1 + shift - 1]
    assert line.intercept.low == pytest.approx(np.median(y - line.slope.high * x))


def test_the_cusum_test_sees_a_curve_and_passes_a_line():
    rng = np.random.Generator(np.random.PCG64(10))
    x = np.linspace(0, 10, 80)
    noise = rng.normal(0, 0.3, 80)

    straight, curved = passing_bablok(x, x + noise), passing_bablok(x, x**2 / 5 + noise)

    assert straight.linearity.p_value > 0.05
    assert curved.linearity.p_value < 0.01


@pytest.mark.parametrize("ratio", [1.0, 0.25, 4.0])
def test_deming_line_is_the_first_principal_axis_after_scaling(ratio):
    a, b = readings(3)

    line = deming(a, b, error_ratio=ratio)

    scaled = np.stack([a, b / math.sqrt(ratio)], axis=1)
    axis = np.linalg.svd(scaled - scaled.mean(axis=0))[2][0]
    slope = axis[1] / axis[0] * math.sqrt(ratio)
    assert line.slope.value == pytest.approx(slope)
    assert line.intercept.value == pytest.approx(b.mean() - slope * a.mean())


def test_deming_interval_is_linnets_jackknife_written_out():
    a, b = readings(8, 12)

    line = deming(a, b)

    left = np.array([deming(np.delete(a, i), np.delete(b, i)).slope.value for i in range(12)])
    error = math.sqrt(11 / 12 * ((left - left.mean()) ** 2).sum())
    assert (line.slope.high - line.slope.low) / 2 == pytest.approx(stats.t.ppf(0.975, 10) * error)
    # The jackknife estimate is not the centre: the interval stands around the estimate itself.
    assert (line.slope.high + line.slope.low) / 2 == pytest.approx(line.slope.value)


def test_deming_jackknife_interval_covers_the_true_slope():
    rng = np.random.Generator(np.random.PCG64(11))
    hits = 0
    for _ in range(300):
        truth = rng.uniform(0, 10, 30)
        line = deming(truth + rng.normal(0, 1, 30), 2 + truth + rng.normal(0, 1, 30))
        hits += line.slope.low <= 1 <= line.slope.high

    assert 0.91 < hits / 300 < 0.985


def test_lines_refuse_constant_methods_and_unrelated_ones():
    with pytest.raises(UndefinedStatistic, match="method y gave 2"):
        passing_bablok([1, 2, 3], [2, 2, 2])
    with pytest.raises(UndefinedStatistic, match="do not rise together"):
        passing_bablok([1, 2, 3, 4], [8, 6, 4, 2])
    with pytest.raises(InputError, match="error ratio"):
        deming([1, 2, 3, 4], [1, 2, 3, 5], error_ratio=0)


@pytest.mark.parametrize(
    ("rho", "n", "exact", "printed"),
    [
        (0.84, 94, (0.768, 0.891), (0.77, 0.89)),
        (0.84, 20, (0.633, 0.935), (0.63, 0.94)),
        (0.78, 94, (0.686, 0.849), (0.68, 0.85)),
        (0.98, 20, (0.949, 0.992), (0.94, 0.99)),
    ],
)
def test_autoihc_spearman_intervals_come_out_by_fishers_z(rho, n, exact, printed):
    found = fisher_interval(rho, n)

    assert tuple(round(bound, 3) for bound in found) == exact
    # The paper rounds rho and its bounds apart: each printed bound belongs to some rho that
    # rounds to the printed one.
    around = [fisher_interval(rho + step / 10_000, n) for step in range(-50, 51)]
    for side in (0, 1):
        assert printed[side] in {round(bounds[side], 2) for bounds in around}


def test_bonett_wright_2000_widens_fishers_interval_by_its_factor():
    low, high = fisher_interval(0.8, 50, standard_error="bonett-wright")

    half = 1.959964 * math.sqrt((1 + 0.8**2 / 2) / 47)
    assert (low, high) == pytest.approx(
        (math.tanh(math.atanh(0.8) - half), math.tanh(math.atanh(0.8) + half)), abs=1e-6
    )


def test_correlations_equal_scipy_with_ties_and_without():
    for seed in range(3):
        a, b = readings(seed)
        for x, y in ((a, b), (a // 40, b // 60)):
            assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
            assert kendall_tau_b(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic)
            ours, theirs = pearson(x, y), stats.pearsonr(x, y)
            assert ours.value == pytest.approx(theirs.statistic)
            interval = theirs.confidence_interval()
            assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_kendall_interval_uses_fieller_hartley_and_pearson():
    result = kendall_tau_b(*readings(0, 40))

    half = 1.959964 * math.sqrt(0.437 / 36)
    assert result.low == pytest.approx(math.tanh(math.atanh(result.value) - half), abs=1e-6)


def test_a_perfect_or_an_impossible_correlation_has_no_interval():
    assert spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 9]).low is None
    with pytest.raises(UndefinedStatistic, match="reader A gave 3"):
        spearman([3, 3, 3, 3], [1, 2, 3, 4])
    with pytest.raises(InputError, match="reader B, row 2: 'high' is not a number"):
        spearman([1, 2, 3], [1, "high", 3])


def test_wilcoxon_equals_scipy_exactly_without_ties_and_for_many_with_ties():
    rng = np.random.Generator(np.random.PCG64(12))
    small = rng.normal(0.4, 1, 15)
    large = np.round(rng.normal(0.3, 2, 80))

    exact = wilcoxon_signed_rank(small, np.zeros(15)).test
    normal = wilcoxon_signed_rank(large, np.zeros(80)).test

    assert exact.p_value == pytest.approx(stats.wilcoxon(small, method="exact").pvalue)
    theirs = stats.wilcoxon(large, method="approx", correction=False, zero_method="wilcox")
    assert normal.p_value == pytest.approx(theirs.pvalue)
    assert normal.left_out == {"differences of 0": int((large == 0).sum())}


def test_wilcoxon_with_ties_is_exact_over_all_sign_patterns():
    differences = np.array([1, 1, 2, -2, 3, 3, -1, 5], float)

    ours = wilcoxon_signed_rank(differences, np.zeros(8)).test

    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s)
        for signs in itertools.product([0, 1], repeat=8)
    ]
    centre = ranks.sum() / 2
    p = np.mean([abs(s - centre) >= abs(ours.statistic - centre) for s in sums])
    assert ours.p_value == pytest.approx(p)


def test_hodges_lehmann_shift_is_the_median_of_walsh_averages_with_the_exact_bounds():
    x = np.array([1.1, 2.0, -0.4, 3.1, 0.7, 1.8])

    shift = wilcoxon_signed_rank(x, np.zeros(6)).shift

    means = sorted((p + q) / 2 for p, q in itertools.combinations_with_replacement(x, 2))
    assert shift.value == pytest.approx(np.median(means))
    # n = 6: 2 (T <= 0) = 0.03125 <= 0.05 < 2 (T <= 1), so the bounds are the extreme averages.
    assert (shift.low, shift.high) == pytest.approx((means[0], means[-1]))
    # At a level that one pattern of 64 in each tail gives exactly, the bounds are still there.
    assert wilcoxon_signed_rank(x, np.zeros(6), level=1 - 2 / 64).shift.low == means[0]
    assert wilcoxon_signed_rank(x, np.zeros(6), level=0.98).shift.low is None


def test_sign_agreement_counts_zero_as_a_direction_of_its_own():
    result = sign_agreement([5, -5, 0, 3, 2], [1, -2, 0, -3, 0])

    assert result.value == 0.6
    assert result.counts["one_zero"] == 1
    assert result.counts["opposite"] == 1


def test_mean_absolute_error_has_the_bootstrap_interval_of_the_mean():
    a, b = readings(4, 200)

    result = mean_absolute_error(a, b, n_resamples=4000)

    error = np.abs(a - b)
    assert result.value == pytest.approx(error.mean())
    low, high = sm.stats.DescrStatsW(error).tconfint_mean()
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.4)
    assert result == mean_absolute_error(a, b, n_resamples=4000)


@pytest.mark.parametrize(
    "statistic",
    [
        *[bland_altman, lin_concordance, passing_bablok, deming, pearson, spearman],
        *[kendall_tau_b, wilcoxon_signed_rank, sign_agreement, mean_absolute_error],
    ],
)
def test_every_pairwise_statistic_refuses_nan_text_and_different_lengths(statistic):
    with pytest.raises(InputError, match=r"row 2: the value is missing \(NaN\)"):
        statistic([1, math.nan, 3, 4], [1, 2, 3, 4])
    with pytest.raises(InputError, match="is not a number"):
        statistic([1, 2, 3, 4], ["1", "x", "3", "4"])
    with pytest.raises(InputError, match="different numbers of rows"):
        statistic([1, 2, 3, 4], [1, 2, 3])
    with pytest.raises(InputError, match="confidence level"):
        statistic([1, 2, 3, 4.5, 9], [1, 2.5, 3, 4, 7], level=95)
