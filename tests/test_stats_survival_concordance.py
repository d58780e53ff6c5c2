"""C-index and AUC over time against lifelines, scikit-learn and every pair counted."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from herscope.core.errors import UndefinedStatistic
from herscope.stats.survival.censoring import censoring_curve
from herscope.stats.survival.concordance_index import harrell_c, uno_c
from herscope.stats.survival.outcome import Outcome
from herscope.stats.survival.suffix_sums import suffix_sums
from herscope.stats.survival.time_auc import time_auc

sys.path.insert(0, str(Path(__file__).parent))
from survival_cohorts import brute_force_c, cohort


@pytest.mark.parametrize("seed", range(4))
def test_harrell_c_is_lifelines_with_the_sign_of_a_risk(seed):
    from lifelines.utils import concordance_index

    outcome, risk = cohort(seed, ties=False)

    # lifelines wants a predicted time, the opposite of a risk.
    assert harrell_c(outcome, risk).value == pytest.approx(
        concordance_index(outcome.time, -risk, outcome.event), abs=1e-12
    )


def test_a_higher_risk_with_an_earlier_event_is_concordant():
    outcome = Outcome(time=[1, 2, 3], event=[1, 1, 1])

    assert harrell_c(outcome, [3, 2, 1]).value == 1.0
    assert harrell_c(outcome, [1, 2, 3]).value == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_suffix_sums_are_the_sums(seed):
    rng = np.random.default_rng(seed)
    n, q = int(rng.integers(1, 40)), 50
    rank, weight = rng.integers(0, 6, n), rng.random(n)
    start, asked = rng.integers(0, n + 1, q), rng.integers(0, 9, q)
    later = np.arange(n)[None] >= start[:, None]

    below, equal = suffix_sums(rank, weight, start, asked)

    assert below == pytest.approx((later * (rank < asked[:, None]) * weight).sum(axis=1))
    assert equal == pytest.approx((later * (rank == asked[:, None]) * weight).sum(axis=1))


@pytest.mark.parametrize("rule", ["censored later", "left out"])
def test_harrell_c_follows_its_tie_rules_pair_by_pair(rule):
    outcome, risk = cohort(7, 60)

    found = harrell_c(outcome, risk, same_time=rule)

    truth = brute_force_c(outcome, risk, np.ones(60), same_time=rule == "censored later")
    assert found.value == pytest.approx(truth, abs=1e-12)
    pairs = ("concordant", "discordant", "tied risk", "tied time", "not comparable")
    assert sum(found.counts[name] for name in pairs) == 60 * 59 / 2
    assert found.counts["tied risk"] > 0
    assert found.counts["tied time"] > 0


def test_jackknife_interval_leaves_every_patient_out_once():
    outcome, risk = cohort(8, 50)
    keep = ~np.eye(50, dtype=bool)
    without = [brute_force_c(outcome.where(k), risk[k], np.ones(49)) for k in keep]
    found = harrell_c(outcome, risk)

    error = math.sqrt(49 / 50 * np.square(np.array(without) - np.mean(without)).sum())
    centre = math.log(found.value / (1 - found.value))
    step = 1.959963985 * error / (found.value * (1 - found.value))
    assert found.low == pytest.approx(1 / (1 + math.exp(-(centre - step))), abs=1e-9)
    assert found.high == pytest.approx(1 / (1 + math.exp(-(centre + step))), abs=1e-9)


def test_uno_c_weighs_pairs_by_the_lifelines_censoring_curve():
    from lifelines import KaplanMeierFitter

    outcome, risk = cohort(9, 70, ties=False)
    censoring = KaplanMeierFitter().fit(outcome.time, ~outcome.event)
    before = censoring.predict(outcome.time - 1e-9).to_numpy()
    for tau in (None, 60.0):
        counted = outcome.event & (outcome.time < (tau or np.inf))
        weight = np.where(counted, before**-2.0, 0.0)
        truth = brute_force_c(outcome, risk, weight)

        assert uno_c(outcome, risk, tau=tau).value == pytest.approx(truth, abs=1e-10)


def test_uno_c_depends_less_on_the_censoring_than_harrells():
    rng = np.random.default_rng(10)
    n = 3000
    # The risk works early and not at all late, so what is censored decides Harrell's C.
    risk = rng.integers(0, 2, n).astype(float)
    late = 20 + rng.exponential(30, n)
    time = np.where((risk == 1) & (rng.random(n) < 0.5), rng.uniform(0, 20, n), late)
    censor = rng.exponential(25, n)
    full = Outcome(time=np.minimum(time, 60), event=time <= 60)
    seen = Outcome(time=np.minimum(time, censor), event=time <= censor)
    truth = harrell_c(full, risk).value

    harrell = abs(harrell_c(seen, risk).value - truth)
    uno = abs(uno_c(seen, risk, tau=60).value - truth)

    assert uno < 0.02 < harrell


def test_censoring_weights_let_events_come_before_censorings():
    curve = censoring_curve(Outcome(time=[2, 2, 4, 4], event=[1, 0, 1, 0]))

    # At 2 one of the four has the event first; of the three left, one is censored.
    assert curve.before(np.array([2.0, 4.0])).tolist() == pytest.approx([1, 2 / 3])


def test_time_auc_without_censoring_is_the_ordinary_auc():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(11)
    time, risk = rng.exponential(10, 80), np.round(rng.normal(size=80), 1)
    outcome = Outcome(time=time, event=np.ones(80))

    found = time_auc(outcome, risk, 8.0).estimate

    assert found.value == pytest.approx(roc_auc_score(time <= 8, risk), abs=1e-12)


def test_time_auc_weighs_cases_by_the_lifelines_censoring_curve():
    from lifelines import KaplanMeierFitter

    outcome, risk = cohort(12, 80, ties=False)
    risk = np.round(risk, 1)
    at = float(np.median(outcome.time))
    case = outcome.event & (outcome.time <= at)
    weight = (
        1
        / KaplanMeierFitter()
        .fit(outcome.time, ~outcome.event)
        .predict(outcome.time[case] - 1e-9)
        .to_numpy()
    )
    r, c = risk[case, None], risk[None, outcome.time > at]
    wins = ((r > c) + 0.5 * (r == c)).mean(axis=1)

    found = time_auc(outcome, risk, at).estimate

    assert found.value == pytest.approx((weight * wins).sum() / weight.sum(), abs=1e-12)
    assert found.low < found.value < found.high


def test_intervals_of_c_and_auc_hold_the_truth_about_95_times_in_100():
    big, score = cohort(13, 5000, ties=False)
    c, auc = harrell_c(big, score).value, time_auc(big, score, 40.0).estimate.value
    samples = [cohort(1000 + k, 80, ties=False) for k in range(200)]

    def held(truth, estimates):
        return np.mean([e.low <= truth <= e.high for e in estimates])

    assert 0.90 <= held(c, [harrell_c(o, r) for o, r in samples]) <= 0.99
    assert 0.90 <= held(auc, [time_auc(o, r, 40.0).estimate for o, r in samples]) <= 0.99


def test_undefined_indices_say_why():
    none = Outcome(time=[3, 4, 5], event=[0, 0, 0])
    late = Outcome(time=[3, 4, 5], event=[0, 0, 1])
    for index in (harrell_c, uno_c):
        with pytest.raises(UndefinedStatistic, match="no pair of the 3 patients"):
            index(none, [1, 2, 3])
        with pytest.raises(UndefinedStatistic, match="no pair of the 3 patients"):
            index(late, [1, 2, 3])
        with pytest.raises(UndefinedStatistic, match="all 3 patients have the same risk 1"):
            index(late, [1, 1, 1])
    with pytest.raises(UndefinedStatistic, match="nobody had the event by 2"):
        time_auc(late, [1, 2, 3], 2)
    with pytest.raises(UndefinedStatistic, match="nobody was followed beyond 5"):
        time_auc(late, [1, 2, 3], 5)


def test_an_index_of_one_has_no_interval_and_says_so():
    found = harrell_c(Outcome(time=[1, 2, 3], event=[1, 1, 1]), [3, 2, 1])

    assert found.low is None
    assert "no interval" in found.method
