"""Lesions of a cohort's patient: which mask is of which CT, what is chosen, what is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
import ct_files as made
from herscope.core.errors import HerscopeError, InputError
from herscope.respond.radiology.lesion_choice import choose_lesions
from herscope.respond.radiology.lesions import Box, Lesion, LesionKind
from herscope.respond.radiology.masks import read_volume
from herscope.respond.radiology.patient_lesions import (
    PatientLesions,
    PatientLesionSpec,
    read_lesions,
)
from herscope.respond.radiology.slices import SliceSpec, three_slices, three_slices_hu
from herscope.respond.radiology.windows import FALLBACK, Window, WindowTable, fit_windows
from herscope.respond.radiomics.spec import RadiomicsSpec

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
STS = DATA / "ct" / "ibsi_sts"

# A file (x, y, z) to the right and the front; herscope turns it to (z, y, x) LPS.
SHAPE = (44, 40, 12)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
PLAIN = PatientLesionSpec(with_radiomics=False, size_px=32)
FEW = RadiomicsSpec(classes=("statistics",), wavelet="none", log_sigma_mm=())
BALLS = ((12, 12, 3, 5), (30, 12, 4, 4), (12, 30, 8, 3))


def balls(places: Sequence[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    x, y, z = np.indices(SHAPE)
    out = np.zeros(SHAPE, np.uint8)
    for label, (cx, cy, cz, radius) in enumerate(places, start=1):
        out[(x - cx) ** 2 + (y - cy) ** 2 + 4 * (z - cz) ** 2 <= radius**2] = label
    return out


def ct_file(path: Path, seed: int = 1, affine: NDArray[Any] = AFFINE, hu: float = 40) -> Path:
    values = np.random.default_rng(seed).normal(hu, 10, SHAPE) + 60.0 * (balls(BALLS) > 0)
    return made.nifti_file(path, values.astype(np.float32), affine)


def mask_file(
    path: Path, places: Sequence[tuple[int, int, int, int]] = BALLS, affine: NDArray[Any] = AFFINE
) -> Path:
    return made.nifti_file(path, balls(places), affine)


def box_file(path: Path, *rows: str, ct: bool = False) -> Path:
    head = "patient,lesion,kind,unit,x0,y0,z0,x1,y1,z1" + ",ct" * ct
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def read(
    root: Path,
    masks: Sequence[Path] = (),
    boxes: Sequence[Path] = (),
    spec: PatientLesionSpec = PLAIN,
    ct: Sequence[Path] | None = None,
) -> PatientLesions:
    given = [ct_file(root / "ct.nii.gz")] if ct is None else ct
    return read_lesions("p7", given, masks, boxes, "A", spec)


# --- what comes out -------------------------------------------------------------------------------


def test_a_patient_s_lesions_come_largest_first_with_pictures_and_places(tmp_path: Path) -> None:
    spec = PLAIN.model_copy(update={"default_kind": LesionKind.LIVER, "most_of_a_kind": 0})

    lesions = read(tmp_path, [mask_file(tmp_path / "m.nii.gz")], spec=spec)

    assert len(lesions) == 3
    assert lesions.volumes_ml.tolist() == sorted(lesions.volumes_ml.tolist(), reverse=True)
    assert lesions.pictures_hu.shape == (3, 3, 32, 32)
    assert lesions.pictures_hu.dtype == np.float32
    assert lesions.kinds.tolist() == [2, 2, 2]
    assert lesions.key_slices.tolist() == [3, 4, 8]
    assert lesions.depths.tolist() == [12, 12, 12]
    assert lesions.names == ("m 1", "m 2", "m 3")
    assert lesions.sources == ("ct.nii.gz",) * 3
    assert lesions.omics is None
    assert [one.centre for one in lesions.counts] == ["A"] * 3
    # The picture shows the ball: 100 HU inside, 40 around.
    for picture, inside in zip(lesions.pictures_hu[:, 1], lesions.inside, strict=True):
        assert float(picture[inside].mean()) == pytest.approx(95, abs=6)
        assert float(np.median(picture[~inside & (picture > -200)])) == pytest.approx(40, abs=6)


def test_reading_twice_gives_the_same_bits(tmp_path: Path) -> None:
    masks = [mask_file(tmp_path / "m.nii.gz")]
    spec = PatientLesionSpec(size_px=40)
    first, second = (read(tmp_path, masks, spec=spec) for _ in range(2))
    assert first.omics is not None
    assert second.omics is not None
    assert first.omics.shape == (2, 736)
    assert first.omics.tobytes() == second.omics.tobytes()
    assert first.pictures_hu.tobytes() == second.pictures_hu.tobytes()


def test_the_window_of_training_patients_makes_pictures_of_0_to_1(tmp_path: Path) -> None:
    lesions = read(tmp_path, [mask_file(tmp_path / "m.nii.gz")])
    table = fit_windows(lesions.counts)
    window, note = lesions.windows(table, "A")[0]

    shown = lesions.pictures(table, "A")

    assert note == ""
    assert shown.dtype == np.float32
    assert shown.min() == 0
    assert 0.7 < shown.max() <= 1
    # Beyond the window is black or white, between is a straight line.
    expected = (lesions.pictures_hu - window.low_hu) / window.width_hu
    np.testing.assert_allclose(shown, np.clip(expected, 0, 1), atol=1e-6)
    elsewhere = lesions.pictures(WindowTable(), "B")
    assert FALLBACK.apply(lesions.pictures_hu) / 255 == pytest.approx(elsewhere)
    assert not np.allclose(elsewhere, shown)


def test_hu_pictures_windowed_later_are_those_windowed_before_but_at_hard_edges(
    tmp_path: Path,
) -> None:
    ct = read_volume(ct_file(tmp_path / "ct.nii.gz"))
    lesion = Lesion(1, LesionKind.LIVER, Box(2, 7, 7, 5, 18, 18), 1, 1.0, 3)
    wide = Window(low_hu=-1024, high_hu=3071)
    for size in (16, 64):
        spec = SliceSpec(size_px=size, margin_mm=3)
        before = three_slices(ct, lesion, window=wide, spec=spec)
        after = three_slices_hu(ct, lesion, spec=spec)
        np.testing.assert_allclose(wide.apply(after.pixels), before.pixels, atol=0.01)
        assert after.slices == before.slices
        assert after.pixel_mm == before.pixel_mm


def test_metal_is_clipped_before_it_is_resized(tmp_path: Path) -> None:
    shown = []
    for brightest in (3071, 20_000):
        hu = np.full(SHAPE, 40, np.float32)
        hu[12, 12, 3] = brightest
        ct = made.nifti_file(tmp_path / "ct.nii.gz", hu, AFFINE)
        mask = mask_file(tmp_path / "m.nii.gz", BALLS[:1])
        shown.append(read(tmp_path, [mask], ct=[ct]).pictures_hu)
    # Else the metal would bleed over its neighbours.
    np.testing.assert_array_equal(shown[0], shown[1])


def test_outside_of_the_ct_the_picture_is_air_and_that_is_said(tmp_path: Path) -> None:
    mask = mask_file(tmp_path / "m.nii.gz", [(3, 3, 0, 2)])
    lesions = read(tmp_path, [mask])
    assert float(lesions.pictures_hu.min()) == -1024
    assert any("outside of the picture" in note for note in lesions.notes)
    assert any("stands for the one beyond" in note for note in lesions.notes)


def test_a_lesion_at_the_edge_without_margin_is_still_drawn_in_its_place(tmp_path: Path) -> None:
    box = box_file(tmp_path / "b.csv", "p7,l,liver,voxel,0,0,3,44,2,4")
    lesions = read(tmp_path, boxes=[box], spec=PLAIN.model_copy(update={"margin_mm": 0.0}))
    rows = np.flatnonzero(lesions.inside[0].any(axis=1))
    assert lesions.inside.shape == (1, 32, 32)
    assert 1 <= rows.size <= 3
    assert lesions.inside[0][rows].all()


# --- radiomics ------------------------------------------------------------------------------------


def test_what_a_small_lesion_does_not_determine_is_nan_with_its_reason(tmp_path: Path) -> None:
    spec = PatientLesionSpec(size_px=32, radiomics=FEW)
    mask = mask_file(tmp_path / "m.nii.gz", [BALLS[0], (36, 36, 10, 0)])
    lesions = read(tmp_path, [mask], spec=spec)
    assert lesions.omics is not None
    assert np.isfinite(lesions.omics[0]).all()
    assert np.isnan(lesions.omics[1]).any()
    assert any("m 2: does not determine" in note and "1 voxels" in note for note in lesions.notes)
    mean = lesions.omics[0][lesions.omics_names.index("stat_mean")]
    assert float(mean) == pytest.approx(100, abs=2)


def test_a_lesion_that_cannot_be_measured_keeps_its_picture(tmp_path: Path) -> None:
    spec = PatientLesionSpec(size_px=32, radiomics=RadiomicsSpec(log_sigma_mm=(0.1,)))
    lesions = read(tmp_path, [mask_file(tmp_path / "m.nii.gz", BALLS[:1])], spec=spec)
    assert lesions.omics is not None
    assert np.isnan(lesions.omics).all()
    assert len(lesions) == 1
    assert any(
        "m 1: no radiomics" in note and "finer than voxels" in note for note in lesions.notes
    )


def test_a_box_is_measured_as_it_is(tmp_path: Path) -> None:
    box = box_file(tmp_path / "b.csv", "p7,l,liver,voxel,10,25,2,20,35,6")
    lesions = read(tmp_path, boxes=[box], spec=PatientLesionSpec(size_px=32, radiomics=FEW))
    inside = read_volume(tmp_path / "ct.nii.gz").array[2:6, 25:35, 10:20]
    assert lesions.omics is not None
    found = float(lesions.omics[0][lesions.omics_names.index("stat_mean")])
    assert found == pytest.approx(float(inside.mean()), abs=1e-3)
    assert lesions.outlined.tolist() == [False]
    assert lesions.boxes.tolist() == [[2, 25, 10, 6, 35, 20]]


# --- which are chosen -----------------------------------------------------------------------------


def lesion(kind: LesionKind, ml: float, *, y: int = 0, outlined: bool = True) -> tuple[int, Lesion]:
    return 0, Lesion(1, kind, Box(0, y, 0, 1, y + 1, 1), 1, ml, 0, outlined=outlined)


def test_at_most_five_lesions_and_two_of_a_kind_are_taken_largest_first() -> None:
    kinds = [LesionKind.LIVER] * 4 + [LesionKind.LYMPH_NODE] * 3 + [LesionKind.OTHER] * 3
    sizes = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5]
    chosen, note = choose_lesions([lesion(k, ml) for k, ml in zip(kinds, sizes, strict=True)])
    assert chosen == [0, 1, 4, 5, 7]
    assert note.startswith("5 of 10 lesions left out (liver 7 ml, liver 6 ml, lymph node 3 ml, ...")


def test_without_limits_all_are_taken_and_nothing_is_noted() -> None:
    found = [lesion(LesionKind.LIVER, float(ml)) for ml in range(1, 8)]
    chosen, note = choose_lesions(found, max_lesions=0, most_of_a_kind=0)
    assert chosen == [6, 5, 4, 3, 2, 1, 0]
    assert note == ""


def test_of_equal_lesions_the_one_further_in_front_goes_first_in_any_order() -> None:
    front, back = lesion(LesionKind.LIVER, 2.0, y=3), lesion(LesionKind.LIVER, 2.0, y=9)
    assert choose_lesions([front, back], max_lesions=1)[0] == [0]
    assert choose_lesions([back, front], max_lesions=1)[0] == [1]


def test_a_box_does_not_go_before_an_outline_that_fills_its_own() -> None:
    ball = lesion(LesionKind.LIVER, 0.6)
    box = lesion(LesionKind.LIVER, 1.0, outlined=False)
    assert choose_lesions([box, ball])[0] == [1, 0]


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    lesions = read(tmp_path, [mask_file(tmp_path / "m.nii.gz")])
    assert len(lesions) == 2
    assert any("1 of 3 lesions left out (other" in note for note in lesions.notes)


# --- kinds ----------------------------------------------------------------------------------------


def test_a_label_that_is_called_like_a_kind_states_it_and_a_file_name_does_not(
    tmp_path: Path,
) -> None:
    made.ct_series(tmp_path / "ct", made.hu_block((4, 6, 8)))
    drawn = np.zeros((6, 8), np.uint8)
    drawn[1:3, 1:3] = 1
    other = np.roll(drawn, 3, axis=0)
    path = made.seg_file(
        tmp_path / "liver.dcm",
        [(1, (-10, -20, 105), drawn), (2, (-10, -20, 105), other)],
        names={1: "Lymph node", 2: "tumour"},
    )
    lesions = read(tmp_path, [path], ct=[tmp_path / "ct"])
    kinds = dict(zip(lesions.names, lesions.kinds.tolist(), strict=True))
    assert kinds == {"liver 1, Lymph node": 0, "liver 2, tumour": 4}
    assert "nothing states the kind of 1 of 2 lesions: other" in lesions.notes


def test_a_box_around_an_outlined_lesion_states_its_kind_and_name(tmp_path: Path) -> None:
    boxes = box_file(
        tmp_path / "b.csv",
        "p7,target 1,liver,voxel,5,5,0,20,20,7",
        "p7,new,lymph node,voxel,38,30,9,43,38,12",
        "someone else,x,liver,voxel,0,0,0,999,999,999",
    )
    lesions = read(tmp_path, [mask_file(tmp_path / "m.nii.gz", BALLS[:2])], [boxes])
    found = dict(zip(lesions.names, lesions.kinds.tolist(), strict=True))
    assert found == {"target 1": 2, "m 2": 4, "new": 0}
    assert lesions.outlined[lesions.names.index("target 1")]
    assert not lesions.outlined[lesions.names.index("new")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["p7,half,liver,voxel,5,5,0,10,20,7"], r"box half holds \d+% of lesion m 1"),
        (
            ["p7,a,liver,voxel,5,5,0,20,20,7", "p7,b,stomach,voxel,5,5,0,21,21,7"],
            "boxes a and b both hold lesion a and state two kinds",
        ),
    ],
)
def test_a_box_that_leaves_in_doubt_which_lesion_it_is_of_is_refused(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    boxes = box_file(tmp_path / "b.csv", *rows)
    with pytest.raises(InputError, match=message):
        read(tmp_path, [mask_file(tmp_path / "m.nii.gz", BALLS[:1])], [boxes])


def test_kinds_may_be_words_and_unknown_words_are_refused() -> None:
    assert PatientLesionSpec(default_kind="lymph node").default_kind is LesionKind.LYMPH_NODE
    assert PatientLesionSpec.model_validate({"default_kind": 3}).default_kind == 3
    with pytest.raises(ValueError, match="no kind of lesion is called livr"):
        PatientLesionSpec(default_kind="livr")


# --- several CT -----------------------------------------------------------------------------------


def two_cts(root: Path) -> list[Path]:
    moved = AFFINE.copy()
    moved[2, 3] = 300
    return [ct_file(root / "before.nii.gz"), ct_file(root / "after.nii.gz", 2, moved, hu=-20)]


def test_each_mask_goes_to_the_ct_on_whose_grid_it_lies(tmp_path: Path) -> None:
    cts = two_cts(tmp_path)
    moved = AFFINE.copy()
    moved[2, 3] = 300
    masks = [
        mask_file(tmp_path / "n.nii.gz", [BALLS[1]], moved),
        mask_file(tmp_path / "m.nii.gz", [BALLS[0]]),
    ]
    lesions = read(tmp_path, masks, ct=cts)
    assert lesions.sources == ("before.nii.gz", "after.nii.gz")
    assert lesions.names == ("m 1", "n 1")
    means = [
        float(p[1][i].mean()) for p, i in zip(lesions.pictures_hu, lesions.inside, strict=True)
    ]
    assert means == pytest.approx([95, 36], abs=6)


def test_a_mask_that_fits_no_ct_names_them_all(tmp_path: Path) -> None:
    far = AFFINE.copy()
    far[0, 3] = 55
    mask = mask_file(tmp_path / "m.nii.gz", BALLS, far)
    with pytest.raises(InputError, match=r"patient p7: mask m.nii.gz fits none of 2 CT") as caught:
        read(tmp_path, [mask], ct=two_cts(tmp_path))
    assert "before.nii.gz: mask m.nii.gz lies on another grid" in caught.value.message
    assert "after.nii.gz: mask m.nii.gz lies on another grid" in caught.value.message
    assert "corners 55 mm apart" in caught.value.message


def test_a_mask_that_fits_two_phases_of_one_scan_is_not_given_to_either(tmp_path: Path) -> None:
    cts = [ct_file(tmp_path / "arterial.nii.gz", 1), ct_file(tmp_path / "venous.nii.gz", 2)]
    with pytest.raises(InputError, match=r"fits arterial.nii.gz and venous.nii.gz"):
        read(tmp_path, [mask_file(tmp_path / "m.nii.gz")], ct=cts)


def test_boxes_of_a_patient_with_two_ct_must_say_on_which_they_lie(tmp_path: Path) -> None:
    cts, row = two_cts(tmp_path), "p7,a,liver,voxel,5,5,1,20,20,7"
    with pytest.raises(InputError, match="does not say on which of 2 CT"):
        read(tmp_path, boxes=[box_file(tmp_path / "b.csv", row)], ct=cts)
    with pytest.raises(InputError, match="boxes on CT elsewhere, which is not given"):
        read(tmp_path, boxes=[box_file(tmp_path / "b.csv", f"{row},elsewhere", ct=True)], ct=cts)
    rows = (f"{row},after", f"{row},before.nii.gz")
    lesions = read(tmp_path, boxes=[box_file(tmp_path / "b.csv", *rows, ct=True)], ct=cts)
    assert lesions.sources == ("before.nii.gz", "after.nii.gz")
    assert lesions.names == ("a (1)", "a (2)")


def test_two_masks_of_the_same_lesion_are_refused(tmp_path: Path) -> None:
    masks = [mask_file(tmp_path / f"{name}.nii.gz", BALLS[:1]) for name in ("reader1", "reader2")]
    with pytest.raises(InputError, match=r"reader1.nii.gz and reader2.nii.gz share \d+ voxels"):
        read(tmp_path, masks)


# --- bad input ------------------------------------------------------------------------------------


def test_a_ct_with_neither_mask_nor_box_is_refused_or_missing(tmp_path: Path) -> None:
    boxes = box_file(tmp_path / "b.csv", "someone else,x,liver,voxel,0,0,0,9,9,9")
    with pytest.raises(InputError, match=r"patient p7: CT ct.nii.gz has neither a mask nor a box"):
        read(tmp_path, boxes=[boxes])
    allowed = PLAIN.model_copy(update={"on_missing_mask": "missing"})
    lesions = read(tmp_path, boxes=[boxes], spec=allowed)
    assert len(lesions) == 0
    assert lesions.pictures_hu.shape == (0, 3, 32, 32)
    assert lesions.pictures(WindowTable(), "A").shape == (0, 3, 32, 32)
    assert lesions.notes == ("CT ct.nii.gz has neither a mask nor a box: taken as missing",)


def test_of_two_ct_one_without_lesions_is_refused_or_missing(tmp_path: Path) -> None:
    cts, mask = two_cts(tmp_path), mask_file(tmp_path / "m.nii.gz", BALLS[:1])
    with pytest.raises(InputError, match=r"CT after.nii.gz has neither"):
        read(tmp_path, [mask], ct=cts)
    allowed = PLAIN.model_copy(update={"on_missing_mask": "missing"})
    assert read(tmp_path, [mask], ct=cts, spec=allowed).sources == ("before.nii.gz",)


def _no_spacing_nifti(root: Path) -> list[Path]:
    import nibabel as nib

    image = nib.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE)
    image.set_sform(None, 0)
    image.set_qform(AFFINE, 1)
    nib.save(image, root / "ct.nii")
    raw = bytearray((root / "ct.nii").read_bytes())
    raw[80:92] = np.zeros(3, "<f4").tobytes()  # pixdim 1 to 3
    (root / "ct.nii").write_bytes(raw)
    return [root / "ct.nii"]


def _no_spacing_dicom(root: Path) -> list[Path]:
    paths = made.ct_series(root / "series")
    made.change(paths[1], PixelSpacing=None)
    return [root / "series"]


def _missing_slice(root: Path) -> list[Path]:
    made.ct_series(root / "series", made.hu_block((6, 6, 8)), skip=[2])
    return [root / "series"]


def _two_series(root: Path) -> list[Path]:
    made.ct_series(root / "series" / "one")
    made.ct_series(root / "series" / "two", series=f"{made.SERIES}.7")
    return [root / "series"]


def _nan(root: Path) -> list[Path]:
    hu = np.zeros(SHAPE, np.float32)
    hu[1, 2, 3] = np.nan
    return [made.nifti_file(root / "ct.nii.gz", hu, AFFINE)]


def _four_axes(root: Path) -> list[Path]:
    return [made.nifti_file(root / "ct.nii.gz", np.zeros((8, 8, 4, 3), np.float32), AFFINE)]


def _absent(root: Path) -> list[Path]:
    return [root / "ct.nii.gz"]


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (_no_spacing_nifti, "ct.nii", "states no spacing"),
        (_no_spacing_dicom, "series", "img001.dcm states no PixelSpacing"),
        (_missing_slice, "series", "missing"),
        (_two_series, "series", r"2 CT series are here and none was named: .*\(4 slices\)"),
        (_nan, "ct.nii.gz", "1 voxels without a number"),
        (_four_axes, "ct.nii.gz", r"has 4 axes \(8 x 8 x 4 x 3\)"),
        (_absent, "ct.nii.gz", "does not exist"),
    ],
)
def test_a_ct_that_cannot_be_used_names_patient_file_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], list[Path]], name: str, message: str
) -> None:
    mask = mask_file(tmp_path / "m.nii.gz")
    with pytest.raises(HerscopeError, match=message) as caught:
        read(tmp_path, [mask], ct=make(tmp_path))
    assert caught.value.message.startswith("patient p7")
    assert name in caught.value.message
    assert caught.value.hint


def test_a_named_series_of_two_is_read(tmp_path: Path) -> None:
    _two_series(tmp_path)
    boxes = box_file(tmp_path / "b.csv", "p7,a,liver,voxel,1,1,1,4,4,3")
    spec = PLAIN.model_copy(update={"series": PLAIN.series.model_copy(update={"series": ".7"})})
    assert len(read(tmp_path, boxes=[boxes], ct=[tmp_path / "series"], spec=spec)) == 1


def _moved_mask(root: Path) -> Path:
    moved = AFFINE.copy()
    moved[1, 3] = 4
    return mask_file(root / "m.nii.gz", BALLS, moved)


def _small_mask(root: Path) -> Path:
    return made.nifti_file(root / "m.nii.gz", balls(BALLS)[:20], AFFINE)


def _empty_mask(root: Path) -> Path:
    return mask_file(root / "m.nii.gz", [])


def _text_mask(root: Path) -> Path:
    (root / "m.nii.gz").write_text("no mask")
    return root / "m.nii.gz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_moved_mask, r"lies on another grid than ct.nii.gz: corners 4 mm apart \(limit 0.1 mm\)"),
        (_small_mask, "12 x 40 x 44 and 12 x 40 x 20 voxels"),
        (_empty_mask, "has no voxel: all of it is background"),
        (_text_mask, "is damaged"),
    ],
)
def test_a_mask_that_cannot_be_used_names_patient_file_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, [make(tmp_path)])
    assert caught.value.message.startswith("patient p7")
    assert "m.nii.gz" in caught.value.message
    assert caught.value.hint


def test_a_box_outside_of_the_ct_names_voxels_and_limits(tmp_path: Path) -> None:
    boxes = box_file(tmp_path / "b.csv", "p7,far,liver,voxel,5,5,5,9,9,40")
    with pytest.raises(InputError, match=r"b.csv, patient p7, lesion far: its box") as caught:
        read(tmp_path, boxes=[boxes])
    assert "z 5 to 39" in caught.value.message
    assert "12 x 40 x 44 voxels" in caught.value.message


@pytest.mark.parametrize(("ct", "message"), [(0, "no CT to look"), (2, "ct.nii.gz is given twice")])
def test_no_ct_or_one_twice_is_refused(tmp_path: Path, ct: int, message: str) -> None:
    path = ct_file(tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match=message):
        read(tmp_path, [mask_file(tmp_path / "m.nii.gz")], ct=[path] * ct)


# --- real CT --------------------------------------------------------------------------------------


@pytest.mark.skipif(not STS.is_dir(), reason="the real CT is not on this machine")
def test_a_real_cohort_s_lesions_are_cut_measured_and_windowed_alike() -> None:
    spec = PatientLesionSpec(with_radiomics=False)
    cohort = []
    for image in sorted(STS.glob("*_image.nii.gz")):
        mask = image.with_name(image.name.replace("image", "mask"))
        cohort.append(read_lesions(image.name[:7], [image], [mask], centre="A", spec=spec))
    table = fit_windows(one for lesions in cohort for one in lesions.counts)
    assert len(cohort) == 8
    assert [len(lesions) for lesions in cohort] == [1] * 8
    assert (table.rows[0].window.low_hu, table.rows[0].window.high_hu) == (-78, 131)
    for lesions in cohort:
        shown = lesions.pictures(table, "A")[0, 1]
        # Soft tissue in the middle, neither black nor white.
        assert 0.2 < float(shown[lesions.inside[0]].mean()) < 0.8
        # The margin of 10 mm leaves a frame around the lesion.
        assert 0.2 < float(lesions.inside[0].mean()) < 0.8
        assert not lesions.inside[0][0].any()
        assert not lesions.inside[0][:, -1].any()


@pytest.mark.skipif(not STS.is_dir(), reason="the real CT is not on this machine")
def test_a_real_lesion_has_736_numbers() -> None:
    image = STS / "STS_008_CT_image.nii.gz"
    lesions = read_lesions("8", [image], [STS / "STS_008_CT_mask.nii.gz"])
    assert lesions.omics is not None
    assert lesions.omics.shape == (1, 736)
    assert np.isfinite(lesions.omics).all()
