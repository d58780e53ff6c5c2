"""Losses of nucleus networks, and ``herscope fit nuclei`` on a handful of phantoms."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra learn")

from herscope.cli import main  # noqa: E402 - after the check that torch is there
from herscope.nn.model_file import read_model  # noqa: E402
from herscope.nn.nucleus_losses import nucleus_loss, target_channels  # noqa: E402
from herscope.nn.nucleus_targets import nucleus_target  # noqa: E402
from herscope.nn.patches.phantom_nuclei import make_phantom_nuclei  # noqa: E402

DISTANCE = ("nucleus", "distance")
HOVER = ("nucleus", "horizontal", "vertical")


def labels():
    yy, xx = np.mgrid[:48, :48]
    out = np.zeros((48, 48), np.int32)
    out[(yy - 20) ** 2 + (xx - 14) ** 2 < 81] = 1
    out[(yy - 22) ** 2 + (xx - 34) ** 2 < 100] = 2
    return out


def target(channels):
    return torch.from_numpy(nucleus_target(labels(), target_channels(channels)))[None]


def perfect(channels):
    """Return the output that the target asks for."""
    wanted = target(channels)
    if channels == HOVER:
        return torch.cat([60 * (2 * wanted[:, :1] - 1), wanted[:, 1:]], dim=1)
    mask = 60 * (2 * wanted[:, :1] - 1)
    return torch.cat([mask, torch.logit(wanted[:, 1:].clamp(1e-7, 1 - 1e-7))], dim=1)


@pytest.mark.parametrize("channels", [DISTANCE, HOVER])
def test_what_was_asked_for_costs_next_to_nothing(channels):
    assert float(nucleus_loss(channels)(perfect(channels), target(channels))) < 1e-3


@pytest.mark.parametrize("channels", [DISTANCE, HOVER])
@pytest.mark.parametrize("channel", [0, 1])
def test_an_error_in_any_channel_costs(channels, channel):
    worse = perfect(channels).clone()
    worse[:, channel] = -worse[:, channel]
    assert float(nucleus_loss(channels)(worse, target(channels))) > 0.1


@pytest.mark.parametrize("channels", [DISTANCE, HOVER])
def test_pixels_that_nobody_annotated_cost_nothing(channels):
    wanted, output = target(channels), perfect(channels).clone()
    wanted[:, :1, :, 40:] = 255
    output[:, :, :, 41:] = 9
    cost = nucleus_loss(channels)(output, wanted)
    assert float(cost) < 1e-3


def test_the_slope_of_positions_is_punished_beside_their_value():
    output, wanted = perfect(HOVER), target(HOVER)
    jagged = output.clone()
    jagged[:, 1, :, ::4] += 0.2
    jagged[:, 1, :, 2::4] -= 0.2
    shifted = output.clone()
    shifted[:, 1] += 0.1414  # the same mean square
    loss = nucleus_loss(HOVER)
    assert float(loss(jagged, wanted)) > 1.5 * float(loss(shifted, wanted))


def test_the_triple_u_net_needs_its_three_branches():
    with pytest.raises(Exception, match="three branches"):
        nucleus_loss(("nucleus",))(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_phantom_nuclei(tmp_path_factory.mktemp("d") / "patches", 12, seed=3, size_px=64)


def fitted(data, out, *words):
    words = ["fit", "nuclei", str(data), "--out", str(out), "--epochs", "2", "--batch", "4",
             "--threads", "1", "--seed", "1", "--device", "cpu", *words]  # fmt: skip
    return main(words)


@pytest.mark.parametrize(
    ("network", "width", "channels"),
    [("unet-distance", "0.0625", DISTANCE), ("triple-unet", "0.0625", ("nucleus",)),
     pytest.param("hovernet", "0.0625", HOVER, marks=pytest.mark.slow)],
)  # fmt: skip
def test_every_nucleus_network_trains_and_becomes_a_model(
    data, tmp_path, capsys, network, width, channels
):
    out = tmp_path / "ours"
    assert fitted(data, out, "--network", network, "--width", width, "--json") == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["patches"]["nuclei"] > 10
    assert {"f1", "dice"} <= {k.removeprefix("validation_") for k in document["metrics"]}
    assert "epoch 2: loss" in said.err
    model = read_model(out, task="nuclei", mpp=0.5)
    assert tuple(model.card.classes) == channels
    assert "drawn nuclei by herscope" in model.card.training_data


def test_a_resumed_nucleus_training_gives_the_same_bits(data, tmp_path, monkeypatch, capsys):
    assert fitted(data, tmp_path / "whole", "--width", "0.0625") == 0
    from herscope.cli.epochs import Epochs

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Epochs, "epoch", stop)
        assert fitted(data, tmp_path / "parts", "--width", "0.0625") == 130
    assert not (tmp_path / "parts").exists()
    assert fitted(data, tmp_path / "parts", "--width", "0.0625", "--resume") == 0
    capsys.readouterr()
    whole, parts = (read_model(tmp_path / name) for name in ("whole", "parts"))
    assert whole.card.sha256 == parts.card.sha256


def test_a_compartment_network_is_not_trained_on_nuclei(data, tmp_path, capsys):
    assert fitted(data, tmp_path / "m", "--network", "unet++") == 1
    said = capsys.readouterr().err
    assert "unet++ predicts compartments, not nuclei" in said
    assert "unet-distance" in said


def test_patches_with_masks_are_no_numbered_nuclei(tmp_path, capsys):
    assert (
        main(["phantom", "--out", str(tmp_path / "p"), "--patches", "4", "--patch-px", "64"]) == 0
    )
    assert fitted(tmp_path / "p", tmp_path / "m") == 1
    assert "has no folder instances" in capsys.readouterr().err
