import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.classification.auc_bootstrap import auc_bootstrap, resampler, roc_band
from herscope.stats.classification.calibration import (
    brier_score,
    brier_score_multiclass,
    expected_calibration_error,
    reliability_bins,
)
from herscope.stats.classification.confusion import (
    ClassCounts,
    ConfusionTable,
    accuracy,
    confusion_table,
    majority_rate,
    npv,
    ppv,
    sensitivity,
    specificity,
)
from herscope.stats.classification.delong import (
    auc,
    delong_test,
    delong_variance,
    newcombe_interval,
)
from herscope.stats.classification.drawn_proportions import drawn_proportion
from herscope.stats.classification.f_scores import f1_scores
from herscope.stats.classification.multiclass_auc import multiclass_auc
from herscope.stats.classification.roc import pair_counts, roc_curve
from herscope.stats.classification.thresholds import rates_over_thresholds, youden_cut

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
CLASSES = ["0", "1+", "2+", "3+"]

# DeLong, DeLong and Clarke-Pearson, Biometrics 1988;44:837: ovarian cancer with bowel obstruction,
# the 43 of 49 patients with all three tests: albumin, total protein, K-G score (lower is better),
# and whether surgery helped.
DELONG_1988_TEXT = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1"""
DELONG_1988 = np.array(DELONG_1988_TEXT.split(), float).reshape(-1, 4)


def ratings_of_hanley_and_mcneil():
    # Radiology 1982;143:29, table I: 109 CT images, rated 1 (definitely normal) to 5.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    rating = np.repeat([1, 2, 3, 4, 5, 1, 2, 3, 4, 5], normal + abnormal)
    return np.repeat([False, True], [58, 51]), rating


def four_classes(n=300, seed=3, digits=2):
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = rng.choice(4, n, p=[0.12, 0.42, 0.29, 0.17])
    logit = rng.normal(size=(n, 4)) + 1.2 * np.eye(4)[truth]
    p = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    p = np.round(p, digits)  # ties, as tables on disk have
    p[:, 3] = np.round(1 - p[:, :3].sum(axis=1), digits)
    return [CLASSES[i] for i in truth], np.clip(p, 0, 1)


def two_classes(n=80, seed=0, levels=12):
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = rng.random(n) < 0.4
    return truth, np.clip(np.round((rng.normal(size=n) + truth + 2) / 6 * levels) / levels, 0, 1)


def slow_covariance(truth, *scores):
    """DeLong's covariance by its definition: every pair is compared."""
    tens, ones = [], []
    for s in scores:
        a, b = s[truth][:, None], s[~truth][None, :]
        psi = (a > b) + 0.5 * (a == b)
        tens.append(psi.mean(axis=1))
        ones.append(psi.mean(axis=0))
    m, n = truth.sum(), (~truth).sum()
    return np.atleast_2d(np.cov(tens)) / m + np.atleast_2d(np.cov(ones)) / n


# --- confusion -------------------------------------------------------------------------------


def test_confusion_counts_equal_scikit_learn():
    truth, p = four_classes()
    predicted = [CLASSES[i] for i in p.argmax(axis=1)]

    table = confusion_table(truth, predicted, classes=CLASSES)

    assert np.array_equal(table.array(), sk.confusion_matrix(truth, predicted, labels=CLASSES))
    assert accuracy(table).value == sk.accuracy_score(truth, predicted)


def test_class_proportions_equal_scikit_learn_with_wilson_intervals_of_statsmodels():
    truth, p = four_classes()
    predicted = [CLASSES[i] for i in p.argmax(axis=1)]
    table = confusion_table(truth, predicted, classes=CLASSES)
    per_class = zip(
        CLASSES,
        sk.recall_score(truth, predicted, labels=CLASSES, average=None),
        sk.precision_score(truth, predicted, labels=CLASSES, average=None),
        strict=True,
    )
    for name, recall, precision in per_class:
        counts = table.of(name)
        found = sensitivity(counts, level=0.9)
        assert found.value == pytest.approx(recall, abs=1e-15)
        assert ppv(counts).value == pytest.approx(precision, abs=1e-15)
        assert (found.low, found.high) == pytest.approx(
            proportion_confint(counts.tp, counts.positives, 0.1, "wilson"), abs=1e-12
        )
        others = [t != name for t in truth], [q != name for q in predicted]
        assert specificity(counts).value == pytest.approx(sk.recall_score(*others), abs=1e-15)
        assert npv(counts).value == pytest.approx(sk.precision_score(*others), abs=1e-15)


def test_a_class_that_was_never_predicted_has_no_ppv():
    table = confusion_table(["a", "b"], ["a", "a"])
    with pytest.raises(UndefinedStatistic, match=r"PPV.*no cases"):
        ppv(table.of("b"))


def test_majority_rates_of_the_kat_paper_come_out_from_its_table_of_classes():
    ustc = ConfusionTable(("0", "1+", "2+", "3+"), tuple(np.diag([18, 24, 31, 32]).tolist()))
    tcga = ConfusionTable(("0", "1+", "2+", "3+"), tuple(np.diag([17, 63, 44, 26]).tolist()))
    assert round(majority_rate(ustc).value, 3) == 0.305
    assert round(majority_rate(tcga).value, 3) == 0.420
    assert majority_rate(tcga).counts == {"part": 63, "whole": 150}


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        (["a", "b"], ["a"], "truth 2, prediction 1"),
        (["a", None], ["a", "a"], "truth, row 2"),
        (["a", float("nan")], ["a", "a"], "truth, row 2"),
        (["a", "x"], ["a", "a"], "row 2 is 'x'"),
    ],
)
def test_wrong_labels_are_refused_with_their_row(truth, predicted, said):
    with pytest.raises(InputError, match=said):
        confusion_table(truth, predicted, classes=["a", "b"])


def test_no_cases_have_no_confusion_table():
    with pytest.raises(UndefinedStatistic, match="no cases"):
        confusion_table([], [])


# --- F1 --------------------------------------------------------------------------------------


def test_f1_scores_equal_scikit_learn():
    truth, p = four_classes()
    predicted = [CLASSES[i] for i in p.argmax(axis=1)]
    found = f1_scores(confusion_table(truth, predicted, classes=CLASSES))
    for average in ("micro", "macro", "weighted"):
        expected = sk.f1_score(truth, predicted, average=average)
        assert getattr(found, average).value == pytest.approx(expected, abs=1e-14)
    each = sk.f1_score(truth, predicted, average=None, labels=CLASSES)
    assert list(found.per_class.values()) == pytest.approx(each.tolist(), abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_micro_f1_equals_accuracy_as_in_all_six_cells_of_the_kat_table(cases):
    truth, predicted = zip(*cases, strict=True)
    table = confusion_table(truth, predicted)
    assert f1_scores(table, n_resamples=10).micro.value == accuracy(table).value


def test_macro_f1_leaves_out_a_class_that_does_not_occur_and_says_so():
    truth, predicted = ["0", "1+", "1+", "0"], ["0", "1+", "0", "0"]
    found = f1_scores(confusion_table(truth, predicted, classes=CLASSES))
    assert found.per_class["3+"] is None
    assert found.macro.value == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert found.macro.left_out == {"classes that do not occur": 2}


def test_macro_f1_interval_agrees_with_resampled_cases():
    truth, p = four_classes()
    t, q = np.array([CLASSES.index(x) for x in truth]), p.argmax(axis=1)
    rng = np.random.Generator(np.random.PCG64(5))
    drawn = []
    for _ in range(400):
        i = rng.integers(0, t.size, t.size)
        drawn.append(sk.f1_score(t[i], q[i], average="macro"))
    found = f1_scores(confusion_table(t, q)).macro
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


# --- AUC and ROC -----------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40).filter(
        lambda rows: len({positive for positive, _ in rows}) == 2
    )
)
@settings(deadline=None)
def test_auc_with_ties_equals_scikit_learn_and_is_mirrored_by_swapping_classes(rows):
    truth, scores = map(np.array, zip(*rows, strict=True))
    value = pair_counts(truth, scores).auc
    assert value == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-14)
    assert pair_counts(~truth, scores).auc == pytest.approx(1 - value, abs=1e-15)


def test_roc_curve_equals_scikit_learn():
    truth, scores = two_classes()
    fpr, tpr, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    curve = roc_curve(truth, scores)
    assert np.array_equal(curve.thresholds, thresholds)
    assert np.allclose(curve.fpr, fpr, atol=1e-15)
    assert np.allclose(curve.tpr, tpr, atol=1e-15)


def test_area_and_standard_error_of_hanley_and_mcneil_1982_as_stata_prints_them():
    truth, rating = ratings_of_hanley_and_mcneil()
    found = auc(truth, rating)
    assert round(found.value, 4) == 0.8932
    assert round(delong_variance(truth, rating) ** 0.5, 4) == 0.0307
    assert (round(found.low, 5), round(found.high, 5)) == (0.83295, 0.95339)


def test_delong_of_the_1988_paper_compares_kg_score_and_albumin_as_sas_prints_it():
    albumin, protein, kg, helped = DELONG_1988.T
    tests = (10 - kg, albumin, protein)
    areas = [auc(helped, s).value for s in tests]
    errors = [delong_variance(helped, s) ** 0.5 for s in tests]

    assert np.round(areas, 4).tolist() == [0.7258, 0.7366, 0.6478]
    assert np.round(errors, 4).tolist() == [0.1028, 0.0927, 0.1000]
    albumin_to_kg = delong_test(helped, albumin, 10 - kg)
    assert round(albumin_to_kg.difference, 4) == 0.0108
    assert round(albumin_to_kg.z**2, 4) == 0.0127
    assert round(albumin_to_kg.p, 4) == 0.9102
    protein_to_kg = delong_test(helped, protein, 10 - kg)
    assert round(protein_to_kg.difference, 4) == -0.0780
    assert round(protein_to_kg.z**2, 4) == 0.5554
    assert round(protein_to_kg.p, 4) == 0.4561


@pytest.mark.parametrize("seed", range(6))
def test_fast_delong_equals_the_comparison_of_every_pair(seed):
    truth, one = two_classes(n=60 + 7 * seed, seed=seed, levels=8)
    _, two = two_classes(n=truth.size, seed=seed + 100, levels=30)
    two = two + 0.3 * truth
    slow = slow_covariance(truth, one, two)

    assert delong_variance(truth, one) == pytest.approx(slow[0, 0], rel=1e-10)
    found = delong_test(truth, one, two)
    variance = slow[0, 0] + slow[1, 1] - 2 * slow[0, 1]
    assert found.z == pytest.approx(found.difference / variance**0.5, rel=1e-9)


def test_delong_variance_is_that_of_the_bootstrap():
    truth, scores = two_classes(n=400)
    found, drawn = auc(truth, scores), auc_bootstrap(truth, scores)
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.08)


def test_interval_of_a_perfect_auc_is_not_a_point_and_its_lower_bound_solves_newcombes_equation():
    found = auc([0] * 8 + [1] * 12, list(range(20)))
    assert found.value == found.high == 1
    assert "Newcombe" in found.method
    mean, low = 10, found.low
    spread = 2 * mean - 1 - (3 * mean - 3) / ((2 - low) * (1 + low))
    variance = low * (1 - low) * spread / (8 * 12)
    assert (1 - low) / variance**0.5 == pytest.approx(1.959964, abs=1e-5)
    assert newcombe_interval(0.0, 12, 8) == pytest.approx((0, 1 - low))


def test_two_scores_with_the_same_ranking_cannot_be_compared():
    truth, scores = two_classes()
    with pytest.raises(UndefinedStatistic, match="no variance"):
        delong_test(truth, scores, 3 * scores + 1)


@pytest.mark.parametrize(
    ("truth", "scores", "error", "said"),
    [
        ([1, 1], [0.1, 0.2], UndefinedStatistic, "no negative case among 2"),
        ([0, 1, 2], [1, 2, 3], InputError, "row 3 is 2"),
        ([0, 1], [0.1, float("nan")], InputError, "row 2"),
        ([0, 1], np.array([0.1, "high"], object), InputError, "row 2: 'high'"),
        ([0, 1, 1], [0.1, 0.2], InputError, "3 true values for 2"),
    ],
)
def test_what_has_no_auc_is_told_why(truth, scores, error, said):
    with pytest.raises(error, match=said):
        auc(truth, scores)


def test_averages_of_the_auc_equal_scikit_learn():
    truth, p = four_classes()
    p = p / p.sum(axis=1, keepdims=True)
    found = multiclass_auc(truth, p, CLASSES, n_resamples=20)
    for name, options in {
        "macro one-vs-rest": {"multi_class": "ovr", "average": "macro"},
        "weighted one-vs-rest": {"multi_class": "ovr", "average": "weighted"},
        "macro one-vs-one": {"multi_class": "ovo", "average": "macro"},
    }.items():
        expected = sk.roc_auc_score(truth, p, labels=CLASSES, **options)
        assert found[name].value == pytest.approx(expected, abs=1e-13)


def test_auc_over_classes_is_undefined_without_a_class():
    with pytest.raises(UndefinedStatistic, match=r"no case of class 3\+"):
        multiclass_auc(["0", "1+"], [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]], ["0", "1+", "3+"])


def test_probabilities_that_do_not_sum_to_one_are_refused_with_their_row():
    with pytest.raises(InputError, match=r"row 2 sum to 1\.3"):
        multiclass_auc(["a", "b"], [[0.5, 0.5], [0.7, 0.6]], ["a", "b"])


# --- bootstrap -------------------------------------------------------------------------------


@pytest.mark.parametrize("stratified", [True, False])
def test_each_bootstrap_auc_equals_scikit_learn_on_the_repeated_cases(stratified):
    from herscope.stats.classification.auc_bootstrap import resampled_auc

    truth, scores = two_classes(n=40)
    plan = resampler(truth.tolist(), stratified=stratified, n_resamples=30)
    times = next(plan.draws())
    values = plan.statistic(resampled_auc(truth, scores))
    for drawn, value in zip(times, values, strict=True):
        again = np.repeat(np.arange(40), drawn)
        assert value == pytest.approx(sk.roc_auc_score(truth[again], scores[again]), abs=1e-14)
        if stratified:
            assert truth[again].sum() == truth.sum()


def test_resamples_of_one_class_are_left_out_and_counted():
    found = auc_bootstrap([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], stratified=False)
    share = found.left_out["resamples of one class"] / 2000
    assert share == pytest.approx(0.75**4 + 0.25**4, abs=0.04)


def test_slides_of_one_patient_are_drawn_together():
    truth, scores = [0, 0, 1, 1, 0, 1], [0.1, 0.2, 0.8, 0.9, 0.4, 0.3]
    plan = resampler(truth, patients=["a", "a", "b", "b", "c", "d"], n_resamples=50)
    times = next(plan.draws())
    assert np.array_equal(times[:, 0], times[:, 1])
    assert np.array_equal(times[:, 2], times[:, 3])
    assert "4 patients drawn whole" in auc_bootstrap(truth, scores, patients=list("aabbcd")).method


def test_repeating_each_patients_slide_does_not_narrow_the_interval():
    truth, scores = two_classes(n=60)
    patients = np.arange(60)
    once = auc_bootstrap(truth, scores)
    twice = auc_bootstrap(np.tile(truth, 2), np.tile(scores, 2), patients=np.tile(patients, 2))
    naive = auc_bootstrap(np.tile(truth, 2), np.tile(scores, 2))
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)
    assert naive.high - naive.low < 0.85 * (twice.high - twice.low)


def test_a_perfect_auc_has_no_bootstrap_interval_rather_than_one_of_no_width():
    found = auc_bootstrap([0, 0, 1, 1], [1, 2, 3, 4])
    assert (found.value, found.low, found.high) == (1, None, None)
    assert "same AUC" in found.method


def test_perfect_f1_and_perfect_brier_score_have_no_interval_of_no_width():
    f1 = f1_scores(confusion_table(["a", "b", "b"], ["a", "b", "b"])).macro
    brier = brier_score([0, 1, 1], [0, 1, 1])
    assert (f1.value, f1.low, f1.high) == (1, None, None)
    assert (brier.value, brier.low, brier.high) == (0, None, None)


def test_a_share_of_all_cases_has_a_wilson_interval_over_patients():
    plan = resampler(["x"] * 8, patients=list("aabbccdd"))
    every = np.ones(8, bool)
    found = drawn_proportion(every, every, plan, "accuracy")
    assert (found.low, found.high) == pytest.approx(proportion_confint(4, 4, method="wilson"))


def test_bootstrap_repeats_to_the_bit_and_changes_with_the_seed():
    truth, scores = two_classes()
    assert auc_bootstrap(truth, scores) == auc_bootstrap(truth, scores)
    assert auc_bootstrap(truth, scores).low != auc_bootstrap(truth, scores, seed=1).low


def test_two_thousand_bootstrap_aucs_of_500_cases_take_less_than_a_second():
    rng = np.random.Generator(np.random.PCG64(0))
    truth = rng.random(500) < 0.4
    scores = rng.normal(size=500) + truth
    start = time.perf_counter()
    auc_bootstrap(truth, scores, n_resamples=2000)
    assert time.perf_counter() - start < 1


def test_roc_band_is_the_percentile_of_resampled_scikit_learn_curves():
    truth, scores = two_classes(n=50)
    plan = resampler(truth.tolist(), n_resamples=60)
    at = np.linspace(0, 1, 11)
    curves = []
    for drawn in next(plan.draws()):
        again = np.repeat(np.arange(50), drawn)
        fpr, tpr, _ = sk.roc_curve(truth[again], scores[again], drop_intermediate=False)
        curves.append([np.interp(x, fpr, tpr) for x in at])
    low, high = roc_band(truth, scores, plan, fpr=at)
    assert (np.min(curves, axis=0) <= low).all()
    assert np.allclose(np.median(curves, axis=0), _middle(truth, scores, plan, at))
    assert (high <= np.max(curves, axis=0)).all()
    assert high[-1] == 1


def _middle(truth, scores, plan, at):
    return np.mean(roc_band(truth, scores, plan, fpr=at, level=1e-9), axis=0)


# --- thresholds ------------------------------------------------------------------------------


def test_error_rates_over_thresholds_are_counted_at_or_above_the_threshold():
    truth, scores = two_classes(levels=10)
    for row in rates_over_thresholds(truth, scores):
        tn, fp, fn, tp = sk.confusion_matrix(truth, scores >= row.threshold).ravel()
        assert row.counts == ClassCounts(int(tp), int(fp), int(fn), int(tn))
        assert row.false_positive_rate.value == fp / (fp + tn)
        assert row.false_negative_rate.value == fn / (fn + tp)


def test_youden_takes_the_best_of_all_thresholds_and_the_highest_of_equal_ones():
    truth, scores = two_classes()
    fpr, tpr, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    cut = youden_cut(truth, scores)
    assert cut.j == pytest.approx((tpr - fpr).max(), abs=1e-15)
    assert cut.threshold == thresholds[np.argmax(np.round(tpr - fpr, 12))]
    tie = youden_cut([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert (tie.threshold, tie.j, tie.tied) == (0.4, 0.5, 1)


def test_constant_scores_have_no_youden_threshold():
    with pytest.raises(UndefinedStatistic, match=r"all scores are 0\.5"):
        youden_cut([0, 1], [0.5, 0.5])


# --- calibration -----------------------------------------------------------------------------


def test_brier_score_equals_scikit_learn_and_two_classes_count_twice():
    truth, p = two_classes()
    found = brier_score(truth, p)
    assert found.value == pytest.approx(sk.brier_score_loss(truth, p), abs=1e-15)
    both = brier_score_multiclass(truth.astype(int), np.stack([1 - p, p], axis=1), ["0", "1"])
    assert both.value == pytest.approx(2 * found.value, abs=1e-14)


def test_brier_score_over_classes_is_the_sum_of_the_single_ones():
    truth, p = four_classes()
    single = [
        sk.brier_score_loss([t == name for t in truth], p[:, i]) for i, name in enumerate(CLASSES)
    ]
    found = brier_score_multiclass(truth, p, CLASSES)
    assert found.value == pytest.approx(sum(single), abs=1e-13)


@pytest.mark.parametrize(("spacing", "strategy"), [("equal width", "uniform")])
def test_reliability_bins_equal_scikit_learn(spacing, strategy):
    truth, p = two_classes(n=300, levels=37)
    observed, mean = calibration_curve(truth, p, n_bins=10, strategy=strategy)
    found = reliability_bins(truth, p, spacing=spacing)
    assert [b.observed for b in found] == pytest.approx(observed.tolist(), abs=1e-15)
    assert [b.mean_probability for b in found] == pytest.approx(mean.tolist(), abs=1e-14)
    assert all(b.low <= b.observed <= b.high for b in found)


def test_bins_of_equal_mass_hold_equal_numbers_and_never_part_equal_probabilities():
    rng = np.random.Generator(np.random.PCG64(2))
    p = rng.random(100)
    truth = rng.random(100) < p
    assert [b.n for b in reliability_bins(truth, p, spacing="equal mass")] == [10] * 10
    tied = np.repeat([0.0, 0.2, 0.7], [5, 10, 5])
    found = reliability_bins(tied > 0.5, tied, bins=4, spacing="equal mass")
    assert [(b.n, b.mean_probability) for b in found] == [
        (5, 0.0),
        (10, pytest.approx(0.2)),
        (5, pytest.approx(0.7)),
    ]


def test_ece_is_the_mean_gap_of_the_bins_by_cases():
    truth, p = two_classes(n=200, levels=50)
    gap = sum(b.n * abs(b.observed - b.mean_probability) for b in reliability_bins(truth, p))
    assert expected_calibration_error(truth, p).value == pytest.approx(gap / 200, abs=1e-14)


def test_ece_tells_perfect_probabilities_from_overconfident_ones():
    rng = np.random.Generator(np.random.PCG64(8))
    p = rng.random(400)
    truth = rng.random(400) < p
    calibrated = expected_calibration_error(truth, p)
    sharpened = expected_calibration_error(truth, np.clip(2.5 * (p - 0.5) + 0.5, 0, 1))
    assert calibrated.counts["p"] > 0.05
    assert calibrated.value == pytest.approx(calibrated.counts["expected_if_calibrated"], rel=0.6)
    assert sharpened.counts["p"] < 0.001


def test_a_percentage_is_no_probability():
    with pytest.raises(InputError, match=r"row 2 is 70.*0 to 1"):
        brier_score([0, 1], [0.3, 70])


def test_intervals_of_the_brier_score_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.Generator(np.random.PCG64(4))
    p = np.full(200, 0.3)
    expected = 0.3 * 0.7
    inside = 0
    for _ in range(400):
        found = brier_score(rng.random(200) < p, p)
        inside += found.low <= expected <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_every_permutation_of_the_cases_gives_the_same_counts():
    truth, scores = [0, 1, 1, 0], [0.2, 0.4, 0.4, 0.4]
    found = {
        pair_counts([truth[i] for i in order], [scores[i] for i in order])
        for order in itertools.permutations(range(4))
    }
    assert len(found) == 1


def test_the_real_tcga_table_gives_an_auc_for_a_simple_rule():
    path = DATA / "clinical" / "tcga" / "tcga_brca_her2.csv"
    if not path.is_file():
        pytest.skip("the shared clinical tables are not here")
    from herscope.stats.table import read_table

    table = read_table(path).complete(["her2_ihc_score", "her2_status_by_ihc"], drop_missing=True)
    table = table.where(
        [s in {"Positive", "Negative"} for s in table.labels("her2_status_by_ihc")], "equivocal"
    )
    truth = [s == "Positive" for s in table.labels("her2_status_by_ihc")]
    grade = [int(s.rstrip("+")) for s in table.labels("her2_ihc_score")]
    found = auc(truth, grade)
    assert found.n > 300
    assert found.value == pytest.approx(sk.roc_auc_score(truth, grade), abs=1e-13)
