"""``herscope fit`` and ``herscope evaluate`` as a user calls them, on a handful of phantoms."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra learn")

from herscope.cli import main  # noqa: E402 - after the check that torch is there
from herscope.nn.inputs import network_input  # noqa: E402
from herscope.nn.model_file import read_model  # noqa: E402
from herscope.nn.patches.compartments import read_patches  # noqa: E402
from herscope.nn.runtime import Runner  # noqa: E402

SMALL = (
    "--width", "0.0625", "--epochs", "3", "--batch", "4", "--seed", "1", "--threads", "1",
    "--device", "cpu",
)  # fmt: skip


def call(capsys, *words, code=0):
    found = main([str(word) for word in words])
    said = capsys.readouterr()
    assert found == code, said.err
    assert "Traceback" not in said.err
    return said


def document(capsys, *words):
    return json.loads(call(capsys, *words, "--json").out)


def refused(capsys, *words, code=1):
    return call(capsys, *words, code=code).err


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patches"
    assert main(["phantom", "--out", str(folder), "--patches", "16", "--patch-px", "64",
                 "--seed", "2"]) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Return the model's folder, and what the command wrote to stdout and stderr."""
    folder = tmp_path_factory.mktemp("models") / "ours"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["fit", "compartments", str(data), "--out", str(folder), *SMALL, "--json"])
    assert code == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


@pytest.fixture
def model(trained):
    return trained[0]


def test_a_fitted_model_has_its_card_network_weights_and_history(model):
    found = read_model(model, task="compartments", mpp=1.0)
    assert found.card.name == "ours"
    assert found.card.inputs == "hematoxylin-rgb"
    assert found.card.licence == "LicenseRef-private"
    assert "12 patches" in found.card.training_data
    assert 0 <= found.card.metrics["validation_dice_tumor"] <= 1
    names = {file.name for file in model.iterdir()}
    assert names == {"card.json", "model.onnx", "weights.safetensors", "history.json"}
    assert [file.name for file in model.parent.iterdir()] == ["ours"]  # checkpoints are gone


def test_training_and_validation_share_no_slide(model):
    told = json.loads((model / "history.json").read_text())["split"]
    slides = [{stem.split("_")[0] for stem in told[side]} for side in ("train", "validation")]
    assert slides[0]
    assert slides[1]
    assert not slides[0] & slides[1]


@pytest.mark.slow
def test_the_same_call_gives_the_same_model(data, model, tmp_path, capsys):
    call(capsys, "fit", "compartments", data, "--out", tmp_path / "ours", *SMALL)
    for name in ("model.onnx", "weights.safetensors", "card.json"):
        assert (tmp_path / "ours" / name).read_bytes() == (model / name).read_bytes()


@pytest.mark.slow
def test_a_training_that_was_cut_off_resumes_to_the_same_model(
    data, model, tmp_path, capsys, monkeypatch
):
    from herscope.cli.epochs import Epochs

    def cut(self, row, best):  # noqa: ARG001 - as the loop calls it
        if row["epoch"] == 2:
            self.epochs = 2
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Epochs, "epoch", cut)
        said = refused(
            capsys, "fit", "compartments", data, "--out", tmp_path / "ours", *SMALL, code=130
        )
    assert "2 epochs are kept; --resume" in said
    assert not (tmp_path / "ours").exists()
    told = document(
        capsys, "fit", "compartments", data, "--out", tmp_path / "ours", *SMALL, "--resume"
    )
    assert told["resumed_after"] == 2
    weights = "weights.safetensors"
    assert (tmp_path / "ours" / weights).read_bytes() == (model / weights).read_bytes()


def test_json_is_one_document_and_progress_goes_to_stderr(trained):
    _, out, err = trained
    told = json.loads(out)
    assert told["schema"] == "herscope.fit/1"
    assert len(told["history"]) == 3
    assert "epoch 1: loss" in err


def test_evaluate_counts_what_the_model_calls(data, model, capsys):
    told = document(capsys, "evaluate", "compartments", model, data, "--threads", "1")
    found = told["models"][0]["classes"]
    patches, runner = read_patches(data), Runner(read_model(model), threads=1)
    hits = missed = wrong = 0
    for k in range(len(patches)):
        patch = patches.load(k)
        batch = network_input(patch.rgb, "hematoxylin-rgb", patch.white)[None]
        called = runner.run(batch)[0].argmax(axis=0)
        hits += int(((called == 0) & (patch.mask == 0)).sum())
        missed += int(((called != 0) & (patch.mask == 0)).sum())
        wrong += int(((called == 0) & (patch.mask != 0)).sum())
    assert found["tumor"]["pixels"]["tp"] == hits
    assert found["tumor"]["dice"]["value"] == pytest.approx(2 * hits / (2 * hits + missed + wrong))
    assert found["tumor"]["sensitivity"]["value"] == pytest.approx(hits / (hits + missed))
    low, high = found["tumor"]["iou"]["ci95"]
    assert low <= found["tumor"]["iou"]["value"] <= high
    assert found["stroma"]["specificity"]["value"] is not None


def test_evaluate_says_what_the_model_has_seen_and_can_leave_it_out(data, model, tmp_path, capsys):
    told = document(capsys, "evaluate", "compartments", model, data)
    assert told["models"][0]["seen_patches"] == 16
    assert "too good" in " ".join(told["notes"])
    said = refused(capsys, "evaluate", "compartments", model, data, "--unseen")
    assert "seen every one" in said
    other = tmp_path / "other"
    call(capsys, "phantom", "--out", other, "--patches", "4", "--patch-px", "64", "--seed", "77")
    fresh = document(capsys, "evaluate", "compartments", model, other, "--unseen")
    assert fresh["data"]["evaluated"] == 4
    assert fresh["models"][0]["seen_patches"] == 0


def test_evaluate_sets_models_side_by_side(data, model, capsys):
    said = call(capsys, "evaluate", "compartments", model, data, "--against", model)
    rows = [line.split()[0] for line in said.out.splitlines() if line.startswith("ours")]
    assert rows == ["ours", "ours"]
    assert "sensitivity" in said.out


def test_a_model_is_not_judged_at_another_scale(data, model, tmp_path, capsys):
    coarse = tmp_path / "coarse"
    for part in ("images", "masks"):
        (coarse / part).mkdir(parents=True)
        for file in (data / part).iterdir():
            (coarse / part / file.name).write_bytes(file.read_bytes())
    assert "takes 0.8 to 1.25 µm/px, got 4" in refused(
        capsys, "evaluate", "compartments", model, coarse, "--mpp", "4"
    )


def test_a_model_is_not_replaced_without_force(data, model, capsys):
    before = (model / "card.json").read_bytes()
    said = refused(capsys, "fit", "compartments", data, "--out", model, *SMALL)
    assert "--force" in said
    assert (model / "card.json").read_bytes() == before


def test_a_folder_that_is_no_model_is_never_replaced(data, capsys):
    said = refused(capsys, "fit", "compartments", data, "--out", data, *SMALL, "--force")
    assert "is not a model" in said
    assert (data / "images").is_dir()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--network", "unett"), "did you mean unet"),
        (("--network", "triple-unet"), "predicts nuclei"),
        (("--licence", "none"), "a model without licence"),
        (("--device", "cuda:99"), "device cuda:99"),
        (("--encoder", "absent.pth"), "encoder"),
        (("--mpp", "3"), "states 1 µm/px, --mpp 3"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(data, tmp_path, capsys, options, words):
    usual = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | dict([options])
    flat = [word for pair in usual.items() for word in pair]
    said = refused(capsys, "fit", "compartments", data, "--out", tmp_path / "m", *flat)
    assert words in said
    assert not (tmp_path / "m").exists()


def test_bad_patches_are_refused_by_file(tmp_path, capsys):
    for part in ("images", "masks"):
        (tmp_path / "p" / part).mkdir(parents=True)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "p/images/a.png")
    Image.fromarray(np.full((64, 64), 8, np.uint8)).save(tmp_path / "p/masks/a.png")
    said = refused(
        capsys, "fit", "compartments", tmp_path / "p", "--out", tmp_path / "m", "--mpp", "1"
    )
    assert "a.png holds the value 8" in said


def test_another_task_is_a_usage_error(data, tmp_path, capsys):
    refused(capsys, "fit", "slides", data, "--out", tmp_path / "m", code=2)
    said = refused(
        capsys, "fit", "compartments", data, "--out", tmp_path / "m", "--width", "9", code=2
    )
    assert "--width" in said
    refused(capsys, "evaluate", "slides", tmp_path, data, code=2)


def test_a_tampered_model_is_not_judged(data, model, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    network = bytearray((copy / "model.onnx").read_bytes())
    network[-20] ^= 1
    (copy / "model.onnx").write_bytes(bytes(network))
    refused(capsys, "evaluate", "compartments", copy, data)


def test_without_torch_the_extra_is_named(data, tmp_path, capsys, monkeypatch):
    from herscope.recipes import training as recipe

    found = recipe.importlib.util.find_spec
    monkeypatch.setattr(
        recipe.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    said = refused(capsys, "fit", "compartments", data, "--out", tmp_path / "m", *SMALL)
    assert "training needs torch" in said
    assert "herscope[learn]" in said
