"""Radiomics: hand-made answers, plain loops as the oracle, bad input, and that bits stay."""

from __future__ import annotations

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, HerscopeError, InputError, UnknownResolution
from herscope.respond.radiomics.autocorrelation import autocorrelation_features
from herscope.respond.radiomics.catalogue import feature_names, feature_unit, plain_name
from herscope.respond.radiomics.directions import directions
from herscope.respond.radiomics.discretise import fixed_bin_number, fixed_bin_size
from herscope.respond.radiomics.extract import features, tile_features
from herscope.respond.radiomics.filters import LOW_PASS, filtered, high_pass, laplacian_of_gaussian
from herscope.respond.radiomics.local_intensity import intensity_peaks
from herscope.respond.radiomics.neighbour_counts import neighbours
from herscope.respond.radiomics.pair_counts import cooccurrences, runs
from herscope.respond.radiomics.shape import shape_features
from herscope.respond.radiomics.shape2d import shape2d_features
from herscope.respond.radiomics.spec import Aggregation, FeatureClass, RadiomicsSpec
from herscope.respond.radiomics.zone_counts import border_steps, zones

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
ALL_CLASSES: tuple[FeatureClass, ...] = get_args(FeatureClass)
ALL_WAYS: tuple[Aggregation, ...] = get_args(Aggregation)
PLAIN: dict[str, Any] = {"wavelet": "none", "log_sigma_mm": (), "omit": ()}
EVERYTHING = RadiomicsSpec(
    classes=ALL_CLASSES, aggregation=ALL_WAYS, force_2d=False, log_sigma_mm=(3.0,), omit=()
)


def lesion(
    shape: tuple[int, int, int] = (9, 14, 15), seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """An uneven ellipsoid of noise in Hounsfield units."""
    random = np.random.Generator(np.random.PCG64(seed))
    image = random.normal(40, 60, shape)
    centre = (np.asarray(shape) - 1) / 2
    away = (np.indices(shape) - centre[:, None, None, None]) / (centre[:, None, None, None] - 1)
    return image, np.asarray((away**2).sum(axis=0) + 0.1 * random.random(shape) < 1)


def grey(seed: int = 0, top: int = 4) -> NDArray[np.int32]:
    image, mask = lesion((5, 7, 6), seed)
    return fixed_bin_number(image, mask, top)[0]


# Counts against loops that follow the definition word by word.


def voxels(levels: NDArray[np.int32]) -> dict[tuple[int, ...], int]:
    return {tuple(at): int(levels[tuple(at)]) for at in np.argwhere(levels).tolist()}


@pytest.mark.parametrize("flat", [True, False])
def test_pairs_are_those_of_the_definition(flat: bool) -> None:
    levels, steps = grey(), directions(flat=flat)
    inside = voxels(levels)

    counts = cooccurrences(levels, steps, 4, True)

    expected = np.zeros_like(counts)
    for at, level in inside.items():
        for d, step in enumerate(steps.tolist()):
            other = inside.get(tuple(np.add(at, step).tolist()))
            if other is not None:
                expected[at[0], d, level - 1, other - 1] += 1
                expected[at[0], d, other - 1, level - 1] += 1
    assert np.array_equal(counts, expected)


@pytest.mark.parametrize("flat", [True, False])
def test_runs_cover_every_voxel_once_in_every_direction(flat: bool) -> None:
    levels = grey(top=2)

    counts = runs(levels, directions(flat=flat), 2, False)

    lengths = np.arange(1, counts.shape[-1] + 1)
    for direction in counts[0]:
        assert [int(row @ lengths) for row in direction] == np.bincount(levels.ravel())[1:].tolist()


def test_runs_of_a_line_are_read_off() -> None:
    line = np.array([[[1, 1, 2, 0, 2, 2, 2, 1]]], np.int32)

    counts = runs(line, np.array([[0, 0, 1]]), 2, False)[0, 0]

    assert counts[0, :3].tolist() == [1, 1, 0]
    assert counts[1, :3].tolist() == [1, 0, 1]


@pytest.mark.parametrize("flat", [True, False])
def test_zones_are_the_connected_sets(flat: bool) -> None:
    from scipy.ndimage import generate_binary_structure, label

    levels = grey(top=3)
    found = zones(levels, border_steps(levels > 0, flat), flat)

    structure = generate_binary_structure(3, 3)
    if flat:
        structure[[0, 2]] = False
    expected = []
    for level in (1, 2, 3):
        marked, number = label(levels == level, structure)
        expected += [(level, int((marked == k).sum())) for k in range(1, number + 1)]
    assert sorted(zip(*found[1:3].tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("flat", [True, False])
def test_steps_to_the_border_are_city_block_distances(flat: bool) -> None:
    from scipy.ndimage import distance_transform_cdt

    _, mask = lesion((9, 14, 15))
    steps = border_steps(mask, flat)

    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)) if flat else 1)
    expected = (
        np.stack([distance_transform_cdt(one, metric="taxicab") for one in padded])[:, 1:-1, 1:-1]
        if flat
        else distance_transform_cdt(padded, metric="taxicab")[1:-1, 1:-1, 1:-1]
    )
    assert np.array_equal(steps, expected)


@pytest.mark.parametrize("flat", [True, False])
def test_neighbourhoods_are_those_of_the_definition(flat: bool) -> None:
    levels = grey(top=3)
    inside = voxels(levels)
    around, apart, alike = neighbours(levels, 3, flat, False)

    expected = np.zeros_like(around), np.zeros(around.shape), np.zeros_like(alike)
    for at, level in inside.items():
        steps = list(itertools.product((0,) if flat else (-1, 0, 1), *[(-1, 0, 1)] * 2))
        near = [
            inside[there]
            for s in steps
            if any(s) and (there := tuple(np.add(at, s).tolist())) in inside
        ]
        expected[0][0, level - 1, len(near)] += 1
        expected[1][0, level - 1, len(near)] += abs(level * len(near) - sum(near))
        expected[2][0, level - 1, near.count(level)] += 1
    for ours, theirs in zip((around, apart, alike), expected, strict=True):
        assert np.array_equal(ours, theirs)


# Shape against solids that have formulas.


def test_a_ball_has_the_volume_area_and_axes_of_a_ball() -> None:
    z, y, x = np.indices((25, 45, 45)) - np.array([12, 22, 22])[:, None, None, None]
    ball = (2.0 * z) ** 2 + y**2 + x**2 <= 20.3**2

    values = shape_features(ball, ball, np.ones(ball.shape), (2.0, 1.0, 1.0))

    assert values["morph_volume"] == pytest.approx(4 / 3 * math.pi * 20.3**3, rel=0.02)
    assert values["morph_pca_maj_axis"] == pytest.approx(2 * 20.3 * math.sqrt(4 / 5), rel=0.02)
    # Half a slice of 2 mm stands out at the poles.
    assert values["morph_diam"] == pytest.approx(2 * 20.3, abs=2.0)
    assert values["morph_vol_dens_aee"] == pytest.approx((5 / 4) ** 1.5, rel=0.03)
    # Stairs of 1 x 1 x 2 mm make the surface 12 % larger than the ball's, at any size.
    assert values["morph_sphericity"] == pytest.approx(0.89, abs=0.02)
    assert values["morph_com"] == pytest.approx(0.0, abs=1e-9)


def test_spacing_scales_lengths_areas_and_volumes() -> None:
    image, mask = lesion()
    one = shape_features(mask, mask, image, (1.0, 1.0, 1.0))
    two = shape_features(mask, mask, image, (2.0, 2.0, 2.0))

    for name, value in one.items():
        power = {"mm": 2.0, "mm²": 4.0, "mm³": 8.0, "image mm³": 8.0, "1/mm": 0.5}
        factor = power.get(feature_unit(name), 1.0)
        assert two[name] == pytest.approx((value or 0.0) * factor, rel=1e-9)


def test_axes_in_another_order_measure_the_same_body() -> None:
    image, mask = lesion()
    turned = (2, 0, 1)

    one = shape_features(mask, mask, image, (3.0, 1.0, 2.0))
    two = shape_features(*(a.transpose(turned) for a in (mask, mask, image)), (2.0, 3.0, 1.0))

    # Marching cubes may cut an ambiguous cell the other way: 0.2 % here.
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=5e-3), name


def test_a_disc_in_a_plane_has_the_area_and_nearly_the_outline_of_a_disc() -> None:
    y, x = np.indices((83, 83)) - 41
    disc = y**2 + x**2 <= 40.3**2

    values = shape2d_features(disc, disc, np.ones(disc.shape), (0.5, 0.5))

    assert values["morph2d_area_mesh"] == pytest.approx(math.pi * 20.15**2, rel=0.01)
    # The outline has 45 degree corners: 5 % longer than a circle, at any size.
    assert values["morph2d_perimeter"] == pytest.approx(2 * math.pi * 20.15, rel=0.07)
    assert values["morph2d_diam"] == pytest.approx(40.3, rel=0.02)
    assert values["morph2d_pca_elongation"] == pytest.approx(1.0, abs=1e-9)


def test_counting_squares_measures_the_outline_that_can_be_drawn() -> None:
    from skimage.measure import find_contours

    mask = np.random.Generator(np.random.PCG64(1)).random((12, 15)) > 0.4  # holes and diagonals

    values = shape2d_features(mask, mask, np.ones(mask.shape), (2.0, 3.0))

    area, length = 0.0, 0.0
    for line in find_contours(np.pad(mask, 1).astype(float), 0.5):
        y, x = (line * (2.0, 3.0)).T
        area += float(y[:-1] @ x[1:] - x[:-1] @ y[1:]) / 2
        length += float(np.hypot(np.diff(y), np.diff(x)).sum())
    assert values["morph2d_area_mesh"] == pytest.approx(abs(area))
    assert values["morph2d_perimeter"] == pytest.approx(length)


def test_one_pixel_is_a_diamond() -> None:
    dot = np.ones((1, 1), np.bool_)

    values = shape2d_features(dot, dot, np.ones((1, 1)), (1.0, 1.0))

    assert values["morph2d_area_mesh"] == 0.5
    assert values["morph2d_perimeter"] == pytest.approx(2 * math.sqrt(2))
    assert values["morph2d_area_dens_conv_hull"] == pytest.approx(1.0)
    assert values["morph2d_pca_elongation"] is None


def test_autocorrelation_by_fourier_is_that_of_all_pairs() -> None:
    image, mask = lesion((5, 7, 6))
    spacing = (3.0, 1.0, 2.0)

    values = autocorrelation_features(image, mask, spacing)

    places, x = np.argwhere(mask) * np.asarray(spacing), image[mask]
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    weight = np.where(distance > 0, 1 / np.where(distance > 0, distance, 1), 0)
    off = x - x.mean()
    moran = len(x) / weight.sum() * (weight * np.outer(off, off)).sum() / (off**2).sum()
    apart = (x[:, None] - x[None]) ** 2
    geary = (len(x) - 1) / (2 * weight.sum()) * (weight * apart).sum() / (off**2).sum()
    assert values["morph_moran_i"] == pytest.approx(moran, abs=1e-12)
    assert values["morph_geary_c"] == pytest.approx(geary, rel=1e-12)


def test_peaks_look_beyond_the_mask_but_not_beyond_the_image() -> None:
    image = np.zeros((1, 1, 5))
    image[0, 0, :2] = 10, 30
    mask = np.zeros(image.shape, np.bool_)
    mask[0, 0, 0] = True

    peaks = intensity_peaks(image, mask, (5.0, 5.0, 5.0))

    assert peaks["loc_peak_loc"] == 20.0


# Filters.


@pytest.mark.parametrize("name", sorted(LOW_PASS))
def test_wavelet_filters_are_orthonormal(name: str) -> None:
    low, high = np.asarray(LOW_PASS[name]), np.asarray(high_pass(LOW_PASS[name]))

    assert low.sum() == pytest.approx(math.sqrt(2))
    assert high.sum() == pytest.approx(0.0, abs=1e-12)
    for one, two in itertools.product((low, high), repeat=2):
        for shift in range(0, len(low), 2):
            product = float(one[shift:] @ two[: len(low) - shift])
            assert product == pytest.approx(float(one is two and shift == 0), abs=1e-12)


def test_coiflet_of_order_one_has_two_vanishing_moments() -> None:
    high = np.asarray(high_pass(LOW_PASS["coif1"]))

    assert float(high @ np.arange(6)) == pytest.approx(0.0, abs=1e-12)


def test_wavelet_letters_are_for_x_first() -> None:
    stripes = np.zeros((1, 8, 8))
    stripes[:, :, ::2] = 1.0  # changes along x only
    spec = RadiomicsSpec(wavelet="haar", log_sigma_mm=(), original=False)

    pictures = dict(filtered(stripes, (1.0, 1.0, 1.0), spec, flat=True))

    inner = (0, slice(2, 6), slice(2, 6))
    assert np.abs(pictures["wavelet_haar_HL"][inner]).min() > 0.9
    assert np.abs(pictures["wavelet_haar_LH"][inner]).max() < 1e-12


def test_the_laplacian_of_a_gaussian_blob_is_known() -> None:
    spacing, sigma, width = (1.0, 0.5, 0.8), 2.0, 3.0
    axes = [(np.arange(n) - n // 2) * s for n, s in zip((41, 81, 51), spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    blob = np.exp(-(z**2 + y**2 + x**2) / (2 * width**2))

    out = laplacian_of_gaussian(blob, spacing, sigma, flat=False)

    # Gaussian with Gaussian is Gaussian: the peak shrinks, and its Laplacian is -3 / variance.
    variance = sigma**2 + width**2
    expected = -3 / variance * (width**2 / variance) ** 1.5
    assert out[20, 40, 25] == pytest.approx(expected, rel=0.01)


def test_a_constant_has_no_laplacian_however_low_it_is() -> None:
    air = np.full((3, 30, 30), -1000.0)

    out = laplacian_of_gaussian(air, (5.0, 0.7, 0.7), 1.0, flat=True)

    assert np.abs(out).max() < 1e-9


def test_filters_see_the_image_around_the_cut() -> None:
    image, _ = lesion((5, 60, 60))
    mask = np.zeros(image.shape, np.bool_)
    mask[2, 28:33, 29:34] = True
    spec = RadiomicsSpec(classes=("statistics",), log_sigma_mm=(3.0,))

    values = features(image, mask, (3.0, 1.0, 1.0), spec)

    for name, whole in filtered(image, (3.0, 1.0, 1.0), spec, flat=True):
        prefix = f"{name}." if name else ""
        assert values[f"{prefix}stat_mean"] == pytest.approx(whole[mask].mean(), abs=1e-9)


def test_cutting_out_changes_no_filtered_value() -> None:
    image, mask = lesion((7, 14, 15))
    outside = np.random.Generator(np.random.PCG64(3)).normal(0, 100, (7, 80, 90))
    small, large = outside[:, 20:60, 20:70].copy(), outside
    small[:, 13:27, 17:32] = large[:, 33:47, 37:52] = image
    masks = [np.zeros(a.shape, np.bool_) for a in (small, large)]
    masks[0][:, 13:27, 17:32] = masks[1][:, 33:47, 37:52] = mask
    spec = RadiomicsSpec(classes=("statistics",), resample_to_mm=(None, 0.5, 0.5))

    one, two = (
        features(a, m, (3.0, 1.0, 1.0), spec) for a, m in zip((small, large), masks, strict=True)
    )

    assert one == two


# Resampling, discretisation, resegmentation.


def test_resampling_aligns_centres() -> None:
    ramp = np.broadcast_to(np.arange(10.0), (4, 10)).copy()
    spec = RadiomicsSpec(classes=("statistics",), resample_to_mm=(None, 2.0), **PLAIN)

    values = features(ramp, np.ones(ramp.shape), (1.0, 1.0), spec)

    # Ten voxels of 1 become five of 2, half-way between pairs: 0.5, 2.5, ... 8.5.
    assert (values["stat_min"], values["stat_max"]) == (0.5, 8.5)
    assert values["stat_mean"] == 4.5


def test_a_ramp_keeps_its_values_when_it_is_resampled_finer() -> None:
    z, y, x = np.indices((6, 8, 10)).astype(np.float64)
    mask = np.zeros(z.shape, np.bool_)
    mask[2:4, 3:6, 3:7] = True
    spec = RadiomicsSpec(
        classes=("statistics", "shape"),
        resample_to_mm=(1.0, 1.0, 1.0),
        force_2d=False,
        aggregation=("3D_avg",),
        **PLAIN,
    )

    values = features(3 * z + 2 * y + x, mask, (3.0, 2.0, 1.5), spec)

    assert values["stat_mean"] == pytest.approx(3 * 2.5 + 2 * 4 + 4.5, abs=0.2)
    assert values["morph_vol_approx"] == pytest.approx(6 * 6 * 6, rel=0.15)


def test_nearest_invents_no_intensity() -> None:
    image = np.where(np.indices((9, 9)).sum(axis=0) % 2 > 0, 100.0, 0.0)
    spec = RadiomicsSpec(
        classes=("statistics",),
        resample_to_mm=(0.7, 0.7),
        interpolation="nearest",
        aggregation=("2D_avg",),
        **PLAIN,
    )

    values = features(image, np.ones(image.shape), (1.0, 1.0), spec)

    variance = values["stat_var"]
    mean = values["stat_mean"]
    assert variance is not None
    assert mean is not None
    assert variance == pytest.approx(mean * (100 - mean))


def test_bins_of_fixed_size_begin_at_the_lower_end_of_resegmentation() -> None:
    image = np.array([[[-20.0, 0.0, 10.0, 30.0, 500.0]]])
    spec = RadiomicsSpec(
        classes=("histogram", "statistics"), resegment_range=(-50.0, 100.0), **PLAIN
    )

    values = features(image, np.ones(image.shape), (1.0, 1.0, 1.0), spec)

    assert values["stat_max"] == 30.0  # 500 is out
    assert (values["ih_min"], values["ih_max"]) == (2.0, 4.0)  # -50 is where level 1 begins
    assert fixed_bin_size(image, image < 100, 25.0)[0].ravel().tolist() == [1, 1, 2, 3, 0]


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 1.1])
def test_bins_of_odd_sizes_stay_within_their_number(size: float) -> None:
    image = (np.arange(40.0) * size)[None, None]  # every voxel on the border of two bins

    levels, top = fixed_bin_size(image, np.ones(image.shape, np.bool_), size)

    assert int(levels.max()) == top
    assert int(levels.min()) == 1


def test_too_many_grey_levels_are_refused_with_a_better_size() -> None:
    image = np.linspace(0, 30000, 60).reshape(3, 4, 5)

    with pytest.raises(InputError, match="1201 grey levels") as caught:
        features(image, np.ones(image.shape), (1.0, 1.0, 1.0))

    assert "bin_size to 469" in caught.value.hint


# What comes back.


@pytest.mark.parametrize(
    ("spec", "dimensions"),
    [(EVERYTHING, 3), (RadiomicsSpec(), 3), (RadiomicsSpec(classes=("shape", "histogram")), 2)],
)
def test_names_come_as_announced_and_no_value_is_nan(spec: RadiomicsSpec, dimensions: int) -> None:
    image, mask = lesion((9, 24, 25))
    if dimensions == 2:
        image, mask = image[4], mask[4]

    values = features(image, mask, (2.0, 1.0, 1.0)[3 - dimensions :], spec)

    assert list(values) == feature_names(spec, dimensions=dimensions)
    assert all(value is None or math.isfinite(value) for value in values.values())
    assert not [name for name, value in values.items() if value is None]


def test_the_default_has_the_length_of_the_papers_vector() -> None:
    assert len(feature_names(RadiomicsSpec())) == 736
    assert len(feature_names(RadiomicsSpec(), dimensions=2)) == 736


def test_what_is_left_out_by_default_is_known_from_the_rest() -> None:
    image, mask = lesion()
    values = features(image, mask, (1.0, 1.0, 1.0), RadiomicsSpec(**PLAIN))

    def value(name: str) -> float:
        found = values[name]
        assert found is not None
        return found

    end = "_2_5D_avg"
    assert value("stat_range") == pytest.approx(value("stat_max") - value("stat_min"))
    assert value("cm_sum_avg" + end) == pytest.approx(2 * value("cm_joint_avg" + end))
    assert value("cm_diff_avg" + end) == pytest.approx(value("cm_dissimilarity" + end))
    assert value("cm_clust_tend" + end) == pytest.approx(value("cm_sum_var" + end))
    assert value("ngl_dc_perc_2_5D") == 1.0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2)])
def test_one_voxel_and_one_grey_level_give_none_where_nothing_is_determined(
    shape: tuple[int, int, int],
) -> None:
    image, mask = np.full((7, 9, 9), 30.0), np.zeros((7, 9, 9), np.bool_)
    mask[3, 4, 4 : 4 + shape[2]] = True

    values = features(image, mask, (1.0, 1.0, 1.0), EVERYTHING)

    assert all(value is None or math.isfinite(value) for value in values.values())
    undefined = {plain_name(n) for n, v in values.items() if v is None and "." not in n}
    assert {"stat_skew", "stat_kurt", "cm_corr", "cm_info_corr1", "ngt_busyness"} <= undefined
    assert {"ngt_contrast", "ngt_coarseness", "morph_pca_flatness", "ivh_v10"} & undefined
    assert ("cm_contrast" in undefined) == (shape == (1, 1, 1))  # one voxel has no pair
    assert values["stat_mean"] == 30.0
    assert values["morph_volume"] == pytest.approx({1: 1 / 6, 2: 1 / 6 + 1 / 2}[shape[2]])


def test_threads_and_repetition_leave_the_same_bits() -> None:
    image, mask = lesion((9, 24, 25))
    cases = [(image, mask, (2.0, 1.0, 1.0), EVERYTHING)] * 4

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: features(*case), cases))

    assert all(found == features(*cases[0]) for found in together)


def test_the_order_in_memory_and_the_type_of_the_image_do_not_matter() -> None:
    image, mask = lesion()
    image = np.round(image)

    plain = features(image, mask, (1.0, 1.0, 1.0))
    other = features(
        np.asfortranarray(image.astype(np.int16)), 7 * mask.astype(np.uint8), (1.0, 1.0, 1.0)
    )

    assert plain == other


def test_a_plane_is_measured_as_a_volume_of_one_slice() -> None:
    image, mask = lesion((9, 24, 25))
    spec = RadiomicsSpec(aggregation=("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb"))

    plane = features(image[4], mask[4], (1.0, 1.0), spec)
    volume = features(image[4:5], mask[4:5], (5.0, 1.0, 1.0), spec)

    assert plane == volume


def test_a_tile_is_measured_in_micrometres() -> None:
    y, x = np.indices((96, 96)) - 48
    density = np.exp(-(y**2 + x**2) / (2 * 8**2))  # a nucleus of 4 µm sigma at 0.5 µm per pixel
    mask = y**2 + x**2 < 30**2

    values = tile_features(
        density,
        mask,
        0.5,
        RadiomicsSpec(
            classes=("shape", "statistics"),
            discretisation="fixed_bin_number",
            wavelet="none",
            log_sigma_mm=(0.002, 0.004),
        ),
    )

    assert values["morph2d_diam"] == pytest.approx(0.030, rel=0.03)
    assert values["log_0.002mm.stat_min"] == pytest.approx(-2 / 20e-6 * 16 / 20, rel=0.05)


def test_units_are_those_of_the_formula() -> None:
    assert feature_unit("morph_integ_int") == "image mm³"
    assert feature_unit("wavelet_haar_LL.stat_energy") == "image²"
    assert feature_unit("szm_gl_var_2_5D") == "level²"
    assert feature_unit("rlm_r_perc_3D_avg") == "1"


# Bad input.


def bad(**change: Any) -> dict[str, Any]:
    image, mask = lesion()
    return {"image": image, "mask": mask, "spacing_mm": (1.0, 1.0, 1.0), "spec": None} | change


def with_nan() -> NDArray[np.float64]:
    image, mask = lesion()
    image[tuple(np.argwhere(mask)[5])] = np.nan
    return image


def labels() -> NDArray[np.int32]:
    image, mask = lesion()
    return fixed_bin_number(image, mask, 3)[0]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (bad(mask=np.ones((9, 14, 14))), "another grid"),
        (bad(mask=np.zeros((9, 14, 15))), "mask is empty"),
        (bad(mask=labels()), "3 different values"),
        (bad(spacing_mm=None), "no spacing"),
        (bad(spacing_mm=(1.0, 0.0, 1.0)), "limit: 3 numbers above 0"),
        (bad(spacing_mm=(1.0, 1.0)), "limit: 3 numbers above 0"),
        (bad(spacing_mm=(1.0, 1.0, math.nan)), "limit: 3 numbers above 0"),
        (bad(image=with_nan()), "without a number .NaN or infinite. in or near the mask: 1"),
        (bad(image=np.array(["a"])), "cannot be measured"),
        (bad(spec=RadiomicsSpec(least_voxels=10_000)), "least 10000"),
        (bad(spec=RadiomicsSpec(resegment_range=(3000.0, None))), "0 of"),
        (bad(spec=RadiomicsSpec(omit=("cm_contrst",))), "omit names cm_contrst"),
        (bad(spec=RadiomicsSpec(resample_to_mm=(1.0, 1.0))), "resample_to_mm has 2 numbers"),
        (bad(spacing_mm=(1.0, 3.0, 3.0)), "finer than voxels of 3 mm"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(case: dict[str, Any], message: str) -> None:
    with pytest.raises(HerscopeError, match=message) as caught:
        features(**case)

    assert caught.value.hint


@pytest.mark.parametrize(
    "spec",
    [
        RadiomicsSpec(classes=("local_intensity",)),
        RadiomicsSpec(classes=("autocorrelation",)),
        RadiomicsSpec(force_2d=False, aggregation=("3D_avg",)),
    ],
)
def test_a_plane_has_no_feature_of_a_volume(spec: RadiomicsSpec) -> None:
    with pytest.raises(InputError, match="one slice"):
        features(np.ones((9, 9)), np.ones((9, 9)), (1.0, 1.0), spec)


def test_a_tile_without_resolution_is_refused() -> None:
    with pytest.raises(UnknownResolution, match="per pixel"):
        tile_features(np.ones((9, 9)), np.ones((9, 9)), None)


def test_a_region_that_resampling_loses_is_said_to_be_too_small() -> None:
    image, mask = np.zeros((20, 20)), np.zeros((20, 20), np.bool_)
    mask[3, 3] = True

    with pytest.raises(EmptyTissue, match="1 drawn"):
        features(image, mask, (1.0, 1.0), RadiomicsSpec(resample_to_mm=(8.0, 8.0)))


@pytest.mark.parametrize(
    "change",
    [
        {"aggregation": ("3D_avg",)},
        {"resegment_range": (10.0, 10.0)},
        {"classes": ("shape", "shape")},
        {"original": False, "wavelet": "none", "log_sigma_mm": ()},
        {"resample_to_mm": (1.0,)},
        {"log_sigma_mm": (0.0,)},
    ],
)
def test_choices_that_contradict_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"RadiomicsSpec"):
        RadiomicsSpec(**change)


# Real lesions.


@pytest.mark.skipif(
    not (DATA / "ct" / "ibsi_sts").is_dir(), reason="the sarcoma volumes are not on this machine"
)
def test_sarcomas_have_the_density_and_size_of_sarcomas() -> None:
    nibabel = pytest.importorskip("nibabel")
    spec = RadiomicsSpec(classes=("shape", "statistics", "local_intensity"), **PLAIN)

    for path in sorted((DATA / "ct" / "ibsi_sts").glob("*_CT_mask.nii.gz"))[:3]:
        picture = nibabel.load(path.with_name(path.name.replace("mask", "image")))
        image, mask = (
            np.asarray(of.dataobj).transpose(2, 1, 0) for of in (picture, nibabel.load(path))
        )
        spacing = tuple(float(step) for step in picture.header.get_zooms()[::-1])
        values = features(image, mask, spacing, spec)
        mean, volume, drawn = (
            values[name] or 0 for name in ("stat_mean", "morph_volume", "morph_vol_approx")
        )
        assert 10 < mean < 80
        assert 10_000 < volume < 300_000
        assert volume == pytest.approx(drawn, rel=0.03)
