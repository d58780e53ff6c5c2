"""Which tiles of a slide are embedded, and the built-in encoder's numbers."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from herscope.core.errors import EmptyTissue, InputError, WrongInput
from herscope.core.units import Mpp
from herscope.embed.colour_texture import FEATURE_NAMES, ColourTexture
from herscope.embed.normalising import NormaliseSpec, normalise_spec, normaliser, sample_pixels
from herscope.embed.tile_list import EmbedTileSpec, spread, tile_list
from herscope.embed.tile_reader import regions
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.slide.resolution import SlideSpec
from herscope.stain.normalise import MacenkoTarget, ReinhardTarget
from herscope.tissue.detection import TissueMap

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
OVERVIEW = DATA / "he" / "tcga_overviews" / "TCGA-A2-A0CX-01Z-00-DX1.png"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    path = tmp_path_factory.mktemp("he") / "he.tif"
    draw_phantom(PhantomSpec(stain="he", width_um=600, height_um=420, mpp=0.5, seed=3), path)
    return path


def picture(tmp_path, pixels, name="a.png"):
    path = tmp_path / name
    cv2.imwrite(str(path), pixels)
    return path


def tissue_map(mask, mpp):
    return TissueMap(mask=mask, background=~mask, artefacts={}, mpp=mpp)


def listed(path, tissue, mpp=0.5, **spec):
    with open_slide(path, SlideSpec(mpp=Mpp(mpp))) as slide:
        return tile_list(slide, tissue, EmbedTileSpec(**spec))


def test_tiles_with_a_tenth_of_tissue_are_kept_and_others_left_out(tmp_path):
    path = picture(tmp_path, np.zeros((512, 1024, 3), np.uint8))
    mask = np.zeros((64, 128), bool)  # 32 x 32 overview pixels a tile
    mask[0:32, 0:4] = True  # 12.5 % of the first tile
    mask[0:32, 64:67] = True  # 9.4 % of the third
    mask[40:64, 100:128] = True  # most of the last

    tiles = listed(path, tissue_map(mask, 4.0))

    assert tiles.cells.tolist() == [[0, 0], [1, 3]]
    assert tiles.xy.tolist() == [[0, 0], [768, 256]]
    assert tiles.tissue.tolist() == pytest.approx([4 / 32, 24 * 28 / 1024])


def test_places_are_in_level_0_pixels_and_tiles_keep_their_width_in_micrometres(tmp_path):
    path = picture(tmp_path, np.zeros((1024, 1024, 3), np.uint8))
    tiles = listed(path, tissue_map(np.ones((64, 64), bool), 4.0), mpp=0.25)
    assert tiles.tile_px == 512.0
    assert tiles.xy_px.tolist() == [[0, 0], [512, 0], [0, 512], [512, 512]]


def test_a_tile_over_the_edge_is_kept_when_half_of_it_is_inside(tmp_path):
    everything = np.ones((40, 40), bool)
    wide = picture(tmp_path, np.zeros((256, 512 + 128, 3), np.uint8), "wide.png")
    narrow = picture(tmp_path, np.zeros((256, 512 + 127, 3), np.uint8), "narrow.png")
    assert len(listed(wide, tissue_map(everything, 4.0))) == 3
    assert len(listed(narrow, tissue_map(everything, 4.0))) == 2


def test_overlapping_tiles_step_as_asked(tmp_path):
    path = picture(tmp_path, np.zeros((256, 512, 3), np.uint8))
    tiles = listed(path, tissue_map(np.ones((32, 64), bool), 4.0), step_px=128)
    assert tiles.xy[:4].tolist() == [[0, 0], [128, 0], [256, 0], [384, 0]]
    assert len(tiles) == 8


def test_too_many_tiles_are_thinned_to_the_asked_number_all_over_the_slide():
    cells = np.argwhere(np.ones((40, 60), bool))
    kept = cells[spread(cells, 100)]
    assert len(kept) == 100
    quarters = np.histogram2d(kept[:, 0], kept[:, 1], bins=(2, 2), range=((0, 40), (0, 60)))[0]
    assert quarters.min() >= 20
    assert np.all(np.diff(spread(cells, 100)) > 0)


def test_thinning_says_so(tmp_path):
    path = picture(tmp_path, np.zeros((1024, 1024, 3), np.uint8))
    tiles = listed(path, tissue_map(np.ones((64, 64), bool), 8.0), max_tiles=5)
    assert (len(tiles), tiles.found) == (5, 16)
    assert tiles.notes == ("5 of 16 tiles with tissue, evenly spread",)


def test_a_slide_a_little_coarser_is_cut_at_its_own_resolution_with_a_note(tmp_path):
    path = picture(tmp_path, np.zeros((512, 512, 3), np.uint8))
    tiles = listed(path, tissue_map(np.ones((64, 64), bool), 8.0), mpp=1.0)
    assert (tiles.grid.mpp, tiles.tile_px) == (1.0, 256.0)
    assert "256 µm wide, not 128" in tiles.notes[0]


@pytest.mark.skipif(not OVERVIEW.exists(), reason="needs the shared pictures")
def test_an_overview_is_refused_with_its_resolution_and_the_limit():
    with pytest.raises(InputError, match=r"has 6 µm/px.*down to 1\.1") as caught:
        listed(OVERVIEW, None, mpp=6.0)
    assert "overview" in caught.value.hint


def test_glass_alone_and_slides_smaller_than_half_a_tile_are_refused(tmp_path):
    glass = picture(tmp_path, np.full((512, 512, 3), 243, np.uint8))
    with pytest.raises(EmptyTissue, match="none of 4 tiles"):
        listed(glass, None)
    tiny = picture(tmp_path, np.zeros((100, 900, 3), np.uint8), "tiny.png")
    with pytest.raises(InputError, match="900 x 100 px"):
        listed(tiny, None)


def test_pen_is_no_tissue(tmp_path):
    pixels = np.full((2048, 2048, 3), 243, np.uint8)
    rng = np.random.default_rng(0)
    pixels[100:900, 100:900] = rng.integers(150, 215, (800, 800, 3))
    cv2.line(pixels, (1300, 1200), (1300, 1900), (60, 160, 20), 90)  # green ink, BGR
    path = picture(tmp_path, pixels)
    tiles = listed(path, None, mpp=1.0)
    assert tiles.xy.max() < 1000
    assert len(tiles) == 16


def test_regions_hold_every_tile_once_and_cover_it():
    mask = np.random.default_rng(1).random((17, 23)) < 0.4
    cells = np.argwhere(mask)

    class Tiles:
        xy, size_px = cells[:, ::-1] * 256, 256

    Tiles.cells = cells
    found = regions(Tiles, 256)
    rows = np.concatenate([region.rows for region in found])
    assert sorted(rows.tolist()) == list(range(len(cells)))
    for region in found:
        inside = Tiles.xy[region.rows] - (region.x, region.y)
        assert inside.min() >= 0
        assert max(region.width, region.height) <= 1024
        assert np.all(inside + 256 <= (region.width, region.height))


def tiles_of(path, n=6):
    with open_slide(path) as slide:
        tiles = tile_list(slide)
        return np.stack([slide.read(tiles.grid, *xy, 256, 256) for xy in tiles.xy[:n].tolist()])


def test_features_of_a_tile_do_not_depend_on_its_batch(phantom):
    tiles = tiles_of(phantom)
    encoder = ColourTexture()
    together = encoder.embed(tiles)
    alone = np.concatenate([encoder.embed(tile[None]) for tile in tiles[::-1]])[::-1]
    assert together.tobytes() == alone.tobytes()
    assert together.dtype == np.float32
    assert together.shape == (len(tiles), encoder.card.features)


def test_features_are_of_order_one_on_drawn_slides(phantom):
    features = ColourTexture().embed(tiles_of(phantom))
    assert np.median(np.abs(features)) < 3
    assert np.abs(features).max() <= 8


def disks(radius, number, colour=(110, 60, 140)):
    tile = np.full((256, 256, 3), (225, 190, 215), np.uint8)
    for k in range(number):
        centre = (24 + 48 * (k % 5), 24 + 48 * (k // 5))
        cv2.circle(tile, centre, radius, colour, -1)
    return tile


def measured(tile):
    return dict(zip(FEATURE_NAMES, ColourTexture().measure(tile[None])[0], strict=True))


def test_nuclei_are_counted_and_sized():
    found = measured(disks(8, 20))
    assert found["nuclei_per_mpx"] == pytest.approx(20 / 0.065536)
    assert found["nucleus_diameter_mean"] == pytest.approx(16, abs=1.5)
    assert found["nucleus_elongation"] < 0.05
    assert found["nucleus_large_share"] == 0
    assert measured(disks(14, 20))["nucleus_large_share"] == 1


def test_aligned_spindles_are_elongated_and_in_order():
    lying, oblique, mixed = (np.full((256, 256, 3), (225, 190, 215), np.uint8) for _ in range(3))
    for k in range(20):
        centre = (28 + 48 * (k % 5), 28 + 48 * (k // 5))
        for tile, angle in ((lying, 0), (oblique, 45), (mixed, 90 * (k % 2))):
            cv2.ellipse(tile, centre, (16, 5), angle, 0, 360, (110, 60, 140), -1)
    assert measured(lying)["nucleus_elongation"] > 0.6
    assert measured(lying)["nucleus_alignment"] == pytest.approx(1, abs=0.01)
    assert measured(oblique)["nucleus_alignment"] == pytest.approx(1, abs=0.01)
    assert measured(mixed)["nucleus_alignment"] < 0.05
    assert measured(lying)["coherence_1"] > measured(mixed)["coherence_1"] + 0.2


def test_white_is_empty_and_has_no_nuclei():
    found = measured(np.full((256, 256, 3), 242, np.uint8))
    assert (found["empty_share"], found["nuclei_per_mpx"], found["laplacian_1"]) == (1, 0, 0)
    assert all(np.isfinite(list(found.values())))


def test_eosin_raises_eosin_and_haematoxylin_raises_haematoxylin():
    def dyed(vector):
        pixel = np.rint(243 * 10 ** -(0.5 * np.array(vector)) - 1)
        return measured(np.tile(pixel.astype(np.uint8), (64, 64, 1)))

    blue, pink = dyed((0.650, 0.704, 0.286)), dyed((0.072, 0.990, 0.105))
    assert blue["hematoxylin_mean"] == pytest.approx(0.5, abs=0.02)
    assert abs(blue["eosin_mean"]) < 0.02
    assert blue["hematoxylin_p50"] == pytest.approx(blue["hematoxylin_mean"], abs=0.005)
    assert pink["eosin_mean"] == pytest.approx(0.5, abs=0.02)
    assert abs(pink["hematoxylin_mean"]) < 0.02


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (256, 256, 3), (1, 256, 256, 4)])
def test_what_is_no_tile_is_refused(shape):
    with pytest.raises(WrongInput, match="colour-texture takes"):
        ColourTexture().embed(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_normalised_tiles_have_the_targets_colours(phantom, method):
    with open_slide(phantom) as slide:
        tiles = tile_list(slide)
        change = normaliser(slide, tiles, NormaliseSpec(method=method))
        moved = change(sample_pixels(slide, tiles))
    if method == "reinhard":
        found, target = ReinhardTarget.measure(moved), NormaliseSpec().reinhard()
        assert found.mean == pytest.approx(target.mean, abs=3)
    else:
        found, target = MacenkoTarget.measure(moved), NormaliseSpec().macenko()
        assert found.full == pytest.approx(target.full, rel=0.15)


def test_every_tile_of_a_slide_is_moved_alike(phantom):
    spec = NormaliseSpec(method="reinhard")
    with open_slide(phantom) as slide:
        tiles = tile_list(slide)
        change = normaliser(slide, tiles, spec)
        whole = slide.read(tiles.grid, 0, 0, 512, 256)
    parts = np.hstack([change(whole[:, :256]), change(whole[:, 256:])])
    assert np.array_equal(change(whole), parts)


def test_a_target_picture_becomes_numbers_of_the_spec(phantom):
    spec = normalise_spec("macenko", phantom)
    assert spec.target == phantom.name
    assert spec.macenko() != NormaliseSpec().macenko()
    assert spec.fingerprint() != NormaliseSpec(method="macenko").fingerprint()


def test_a_target_needs_a_method_and_a_picture(phantom, tmp_path):
    with pytest.raises(InputError, match="without a method"):
        normalise_spec("none", phantom)
    with pytest.raises(InputError, match="--normalise-to"):
        normalise_spec("reinhard", tmp_path / "absent.png")


def test_a_slide_without_stain_is_not_normalised_in_silence(tmp_path):
    grey = np.full((512, 512, 3), 120, np.uint8)
    path = picture(tmp_path, grey)
    with open_slide(path, SlideSpec(mpp=Mpp(0.5))) as slide:
        tiles = tile_list(slide, tissue_map(np.ones((64, 64), bool), 4.0))
        with pytest.raises(EmptyTissue, match="macenko finds too little stain"):
            normaliser(slide, tiles, NormaliseSpec(method="macenko"))


def test_another_constant_is_another_encoder(monkeypatch):
    from herscope.embed import colour_texture_names as names

    before = names.colour_texture_card()
    changed = {**names.USUAL, "empty_share": (0.5, 0.5)}
    monkeypatch.setattr(names, "USUAL", changed)
    assert names.colour_texture_card().source != before.source
