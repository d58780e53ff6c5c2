"""Vectors of a study are pooled from its slides, and the file goes back into scoring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from herscope.cli import main
from herscope.core.errors import InputError
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.stain.estimate import VectorEstimate, estimate_vectors
from herscope.stain.study import pool_estimates, vectors_toml
from herscope.stain.vectors import RUIFROK_JOHNSTON, Triple, angle_deg, read_vectors


def estimate(hematoxylin: Triple, dab: Triple) -> VectorEstimate:
    rng = np.random.default_rng(0)
    h, d = (np.asarray(v) / np.linalg.norm(v) for v in (hematoxylin, dab))
    amounts = rng.uniform(0.2, 0.8, (4000, 1))
    pixels = np.concatenate([amounts * h, amounts * d]) + rng.normal(0, 0.005, (8000, 3))
    return estimate_vectors(pixels)


def test_each_slide_counts_once() -> None:
    one = estimate((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
    two = estimate((0.75, 0.60, 0.29), (0.33, 0.55, 0.77))
    pooled = pool_estimates({"a": one, "b": two}, name="study")
    mean = np.asarray(one.hematoxylin) + np.asarray(two.hematoxylin)
    assert angle_deg(pooled.vectors.hematoxylin, tuple(mean)) == pytest.approx(0, abs=1e-5)
    assert pooled.spread_deg["a"] == pytest.approx(pooled.spread_deg["b"], abs=1.5)
    assert 1 < pooled.spread_deg["a"] < 10


def test_the_file_gives_the_same_vectors_back(tmp_path: Path) -> None:
    one = estimate((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
    pooled = pool_estimates({'a "quoted" slide': one}, name='odd "name"')
    file = tmp_path / "v.toml"
    file.write_text(vectors_toml(pooled), encoding="utf-8")
    back = read_vectors(file).vectors()
    assert back.name == 'odd "name"'
    assert angle_deg(back.dab, pooled.vectors.dab) < 1e-3


def test_nothing_or_an_invalid_estimate_is_refused() -> None:
    with pytest.raises(InputError, match="no slide"):
        pool_estimates({}, name="x")
    bad = replace(estimate((0.65, 0.7, 0.29), (0.27, 0.57, 0.78)), valid=False, reasons=("pale",))
    with pytest.raises(InputError, match="pale"):
        pool_estimates({"a": bad}, name="x")


def test_the_command_recovers_the_phantoms_dyes(tmp_path: Path, capsys) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    draw_phantom(PhantomSpec(width_um=500, height_um=400, stain="cytoplasmic"), slides / "a.tiff")
    out = tmp_path / "study.toml"
    assert main(["stains", str(slides), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["left_out"] == {}
    found = read_vectors(out).vectors()
    assert angle_deg(found.hematoxylin, RUIFROK_JOHNSTON.hematoxylin) < 8
    assert angle_deg(found.dab, RUIFROK_JOHNSTON.dab) < 8
    assert main(["score", str(slides), "--stains", str(out), "--out", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "slides" / "a" / "result.json").read_text())
    assert result["stains"]["source"].startswith("study: estimated by herscope from 1 slides")
