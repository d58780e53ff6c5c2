"""Model folders: what is written is read again, and whatever does not hold together is refused."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from herscope.cli import main
from herscope.core.errors import (
    ModelError,
    OutputError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.registry import COMPARTMENT_CLASSES, INPUT_CHANNELS, ModelCard
from herscope.nn import onnx_bytes
from herscope.nn.model_file import (
    read_card,
    read_history,
    read_model,
    read_weights_bytes,
    write_model,
)
from herscope.nn.onnx_bytes import NotOnnx, has_outside_values

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra learn")
SOURCE = Path(__file__).parents[1] / "src"


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


def network(outside=None, where="initializer"):
    """Build a 1 x 1 convolution of 3 channels to 4, its values in another file if asked."""
    helper, external = onnx.helper, onnx.TensorProto.EXTERNAL
    weights = helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 3, 1, 1], [0.5] * 12)
    if outside:
        weights.ClearField("float_data")
        weights.data_location = external
        entry = weights.external_data.add()
        entry.key, entry.value = "location", outside
    nodes = [helper.make_node("Conv", ["pixels", "w"], ["logits"])]
    held = [weights]
    if where == "attribute":
        held = []
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weights))
    side = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, side)],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [side[0], 4, *side[2:]])],
        held,
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "net", card(), network(), weights=b"weights").folder


def change_card(folder, **changes):
    file = folder / "card.json"
    document = json.loads(file.read_text("utf-8")) | changes
    kept = {key: value for key, value in document.items() if value != "REMOVE"}
    file.write_text(json.dumps(kept), "utf-8")


def test_what_is_written_is_read_again_with_its_checksums(folder):
    model = read_model(folder, task="compartments", mpp=1.5)

    assert model.onnx == network()
    assert model.card.sha256 == hashlib.sha256(network()).hexdigest()
    assert model.card.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert model.card.classes == ["tumor", "stroma", "background", "other"]
    assert model.channels == 3
    assert read_weights_bytes(model) == b"weights"
    assert read_history(folder) is None


def test_the_card_or_the_network_names_the_folder_as_well(folder):
    assert read_model(folder / "card.json").card == read_model(folder / "model.onnx").card


def test_reading_a_model_imports_no_torch_and_no_engine(folder):
    code = (
        "import sys; from herscope.nn.model_file import read_model; read_model(sys.argv[1]); "
        "import herscope.nn.runtime, herscope.nn.windows; "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'openvino', 'pickle'} & set(sys.modules)))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout

    assert not {"torch", "onnx", "onnxruntime", "openvino"} & set(
        json.loads(said.replace("'", '"'))
    )


def test_a_network_with_one_changed_byte_is_refused(folder):
    data = bytearray(network())
    data[-20] ^= 1
    (folder / "model.onnx").write_bytes(data)

    with pytest.raises(ModelError, match="is not the file of its card: sha256") as caught:
        read_model(folder)

    assert "never used" in caught.value.hint


def test_changed_weights_are_refused(folder):
    (folder / "weights.safetensors").write_bytes(b"other")

    with pytest.raises(ModelError, match=r"weights\.safetensors is not the file of its card"):
        read_weights_bytes(read_model(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licence": "REMOVE"}, "licence is missing"),
        ({"licence": "  "}, "which is none"),
        ({"licence": "Unknown"}, "licence is 'Unknown', which is none"),
        ({"sha256": None}, "sha256 is missing"),
        ({"sha256": "abc"}, "sha256: String should match pattern"),
        ({"inputs": None}, "inputs is missing"),
        ({"inputs": "cmyk"}, "inputs: Input should be"),
        ({"format": "herscope.model/9"}, "format: Input should be 'herscope.model/1'"),
        ({"classes": ["stroma", "tumor", "background", "other"]}, "in this order"),
        ({"classes": None}, "classes are missing"),
        ({"input_mpp_finest": 4.0}, "input_mpp_finest 4 is coarser than input_mpp_coarsest 2"),
        ({"run_me": "print()"}, "run_me is not a field of a card"),
        ({"task": "magic"}, "task: Input should be"),
    ],
)
def test_a_card_that_says_too_little_or_nonsense_is_refused(folder, changes, said):
    change_card(folder, **changes)

    with pytest.raises(SchemaError, match=said) as caught:
        read_model(folder)

    assert "card.json" in str(caught.value)
    assert caught.value.hint


def test_a_card_that_is_no_json_is_refused(folder):
    (folder / "card.json").write_text("{")

    with pytest.raises(SchemaError, match="is not JSON"):
        read_card(folder)


def test_another_task_or_another_resolution_is_refused(folder):
    with pytest.raises(WrongInput, match="predicts compartments, not nuclei"):
        read_model(folder, task="nuclei")
    with pytest.raises(WrongInput, match=r"takes 1 to 2 µm/px, got 0\.5"):
        read_model(folder, mpp=0.5)
    with pytest.raises(WrongInput, match="takes 1 to 2 µm/px, got 3"):
        read_model(folder, task="compartments", mpp=3)


def test_a_missing_part_is_named(folder, tmp_path):
    (folder / "model.onnx").unlink()
    with pytest.raises(WeightsUnavailable, match=r"model\.onnx cannot be read"):
        read_model(folder)
    (folder / "card.json").unlink()
    with pytest.raises(WeightsUnavailable, match=r"card\.json cannot be read") as caught:
        read_model(folder)
    assert "still running" in caught.value.hint
    with pytest.raises(WeightsUnavailable, match="does not exist"):
        read_model(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightsUnavailable, match="is a file, not a model folder"):
        read_model(tmp_path / "file")


@pytest.mark.parametrize("data", [b"", b"garbage" * 9, network()[:60], b"\xff" * 40])
def test_bytes_that_are_no_onnx_are_refused_even_with_the_right_checksum(folder, data):
    (folder / "model.onnx").write_bytes(data)
    change_card(folder, sha256=hashlib.sha256(data).hexdigest())

    with pytest.raises(ModelError, match="is no ONNX model"):
        read_model(folder)


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_a_network_with_values_in_another_file_is_refused(folder, where, tmp_path):
    data = network("values.bin", where)
    (folder / "model.onnx").write_bytes(data)
    change_card(folder, sha256=hashlib.sha256(data).hexdigest())

    with pytest.raises(ModelError, match="takes values from further files"):
        read_model(folder)
    with pytest.raises(ModelError, match="takes values from further files"):
        write_model(tmp_path / "new", card(), data)
    assert not (tmp_path / "new").exists()


def test_values_in_another_file_are_seen_inside_a_branch():
    helper, kind = onnx.helper, onnx.TensorProto
    inner = onnx.load_from_string(network("values.bin")).graph
    inner.ClearField("input")
    choice = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph(
        [choice],
        "g",
        [helper.make_tensor_value_info("c", kind.BOOL, [])],
        [helper.make_tensor_value_info("y", kind.FLOAT, None)],
    )

    assert has_outside_values(helper.make_model(graph).SerializeToString())
    assert not has_outside_values(network())


def test_the_field_numbers_are_those_of_onnx():
    kinds = {
        "Model": onnx.ModelProto, "Training": onnx.TrainingInfoProto,
        "Function": onnx.FunctionProto, "Graph": onnx.GraphProto, "Node": onnx.NodeProto,
        "Attribute": onnx.AttributeProto, "Sparse": onnx.SparseTensorProto,
        "Tensor": onnx.TensorProto,
    }  # fmt: skip
    short = {kind.DESCRIPTOR.name: name for name, kind in kinds.items()}
    for name, kind in kinds.items():
        ways = {
            field.number: short[field.message_type.name]
            for field in kind.DESCRIPTOR.fields
            if field.message_type is not None and field.message_type.name in short
        }
        assert onnx_bytes._NESTED[name] == ways, name
    tensor = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert tensor["external_data"].number == onnx_bytes._TENSOR_EXTERNAL_DATA
    assert tensor["data_location"].number == onnx_bytes._TENSOR_DATA_LOCATION


def test_every_cut_of_a_network_gets_a_verdict():
    whole = network()
    told = set()
    for end in range(len(whole)):
        # A cut may fall between two fields; that is a shorter message, told by the checksum alone.
        with contextlib.suppress(NotOnnx):
            told.add(has_outside_values(whole[:end]))

    assert told <= {False}


def test_a_card_never_stands_beside_the_network_of_another(folder, monkeypatch):
    def full(_path, _data):
        raise OutputError("the disk is full")

    monkeypatch.setattr("herscope.nn.model_file.write_bytes", full)

    with pytest.raises(OutputError, match="the disk is full"):
        write_model(folder, card(name="second"), network())

    assert not (folder / "card.json").exists()


def test_writing_again_replaces_the_model_and_leaves_other_files(folder):
    (folder / "history.json").write_text("[1, 2]")

    write_model(folder, card(name="second"), network())

    assert read_model(folder).card.name == "second"
    assert read_history(folder) == [1, 2]
    assert not (folder / "weights.safetensors").exists()
    with pytest.raises(WeightsUnavailable, match="came without trainable weights"):
        read_weights_bytes(read_model(folder))


def test_an_incomplete_card_is_not_written(tmp_path):
    with pytest.raises(SchemaError, match="licence"):
        write_model(tmp_path / "net", card(licence="none"), network())

    assert not (tmp_path / "net").exists()


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "net").write_text("mine")

    with pytest.raises(OutputError, match="a file is in the way"):
        write_model(tmp_path / "net", card(), network())

    assert (tmp_path / "net").read_text() == "mine"


def test_the_channels_of_the_card_are_those_the_input_is_made_with():
    from herscope.nn.inputs import network_input

    pixels, white = np.zeros((2, 3, 3), np.uint8), (255.0, 255.0, 255.0)
    for name, channels in INPUT_CHANNELS.items():
        target = np.ones((2, 3), bool) if name == "dab-target" else None
        assert len(network_input(pixels, name, white, target=target)) == channels


def test_models_shows_and_verifies_a_folder(folder, capsys):
    assert main(["models", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["models", str(folder)]) == 0
    said = capsys.readouterr().out

    assert document["sha256"] == hashlib.sha256(network()).hexdigest()
    assert document["verified"] is True
    assert "licence: Apache-2.0" in said
    assert "verified" in said


def test_models_refuses_a_changed_folder(folder, capsys):
    (folder / "model.onnx").write_bytes(network() + b"\x00")

    assert main(["models", str(folder)]) == 1

    assert "is not the file of its card" in capsys.readouterr().err


def test_a_folder_cannot_take_the_name_of_a_built_in_model(folder, capsys, monkeypatch):
    folder.rename(folder.parent / "classical")
    monkeypatch.chdir(folder.parent)

    assert main(["models", "classical", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "nuclei"
    assert main(["models", "./classical", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "compartments"
