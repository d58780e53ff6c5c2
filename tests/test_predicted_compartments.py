"""Compartments that nobody drew: by nests and by a network, through the scoring."""

import json
from pathlib import Path

import numpy as np
import pytest

from herscope.core.errors import InputError, ModelError, WrongInput
from herscope.core.registry import COMPARTMENT_CLASSES, ModelCard
from herscope.nn.model_file import write_model
from herscope.recipes.scoring import annotations_of, make_spec, score, score_slides
from herscope.score.alerts import ONE_SIDED
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra learn")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "case.tif"
    truth = draw_phantom(PhantomSpec(width_um=600, height_um=500, seed=3, island_um=150), path)
    truth.write(path.parent, "case")
    return path


def threshold_model(folder: Path, mpp: float = 1.0, **changes) -> Path:
    """Tumour where red is below a half, else stroma: one 1x1 convolution."""
    weights = np.zeros((4, 3, 1, 1), np.float32)
    weights[0, 0], weights[1, 0] = -10, 10
    held = [
        onnx.numpy_helper.from_array(weights, "w"),
        onnx.numpy_helper.from_array(np.array([5, -5, -99, -99], np.float32), "b"),
    ]
    helper = onnx.helper
    free = ["batch", None, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "w", "b"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("pixels", 1, [free[0], 3, *free[2:]])],
        [helper.make_tensor_value_info("logits", 1, [free[0], 4, *free[2:]])],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = {
        "name": "red-half",
        "task": "compartments",
        "summary": "Tumour where red is below a half.",
        "input_mpp_finest": mpp,
        "input_mpp_coarsest": mpp,
        "normalisation": "red, green and blue divided by 255",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "none",
        "inputs": "rgb",
        "classes": list(COMPARTMENT_CLASSES),
    }
    write_model(folder, ModelCard.model_validate(card | changes), model.SerializeToString())
    return folder


def codes(result) -> set[str]:
    return {alert.code for alert in result.alerts}


def test_nests_give_a_tumour_h_score_and_say_that_they_are_nests(phantom) -> None:
    found = score(phantom, compartments="nests")
    truth = score(phantom, compartments=phantom.with_name("case.annotations.geojson"))
    assert found.result.provenance.models["compartments"] == "nests"
    assert "compartments" not in truth.result.provenance.models
    assert "nests" in codes(found)
    assert not {"nests", "no-compartments"} & codes(truth)
    assert found.tumor.cells == pytest.approx(truth.tumor.cells, rel=0.2)
    assert found.tumor.h_score.value == pytest.approx(truth.tumor.h_score.value, abs=15)
    assert any(region.name == "Tumor" for region in found.regions)


def test_a_field_of_tumour_alone_is_to_be_looked_at(tmp_path) -> None:
    path = tmp_path / "all.tif"
    draw_phantom(
        PhantomSpec(width_um=300, height_um=300, tumor_fraction=1, fat_fraction=0, seed=1), path
    )
    found = score(path, compartments="nests")
    share = {a.code: a for a in found.alerts}["nests-one-sided"]
    assert share.severity == "warning"
    assert share.value > 1 - ONE_SIDED


def test_a_network_gives_the_compartments_of_the_slide(phantom, tmp_path) -> None:
    model = threshold_model(tmp_path / "red-half")
    found = score(phantom, compartments=model)
    assert found.result.provenance.models["compartments"] == "red-half"
    assert "predicted-compartments" in codes(found)
    dark = found.tumor.area_mm2
    assert 0.02 < dark < found.stroma.area_mm2
    # nuclei are what is dark in red
    density = [part.cells / part.area_mm2 for part in (found.tumor, found.stroma)]
    assert density[0] > 10 * density[1]


def test_the_network_does_not_depend_on_the_tiles_of_the_scoring(phantom, tmp_path) -> None:
    model = threshold_model(tmp_path / "red-half")
    one, two = (
        score(phantom, compartments=model, tiles__size_px=size, tiles__block_tiles=blocks)
        for size, blocks in ((200, 1), (512, 4))
    )
    assert one.result.compartments == two.result.compartments


def test_a_run_names_the_network_and_scores_again_with_another(phantom, tmp_path) -> None:
    first = threshold_model(tmp_path / "one")
    folder = tmp_path / "run"
    result = folder / "slides" / "case" / "result.json"
    score_slides([phantom], folder, make_spec(), compartments=str(first), workers=1)
    document = json.loads(result.read_text("utf-8"))
    assert document["provenance"]["models"]["compartments"] == "red-half"
    written = result.stat().st_mtime_ns
    score_slides([phantom], folder, make_spec(), compartments=str(first), workers=1)
    assert result.stat().st_mtime_ns == written
    other = threshold_model(tmp_path / "two", summary="Another.")
    assert annotations_of(str(other), {phantom: "case"}) == {"case": other / "card.json"}
    score_slides([phantom], folder, make_spec(), compartments=str(other), workers=1)
    assert result.stat().st_mtime_ns > written


def test_a_tampered_network_is_refused(phantom, tmp_path) -> None:
    model = threshold_model(tmp_path / "red-half")
    file = model / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError):
        score(phantom, compartments=model)


def test_a_model_of_another_task_is_refused(phantom, tmp_path) -> None:
    model = threshold_model(tmp_path / "m", task="hscore", classes=None)
    with pytest.raises((WrongInput, ModelError)):
        score(phantom, compartments=model)


def test_a_slide_coarser_than_the_model_takes_is_refused(phantom, tmp_path) -> None:
    model = threshold_model(tmp_path / "m", mpp=0.2)
    with pytest.raises(InputError, match="takes pixels down to"):
        score(phantom, compartments=model)
