"""The four H-score networks: sizes, outputs, weights from files, ONNX."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the extra learn")

from herscope.core.errors import InputError, WrongInput  # noqa: E402 - after torch is known there
from herscope.core.registry import ModelCard  # noqa: E402
from herscope.nn.export import export  # noqa: E402
from herscope.nn.networks.blocks import parameter_count  # noqa: E402
from herscope.nn.networks.registry import NETWORKS, make_network  # noqa: E402
from herscope.nn.networks.regression import load_regression_encoder  # noqa: E402
from herscope.nn.runtime import Runner  # noqa: E402

COUNTS = {
    "vgg16-regression": 14_846_273,
    "stain-intensity-net": 99_505,
    "ram-cnn": 429_921,
    "resnet18-regression": 11_308_097,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, width=1.0):
    return make_network(name, channels=1, classes=1, width=width).eval()


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameters_are_as_many_as_the_docs_say(name, count):
    assert parameter_count(make(name)) == count
    assert NETWORKS.make(name).task == "hscore"


def test_vgg16_features_have_the_published_number_of_parameters():
    assert parameter_count(make("vgg16-regression").encoder) == 14_714_688


@pytest.mark.parametrize("name", COUNTS)
def test_one_number_comes_out_for_pictures_of_any_size(name):
    network = make(name, width=0.0625)
    for size in ((32, 32), (45, 71), (96, 64)):
        found = network(torch.rand(2, 1, *size))
        assert found.shape == (2, 1)
        assert (found - 0.5).abs().max() < 0.4  # fresh: near the middle of 0 to 300


@pytest.mark.parametrize("name", ["vgg16-regression", "resnet18-regression"])
def test_the_one_channel_stands_in_all_three_colours(name):
    one = make(name, width=0.0625)
    three = make_network(name, channels=3, classes=1, width=0.0625).eval()
    three.load_state_dict(one.state_dict())
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(one(image), three(image.repeat(1, 3, 1, 1)))
    with pytest.raises(InputError, match="4 channels"):
        make_network(name, channels=4, classes=1)


def test_vgg16_takes_the_public_weights_from_a_torch_file(tmp_path):
    network = make("vgg16-regression")
    public = {k: torch.rand(v.shape) for k, v in network.encoder.state_dict().items()}
    classifier = {"classifier.6.weight": torch.zeros(10, 4), "classifier.6.bias": torch.zeros(10)}
    torch.save(public | classifier, tmp_path / "vgg16.pth")
    report = load_regression_encoder(network, tmp_path / "vgg16.pth")
    assert report.loaded == 26
    assert report.ignored == ("classifier.6.bias", "classifier.6.weight")
    assert min(public) == "features.0.bias"
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, public[name])


def test_resnet18_takes_the_public_weights_from_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    network = make("resnet18-regression")
    wanted = network.encoder.state_dict()
    assert len(wanted) == 120  # torchvision's 122 without fc
    assert {"conv1.weight", "layer2.0.downsample.1.running_mean", "layer4.1.bn2.bias"} <= set(
        wanted
    )
    public = {k: torch.full_like(v, 2) for k, v in wanted.items()}
    save_file(public, tmp_path / "resnet18.safetensors")
    load_regression_encoder(network, tmp_path / "resnet18.safetensors")
    # As they are in the file: optical density has no ImageNet mean to fold in.
    assert (network.encoder.bn1.running_mean == 2).all()
    assert (network.encoder.conv1.weight == 2).all()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save(make("resnet18-regression").encoder.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(WrongInput, match="holds none"):
        load_regression_encoder(make("vgg16-regression", 0.0625), tmp_path / "resnet18.pth")
    with pytest.raises(WrongInput, match="in the network"):
        load_regression_encoder(make("resnet18-regression", 0.25), tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match="no encoder"):
        load_regression_encoder(make("stain-intensity-net"), tmp_path / "resnet18.pth")


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_onnx_copy_gives_one_number_a_picture(name, tmp_path):
    network = make(name, width=0.0625)
    card = ModelCard(
        name="h", task="hscore", summary="-", input_mpp_finest=0.4, input_mpp_coarsest=0.6,
        normalisation="-", licence="CC0-1.0", source="-", training_data="-", inputs="dab-target",
    )  # fmt: skip
    runner = Runner(export(network, 1, tmp_path / "h", card), threads=1)
    pixels = np.random.Generator(np.random.PCG64(1)).random((2, 1, 64, 80), dtype=np.float32)
    expected = network(torch.from_numpy(pixels)).detach().numpy()
    found = runner.run(pixels)
    assert found.shape == (2, 1)
    assert np.abs(found - expected).max() < 1e-4
