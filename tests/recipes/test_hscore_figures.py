"""Percentage errors with their zeros, intervals over groups, tests between estimators."""

from __future__ import annotations

import numpy as np
import pytest

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.recipes.hscore_figures import comparisons, hscore_figures
from herscope.stats.agreement.bland_altman import bland_altman
from herscope.stats.agreement.concordance import lin_concordance
from herscope.stats.agreement.correlation import spearman
from herscope.stats.agreement.paired import wilcoxon_signed_rank
from herscope.stats.agreement.percentage_error import percentage_error
from herscope.stats.case_bootstrap import bootstrap_interval
from herscope.stats.group_bootstrap import group_interval


@pytest.fixture
def clustered():
    """Estimates of 40 patches whose errors are those of their 8 slides."""
    generator = np.random.Generator(np.random.PCG64(4))
    truth = np.where(np.arange(40) % 5 == 0, 0.0, generator.uniform(10, 300, 40))
    slides = np.repeat(generator.normal(10, 25, 8), 5)
    estimates = np.clip(truth + slides + generator.normal(0, 3, 40), 0, 300)
    return estimates, truth, [f"s{k // 5}" for k in range(40)]


def test_percentages_leave_zeros_out_and_count_them():
    error = percentage_error([10, 60, 300, 30, 0], [0, 50, 200, 40, 0], n_resamples=200)
    assert error.absolute.value == pytest.approx((20 + 50 + 25) / 3)
    assert error.signed.value == pytest.approx((20 + 50 - 25) / 3)
    assert error.absolute.left_out == {"truth is 0": 2}
    assert error.zeros == 2
    assert error.at_zero.value == 5
    assert error.absolute.low <= error.absolute.value <= error.absolute.high


def test_without_a_positive_truth_there_is_no_percentage():
    error = percentage_error([21.0] * 26, [0.0] * 26)  # AutoIHC's CD73: every truth is 0
    assert error.absolute is None
    assert error.signed is None
    assert error.zeros == 26
    assert error.at_zero.value == 21
    assert error.document()["absolute_percent"] is None


def test_scaling_truth_and_estimates_changes_no_percentage(clustered):
    estimates, truth, _ = clustered
    one = percentage_error(estimates, truth, n_resamples=100)
    ten = percentage_error(10 * estimates, 10 * truth, n_resamples=100)
    assert ten.absolute.value == pytest.approx(one.absolute.value)
    assert ten.at_zero.value == pytest.approx(10 * one.at_zero.value)


def test_impossible_percentages_are_refused():
    with pytest.raises(InputError, match="-1"):
        percentage_error([1, 2], [-1, 2])
    with pytest.raises(InputError, match="groups"):
        percentage_error([1, 2], [1, 2], groups=["a"])
    with pytest.raises(UndefinedStatistic):
        percentage_error([], [])


def test_drawing_groups_gives_wider_intervals_than_drawing_their_patches(clustered):
    estimates, truth, groups = clustered
    error = estimates - truth
    by_group = group_interval(groups, lambda rows: float(error[rows].mean()))
    by_patch = bootstrap_interval(40, lambda rows: error[rows].mean(axis=1))
    assert by_group.high - by_group.low > 1.5 * (by_patch.high - by_patch.low)


def test_groups_of_one_case_give_the_bootstrap_of_cases():
    x = np.random.Generator(np.random.PCG64(1)).normal(size=30)
    one = group_interval([f"{k:02d}" for k in range(30)], lambda rows: float(x[rows].mean()))
    assert one == pytest.approx(bootstrap_interval(30, lambda rows: x[rows].mean(axis=1)))


def test_figures_are_those_of_the_statistics_room(clustered):
    estimates, truth, groups = clustered
    found = hscore_figures(estimates, truth, groups, seed=1)
    limits = bland_altman(estimates, truth)
    expected = {
        "mae": float(np.abs(estimates - truth).mean()),
        "bias": limits.bias.value,
        "lower_limit": limits.lower.value,
        "upper_limit": limits.upper.value,
        "spearman": spearman(estimates, truth).value,
        "ccc": lin_concordance(estimates, truth).value,
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value)
        low, high = found[name]["ci95"]
        assert low < value < high
    assert found["zeros"]["patches"] == 8
    assert found["mpe"]["value"] < found["mape"]["value"]


def test_two_groups_have_figures_without_intervals(clustered):
    estimates, truth, _ = clustered
    found = hscore_figures(estimates, truth, ["a"] * 20 + ["b"] * 20, seed=1)
    assert found["mae"]["value"] is not None
    assert all(found[name]["ci95"] is None for name in ("mae", "mape", "spearman"))
    assert found["zeros"]["mae"]["ci95"] is None


def test_a_constant_estimator_has_no_correlation_and_still_an_error():
    found = hscore_figures(np.full(6, 150.0), np.arange(6) * 50.0, list("abcdef"), seed=1)
    assert found["spearman"] == {"value": None, "ci95": None}
    assert found["mae"]["value"] == 75


def test_errors_are_compared_by_group(clustered):
    estimates, truth, groups = clustered
    worse = estimates - 120  # too low: an error all the same
    (row,) = comparisons({"worse": worse, "ours": estimates}, truth, groups)
    means = [
        [np.abs(e - truth)[5 * k : 5 * k + 5].mean() for k in range(8)] for e in (worse, estimates)
    ]
    assert (row["a"], row["b"]) == ("worse", "ours")
    assert row["n"] == 8
    assert row["p_value"] == pytest.approx(wilcoxon_signed_rank(*means).test.p_value)
    assert row["shift"] > 0


def test_equal_estimators_are_not_told_apart(clustered):
    estimates, truth, groups = clustered
    (row,) = comparisons({"a": estimates, "b": estimates.copy()}, truth, groups)
    assert row["p_value"] is None
    assert "differences are 0" in row["method"]
