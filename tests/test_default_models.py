"""The models that come with herscope: their cards hold, and they do what the cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import herscope
from herscope.core.errors import WrongInput
from herscope.nn.inputs import network_input
from herscope.nn.int8_file import read_int8
from herscope.nn.model_file import read_model
from herscope.nn.model_folders import find_model
from herscope.nn.runtime import Runner
from herscope.recipes import score
from herscope.segment.learned_nuclei import LearnedNucleiSpec, decode_nuclei, quantise
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.stats.detection import match_instances

NAMES = {"nuclei-phantom": "nuclei", "compartments-phantom": "compartments"}
LARGEST_BYTES = 15_000_000


def test_all_together_stay_small() -> None:
    home = Path(herscope.__file__).parent / "models"
    files = [file for file in home.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == set(NAMES)
    assert sum(file.stat().st_size for file in files) < LARGEST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_it_was_trained_on_and_how_it_did(name, monkeypatch) -> None:
    monkeypatch.delenv("HERSCOPE_MODELS", raising=False)
    card = read_model(find_model(name), task=NAMES[name]).card
    assert card.licence == "Apache-2.0"
    assert "phantoms" in card.training_data
    assert any(figure.startswith("real_") for figure in card.metrics)


def test_drawn_nuclei_are_found_in_float_and_in_eight_bits() -> None:
    from herscope.nn.patches.phantom_compartments import draw_patch
    from herscope.nn.patches.phantom_nuclei import drawn_nuclei

    spec = PhantomSpec(width_um=192, height_um=192, mpp=0.25, seed=9, fat_fraction=0)
    rgb, truth = draw_patch(spec, 0, 0, 256), drawn_nuclei(spec, 0, 0, 256)
    model = read_model(find_model("nuclei-phantom"))
    counts = {}
    for kind, file in (("float32", model), ("int8", read_int8(model))):
        raw = Runner(file, threads=1).run(network_input(rgb, "rgb", (243, 243, 245))[None])[0]
        channels = model.card.classes
        found = decode_nuclei(quantise(raw, channels), channels, 0.5, LearnedNucleiSpec()).labels
        counts[kind] = match_instances(truth, found)
        assert counts[kind].f1 > 0.9
    assert abs(counts["float32"].tp - counts["int8"].tp) <= 3


def test_a_slide_is_scored_with_both_by_name(tmp_path) -> None:
    path = tmp_path / "er.tif"
    truth = draw_phantom(PhantomSpec(width_um=600, height_um=500, seed=4, island_um=150), path)
    found = score(path, marker="er", nuclei="nuclei-phantom", compartments="compartments-phantom")
    assert found.tumor.h_score.value == pytest.approx(truth.h_score("tumor"), abs=25)
    cells = sum(truth.counts("tumor")) + sum(truth.counts("stroma"))
    assert found.all.cells == pytest.approx(cells, rel=0.1)
    assert {"predicted-nuclei", "predicted-compartments"} <= {a.code for a in found.alerts}


def test_a_coarse_picture_is_refused_by_the_card() -> None:
    with pytest.raises(WrongInput, match=r"0\.4 to 0\.625"):
        read_model(find_model("nuclei-phantom"), task="nuclei", mpp=1.0)


def test_other_is_never_called() -> None:
    model = read_model(find_model("compartments-phantom"))
    rng = np.random.Generator(np.random.PCG64(0))
    batch = rng.random((1, 3, 64, 64), dtype=np.float32)
    assert (Runner(model, threads=1).run(batch).argmax(axis=1) != 3).mean() > 0.99
