"""Cells found by their rim, and whose cell it is when a nucleus lies there as well."""

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from herscope.core.errors import InputError
from herscope.score.plan import plan_slide
from herscope.score.spec import ScoreSpec
from herscope.segment import interiors
from herscope.segment.interiors import InteriorSpec, find_interiors
from herscope.segment.nuclei import Nuclei, NucleiSpec, segment_nuclei
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.stain.deconvolve import deconvolve, nuclear_signal

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
FIELDS = DATA / "ihc" / "her2_fractal_lab_NO_LICENCE"
SPEC = InteriorSpec()
MPP = 0.5


def no_nuclei(shape):
    return Nuclei(np.zeros(shape, np.int32), np.zeros((0, 2), np.int32))


def disks(shape, places, radius_px):
    """Nuclei as disks, in raster order of the places."""
    yy, xx = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for k, (y, x) in enumerate(places):
        labels[(yy - y) ** 2 + (xx - x) ** 2 <= radius_px**2] = k + 1
    return Nuclei(labels, np.array(places, np.int32).reshape(-1, 2))


def slit(width_um):
    """A light slit between two rims 1.5 µm thick, from edge to edge of 60 x 60 µm."""
    across = np.abs((np.arange(120)[:, None] + 0.5) * MPP - 30)
    dab = np.where(across < width_um / 2 + 1.5, 900, 500)
    dab[across < width_um / 2] = 100
    return np.repeat(dab, 120, axis=1).astype(np.int16)


def ring(radius_um=6.0, rim=900, inside=100, outside=60, mpp=MPP, opening_deg=0.0):
    """One rim, 1.5 µm thick, around the middle of 60 x 60 µm."""
    at = (np.arange(round(60 / mpp)) + 0.5) * mpp - 30
    yy, xx = np.meshgrid(at, at, indexing="ij")
    away = np.hypot(yy, xx)
    dab = np.where(away < radius_um, inside, outside)
    on = np.abs(away - radius_um) < 0.75
    on &= np.abs(np.degrees(np.arctan2(yy, xx))) >= opening_deg / 2
    dab[on] = rim
    return dab.astype(np.int16)


def net(side_um=300.0, mpp=MPP, spacing_um=13.0, seed=5, rim=1100):
    """A net of rims between jittered centres; half of the field is bare."""
    rng = np.random.default_rng(seed)
    steps = np.arange(spacing_um / 2, side_um, spacing_um)
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    places += rng.uniform(-2.5, 2.5, places.shape)
    places = places[places.sum(axis=1) < 1.5 * side_um]
    size = round(side_um / mpp)
    at = (np.stack(np.indices((size, size)), -1).reshape(-1, 2) + 0.5) * mpp
    far, which = cKDTree(places).query(at, k=2)
    darkness = rng.uniform(0.6, 1.2, len(places))[which].mean(axis=1) * rim
    dab = np.where(far[:, 1] - far[:, 0] < 1.6, darkness, 120.0)
    dab[far[:, 0] > 11] = 0
    dab = ndimage.gaussian_filter(dab.reshape(size, size), 0.3 / mpp)
    coarse = rng.normal(0, 20, (600, 600))
    index = np.arange(size) * 600 // size
    return np.round(dab + coarse[np.ix_(index, index)]).astype(np.int16), places


def whole(found):
    """The cells as a set of (seed, by rim)."""
    return {
        (y, x, rim) for (y, x), rim in zip(found.seeds.tolist(), found.by_rim.tolist(), strict=True)
    }


def test_a_closed_rim_is_one_cell_that_fills_it():
    dab = ring(radius_um=6.0)

    found = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)

    assert found.by_rim.tolist() == [True]
    assert np.abs(found.seeds[0] - 60).max() <= 4
    assert (found.labels == 1).sum() * MPP**2 == pytest.approx(math.pi * 6**2, rel=0.25)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
@pytest.mark.parametrize("radius_um", [2.6, 4.0, 10.0])
def test_interiors_are_found_from_five_to_twenty_micrometres(radius_um, mpp):
    dab = ring(radius_um=radius_um, outside=400, mpp=mpp)

    assert find_interiors(dab, no_nuclei(dab.shape), mpp, SPEC).by_rim.tolist() == [True]


@pytest.mark.parametrize(
    ("what", "dab"),
    [
        ("faint", ring(rim=350)),
        ("no darker than the inside by much", ring(rim=800, inside=600, outside=800)),
        ("half open", ring(opening_deg=160)),
        ("a lumen", ring(radius_um=12.0)),
        ("a slit", slit(3.0)),
        ("a wider slit", slit(5.0)),
        ("glass", ring(inside=0)),
    ],
)
def test_what_is_no_cell_stays_unlabelled(what, dab):
    found = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)

    assert not found.by_rim.any(), what


def test_a_thin_wall_makes_two_cells_of_one():
    dab = ring(radius_um=8.0, outside=500)
    dab[44:76, 59:61] = 900

    found = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)

    assert len(found.seeds) == 2
    assert found.labels[60, 52] != found.labels[60, 68]


def test_looking_near_rims_alone_finds_what_looking_everywhere_does(monkeypatch):
    patch, _ = net(side_um=60.0)
    rng = np.random.default_rng(3)
    dab = ndimage.gaussian_filter(rng.normal(180, 900, (700, 800)), 5).clip(0, 380).astype(np.int16)
    dab[331:451, 451:571] = patch
    dab[40:160, 90:210] = patch

    found = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)
    everywhere = [(slice(0, 700), slice(0, 800))]
    monkeypatch.setattr(interiors, "_near_rims", lambda *_: everywhere)
    expected = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)

    assert len(expected.seeds) > 20
    assert np.array_equal(found.seeds, expected.seeds)
    assert np.array_equal(found.labels, expected.labels)


def test_without_a_strong_rim_the_nuclei_come_back_as_they_are():
    dab = ring(rim=390)
    nuclei = disks(dab.shape, [(20, 30), (60, 60)], 8)

    found = find_interiors(dab, nuclei, MPP, SPEC)

    assert found.labels is nuclei.labels
    assert found.seeds is nuclei.seeds
    assert found.by_rim.tolist() == [False, False]


@pytest.mark.parametrize("radius_px", [6.5, 8])
def test_a_nucleus_in_the_interior_is_the_cell(radius_px):
    dab = ring(radius_um=7.0)
    nuclei = disks(dab.shape, [(60, 62)], radius_px)

    found = find_interiors(dab, nuclei, MPP, SPEC)

    assert found.by_rim.tolist() == [False]
    assert np.array_equal(found.labels, nuclei.labels)


@pytest.mark.parametrize(("y", "x", "radius_px"), [(56, 56, 3), (60, 71, 6.5)])
def test_a_speck_in_the_interior_or_one_at_its_rim_is_not(y, x, radius_px):
    dab = ring(radius_um=7.0)

    found = find_interiors(dab, disks(dab.shape, [(y, x)], radius_px), MPP, SPEC)

    assert found.by_rim.tolist() == [True]


def test_a_piece_of_rim_is_no_nucleus_beside_an_interior_but_stays_elsewhere():
    dab = ring(radius_um=6.0)
    dab[10:26, 10:26] = 900
    nuclei = disks(dab.shape, [(18, 18), (60, 73)], 4)
    nuclei.labels[(nuclei.labels == 2) & (dab < 900)] = 0

    found = find_interiors(dab, nuclei, MPP, SPEC)

    assert whole(found) == {(18, 18, False), (*found.seeds[1].tolist(), True)}


def test_a_blob_over_several_interiors_loses_to_them():
    dab, places = net(side_um=120.0)
    middle = places[len(places) // 2] / MPP
    blob = disks(dab.shape, [tuple(np.round(middle + np.array([0, 13])).astype(int))], 22)

    found = find_interiors(dab, blob, MPP, InteriorSpec(rim_share=0.4))

    assert found.by_rim.all()
    assert len(found.seeds) > 30


def test_pale_nuclei_beside_a_net_are_left_alone():
    dab, _ = net()
    nuclei = disks(dab.shape, [(560, 560), (570, 500)], 8)

    found = find_interiors(dab, nuclei, MPP, SPEC)

    assert [k for k, rim in enumerate(found.by_rim) if not rim] == [
        found.labels[y, x] - 1 for y, x in sorted(nuclei.seeds.tolist())
    ]
    for k, (y, x) in enumerate(nuclei.seeds):
        assert np.array_equal(found.labels == found.labels[y, x], nuclei.labels == k + 1)


def test_every_cell_is_one_piece_with_its_seed_and_labels_follow_the_raster():
    dab, _ = net()
    found = find_interiors(dab, no_nuclei(dab.shape), MPP, SPEC)

    assert found.labels.max() == len(found.seeds) > 200
    assert found.seeds.tolist() == sorted(found.seeds.tolist())
    for k, (y, x) in enumerate(found.seeds):
        assert found.labels[y, x] == k + 1
    boxes = ndimage.find_objects(found.labels)
    assert all(ndimage.label(found.labels[box] == k + 1)[1] == 1 for k, box in enumerate(boxes))


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_a_net_gives_its_cells_at_either_resolution(mpp):
    dab, places = net(side_um=200.0, mpp=mpp)
    inner = ((places > 10) & (places < 190)).all(axis=1) & (places.sum(axis=1) < 280)

    found = find_interiors(dab, no_nuclei(dab.shape), mpp, SPEC)

    centres = (found.seeds + 0.5) * mpp
    assert (cKDTree(centres).query(places[inner])[0] < 4).mean() >= 0.95
    assert (cKDTree(places).query(centres)[0] < 4).mean() >= 0.98


NET, _ = net(side_um=330.0)
SIGNAL = np.clip(300 - NET // 3, 0, 4000).astype(np.uint16)  # light places pose as nuclei


def cells_of(dab, signal):
    nuclei = segment_nuclei(signal, MPP, NucleiSpec(), contrast_od=0.07)
    # half of them, by a rule that knows nothing of the window
    keep = np.array([signal[y, x] % 2 == 0 for y, x in nuclei.seeds], bool)
    names = np.concatenate([[0], np.where(keep, np.cumsum(keep), 0)]).astype(np.int32)
    return find_interiors(dab, Nuclei(names[nuclei.labels], nuclei.seeds[keep]), MPP, SPEC)


def inner_cells(found, y0, x0, box):
    """Place, kind and pixels of the cells with their seed in the box of the whole field."""
    out = {}
    boxes = ndimage.find_objects(found.labels)
    for k, (y, x) in enumerate(found.seeds):
        if box[0] <= y + y0 < box[2] and box[1] <= x + x0 < box[3]:
            pixels = np.argwhere(found.labels[boxes[k]] == k + 1)
            pixels += [boxes[k][0].start + y0, boxes[k][1].start + x0]
            out[y + y0, x + x0] = (bool(found.by_rim[k]), pixels.tobytes())
    return out


WHOLE = None


def whole_cells():
    global WHOLE  # noqa: PLW0603 - computed once, when first needed
    if WHOLE is None:
        WHOLE = cells_of(NET, SIGNAL)
    return WHOLE


@settings(max_examples=12, deadline=None)
@given(
    y=st.integers(0, 180),
    x=st.integers(0, 180),
    height=st.integers(420, 480),
    width=st.integers(420, 480),
)
def test_a_window_gives_the_same_cells_as_the_whole(y, x, height, width):
    reach = math.ceil(SPEC.cell_support_um(NucleiSpec()) / MPP)
    y1, x1 = min(y + height, NET.shape[0]), min(x + width, NET.shape[1])
    box = (
        y + reach if y else 0,
        x + reach if x else 0,
        y1 - reach if y1 < NET.shape[0] else y1,
        x1 - reach if x1 < NET.shape[1] else x1,
    )

    part = cells_of(NET[y:y1, x:x1].copy(), SIGNAL[y:y1, x:x1].copy())

    expected = inner_cells(whole_cells(), 0, 0, box)
    assert inner_cells(part, y, x, box) == expected


def test_the_field_of_windows_holds_both_kinds_and_a_small_halo_would_not_do():
    found = whole_cells()
    assert found.by_rim.sum() > 50
    assert (~found.by_rim).sum() > 50

    differs = False
    for offset in range(100, 160, 7):
        part = cells_of(NET[offset:, offset:].copy(), SIGNAL[offset:, offset:].copy())
        box = (offset + 8, offset + 8, *NET.shape)
        differs |= inner_cells(part, offset, offset, box) != inner_cells(found, 0, 0, box)
    assert differs


def test_where_no_rim_is_strong_the_search_costs_a_quarter_of_the_nuclei_at_most():
    dab = np.minimum(NET, 380)
    nuclei = segment_nuclei(SIGNAL, MPP, NucleiSpec(), contrast_od=0.07)

    def seconds(step):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        return min(times)

    search = seconds(lambda: find_interiors(dab, nuclei, MPP, SPEC))
    assert search <= 0.25 * seconds(lambda: segment_nuclei(SIGNAL, MPP, NucleiSpec()))


@pytest.mark.parametrize(
    ("dab", "shape", "mpp", "words"),
    [
        (np.zeros((8, 8), np.float32), (8, 8), 0.5, "float32"),
        (np.zeros((8, 8, 3), np.int16), (8, 8), 0.5, "shape"),
        (np.zeros((8, 8), np.int16), (8, 9), 0.5, "nuclei are of"),
        (np.zeros((8, 8), np.int16), (8, 8), 2.0, "too coarse"),
        (np.zeros((8, 8), np.int16), (8, 8), math.nan, "too coarse"),
    ],
)
def test_bad_images_are_refused_in_words(dab, shape, mpp, words):
    with pytest.raises(InputError, match=words) as caught:
        find_interiors(dab, no_nuclei(shape), mpp, SPEC)

    assert caught.value.hint


def test_an_empty_image_has_no_cells():
    empty = np.zeros((0, 7), np.int16)

    assert len(find_interiors(empty, no_nuclei((0, 7)), MPP, SPEC).seeds) == 0


def scored(path, mpp, *, stated=None):
    """Stains, nuclei and the cells of a slide, as ``herscope score`` reads it."""
    slide = {"mpp": stated} if stated else {}
    spec = ScoreSpec(marker="her2-breast", slide=slide, tiles={"mpp": mpp})
    plan = plan_slide(path, path.stem, spec)
    with open_slide(path, spec.slide) as opened:
        stains = deconvolve(opened.read_all(plan.grid), plan.table)
    nuclei = segment_nuclei(
        nuclear_signal(stains), mpp, spec.nuclei, contrast_od=plan.preview.contrast_od
    )
    return nuclei, find_interiors(stains.dab, nuclei, mpp, SPEC)


def phantom(tmp_path, **changes):
    spec = PhantomSpec(
        stain="membrane",
        width_um=300,
        height_um=300,
        mpp=0.5,
        seed=5,
        tumor_grade_fractions=(0, 0, 0, 1),
        **changes,
    )
    truth = draw_phantom(spec, tmp_path / "phantom.tiff")
    tumor = truth.cells[truth.cells["compartment"] == "tumor"]
    nuclei, found = scored(tmp_path / "phantom.tiff", MPP)
    return tumor[["seed_x_um", "seed_y_um"]].to_numpy(), nuclei, found


def test_a_strong_phantom_without_haematoxylin_gives_its_cells_by_their_rims(tmp_path):
    places, nuclei, found = phantom(
        tmp_path,
        hematoxylin_od=0.05,
        membrane_complete=1,
        membrane_incomplete=0,
        membrane_basolateral=0,
    )

    near = cKDTree((nuclei.seeds[:, ::-1] + 0.5) * MPP).query(places)[0] < 4
    hit = cKDTree((found.seeds[:, ::-1] + 0.5) * MPP).query(places)[0] < 4
    lone = cKDTree(places).query((found.seeds[found.by_rim][:, ::-1] + 0.5) * MPP)[0] >= 4
    assert len(places) > 100
    assert near.mean() < 0.3
    assert hit.mean() > 0.9
    assert lone.mean() < 0.04


def test_a_strong_phantom_with_blue_nuclei_keeps_them(tmp_path):
    places, nuclei, found = phantom(tmp_path)

    hit = cKDTree((found.seeds[:, ::-1] + 0.5) * MPP).query(places)[0] < 4
    assert hit.mean() >= 0.99
    assert found.by_rim.sum() <= 0.02 * len(nuclei.seeds)
    assert abs(len(found.seeds) - len(nuclei.seeds)) <= 0.02 * len(nuclei.seeds)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_the_strong_positive_field_gives_hundreds_of_cells_by_their_rims(mpp):
    if not FIELDS.is_dir():
        pytest.skip(f"no HER2 fields under {DATA}; set HERSCOPE_DATA")
    nuclei, found = scored(FIELDS / "image_her2_00001.jpg", mpp, stated=0.25)

    assert len(nuclei.seeds) < 80
    assert 180 < found.by_rim.sum() < 260


def test_the_negative_field_keeps_its_nuclei_and_no_vacuole_is_a_cell():
    if not FIELDS.is_dir():
        pytest.skip(f"no HER2 fields under {DATA}; set HERSCOPE_DATA")
    nuclei, found = scored(FIELDS / "image_her2_00017.jpg", 0.5, stated=0.25)

    assert len(nuclei.seeds) > 500
    assert np.array_equal(found.labels, nuclei.labels)
    assert not found.by_rim.any()


@pytest.mark.parametrize(
    ("name", "by_rim", "lost"),
    [("case07_01_score1.jpg", 0.03, 0.02), ("case10_04_score2.jpg", 0.2, 0.15)],
)
def test_fields_with_good_nuclei_keep_them(name, by_rim, lost):
    if not FIELDS.is_dir():
        pytest.skip(f"no HER2 fields under {DATA}; set HERSCOPE_DATA")
    nuclei, found = scored(FIELDS / name, 0.5, stated=0.25)

    n = len(nuclei.seeds)
    assert found.by_rim.sum() <= by_rim * n
    assert n - (~found.by_rim).sum() <= lost * n
