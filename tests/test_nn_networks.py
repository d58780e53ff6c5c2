"""Every registered network: its size, its shapes, what it learns, what it refuses, its export."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the learn extra is not installed")

from herscope.core.errors import (  # noqa: E402 - after the skip
    InputError,
    ModelError,
    UnknownModel,
    WeightsUnavailable,
    WrongInput,
)
from herscope.nn.losses import binary_cross_entropy, cross_entropy_dice  # noqa: E402
from herscope.nn.networks.blocks import parameter_count  # noqa: E402
from herscope.nn.networks.deeplab import Aspp  # noqa: E402
from herscope.nn.networks.encoder import (  # noqa: E402
    IMAGENET_MEAN,
    IMAGENET_STD,
    load_encoder,
)
from herscope.nn.networks.frozen import FrozenEncoder  # noqa: E402
from herscope.nn.networks.mobilenet import MobileNetV3  # noqa: E402
from herscope.nn.networks.registry import NETWORKS, make_network  # noqa: E402
from herscope.nn.networks.resnet import ResNet50  # noqa: E402
from herscope.nn.networks.unet_plus import UNetPlusPlus  # noqa: E402

TINY = 0.125
# "frozen" needs a folder (tests/nn/test_frozen_models.py); H-scores have tests of their own.
NAMES = [name for name in NETWORKS if name != "frozen" and NETWORKS.make(name).task != "hscore"]
WITH_ENCODER = ["moco-sm", "deeplabv3+", "deeplabv3+mobilenet", "mobilenetv3"]


class Sizes(NamedTuple):
    channels: int
    classes: int


def sizes(name):
    kind = NETWORKS.make(name)
    if kind.task == "nuclei":
        return Sizes(4 if name == "triple-unet" else 3, len(kind.output))
    return Sizes(3, 4)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(name, seed=0):
    channels, classes = sizes(name)
    return make_network(name, channels=channels, classes=classes, width=TINY, seed=seed)


def settled(name):
    """Return a tiny network in evaluation mode whose normalisation has seen some images."""
    network = tiny(name).train()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, sizes(name).channels, 64, 64, generator=draw))
    return network.eval()


def images(name, *shape, seed=2):
    count, height, width = shape
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, sizes(name).channels, height, width, generator=draw)


def full_size(name, channels, classes):
    with torch.device("meta"):
        return NETWORKS.make(name).build(channels, classes, width=1.0)


# Sources: methods of AutoIHC (23.5 M); U-Net with batch normalisation as commonly reported,
# 31,037,633 for one class; U-Net++ 9.04 M (Zhou et al. 2018, table 3) and what normalisation
# adds; LR-ASPP 3,221,538 for 21 classes and MobileNetV3-Large 5,483,032 less its classifier, as
# reported with the public weights; Triple U-Net 96.8 M.
@pytest.mark.parametrize(
    ("name", "channels", "classes", "parameters"),
    [
        ("moco-sm", 3, 4, 23_516_228),
        ("unet", 3, 1, 31_037_633),
        ("unet++", 1, 1, 9_041_601 + 3_648),
        ("mobilenetv3", 3, 21, 3_221_538),
        ("triple-unet", 4, 1, 96_832_835),
    ],
)
def test_a_network_of_width_1_has_the_published_number_of_parameters(
    name, channels, classes, parameters
):
    assert parameter_count(full_size(name, channels, classes)) == parameters


def test_the_encoders_have_the_published_number_of_parameters():
    with torch.device("meta"):
        resnet, mobilenet = ResNet50(), MobileNetV3()

    assert parameter_count(resnet) == 25_557_032 - (2048 * 1000 + 1000)
    assert parameter_count(mobilenet) == 5_483_032 - (960 * 1280 + 1280 + 1280 * 1000 + 1000)


def test_the_pyramid_has_the_size_that_follows_from_its_paper():
    # 1x1, three 3x3 and the image's mean to 256 channels, joined by 1x1; normalisation adds two
    # numbers a channel to five of the six convolutions, the sixth has a bias instead.
    expected = 2048 * 256 * (1 + 3 * 9 + 1) + 5 * 256 * 256 + 5 * 2 * 256 + 256
    with torch.device("meta"):
        assert parameter_count(Aspp(2048, 256)) == expected


def test_small_widths_make_small_networks():
    counts = [
        parameter_count(make_network("unet", channels=3, classes=4, width=width))
        for width in (0.0625, 0.125, 0.25)
    ]

    assert counts == sorted(counts)
    assert 500_000 < counts[-1] < 2_000_000


@pytest.mark.parametrize(
    ("encoder", "tensors", "some"),
    [
        (
            ResNet50,
            318,
            {
                "conv1.weight": (64, 3, 7, 7),
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer3.5.bn2.running_mean": (256,),
                "layer4.2.conv2.weight": (512, 512, 3, 3),
            },
        ),
        (
            MobileNetV3,
            308,
            {
                "features.0.0.weight": (16, 3, 3, 3),
                "features.1.block.0.0.weight": (16, 1, 3, 3),
                "features.4.block.2.fc1.weight": (24, 72, 1, 1),
                "features.15.block.3.1.running_var": (160,),
                "features.16.0.weight": (960, 160, 1, 1),
            },
        ),
    ],
)
def test_encoders_name_their_tensors_as_the_public_weights_do(encoder, tensors, some):
    with torch.device("meta"):
        state = encoder().state_dict()

    assert len(state) == tensors
    assert {name: tuple(state[name].shape) for name in some} == some


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_resnet_keeps_the_spacing_it_was_asked_for(stride):
    maps = ResNet50(width=TINY, output_stride=stride).eval()(torch.rand(1, 3, 64, 64))

    assert [each.shape[-1] for each in maps] == [64 // min(s, stride) for s in (4, 8, 16, 32)]


@pytest.mark.parametrize("stride", [8, 16])
def test_a_dilated_encoder_computes_what_the_halving_one_does_and_the_places_between(stride):
    halving, dilated = (ResNet50(width=TINY, output_stride=each).eval() for each in (32, stride))
    dilated.load_state_dict(halving.state_dict())
    image = torch.rand(1, 3, 128, 128)

    coarse, fine = halving(image)[-1], dilated(image)[-1]

    step = 32 // stride
    torch.testing.assert_close(fine[..., ::step, ::step], coarse, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 50, 77), (1, 1, 1)])
def test_logits_have_the_size_of_the_image_whatever_it_is(name, shape):
    logits = settled(name)(images(name, *shape))

    assert logits.shape == (shape[0], sizes(name).classes, *shape[1:])
    assert logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_size_gives_what_the_image_repeated_at_its_edges_gives(name):
    network, odd = settled(name), images(name, 1, 57, 89)
    whole = torch.from_numpy(np.pad(odd.numpy(), ((0, 0), (0, 0), (0, 7), (0, 7)), "edge"))

    torch.testing.assert_close(network(odd), network(whole)[..., :57, :89])


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_gives_the_same_bits_again_and_an_image_knows_nothing_of_its_batch(name):
    network, batch = settled(name), images(name, 3, 64, 64)

    first, again, alone = network(batch), network(batch), network(batch[1:2])

    assert torch.equal(first, again)
    torch.testing.assert_close(first[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(name):
    before = torch.get_rng_state()
    first, same, other = (tiny(name, seed).state_dict() for seed in (5, 5, 6))

    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_network_is_sure_of_nothing(name):
    network = tiny(name).train()

    logits = network(images(name, 2, 64, 64)).detach()

    assert 0.01 < float(logits.abs().mean()) < 1


def task(name):
    """Return images whose right half is brighter, the loss, and their classes."""
    batch = 0.2 * images(name, 4, 32, 64)
    batch[..., 32:] += 0.6
    target = torch.zeros(4, 32, 64, dtype=torch.int64)
    target[..., 32:] = 1
    if NETWORKS.make(name).task == "nuclei":
        return batch, lambda logits: binary_cross_entropy(logits[:, :1], target[:, None])
    return batch, lambda logits: cross_entropy_dice(logits, target)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_learns_bright_from_dark(name):
    network, (batch, loss_of) = tiny(name).train(), task(name)
    steps = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = loss_of(network(batch))
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_every_parameter(name):
    network, (batch, _) = tiny(name).train(), task(name)
    outputs = network.branches(batch) if name == "triple-unet" else (network(batch),)

    sum((output**2).sum() for output in outputs).backward()

    # A squeeze of a fresh MobileNet may stand on the flat part of its ReLU.
    silent = {key for key, part in network.named_parameters() if part.grad is None}
    finite = all(bool(torch.isfinite(part.grad).all()) for part in network.parameters())
    still = [key for key, part in network.named_parameters() if not part.grad.abs().max() > 0]
    assert not silent
    assert finite
    assert all("fc" in key for key in still)


@pytest.mark.parametrize("name", ["deeplabv3+", "mobilenetv3"])
def test_a_batch_of_one_can_be_trained_on(name):
    tiny(name).train()(images(name, 1, 64, 64)).sum().backward()


def test_moco_sm_enlarges_its_coarse_map_32_times():
    network, batch = settled("moco-sm"), images("moco-sm", 1, 64, 96)
    coarse = network.head(network.encoder(batch)[-1])[0, 0].detach().numpy()

    logits = network(batch)[0, 0].detach().numpy()

    # Pixel (y, x) lies at ((y + 1/2) / 32 - 1/2) of the coarse map; between its centres bilinear.
    rows = np.clip((np.arange(64) + 0.5) / 32 - 0.5, 0, 1)
    columns = np.clip((np.arange(96) + 0.5) / 32 - 0.5, 0, 2)
    along = np.array([[np.interp(x, range(3), line) for x in columns] for line in coarse])
    expected = along[0] + rows[:, None] * (along[1] - along[0])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_deep_supervision_gives_a_head_for_each_depth_and_their_mean():
    network = UNetPlusPlus(3, 4, width=TINY, deep_supervision=True).eval()
    batch = torch.rand(1, 3, 32, 32)

    heads = network.heads(batch)

    assert len(heads) == 4
    torch.testing.assert_close(network(batch), sum(heads) / 4)
    assert len({float(head.detach().sum()) for head in heads}) == 4


def test_the_branches_of_the_triple_network_see_their_own_image_only():
    network, batch = settled("triple-unet"), images("triple-unet", 1, 32, 32)
    stain, colours = batch.clone(), batch.clone()
    stain[:, :1] += 0.5
    colours[:, 1:] += 0.5

    before, by_stain, by_colours = (network.branches(each) for each in (batch, stain, colours))

    same = [
        [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        for after in (by_stain, by_colours)
    ]  # nuclei, contour of haematoxylin, nuclei of colours
    assert same == [[False, False, True], [False, True, False]]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_with_another_number_of_channels_is_refused(name):
    with pytest.raises(WrongInput, match=r"takes \(images, \d channels"):
        tiny(name)(torch.rand(1, 2, 32, 32))


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"name": "u-net"}, UnknownModel, "no network is called u-net"),
        ({"width": 0.0}, InputError, "width 0"),
        ({"width": float("nan")}, InputError, "width nan"),
        ({"classes": 0}, InputError, "at least one channel and one class"),
        ({"name": "triple-unet", "channels": 3}, InputError, "takes 4 channels"),
    ],
)
def test_a_network_that_cannot_be_made_is_an_error_with_words(asked, error, words):
    with pytest.raises(error, match=words) as caught:
        make_network(**({"name": "unet", "channels": 3, "classes": 4} | asked))
    if error is UnknownModel:
        assert "did you mean unet?" in caught.value.hint


def test_listing_the_networks_does_not_import_torch():
    code = (
        "import sys; from herscope.nn.networks.registry import NETWORKS; "
        "print(*NETWORKS); sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert {"moco-sm", "unet", "unet++", "deeplabv3+", "mobilenetv3"} <= set(ran.stdout.split())


# --- encoders from files ---------------------------------------------------------------------


def shaken(module, seed):
    """Give every tensor of a module values that no fresh network has."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.5 + 0.1 * torch.randn(value.shape, generator=draw))
    return module


def moco_file(path):
    """Write a checkpoint as MoCo v2 leaves it, of a tiny encoder; return the encoder."""
    encoder = shaken(ResNet50(width=TINY), 3)
    state = {f"module.encoder_q.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"module.encoder_k.{key}": value + 9 for key, value in encoder.state_dict().items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(2, 2), "module.queue": torch.zeros(3)}
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state}, path)
    return encoder


def test_a_moco_checkpoint_gives_the_query_encoder_and_nothing_else(tmp_path):
    encoder = moco_file(tmp_path / "moco_v2.pth.tar")
    network = tiny("moco-sm")
    head = network.head.weight.clone()

    report = load_encoder(network, tmp_path / "moco_v2.pth.tar", normalised=False)

    loaded = network.encoder.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in encoder.state_dict().items())
    assert torch.equal(network.head.weight, head)
    assert (report.prefix, report.loaded) == ("module.encoder_q.", 318)
    assert {"module.queue", "module.encoder_q.fc.0.weight"} <= set(report.ignored)
    assert len(report.sha256) == 64


@pytest.mark.parametrize("name", WITH_ENCODER)
def test_every_encoder_loads_plain_safetensors_and_old_files_without_counters(name, tmp_path):
    from safetensors.torch import save_file

    state = shaken(tiny(name).encoder, 4).state_dict()
    kept = {key: value for key, value in state.items() if "num_batches" not in key}
    save_file({**kept, "fc.weight": torch.zeros(2)}, tmp_path / "encoder.safetensors")
    network = tiny(name)

    report = load_encoder(network, tmp_path / "encoder.safetensors", normalised=False)

    loaded = network.encoder.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in kept.items())
    assert report.ignored == ("fc.weight",)


def test_one_channel_sees_what_three_equal_channels_would(tmp_path):
    moco_file(tmp_path / "moco.pth")
    grey, colour = (
        make_network("moco-sm", channels=channels, classes=4, width=TINY).eval()
        for channels in (1, 3)
    )
    for network in (grey, colour):
        report = load_encoder(network, tmp_path / "moco.pth", normalised=False)
    image = torch.rand(1, 1, 64, 64)

    first, second = grey.encoder.conv1(image), colour.encoder.conv1(image.expand(1, 3, 64, 64))

    torch.testing.assert_close(first, second)
    assert report.first_layer == "as in the file"


def test_haematoxylin_beside_colours_starts_silent(tmp_path):
    moco_file(tmp_path / "moco.pth")
    network = make_network("moco-sm", channels=4, classes=4, width=TINY).eval()

    load_encoder(network, tmp_path / "moco.pth")

    first, second = torch.rand(2, 1, 4, 64, 64)
    second[:, 1:] = first[:, 1:]
    assert torch.equal(network.encoder.conv1(first), network.encoder.conv1(second))
    assert float(network.encoder.conv1(first).detach().std()) > 0


def test_pixels_from_0_to_1_meet_the_weights_as_normalised_ones_would(tmp_path):
    encoder = moco_file(tmp_path / "moco.pth").eval()
    network = tiny("moco-sm").eval()
    load_encoder(network, tmp_path / "moco.pth")
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))

    ours = network.encoder.bn1(network.encoder.conv1(image))
    theirs = encoder.bn1(encoder.conv1((image - mean) / std))

    inside = (..., slice(2, -2), slice(2, -2))  # the border of zeros means black here, grey there
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=1e-3, atol=1e-4)


def saved_module(path):
    torch.save(torch.nn.Linear(2, 2), path)


def cut_file(path):
    moco_file(path)
    path.write_bytes(path.read_bytes()[:5000])


def no_weights(path):
    torch.save({"epoch": 3}, path)


def other_network(path):
    torch.save({"blocks.0.attention.weight": torch.zeros(3)}, path)


def smaller_network(path):
    state = ResNet50(width=TINY).state_dict()
    torch.save({key: value for key, value in state.items() if "layer3.5" not in key}, path)


def other_width(path):
    torch.save(ResNet50(width=0.25).state_dict(), path)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda path: path, WeightsUnavailable, "there are no weights at"),
        (saved_module, ModelError, "cannot be read as plain weights"),
        (cut_file, ModelError, "cannot be read as plain weights"),
        (no_weights, ModelError, "holds no named tensors"),
        (other_network, WrongInput, "none of the encoder's"),
        (smaller_network, WrongInput, "lacks .* first layer3.5"),
        (other_width, WrongInput, r"is \(.*\) in weights.pth, \(.*\) in the network"),
    ],
)
def test_weights_that_do_not_belong_are_refused_and_nothing_is_changed(
    make, error, words, tmp_path
):
    file = tmp_path / "weights.pth"
    make(file)
    network = tiny("moco-sm")
    before = {key: value.clone() for key, value in network.state_dict().items()}

    with pytest.raises(error, match=words) as caught:
        load_encoder(network, file)

    assert caught.value.hint
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_damaged_safetensors_file_is_an_error(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"not tensors at all")

    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load_encoder(tiny("moco-sm"), tmp_path / "w.safetensors")


def test_a_network_without_an_encoder_cannot_be_given_one(tmp_path):
    with pytest.raises(InputError, match="UNet has no encoder"):
        load_encoder(tiny("unet"), tmp_path / "any.pth")


# --- the slot for foundation encoders --------------------------------------------------------


class Patches(torch.nn.Module):
    """A stand-in for a vision transformer: a class token, then one token a 16 px patch."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 12, 16, stride=16)
        self.normalise = torch.nn.BatchNorm2d(12)

    def forward(self, x):
        tokens = self.normalise(self.embed(x)).flatten(2).transpose(1, 2)
        return torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)


def framed(encoder, **other):
    stated = {"channels": 3, "classes": 4, "features": 12, "stride": 16, "leading_tokens": 1}
    return FrozenEncoder(encoder, hidden=8, **(stated | other))


def test_a_frozen_encoder_stays_as_it_was_while_its_head_learns():
    encoder = shaken(Patches(), 7)
    network = framed(encoder, mean=IMAGENET_MEAN, std=IMAGENET_STD).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    steps = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)

    logits = network(torch.rand(2, 3, 50, 40))
    (logits**2).sum().backward()
    steps.step()

    changed = {
        key for key, value in network.state_dict().items() if not torch.equal(before[key], value)
    }
    assert logits.shape == (2, 4, 50, 40)
    assert changed
    assert not {key for key in changed if not key.startswith("head")}


def test_tokens_return_to_their_places():
    network = framed(Patches().eval())
    image = torch.zeros(1, 3, 32, 48)
    image[..., 16:, 32:] = 1  # the patch in row 1, column 2

    maps = network.feature_map(image)

    changed = (maps - maps[..., :1, :1]).abs().sum(dim=1)[0] > 1e-6
    assert changed.tolist() == [[False, False, False], [False, False, True]]


@pytest.mark.parametrize(
    ("stated", "words"),
    [({"leading_tokens": 0}, "7 tokens for 2 x 3"), ({"features": 9}, "9 feat")],
)
def test_an_encoder_that_gives_something_else_than_stated_is_refused(stated, words):
    with pytest.raises(WrongInput, match=words):
        framed(Patches(), **stated)(torch.rand(1, 3, 32, 48))


# --- export ----------------------------------------------------------------------------------


def assert_file_equals(network, file, name):
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 64), (3, 50, 77), (2, 128, 96)):
        batch = images(name, *shape)
        (found,) = session.run(None, {"images": batch.numpy()})
        expected = network(batch).detach().numpy()
        assert found.shape == expected.shape
        # Of the largest logit: sums are taken in another order.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_traced_network_serves_every_size_in_onnx_runtime(name, tmp_path):
    pytest.importorskip("onnxruntime")
    network, file = settled(name), tmp_path / "model.onnx"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (images(name, 2, 64, 64),),
            file,
            dynamo=False,
            opset_version=18,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={each: {0: "n", 2: "h", 3: "w"} for each in ("images", "logits")},
        )

    assert_file_equals(network, file, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_exported_as_a_graph_serves_every_size_in_onnx_runtime(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, file = settled(name), tmp_path / "model.onnx"
    free = torch.export.Dim.DYNAMIC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of itself
        torch.onnx.export(
            network,
            (images(name, 2, 64, 96),),
            file,
            dynamo=True,
            opset_version=18,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            external_data=False,
        )

    assert_file_equals(network, file, name)
