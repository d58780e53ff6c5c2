"""The whole chain from real H&E pictures to heatmaps runs; nothing is claimed of its figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from herscope.cli.app import run

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
BREAST = ("TCGA-A7", "TCGA-AR", "TCGA-E2")

pytestmark = pytest.mark.skipif(
    not (DATA / "he").is_dir(), reason="the real H&E pictures are not on this machine"
)


def told(capsys: Any, *words: str) -> dict[str, Any]:
    code = run([*words, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0, document
    return dict(document)


def tiles_of_organs(_: Path) -> dict[Path, str]:
    found = sorted((DATA / "he" / "monuseg").glob("*.tif"))
    return {path: "breast" if path.name.startswith(BREAST) else "other" for path in found}


def halves_of_overviews(root: Path) -> dict[Path, str]:
    """Five pictures are too few to train, stop and test on; their halves will do for a smoke."""
    found: dict[Path, str] = {}
    pictures = sorted((DATA / "he" / "tcga_overviews").glob("*.png"))
    for number, path in enumerate(pictures):  # names without a barcode: each half a patient
        with Image.open(path) as picture:
            width, height = picture.size
            for side, left in (("left", 0), ("right", width // 2)):
                half = root / f"half-{number}-{side}.png"
                picture.convert("RGB").crop((left, 0, left + width // 2, height)).save(half)
                found[half] = side
    return found


@pytest.mark.parametrize(
    ("pictures", "scale"),
    [
        (tiles_of_organs, ["--mpp", "0.25"]),
        (halves_of_overviews, ["--mpp", "4", "--tile-mpp", "4"]),
    ],
)
def test_the_chain_runs_on_real_pictures(
    pictures: Callable[[Path], dict[Path, str]], scale: list[str], tmp_path: Path, capsys: Any
) -> None:
    torch.set_num_threads(1)
    kinds = pictures(tmp_path)
    slides = list(kinds)
    labels = tmp_path / "labels.csv"
    rows = [f"{path.stem},{kind}" for path, kind in kinds.items()]
    labels.write_text("\n".join(["slide,label", *rows]) + "\n")
    features, model = str(tmp_path / "features"), str(tmp_path / "model")

    made = told(capsys, "embed", *map(str, slides), "--out", features, *scale)
    fitted = told(
        capsys, "mil", "fit", str(labels), "--features", features, "--out", model,
        "--model", "abmil", "--folds", "2", "--epochs", "3", "--workers", "1",
    )  # fmt: skip
    said = told(
        capsys, "mil", "predict", "--model", model, "--features", features,
        "--out", str(tmp_path / "predicted"),
    )  # fmt: skip
    drawn = told(
        capsys, "mil", "heatmap", "--model", model, "--features", features,
        "--out", str(tmp_path / "maps"), "--slides", *map(str, slides), "--slide", slides[0].stem,
    )  # fmt: skip

    assert made["features"] == 49
    assert fitted["slides"] == len(said["slides"]) == len(slides)
    page = (tmp_path / "maps" / drawn["slides"][0]["files"]["page"]).read_text()
    assert "does not replace IHC" in page
    assert "data:image" in page  # the slide below the map


def test_overviews_are_no_scans(capsys: Any, tmp_path: Path) -> None:
    code = run(["embed", str(DATA / "he" / "tcga_overviews"), "--out", str(tmp_path), "--mpp", "4"])
    assert code == 3
    assert "this looks like an overview" in capsys.readouterr().out
