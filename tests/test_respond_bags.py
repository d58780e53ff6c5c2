"""Words into bags, bags of a patient, white balance in front of Reinhard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pydantic import ValidationError

from herscope.core.errors import (
    EmptyTissue,
    InputError,
    SchemaError,
    StaleResult,
    UnknownResolution,
)
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.colour_texture import ColourTexture
from herscope.embed.extraction import EmbedSpec, encoder_id
from herscope.embed.feature_file import write_features
from herscope.embed.normalising import NormaliseSpec, normalise_spec
from herscope.embed.tile_spec import EmbedTileSpec
from herscope.respond.fusion.patients import Branch, no_tokens
from herscope.respond.pathology.bags import BagSpec, PathologyBags, read_pathology
from herscope.respond.pathology.lattice import bags_of
from herscope.respond.pathology.radiomics_table import BagRadiomics, read_table, write_table
from herscope.stain.normalise import ReinhardTarget, WhiteBalance
from herscope.tissue.geojson import write_regions
from herscope.tissue.regions import Region

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
CARD = ColourTexture().card
QUARTER = BagSpec(bag_um=128, max_bags=0)
"""Bags of 4 x 4 words of 64 px at 0.5 µm/px."""


def words(
    columns: int,
    rows: int,
    *,
    slide: str = "a",
    tile_px: float = 64.0,
    mpp: float | None = 0.5,
    identity: str = "one",
    value: float = 0.0,
) -> FeatureBag:
    """A full lattice; the first two features of a word are its column and row."""
    row, column = np.divmod(np.arange(columns * rows), columns)
    features = np.full((len(row), CARD.features), value, np.float32)
    features[:, 0], features[:, 1] = column, row
    places = np.rint(np.stack([column, row], axis=1) * tile_px)
    return make_bag(
        slide, features, places, tile_px=tile_px, mpp=mpp, encoder="e", encoder_id=identity
    )


def saved(root: Path, bag: FeatureBag) -> Path:
    path = root / f"{bag.slide}.h5ad"
    tiles = EmbedTileSpec(size_px=64)
    write_features(path, bag, card=CARD, tiles=tiles, provenance={"file": {"sha256": "0"}})
    return path


def places(found: PathologyBags) -> list[list[int]]:
    return found.xy_px.tolist()


def test_a_word_is_in_the_bag_that_holds_its_centre() -> None:
    bag = words(8, 8)

    bags = bags_of(bag, QUARTER)

    assert bags.xy_px.tolist() == [[0, 0], [256, 0], [0, 256], [256, 256]]
    assert bags.words.shape == (4, 16)
    for corner, chosen in zip(bags.xy_px, bags.words, strict=True):
        assert (bag.xy_px[chosen] // 256 * 256 == corner).all()
    assert sorted(bags.words.ravel().tolist()) == list(range(64))


def test_words_of_a_bag_stand_by_row_and_then_by_column_whatever_their_order() -> None:
    bag = words(8, 4)
    mixed = np.random.Generator(np.random.PCG64(1)).permutation(len(bag))
    again = make_bag(
        "a",
        bag.features[mixed],
        bag.xy_px[mixed],
        tile_px=64,
        mpp=0.5,
        encoder="e",
        encoder_id="one",
    )

    first, second = bags_of(bag, QUARTER), bags_of(again, QUARTER)

    places_of = bag.features[first.words[1], :2]  # column, row
    assert places_of.tolist() == [[c, r] for r in range(4) for c in range(4, 8)]
    assert (again.features[second.words] == bag.features[first.words]).all()


def test_a_bag_does_not_depend_on_words_elsewhere() -> None:
    bag = words(12, 4)
    later = bag.take(bag.xy_px[:, 0] >= 256)  # the first bag's words are gone

    bags = bags_of(later, QUARTER)

    assert bags.xy_px.tolist() == [[256, 0], [512, 0]]


def test_bags_with_too_few_of_their_words_are_left_out_and_told() -> None:
    bag = words(5, 4)  # the second bag has 4 of 16 words

    some = bags_of(bag, BagSpec(bag_um=128, min_share=0.25))
    fewer = bags_of(bag, BagSpec(bag_um=128, min_share=0.26))

    assert len(some) == 2
    assert (some.words[1] >= 0).sum() == 4
    assert len(fewer) == 1
    assert "1 of 2 bags" in fewer.notes[0]


def test_scattered_words_that_fill_no_bag_are_refused() -> None:
    with pytest.raises(EmptyTissue, match="the fullest has 1") as caught:
        bags_of(words(1, 1), QUARTER)

    assert "--min-share" in caught.value.hint


def test_without_an_edge_every_tile_is_a_bag_and_no_resolution_is_needed() -> None:
    bag = words(3, 2, mpp=None)

    bags = bags_of(bag, BagSpec(bag_um=None))

    assert bags.words.tolist() == [[n] for n in range(6)]
    assert bags.edge_px == 64
    with pytest.raises(UnknownResolution, match="do not say their resolution"):
        bags_of(bag, QUARTER)


def test_a_slide_cut_at_its_own_resolution_has_whole_bags_and_says_how_wide() -> None:
    bag = words(14, 7, tile_px=64, mpp=0.52)  # 33.28 µm a word: 6.73 words in 224 µm

    bags = bags_of(bag, BagSpec())

    assert bags.edge_px == 7 * 64
    assert (bags.words >= 0).sum(axis=1).tolist() == [49, 49]
    assert "233 µm wide, 7 words; 224 asked" in bags.notes[0]


def test_words_that_do_not_divide_bags_are_told() -> None:
    bags = bags_of(words(9, 9), BagSpec(bag_um=80))  # 2.5 words

    assert "2.5 words wide" in bags.notes[0]
    assert set((bags.words >= 0).sum(axis=1).tolist()) == {4, 6, 9}


def test_fractions_of_a_pixel_do_not_add_up_over_a_long_slide() -> None:
    bag = words(1400, 7, tile_px=64 * 0.5 / 0.2527, mpp=0.2527)  # places are rounded to pixels

    bags = bags_of(bag, BagSpec(max_bags=0))

    assert len(bags) == 200
    assert ((bags.words >= 0).sum(axis=1) == 49).all()


def test_bags_smaller_than_words_are_refused() -> None:
    with pytest.raises(InputError, match="smaller than its words"):
        bags_of(words(4, 4), BagSpec(bag_um=20))


def test_overlapping_words_count_by_their_step() -> None:
    bag = words(8, 8)
    places_32 = bag.xy_px // 2  # words of 64 px every 32
    close = make_bag("a", bag.features, places_32, tile_px=64, mpp=0.5, encoder="e", encoder_id="x")

    bags = bags_of(close, BagSpec(bag_um=64, min_share=0.5))

    assert bags.words.shape[1] == 16
    assert bags.edge_px == 128
    assert len(bags) == 4  # rows and columns of 3, 4 and 1 words: half of 16 is 8


def test_a_patient_is_the_same_in_any_order_of_the_slides(tmp_path: Path) -> None:
    files = [saved(tmp_path, words(8, 4, slide=name)) for name in "ba"]

    one, two = read_pathology(files, QUARTER), read_pathology(files[::-1], QUARTER)

    assert one.slides == ("a", "b")
    assert one.slide.tolist() == [0, 0, 1, 1]
    assert (one.words == two.words).all()
    assert one.words.shape == (4, 16, CARD.features)
    assert one.bag_px == 256


def test_what_a_bag_lacks_is_zeros_with_a_mask_and_the_model_takes_it(tmp_path: Path) -> None:
    file = saved(tmp_path, words(6, 4, value=5.0))

    found = read_pathology([file], QUARTER)

    assert found.word_there.sum(axis=1).tolist() == [16, 8]
    assert not found.words[~found.word_there].any()
    assert (found.words[found.word_there][:, 2:] == 5.0).all()
    branch = Branch(found.words, no_tokens(()), word_there=found.word_there)
    assert branch.features == CARD.features


def test_slides_of_different_resolution_keep_an_edge_of_their_own(tmp_path: Path) -> None:
    fine = saved(tmp_path, words(4, 4, slide="fine", tile_px=128, mpp=0.25))
    coarse = saved(tmp_path, words(4, 4, slide="coarse"))

    found = read_pathology([fine, coarse], QUARTER)

    assert dict(zip(found.slides, found.edges_px.tolist(), strict=True)) == {
        "coarse": 256,
        "fine": 512,
    }


def test_features_of_different_encoders_are_refused_by_name(tmp_path: Path) -> None:
    files = [
        saved(tmp_path, words(4, 4, slide="a")),
        saved(tmp_path, words(4, 4, slide="b", identity="other")),
    ]

    with pytest.raises(InputError, match=r"a\.h5ad holds .*\(one\), b\.h5ad .*\(other\)"):
        read_pathology(files, QUARTER)


def test_a_slide_named_twice_and_no_slide_at_all_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, words(4, 4))

    with pytest.raises(InputError, match="named 2 times"):
        read_pathology([file, file])
    with pytest.raises(InputError, match="without a feature file"):
        read_pathology([])


def test_a_slide_without_a_full_bag_is_told_and_left_out(tmp_path: Path) -> None:
    empty = saved(tmp_path, words(1, 1, slide="biopsy"))
    full = saved(tmp_path, words(4, 4, slide="resection"))

    found = read_pathology([empty, full], QUARTER)

    assert found.slides == ("resection",)
    assert any("biopsy" in note for note in found.notes)
    with pytest.raises(EmptyTissue, match="biopsy"):
        read_pathology([empty], QUARTER)


def test_of_many_bags_some_are_taken_evenly_over_all_slides(tmp_path: Path) -> None:
    files = [
        saved(tmp_path, words(64, 32, slide="large")),  # 128 bags
        saved(tmp_path, words(32, 16, slide="small")),  # 32 bags
    ]

    found = read_pathology(files, BagSpec(bag_um=128, max_bags=40))

    assert np.bincount(found.slide).tolist() == [32, 8]
    assert "40 of 160 bags, evenly spread" in found.notes
    corners = found.xy_px[found.slide == 0] // 256
    quadrants = corners[:, 0] // 8 + 2 * (corners[:, 1] // 4)
    assert np.bincount(quadrants).tolist() == [8, 8, 8, 8]


def measured(path: Path, corners: list[list[int]], edge: float = 256.0, names: str = "xy") -> None:
    values = np.arange(len(corners) * len(names), dtype=float).reshape(len(corners), -1)
    values[-1, -1] = np.nan
    made = BagRadiomics(np.array(corners), edge, tuple(names), values, "f", ("told",))
    write_table(path.with_name(f"{path.stem}.bags.parquet"), made, {})


def test_radiomics_beside_the_features_come_with_their_bags(tmp_path: Path) -> None:
    file = saved(tmp_path, words(12, 4))
    measured(file, [[512, 0], [0, 0]])

    found = read_pathology([file], QUARTER)

    assert places(found) == [[0, 0], [512, 0]]  # only what was measured
    assert found.omics is not None
    assert found.omics_names == ("x", "y")
    np.testing.assert_array_equal(found.omics, [[2, np.nan], [0, 1]])
    assert "a: told" in found.notes
    without = read_pathology([file], QUARTER.model_copy(update={"radiomics": False}))
    assert without.omics is None
    assert len(without) == 3


def test_radiomics_of_other_bags_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, words(8, 4))

    measured(file, [[0, 0]], edge=448.0)
    with pytest.raises(StaleResult, match=r"448\.0 px, these are of 256\.0 px"):
        read_pathology([file], QUARTER)
    measured(file, [[7, 7]])
    with pytest.raises(StaleResult, match="none of the 2 bags"):
        read_pathology([file], QUARTER)


def test_slides_with_other_radiomics_are_refused_and_absent_ones_are_nan(tmp_path: Path) -> None:
    files = [saved(tmp_path, words(4, 4, slide=name)) for name in "ab"]
    measured(files[0], [[0, 0]])

    found = read_pathology(files, QUARTER)

    assert found.omics is not None
    assert np.isnan(found.omics[1]).all()
    assert "b: no radiomics beside its features" in found.notes
    measured(files[1], [[0, 0]], names="xz")
    with pytest.raises(SchemaError, match="different radiomics"):
        read_pathology(files, QUARTER)


def test_a_damaged_table_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.bags.parquet"
    path.write_bytes(b"PAR1 and nothing else")

    with pytest.raises(SchemaError, match="no table of bags"):
        read_table(path)


def test_regions_beside_the_features_restrict_words(tmp_path: Path) -> None:
    file = saved(tmp_path, words(12, 4))
    tumor = Region("Tumor", shapely.box(0, 0, 512, 256))
    hole = Region("Ignore", shapely.box(64, 64, 128, 128))
    write_regions(tmp_path / "a.regions.geojson", [tumor, hole])

    found = read_pathology([file], QUARTER)

    assert places(found) == [[0, 0], [256, 0]]
    assert found.word_there.sum(axis=1).tolist() == [15, 16]
    assert any("31 of 48 words lie inside" in note for note in found.notes)
    write_regions(tmp_path / "a.regions.geojson", [Region("Tumor", shapely.box(9e3, 0, 9e4, 9))])
    with pytest.raises(EmptyTissue, match="none of 48 words lies inside"):
        read_pathology([file], QUARTER)


def test_features_of_trident_become_bags_once_their_resolution_is_stated(tmp_path: Path) -> None:
    from herscope.embed.foreign_writing import write_foreign

    write_foreign(words(8, 4), "clam", tmp_path / "a.h5")

    found = read_pathology([tmp_path / "a.h5"], QUARTER.model_copy(update={"mpp": 0.5}))

    assert places(found) == [[0, 0], [256, 0]]


def picture(red: int, green: int, blue: int) -> Any:
    """Tissue in the colours of a slide under a light of this colour."""
    rng = np.random.Generator(np.random.PCG64(2))
    od = rng.uniform(0.0, 0.8, (200, 200, 1)) * np.array([0.6, 1.0, 0.4])
    od[:40] = 0.0  # glass
    return np.rint(np.array([red, green, blue]) * 10**-od).astype(np.uint8)


def test_white_balance_takes_the_colour_of_the_light_away() -> None:
    yellow, white = picture(240, 225, 180), picture(255, 255, 255)
    balance = WhiteBalance.measure(yellow)

    assert balance is not None
    assert balance.white == (240.0, 225.0, 180.0)
    moved = balance.apply(yellow)
    assert int(np.abs(moved.astype(int) - white).max()) <= 2  # two roundings, one of them scaled
    assert (np.percentile(moved, 99, axis=(0, 1)) == 255).all()


def test_white_balance_does_not_stretch_the_dark() -> None:
    assert WhiteBalance.measure(np.full((20, 20, 3), 40, np.uint8)) is None


def test_white_balance_goes_before_reinhard_and_is_measured_once_a_slide(tmp_path: Path) -> None:
    from PIL import Image

    from herscope.embed.normalising import normaliser, sample_pixels
    from herscope.embed.tile_list import tile_list
    from herscope.slide.opened import open_slide
    from herscope.slide.resolution import SlideSpec

    Image.fromarray(picture(240, 225, 180)).save(tmp_path / "a.png")
    spec = NormaliseSpec(method="reinhard", white_balance=True)
    with open_slide(tmp_path / "a.png", SlideSpec(mpp=0.5)) as slide:
        tiles = tile_list(slide, spec=EmbedTileSpec(size_px=64))
        sample = sample_pixels(slide, tiles)
        move, plain = (
            normaliser(slide, tiles, one)
            for one in (spec, spec.model_copy(update={"white_balance": False}))
        )
        tile = slide.read(tiles.grid, 64, 64, 64, 64)

    balance = WhiteBalance.measure(sample)
    assert move is not None
    assert plain is not None
    assert balance is not None
    statistics = ReinhardTarget.measure(balance.apply(sample))
    assert statistics is not None
    wanted = spec.reinhard().apply(balance.apply(tile), statistics)
    assert (move(tile) == wanted).all()
    assert (move(tile) != plain(tile)).any()


def test_features_made_before_white_balance_existed_keep_their_identity() -> None:
    known = {"none": "2067b65bc871ba68", "reinhard": "2734fabc2b26f46f"}

    for method, identity in known.items():
        spec = EmbedSpec.model_validate({"normalise": {"method": method}})
        assert encoder_id(CARD, spec) == identity
        assert "white_balance" not in json.dumps(spec.model_dump(mode="json"))


def test_white_balance_is_part_of_what_makes_features_comparable() -> None:
    plain = EmbedSpec(normalise=NormaliseSpec(method="reinhard"))
    balanced = EmbedSpec(normalise=NormaliseSpec(method="reinhard", white_balance=True))

    assert encoder_id(CARD, plain) != encoder_id(CARD, balanced)
    assert plain.fingerprint() != balanced.fingerprint()
    assert EmbedSpec.model_validate(balanced.model_dump(mode="json")) == balanced


def test_white_balance_without_a_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="goes before a method"):
        NormaliseSpec(white_balance=True)
    with pytest.raises(InputError, match="without a method"):
        normalise_spec("none", white_balance=True)


def test_mnasnet_reads_the_weights_of_its_architecture(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="networks need torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    from herscope.core.errors import DependencyMissing
    from herscope.embed.encoders import ENCODERS, open_encoder
    from herscope.embed.pixel_preparation import prepare
    from herscope.nn.networks.vision_transformers import library

    try:
        timm = library("timm")
    except DependencyMissing as error:
        pytest.skip(f"MnasNet is built by timm: {error.message}")

    torch.manual_seed(3)
    model = timm.create_model("mnasnet_100", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    encoder = open_encoder("mnasnet", weights=tmp_path, device="cpu", threads=1)
    tiles = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)

    features = encoder.embed(tiles)

    prepared = prepare(tiles, ENCODERS.make("mnasnet").preparation)
    with torch.no_grad():
        model.reset_classifier(0)
        wanted = model(torch.from_numpy(prepared)).numpy()
    assert features.shape == (2, 1280)
    np.testing.assert_allclose(features, wanted, rtol=1e-3, atol=1e-4)
    assert encoder.card.licence == "Apache-2.0"


def test_the_card_of_mnasnet_keeps_the_border_of_a_word() -> None:
    from herscope.embed.known_encoders import ENCODERS

    card = ENCODERS.make("mnasnet").card()

    assert (card.features, card.input_px, card.resize) == (1280, 224, "bicubic 224")
