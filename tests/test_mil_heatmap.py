"""Heatmaps: raw scores in files, and the right colour at the right place in every export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openslide
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
from shapely.geometry import shape

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.mil.heatmap import (
    Heatmap,
    ensemble_scores,
    make_heatmap,
    read_heatmap,
    scaled,
    write_heatmap,
)
from herscope.report.heat_paint import HEAT_RAMP, blend, heat_colors, paint
from herscope.report.heatmap_export import (
    overlay_factor,
    write_heatmap_geojson,
    write_overlay,
)
from herscope.report.heatmap_picture import (
    heat_over,
    heatmap_sheet,
    overview_of,
    write_heatmap_picture,
)
from herscope.report.top_tiles import contact_sheet, pick_tiles, top_tiles
from herscope.slide.opened import open_slide

PALE, DARK = (230, 205, 220), (60, 20, 90)


def lattice(
    columns: int, rows: int, *, tile: float = 256.0, corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    return np.array(
        [(corner[0] + x * tile, corner[1] + y * tile) for y in range(rows) for x in range(columns)]
    )


def heat(
    xy: np.ndarray, scores: object, *, tile: float = 256.0, size: tuple[int, int] | None = None,
    mpp: float | None = 0.5, target: str | None = "3+",
) -> Heatmap:  # fmt: skip
    width, height = size or (None, None)
    return make_heatmap(
        "case", xy, scores, tile_px=tile, mpp=mpp, what="attention", target=target, model="abmil",
        width_px=width, height_px=height,
    )  # fmt: skip


def draw_slide(
    path: Path, size: tuple[int, int], dark: tuple[int, int, int, int], mpp: float = 0.5
) -> Path:
    """Write a pale slide with one dark rectangle, x0 y0 x1 y1 in level-0 px."""
    rgb = np.full((size[1], size[0], 3), PALE, np.uint8)
    x0, y0, x1, y1 = dark
    rgb[y0:y1, x0:x1] = DARK
    tifffile.imwrite(
        path, rgb, tile=(256, 256), compression="deflate", photometric="rgb",
        resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    return path


# --- scores and files


def test_raw_scores_come_back_from_the_file_to_the_bit(tmp_path: Path) -> None:
    made = heat(lattice(5, 3, corner=(17, 40)), np.random.default_rng(1).normal(size=15))

    back = read_heatmap(write_heatmap(tmp_path / "new" / "heatmap.parquet", made))

    assert np.array_equal(back.scores, made.scores)
    assert np.array_equal(back.xy_px, made.xy_px)
    for name in ("slide", "tile_px", "mpp", "width_px", "what", "target", "model"):
        assert getattr(back, name) == getattr(made, name)
    names = pq.read_table(tmp_path / "new" / "heatmap.parquet").column_names
    assert names == ["x_px", "y_px", "tile_px", "score", "rank"]


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SchemaError, match="1 of 2 scores"):
        heat(lattice(2, 1), [0.1, np.nan])


def test_tiles_off_the_slide_are_refused() -> None:
    with pytest.raises(SchemaError, match="512 px wide"):
        heat(lattice(3, 1), [1, 2, 3], size=(512, 256))


def test_a_missing_and_a_foreign_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotComputed) as missing:
        read_heatmap(tmp_path / "none.parquet")
    assert "herscope mil heatmap" in missing.value.hint
    pq.write_table(pa.table({"x_px": [1], "score": [2.0]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    for name in ("other.parquet", "broken.parquet"):
        with pytest.raises(SchemaError, match=name):
            read_heatmap(tmp_path / name)


def test_equal_scores_share_the_mean_of_their_ranks() -> None:
    found = scaled(np.array([2, 7, 2, 9, 7], np.float32), "rank")

    assert found.tolist() == [0.125, 0.625, 0.125, 1.0, 0.625]


def test_percentile_scaling_is_not_moved_by_one_extreme_tile() -> None:
    scores = np.arange(400, dtype=np.float32)
    wild = np.append(scores, np.float32(1e6))

    plain, stretched = scaled(scores, "percentile")[200], scaled(wild, "percentile")[200]

    assert abs(plain - stretched) < 0.01
    assert scaled(wild, "minmax")[200] < 0.001


@pytest.mark.parametrize("how", ["rank", "minmax", "percentile"])
def test_a_slide_of_equal_scores_is_painted_in_the_middle_of_the_scale(how: str) -> None:
    assert scaled(np.full(7, 3.0, np.float32), how).tolist() == [0.5] * 7  # type: ignore[arg-type]


def test_a_member_with_large_numbers_does_not_draw_the_map_alone() -> None:
    small = np.array([4.0, 1.0, 1.0])
    large = np.array([1.0, 1.0, 4.0]) * 1e6

    found = ensemble_scores([small, large])

    assert found[0] == pytest.approx(found[2])
    assert found.mean() == pytest.approx(1.0)


def test_signed_scores_keep_their_sign_in_an_ensemble() -> None:
    found = ensemble_scores([[-1.0, -3.0], [-10.0, -30.0], [0.0, 0.0]])

    assert (found < 0).all()
    assert found[0] > found[1]


# --- the picture


@pytest.mark.parametrize(
    ("size", "corner", "side_px"),
    [((3000, 1000), (0, 0), 900), ((1100, 2901), (77, 131), 640), ((2050, 1777), (255, 3), 333)],
)
def test_a_planted_bright_region_lights_up_where_it_lies(
    tmp_path: Path, size: tuple[int, int], corner: tuple[int, int], side_px: int
) -> None:
    xy = lattice((size[0] - corner[0]) // 256, (size[1] - corner[1]) // 256, corner=corner)
    planted = len(xy) * 2 // 3
    x, y = xy[planted].astype(int).tolist()
    path = draw_slide(tmp_path / "case.tif", size, (x, y, x + 256, y + 256))
    made = heat(xy, np.arange(len(xy)) == planted, size=size)

    with open_slide(path) as slide:
        overview = overview_of(slide, side_px)
    picture, scale = heat_over(made, overview, scaled(made.scores), alpha=1.0)

    hot = (picture == heat_colors(np.array(1.0))).all(axis=2)
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    expected = np.array([x, y, x + 256, y + 256]) / [*scale, *scale]
    assert np.abs(edges - expected).max() <= 0.5
    # The slide's own dark square, as it was read, lies under the same pixels.
    under = overview.rgb[..., 0] < (PALE[0] + DARK[0]) / 2
    assert np.abs(np.argwhere(under).mean(axis=0) - np.argwhere(hot).mean(axis=0)).max() <= 0.5
    assert hot.sum() == pytest.approx(under.sum(), rel=0.02)


def test_tiles_whose_edge_is_no_whole_number_leave_no_seam() -> None:
    for tile, scale in ((128 / 0.499, 3.7), (255.96, 1.0), (64.5, 12.34), (40.3, 1.0)):
        made = heat(lattice(12, 9, tile=tile), np.arange(108), tile=tile, mpp=0.499)
        width, height = (int(n * tile / scale) for n in (12, 9))
        painted = paint(made, made.scores, scale=(scale, scale), width_px=width, height_px=height)
        assert np.isfinite(painted).all()


def test_overlapping_tiles_are_averaged_and_bare_glass_stays_bare() -> None:
    made = heat(np.array([[0, 0], [128, 0]]), [0.0, 1.0])

    painted = paint(made, made.scores, scale=(64.0, 64.0), width_px=8, height_px=5)

    assert painted[0, :6].tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert np.isnan(painted[4]).all()
    assert np.isnan(painted[:, 6:]).all()


def test_a_tile_smaller_than_a_pixel_is_still_seen() -> None:
    made = heat(np.array([[900, 900]]), [1.0], tile=16)

    painted = paint(made, made.scores, scale=(100.0, 100.0), width_px=20, height_px=20)

    assert np.argwhere(np.isfinite(painted)).tolist() == [[9, 9]]


def test_a_picture_painted_in_bands_is_the_picture_painted_at_once() -> None:
    made = heat(lattice(9, 7, corner=(33, 5)), np.arange(63))
    size = {"scale": (11.3, 11.3), "width_px": 240}

    whole = paint(made, made.scores, height_px=190, **size)
    bands = [
        paint(made, made.scores, height_px=min(64, 190 - top), top_px=top, **size)
        for top in range(0, 190, 64)
    ]

    assert np.array_equal(np.concatenate(bands), whole, equal_nan=True)


def test_tissue_stays_visible_below_the_colours() -> None:
    rgb = np.full((1, 2, 3), 240, np.uint8)
    rgb[0, 1] = 40

    mixed = blend(rgb, np.full((1, 2), 0.8, np.float32)).astype(int)

    assert (mixed[0, 0] - mixed[0, 1]).min() > 50
    assert np.array_equal(blend(rgb, np.full((1, 2), np.nan, np.float32)), rgb)


def test_the_colour_scale_is_even_and_rises_in_lightness() -> None:
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in HEAT_RAMP]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lab = np.cbrt(linear @ np.transpose(to_lms)) @ np.transpose(to_lab)

    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)

    assert (np.diff(lab[:, 0]) > 0.03).all()
    assert steps.max() / steps.min() < 1.15


def test_the_scale_names_raw_scores_and_the_picture_is_the_same_bytes_each_time(
    tmp_path: Path,
) -> None:
    made = heat(lattice(4, 3), np.linspace(0.001, 0.0412, 12), size=(1100, 800))

    with open_slide(draw_slide(tmp_path / "c.tif", (1100, 800), (0, 0, 9, 9))) as slide:
        sheet, again = heatmap_sheet(made, slide), heatmap_sheet(made, slide)

    svg = sheet.svg().decode()
    assert ">0.0412<" in svg
    assert ">0.001<" in svg
    assert "Towards 3+" in svg
    assert "µm" in svg
    assert svg == again.svg().decode()
    assert sheet.png() == again.png()


def test_without_the_slide_the_map_is_drawn_on_white(tmp_path: Path) -> None:
    made = heat(lattice(4, 3), np.arange(12), size=(2000, 1500))

    path = write_heatmap_picture(tmp_path / "map.png", heatmap_sheet(made))

    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        write_heatmap_picture(tmp_path / "map.jpg", heatmap_sheet(made))


def test_another_slide_than_the_embedded_one_is_refused(tmp_path: Path) -> None:
    made = heat(lattice(4, 3), np.arange(12), size=(2000, 1500))

    with open_slide(draw_slide(tmp_path / "c.tif", (1100, 800), (0, 0, 9, 9))) as slide:
        for use in (lambda: heatmap_sheet(made, slide), lambda: top_tiles(made, slide)):
            with pytest.raises(InputError, match="2000 x 1500"):
                use()


# --- exports


def test_small_heatmaps_become_qupath_tiles_with_their_raw_scores(tmp_path: Path) -> None:
    made = heat(lattice(4, 5, corner=(10, 20)), np.arange(20) / 7)

    path = write_heatmap_geojson(tmp_path / "h.geojson", made)

    features = json.loads(path.read_text())["features"]
    assert len(features) == 20
    assert shape(features[5]["geometry"]).bounds == (266, 276, 522, 532)
    assert features[5]["properties"]["objectType"] == "tile"
    assert features[5]["properties"]["measurements"]["score"] == pytest.approx(5 / 7)
    assert features[-1]["properties"]["classification"]["name"] == "Heat towards 3+: top 10 %"
    assert len({feature["id"] for feature in features}) == 20
    assert path.read_bytes() == write_heatmap_geojson(tmp_path / "2.geojson", made).read_bytes()


def test_many_tiles_become_bands_that_cover_the_same_ground(tmp_path: Path) -> None:
    tile = 512.5
    made = heat(lattice(80, 70, tile=tile), np.arange(5600), tile=tile)

    path = write_heatmap_geojson(tmp_path / "h.geojson", made)

    features = json.loads(path.read_text())["features"]
    shapes = [shape(feature["geometry"]) for feature in features]
    assert len(features) == 5
    assert sum(f["properties"]["measurements"]["tiles"] for f in features) == 5600
    assert shapely.union_all(shapes).area == pytest.approx(80 * tile * 70 * tile, rel=1e-3)
    # Rows rise in score: the highest band lies at the bottom, in whole pieces and no slivers.
    assert shapes[0].centroid.y > shapes[-1].centroid.y
    assert all(len(getattr(one, "geoms", [one])) == 1 for one in shapes)


@pytest.mark.parametrize("over", [True, False])
def test_the_overlay_is_a_pyramid_in_register_with_the_slide(tmp_path: Path, over: bool) -> None:
    size, corner = (5000, 3300), (120, 60)
    xy = lattice(19, 12, corner=corner)
    planted = 19 * 4 + 11
    x, y = xy[planted].astype(int).tolist()
    made = heat(xy, np.arange(len(xy)) == planted, size=size)

    with open_slide(draw_slide(tmp_path / "c.tif", size, (x, y, x + 256, y + 256))) as slide:
        info = write_overlay(tmp_path / "o.tif", made, slide if over else None, factor=4, alpha=1.0)

    assert info.mpp == pytest.approx(2.0)
    with open_slide(tmp_path / "o.tif") as overlay:
        levels = overlay.info.levels
        assert [(n.width_px, n.height_px) for n in levels] == [
            (1250, 825), (625, 413), (313, 207), (157, 104)
        ]  # fmt: skip
        assert overlay.info.mpp == pytest.approx(2.0)
        for number in range(len(levels)):
            step = 4 << number
            grid = overlay.grid(2.0 * (1 << number))
            pixels = overlay.read_all(grid).astype(int)
            hot = np.abs(pixels - heat_colors(np.array(1.0))).max(axis=2) < 60
            middle = (np.argwhere(hot).mean(axis=0) + 0.5) * step
            assert np.abs(middle - [y + 128, x + 128]).max() <= step / 2
    with openslide.OpenSlide(tmp_path / "o.tif") as theirs:
        assert theirs.level_count == 4
        assert float(theirs.properties["openslide.mpp-x"]) == pytest.approx(2.0)


def test_an_overlay_shows_the_tissue_it_lies_on(tmp_path: Path) -> None:
    size = (2000, 1200)
    made = heat(lattice(7, 4), np.arange(28), size=size)

    with open_slide(draw_slide(tmp_path / "c.tif", size, (1850, 0, 2000, 1200))) as slide:
        write_overlay(tmp_path / "o.tif", made, slide, factor=4)

    with open_slide(tmp_path / "o.tif") as overlay:
        bare = overlay.read(overlay.grid(2.0), 480, 150, 8, 8).astype(int)
    assert np.abs(bare - DARK).max() < 12


def test_a_transparent_overlay_is_clear_where_no_tile_lies(tmp_path: Path) -> None:
    made = heat(lattice(2, 1), [0, 1], size=(2048, 1024))

    write_overlay(tmp_path / "o.tif", made, factor=8, transparent=True)

    pixels = tifffile.imread(tmp_path / "o.tif", level=0)
    assert pixels.shape == (128, 256, 4)
    assert (pixels[:32, :64, 3] > 100).all()
    assert (pixels[32:, :, 3] == 0).all()


def test_the_overlay_stays_at_a_resolution_that_readers_believe() -> None:
    for tile, mpp in ((512.0, 0.25), (256.0, 0.5), (64.0, 2.0), (1024.0, 0.125)):
        made = heat(np.array([[0, 0]]), [1.0], tile=tile, mpp=mpp)
        assert overlay_factor(made) * mpp == pytest.approx(4.0)


# --- top tiles


def test_the_highest_tiles_are_not_the_same_spot_twelve_times() -> None:
    xy = lattice(30, 20)
    away = np.hypot(xy[:, 0] - 2560, xy[:, 1] - 2560)
    made = heat(xy, -away)

    highest, lowest = pick_tiles(made, 12)

    assert len(highest) == len(lowest) == 12
    for chosen in (highest, lowest):
        between = np.abs(xy[chosen][:, None] - xy[chosen][None]).max(axis=2)
        assert (between[~np.eye(12, dtype=bool)] >= 512).all()
    assert highest[0] == int(away.argmin())
    assert not set(highest.tolist()) & set(lowest.tolist())


def test_top_tiles_show_what_lies_there_at_half_a_micrometre(tmp_path: Path) -> None:
    xy, size = lattice(5, 3, tile=512), (2600, 1600)
    x, y = xy[7].astype(int).tolist()
    path = draw_slide(tmp_path / "c.tif", size, (x, y, x + 512, y + 512), mpp=0.25)
    made = heat(xy, np.arange(15) == 7, tile=512, size=size, mpp=0.25)

    with open_slide(path) as slide:
        found = top_tiles(made, slide, 3)

    first = found.highest[0]
    assert first.rgb.shape == (256, 256, 3)
    assert (first.x_px, first.y_px, first.score, first.rank) == (x, y, 1.0, 1.0)
    assert (first.rgb == DARK).all()
    assert all((tile.rgb == PALE).all() for tile in found.lowest)
    assert contact_sheet(found.highest).svg().count(b"<image") == 1


def test_a_slide_of_two_tiles_still_has_a_highest_and_a_lowest() -> None:
    highest, lowest = pick_tiles(heat(lattice(2, 1), [3, 8]), 12)

    assert (highest.tolist(), lowest.tolist()) == ([1], [0])


def test_tiles_below_the_highest_tenth_are_not_shown() -> None:
    # 100 tiles far apart: spacing alone would let all of them through.
    made = heat(lattice(10, 10) * 4, np.arange(100))

    highest, lowest = pick_tiles(made, 60)

    assert highest.tolist() == list(range(99, 89, -1))
    assert lowest.tolist() == list(range(10))


def test_attention_below_an_even_map_does_not_stand_out() -> None:
    scores = np.linspace(0.1, 0.9, 100)
    scores[:3] = (40, 1.0, 20)
    attention = heat(lattice(10, 10) * 4, scores, target=None)
    flat = heat(lattice(10, 10) * 4, np.linspace(0.1, 0.9, 100), target=None)

    assert pick_tiles(attention, 12)[0].tolist() == [0, 2, 1]
    assert len(pick_tiles(heat(lattice(10, 10) * 4, scores), 12)[0]) == 10
    assert len(pick_tiles(flat, 12)[0]) == 10


def test_of_equal_scores_one_tile_of_each_side_is_shown() -> None:
    highest, lowest = pick_tiles(heat(lattice(8, 8), np.ones(64)), 12)

    assert (highest.tolist(), lowest.tolist()) == ([0], [1])
    assert [len(side) for side in pick_tiles(heat(lattice(1, 1), [2.0]), 12)] == [1, 0]
