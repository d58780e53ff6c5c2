"""Masks from SEG, RTSTRUCT and NIfTI fall on the voxels they were drawn on, or are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
from ct_files import (
    PATIENT,
    change,
    ct_series,
    hu_block,
    nifti_file,
    rtstruct_file,
    seg_file,
)
from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.respond.radiology.contour_fill import fill_even_odd
from herscope.respond.radiology.dicom_series import read_dicom_series
from herscope.respond.radiology.mask_spec import MaskSpec
from herscope.respond.radiology.masks import read_mask, read_volume
from herscope.respond.radiology.volume import Volume, same_grid

SHAPE = (4, 6, 8)
NAMES = {1: "Liver", 2: "Node"}


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    ct_series(tmp_path / "ct")
    return read_dicom_series(tmp_path / "ct")


def drawn(*pixels: tuple[int, int]) -> np.ndarray:
    out = np.zeros(SHAPE[1:], np.uint8)
    for row, column in pixels:
        out[row, column] = 1
    return out


def at(z: float) -> tuple[float, float, float]:
    return -10.0, -20.0, 100.0 + 5.0 * z


def ring(z: float, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners in voxels of the CT as places in mm."""
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return np.array([(-10 + 0.5 * x, -20 + 0.8 * y, 100 + 5 * z) for x, y in corners])


# --- SEG -----------------------------------------------------------------------------------------


def test_seg_frames_are_placed_by_position_and_not_by_number(tmp_path: Path, ct: Volume) -> None:
    frames = [
        (2, at(3), drawn((1, 2))),
        (1, at(0), drawn((5, 7), (0, 0))),
        (1, at(2), drawn((4, 4))),
    ]
    mask = read_mask(seg_file(tmp_path / "s.dcm", frames, names=NAMES), ct)
    found = {tuple(one): int(mask.array[tuple(one)]) for one in np.argwhere(mask.array).tolist()}
    assert found == {(3, 1, 2): 2, (0, 5, 7): 1, (0, 0, 0): 1, (2, 4, 4): 1}
    assert mask.labels == NAMES
    assert same_grid(ct, mask)


def test_a_seg_of_a_part_drawn_the_other_way_round_falls_on_its_voxels(
    tmp_path: Path, ct: Volume
) -> None:
    # A cut-out of 2 x 3 pixels whose first pixel is voxel (1, 4, 6) and that runs back.
    place = (-10 + 6 * 0.5, -20 + 4 * 0.8, 105.0)
    pixels = np.array([[1, 1, 0], [0, 1, 0]], np.uint8)
    path = seg_file(
        tmp_path / "s.dcm", [(1, place, pixels)], names={1: "a"}, orientation=(-1, 0, 0, 0, -1, 0)
    )
    found = np.argwhere(read_mask(path, ct).array).tolist()
    assert found == [[1, 3, 5], [1, 4, 5], [1, 4, 6]]


def test_a_chosen_segment_is_read_alone(tmp_path: Path, ct: Volume) -> None:
    frames = [(1, at(0), drawn((0, 0))), (2, at(0), drawn((0, 0), (0, 1)))]
    path = seg_file(tmp_path / "s.dcm", frames, names=NAMES)
    with pytest.raises(InputError, match=r"segments 1 and 2 of s\.dcm overlap in 1 voxels"):
        read_mask(path, ct)
    assert read_mask(path, ct, spec=MaskSpec(labels=("node",))).counts() == {2: 2}
    with pytest.raises(InputError, match=r"no label spleen; it has 1 \(Liver\), 2 \(Node\)"):
        read_mask(path, ct, spec=MaskSpec(labels=("spleen",)))


def test_a_fractional_seg_needs_a_threshold(tmp_path: Path, ct: Volume) -> None:
    pixels = np.zeros(SHAPE[1:], np.uint8)
    pixels[2, 1:5] = [99, 100, 101, 200]
    path = seg_file(tmp_path / "s.dcm", [(1, at(1), pixels)], names={1: "a"}, fractional=True)
    with pytest.raises(SchemaError, match="fractional"):
        read_mask(path, ct)
    mask = read_mask(path, ct, spec=MaskSpec(fraction_threshold=0.5))
    assert np.argwhere(mask.array)[:, 2].tolist() == [2, 3, 4]
    assert any("cut at 0.5" in note for note in mask.notes)


@pytest.mark.parametrize(
    ("frame", "spacing", "words"),
    [
        ((-10.0, -20.0, 102.5), (0.8, 0.5), "another grid"),
        ((-10.2, -20.0, 100.0), (0.8, 0.5), "another grid"),
        ((-10.0, -20.0, 100.0), (0.9, 0.5), "another grid"),
        ((-10.0, -20.0, 120.0), (0.8, 0.5), "outside"),
        ((-10.0, -24.0, 100.0), (0.8, 0.5), "outside"),
    ],
)
def test_a_seg_on_another_grid_is_refused(
    tmp_path: Path, ct: Volume, frame: tuple, spacing: tuple, words: str
) -> None:
    pixels = drawn((0, 1), (1, 1))
    path = seg_file(tmp_path / "s.dcm", [(1, frame, pixels)], names={1: "a"}, spacing=spacing)
    with pytest.raises(InputError, match=words):
        read_mask(path, ct)


def test_a_mask_of_another_examination_is_refused(tmp_path: Path, ct: Volume) -> None:
    frames = [(1, at(0), drawn((0, 0)))]
    path = seg_file(tmp_path / "s.dcm", frames, names={1: "a"}, frame="1.2.840.77")
    with pytest.raises(InputError, match="frame of reference"):
        read_mask(path, ct)


def test_an_empty_seg_is_refused(tmp_path: Path, ct: Volume) -> None:
    path = seg_file(tmp_path / "s.dcm", [(1, at(0), drawn())], names={1: "a"})
    with pytest.raises(SchemaError, match="has no voxel"):
        read_mask(path, ct)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_seg_is_a_sentence(tmp_path: Path, ct: Volume, share: float) -> None:
    frames = [(1, at(z), np.ones(SHAPE[1:], np.uint8)) for z in range(4)]
    path = seg_file(tmp_path / "s.dcm", frames, names={1: "a"})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(SchemaError, match=r"s\.dcm") as caught:
        read_mask(path, ct)
    assert PATIENT not in str(caught.value)


def test_a_seg_of_another_program_is_read_alike(tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    import pydicom
    from pydicom.sr.codedict import codes

    paths = ct_series(tmp_path / "ct", order=[2, 0, 3, 1])
    for number, path in enumerate(paths):
        change(
            path, StudyInstanceUID="1.2.3", PatientBirthDate="", PatientSex="", StudyDate="",
            StudyTime="", StudyID="", AccessionNumber="", ReferringPhysicianName="",
            SOPInstanceUID=f"1.2.3.4.{number}", PositionReferenceIndicator="",
        )  # fmt: skip
    ct = read_dicom_series(tmp_path / "ct")
    datasets = [pydicom.dcmread(path) for path in paths]
    pixels = np.zeros((4, 6, 8), bool)
    pixels[0, 1, 2] = pixels[3, 4, 5:7] = True
    described = hd.seg.SegmentDescription(
        1, "Liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    made = hd.seg.Segmentation(
        datasets, pixels, hd.seg.SegmentationTypeValues.BINARY, [described], hd.UID(), 1, hd.UID(),
        1, "nobody", "nothing", "0", "0", omit_empty_frames=True,
    )  # fmt: skip
    made.save_as(tmp_path / "s.dcm")
    mask = read_mask(tmp_path / "s.dcm", ct)
    # Frame 0 is the file that lies third from the feet, frame 3 the second.
    assert np.argwhere(mask.array).tolist() == [[1, 4, 5], [1, 4, 6], [2, 1, 2]]
    assert mask.labels == {1: "Liver"}


# --- RTSTRUCT ------------------------------------------------------------------------------------


def test_contours_fill_the_voxels_whose_centres_they_hold(tmp_path: Path, ct: Volume) -> None:
    contours = [ring(1, 1.5, 0.5, 4.5, 3.5), ring(2, -0.4, -0.4, 1.4, 1.4)]
    mask = read_mask(rtstruct_file(tmp_path / "r.dcm", {7: ("GTV", contours)}), ct)
    wanted = np.zeros(SHAPE, np.uint16)
    wanted[1, 1:4, 2:5] = 7
    wanted[2, 0:2, 0:2] = 7
    np.testing.assert_array_equal(mask.array, wanted)
    assert mask.labels == {7: "GTV"}


def test_a_contour_inside_another_cuts_a_hole(tmp_path: Path, ct: Volume) -> None:
    contours = [ring(1, 0.5, 0.5, 6.5, 4.5), ring(1, 2.5, 1.5, 4.5, 3.5)]
    mask = read_mask(rtstruct_file(tmp_path / "r.dcm", {1: ("a", contours)}), ct)
    assert mask.counts() == {1: 6 * 4 - 2 * 2}
    assert not mask.array[1, 2:4, 3:5].any()


def test_even_odd_agrees_with_an_independent_filler() -> None:
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:40, 0:50]
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 25))
        radii = rng.uniform(4, 18, 25)
        points = np.stack([25 + radii * np.cos(angles), 20 + radii * np.sin(angles)], axis=1)
        wanted = Outline(points).contains_points(centres).reshape(40, 50)
        np.testing.assert_array_equal(fill_even_odd([points], (40, 50)), wanted)


def test_contours_that_share_an_edge_share_no_pixel_and_leave_none_out() -> None:
    left = np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 5.0], [1.0, 5.0]])
    right = left + np.array([3.0, 0.0])
    one, other = (fill_even_odd([part], (8, 10)) for part in (left, right))
    assert not (one & other).any()
    assert (one | other).sum() == 6 * 4


@pytest.mark.parametrize(("z", "slice_"), [(1.4, 1), (1.6, 2), (-0.45, 0), (3.45, 3)])
def test_a_contour_between_planes_goes_to_the_nearest(
    tmp_path: Path, ct: Volume, z: float, slice_: int
) -> None:
    path = rtstruct_file(tmp_path / "r.dcm", {1: ("a", [ring(z, 0.5, 0.5, 2.5, 2.5)])})
    assert set(np.argwhere(read_mask(path, ct).array)[:, 0].tolist()) == {slice_}


@pytest.mark.parametrize("z", [-0.6, 3.6, 40.0])
def test_a_contour_beyond_half_a_slice_is_refused(tmp_path: Path, ct: Volume, z: float) -> None:
    path = rtstruct_file(tmp_path / "r.dcm", {1: ("a", [ring(z, 0.5, 0.5, 2.5, 2.5)])})
    with pytest.raises(InputError, match=r"contour 1 of ROI 1 in r\.dcm lies .* mm beyond"):
        read_mask(path, ct)


def test_contours_of_thinner_slices_or_another_direction_are_refused(
    tmp_path: Path, ct: Volume
) -> None:
    thin = [ring(z, 0.5, 0.5, 2.5, 2.5) for z in (1.0, 1.2)]
    with pytest.raises(InputError, match="two planes of one slice"):
        read_mask(rtstruct_file(tmp_path / "a.dcm", {1: ("a", thin)}), ct)
    tilted = ring(1, 0.5, 0.5, 2.5, 2.5)
    tilted[2:, 2] += 5
    with pytest.raises(InputError, match="does not lie in a slice"):
        read_mask(rtstruct_file(tmp_path / "b.dcm", {1: ("a", [tilted])}), ct)
    outside = [ring(1, 3.5, 0.5, 30, 2.5)]
    with pytest.raises(InputError, match="runs out of the picture"):
        read_mask(rtstruct_file(tmp_path / "c.dcm", {1: ("a", outside)}), ct)


def test_slices_between_contours_stay_empty_and_are_noted(tmp_path: Path, ct: Volume) -> None:
    contours = [ring(0, 0.5, 0.5, 2.5, 2.5), ring(3, 0.5, 0.5, 2.5, 2.5)]
    mask = read_mask(rtstruct_file(tmp_path / "r.dcm", {1: ("a", contours)}), ct)
    assert "ROI 1: 2 slices between its contours carry none" in mask.notes
    assert not mask.array[1:3].any()


def test_overlapping_rois_are_read_one_at_a_time(tmp_path: Path, ct: Volume) -> None:
    rois = {
        1: ("GTV", [ring(1, 0.5, 0.5, 2.5, 2.5)]),
        2: ("CTV", [ring(1, 0.5, 0.5, 3.5, 3.5)]),
    }
    path = rtstruct_file(tmp_path / "r.dcm", rois)
    with pytest.raises(InputError, match=r"ROIs 1 and 2 .* overlap in 4 voxels of slice 1"):
        read_mask(path, ct)
    assert read_mask(path, ct, spec=MaskSpec(labels=(2,))).counts() == {2: 9}


def test_points_and_open_lines_hold_no_voxel(tmp_path: Path, ct: Volume) -> None:
    rois = {1: ("a", [ring(1, 0.5, 0.5, 2.5, 2.5)])}
    with pytest.raises(SchemaError, match="has no voxel"):
        read_mask(rtstruct_file(tmp_path / "r.dcm", rois, kind="OPEN_PLANAR"), ct)


# --- NIfTI and the rest --------------------------------------------------------------------------


def test_a_nifti_mask_in_another_orientation_lies_on_the_dicom_ct(
    tmp_path: Path, ct: Volume
) -> None:
    # RAS with x to the right: the array is reversed along x and y against the CT.
    array = np.zeros((8, 6, 4), np.uint8)
    array[8 - 1 - 2, 6 - 1 - 1, 3] = 1
    affine = np.diag([0.5, 0.8, 5.0, 1])
    affine[:3, 3] = [-(-10 + 7 * 0.5), -(-20 + 5 * 0.8), 100]
    mask = read_mask(nifti_file(tmp_path / "m.nii.gz", array, affine), ct, names={1: "liver"})
    assert np.argwhere(mask.array).tolist() == [[3, 1, 2]]
    assert mask.labels == {1: "liver"}
    with pytest.raises(InputError, match="no label 9"):
        read_mask(tmp_path / "m.nii.gz", ct, spec=MaskSpec(labels=(9,)))


def test_a_nifti_mask_on_another_grid_is_moved_only_when_asked(tmp_path: Path, ct: Volume) -> None:
    affine = np.diag([-1.0, -1.6, 10.0, 1])
    affine[:3, 3] = [10, 20, 100]
    path = nifti_file(tmp_path / "m.nii", np.ones((4, 3, 2), np.uint8), affine)
    with pytest.raises(InputError, match="another grid"):
        read_mask(path, ct)
    moved = read_mask(path, ct, spec=MaskSpec(resample=True))
    assert same_grid(ct, moved)
    assert any("nearest neighbour" in note for note in moved.notes)


def test_what_is_no_mask_is_refused(tmp_path: Path, ct: Volume) -> None:
    (tmp_path / "m.png").write_bytes(b"\x89PNG" + bytes(300))
    with pytest.raises(SchemaError, match="neither NIfTI nor DICOM"):
        read_mask(tmp_path / "m.png", ct)
    with pytest.raises(SchemaError, match=r"holds no mask \(Modality CT\)"):
        read_mask(tmp_path / "ct" / "img000.dcm", ct)
    with pytest.raises(NotComputed, match="no file"):
        read_mask(tmp_path / "nothing.dcm", ct)


def test_one_function_reads_both_kinds_of_ct(tmp_path: Path, ct: Volume) -> None:
    affine = np.diag([-0.5, -0.8, 5.0, 1])
    affine[:3, 3] = [10, 20, 100]
    path = nifti_file(tmp_path / "a.nii.gz", hu_block().transpose(2, 1, 0), affine)
    np.testing.assert_array_equal(read_volume(path).array, read_volume(tmp_path / "ct").array)
    np.testing.assert_allclose(read_volume(path).origin_mm, ct.origin_mm)
