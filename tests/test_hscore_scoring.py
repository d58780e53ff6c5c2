"""H-scores of a slide by a network: Eq. (2) by hand, the card enforced, named where they stand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from herscope.cli import main
from herscope.core.errors import ModelError, StaleResult, UnknownModel, WrongInput
from herscope.core.registry import ModelCard
from herscope.nn.inference import use_model
from herscope.nn.model_file import write_model
from herscope.recipes.scoring import make_spec, score, score_slides
from herscope.score.alerts import AlertSpec
from herscope.score.plan import CODES_OF, plan_slide
from herscope.score.slide import finish_slide, score_tiles
from herscope.score.spec import ScoreSpec
from herscope.segment.cells import expand_nuclei
from herscope.segment.nuclei import segment_nuclei
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.stain.deconvolve import deconvolve, nuclear_signal
from herscope.tiles import Rect, TileSpec

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra learn")

GAIN = 4.0
TILES = TileSpec(size_px=256, block_tiles=1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> tuple[Path, Path]:
    """A field of several tiles, cut at two edges, with annotations."""
    folder = tmp_path_factory.mktemp("phantom")
    path = folder / "case.tif"
    truth = draw_phantom(PhantomSpec(width_um=480, height_um=400, seed=3, island_um=150), path)
    truth.write(folder, "case")
    return path, folder / "case.annotations.geojson"


@pytest.fixture(scope="module")
def phantom(drawn) -> Path:
    return drawn[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return mean_model(tmp_path_factory.mktemp("models") / "mean-brown")


@pytest.fixture(scope="module")
def scored(drawn, model):
    path, annotations = drawn
    return score(path, compartments=annotations, hscore=model, spec=ScoreSpec(tiles=TILES))


@pytest.fixture(scope="module")
def run(phantom, model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    score_slides([phantom], folder, tiled(make_spec(hscore=model)), workers=1)
    return folder


def mean_model(folder: Path, gain: float = GAIN, values: int = 1, **changes) -> Path:
    """Give ``gain`` times the mean of the patch: by hand the H-score is 300 gain times it."""
    inputs = changes.get("inputs", "dab-target")
    channels = 3 if inputs == "rgb" else 1
    side = changes.get("input_size_px")
    helper = onnx.helper
    weights = np.full((channels, values), gain / channels, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["h"]),
        ],
        "g",
        [
            helper.make_tensor_value_info(
                "pixels", 1, ["batch", channels, side or "height", side or "width"]
            )
        ],
        [helper.make_tensor_value_info("h", 1, ["batch", values])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = {
        "name": folder.name,
        "task": "hscore",
        "summary": "Mean DAB of the patch.",
        "input_mpp_finest": 0.45,
        "input_mpp_coarsest": 0.55,
        "normalisation": "optical density of DAB, 0 outside the target",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "24 patches of 64 px of phantoms",
        "inputs": inputs,
    }
    write_model(folder, ModelCard.model_validate(card | changes), made.SerializeToString())
    return folder


def tiled(spec: ScoreSpec, tiles: TileSpec = TILES) -> ScoreSpec:
    return spec.model_copy(update={"tiles": tiles})


def without_model(result) -> dict:
    """Everything a result says that is not of the H-score model."""
    document = result.model_dump(mode="json")
    for part in document["compartments"].values():
        del part["h_score_model"]
    of_model = ("predicted-h-score", "h-score-patch-size", "h-scores-disagree")
    document["alerts"] = [one for one in document["alerts"] if one["code"] not in of_model]
    del document["provenance"]
    return document


def by_hand(plan) -> dict[str, tuple[float, int, int]]:
    """H-score, tiles and target pixels of each compartment, from the whole field at once."""
    grid, halo = plan.grid, plan.tiles[0].halo_px
    around = Rect(-halo, -halo, grid.width_px + 2 * halo, grid.height_px + 2 * halo)
    field = np.s_[halo : halo + grid.height_px, halo : halo + grid.width_px]
    with open_slide(plan.path) as slide:
        rgb = slide.read(grid, around.x, around.y, around.width, around.height)
    stains = deconvolve(rgb, plan.table)
    graded = segment_nuclei(
        nuclear_signal(stains),
        grid.mpp,
        plan.spec.nuclei,
        contrast_od=plan.preview.contrast_od,
    ).labels
    if plan.marker.target != "nucleus":
        graded = expand_nuclei(graded, grid.mpp, plan.spec.cells)
    graded, dab = graded[field], stains.dab[field]
    codes = plan.codes(Rect(0, 0, grid.width_px, grid.height_px))
    edge, pooled = plan.tile.working_px, {}
    for name, which in CODES_OF.items():
        target = (graded > 0) & np.isin(codes, which)
        brown = np.where(target, dab, 0) / 1000
        total = area = tiles = 0
        for y in range(0, grid.height_px, edge):
            for x in range(0, grid.width_px, edge):
                here = np.s_[y : y + edge, x : x + edge]
                a = int(target[here].sum())
                h = 300 * GAIN * brown[here].sum() / edge**2  # the missing part of a patch is 0
                total, area, tiles = total + a * min(max(h, 0), 300), area + a, tiles + (a > 0)
        pooled[name] = (total / area, tiles, area)
    return pooled


@pytest.mark.parametrize("marker", ["nuclear", "cytoplasmic"])
def test_eq_2_holds_by_hand_from_the_tiles(drawn, model, marker) -> None:
    path, annotations = drawn
    spec = tiled(make_spec(marker=marker, hscore=model))
    plan = plan_slide(path, "case", spec, annotations)
    found = finish_slide(plan, score_tiles(plan, plan.tiles), {}).result.compartments
    assert plan.tile.working_px == 256
    for name, (value, tiles, area_px) in by_hand(plan).items():
        part = found[name].h_score_model
        assert 1 < part.value < 299
        assert part.value == pytest.approx(value, abs=2e-3)
        assert part.patches == tiles > 4
        assert part.area_mm2 == pytest.approx(area_px * 0.25e-6, abs=1e-6)
        assert part.area_mm2 == pytest.approx(sum(found[name].od_histogram) * 0.25e-6, abs=1e-6)
        assert (part.patch_um, part.model) == (128.0, "mean-brown")
    assert len({found[name].h_score_model.value for name in found}) == 3


def test_the_model_changes_no_other_number_and_is_absent_unless_asked_for(drawn, scored) -> None:
    path, annotations = drawn
    plain = score(path, compartments=annotations, spec=ScoreSpec(tiles=TILES))
    assert all(part.h_score_model is None for part in plain.result.compartments.values())
    assert without_model(plain.result) == without_model(scored.result)
    assert plain.cells.equals(scored.cells)
    assert "hscore" not in plain.result.provenance.models
    assert "hscore" not in plain.result.provenance.timings_s
    assert "hscore" in scored.result.provenance.timings_s


def test_the_size_of_the_tiles_changes_the_models_value_and_no_other(phantom, model) -> None:
    small, wide = (
        score(phantom, hscore=model, tiles__size_px=size, tiles__block_tiles=1).result
        for size in (256, 512)
    )
    assert without_model(small) == without_model(wide)
    first, second = small.compartments["all"].h_score_model, wide.compartments["all"].h_score_model
    assert (first.patch_um, second.patch_um) == (128.0, 256.0)
    assert first.area_mm2 == second.area_mm2
    assert abs(first.value - second.value) > 1
    said = {one.code: one.message for one in small.alerts}["predicted-h-score"]
    assert "tiles of 128 µm" in said


def test_blocks_and_workers_change_nothing_and_another_network_is_scored_again(
    phantom, model, run, tmp_path
) -> None:
    def h_scores(folder: Path) -> dict:
        found = json.loads((folder / "slides" / "case" / "result.json").read_text("utf-8"))
        return {name: part["h_score_model"] for name, part in found["compartments"].items()}

    first = h_scores(run)
    assert first["all"]["value"] > 1
    pair = tmp_path / "two"
    score_slides([phantom], pair, tiled(make_spec(hscore=model)), workers=2)
    assert h_scores(pair) == first
    blocks = TileSpec(size_px=256, block_tiles=4)
    assert (
        score(phantom, spec=tiled(make_spec(hscore=model), blocks)).all.h_score_model.model_dump()
        == (first["all"])
    )

    result = pair / "slides" / "case" / "result.json"
    written = result.stat().st_mtime_ns
    moved = mean_model(tmp_path / "elsewhere" / "mean-brown")
    score_slides([phantom], pair, tiled(make_spec(hscore=moved)), workers=1)
    assert result.stat().st_mtime_ns == written  # the same network in another folder
    document = json.loads((pair / "run.json").read_text("utf-8"))
    assert document["models"]["hscore"]["name"] == "mean-brown"
    assert str(tmp_path) not in json.dumps(document["spec"])
    other = mean_model(tmp_path / "other" / "mean-brown", gain=2)
    with pytest.raises(StaleResult, match="hscore_model"):
        score_slides([phantom], pair, tiled(make_spec(hscore=other)), workers=1)
    with pytest.raises(StaleResult, match="hscore_model"):
        score_slides([phantom], pair, tiled(make_spec()), workers=1)
    score_slides([phantom], pair, tiled(make_spec(hscore=other)), workers=1, force=True)
    assert h_scores(pair)["all"]["value"] == pytest.approx(first["all"]["value"] / 2, abs=1e-3)


def test_the_result_names_network_checksum_and_engine(scored, model) -> None:
    provenance = scored.result.provenance
    card = json.loads((model / "card.json").read_text("utf-8"))
    facts = provenance.networks["hscore"]
    assert provenance.models["hscore"] == "mean-brown"
    assert (facts.name, facts.sha256, facts.engine) == ("mean-brown", card["sha256"], "onnx")
    assert list(provenance.networks) == ["hscore"]


def test_the_fingerprint_changes_with_the_network_not_with_its_place(model, tmp_path) -> None:
    here = make_spec(hscore=model)
    assert here.hscore_model == use_model(model, "hscore")
    assert here.fingerprint() != make_spec().fingerprint()
    moved = make_spec(hscore=mean_model(tmp_path / "mean-brown"))
    assert moved.fingerprint() == here.fingerprint()
    other = make_spec(hscore=mean_model(tmp_path / "o" / "mean-brown", gain=2))
    assert other.fingerprint() != here.fingerprint()
    assert make_spec(hscore="none").hscore_model is None


def test_a_study_file_names_the_model_and_the_option_takes_it_back(
    phantom, model, tmp_path, monkeypatch
) -> None:
    use = use_model(model, "hscore")
    study = tmp_path / "study.toml"
    study.write_text(
        f'[hscore_model]\nname = "{use.name}"\nsha256 = "{use.sha256}"\n', encoding="utf-8"
    )
    monkeypatch.setenv("HERSCOPE_MODELS", str(model.parent))
    assert score(phantom, spec=make_spec(study=study)).all.h_score_model.model == "mean-brown"
    assert make_spec(study=study, hscore="none").hscore_model is None


def test_the_card_is_enforced(phantom, tmp_path) -> None:
    wrong = {
        "takes 0.9 to": {"input_mpp_finest": 0.9, "input_mpp_coarsest": 1.1},
        "predicts nuclei, not hscore": {"task": "nuclei", "classes": ["nucleus"]},
        "does not say which pixels count": {"inputs": "rgb"},
        "takes patches of 128 px alone": {"input_size_px": 128},
    }
    for number, (said, changes) in enumerate(wrong.items()):
        folder = mean_model(tmp_path / f"wrong-{number}", **changes)
        with pytest.raises(WrongInput, match=said):
            score(phantom, hscore=folder)
    sized = mean_model(tmp_path / "sized", input_size_px=128)
    assert score(phantom, hscore=sized, tiles__size_px=128).all.h_score_model.value > 0
    with pytest.raises(ModelError, match=r"\(1, 2\) for one patch"):
        score(phantom, hscore=mean_model(tmp_path / "pairs", values=2))
    with pytest.raises(UnknownModel):
        score(phantom, hscore=tmp_path / "absent")


def test_a_model_that_changed_since_it_was_chosen_is_refused(phantom, tmp_path) -> None:
    folder = mean_model(tmp_path / "changed")
    spec = make_spec(hscore=folder)
    mean_model(folder, gain=3)
    with pytest.raises(ModelError, match="as when it was chosen"):
        score(phantom, spec=spec)


def test_the_model_stays_when_another_parameter_is_changed(phantom, model) -> None:
    found = score(phantom, marker="cytoplasmic", spec=make_spec(hscore=model), tiles__size_px=256)
    assert found.all.h_score_model.model == "mean-brown"
    assert found.result.marker == "cytoplasmic"


def test_alerts_say_what_it_was_trained_on_and_where_methods_disagree(
    phantom, scored, tmp_path
) -> None:
    codes = [one.code for one in scored.alerts]
    trained = next(one for one in scored.alerts if one.code == "predicted-h-score")
    assert trained.severity == "note"
    assert "24 patches of 64 px of phantoms. It has seen no real tissue." in trained.message
    apart = {
        name: abs(part.h_score_model.value - part.h_score_pixel.value)
        for name, part in scored.result.compartments.items()
        if name != "all"
    }
    assert codes.count("h-scores-disagree") == sum(value > 30 for value in apart.values()) > 0
    alarm = next(one for one in scored.alerts if one.code == "h-scores-disagree")
    assert (alarm.severity, alarm.limit) == ("warning", 30.0)
    assert alarm.value == pytest.approx(max(apart.values()), abs=1e-3)

    real = mean_model(tmp_path / "real", training_data="9 real slides of one lab")
    loose = ScoreSpec(alerts=AlertSpec(h_score_apart=300))
    others = {one.code: one for one in score(phantom, hscore=real, spec=loose).alerts}
    assert "no real tissue" not in others["predicted-h-score"].message
    assert "h-scores-disagree" not in others


@pytest.mark.parametrize(
    ("trained", "warned"),
    [(64, True), (256, False), (None, False)],
)
def test_tiles_of_another_size_than_the_model_was_trained_on_are_warned_of(
    phantom, tmp_path, trained, warned
) -> None:
    folder = mean_model(tmp_path / "sized", trained_px=trained)
    alerts = {one.code: one for one in score(phantom, hscore=folder, tiles__size_px=256).alerts}
    assert ("h-score-patch-size" in alerts) is warned
    if warned:
        said = alerts["h-score-patch-size"]
        assert (said.severity, said.value, said.limit) == ("warning", 256, 64)
        assert "size_px = 64 under [tiles]" in said.message


def test_a_compartment_without_target_has_no_value(drawn, model, tmp_path) -> None:
    path, annotations = drawn
    document = json.loads(annotations.read_text("utf-8"))
    for feature in document["features"]:
        feature["properties"]["classification"]["name"] = "Stroma"
    only = tmp_path / "stroma.geojson"
    only.write_text(json.dumps(document), encoding="utf-8")
    found = score(path, compartments=only, hscore=model).result.compartments
    empty = found["tumor"].h_score_model
    assert (empty.value, empty.patches, empty.area_mm2) == (None, 0, 0.0)
    assert found["stroma"].h_score_model.value > 0


def test_report_and_cohort_show_it_under_the_models_name(run, phantom, tmp_path) -> None:
    value = json.loads((run / "slides" / "case" / "result.json").read_text("utf-8"))[
        "compartments"
    ]["all"]["h_score_model"]["value"]
    page = (run / "slides" / "case" / "report.html").read_text("utf-8")
    assert "H-score by model mean-brown, 0 to 300" in page
    assert f"{value:.1f}" in page
    assert "Patches of 128 µm" in page
    with (run / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream))
    assert float(row["all_h_score_model"]) == value
    assert row["hscore_model"] == "mean-brown"
    index = (run / "index.html").read_text("utf-8")
    assert "H by mean-brown" in index
    assert f">{value:.0f}<" in index
    assert "24 patches of 64 px of phantoms" in index

    plain = tmp_path / "plain"
    score_slides([phantom], plain, make_spec(), workers=1)
    for file in (plain / "index.html", plain / "slides" / "case" / "report.html"):
        assert "H by" not in file.read_text("utf-8")
        assert "H-score by" not in file.read_text("utf-8")


def test_the_command_scores_with_a_model_by_its_name(
    phantom, model, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("HERSCOPE_MODELS", str(model.parent))
    out = str(tmp_path / "run")
    command = ["score", str(phantom), "--out", out, "--workers", "1"]
    assert main([*command, "--hscore", "mean-brown", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    part = document["slides"]["case"]["result"]["compartments"]["all"]
    assert part["h_score_model"]["model"] == "mean-brown"
    assert main([*command, "--hscore", "mean-brown"]) == 0
    said = capsys.readouterr().out
    assert "by model" in said
    assert f"{part['h_score_model']['value']:.0f}" in said
    assert main([*command, "--hscore", "mean-browm", "--force"]) == 1
    assert "mean-brown" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_trained_here_scores_a_slide(phantom, tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="training needs the extra learn")
    from herscope.recipes.fit_hscore import HscoreFitSpec, fit_hscore, phantom_hscores

    before = torch.get_num_threads()
    phantom_hscores(tmp_path / "patches", 16, seed=1, size_px=64, region="marker")
    small = HscoreFitSpec(width=0.5, epochs=4, seed=1, device="cpu")
    fit_hscore(tmp_path / "patches", tmp_path / "tiny", small, threads=1)
    assert torch.get_num_threads() == before
    found = score(phantom, hscore=tmp_path / "tiny", tiles__size_px=64)
    part = found.all.h_score_model
    assert part.patches > 100
    assert 0 < part.value < 300
    assert part.patch_um == pytest.approx(32, abs=3.2)
