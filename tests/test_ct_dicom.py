"""A DICOM series is a volume by the place of its slices; what would move a voxel is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
from ct_files import (
    PATIENT,
    change,
    ct_series,
    ct_slice,
    hu_block,
    save,
)
from herscope.core.errors import (
    DependencyMissing,
    HerscopeError,
    InputError,
    NotComputed,
    SchemaError,
)
from herscope.respond.radiology.dicom_series import (
    SeriesSpec,
    list_series,
    read_dicom_series,
)


def test_slices_are_sorted_by_position_and_not_by_name_or_number(tmp_path: Path) -> None:
    ct_series(tmp_path, order=[2, 0, 3, 1])
    ct = read_dicom_series(tmp_path)
    np.testing.assert_array_equal(ct.array, hu_block())
    assert ct.spacing_mm == pytest.approx((5.0, 0.8, 0.5))
    assert ct.origin_mm == pytest.approx((-10, -20, 100))


def test_slope_and_intercept_of_each_slice_are_applied(tmp_path: Path) -> None:
    hu = np.full((2, 4, 4), 40, np.int16)
    save(ct_slice(hu[0], (0, 0, 0), slope=2.0, intercept=-1000.0), tmp_path / "a.dcm")
    save(ct_slice(hu[1], (0, 0, 5), slope=0.5, intercept=-8.0), tmp_path / "b.dcm")
    assert np.unique(read_dicom_series(tmp_path).array).tolist() == [40.0]


def test_feet_are_first_and_left_is_right_of_the_picture_whatever_the_scan(tmp_path: Path) -> None:
    # Prone, head last: rows run to the patient's right, columns to the front.
    hu = hu_block()
    flipped = hu[::-1, ::-1, ::-1]
    for z in range(4):
        at = (-10 + 7 * 0.5, -20 + 5 * 0.8, 100 + 5.0 * (3 - z))
        made = ct_slice(flipped[z], at, orientation=(-1, 0, 0, 0, -1, 0))
        save(made, tmp_path / f"{z}.dcm")
    ct = read_dicom_series(tmp_path)
    np.testing.assert_array_equal(ct.array, hu)
    assert ct.origin_mm == pytest.approx((-10, -20, 100))


def test_a_coronal_series_is_turned_into_axial_slices(tmp_path: Path) -> None:
    hu = hu_block((4, 6, 8))
    for y in range(6):
        # Rows run to the left, columns to the feet.
        made = ct_slice(
            hu[::-1, y, :],
            (-10, -20 + 2.0 * y, 100 + 3 * 0.8),
            orientation=(1, 0, 0, 0, 0, -1),
            spacing=(0.8, 0.5),
            thickness=2.0,
        )
        save(made, tmp_path / f"{y}.dcm")
    ct = read_dicom_series(tmp_path)
    np.testing.assert_array_equal(ct.array, hu)
    assert ct.spacing_mm == pytest.approx((0.8, 2.0, 0.5))


def test_padding_outside_the_scan_becomes_air(tmp_path: Path) -> None:
    hu = hu_block()
    hu[:, 0, 0] = -3024
    for path in ct_series(tmp_path, hu):
        change(path, PixelPaddingValue=-2000)
    ct = read_dicom_series(tmp_path)
    assert ct.array[:, 0, 0].tolist() == [-1024.0] * 4
    assert any("4 padding voxels" in note for note in ct.notes)


def test_several_series_are_listed_and_one_is_chosen_by_its_end(tmp_path: Path) -> None:
    ct_series(tmp_path / "a", series="1.2.3.101")
    ct_series(tmp_path / "b", hu_block() + 7, series="1.2.3.202")
    assert list_series(tmp_path) == {"1.2.3.101": 4, "1.2.3.202": 4}
    with pytest.raises(InputError, match=r"1\.2\.3\.101 \(4 slices\); 1\.2\.3\.202"):
        read_dicom_series(tmp_path)
    chosen = read_dicom_series(tmp_path, spec=SeriesSpec(series="202"))
    np.testing.assert_array_equal(chosen.array, hu_block() + 7)
    with pytest.raises(InputError, match="not here"):
        read_dicom_series(tmp_path, spec=SeriesSpec(series="999"))
    with pytest.raises(InputError, match="not one of"):
        read_dicom_series(tmp_path, spec=SeriesSpec(series=""))


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path) -> None:
    ct_series(tmp_path, hu_block((6, 4, 4)), skip=[3])
    with pytest.raises(SchemaError, match=r"1 slice is missing between img002\.dcm .*img004\.dcm"):
        read_dicom_series(tmp_path)


def test_every_second_slice_missing_is_seen_by_the_thickness(tmp_path: Path) -> None:
    ct_series(tmp_path, hu_block((6, 4, 4)), skip=[1, 3, 5])
    with pytest.raises(SchemaError, match=r"10\.00 mm apart and 5\.00 mm thick"):
        read_dicom_series(tmp_path)
    ct = read_dicom_series(tmp_path, spec=SeriesSpec(allow_gaps=True))
    assert ct.spacing_mm[0] == pytest.approx(10)
    assert any("not seen" in note for note in ct.notes)


def test_overlapping_slices_are_fine_and_noted(tmp_path: Path) -> None:
    ct_series(tmp_path, step_mm=2.5)
    ct = read_dicom_series(tmp_path)
    assert ct.spacing_mm[0] == pytest.approx(2.5)
    assert any("overlap" in note for note in ct.notes)


def test_two_slices_at_one_place_are_refused(tmp_path: Path) -> None:
    ct_series(tmp_path)
    save(ct_slice(hu_block()[0] + 1, (-10, -20, 105)), tmp_path / "twin.dcm")
    with pytest.raises(SchemaError, match=r"img001\.dcm and twin\.dcm lie at one place"):
        read_dicom_series(tmp_path)


def test_positions_rounded_to_a_tenth_are_even_and_worse_is_not(tmp_path: Path) -> None:
    for folder, slack in (("good", 0.05), ("bad", 0.6)):
        (tmp_path / folder).mkdir()
        for z in range(6):
            at = (0, 0, 3.27 * z + (slack if z == 3 else 0))
            save(ct_slice(hu_block()[0], at), tmp_path / folder / f"{z}.dcm")
    assert read_dicom_series(tmp_path / "good").spacing_mm[0] == pytest.approx(3.27, abs=0.02)
    with pytest.raises(SchemaError, match=r"3\.dcm lies 0\.60 mm off an even spacing"):
        read_dicom_series(tmp_path / "bad")


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path) -> None:
    for z in range(5):
        save(ct_slice(hu_block()[0], (0, 5.0 * z * np.tan(0.2), 5.0 * z)), tmp_path / f"{z}.dcm")
    with pytest.raises(SchemaError, match=r"tilted 11\.5 degrees"):
        read_dicom_series(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"PixelSpacing": [0.9, 0.5]}, "pixels of"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.995, 0.0998]}, "different directions"),
        ({"FrameOfReferenceUID": "1.2.9"}, "different frames of reference"),
        ({"PixelSpacing": None}, "states no PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "states no PixelSpacing"),
        ({"ImagePositionPatient": None}, "states no position"),
        ({"RescaleSlope": None}, "states no RescaleSlope"),
        ({"RescaleType": "OD"}, "holds OD, not Hounsfield units"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour picture"),
        ({"PixelData": None}, "has no pixels"),
        ({"Rows": None}, "lacks the element Rows"),
    ],
)
def test_an_odd_slice_is_refused_by_name(tmp_path: Path, values: dict, words: str) -> None:
    paths = ct_series(tmp_path)
    change(paths[2], **values)
    with pytest.raises(SchemaError, match=words) as caught:
        read_dicom_series(tmp_path)
    assert "img002.dcm" in str(caught.value)


def test_mixed_sizes_are_refused_by_name(tmp_path: Path) -> None:
    ct_series(tmp_path)
    save(ct_slice(np.zeros((5, 5), np.int16), (-10, -20, 120)), tmp_path / "zz.dcm")
    with pytest.raises(SchemaError, match=r"zz\.dcm and img000\.dcm have 5 x 5 and 6 x 8 pixels"):
        read_dicom_series(tmp_path)


def test_other_modalities_are_passed_over_and_alone_are_refused(tmp_path: Path) -> None:
    ct_series(tmp_path)
    other = ct_slice(hu_block()[0], (0, 0, 0), series="1.2.9")
    other.SOPClassUID, other.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    save(other, tmp_path / "mr.dcm")
    (tmp_path / "notes.txt").write_text("nothing")
    assert "passed over: 1 MR" in read_dicom_series(tmp_path).notes
    with pytest.raises(SchemaError, match="no CT slice among 1 DICOM files: 1 MR"):
        read_dicom_series(tmp_path / "mr.dcm")


def test_a_folder_without_dicom_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(NotComputed, match="no DICOM file"):
        read_dicom_series(tmp_path)
    with pytest.raises(NotComputed, match="does not exist"):
        read_dicom_series(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.97])
def test_a_truncated_slice_is_a_sentence_that_names_it(tmp_path: Path, share: float) -> None:
    hu = np.zeros((3, 64, 64), np.int16)
    paths = ct_series(tmp_path, hu)
    raw = paths[1].read_bytes()
    paths[1].write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(SchemaError, match=r"img001\.dcm"):
        read_dicom_series(tmp_path)


def test_noise_under_a_dicom_name_is_a_sentence(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8).tobytes()
    (tmp_path / "a.dcm").write_bytes(noise)
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + noise)
    for name in ("a.dcm", "b.dcm"):
        with pytest.raises(SchemaError, match=name):
            read_dicom_series(tmp_path / name)


def test_one_slice_alone_takes_its_thickness(tmp_path: Path) -> None:
    path = ct_series(tmp_path)[0]
    assert read_dicom_series(path).spacing_mm[0] == pytest.approx(5)
    change(path, SliceThickness=None)
    with pytest.raises(SchemaError, match="only slice and states no SliceThickness"):
        read_dicom_series(path)


def test_a_compression_without_decoder_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders import base

    paths = ct_series(tmp_path)
    import pydicom
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(paths[0])
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    dataset.PixelData = encapsulate([b"\xff\xd8" + b"\0" * 20])
    save(dataset, paths[0])
    decoder = base.get_decoder(pydicom.uid.UID("1.2.840.10008.1.2.4.70"))
    monkeypatch.setattr(type(decoder), "is_available", property(lambda _: False))
    with pytest.raises(DependencyMissing, match="no decoder for it is installed") as caught:
        read_dicom_series(tmp_path)
    assert "pylibjpeg" in caught.value.hint


def test_run_length_compression_is_read(tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import RLELossless

    for path in ct_series(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        save(dataset, path)
    np.testing.assert_array_equal(read_dicom_series(tmp_path).array, hu_block())


def test_no_message_and_no_result_names_the_patient(tmp_path: Path) -> None:
    ct_series(tmp_path)
    ct = read_dicom_series(tmp_path)
    assert PATIENT not in repr((ct.source, ct.notes, ct.frame))
    for values in ({"PixelSpacing": None}, {"Rows": None}, {"SOPClassUID": None}):
        folder = tmp_path / next(iter(values))
        made = ct_series(folder)
        change(made[0], **values)
        with pytest.raises(HerscopeError) as caught:
            read_dicom_series(folder)
        error = caught.value
        assert PATIENT not in f"{error} {error.hint} {error.__cause__}"
