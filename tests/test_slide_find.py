"""Which slides a user means, and what they are called."""

import os
from pathlib import Path

import pytest

from herscope.core.errors import InputError
from herscope.slide.find import find_slides, slide_names

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.svs",
        "a.TIF",
        "sub/deep/c.ndpi",
        "sub/readme.txt",
        "sub/b.geojson",
        "counts.csv",
        ".hidden.svs",
        ".cache/d.svs",
        "odd.xyz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def named(slides, folder):
    return [slide.relative_to(folder).as_posix() for slide in slides]


def test_folders_are_searched_for_known_suffixes_only(folder):
    assert named(find_slides([folder]), folder) == ["a.TIF", "b.svs", "sub/deep/c.ndpi"]


def test_files_folders_and_patterns_join_sorted_and_once(folder):
    given = [folder / "sub", f"{folder}/*.svs", str(folder / "b.svs"), f"{folder}/**/c.*"]

    assert named(find_slides(given), folder) == ["b.svs", "sub/deep/c.ndpi"]


def test_a_named_file_is_kept_whatever_its_suffix(folder):
    assert named(find_slides([folder / "odd.xyz"]), folder) == ["odd.xyz"]


def test_a_file_with_brackets_in_its_name_is_a_file(folder):
    (folder / "case[1].svs").write_bytes(b"x")

    assert named(find_slides([folder / "case[1].svs"]), folder) == ["case[1].svs"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no slide was named"),
        (["absent.svs"], "absent.svs does not exist"),
        (["*.nothing"], "fits no file"),
        (["counts.*"], "fits 1 path.s., none of them a slide"),
        (["empty"], "holds no slide"),
    ],
)
def test_what_means_no_slide_is_an_error_with_a_hint(folder, given, words):
    (folder / "empty").mkdir()

    with pytest.raises(InputError, match=words) as caught:
        find_slides([folder / name for name in given])
    assert caught.value.hint


def test_pieces_of_vms_and_mirax_slides_are_no_slides_of_their_own(tmp_path):
    for name in ("v/a.vms", "v/a-0-0.jpg", "m/b.mrxs", "m/b/Data0001.dat", "m/b/x.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert named(find_slides([tmp_path]), tmp_path) == ["c.jpg", "m/b.mrxs", "v/a.vms"]


def test_a_dicom_series_counts_once():
    fixtures = DATA / "he/wsi/openslide_fixtures"
    if not fixtures.exists():
        pytest.skip("real data absent: he/wsi/openslide_fixtures")

    found = [slide.name for slide in find_slides([fixtures])]
    both = find_slides([fixtures / "boxes_1.dcm", fixtures / "boxes_0.dcm"])

    assert found == ["boxes.tiff", "boxes_0.dcm", "small.svs"]
    assert [slide.name for slide in both] == ["boxes_0.dcm"]


def test_ct_slices_are_no_slides():
    slices = DATA / "ct/crlm_dicom"
    if not slices.exists():
        pytest.skip("real data absent: ct/crlm_dicom")

    with pytest.raises(InputError, match="holds no slide"):
        find_slides([slices])


def test_names_are_stems_and_clashes_are_settled_the_same_way_every_time():
    paths = ["x/a.svs", "y/a.svs", "y/A.tif", "b.svs", "p/y/c.svs", "q/y/c.svs"]

    names = slide_names(paths)

    assert list(names) == [Path(path) for path in paths]
    assert names[Path("x/a.svs")] == "x-a"
    assert names[Path("b.svs")] == "b"
    assert len({name.casefold() for name in names.values()}) == len(paths)
    assert names == slide_names(sorted(paths))
    assert {names[Path("p/y/c.svs")], names[Path("q/y/c.svs")]} == {"y-c-1", "y-c-2"}
