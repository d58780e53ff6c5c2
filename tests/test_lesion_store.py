"""Kept lesions: the same as read, and never those of another file or Spec."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="nibabel (extra radiology) is not installed")
pytest.importorskip("pydicom", reason="pydicom (extra radiology) is not installed")
sys.path.insert(0, str(Path(__file__).parent))
import ct_files as made
from herscope.core.errors import NotComputed, SchemaError
from herscope.respond.radiology import lesion_store
from herscope.respond.radiology.lesion_store import (
    cached_lesions,
    lesion_key,
    load_lesions,
    save_lesions,
)
from herscope.respond.radiology.patient_lesions import (
    PatientLesions,
    PatientLesionSpec,
    read_lesions,
)
from herscope.respond.radiomics.spec import RadiomicsSpec

HEAD = "patient,lesion,kind,unit,x0,y0,z0,x1,y1,z1\n"
SPEC = PatientLesionSpec(
    size_px=16, radiomics=RadiomicsSpec(classes=("statistics",), wavelet="none", log_sigma_mm=())
)


def files(root: Path) -> tuple[Path, Path, Path]:
    """A DICOM series, a mask on its grid, and a box table."""
    made.ct_series(root / "ct", made.hu_block((6, 20, 24)), spacing=(0.8, 0.8))
    drawn = np.zeros((20, 24), np.uint8)
    drawn[4:9, 5:12] = 1
    places = [(1, (-10, -20, 100 + 5 * z), drawn) for z in (1, 2, 3)]
    mask = made.seg_file(root / "m.dcm", places, names={1: "liver"}, spacing=(0.8, 0.8))
    boxes = root / "b.csv"
    boxes.write_text(
        f"{HEAD}p7,n1,lymph node,voxel,15,12,4,17,13,5\np8,x,liver,voxel,0,0,0,1,1,1\n"
    )
    return root / "ct", mask, boxes


def read(root: Path, spec: PatientLesionSpec = SPEC) -> PatientLesions:
    ct, mask, boxes = files(root)
    return read_lesions("p7", [ct], [mask], [boxes], "Ä", spec)


def same(one: PatientLesions, other: PatientLesions) -> bool:
    arrays = [name for name, value in vars(one).items() if isinstance(value, np.ndarray)]
    texts = ("names", "sources", "notes", "omics_names")
    return (
        len(arrays) >= 10
        and all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in arrays)
        and all(getattr(one, n).dtype == getattr(other, n).dtype for n in arrays)
        and all(getattr(one, name) == getattr(other, name) for name in texts)
        and [(a.kind, a.centre, a.counts.tolist()) for a in one.counts]
        == [(b.kind, b.centre, b.counts.tolist()) for b in other.counts]
    )


def test_lesions_come_back_bit_for_bit(tmp_path: Path) -> None:
    lesions = read(tmp_path)
    save_lesions(tmp_path / "a.lesions.npz", lesions, key="k")
    again = load_lesions(tmp_path / "a.lesions.npz", key="k")
    assert lesions.omics is not None
    assert np.isnan(lesions.omics).any()  # a box of two voxels
    assert same(lesions, again)
    assert not same(lesions, read(tmp_path, PatientLesionSpec(size_px=16, margin_mm=3)))


def test_equal_lesions_are_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_lesions(tmp_path / name, read(tmp_path))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_lesions_and_no_radiomics_come_back_too(tmp_path: Path) -> None:
    ct, *_ = files(tmp_path)
    spec = PatientLesionSpec(on_missing_mask="missing", with_radiomics=False, size_px=16)
    none = read_lesions("p7", [ct], spec=spec)
    save_lesions(tmp_path / "a", none)
    again = load_lesions(tmp_path / "a")
    assert len(again) == 0
    assert again.omics is None
    assert again.notes == none.notes
    assert again.pictures_hu.shape == (0, 3, 16, 16)


def test_the_patient_s_identifier_is_not_in_the_file(tmp_path: Path) -> None:
    ct, mask, _ = files(tmp_path)
    name = "Doe-Jane-1950"
    lesions = read_lesions(name, [ct], [mask], spec=SPEC)
    save_lesions(tmp_path / "a", lesions)
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        text = archive["header"].tobytes().decode()
    assert name not in text
    assert made.PATIENT not in text


def test_a_second_reading_is_taken_from_the_folder(tmp_path: Path) -> None:
    ct, mask, boxes = files(tmp_path)
    given = ("p7", [ct], [mask], [boxes], "A", SPEC)
    first, kept = cached_lesions(tmp_path / "kept", *given)
    second, kept_now = cached_lesions(tmp_path / "kept", *given)
    assert (kept, kept_now) == (False, True)
    assert same(first, second)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_the_key_changes_with_every_thing_lesions_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, mask, boxes = files(tmp_path)
    given = {"patient": "p7", "ct": [ct], "masks": [mask], "boxes": [boxes], "centre": "A"}
    before = lesion_key(**given, spec=SPEC)  # type: ignore[arg-type]
    keys = [before, lesion_key(**{**given, "centre": "B"}, spec=SPEC)]
    keys.append(lesion_key(**given, spec=SPEC.model_copy(update={"margin_mm": 9.0})))
    keys.append(lesion_key(**{**given, "patient": "p8"}, spec=SPEC))
    keys.append(lesion_key(**{**given, "boxes": []}, spec=SPEC))
    with monkeypatch.context() as patch:
        patch.setattr(lesion_store, "__version__", "99")
        keys.append(lesion_key(**given, spec=SPEC))
    boxes.write_text(boxes.read_text().replace("15,12,4", "14,12,4"))
    keys.append(lesion_key(**given, spec=SPEC))
    slice_file = sorted(ct.iterdir())[2]
    raw = bytearray(slice_file.read_bytes())
    raw[-2] ^= 1  # one voxel by one HU: size and, here, time stay as they were
    times = slice_file.stat()
    slice_file.write_bytes(raw)
    os.utime(slice_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    keys.append(lesion_key(**given, spec=SPEC))
    assert len(set(keys)) == len(keys)


def test_the_key_stays_with_what_changes_nothing(tmp_path: Path) -> None:
    ct, mask, boxes = files(tmp_path)
    before = lesion_key("p7", [ct], [mask], [boxes], "A", SPEC)
    boxes.write_text(boxes.read_text().replace("p8,x,liver", "p9,y,stomach"))
    first = min(ct.iterdir())
    first.rename(ct / "zz.dcm")
    shutil.copytree(tmp_path / "ct", tmp_path / "there" / "ct")
    assert lesion_key("p7", [tmp_path / "there" / "ct"], [mask], [boxes], "A", SPEC) == before


def test_a_damaged_file_is_refused_and_written_anew_in_a_folder(tmp_path: Path) -> None:
    ct, mask, _ = files(tmp_path)
    given = ("p7", [ct], [mask], [], "A", SPEC)
    lesions, _ = cached_lesions(tmp_path / "kept", *given)
    [file] = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            broken[place] = int(rng.integers(0, 256))
        file.write_bytes(bytes(broken[: rng.integers(1, len(whole) + 1)]))
        with contextlib.suppress(SchemaError):  # anything else, a traceback, fails the test
            assert len(load_lesions(file)) == len(lesions)
    file.write_bytes(whole[:100])
    with pytest.raises(SchemaError, match=r"lesions\.npz is damaged .* \(100 bytes\)"):
        load_lesions(file)
    again, kept = cached_lesions(tmp_path / "kept", *given)
    assert not kept
    assert same(again, lesions)
    assert file.read_bytes() == whole


def test_a_file_of_another_key_form_or_place_is_refused(tmp_path: Path) -> None:
    save_lesions(tmp_path / "a", read(tmp_path), key="one")
    with pytest.raises(SchemaError, match="made of other files or with another Spec"):
        load_lesions(tmp_path / "a", key="two")
    with pytest.raises(NotComputed, match="there are no lesions in b"):
        load_lesions(tmp_path / "b")
    with pytest.raises(NotComputed, match=r"gone\.nii does not exist"):
        lesion_key("p7", [tmp_path / "gone.nii"])
    np.savez(tmp_path / "c.npz", x=np.arange(3))
    with pytest.raises(SchemaError, match=r"c\.npz is damaged or holds no lesions"):
        load_lesions(tmp_path / "c.npz")


class Touches:
    """What a pickle could do: it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_holds_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    code = np.array([Touches(tmp_path / "run")], dtype=object)
    np.savez(tmp_path / "d.npz", header=code)
    with pytest.raises(SchemaError, match=r"d\.npz is damaged"):
        load_lesions(tmp_path / "d.npz")
    assert not (tmp_path / "run").exists()
    np.load(tmp_path / "d.npz", allow_pickle=True)["header"]
    assert (tmp_path / "run").exists()  # it would have


def test_what_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    ct, _, _ = files(tmp_path)
    with pytest.raises(ValueError, match="neither a mask nor a box"):
        cached_lesions(tmp_path / "kept", "p7", [ct])
    assert not (tmp_path / "kept").exists()
