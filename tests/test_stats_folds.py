import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herscope.core.errors import InputError, LeakyFolds
from herscope.stats.classification.folds import (
    Fold,
    Folds,
    check_patients_apart,
    held_out,
    stratified_folds,
)
from herscope.stats.classification.site_folds import imbalance_of, site_folds

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))

slides = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["0", "1+", "2+", "3+"])),
    min_size=1,
    max_size=80,
)


def patients_of_class(patients, labels, name):
    return {p for p, c in zip(patients, labels, strict=True) if c == name}


@given(slides, st.integers(2, 5), st.integers(0, 9))
@settings(deadline=None)
def test_folds_never_share_a_patient_and_every_patient_is_tested_once(rows, k, seed):
    patients, labels = [f"p{i}" for i, _ in rows], [c for _, c in rows]
    try:
        folds = stratified_folds(patients, labels, k=k, seed=seed)
    except InputError:
        assert min(len(patients_of_class(patients, labels, c)) for c in set(labels)) < k
        return
    tested = [p for fold in folds for p in fold.test]
    assert sorted(tested) == sorted(set(patients))
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert not set(fold.rows(patients, "train").tolist()) & set(
            fold.rows(patients, "test").tolist()
        )


@given(st.lists(st.integers(5, 30), min_size=1, max_size=4), st.integers(2, 5))
@settings(deadline=None)
def test_each_class_and_all_patients_differ_by_at_most_one_between_folds(sizes, k):
    labels = [c for c, size in enumerate(sizes) for _ in range(size)]
    patients = [f"p{i}" for i in range(len(labels))]
    folds = stratified_folds(patients, labels, k=k)
    tested = [len(fold.test) for fold in folds]
    assert max(tested) - min(tested) <= 1
    for c in range(len(sizes)):
        members = patients_of_class(patients, labels, c)
        held = [len(members & set(fold.test)) for fold in folds]
        assert max(held) - min(held) <= 1


def test_folds_do_not_depend_on_the_order_of_rows_but_on_the_seed():
    patients, labels = [f"p{i}" for i in range(20)], [i % 2 for i in range(20)]
    forward = stratified_folds(patients, labels, k=4)
    assert stratified_folds(patients[::-1], labels[::-1], k=4) == forward
    assert stratified_folds(patients, labels, k=4, seed=1).folds != forward.folds


def test_a_fold_that_shares_a_patient_cannot_be_built():
    with pytest.raises(LeakyFolds, match="'p1' is in train and in test"):
        Fold(train=("p1", "p2"), test=("p1",))
    with pytest.raises(LeakyFolds, match="'p1' is in validation and in test"):
        Fold(train=("p2",), validation=("p1",), test=("p1",))


def test_folds_that_test_a_patient_twice_or_never_cannot_be_built():
    a, b, c = Fold(("2", "3"), ("1",)), Fold(("1", "3"), ("2",)), Fold(("1", "2"), ("3",))
    assert len(Folds((a, b, c), "by hand")) == 3
    with pytest.raises(LeakyFolds, match="'1' is tested in fold 2 and"):
        Folds((a, a), "by hand")
    with pytest.raises(LeakyFolds, match="'3' is never tested"):
        Folds((a, b), "by hand")
    with pytest.raises(LeakyFolds, match="fold 2 holds other patients"):
        Folds((a, Fold(("1",), ("2",))), "by hand")


def test_a_class_with_fewer_patients_than_folds_is_refused():
    with pytest.raises(InputError, match=r"class '3\+' has 2 patient\(s\), 3 folds"):
        stratified_folds([f"p{i}" for i in range(8)], ["0"] * 6 + ["3+"] * 2, k=3)


def test_a_missing_patient_is_refused_with_its_row():
    with pytest.raises(InputError, match="patient, row 2"):
        stratified_folds(["a", None], [0, 1], k=2)


def test_a_table_with_a_patient_in_two_test_folds_is_refused():
    with pytest.raises(LeakyFolds, match="'p1' is in the test sets of folds 1 and 2"):
        check_patients_apart(["p1", "p2", "p1"], ["1", "1", "2"])


def test_a_held_out_set_has_its_share_of_each_class_and_no_shared_patient():
    labels = ["0"] * 20 + ["1"] * 10
    patients = [f"p{i}" for i in range(30)]
    fold = held_out(patients, labels, test_share=0.3)
    assert not set(fold.train) & set(fold.test)
    assert len(set(fold.test) & set(patients[:20])) == 6
    assert len(set(fold.test) & set(patients[20:])) == 3


# --- sites -----------------------------------------------------------------------------------


def cohort(table):
    """Patients, classes and sites of a (site, class) table."""
    rows = [
        (f"s{s}c{c}n{i}", f"c{c}", f"s{s}")
        for s, row in enumerate(table)
        for c, n in enumerate(row)
        for i in range(n)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def objective(found):
    counts = np.array(found.counts)
    k = len(found.counts)
    return int(((k * counts - counts.sum(axis=0)) ** 2).sum())


def brute_force(table, k):
    return min(
        imbalance_of(table, np.array(assigned), k)
        for assigned in itertools.product(range(k), repeat=len(table))
        if len(set(assigned)) == k
    )


@pytest.mark.parametrize("seed", range(12))
def test_site_folds_reach_the_optimum_of_brute_force(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    k = int(rng.integers(2, 4))
    table = rng.integers(1, 12, (int(rng.integers(k, 8)), int(rng.integers(2, 5))))
    found = site_folds(*cohort(table), k=k)
    assert found.optimal
    assert objective(found) == brute_force(table, k)


def test_local_search_reaches_the_optimum_of_brute_force_on_small_cases(monkeypatch):
    monkeypatch.setattr("herscope.stats.classification.site_folds.EXACT_ASSIGNMENTS", 0)
    rng = np.random.Generator(np.random.PCG64(7))
    for _ in range(12):
        table = rng.integers(1, 12, (7, 3))
        assert objective(site_folds(*cohort(table), k=3)) == brute_force(table, 3)


@given(st.lists(st.integers(1, 6), min_size=3, max_size=14), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_site_folds_keep_sites_whole_and_test_every_patient_once(sizes, seed):
    patients, labels, sites = cohort([[n, seed % 3] for n in sizes])
    found = site_folds(patients, labels, sites, k=3, seed=seed)
    assert sorted(p for fold in found.folds for p in fold.test) == sorted(patients)
    fold_of = found.folds.test_fold()
    for site in set(sites):
        assert len({fold_of[p] for p, s in zip(patients, sites, strict=True) if s == site}) == 1
    assert all(fold.test for fold in found.folds)


def test_one_site_with_most_patients_is_reported_as_imbalance():
    found = site_folds(*cohort([[30, 10], [5, 5], [5, 5]]), k=3)
    assert found.imbalance > 5
    assert "fold" in found.worst
    assert "30 of c0" in str(found)


def test_a_patient_of_two_sites_is_refused():
    with pytest.raises(LeakyFolds, match="'p1' is of site B and of site A"):
        site_folds(["p1", "p2", "p1"], [0, 1, 0], ["A", "A", "B"], k=2)


def test_more_folds_than_sites_are_refused():
    with pytest.raises(InputError, match=r"2 site\(s\) cannot be kept whole in 3 folds"):
        site_folds(list("abcd"), [0, 1, 0, 1], ["A", "A", "B", "B"], k=3)


def test_tcga_sites_are_balanced_to_within_a_patient():
    path = DATA / "clinical" / "tcga" / "tcga_brca_her2.csv"
    if not path.is_file():
        pytest.skip("the shared clinical tables are not here")
    from herscope.stats.table import read_table

    table = read_table(path).complete(["her2_ihc_score"], drop_missing=True)
    patients = table.labels("bcr_patient_barcode")
    found = site_folds(
        patients, table.labels("her2_ihc_score"), [p.split("-")[1] for p in patients], k=3
    )
    assert len({s for fold in found.sites for s in fold}) > 20
    assert found.imbalance < 1
