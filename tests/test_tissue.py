"""Tissue, glass and artefacts on drawn and real overviews."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from herscope.core.errors import InputError
from herscope.tissue.detection import TissueSpec, detect_tissue

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
HEMATOXYLIN = np.array([0.650, 0.704, 0.286])
DAB = np.array([0.268, 0.570, 0.776])
EOSIN = np.array([0.07, 0.99, 0.11])
GLASS = np.array([240.0, 241.0, 239.0])


def overview(
    stain=HEMATOXYLIN, strength=0.25, *, seed=0, size=400, glass=GLASS, mpp=8.0, quality=85
):
    """A round section with vacuoles on glass, as a scanner would save it; and its true mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    true = (x - 0.5 * size) ** 2 + (1.5 * (y - 0.55 * size)) ** 2 < (0.36 * size) ** 2
    lumen = (x - 0.6 * size) ** 2 + (y - 0.55 * size) ** 2 < (240 / mpp) ** 2
    true &= ~lumen
    grain = cv2.GaussianBlur(rng.random((size, size)), (0, 0), 1.2)
    grain = np.clip(0.6 + (grain - grain.mean()) / grain.std() * 0.25, 0.25, None)
    od = (true * grain * strength)[..., None] * stain
    return jpeg(glass * 10**-od, quality), true


def jpeg(rgb, quality=85):
    rgb = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    ok, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy()


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {name}: {DATA} has no real data")
    if path.suffix in {".tif", ".svs"}:
        return np.ascontiguousarray(tifffile.imread(path)[..., :3])
    return cv2.imread(str(path))[..., ::-1].copy()


def shrink(rgb, longest):
    scale = max(1.0, max(rgb.shape[:2]) / longest)
    return cv2.resize(rgb, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA), scale


class TestDrawn:
    @pytest.mark.parametrize(
        ("stain", "strength"),
        [
            (HEMATOXYLIN, 0.35),
            (HEMATOXYLIN, 0.10),  # very pale counterstain: 10 grey levels in red
            (DAB, 0.6),
            (0.5 * DAB + 0.5 * HEMATOXYLIN, 0.3),
            (EOSIN, 0.3),
        ],
    )
    def test_tissue_is_found_whatever_its_stain(self, stain, strength):
        rgb, true = overview(stain, strength)

        found = detect_tissue(rgb, 8.0)

        assert overlap(found.mask, true) > 0.95
        assert found.background.mean() > 0.3
        assert not (found.background & true).any()

    @pytest.mark.parametrize("glass", [(255, 255, 255), (225, 226, 214), (214, 232, 246)])
    def test_the_colour_of_the_glass_does_not_matter(self, glass):
        rgb, true = overview(strength=0.2, glass=np.array(glass, float))

        found = detect_tissue(rgb, 8.0)

        assert overlap(found.mask, true) > 0.95
        np.testing.assert_allclose(np.median(rgb[found.background], axis=0), glass, atol=1.5)

    @pytest.mark.parametrize("fall", [0.12, 0.2])
    def test_vignetting_is_not_tissue(self, fall):
        rgb, true = overview(strength=0.3)
        y, x = np.mgrid[-1:1:400j, -1:1:400j]
        shaded = jpeg(rgb * (1 - fall * (x * x + y * y) / 2)[..., None])

        found = detect_tissue(shaded, 8.0)

        assert overlap(found.mask, true) > 0.93

    @pytest.mark.parametrize("quality", [50, 75, 95])
    @pytest.mark.parametrize("fall", [0.0, 0.15])
    def test_glass_alone_has_no_tissue(self, quality, fall):
        rng = np.random.default_rng(1)
        y, x = np.mgrid[-1:1:300j, -1:1:300j]
        light = (1 - fall * (x * x + y * y) / 2)[..., None]
        rgb = jpeg(GLASS * light + rng.normal(0, 1.5, (300, 300, 3)), quality)

        found = detect_tissue(rgb, 8.0)

        assert not found.mask.any()
        assert found.background.mean() > 0.7

    def test_a_field_that_is_all_tissue_has_no_glass_and_loses_nothing(self):
        rng = np.random.default_rng(5)
        amount = cv2.GaussianBlur(rng.random((256, 256)), (0, 0), 4.0)
        amount = 0.2 + 0.15 * (amount - amount.mean()) / amount.std()
        rgb = jpeg(GLASS * 10 ** -(np.clip(amount, 0.09, None)[..., None] * HEMATOXYLIN * 1.6))

        found = detect_tissue(rgb, 0.5)

        assert found.mask.mean() > 0.99
        assert not found.background.any()

    def test_a_large_lumen_is_not_tissue_and_a_small_gap_is(self):
        rgb, true = overview(EOSIN, 0.5, seed=2)
        inside = np.zeros_like(true)
        inside[200:203, 140:143] = True  # 24 µm
        rgb[inside] = GLASS.astype(np.uint8)

        found = detect_tissue(rgb, 8.0)

        assert found.mask[inside].all()
        assert not found.mask[220, 240]  # the middle of the lumen

    def test_thin_walls_of_fat_are_tissue_and_vacuoles_are_not(self):
        rgb = np.tile(GLASS, (300, 300, 1))
        wall = np.zeros((300, 300), bool)
        wall[50:250:20, 50:250] = wall[50:250, 50:250:20] = True  # 160 µm vacuoles, 8 µm walls
        rgb[wall] *= 10 ** -(0.25 * EOSIN)
        rgb[50:250, 10:50] *= 10 ** -(0.4 * EOSIN)

        found = detect_tissue(jpeg(rgb, 95), 8.0)

        # all but the end of the last wall, which sticks out
        assert found.mask[wall].mean() > 0.95
        assert not found.mask[60:240:20, 60:240:20].any()

    @pytest.mark.parametrize(
        "ink", [(20, 130, 60), (30, 60, 190), (25, 25, 28), (215, 25, 45), (10, 90, 110)]
    )
    @pytest.mark.parametrize("place", ["glass", "tissue"])
    def test_pen_strokes_are_neither_tissue_nor_glass(self, ink, place):
        rgb, true = overview(EOSIN * 0.6 + HEMATOXYLIN * 0.4, 0.35)
        stroke = np.zeros(true.shape, np.uint8)
        y = 40 if place == "glass" else 180
        cv2.line(stroke, (60, y), (330, y + 20), 1, 12)
        light = np.array(ink) / 240.0
        over = np.where(stroke[..., None] > 0, rgb * light, rgb)
        if place == "glass":
            over = np.where(stroke[..., None] > 0, np.array(ink, float), rgb)

        found = detect_tissue(jpeg(over), 8.0)

        stroke = stroke > 0
        assert found.artefacts["pen"][stroke].mean() > 0.95
        assert not (found.mask & stroke).sum() > 0.05 * stroke.sum()
        assert not (found.background & stroke).any()
        clear = ~cv2.dilate(stroke.astype(np.uint8), np.ones((9, 9))).astype(bool)
        assert overlap(found.mask & clear, true & clear) > 0.94

    @pytest.mark.parametrize(("stain", "strength"), [(HEMATOXYLIN, 1.3), (DAB, 1.4), (EOSIN, 0.6)])
    def test_strong_stain_is_not_pen(self, stain, strength):
        rgb, true = overview(stain, strength)

        found = detect_tissue(rgb, 8.0)

        assert not found.artefacts["pen"].any()
        assert overlap(found.mask, true) > 0.95

    def test_a_blue_lymph_node_and_a_pool_of_blood_are_not_pen(self):
        # the bluest real haematoxylin we have, three times as dense; erythrocytes in H&E
        for stain in (np.array([0.84, 0.52, 0.16]) * 0.6, np.array([0.10, 0.63, 0.50]) * 0.9):
            rgb, true = overview(stain, 1.0)

            found = detect_tissue(rgb, 8.0)

            assert not found.artefacts["pen"].any()
            assert overlap(found.mask, true) > 0.95

    def test_a_crowd_of_black_nuclei_is_not_black_ink(self):
        rgb, true = overview(HEMATOXYLIN, 0.3)
        nuclei = np.random.default_rng(3).random(true.shape) < 0.55
        rgb[true & nuclei] = (38, 34, 36)

        found = detect_tissue(rgb, 8.0)

        assert found.artefacts["pen"].mean() < 0.002
        assert overlap(found.mask, true) > 0.95

    def test_black_borders_and_lines_are_named_and_not_tissue(self):
        rgb, true = overview(strength=0.3)
        rgb[:, -30:] = 0
        rgb[-2:] = 8

        found = detect_tissue(jpeg(rgb), 8.0)

        border = found.artefacts["black_border"]
        assert border[:, -30:].all()
        assert border[-2:].all()
        assert border.mean() < 0.12
        assert not (found.mask & border).any()
        assert overlap(found.mask & ~border, true & ~border) > 0.95

    def test_dark_nuclei_on_the_rim_are_not_a_border(self):
        rgb, _ = overview(DAB, 0.8)
        cv2.circle(rgb, (0, 200), 20, (30, 20, 10), -1)

        assert not detect_tissue(rgb, 8.0).artefacts["black_border"].any()

    def test_dust_and_hairs_are_not_tissue(self):
        rgb, true = overview(strength=0.3)
        rng = np.random.default_rng(4)
        for x, y in rng.integers(10, 390, (25, 2)):
            if not true[max(0, y - 20) : y + 20, max(0, x - 20) : x + 20].any():
                cv2.circle(rgb, (int(x), int(y)), 3, (120, 121, 119), -1)
        cv2.line(rgb, (10, 20), (300, 60), (170, 171, 170), 3)

        found = detect_tissue(jpeg(rgb), 8.0)

        assert overlap(found.mask, true) > 0.95
        assert found.artefacts["dust"][22, 20:26].any()
        assert not found.artefacts["dust"][true].any()

    def test_white_padding_of_a_reader_is_not_the_white_point(self):
        rgb, true = overview(strength=0.3)
        rgb[:, :100] = 255

        found = detect_tissue(rgb, 8.0)

        np.testing.assert_allclose(np.median(rgb[found.background], axis=0), GLASS, atol=1.5)
        assert not found.mask[:, :60].any()
        assert found.mask[true][-200:].all()

    @pytest.mark.parametrize("mpp", [2.0, 4.0, 16.0])
    def test_lengths_scale_with_the_resolution(self, mpp):
        rgb, true = overview(strength=0.3, mpp=mpp)

        # at 2 µm/px the smoothed outline is a few pixels wide
        assert overlap(detect_tissue(rgb, mpp).mask, true) > 0.93

    def test_the_same_picture_gives_the_same_bits(self):
        rgb, _ = overview()

        one, two = detect_tissue(rgb, 8.0), detect_tissue(np.asfortranarray(rgb), 8.0)

        np.testing.assert_array_equal(one.mask, two.mask)
        np.testing.assert_array_equal(one.background, two.background)

    def test_area_is_that_of_the_pixels(self):
        rgb, true = overview(strength=0.4)

        assert detect_tissue(rgb, 8.0).area_mm2 == pytest.approx(true.sum() * 64e-6, rel=0.05)

    def test_a_megapixel_takes_a_fraction_of_a_second(self):
        rgb, _ = overview(size=1000)
        detect_tissue(rgb, 8.0)

        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            detect_tissue(rgb, 8.0)
            seconds.append(time.perf_counter() - start)

        assert min(seconds) < 1.0  # 0.1 s on an idle core; the limit allows for a busy machine

    @pytest.mark.parametrize(
        "bad",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 3), float),
            np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
        ],
    )
    def test_what_is_no_picture_is_refused(self, bad):
        with pytest.raises(InputError, match="uint8"):
            detect_tissue(bad, 8.0)

    @pytest.mark.parametrize("size", [(1, 1), (2, 300), (5, 5)])
    def test_tiny_pictures_do_not_crash(self, size):
        assert detect_tissue(np.full((*size, 3), 200, np.uint8), 8.0).mask.shape == size

    def test_an_absurd_resolution_is_refused(self):
        with pytest.raises(InputError):
            detect_tissue(np.zeros((4, 4, 3), np.uint8), 0.0)

    def test_every_field_of_the_spec_is_described(self):
        assert all(field.description for field in TissueSpec.model_fields.values())


class TestReal:
    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            ("A04Q-01Z-00-DX1_01", 0.24, 0.31),
            ("A0CR-01Z-00-DX1_01", 0.43, 0.53),
            ("A0CX-01Z-00-DX1", 0.09, 0.15),
            ("A0ES-01Z-00-DX1_01", 0.50, 0.62),
            ("A0YI-01Z-00-DX1_01", 0.49, 0.60),
        ],
    )
    def test_tcga_overviews_as_judged_by_eye(self, name, low, high):
        rgb, scale = shrink(real(f"he/tcga_overviews/TCGA-A2-{name}.png"), 800)

        found = detect_tissue(rgb, 8.0 * scale)

        assert low < found.mask.mean() < high
        np.testing.assert_allclose(np.median(rgb[found.background], axis=0), 243, atol=2)

    def test_the_black_screen_around_a_slide_is_border(self):
        rgb, scale = shrink(real("he/tcga_overviews/TCGA-A2-A0CX-01Z-00-DX1.png"), 1000)

        found = detect_tissue(rgb, 8.0 * scale)

        assert 0.64 < found.artefacts["black_border"].mean() < 0.70
        assert not found.mask[:, : rgb.shape[1] // 4].any()

    @pytest.mark.parametrize("stain", ["CD31-3", "Cc10-5", "He", "Ki67-7", "proSPC-4"])
    def test_lung_is_found_alike_in_every_stain_and_its_airways_are_glass(self, stain):
        rgb = real(f"ihc/cima/29-041-Izd2-w35-{stain}-les3.jpg")

        found = detect_tissue(rgb, 8.0)

        assert 0.4 < found.mask.mean() < 0.65
        assert found.background.mean() > 0.05
        lesion = found.mask[240:290, 240:330]
        assert lesion.mean() > 0.75

    def test_the_small_region_of_cmu_1(self):
        rgb, scale = shrink(real("he/wsi/CMU-1-Small-Region.svs"), 512)

        found = detect_tissue(rgb, 0.499 * scale)

        assert 0.3 < found.mask.mean() < 0.45
        assert found.mask[:, : rgb.shape[1] // 10].mean() < 0.01
        assert found.mask[-40:, 90:180].mean() > 0.8

    @pytest.mark.parametrize(
        "name",
        [
            "ihc/endonuke/er_pr_a1.png",
            "ihc/endonuke/er_pr_a2.png",
            "ihc/endonuke/er_pr_a4.png",
            "ihc/deepliif/large_ROI_1.png",
            "ihc/her2_fractal_lab_NO_LICENCE/case10_04_score2.jpg",
            "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00001.jpg",
            "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00017.jpg",
            "he/tiles/tiatoolbox_target.png",
            "he/monuseg/TCGA-B0-5710-01Z-00-DX1.tif",
            "he/monuseg/TCGA-KB-A93J-01A-01-TS1.tif",
        ],
    )
    def test_fields_that_are_all_tissue_stay_whole(self, name):
        rgb, scale = shrink(real(name), 256)

        assert detect_tissue(rgb, 0.25 * scale).mask.mean() > 0.97

    def test_pale_ki67_field_with_a_glass_corner(self):
        rgb, scale = shrink(real("ihc/deepliif/ki67_799_2.png"), 256)

        found = detect_tissue(rgb, 0.25 * scale)

        assert 0.75 < found.mask.mean() < 0.88
        assert not found.mask[:50, 220:].any()
        assert found.background[:50, 220:].any()

    def test_a_fluorescence_panel_is_kept_whole_for_others_to_name(self):
        panel = real("ihc/deepliif/train_Lung1.png")[:, 512 * 4 : 512 * 5]

        assert detect_tissue(np.ascontiguousarray(panel), 0.5).mask.all()
