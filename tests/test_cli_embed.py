"""herscope embed: folders of feature files, kept, resumed, shared and refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from herscope.cli import main
from herscope.core.errors import StaleResult
from herscope.embed.feature_file import read_features, read_header
from herscope.recipes.embedding import embed_slides, embed_spec
from herscope.recipes.embedding_folder import FeatureFolder
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
HE = DATA / "he"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    for seed in (1, 2, 3):
        spec = PhantomSpec(stain="he", width_um=384, height_um=256, mpp=0.5, seed=seed)
        draw_phantom(spec, folder / f"case-{seed}.tif")
    return folder


@pytest.fixture
def slides(drawn, tmp_path):
    folder = tmp_path / "slides"
    shutil.copytree(drawn, folder)
    return folder


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_slides_become_feature_files_and_the_folder_says_how(capsys, slides, tmp_path):
    out = tmp_path / "features"
    code, said, told = run(capsys, "embed", slides, "--out", out, "--json")

    document = json.loads(said)
    assert code == 0
    assert "embedding 3 slides" in told
    assert sorted(document["slides"]) == ["case-1", "case-2", "case-3"]
    for name, slide in document["slides"].items():
        bag = read_features(out / f"{name}.h5ad")
        assert (slide["status"], slide["tiles"]) == ("done", len(bag))
        assert bag.encoder_id == document["encoder_id"]
    about = json.loads((out / "embed.json").read_text())
    assert about["schema"] == "herscope.embed/1"
    assert about["encoder"]["name"] == "colour-texture"
    assert about["slides"]["case-1"]["tiles_per_s"] > 0
    assert json.loads((out / "failures.json").read_text()) == {}


def test_the_same_command_again_embeds_nothing(capsys, slides, tmp_path):
    out = tmp_path / "features"
    run(capsys, "embed", slides, "--out", out)
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.h5ad")}
    code, said, told = run(capsys, "embed", slides, "--out", out)
    assert (code, "3 done before" in told) == (0, True)
    assert "case-2" in said
    assert {file: file.stat().st_mtime_ns for file in out.glob("*.h5ad")} == before


def test_a_slide_that_was_changed_is_embedded_again_and_a_copied_one_is_not(slides, tmp_path):
    out = tmp_path / "features"
    embed_slides([slides], out)
    os.utime(slides / "case-1.tif", ns=(1, 1))  # as after a copy
    shutil.copyfile(slides / "case-3.tif", slides / "case-2.tif")
    os.utime(slides / "case-2.tif", ns=(2, 2))
    before = {file.stem: file.stat().st_mtime_ns for file in out.glob("*.h5ad")}
    embed_slides([slides], out)
    after = {file.stem: file.stat().st_mtime_ns for file in out.glob("*.h5ad")}
    assert [name for name in sorted(before) if before[name] != after[name]] == ["case-2"]


def test_other_parameters_are_refused_by_name_and_force_takes_them(capsys, slides, tmp_path):
    out = tmp_path / "features"
    run(capsys, "embed", slides, "--out", out)
    code, _, told = run(capsys, "embed", slides, "--out", out, "--normalise", "macenko")
    assert code == 1
    assert "normalise.method 'none' -> 'macenko'" in told
    assert "--force" in told
    old = read_features(out / "case-1.h5ad")
    code, _, _ = run(capsys, "embed", slides, "--out", out, "--normalise", "macenko", "--force")
    new = read_features(out / "case-1.h5ad")
    assert code == 0
    assert old.encoder_id != new.encoder_id
    assert not np.array_equal(old.features, new.features)


def test_a_folder_is_never_mixed_by_other_slides(slides, tmp_path):
    out = tmp_path / "features"
    embed_slides([slides / "case-1.tif"], out)
    with pytest.raises(StaleResult, match=r"tiles\.size_px 256 -> 128"):
        embed_slides([slides / "case-2.tif"], out, embed_spec(size_px=128))
    assert not (out / "case-2.h5ad").exists()
    document = embed_slides([slides / "case-3.tif"], out, embed_spec(max_tiles=2))
    assert document["slides"]["case-3"]["tiles"] == 2  # comparable, only fewer


def test_a_damaged_feature_file_is_made_again(slides, tmp_path):
    out = tmp_path / "features"
    embed_slides([slides / "case-1.tif"], out)
    whole = (out / "case-1.h5ad").read_bytes()
    (out / "case-1.h5ad").write_bytes(whole[:5000])
    embed_slides([slides / "case-1.tif"], out)
    assert (out / "case-1.h5ad").read_bytes() == whole


def test_a_slide_that_fails_does_not_stop_the_others(capsys, slides, tmp_path):
    (slides / "broken.tif").write_bytes(b"II*\0 no slide")
    out = tmp_path / "features"
    code, said, _ = run(capsys, "embed", slides, "--out", out)
    failures = json.loads((out / "failures.json").read_text())
    assert code == 3
    assert list(failures) == ["broken"]
    assert failures["broken"]["hint"]
    assert "broken failed" in said
    assert len(list(out.glob("*.h5ad"))) == 3

    shutil.copyfile(slides / "case-1.tif", slides / "broken.tif")
    code, _, _ = run(capsys, "embed", slides, "--out", out)
    assert code == 0
    assert json.loads((out / "failures.json").read_text()) == {}


def test_shards_share_the_slides_and_make_the_same_files(slides, tmp_path):
    for shard in ("2/2", "1/2"):
        document = embed_slides([slides], tmp_path / "parts", shard=shard)
    embed_slides([slides], tmp_path / "whole", threads=1)
    assert sorted(document["slides"]) == ["case-1", "case-3"]
    for file in sorted((tmp_path / "whole").glob("*.h5ad")):
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes()
    about = json.loads((tmp_path / "parts" / "embed.json").read_text())
    assert sorted(about["slides"]) == ["case-1", "case-2", "case-3"]


def test_a_slide_in_work_elsewhere_is_left_alone(slides, tmp_path):
    out = FeatureFolder(tmp_path / "features")
    out.create()
    lock = out.lock("case-1")
    assert lock.acquire()
    document = embed_slides([slides], out.root)
    lock.release()
    assert document["slides"]["case-1"]["status"] == "busy"
    assert document["slides"]["case-2"]["status"] == "done"


def test_ctrl_c_keeps_what_is_finished(slides, tmp_path):
    class Stop:
        def __init__(self):
            self.done = []

        def start(self, *_):
            pass

        def tiles(self, name, *_):
            if name == "case-2":
                raise KeyboardInterrupt

        def slide(self, name, *_):
            self.done.append(name)

        def close(self):
            pass

    out = tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        embed_slides([slides], out, progress=Stop())
    about = json.loads((out / "embed.json").read_text())
    assert sorted(about["slides"]) == ["case-1"]
    assert not list(out.glob(".case-2*"))
    assert embed_slides([slides], out)["slides"]["case-3"]["status"] == "done"


def test_formats_of_others_are_written_beside_ours(capsys, slides, tmp_path):
    from herscope.embed.open_features import read_any

    out = tmp_path / "features"
    embed_slides([slides], out)
    words = ("--also", "trident", "--also", "stamp", "--also", "clam")
    code, _, _ = run(capsys, "embed", slides, "--out", out, *words)
    assert code == 0
    ours = read_features(out / "case-1.h5ad")
    for name in ("trident", "clam", "stamp"):
        theirs = read_any(out / name / "case-1.h5", mpp=0.5, tile_px=256)
        assert np.array_equal(theirs.features, ours.features)


def test_options_that_make_no_sense_are_refused_in_words(capsys, slides, tmp_path):
    out = tmp_path / "features"
    cases = {
        ("--encoder", "colour-textur"): "colour-texture",
        ("--shard", "3/2"): "--shard",
        ("--batch", "0"): "--batch",
        ("--tile-mpp", "500"): "500 µm/px",
        ("--size-px", "3"): "size-px",
        ("--normalise-to", "x.png"): "without a method",
        ("--weights", "w"): "colour-texture",
    }
    for words, expected in cases.items():
        code, _, told = run(capsys, "embed", slides, "--out", out, *words)
        assert code in {1, 2}, words
        assert expected in told, words
        assert "Traceback" not in told
    assert not list(tmp_path.glob("features/*.h5ad"))


def test_the_header_holds_what_is_needed_to_make_it_again(slides, tmp_path):
    out = tmp_path / "features"
    embed_slides([slides / "case-1.tif"], out, embed_spec(max_tiles=3))
    made = read_header(out / "case-1.h5ad")["provenance"]
    assert made["spec"]["tiles"]["max_tiles"] == 3
    assert made["file"]["sha256"]
    assert made["mpp_source"]
    assert made["packages"]["numpy"]


@pytest.mark.skipif(not HE.exists(), reason="needs the shared H&E pictures")
def test_real_pictures_are_embedded(tmp_path):
    region = HE / "wsi" / "CMU-1-Small-Region.svs"
    monuseg = HE / "monuseg" / "TCGA-A7-A13E-01Z-00-DX1.tif"
    document = embed_slides([region, monuseg], tmp_path, embed_spec(mpp=0.25))
    assert {slide["status"] for slide in document["slides"].values()} == {"done"}
    assert read_features(tmp_path / "CMU-1-Small-Region.h5ad").mpp == pytest.approx(0.499)
    assert document["slides"]["TCGA-A7-A13E-01Z-00-DX1"]["tiles"] == 4


@pytest.mark.skipif(not HE.exists(), reason="needs the shared H&E pictures")
def test_a_real_overview_is_refused_for_its_resolution(tmp_path):
    overview = HE / "tcga_overviews" / "TCGA-A2-A0CX-01Z-00-DX1.png"
    document = embed_slides([overview], tmp_path, embed_spec(mpp=6))
    failure = document["failures"]["TCGA-A2-A0CX-01Z-00-DX1"]
    assert "has 6 µm/px" in failure["message"]
    assert "embed the scan itself" in failure["hint"]
