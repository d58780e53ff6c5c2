"""Single nuclei from a network's maps: found, parted, and the same whatever piece is looked at."""

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from herscope.core.errors import InputError, WrongInput
from herscope.segment.basins import climb, join, saddles
from herscope.segment.learned_nuclei import (
    CLASS_LISTS,
    LearnedNucleiSpec,
    decode_nuclei,
    quantise,
)
from herscope.stats.detection import match_instances

MPP = 0.5
SPEC = LearnedNucleiSpec()


def ellipses(side: int, seed: int) -> np.ndarray:
    """(side, side) labels of ellipses, many of which touch."""
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = np.zeros((side, side), np.int32)
    rows, columns = np.mgrid[:side, :side]
    count = 0
    for _ in range(side * side // 700):
        y, x = rng.integers(0, side, 2)
        long = rng.uniform(5, 13)
        short, turn = long * rng.uniform(0.5, 1), rng.uniform(0, math.pi)
        near = np.s_[max(y - 14, 0) : y + 15, max(x - 14, 0) : x + 15]
        dy, dx = rows[near] - y, columns[near] - x
        along = dx * math.cos(turn) + dy * math.sin(turn)
        across = dy * math.cos(turn) - dx * math.sin(turn)
        inside = (along / long) ** 2 + (across / short) ** 2 <= 1
        if (labels[near][inside] > 0).mean() <= 0.25:
            count += 1
            labels[near][inside & (labels[near] == 0)] = count
    return labels


def maps_of(labels: np.ndarray, classes: tuple[str, ...], seed: int = 0) -> np.ndarray:
    """Maps as a good network gives them: blurred, with noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = {name: np.zeros(labels.shape, np.float32) for name in classes}
    drawn["nucleus"] = (labels > 0).astype(np.float32)
    boxes = ndimage.find_objects(labels)
    for one in range(1, len(boxes) + 1):
        here = boxes[one - 1]
        if here is None:
            continue
        y, x = np.nonzero(labels[here] == one)
        y, x = y + here[0].start, x + here[1].start
        if "distance" in drawn:
            mask = np.zeros((np.ptp(y) + 3, np.ptp(x) + 3), np.uint8)
            mask[y - y.min() + 1, x - x.min() + 1] = 1
            away = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
            drawn["distance"][y, x] = (away / away.max())[y - y.min() + 1, x - x.min() + 1]
        if "horizontal" in drawn:
            for name, values in (("vertical", y), ("horizontal", x)):
                off = values - values.mean()
                drawn[name][y, x] = off / np.where(off < 0, -off.min() or 1, off.max() or 1)
    raw = []
    for name in classes:
        soft = cv2.GaussianBlur(drawn[name], (0, 0), 0.8)
        scaled = 127.5 + 127.5 * soft if name in {"horizontal", "vertical"} else 255 * soft
        noise = cv2.GaussianBlur(rng.normal(0, 40, labels.shape).astype(np.float32), (0, 0), 1.5)
        raw.append(np.clip(np.rint(scaled + noise), 0, 255))
    return np.stack(raw).astype(np.uint8)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return ellipses(800, 0)


@pytest.mark.parametrize(
    ("classes", "least"), list(zip(CLASS_LISTS, (0.90, 0.98, 0.98), strict=True)), ids=str
)
def test_touching_nuclei_are_parted_and_whole_ones_are_not(truth, classes, least) -> None:
    found = decode_nuclei(maps_of(truth, classes), classes, MPP, SPEC)
    counts = match_instances(truth, found.labels, iou=0.5)
    assert counts.f1 >= least


@pytest.mark.parametrize("classes", CLASS_LISTS, ids="-".join)
@pytest.mark.parametrize("corner", [(0, 0), (113, 201)])
def test_a_piece_gives_the_same_nuclei_as_the_whole(truth, classes, corner) -> None:
    maps = maps_of(truth, classes)
    side, support = 560, math.ceil(SPEC.support_um / MPP)
    here = np.s_[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    whole = decode_nuclei(maps, classes, MPP, SPEC)
    piece = decode_nuclei(maps[here], classes, MPP, SPEC)

    def inner(seeds: np.ndarray, offset: tuple[int, int]) -> dict[tuple[int, int], int]:
        moved = [(y - offset[0], x - offset[1]) for y, x in seeds.tolist()]
        return {
            place: name
            for name, place in enumerate(moved, 1)
            if all(support <= at < side - support for at in place)
        }

    of_whole, of_piece = inner(whole.seeds, corner), inner(piece.seeds, (0, 0))
    assert len(of_whole) > 100
    assert of_whole.keys() == of_piece.keys()
    seen = whole.labels[here[1:]]
    for place, name in of_whole.items():
        np.testing.assert_array_equal(seen == name, piece.labels == of_piece[place])


@pytest.mark.parametrize("classes", CLASS_LISTS, ids="-".join)
def test_noise_gives_whole_pieces_in_raster_order_that_hold_their_seeds(classes) -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    rough = rng.normal(128, 600, (len(classes), 300, 320)).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in rough])
    found = decode_nuclei(np.clip(soft, 0, 255).astype(np.uint8), classes, MPP, SPEC)
    seeds = found.seeds
    assert len(seeds) > 50
    assert (found.labels[seeds[:, 0], seeds[:, 1]] == np.arange(1, len(seeds) + 1)).all()
    flat = seeds[:, 0].astype(int) * 320 + seeds[:, 1]
    assert (np.diff(flat) > 0).all()
    assert found.labels.max() == len(seeds)
    radius = math.floor(SPEC.max_radius_um / MPP)
    for name, (y, x) in enumerate(seeds.tolist(), 1):
        mask = (found.labels == name).astype(np.uint8)
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
        rows, columns = np.nonzero(mask)
        assert ((rows - y) ** 2 + (columns - x) ** 2).max() <= radius * radius
        assert mask.sum() * MPP * MPP >= SPEC.min_area_um2


def disc(away: float) -> np.ndarray:
    """Two cones ``away`` pixels apart."""
    rows, columns = np.mgrid[:60, :90]
    near = np.minimum(np.hypot(rows - 30, columns - 35), np.hypot(rows - 30, columns - 35 - away))
    rise = np.clip(255 - 22 * near, 0, 255)
    return np.stack([np.where(near < 9, 255, 0), rise]).astype(np.uint8)


def test_summits_that_lie_close_are_one_nucleus_and_far_ones_two() -> None:
    count = [len(decode_nuclei(disc(away), CLASS_LISTS[1], MPP, SPEC).seeds) for away in (3, 14)]
    assert count == [1, 2]


def test_a_shallow_pass_joins_and_a_deep_one_parts() -> None:
    shallow, deep = (
        LearnedNucleiSpec(smoothing_um=0, spacing_um=0, join_depth=depth) for depth in (0.6, 0.1)
    )
    maps = disc(10)
    assert len(decode_nuclei(maps, CLASS_LISTS[1], MPP, shallow).seeds) == 1
    assert len(decode_nuclei(maps, CLASS_LISTS[1], MPP, deep).seeds) == 2


def test_a_hole_is_filled_and_a_notch_is_not() -> None:
    maps = disc(0)
    maps[0, 32, 33] = 0
    maps[0, 30, 40:44] = 0
    found = decode_nuclei(maps, CLASS_LISTS[1], MPP, SPEC)
    assert len(found.seeds) == 1
    assert found.labels[32, 33] == 1
    assert not found.labels[30, 40:44].any()


def test_small_objects_are_dropped_and_empty_maps_have_none() -> None:
    maps = np.zeros((2, 40, 40), np.uint8)
    assert not len(decode_nuclei(maps, CLASS_LISTS[1], MPP, SPEC).seeds)
    maps[:, 10:14, 10:14] = 255
    assert not len(decode_nuclei(maps, CLASS_LISTS[1], MPP, SPEC).seeds)
    maps[:, 10:20, 10:20] = 255
    assert len(decode_nuclei(maps, CLASS_LISTS[1], MPP, SPEC).seeds) == 1
    assert decode_nuclei(np.zeros((2, 0, 7), np.uint8), CLASS_LISTS[1], MPP, SPEC).labels.size == 0


def test_a_network_that_says_nucleus_everywhere_ends_and_respects_the_radius() -> None:
    maps = np.full((2, 500, 500), 255, np.uint8)
    found = decode_nuclei(maps, CLASS_LISTS[1], MPP, SPEC)
    assert np.bincount(found.labels.ravel())[1:].max(initial=0) <= math.pi * 23**2


def test_every_pixel_climbs_to_the_summit_that_a_walk_by_hand_reaches() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    height = rng.integers(0, 30, (40, 50)).astype(np.uint16)
    inside = rng.random((40, 50)) < 0.8
    labels, summits = climb(height, inside, 6)

    def walk(y: int, x: int) -> tuple[int, int]:
        while True:
            around = [(y - 1, x), (y, x - 1), (y, x), (y, x + 1), (y + 1, x)]
            known = [p for p in around if 0 <= p[0] < 40 and 0 <= p[1] < 50 and inside[p]]
            best = max(known, key=lambda p: (height[p], -p[0], -p[1]))
            if best == (y, x):
                return best
            y, x = best

    for y, x in np.argwhere(inside).tolist():
        top = walk(y, x)
        if labels[y, x]:
            assert tuple(summits[labels[y, x] - 1]) == top
            assert (y - top[0]) ** 2 + (x - top[1]) ** 2 <= 6 * 6
        else:
            assert (y, x) != top
    assert (labels > 0).sum() > 0.9 * inside.sum()
    assert not labels[~inside].any()


def test_the_pass_between_two_basins_is_the_highest_way_over() -> None:
    labels = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3]], np.int32)
    height = np.array([[9, 4, 5, 8], [9, 6, 7, 8], [1, 2, 3, 4]], np.uint16)
    first, second, top = saddles(height, labels, 3)
    assert list(zip(first, second, top, strict=True)) == [(1, 2, 6), (1, 3, 2), (2, 3, 4)]


def test_joining_makes_no_chains() -> None:
    labels = np.repeat(np.array([[1, 2, 3]], np.int32), 3, axis=1)
    height = np.array([[7, 7, 7, 7, 8, 7, 7, 7, 9]], np.uint16)
    summits = np.array([[0, 0], [0, 4], [0, 8]], np.int32)
    into = join(height, labels, summits, 0, 5, 200)
    assert into.tolist() == [0, 1, 3, 3]


def test_maps_are_rounded_as_the_contract_says() -> None:
    logits = np.array([[-800.0, 0.0, 1.0, 800.0]], np.float32)[:, None]
    assert quantise(logits, ["nucleus"]).ravel().tolist() == [0, 128, 186, 255]
    values = np.array([[-3.0, -1.0, 0.0, 1.0]], np.float32)[:, None]
    assert quantise(values, ["horizontal"]).ravel().tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize(
    ("maps", "classes", "mpp", "error"),
    [
        (np.zeros((2, 9, 9), np.uint8), ["nucleus", "border"], MPP, WrongInput),
        (np.zeros((2, 9, 9), np.uint8), ["distance", "nucleus"], MPP, WrongInput),
        (np.zeros((3, 9, 9), np.uint8), ["nucleus", "distance"], MPP, InputError),
        (np.zeros((2, 9, 9), np.float32), ["nucleus", "distance"], MPP, InputError),
        (np.zeros((9, 9), np.uint8), ["nucleus"], MPP, InputError),
        (np.zeros((1, 9, 9), np.uint8), ["nucleus"], 2.0, InputError),
    ],
)
def test_what_cannot_be_decoded_is_refused(maps, classes, mpp, error) -> None:
    with pytest.raises(error) as caught:
        decode_nuclei(maps, classes, mpp, SPEC)
    assert caught.value.hint
