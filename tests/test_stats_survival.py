"""Survival statistics against lifelines, statsmodels, scikit-learn and R's printed output."""

import math
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.survival.concordance_index import harrell_c
from herscope.stats.survival.cox import cox
from herscope.stats.survival.kaplan_meier import kaplan_meier, median_follow_up
from herscope.stats.survival.log_rank import log_rank
from herscope.stats.survival.outcome import Outcome, event_flags, outcome_of
from herscope.stats.table import from_columns, read_table

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
MUMO = DATA / "clinical" / "mumo_NO_LICENCE" / "anti_her2.csv"
real = pytest.mark.skipif(not MUMO.is_file(), reason="the shared data folder is absent")

sys.path.insert(0, str(Path(__file__).parent))
from survival_cohorts import AML, ARM, MAINTAINED, NOT_MAINTAINED, cohort  # noqa: E402 - needs the path above

# -- outcome ---------------------------------------------------------------------------------------


def test_time_and_event_cannot_be_given_by_position():
    with pytest.raises(TypeError):
        Outcome([1.0, 2.0], [True, False])


def test_swapped_time_and_event_are_refused_with_a_hint():
    with pytest.raises(InputError) as caught:
        Outcome(time=[1, 0, 1], event=[42, 202, 155])
    assert "42" in caught.value.message

    with pytest.raises(InputError, match="every time is 0 or 1") as caught:
        Outcome(time=[1, 0, 1], event=[1, 1, 0])
    assert "swapped" in caught.value.hint


def test_negative_and_missing_times_are_refused_with_their_row():
    with pytest.raises(InputError, match="time, row 2: -3 is below 0"):
        Outcome(time=[5, -3], event=[1, 0])
    with pytest.raises(InputError, match="time, row 3"):
        Outcome(time=[5, 3, math.nan], event=[1, 0, 1])


def test_events_need_a_stated_meaning():
    with pytest.raises(InputError, match="row 2: 'LIVING'") as caught:
        event_flags(["1", "LIVING", "DECEASED"])
    assert "--event-value" in caught.value.hint

    assert event_flags(["a", "b", "a"], event_value="a").tolist() == [True, False, True]
    assert event_flags([1.0, 0.0, 1.0]).tolist() == [True, False, True]
    assert event_flags(["True", "false"]).tolist() == [True, False]
    assert event_flags(["2", "1"], event_value="2.0").tolist() == [True, False]
    with pytest.raises(InputError, match="no row has the event value 'dead'") as caught:
        event_flags(["Dead", "Alive"], event_value="dead")
    assert "'Dead' (1)" in caught.value.hint


def test_messages_name_the_row_of_the_file_after_rows_were_left_out():
    table = from_columns({"t": [5, None, -2], "e": [1, 1, 0]})
    kept = table.complete(["t"], drop_missing=True)

    with pytest.raises(InputError, match="row 3, column t: the time -2"):
        outcome_of(kept, "t", "e")


def test_an_outcome_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        MAINTAINED.time[0] = 1


# -- Kaplan-Meier ----------------------------------------------------------------------------------


def test_kaplan_meier_gives_the_published_leukaemia_curve():
    # Miller 1981, as printed by R's summary(survfit(Surv(time, status) ~ x, aml)).
    curve = kaplan_meier(MAINTAINED)

    falls = curve.table.events > 0
    assert curve.table.time[falls].tolist() == [9, 13, 18, 23, 31, 34, 48]
    assert curve.survival[falls] == pytest.approx(
        [0.909, 0.818, 0.716, 0.614, 0.491, 0.368, 0.184], abs=5e-4
    )
    assert curve.table.at_risk[falls].tolist() == [11, 10, 8, 7, 5, 4, 2]
    assert curve.median.value == 31
    assert kaplan_meier(NOT_MAINTAINED).median.value == 23


@pytest.mark.parametrize("seed", range(4))
def test_survival_and_log_log_interval_are_lifelines(seed):
    from lifelines import KaplanMeierFitter

    outcome, _ = cohort(seed, ties=seed % 2 == 0)
    fitter = KaplanMeierFitter().fit(outcome.time, outcome.event)

    curve = kaplan_meier(outcome)

    theirs = fitter.survival_function_.loc[curve.table.time].to_numpy()[:, 0]
    assert curve.survival == pytest.approx(theirs, abs=1e-12)
    bounds = fitter.confidence_interval_.loc[curve.table.time].to_numpy()
    inside = (curve.survival > 0) & (curve.survival < 1)
    assert curve.low[inside] == pytest.approx(bounds[inside, 0], abs=1e-10)
    assert curve.high[inside] == pytest.approx(bounds[inside, 1], abs=1e-10)
    assert curve.median.value == fitter.median_survival_time_


@pytest.mark.parametrize("seed", range(3))
def test_median_interval_is_brookmeyer_crowley(seed):
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    outcome, _ = cohort(seed, ties=False)
    theirs = median_survival_times(
        KaplanMeierFitter().fit(outcome.time, outcome.event).confidence_interval_
    ).to_numpy()[0]

    median = kaplan_meier(outcome).median

    assert (median.low, median.high) == pytest.approx(tuple(theirs))
    assert median.low <= median.value <= median.high


def test_plain_interval_is_greenwoods():
    curve = kaplan_meier(MAINTAINED, interval="plain")

    # R: survfit(..., conf.type = "plain"), at week 23: S 0.614, standard error 0.1526.
    place = curve.table.time.tolist().index(23)
    assert curve.low[place] == pytest.approx(0.614 - 1.96 * 0.1526, abs=1e-3)
    assert curve.high[place] == pytest.approx(0.614 + 1.96 * 0.1526, abs=1e-3)
    assert curve.high[0] == 1.0


def test_a_median_that_is_not_reached_is_none():
    median = kaplan_meier(Outcome(time=[3, 4, 5, 9], event=[1, 0, 0, 0])).median

    assert median.value is None
    assert median.high is None
    assert "not reached" in str(median)


def test_survival_of_exactly_one_half_counts_as_reached():
    # 23/24 x 22/23 x ... x 12/13 is 0.5000000000000001 in floating point.
    curve = kaplan_meier(Outcome(time=range(1, 25), event=[1] * 12 + [0] * 12))

    assert curve.survival[11] > 0.5
    assert curve.median.value == 12


def test_after_the_last_censoring_survival_is_unknown_and_after_the_last_event_zero():
    censored = kaplan_meier(Outcome(time=[2, 5], event=[1, 0]))
    assert [at.value for at in censored.at([0, 1.9, 2, 5, 5.1])] == [1, 1, 0.5, 0.5, None]
    assert [at.at_risk for at in censored.at([0, 1.9, 2, 5, 5.1])] == [2, 2, 2, 1, 0]

    dead = kaplan_meier(Outcome(time=[2, 5], event=[1, 1])).at([9])[0]
    assert (dead.value, dead.low, dead.high) == (0, 0, None)


def test_median_follow_up_exchanges_event_and_censoring():
    outcome, _ = cohort(1)

    flipped = kaplan_meier(Outcome(time=outcome.time, event=~outcome.event))

    assert median_follow_up(outcome).value == flipped.median.value


# -- log-rank --------------------------------------------------------------------------------------


def test_log_rank_gives_the_published_leukaemia_test():
    # R: survdiff(Surv(time, status) ~ x, aml): chisq 3.4, p 0.0653; expected 10.69 and 7.31.
    found = log_rank(AML, ARM)

    assert found.chi2 == pytest.approx(3.396389, abs=1e-6)
    assert found.p_value == pytest.approx(0.0653393, abs=1e-6)
    assert [g.observed for g in found.groups] == [7, 11]
    assert [g.expected for g in found.groups] == pytest.approx([10.689, 7.311], abs=1e-3)


@pytest.mark.parametrize("n_groups", [2, 3, 5])
def test_log_rank_of_several_groups_is_lifelines(n_groups):
    from lifelines.statistics import multivariate_logrank_test

    outcome, _ = cohort(n_groups, 200)
    group = np.random.default_rng(n_groups).integers(0, n_groups, 200)

    found = log_rank(outcome, [f"g{g}" for g in group])

    theirs = multivariate_logrank_test(outcome.time, group, outcome.event)
    assert found.chi2 == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert found.p_value == pytest.approx(theirs.p_value, rel=1e-8)
    assert found.df == n_groups - 1
    assert sum(g.expected for g in found.groups) == pytest.approx(outcome.events)


def test_log_rank_is_undefined_for_one_group_without_events_or_overlap():
    with pytest.raises(UndefinedStatistic, match="all 11 patients are in the group 'a'"):
        log_rank(MAINTAINED, ["a"] * 11)
    with pytest.raises(UndefinedStatistic, match="none of the 3 patients had the event"):
        log_rank(Outcome(time=[1, 2, 3], event=[0, 0, 0]), ["a", "b", "b"])
    with pytest.raises(UndefinedStatistic, match="the group 'b' has no patient at risk"):
        log_rank(Outcome(time=[1, 5, 6, 7], event=[0, 1, 1, 0]), ["b", "a", "a", "a"])


def test_few_expected_events_are_told():
    found = log_rank(Outcome(time=[1, 2, 3, 4], event=[1, 1, 1, 0]), ["a", "b", "a", "b"])

    assert "fewer than 5 events expected in a, b" in found.notes[0]


# -- Cox -------------------------------------------------------------------------------------------


def test_cox_is_statsmodels_with_efron_ties():
    from statsmodels.duration.hazard_regression import PHReg

    outcome, risk = cohort(3)
    sex = np.random.default_rng(3).integers(0, 2, 120)
    theirs = PHReg(
        outcome.time, np.column_stack((risk, sex)), status=outcome.event, ties="efron"
    ).fit()

    model = cox(outcome, {"risk": risk, "sex": sex})

    assert [row.coefficient for row in model.rows] == pytest.approx(theirs.params, abs=1e-5)
    assert [row.standard_error for row in model.rows] == pytest.approx(theirs.bse, abs=1e-5)
    assert [row.p_value for row in model.rows] == pytest.approx(theirs.pvalues, abs=1e-5)
    ratio = model.rows[0].hazard_ratio
    low, high = np.exp(theirs.conf_int()[0])
    assert (ratio.low, ratio.high) == pytest.approx((low, high), rel=1e-4)


def test_cox_of_one_binary_covariate_gives_the_published_leukaemia_ratio():
    # R: coxph(Surv(time, status) ~ x, aml): coef 0.9155, se 0.5119, p 0.0737.
    row = cox(AML, {"x": ARM}).rows[0]

    assert row.name == "x: not maintained against maintained"
    assert row.coefficient == pytest.approx(0.9155, abs=1e-4)
    assert row.standard_error == pytest.approx(0.5119, abs=1e-4)
    assert row.p_value == pytest.approx(0.0737, abs=1e-4)


def test_cox_refuses_constant_and_collinear_covariates_by_name():
    outcome, risk = cohort(4)
    with pytest.raises(UndefinedStatistic, match="'site' is 3 in all 120 patients"):
        cox(outcome, {"risk": risk, "site": np.full(120, 3.0)})
    with pytest.raises(UndefinedStatistic, match="'double' follows from 'risk'"):
        cox(outcome, {"risk": risk, "double": 5 - 2 * risk})


def test_cox_refuses_a_category_without_events():
    outcome, risk = cohort(4)
    safe = np.where(outcome.event, "no", np.where(np.arange(120) % 2, "yes", "no"))

    with pytest.raises(UndefinedStatistic, match="separation"):
        cox(outcome, {"risk": risk, "safe": safe})


def test_cox_refuses_separation_that_only_several_covariates_make():
    # a - b orders the events without an error; neither a nor b does alone.
    outcome, _ = cohort(5, 60, ties=False)
    rng = np.random.default_rng(5)
    b = rng.normal(size=60)
    a = b - np.argsort(np.argsort(outcome.time)) / 20

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UndefinedStatistic, match="no maximum"):
            cox(outcome, {"a": a, "b": b})


def test_cox_says_few_events_per_variable_and_crossing_hazards():
    rng = np.random.default_rng(6)
    group = np.repeat([0.0, 1.0], 150)
    # Weibull shapes 0.6 and 3: the second group's hazard starts lower and ends higher.
    time = np.where(group, rng.weibull(3, 300), rng.weibull(0.6, 300))
    crossing = cox(Outcome(time=time, event=np.ones(300)), {"group": group})
    assert any("not proportional" in note for note in crossing.notes)

    outcome, risk = cohort(6, 30)
    few = cox(outcome, {f"v{i}": rng.normal(size=30) for i in range(4)} | {"risk": risk})
    assert any("events per coefficient" in note for note in few.notes)


def test_cox_without_enough_events_is_undefined():
    with pytest.raises(UndefinedStatistic, match="1 events for 1 coefficients"):
        cox(Outcome(time=[3, 4, 5], event=[1, 0, 0]), {"age": [50, 60, 70]})


def test_cox_names_the_extra_when_lifelines_is_absent(monkeypatch):
    from herscope.core.errors import DependencyMissing

    monkeypatch.setitem(__import__("sys").modules, "lifelines", None)
    outcome, risk = cohort(1)

    with pytest.raises(DependencyMissing) as caught:
        cox(outcome, {"risk": risk})
    assert "herscope[survival]" in caught.value.hint


# -- golden values of the MuMo table (methods.md 4.3) ----------------------------------------------


def mumo(endpoint, *, labelled=False, complete=()):
    table = read_table(MUMO)
    if labelled:
        table = table.where([c != "-1" for c in table.labels("response_label")], "unlabelled")
    table = table.complete(complete, drop_missing=True)
    return table, outcome_of(table, f"{endpoint}_days", f"{endpoint}_flag")


@real
@pytest.mark.parametrize(
    ("endpoint", "everyone", "responders", "others"),
    [("pfs", 253, 329, 111), ("os", 455, 579, 288)],
)
def test_mumo_medians_come_out(endpoint, everyone, responders, others):
    _, outcome = mumo(endpoint)
    table, labelled = mumo(endpoint, labelled=True)
    responder = np.array(table.labels("response_label")) == "1"

    assert kaplan_meier(outcome).median.value == everyone
    assert kaplan_meier(labelled.where(responder)).median.value == responders
    assert kaplan_meier(labelled.where(~responder)).median.value == others
    assert (responder.sum(), (~responder).sum(), table.dropped["unlabelled"]) == (144, 64, 63)


@real
@pytest.mark.parametrize(
    ("endpoint", "by_label", "by_peritoneum", "p"),
    [("pfs", 166.39, 4.592, 0.0321), ("os", 59.05, 7.073, 0.0078)],
)
def test_mumo_log_ranks_come_out(endpoint, by_label, by_peritoneum, p):
    table, labelled = mumo(endpoint, labelled=True)
    assert log_rank(labelled, table.labels("response_label")).chi2 == pytest.approx(
        by_label, abs=5e-3
    )

    table, outcome = mumo(endpoint, complete=["peritoneal_metastasis"])
    found = log_rank(outcome, table.labels("peritoneal_metastasis"))
    assert found.chi2 == pytest.approx(by_peritoneum, abs=5e-4)
    assert found.p_value == pytest.approx(p, abs=5e-5)


@real
@pytest.mark.parametrize(
    ("endpoint", "golden", "with_r_rule"), [("pfs", 0.7059, 0.7060), ("os", 0.6403, 0.6403)]
)
def test_mumo_c_of_the_label_comes_out_when_censorings_at_an_event_are_left_out(
    endpoint, golden, with_r_rule
):
    table, outcome = mumo(endpoint, labelled=True)
    risk = 1 - table.numbers("response_label")

    strict = harrell_c(outcome, risk, same_time="left out")

    assert strict.value == pytest.approx(golden, abs=5e-5)
    assert harrell_c(outcome, risk).value == pytest.approx(with_r_rule, abs=5e-5)
