"""Real images as patch folders: dots are read as they were drawn, known figures come out again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
needs_data = pytest.mark.skipif(
    not (DATA / "ihc" / "endonuke").is_dir(), reason=f"no real tiles under {DATA}"
)


@pytest.fixture(scope="module")
def converters():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import real_patches
    finally:
        sys.path.remove(str(BENCHMARKS))
    return real_patches


def blob(places, side=160, radius=13.5):
    yy, xx = np.mgrid[:side, :side]
    return np.any([(xx - x) ** 2 + (yy - y) ** 2 <= radius**2 for x, y in places], axis=0)


@pytest.mark.parametrize(
    "places",
    [
        [(40, 40)],
        [(40, 40), (60, 52), (78, 40)],
        [(40, 40), (52, 40), (40, 55), (100, 100), (112, 108)],
        [(40, 5), (90, 156)],  # cut by the border
    ],
)
def test_dots_that_run_together_are_told_apart_by_their_rims(converters, places):
    found, covered = converters.dots_told_apart(blob(places))
    apart = np.hypot(*(np.array(places)[:, None] + 0.5 - found[None]).transpose(2, 0, 1))
    assert len(found) == len(places)
    assert apart.min(axis=1).max() <= 2.0
    assert covered.sum() > 0.9 * blob(places).sum()


def test_a_dot_under_others_is_not_invented(converters):
    ring = [(60 + 9 * np.cos(a), 60 + 9 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    found, _ = converters.dots_told_apart(blob([*ring, (60, 60)]))
    assert len(found) <= 8


@needs_data
def test_the_map_of_one_endonuke_tile_begins_10_px_into_its_crop(converters):
    maps = sorted((DATA / "ihc" / "endonuke").glob("*_points.png"))
    begins = [converters.map_begins(converters.read_rgb(path)) for path in maps]
    assert begins == [1, 1, 1, 10]


@needs_data
def test_endonuke_points_lie_on_dark_pixels_of_their_tile(converters, tmp_path):
    from herscope.nn.patches.marked import read_marked_patches

    points, _ = converters.endonuke(tmp_path, DATA)
    patches = read_marked_patches(points)
    assert float(patches.mpp) == pytest.approx(100 / 346)
    for i in range(len(patches)):
        patch = patches.load(i)
        x, y = patch.points.xy.astype(int).T
        red = patch.rgb[..., 0].astype(int)
        assert red[y, x].mean() < red.mean() - 15, patches.stems[i]


@needs_data
def test_nests_tell_endonuke_stroma_and_a_row_of_epithelium(converters, tmp_path):
    from herscope.recipes.evaluate_points import evaluate_points

    _, nuclei = converters.endonuke(tmp_path, DATA)
    told = evaluate_points(["nests"], nuclei)["models"][0]
    assert told["figures"]["stroma_right"]["value"] > 0.85
    by_tile = {row["patch"]: row["tumor_right"] for row in told["patches"]}
    assert by_tile["er_pr_a4"] > 0.85


@needs_data
@pytest.mark.skipif(not (DATA / "he" / "monuseg").is_dir(), reason="no MoNuSeg tiles here")
def test_the_figures_of_the_classical_method_are_those_of_its_page(converters, tmp_path):
    from herscope.recipes.evaluate_nuclei import evaluate_nuclei

    found = {}
    for make in (converters.deepliif, converters.monuseg):
        told = evaluate_nuclei(["classical"], make(tmp_path, DATA))
        found |= {row["patch"]: round(row["f1"], 2) for row in told["models"][0]["patches"]}
    assert found == {"22_2": 0.81, "799_2": 0.70, "A7-A13E": 0.74, "AR-A1AK": 0.68}
