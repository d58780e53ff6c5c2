"""HoVer-Net: size, outputs, what it learns, export; and U-Net++ with deep supervision."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the learn extra is not installed")

from torch.nn import functional  # noqa: E402 - after the skip

from herscope.core.errors import InputError  # noqa: E402
from herscope.nn.networks.blocks import parameter_count  # noqa: E402
from herscope.nn.networks.hovernet import (  # noqa: E402
    DENSE_GROUPS,
    DENSE_UNITS,
    Encoder,
    HoverNet,
)
from herscope.nn.networks.registry import NETWORKS, make_network  # noqa: E402
from herscope.nn.networks.resnet import ResNet50  # noqa: E402

TINY = 0.0625


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(width=TINY):
    return make_network("hovernet", channels=3, classes=3, width=width)


def decoder_size(outputs):
    """Count the parameters of one decoder at width 1 from the description."""
    total, channels = 0, 1024
    for wide, units, given in ((256, DENSE_UNITS[0], 512), (128, DENSE_UNITS[1], 256)):
        total += channels * wide * 25
        for number in range(units):
            come = wide + 32 * number
            total += 2 * come + come * 128 + 2 * 128 + 128 * 32 * 25 // DENSE_GROUPS
        come = wide + 32 * units
        total += 2 * come + come * given
        channels = given
    return total + 256 * 64 * 25 + 2 * 64 + 64 * outputs + outputs


def test_the_parameters_at_width_1_are_those_the_description_gives():
    with torch.device("meta"):
        network, encoder, resnet = HoverNet(), Encoder(3, width=1.0), ResNet50()

    # The convolutions are ResNet-50's; its norms stand elsewhere: none on the four shortcuts, one
    # at the end of each stage, and each block but a stage's first normalises its own input.
    weights = sum(p.numel() for p in resnet.parameters() if p.ndim == 4)
    norms = 2 * 64 + sum(
        2 * (2 * planes * blocks + 4 * planes * (blocks - 1) + 4 * planes)
        for planes, blocks in ((64, 3), (128, 4), (256, 6), (512, 3))
    )
    assert parameter_count(encoder) == weights + norms
    expected = weights + norms + 2048 * 1024 + decoder_size(1) + decoder_size(2)
    assert parameter_count(network) == expected == 45_028_611


def test_the_channels_are_nucleus_horizontal_and_vertical():
    assert NETWORKS.make("hovernet").output == ("nucleus", "horizontal", "vertical")
    assert NETWORKS.make("hovernet").task == "nuclei"


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 50, 77), (1, 9, 8)])
def test_the_result_has_the_size_of_the_image(shape):
    with torch.inference_mode():
        maps = tiny().eval()(torch.rand(shape[0], 3, *shape[1:]))

    assert maps.shape == (shape[0], 3, *shape[1:])


def test_the_encoder_halves_three_times_only():
    maps = Encoder(3, width=TINY)(torch.rand(2, 3, 64, 96))

    assert [tuple(each.shape[-2:]) for each in maps] == [(64, 96), (32, 48), (16, 24), (8, 12)]


def test_the_two_decoders_share_nothing_but_the_encoder():
    network, image = tiny().train(), torch.rand(2, 3, 32, 32)

    network(image)[:, :1].sum().backward()

    touched = {
        key.split(".")[0]
        for key, part in network.named_parameters()
        if part.grad is not None and bool((part.grad != 0).any())
    }
    assert touched == {"encoder", "squeeze", "nucleus"}


def discs():
    """Return images with dark discs, and their nucleus, horizontal and vertical maps."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    images, targets = [], []
    for y, x, radius in ((14, 15, 9), (30, 28, 11), (20, 33, 8), (32, 14, 10)):
        inside = ((rows - y) ** 2 + (columns - x) ** 2 <= radius**2).float()
        images.append((0.9 - 0.6 * inside).expand(3, -1, -1))
        targets.append(
            torch.stack((inside, inside * (columns - x) / radius, inside * (rows - y) / radius))
        )
    return torch.stack(images), torch.stack(targets)


def test_it_learns_nuclei_and_places_in_them_in_thirty_steps():
    network, (images, targets) = tiny(0.125).train(), discs()
    steps = torch.optim.AdamW(network.parameters(), lr=1e-2)
    inside = targets[:, :1]
    for _ in range(30):
        maps = network(images)
        loss = functional.binary_cross_entropy_with_logits(maps[:, :1], inside)
        loss = loss + ((maps[:, 1:] - targets[:, 1:]) ** 2 * inside).sum() / (2 * inside.sum())
        steps.zero_grad()
        loss.backward()
        steps.step()

    maps = network(images).detach()  # of training mode: thirty steps settle no running average
    called = (maps[:, :1] > 0).float()
    dice = float(2 * (called * inside).sum() / (called.sum() + inside.sum()))
    error = ((maps[:, 1:] - targets[:, 1:]).abs() * inside).sum() / (2 * inside.sum())
    chance = (targets[:, 1:].abs() * inside).sum() / (2 * inside.sum())
    assert dice > 0.95
    assert float(error) < 0.5 * float(chance)


@pytest.mark.slow
def test_the_onnx_copy_equals_the_network_at_any_size():
    from herscope.core.registry import ModelCard
    from herscope.nn.export import compare, onnx_bytes
    from herscope.nn.model_file import ModelFile
    from herscope.nn.runtime import TOLERANCE, Runner

    network = tiny().train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 64))
    network.eval()
    card = ModelCard(
        name="hv", task="nuclei", summary="s", input_mpp_finest=0.4, input_mpp_coarsest=0.6,
        normalisation="n", licence="MIT", source="s", training_data="t", inputs="rgb",
        classes=["nucleus", "horizontal", "vertical"],
    )  # fmt: skip

    runner = Runner(ModelFile("hv", card, onnx_bytes(network, 3)), threads=1)

    assert compare(network, runner) < TOLERANCE


def test_another_number_of_channels_to_give_is_refused():
    with pytest.raises(InputError, match="hovernet gives 3 channels, asked were 1") as caught:
        make_network("hovernet", channels=3, classes=1)

    assert "nucleus, horizontal, vertical" in caught.value.hint


# --- U-Net++ with deep supervision -----------------------------------------------------------


def test_deep_supervision_gives_four_branches_whose_mean_is_the_result():
    network = make_network(
        "unet++", channels=3, classes=4, width=0.125, deep_supervision=True
    ).eval()
    batch = torch.rand(2, 3, 40, 50)

    branches = network.branches(batch)

    assert [tuple(each.shape) for each in branches] == [(2, 4, 40, 50)] * 4
    torch.testing.assert_close(network(batch), sum(branches) / 4)
    assert len({float(each.detach().sum()) for each in branches}) == 4


def test_the_shallow_branches_do_not_see_the_deep_levels():
    network = make_network("unet++", channels=3, classes=4, width=0.125, deep_supervision=True)

    network.branches(torch.rand(2, 3, 32, 32))[0].sum().backward()

    deep = [p.grad for key, p in network.named_parameters() if key.startswith("node.4_0")]
    shallow = [p.grad for key, p in network.named_parameters() if key.startswith("node.1_0")]
    assert all(grad is None for grad in deep)
    assert all(grad is not None for grad in shallow)


def test_without_deep_supervision_there_are_no_branches_to_train_on():
    network = make_network("unet++", channels=3, classes=4, width=0.125)

    assert not hasattr(network, "branches")
    assert list(network.head) == ["4"]


@pytest.mark.parametrize(
    ("asked", "words", "hint"),
    [
        ({"name": "unet", "deep_supervision": True}, "unet takes no deep_supervision", "unet++"),
        ({"name": "unet", "encoder": "folder"}, "unet takes no encoder", "frozen"),
        ({"name": "frozen"}, "frozen needs the folder of an encoder", "config.json"),
    ],
)
def test_an_option_a_network_has_not_is_refused(asked, words, hint):
    with pytest.raises(InputError, match=words.replace("+", r"\+")) as caught:
        make_network(**({"channels": 3, "classes": 4} | asked))

    assert hint in caught.value.hint
