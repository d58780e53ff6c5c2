"""The plain models: right coefficients, right folds, nothing found where nothing is."""

import builtins
from dataclasses import replace

import numpy as np
import pytest

from herscope.core.errors import DependencyMissing, InputError, UndefinedStatistic
from herscope.respond.cohort.baselines import (
    BaselineSpec,
    evaluate_baselines,
    repeated_folds,
)
from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.ridge import cox_loss, ridge_cox, ridge_logistic
from herscope.stats.survival.outcome import Outcome

COHORT = """
[table]
file = "patients.csv"
[patient]
id = "id"
[outcome]
pfs_time = "pfs"
pfs_event = "event"
[tokens]
sets = ["patient"]
"""
QUICK = BaselineSpec(repeats=2, penalties=(0.1, 1.0), inner_folds=3, trees=20)


def cohort(folder, *, signal, n=120, seed=1):
    """Draw patients whose PFS depends on sex by ``signal``."""
    rng = np.random.Generator(np.random.PCG64(seed))
    lines = ["id,pfs,event,sex,age,lauren"]
    for i in range(n):
        sex, lauren = rng.integers(0, 2), rng.integers(0, 3)
        days = rng.exponential(400 * np.exp(-signal * (sex - 0.5)))
        event = int(days < 900)
        lines.append(
            f"p{i},{min(days, 900):.3f},{event},{'fm'[sex]},{rng.integers(40, 80)},{lauren}"
        )
    (folder / "patients.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "cohort.toml").write_text(COHORT, encoding="utf-8")
    return read_cohort(folder / "cohort.toml")


def drawn(n=80, columns=4, seed=3):
    rng = np.random.Generator(np.random.PCG64(seed))
    x = rng.normal(size=(n, columns))
    return rng, x, x @ np.linspace(1, -1, columns)


def test_logistic_regression_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng, x, line = drawn()
    y = rng.random(line.size) < 1 / (1 + np.exp(-line))

    model = ridge_logistic(x, y, penalty=0.2)

    z = (x - x.mean(0)) / x.std(0)
    other = linear.LogisticRegression(C=1 / (0.2 * len(y)), tol=1e-10, max_iter=1000).fit(z, y)
    assert model.weights == pytest.approx(other.coef_[0], abs=1e-5)
    assert model.intercept == pytest.approx(other.intercept_[0], abs=1e-5)


def test_cox_regression_agrees_with_lifelines():
    lifelines = pytest.importorskip("lifelines")
    pandas = pytest.importorskip("pandas")
    rng, x, line = drawn()
    time = rng.exponential(100 * np.exp(-line))
    event = rng.random(line.size) < 0.7

    # lifelines standardises with n - 1, so its penalty weighs a little less.
    penalty = 0.1 * line.size / (line.size - 1)
    model = ridge_cox(x, Outcome(time=time, event=event), penalty=penalty)

    z = (x - x.mean(0)) / x.std(0)
    frame = pandas.DataFrame({**{f"x{i}": z[:, i] for i in range(4)}, "t": time, "e": event})
    other = lifelines.CoxPHFitter(penalizer=0.1).fit(frame, "t", "e")
    weights = np.array([other.params_[f"x{i}"] for i in range(4)])
    assert model.weights == pytest.approx(weights, abs=1e-4)


def test_the_partial_likelihood_of_ties_is_breslows():
    outcome = Outcome(time=np.array([5.0, 5.0, 8.0]), event=np.array([True, True, False]))
    x = np.array([[0.0], [1.0], [2.0]])
    model = ridge_cox(x, outcome, penalty=1.0)
    s = model.score(x)

    assert cox_loss(model, x, outcome) == pytest.approx(2 * np.log(np.exp(s).sum()) - s[0] - s[1])


def test_coxs_coefficients_are_the_minimum_also_with_ties():
    rng, x, line = drawn(n=40)
    time = np.ceil(4 * rng.exponential(np.exp(-line / 2)))
    outcome = Outcome(time=time, event=rng.random(40) < 0.8)
    model = ridge_cox(x, outcome, penalty=0.1)

    def loss(weights):
        moved = replace(model, weights=weights)
        return cox_loss(moved, x, outcome) / 40 + 0.05 * float(weights @ weights)

    best = loss(model.weights)
    for column in range(4):
        for step in (-0.01, 0.01):
            moved = model.weights.copy()
            moved[column] += step
            assert loss(moved) > best


def test_a_column_that_never_changed_in_training_has_no_say():
    _, x, line = drawn()
    x[:, 2] = 0.1

    model = ridge_logistic(x, line > 0, penalty=0.1)

    new = np.zeros((2, 4))
    new[1, 2] = 1e6
    assert model.score(new)[0] == model.score(new)[1]


def test_a_signal_is_found_by_all_three(tmp_path):
    report = evaluate_baselines(cohort(tmp_path, signal=2.5), QUICK)

    assert set(report.results) == {"logistic", "trees", "cox"}
    for found in report.results.values():
        assert found.auc.value > 0.65
        assert found.auc_within_folds > 0.65
        assert found.c_pfs.value > 0.6
        assert found.c_os is None


def test_where_there_is_no_signal_nothing_is_found(tmp_path):
    report = evaluate_baselines(cohort(tmp_path, signal=0.0, n=200), QUICK)

    for found in report.results.values():
        assert 0.38 < found.auc.value < 0.62


def test_the_same_seed_gives_the_same_bits(tmp_path):
    one = cohort(tmp_path, signal=1.0)

    first, second = (evaluate_baselines(one, QUICK) for _ in range(2))

    for name, found in first.results.items():
        assert (found.scores == second.results[name].scores).all()
    assert first.document() == second.document()


def test_every_patient_is_predicted_in_every_repeat_by_others(tmp_path):
    one = cohort(tmp_path, signal=1.0)
    report = evaluate_baselines(one, QUICK)

    labelled = [p for p, label in zip(one.patients, one.labels, strict=True) if label >= 0]
    assert list(report.patients) == labelled
    for found in report.results.values():
        assert found.scores.shape == (2, len(labelled))
        assert np.isfinite(found.scores).all()
        assert found.auc_sd == pytest.approx(np.std(found.auc_of_repeats, ddof=1))
    again = repeated_folds(report.patients, report.labels, QUICK)
    assert [f.test_fold() for f in again] == [f.test_fold() for f in report.folds]
    assert again[0].test_fold() != again[1].test_fold()


def test_the_outcomes_of_a_test_fold_do_not_move_its_predictions(tmp_path):
    one = cohort(tmp_path, signal=1.0)
    spec = QUICK.model_copy(update={"repeats": 1})
    before = evaluate_baselines(one, spec)
    fold = before.folds[0].folds[0]

    # Within their class, or the folds themselves would change.
    pfs = one.outcomes.pfs
    for patient in fold.test:
        place = one.patients.index(patient)
        pfs.days[place] = 900.0 if one.labels[place] == 1 else 1.0
    after = evaluate_baselines(one, spec)

    tested = [before.patients.index(patient) for patient in fold.test]
    for name, found in before.results.items():
        assert (found.scores[0, tested] == after.results[name].scores[0, tested]).all()
    trained = np.setdiff1d(np.arange(len(before.patients)), tested)
    cox = (before.results["cox"].scores[0, trained], after.results["cox"].scores[0, trained])
    assert (cox[0] != cox[1]).any()


def test_trees_without_scikit_learn_name_the_extra(tmp_path, monkeypatch):
    one = cohort(tmp_path, signal=1.0)
    usual = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyMissing) as caught:
        evaluate_baselines(one, QUICK.model_copy(update={"models": ("trees",)}))
    assert "herscope[baselines]" in caught.value.hint


def test_what_cannot_be_learnt_from_is_refused(tmp_path):
    one = cohort(tmp_path, signal=1.0)
    with pytest.raises(UndefinedStatistic, match="no token has a value"):
        evaluate_baselines(one, QUICK, tokens=one.tokens.select(["metastatic_sites"]))
    sex = one.tokens.select(["sex"])
    few = replace(sex, values=sex.values[:1], present=sex.present[:1])
    with pytest.raises(InputError, match="tokens of 1 patients"):
        evaluate_baselines(one, QUICK, tokens=few)
    small = cohort(tmp_path, signal=1.0, n=30)
    with pytest.raises(InputError, match="20 folds need at least 20"):
        evaluate_baselines(small, QUICK.model_copy(update={"folds": 20}))
