"""``herscope respond bags``: from slides to features, regions and radiomics of bags."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from herscope.cli.app import run
from herscope.core.errors import InputError
from herscope.embed.feature_file import read_features, read_header
from herscope.recipes.respond_bags import embed_bags, word_spec
from herscope.respond.pathology.bag_radiomics import bag_picture, density
from herscope.respond.pathology.bags import BagSpec, read_pathology, slide_bags
from herscope.respond.pathology.radiomics_table import read_table
from herscope.respond.radiomics.extract import tile_features
from herscope.respond.radiomics.spec import RadiomicsSpec
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.tissue.geojson import write_regions
from herscope.tissue.regions import Region

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
QUICK = RadiomicsSpec(
    classes=("statistics",), wavelet="none", log_sigma_mm=(), discretisation="fixed_bin_number"
)
FEW = BagSpec(bag_um=128, min_share=0.1)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("he") / "he.tif"
    draw_phantom(PhantomSpec(stain="he", width_um=700, height_um=500, mpp=0.5, seed=5), path)
    return path


@pytest.fixture(scope="module")
def folder(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    embed_bags([slide], out, bags=FEW, radiomics=QUICK, threads=1)
    return out


def told(capsys: Any, *given: Any) -> tuple[int, dict[str, Any]]:
    code = run(["respond", "bags", *map(str, given), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_makes_words_bags_and_a_table(slide: Path, tmp_path: Path, capsys: Any) -> None:
    code, document = told(capsys, slide, "--out", tmp_path, "--max-bags", 1, "--threads", 1)

    one = document["slides"]["he"]
    assert code == 0
    assert document["schema"] == "herscope.bags/1"
    assert one["bag_um"] == 224
    assert one["measured"] == 1
    table = read_table(tmp_path / "he.bags.parquet")
    assert len(table.names) == 736
    assert np.isfinite(table.values).mean() > 0.99
    assert read_header(tmp_path / "he.h5ad")["tiles"]["size_px"] == 64
    kept = json.loads((tmp_path / "bags.json").read_text())
    assert kept["slides"]["he"]["bags"] == one["bags"]


def test_columns_of_the_table_are_places_and_then_features(folder: Path) -> None:
    import pyarrow.parquet as pq

    names = pq.read_table(folder / "he.bags.parquet").column_names

    assert names[:3] == ["x_px", "y_px", "stat_mean"]


def test_figures_are_those_of_the_words_on_the_slide(slide: Path, folder: Path) -> None:
    found, bags = slide_bags(folder / "he.h5ad", FEW)
    table = read_table(folder / "he.bags.parquet")
    row = int(np.argmin((bags.words >= 0).sum(axis=1)))  # a bag with words missing
    assert (bags.words[row] < 0).any()
    with open_slide(slide) as opened:
        grid = opened.grid(0.5)
        whole = density(opened.read_all(grid))
        picture, mask = bag_picture(opened, grid, found, bags, row)

    values = [
        whole[y : y + 64, x : x + 64].ravel()
        for x, y in found.xy_px[bags.words[row][bags.words[row] >= 0]]
    ]

    [at] = np.flatnonzero((table.xy_px == bags.xy_px[row]).all(axis=1))
    assert table.values[at, 0] == pytest.approx(np.concatenate(values).mean(), rel=1e-9)
    again = tile_features(density(picture), mask, 0.5, QUICK)
    assert table.values[at].tolist() == [again[name] for name in table.names]


def test_a_patient_reads_what_the_command_made(folder: Path) -> None:
    found = read_pathology([folder / "he.h5ad"], FEW)

    assert found.omics is not None
    assert found.omics.shape == (len(found), len(read_table(folder / "he.bags.parquet").names))
    assert found.words.shape[1:] == (16, 49)
    assert found.slide_paths[0] is not None
    assert found.slide_paths[0].endswith("he.tif")


def test_words_are_balanced_and_normalised_unless_asked_otherwise(folder: Path) -> None:
    said = read_header(folder / "he.h5ad")["provenance"]["spec"]["normalise"]

    assert said["method"] == "reinhard"
    assert said["white_balance"] is True
    assert word_spec(normalise="none").normalise.method == "none"
    with pytest.raises(InputError, match="without a method"):
        word_spec(normalise="none", white_balance=True)


def test_a_second_call_does_nothing_again(slide: Path, folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("he.*")}

    document = embed_bags([slide], folder, bags=FEW, radiomics=QUICK, threads=1)

    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("he.*")} == before
    assert document["slides"]["he"]["bags_per_s"] is None


def test_other_bags_are_measured_again_without_embedding_again(slide: Path, tmp_path: Path) -> None:
    embed_bags([slide], tmp_path, bags=FEW, radiomics=QUICK, threads=1)
    before = (tmp_path / "he.h5ad").stat().st_mtime_ns

    embed_bags([slide], tmp_path, bags=BagSpec(min_share=0.1), radiomics=QUICK, threads=1)

    assert (tmp_path / "he.h5ad").stat().st_mtime_ns == before
    assert read_table(tmp_path / "he.bags.parquet").edge_px == 448
    embed_bags([slide], tmp_path, bags=FEW.model_copy(update={"radiomics": False}), threads=1)
    assert not (tmp_path / "he.bags.parquet").exists()  # of other bags than these


def test_regions_of_an_expert_restrict_the_bags(slide: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    left = Region("Tumor", shapely.box(0, 0, 600, 1000))
    write_regions(drawn / "he.geojson", [left, Region("Stroma", shapely.box(0, 0, 2e3, 2e3))])

    document = embed_bags(
        [slide], tmp_path / "out", bags=FEW, radiomics=QUICK, regions=drawn, threads=1
    )

    found = read_pathology([tmp_path / "out" / "he.h5ad"], FEW)
    assert found.xy_px[:, 0].max() < 600
    assert document["slides"]["he"]["words"] < document["slides"]["he"]["tiles"]
    whole = embed_bags([slide], tmp_path / "out", bags=FEW, radiomics=QUICK, threads=1)
    assert whole["slides"]["he"]["words"] == whole["slides"]["he"]["tiles"]
    assert not (tmp_path / "out" / "he.regions.geojson").exists()


def test_a_slide_without_annotation_fails_alone_and_is_not_embedded(
    slide: Path, tmp_path: Path, capsys: Any
) -> None:
    drawn, second = tmp_path / "drawn", tmp_path / "second.tif"
    drawn.mkdir()
    second.write_bytes(slide.read_bytes())
    write_regions(drawn / "he.geojson", [Region("Tumor", shapely.box(0, 0, 2e3, 2e3))])

    code, document = told(
        capsys,
        *(slide, second, "--out", tmp_path / "out", "--regions", drawn, "--no-radiomics"),
        *("--threads", 1),
    )

    assert code == 3
    assert list(document["failures"]) == ["second"]
    assert document["slides"]["second"]["status"] == "failed"
    assert document["slides"]["he"]["status"] == "done"
    assert not (tmp_path / "out" / "second.h5ad").exists()
    kept = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert "no annotation" in kept["second"]["message"]


def test_one_annotation_for_several_slides_and_a_class_that_is_not_there_are_refused(
    slide: Path, tmp_path: Path, capsys: Any
) -> None:
    second = tmp_path / "second.tif"
    second.write_bytes(slide.read_bytes())
    drawn = tmp_path / "he.geojson"
    write_regions(drawn, [Region("Stroma", shapely.box(0, 0, 9, 9))])

    code, document = told(capsys, slide, second, "--out", tmp_path / "out", "--regions", drawn)
    assert code == 1
    assert "of one slide" in document["error"]["message"]
    code, document = told(capsys, slide, "--out", tmp_path / "out", "--regions", drawn)
    assert code == 1
    assert "it has Stroma" in document["error"]["message"]


def test_a_slide_that_cannot_be_read_does_not_stop_the_others(
    slide: Path, tmp_path: Path, capsys: Any
) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(slide.read_bytes()[:2000])

    options = ("--out", str(tmp_path / "out"), "--no-radiomics", "--threads", "1")
    code = run(["respond", "bags", str(slide), str(broken), *options])

    said = capsys.readouterr().out
    assert code == 3
    assert "broken failed" in said
    assert read_features(tmp_path / "out" / "he.h5ad").size == 49


def test_bags_smaller_than_words_fail_with_a_hint(slide: Path, tmp_path: Path, capsys: Any) -> None:
    code, document = told(capsys, slide, "--out", tmp_path, "--bag-px", 32, "--threads", 1)

    assert code == 3
    assert "smaller than its words" in document["failures"]["he"]["message"]


def test_a_real_slide_gives_bags_of_tissue(tmp_path: Path) -> None:
    path = DATA / "he" / "wsi" / "CMU-1-Small-Region.svs"
    if not path.is_file():
        pytest.skip("no real slides here: set HERSCOPE_DATA")

    document = embed_bags([path], tmp_path, radiomics=QUICK, threads=1)

    one = document["slides"]["CMU-1-Small-Region"]
    assert (one["words"], one["bags"]) == (710, 18)
    found = read_pathology([tmp_path / "CMU-1-Small-Region.h5ad"])
    assert found.omics is not None
    mean_od = found.omics[:, found.omics_names.index("stat_mean")]
    assert mean_od.min() > 0.05  # glass has 0.01
    assert mean_od.max() < 0.6
