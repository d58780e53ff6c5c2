"""Folds, calibration, samples on disk and outliers of slide-level models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax

from herscope.core.errors import InputError, LeakyFolds, ModelError
from herscope.mil.fold_plan import Patient, plan_folds
from herscope.mil.outliers import make_reference
from herscope.mil.sample_store import SampleStore, load_sample, save_sample
from herscope.mil.training_spec import MilSpec, Recipe
from herscope.nn.probabilities import Calibration, calibrate
from herscope.recipes.mil_figures import cramers_v, site_alert


def cohort(n: int = 40, *, sites: bool = False) -> list[Patient]:
    return [
        Patient(f"p{i:02d}", "0+"[i % 2], site=f"s{i % 4}" if sites else None) for i in range(n)
    ]


def test_cross_validation_tests_every_patient_once_and_keeps_three_sides_apart() -> None:
    plan = plan_folds(cohort(), MilSpec(folds=5))

    assert plan.evaluation == "cross-validation"
    assert sorted(p for fold in plan.folds for p in fold.test) == sorted(p.name for p in cohort())
    for fold in plan.folds:
        sides = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(map(len, sides)) == 40
        assert len(set.union(*sides)) == 40
        assert len(fold.validation) == 6  # a fifth of each class's sixteen, rounded


def test_a_held_out_test_is_the_same_in_every_fold_and_stops_no_training() -> None:
    plan = plan_folds(cohort(), MilSpec(folds=4, test_share=0.25))

    assert plan.evaluation == "held-out test"
    assert len({fold.test for fold in plan.folds}) == 1
    assert len(plan.folds[0].test) == 10
    stopped = [p for fold in plan.folds for p in fold.validation]
    assert sorted(stopped) == sorted({p.name for p in cohort()} - set(plan.folds[0].test))


def test_the_split_of_the_label_table_is_kept() -> None:
    patients = [
        Patient(p.name, p.label, split="test" if i < 6 else "train") for i, p in enumerate(cohort())
    ]

    plan = plan_folds(patients, MilSpec(folds=1))

    assert plan.folds[0].test == tuple(sorted(p.name for p in patients[:6]))


def test_a_split_and_a_share_together_are_refused() -> None:
    patients = [Patient(p.name, p.label, split="test") for p in cohort(4)] + cohort()[4:]
    with pytest.raises(InputError, match="already sets 4 test patients apart"):
        plan_folds(patients, MilSpec(test_share=0.3))


def test_folds_by_site_never_part_a_site() -> None:
    patients = cohort(sites=True)
    site = {p.name: p.site for p in patients}

    plan = plan_folds(patients, MilSpec(folds=4, folds_by="site"))

    tested = [{site[p] for p in fold.test} for fold in plan.folds]
    assert [len(one) for one in tested] == [1, 1, 1, 1]
    for fold, sites in zip(plan.folds, tested, strict=True):
        assert not sites & {site[p] for p in (*fold.train, *fold.validation)}


def test_folds_by_site_without_sites_say_which_patient_has_none() -> None:
    with pytest.raises(InputError, match=r"40 patients have no site \(first p00\)"):
        plan_folds(cohort(), MilSpec(folds_by="site"))


def test_a_share_of_patients_is_no_test_of_whole_sites() -> None:
    with pytest.raises(InputError, match="asks for whole sites"):
        plan_folds(cohort(sites=True), MilSpec(test_share=0.3, folds_by="site"))


def test_a_split_that_parts_no_site_is_known_as_such() -> None:
    def split(test: set[str]) -> list[Patient]:
        return [
            Patient(p.name, p.label, p.site, "test" if p.site in test else "train")
            for p in cohort(sites=True)
        ]

    assert plan_folds(split({"s0", "s1"}), MilSpec(folds=2)).whole_sites
    mixed = split({"s0"})
    mixed[1] = Patient(mixed[1].name, mixed[1].label, mixed[1].site, "test")
    assert not plan_folds(mixed, MilSpec(folds=2)).whole_sites


def test_slides_of_one_patient_stay_together() -> None:
    patients = [p for p in cohort() for _ in range(2)]
    plan = plan_folds(patients, MilSpec())
    assert all(len(fold.test) == 8 for fold in plan.folds)


def test_one_fold_cannot_test_everyone() -> None:
    with pytest.raises(InputError, match="one fold cannot test every patient"):
        plan_folds(cohort(), MilSpec(folds=1))


def test_a_class_with_fewer_patients_than_folds_is_refused() -> None:
    patients = [*cohort(), *(Patient(f"q{i}", "rare") for i in range(3))]
    with pytest.raises(InputError, match="rare"):
        plan_folds(patients, MilSpec(folds=5))


def test_a_fold_that_leaves_too_few_patients_to_train_on_says_so() -> None:
    patients = [*cohort(10), Patient("q0", "rare"), Patient("q1", "rare")]
    with pytest.raises(InputError, match=r"fold 1 leaves 1 patient\(s\) of class 'rare'"):
        plan_folds(patients, MilSpec(folds=2))


def test_patients_in_two_sites_are_refused() -> None:
    patients = [*cohort(sites=True), Patient("p00", "0", site="s3")]
    with pytest.raises(LeakyFolds, match="p00"):
        plan_folds(patients, MilSpec(folds=4, folds_by="site"))


def test_temperature_makes_overconfident_outputs_honest() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(4000, 3))
    classes = np.array([rng.choice(3, p=row) for row in softmax(true, axis=1)])

    found = calibrate(4.0 * true, classes)

    assert found.temperature == pytest.approx(4.0, rel=0.1)
    assert found(4.0 * true).sum(axis=1) == pytest.approx(1.0)


def test_platt_finds_the_logistic_it_was_drawn_from() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(3.0, 2.0, 4000)
    classes = (rng.uniform(size=4000) < expit(1.5 * scores - 4.0)).astype(np.int64)

    found = calibrate(scores[:, None], classes)

    assert found.slope == pytest.approx(1.5, rel=0.15)
    assert found.offset == pytest.approx(-4.0, rel=0.15)


def test_platt_never_turns_a_member_round() -> None:
    scores = np.array([[0.0], [1.0], [5.0], [0.5], [1.5]])  # AUC 2/3, but the mean points down
    found = calibrate(scores, np.array([0, 0, 0, 1, 1]))
    p = found(scores)[:, 1]
    assert found.slope >= 0
    assert (np.diff(p[np.argsort(scores[:, 0])]) >= 0).all()


def test_separable_validation_scores_give_probabilities_short_of_certainty() -> None:
    scores = np.array([[-1.0], [-1.1], [1.0], [1.2]])
    p = calibrate(scores, np.array([0, 0, 1, 1]))(scores)
    assert (p > 0.01).all()
    assert (p[2:, 1] > 0.5).all()


def test_a_few_slides_told_apart_are_no_reason_for_certainty() -> None:
    outputs = np.array([[4.0, -4.0], [-4.0, 4.0], [5.0, -5.0], [-5.0, 5.0]])
    p = calibrate(outputs, np.array([0, 1, 0, 1]))(outputs)
    assert p.max(axis=1) == pytest.approx(5 / 6, abs=0.05)  # Laplace's rule for four of four


def test_outputs_without_limit_give_no_probability_of_nought() -> None:
    p = Calibration(temperature=0.01)(np.array([[900.0, -900.0]]))
    assert 0 < p.min() <= 1e-9
    assert p.sum() == pytest.approx(1.0)


def test_a_calibration_never_changes_the_order_of_slides() -> None:
    outputs = np.random.default_rng(3).normal(size=(50, 2))
    hot = Calibration(temperature=3.0)(outputs)[:, 1]
    assert (np.argsort(hot) == np.argsort(outputs[:, 1] - outputs[:, 0])).all()


@dataclass(frozen=True)
class Toy:
    tiles: int
    features: NDArray[np.float32]
    note: str | None
    words: tuple[str, ...]


def toy(n: int) -> Toy:
    return Toy(n, np.full((n, 2), n, np.float32), None, ("a", "b"))


def test_a_sample_comes_back_as_it_was(tmp_path: Path) -> None:
    save_sample(tmp_path / "a.npz", toy(3))
    found = load_sample(tmp_path / "a.npz", Toy)
    assert (found.tiles, found.note, found.words) == (3, None, ("a", "b"))
    assert (found.features == toy(3).features).all()
    assert found.features.dtype == np.float32


def test_a_damaged_sample_is_told_in_words(tmp_path: Path) -> None:
    save_sample(tmp_path / "a.npz", toy(3))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_sample(tmp_path / "a.npz", Toy)


def test_the_store_forgets_the_least_lately_used_sample(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.npz" for n in range(3)]
    for n, file in enumerate(files):
        save_sample(file, toy(100 + n))
    store = SampleStore(files, Toy, limit_bytes=1700)  # two samples of about 800 bytes

    first = store[0]
    assert store[1].tiles == 101
    assert store[0] is first
    assert store[2].tiles == 102

    assert store[0] is first  # used since 1 was
    assert set(store._kept) == {0, 2}


def test_a_slide_like_the_others_is_no_outlier_and_a_strange_one_is() -> None:
    rng = np.random.default_rng(4)
    reference = make_reference(rng.normal(size=(60, 16)))

    usual = [reference.judge_mean(rng.normal(size=16)) for _ in range(200)]
    strange = reference.judge_mean(rng.normal(size=16) + 4.0)

    assert sum(one.outside for one in usual if one) <= 20  # about 200 / 61 are expected
    assert strange is not None
    assert strange.outside
    assert strange.percentile == 100.0
    assert "another stain" in strange.said


def test_a_training_slide_is_not_compared_with_itself() -> None:
    table = np.random.default_rng(8).normal(size=(30, 5))
    reference = make_reference(table)
    found = reference.judge_mean(table[4])
    assert found is not None
    assert np.isclose(reference.usual, found.distance, rtol=1e-4).any()


def test_ten_training_slides_are_needed_to_call_a_slide_strange() -> None:
    reference = make_reference(np.random.default_rng(5).normal(size=(9, 4)))
    assert reference.judge_mean(np.full(4, 1e6)) is None


def test_a_constant_feature_is_no_division_by_zero() -> None:
    table = np.random.default_rng(6).normal(size=(20, 3))
    table[:, 1] = 7.0
    found = make_reference(table).judge_mean(np.array([0.0, 7.0, 0.0]))
    assert found is not None
    assert np.isfinite(found.distance)


def test_cramers_v_of_unrelated_names_is_about_nought() -> None:
    rng = np.random.default_rng(7)
    labels = rng.choice(["0", "1"], 400).tolist()
    sites = rng.choice(["a", "b", "c"], 400).tolist()
    assert (cramers_v(labels, sites) or 0.0) < 0.1


def test_a_site_that_tells_the_label_is_an_alert_unless_folds_keep_sites_whole() -> None:
    labels, sites = ["0", "1"] * 30, ["a", "b"] * 30
    assert site_alert(labels, sites, whole_sites=False)["code"] == "site-tells-label"
    assert site_alert(labels, sites, whole_sites=True) == {}
    assert site_alert(labels, [None] * 60, whole_sites=False) == {}


def test_what_was_asked_of_a_recipe_wins_even_when_it_is_nought() -> None:
    own = Recipe(epochs=9, patience=3, batch=2, learning_rate=1e-3, weight_decay=0.1, drop=0.5)
    found = MilSpec(weight_decay=0.0, drop=0.0).recipe(own)
    assert (found.weight_decay, found.drop, found.epochs) == (0.0, 0.0, 9)
