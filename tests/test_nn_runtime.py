"""The engines agree with arithmetic done by hand, with torch, and with themselves."""

import builtins
import contextlib
import dataclasses
import itertools
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from herscope.core.errors import DependencyMissing, InputError, ModelError, WrongInput
from herscope.core.registry import COMPARTMENT_CLASSES, ModelCard
from herscope.nn.model_file import ModelFile, read_model, write_model
from herscope.nn.runtime import TOLERANCE, TOLERANCE_BF16, Runner
from herscope.nn.windows import NOT_PREDICTED, predict_map, window_starts, window_weights

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra learn")
torch = pytest.importorskip("torch", reason="torch comes with the extra learn")

WEIGHTS = np.linspace(-1, 1, 4 * 3 * 9, dtype=np.float32).reshape(4, 3, 3, 3)


def engines():
    try:
        import openvino  # noqa: F401 - only whether it is there
    except ImportError:
        return ["onnx"]
    return ["onnx", "openvino"]


@pytest.fixture(params=["onnx", "openvino"])
def engine(request):
    if request.param not in engines():
        pytest.skip("openvino is not installed (extra fast)")
    return request.param


def card(**changes):
    values = {
        "name": "net",
        "task": "compartments",
        "summary": "A net.",
        "input_mpp_finest": 1.0,
        "input_mpp_coarsest": 2.0,
        "normalisation": "red, green and blue divided by 255",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "phantoms",
        "inputs": "rgb",
        "classes": list(COMPARTMENT_CLASSES),
    }
    return ModelCard.model_validate(values | changes)


def graph_bytes(nodes, held, channels=3, classes=4, *, kind=1):
    helper = onnx.helper
    free = ["batch", None, "height", "width"]
    takes = helper.make_tensor_value_info("pixels", kind, [free[0], channels, *free[2:]])
    gives = helper.make_tensor_value_info("logits", kind, [free[0], classes, *free[2:]])
    graph = helper.make_graph(nodes, "g", [takes], [gives], held)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def convolution():
    held = [onnx.numpy_helper.from_array(WEIGHTS, "w")]
    node = onnx.helper.make_node("Conv", ["pixels", "w"], ["logits"], pads=[1, 1, 1, 1])
    return graph_bytes([node], held)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "net", card(), convolution())


def loaded(data, **changes):
    return ModelFile(Path("net"), card(**changes), data)


def pixels(*shape, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).random(shape, dtype=np.float32)


def by_hand(batch):
    padded = np.pad(batch.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("bchwij,kcij->bkhw", seen, WEIGHTS.astype(np.float64))


def test_the_engine_computes_what_the_network_says(model, engine):
    batch = pixels(2, 3, 33, 47)

    found = Runner(model, engine).run(batch)

    assert found.dtype == np.float32
    expected = by_hand(batch)
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_threads_and_batches_do_not_change_a_bit(model, engine):
    batch = pixels(4, 3, 64, 96)

    whole = Runner(model, engine, threads=1).run(batch)

    for threads in (2, 3, None):
        assert np.array_equal(Runner(model, engine, threads=threads).run(batch), whole)
    runner = Runner(model, engine, threads=2)
    assert np.array_equal(np.concatenate([runner.run(batch[i : i + 1]) for i in range(4)]), whole)
    assert np.array_equal(runner.run(batch[::-1].copy())[::-1], whole)


def test_a_runner_can_be_shared_by_threads(model, engine):
    runner = Runner(model, engine, threads=1)
    batches = [pixels(1, 3, 40, 40, seed=seed) for seed in range(8)]
    alone = [runner.run(batch) for batch in batches]
    found = {}

    def work(i):
        found[i] = runner.run(batches[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(np.array_equal(found[i], alone[i]) for i in range(8))


def test_bf16_is_coarser_and_only_on_request(model):
    if "openvino" not in engines():
        pytest.skip("openvino is not installed (extra fast)")
    batch = pixels(1, 3, 64, 64)
    exact = Runner(model, "openvino").run(batch)
    try:
        coarse = Runner(model, "openvino", precision="bf16").run(batch)
    except InputError as error:
        pytest.skip(str(error))

    difference = np.abs(coarse - exact).max() / np.abs(exact).max()
    assert TOLERANCE < difference < TOLERANCE_BF16


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (np.zeros((1, 4, 8, 8), np.float32), r"takes 3 channel\(s\) \(rgb\), got 4"),
        (np.zeros((1, 3, 8, 8), np.float64), "takes float32, got float64"),
        (np.zeros((3, 8, 8), np.float32), "takes .batch, channels, height, width., got"),
        (np.zeros((0, 3, 8, 8), np.float32), "at least one picture"),
        (np.full((1, 3, 8, 8), np.nan, np.float32), "finite values"),
        ([[1.0]], "takes float32, got list"),
    ],
)
def test_an_input_of_another_kind_is_refused(model, batch, said):
    runner = Runner(model, threads=1)

    with pytest.raises(WrongInput, match=said) as caught:
        runner.run(batch)

    assert caught.value.hint


def test_a_card_with_a_size_accepts_that_size_only(engine):
    runner = Runner(loaded(convolution(), input_size_px=32), engine, threads=1)

    assert runner.run(pixels(1, 3, 32, 32)).shape == (1, 4, 32, 32)
    with pytest.raises(WrongInput, match="takes 32 x 32 px, got 64 x 32"):
        runner.run(pixels(1, 3, 32, 64))


@pytest.mark.parametrize("data", [b"", b"garbage" * 20, convolution()[:100]])
def test_a_corrupt_network_is_an_error_in_one_line(data, engine):
    with pytest.raises(ModelError, match="cannot read the network of net") as caught:
        Runner(loaded(data), engine)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "changes", "said"),
    [
        (convolution(), {"inputs": "hematoxylin"}, r"3 input channel\(s\); hematoxylin has 1"),
        (
            convolution(),
            {"task": "nuclei", "classes": ["nucleus"]},
            "4 output channels; the card has 1 classes",
        ),
        (
            graph_bytes(
                [onnx.helper.make_node("Identity", ["pixels"], ["logits"])], [], 3, 3, kind=11
            ),
            {"classes": None},
            "not float32",
        ),
    ],
)
def test_a_network_that_contradicts_its_card_is_refused(data, changes, said, engine):
    with pytest.raises(ModelError, match=said):
        Runner(loaded(data, **changes), engine)


def test_operators_of_nobody_knows_where_are_refused(engine):
    node = onnx.helper.make_node("RunShell", ["pixels"], ["logits"], domain="evil")

    with pytest.raises(ModelError, match="cannot read the network"):
        Runner(loaded(graph_bytes([node], [])), engine)


def test_values_that_are_not_finite_are_an_error(engine):
    node = onnx.helper.make_node("Log", ["pixels"], ["logits"])
    runner = Runner(loaded(graph_bytes([node], [], 3, 3), classes=None), engine, threads=1)

    with pytest.raises(ModelError, match="not finite"):
        runner.run(-pixels(1, 3, 8, 8))


def test_a_failure_inside_the_engine_is_told(engine):
    shape = onnx.numpy_helper.from_array(np.array([1, 4, 8, 6], np.int64), "s")
    node = onnx.helper.make_node("Reshape", ["pixels", "s"], ["logits"])
    broken = loaded(graph_bytes([node], [shape]))

    with pytest.raises(ModelError, match=r"failed on input \(1, 3, \d+, \d+\) with onnx"):
        Runner(broken, engine, threads=1).run(pixels(1, 3, 9, 9))


def test_an_engine_that_computes_something_else_is_refused(model, monkeypatch):
    from herscope.nn import runtime

    if "openvino" not in engines():
        pytest.skip("openvino is not installed (extra fast)")
    exact = runtime._load_openvino(model, 1, "float32")
    off = dataclasses.replace(exact, run=lambda batch: exact.run(batch) * np.float32(1.001))
    monkeypatch.setattr(runtime, "_load_openvino", lambda *_: off)

    with pytest.raises(ModelError, match="gives other numbers with openvino"):
        Runner(model, "openvino", threads=1)


@pytest.mark.parametrize(
    ("package", "engine_name", "hint"),
    [
        ("openvino", "openvino", "pip install 'herscope[fast]', or take engine onnx"),
        ("onnxruntime", "onnx", "pip install --force-reinstall onnxruntime"),
    ],
)
def test_an_absent_engine_says_how_to_get_it(model, monkeypatch, package, engine_name, hint):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(DependencyMissing, match=f"package {package} is not installed") as caught:
        Runner(model, engine_name)

    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "tensorflow"}, "no engine is called tensorflow"),
        ({"precision": "int3"}, "no precision is called int3"),
        ({"precision": "bf16"}, "bf16 needs the engine openvino"),
        ({"threads": 0}, "0 threads cannot compute"),
    ],
)
def test_absurd_settings_are_refused(model, settings, said):
    with pytest.raises(InputError, match=said):
        Runner(model, **settings)


def test_the_provenance_names_engine_version_and_checksum(model):
    told = Runner(model, threads=1).describe()

    assert told["sha256"] == model.card.sha256
    assert told["engine"] == "onnx"
    assert told["engine_version"]
    assert told["precision"] == "float32"


# Windows


class Asked:
    """Reads from a picture and keeps what it was asked for."""

    def __init__(self, picture):
        self.picture, self.asked = picture, []

    def __call__(self, y, x, height, width):
        self.asked.append((y, x, height, width))
        assert y >= 0 <= x
        assert y + height <= self.picture.shape[1]
        assert x + width <= self.picture.shape[2]
        return self.picture[:, y : y + height, x : x + width]


class Blind:
    """Sees its windows' rims as class 1 and their middle as class 0."""

    def __init__(self, rim):
        self.rim = rim

    def run(self, batch):
        logits = np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)
        logits[:, 1] = 9
        inside = (slice(None), 1, slice(self.rim, -self.rim), slice(self.rim, -self.rim))
        logits[inside] = -9
        return logits


@pytest.mark.parametrize("shape", [(200, 300), (96, 96), (97, 161), (64, 400)])
def test_windows_give_the_map_of_the_whole_picture(model, shape):
    picture = pixels(3, *shape, seed=3) - 0.5
    runner = Runner(model, threads=1)
    whole = runner.run(picture[None])[0].argmax(axis=0)

    found = predict_map(Asked(picture), shape, runner, size_px=96, overlap_px=32)

    inside = (slice(1, -1), slice(1, -1))  # at the picture's edge one mirrors, the other pads
    assert found.dtype == np.uint8
    assert (found[inside] != whole[inside]).mean() < 1e-3


def test_the_rim_of_a_window_counts_nothing_inside_the_picture():
    rim = 8
    found = predict_map(
        Asked(np.zeros((1, 300, 400), np.float32)),
        (300, 400),
        Blind(rim),
        size_px=96,
        overlap_px=32,
    )

    assert not found[rim : 288 - rim, rim:-20].any()
    assert found[:rim].all()


def test_batches_and_threads_do_not_change_the_map(model):
    picture = pixels(3, 200, 333, seed=5) - 0.5
    sizes = {"size_px": 64, "overlap_px": 32}

    first = predict_map(Asked(picture), (200, 333), Runner(model, threads=1), **sizes)

    for batch in (2, 5, 100):
        again = predict_map(
            Asked(picture), (200, 333), Runner(model, threads=2), batch=batch, **sizes
        )
        assert np.array_equal(again, first)


def test_what_nobody_wants_is_neither_read_nor_predicted_and_changes_nothing(model):
    picture = pixels(3, 320, 320, seed=6) - 0.5
    wanted = np.zeros((320, 320), bool)
    wanted[40:90, 150:260] = True
    runner = Runner(model, threads=1)
    sizes = {"size_px": 64, "overlap_px": 32}
    everything = predict_map(Asked(picture), (320, 320), runner, **sizes)

    read = Asked(picture)
    found = predict_map(read, (320, 320), runner, wanted=wanted, **sizes)

    assert np.array_equal(found[wanted], everything[wanted])
    assert (found[~wanted] == NOT_PREDICTED).all()
    assert 0 < len(read.asked) < 25
    nothing = predict_map(read, (320, 320), runner, wanted=np.zeros_like(wanted), **sizes)
    assert (nothing == NOT_PREDICTED).all()


def test_every_pixel_lies_in_a_window_that_counts_it():
    for extent in (1, 31, 64, 65, 96, 97, 500, 1023, 1024, 4096):
        for size, overlap in ((64, 0), (64, 32), (96, 32), (512, 128), (512, 256)):
            starts = window_starts(extent, size, overlap)
            total = np.zeros(starts[-1] + size, np.int64)
            cover = np.zeros_like(total)
            for start in starts:
                weights = window_weights(start, starts[-1], size, overlap)
                total[start : start + size] += weights
                cover[start : start + size] += 1
            assert len(total) >= extent
            assert total.min() >= 32
            assert cover.max() <= 4
            assert all(start % 32 == 0 for start in starts)
            assert all(b - a <= size - overlap for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size_px": 100}, "window size 100 px is no multiple of 32"),
        ({"overlap_px": 33}, "overlap 33 px"),
        ({"size_px": 64, "overlap_px": 64}, "between 0 and 32"),
        ({"shape": (0, 5)}, "5 x 0 px has nothing"),
        ({"batch": 0}, "batch of 0"),
        ({"wanted": np.ones((2, 2), bool)}, "mask bool"),
    ],
)
def test_absurd_windows_are_refused(changes, said):
    settings = {"shape": (64, 64), "size_px": 64, "overlap_px": 32} | changes
    shape = settings.pop("shape")

    with pytest.raises(InputError, match=said):
        predict_map(Asked(np.zeros((1, 64, 64), np.float32)), shape, Blind(4), **settings)


def test_a_reader_that_fails_or_gives_another_size_is_told():
    def short(_y, _x, _height, _width):
        return np.zeros((1, 5, 5), np.float32)

    def broken(*_where):
        raise OSError("the slide is gone")

    with pytest.raises(WrongInput, match=r"asked for \(channels, 64, 64\)"):
        predict_map(short, (64, 64), Blind(4), size_px=64, overlap_px=32)
    with pytest.raises(OSError, match="the slide is gone"):
        predict_map(broken, (64, 64), Blind(4), size_px=64, overlap_px=32)


def test_a_network_of_whole_tiles_cannot_draw_a_map():
    class OneNumber:
        def run(self, batch):
            return np.zeros((len(batch), 4), np.float32)

    with pytest.raises(ModelError, match="a map of the same size is needed"):
        predict_map(
            Asked(np.zeros((1, 64, 64), np.float32)),
            (64, 64),
            OneNumber(),
            size_px=64,
            overlap_px=0,
        )


# From torch and back


class Tiny(torch.nn.Module):
    """Down, up, and a skip: what every network here does, in 600 numbers."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.down = torch.nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = torch.nn.Conv2d(16, classes, 1)

    def forward(self, batch):
        fine = torch.relu(self.norm(self.first(batch)))
        coarse = torch.relu(self.down(fine))
        up = torch.nn.functional.interpolate(
            coarse, size=batch.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.head(torch.cat([fine, up], 1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from herscope.nn.compute import limit_threads, seed_everything
    from herscope.nn.export import export

    seed_everything(3)
    module = Tiny()
    with torch.no_grad():  # statistics a batch norm has after training
        module.norm.running_mean.uniform_(-0.2, 0.2)
        module.norm.running_var.uniform_(0.5, 2)
    module.train()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    with limit_threads(1):
        made = export(module, 3, folder, card(name="tiny", network="tiny"))
    assert module.training  # the caller's network is left as it was
    return module, made


def test_an_exported_network_is_a_model_that_is_read_and_equals_torch(exported, engine):
    module, made = exported
    model = read_model(made.folder, task="compartments", mpp=1)
    runner = Runner(model, engine, threads=2)
    still = module.eval()

    for shape in ((1, 3, 32, 32), (5, 3, 64, 40), (2, 3, 51, 77)):
        batch = pixels(*shape)
        with torch.inference_mode():
            expected = still(torch.from_numpy(batch)).numpy()
        found = runner.run(batch)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_an_exported_network_says_nothing_of_where_it_was_made(exported):
    _, made = exported

    for trace in (b".py", b"site-packages", str(Path.home()).encode(), b"stack_trace"):
        assert trace not in made.onnx
    sides = onnx.load_from_string(made.onnx).graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 3, "height", "width"]


def test_the_same_network_gives_the_same_bytes(exported):
    from herscope.nn.export import onnx_bytes

    module, made = exported

    assert onnx_bytes(module.eval(), 3) == made.onnx


def test_weights_come_back_into_torch_and_only_into_the_same_architecture(exported):
    from herscope.nn.export import load_weights

    module, made = exported
    fresh = Tiny()

    load_weights(fresh, read_model(made.folder))

    for name, value in module.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    with pytest.raises(ModelError, match="do not fit this network") as caught:
        load_weights(Tiny(classes=2), made)
    assert "the architecture is tiny" in caught.value.hint


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    from herscope.nn.export import load_weights

    made = write_model(tmp_path / "net", card(), convolution(), weights=b"\x80\x04pickle.")

    with pytest.raises(ModelError, match="do not fit this network"):
        load_weights(Tiny(), made)


def test_a_card_with_other_channels_is_not_exported(tmp_path):
    from herscope.nn.export import export

    with pytest.raises(WrongInput, match=r"takes 3 channel\(s\), its card says hematoxylin"):
        export(Tiny(), 3, tmp_path / "net", card(inputs="hematoxylin"))

    assert not (tmp_path / "net").exists()


def test_a_copy_that_computes_something_else_is_not_written(exported, tmp_path, monkeypatch):
    from herscope.nn import export as exporting

    _, made = exported
    monkeypatch.setattr(exporting, "onnx_bytes", lambda *_args, **_settings: made.onnx)
    torch.manual_seed(9)

    with pytest.raises(ModelError, match="differs from the network by"):
        exporting.export(Tiny(), 3, tmp_path / "net", card())

    assert not (tmp_path / "net").exists()


def test_a_network_that_branches_on_values_is_told(tmp_path):
    from herscope.nn.export import export

    class Branches(torch.nn.Module):
        def forward(self, batch):
            return batch if batch.sum() > 0 else -batch

    with pytest.raises(ModelError, match="Branches cannot be written as ONNX"):
        export(Branches(), 3, tmp_path / "net", card(classes=None, task="nuclei"))


# Device, threads, seed


def test_a_seed_repeats_and_another_does_not():
    from herscope.nn.compute import seed_everything

    draws = []
    for seed in (5, 5, 6):
        seed_everything(seed)
        draws.append(torch.rand(4))

    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(InputError, match="seed -1 is out of range"):
        seed_everything(-1)


def test_a_device_is_the_one_asked_for_or_an_error(monkeypatch):
    from herscope.nn.compute import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)

    assert choose_device("auto").type == "cpu"
    for absent in ("cuda", "cuda:0", "mps"):
        with pytest.raises(InputError, match=f"device {absent} was asked for"):
            choose_device(absent)
    for odd in ("gpu", "cuda:x", "cpu:1", ""):
        with pytest.raises(InputError, match="no device is called"):
            choose_device(odd)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto").type == "cuda"
    with pytest.raises(InputError, match="this machine has 1"):
        choose_device("cuda:1")


def test_threads_are_as_before_after_the_block():
    from herscope.nn.compute import limit_threads

    before = torch.get_num_threads()

    with contextlib.suppress(ZeroDivisionError), limit_threads(before + 1) as used:
        assert torch.get_num_threads() == used == before + 1
        _ = 1 / 0

    assert torch.get_num_threads() == before
    with pytest.raises(InputError, match="0 threads"), limit_threads(0):
        pass
