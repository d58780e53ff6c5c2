"""From labels and features to a tested ensemble, its predictions and its heatmaps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from herscope.cli.app import run
from herscope.core.errors import (
    DependencyMissing,
    InputError,
    LeakyFolds,
    ModelError,
    OutputError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.foreign_writing import write_foreign
from herscope.mil.bag_batches import BagBatches
from herscope.mil.ensemble import read_ensemble
from herscope.mil.heatmap import read_heatmap
from herscope.mil.pooling import PoolingModel, PoolingSample, PoolingSpec
from herscope.mil.predictions import read_predictions
from herscope.mil.sample_store import SampleStore, save_sample
from herscope.mil.training_spec import MilSpec
from herscope.recipes.mil_cohort import LabelSpec
from herscope.recipes.mil_fit import fit_mil
from herscope.recipes.mil_heatmap import heatmap_mil
from herscope.recipes.mil_predict import predict_mil

QUICK = MilSpec(folds=2, epochs=40, batch=4, learning_rate=0.01, patience=40, validation_share=0.3)
SMALL = PoolingSpec(width=16, hidden=8, dropout=0.0)


def bag_of(name: str, label: int, *, size: int = 6, encoder: str = "toy") -> FeatureBag:
    """A bag whose first six tiles, in its upper left corner, carry the class."""
    rng = np.random.default_rng([7, *map(ord, name), label])
    rows, columns = np.divmod(np.arange(30), 6)
    features = rng.normal(size=(30, size))
    features[:6, 0] += 6.0 * label
    xy = np.stack([columns, rows], axis=1) * 512
    return make_bag(
        name, features, xy, tile_px=512, mpp=0.25, encoder=encoder, encoder_id=f"{encoder}:{size}"
    )


def cohort(root: Path, n: int = 32, **options: Any) -> tuple[Path, Path]:
    """Write n slides' features and their labels; two slides for the first patient of each class."""
    features = root / "features"
    features.mkdir(parents=True)
    lines = ["slide,patient,site,label"]
    for number in range(n):
        label = number % 2
        name = f"s{number:02d}"
        patient = f"p{number % (n - 2):02d}"
        write_foreign(bag_of(name, label, **options), "stamp", features / f"{name}.h5")
        lines.append(f"{name},{patient},{'AB'[number % (n - 2) % 4 // 2]},{label}")
    labels = root / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")
    return labels, features


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("mil")
    labels, features = cohort(root)
    out = root / "model"
    document = fit_mil(labels, features, out, "abmil", model_spec=SMALL, spec=QUICK, workers=1)
    return labels, features, out, document


def test_a_planted_signal_is_learnt_and_every_patient_is_predicted_once(
    trained: tuple[Path, Path, Path, dict[str, Any]],
) -> None:
    _, _, out, document = trained

    predictions, classes = read_predictions(out)

    assert classes == ("0", "1")
    assert len(predictions) == 32
    assert (document["slides"], document["patients"]) == (32, 30)
    assert document["evaluation"] == "cross-validation"
    assert document["over_folds"]["AUC macro one-vs-rest"]["mean"] > 0.95
    assert {one.fold for one in predictions} == {1, 2}
    assert json.loads((out / "result.json").read_text()) == document


def test_a_patients_slides_are_in_one_fold(
    trained: tuple[Path, Path, Path, dict[str, Any]],
) -> None:
    predictions, _ = read_predictions(trained[2])
    folds: dict[str, set[int | None]] = {}
    for one in predictions:
        folds.setdefault(one.patient, set()).add(one.fold)
    assert {len(found) for found in folds.values()} == {1}


def test_what_is_written_can_be_read_by_people(
    trained: tuple[Path, Path, Path, dict[str, Any]],
) -> None:
    out = trained[2]
    assert "does not replace IHC" in (out / "index.html").read_text()
    curves = (out / "curves.csv").read_text().splitlines()
    assert curves[0].startswith("fold,seed,epoch,loss")
    assert len(curves) == 1 + 2 * 40
    assert not out.with_name(".model.training").exists()


def test_results_are_the_same_to_the_bit_for_any_number_of_workers_and_order_of_labels(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    labels, features, out, _ = trained
    head, *rows = labels.read_text().splitlines()
    turned = tmp_path / "labels.csv"
    turned.write_text("\n".join([head, *reversed(rows)]) + "\n")

    fit_mil(turned, features, tmp_path / "m", "abmil", model_spec=SMALL, spec=QUICK, workers=2)

    ours, theirs = read_predictions(out)[0], read_predictions(tmp_path / "m")[0]
    assert [one.slide for one in ours] == [one.slide for one in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert (a.members == b.members).all()


def test_a_training_that_was_cut_off_goes_on_and_gives_the_same_bits(
    trained: tuple[Path, Path, Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, features, out, _ = trained
    from herscope.recipes import mil_members

    real, calls = mil_members.train_one, []

    def second_one_dies(job: mil_members.MemberJob) -> mil_members.Member:
        calls.append(job.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(mil_members, "train_one", second_one_dies)
    target = tmp_path / "m"
    with pytest.raises(KeyboardInterrupt):
        fit_mil(labels, features, target, "abmil", model_spec=SMALL, spec=QUICK, workers=1)
    again: list[str] = []
    monkeypatch.setattr(
        mil_members,
        "train_one",
        lambda job: (again.append(job.name), real(job))[1],
    )
    begun = tmp_path / ".m.training" / "model" / "members" / "fold1-seed0.safetensors"
    made = begun.stat().st_mtime_ns
    with pytest.raises(OutputError, match="was cut off, 1 member"):
        fit_mil(labels, features, target, "abmil", model_spec=SMALL, spec=QUICK, workers=1)

    fit_mil(labels, features, target, "abmil", model_spec=SMALL, spec=QUICK, workers=1, resume=True)

    assert (target / "members" / "fold1-seed0.safetensors").stat().st_mtime_ns == made
    for a, b in zip(read_predictions(out)[0], read_predictions(target)[0], strict=True):
        assert (a.members == b.members).all()


def test_a_held_out_test_is_predicted_by_every_member(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    labels, features, _, _ = trained
    spec = QUICK.model_copy(update={"test_share": 0.3, "seeds": 2})

    document = fit_mil(
        labels, features, tmp_path / "m", "mean", model_spec=SMALL, spec=spec, workers=1
    )

    predictions, _ = read_predictions(tmp_path / "m")
    assert document["evaluation"] == "held-out test"
    assert {len(one.members) for one in predictions} == {4}
    assert len(predictions) < 32
    assert len(document["over_folds"]["accuracy"]["values"]) == 4
    said = predict_mil(tmp_path / "m", features, tmp_path / "p")
    [alert] = [a for a in said["alerts"] if a["code"] == "slides-seen"]
    assert alert["message"].startswith(f"{32 - len(predictions)} slide(s)")


def test_predictions_of_a_saved_model_equal_those_of_its_training(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    labels, features, out, _ = trained

    document = predict_mil(out, features, tmp_path / "p", labels=labels, threads=1)

    first = {one.slide: one for one in read_predictions(out)[0]}
    for one in read_predictions(tmp_path / "p")[0]:
        member = (first[one.slide].fold or 0) - 1
        assert one.members[member] == pytest.approx(first[one.slide].members[0], abs=1e-6)
    assert document["evaluation"] == "external test"
    assert [a["code"] for a in document["alerts"]] == ["slides-seen"]


def test_slides_without_labels_are_predicted_too(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, _, out, _ = trained
    write_foreign(bag_of("new", 1), "stamp", tmp_path / "new.h5")

    document = predict_mil(out, tmp_path / "new.h5", tmp_path / "p")

    assert document["slides"][0]["predicted"] == "1"
    assert document["alerts"] == []
    assert (tmp_path / "p" / "index.html").is_file()


def test_a_slide_of_another_stain_is_told(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    strange = bag_of("strange", 0)
    strange.features[:] += 20.0
    write_foreign(strange, "stamp", tmp_path / "strange.h5")

    document = predict_mil(trained[2], tmp_path / "strange.h5", tmp_path / "p")

    assert document["slides"][0]["outlier"]["outside"]
    assert [a["code"] for a in document["alerts"]] == ["slides-unlike-training"]


def test_a_model_can_be_tested_on_slides_of_one_class(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for number in range(4):
        write_foreign(bag_of(f"new{number}", 1), "stamp", folder / f"new{number}.h5")
    labels = tmp_path / "labels.csv"
    labels.write_text("slide,label\n" + "".join(f"new{n},1\n" for n in range(4)))

    document = predict_mil(trained[2], folder, tmp_path / "p", labels=labels)

    assert document["figures"]["accuracy"]["value"] == 1.0
    assert document["figures"]["classes"]["1"]["auc_delong"] is None
    assert document["alerts"] == []


def test_the_heatmap_lights_up_where_the_signal_was_planted(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, features, out, _ = trained

    document = heatmap_mil(out, features, tmp_path / "h", only=["s01", "s03"])

    assert [one["slide"] for one in document["slides"]] == ["s01", "s03"]
    for one in document["slides"]:
        heat = read_heatmap(tmp_path / "h" / one["files"]["raw scores"])
        best = heat.xy_px[np.argsort(-heat.scores)[:6]]
        planted = best[:, 1] < 512  # the first row of tiles
        assert planted.sum() >= 5
        assert (tmp_path / "h" / one["files"]["page"]).is_file()


@pytest.mark.parametrize("model", ["kat", "slidegraph", "max"])
def test_every_family_trains_predicts_and_scores_tiles(model: str, tmp_path: Path) -> None:
    from herscope.mil.kat_sample import KatSpec
    from herscope.mil.slidegraph import SlideGraphSpec

    labels, features = cohort(tmp_path, 20)
    own = {
        "kat": KatSpec(dim=16, depth=2, heads=2, head_dim=8, mlp=16, tiles_per_kernel=9),
        "slidegraph": SlideGraphSpec(),
        "max": SMALL,
    }[model]

    fit_mil(labels, features, tmp_path / "m", model, model_spec=own, spec=QUICK, workers=1)
    predict_mil(tmp_path / "m", features, tmp_path / "p", threads=1)
    document = heatmap_mil(tmp_path / "m", features, tmp_path / "h", only=["s00"], threads=1)

    first = {one.slide: one for one in read_predictions(tmp_path / "m")[0]}
    for one in read_predictions(tmp_path / "p")[0]:
        member = (first[one.slide].fold or 0) - 1
        assert one.members[member] == pytest.approx(first[one.slide].members[0], abs=1e-6)
    heat = read_heatmap(tmp_path / "h" / document["slides"][0]["files"]["raw scores"])
    assert len(heat) == 30
    assert (heat.target is None) == (model == "kat")


def test_kernel_contrast_is_part_of_the_loss_and_of_the_saved_model(tmp_path: Path) -> None:
    from herscope.mil.kat_sample import KatSpec

    labels, features = cohort(tmp_path, 16)
    own = KatSpec(
        dim=16, depth=2, heads=2, head_dim=8, mlp=16, tiles_per_kernel=9, contrast_weight=0.1
    )
    short = QUICK.model_copy(update={"epochs": 2})

    document = fit_mil(
        labels, features, tmp_path / "m", "kat", model_spec=own, spec=short, workers=1
    )
    plain = own.model_copy(update={"contrast_weight": 0.0})
    without = fit_mil(
        labels, features, tmp_path / "n", "kat", model_spec=plain, spec=short, workers=1
    )

    assert document["settings"]["model"]["contrast_weight"] == 0.1
    assert len(predict_mil(tmp_path / "m", features, tmp_path / "p")["slides"]) == 16
    assert document["figures"] != without["figures"]


def test_balanced_draws_take_a_rare_class_as_often_as_a_common_one(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.npz" for n in range(20)]
    for file in files:
        save_sample(file, PoolingSample(np.ones((10, 2), np.float32)))
    store = SampleStore(files, PoolingSample)
    classes = np.array([1] * 4 + [0] * 16)

    def share(*, balanced: bool) -> float:
        batches = BagBatches(
            PoolingModel(), store, range(20), classes,
            batch=4, balanced=balanced, drop=0.0, seed=1,
        )  # fmt: skip
        return float(np.mean([classes[batches.draws(e)].mean() for e in range(50)]))

    assert share(balanced=True) == pytest.approx(0.5, abs=0.04)
    assert share(balanced=False) == pytest.approx(0.2)


def test_dropped_tiles_differ_between_epochs_and_repeat_with_the_seed(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    save_sample(file, PoolingSample(np.ones((400, 2), np.float32)))
    store = SampleStore([file], PoolingSample)

    def tiles(epoch: int) -> int:
        batches = BagBatches(
            PoolingModel(), store, [0], np.array([0]), batch=1, balanced=True, drop=0.5, seed=3
        )
        [(batch, target)] = batches.epoch(epoch)
        assert target.tolist() == [0]
        return int(batch.features.shape[0])

    drawn = [tiles(epoch) for epoch in range(12)]
    assert tiles(3) == drawn[3]
    assert len(set(drawn)) > 6
    assert all(180 <= n <= 400 for n in drawn)


# ---- what is refused -----------------------------------------------------------------------------


def test_features_of_two_encoders_are_refused_before_training(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path)
    write_foreign(bag_of("s05", 1, encoder="other"), "stamp", features / "s05.h5")
    with pytest.raises(WrongInput, match=r"2 kinds: 31 slides.*s05"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_features_that_are_no_numbers_name_their_slide(tmp_path: Path) -> None:
    import h5py

    labels, features = cohort(tmp_path)
    with h5py.File(features / "s05.h5", "r+") as file:
        file["feats"][3, 0] = np.nan
    with pytest.raises(InputError, match=r"1 labelled slide\(s\) cannot be used, first s05"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_a_model_refuses_features_of_another_encoder_and_predicts_the_rest(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    write_foreign(bag_of("good", 1), "stamp", folder / "good.h5")
    write_foreign(bag_of("bad", 1, encoder="other"), "stamp", folder / "bad.h5")

    words = ["mil", "predict", "--model", str(trained[2]), "--features", str(folder)]

    code = run([*words, "--out", str(tmp_path / "p"), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 3
    assert [one["slide"] for one in document["slides"]] == ["good"]
    assert document["failures"]["bad"]["error"] == "WrongInput"
    assert "embed with the same encoder" in document["failures"]["bad"]["hint"]
    assert json.loads((tmp_path / "p" / "failures.json").read_text()) == document["failures"]


def test_a_model_refuses_features_of_another_size_when_it_is_all_there_is(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    write_foreign(bag_of("a", 1, size=9), "stamp", tmp_path / "a.h5")
    with pytest.raises(WrongInput, match="9 features a tile"):
        predict_mil(trained[2], tmp_path / "a.h5", tmp_path / "p")


def test_two_tiles_are_enough_to_be_predicted(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    write_foreign(bag_of("two", 1).take(np.arange(2)), "stamp", tmp_path / "two.h5")
    document = predict_mil(trained[2], tmp_path / "two.h5", tmp_path / "p")
    assert document["slides"][0]["tiles"] == 2


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 8)
    labels.write_text("slide,label\n" + "".join(f"s{n:02d},1\n" for n in range(8)))
    with pytest.raises(InputError, match="needs two classes"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_a_class_with_fewer_patients_than_folds_is_refused(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 10)
    with pytest.raises(InputError, match=r"class '?[01]'? has"):
        fit_mil(
            labels, features, tmp_path / "m", "mean",
            spec=QUICK.model_copy(update={"folds": 9}), workers=1,
        )  # fmt: skip


def test_a_patient_in_two_sites_is_refused(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 8)
    text = labels.read_text().splitlines()
    text[-1] = "s07,p00,B,1"
    labels.write_text("\n".join(text) + "\n")
    with pytest.raises(InputError, match="p00"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_a_patient_on_both_sides_of_a_split_is_refused(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 8)
    labels.write_text(
        "slide,patient,label,split\n"
        + "".join(f"s{n:02d},p{n // 2},{n // 2 % 2},{('train', 'test')[n % 2]}\n" for n in range(8))
    )
    with pytest.raises(LeakyFolds, match="p0"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_a_changed_weights_file_is_refused(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = shutil.copytree(trained[2], tmp_path / "m")
    file = copy / "members" / "fold1-seed0.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"not the file that mil\.json names"):
        predict_mil(copy, trained[1], tmp_path / "p")


@pytest.mark.parametrize(
    ("edit", "error", "said"),
    [
        (lambda d: d.update(model="transmil"), Exception, "transmil"),
        (lambda d: d.update(classes=["0"]), SchemaError, "classes"),
        (lambda d: d.update(schema="herscope.mil/9"), SchemaError, "herscope.mil/9"),
        (lambda d: d["members"][0].update(file="../x.safetensors"), SchemaError, "file"),
        (lambda d: d["model_spec"].update(width=99), ModelError, "does not fit"),
    ],
)
def test_a_model_file_that_was_edited_is_refused(
    trained: tuple[Path, Path, Path, dict[str, Any]],
    tmp_path: Path,
    edit: Callable[[dict[str, Any]], None],
    error: type[Exception],
    said: str,
) -> None:
    copy = shutil.copytree(trained[2], tmp_path / "m")
    document = json.loads((copy / "mil.json").read_text())
    edit(document)
    (copy / "mil.json").write_text(json.dumps(document))
    with pytest.raises(error, match=said):
        predict_mil(copy, trained[1], tmp_path / "p")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(WrongInput, match="another task"):
        read_ensemble(tmp_path)
    with pytest.raises(WeightsUnavailable, match=r"has no mil\.json"):
        read_ensemble(tmp_path / "absent")


def test_a_model_that_is_there_is_not_replaced_unasked(
    trained: tuple[Path, Path, Path, dict[str, Any]],
) -> None:
    labels, features, out, _ = trained
    before = (out / "mil.json").read_bytes()
    with pytest.raises(OutputError, match="holds a model already"):
        fit_mil(labels, features, out, "mean", spec=QUICK, workers=1)
    assert (out / "mil.json").read_bytes() == before


def test_a_disk_that_takes_nothing_is_not_blamed_on_the_features(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 16)
    (tmp_path / ".m.training").write_text("in the way")
    with pytest.raises(OutputError, match=r"m\.training"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)


def test_a_slide_that_is_not_among_the_pictures_is_told(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (400, 400), "white").save(tmp_path / "other.png")
    document = heatmap_mil(
        trained[2], trained[1], tmp_path / "h", only=["s00"], slides=[tmp_path / "other.png"]
    )
    assert "first s00: their maps are on white" in document["notes"][0]


def test_a_usage_error_points_to_the_help_of_the_very_command(capsys: Any) -> None:
    code = run(["mil", "fit", "labels.csv", "--features", "f", "--out", "o", "--epochs", "0"])
    assert code == 2
    assert "herscope mil fit --help" in capsys.readouterr().err


def test_a_refused_replacement_leaves_the_model_as_it_was(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = shutil.copytree(trained[2], tmp_path / "m")
    bad = tmp_path / "labels.csv"
    bad.write_text("slide,label\ns00,1\ns01,1\n")

    with pytest.raises(InputError):
        fit_mil(bad, trained[1], copy, "mean", spec=QUICK, workers=1, force=True)

    assert len(predict_mil(copy, trained[1], tmp_path / "p")["slides"]) == 32


def test_a_model_is_replaced_whole_when_that_is_asked(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = shutil.copytree(trained[2], tmp_path / "m")
    short = QUICK.model_copy(update={"epochs": 1})
    fit_mil(
        trained[0], trained[1], copy, "mean", model_spec=SMALL, spec=short, workers=1, force=True
    )
    assert read_ensemble(copy).card.model == "mean"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_a_site_for_every_patient_is_no_reason_to_lose_a_training(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 16)
    rows = [f"s{n:02d},site{n},{n % 2}" for n in range(16)]
    labels.write_text("\n".join(["slide,site,label", *rows]) + "\n")
    document = fit_mil(
        labels, features, tmp_path / "m", "mean", model_spec=SMALL, spec=QUICK, workers=1
    )
    assert "site-tells-label" not in [a["code"] for a in document["alerts"]]


def test_a_renamed_feature_file_is_one_slide_by_one_name(
    trained: tuple[Path, Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    shutil.copy(trained[1] / "s01.h5", folder / "a s01.h5")
    shutil.copy(trained[1] / "s01.h5", folder / "b s01.h5")

    document = heatmap_mil(trained[2], folder, tmp_path / "h")

    assert [one["slide"] for one in document["slides"]] == ["a s01", "b s01"]
    assert [a["code"] for a in document["alerts"]] == ["slides-seen"]  # by what they hold
    assert len({one["files"]["page"] for one in document["slides"]}) == 2


def test_notes_of_feature_files_reach_the_reader(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 16)
    for file in features.iterdir():
        file.rename(features / file.name.replace("s", "t", 1))
    labels.write_text(labels.read_text().replace("\ns", "\nt"))
    document = fit_mil(
        labels, features, tmp_path / "m", "mean", model_spec=SMALL, spec=QUICK, workers=1
    )
    assert any("was written of slide" in note for note in document["notes"]) or any(
        "slides)" in note for note in document["notes"]
    )


@pytest.mark.parametrize("option", [{"workers": 0}, {"threads": 0}, {"licence": " "}])
def test_impossible_options_are_refused_before_anything_is_read(
    option: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        fit_mil("absent.csv", "absent", tmp_path / "m", "mean", **option)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mean", ["--kat.depth", "3"]),
        ("abmil", ["--kat.dim", "8"]),
        ("max", ["--pooling.pooling", "plain"]),
    ],
)
def test_options_of_another_family_are_refused(
    model: str, words: list[str], tmp_path: Path, capsys: Any
) -> None:
    start = ["mil", "fit", "l.csv", "--features", "f", "--out", str(tmp_path / "m")]
    code = run([*start, "--model", model, *words])
    assert code == 1
    assert model in capsys.readouterr().err


def test_without_torch_every_step_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )
    for step in (
        lambda: fit_mil("l.csv", "f", tmp_path / "m"),
        lambda: predict_mil("m", "f", tmp_path / "p"),
        lambda: heatmap_mil("m", "f", tmp_path / "h"),
    ):
        with pytest.raises(DependencyMissing, match="need torch") as caught:
            step()
        assert "herscope[learn]" in caught.value.hint


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 8)
    with pytest.raises(OutputError, match="is not a model"):
        fit_mil(labels, features, features, "mean", spec=QUICK, workers=1, force=True)
    assert len(list(features.iterdir())) == 8


def test_the_command_takes_the_parameters_of_the_model_it_trains(
    tmp_path: Path, capsys: Any
) -> None:
    labels, features = cohort(tmp_path, 16)
    words = ["mil", "fit", str(labels), "--features", str(features), "--out", str(tmp_path / "m")]
    words += ["--model", "kat", "--folds", "2", "--epochs", "1", "--kat.dim", "16"]
    words += ["--kat.depth", "2", "--kat.heads", "2", "--kat.head-dim", "8", "--workers", "1"]

    code = run([*words, "--site-column", "site", "--folds-by", "site", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["settings"]["model"]["dim"] == 16
    assert document["site_folds"]
    assert document["folds"][0]["test"] == 8


def test_ranking_is_refused_for_more_than_two_classes(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 12)
    labels.write_text("slide,label\n" + "".join(f"s{n:02d},{n % 3}\n" for n in range(12)))
    with pytest.raises(InputError, match="orders two classes, and there are 3"):
        fit_mil(
            labels, features, tmp_path / "m", "slidegraph",
            spec=QUICK.model_copy(update={"loss": "ranking"}), workers=1,
        )  # fmt: skip


def test_slides_of_a_patient_may_differ_when_that_is_said(tmp_path: Path) -> None:
    labels, features = cohort(tmp_path, 12)
    labels.write_text(
        "slide,patient,label\n" + "".join(f"s{n:02d},p{n // 2},{n % 2}\n" for n in range(12))
    )
    with pytest.raises(InputError, match="different labels"):
        fit_mil(labels, features, tmp_path / "m", "mean", spec=QUICK, workers=1)
    document = fit_mil(
        labels, features, tmp_path / "m", "mean", model_spec=SMALL,
        spec=QUICK, label_spec=LabelSpec(patient_labels="slide"), workers=1,
    )  # fmt: skip
    assert document["patients"] == 6


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
