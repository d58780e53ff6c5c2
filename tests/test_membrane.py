"""The membrane of a drawn cell is found where it was drawn, as brown as it was drawn."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.stats import norm

from herscope.core.errors import InputError
from herscope.measure.completeness import (
    SECTORS,
    UNSEEN,
    CompletenessSpec,
    classify,
    count_sectors,
)
from herscope.measure.membrane import SAMPLING_PX, Membranes, MembraneSpec, measure_membranes
from herscope.score.block import _centres

MPP = 0.25
SIDE = 120
MIDDLE = SIDE // 2
CUTS = (200, 400, 600)
SHARP = MembraneSpec(blur_um=0)
"""Drawings have no blur to make up for: at 0.25 µm/px the gain is 1."""


def disc(y: float, x: float, radius: float, shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray:
    yy, xx = np.indices(shape)
    return np.hypot(yy - y, xx - x) < radius


def ring(
    y: float, x: float, radius: float, shape: tuple[int, int] = (SIDE, SIDE), width: float = 5
) -> NDArray:
    yy, xx = np.indices(shape)
    return abs(np.hypot(yy - y, xx - x) - radius) < width / 2


def turn_deg(y: float, x: float, shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray:
    """Angle of every pixel: 0 is right, 90 is down, as the screen has it."""
    yy, xx = np.indices(shape)
    return np.degrees(np.arctan2(yy - y, xx - x)) % 360


def arc(middle_deg: float, width_deg: float) -> NDArray:
    away = (turn_deg(MIDDLE, MIDDLE) - middle_deg + 180) % 360 - 180
    return ring(MIDDLE, MIDDLE, 28) & (abs(away) <= width_deg / 2)


def paint(*layers: tuple[NDArray, int], ground: int = 20, shape=(SIDE, SIDE)) -> NDArray[np.int16]:
    dab = np.full(shape, ground, np.int16)
    for where, milli_od in layers:
        dab[where] = milli_od
    return dab


def nuclei_at(*places: tuple[int, int], radius: float = 14, shape=(SIDE, SIDE)) -> NDArray:
    labels = np.zeros(shape, np.int32)
    for k, (y, x) in enumerate(places):
        labels[disc(y, x, radius, shape) & (labels == 0)] = k + 1
    return labels


def measure(
    dab: NDArray, *places: tuple[int, int], spec: MembraneSpec = SHARP, **more
) -> Membranes:
    """Measure cells with round nuclei at these places, in µm 3.5 wide."""
    labels = more.pop("labels", None)
    if labels is None:
        labels = nuclei_at(*places, shape=dab.shape)
    mpp = more.pop("mpp", MPP)
    return measure_membranes(labels, np.array(places, np.int32), dab, mpp, spec, **more)


def one(dab: NDArray, **more) -> NDArray[np.int16]:
    """Sectors of the one cell in the middle."""
    return measure(dab, (MIDDLE, MIDDLE), **more).sectors[0]


def share(sectors: NDArray[np.int16], cut: int = 200) -> float:
    counts = count_sectors(sectors[None], (cut, cut + 1, cut + 2))
    return float(counts.shares()[0, 0])


def around(first: int, last: int) -> list[int]:
    """Sectors from first to last, clockwise, both included."""
    return [s % SECTORS for s in range(first, last + 1)]


def test_a_full_ring_is_stained_all_around_and_as_brown_as_drawn() -> None:
    found = measure(paint((ring(MIDDLE, MIDDLE, 28), 620)), (MIDDLE, MIDDLE))
    assert found.cytoplasm.tolist() == pytest.approx([20], abs=4)
    assert (abs(found.sectors - 600) <= 4).all()
    assert (abs(found.radius / 16 - 28) <= 2.5).all()


def test_no_stain_is_no_membrane_and_its_line_is_still_a_closed_one() -> None:
    found = measure(paint(ground=0), (MIDDLE, MIDDLE))
    assert not found.sectors.any()
    assert (found.radius / 16 > 13).all()
    assert (np.ptp(found.radius) / 16) < 3


def test_half_a_ring_is_half_complete() -> None:
    sectors = one(paint((arc(0, 180), 620)))
    assert (sectors[around(-7, 7)] > 550).all()
    assert (sectors[around(9, 23)] < 20).all()
    assert share(sectors) == pytest.approx(0.5, abs=1 / SECTORS)


@pytest.mark.parametrize("middle", [0, 5, 8, 16, 24, 29])
def test_an_arc_lands_in_the_sectors_of_its_direction_clockwise_from_the_right(middle) -> None:
    sectors = one(paint((arc(middle * 360 / SECTORS, 90), 620)))
    assert (sectors[around(middle - 3, middle + 3)] > 550).all()
    assert (sectors[around(middle + 5, middle - 5 + SECTORS)] < 20).all()


def test_a_u_is_incomplete_and_u_shaped() -> None:
    sectors = one(paint((arc(90, 240), 620)))
    found = classify(sectors[None], CUTS, CompletenessSpec())
    assert found.code.tolist() == [3]
    assert found.u_shaped.tolist() == [True]
    assert (sectors[around(14, 18)] > 550).sum() < 5  # the arc ends at 210 degrees
    assert (sectors[around(20, 28)] < 20).all()


@pytest.mark.parametrize("turned", [0, 45, 80])
def test_two_lateral_arcs_land_in_opposite_sectors_and_are_u_shaped(turned: int) -> None:
    sectors = one(paint((arc(turned, 100), 620), (arc(turned + 180, 100), 620)))
    first = round(turned * SECTORS / 360)
    for middle in (first, first + 16):
        assert (sectors[around(middle - 3, middle + 3)] > 550).all()
        assert (sectors[around(middle + 6, middle + 10)] < 20).all()
    assert classify(sectors[None], CUTS, CompletenessSpec()).u_shaped.tolist() == [True]


@pytest.mark.parametrize("brown", [300, 600, 1500])
def test_a_brown_cytoplasm_is_no_membrane(brown: int) -> None:
    sectors = one(paint((disc(MIDDLE, MIDDLE, 28), brown)))
    assert share(sectors) == 0


def test_a_brown_cytoplasm_around_a_clear_nucleus_is_no_membrane() -> None:
    dab = paint((disc(MIDDLE, MIDDLE, 28), 600), (disc(MIDDLE, MIDDLE, 14), 20))
    assert share(one(dab)) == 0


def test_a_darker_ring_counts_by_what_it_has_above_the_cytoplasm() -> None:
    dab = paint((disc(MIDDLE, MIDDLE, 28), 300), (ring(MIDDLE, MIDDLE, 28), 800))
    found = measure(dab, (MIDDLE, MIDDLE))
    assert found.cytoplasm.tolist() == pytest.approx([300], abs=4)
    assert (abs(found.sectors - 500) <= 4).all()


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=15, deadline=None)
def test_a_haze_over_everything_changes_nothing(haze: int, ring_od: int) -> None:
    dab = paint((ring(MIDDLE, MIDDLE, 28), 20 + ring_od))
    assert abs(one(dab + np.int16(haze)) - one(dab)).max() <= 4


@pytest.mark.parametrize("pitch", [44, 52])  # at 60 the neighbours' nuclei are out of reach
def test_the_brown_cytoplasm_of_the_neighbours_is_no_membrane(pitch: int) -> None:
    shape, middle = (200, 200), (100, 100)
    turns = np.arange(6) * math.pi / 3
    ring_of = np.stack([100 + pitch * np.sin(turns), 100 + pitch * np.cos(turns)], axis=1)
    places = [middle, *(tuple(place) for place in np.round(ring_of).astype(int))]
    at = np.stack(np.indices(shape), -1).reshape(-1, 2)
    far, whose = cKDTree(places).query(at)
    brown = ((whose > 0) & (far < 32)).reshape(shape)
    found = measure(paint((brown, 600), shape=shape), *places)
    assert share(found.sectors[0]) < 0.2


def test_a_line_before_a_brown_neighbour_counts_by_what_it_has_above_it() -> None:
    shape = (SIDE, 180)
    left, right = (MIDDLE, 60), (MIDDLE, 114)
    column = np.indices(shape)[1]
    brown = (column > 87) & disc(*right, 40, shape)
    line = (abs(column - 87) < 2.6) & (abs(np.indices(shape)[0] - MIDDLE) < 14)
    found = measure(paint((brown, 300), (line, 800), shape=shape), left, right)
    assert found.cytoplasm.tolist() == pytest.approx([20, 300], abs=4)
    for sector in (found.sectors[0][0], found.sectors[1][16]):
        assert sector == pytest.approx(500, abs=10)


def test_an_unstained_cell_shares_the_line_with_a_stained_one_and_only_there() -> None:
    shape = (SIDE, 190)
    left, right = (MIDDLE, 60), (MIDDLE, 116)
    found = measure(paint((ring(*right, 28, shape), 620), shape=shape), left, right)
    assert share(found.sectors[1]) == 1
    assert (found.sectors[0][around(-2, 2)] > 400).all()
    assert (found.sectors[0][around(8, 24)] < 20).all()


def test_a_membrane_outside_the_slide_is_unseen() -> None:
    dab = paint((ring(MIDDLE, MIDDLE, 28), 620))[:, MIDDLE - 18 :]
    labels = nuclei_at((MIDDLE, MIDDLE))[:, MIDDLE - 18 :]
    sectors = measure(dab, (MIDDLE, 18), labels=labels).sectors[0]
    assert (sectors[around(14, 18)] == UNSEEN).all()
    assert (sectors[around(-8, 8)] > 550).all()
    assert count_sectors(sectors[None], CUTS).shares()[0, 0] == 1


@pytest.mark.parametrize("padding", ["edge", "constant"])
def test_padding_around_the_slide_is_not_measured(padding: str) -> None:
    dab = paint((ring(MIDDLE, MIDDLE, 28), 620))[:, MIDDLE - 18 :]
    labels = nuclei_at((MIDDLE, MIDDLE))[:, MIDDLE - 18 :]
    plain = measure(dab, (MIDDLE, 18), labels=labels)
    wide, ample = ((0, 0), (50, 0)), ((40, 40), (50, 50))
    for around_ in (wide, ample):
        top, left = around_[0][0], around_[1][0]
        padded = measure(
            np.pad(dab, around_, mode=padding),
            (MIDDLE + top, 18 + left),
            labels=np.pad(labels, around_),
            on_slide=(top, left, top + dab.shape[0], left + dab.shape[1]),
        )
        assert (padded.sectors == plain.sectors).all()
        assert (padded.radius == plain.radius).all()


@pytest.mark.parametrize("aside", [-3, 0, 3])
def test_a_line_between_touching_nuclei_counts_for_both(aside: int) -> None:
    left, right = (MIDDLE, 46), (MIDDLE, 73)
    labels = nuclei_at(left, right, radius=14)
    yy, xx = np.indices(labels.shape)
    line = (abs(xx - 59.5 - aside) < 2.1) & (abs(yy - MIDDLE) < 10)
    assert (labels[MIDDLE, 58:62] > 0).all()
    found = measure(paint((line, 620)), left, right, labels=labels)
    assert (found.sectors[0][around(-1, 1)] > 450).all()
    assert (found.sectors[1][around(15, 17)] > 450).all()
    assert (found.sectors[0][around(8, 24)] < 100).all()
    assert (found.sectors[1][around(24, 40)] < 100).all()


def test_touching_nuclei_without_a_line_have_no_membrane() -> None:
    left, right = (MIDDLE, 46), (MIDDLE, 73)
    labels = nuclei_at(left, right, radius=14)
    assert (measure(paint(), left, right, labels=labels).sectors < 50).all()


RIM = np.array([True])


def test_a_cell_found_by_its_rim_is_measured_against_its_own_inside() -> None:
    labels = nuclei_at((MIDDLE, MIDDLE), radius=24)
    dab = paint((disc(MIDDLE, MIDDLE, 24), 300), (ring(MIDDLE, MIDDLE, 26.5), 900))
    dab[disc(MIDDLE, MIDDLE, 15)] = 100  # the pale middle, wide as it is, is no cytoplasm
    found = measure(dab, (MIDDLE, MIDDLE), labels=labels, by_rim=RIM)
    assert found.cytoplasm.tolist() == pytest.approx([300], abs=4)
    assert (abs(found.sectors - 600) <= 8).all()


def test_the_membrane_of_a_cell_found_by_its_rim_is_that_rim_not_a_stronger_line_beyond() -> None:
    labels = nuclei_at((MIDDLE, MIDDLE), radius=20)
    dab = paint(
        (ring(MIDDLE, MIDDLE, 22.5), 300),
        (ring(MIDDLE, MIDDLE, 40), 900),
    )
    near = measure(dab, (MIDDLE, MIDDLE), labels=labels, by_rim=RIM)
    far = measure(dab, (MIDDLE, MIDDLE), labels=labels, by_rim=~RIM)
    assert (near.radius / 16 < 28).all()
    assert (abs(near.sectors - 280) <= 8).all()
    assert (far.radius / 16 > 34).all()


def test_no_line_counts_beyond_the_reach() -> None:
    dab = paint((ring(MIDDLE, MIDDLE, 46), 900))
    assert share(one(dab, spec=MembraneSpec(reach_um=6))) == 0
    assert share(one(dab, spec=MembraneSpec(reach_um=9))) == 1


def test_wanted_cells_alone_give_the_same_rows_while_the_others_stand_in_the_way() -> None:
    labels, centres, dab = tissue()
    everyone = measure_membranes(labels, centres, dab, 0.5, MembraneSpec())
    wanted = np.arange(len(centres)) % 3 == 1
    some = measure_membranes(labels, centres, dab, 0.5, MembraneSpec(), wanted=wanted)
    for part, whole in zip(some, everyone, strict=True):
        assert (part == whole[wanted]).all()
    alone = measure_membranes(
        np.where(np.isin(labels, np.flatnonzero(wanted) + 1), labels, 0),
        centres,
        dab,
        0.5,
        MembraneSpec(),
        wanted=wanted,
    )
    assert (alone.sectors != some.sectors).any()


def test_nobody_wanted_is_an_empty_answer() -> None:
    none = np.zeros(1, np.bool_)
    found = measure(paint(), (MIDDLE, MIDDLE), wanted=none)
    assert found.sectors.shape == found.radius.shape == (0, SECTORS)
    nothing = measure_membranes(
        np.zeros((9, 9), np.int32), np.zeros((0, 2), np.int32), paint(shape=(9, 9)), MPP, SHARP
    )
    assert nothing.sectors.shape == (0, SECTORS)


@pytest.mark.parametrize("mpp", [0.1, 0.25, 0.5, 1.0])
def test_the_gain_is_what_a_blurred_line_loses_in_its_middle(mpp: float) -> None:
    spec = MembraneSpec()
    sigma = math.hypot(spec.blur_um, SAMPLING_PX * mpp)
    left = norm.cdf(spec.line_um / 2, scale=sigma) - norm.cdf(-spec.line_um / 2, scale=sigma)
    assert spec.gain(mpp) == pytest.approx(1 / left, rel=1e-12)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
@pytest.mark.parametrize("blur_um", [0.25, 0.36, 0.5])
def test_a_blurred_membrane_is_made_up_for_at_either_resolution(mpp: float, blur_um) -> None:
    fine = 0.05
    size = round(36 / fine)
    yy, xx = (np.indices((size, size)) + 0.5) * fine - 18
    line = np.where(abs(np.hypot(yy, xx) - 7) < 0.6, 600.0, 0.0)
    step = round(mpp / fine)
    blurred = ndimage.gaussian_filter(line, blur_um / fine)
    coarse = blurred.reshape(size // step, step, size // step, step).mean(axis=(1, 3))
    dab, middle = np.round(coarse).astype(np.int16), size // step // 2
    labels = nuclei_at((middle, middle), radius=3.5 / mpp, shape=dab.shape)
    spec = MembraneSpec(blur_um=blur_um)
    sectors = measure(dab, (middle, middle), labels=labels, mpp=mpp, spec=spec).sectors
    # the gain is for a line anywhere between the pixels, so a lucky one reads a little dark
    assert 0.95 * 600 < sectors.mean() < 1.1 * 600
    if blur_um == 0.5:
        assert sectors.mean() / spec.gain(mpp) < 0.95 * 600


@pytest.mark.parametrize(
    ("labels", "dab", "centres", "words"),
    [
        ((8, 8), (8, 9), [(4, 4)], "shapes differ"),
        ((8, 8), (9, 8), [(4, 4)], "shapes differ"),
        ((8, 8), (8, 8), [], "label 1 has no centre"),
    ],
)
def test_what_does_not_belong_together_is_refused(labels, dab, centres, words) -> None:
    nuclei = np.zeros(labels, np.int32)
    nuclei[4, 4] = 1
    with pytest.raises(InputError, match=words):
        measure_membranes(
            nuclei, np.array(centres, np.int32).reshape(-1, 2), paint(shape=dab), MPP, SHARP
        )


@pytest.mark.parametrize(
    "field", [{"reach_um": 0}, {"line_um": 0}, {"blur_um": -1}, {"rim_um": 20}, {"colour": 1}]
)
def test_impossible_parameters_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        MembraneSpec(**field)


def test_every_cell_is_looked_at_from_a_place_inside_it() -> None:
    yy, xx = np.indices((60, 120))
    labels = np.zeros((60, 120), np.int32)
    labels[disc(30, 30, 12, labels.shape)] = 1
    sickle = ring(30, 85, 12, labels.shape) & (abs(turn_deg(30, 85, labels.shape) - 180) < 120)
    labels[sickle] = 2
    seeds = np.array([(18, 30), np.argwhere(sickle)[0]], np.int32)
    count = np.bincount(labels.ravel())[1:]
    measured = SimpleNamespace(
        nucleus_px=count,
        y_sum=np.bincount(labels.ravel(), yy.ravel())[1:].astype(np.int64),
        x_sum=np.bincount(labels.ravel(), xx.ravel())[1:].astype(np.int64),
    )
    centres = _centres(SimpleNamespace(labels=labels, seeds=seeds), measured)  # type: ignore[arg-type]
    assert labels[centres[:, 0], centres[:, 1]].tolist() == [1, 2]
    assert centres[0].tolist() == [30, 30]
    assert centres[1].tolist() == seeds[1].tolist()


def tissue(side_um: float = 220.0, mpp: float = 0.5, seed: int = 8):
    """Cells at random, close and apart, stained and not, with noise: labels, centres, DAB."""
    rng = np.random.default_rng(seed)
    steps = np.arange(8.0, side_um - 4, 13.0)
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    places = (places + rng.uniform(-3, 3, places.shape))[rng.random(len(places)) < 0.9]
    size = round(side_um / mpp)
    at = (np.stack(np.indices((size, size)), -1).reshape(-1, 2) + 0.5) * mpp
    far, which = cKDTree(places).query(at, k=2)
    radius = rng.uniform(3, 5, len(places))
    labels = np.where(far[:, 0] < radius[which[:, 0]], which[:, 0] + 1, 0)
    brown = rng.choice([0, 250, 500, 900], len(places))[which].max(axis=1)
    dab = np.where(far[:, 1] - far[:, 0] < 1.8, brown, 60).reshape(size, size)
    dab = ndimage.gaussian_filter(dab.astype(float), 0.7) + rng.normal(0, 25, (size, size))
    centres = np.floor(places / mpp).astype(np.int32)
    return labels.reshape(size, size).astype(np.int32), centres, np.round(dab).astype(np.int16)


LABELS, CENTRES, DAB = tissue()
SPEC = MembraneSpec()
NUCLEUS_UM = 5.5
# a neighbour is looked at on its far side as well
HALO_PX = math.ceil((3 * NUCLEUS_UM + SPEC.reach_um + SPEC.inside_um + 1) / 0.5) + 2
WHOLE = None


def window(y0: int, x0: int, y1: int, x1: int, margin: int) -> tuple[Membranes, Membranes]:
    """Cells in a window's inner part, measured there and in the whole field."""
    global WHOLE  # noqa: PLW0603 - computed once, when first needed
    if WHOLE is None:
        WHOLE = measure_membranes(LABELS, CENTRES, DAB, 0.5, SPEC, max_radius_um=NUCLEUS_UM)
    (y, x), m = CENTRES.T, margin
    inside = (y >= y0 + m) & (y < y1 - m) & (x >= x0 + m) & (x < x1 - m)
    # numbered anew, as every window does
    names = np.zeros(len(CENTRES) + 1, np.int32)
    seen = np.unique(LABELS[y0:y1, x0:x1])
    seen = seen[seen > 0]
    names[seen] = np.arange(len(seen)) + 1
    part = measure_membranes(
        np.ascontiguousarray(names[LABELS[y0:y1, x0:x1]]),
        CENTRES[seen - 1] - np.array([y0, x0], np.int32),
        np.ascontiguousarray(DAB[y0:y1, x0:x1]),
        0.5,
        SPEC,
        max_radius_um=NUCLEUS_UM,
        wanted=inside[seen - 1],
    )
    return part, Membranes(*(column[inside] for column in WHOLE))


@settings(max_examples=25, deadline=None)
@given(
    y=st.integers(0, 180),
    x=st.integers(0, 180),
    height=st.integers(200, 260),
    width=st.integers(200, 260),
)
def test_cells_of_overlapping_windows_are_the_same_to_the_bit(y, x, height, width) -> None:
    y1, x1 = min(y + height, DAB.shape[0]), min(x + width, DAB.shape[1])
    part, whole = window(y, x, y1, x1, HALO_PX)
    assert len(part.sectors) > 4
    for mine, theirs in zip(part, whole, strict=True):
        assert (mine == theirs).all()


def test_a_smaller_halo_would_not_do() -> None:
    part, whole = window(120, 120, 360, 360, 6)
    assert (part.sectors != whole.sectors).any()
