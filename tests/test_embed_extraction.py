"""Embedding a slide: the same bits however it is read, interrupted or resumed."""

import threading
import time

import numpy as np
import pytest

from herscope.core.errors import InputError, ModelError, SlideError
from herscope.embed import extraction, feature_parts
from herscope.embed.colour_texture import ColourTexture
from herscope.embed.encoder import EncoderCard
from herscope.embed.extraction import EmbedSpec, embed_slide, encoder_id
from herscope.embed.normalising import NormaliseSpec
from herscope.embed.tile_list import EmbedTileSpec, tile_list
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.slide.resolution import SlideSpec


class Means:
    """An encoder that remembers the batches it was given."""

    def __init__(self, seconds=0.0):
        self.seconds, self.shapes, self.calls = seconds, [], 0
        self.card = EncoderCard(
            name="means",
            summary="Mean colours.",
            features=3,
            input_px=64,
            resize="none",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            licence="Apache-2.0",
            source="a test",
        )

    def embed(self, tiles):
        time.sleep(self.seconds * len(tiles))
        self.shapes.append(tiles.shape)
        self.calls += 1
        return tiles.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    path = tmp_path_factory.mktemp("he") / "he.tif"
    draw_phantom(PhantomSpec(stain="he", width_um=900, height_um=700, mpp=0.5, seed=5), path)
    return path


SMALL = EmbedSpec(tiles=EmbedTileSpec(size_px=64))


def test_features_belong_to_their_places(phantom):
    made = embed_slide(phantom, Means(), SMALL)
    with open_slide(phantom) as slide:
        grid = slide.grid(0.5)
        for feature, (x, y) in zip(made.bag.features[::37], made.bag.xy_px[::37], strict=True):
            tile = slide.read(grid, int(x), int(y), 64, 64)
            assert feature == pytest.approx(tile.mean(axis=(0, 1)), rel=1e-6)


def test_the_bag_says_what_it_is(phantom):
    made = embed_slide(phantom, Means(), SMALL, name="case 1")
    bag = made.bag
    assert (bag.slide, bag.encoder, bag.tile_px, bag.mpp) == ("case 1", "means", 64.0, 0.5)
    assert (bag.width_px, bag.height_px) == (1800, 1400)
    assert bag.encoder_id == encoder_id(Means().card, SMALL)
    assert len(made.tissue) == len(bag)


@pytest.mark.parametrize("threads", [2, 5])
def test_features_are_the_same_for_any_number_of_threads(phantom, threads):
    spec = EmbedSpec(normalise=NormaliseSpec(method="reinhard"))
    one = embed_slide(phantom, ColourTexture(), spec, threads=1)
    many = embed_slide(phantom, ColourTexture(), spec, threads=threads)
    assert one.bag.features.tobytes() == many.bag.features.tobytes()


def test_the_encoder_gets_one_shape_of_batch(phantom):
    encoder = Means()
    made = embed_slide(phantom, encoder, SMALL, batch=50)
    assert len(made.bag) % 50
    assert set(encoder.shapes) == {(50, 64, 64, 3)}


def test_a_batch_larger_than_the_slide_is_cut_to_it(phantom):
    encoder = Means()
    made = embed_slide(phantom, encoder, batch=2048)
    assert encoder.shapes == [(len(made.bag), 256, 256, 3)]


def test_overlapping_tiles_are_read_right(phantom):
    spec = EmbedSpec(tiles=EmbedTileSpec(size_px=128, step_px=80))
    made = embed_slide(phantom, Means(), spec, threads=2)
    with open_slide(phantom) as slide:
        x, y = made.bag.xy_px[-1].tolist()
        tile = slide.read(slide.grid(0.5), x, y, 128, 128)
    assert made.bag.features[-1] == pytest.approx(tile.mean(axis=(0, 1)), rel=1e-6)


def interrupted(path, parts, after):
    def told(done, _total):
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_slide(path, Means(), SMALL, parts=parts, fingerprint="f", batch=16, told=told)


def test_an_interrupted_slide_goes_on_after_its_parts_with_the_same_bits(
    phantom, tmp_path, monkeypatch
):
    for module in (extraction, feature_parts):
        monkeypatch.setattr(module, "PART_TILES", 128)
    whole = embed_slide(phantom, Means(), SMALL, batch=16)
    interrupted(phantom, tmp_path / "parts", after=300)

    encoder = Means()
    resumed = embed_slide(
        phantom, encoder, SMALL, parts=tmp_path / "parts", fingerprint="f", batch=16
    )

    assert resumed.resumed == 256
    assert encoder.calls == -(-(len(whole.bag) - 256) // 16)
    assert resumed.bag.features.tobytes() == whole.bag.features.tobytes()


def test_parts_of_other_parameters_or_damaged_ones_are_not_taken_up(phantom, tmp_path, monkeypatch):
    for module in (extraction, feature_parts):
        monkeypatch.setattr(module, "PART_TILES", 128)
    interrupted(phantom, tmp_path, after=300)
    other = embed_slide(phantom, Means(), SMALL, parts=tmp_path, fingerprint="other")
    assert other.resumed == 0
    second = tmp_path / "f" / "part-00001.npy"
    second.write_bytes(second.read_bytes()[:-9])
    again = embed_slide(phantom, Means(), SMALL, parts=tmp_path, fingerprint="f")
    assert again.resumed == 128


def test_no_thread_is_left_behind_when_the_encoder_fails(phantom):
    class Broken(Means):
        def embed(self, _tiles):
            raise ModelError("broken")

    before = threading.active_count()
    with pytest.raises(ModelError, match="broken"):
        embed_slide(phantom, Broken(), SMALL, threads=3)
    assert threading.active_count() == before


def test_a_slide_that_breaks_while_it_is_read_says_so(phantom, monkeypatch):
    from herscope.embed import tile_reader

    def damaged(_path, _spec):
        raise SlideError("tile 3 is damaged")

    monkeypatch.setattr(tile_reader, "open_slide", damaged)
    with pytest.raises(SlideError, match="tile 3 is damaged"):
        embed_slide(phantom, Means(), SMALL, threads=2)


def test_an_encoder_that_gives_another_number_or_no_number_is_refused(phantom):
    class Wide(Means):
        def embed(self, tiles):
            return np.zeros((len(tiles), 4), np.float32)

    class Nan(Means):
        def embed(self, tiles):
            return np.full((len(tiles), 3), np.nan, np.float32)

    with pytest.raises(ModelError, match="says 3 features"):
        embed_slide(phantom, Wide(), SMALL)
    with pytest.raises(ModelError, match="no numbers"):
        embed_slide(phantom, Nan(), SMALL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "--batch"),
        ({"batch": 5000}, "--batch"),
        ({"threads": 0}, "--threads"),
    ],
)
def test_impossible_work_is_refused(phantom, options, said):
    with pytest.raises(InputError, match=said):
        embed_slide(phantom, Means(), **options)


def test_a_batch_that_would_not_fit_is_refused(phantom):
    spec = EmbedSpec(tiles=EmbedTileSpec(size_px=4096))
    with pytest.raises(InputError, match=r"GiB of pixels") as caught:
        embed_slide(phantom, Means(), spec, batch=64)
    assert caught.value.hint == "at most --batch 42"


def test_a_slow_encoder_is_kept_busy(phantom):
    made = embed_slide(phantom, Means(seconds=0.004), batch=16, threads=2)
    assert made.encoder_busy > 0.6  # 0.98 on a quiet machine; benchmarks/embedding.py measures it


def test_what_changes_features_changes_the_encoder_id_and_nothing_else_does():
    card, spec = Means().card, EmbedSpec()
    same = [
        EmbedSpec(tiles=EmbedTileSpec(max_tiles=7, min_tissue=0.3)),
        EmbedSpec(slide=SlideSpec(mpp=0.25)),
    ]
    other = [
        EmbedSpec(tiles=EmbedTileSpec(size_px=224)),
        EmbedSpec(tiles=EmbedTileSpec(mpp=0.25)),
        EmbedSpec(normalise=NormaliseSpec(method="macenko")),
    ]
    mine = encoder_id(card, spec)
    assert [encoder_id(card, s) for s in same] == [mine, mine]
    assert mine not in [encoder_id(card, s) for s in other]
    assert encoder_id(card.model_copy(update={"precision": "bf16"}), spec) != mine
    assert encoder_id(card.model_copy(update={"summary": "Other words."}), spec) == mine


def test_tiles_are_read_ahead_while_the_encoder_works(phantom):
    with open_slide(phantom) as slide:
        tiles = tile_list(slide, None, SMALL.tiles)
    from herscope.embed.tile_reader import TileReader

    with TileReader(phantom, SlideSpec(), tiles, step_px=64, threads=1) as reader:
        cut = []
        original = reader._cut
        reader._cut = lambda region: cut.append(1) or original(region)
        stream = reader.read(0)
        next(stream)
        time.sleep(0.5)
        assert len(cut) >= 2  # more than the region whose first tile was handed out
