"""Regions: masks to polygons and back to pixels."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import shapely

from herscope.core.errors import InputError
from herscope.tissue.raster import rasterise
from herscope.tissue.regions import Region, regions_from_mask


def blobs(seed, shape=(90, 120), level=0.5):
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2.0) > level


class TestMasks:
    @pytest.mark.parametrize("seed", range(8))
    def test_a_mask_survives_polygons_and_rasterising_to_the_bit(self, seed):
        # single-pixel noise on half of the seeds: every corner case of touching pixels
        mask = blobs(seed) if seed % 2 else np.random.default_rng(seed).random((60, 70)) < 0.5

        regions = regions_from_mask(mask, 1.0, 1.0, "Tissue")
        back = rasterise([(r.geometry, 1) for r in regions], 0, 0, *mask.shape[::-1], 1.0, 1.0)

        np.testing.assert_array_equal(back > 0, mask)

    @pytest.mark.parametrize("seed", range(6))
    def test_polygons_are_valid_and_have_the_area_of_the_pixels(self, seed):
        mask = np.random.default_rng(seed).random((50, 50)) < 0.35 + 0.06 * seed

        regions = regions_from_mask(mask, 4.0, 3.0, "Tissue")

        assert all(r.geometry.is_valid for r in regions)
        assert sum(r.area for r in regions) == mask.sum() * 12

    def test_pieces_are_those_of_a_labelling_with_four_neighbours(self):
        mask = blobs(3)

        regions = regions_from_mask(mask, 1, 1, "Tissue")

        count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        assert len(regions) == count - 1

    def test_a_hole_is_a_hole_and_an_island_in_it_is_a_region(self):
        mask = np.ones((9, 9), bool)
        mask[2:7, 2:7] = False
        mask[4, 4] = True

        outer, island = regions_from_mask(mask, 2, 2, "Tissue")

        assert len(outer.geometry.interiors) == 1
        assert outer.area == (81 - 25) * 4
        assert island.geometry.bounds == (8, 8, 10, 10)

    def test_two_scales_stretch_x_and_y_apart(self):
        mask = np.zeros((3, 3), bool)
        mask[1, 1] = True

        (region,) = regions_from_mask(mask, 10.0, 100.0, "Tumor")

        assert region.geometry.bounds == (10, 100, 20, 200)

    def test_simplifying_keeps_area_within_a_pixel_of_the_outline(self):
        mask = np.zeros((80, 80), np.uint8)
        cv2.circle(mask, (40, 40), 30, 1, -1)

        (exact,) = regions_from_mask(mask > 0, 1, 1, "T")
        (simple,) = regions_from_mask(mask > 0, 1, 1, "T", simplify_px=1.0)

        assert simple.geometry.is_valid
        assert len(simple.geometry.exterior.coords) < len(exact.geometry.exterior.coords) / 3
        assert abs(simple.area - exact.area) < exact.geometry.length

    def test_an_empty_mask_has_no_regions(self):
        assert regions_from_mask(np.zeros((4, 4), bool), 1, 1, "T") == []

    @pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
    def test_an_absurd_scale_is_refused(self, scale):
        with pytest.raises(InputError, match="scale_x"):
            regions_from_mask(np.ones((2, 2), bool), scale, 1.0, "T")

    def test_a_region_without_area_cannot_be_made(self):
        with pytest.raises(InputError, match="no area"):
            Region("Tumor", shapely.Polygon())
        with pytest.raises(InputError, match="no area"):
            Region("Tumor", shapely.Point(1, 1))


class TestRasterising:
    def star(self, corners=60, seed=0, centre=(150.3, 140.7)):
        rng = np.random.default_rng(seed)
        angle = np.sort(rng.random(corners)) * 2 * np.pi
        radius = rng.uniform(30, 120, corners)
        points = np.stack([np.cos(angle) * radius, np.sin(angle) * radius], 1) + centre
        return shapely.Polygon(points, [shapely.box(140, 130, 160, 150).exterior.coords])

    @pytest.mark.parametrize(("scale_x", "scale_y"), [(1.0, 1.0), (1.7, 2.3), (0.31, 0.47)])
    def test_a_pixel_belongs_where_its_centre_does(self, scale_x, scale_y):
        star = shapely.make_valid(self.star())
        width, height = round(300 / scale_x), round(290 / scale_y)

        codes = rasterise([(star, 7)], 0, 0, width, height, scale_x, scale_y)

        xs, ys = np.meshgrid(
            (np.arange(width) + 0.5) * scale_x, (np.arange(height) + 0.5) * scale_y
        )
        expected = shapely.contains_xy(star, xs, ys)
        np.testing.assert_array_equal(codes == 7, expected)
        assert set(np.unique(codes)) == {0, 7}

    @pytest.mark.parametrize("tile", [17, 64])
    def test_the_bits_do_not_depend_on_the_rectangle_asked(self, tile):
        shapes = [(shapely.make_valid(self.star(seed=s)), s + 1) for s in range(3)]
        whole = rasterise(shapes, -20, -10, 400, 380, 0.9, 1.1)

        pieces = np.zeros_like(whole)
        for y in range(0, 380, tile):
            for x in range(0, 400, tile):
                w, h = min(tile, 400 - x), min(tile, 380 - y)
                pieces[y : y + h, x : x + w] = rasterise(shapes, x - 20, y - 10, w, h, 0.9, 1.1)

        np.testing.assert_array_equal(pieces, whole)

    def test_neighbours_that_share_an_edge_share_no_pixel_and_leave_no_gap(self):
        # the shared edge runs exactly through pixel centres
        left = shapely.Polygon([(0, 0), (10.5, 0), (3.5, 20), (0, 20)])
        right = shapely.Polygon([(10.5, 0), (20, 0), (20, 20), (3.5, 20)])

        one = rasterise([(left, 1)], 0, 0, 20, 20, 1, 1)
        two = rasterise([(right, 1)], 0, 0, 20, 20, 1, 1)

        assert (one + two == 1).all()

    def test_the_smaller_region_wins_whatever_the_order(self):
        tumor, island = shapely.box(0, 0, 20, 20), shapely.box(5, 5, 10, 10)

        first = rasterise([(tumor, 1), (island, 2)], 0, 0, 20, 20, 1, 1)
        second = rasterise([(island, 2), (tumor, 1)], 0, 0, 20, 20, 1, 1)

        np.testing.assert_array_equal(first, second)
        assert (first == 2).sum() == 25

    def test_a_hundred_thousand_vertices_take_little_time(self):
        angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
        radius = 900 + 80 * np.sin(angle * 400)
        polygon = shapely.Polygon(
            np.stack([1024 + radius * np.cos(angle), 1024 + radius * np.sin(angle)], 1)
        )
        rasterise([(shapely.box(0, 0, 2, 2), 1)], 0, 0, 4, 4, 1, 1)  # compile

        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            codes = rasterise([(polygon, 1)], 0, 0, 2048, 2048, 1, 1)
            seconds.append(time.perf_counter() - start)

        assert codes.sum() == pytest.approx(polygon.area, rel=1e-3)
        assert min(seconds) < 0.5  # 0.03 s on an idle core; the limit allows for a busy machine

    @pytest.mark.parametrize("code", [0, 256, -1])
    def test_a_code_that_does_not_fit_is_refused(self, code):
        with pytest.raises(InputError, match="code"):
            rasterise([(shapely.box(0, 0, 1, 1), code)], 0, 0, 2, 2, 1, 1)
