"""``herscope respond fit``, ``predict`` and ``explain`` from a drawn cohort to pages.

Whole fits take seconds each: one with pictures of slides and CT is shared, others know reports and
patient data only.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models of response need torch")

from sklearn.metrics import roc_auc_score  # noqa: E402 - after the check for torch

from herscope.cli import main  # noqa: E402
from herscope.core.errors import InputError, OutputError, StaleResult, WrongInput  # noqa: E402
from herscope.embed.foreign_writing import write_foreign  # noqa: E402
from herscope.embed.open_features import read_any  # noqa: E402
from herscope.recipes import respond_explain, respond_fit, respond_members  # noqa: E402
from herscope.recipes.cohorts import response_cohort  # noqa: E402
from herscope.recipes.respond_alike import observed  # noqa: E402
from herscope.recipes.respond_explain import explain_response  # noqa: E402
from herscope.recipes.respond_fit import fit_response  # noqa: E402
from herscope.recipes.respond_patients import PreparationSpec  # noqa: E402
from herscope.recipes.respond_pictures import bag_pictures  # noqa: E402
from herscope.recipes.respond_predict import (  # noqa: E402
    describe,
    open_patients,
    predict,
    predict_response,
)
from herscope.report import respond_cohort_page  # noqa: E402
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec  # noqa: E402
from herscope.respond.evaluation.predictions import (  # noqa: E402
    PatientPrediction,
    read_predictions,
)
from herscope.respond.fusion.fusion_spec import FusionSpec  # noqa: E402
from herscope.respond.fusion.patients import PARTS  # noqa: E402
from herscope.respond.radiology.patient_lesions import PatientLesionSpec  # noqa: E402
from herscope.respond.radiomics.spec import RadiomicsSpec  # noqa: E402
from herscope.respond.training.card import known_as  # noqa: E402
from herscope.respond.training.ensemble import read_model  # noqa: E402
from herscope.respond.training.spec import RespondSpec  # noqa: E402

PATIENTS, SEED = 36, 5
QUICK = RespondSpec(folds=2, repeats=2, epochs=2, average=2, batch=16, device="cpu")
SMALL = FusionSpec(width=16, common=16, hidden=16)
PREPARATION = PreparationSpec(
    lesions=PatientLesionSpec(
        size_px=32, max_lesions=2, radiomics=RadiomicsSpec(wavelet="none", log_sigma_mm=())
    )
)
IMAGES = ("pathology-images", "pathology-radiomics", "radiology-images", "radiology-radiomics")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn cohort; 30 % of each modality missing."""
    folder = tmp_path_factory.mktemp("drawn") / "cohort"
    spec = DrawnCohortSpec(signal="interaction", patients=PATIENTS, missing=0.3, seed=SEED)
    response_cohort(spec, folder)
    return folder


@pytest.fixture(scope="session")
def fitted(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A model of everything, and the document it came with."""
    out = tmp_path_factory.mktemp("fitted") / "model"
    document = fit_response(
        drawn / "cohort.toml", out, spec=QUICK, network=SMALL, preparation=PREPARATION, workers=1,
    )  # fmt: skip
    return out, document


@pytest.fixture(scope="session")
def plain(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of reports and patient data."""
    out = tmp_path_factory.mktemp("plain") / "model"
    quick(drawn, out)
    return out


def quick(cohort: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Fit reports and patient data only."""
    options = {
        "spec": QUICK, "network": SMALL, "leave_out": IMAGES, "workers": 1, "baselines": False,
        **options,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # its charts take longer than the training
        patch.setattr(respond_cohort_page, "write_cohort_page", lambda *_: None)
        return fit_response(cohort / "cohort.toml", out, **options)


@pytest.fixture
def copy(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the cohort to be changed; images are links."""

    def linked(source: str, target: str) -> None:
        if Path(source).suffix in {".csv", ".toml"}:
            shutil.copyfile(source, target)
        else:
            Path(target).symlink_to(source)

    return Path(shutil.copytree(drawn, tmp_path / "copy", copy_function=linked))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "patients.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "cohort.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def files_of(folder: Path) -> dict[str, str]:
    """Hash of predictions and members."""
    found = [folder / "predictions.csv", *sorted((folder / "members").iterdir())]
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in found}


def whole(cohort: Path, model: Path) -> str:
    """A patient of whom every part is known."""
    asked = open_patients(model, cohort / "cohort.toml", workers=1)
    return next(one.name for one in asked.patients if one.parts == PARTS)


# --- fit -----------------------------------------------------------------------------------------


def test_the_result_holds_what_was_promised(fitted):
    out, document = fitted

    assert json.loads((out / "result.json").read_text()) == document
    assert {
        "schema", "name", "cohort", "design", "spec", "figures", "external", "models",
        "availability", "members", "alerts", "notes", "seconds",
    } <= set(document)  # fmt: skip
    assert (document["schema"], document["name"]) == ("herscope.respond/1", "model")
    cohort = document["cohort"]
    assert cohort["patients"] == PATIENTS == cohort["labelled"] + cohort["without_label"]
    assert cohort["labelled"] == cohort["responders"] + cohort["non_responders"]
    assert set(cohort["parts"]) == set(PARTS)
    assert all(0 < having <= PATIENTS for having in cohort["parts"].values())
    design = document["design"]
    assert (design["evaluation"], design["folds"], design["repeats"], design["seeds"]) == (
        "repeated cross-validation", 2, 2, 1,
    )  # fmt: skip
    assert design["tested"] == cohort["labelled"]
    assert [one["name"] for one in document["models"]] == [
        "the whole model", "logistic", "trees", "cox",
    ]  # fmt: skip
    assert "/work" not in json.dumps(document["cohort"])


def test_the_folder_holds_model_predictions_and_page_and_nothing_of_the_work(fitted):
    out, document = fitted

    names = {one.name for one in out.iterdir()}
    assert names == {"respond.json", "result.json", "predictions.csv", "index.html", "members"}
    assert {f"members/{one.name}" for one in (out / "members").iterdir()} == {
        one["file"] for one in document["members"]
    }
    assert [one.name for one in out.parent.iterdir()] == [out.name]
    for one in document["members"]:
        assert len(one["history"]) == one["epochs"] == 2
        assert set(one["history"][0]) == {"epoch", "loss", "val_auc", "val_loss"}
        assert len(one["best_epochs"]) == 2


def test_every_patient_is_predicted_by_members_that_had_not_seen_them(fitted):
    out, document = fitted
    rows = read_predictions(out / "predictions.csv")
    card = read_model(out).card

    assert len({row.patient for row in rows}) == len(rows) == PATIENTS
    unlabelled = sum(row.label < 0 for row in rows)
    assert unlabelled == document["cohort"]["without_label"] > 0
    assert document["figures"]["survival"]["pfs"]["all"] is not None
    assert document["figures"]["patients"] == PATIENTS
    for row in rows:
        key = known_as(row.patient, "drawn interaction, 30% of each modality missing")
        unseen = [note for note in card.members if key not in note.seen]
        assert len(row.members) == len(unseen) == QUICK.repeats
        assert row.probability == pytest.approx(np.mean(row.members), abs=1e-15)
        assert (row.low, row.high) == tuple(np.percentile(row.members, (5, 95)))
        assert row.cut == pytest.approx(np.mean([note.cut for note in unseen]), abs=1e-15)


def test_the_auc_is_that_of_scikit_learn_on_the_written_predictions(fitted):
    out, document = fitted
    rows = [row for row in read_predictions(out / "predictions.csv") if row.label >= 0]
    labels, said = [row.label for row in rows], [row.probability for row in rows]

    expected = roc_auc_score(labels, said)

    assert document["figures"]["auc"]["delong"]["value"] == pytest.approx(expected, abs=1e-12)
    assert document["models"][0]["auc"]["value"] == pytest.approx(expected, abs=1e-12)
    each = [
        roc_auc_score(labels, [row.members[repeat] for row in rows])
        for repeat in range(QUICK.repeats)
    ]
    assert document["models"][0]["auc_of_repeats"] == pytest.approx(each, abs=1e-12)


def test_what_missing_parts_cost_begins_with_nothing_missing(fitted):
    _, document = fitted
    first, *others = document["availability"]

    assert (first["without"], first["auc"]) == ([], document["models"][0]["auc"])
    assert {tuple(one["without"]) for one in others} >= {(part,) for part in PARTS}
    assert all(one["patients"] <= first["patients"] for one in others)
    assert any(one["auc"]["value"] != first["auc"]["value"] for one in others if one["auc"])


def test_a_changed_patient_changes_no_member_that_had_not_seen_them(plain, copy, tmp_path):
    rows = rows_of(copy)
    tested = read_predictions(plain / "predictions.csv")
    name = next(row.patient for row in tested)
    place = next(i for i, row in enumerate(rows) if row["patient"] == name)
    rows[place]["sex"] = {"male": "female", "female": "male"}[rows[place]["sex"]]
    rows[place]["age"] = "31"
    write_rows(copy, rows)

    quick(copy, tmp_path / "model")

    key = known_as(name, "drawn interaction, 30% of each modality missing")
    before, after = read_model(plain).card.members, read_model(tmp_path / "model").card.members
    for old, new in zip(before, after, strict=True):
        assert (old.sha256 == new.sha256) == (key not in old.seen)
        assert old.seen == new.seen
    changed = {row.patient: row for row in read_predictions(tmp_path / "model/predictions.csv")}
    for row in tested:
        same = [a == b for a, b in zip(row.members, changed[row.patient].members, strict=True)]
        # A member that trained on the patient is another one; one that did not says the same of
        # everybody else.
        judges = [one for one in before if known_as(row.patient, CHANGED) not in one.seen]
        if row.patient == name:
            assert not any(same)
        else:
            assert same == [key not in one.seen for one in judges]


CHANGED = "drawn interaction, 30% of each modality missing"


def test_a_cohort_that_changed_on_disk_is_read_again_in_the_same_process(copy, tmp_path):
    out = tmp_path / "model"
    quick(copy, out)
    first = files_of(out)
    write_rows(copy, [{**row, "sex": "", "age": ""} for row in rows_of(copy)])

    quick(copy, out, force=True)

    assert all(files_of(out)[name] != digest for name, digest in first.items())


def test_a_training_that_was_cut_off_goes_on_to_the_same_bits(plain, drawn, tmp_path, monkeypatch):
    out = tmp_path / "model"
    train, calls = respond_members.train_one, []

    def cut_off(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(respond_members, "train_one", cut_off)
    with pytest.raises(KeyboardInterrupt):
        quick(drawn, out)
    monkeypatch.undo()
    assert not out.exists()
    work = out.with_name(".model.training")
    assert len(list(work.glob("repeat*/done.json"))) == 2
    assert not list(work.glob("repeat*/*.safetensors"))

    with pytest.raises(OutputError, match=r"was cut off, 2 member\(s\) were begun") as refused:
        quick(drawn, out)
    assert "--resume" in refused.value.hint
    quick(drawn, out, resume=True)

    assert files_of(out) == files_of(plain)
    assert not list(tmp_path.glob(".*"))


def test_resuming_with_other_parameters_is_refused(drawn, tmp_path, monkeypatch):
    out = tmp_path / "model"
    monkeypatch.setattr(respond_fit, "swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        quick(drawn, out)
    monkeypatch.undo()

    other = QUICK.model_copy(update={"learning_rate": 0.01})
    with pytest.raises(StaleResult, match="learning_rate was"):
        quick(drawn, out, resume=True, spec=other)


def test_an_earlier_model_stands_until_the_new_one_is_whole(drawn, tmp_path, monkeypatch):
    out = tmp_path / "model"
    quick(drawn, out)
    before = files_of(out)

    with pytest.raises(OutputError, match="holds a model already") as refused:
        quick(drawn, out)
    assert "--force" in refused.value.hint
    monkeypatch.setattr(respond_fit, "swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        quick(drawn, out, force=True, spec=QUICK.model_copy(update={"seed": 1}))

    assert files_of(out) == before


def test_a_held_out_side_is_tested_by_every_member(copy, tmp_path):
    rows = rows_of(copy)
    write_rows(copy, [{**r, "side": "test" if i % 3 == 0 else "train"} for i, r in enumerate(rows)])
    edit(copy, 'site = "site"', 'site = "site"\nsplit = "side"')

    document = quick(copy, tmp_path / "model", baselines=True)

    tested = read_predictions(tmp_path / "model/predictions.csv")
    assert document["design"]["evaluation"] == "held-out test"
    assert {int(row.patient[-4:]) % 3 for row in tested} == {0}
    assert {len(row.members) for row in tested} == {2}
    assert any("none in a held-out test" in note for note in document["notes"])


def test_another_cohort_is_predicted_by_all_members_whatever_it_holds(copy, tmp_path):
    """The training has tables only; the external cohort has slides and CT besides."""
    other = tmp_path / "other"
    response_cohort(DrawnCohortSpec(signal="interaction", patients=12, seed=6), other)
    text = (copy / "cohort.toml").read_text()
    (copy / "cohort.toml").write_text(text.partition("[files.bags]")[0])

    document = quick(copy, tmp_path / "model", leave_out=(), external=other / "cohort.toml")

    assert document["external"]["patients"] == 12
    asked = predict_response(tmp_path / "model", other / "cohort.toml", tmp_path / "p", workers=1)
    assert asked["figures"]["auc"] == document["external"]["figures"]["auc"]
    assert all("pathology-images" not in one["parts"] for one in asked["patients"])


def test_a_patient_in_both_cohorts_is_refused(drawn, copy, tmp_path):
    with pytest.raises(InputError) as refused:
        quick(drawn, tmp_path / "model", external=copy / "cohort.toml")

    assert "drawn-5-0000" in refused.value.message
    assert "two" in refused.value.hint or "both" in refused.value.hint or refused.value.hint
    assert not (tmp_path / "model").exists()


def test_bags_of_another_encoder_outside_are_refused_before_anything_is_trained(drawn, tmp_path):
    other = tmp_path / "other"
    response_cohort(DrawnCohortSpec(signal="interaction", patients=8, seed=7), other)
    rewrite_encoder(other, sorted((other / "features").glob("*.h5ad")))

    with pytest.raises(WrongInput) as refused:
        fit_response(
            drawn / "cohort.toml", tmp_path / "model", spec=QUICK, network=SMALL,
            leave_out=("pathology-radiomics", "radiology"), workers=1,
            external=other / "cohort.toml",
        )  # fmt: skip

    assert "another" in refused.value.message
    assert not list((tmp_path / ".model.training").glob("*fold*"))


def rewrite_encoder(folder: Path, files: list[Path]) -> None:
    """Write these features again as if another encoder had made them."""
    for file in files:
        bag = replace(read_any(file), encoder="another", encoder_id="another:0")
        (folder / "features" / f"{file.stem}.bags.parquet").unlink(missing_ok=True)
        file.unlink()
        write_foreign(bag, "stamp", file.with_suffix(".h5"))
    edit(folder, "features/{patient}.h5ad", "features/{patient}.h5*")


def test_radiomics_of_bags_stay_where_only_their_pictures_are_left_out(drawn, tmp_path):
    document = quick(
        drawn, tmp_path / "model", leave_out=("pathology-images", "radiology", "patient")
    )

    parts = document["cohort"]["parts"]
    assert parts["pathology-radiomics"] > 0
    assert parts["pathology-images"] == parts["patient"] == 0


def test_patients_of_whom_nothing_is_known_do_not_stop_a_training(drawn, tmp_path):
    document = quick(drawn, tmp_path / "model", leave_out=(*IMAGES, "patient"))

    rows = read_predictions(tmp_path / "model/predictions.csv")
    blank = [row for row in rows if not row.parts]
    assert blank
    assert len({row.probability for row in blank if row.members}) <= 2**QUICK.repeats
    assert document["figures"]["auc"] is not None
    assert any("nothing is known of" in note for note in document["notes"])


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(drawn, fitted, tmp_path):
    out = tmp_path / "model"
    fit_response(
        drawn / "cohort.toml", out, spec=QUICK, network=SMALL, preparation=PREPARATION, workers=2,
        baselines=False,
    )  # fmt: skip

    assert files_of(out) == files_of(fitted[0])


@pytest.mark.slow
def test_all_ablations_are_trained_on_the_same_patients(drawn, tmp_path):
    document = fit_response(
        drawn / "cohort.toml", tmp_path / "model", spec=QUICK.model_copy(update={"repeats": 1}),
        network=SMALL, preparation=PREPARATION, workers=2, ablation="all",
    )  # fmt: skip

    kinds = {one["kind"] for one in document["models"]}
    assert kinds == {"full", "without", "alone", "fusion", "loss", "baseline"}
    for one in document["models"]:
        assert one["auc"]["n"] == document["design"]["tested"]
        assert (one["difference"] is None) == (one["kind"] == "full")
    names = [one["name"] for one in document["models"]]
    assert len(names) == len(set(names))
    assert {"without radiology", "radiology alone", "joined by sum", "no interaction"} <= set(names)


@pytest.mark.slow
def test_sixty_percent_missing_trains_and_predicts(tmp_path):
    cohort = tmp_path / "cohort"
    response_cohort(DrawnCohortSpec(signal="pathology", patients=36, missing=0.6, seed=9), cohort)

    document = fit_response(
        cohort / "cohort.toml", tmp_path / "model", spec=QUICK, network=SMALL,
        preparation=PREPARATION, workers=1,
    )  # fmt: skip

    assert document["cohort"]["parts"]["radiology-images"] < 22
    rows = read_predictions(tmp_path / "model/predictions.csv")
    assert all(0 < row.probability < 1 for row in rows)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(drawn, tmp_path):
    out = tmp_path / "model"
    words = [
        sys.executable, "-m", "herscope", "respond", "fit", str(drawn / "cohort.toml"),
        "--out", str(out), "--folds", "2", "--repeats", "20", "--epochs", "2", "--average", "2",
        "--batch", "16", "--device", "cpu", "--network.width", "16", "--network.common", "16",
        "--network.hidden", "16", "--workers", "1", "--no-baselines",
        *(word for part in IMAGES for word in ("--leave-out", part)),
    ]  # fmt: skip
    source = str(Path(__file__).parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    running = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".model.training/*/done.json")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)

    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert not out.exists()
    again = subprocess.run([*words, "--resume"], env=environment, check=False, capture_output=True)

    assert again.returncode == 0, again.stderr
    kept = files_of(out)
    shutil.rmtree(out)
    whole = subprocess.run(words, env=environment, check=False, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    assert files_of(out) == kept


# --- predict -------------------------------------------------------------------------------------


def test_the_training_cohort_is_answered_out_of_fold_to_the_bit(fitted, drawn, tmp_path):
    out, _ = fitted

    document = predict_response(out, drawn / "cohort.toml", tmp_path / "p", workers=1)

    mine = {row.patient: row for row in read_predictions(tmp_path / "p/predictions.csv")}
    theirs = read_predictions(out / "predictions.csv")
    assert tuple(mine[row.patient] for row in theirs) == theirs
    assert len(mine) == PATIENTS
    assert all(
        f"{QUICK.repeats} of {len(read_model(out).card.members)} members" in one["notes"][0]
        for one in document["patients"]
    )
    assert document["figures"]["labelled"] == sum(row.label >= 0 for row in theirs)
    assert document["figures"]["patients"] == PATIENTS


def test_every_subset_of_parts_is_answered_and_what_is_missing_is_said(fitted, drawn):
    asked = open_patients(fitted[0], drawn / "cohort.toml", workers=1)
    patient = next(one for one in asked.patients if one.parts == PARTS)
    subsets = [left for count in range(1, 8) for left in itertools.combinations(PARTS, count)]
    shown = [patient.without(*(p for p in PARTS if p not in left)) for left in subsets]

    rows = predict(replace(asked, patients=shown))

    assert len(rows) == 127
    assert [row.parts for row in rows] == subsets
    assert all(0 < row.low <= row.probability <= row.high < 1 for row in rows)
    assert len({row.probability for row in rows}) == 127
    for row in rows[:7] + rows[-8:]:
        said = next(one for one in describe(asked, row)["statement"] if one.startswith("Known"))
        assert describe(asked, row)["missing"] == [part for part in PARTS if part not in row.parts]
        assert ("Nothing was missing" in said) == (row.parts == PARTS)
        assert ("patient data" in said.partition("Missing")[2]) == ("patient" not in row.parts)


def test_those_alike_had_the_same_modalities_known_and_are_somebody_else():
    def row(name, label, probability, *parts):
        members = (probability,)
        return PatientPrediction(
            name, label, probability, probability, probability, members, 0.5, parts, None, None
        )

    slides = [row(f"s{i}", 1, 0.5 + i / 100, "pathology-images", "patient") for i in range(25)]
    bare = [row(f"b{i}", int(i < 5), 0.5 + i / 100, "patient") for i in range(25)]
    asked = row("b0", 1, 0.5, "patient")

    found = observed([*slides, *bare], asked)

    assert (found["patients"], found["responders"]) == (20, 4)
    assert observed(slides, asked) is None


@pytest.mark.parametrize(
    "without",
    [
        left
        for count in (1, 2)
        for left in itertools.combinations(("pathology", "radiology", "patient"), count)
    ],
)
def test_the_command_answers_without_modalities(fitted, drawn, tmp_path, capsys, without):
    name = whole(drawn, fitted[0])
    words = [word for part in without for word in ("--without", part)]

    code = main([
        "respond", "predict", str(fitted[0]), str(drawn / "cohort.toml"), "--out",
        str(tmp_path / "p"), "--patient", name, "--workers", "1", "--json", *words,
    ])  # fmt: skip

    assert code == 0
    (one,) = json.loads(capsys.readouterr().out)["patients"]
    assert {part.partition("-")[0] for part in one["missing"]} == set(without)
    assert not {part.partition("-")[0] for part in one["parts"]} & set(without)
    page = (tmp_path / "p" / one["page"]).read_text()
    assert name in page


def test_who_is_unknown_is_refused_and_the_others_predicted(plain, drawn, tmp_path, capsys):
    code = main([
        "respond", "predict", str(plain), str(drawn / "cohort.toml"), "--out", str(tmp_path / "p"),
        "--without", "patient", "--workers", "1", "--json",
    ])  # fmt: skip

    document = json.loads(capsys.readouterr().out)
    assert code == 3
    assert document["refused"]
    assert len(document["refused"]) + len(document["patients"]) == PATIENTS
    assert all("nothing is known" in why for why in document["refused"].values())
    told = {row.patient for row in read_predictions(tmp_path / "p/predictions.csv")}
    assert not told & set(document["refused"])


def test_all_unknown_is_exit_3_and_no_number(plain, drawn, tmp_path, capsys):
    code = main([
        "respond", "predict", str(plain), str(drawn / "cohort.toml"), "--out", str(tmp_path / "p"),
        "--without", "patient", "--without", "pathology", "--without", "radiology",
    ])  # fmt: skip

    assert code == 3
    assert "nothing is known" in capsys.readouterr().out
    assert read_predictions(tmp_path / "p/predictions.csv") == ()


def test_a_cohort_without_outcomes_is_predicted(plain, copy, tmp_path):
    lines = (copy / "cohort.toml").read_text()
    lines = re.sub(r"\[outcome\].*?(?=\[tokens\])", "", lines, flags=re.DOTALL)
    (copy / "cohort.toml").write_text(lines.replace("drawn interaction", "a new clinic"))

    document = predict_response(plain, copy / "cohort.toml", tmp_path / "p", workers=1)

    assert document["figures"] is None
    assert len(document["patients"]) == PATIENTS
    assert all(one["label"] is None and one["members"] == 4 for one in document["patients"])


def test_only_the_files_of_the_patients_asked_for_are_opened(fitted, drawn, copy, tmp_path):
    name = whole(drawn, fitted[0])
    for file in [*copy.glob("ct/*"), *copy.glob("features/*")]:
        if name not in file.name:
            file.unlink()
            file.write_bytes(b"damaged")

    document = predict_response(
        fitted[0], copy / "cohort.toml", tmp_path / "p", patients=[name], workers=1
    )

    assert [one["patient"] for one in document["patients"]] == [name]
    assert document["patients"][0]["parts"] == list(PARTS)


def test_results_are_not_written_over_and_stay_where_a_call_fails(plain, drawn, tmp_path):
    place, cohort = tmp_path / "p", drawn / "cohort.toml"
    predict_response(plain, cohort, place, workers=1)
    before = {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}

    with pytest.raises(OutputError, match=r"holds result\.json already"):
        predict_response(plain, cohort, place, workers=1)
    with pytest.raises(InputError):
        predict_response(plain, cohort, place, workers=1, force=True, without=["lungs"])
    with pytest.raises(InputError):
        explain_response(plain, cohort, place, workers=1, force=True, patients=["nobody"])
    assert {one: one.read_bytes() for one in place.rglob("*") if one.is_file()} == before

    predict_response(plain, cohort, place, workers=1, force=True, patients=["drawn-5-0001"])
    assert [one.name for one in (place / "patients").iterdir()] == ["drawn-5-0001.html"]


def test_a_models_own_folder_is_never_written_over(plain, drawn):
    before = files_of(plain)

    for call in (predict_response, explain_response):
        with pytest.raises(OutputError, match="holds a model"):
            call(plain, drawn / "cohort.toml", plain, workers=1, force=True)

    assert files_of(plain) == before


# --- explain -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def explained(fitted, drawn, tmp_path_factory) -> tuple[Path, dict[str, Any], str]:
    home = tmp_path_factory.mktemp("explained") / "e"
    name = whole(drawn, fitted[0])
    document = explain_response(
        fitted[0], drawn / "cohort.toml", home, patients=[name], dependence=False, workers=1
    )
    return home, document, name


def test_contributions_sum_to_the_answer_minus_the_base(explained):
    home, document, name = explained

    found = json.loads((home / "explanations" / f"{name}.json").read_text())

    assert [one["part"] for one in found["contributions"]] == list(PARTS)
    total = sum(one["logit"] for one in found["contributions"])
    assert total == pytest.approx(found["logit"]["value"] - found["base"]["value"], abs=1e-6)
    assert any(abs(one["logit"]) > 1e-4 for one in found["contributions"])
    (told,) = document["patients"]
    assert found["probability"] == pytest.approx(told["probability"], abs=1e-6)
    assert found["parts"] == list(PARTS)


def test_the_page_shows_lesions_under_their_maps(explained):
    home, document, name = explained
    found = json.loads((home / "explanations" / f"{name}.json").read_text())

    page = (home / document["patients"][0]["page"]).read_text()

    pictures = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    assert len(found["lesions"]) >= 1
    assert len(pictures) >= len(found["lesions"])
    assert all(base64.b64decode(one)[:4] in {b"\x89PNG", b"\xff\xd8\xff\xe0"} for one in pictures)
    assert found["lesions"][0]["name"] in page
    assert any("no pictures of bags" in note for note in document["notes"])


def test_weights_of_bags_sum_to_one(explained):
    home, _, name = explained

    found = json.loads((home / "explanations" / f"{name}.json").read_text())

    assert sum(one["weight"] for one in found["bags"]) <= 1 + 1e-6
    assert {one["slide"] for one in found["bags"]} == {name}


def test_bags_are_cut_from_the_slide_where_they_lie(fitted, drawn, copy):
    tifffile = pytest.importorskip("tifffile")
    name = whole(drawn, fitted[0])
    (copy / "slides").mkdir()
    field = np.full((4096, 4096, 3), 240, np.uint8)
    field[448:896, 448:896] = (200, 30, 60)
    tifffile.imwrite(
        copy / "slides" / f"{name}.tif", field, tile=(256, 256), photometric="rgb",
        resolution=(40_000, 40_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    edit(copy, "[files.bags]", '[files.slides]\npattern = "slides/{patient}.tif"\n\n[files.bags]')
    asked = open_patients(fitted[0], copy / "cohort.toml", patients=[name], workers=1)
    rows = [
        {"slide": name, "x_px": x, "y_px": 448, "bag_px": 448.0, "weight": 0.5} for x in (448, 1344)
    ]

    shown = bag_pictures(asked.prepared, asked.patients[0], rows, most=2)

    red, white = (mean_of(one["picture"]) for one in shown["bags"])
    assert red == pytest.approx([200, 30, 60], abs=12)
    assert white == pytest.approx([240, 240, 240], abs=6)
    (slide,) = shown["slides"]
    assert (slide["name"], slide["width_px"], slide["height_px"]) == (name, 4096, 4096)


def mean_of(uri: str) -> list[float]:
    import cv2

    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return picture.reshape(-1, 3).mean(axis=0)[::-1].tolist()


def test_a_refused_patient_that_nobody_asked_for_is_no_fault(plain, drawn, tmp_path, capsys):
    name = whole_report(drawn, plain)

    code = main([
        "respond", "explain", str(plain), str(drawn / "cohort.toml"), "--out", str(tmp_path / "e"),
        "--without", "patient", "--patient", name, "--no-dependence", "--workers", "1", "--json",
    ])  # fmt: skip

    document = json.loads(capsys.readouterr().out)
    assert (code, document["refused"]) == (0, {})
    assert [one["patient"] for one in document["patients"]] == [name]


def test_nor_where_all_patients_are_opened_for_dependence(plain, drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(respond_explain, "FEWEST_FOR_DEPENDENCE", PATIENTS + 1)
    name = whole_report(drawn, plain)

    document = explain_response(
        plain, drawn / "cohort.toml", tmp_path / "e", without=["patient"], patients=[name],
        workers=1,
    )  # fmt: skip

    assert document["refused"] == {}
    assert [one["patient"] for one in document["patients"]] == [name]


def whole_report(cohort: Path, model: Path) -> str:
    asked = open_patients(model, cohort / "cohort.toml", workers=1)
    return next(one.name for one in asked.patients if len(one.parts) == 3)


@pytest.mark.slow
def test_dependence_follows_every_token_over_all_patients(plain, drawn, tmp_path):
    name = whole_report(drawn, plain)

    document = explain_response(
        plain, drawn / "cohort.toml", tmp_path / "e", patients=[name], dependence=True, workers=1
    )

    assert document["dependence"] == json.loads((tmp_path / "e/dependence.json").read_text())
    assert {one["part"] for one in document["dependence"]["parts"]} == {
        "pathology-report", "radiology-report", "patient",
    }  # fmt: skip
    assert [one.stem for one in (tmp_path / "e/patients").iterdir()] == [name]


# --- bad input -----------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command that fails; its code, its error and its hint."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "internal error" not in said.err
    lines = dict(
        line.split(": ", 1)
        for line in said.err.splitlines()
        if line.startswith(("error: ", "hint: "))
    )
    return code, lines.get("error", ""), lines.get("hint", "")


def fit_words(cohort: Path, out: Path) -> list[object]:
    return [
        "respond", "fit", cohort / "cohort.toml", "--out", out, "--folds", 2, "--repeats", 1,
        "--epochs", 1, "--workers", 1, "--no-baselines", "--lesions.no-with-radiomics",
    ]  # fmt: skip


def test_contradictory_dates_are_refused_with_row_and_patient(copy, tmp_path, capsys):
    rows = rows_of(copy)
    rows[2]["start"] = "2050-01-01"
    write_rows(copy, rows)

    code, error, hint = refused(capsys, *fit_words(copy, tmp_path / "m"))

    assert code == 1
    assert "row 3" in error
    assert "2050-01-01" in error
    assert hint
    assert not list(tmp_path.glob("*m*"))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("recist", "PD", "only non-responders"),
        ("recist", "CR", "only responders"),
    ],
)
def test_one_class_is_refused(copy, tmp_path, capsys, column, value, said):
    early = {"pfs_days": "20", "progressed": "1", "os_days": "30", "progression": ""}
    late = {"pfs_days": "400", "progressed": "0", "os_days": "500", "progression": ""}
    rows = [{**row, column: value, **(early if value == "PD" else late)} for row in rows_of(copy)]
    write_rows(copy, rows)
    text = (copy / "cohort.toml").read_text()
    (copy / "cohort.toml").write_text(
        re.sub(r"\[dates\].*?(?=\[tokens\])", "", text, flags=re.DOTALL)
    )

    code, error, hint = refused(capsys, *fit_words(copy, tmp_path / "m"))

    assert code == 1
    assert said in error
    assert hint


def test_too_few_patients_are_refused_with_the_limit(copy, tmp_path, capsys):
    write_rows(copy, rows_of(copy)[:5])

    code, error, hint = refused(capsys, *fit_words(copy, tmp_path / "m"))

    assert code == 1
    assert "the 2 folds that stop or test a training need at least 3" in error
    assert "label more patients" in hint
    assert not (tmp_path / ".m.training").exists()


@pytest.mark.parametrize("words", [("--leave-out", "lungs"), ("--leave-out", "radiology-image")])
def test_an_unknown_part_is_refused_by_the_nearest_name(drawn, tmp_path, capsys, words):
    code, error, hint = refused(capsys, *fit_words(drawn, tmp_path / "m"), *words)

    assert code == 1
    assert words[1] in error
    assert "radiology-images" in hint or "pathology" in hint
    assert not list(tmp_path.iterdir())


def test_leaving_everything_out_is_refused(drawn, tmp_path, capsys):
    words = [
        word for part in ("pathology", "radiology", "patient") for word in ("--leave-out", part)
    ]

    code, error, hint = refused(capsys, *fit_words(drawn, tmp_path / "m"), *words)

    assert code == 1
    assert "nothing is known of any patient" in error
    assert "--leave-out" in hint


def spoil_ct(folder: Path, name: str, change: Any) -> None:
    path = folder / "ct" / name
    data = bytearray(gzip.decompress(path.read_bytes()))
    change(data)
    path.unlink()
    path.write_bytes(gzip.compress(bytes(data), 1))


def no_spacing(data: bytearray) -> None:
    data[80:92] = bytes(12)
    data[280:328] = bytes(48)  # neither pixdim nor the matrix tells a size


def other_origin(data: bytearray) -> None:
    data[268:280] = np.array([77.0, 5.0, 900.0], "<f4").tobytes()
    data[292:296] = np.array([77.0], "<f4").tobytes()
    data[308:312] = np.array([5.0], "<f4").tobytes()
    data[324:328] = np.array([900.0], "<f4").tobytes()


@pytest.mark.parametrize(
    ("suffix", "change", "said"),
    [
        (".nii.gz", no_spacing, "spac"),
        ("_mask.nii.gz", other_origin, "grid"),
        (".nii.gz", lambda data: data.__delitem__(slice(20_000, None)), ""),
    ],
)
def test_a_ct_that_cannot_be_used_names_patient_and_file(
    copy, tmp_path, capsys, suffix, change, said
):
    first = min((copy / "ct").glob("*_mask.nii.gz")).name.removesuffix("_mask.nii.gz")
    spoil_ct(copy, f"{first}{suffix}", change)

    code, error, hint = refused(
        capsys, *fit_words(copy, tmp_path / "m"), "--leave-out", "pathology"
    )

    assert code == 1
    assert first in error
    assert said in error.lower()
    assert hint
    assert not (tmp_path / "m").exists()


def test_bags_of_two_encoders_are_refused_with_both_patients(copy, tmp_path, capsys):
    files = sorted((copy / "features").glob("*.h5ad"))
    rewrite_encoder(copy, files[3:4])

    code, error, hint = refused(
        capsys, *fit_words(copy, tmp_path / "m"), "--leave-out", "radiology"
    )

    assert code == 1
    assert files[3].stem in error
    assert "another" in error
    assert "same encoder" in hint


def test_a_modality_nobody_has_trains_with_a_note(copy, tmp_path):
    shutil.rmtree(copy / "ct")
    shutil.rmtree(copy / "lesions")
    rows = rows_of(copy)
    names = ("primary_lesion", "metastatic_lesions", "node_status", "node_location",
             "liver_lung_multiple", "peritoneal_metastasis")  # fmt: skip
    write_rows(copy, [{**row, **dict.fromkeys(names, "")} for row in rows])

    document = quick(copy, tmp_path / "m", leave_out=("pathology-images", "pathology-radiomics"))

    assert document["cohort"]["parts"]["radiology-images"] == 0
    assert any("no patient has files of ct" in note for note in document["notes"])
    assert any("nobody has anything of radiology" in note for note in document["notes"])


def test_no_events_train_without_survival_and_with_a_note(copy, tmp_path):
    rows = [{**row, "died": "0"} for row in rows_of(copy)]
    write_rows(copy, rows)

    document = quick(copy, tmp_path / "m")

    assert any("no patient has an event of OS" in note for note in document["notes"])
    assert document["models"][0]["c_os"] is None
    assert document["models"][0]["c_pfs"] is not None


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize("damage", ["member", "card", "preparation", "gone"])
def test_a_damaged_model_is_refused_by_its_file(drawn, plain, tmp_path, capsys, command, damage):
    model = Path(shutil.copytree(plain, tmp_path / "model"))
    card = model / "respond.json"
    if damage == "member":
        file = sorted((model / "members").iterdir())[1]
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "card":
        card.write_text(card.read_text()[: len(card.read_text()) // 2])
    elif damage == "preparation":
        card.write_text(json.dumps({**json.loads(card.read_text()), "preparation": {"bags": 3}}))
    else:
        card.unlink()

    code, error, hint = refused(
        capsys, "respond", command, model, drawn / "cohort.toml", "--out", tmp_path / "p",
        "--workers", 1,
    )  # fmt: skip

    assert code == 1
    assert str(model) in error
    assert hint
    assert not (tmp_path / "p").exists()


def test_tokens_with_other_values_are_refused(drawn, plain, tmp_path, capsys):
    model = Path(shutil.copytree(plain, tmp_path / "model"))
    card = json.loads((model / "respond.json").read_text())
    card["tokens"]["patient"][0]["categories"][0] = "unheard of"
    (model / "respond.json").write_text(json.dumps(card))

    code, error, hint = refused(
        capsys, "respond", "predict", model, drawn / "cohort.toml", "--out", tmp_path / "p",
        "--workers", 1,
    )  # fmt: skip

    assert code == 1
    assert card["tokens"]["patient"][0]["name"] in error
    assert "unheard of" in error
    assert hint


def test_another_encoder_at_prediction_is_refused_by_patient(fitted, copy, tmp_path, capsys):
    files = sorted((copy / "features").glob("*.h5ad"))
    rewrite_encoder(copy, files[:1])

    words = [
        "respond", "predict", fitted[0], copy / "cohort.toml", "--out", tmp_path / "p",
        "--patient", files[0].stem, "--workers", 1,
    ]  # fmt: skip
    code, error, hint = refused(capsys, *words)

    assert code == 1
    assert files[0].stem in error
    assert "another:0" in error
    assert "leave the slides out" in hint
    assert main([str(word) for word in [*words, "--without", "pathology"]]) == 0


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_unknown_parts_and_patients_are_refused(drawn, plain, tmp_path, capsys, command):
    words = ["respond", command, plain, drawn / "cohort.toml", "--out", tmp_path / "p"]

    code, error, hint = refused(capsys, *words, "--without", "radiologie", "--workers", 1)
    assert (code, "radiologie" in error, "radiology" in hint) == (1, True, True)
    code, error, hint = refused(capsys, *words, "--patient", "drawn-5-001", "--workers", 1)
    assert (code, "drawn-5-001" in error, "mean drawn-5-0" in hint) == (1, True, True)
    assert not (tmp_path / "p").exists()


def test_a_place_that_is_taken_is_refused(drawn, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")

    for name, said in (("file", "is a file"), ("full", "is not a model")):
        code, error, hint = refused(capsys, *fit_words(drawn, tmp_path / name), "--force")
        assert (code, said in error) == (1, True)
        assert "--out" in hint
    assert (tmp_path / "full" / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folds", "1"), "--folds"),
        (("--epochs", "many"), "--epochs"),
        (("--drop-modality", "1.5"), "drop"),
        (("--surprise",), "surprise"),
    ],
)
def test_a_wrong_option_is_a_usage_error(drawn, tmp_path, capsys, words, said):
    code, error, _ = refused(capsys, *fit_words(drawn, tmp_path / "m"), *words)

    assert code == 2
    assert said in error


def test_the_training_cohort_under_another_name_is_no_test(fitted, drawn, tmp_path):
    copy = Path(shutil.copytree(drawn, tmp_path / "renamed"))
    text = (copy / "cohort.toml").read_text("utf-8")
    told = text.replace('name = "drawn', 'name = "another, drawn')
    assert told != text
    (copy / "cohort.toml").write_text(told, "utf-8")

    document = predict_response(fitted[0], copy / "cohort.toml", tmp_path / "p", workers=1)

    pictured = {"pathology-images", "radiology-images"}
    for one in document["patients"]:
        if pictured & set(one["parts"]):  # known by pictures
            assert one["members_that_saw_it"] > 0
        else:
            assert any("a patient of this name" in note for note in one["notes"])
    assert document["figures"] is None
