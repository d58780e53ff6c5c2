"""Every alert fires on its side of its limit, and is silent on the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from herscope.measure.markers import get_marker
from herscope.score.alerts import AlertSpec, Facts, find_alerts
from herscope.score.preview import Preview
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
        (replace(GOOD, marker=get_marker("her2-breast")), "membrane-completeness", "note"),
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
