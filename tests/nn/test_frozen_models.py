"""Foundation encoders from folders: read, frozen, any size, exported, and what is refused."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the learn extra is not installed")
safetensors = pytest.importorskip("safetensors.torch", reason="the learn extra is not installed")

from herscope.core.errors import (  # noqa: E402 - after the skip
    DependencyMissing,
    InputError,
    ModelError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.registry import ModelCard  # noqa: E402
from herscope.nn.export import compare, onnx_bytes  # noqa: E402
from herscope.nn.model_file import ModelFile  # noqa: E402
from herscope.nn.networks.frozen_models import read_foundation_encoder  # noqa: E402
from herscope.nn.networks.registry import make_network  # noqa: E402
from herscope.nn.networks.vision_transformers import library  # noqa: E402
from herscope.nn.runtime import TOLERANCE, Runner  # noqa: E402

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- a stand-in with the parts a vision transformer of timm has ------------------------------


class PatchEmbed(torch.nn.Module):
    def __init__(self, side, patch, wide):
        super().__init__()
        self.grid_size = (side // patch, side // patch)
        self.proj = torch.nn.Conv2d(3, wide, patch, stride=patch)

    def forward(self, x):
        return self.proj(x).permute(0, 2, 3, 1)


class StandIn(torch.nn.Module):
    """Patches, positions, one layer of attention, a last normalisation."""

    def __init__(self, img_size=64, patch_size=16, embed_dim=12, no_embed_class=False):
        super().__init__()
        self.patch_embed = PatchEmbed(img_size, patch_size, embed_dim)
        self.num_prefix_tokens, self.no_embed_class = 1, no_embed_class
        self.cls_token = torch.nn.Parameter(torch.randn(1, 1, embed_dim))
        self.reg_token = None
        places = (img_size // patch_size) ** 2 + (0 if no_embed_class else 1)
        self.pos_embed = torch.nn.Parameter(torch.randn(1, places, embed_dim))
        self.patch_drop, self.norm_pre = torch.nn.Identity(), torch.nn.Identity()
        self.blocks = torch.nn.Sequential(
            torch.nn.TransformerEncoderLayer(embed_dim, 2, 24, dropout=0.0, batch_first=True)
        )
        self.norm = torch.nn.LayerNorm(embed_dim)


def stand_in_library():
    timm = ModuleType("timm")
    timm.is_model = lambda name: name in {"vit_tiny_patch16_224", "resnet50"}

    def create_model(name, *, pretrained, num_classes, dynamic_img_size, **sizes):
        assert (pretrained, num_classes, dynamic_img_size) == (False, 0, True)
        return StandIn(**sizes) if name.startswith("vit") else torch.nn.Conv2d(3, 4, 7, stride=2)

    timm.create_model = create_model
    return timm


@pytest.fixture
def timm_folder(tmp_path, monkeypatch):
    """Return a function that writes a folder as timm does; timm itself is the stand-in above."""
    monkeypatch.setitem(sys.modules, "timm", stand_in_library())

    def make(*, weights=True, lacks="", **config):
        folder = tmp_path / "encoder"
        folder.mkdir()
        config = {
            "architecture": "vit_tiny_patch16_224",
            "num_classes": 0,
            "model_args": {"img_size": 64},
            "pretrained_cfg": {"mean": MEAN, "std": STD},
        } | config
        (folder / "config.json").write_text(json.dumps(config))
        torch.manual_seed(1)
        module = StandIn()
        state = {key: value for key, value in module.state_dict().items() if key != lacks}
        if weights:
            state["head.weight"] = torch.zeros(5, 12)
            safetensors.save_file(state, folder / "model.safetensors")
        return folder, module.eval()

    return make


def frozen(folder, **other):
    return make_network("frozen", **({"channels": 3, "classes": 4, "encoder": folder} | other))


def card():
    return ModelCard(
        name="frozen", task="compartments", summary="s", input_mpp_finest=0.4,
        input_mpp_coarsest=0.6, normalisation="n", licence="MIT", source="s", training_data="t",
        inputs="rgb", classes=["tumor", "stroma", "background", "other"],
    )  # fmt: skip


def test_a_folder_says_what_its_encoder_is(timm_folder):
    folder, _ = timm_folder()

    found = read_foundation_encoder(folder)

    assert (found.name, found.features, found.stride) == ("vit_tiny_patch16_224", 12, 16)
    assert (found.leading_tokens, found.mean, found.std) == (1, tuple(MEAN), tuple(STD))
    assert found.file == "model.safetensors"
    assert len(found.sha256) == 64


def test_at_its_own_size_the_tokens_are_those_of_the_encoder(timm_folder):
    folder, module = timm_folder()
    image = torch.rand(2, 3, 64, 64)

    found = read_foundation_encoder(folder).module(image)

    with torch.no_grad():
        x = module.patch_embed(image).flatten(1, 2)
        x = torch.cat((module.cls_token.expand(2, -1, -1), x), dim=1) + module.pos_embed
        expected = module.norm(module.blocks(x))
    torch.testing.assert_close(found.detach(), expected)


def test_at_another_size_positions_lie_where_the_patches_lie(timm_folder):
    folder, _ = timm_folder()
    encoder = read_foundation_encoder(folder).module
    vit = encoder.vit
    vit.blocks, vit.norm = torch.nn.Identity(), torch.nn.Identity()
    with torch.no_grad():  # positions that are their column, patches that are nothing
        vit.patch_embed.proj.weight.zero_()
        vit.patch_embed.proj.bias.zero_()
        vit.pos_embed[:, 1:] = (torch.arange(16) % 4).float()[None, :, None]

        tokens = encoder(torch.rand(1, 3, 32, 128))[0, 1:, 0].reshape(2, 8)

    assert (tokens[0] == tokens[1]).all()
    assert (tokens[0].diff() > -0.1).all()
    assert float(tokens[0, 0]) == pytest.approx(0, abs=0.2)
    assert float(tokens[0, 7]) == pytest.approx(3, abs=0.2)


def test_the_network_takes_plain_rgb_and_normalises_it_itself(timm_folder):
    folder, _ = timm_folder()
    network = frozen(folder).eval()
    image = torch.rand(1, 3, 64, 64)

    maps = network.feature_map(image)

    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    tokens = read_foundation_encoder(folder).module((image - mean) / std)[0, 1:]
    torch.testing.assert_close(maps[0].flatten(1).T, tokens.detach())


def test_only_the_head_is_trained_and_the_origin_is_told(timm_folder):
    folder, _ = timm_folder()
    network = frozen(folder, width=0.125).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    steps = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)

    (network(torch.rand(2, 3, 50, 40)) ** 2).sum().backward()
    steps.step()

    after = network.state_dict()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed
    assert not {key for key in changed if not key.startswith("head.")}
    assert not network.encoder.training
    assert network.origin["encoder"] == "vit_tiny_patch16_224"
    assert network.head[0][0].out_channels == 16


@pytest.mark.slow
def test_the_exported_model_holds_the_encoder_and_serves_any_size(timm_folder):
    folder, _ = timm_folder()
    network = frozen(folder).eval()

    data = onnx_bytes(network, 3)

    model = ModelFile(folder, card(), data)
    assert compare(network, Runner(model, threads=1)) < TOLERANCE
    pytest.importorskip("openvino")
    assert compare(network, Runner(model, "openvino", threads=1)) < TOLERANCE


def test_the_same_folder_and_seed_give_the_same_network(timm_folder):
    folder, _ = timm_folder()

    first, second = (frozen(folder, seed=3).state_dict() for _ in range(2))

    assert all(torch.equal(first[key], second[key]) for key in first)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "error", "words"),
    [
        ({"weights": False}, WeightsUnavailable, "has no model.safetensors"),
        ({"lacks": "norm.bias"}, WrongInput, "lacks 1 of .* first norm.bias"),
        ({"model_args": {"embed_dim": 8}}, WrongInput, "is .* in model.safetensors"),
        ({"model_args": {"mlp_layer": "os.system"}}, SchemaError, "sets mlp_layer"),
        ({"model_args": {"embed_dim": 7}}, InputError, "timm cannot build"),
        ({"architecture": "hf-hub:some/where"}, InputError, "timm knows no architecture"),
        ({"architecture": "resnet50", "model_args": {}}, InputError, "no vision transformer"),
        ({"pretrained_cfg": {"mean": MEAN}}, SchemaError, "std in pretrained_cfg is null"),
        ({"pretrained_cfg": {"mean": MEAN, "std": [0, 1, 1]}}, SchemaError, "not three numbers"),
        ({"pretrained_cfg": {"mean": 0.5, "std": STD}}, SchemaError, "mean in pretrained_cfg"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_an_error_with_words(
    timm_folder, folder, error, words
):
    with pytest.raises(error, match=words) as caught:
        frozen(timm_folder(**folder)[0])

    assert caught.value.hint


@pytest.mark.parametrize(
    ("files", "error", "words", "hint"),
    [
        (None, WeightsUnavailable, "there is no encoder folder", "downloads nothing"),
        ({}, SchemaError, "has no config.json", "transformers or timm"),
        ({"encoder.onnx": ""}, SchemaError, "has no config.json", "as ONNX cannot be joined"),
        ({"config.json": "{"}, SchemaError, "is not JSON", ""),
        ({"config.json": "[]"}, SchemaError, "holds no table", "fetch"),
        ({"config.json": "{}", "model.safetensors": ""}, SchemaError, "no architecture", "CONCH"),
        (
            {"config.json": '{"architecture": "vit"}', "model-1-of-2.safetensors": ""},
            WeightsUnavailable,
            "has no model.safetensors",
            "in 1 parts",
        ),
        (
            {"config.json": '{"model_type": "bert"}', "model.safetensors": ""},
            InputError,
            "of the type bert",
            "vit",
        ),
    ],
)
def test_a_folder_that_is_no_encoder_is_an_error_with_words(tmp_path, files, error, words, hint):
    folder = tmp_path / "encoder"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)

    with pytest.raises(error, match=words) as caught:
        frozen(folder)

    assert hint in caught.value.hint


def test_an_encoder_sees_colours_only(timm_folder):
    with pytest.raises(WrongInput, match="takes 3 channels, asked were 4"):
        frozen(timm_folder()[0], channels=4)


def test_without_the_library_the_error_says_what_to_install(timm_folder, monkeypatch):
    folder, _ = timm_folder()
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(DependencyMissing, match="read with timm") as caught:
        frozen(folder)

    assert caught.value.hint == "pip install timm"


# --- the libraries themselves, where they are installed --------------------------------------

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
}


def installed(name):
    try:
        return library(name)
    except DependencyMissing as error:
        pytest.skip(str(error))


def small_tower(kind, transformers):
    wide = SMALL | {"intermediate_size": 64}
    if kind == "clip":
        config = transformers.CLIPConfig(vision_config=wide, text_config=TEXT)
        return transformers.CLIPModel(config)
    if kind == "siglip":
        config = transformers.SiglipConfig(vision_config=wide, text_config=TEXT)
        return transformers.SiglipModel(config)
    if kind == "clip_vision_model":
        return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**wide))
    if kind == "siglip_vision_model":
        return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**wide))
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, mlp_ratio=2))
    return transformers.ViTModel(transformers.ViTConfig(**wide))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the library's own
@pytest.mark.parametrize(
    ("kind", "leading"),
    [
        ("vit", 1),
        ("clip", 1),
        ("clip_vision_model", 1),
        ("siglip", 0),
        ("siglip_vision_model", 0),
        ("dinov2", 1),
    ],
)
def test_towers_of_transformers_are_read_frozen_and_exported(kind, leading, tmp_path):
    transformers = installed("transformers")
    torch.manual_seed(2)
    model = small_tower(kind, transformers).eval()
    model.save_pretrained(tmp_path)
    pixels = {"image_mean": MEAN, "image_std": STD}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    image = torch.rand(1, 3, 64, 64)

    network = frozen(tmp_path).eval()

    tower = getattr(model, "vision_model", model)
    with torch.no_grad():
        expected = tower(pixel_values=image).last_hidden_state
        found = network.encoder(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (network.leading_tokens, network.stride) == (leading, 16)
    runner = Runner(ModelFile(tmp_path, card(), onnx_bytes(network, 3)), threads=1)
    assert compare(network, runner) < TOLERANCE


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_weights_of_another_network_are_refused_by_the_real_library(tmp_path):
    transformers = installed("transformers")
    small_tower("vit", transformers).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": MEAN, "image_std": STD})
    )
    safetensors.save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")

    with pytest.raises((WrongInput, ModelError)) as caught:
        frozen(tmp_path)

    assert caught.value.hint


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_vision_transformer_of_timm_is_read_as_timm_computes_it(tmp_path):
    timm = installed("timm")
    sizes = {"img_size": 64, "depth": 2, "init_values": 1e-5, "reg_tokens": 2}
    torch.manual_seed(3)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=5, **sizes).eval()
    safetensors.save_file(vit.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": sizes,
        "pretrained_cfg": {"mean": MEAN, "std": STD},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    image = torch.rand(2, 3, 64, 64)

    network = frozen(tmp_path).eval()

    with torch.no_grad():
        np.testing.assert_array_equal(network.encoder(image), vit.forward_features(image))
    assert network.leading_tokens == 3
    runner = Runner(ModelFile(tmp_path, card(), onnx_bytes(network, 3)), threads=1)
    assert compare(network, runner) < TOLERANCE
