"""Every feature of IBSI's digital phantom comes out as the initiative agreed."""

from __future__ import annotations

import csv
import functools
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from herscope.respond.radiomics.extract import features
from herscope.respond.radiomics.spec import Aggregation, FeatureClass, RadiomicsSpec

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
PHANTOM = DATA / "ct" / "ibsi_digital_phantom"
TABLE = PHANTOM / "reference_values.csv"


def reference() -> list[tuple[str, float, float]]:
    """Tags with a value; five have none, because the initiative reached no consensus on them."""
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return [
        (row["tag"], float(row["reference value"]), float(row["tolerance"]))
        for row in rows
        if row["reference value"]
    ]


TAGS = [row[0] for row in reference()]
needs_phantom = pytest.mark.skipif(
    not TABLE.is_file(), reason="the IBSI phantom is not on this machine"
)


@functools.cache
def measured() -> dict[str, float | None]:
    nibabel = pytest.importorskip("nibabel", reason="nibabel reads the phantom")
    image, mask = (
        np.asarray(nibabel.load(PHANTOM / f"{name}.nii.gz").dataobj).transpose(2, 1, 0)
        for name in ("phantom", "mask")
    )
    spec = RadiomicsSpec(
        classes=get_args(FeatureClass),
        aggregation=get_args(Aggregation),
        force_2d=False,
        bin_size=1.0,  # the phantom comes in grey levels
        ivh_levels="integer",
        wavelet="none",
        log_sigma_mm=(),
        omit=(),
    )
    return features(image, mask, (2.0, 2.0, 2.0), spec)


@needs_phantom
@pytest.mark.parametrize(
    ("tag", "value", "tolerance"), reference(), ids=[r[0] for r in reference()]
)
def test_a_feature_of_the_digital_phantom_is_within_its_tolerance(
    tag: str, value: float, tolerance: float
) -> None:
    ours = measured()[tag]

    # The table has three significant digits, and most tolerances are 0: rounded, it must be it.
    assert ours is not None
    assert abs(float(f"{ours:.3g}") - value) <= tolerance + 1e-9 * abs(value)


@needs_phantom
def test_we_compute_nothing_of_the_phantom_that_has_no_reference_value() -> None:
    tags = {row[0] for row in reference()}

    assert set(measured()) == tags
    assert len(tags) == 482
