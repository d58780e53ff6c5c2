"""Nuclei by a network, through the scoring: enforced, named, and the same whatever the tiles."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from herscope.core.errors import InputError, ModelError, UnknownModel, WrongInput
from herscope.core.registry import ModelCard
from herscope.nn.inference import InferenceSpec, ModelUse, use_model
from herscope.nn.model_file import find_model, write_model
from herscope.nn.model_folders import known_models
from herscope.recipes.scoring import annotations_of, make_spec, score, score_slides
from herscope.score.alerts import only_drawn
from herscope.segment.nucleus_windows import CORE_PX, wanted_windows
from herscope.segment.window_store import WindowStore
from herscope.slide.grid import Grid
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.tiles import Rect

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra learn")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A field of several windows, with fat and a border of glass."""
    path = tmp_path_factory.mktemp("phantom") / "case.tif"
    draw_phantom(PhantomSpec(width_um=480, height_um=400, seed=3, island_um=150), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return dark_model(tmp_path_factory.mktemp("models") / "red-dark")


@pytest.fixture(scope="module")
def learned(phantom, model):
    return score(phantom, nuclei=model)


@pytest.fixture(scope="module")
def classical(phantom):
    return score(phantom)


def blur(side: int, sigma: float) -> np.ndarray:
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma * sigma))
    kernel = np.outer(line, line)
    return (kernel / kernel.sum()).astype(np.float32)


def dark_model(folder: Path, gain: float = 30, **changes) -> Path:
    """Nucleus where red, smoothed a little, is dark; nearer the middle where it is dark around."""
    weights = np.zeros((2, 3, 13, 13), np.float32)
    weights[0, 0], weights[1, 0] = -gain * blur(13, 1), -14 * blur(13, 3)
    held = [
        onnx.numpy_helper.from_array(weights, "w"),
        onnx.numpy_helper.from_array(np.array([0.6 * gain, 9], np.float32), "b"),
    ]
    helper = onnx.helper
    free = ["batch", None, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "w", "b"], ["logits"], pads=[6, 6, 6, 6])],
        "g",
        [helper.make_tensor_value_info("pixels", 1, [free[0], 3, *free[2:]])],
        [helper.make_tensor_value_info("logits", 1, [free[0], 2, *free[2:]])],
        held,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = {
        "name": folder.name,
        "task": "nuclei",
        "summary": "Nuclei where red is dark.",
        "input_mpp_finest": 0.45,
        "input_mpp_coarsest": 0.55,
        "normalisation": "red, green and blue divided by 255",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "3 patches of 256 px of phantoms",
        "inputs": "rgb",
        "classes": ["nucleus", "distance"],
    }
    write_model(folder, ModelCard.model_validate(card | changes), made.SerializeToString())
    return folder


def numbers(result) -> dict:
    document = result.model_dump(mode="json")
    document["provenance"] = document["provenance"]["models"]
    return document


def test_a_network_finds_about_the_nuclei_that_the_classical_method_finds(
    learned, classical
) -> None:
    assert learned.all.cells == pytest.approx(classical.all.cells, rel=0.15)
    assert learned.all.h_score.value == pytest.approx(classical.all.h_score.value, abs=15)
    assert {"network", "decode"} <= learned.result.provenance.timings_s.keys()
    assert "nuclei" not in learned.result.provenance.timings_s


def test_the_result_names_network_checksum_and_engine(learned, classical, model) -> None:
    provenance = learned.result.provenance
    facts = provenance.networks["nuclei"]
    card = json.loads((model / "card.json").read_text("utf-8"))
    assert provenance.models["nuclei"] == "red-dark"
    assert (facts.name, facts.sha256) == ("red-dark", card["sha256"])
    assert (facts.engine, facts.precision) == ("onnx", "float32")
    assert facts.engine_version
    assert classical.result.provenance.networks == {}


def test_an_alert_says_what_the_network_was_trained_on(
    phantom, learned, classical, tmp_path
) -> None:
    other = dark_model(tmp_path / "real", training_data="4 real slides of one lab and phantoms")
    drawn, real = (
        {alert.code: alert for alert in found.alerts}["predicted-nuclei"]
        for found in (learned, score(phantom, nuclei=other))
    )
    assert (drawn.severity, real.severity) == ("warning", "note")
    assert "3 patches of 256 px of phantoms" in drawn.message
    assert "4 real slides" in real.message
    assert "predicted-nuclei" not in {alert.code for alert in classical.alerts}
    assert not only_drawn("none")


@pytest.mark.parametrize("marker", ["nuclear", pytest.param("her2-breast", marks=pytest.mark.slow)])
def test_tiles_and_blocks_change_nothing(phantom, model, marker) -> None:
    first, *others = (
        score(
            phantom,
            marker=marker,
            nuclei=model,
            tiles__size_px=size,
            tiles__block_tiles=blocks,
        )
        for size, blocks in ((512, 4), (200, 1), (1024, 1))
    )
    assert first.all.cells > 200
    for other in others:
        assert numbers(other.result) | {"provenance": 0} == numbers(first.result) | {
            "provenance": 0
        }
        assert other.cells.equals(first.cells)


def test_workers_change_nothing_and_leave_nothing_behind(phantom, model, tmp_path) -> None:
    tables, documents = [], []
    for workers, size in ((1, 512), (2, 256)):
        spec = make_spec(nuclei=model)
        tiles = spec.tiles.model_copy(update={"size_px": size, "block_tiles": 1})
        folder = tmp_path / str(workers)
        run = score_slides(
            [phantom], folder, spec.model_copy(update={"tiles": tiles}), workers=workers
        )
        assert run.report.done == ["case"]
        assert [file.name for file in (folder / "slides").iterdir()] == ["case"]
        home = folder / "slides" / "case"
        tables.append(pq.read_table(home / "cells.parquet"))
        document = json.loads((home / "result.json").read_text("utf-8"))
        del document["provenance"]["timings_s"], document["provenance"]["tile"]
        del document["provenance"]["spec_fingerprint"]
        documents.append(document)
    assert tables[0].equals(tables[1])
    assert documents[0] == documents[1]


def test_the_engines_agree_on_the_cells(phantom, learned, model) -> None:
    pytest.importorskip("openvino", reason="openvino comes with the extra fast")
    found = score(phantom, nuclei=model, inference__engine="openvino").all
    assert found.cells == pytest.approx(learned.all.cells, rel=0.002)
    assert found.h_score.value == pytest.approx(learned.all.h_score.value, abs=0.5)


def test_a_run_is_scored_again_with_another_network_only(phantom, model, tmp_path) -> None:
    folder = tmp_path / "run"
    result = folder / "slides" / "case" / "result.json"
    score_slides([phantom], folder, make_spec(nuclei=model), workers=1)
    written = result.stat().st_mtime_ns
    moved = dark_model(tmp_path / "elsewhere" / "red-dark")
    score_slides([phantom], folder, make_spec(nuclei=moved), workers=1)
    assert result.stat().st_mtime_ns == written
    run = json.loads((folder / "run.json").read_text("utf-8"))
    assert run["models"]["nuclei"]["name"] == "red-dark"
    assert str(tmp_path) not in json.dumps(run["spec"])
    other = dark_model(tmp_path / "other" / "red-dark", gain=20)
    score_slides([phantom], folder, make_spec(nuclei=other), workers=1, force=True)
    assert result.stat().st_mtime_ns != written


def test_the_card_is_enforced(phantom, model, tmp_path) -> None:
    coarse = dark_model(tmp_path / "c", input_mpp_finest=0.9, input_mpp_coarsest=1.1)
    border = dark_model(tmp_path / "b", classes=["nucleus", "border"])
    other = dark_model(tmp_path / "h", task="hscore", classes=None)
    for wrong, said in ((coarse, "takes 0.9 to"), (border, "border"), (other, "predicts hscore")):
        with pytest.raises(WrongInput, match=said):
            score(phantom, nuclei=wrong)
    changed = dark_model(tmp_path / "changed")
    spec = make_spec(nuclei=changed)
    dark_model(changed, gain=25)
    with pytest.raises(ModelError, match="as when it was chosen"):
        score(phantom, spec=spec)
    (changed / "model.onnx").write_bytes((model / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match="is not the file of its card"):
        score(phantom, nuclei=changed)


def test_a_model_is_found_by_path_by_variable_and_not_by_guess(
    model, tmp_path, monkeypatch
) -> None:
    home = tmp_path / "home"
    dark_model(home / "small-dark")
    (home / "notes").mkdir()
    monkeypatch.setenv("HERSCOPE_MODELS", str(home))
    monkeypatch.chdir(tmp_path)
    assert find_model(model) == model
    assert find_model(model / "card.json") == model
    assert find_model("small-dark") == home / "small-dark"
    (tmp_path / "small-dark").mkdir()  # a folder of that name that is no model
    assert find_model("small-dark") == home / "small-dark"
    assert find_model("./small-dark") == Path("small-dark")
    assert [folder.name for folder, _ in known_models()][:1] == ["small-dark"]
    with pytest.raises(UnknownModel) as caught:
        find_model("smal-dark")
    assert "did you mean small-dark" in caught.value.hint
    for wrong in ("../small-dark", "", "..", "absent/small-dark"):
        with pytest.raises(UnknownModel):
            find_model(Path(wrong) if wrong == "absent/small-dark" else f"nowhere/{wrong}")
    monkeypatch.setenv("HERSCOPE_MODELS", os.pathsep.join([str(tmp_path / "no"), str(home)]))
    assert find_model("small-dark") == home / "small-dark"


def test_bare_names_work_for_nuclei_and_compartments(phantom, tmp_path, monkeypatch) -> None:
    from herscope.core.registry import COMPARTMENT_CLASSES

    home = tmp_path / "home"
    dark_model(home / "small-dark")
    dark_model(home / "areas", task="compartments", classes=list(COMPARTMENT_CLASSES))
    monkeypatch.setenv("HERSCOPE_MODELS", str(home))
    assert score(phantom, nuclei="small-dark").result.provenance.models["nuclei"] == "small-dark"
    found = annotations_of("areas", {phantom: "case"})
    assert found == {"case": home / "areas" / "card.json"}


def test_the_models_command_lists_folders_and_says_what_is_wrong_with_one(
    tmp_path, monkeypatch, capsys
) -> None:
    from herscope.cli import main

    home = tmp_path / "home"
    dark_model(home / "small-dark")
    broken = dark_model(home / "torn") / "card.json"
    broken.write_text(broken.read_text("utf-8")[:-20], "utf-8")
    monkeypatch.setenv("HERSCOPE_MODELS", str(home))
    assert main(["models", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    listed = {card["called"]: card["from"] for card in document["models"]}
    assert listed["small-dark"] == "$HERSCOPE_MODELS"
    assert listed["classical"] == "method"
    assert list(document["faults"]) == ["torn"]
    assert main(["models", "small-dark", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True


def test_the_fingerprint_changes_with_the_network_not_with_its_place(model, tmp_path) -> None:
    here = make_spec(nuclei=model)
    assert here.nuclei_model == use_model(model, "nuclei")
    assert here.fingerprint() != make_spec().fingerprint()
    moved = make_spec(nuclei=dark_model(tmp_path / "red-dark"))
    assert moved.fingerprint() == here.fingerprint()
    assert moved.nuclei_model.folder != here.nuclei_model.folder
    other = make_spec(nuclei=dark_model(tmp_path / "other" / "red-dark", gain=20))
    assert other.fingerprint() != here.fingerprint()
    engine = here.model_copy(update={"inference": InferenceSpec(engine="openvino")})
    assert engine.fingerprint() != here.fingerprint()
    assert "folder" not in ModelUse(name="a", sha256="0" * 64, folder="x").model_dump()


def test_a_precision_that_the_engine_has_not_is_refused_before_any_slide(model) -> None:
    with pytest.raises(InputError, match="bf16 needs the engine openvino"):
        make_spec(nuclei=model, precision="bf16")
    assert make_spec(engine="openvino", precision="bf16").inference.precision == "bf16"


def test_windows_without_tissue_are_left_out(phantom) -> None:
    with open_slide(phantom) as slide:
        grid = slide.grid(0.5)
    tissue = np.zeros((grid.height_px // 8, grid.width_px // 8), bool)
    assert not wanted_windows(grid, tissue).any()
    tissue[0, 0] = True
    assert wanted_windows(grid, tissue).sum() == 1
    edge = CORE_PX // 8  # the margin of the window before reaches over it
    tissue[0, 0], tissue[0, edge] = False, True
    assert wanted_windows(grid, tissue)[0, :2].tolist() == [True, True]


def test_a_window_at_the_edge_sees_the_slide_mirrored(phantom, model) -> None:
    from herscope.nn.inference import load_model
    from herscope.segment.nucleus_maps import forget, predict_maps
    from herscope.segment.nucleus_windows import plan_windows
    from herscope.stain.vectors import RUIFROK_JOHNSTON

    use = use_model(model, "nuclei")
    with open_slide(phantom) as slide:
        grid: Grid = slide.grid(0.5)
        tissue = np.ones((10, 10), bool)
        white = (255.0, 255.0, 255.0)
        loaded = load_model(use, task="nuclei", mpp=0.5)
        windows = plan_windows(loaded, use, InferenceSpec(), grid, tissue, white, RUIFROK_JOHNSTON)
        asked: list[tuple[int, int, int, int]] = []

        def read(*area: int) -> np.ndarray:
            asked.append(area)
            return slide.read(grid, *area)

        first = windows.input((0, 0), read)[0]
        np.testing.assert_array_equal(first[:, :, 31::-1], first[:, :, 32:64])
        assert all(x >= 0 and y >= 0 for x, y, _, _ in asked)
        asked.clear()
        wide = Rect(-40, -40, grid.width_px + 80, grid.height_px + 80)
        maps = predict_maps(windows, wide, read)
        assert len(asked) == windows.wanted.size
        assert not maps[0, :40].any()
        assert not maps[0, :, -40:].any()
        assert maps[0].any()
        again = predict_maps(windows, Rect(100, 60, 400, 300), read)
        assert len(asked) == windows.wanted.size  # nothing was predicted twice
        np.testing.assert_array_equal(again, maps[:, 100:400, 140:540])
        forget(windows)


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "folder"])
def test_each_window_is_made_once_by_whoever_comes_first(tmp_path, shared) -> None:
    folder = tmp_path / "shared" if shared else None
    one = WindowStore((1, 4, 4), folder)
    stores = [one, WindowStore((1, 4, 4), folder) if shared else one]
    made: list[tuple[int, int]] = []
    seen: list[np.ndarray] = []

    def work(store: WindowStore) -> None:
        later = []
        for key in [(row, column) for row in range(6) for column in range(6)]:
            if store.get(key) is None:
                if store.claim(key):
                    made.append(key)
                    store.put(key, np.full((1, 4, 4), key[0] * 6 + key[1], np.uint8))
                else:
                    later.append(key)
        for key in later:
            found = store.wait(key)
            assert found is not None
            seen.append(found)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 36
    for store in stores:
        assert int(store.get((5, 5))[0, 0, 0]) == 35
    if shared:
        assert not list(folder.glob("*.claim"))


def test_memory_is_bounded_and_the_folder_remembers(tmp_path) -> None:
    window = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    for folder, remembered in ((None, False), (tmp_path / "f", True)):
        store = WindowStore((1, 4, 4), folder, most_bytes=3 * 16)
        for column in range(5):
            assert store.claim((0, column))
            store.put((0, column), window + column)
        assert len(store._kept) == 3
        oldest = store.get((0, 0))
        assert (oldest is not None) is remembered
        if remembered:
            np.testing.assert_array_equal(oldest, window)


def test_the_claim_of_a_dead_process_holds_nothing_up(tmp_path) -> None:
    store = WindowStore((1, 4, 4), tmp_path)
    (tmp_path / "0-0.claim").write_text("999999999", "ascii")
    assert not store.claim((0, 0))
    assert store.wait((0, 0)) is None
    store.put((0, 0), np.zeros((1, 4, 4), np.uint8))
    assert store.get((0, 0)) is not None
    assert not (tmp_path / "0-0.claim").exists()


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way", "ascii")
    store = WindowStore((1, 4, 4), tmp_path / "file")
    assert store.claim((0, 0))
    store.put((0, 0), np.ones((1, 4, 4), np.uint8))
    assert store.get((0, 0)) is not None
