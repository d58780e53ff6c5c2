"""``fit hscore`` and ``evaluate hscore`` on a handful of phantoms."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra learn")

from cyclopts import App  # noqa: E402 - after the check that torch is there

from herscope.cli.evaluate_hscore import hscore as evaluate_command  # noqa: E402
from herscope.cli.fit_hscore import hscore as fit_command  # noqa: E402
from herscope.core.errors import (  # noqa: E402
    InputError,
    ModelError,
    OutputError,
    StaleResult,
    WrongInput,
)
from herscope.nn.hscore_batches import HscoreBatches  # noqa: E402
from herscope.nn.hscore_predict import predict_h_scores  # noqa: E402
from herscope.nn.inputs import network_input  # noqa: E402
from herscope.nn.model_file import read_model  # noqa: E402
from herscope.nn.patches.hscores import read_hscore_patches  # noqa: E402
from herscope.nn.patches.phantom_hscores import make_phantom_hscores  # noqa: E402
from herscope.recipes.evaluate_hscore import evaluate_hscore  # noqa: E402
from herscope.recipes.fit_hscore import AUGMENT, HscoreFitSpec, fit_hscore  # noqa: E402
from herscope.recipes.hscore_formula import formula_h_scores  # noqa: E402

SMALL = HscoreFitSpec(width=0.25, epochs=2, batch=4, seed=1, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patches"
    return make_phantom_hscores(folder, 16, 2, size_px=64)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "ours"
    return folder, fit_hscore(data, folder, SMALL, threads=1)


@pytest.fixture
def model(trained):
    return trained[0]


@pytest.fixture
def unscored(data, tmp_path):
    shutil.copytree(data, tmp_path / "unscored")
    (tmp_path / "unscored" / "hscores.csv").unlink()
    return tmp_path / "unscored"


def run(command, *words):
    app = App(result_action="return_value")
    app.default(command)
    return app([str(word) for word in words], exit_on_error=False, print_error=False)


def test_a_fitted_model_says_what_it_is_for(trained):
    folder, told = trained
    card = read_model(folder, task="hscore", mpp=0.5).card
    assert card.inputs == "dab-target"
    assert card.classes is None
    assert card.network == "stain-intensity-net"
    assert "readers' H-scores" in card.summary
    assert card.metrics["validation_mae"] == pytest.approx(told["metrics"]["validation_mae"])
    assert told["schema"] == "herscope.fit/1"
    assert told["patches"]["truth"] == "readers"
    assert len(json.loads((folder / "history.json").read_text())["seen"]["train"]) == 12
    assert {file.name for file in folder.parent.iterdir()} == {"ours"}


def test_training_and_validation_share_no_slide(trained):
    split = trained[1]["split"]
    slides = [{stem.split("_")[0] for stem in split[side]} for side in ("train", "validation")]
    assert all(slides)
    assert not slides[0] & slides[1]


def test_the_validation_error_is_that_of_the_written_model(data, trained):
    folder, told = trained
    patches = read_hscore_patches(data)
    held = [patches.stems.index(stem) for stem in told["split"]["validation"]]
    found = predict_h_scores(read_model(folder), (patches.load(i) for i in held), mpp=0.5)
    error = np.abs(found - patches.known()[held]).mean()
    assert error == pytest.approx(told["metrics"]["validation_mae"], abs=0.01)


def test_a_patch_without_target_gets_no_number(data, model):
    patch = read_hscore_patches(data).load(0)
    nothing = patch._replace(target=np.zeros_like(patch.target))
    found = predict_h_scores(read_model(model), [nothing, patch], mpp=0.5)
    assert np.isnan(found[0])
    assert 0 <= found[1] <= 300


def test_a_training_that_was_cut_off_resumes_to_the_same_model(data, trained, tmp_path):
    class Cut:
        def epoch(self, row, best):  # noqa: ARG002 - as the loop calls it
            if row["epoch"] == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_hscore(data, tmp_path / "ours", SMALL, threads=1, progress=Cut())
    other = SMALL.model_copy(update={"cuts": (0.1, 0.3, 0.5)})
    with pytest.raises(StaleResult):
        fit_hscore(data, tmp_path / "ours", other, threads=1, resume=True)
    told = fit_hscore(data, tmp_path / "ours", SMALL, threads=1, resume=True)
    assert told["resumed_after"] == 1
    weights = "weights.safetensors"
    assert (tmp_path / "ours" / weights).read_bytes() == (trained[0] / weights).read_bytes()


def test_without_readers_the_card_says_that_the_formula_was_learnt(unscored, tmp_path):
    spec = SMALL.model_copy(update={"epochs": 1})
    told = fit_hscore(unscored, tmp_path / "copy", spec, threads=1)
    assert told["patches"]["truth"] == "formula"
    assert "the formula's values" in read_model(tmp_path / "copy").card.summary


def test_batches_turn_the_target_with_the_picture_and_keep_the_brown(data):
    patches = read_hscore_patches(data)
    still = AUGMENT.model_copy(
        update={
            "brightness": 0.0, "contrast": 0.0, "hue_deg": 0.0, "hematoxylin": 0.0,
            "blur_share": 0.0, "jpeg_share": 0.0,
        }
    )  # fmt: skip
    _, which = np.unique(patches.known(), return_index=True)
    which = which[:4].tolist()  # told apart by their H-scores
    batches = HscoreBatches(patches, which, inputs="dab-target", batch=4, spec=still, seed=3)
    ((inputs, target),) = batches.epoch(0)
    assert inputs.shape == (4, 1, 64, 64)
    assert target.shape == (4, 1)
    sums = dict(zip((target[:, 0] * 300).tolist(), inputs.sum(dim=(1, 2, 3)).tolist(), strict=True))
    for i in which:
        patch = patches.load(i)
        plain = network_input(patch.rgb, "dab-target", patch.white, target=patch.target)
        (found,) = (v for h, v in sums.items() if abs(h - patches.known()[i]) < 0.01)
        assert found == pytest.approx(float(plain.sum()), rel=1e-3, abs=0.05)


def test_evaluate_puts_models_and_formula_into_one_table(data, model):
    told = evaluate_hscore([model, model], data, threads=1)
    assert [row["name"] for row in told["models"]] == ["formula", "ours", "ours (2)"]
    patches = read_hscore_patches(data)
    formula, known = formula_h_scores(patches), patches.known()
    figures = told["models"][0]["figures"]
    assert figures["mae"]["value"] == pytest.approx(np.abs(formula - known).mean())
    positive = known > 0
    share = np.abs(formula - known)[positive] / known[positive]
    assert figures["mape"]["value"] == pytest.approx(100 * share.mean())
    assert figures["zeros"]["patches"] == (~positive).sum()
    assert [row["formula"] for row in told["patches"]] == pytest.approx(formula.tolist(), abs=1e-4)
    assert len(told["comparisons"]) == 3
    assert told["models"][1]["seen_patches"] == 16
    assert any("saw 16 of these 16" in note for note in told["notes"])
    json.dumps(told, allow_nan=False)


def test_the_formula_is_judged_without_a_model_and_with_other_cuts(data):
    one, other = (
        evaluate_hscore([], data, cuts=cuts)["models"][0] for cuts in (None, (0.1, 0.2, 0.3))
    )
    assert one["cuts"] == [0.2, 0.4, 0.6]
    # Lower cuts call more pixels positive, and the formula on whole cells says too little.
    assert one["figures"]["bias"]["value"] < other["figures"]["bias"]["value"]


def test_where_the_formula_is_the_truth_it_has_no_row(unscored, model):
    told = evaluate_hscore([model], unscored, threads=1)
    assert [row["name"] for row in told["models"]] == ["ours"]
    assert told["data"]["truth"] == "formula"
    assert any("the truth is the formula's own" in note for note in told["notes"])
    with pytest.raises(InputError, match="no model was named"):
        evaluate_hscore([], unscored)


def test_seen_patches_can_be_left_out(data, model, tmp_path):
    with pytest.raises(InputError, match="seen every one"):
        evaluate_hscore([model], data, unseen=True)
    more = make_phantom_hscores(tmp_path / "more", 4, 9, size_px=64)
    told = evaluate_hscore([model], more, unseen=True, threads=1)
    assert told["data"]["evaluated"] == 4
    assert told["models"][1]["seen_patches"] == 0


def test_a_model_at_another_resolution_or_task_is_refused(data, model, tmp_path):
    shutil.copytree(data, tmp_path / "coarse")
    about = json.loads((data / "patches.json").read_text())
    (tmp_path / "coarse" / "patches.json").write_text(json.dumps(about | {"mpp": 1.0}))
    with pytest.raises(WrongInput, match=r"takes 0.4 to 0.625 µm/px, got 1"):
        evaluate_hscore([model], tmp_path / "coarse")
    with pytest.raises(WrongInput, match="predicts hscore, not nuclei"):
        read_model(model, task="nuclei")


def test_what_cannot_be_trained_is_refused_before_training(data, model, tmp_path):
    with pytest.raises(InputError, match="unet predicts compartments, not hscore"):
        fit_hscore(data, tmp_path / "m", HscoreFitSpec(network="unet"))
    with pytest.raises(InputError, match="licence"):
        fit_hscore(data, tmp_path / "m", SMALL, licence="unknown")
    with pytest.raises(OutputError, match="exists already"):
        fit_hscore(data, model, SMALL)
    with pytest.raises(InputError, match="no encoder"):
        fit_hscore(data, tmp_path / "m", SMALL, encoder=tmp_path / "vgg16.pth")
    shutil.copytree(data, tmp_path / "flat")
    stems = [file.stem for file in (data / "images").iterdir()]
    rows = "".join(f"{stem},150\n" for stem in stems)
    (tmp_path / "flat" / "hscores.csv").write_text(f"patch,h_score\n{rows}")
    with pytest.raises(InputError, match="all 16 patches have the H-score 150"):
        fit_hscore(tmp_path / "flat", tmp_path / "m", SMALL)
    assert not (tmp_path / "m").exists()


def test_patches_of_two_sizes_are_refused_in_training(data, tmp_path):
    from PIL import Image

    shutil.copytree(data, tmp_path / "mixed")
    for part in ("images", "masks"):
        file = tmp_path / "mixed" / part / "phantom0000_0.png"
        Image.open(file).crop((0, 0, 48, 64)).save(file)
    patches = read_hscore_patches(tmp_path / "mixed")
    with pytest.raises(InputError, match="48 x 64, 64 x 64"):
        HscoreBatches(patches, range(16), inputs="dab-target", batch=4, spec=AUGMENT, seed=0)


def test_a_network_that_gives_maps_is_refused(data, model, monkeypatch):
    def maps(self, batch):  # noqa: ARG001 - as a runner is called
        return batch

    monkeypatch.setattr("herscope.nn.runtime.Runner.run", maps)
    with pytest.raises(ModelError, match=r"gave \(1, 1, 64, 64\) for one patch"):
        predict_h_scores(read_model(model), [read_hscore_patches(data).load(0)], mpp=0.5)


def test_the_commands_take_the_same_options_and_say_what_they_found(data, tmp_path, capsys):
    out = tmp_path / "cli"
    fitted = run(
        fit_command, data, "--out", out, "--network", "ram-cnn", "--width", "0.125",
        "--epochs", "1", "--batch", "8", "--threads", "1", "--device", "cpu",
        "--augment.jpeg-share", "0",
    )  # fmt: skip
    assert fitted.document["spec"]["augment"]["jpeg_share"] == 0
    assert "validation: mean absolute error" in fitted.text[0]
    assert "epoch 1: loss" in capsys.readouterr().err
    told = run(evaluate_command, out, data, "--cuts", "0.1", "0.2", "0.3", "--threads", "1")
    assert told.document["models"][0]["cuts"] == [0.1, 0.2, 0.3]
    assert "have H = 0: they have no percentage" in told.text[0]
    alone = run(evaluate_command, "formula", data)
    assert [row["name"] for row in alone.document["models"]] == ["formula"]


@pytest.mark.slow
def test_the_small_network_learns_the_h_scores_of_phantoms(tmp_path):
    data = make_phantom_hscores(tmp_path / "data", 64, 1, size_px=64, stain="cytoplasmic")
    spec = HscoreFitSpec(width=0.5, epochs=40, seed=1, device="cpu")
    told = fit_hscore(data, tmp_path / "m", spec, threads=1)
    known = read_hscore_patches(data).known()
    constant = np.abs(known - np.median(known)).mean()
    assert told["metrics"]["validation_mae"] < 0.5 * constant
