"""The 8-bit copy of a network: near its network, checked, bound to it, refused when it is not."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the learn extra is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the skip

from herscope.core.errors import (  # noqa: E402
    InputError,
    ModelError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.registry import ModelCard  # noqa: E402
from herscope.nn.int8_file import INT8_FILE, MADE_FROM, read_int8, write_int8  # noqa: E402
from herscope.nn.model_file import read_model, write_model  # noqa: E402
from herscope.nn.onnx_bytes import NotOnnx, metadata  # noqa: E402
from herscope.nn.quantise import AGREEMENT_LIMIT, differences, quantise  # noqa: E402
from herscope.nn.runtime import Runner  # noqa: E402

COMPARTMENTS = ["tumor", "stroma", "background", "other"]


def network(outputs=4, *, seed=0, outlier=1.0):
    """Six convolutions with ReLU between them; ``outlier`` stretches one channel's range inside."""
    rng = np.random.Generator(np.random.PCG64(seed))
    widths = [3, 8, 8, 8, 8, 8, outputs]
    nodes, values, last = [], [], "pixels"
    for k, (take, give) in enumerate(pairwise(widths)):
        weight = rng.normal(0, (2 / (9 * take)) ** 0.5, (give, take, 3, 3)).astype(np.float32)
        if k == 2:
            weight[0] *= outlier
        if k == 3:
            weight[:, 0] /= outlier
        values.append(numpy_helper.from_array(weight, f"w{k}"))
        out = "logits" if k == 5 else f"c{k}"
        nodes.append(
            helper.make_node("Conv", [last, f"w{k}"], [out], name=f"conv{k}", pads=[1, 1, 1, 1])
        )
        if k < 5:
            nodes.append(helper.make_node("Relu", [out], [f"r{k}"], name=f"relu{k}"))
            last = f"r{k}"
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", outputs, "h", "w"])],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def write(folder, data=None, **card):
    stated = {
        "name": "toy",
        "task": "compartments",
        "summary": "s",
        "input_mpp_finest": 0.5,
        "input_mpp_coarsest": 1.0,
        "normalisation": "n",
        "licence": "Apache-2.0",
        "source": "s",
        "training_data": "none",
        "inputs": "rgb",
        "classes": COMPARTMENTS,
    } | card
    return write_model(folder, ModelCard(**stated), data or network())


def pictures(count=8, size=48, seed=1):
    """Smooth pictures, as tissue is."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.random((count, 3, size // 8, size // 8), dtype=np.float32)
    return list(coarse.repeat(8, axis=2).repeat(8, axis=3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model = write(tmp_path_factory.mktemp("models") / "toy")
    found = quantise(model, pictures())
    return write_int8(model, found.onnx, found.figures), found


def copy_of(made, folder):
    """Return an own copy of the model on disk, to be damaged."""
    model, found = made
    fresh = write(folder)
    return write_int8(fresh, found.onnx, found.figures), model


def test_the_copy_calls_nearly_every_pixel_as_its_network_does(made):
    model, found = made
    batch = np.stack(pictures(seed=9))

    float32, int8 = (Runner(model, precision=each).run(batch) for each in ("float32", "int8"))

    same = float((float32.argmax(1) == int8.argmax(1)).mean())
    assert same > AGREEMENT_LIMIT
    assert found.figures["int8_agreement"] > AGREEMENT_LIMIT
    assert not np.array_equal(float32, int8)


def test_the_copy_is_really_in_8_bits_but_for_its_ends(made):
    graph = onnx.load_from_string(made[1].onnx).graph

    producers = {out: node for node in graph.node for out in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantised = [
        node.name
        for node in convolutions
        if all(
            each in producers and producers[each].op_type == "DequantizeLinear"
            for each in node.input[:2]
        )
    ]
    assert [node.name for node in convolutions] == [f"conv{k}" for k in range(6)]
    assert quantised == ["conv2", "conv3"]


def test_the_card_names_the_copy_and_how_near_it_is(made):
    model, found = made

    card = read_model(model.folder).card

    data = (model.folder / INT8_FILE).read_bytes()
    assert card.int8_sha256 == hashlib.sha256(data).hexdigest()
    assert {name: card.metrics[name] for name in found.figures} == found.figures
    assert set(found.figures) == {"int8_agreement", "int8_dice"}


def test_the_same_network_and_samples_give_the_same_bytes(made):
    assert quantise(made[0], pictures()).onnx == made[1].onnx


def test_threads_and_batches_do_not_change_the_copy(made):
    model, batch = made[0], np.stack(pictures(3))

    one, two = (Runner(model, threads=n, precision="int8") for n in (1, 2))

    together = one.run(batch)
    np.testing.assert_array_equal(together, two.run(batch))
    np.testing.assert_array_equal(together[1:2], one.run(batch[1:2]))


def test_openvino_computes_the_copy_as_onnx_runtime_does(made):
    pytest.importorskip("openvino", reason="the fast extra is not installed")
    batch = np.stack(pictures(2))

    first, second = (Runner(made[0], each, 1, "int8") for each in ("onnx", "openvino"))

    expected = first.run(batch)
    assert np.abs(second.run(batch) - expected).max() < 0.1 * np.abs(expected).max()


def test_provenance_names_the_copy_not_the_network(made):
    model = made[0]

    told = Runner(model, precision="int8").describe()

    assert (told["precision"], told["sha256"]) == ("int8", model.card.int8_sha256)
    assert Runner(model).describe()["sha256"] == model.card.sha256


def test_figures_count_pixels_of_both_networks(tmp_path):
    # Two networks that give the first and the second class everywhere but in a quarter.
    samples = pictures(2)
    model, other = write(tmp_path / "a"), write(tmp_path / "b", network(seed=5))

    found = differences(model, other, samples)

    a, b = (
        np.stack([Runner(each).run(s[None])[0].argmax(0) for s in samples])
        for each in (model, other)
    )
    dice = [
        2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum())
        for k in range(4)
        if (a == k).mean() >= 0.01
    ]
    assert found["int8_agreement"] == pytest.approx((a == b).mean(), abs=1e-5)
    assert found["int8_dice"] == pytest.approx(np.mean(dice), abs=1e-5)


def test_maps_of_nuclei_are_compared_as_they_are_decoded(tmp_path):
    model = write(tmp_path / "n", network(2), task="nuclei", classes=["nucleus", "distance"])

    found = quantise(model, pictures())

    runners = [Runner(model), Runner(write_int8(model, *found), precision="int8")]
    apart = max(
        float(
            np.abs(np.subtract(*(1 / (1 + np.exp(-r.run(s[None])[0, 1])) for r in runners))).mean()
        )
        for s in pictures()[1::2]
    )
    assert found.figures["int8_map_difference"] == pytest.approx(apart, abs=1e-4)
    assert 0 < found.figures["int8_map_difference"] < 0.02


# --- refused ---------------------------------------------------------------------------------


def test_a_copy_that_calls_too_many_pixels_otherwise_is_refused(tmp_path):
    # One channel a thousand times the others leaves these a fraction of a step.
    model = write(tmp_path / "toy", network(outlier=3000.0))

    with pytest.raises(
        ModelError, match=r"8-bit copy of toy is too far .* 0.8\d+ of the pixels"
    ) as caught:
        quantise(model, pictures())

    assert "float32" in caught.value.hint
    assert not (tmp_path / "toy" / INT8_FILE).exists()


@pytest.mark.parametrize(
    ("samples", "card", "error", "words"),
    [
        (pictures(3), {}, InputError, "3 samples are too few"),
        ([p[:2] for p in pictures(4)], {}, WrongInput, r"sample 0 is float32 \(2, 48, 48\)"),
        ([p.astype(float) for p in pictures(4)], {}, WrongInput, "sample 0 is float64"),
        (pictures(4), {"task": "hscore", "classes": None}, InputError, "not of hscore"),
    ],
)
def test_what_cannot_be_quantised_is_an_error_with_words(tmp_path, samples, card, error, words):
    model = write(tmp_path / "toy", **card)

    with pytest.raises(error, match=words) as caught:
        quantise(model, samples)

    assert caught.value.hint


def test_a_model_without_a_copy_says_so(tmp_path):
    with pytest.raises(WeightsUnavailable, match="toy has no 8-bit copy") as caught:
        Runner(write(tmp_path / "toy"), precision="int8")

    assert "float32" in caught.value.hint


def test_a_copy_that_changed_is_refused(made, tmp_path):
    model, _ = copy_of(made, tmp_path / "toy")
    file = model.folder / INT8_FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    with pytest.raises(ModelError, match="is not the file of its card"):
        read_int8(read_model(model.folder))


def test_a_copy_that_is_gone_is_an_error(made, tmp_path):
    model, _ = copy_of(made, tmp_path / "toy")
    (model.folder / INT8_FILE).unlink()

    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        read_int8(read_model(model.folder))


def test_a_copy_of_yesterdays_weights_is_refused_even_when_the_card_names_it(made, tmp_path):
    model, _ = copy_of(made, tmp_path / "toy")
    today = write(tmp_path / "toy", network(seed=3))
    assert today.card.int8_sha256 is None
    card = json.loads((today.folder / "card.json").read_text())
    card["int8_sha256"] = model.card.int8_sha256
    (today.folder / "card.json").write_text(json.dumps(card))

    with pytest.raises(ModelError, match="was made from another network"):
        read_int8(read_model(today.folder))
    with pytest.raises(ModelError, match="was made from another network"):
        write_int8(today, made[1].onnx, {})


# --- metadata, read from the bytes -----------------------------------------------------------


def test_metadata_are_what_onnx_itself_reads(made):
    data = made[1].onnx

    theirs = {each.key: each.value for each in onnx.load_from_string(data).metadata_props}

    assert metadata(data) == theirs == {MADE_FROM: made[0].card.sha256}
    assert metadata(network()) == {}


def test_metadata_of_a_file_that_is_cut_off_are_an_error(made):
    with pytest.raises(NotOnnx, match="cut off"):
        metadata(made[1].onnx[:-7])
