"""Lesions, their windows, the three slices a network sees, and the picture a person sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.report.ct_picture import draw_lesion, save_lesion_picture
from herscope.respond.radiology.lesion_boxes import lesions_from_boxes, read_boxes
from herscope.respond.radiology.lesions import (
    Box,
    Lesion,
    LesionKind,
    LesionSpec,
    kind_of,
    lesions_from_mask,
)
from herscope.respond.radiology.slices import SliceSpec, three_slices
from herscope.respond.radiology.volume import Mask, Volume
from herscope.respond.radiology.windows import (
    BINS,
    FALLBACK,
    LesionCounts,
    Window,
    WindowTable,
    count_lesion,
    fit_windows,
    percentile,
)

AT = ((5.0, 0.8, 0.8), (-16.0, -20.0, 100.0), np.eye(3), "ct")
SHAPE = (6, 40, 50)


def scan(fill: float = -1000.0) -> np.ndarray:
    return np.full(SHAPE, fill, np.float32)


def two_blobs() -> np.ndarray:
    drawn = np.zeros(SHAPE, np.uint16)
    drawn[1, 10:14, 10:14] = 1
    drawn[2, 9:15, 9:15] = 1
    drawn[3, 15, 15] = 1  # touches the blob below by a corner only
    drawn[5, 30:33, 30:40] = 1
    return drawn


def found() -> tuple[Volume, tuple[Lesion, ...], Mask]:
    ct = Volume(scan(), *AT)
    lesions, numbered = lesions_from_mask(ct, Mask(two_blobs(), {1: "met"}, *AT), LesionKind.LIVER)
    return ct, lesions, numbered


def test_pieces_are_connected_through_corners_and_counted_from_the_feet() -> None:
    _, lesions, numbered = found()
    assert [(one.label, one.voxels, one.key_slice) for one in lesions] == [(1, 53, 2), (2, 30, 5)]
    assert lesions[0].box == Box(1, 9, 9, 4, 16, 16)
    assert lesions[0].volume_ml == pytest.approx(53 * 5 * 0.8 * 0.8 / 1000)
    assert numbered.counts() == {1: 53, 2: 30}


def test_by_label_scattered_pieces_are_one_lesion_of_the_label_s_kind() -> None:
    ct = Volume(scan(), *AT)
    drawn = two_blobs()
    drawn[0, 0, 0] = 4
    kinds = {1: LesionKind.LIVER, 4: LesionKind.LYMPH_NODE}
    mask = Mask(drawn, {1: "met", 4: "node"}, *AT)
    lesions, _ = lesions_from_mask(ct, mask, kinds, spec=LesionSpec(by="label"))
    assert [(one.label, one.kind, one.voxels, one.name) for one in lesions] == [
        (1, LesionKind.LIVER, 83, "met"),
        (4, LesionKind.LYMPH_NODE, 1, "node"),
    ]
    with pytest.raises(InputError, match=r"label 4 \(node\) of ct has no kind"):
        lesions_from_mask(ct, mask, {1: LesionKind.LIVER})


def test_the_lower_of_two_equal_slices_is_the_key_slice() -> None:
    drawn = np.zeros(SHAPE, np.uint16)
    drawn[2:5, 3:6, 3:6] = 1
    lesions, _ = lesions_from_mask(Volume(scan(), *AT), Mask(drawn, {}, *AT), LesionKind.OTHER)
    assert lesions[0].key_slice == 2


def test_small_pieces_are_left_out_and_said() -> None:
    ct = Volume(scan(), *AT)
    mask = Mask(two_blobs(), {1: "a"}, *AT)
    spec = LesionSpec(min_volume_ml=0.1)
    lesions, numbered = lesions_from_mask(ct, mask, LesionKind.LIVER, spec=spec)
    assert [(one.label, one.voxels) for one in lesions] == [(1, 53)]
    assert "1 pieces below 0.1 ml left out" in numbered.notes
    with pytest.raises(InputError, match=r"no piece of ct reaches 9 ml \(2 are smaller\)"):
        lesions_from_mask(ct, mask, LesionKind.LIVER, spec=LesionSpec(min_volume_ml=9))


def test_lesions_of_a_mask_on_another_grid_are_refused() -> None:
    mask = Mask(np.ones((6, 40, 49), np.uint16), {1: "a"}, *AT)
    with pytest.raises(InputError, match="another grid"):
        lesions_from_mask(Volume(scan(), *AT), mask, LesionKind.LIVER)


@pytest.mark.parametrize(
    ("word", "code"), [("LN", 0), ("lymph_node", 0), ("Stomach", 1), (2, 2), (" peritoneum ", 3)]
)
def test_kinds_are_named_as_in_the_paper(word: str, code: int) -> None:
    assert int(kind_of(word)) == code


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no kind of lesion is called livr") as caught:
        kind_of("livr")
    assert "did you mean liver" in caught.value.hint


# --- boxes ---------------------------------------------------------------------------------------


def boxes(path: Path, *rows: str) -> Path:
    head = "patient,lesion,kind,unit,x0,y0,z0,x1,y1,z1"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_the_same_box_in_three_units_is_the_same_voxels(tmp_path: Path) -> None:
    ct = Volume(scan(), *AT)
    # Voxels x 10..19, y 5..14, z 1..3: edges half a voxel outside of their centres.
    x0, x1, y0, y1 = -16 + 9.5 * 0.8, -16 + 19.5 * 0.8, -20 + 4.5 * 0.8, -20 + 14.5 * 0.8
    table = read_boxes(
        boxes(
            tmp_path / "b.csv",
            "A,n1,LN,voxel,10,5,1,20,15,4",
            f"A,n2,LN,mm,{x0},{y0},102.5,{x1},{y1},117.5",
            f"A,n3,liver,mm_ras,{-x1},{-y1},102.5,{-x0},{-y0},117.5",
        )
    )
    lesions = lesions_from_boxes(table, "A", ct)
    assert {one.box for one in lesions} == {Box(1, 5, 10, 4, 15, 20)}
    assert [one.kind for one in lesions] == [0, 0, 2]
    assert [one.name for one in lesions] == ["n1", "n2", "n3"]
    assert lesions[0].voxels == 300
    assert lesions[0].key_slice == 2
    assert not lesions[0].outlined


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("A,n,LN,voxel,10,5,1,20,15,7", "not within"),
        ("A,n,LN,voxel,10.5,5,1,20,15,3", "no whole numbers"),
        ("A,n,LN,mm,10,5,1,10,15,3", "first corner is not below"),
        ("A,n,LN,px,10,5,1,20,15,3", "no unit is called px"),
        ("A,n,lnn,voxel,10,5,1,20,15,3", "no kind of lesion"),
        ("A,n,LN,mm,-15.5,-19,100,-15.4,-18,101", "no voxel's centre"),
        ("B,n,LN,voxel,10,5,1,20,15,3", "no box of patient A"),
    ],
)
def test_a_box_that_cannot_be_is_refused_by_row(tmp_path: Path, row: str, words: str) -> None:
    table = read_boxes(boxes(tmp_path / "b.csv", row))
    with pytest.raises(InputError, match=words):
        lesions_from_boxes(table, "A", Volume(scan(), *AT))


def test_a_box_file_without_units_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("patient,lesion,kind,x0,y0,z0,x1,y1,z1\nA,n,LN,1,1,1,2,2,2\n")
    with pytest.raises(SchemaError, match="no column unit"):
        read_boxes(path)


# --- windows -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-1024, 3071), min_size=1, max_size=400), st.integers(1, 99))
def test_percentiles_of_counts_are_those_of_the_voxels(values: list[int], percent: int) -> None:
    counts = np.bincount(np.array(values) + 1024, minlength=BINS)
    wanted = np.percentile(values, percent, method="inverted_cdf")
    assert percentile(counts, percent) == wanted


def test_windows_add_up_exactly_in_any_order() -> None:
    rng = np.random.default_rng(0)
    ct = Volume(rng.normal(60, 30, SHAPE).astype(np.float32), *AT)
    lesions, mask = lesions_from_mask(ct, Mask(two_blobs(), {1: "a"}, *AT), LesionKind.LIVER)
    parts = [count_lesion(ct, one, mask, centre="A") for one in lesions] * 3
    table = fit_windows(parts)
    assert table == fit_windows(parts[::-1])
    inside = np.round(ct.array[mask.array > 0].astype(np.float64))
    row = table.rows[0]
    assert row.window.low_hu == np.percentile(inside, 1, method="inverted_cdf")
    assert row.window.high_hu == np.percentile(inside, 99, method="inverted_cdf")
    assert (row.lesions, row.voxels) == (6, 3 * 83)


def test_a_window_is_of_one_kind_at_one_centre_and_never_borrowed() -> None:
    def part(kind: LesionKind, centre: str, hu: int, voxels: int = 500) -> LesionCounts:
        counts = np.zeros(BINS, np.int64)
        counts[1024 + hu : 1024 + hu + 100] = voxels // 100
        return LesionCounts(kind, centre, counts)

    table = fit_windows(
        [
            part(LesionKind.LIVER, "A", 20),
            part(LesionKind.LIVER, "B", 60),
            part(LesionKind.LYMPH_NODE, "A", 0),
        ]
    )
    assert table.of(LesionKind.LIVER, "A")[0].low_hu == 20
    assert table.of(LesionKind.LIVER, "B")[0].low_hu == 60
    assert table.of(LesionKind.LYMPH_NODE, "A")[0].low_hu == 0
    window, note = table.of(LesionKind.LIVER, "C")
    assert (window.centre_hu, window.width_hu) == (40, 400)
    assert "liver at centre C: fallback" in note
    assert not table.of(LesionKind.LIVER, "A")[1]


@pytest.mark.parametrize("counts", [{50: 99}, {50: 10_000}])
def test_too_few_voxels_or_one_grey_value_get_the_fallback(counts: dict[int, int]) -> None:
    spread = np.zeros(BINS, np.int64)
    for hu, voxels in counts.items():
        spread[1024 + hu] = voxels
    table = fit_windows([LesionCounts(LesionKind.LIVER, "A", spread)])
    assert table.of(LesionKind.LIVER, "A")[0] == FALLBACK


def test_windows_survive_their_file_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    counts = np.ones(BINS, np.int64)
    table = fit_windows([LesionCounts(LesionKind.STOMACH, "Ä", counts)])
    table.save(tmp_path / "w.json")
    assert WindowTable.load(tmp_path / "w.json") == table
    (tmp_path / "x.json").write_text('{"format": "herscope.windows/1", "rows": [{"kind": 9}]}')
    with pytest.raises(SchemaError, match=r"x\.json is no table of windows"):
        WindowTable.load(tmp_path / "x.json")
    (tmp_path / "y.json").write_text('{"rows": ')
    with pytest.raises(SchemaError, match=r"y\.json is not JSON"):
        WindowTable.load(tmp_path / "y.json")
    with pytest.raises(NotComputed, match=r"absent\.json"):
        WindowTable.load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="no training lesion"):
        fit_windows([])


def test_a_window_clips_and_scales() -> None:
    window = Window(low_hu=0, high_hu=100)
    assert window.apply(np.array([-5.0, 0, 50, 100, 900])).tolist() == [0, 0, 127.5, 255, 255]
    with pytest.raises(ValueError, match="no width"):
        Window(low_hu=5, high_hu=5)


def test_a_lesion_s_voxels_need_the_mask_it_came_with() -> None:
    ct, lesions, _ = found()
    with pytest.raises(InputError, match="not that mask"):
        count_lesion(ct, lesions[0], Mask(np.ones(SHAPE, np.uint16), {}, *AT), centre="A")


# --- slices --------------------------------------------------------------------------------------


def test_the_three_channels_are_the_slices_below_at_and_above() -> None:
    array = scan()
    for z in range(6):
        array[z] = 40 * z
    lesion = Lesion(1, LesionKind.LIVER, Box(1, 15, 20, 5, 25, 30), 400, 1.0, 3)
    cut = three_slices(
        Volume(array, *AT), lesion, window=Window(low_hu=0, high_hu=255), spec=SliceSpec(size_px=64)
    )
    assert cut.pixels.shape == (3, 64, 64)
    assert cut.pixels.dtype == np.float32
    assert cut.slices == (2, 3, 4)
    assert [float(one.mean()) for one in cut.pixels] == [80.0, 120.0, 160.0]
    assert cut.notes == ()


@pytest.mark.parametrize(("key", "slices"), [(0, (0, 0, 1)), (5, (4, 5, 5))])
def test_a_slice_beyond_the_end_is_the_key_slice_and_said(
    key: int, slices: tuple[int, int, int]
) -> None:
    lesion = Lesion(1, LesionKind.LIVER, Box(key, 15, 20, key + 1, 25, 30), 100, 1.0, key)
    cut = three_slices(Volume(scan(), *AT), lesion)
    assert cut.slices == slices
    assert any("stands for the one beyond" in note for note in cut.notes)


def test_a_round_lesion_stays_round_where_pixels_are_not_square() -> None:
    y, x = np.mgrid[0:60, 0:80]
    disc = (((y - 30) * 1.6) ** 2 + ((x - 40) * 0.8) ** 2 <= 16**2).astype(np.uint16)
    at = ((5.0, 1.6, 0.8), (0.0, 0.0, 0.0), np.eye(3), "ct")
    ct = Volume(np.where(disc, 200, -1000).astype(np.float32)[None], *at)
    lesions, _ = lesions_from_mask(ct, Mask(disc[None], {}, *at), LesionKind.OTHER)
    cut = three_slices(ct, lesions[0], window=Window(low_hu=0, high_hu=100))
    rows, columns = np.nonzero(cut.pixels[1] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.08)
    assert rows.mean() == pytest.approx(111.5, abs=4)
    assert cut.pixel_mm[0] == pytest.approx(cut.pixel_mm[1], rel=0.03)
    # A disc of 32 mm and twice 10 mm of margin fill 224 px.
    assert 224 * cut.pixel_mm[1] == pytest.approx(52, abs=2)


def test_what_lies_outside_of_the_picture_is_black_and_said() -> None:
    ct = Volume(scan(40), *AT)
    lesion = Lesion(1, LesionKind.LIVER, Box(2, 0, 0, 3, 10, 10), 100, 1.0, 2)
    cut = three_slices(ct, lesion, spec=SliceSpec(size_px=64))
    assert (cut.pixels[1][:20, :20] == 0).all()
    assert float(cut.pixels[1][-5, -5]) == 127.5
    assert any("outside of the picture" in note for note in cut.notes)


def test_a_lesion_of_another_ct_is_refused() -> None:
    lesion = Lesion(1, LesionKind.LIVER, Box(2, 0, 0, 3, 10, 60), 100, 1.0, 2)
    with pytest.raises(InputError, match="outside of ct"):
        three_slices(Volume(scan(), *AT), lesion)


# --- the picture ---------------------------------------------------------------------------------


def test_the_picture_states_window_place_and_notes(tmp_path: Path) -> None:
    ct, lesions, mask = found()
    sheet = draw_lesion(ct, lesions[1], mask, window=Window(low_hu=-50, high_hu=150))
    text = sheet.svg().decode()
    assert "Lesion 2, met (liver): 0.10 ml; key slice 6 of 6 from the feet, z 125.0 mm" in text
    assert "Window left 40/400, right 50/200 HU" in text
    assert "stands for the one beyond" in text
    for letter in "RLAP":
        assert f">{letter}</text>" in text
    assert " mm</text>" in text
    save_lesion_picture(tmp_path / "a.png", sheet)
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"


def test_the_outline_runs_around_the_lesion_in_the_picture() -> None:
    ct, lesions, mask = found()
    picture = draw_lesion(ct, lesions[1], mask)._parts[0].rgb
    yellow = np.argwhere((picture == (255, 196, 0)).all(axis=2))
    scale = picture.shape[1] / SHAPE[2]
    low, high = yellow.min(axis=0) / scale, (yellow.max(axis=0) + 1) / scale
    np.testing.assert_allclose(low, [30, 30], atol=0.15)
    np.testing.assert_allclose(high, [33, 40], atol=0.15)
