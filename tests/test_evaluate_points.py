"""Compartments judged by marked nuclei: what is right, and what counts as wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of judging share
from herscope.core.errors import HerscopeError, InputError
from herscope.core.registry import COMPARTMENT_CLASSES, ModelCard
from herscope.nn.model_file import write_model
from herscope.recipes.evaluate_points import evaluate_points
from judged_folders import GROUND, one_convolution, write

SIDE = 120


def halves(seed):
    """Dark on the left, pale on the right, glass below."""
    rgb = np.full((SIDE, SIDE, 3), 200, np.int64)
    rgb[:, : SIDE // 2] = 60
    rgb[90:] = GROUND
    rgb += np.random.Generator(np.random.PCG64(seed)).integers(-2, 3, rgb.shape)
    return rgb.astype(np.uint8)


def model(path):
    """Tumour where red is below 0.4, stroma to 0.86, then background."""
    pytest.importorskip("onnx", reason="onnx comes with the extra learn")
    weights = [[-100, 0, 0], [0, 0, 0], [100, 0, 0], [0, 0, 0]]
    card = {
        "name": "halves",
        "task": "compartments",
        "summary": "By darkness.",
        "input_mpp_finest": 0.9,
        "input_mpp_coarsest": 1.1,
        "normalisation": "red, green and blue divided by 255",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "none",
        "inputs": "rgb",
        "classes": list(COMPARTMENT_CLASSES),
    }
    made = one_convolution(weights, [40, 0, -86, -999])
    write_model(path, ModelCard.model_validate(card), made)
    return path


POINTS = [
    (20, 20, "epithelium"),  # right
    (30, 40, "tumor"),  # right
    (100, 20, "epithelium"),  # lies in stroma
    (100, 40, "stroma"),  # right
    (30, 60, "stroma"),  # lies in tumour
    (80, 110, "stroma"),  # lies on glass: neither
    (80, 50, "other"),  # says nothing
]


@pytest.fixture
def folder(tmp_path):
    images = {f"s{k}": halves(k) for k in range(3)}
    rows = [(stem, *point) for stem in images for point in POINTS]
    return write(tmp_path / "halves", images, {}, mpp=1.0, points=rows)


def test_a_point_is_right_where_the_map_says_its_class(folder, tmp_path):
    told = evaluate_points([model(tmp_path / "m")], folder, threads=1)
    one = told["models"][0]
    assert one["counts"] == {
        "tumor_tumor": 6,
        "tumor_stroma": 3,
        "tumor_neither": 0,
        "stroma_tumor": 3,
        "stroma_stroma": 3,
        "stroma_neither": 3,
    }
    assert one["figures"]["right"]["value"] == pytest.approx(9 / 18)
    assert one["figures"]["tumor_right"]["value"] == pytest.approx(2 / 3)
    assert one["figures"]["stroma_right"]["value"] == pytest.approx(1 / 3)
    assert one["figures"]["balanced"]["value"] == pytest.approx(1 / 2)
    assert one["figures"]["right"]["ci95"] == pytest.approx([0.5, 0.5])
    assert [row["points"] for row in one["patches"]] == [6, 6, 6]
    assert told["data"]["points"]["other"] == 3


def test_finer_patches_are_read_at_the_scale_of_the_model(tmp_path):
    fine = halves(0).repeat(4, axis=0).repeat(4, axis=1)
    rows = [("a", 4 * x, 4 * y, name) for x, y, name in POINTS]
    home = write(tmp_path / "fine", {"a": fine}, {}, mpp=0.25, points=rows)
    one = evaluate_points([model(tmp_path / "m")], home, threads=1)["models"][0]
    assert one["figures"]["right"]["value"] == pytest.approx(0.5)
    assert one["mpp"] == pytest.approx(1.0, abs=0.02)


def test_nests_and_a_model_stand_in_one_table(folder, tmp_path):
    told = evaluate_points(["nests", model(tmp_path / "m")], folder, threads=1)
    assert [m["name"] for m in told["models"]] == ["nests", "halves"]
    difference = told["differences"][0]["figures"]["right"]["value"]
    values = [m["figures"]["right"]["value"] for m in told["models"]]
    assert difference == pytest.approx(values[1] - values[0])


def test_calling_everything_stroma_is_half_right_when_balanced(tmp_path):
    rows = [("a", 100, 20 + k, "stroma") for k in range(9)] + [("a", 100, 60, "tumor")]
    home = write(tmp_path / "s", {"a": halves(0)}, {}, mpp=1.0, points=rows)
    found = evaluate_points([model(tmp_path / "m")], home, threads=1)["models"][0]["figures"]
    assert found["right"]["value"] == pytest.approx(0.9)
    assert found["balanced"]["value"] == pytest.approx(0.5)


def test_points_that_say_no_compartment_are_refused(tmp_path):
    home = write(tmp_path / "p", {"a": halves(0)}, {}, mpp=1.0, points=[("a", 5, 5, "nucleus")])
    with pytest.raises(InputError, match="says a compartment") as refused:
        evaluate_points(["nests"], home)
    assert "stroma" in refused.value.hint


def test_a_model_of_nuclei_and_patches_too_coarse_are_refused(folder, tmp_path):
    coarse = write(tmp_path / "c", {"a": halves(0)}, {}, mpp=4.0, points=[("a", 5, 5, "stroma")])
    for models, data in (
        (["nests"], coarse),
        ([model(tmp_path / "m")], coarse),
        ([], folder),
        (["no-such-model"], folder),
        (["nests"], tmp_path),
    ):
        with pytest.raises(HerscopeError) as refused:
            evaluate_points(models, data, threads=1)
        assert refused.value.hint


def test_the_command_prints_shares(folder):
    from herscope.cli.evaluate_points import points

    head, _, table = points("nests", folder).text
    assert "truth: points" in head
    assert [column.header for column in table.columns] == [
        "model",
        "right",
        "balanced",
        "tumor right",
        "stroma right",
    ]
