"""The picture of where a network looked on a lesion."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
import ct_files as made
from herscope.core.errors import InputError, SchemaError
from herscope.report.cam_picture import PANEL_PX, RIM_RGB, draw_cam, lesion_uris, share_on_lesion
from herscope.respond.radiology.patient_lesions import (
    PatientLesions,
    PatientLesionSpec,
    read_lesions,
)
from herscope.respond.radiology.windows import FALLBACK

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def lesions(root: Path) -> PatientLesions:
    hu = np.full((60, 60, 5), 40, np.float32)
    ct = made.nifti_file(root / "ct.nii", hu, AFFINE)
    box = root / "b.csv"
    box.write_text("patient,lesion,kind,unit,x0,y0,z0,x1,y1,z1\np,l1,liver,voxel,20,20,1,40,40,4\n")
    spec = PatientLesionSpec(size_px=40, with_radiomics=False)
    return read_lesions("p", [ct], boxes=[box], spec=spec)


def panels(sheet: object) -> tuple[np.ndarray, np.ndarray]:
    images = [part for part in sheet._parts if hasattr(part, "rgb")]  # type: ignore[attr-defined]
    return images[0].rgb.astype(int), images[1].rgb.astype(int)


def test_the_map_is_strongest_where_its_corner_is(tmp_path: Path) -> None:
    cam = np.zeros((4, 4))
    cam[0, 3] = 7
    plain, covered = panels(draw_cam(lesions(tmp_path), 0, cam, window=FALLBACK))
    assert plain.shape == covered.shape == (PANEL_PX, PANEL_PX, 3)
    corner, far = covered[5, -6], covered[-6, 5]
    assert corner[0] > corner[2] + 10  # straw: red above blue
    assert far[0] == far[1] == far[2]
    assert corner.sum() > far.sum()
    assert (plain[5, 5] == plain[5, 5, 0]).all()


def test_a_map_that_is_0_everywhere_says_so_and_colours_nothing(tmp_path: Path) -> None:
    sheet = draw_cam(lesions(tmp_path), 0, np.zeros((3, 3)), window=FALLBACK)
    _, covered = panels(sheet)
    assert (covered[5, 5] == covered[5, 5, 0]).all()
    assert "The map is 0 everywhere" in sheet.svg().decode()


def test_the_caption_states_lesion_window_scale_and_share(tmp_path: Path) -> None:
    cam = np.zeros((10, 10))
    cam[4:6, 4:6] = 1
    sheet = draw_cam(
        lesions(tmp_path), 0, cam, window=FALLBACK, meaning="for no response", title="T"
    )
    text = sheet.svg().decode()
    assert "l1 (liver): a box, no outline; key slice 3 of 5 from the feet" in text
    assert "window 40/400 HU" in text
    assert "100% of the map lies on the box, which is 25% of the picture." in text
    assert "The map has 10 x 10 numbers" in text
    assert "10 mm" in text
    for letter in ("R", "L", "A", "P", "maximum", "0", "response", "T"):
        assert f">{letter}</text>" in text
    assert sheet.png()[1:4] == b"PNG"


def test_the_scale_bar_has_the_length_it_says(tmp_path: Path) -> None:
    sheet = draw_cam(lesions(tmp_path), 0, np.ones((2, 2)), window=FALLBACK)
    bars = [part for part in sheet._parts if getattr(part, "height", 0) == 3]
    # 20 voxels of 1 mm and 10 mm on either side fill the panel.
    assert [round(bar.width / (PANEL_PX / 40)) for bar in bars] == [10, 10]


def test_the_rim_runs_where_the_lesion_ends(tmp_path: Path) -> None:
    for picture in panels(draw_cam(lesions(tmp_path), 0, np.ones((2, 2)), window=FALLBACK)):
        rows, columns = np.nonzero((picture == RIM_RGB).all(axis=2))
        # The box is the middle 20 of 40 mm.
        assert (rows.min(), rows.max()) == (PANEL_PX // 4, 3 * PANEL_PX // 4 - 1)
        assert (columns.min(), columns.max()) == (PANEL_PX // 4, 3 * PANEL_PX // 4 - 1)


def test_the_share_of_an_even_map_is_the_lesion_s_share_of_the_picture() -> None:
    inside = np.zeros((20, 20), bool)
    inside[3:9, 2:12] = True
    share, even = share_on_lesion(np.ones((4, 4)), inside)
    assert share == pytest.approx(even) == pytest.approx(60 / 400)
    assert share_on_lesion(np.zeros((4, 4)), inside)[0] is None


@pytest.mark.parametrize(
    ("cam", "message"),
    [
        (np.zeros((2, 2, 2)), r"a map of shape \(2, 2, 2\)"),
        (np.array([[1.0, -0.5]]), "0 values that are no numbers and 1 below 0"),
        (np.array([[1.0, np.nan]]), "1 values that are no numbers"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, cam: np.ndarray, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        draw_cam(lesions(tmp_path), 0, cam, window=FALLBACK)


def test_on_one_scale_a_faint_map_is_fainter_than_a_strong_one(tmp_path: Path) -> None:
    faint, strong = np.full((2, 2), 0.5), np.full((2, 2), 2.0)
    middles = []
    for cam in (faint, strong):
        sheet = draw_cam(lesions(tmp_path), 0, cam, window=FALLBACK, top=2.0, unit="logit")
        middles.append(int(panels(sheet)[1][200, 200].sum()))
        assert ">2 logit</text>" in sheet.svg().decode()
    assert middles[0] + 100 < middles[1]
    quarter = draw_cam(lesions(tmp_path), 0, np.full((2, 2), 0.25), window=FALLBACK)
    half = draw_cam(lesions(tmp_path), 0, np.full((2, 2), 0.25), window=FALLBACK, top=0.25)
    np.testing.assert_array_equal(panels(quarter)[1], panels(half)[1])
    with pytest.raises(SchemaError, match="a scale from 0 to 0 is none"):
        draw_cam(lesions(tmp_path), 0, faint, window=FALLBACK, top=0)


def test_a_page_gets_both_pictures_as_jpeg(tmp_path: Path) -> None:
    cam = np.zeros((4, 4))
    cam[0, 3] = 1
    made_of = lesion_uris(lesions(tmp_path), 0, cam, window=FALLBACK, top=1.0)
    assert list(made_of) == ["picture", "cam_picture"]
    shown = {}
    for name, uri in made_of.items():
        head, _, packed = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(packed))) as picture:
            shown[name] = np.asarray(picture).astype(int)
        assert shown[name].shape == (PANEL_PX, PANEL_PX, 3)
        assert len(uri) < 100_000
    # Straw where the map is strong: red above blue, and nowhere else.
    assert shown["cam_picture"][8, -8, 0] > shown["cam_picture"][8, -8, 2] + 20
    assert abs(shown["picture"][8, -8, 0] - shown["picture"][8, -8, 2]) < 8


def test_a_lesion_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no lesion 1 of 1"):
        draw_cam(lesions(tmp_path), 1, np.ones((2, 2)), window=FALLBACK)
