"""Encoders: what they give is what their own library gives; the contract; errors for people.

Networks are tiny, random and made here. Tests that need transformers, timm or open_clip are skipped
where these are absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from herscope.core.errors import (
    DependencyMissing,
    HerscopeError,
    InputError,
    ModelError,
    SchemaError,
    UnknownModel,
    WeightsUnavailable,
    WrongInput,
)
from herscope.embed.encoder import EncoderCard
from herscope.embed.encoders import ENCODERS, encoder_cards, open_encoder
from herscope.embed.onnx_encoder import write_onnx_encoder
from herscope.embed.pixel_preparation import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    preparation,
    prepare,
)
from herscope.nn.networks.vision_transformers import library

RNG = np.random.Generator(np.random.PCG64(3))
TILES = RNG.integers(0, 256, (5, 72, 72, 3), np.uint8)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SQUARE = {"height": 32, "width": 32}
PIXELS = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "do_center_crop": True,
    "crop_size": SQUARE,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
    "do_normalize": True,
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the libraries themselves
        warnings.simplefilter("ignore", FutureWarning)
        yield
    torch.set_num_threads(before)


def need(name: str):
    """Return a library, or skip; ``library`` mends torchvision beside a CPU build of torch."""
    try:
        return library(name)
    except DependencyMissing as error:
        pytest.skip(f"{name} is not installed: {error.message}")


@contextlib.contextmanager
def no_download(monkeypatch) -> Iterator[None]:
    """Fail if anything opens a connection."""

    def refuse(*_args, **_more):
        raise AssertionError("a connection was opened")

    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", refuse)
        yield


def clip_folder(root: Path, *, projection: int = 16, vision: dict | None = None) -> Path:
    transformers = need("transformers")
    config = transformers.CLIPConfig(
        vision_config={**VISION, **(vision or {}), "projection_dim": projection},
        text_config={**TEXT, "projection_dim": projection},
        projection_dim=projection,
    )
    transformers.CLIPModel(config).eval().save_pretrained(root)
    (root / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    return root


def other_folder(root: Path, kind: str) -> Path:
    transformers = need("transformers")
    if kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False)
        pixels = {"image_processor_type": "ViTImageProcessor", "size": SQUARE, "resample": 2}
    elif kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**VISION))
        pixels = {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": 36},
            "crop_size": SQUARE,
            "resample": 3,
        }
    else:
        config = transformers.SiglipConfig(vision_config=VISION, text_config=TEXT)
        model = transformers.SiglipModel(config)
        pixels = {"image_processor_type": "SiglipImageProcessor", "size": SQUARE, "resample": 3}
    model.eval().save_pretrained(root)
    said = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **pixels}
    (root / "preprocessor_config.json").write_text(json.dumps(said))
    return root


def timm_folder(root: Path, **changes) -> Path:
    timm = need("timm")
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    arguments |= {"init_values": 1e-5}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, **arguments)
    root.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), root / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 7,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": list(HALF),
            "std": list(HALF),
        },
    }
    (root / "config.json").write_text(json.dumps(config | changes))
    return root


OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 64, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": list(CLIP_MEAN), "std": list(CLIP_STD)},
}
BIOMED = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    },
    "preprocess_cfg": {"mean": list(CLIP_MEAN), "std": list(CLIP_STD)},
}


def open_clip_folder(root: Path, config: dict | None = None):
    """Save a picture half (as BiomedCLIP's is saved: under visual.) and return both."""
    open_clip = need("open_clip")
    config = config or OPEN_CLIP
    model = open_clip.CLIP(
        embed_dim=16,
        vision_cfg=dict(config["model_cfg"]["vision_cfg"]),
        text_cfg=dict(OPEN_CLIP["model_cfg"]["text_cfg"]),
    ).eval()
    root.mkdir(parents=True, exist_ok=True)
    (root / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), root / "open_clip_pytorch_model.bin")
    return root, model


def card(**changes) -> EncoderCard:
    said = {
        "name": "tiny",
        "summary": "A tiny network.",
        "features": 3,
        "input_px": 16,
        "resize": "bicubic 16, centre crop 16",
        "mean": HALF,
        "std": HALF,
        "licence": "MIT",
        "source": "made by a test",
    }
    return EncoderCard.model_validate(said | changes)


class Averages(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)) * 2


def onnx_bytes(module: torch.nn.Module, edge: int) -> bytes:
    import io

    pytest.importorskip("onnxscript")
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 3, edge, edge),),
            stream,
            dynamo=False,
            input_names=["tiles"],
            output_names=["features"],
            dynamic_axes={"tiles": {0: "n"}, "features": {0: "n"}},
        )
    return stream.getvalue()


def onnx_folder(root: Path, **changes) -> Path:
    write_onnx_encoder(root, card(**changes), onnx_bytes(Averages(), 16))
    return root


FOLDERS = {
    "colour-texture": lambda _root: "colour-texture",
    "clip": clip_folder,
    "vit": lambda root: other_folder(root, "vit"),
    "dinov2": lambda root: other_folder(root, "dinov2"),
    "siglip": lambda root: other_folder(root, "siglip"),
    "timm": timm_folder,
    "open_clip": lambda root: open_clip_folder(root)[0],
    "biomedclip": lambda root: open_clip_folder(root, BIOMED)[0],
    "onnx": onnx_folder,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return the folder of a kind of encoder, made once."""
    made: dict[str, Path | str] = {}

    def of(kind: str) -> Path | str:
        if kind not in made:
            made[kind] = FOLDERS[kind](tmp_path_factory.mktemp(kind.replace("-", "_")) / "e")
        return made[kind]

    return of


# the contract: every encoder that can be opened here does the same


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_encoder_gives_a_finite_row_of_float32_for_every_tile(place, kind, monkeypatch):
    folder = place(kind)
    with no_download(monkeypatch):
        encoder = open_encoder(folder, device="cpu", threads=1)

        features = encoder.embed(TILES)

    assert features.dtype == np.float32
    assert features.shape == (len(TILES), encoder.card.features)
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == len(TILES)
    assert encoder.card.licence
    assert (kind == "colour-texture") == (encoder.card.weights_sha256 is None)


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_same_batch_gives_the_same_bits_again_and_in_a_new_encoder(place, kind):
    first = open_encoder(place(kind), device="cpu", threads=1)
    again = open_encoder(place(kind), device="cpu", threads=1)

    found = first.embed(TILES)

    assert np.array_equal(found, first.embed(TILES))
    assert np.array_equal(found, again.embed(TILES))
    assert first.card.fingerprint() == again.card.fingerprint()


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_tile_gets_its_features_whatever_lies_beside_it(place, kind):
    encoder = open_encoder(place(kind), device="cpu", threads=1)
    others = RNG.integers(0, 256, TILES.shape, np.uint8)
    others[2] = TILES[2]

    beside = encoder.embed(others)

    assert np.array_equal(encoder.embed(TILES)[2], beside[2])  # same place, same size of batch
    assert encoder.embed(TILES[2:3])[0] == pytest.approx(beside[2], abs=1e-5)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize(
    "bad",
    [TILES.astype(np.float32), TILES[0], TILES[..., :1], TILES[:, :0]],
    ids=["float", "one tile", "grey", "no pixel"],
)
def test_what_is_no_batch_of_tiles_is_refused(place, kind, bad):
    encoder = open_encoder(place(kind), device="cpu", threads=1)
    with pytest.raises(HerscopeError):
        encoder.embed(bad)


@pytest.mark.parametrize("kind", FOLDERS)
def test_no_tiles_give_no_rows(place, kind):
    encoder = open_encoder(place(kind), device="cpu", threads=1)

    assert encoder.embed(TILES[:0]).shape == (0, encoder.card.features)


def test_more_tiles_than_one_pass_takes_are_taken_in_turns(place):
    encoder = open_encoder(place("onnx"), threads=1)
    many = RNG.integers(0, 256, (130, 16, 16, 3), np.uint8)

    assert encoder.embed(many)[100] == pytest.approx(encoder.embed(many[100:101])[0], abs=1e-6)


# what the libraries themselves give


def test_plip_features_are_what_get_image_features_gives_and_not_the_hidden_state(tmp_path):
    transformers = need("transformers")
    root = clip_folder(tmp_path / "clip")
    model = transformers.CLIPModel.from_pretrained(root).eval()
    pixels = torch.from_numpy(prepare(TILES, preparation("bicubic 32", CLIP_MEAN, CLIP_STD)))
    with torch.inference_mode():
        given = model.get_image_features(pixel_values=pixels)
        given = getattr(given, "pooler_output", given).numpy()
        hidden = model.vision_model(pixel_values=pixels).pooler_output.numpy()

    found = open_encoder(root, device="cpu", threads=1).embed(TILES)

    assert found.shape == (5, 16) != hidden.shape
    assert found == pytest.approx(given, abs=1e-6)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)


def test_plip_by_name_has_512_numbers_and_768_are_refused(tmp_path):
    wide = {"hidden_size": 48, "image_size": 224, "patch_size": 32}
    right = clip_folder(tmp_path / "right", projection=512, vision=wide)
    wrong = clip_folder(tmp_path / "wrong", projection=768, vision=wide)

    encoder = open_encoder("plip", weights=right, device="cpu", threads=1)

    assert encoder.embed(TILES).shape == (5, 512)
    assert (encoder.card.name, encoder.card.features) == ("plip", 512)
    with pytest.raises(WrongInput, match=r"plip gives \(2, 768\)"):
        open_encoder("plip", weights=wrong, device="cpu", threads=1)


def test_a_clip_folder_without_its_projection_is_told(tmp_path):
    root = clip_folder(tmp_path / "clip")
    tensors = load_file(root / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(WrongInput, match=r"lacks 1 tensors of the encoder, first visual_proj"):
        open_encoder(root, device="cpu")


@pytest.mark.parametrize("kind", ["vit", "dinov2", "siglip"])
def test_other_encoders_of_transformers_give_their_class_token_or_their_pooling(tmp_path, kind):
    transformers = need("transformers")
    root = other_folder(tmp_path / kind, kind)
    how = {
        "vit": preparation("bilinear to 32 x 32", HALF, HALF),
        "dinov2": preparation("bicubic 36, centre crop 32", HALF, HALF),
        "siglip": preparation("bicubic to 32 x 32", HALF, HALF),
    }[kind]
    model = transformers.AutoModel.from_pretrained(root).eval()
    model = getattr(model, "vision_model", model)
    with torch.inference_mode():
        out = model(pixel_values=torch.from_numpy(prepare(TILES, how)))
    given = out.pooler_output if kind == "siglip" else out.last_hidden_state[:, 0]

    encoder = open_encoder(root, device="cpu", threads=1)

    assert encoder.embed(TILES) == pytest.approx(given.numpy(), abs=1e-6)
    assert encoder.card.resize == how.words


def test_timms_features_are_those_of_timm(tmp_path):
    timm = need("timm")
    root = timm_folder(tmp_path / "timm")
    config = json.loads((root / "config.json").read_text())
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **config["model_args"]).eval()
    tensors = load_file(root / "model.safetensors")
    model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("head.")})
    pixels = prepare(TILES, preparation("bicubic 35, centre crop 32", HALF, HALF))
    with torch.inference_mode():
        given = model(torch.from_numpy(pixels)).numpy()

    encoder = open_encoder(root, device="cpu", threads=1)

    assert encoder.embed(TILES) == pytest.approx(given, abs=1e-6)
    assert encoder.card.resize == "bicubic 35, centre crop 32"


def test_the_class_token_beside_the_mean_of_patches_leaves_registers_out(tmp_path):
    timm = need("timm")
    from herscope.embed.timm_encoder import timm_network

    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    arguments |= {"reg_tokens": 4, "mlp_ratio": 4, "act_layer": "silu"}
    model = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        global_pool="",
        mlp_layer=timm.layers.SwiGLUPacked,
        **arguments,
    ).eval()
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    pixels = torch.from_numpy(prepare(TILES, preparation("bicubic 32", HALF, HALF)))
    with torch.inference_mode():
        tokens = model(pixels)
        built = timm_network(
            "vit_tiny_patch16_224",
            arguments | {"mlp_layer": "swiglu-packed"},
            file,
            pooling="class-mean",
        )
        found = built(pixels)

    assert found.shape == (5, 64)
    assert torch.equal(found[:, :32], tokens[:, 0])
    assert torch.allclose(found[:, 32:], tokens[:, 5:].mean(1), atol=1e-6)


@pytest.mark.parametrize("config", [OPEN_CLIP, BIOMED], ids=["own tower", "timm tower"])
def test_open_clips_features_are_what_encode_image_gives(tmp_path, config):
    root, model = open_clip_folder(tmp_path / "oc", config)
    edge = config["model_cfg"]["vision_cfg"]["image_size"]
    how = preparation(f"bicubic {edge}, centre crop {edge}", CLIP_MEAN, CLIP_STD)
    pixels = prepare(TILES, how)
    with torch.inference_mode():
        given = model.encode_image(torch.from_numpy(pixels)).numpy()

    found = open_encoder(root, device="cpu", threads=1).embed(TILES)

    assert found == pytest.approx(given, abs=1e-6)


def test_an_encoder_as_onnx_gives_what_the_network_gave_and_needs_no_library(tmp_path):
    encoder = open_encoder(onnx_folder(tmp_path / "o"), threads=1)
    pixels = prepare(TILES, preparation("bicubic 16, centre crop 16", HALF, HALF))

    assert encoder.embed(TILES) == pytest.approx(pixels.mean((2, 3)) * 2, abs=1e-6)
    assert encoder.card.name == "tiny"


# pixels


def test_pixels_are_those_of_transformers_own_processor():
    transformers = need("transformers")
    maker = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    processor = maker(size={"shortest_edge": 32}, crop_size=SQUARE)
    tiles = RNG.integers(0, 256, (3, 57, 81, 3), np.uint8)
    given = np.stack([np.asarray(processor(Image.fromarray(t))["pixel_values"][0]) for t in tiles])

    found = prepare(tiles, preparation("bicubic 32, centre crop 32", CLIP_MEAN, CLIP_STD))

    assert given.shape == (3, 3, 32, 32)
    assert found == pytest.approx(given, abs=2e-6)


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_pixels_are_those_of_timms_own_transform(mode):
    need("timm")
    from timm.data import create_transform

    from herscope.embed.timm_encoder import read_pixels

    said = {
        "input_size": (3, 32, 32),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": mode,
        "mean": CLIP_MEAN,
        "std": CLIP_STD,
    }
    transform = create_transform(**said)
    tiles = RNG.integers(0, 256, (3, 57, 81, 3), np.uint8)
    given = np.stack([transform(Image.fromarray(t)).numpy() for t in tiles])

    assert prepare(tiles, read_pixels(said, Path("c"))) == pytest.approx(given, abs=2e-6)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_pixels_are_those_of_open_clips_own_transform(mode):
    need("open_clip")
    from open_clip.transform import image_transform

    from herscope.embed.open_clip_encoder import read_pixels

    transform = image_transform(32, is_train=False, mean=CLIP_MEAN, std=CLIP_STD, resize_mode=mode)
    tiles = RNG.integers(0, 256, (3, 57, 81, 3), np.uint8)
    given = np.stack([transform(Image.fromarray(t)).numpy() for t in tiles])

    how = read_pixels({"resize_mode": mode}, {"image_size": 32}, Path("c"))

    assert prepare(tiles, how) == pytest.approx(given, abs=2e-6)


@pytest.mark.parametrize(
    "words", ["bicubic 224", "bilinear 256, centre crop 224", "lanczos to 384 x 384"]
)
def test_the_words_of_a_card_are_read_back_as_they_were_written(words):
    assert preparation(words, HALF, HALF).words == words


@pytest.mark.parametrize("words", ["", "224", "cubic 224", "bicubic 224 x 225", "bicubic 4"])
def test_words_that_say_no_size_are_refused(words):
    with pytest.raises(SchemaError):
        preparation(words, HALF, HALF)


# errors


@pytest.mark.parametrize("name", [n for n in ENCODERS if n != "colour-texture"])
def test_a_known_encoder_without_weights_says_whose_they_are_and_the_licence(name):
    with pytest.raises(WeightsUnavailable) as told:
        open_encoder(name)
    entry = ENCODERS.make(name)
    assert entry.licence in told.value.message
    assert "--weights" in told.value.hint
    assert "huggingface.co/" in told.value.hint


def test_a_name_that_is_none_names_the_nearest():
    with pytest.raises(UnknownModel, match="no encoder is called plipp") as told:
        open_encoder("plipp")
    assert "did you mean plip?" in told.value.hint


def test_an_encoder_with_code_of_its_own_goes_in_as_onnx(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="conch comes with code of its own") as told:
        open_encoder("conch", weights=tmp_path)
    assert "ONNX" in told.value.hint


def test_an_onnx_export_of_another_encoder_is_not_taken_for_a_known_one(tmp_path):
    with pytest.raises(WrongInput, match="3 features of 16 px, conch 512 of 448"):
        open_encoder("conch", weights=onnx_folder(tmp_path / "o"))


def test_a_changed_onnx_file_is_refused(tmp_path):
    root = onnx_folder(tmp_path / "o")
    file = root / "model.onnx"
    file.write_bytes(file.read_bytes() + b"\x00")
    with pytest.raises(ModelError, match="is not the file of its card"):
        open_encoder(root)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"licence": "unknown"}, "which is none"),
        ({"resize": "bicubic 20"}, "gives 20"),
        ({"resize": "somehow"}, "is not understood"),
        ({"std": (0.5, 0.0, 0.5)}, "must be above 0"),
        ({"precision": "int8"}, "int8"),
    ],
)
def test_a_card_that_says_too_little_is_refused_before_anything_is_written(
    tmp_path, changes, fault
):
    with pytest.raises(SchemaError, match=fault):
        write_onnx_encoder(tmp_path / "o", card(**changes), b"")
    assert not (tmp_path / "o").exists()


def test_a_card_with_a_field_too_many_or_one_too_few_is_refused(tmp_path):
    root = onnx_folder(tmp_path / "o")
    said = json.loads((root / "encoder.json").read_text())
    (root / "encoder.json").write_text(json.dumps(said | {"mpp": 0.5}))
    with pytest.raises(SchemaError, match="mpp"):
        open_encoder(root)
    del said["features"]
    (root / "encoder.json").write_text(json.dumps(said))
    with pytest.raises(SchemaError, match="features"):
        open_encoder(root)


def test_a_card_with_another_number_of_features_than_the_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"gives \(2, 3\) for 2 tiles, its card says \(2, 4\)"):
        open_encoder(onnx_folder(tmp_path / "o", features=4))


def test_onnx_runs_on_the_cpu_in_float32_only(tmp_path):
    root = onnx_folder(tmp_path / "o")
    with pytest.raises(InputError, match="runs on the CPU"):
        open_encoder(root, device="cuda")
    with pytest.raises(InputError, match="float32"):
        open_encoder(root, precision="bf16")


def test_a_missing_tensor_and_one_without_a_place_are_refused(tmp_path):
    root = timm_folder(tmp_path / "t")
    file = root / "model.safetensors"
    whole = load_file(file)
    save_file({k: v for k, v in whole.items() if k != "blocks.1.ls1.gamma"}, file)
    with pytest.raises(WrongInput, match=r"lacks 1 of .* first blocks.1.ls1.gamma"):
        open_encoder(root, device="cpu")
    save_file(whole, file)
    config = json.loads((root / "config.json").read_text())
    del config["model_args"]["init_values"]
    (root / "config.json").write_text(json.dumps(config))
    with pytest.raises(WrongInput, match=r"no place for, first blocks.0.ls1.gamma"):
        open_encoder(root, device="cpu")


def test_a_tensor_of_another_shape_is_refused(tmp_path):
    root = timm_folder(tmp_path / "t")
    whole = load_file(root / "model.safetensors")
    whole["norm.weight"] = torch.ones(16)
    save_file(whole, root / "model.safetensors")
    with pytest.raises(WrongInput, match=r"norm.weight is \(16,\)"):
        open_encoder(root, device="cpu")


def test_a_timm_folder_may_not_name_a_source_or_set_anything(tmp_path):
    with pytest.raises(InputError, match="knows no architecture"):
        open_encoder(timm_folder(tmp_path / "a", architecture="hf-hub:timm/vit"), device="cpu")
    with pytest.raises(SchemaError, match="sets checkpoint_path"):
        open_encoder(timm_folder(tmp_path / "b", model_args={"checkpoint_path": "x"}), device="cpu")


def test_an_open_clip_folder_may_not_ask_for_a_download(tmp_path):
    config = json.loads(json.dumps(BIOMED))
    config["model_cfg"]["vision_cfg"]["timm_model_pretrained"] = True
    need("open_clip")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(SchemaError, match="asks for weights from elsewhere"):
        open_encoder(tmp_path, device="cpu")


def test_a_folder_that_does_not_say_how_pixels_are_prepared_is_refused(tmp_path):
    root = clip_folder(tmp_path / "clip")
    (root / "preprocessor_config.json").unlink()
    with pytest.raises(SchemaError, match="does not say how its pixels are prepared"):
        open_encoder(root, device="cpu")


def test_a_card_beside_weights_names_the_encoder_and_vouches_for_the_file(tmp_path):
    root = clip_folder(tmp_path / "clip")
    (root / "preprocessor_config.json").unlink()
    sha256 = hashlib.sha256((root / "model.safetensors").read_bytes()).hexdigest()
    said = card(name="ours", features=16, input_px=32, resize="bicubic 32", weights_sha256=sha256)
    (root / "encoder.json").write_text(said.model_dump_json())

    assert open_encoder(root, device="cpu").card.name == "ours"

    wrong = said.model_copy(update={"weights_sha256": "0" * 64})
    (root / "encoder.json").write_text(wrong.model_dump_json())
    with pytest.raises(ModelError, match="is not the file of its card"):
        open_encoder(root, device="cpu")


@pytest.mark.parametrize("name", ["model.pt2", "model.torchscript", "model.pkl"])
def test_programs_are_refused_by_their_ending(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="holds a program"):
        open_encoder(tmp_path / name)


def test_a_program_in_the_place_of_weights_is_refused_by_its_content(tmp_path):
    root = timm_folder(tmp_path / "t")
    (root / "model.safetensors").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Averages()), root / "pytorch_model.bin")
        with pytest.raises(ModelError, match="cannot be read as plain weights"):
            open_encoder(root, device="cpu")


def test_folders_without_a_known_configuration_are_told(tmp_path):
    with pytest.raises(SchemaError, match="is no folder of an encoder"):
        open_encoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SchemaError, match="names no architecture"):
        open_encoder(tmp_path)
    with pytest.raises(WeightsUnavailable, match="there is no encoder folder"):
        open_encoder(tmp_path / "none")


def test_weights_that_never_were_trained_are_refused(tmp_path):
    class Nothing(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3)) * 0

    write_onnx_encoder(tmp_path / "o", card(), onnx_bytes(Nothing(), 16))
    with pytest.raises(ModelError, match="the same features for an empty and a full tile"):
        open_encoder(tmp_path / "o")
    assert open_encoder(tmp_path / "o", checked=False).card.features == 3


# precision, devices, cards


def test_bf16_is_near_float32_and_stands_on_the_card(tmp_path):
    root = clip_folder(tmp_path / "clip")
    exact = open_encoder(root, device="cpu", threads=1)
    rough = open_encoder(root, device="cpu", threads=1, precision="bf16")

    a, b = exact.embed(TILES), rough.embed(TILES)

    assert b.dtype == np.float32
    assert not np.array_equal(a, b)
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()
    assert rough.card.precision == "bf16"
    assert rough.card.fingerprint() != exact.card.fingerprint()


def test_a_precision_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no precision of encoders is called half"):
        open_encoder(clip_folder(tmp_path / "clip"), device="cpu", precision="half")


def test_the_built_in_encoder_takes_no_weights_no_gpu_and_no_bf16(tmp_path):
    for options in ({"weights": tmp_path}, {"device": "cuda"}, {"precision": "bf16"}):
        with pytest.raises(InputError, match="colour-texture"):
            open_encoder("colour-texture", **options)


def test_other_weights_give_another_fingerprint(tmp_path):
    first = open_encoder(clip_folder(tmp_path / "a"), device="cpu")
    torch.manual_seed(1)
    second = open_encoder(clip_folder(tmp_path / "b"), device="cpu")

    assert first.card.name == second.card.name == "transformers:clip"
    assert first.card.fingerprint() != second.card.fingerprint()


def test_the_list_of_encoders_says_what_each_needs():
    cards = {each["name"]: each for each in encoder_cards()}

    for name in ("plip", "clip-vit-b-32", "biomedclip", "musk", "conch", "uni", "virchow"):
        assert cards[name]["needs_weights"]
        assert cards[name]["licence"]
        assert cards[name]["mpp"] > 0
    assert not cards["colour-texture"]["needs_weights"]
    assert cards["uni"]["gated"]
    assert json.dumps(list(cards.values()))


@pytest.mark.parametrize("name", [n for n in ENCODERS if ENCODERS.make(n).reading == "timm"])
def test_timm_can_build_every_network_named_here(name):
    timm = need("timm")
    entry = ENCODERS.make(name)
    arguments = dict(entry.arguments)
    if arguments.get("mlp_layer") == "swiglu-packed":
        arguments["mlp_layer"] = timm.layers.SwiGLUPacked
    with torch.device("meta"):
        model = timm.create_model(entry.architecture, num_classes=0, **arguments)
        width = model.num_features * (2 if entry.pooling == "class-mean" else 1)

    assert width == entry.features
    if hasattr(model, "patch_embed"):  # a convolutional network has none
        assert model.patch_embed.img_size == (224, 224)
