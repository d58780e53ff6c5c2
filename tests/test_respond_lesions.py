"""``herscope respond lesions``: from a CT and a mask to a table and pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herscope.cli.app import run

nibabel = pytest.importorskip("nibabel", reason="NIfTI files need the extra radiology")


def files(root: Path, *, second: bool = True) -> tuple[str, str]:
    """A CT of noise around 40 HU with a bright ball, and a second piece of one voxel."""
    rng = np.random.default_rng(3)
    x, y, z = np.indices((40, 40, 20))
    ball = (x - 15) ** 2 + (y - 20) ** 2 + 4 * (z - 10) ** 2 <= 64
    hu = rng.normal(40, 12, ball.shape) + 60 * ball
    mask = ball.astype(np.uint8)
    if second:
        mask[35, 35, 2] = 1
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    for name, array in (("ct", hu.astype(np.float32)), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, affine), root / f"{name}.nii.gz")
    return str(root / "ct.nii.gz"), str(root / "mask.nii.gz")


def told(capsys: Any, *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["respond", "lesions", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "lesions.csv").read_text().splitlines()))


def test_volume_brightness_and_pictures_come_out(tmp_path: Path, capsys: Any) -> None:
    ct, mask = files(tmp_path, second=False)

    code, document = told(capsys, ct, mask, "--out", str(tmp_path / "out"), "--kind", "liver")

    [lesion] = document["lesions"]
    assert code == 0
    assert lesion["volume_ml"] == pytest.approx(4 / 3 * np.pi * 8**2 * 4 * 2 / 1000, rel=0.05)
    assert lesion["kind"] == "liver"
    assert lesion["key_slice"] == 11
    [row] = rows_of(tmp_path / "out")
    assert float(row["stat_mean"]) == pytest.approx(100, abs=2)
    assert len(row) == 6 + document["features"]
    assert (tmp_path / "out" / "lesion-1.png").stat().st_size > 2000


def test_a_lesion_too_small_to_measure_keeps_its_row_and_its_reason(
    tmp_path: Path, capsys: Any
) -> None:
    ct, mask = files(tmp_path)

    code, document = told(
        capsys, ct, mask, "--out", str(tmp_path / "out"), "--radiomics.least-voxels", "10"
    )

    assert code == 3
    faults = {one["voxels"]: one["fault"] for one in document["lesions"]}
    assert faults[1] != ""
    assert [fault for voxels, fault in faults.items() if voxels > 1] == [""]
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 2
    assert {row["stat_mean"] == "" for row in rows if row["voxels"] == "1"} == {True}


def test_filters_see_what_lies_around_the_lesion(tmp_path: Path, capsys: Any) -> None:
    ct, mask = files(tmp_path, second=False)
    told(capsys, ct, mask, "--out", str(tmp_path / "a"))
    image = nibabel.load(ct)
    array = np.asarray(image.dataobj).copy()
    inside = np.asarray(nibabel.load(mask).dataobj) > 0
    array[~inside] += 200  # beyond the lesion alone
    nibabel.save(nibabel.Nifti1Image(array, image.affine), tmp_path / "other.nii.gz")

    told(capsys, str(tmp_path / "other.nii.gz"), mask, "--out", str(tmp_path / "b"))

    [a], [b] = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    assert a["stat_mean"] == b["stat_mean"]
    filtered = [name for name in a if name.endswith(".stat_mean")]
    assert any(a[name] != b[name] for name in filtered)


def test_a_table_that_is_there_is_not_replaced_unasked(tmp_path: Path, capsys: Any) -> None:
    ct, mask = files(tmp_path, second=False)
    out = str(tmp_path / "out")
    told(capsys, ct, mask, "--out", out)
    code, document = told(capsys, ct, mask, "--out", out)
    assert code == 1
    assert "--force" in document["error"]["hint"]
    assert told(capsys, ct, mask, "--out", out, "--force")[0] == 0


def test_a_mask_on_another_grid_is_refused(tmp_path: Path, capsys: Any) -> None:
    ct, _ = files(tmp_path)
    nibabel.save(
        nibabel.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), tmp_path / "small.nii.gz"
    )
    code, document = told(capsys, ct, str(tmp_path / "small.nii.gz"), "--out", str(tmp_path / "o"))
    assert code == 1
    assert document["error"]["error"] == "InputError"
