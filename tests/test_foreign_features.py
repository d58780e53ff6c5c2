"""Feature files of TRIDENT, CLAM and STAMP, written here from their layouts with h5py alone."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from herscope.core.errors import HerscopeError, InputError, NotComputed, SchemaError
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.encoder import EncoderCard
from herscope.embed.feature_file import write_features
from herscope.embed.foreign_files import read_foreign, write_foreign
from herscope.embed.open_features import find_features, read_any
from herscope.embed.tile_list import EmbedTileSpec

FEATURES = np.random.Generator(np.random.PCG64(1)).normal(size=(6, 4)).astype(np.float32)
PLACES = np.array([[x, y] for y in (512, 1024) for x in (0, 512, 1024)])


def rows(file, name, values, said=None):
    data = file.create_dataset(
        name, data=values, maxshape=(None, *values.shape[1:]), chunks=(1, *values.shape[1:])
    )
    for key, value in (said or {}).items():
        data.attrs[key] = value


def trident(path: Path, features=FEATURES, **changes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "patch_size": 256,
        "patch_size_level0": 512,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": path.stem,
        "savetodir": "None",
        "level0_width": 9000,
        "level0_height": 7000,
    } | changes
    with h5py.File(path, "w") as file:
        rows(file, "features", features, {"name": path.stem, "savetodir": "out/features_uni_v1"})
        rows(file, "coords", PLACES, {k: v for k, v in said.items() if v is not None})
    return path


def clam(path: Path, *, places: bool = False, **said) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if not places:
            rows(file, "features", FEATURES)
        rows(file, "coords", PLACES.astype(np.int32), said)
    return path


def stamp(path: Path, *, places=None, features=FEATURES, **said) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = (PLACES / 2.0 if places is None else places).astype(np.float32)
        file["feats"] = features.astype(np.float16)
        for key, value in said.items():
            file.attrs[key] = value
    return path


NEW_STAMP = {
    "stamp_version": "2.5.0",
    "extractor": "mahmood-uni",
    "unit": "um",
    "tile_size_um": 256.0,
    "tile_size_px": 224,
    "code_hash": "0",
    "feat_type": "tile",
}


def test_a_trident_file_gives_places_tile_and_size_of_the_slide(tmp_path):
    bag = read_any(trident(tmp_path / "features_x" / "case-1.h5"))

    assert (bag.slide, bag.tile_px, bag.mpp) == ("case-1", 512.0, None)
    assert (bag.width_px, bag.height_px) == (9000, 7000)
    assert np.array_equal(bag.features, FEATURES)
    assert np.array_equal(bag.xy_px, PLACES)
    assert (bag.encoder, bag.encoder_id) == ("uni_v1", "uni_v1:4")
    assert any("40x" in note for note in bag.notes)


def test_a_trident_file_never_gives_a_resolution_from_its_magnification(tmp_path):
    path = trident(tmp_path / "a.h5")

    assert read_any(path).mpp is None
    assert any("µm per pixel is not in the file" in note for note in read_any(path).notes)
    assert read_any(path, mpp=0.2527).mpp == 0.2527


def test_a_trident_file_without_level0_patch_size_is_computed_from_its_powers(tmp_path):
    assert read_any(trident(tmp_path / "a.h5", patch_size_level0=None)).tile_px == 512.0


def test_a_tile_size_that_contradicts_the_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="512 px, you said 256"):
        read_any(trident(tmp_path / "a.h5"), tile_px=256)


def test_features_of_a_whole_slide_are_refused_in_words(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.ones(768, np.float32)
        rows(file, "coords", PLACES, {"patch_size_level0": 512, "target_magnification": 20})
    with pytest.raises(SchemaError, match="one row of 768 features for the whole slide"):
        read_any(path)


def test_a_leading_axis_of_one_is_taken_off(tmp_path):
    bag = read_any(trident(tmp_path / "a.h5", features=FEATURES[None]))

    assert np.array_equal(bag.features, FEATURES)


def test_clam_takes_the_tile_from_its_file_of_places(tmp_path):
    said = {"patch_size": 256, "patch_level": 1, "downsample": np.array([2.0, 2.0])}
    clam(tmp_path / "patches" / "a.h5", places=True, **said)

    bag = read_any(clam(tmp_path / "feats" / "h5_files" / "a.h5"))

    assert bag.tile_px == 512.0
    assert (bag.encoder, bag.encoder_id) == ("unknown", "unknown:4")
    assert any("patches/a.h5" in note for note in bag.notes)


def test_clam_without_a_tile_size_says_that_it_was_measured(tmp_path):
    bag = read_any(clam(tmp_path / "a.h5"))

    assert bag.tile_px == 512.0
    assert any("smallest step" in note for note in bag.notes)
    assert not any(
        "smallest step" in note for note in read_any(tmp_path / "a.h5", tile_px=300).notes
    )


def test_clam_with_one_tile_asks_for_its_size(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = FEATURES[:1], PLACES[:1]
    with pytest.raises(InputError, match="does not say how large tiles are"):
        read_any(path)
    assert len(read_any(path, tile_px=256)) == 1


def test_clams_custom_downsample_and_slide_size_are_read(tmp_path):
    path = clam(
        tmp_path / "a.h5",
        patch_size=256,
        patch_level=0,
        custom_downsample=2,
        level_dim=np.array([9000, 7000]),
    )
    bag = read_any(path)

    assert (bag.tile_px, bag.width_px, bag.height_px) == (512.0, 9000, 7000)


def test_clams_tensor_is_read_with_the_places_of_h5_files(tmp_path):
    torch = pytest.importorskip("torch", reason="torch reads .pt files")
    clam(tmp_path / "h5_files" / "a.h5", patch_size=512, patch_level=0)
    path = tmp_path / "pt_files" / "a.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(FEATURES + 1), path)

    bag = read_any(path)

    assert np.array_equal(bag.features, FEATURES + 1)
    assert np.array_equal(bag.xy_px, PLACES)
    assert bag.tile_px == 512.0


def test_clams_tensor_without_places_or_with_a_program_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="torch reads .pt files")
    alone, program = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(torch.ones(3, 4), alone)
    torch.save({"call": print}, program)

    with pytest.raises(SchemaError, match="features without places"):
        read_any(alone)
    with pytest.raises(SchemaError, match="cannot be read as a plain tensor"):
        read_any(program)


def test_stamps_micrometres_become_pixels_of_the_stated_resolution(tmp_path):
    bag = read_any(stamp(tmp_path / "a.h5", **NEW_STAMP), mpp=0.5)

    assert np.array_equal(bag.xy_px, PLACES)
    assert (bag.tile_px, bag.mpp, bag.encoder) == (512.0, 0.5, "mahmood-uni")
    assert np.array_equal(bag.features, FEATURES.astype(np.float16).astype(np.float32))
    assert any("1.143 µm/px" in note for note in bag.notes)


def test_stamp_without_a_resolution_counts_in_micrometres_and_says_so(tmp_path):
    bag = read_any(stamp(tmp_path / "a.h5", **NEW_STAMP))

    assert (bag.tile_px, bag.mpp) == (256.0, 1.0)
    assert any("pixels here are 1 µm" in note for note in bag.notes)


def test_the_version_2_attribute_of_stamp_is_read(tmp_path):
    path = stamp(tmp_path / "a.h5", unit="um", tile_size=256, extractor="ctranspath")

    assert read_any(path, mpp=0.5).tile_px == 512.0


def test_the_first_stamp_had_224_steps_to_256_micrometres(tmp_path):
    places = PLACES / 512 * 224
    bag = read_any(stamp(tmp_path / "a.h5", places=places), mpp=1.0)

    assert bag.tile_px == 256.0
    assert np.array_equal(bag.xy_px, PLACES / 2)
    assert any("STAMP 1" in note for note in bag.notes)


def test_stamp_without_any_size_asks_for_it(tmp_path):
    path = stamp(tmp_path / "a.h5")
    with pytest.raises(InputError, match="does not say how large its tiles are"):
        read_any(path)
    assert read_any(path, tile_px=256).tile_px == 256.0


@pytest.mark.parametrize("kind", ["slide", "patient"])
def test_stamps_features_of_slides_and_patients_are_refused(tmp_path, kind):
    path = stamp(tmp_path / "a.h5", **(NEW_STAMP | {"feat_type": kind}))
    with pytest.raises(SchemaError, match=f"features of a {kind}"):
        read_any(path)


def a_bag(mpp: float | None = 0.2527) -> FeatureBag:
    return make_bag(
        "case-2",
        FEATURES,
        PLACES,
        tile_px=506.5,
        mpp=mpp,
        encoder="plip",
        encoder_id="0123456789abcdef",
        width_px=9000,
        height_px=7000,
    )


@pytest.mark.parametrize("format", ["trident", "clam", "stamp"])
def test_what_is_written_for_others_reads_back_the_same(tmp_path, format):  # noqa: A002
    path = tmp_path / "case-2.h5"
    write_foreign(a_bag(), format, path)

    bag = read_any(path)

    assert np.array_equal(bag.features, FEATURES)
    assert np.array_equal(bag.xy_px, PLACES)
    assert (bag.slide, bag.encoder, bag.encoder_id) == ("case-2", "plip", "0123456789abcdef")
    assert (bag.tile_px, bag.mpp) == (506.5, 0.2527)


def test_trident_finds_what_its_own_reader_asks_for(tmp_path):
    write_foreign(a_bag(), "trident", tmp_path / "case-2.h5")

    with h5py.File(tmp_path / "case-2.h5") as file:
        said = dict(file["coords"].attrs)
        assert file["coords"].dtype == np.int64
        assert file["features"].shape == (6, 4)
    for name in ("patch_size", "patch_size_level0", "level0_magnification", "target_magnification"):
        assert said[name] == int(said[name])
    assert (said["level0_magnification"], said["patch_size_level0"]) == (40, 506)
    assert (said["level0_width"], said["name"]) == (9000, "case-2")


def test_stamp_finds_what_its_own_reader_asks_for(tmp_path):
    write_foreign(a_bag(), "stamp", tmp_path / "case-2.h5")

    with h5py.File(tmp_path / "case-2.h5") as file:
        assert file.attrs["unit"] == "um"
        assert file.attrs["feat_type"] == "tile"
        assert float(file.attrs["tile_size_um"]) == pytest.approx(506.5 * 0.2527)
        assert isinstance(int(file.attrs["tile_size_px"]), int)
        assert file["coords"][:] == pytest.approx(PLACES * 0.2527)


def test_stamp_cannot_be_written_without_a_resolution(tmp_path):
    with pytest.raises(InputError, match="STAMP's places are in µm"):
        write_foreign(a_bag(None), "stamp", tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_none_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no feature format is called trydent") as told:
        write_foreign(a_bag(), "trydent", tmp_path / "a.h5")
    assert "trident" in told.value.hint


def h5(path: Path, **held) -> None:
    with h5py.File(path, "w") as file:
        for name, values in held.items():
            if values is None:
                file.create_group(name)
            else:
                file[name] = values


def cut_off(path: Path) -> None:
    trident(path)
    path.write_bytes(path.read_bytes()[:2000])


BAD = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("slide,feature\n"),
    "cut off": cut_off,
    "NaN": lambda path: trident(path, features=np.where(np.arange(4) == 1, np.nan, FEATURES)),
    "no tiles": lambda path: h5(path, features=FEATURES[:0], coords=PLACES[:0]),
    "text features": lambda path: h5(path, features=["a", "b"], coords=PLACES[:2]),
    "groups": lambda path: h5(path, features=None, coords=None),
    "NaN places": lambda path: stamp(
        path, places=np.where(PLACES > 600, np.nan, PLACES), **NEW_STAMP
    ),
    "other": lambda path: h5(path, data=FEATURES),
    "places only": lambda path: clam(path, places=True),
    "fewer places": lambda path: h5(path, features=FEATURES, coords=PLACES[:3]),
    "stamp without places": lambda path: h5(path, feats=FEATURES),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_told_in_words_with_what_to_do_next(tmp_path, kind):
    path = tmp_path / "a.h5"
    BAD[kind](path)
    with pytest.raises(InputError) as told:
        read_any(path)
    assert told.value.hint
    assert len(told.value.message) < 400


def test_a_file_cut_off_anywhere_is_never_read_and_never_raises_through(tmp_path):
    whole = trident(tmp_path / "whole.h5").read_bytes()
    for length in range(0, len(whole), 97):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(whole[:length])
        with pytest.raises(HerscopeError):
            read_any(cut)


def test_a_file_that_is_not_there_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(NotComputed) as told:
        read_any(tmp_path / "none.h5")
    assert "herscope embed" in told.value.hint


def ours(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    card = EncoderCard(
        name="e",
        summary="s",
        features=4,
        input_px=224,
        resize="bicubic 224",
        mean=(0, 0, 0),
        std=(1, 1, 1),
        licence="MIT",
        source="here",
    )
    bag = make_bag(
        path.stem, FEATURES, PLACES, tile_px=512, mpp=0.25, encoder="e", encoder_id="f" * 16
    )
    write_features(path, bag, card=card, tiles=EmbedTileSpec(), provenance={})
    return path


def test_our_own_file_is_known_by_its_content(tmp_path):
    path = ours(tmp_path / "a.h5ad").rename(tmp_path / "a.h5")

    bag = read_any(path)

    assert (bag.mpp, bag.encoder) == (0.25, "e")
    with pytest.raises(InputError, match=r"0.25 µm/px, you said 0.5"):
        read_any(path, mpp=0.5)


def test_slides_are_found_in_a_folder_and_hidden_files_and_places_are_not(tmp_path):
    ours(tmp_path / "a.h5ad")
    trident(tmp_path / "b.h5")
    trident(tmp_path / ".c.h5")
    clam(tmp_path / "d.h5", places=True)
    (tmp_path / "embed.json").write_text("{}")

    assert list(find_features(tmp_path)) == ["a", "b"]


def test_a_damaged_file_is_found_so_that_reading_it_tells(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"nothing of the kind")

    assert list(find_features(tmp_path)) == ["a"]


def test_tridents_one_folder_of_features_is_found_beside_its_places(tmp_path):
    trident(tmp_path / "features_uni_v1" / "a.h5")
    clam(tmp_path / "patches" / "a_patches.h5", places=True)

    assert find_features(tmp_path) == {"a": tmp_path / "features_uni_v1" / "a.h5"}


def test_two_encoders_below_a_folder_have_to_be_named(tmp_path):
    trident(tmp_path / "features_uni_v1" / "a.h5")
    trident(tmp_path / "features_conch" / "a.h5", features=FEATURES[:, :3])

    with pytest.raises(InputError, match=r"2 encoders: features_conch \(.*3\), features_uni_v1"):
        find_features(tmp_path)


def test_one_slide_in_two_folders_has_to_be_chosen(tmp_path):
    trident(tmp_path / "one" / "a.h5")
    trident(tmp_path / "two" / "a.h5")

    with pytest.raises(InputError, match="slide a has features in one and in two"):
        find_features(tmp_path)


def test_folders_of_one_encoder_with_different_slides_are_joined(tmp_path):
    trident(tmp_path / "site-1" / "b.h5")
    trident(tmp_path / "site-2" / "a.h5")

    assert list(find_features(tmp_path)) == ["a", "b"]


def test_clams_two_folders_are_the_same_features(tmp_path):
    clam(tmp_path / "h5_files" / "a.h5")
    (tmp_path / "pt_files").mkdir()
    (tmp_path / "pt_files" / "a.pt").write_bytes(b"PK\x03\x04")

    assert find_features(tmp_path) == {"a": tmp_path / "h5_files" / "a.h5"}


def test_a_folder_without_features_and_one_that_is_not_there_are_told(tmp_path):
    with pytest.raises(NotComputed, match="holds no features"):
        find_features(tmp_path)
    with pytest.raises(NotComputed, match="does not exist"):
        find_features(tmp_path / "none")


def test_a_resolution_no_microscope_makes_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a microscope's resolution"):
        read_foreign(trident(tmp_path / "a.h5"), mpp=500)
