"""Stain vectors from pixels, what kind of picture it is, normalisation for networks."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from herscope.core.errors import EmptyTissue, InputError
from herscope.stain.estimate import EstimateSpec, estimate_vectors, looks_like
from herscope.stain.normalise import MacenkoTarget, ReinhardTarget
from herscope.stain.vectors import RUIFROK_JOHNSTON, StainVectors, angle_deg
from herscope.tissue.detection import detect_tissue

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
EOSIN = (0.07, 0.99, 0.11)
OTHER_LAB = StainVectors("other", (0.74, 0.62, 0.25), (0.20, 0.52, 0.83), "test", 2026)


def stained(vectors, *, brown, seed=0, n=40_000, noise=0.01):
    """(n, 3) OD of tissue in which a share ``brown`` of pixels carries DAB."""
    rng = np.random.default_rng(seed)
    dab = rng.random(n) < brown
    amounts = np.stack(
        [rng.uniform(0.05, 0.6, n) * np.where(dab, 0.4, 1.0), dab * rng.uniform(0.3, 1.0, n)], 1
    )
    return amounts @ vectors.matrix()[:2] + rng.normal(0, noise, (n, 3))


def real_od(path, panel=None):
    bgr = cv2.imread(str(path))
    if bgr is None:
        pytest.skip(f"no {path.name}: {DATA} has no real data")
    rgb = bgr[..., ::-1]
    if panel is not None:
        rgb = rgb[:, 512 * panel : 512 * (panel + 1)]
    scale = max(1.0, max(rgb.shape[:2]) / 700)
    rgb = cv2.resize(
        np.ascontiguousarray(rgb), None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA
    )
    tissue = detect_tissue(rgb, 0.5 * scale)
    if tissue.background.sum() > 150:
        white = np.median(rgb[tissue.background], axis=0)
    else:
        white = np.percentile(rgb.reshape(-1, 3), 99.9, axis=0)
    return -np.log10((rgb[tissue.mask] + 1.0) / (white + 1.0))


class TestEstimate:
    @pytest.mark.parametrize("truth", [RUIFROK_JOHNSTON, OTHER_LAB])
    @pytest.mark.parametrize("brown", [0.03, 0.5, 0.95])
    def test_vectors_are_recovered_however_much_is_brown(self, truth, brown):
        estimate = estimate_vectors(stained(truth, brown=brown))

        assert estimate.valid, estimate.reasons
        assert angle_deg(estimate.hematoxylin, truth.hematoxylin) < 4
        assert angle_deg(estimate.dab, truth.dab) < 4
        assert estimate.angle_between_deg == pytest.approx(truth.angle_deg, abs=6)

    def test_noise_of_the_many_blue_pixels_does_not_outvote_few_brown_ones(self):
        od = stained(RUIFROK_JOHNSTON, brown=0.02, noise=0.0)
        od[:, 1] += np.random.default_rng(5).normal(0, 0.06, len(od))  # a noisy green channel

        estimate = estimate_vectors(od)

        assert estimate.valid, estimate.reasons
        assert estimate.angle_dab_deg < 6

    def test_the_condition_number_is_that_of_the_matrix(self):
        estimate = estimate_vectors(stained(RUIFROK_JOHNSTON, brown=0.5))

        matrix = estimate.vectors("x", source="test", year=2026).matrix()
        assert estimate.condition == pytest.approx(np.linalg.cond(matrix), rel=1e-6)

    @pytest.mark.parametrize(("brown", "missing"), [(0.0, "DAB"), (1.0, "haematoxylin")])
    def test_one_stain_alone_gives_no_vector_but_a_reason(self, brown, missing):
        od = stained(RUIFROK_JOHNSTON, brown=brown)
        if brown == 1.0:
            rng = np.random.default_rng(1)
            od = rng.uniform(0.2, 1.0, (5000, 1)) * RUIFROK_JOHNSTON.dab

        estimate = estimate_vectors(od)

        assert not estimate.valid
        assert estimate.dab is None
        assert any(f"no {missing}-rich pixels" in reason for reason in estimate.reasons)
        with pytest.raises(InputError, match=missing):
            estimate.vectors("x", source="test", year=2026)

    def test_hematoxylin_and_eosin_give_no_dab(self):
        rng = np.random.default_rng(2)
        amounts = rng.uniform(0.05, 0.7, (20_000, 2))

        estimate = estimate_vectors(amounts @ np.array([RUIFROK_JOHNSTON.hematoxylin, EOSIN]))

        assert not estimate.valid

    def test_vectors_far_from_the_reference_are_invalid_with_the_angle(self):
        odd = StainVectors("odd", (0.98, 0.18, 0.05), RUIFROK_JOHNSTON.dab, "test", 2026)

        estimate = estimate_vectors(stained(odd, brown=0.5))

        assert not estimate.valid
        assert "haematoxylin lies" in estimate.reasons[0]

    def test_too_few_pixels_are_not_enough(self):
        estimate = estimate_vectors(stained(RUIFROK_JOHNSTON, brown=0.5, n=300))

        assert estimate.reasons[0].startswith("only")
        assert estimate_vectors(np.zeros((0, 3))).pixels == 0

    def test_saturated_pixels_have_no_say(self):
        od = stained(RUIFROK_JOHNSTON, brown=0.5)
        black = np.full((40_000, 3), 2.4)

        assert (
            estimate_vectors(np.concatenate([od, black])).dab
            == estimate_vectors(od, EstimateSpec(max_pixels=10**6)).dab
        )

    def test_the_same_pixels_give_the_same_bits(self):
        od = stained(RUIFROK_JOHNSTON, brown=0.4)

        assert estimate_vectors(od) == estimate_vectors(od.copy())

    @pytest.mark.parametrize("bad", [np.zeros((4, 2)), np.zeros(3), np.full((9, 3), np.nan)])
    def test_bad_arrays_are_refused(self, bad):
        with pytest.raises(InputError):
            estimate_vectors(bad)


IHC = [
    "ihc/cima/29-041-Izd2-w35-CD31-3-les3.jpg",
    "ihc/cima/29-041-Izd2-w35-Cc10-5-les3.jpg",
    "ihc/cima/29-041-Izd2-w35-Ki67-7-les3.jpg",
    "ihc/cima/29-041-Izd2-w35-proSPC-4-les3.jpg",
    "ihc/deepliif/ki67_22_2.png",
    "ihc/deepliif/ki67_799_2.png",
    "ihc/deepliif/large_ROI_1.png",
    "ihc/endonuke/er_pr_a1.png",
    "ihc/endonuke/er_pr_a2.png",
    "ihc/endonuke/er_pr_a3.png",
    "ihc/endonuke/er_pr_a4.png",
    "ihc/her2_fractal_lab_NO_LICENCE/case07_01_score1.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/case07_02_score1.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/case07_03_score1.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/case10_04_score2.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/case10_05_score2.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00001.jpg",
    "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00017.jpg",
    "ihc/qupath_docs/ki67_export_no_overlay.jpg",
]
HE = [
    "ihc/cima/29-041-Izd2-w35-He-les3.jpg",
    "he/tiles/tiatoolbox_target.png",
    "he/tma/instanseg_HE_core.tif",
    "he/tcga_overviews/TCGA-A2-A04Q-01Z-00-DX1_01.png",
    "he/tcga_overviews/TCGA-A2-A0CR-01Z-00-DX1_01.png",
    "he/tcga_overviews/TCGA-A2-A0CX-01Z-00-DX1.png",
    "he/tcga_overviews/TCGA-A2-A0ES-01Z-00-DX1_01.png",
    "he/tcga_overviews/TCGA-A2-A0YI-01Z-00-DX1_01.png",
    "he/monuseg/TCGA-21-5784-01Z-00-DX1.tif",
    "he/monuseg/TCGA-A7-A13E-01Z-00-DX1.tif",
    "he/monuseg/TCGA-KB-A93J-01A-01-TS1.tif",
    "he/monuseg/TCGA-RD-A8N9-01A-01-TS1.tif",
]


class TestLooksLike:
    @pytest.mark.parametrize("name", IHC)
    def test_real_ihc_looks_like_ihc(self, name):
        assert looks_like(real_od(DATA / name)).kind == "ihc"

    @pytest.mark.parametrize("name", HE)
    def test_real_he_looks_like_he_and_yields_no_dab(self, name):
        od = real_od(DATA / name)

        assert looks_like(od).kind == "he"
        assert not estimate_vectors(od).valid

    @pytest.mark.parametrize("panel", [2, 3, 4])
    @pytest.mark.parametrize("name", ["train_Bladder1.png", "train_Lung1.png"])
    def test_fluorescence_panels_look_like_fluorescence(self, name, panel):
        assert looks_like(real_od(DATA / "ihc/deepliif" / name, panel)).kind == "fluorescence"

    @pytest.mark.parametrize(
        "name", ["deepliif/ki67_22_2.png", "endonuke/er_pr_a4.png", "deepliif/large_ROI_1.png"]
    )
    def test_real_ihc_with_both_stains_gives_valid_vectors_near_the_reference(self, name):
        estimate = estimate_vectors(real_od(DATA / "ihc" / name))

        assert estimate.valid, estimate.reasons
        assert estimate.angle_hematoxylin_deg < 20
        assert estimate.angle_dab_deg < 15

    def test_blue_only_ihc_is_ihc_and_has_no_dab(self):
        od = real_od(DATA / "ihc/her2_fractal_lab_NO_LICENCE/image_her2_00017.jpg")

        assert looks_like(od).kind == "ihc"
        assert "no DAB-rich pixels" in estimate_vectors(od).reasons[0]

    def test_evidence_says_how_much_is_brown(self):
        evidence = looks_like(stained(RUIFROK_JOHNSTON, brown=0.5)).evidence

        assert evidence["brown"] > 0.3
        assert evidence["pink"] < 0.1
        assert set(evidence) == {"median_od", "stained", "pink", "eosin", "brown", "blue"}

    def test_glass_is_unstained_and_nothing_is_unstained(self):
        rng = np.random.default_rng(0)

        assert looks_like(rng.normal(0, 0.01, (5000, 3))).kind == "unstained"
        assert looks_like(np.zeros((0, 3))).kind == "unstained"


def picture(seed, vectors, shape=(64, 64), glass=0.25):
    rng = np.random.default_rng(seed)
    amounts = cv2.GaussianBlur(rng.random((*shape, 2)), (0, 0), 1.5)
    amounts = np.clip((amounts - 0.35) * 3, 0, None)
    amounts[: int(glass * shape[0])] = 0.01
    return np.rint(255 * 10 ** -(amounts @ np.asarray(vectors))).astype(np.uint8)


HE_A = [(0.65, 0.70, 0.29), EOSIN]
HE_B = [(0.55, 0.77, 0.32), (0.15, 0.95, 0.27)]


def slow_reinhard(rgb, target):
    """Reinhard 2001, equations 10 and 11, pixel by pixel, with skimage's CIELAB."""

    def tissue_of(image):
        od = -np.log10(np.maximum(image, 1) / 255.0)
        return od.mean(axis=2) > 0.06

    def statistics(image):
        lab = rgb2lab(image)[tissue_of(image)]
        return lab.mean(axis=0), lab.std(axis=0)

    (mean_s, sd_s), (mean_t, sd_t) = statistics(rgb), statistics(target)
    lab = rgb2lab(rgb)
    out = rgb.astype(float)
    for i, j in zip(*np.nonzero(tissue_of(rgb)), strict=True):
        moved = (lab[i, j] - mean_s) / sd_s * sd_t + mean_t
        moved[0] = min(100.0, max(0.0, moved[0]))
        lab[i, j] = moved
    moved_rgb = lab2rgb(lab)
    out[tissue_of(rgb)] = moved_rgb[tissue_of(rgb)] * 255
    return out


def slow_macenko(rgb, target):
    """Macenko 2009 from its algorithm box, with SVD and least squares."""

    def measure(image):
        od = -np.log10(np.maximum(image.reshape(-1, 3), 1) / 255.0)
        od = od[(od > 0.15).all(axis=1)]
        _, _, v = np.linalg.svd(od, full_matrices=False)
        v = v[:2] * np.sign(v[:2, :1])
        angle = np.arctan2(od @ v[1], od @ v[0])
        ends = [np.array([np.cos(a), np.sin(a)]) @ v for a in np.percentile(angle, [1, 99])]
        stains = np.array(sorted(ends, key=lambda s: -s[0]))
        amounts = np.linalg.lstsq(stains.T, od.T, rcond=None)[0]
        return stains, np.percentile(amounts, 99, axis=1)

    (stains_s, full_s), (stains_t, full_t) = measure(rgb), measure(target)
    od = -np.log10(np.maximum(rgb.reshape(-1, 3), 1) / 255.0)
    amounts = np.linalg.lstsq(stains_s.T, od.T, rcond=None)[0]
    amounts *= (full_t / full_s)[:, None]
    return np.clip(255 * 10 ** -(stains_t.T @ amounts).T, 0, 255).reshape(rgb.shape)


class TestNormalise:
    def test_reinhard_follows_the_equations(self):
        tile, target = picture(1, HE_A), picture(2, HE_B)

        got = ReinhardTarget.fit(target).apply(tile)

        difference = np.abs(got - slow_reinhard(tile, target))
        assert difference.max() <= 2  # 0.5 is rounding; OpenCV's gamma is a spline
        assert difference.mean() < 0.5

    def test_macenko_follows_the_equations(self):
        tile, target = picture(1, HE_A), picture(2, HE_B)

        got = MacenkoTarget.fit(target).apply(tile)

        assert np.abs(got - slow_macenko(tile, target)).max() <= 1

    def test_macenko_finds_the_stains_that_were_drawn(self):
        target = MacenkoTarget.fit(picture(2, HE_B, shape=(200, 200)))

        assert angle_deg(target.first, HE_B[0]) < 6
        assert angle_deg(target.second, HE_B[1]) < 6

    @pytest.mark.parametrize("target_class", [ReinhardTarget, MacenkoTarget])
    def test_a_tile_like_the_target_hardly_changes(self, target_class):
        tile = picture(3, HE_A)

        got = target_class.fit(tile).apply(tile).astype(int)

        tissue = tile.min(axis=2) < 200
        assert np.abs(got - tile)[tissue].mean() < 2

    @pytest.mark.parametrize("target_class", [ReinhardTarget, MacenkoTarget])
    @pytest.mark.parametrize("colour", [(255, 255, 255), (243, 243, 243), (0, 0, 0), (90, 60, 120)])
    def test_white_and_single_coloured_tiles_are_guarded(self, target_class, colour):
        target = target_class.fit(picture(2, HE_B))
        tile = np.full((40, 40, 3), colour, np.uint8)

        got = target.apply(tile)

        assert got.shape == tile.shape
        assert np.ptp(got.reshape(-1, 3), axis=0).max() == 0
        if min(colour) > 200:
            np.testing.assert_array_equal(got, tile)

    @pytest.mark.parametrize("target_class", [ReinhardTarget, MacenkoTarget])
    def test_a_white_target_is_refused(self, target_class):
        with pytest.raises(EmptyTissue, match="target of normalisation"):
            target_class.fit(np.full((40, 40, 3), 245, np.uint8))
        with pytest.raises(InputError):
            target_class.fit(np.zeros((4, 4), np.uint8))

    def test_reinhard_leaves_glass_alone(self):
        tile, target = picture(1, HE_A), picture(2, HE_B)

        got = ReinhardTarget.fit(target).apply(tile)

        glass = tile.min(axis=2) > 240
        assert glass.any()
        np.testing.assert_array_equal(got[glass], tile[glass])

    @pytest.mark.parametrize("target_class", [ReinhardTarget, MacenkoTarget])
    def test_with_the_slides_own_figures_tiles_agree_with_the_whole(self, target_class):
        whole, target = picture(1, HE_A, shape=(128, 64)), target_class.fit(picture(2, HE_B))
        source = target_class.measure(whole)

        half = target.apply(whole[64:], source)

        np.testing.assert_array_equal(half, target.apply(whole, source)[64:])
