"""A CT lies in one convention whatever its file's, and bad NIfTI files end in a sentence."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

nib = pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
from ct_files import hu_block, nifti_file  # noqa: E402 - needs the path above
from herscope.core.errors import InputError, NotComputed, SchemaError  # noqa: E402
from herscope.respond.radiology.grid import Grid, to_lps  # noqa: E402
from herscope.respond.radiology.nifti import read_nifti, read_nifti_mask  # noqa: E402
from herscope.respond.radiology.volume import (  # noqa: E402
    Mask,
    Volume,
    check_grid,
    resample_mask,
    same_grid,
)

AT = ((5.0, 0.8, 0.5), (-10.0, -20.0, 100.0), np.eye(3))


def volume(shape: tuple[int, int, int] = (4, 6, 8)) -> Volume:
    return Volume(hu_block(shape).astype(np.float32), *AT, "ct")


def test_every_order_of_axes_gives_the_same_volume() -> None:
    wanted = volume()
    zyx_matrix = np.stack([wanted.grid.matrix[:, axis] for axis in (2, 1, 0)], axis=1)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            array, matrix = wanted.array, zyx_matrix.copy()
            place = np.array(wanted.origin_mm)
            for axis, flip in enumerate(flips):
                if flip:
                    place = place + matrix[:, axis] * (array.shape[axis] - 1)
                    matrix[:, axis] *= -1
                    array = np.flip(array, axis)
            turned, grid = to_lps(array.transpose(order), matrix[:, list(order)], place)
            np.testing.assert_array_equal(turned, wanted.array)
            np.testing.assert_allclose(grid.spacing_mm, wanted.spacing_mm)
            np.testing.assert_allclose(grid.origin_mm, wanted.origin_mm, atol=1e-9)
            np.testing.assert_allclose(grid.direction, np.eye(3), atol=1e-12)


def test_a_nifti_voxel_keeps_its_place_in_the_patient(tmp_path: Path) -> None:
    # (i, j, k): k runs to the left, i to the back, j to the feet, all seen in RAS.
    affine = np.array([[0, 0, -2.0, 30], [-1.5, 0, 0, 40], [0, -3.0, 0, 50], [0, 0, 0, 1]])
    array = np.zeros((4, 5, 6), np.int16)
    array[1, 2, 3] = 700
    ct = read_nifti(nifti_file(tmp_path / "a.nii.gz", array, affine))
    place = (affine @ [1, 2, 3, 1])[:3] * [-1, -1, 1]
    assert ct.array[tuple(np.argwhere(ct.array == 700)[0])] == 700
    np.testing.assert_allclose(ct.grid.to_mm(np.argwhere(ct.array == 700)), [place], atol=1e-5)
    assert ct.spacing_mm == pytest.approx((3.0, 1.5, 2.0))


def test_an_oblique_volume_keeps_its_tilt_and_says_so(tmp_path: Path) -> None:
    angle = np.radians(8)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * 2
    ct = read_nifti(nifti_file(tmp_path / "a.nii", hu_block(), affine))
    assert ct.grid.tilt_degrees() == pytest.approx(8, abs=1e-3)
    assert any("tilted 8.0 degrees" in note for note in ct.notes)


def test_scl_slope_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((3, 3, 3), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    path = tmp_path / "a.nii"
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()
    raw[352:] = np.full(27, 10, "<i2").tobytes()
    path.write_bytes(raw)
    assert np.unique(read_nifti(path).array).tolist() == [-1004.0]


@pytest.mark.parametrize(("units", "scale"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)])
def test_units_of_length_are_turned_into_millimetres(
    tmp_path: Path, units: str, scale: float
) -> None:
    affine = np.diag([2 / scale, 2 / scale, 2 / scale, 1])
    ct = read_nifti(nifti_file(tmp_path / "a.nii", hu_block(), affine, units=units))
    assert ct.spacing_mm == pytest.approx((2, 2, 2), rel=1e-5)


def test_a_nifti_without_orientation_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(hu_block(), None)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(SchemaError, match="states no orientation"):
        read_nifti(tmp_path / "a.nii")


def without_spacing(path: Path, *, form: str) -> Path:
    image = nib.Nifti1Image(hu_block(), np.diag([2.0, 2, 2, 1]))
    image.header["sform_code"], image.header["qform_code"] = (1, 0) if form == "sform" else (0, 1)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[80:92] = np.zeros(3, "<f4").tobytes()
    path.write_bytes(raw)
    return path


def test_a_nifti_without_spacing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"states no spacing \(pixdim 0, 0, 0\)"):
        read_nifti(without_spacing(tmp_path / "a.nii", form="qform"))


def test_a_spacing_that_only_the_sform_states_is_taken_and_noted(tmp_path: Path) -> None:
    ct = read_nifti(without_spacing(tmp_path / "a.nii", form="sform"))
    assert ct.spacing_mm == pytest.approx((2, 2, 2))
    assert any("pixdim and sform" in note for note in ct.notes)


def test_a_sheared_affine_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.2
    with pytest.raises(SchemaError, match="right angles"):
        read_nifti(nifti_file(tmp_path / "a.nii", hu_block(), affine))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    array = hu_block().astype(np.float32)
    array[1, 1, 1] = np.nan
    with pytest.raises(SchemaError, match="1 voxels without a number"):
        read_nifti(nifti_file(tmp_path / "a.nii", array, np.eye(4)))


@pytest.mark.parametrize("keep", [0, 100, 400, 0.6])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_truncated_nifti_is_a_sentence(tmp_path: Path, keep: float, ending: str) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    path = nifti_file(tmp_path / f"a{ending}", array, np.eye(4))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep if keep >= 1 or keep == 0 else len(raw) * keep)])
    with pytest.raises(SchemaError, match="damaged, cut off or no NIfTI"):
        read_nifti(path)


def test_a_file_that_is_no_nifti_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"hello" * 200))
    with pytest.raises(SchemaError, match="no NIfTI file"):
        read_nifti(path)
    with pytest.raises(NotComputed, match="does not exist"):
        read_nifti(tmp_path / "b.nii")


def test_four_axes_are_refused_unless_the_last_is_one(tmp_path: Path) -> None:
    assert (
        read_nifti(nifti_file(tmp_path / "a.nii", hu_block()[..., None], np.eye(4))).array.ndim == 3
    )
    two = np.stack([hu_block(), hu_block()], axis=3)
    with pytest.raises(SchemaError, match="4 axes"):
        read_nifti(nifti_file(tmp_path / "b.nii", two, np.eye(4)))


def test_values_that_are_hardly_hounsfield_units_are_noted(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (4, 4, 4)).astype(np.uint8)
    ct = read_nifti(nifti_file(tmp_path / "a.nii", array, np.eye(4)))
    assert any("hardly Hounsfield" in note for note in ct.notes)


def test_a_mask_without_any_voxel_is_refused(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "m.nii", np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(SchemaError, match="has no voxel"):
        read_nifti_mask(path)


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0])
def test_a_mask_of_other_than_labels_is_refused(tmp_path: Path, value: float) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 1, 1] = value
    with pytest.raises(SchemaError, match=r"whole numbers|labels from"):
        read_nifti_mask(nifti_file(tmp_path / "m.nii", array, np.eye(4)))


def test_a_mask_may_be_off_by_rounding_and_no_more() -> None:
    ct = volume()
    drawn = np.ones((4, 6, 8), np.uint16)
    near = Mask(drawn, {1: "a"}, ct.spacing_mm, (-10.01, -20.0, 100.0), ct.direction, "m")
    far = Mask(drawn, {1: "a"}, ct.spacing_mm, (-10.3, -20.0, 100.0), ct.direction, "m")
    assert same_grid(ct, near)
    assert not same_grid(ct, far)
    with pytest.raises(InputError, match=r"corners 0\.3 mm apart"):
        check_grid(ct, far)


def test_a_mirrored_mask_is_another_grid() -> None:
    ct = volume((4, 8, 8))
    shifted = (ct.origin_mm[0] + 7 * 0.5, *ct.origin_mm[1:])
    mask = Mask(np.ones((4, 8, 8), np.uint16), {1: "a"}, ct.spacing_mm, shifted, np.eye(3), "m")
    assert not same_grid(ct, mask)
    with pytest.raises(SchemaError, match="mirrored"):
        Grid((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([-1.0, 1, 1]))


def test_a_resampled_mask_covers_the_same_tissue() -> None:
    ct = Volume(np.zeros((10, 20, 20), np.float32), (2, 1, 1), (0, 0, 0), np.eye(3), "ct")
    drawn = np.zeros((5, 12, 12), np.uint16)
    drawn[1:3, 3:6, 4:8] = 7
    mask = Mask(drawn, {7: "node"}, (4, 2, 2), (0.5, 0.5, 1.0), np.eye(3), "m")
    moved = resample_mask(mask, ct)
    assert same_grid(ct, moved)
    z, y, x = np.nonzero(moved.array)
    centres = ct.grid.to_mm(np.stack([z, y, x], axis=1))
    assert (centres[:, 0] >= 7.5 + 0).all()
    assert (centres[:, 0] < 15.5).all()
    assert moved.counts() == {7: 4 * 6 * 8}
    assert "nearest neighbour: 0.384 ml, 0.384 ml" in moved.notes[-1]


def test_a_mask_that_does_not_overlap_cannot_be_moved() -> None:
    mask = Mask(np.ones((2, 2, 2), np.uint16), {1: "a"}, (1, 1, 1), (900, 0, 0), np.eye(3), "m")
    with pytest.raises(SchemaError, match="has no voxel"):
        resample_mask(mask, volume())


def test_an_unknown_label_lists_those_there_are() -> None:
    mask = Mask(np.full((4, 6, 8), 2, np.uint16), {2: "liver"}, *AT, "m")
    assert mask.label_of("LIVER") == 2
    with pytest.raises(InputError, match=r"no voxel labelled spleen; it has 2 \(liver\)"):
        mask.label_of("spleen")


def test_a_volume_cannot_be_changed_after_it_was_read() -> None:
    with pytest.raises(ValueError, match="read-only"):
        volume().array[0, 0, 0] = 1
