"""Focus on real fields, sharp and blurred."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from herscope.core.errors import InputError
from herscope.tissue.focus import FocusSpec, focus_measure

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
FIELDS = [
    "ihc/deepliif/ki67_22_2.png",
    "ihc/deepliif/ki67_799_2.png",
    "ihc/deepliif/large_ROI_1.png",
    "ihc/endonuke/er_pr_a1.png",
    "ihc/endonuke/er_pr_a4.png",
    "ihc/her2_fractal_lab_NO_LICENCE/case07_02_score1.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/case10_05_score2.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00001.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00017.jpg",
    "he/monuseg/TCGA-21-5784-01Z-00-DX1.tif",
    "he/monuseg/TCGA-B0-5710-01Z-00-DX1.tif",
    "he/monuseg/TCGA-E2-A1B5-01Z-00-DX1.tif",
    "he/monuseg/TCGA-RD-A8N9-01A-01-TS1.tif",
    "he/tiles/tiatoolbox_target.png",
]


def field(name):
    if not (DATA / name).exists():
        pytest.skip(f"no {name}: {DATA} has no real data")
    rgb = cv2.imread(str(DATA / name))[:1000, :1000, ::-1]
    return cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # 0.5 µm/px


def blurred(rgb, sigma_um, mpp=0.5):
    return cv2.GaussianBlur(rgb, (0, 0), sigma_um / mpp)


class TestFocus:
    def test_every_field_of_the_spec_is_described(self):
        assert all(field.description for field in FocusSpec.model_fields.values())

    @pytest.mark.parametrize("name", FIELDS)
    def test_real_fields_are_sharp_and_their_blurred_copies_are_not(self, name):
        rgb, limit = field(name), FocusSpec().min_sharpness

        sharp = focus_measure(rgb, 0.5)

        assert sharp > limit + 0.03
        assert focus_measure(blurred(rgb, 1.5), 0.5) < limit - 0.03
        assert focus_measure(blurred(rgb, 2.0), 0.5) < limit - 0.05

    def test_noise_of_the_camera_does_not_make_a_blurred_field_sharp(self):
        rgb = blurred(field(FIELDS[3]), 1.5)
        noisy = rgb + np.random.default_rng(0).normal(0, 1.5, rgb.shape)

        value = focus_measure(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), 0.5)

        assert value < FocusSpec().min_sharpness

    @pytest.mark.parametrize("name", FIELDS[3:8])
    def test_it_falls_with_every_step_of_blur(self, name):
        rgb = field(name)

        values = [focus_measure(rgb if s == 0 else blurred(rgb, s), 0.5) for s in (0, 0.7, 1, 1.5)]

        assert all(a > b for a, b in pairwise(values))

    @pytest.mark.parametrize("name", FIELDS[2:8])
    def test_it_does_not_depend_on_the_strength_of_the_stain(self, name):
        rgb = field(name)
        pale = np.rint(255 * (rgb / 255.0) ** 0.5).astype(np.uint8)  # half the OD

        assert focus_measure(pale, 0.5) == pytest.approx(focus_measure(rgb, 0.5), rel=0.12)

    def test_glass_in_the_tile_changes_little(self):
        rgb = field(FIELDS[7])
        half = np.full((rgb.shape[0], 2 * rgb.shape[1], 3), 245, np.uint8)
        half[:, : rgb.shape[1]] = rgb

        assert focus_measure(half, 0.5) == pytest.approx(focus_measure(rgb, 0.5), rel=0.1)

    def test_glass_has_no_focus(self):
        rng = np.random.default_rng(0)
        glass = np.clip(240 + rng.normal(0, 1.5, (128, 128, 3)), 0, 255).astype(np.uint8)

        assert focus_measure(glass, 0.5) is None

    def test_coarse_pixels_are_refused(self):
        with pytest.raises(InputError, match="µm/px"):
            focus_measure(np.zeros((64, 64, 3), np.uint8), 2.0)
