"""What a brown cytoplasm does to membranes, and that it is said."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from herscope.score.slide import ScoredSlide, score_opened
from herscope.score.spec import ScoreSpec
from herscope.slide.opened import open_slide
from herscope.slide.phantom.presets import MEMBRANE
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom

USUAL, BROWN = 0.08, 0.3
"""Density of the cytoplasm, as a share of the membrane's: as drawn by default, and browner."""


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    @functools.cache
    def of(blush: float, blur_um: float = 0.25) -> ScoredSlide:
        folder: Path = tmp_path_factory.mktemp("phantom")
        fields = {
            "width_um": 260,
            "height_um": 260,
            "seed": 4,
            "tumor_fraction": 0.6,
            "tissue_fraction": 1.0,
        }
        spec = PhantomSpec(
            **{**MEMBRANE.model_dump(), **fields, "membrane_blush": blush, "blur_sigma_um": blur_um}
        )
        draw_phantom(spec, folder / "phantom.tiff").write(folder, "phantom")
        settings = ScoreSpec(marker="her2-breast")
        with open_slide(folder / "phantom.tiff", settings.slide) as slide:
            return score_opened(slide, settings, folder / "phantom.annotations.geojson")

    return of


def alerts(scored: ScoredSlide) -> dict[str, str]:
    return {alert.code: alert.severity for alert in scored.result.alerts}


def test_a_cytoplasm_that_lowers_strong_membranes_is_said(score) -> None:
    usual, brown = score(USUAL).result, score(BROWN).result
    assert brown.membrane.complete_intense_percent < 5 < usual.membrane.complete_intense_percent
    assert "membrane-cytoplasm" not in alerts(score(USUAL))
    assert alerts(score(BROWN))["membrane-cytoplasm"] == "note"


def test_the_alert_gives_the_median_share_of_the_cytoplasm_in_stained_cells(score) -> None:
    scored = score(BROWN)
    cells = scored.cells.to_pandas()
    unread = cells["membrane_class"].isin(["none", "not_evaluable"])
    read = cells[(cells["compartment"] == "tumor") & ~unread]
    share = read["cytoplasm_od"] / (read["cytoplasm_od"] + read["od"])
    (found,) = (a for a in scored.result.alerts if a.code == "membrane-cytoplasm")
    assert found.value == pytest.approx(np.median(share), abs=1e-4)
    assert found.value == pytest.approx(BROWN, abs=0.05)
    assert f"{found.value:.0%}" in found.message


@pytest.mark.parametrize("blush", [USUAL, BROWN])
def test_the_column_of_the_cytoplasm_holds_no_membrane(score, blush: float) -> None:
    cells = score(blush).cells.to_pandas()
    strong = cells[cells["membrane_class"] == "complete_intense"]
    strong = strong if len(strong) > 10 else cells[cells["membrane_class"] == "complete_moderate"]
    assert len(strong) > 10
    inner = np.median(strong["cytoplasm_od"] / (strong["cytoplasm_od"] + strong["od"]))
    assert inner < blush + 0.06


def test_cells_that_cannot_be_evaluated_are_those_of_the_compartment_that_is_read(score) -> None:
    scored = score(USUAL)
    cells = scored.cells.to_pandas()
    blind = cells["membrane_class"] == "not_evaluable"
    mine = cells["compartment"] == "tumor"
    assert (blind & ~mine).any()
    assert scored.result.membrane.not_evaluable == (blind & mine).sum()


def test_alerts_of_the_reading_cite_the_guideline_in_use(score) -> None:
    cited = {a.code: a.source for a in score(USUAL).result.alerts}
    assert cited["her2-controls"] == score(USUAL).result.her2.guideline


def test_a_blur_that_lowers_strong_membranes_is_said(score) -> None:
    sharp, soft = score(USUAL), score(USUAL, 0.5)
    lost = soft.result.membrane.complete_intense_percent
    assert lost < 5 < sharp.result.membrane.complete_intense_percent
    assert "membrane-soft" not in alerts(sharp)
    assert alerts(soft)["membrane-soft"] == "warning"
