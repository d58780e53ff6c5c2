"""Options of ``herscope fit`` that change what is trained or written."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra learn")

from herscope.cli import main  # noqa: E402 - after the check that torch is there
from herscope.nn.losses import compartment_loss, cross_entropy_dice, focal, soft_dice  # noqa: E402
from herscope.nn.model_file import read_model  # noqa: E402
from herscope.nn.runtime import Runner  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patches"
    assert main(["phantom", "--out", str(folder), "--patches", "24", "--patch-px", "64",
                 "--seed", "4"]) == 0  # fmt: skip
    return folder


def fit(data, out, *words):
    return main(["fit", "compartments", str(data), "--out", str(out), "--batch", "4", "--epochs",
                 "2", "--threads", "1", "--device", "cpu", "--seed", "1", *words])  # fmt: skip


def test_deep_supervision_trains_every_depth_and_gives_one_map(data, tmp_path, capsys):
    plain, deep = tmp_path / "plain", tmp_path / "deep"
    words = ("--network", "unet++", "--width", "0.0625", "--inputs", "rgb")
    assert fit(data, plain, *words) == 0
    assert fit(data, deep, *words, "--deep-supervision") == 0
    capsys.readouterr()
    a, b = read_model(plain), read_model(deep)
    assert a.card.sha256 != b.card.sha256
    batch = torch.zeros(1, 3, 64, 64).numpy()
    assert Runner(b).run(batch).shape == Runner(a).run(batch).shape == (1, 4, 64, 64)


def test_only_nested_networks_have_deep_supervision(data, tmp_path, capsys):
    assert fit(data, tmp_path / "m", "--deep-supervision") == 1
    said = capsys.readouterr().err
    assert "unet takes no deep_supervision" in said
    assert "unet++" in said


def test_the_frozen_network_needs_an_encoder(data, tmp_path, capsys):
    assert fit(data, tmp_path / "m", "--network", "frozen", "--inputs", "rgb") == 1
    assert "needs the folder of an encoder" in capsys.readouterr().err


def test_losses_of_several_depths_are_averaged():
    torch.manual_seed(0)
    one, two = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    target, weights = torch.randint(0, 4, (2, 8, 8)), torch.tensor([1.0, 2.0, 1.0, 3.0])
    both = compartment_loss(weights)((one, two), target)
    wanted = (
        cross_entropy_dice(one, target, weights) + cross_entropy_dice(two, target, weights)
    ) / 2
    assert float(both) == pytest.approx(float(wanted), rel=1e-6)


def test_the_focal_loss_is_chosen_by_name():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    weights = torch.ones(4)
    found = compartment_loss(weights, "focal")(logits, target)
    wanted = focal(logits, target, weights) + soft_dice(logits, target)
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    assert float(found) != pytest.approx(float(compartment_loss(weights)(logits, target)), rel=1e-2)


def test_an_eight_bit_copy_is_written_or_refused_in_words(data, tmp_path, capsys):
    out = tmp_path / "m"
    assert fit(data, out, "--width", "0.0625", "--int8", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    card = read_model(out).card
    if card.int8_sha256 is None:  # two epochs make no network that survives eight bits
        assert any("no 8-bit copy" in note for note in document["notes"])
        assert not (out / "model.int8.onnx").exists()
    else:
        assert card.metrics["int8_agreement"] >= 0.98
        assert (out / "model.int8.onnx").is_file()
