"""Our feature files: whole, read back to the bit, opened by anndata, refused when broken."""

import json
import warnings

import h5py
import numpy as np
import pytest

from herscope.core.errors import HerscopeError, NotComputed, OutputError, SchemaError
from herscope.embed.bag import make_bag
from herscope.embed.encoder import EncoderCard
from herscope.embed.feature_file import read_features, read_header, write_features
from herscope.embed.tile_list import EmbedTileSpec

CARD = EncoderCard(
    name="toy",
    summary="Nothing.",
    features=5,
    input_px=224,
    resize="none",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    licence="Apache-2.0",
    source="a test",
)


def a_bag(n=7, **more):
    rng = np.random.default_rng(n)
    places = np.argwhere(np.ones((n, 1)))[:, ::-1] * 512 + (1024, 0)
    fields = {"mpp": 0.25, "encoder": "toy", "encoder_id": "toy:5", "tile_px": 512.0} | more
    return make_bag(
        "case-µ", rng.normal(size=(n, 5)).astype(np.float32), places, width_px=9000, **fields
    )


def write(path, bag=None, **more):
    fields = {"card": CARD, "tiles": EmbedTileSpec(), "provenance": {"seed": 1}} | more
    write_features(path, a_bag() if bag is None else bag, **fields)
    return path


def test_features_are_read_back_to_the_bit(tmp_path):
    bag = a_bag(3000, notes=("a note",), slide_path="slides/case.svs")
    read = read_features(write(tmp_path / "a.h5ad", bag))
    assert read.features.tobytes() == bag.features.tobytes()
    assert read.xy_px.tobytes() == bag.xy_px.tobytes()
    for name in ("slide", "tile_px", "mpp", "encoder", "encoder_id", "width_px", "height_px"):
        assert getattr(read, name) == getattr(bag, name)
    assert (read.notes, read.slide_path) == (("a note",), "slides/case.svs")


def test_equal_features_are_equal_bytes(tmp_path):
    first, second = (write(tmp_path / name).read_bytes() for name in ("a.h5ad", "b.h5ad"))
    assert first == second


def test_anndata_opens_the_file(tmp_path):
    bag = a_bag()
    names = ["a", "b", "c", "d", "e"]
    path = write(tmp_path / "a.h5ad", bag, tissue=np.linspace(0.1, 1, 7), names=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata

        table = anndata.read_h5ad(path)
    assert np.array_equal(table.X, bag.features)
    assert list(table.var_names) == names
    assert table.obs_names[0] == "1024_0"
    assert table.obs["x_um"].tolist() == [256.0] * 7
    assert table.obs["tissue"].iloc[-1] == 1
    assert np.array_equal(table.obsm["spatial"], bag.xy_px + 256.0)
    assert json.loads(table.uns["encoder"])["name"] == "toy"
    assert table.uns["schema"] == "herscope.features/1"


def test_the_header_says_what_made_the_features(tmp_path):
    header = read_header(write(tmp_path / "a.h5ad"))
    assert header["shape"] == (7, 5)
    assert header["provenance"] == {"seed": 1}
    assert EmbedTileSpec(**header["tiles"]) == EmbedTileSpec()


def test_a_card_of_another_size_is_not_written(tmp_path):
    with pytest.raises(SchemaError, match="7 x 5, but 6 on the encoder's card"):
        write(tmp_path / "a.h5ad", card=CARD.model_copy(update={"features": 6}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_absent_is_an_output_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "absent" / "a.h5ad")


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "a.h5ad")
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        write(path, provenance={"no json": object()})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.parametrize("kept", [0, 7, 96, 700, 4000, -1])
def test_a_truncated_file_is_refused_in_words(tmp_path, kept):
    path = write(tmp_path / "a.h5ad", a_bag(200))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SchemaError, match=r"a\.h5ad") as caught:
        read_features(path)
    assert caught.value.hint


def test_random_damage_never_gives_anything_but_an_error_for_people(tmp_path):
    path = write(tmp_path / "a.h5ad", a_bag(20))
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 12):
            broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            read_features(path)
        except HerscopeError:
            refused += 1
    assert refused > 20


def test_a_single_changed_bit_among_the_features_is_found(tmp_path):
    bag = a_bag(50)
    path = write(tmp_path / "a.h5ad", bag)
    whole = bytearray(path.read_bytes())
    whole[whole.index(bag.features[20].tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(SchemaError, match="damaged"):
        read_features(path)


def change(path, edit):
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def replace(file, name, value):
    del file[name]
    file[name] = value


BROKEN = {
    "nan": lambda f: f["X"].__setitem__((0, 0), np.nan),
    "other schema": lambda f: replace(f, "uns/schema", "herscope.features/9"),
    "no x": lambda f: f.__delitem__("X"),
    "no places": lambda f: f["obs"].__delitem__("x_px"),
    "too few places": lambda f: replace(f, "obs/x_px", np.arange(3)),
    "text for features": lambda f: replace(f, "X", np.array(["a"] * 7, object)),
    "another width": lambda f: replace(f, "X", np.zeros((7, 4), np.float32)),
    "no card": lambda f: replace(f, "uns/encoder", "{}"),
    "no json": lambda f: replace(f, "uns/slide", "not json"),
    "no text": lambda f: replace(f, "uns/slide", 3),
    "no tile edge": lambda f: replace(f, "uns/slide", "{}"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_as_it_should_be_is_refused_in_words(tmp_path, name):
    path = change(write(tmp_path / "a.h5ad"), BROKEN[name])
    with pytest.raises(SchemaError) as caught:
        read_features(path)
    assert caught.value.hint


def test_other_files_are_named_as_what_they_are(tmp_path):
    with h5py.File(tmp_path / "clam.h5", "w") as file:
        file["features"] = np.zeros((3, 4))
    with pytest.raises(SchemaError, match="none of herscope's feature files"):
        read_features(tmp_path / "clam.h5")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(SchemaError, match="no HDF5 file"):
        read_features(tmp_path / "text.h5ad")
    with pytest.raises(NotComputed, match="does not exist"):
        read_features(tmp_path / "absent.h5ad")
