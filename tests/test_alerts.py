"""Every alert fires on its side of its limit, and is silent on the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from herscope.guidelines.her2_reading import Her2Floors
from herscope.guidelines.membrane_percent import CLASSES
from herscope.measure.markers import get_marker
from herscope.score.alerts import AlertSpec, Facts, alert, find_alerts
from herscope.score.her2.alerts import membrane_alerts
from herscope.score.her2.membranes import MembraneRead
from herscope.score.her2.reading import read_her2
from herscope.score.preview import Preview
from herscope.score.result import Her2, Her2Overlay, Membrane
from herscope.segment.compartments import Compartments
from herscope.stain.estimate import VectorEstimate
from herscope.stain.white import WhitePoint
from herscope.tissue.checks import RegionProblem

SPEC = AlertSpec()
NO_ESTIMATE = VectorEstimate(
    hematoxylin=None,
    dab=None,
    angle_hematoxylin_deg=None,
    angle_dab_deg=None,
    angle_between_deg=None,
    condition=None,
    pixels=0,
    blue_pixels=0,
    brown_pixels=0,
    valid=False,
    reasons=("none",),
    reference="ruifrok-johnston",
)
GOOD = Facts(
    marker=get_marker("nuclear"),
    mpp=0.25,
    mpp_source="metadata",
    working_mpp=0.5,
    asked_mpp=0.5,
    icc="none",
    white=WhitePoint((240.0, 240.0, 240.0), "median", measured=True),
    preview=Preview(
        windows=20,
        focus_windows=20,
        out_of_focus=0.0,
        sharpness=0.8,
        saturated=0.0,
        kind="ihc",
        evidence={"pink": 0.0, "median_od": 0.2, "stained": 0.6, "blue": 0.5},
        estimate=NO_ESTIMATE,
        contrast_od=0.05,
    ),
    stain_angle_deg=4.0,
    compartments=Compartments(shapes=((None, 1),)),
    cells={"tumor": 5000, "stroma": 800, "all": 6000},
    tissue_px={"tumor": 500, "stroma": 300, "all": 1000},
    background_od=0.02,
)


def codes(facts: Facts, spec: AlertSpec = SPEC) -> dict[str, str]:
    return {alert.code: alert.severity for alert in find_alerts(facts, spec)}


def looking(**changes) -> Facts:
    return replace(GOOD, preview=replace(GOOD.preview, **changes))


def test_a_good_slide_has_no_alert() -> None:
    assert codes(GOOD) == {}


@pytest.mark.parametrize(
    ("facts", "code", "severity"),
    [
        (looking(kind="he"), "looks-like-he", "error"),
        (looking(kind="fluorescence"), "looks-like-fluorescence", "error"),
        (looking(kind="unstained"), "unstained", "error"),
        (looking(evidence={"blue": 0.009, "brown": 0.9}), "no-counterstain", "warning"),
        (looking(evidence={"blue": 0.009, "brown": 0.3}), "stain-vectors", "warning"),
        (replace(GOOD, stain_angle_deg=15.1), "stain-vectors", "warning"),
        (looking(saturated=0.011), "dab-saturation", "warning"),
        (replace(GOOD, background_od=0.11), "background-dab", "warning"),
        (looking(out_of_focus=0.26), "out-of-focus", "warning"),
        (replace(GOOD, mpp_source="objective power (guessed)"), "mpp-guessed", "warning"),
        (replace(GOOD, mpp_source="stated (--mpp)"), "mpp-stated", "note"),
        (replace(GOOD, mpp_source="override (--override-mpp)"), "mpp-stated", "note"),
        (replace(GOOD, working_mpp=0.8), "coarse", "warning"),
        (
            replace(GOOD, white=WhitePoint((250.0, 250.0, 250.0), "assumed", measured=False)),
            "white-point-assumed",
            "note",
        ),
        (replace(GOOD, icc="unusable: broken"), "icc", "note"),
        (replace(GOOD, compartments=Compartments()), "no-compartments", "note"),
        (
            replace(
                GOOD,
                compartments=replace(
                    GOOD.compartments,
                    problems=(RegionProblem("overlap", "warning", "they overlap", 9.0, ()),),
                ),
            ),
            "regions-overlap",
            "warning",
        ),
    ],
)
def test_an_alert_fires_alone(facts: Facts, code: str, severity: str) -> None:
    assert codes(facts) == {code: severity}


@pytest.mark.parametrize(
    ("tumor_px", "expected"),
    [(99, "warning"), (100, "note"), (149, "note"), (150, None)],
)
def test_little_tumor_warns_below_10_and_notes_below_15_percent(tumor_px, expected) -> None:
    facts = replace(GOOD, tissue_px={"tumor": tumor_px, "stroma": 300, "all": 1000})
    assert codes(facts).get("little-tumor") == expected


@pytest.mark.parametrize(("cells", "expected"), [(100, False), (99, True), (1, True)])
def test_fewer_than_100_cells_warn(cells: int, expected: bool) -> None:
    facts = replace(GOOD, cells={"tumor": cells, "stroma": 800, "all": 900})
    assert ("few-cells" in codes(facts)) == expected


def test_an_empty_compartment_says_that_it_is_not_computed() -> None:
    facts = replace(GOOD, cells={"tumor": 0, "stroma": 800, "all": 900})
    found = codes(facts)
    assert "empty-tumor" in found
    assert "few-cells" not in found


def test_errors_come_first_and_every_alert_names_its_source() -> None:
    facts = replace(looking(kind="he", saturated=0.5), mpp_source="stated (--mpp)")
    alerts = find_alerts(facts, SPEC)
    assert [alert.severity for alert in alerts] == ["error", "warning", "note"]
    assert all(alert.source and alert.message for alert in alerts)


def test_limits_are_parameters() -> None:
    assert "dab-saturation" in codes(looking(saturated=0.005), AlertSpec(saturated=0.001))


def membranes(
    *,
    cells: int = 1000,
    not_evaluable: int = 0,
    without_nucleus: int = 0,
    marker: str | None = "her2-breast",
    borderline_why: str = "",
    cytoplasm_share: float | None = 0.1,
) -> MembraneRead:
    """A slide of which half the cells are stained all around and strongly."""
    counts = dict.fromkeys(CLASSES, 0) | {
        "complete_intense": cells // 2,
        "none": cells - cells // 2,
    }
    percent = {f"{name}_percent": 100 * number / cells for name, number in counts.items()}
    clusters = {"complete_intense": cells // 2}
    membrane = Membrane(
        compartment="tumor",
        cells=cells,
        not_evaluable=not_evaluable,
        without_nucleus=without_nucleus,
        counts=counts,
        **percent,
        basolateral_intense_percent=0.0,
        basolateral_moderate_percent=0.0,
        basolateral_weak_percent=0.0,
        pcms_percent=50.0,
        mean_completeness_percent=(50.0, 50.0, 50.0),
        largest_intense_cluster=cells // 2,
        largest_clusters=clusters,
        ci95={},
        ci95_settings={},
        ci95_method="none",
        shares={},
    )
    her2 = None
    if marker is not None:
        reading = read_her2(marker, counts, clusters, Her2Floors())
        assert reading is not None
        block = reading.as_block()
        if block["overlay"] is not None:
            block["overlay"] = Her2Overlay(**block["overlay"])
        block |= {"probability": {"3+": 0.7}, "probability_method": "by hand"}
        her2 = Her2(**block, borderline=bool(borderline_why))
    return MembraneRead(membrane, her2, borderline_why, cytoplasm_share)


def told(read: MembraneRead, *, working_mpp: float = 0.5, separated: bool = True) -> dict[str, str]:
    """Codes and severities but for the one that every membrane has."""
    found = {
        one.code: one.severity
        for one in membrane_alerts(read, working_mpp=working_mpp, separated=separated)
    }
    assert found.pop("membrane-shared") == "note"
    return found


def test_a_good_her2_slide_is_only_asked_for_its_controls() -> None:
    assert told(membranes()) == {"her2-controls": "note"}


def test_a_membrane_marker_without_guideline_hears_nothing_of_her2() -> None:
    assert told(membranes(marker=None), separated=False) == {}


def test_too_few_cells_say_that_her2_was_not_scored_and_nothing_else_of_it() -> None:
    found = list(membrane_alerts(membranes(cells=99), working_mpp=0.5, separated=False))
    assert [one.code for one in found] == ["her2-not-scored", "membrane-shared"]
    assert found[0].severity == "warning"
    assert "99 evaluable cells" in found[0].message


def test_a_borderline_score_says_why_and_how_probable_it_is() -> None:
    why = "the score is close to a cut-off"
    found = list(membrane_alerts(membranes(borderline_why=why), working_mpp=0.5, separated=True))
    assert (found[0].code, found[0].severity) == ("her2-borderline", "warning")
    assert found[0].message == "The score is close to a cut-off."
    assert found[0].value == 0.7


def test_her2_over_all_cells_is_a_warning() -> None:
    assert told(membranes(), separated=False) == {
        "her2-controls": "note",
        "her2-all-cells": "warning",
    }


@pytest.mark.parametrize(("mpp", "expected"), [(0.25, False), (0.6, False), (0.601, True)])
def test_membranes_of_two_pixels_are_called_coarse(mpp: float, expected: bool) -> None:
    assert (told(membranes(), working_mpp=mpp).get("membrane-coarse") == "warning") == expected


@pytest.mark.parametrize(("rims", "expected"), [(0, False), (50, False), (51, True)])
def test_more_than_a_twentieth_found_by_their_rim_is_noted(rims: int, expected: bool) -> None:
    assert (told(membranes(without_nucleus=rims)).get("cells-by-rim") == "note") == expected


@pytest.mark.parametrize(("blind", "expected"), [(0, False), (111, False), (112, True)])
def test_more_than_a_tenth_cut_off_by_the_pictures_edge_is_noted(blind: int, expected) -> None:
    found = told(membranes(not_evaluable=blind))
    assert (found.get("membrane-unseen") == "note") == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(None, None), (0.25, None), (0.251, "note"), (0.4, "note"), (0.401, "warning")],
)
def test_a_brown_cytoplasm_is_said_to_be_taken_off(share, expected: str | None) -> None:
    assert told(membranes(cytoplasm_share=share)).get("membrane-cytoplasm") == expected


def test_alerts_of_others_are_put_in_their_place() -> None:
    more = [alert("last", "note", "A note."), alert("first", "error", "An error.", 1 / 3)]
    found = find_alerts(replace(GOOD, stain_angle_deg=99.0), SPEC, more)
    assert [one.code for one in found] == ["first", "stain-vectors", "last"]
    assert found[0].value == 0.3333
