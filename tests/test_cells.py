"""Cells, their outlines and their optical density are exact and depend on nothing far away."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from herscope.core.errors import InputError, UnknownModel
from herscope.measure.intensity import (
    GradeSpec,
    count_pixels,
    grade,
    grade_counts,
    measure_cells,
)
from herscope.measure.markers import MARKERS, get_marker
from herscope.segment.cells import CellSpec, expand_nuclei
from herscope.segment.outlines import TOLERANCE_PX, outlines


def blobs(seed: int, side: int = 160) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return ndimage.label(ndimage.gaussian_filter(noise, 3) > 0.06)[0].astype(np.int32)


def first_pixels(labels: np.ndarray) -> np.ndarray:
    places = [np.argwhere(labels == k)[0] for k in range(1, labels.max() + 1)]
    return np.array(places, np.int32).reshape(-1, 2)


def test_a_cell_reaches_exactly_the_expansion_around_its_nucleus() -> None:
    nuclei = blobs(1)
    cells = expand_nuclei(nuclei, 0.5, CellSpec(expansion_um=3.0))
    distance = ndimage.distance_transform_edt(nuclei == 0)
    assert ((cells > 0) == (distance <= 6.0 + 1e-9)).all()


def test_every_pixel_belongs_to_a_nearest_nucleus() -> None:
    nuclei = blobs(2)
    cells = expand_nuclei(nuclei, 0.5, CellSpec())
    nearest = ndimage.distance_transform_edt(nuclei == 0)
    for k in np.unique(cells[cells > 0]):
        own = ndimage.distance_transform_edt(nuclei != k)
        assert np.allclose(own[cells == k], nearest[cells == k])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 1000))
def test_cells_are_the_same_in_every_crop(x: int, y: int, seed: int) -> None:
    nuclei = blobs(seed)
    whole = expand_nuclei(nuclei, 0.5, CellSpec())
    crop = expand_nuclei(nuclei[y : y + 110, x : x + 110], 0.5, CellSpec())
    assert (crop[8:-8, 8:-8] == whole[y + 8 : y + 102, x + 8 : x + 102]).all()


def test_outlines_enclose_their_cells() -> None:
    cells = expand_nuclei(blobs(5), 0.5, CellSpec())
    wanted = np.arange(1, cells.max() + 1, dtype=np.int32)
    traced = outlines(cells, first_pixels(cells), wanted, x0=0, y0=0, scale_x=1, scale_y=1)
    assert shapely.is_valid(traced).all()
    for k, polygon in zip(wanted, traced, strict=True):
        mask = ndimage.binary_fill_holes(cells == k)
        slack = TOLERANCE_PX * polygon.length / 2 + 1
        assert abs(polygon.area - mask.sum()) < slack
        y, x = np.argwhere(mask).mean(axis=0) + 0.5
        assert math.hypot(polygon.centroid.x - x, polygon.centroid.y - y) < 1.0


def test_an_outline_started_below_a_hole_still_goes_round_the_outside() -> None:
    ring = np.ones((9, 9), np.int32)
    ring[3:6, 3:6] = 0
    start = np.array([[7, 4]], np.int32)
    traced = outlines(ring, start, np.array([1], np.int32), x0=0, y0=0, scale_x=1, scale_y=1)
    assert traced[0].area == 81


def test_outlines_are_in_level_0_pixels() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:5, 3:7] = 1
    traced = outlines(
        labels,
        np.array([[2, 3]], np.int32),
        np.array([1], np.int32),
        x0=10,
        y0=20,
        scale_x=2.0,
        scale_y=4.0,
    )
    assert traced[0].bounds == (26.0, 88.0, 34.0, 100.0)


def test_part_means_equal_plain_numpy() -> None:
    nuclei = blobs(7)
    cells = expand_nuclei(nuclei, 0.5, CellSpec())
    dab = np.random.default_rng(7).integers(-50, 1500, nuclei.shape).astype(np.int16)
    measured = measure_cells(nuclei, cells, dab, int(nuclei.max()))
    ring = (cells > 0) & (nuclei == 0)
    for k in range(1, nuclei.max() + 1):
        inner = ndimage.binary_erosion(nuclei == k)
        part = inner if 4 * inner.sum() >= (nuclei == k).sum() else nuclei == k
        assert measured.od("nucleus")[k - 1] == pytest.approx(dab[part].mean() / 1000)
        mine = ring & (cells == k)
        if mine.any():
            assert measured.od("cytoplasm")[k - 1] == pytest.approx(dab[mine].mean() / 1000)


def test_a_grade_begins_exactly_at_its_cut_off() -> None:
    od = np.array([0.0, 0.1999, 0.2, 0.3999, 0.4, 0.5999, 0.6, 3.0])
    assert grade(od, GradeSpec()).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("marker", MARKERS.values(), ids=MARKERS)
def test_a_membranes_crest_has_cut_offs_of_its_own(marker) -> None:
    own = GradeSpec().of(marker.target)
    crest = marker.target == "membrane"
    assert own.profile == ("membrane-crest" if crest else "qupath-default")
    assert own.values == ((0.2, 0.4, 0.7) if crest else (0.2, 0.4, 0.6))


@pytest.mark.parametrize(
    "chosen", [GradeSpec(profile="qupath-default"), GradeSpec(cuts=(0.1, 0.3, 0.5))]
)
def test_chosen_cut_offs_hold_for_every_marker(chosen: GradeSpec) -> None:
    assert all(chosen.of(target) == chosen for target in ("nucleus", "membrane", "cytoplasm"))


def test_an_unmeasured_cell_is_no_negative_cell() -> None:
    with pytest.raises(InputError, match="cannot be graded"):
        grade(np.array([0.1, np.nan]), GradeSpec())


@given(st.lists(st.floats(-0.2, 3.0), min_size=1, max_size=30), st.floats(0, 1))
def test_a_darker_cell_never_gets_a_lower_grade(ods: list[float], more: float) -> None:
    od = np.array(ods)
    assert (grade(od + more, GradeSpec()) >= grade(od, GradeSpec())).all()


def test_histograms_hold_the_grades_of_pixels() -> None:
    dab = np.array([[-20, 0, 199, 200, 399, 400, 599, 600, 2559, 9000]], np.int16)
    counted = count_pixels(dab, np.ones_like(dab, bool), np.zeros(dab.shape, np.uint8), 1)
    assert grade_counts(counted, GradeSpec()).tolist() == [[3, 2, 2, 3]]
    assert counted.sum() == dab.size


@pytest.mark.parametrize(
    "cuts", [(0.4, 0.2, 0.6), (0.0, 0.2, 0.4), (0.2, 0.4, 2.6), (0.205, 0.4, 1)]
)
def test_cut_offs_must_rise_in_hundredths(cuts: tuple[float, float, float]) -> None:
    with pytest.raises(ValidationError, match="cuts"):
        GradeSpec(profile="mine", cuts=cuts)


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="qupath-default"):
        GradeSpec(profile="mine")


def test_an_unknown_marker_names_the_nearest() -> None:
    with pytest.raises(UnknownModel) as caught:
        get_marker("ki-67")
    assert "ki67" in caught.value.hint
    assert all(get_marker(name).name == name for name in MARKERS)
