"""``herscope evaluate nuclei``: exact figures on drawn nuclei, models beside the classical."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of judging share
from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import ModelCard
from herscope.nn.model_file import write_model
from herscope.nn.patches.marked import Points, read_marked_patches
from herscope.recipes.evaluate_nuclei import evaluate_nuclei
from herscope.recipes.judging import by_group, differences, figures
from herscope.recipes.nucleus_counts import (
    INSTANCE_COLUMNS,
    centres_of,
    instance_row,
    measures,
    point_columns,
    point_row,
)
from herscope.recipes.patch_fields import field_at
from herscope.stats.segmentation import (
    aggregated_jaccard,
    aggregated_jaccard_plus,
    panoptic_quality,
)
from judged_folders import discs, lattice, one_convolution, picture, write

SIDE = 160
PLACES = lattice(SIDE, 32)


def figure_of(rows, columns=INSTANCE_COLUMNS):
    summed = np.sum(np.atleast_2d(rows), axis=0)
    return {name: float(measure(summed)) for name, measure in measures(columns).items()}


def shaken(labels, seed):
    """Another segmentation of the same nuclei: shifted, some dropped, some added."""
    rng = np.random.Generator(np.random.PCG64(seed))
    out = np.zeros_like(labels)
    for k in range(1, int(labels.max()) + 1):
        if rng.random() < 0.15:
            continue
        y, x = np.nonzero(labels == k)
        dy, dx = rng.integers(-6, 7, 2)
        inside = (y + dy >= 0) & (y + dy < SIDE) & (x + dx >= 0) & (x + dx < SIDE)
        out[y[inside] + dy, x[inside] + dx] = k
    out[:9, :9] = 999
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    truth = discs(SIDE, PLACES, 9)
    images = {f"s{g}_{k}": picture(truth, 2 * g + k) for g in range(3) for k in range(2)}
    instances = {stem: truth.astype(np.uint16) for stem in images}
    groups = {stem: stem[:2] for stem in images}
    return write(
        tmp_path_factory.mktemp("judged") / "discs",
        images,
        {"instances": instances},
        groups=groups,
    )


def model(path, name="dark", threshold=0.6, classes=("nucleus",), **changes):
    """Nucleus where red is below a threshold."""
    pytest.importorskip("onnx", reason="onnx comes with the extra learn")
    weights = [[-40, 0, 0]] + [[0, 0, 0]] * (len(classes) - 1)
    bias = [40 * threshold] + [0] * (len(classes) - 1)
    card = {
        "name": name,
        "task": "nuclei",
        "summary": "Nucleus where it is dark.",
        "input_mpp_finest": 0.4,
        "input_mpp_coarsest": 0.6,
        "normalisation": "red, green and blue divided by 255",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "none",
        "inputs": "rgb",
        "classes": list(classes),
    }
    write_model(path, ModelCard.model_validate(card | changes), one_convolution(weights, bias))
    return path


def test_a_perfect_segmentation_has_perfect_figures():
    truth = discs(SIDE, PLACES, 9)
    found = figure_of(instance_row(truth, np.where(truth > 0, truth + 40, 0)))
    perfect = ("f1", "precision", "recall", "f1_50_to_90", "aji", "aji_plus", "pq", "dice", "sq")
    assert {found[name] for name in perfect} == {1.0}
    assert found["count_error"] == found["count_difference"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_the_measures_they_are_named_after(seed):
    truth = discs(SIDE, PLACES, 9)
    other = shaken(truth, seed)
    found = figure_of(instance_row(truth, other))
    panoptic = panoptic_quality(truth, other)
    assert found["aji"] == aggregated_jaccard(truth, other).aji
    assert found["aji_plus"] == aggregated_jaccard_plus(truth, other).aji
    assert found["pq"] == pytest.approx(panoptic.pq)
    assert found["dq"] == pytest.approx(panoptic.dq)
    assert found["sq"] == pytest.approx(panoptic.sq)
    both = np.count_nonzero((truth > 0) & (other > 0))
    total = np.count_nonzero(truth) + np.count_nonzero(other)
    assert found["dice"] == pytest.approx(2 * both / total)
    assert 0 < found["f1_50_to_90"] < found["f1"] < 1


def test_one_blob_over_two_nuclei_counts_once_in_aji_plus():
    truth = np.zeros((40, 40), np.int32)
    truth[5:15, 5:15], truth[5:15, 15:25] = 1, 2
    blob = (truth > 0).astype(np.int32)
    assert aggregated_jaccard(truth, blob).aji == 0.5
    assert aggregated_jaccard_plus(truth, blob).aji == pytest.approx(100 / 300)


def test_aji_plus_prefers_one_good_pair_to_two_bad_ones():
    truth, found = np.full(11, 1), np.full(11, 1)
    truth[10], found[0] = 2, 2
    assert aggregated_jaccard_plus([truth], [found]).aji == pytest.approx(9 / (11 + 2))


def test_aji_plus_takes_the_pairs_of_the_largest_total_iou():
    rng = np.random.Generator(np.random.PCG64(3))
    from itertools import permutations

    for _ in range(20):
        t, p = rng.integers(0, 4, (2, 6, 6))
        shared = np.array([[((t == i) & (p == j)).sum() for j in (1, 2, 3)] for i in (1, 2, 3)])
        union = np.array([[((t == i) | (p == j)).sum() for j in (1, 2, 3)] for i in (1, 2, 3)])
        iou = shared / np.maximum(union, 1)
        best = max(permutations(range(3)), key=lambda o: sum(iou[i, o[i]] for i in range(3)))
        pairs = [(i, best[i]) for i in range(3) if shared[i, best[i]]]
        alone_t = [(t == i + 1).sum() for i in range(3) if i not in {a for a, _ in pairs}]
        alone_p = [(p == j + 1).sum() for j in range(3) if j not in {b for _, b in pairs}]
        whole = sum(union[a, b] for a, b in pairs) + sum(alone_t) + sum(alone_p)
        expected = sum(shared[a, b] for a, b in pairs) / whole
        assert aggregated_jaccard_plus(t, p).aji == pytest.approx(expected)


def test_nuclei_where_nobody_annotated_count_nowhere():
    truth = discs(SIDE, PLACES, 9)
    found = truth.copy()
    half = truth.copy()
    half[:, SIDE // 2 :] = -1
    left = figure_of(instance_row(half, found))
    row = dict(zip(INSTANCE_COLUMNS, instance_row(half, found), strict=True))
    assert left["precision"] == left["recall"] == 1.0
    assert row["found"] < len(PLACES)
    assert row["px_tp"] + row["px_fp"] + row["px_fn"] + row["px_tn"] == SIDE * SIDE // 2


def test_a_nucleus_on_the_border_of_the_unknown_is_no_false_one():
    truth = np.zeros((SIDE, SIDE), np.int32)
    truth[:, 80:] = -1
    found = discs(SIDE, [(84, 40), (76, 100)], 9)  # mostly unknown, mostly known
    row = dict(zip(INSTANCE_COLUMNS, instance_row(truth, found), strict=True))
    assert row["found"] == 1
    truth[:, :80] = found[:, :80]
    row = dict(zip(INSTANCE_COLUMNS, instance_row(truth, found), strict=True))
    assert (row["found"], row["tp_50"], row["px_fp"]) == (2, 2, 0)


def test_nothing_found_is_zero_and_nothing_to_find_is_undefined():
    truth, none = discs(SIDE, PLACES, 9), np.zeros((SIDE, SIDE), np.int32)
    missed, empty = figure_of(instance_row(truth, none)), figure_of(instance_row(none, none))
    assert missed["f1"] == missed["pq"] == missed["aji"] == missed["dice"] == 0
    assert np.isnan(missed["precision"])
    assert np.isnan(missed["sq"])
    assert all(np.isnan(empty[name]) for name in ("f1", "pq", "aji", "dice"))


def test_points_are_found_within_3_um_and_only_where_all_are_marked():
    found = discs(SIDE, [(40, 40), (80, 40), (120, 120)], 9)
    points = Points(np.array([[45.0, 40.0], [87.5, 40.0], [20.0, 140.0]]), ("a", "b", "a"))
    area = np.ones((SIDE, SIDE), bool)
    columns = point_columns(["a", "b"])
    # 2.5 µm and 3.75 µm away
    row = dict(zip(columns, point_row(points, area, found, 0.5, ["a", "b"]), strict=True))
    assert (row["tp_50"], row["true"], row["found"]) == (1, 3, 3)
    assert (row["hit:a"], row["marked:a"], row["hit:b"], row["marked:b"]) == (1, 2, 0, 1)
    area[100:] = False
    row = dict(zip(columns, point_row(points, area, found, 0.5, ["a", "b"]), strict=True))
    assert (row["tp_50"], row["true"], row["found"]) == (1, 2, 2)


def test_centres_lie_in_the_middle_of_discs():
    assert centres_of(discs(SIDE, [(40.5, 60.5), (81, 20)], 9)) == pytest.approx(
        np.array([[40.5, 60.5], [81, 20]])
    )


def test_an_interval_draws_groups_and_not_patches():
    made_of = {"recall": lambda c: c[..., 0] / c[..., 1]}
    rows = np.array([[9, 10], [9, 10], [1, 10], [1, 10], [5, 10], [5, 10]], float)
    groups = ["a", "a", "b", "b", "c", "c"]
    assert by_group(rows, groups).tolist() == [[18, 20], [2, 20], [10, 20]]
    of_groups = figures(rows, groups, made_of, 1)["recall"]
    of_patches = figures(rows, list("abcdef"), made_of, 1)["recall"]
    assert of_groups["value"] == of_patches["value"] == 0.5
    assert of_groups["ci95"][0] < of_patches["ci95"][0]
    assert figures(rows[:4], groups[:4], made_of, 1)["recall"]["ci95"] is None


def test_a_difference_is_surer_than_the_figures_it_is_made_of():
    made_of = {"recall": lambda c: c[..., 0] / c[..., 1]}
    worse = np.array([[k, 20.0] for k in (2, 8, 14, 18)], float)
    better = worse + np.array([1.0, 0.0])
    groups = list("abcd")
    gain = differences(better, worse, groups, made_of, 1)["recall"]
    assert gain["value"] == pytest.approx(0.05)
    assert gain["ci95"] == pytest.approx([0.05, 0.05])
    low, high = figures(worse, groups, made_of, 1)["recall"]["ci95"]
    assert high - low > 0.2


def test_what_is_found_at_half_the_resolution_covers_the_patch_again():
    rgb = picture(discs(SIDE, PLACES, 9))
    field = field_at(rgb, 0.25, 0.5, "a")
    assert field.rgb.shape == (80, 80, 3)
    grid = np.arange(80 * 80).reshape(80, 80)
    large = field.enlarge(grid)
    assert large.shape == (SIDE, SIDE)
    assert (large == grid.repeat(2, axis=0).repeat(2, axis=1)).all()
    odd = field_at(rgb[:101, :77], 0.3, 0.5, "a")
    assert odd.enlarge(odd.rgb).shape == (101, 77, 3)


def test_classical_and_a_network_stand_in_one_table_with_their_difference(folder, tmp_path):
    told = evaluate_nuclei(["classical", model(tmp_path / "m")], folder, threads=1)
    assert [m["name"] for m in told["models"]] == ["classical", "dark"]
    classical, dark = (m["figures"] for m in told["models"])
    assert classical["f1"]["value"] > 0.9
    assert dark["f1"]["value"] == 1.0
    assert dark["dice"]["value"] > 0.97
    difference = told["differences"][0]
    assert (difference["model"], difference["less"]) == ("dark", "classical")
    gain = difference["figures"]["pq"]
    assert gain["value"] == pytest.approx(dark["pq"]["value"] - classical["pq"]["value"])
    assert gain["ci95"][0] <= gain["value"] <= gain["ci95"][1]
    assert told["data"]["groups"] == 3
    assert len(told["models"][0]["patches"]) == 6
    assert told["models"][0]["patches"][0]["true"] == len(PLACES)
    json.dumps(told, allow_nan=False)


def test_the_same_call_gives_the_same_document(folder):
    assert evaluate_nuclei(["classical"], folder) == evaluate_nuclei(["classical"], folder)


def test_contrast_is_that_of_the_group_and_not_of_the_patch(tmp_path):
    truth = discs(SIDE, lattice(SIDE, 26), 8)  # a contrast is measured on 20 nuclei or more
    strong = picture(truth)
    pale = (strong.astype(int) // 2 + np.array([236, 232, 240]) // 2).astype(np.uint8)
    images = {"a": strong, "b": pale}
    labels = {"instances": {stem: truth.astype(np.uint16) for stem in images}}
    apart = write(tmp_path / "apart", images, labels)
    one = write(tmp_path / "one", images, labels, groups={"a": "s", "b": "s"})
    by_patch = evaluate_nuclei(["classical"], apart)["models"][0]["contrast_od"]
    by_slide = evaluate_nuclei(["classical"], one)["models"][0]["contrast_od"]
    assert by_patch["b"] < by_patch["a"]
    assert set(by_slide) == {"s"}


def test_masks_give_figures_of_pixels_and_no_count(tmp_path):
    truth = discs(SIDE, PLACES, 9)
    mask = (truth > 0).astype(np.uint8) * 255
    home = write(tmp_path / "m", {"a": picture(truth)}, {"masks": {"a": mask}})
    told = evaluate_nuclei(["classical"], home)
    assert told["truth"] == "foreground"
    assert set(told["models"][0]["figures"]) == {"dice", "iou", "accuracy"}
    assert told["models"][0]["figures"]["dice"]["value"] > 0.85


def test_points_give_detection_by_class(tmp_path):
    truth = discs(SIDE, PLACES, 9)
    rows = [("a", x, y, "stroma" if x < 80 else "epithelium") for x, y in PLACES]
    home = write(tmp_path / "p", {"a": picture(truth)}, {}, points=rows)
    told = evaluate_nuclei(["classical"], home)
    found = told["models"][0]["figures"]
    assert told["truth"] == "points"
    assert told["radius_um"] == 3.0
    assert found["f1"]["value"] > 0.9
    assert found["recall_stroma"]["value"] > 0.8
    assert "aji" not in found
    assert told["data"]["points"]["stroma"] == sum(x < 80 for x, _ in PLACES)


def test_patches_that_a_model_has_seen_are_said_and_can_be_left_out(folder, tmp_path):
    from herscope.nn.patches.nuclei import read_nucleus_patches

    home = model(tmp_path / "m")
    patches = read_nucleus_patches(folder)
    seen = {"train": [patches.digests[0]], "validation": [patches.digests[3]]}
    (home / "history.json").write_text(json.dumps({"seen": seen}))
    told = evaluate_nuclei([home, "classical"], folder, threads=1)
    assert told["models"][0]["seen_patches"] == 2
    assert told["models"][1]["seen_patches"] == 0
    assert "too good" in " ".join(told["notes"])
    fresh = evaluate_nuclei([home], folder, threads=1, unseen=True)
    assert fresh["data"]["evaluated"] == 4
    seen["train"] = list(patches.digests)
    (home / "history.json").write_text(json.dumps({"seen": seen}))
    with pytest.raises(InputError, match="every one"):
        evaluate_nuclei([home], folder, threads=1, unseen=True)


def test_a_patch_larger_than_a_window_is_predicted_without_a_seam(tmp_path):
    side = 600
    places = lattice(side, 64)
    truth = discs(side, places, 10)
    home = write(tmp_path / "w", {"a": picture(truth)}, {"instances": {"a": truth.astype("u2")}})
    told = evaluate_nuclei([model(tmp_path / "m")], home, threads=1)
    assert told["models"][0]["figures"]["f1"]["value"] == 1.0
    assert told["models"][0]["counts"]["found"] == len(places)


def test_what_cannot_be_judged_is_refused_with_a_way_out(folder, tmp_path):
    from herscope.core.errors import HerscopeError

    (tmp_path / "empty").mkdir()
    cases = [
        ([], folder),
        (["classical"], tmp_path / "absent"),
        (["classical"], tmp_path / "empty"),
        ([tmp_path / "no-model"], folder),
        ([model(tmp_path / "coarse", input_mpp_finest=0.8, input_mpp_coarsest=1.0)], folder),
        ([model(tmp_path / "other", classes=("nucleus", "rim"))], folder),
        ([model(tmp_path / "c", task="hscore", classes=["nucleus"])], folder),
    ]
    for models, data in cases[:4] + cases[5:]:
        with pytest.raises(HerscopeError) as refused:
            evaluate_nuclei(models, data, threads=1)
        assert refused.value.hint
    # a coarser model is given coarser pixels, not refused: patches are finer than it takes
    assert evaluate_nuclei(*cases[4], threads=1)["models"][0]["mpp"] == pytest.approx(0.8**0.5)


@pytest.mark.parametrize(
    "row",
    [
        ("b", 1, 1, "stroma"),
        ("a", -1, 1, "stroma"),
        ("a", 1, 1000, "stroma"),
        ("a", "x", 1, "stroma"),
        ("a", "nan", 1, "stroma"),
        ("a", 1, 1, ""),
    ],
)
def test_points_that_make_no_sense_are_refused_by_line(tmp_path, row):
    home = write(tmp_path / "p", {"a": picture(discs(64, [(32, 32)], 9))}, {}, points=[row])
    with pytest.raises(SchemaError, match="line 2"):
        read_marked_patches(home)


def test_a_mask_with_numbers_is_refused_as_foreground(tmp_path):
    truth = discs(SIDE, PLACES, 9).astype(np.uint8)
    home = write(tmp_path / "m", {"a": picture(truth)}, {"masks": {"a": truth}})
    with pytest.raises(InputError, match="one other value") as refused:
        read_marked_patches(home)
    assert "instances/" in refused.value.hint


def test_the_command_prints_a_table_with_intervals(folder):
    from herscope.cli.evaluate_nuclei import nuclei

    outcome = nuclei("classical", folder, against=["classical"], threads=1)
    head, _, table = outcome.text
    assert "6 of 6 patches" in head
    assert "3 groups" in head
    assert table.row_count == 3
    cells = [str(cell) for cell in table.columns[1].cells]
    assert cells[2].startswith("+0.000")
