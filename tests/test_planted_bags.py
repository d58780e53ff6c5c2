"""Planted bags carry the signal they say and no other, and are the same for the same seed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from herscope.core.errors import HerscopeError, InputError
from herscope.embed.feature_file import read_features
from herscope.embed.planted_bags import PlantedSpec, label_and_site, planted_bag
from herscope.embed.planted_places import neighbours_alike, tissue_cells
from herscope.mil.labels import read_labels
from herscope.recipes.cohorts import planted_bags
from herscope.stats.classification.folds import stratified_folds
from herscope.stats.classification.site_folds import site_folds


def drawn(spec: PlantedSpec, *, first: int = 0, last: int | None = None):
    """Per bag: mean, third-largest value and variance of each feature; labels and sites."""
    means, highs, spreads, labels, sites = [], [], [], [], []
    for number in range(first, spec.bags if last is None else last):
        bag, label, site, _ = planted_bag(spec, number)
        means.append(bag.features.mean(axis=0))
        highs.append(np.sort(bag.features, axis=0)[-3])
        spreads.append(bag.features.var(axis=0))
        labels.append(int(label))
        sites.append(site)
    return np.array(means), np.array(highs), np.array(spreads), np.array(labels), sites


def auc_of(values: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(values[train], labels[train])
    said = model.predict_proba(values[test])
    if said.shape[1] == 2:
        return float(roc_auc_score(labels[test], said[:, 1]))
    return float(roc_auc_score(labels[test], said, multi_class="ovr"))


SIDES = np.arange(300), np.arange(300, 360)


def test_a_signal_in_tiles_is_found_by_mean_and_by_maximum():
    means, highs, _, labels, _ = drawn(PlantedSpec())
    assert auc_of(means, labels, *SIDES) >= 0.95
    assert auc_of(highs, labels, *SIDES) >= 0.95


def test_four_classes_in_tiles_are_found():
    means, _, _, labels, _ = drawn(PlantedSpec(classes=4))
    assert sorted(set(labels.tolist())) == [0, 1, 2, 3]
    assert auc_of(means, labels, *SIDES) >= 0.95


def test_the_truth_marks_the_tiles_that_carry_the_pattern():
    spec = PlantedSpec(strength=8.0)
    shares = []
    for number in range(12):
        bag, label, _, truth = planted_bag(spec, number)
        if label == "0":
            assert not truth.any()
            continue
        shares.append(truth.mean())
        gap = bag.features[truth].mean(axis=0) - bag.features[~truth].mean(axis=0)
        assert np.linalg.norm(gap) == pytest.approx(8.0, rel=0.2)
    assert 0.04 <= min(shares) <= max(shares) <= 0.16


def test_witnesses_can_be_gathered_in_one_focus():
    spec = PlantedSpec(gathered=True, bags=8)
    for number in range(8):
        bag, label, _, truth = planted_bag(spec, number)
        if label == "1":
            spread = np.ptp(bag.grid[truth], axis=0).max()
            assert spread <= 3 * np.sqrt(truth.sum())


def test_an_arrangement_is_seen_by_neighbours_alone():
    spec = PlantedSpec(signal="arrangement")
    alike: list[float] = []
    labels: list[int] = []
    for number in range(24):
        bag, label, _, truth = planted_bag(spec, number)
        assert truth.sum() == len(bag) // 2
        alike.append(neighbours_alike(bag.grid, truth))
        labels.append(int(label))
    mixed = [share for share, label in zip(alike, labels, strict=True) if label == 0]
    gathered = [share for share, label in zip(alike, labels, strict=True) if label == 1]
    assert max(mixed) < 0.58
    assert min(gathered) > 0.85


def test_what_ignores_places_cannot_see_an_arrangement():
    means, highs, spreads, labels, _ = drawn(PlantedSpec(signal="arrangement", tiles=(200, 400)))
    everything = np.hstack([means, highs, spreads])
    for values in (means, highs, spreads, everything):
        # chance is 0.5 with a standard error of 0.075 on 60 bags
        assert 0.3 <= auc_of(values, labels, *SIDES) <= 0.7


def test_sizes_of_bags_do_not_tell_an_arrangement():
    spec = PlantedSpec(signal="arrangement")
    sizes, labels = [], []
    for number in range(120):
        bag, label, _, _ = planted_bag(spec, number)
        sizes.append([len(bag), *bag.grid.max(axis=0)])
        labels.append(int(label))
    score = roc_auc_score(labels, np.array(sizes)[:, 0])
    assert 0.35 <= score <= 0.65


@pytest.mark.parametrize("sigma", [6, 12])
def test_an_arrangement_is_seen_at_the_scale_of_kernels(sigma):
    """Means under Gaussian masks, as KAT's kernels take them, spread more where tiles gather."""
    spec = PlantedSpec(signal="arrangement")
    spread, labels = [], []
    for number in range(24):
        bag, label, _, truth = planted_bag(spec, number)
        places = bag.grid.astype(float)
        apart = ((places[::8, None] - places[None]) ** 2).sum(axis=2)
        mask = np.exp(-apart / (2 * sigma**2))
        spread.append((mask @ truth / mask.sum(axis=1)).std())
        labels.append(int(label))
    assert roc_auc_score(labels, spread) >= 0.95


def test_without_a_signal_nothing_is_found():
    means, highs, _, labels, _ = drawn(PlantedSpec(signal="none", bags=720, tiles=(20, 40)))
    halves = np.arange(360), np.arange(360, 720)
    for values in (means, highs):
        assert 0.42 <= auc_of(values, labels, *halves) <= 0.58


def test_a_site_is_rewarded_by_folds_of_patients_and_not_by_folds_of_sites():
    means, _, _, labels, sites = drawn(PlantedSpec(signal="site", bags=480, tiles=(30, 60)))
    patients = [f"p{number}" for number in range(480)]
    parted = [
        auc_of(means, labels, fold.rows(patients, "train"), fold.rows(patients, "test"))
        for fold in stratified_folds(patients, labels, k=5)
    ]
    whole = [
        auc_of(means, labels, fold.rows(patients, "train"), fold.rows(patients, "test"))
        for fold in site_folds(patients, labels, sites, k=5).folds
    ]
    assert np.mean(parted) >= 0.8
    assert 0.4 <= np.mean(whole) <= 0.6


def test_labels_without_a_signal_are_coins_in_every_site():
    spec = PlantedSpec(signal="none", bags=800)
    drawn_labels: dict[int, list[int]] = {}
    for number in range(800):
        label, site = label_and_site(spec, number)
        drawn_labels.setdefault(site, []).append(label)
    assert sorted(drawn_labels) == [0, 1, 2, 3]
    for coins in drawn_labels.values():
        assert 0.39 <= np.mean(coins) <= 0.61


@pytest.mark.parametrize("signal", ["tiles", "arrangement", "none", "site"])
def test_a_bag_is_the_same_alone_or_in_a_larger_set(signal):
    small, large = (PlantedSpec(signal=signal, bags=n, seed=5) for n in (24, 48))
    for number in (0, 17):
        one, label, site, truth = planted_bag(small, number)
        other, again, place, same = planted_bag(large, number)
        assert (label, site) == (again, place)
        assert one.features.tobytes() == other.features.tobytes()
        assert one.xy_px.tobytes() == other.xy_px.tobytes()
        assert truth.tobytes() == same.tobytes()
        assert one.encoder_id == other.encoder_id
    changed, *_ = planted_bag(PlantedSpec(signal=signal, bags=24, seed=6), 0)
    assert changed.encoder_id != one.encoder_id


def test_truth_belongs_to_the_tiles_in_the_order_of_the_bag():
    """The bag is put in order when it is made; the truth must not be left behind."""
    spec = PlantedSpec(strength=30.0)
    number = next(n for n in range(9) if planted_bag(spec, n)[1] == "1")
    bag, _, _, truth = planted_bag(spec, number)
    length = np.linalg.norm(bag.features, axis=1)
    assert (length[truth].min() > length[~truth].max()).item()


def test_tissue_has_an_outline_of_its_own():
    for seed in range(6):
        cells = tissue_cells(np.random.Generator(np.random.PCG64(seed)), 300)
        assert len({tuple(cell) for cell in cells.tolist()}) == 300
        filled = 300 / np.prod(np.ptp(cells, axis=0) + 1)
        assert 0.25 < filled < 0.92


def test_a_written_set_is_read_back_with_labels_and_truth(tmp_path: Path):
    spec = PlantedSpec(bags=16, tiles=(20, 40))
    document = planted_bags(spec, tmp_path)
    assert document["classes"] == {"0": 8, "1": 8}
    table = read_labels(tmp_path / "labels.csv")
    assert [row.split for row in table.rows] == ["train"] * 14 + ["test"] * 2
    with (tmp_path / "truth.csv").open() as file:
        told = {(row["slide"], int(row["x_px"]), int(row["y_px"])) for row in csv.DictReader(file)}
    for number, row in enumerate(table.rows):
        drawn_bag, label, site, truth = planted_bag(spec, number)
        bag = read_features(tmp_path / "features" / f"{row.slide}.h5ad")
        assert (row.label, row.site) == (label, site)
        assert bag.features.tobytes() == drawn_bag.features.tobytes()
        assert bag.encoder_id == drawn_bag.encoder_id
        marked = [(row.slide, x, y) in told for x, y in bag.xy_px.tolist()]
        assert marked == truth.tolist()


def test_a_folder_of_another_set_is_not_mixed(tmp_path: Path):
    planted_bags(PlantedSpec(bags=6, tiles=(20, 40)), tmp_path)
    with pytest.raises(InputError, match="not of this cohort") as refused:
        planted_bags(PlantedSpec(bags=4, tiles=(20, 40)), tmp_path)
    assert "choose another --out" in refused.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"tiles": (10, 5)},
        {"classes": 4, "signal": "arrangement"},
        {"signal": "site", "sites": 1},
        {"signal": "site", "sites": 20, "features": 8},
        {"bags": 1},
        {"share": 0.0},
    ],
)
def test_what_cannot_be_planted_is_refused(fields):
    with pytest.raises((HerscopeError, ValidationError)):
        PlantedSpec(**fields)


def test_a_bag_outside_the_set_is_refused():
    with pytest.raises(InputError, match="bag 4 of a set of 4"):
        planted_bag(PlantedSpec(bags=4), 4)
