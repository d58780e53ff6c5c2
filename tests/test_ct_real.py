"""Real CT: Hounsfield units are plausible, and left is left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")

from herscope.core.errors import InputError
from herscope.respond.radiology.lesions import LesionKind, lesions_from_mask
from herscope.respond.radiology.masks import read_mask, read_volume
from herscope.respond.radiology.slices import three_slices
from herscope.respond.radiology.windows import count_lesion, fit_windows

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
CT = DATA / "ct"

pytestmark = pytest.mark.skipif(not CT.is_dir(), reason="the real CT is not on this machine")

# Label numbers of the TotalSegmentator v2 map.
SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, LIVER, AORTA, CAVA = 1, 2, 3, 5, 52, 63


def test_a_real_dicom_series_has_air_water_and_even_slices() -> None:
    ct = read_volume(CT / "crlm_dicom")
    assert ct.grid.shape == (12, 512, 512)
    assert ct.spacing_mm == pytest.approx((5, 0.796875, 0.796875))
    assert ct.grid.to_mm([(0, 0, 0), (11, 0, 0)])[:, 2].tolist() == [-300.0, -245.0]
    # In front of the body: air; in the middle of the liver: contrast-enhanced tissue.
    air = ct.array[:, 60:90, 240:280]
    assert -1024 <= float(np.median(air)) <= -960
    liver = ct.array[:, 300:330, 150:180]
    assert 60 <= float(np.median(liver)) <= 180
    assert float(ct.array.max()) < 3072


def test_left_is_left_and_up_is_up_in_a_labelled_ct() -> None:
    ct = read_volume(CT / "totalsegmentator" / "example_ct_sm.nii.gz")
    mask = read_mask(CT / "totalsegmentator" / "example_seg.nii.gz", ct)

    def middle(label: int) -> np.ndarray:
        return np.argwhere(mask.array == label).mean(axis=0)

    assert middle(LIVER)[2] < middle(SPLEEN)[2]
    assert middle(RIGHT_KIDNEY)[2] < middle(LEFT_KIDNEY)[2]
    assert middle(CAVA)[2] < middle(AORTA)[2]
    # Front is on top, the head is last: kidneys lie behind and below the liver.
    assert middle(LIVER)[1] < middle(LEFT_KIDNEY)[1]
    assert middle(LIVER)[0] > middle(RIGHT_KIDNEY)[0]
    assert 30 <= float(np.median(ct.array[mask.array == LIVER])) <= 150
    # Corners of the slices are air.
    assert float(np.median(ct.array[:, 0, :5])) < -900


def test_every_sarcoma_becomes_one_lesion_with_a_window_and_three_slices() -> None:
    counts = []
    for image in sorted((CT / "ibsi_sts").glob("*_image.nii.gz")):
        ct = read_volume(image)
        mask = read_mask(image.with_name(image.name.replace("image", "mask")), ct)
        lesions, numbered = lesions_from_mask(ct, mask, LesionKind.OTHER)
        assert len(lesions) == 1
        assert lesions[0].volume_ml == pytest.approx(mask.counts()[1] * ct.grid.voxel_ml)
        assert 20 < lesions[0].volume_ml < 200
        # Air is in the picture, and a sarcoma has the density of soft tissue or fat.
        assert float(np.percentile(ct.array, 0.5)) < -900
        assert -120 < float(np.median(ct.array[mask.array > 0])) < 80
        counts.append(count_lesion(ct, lesions[0], numbered, centre="A"))
        cut = three_slices(ct, lesions[0], window=fit_windows(counts[-1:]).rows[0].window)
        assert 60 < float(cut.pixels[:, 80:144, 80:144].mean()) < 200
    table = fit_windows(counts)
    assert len(counts) == 8
    assert table.rows[0].voxels == sum(int(one.counts.sum()) for one in counts)
    assert (table.rows[0].window.low_hu, table.rows[0].window.high_hu) == (-78, 131)


def test_the_mask_of_another_patient_is_refused() -> None:
    ct = read_volume(CT / "ibsi_sts" / "STS_002_CT_image.nii.gz")
    with pytest.raises(InputError, match="lies on another grid"):
        read_mask(CT / "ibsi_sts" / "STS_003_CT_mask.nii.gz", ct)


def test_the_digital_phantom_keeps_its_numbers_and_is_noted_as_no_ct() -> None:
    folder = CT / "ibsi_digital_phantom"
    phantom = read_volume(folder / "phantom.nii.gz")
    mask = read_mask(folder / "mask.nii.gz", phantom)
    assert phantom.grid.shape == (4, 4, 5)
    assert phantom.spacing_mm == (2, 2, 2)
    inside = phantom.array[mask.array == 1]
    # IBSI reference manual: 74 voxels, mean 2.15.
    assert inside.size == 74
    assert float(inside.mean()) == pytest.approx(2.15, abs=0.005)
    assert any("hardly Hounsfield" in note for note in phantom.notes)
