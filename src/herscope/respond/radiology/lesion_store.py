"""Lesions of a patient on the disk, under a key that changes with whatever they were made of.

The key is a SHA-256 over the contents of CT, masks and the patient's own box rows, the Spec, the
centre and the version of herscope; times and sizes of files say nothing about contents and are not
asked. A file that is found under its key was made of just this, so nothing has to be checked again,
and what changed has another key. The rest of a box table, and the names of DICOM files, change no
result and no key.

A file is a NumPy archive (``.npz``, deflated) of plain arrays and a header in JSON; it is read
without unpickling, so it executes nothing. The identifier of the patient is not in it; names of
files are, since notes and captions state them.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope import __version__
from herscope.core.errors import HerscopeError, NotComputed, SchemaError
from herscope.core.store import make_folder, write_bytes
from herscope.respond.radiology.lesion_boxes import read_boxes
from herscope.respond.radiology.lesions import LesionKind
from herscope.respond.radiology.patient_lesions import (
    PatientLesions,
    PatientLesionSpec,
    read_lesions,
)
from herscope.respond.radiology.windows import BINS, LesionCounts

FORMAT: Final = "herscope.patient-lesions/1"
SUFFIX: Final = ".lesions.npz"
_ARRAYS: Final = {
    "pictures_hu": np.float32,
    "inside": np.bool_,
    "kinds": np.int64,
    "key_slices": np.int64,
    "depths": np.int64,
    "boxes": np.int64,
    "volumes_ml": np.float64,
    "outlined": np.bool_,
    "spacing_mm": np.float64,
    "pixel_mm": np.float64,
}
_BROKEN: Final = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError),
    *(MemoryError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What zipfile, NumPy and JSON raise on a damaged file; RuntimeError where it seems encrypted."""


def lesion_key(
    patient: str,
    ct: Sequence[str | Path],
    masks: Sequence[str | Path] = (),
    boxes: Sequence[str | Path] = (),
    centre: str = "",
    spec: PatientLesionSpec | None = None,
) -> str:
    """Return 64 hexadecimal digits that stand for all that lesions are made of.

    Parameters
    ----------
    patient, ct, masks, boxes, centre, spec
        As for :func:`~herscope.respond.radiology.patient_lesions.read_lesions`.

    Raises
    ------
    NotComputed
        A file is not there.
    SchemaError
        A box table cannot be read.
    """
    parts: list[Any] = [FORMAT, __version__, centre, (spec or PatientLesionSpec()).fingerprint()]
    parts += [[[Path(one).name, _contents(Path(one))] for one in paths] for paths in (ct, masks)]
    parts.append([[Path(one).name, _box_rows(Path(one), patient)] for one in boxes])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def save_lesions(path: str | Path, lesions: PatientLesions, *, key: str = "") -> None:
    """Write lesions; equal lesions give equal bytes.

    Parameters
    ----------
    path
        ``.lesions.npz``.
    lesions
        What :func:`~herscope.respond.radiology.patient_lesions.read_lesions` returned.
    key
        From :func:`lesion_key`; kept in the file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    header = {
        "format": FORMAT,
        "version": __version__,
        "key": key,
        "names": lesions.names,
        "sources": lesions.sources,
        "notes": lesions.notes,
        "omics": lesions.omics is not None,
        "omics_names": lesions.omics_names,
        "counted": [[int(one.kind), one.centre] for one in lesions.counts],
    }
    arrays = {name: getattr(lesions, name) for name in _ARRAYS}
    arrays["counts"] = np.array([one.counts for one in lesions.counts], np.int64).reshape(-1, BINS)
    if lesions.omics is not None:
        arrays["omics"] = lesions.omics
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    arrays["header"] = np.frombuffer(text.encode(), np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_bytes(path, stream.getvalue())


def load_lesions(path: str | Path, *, key: str = "") -> PatientLesions:
    """Read lesions that :func:`save_lesions` wrote.

    Parameters
    ----------
    path
        The file.
    key
        What it must have been written with; empty: any.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        It is damaged, of another format, or was made of something else.
    """
    file = Path(path)
    if not file.is_file():
        raise NotComputed(
            f"there are no lesions in {file.name}", hint="read_lesions makes them from the CT"
        )
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes().decode())
            arrays = {name: archive[name] for name in archive.files if name != "header"}
        _check_header(header, key)
        return _lesions(header, arrays)
    except SchemaError as error:
        raise SchemaError(
            f"{file.name}: {error.message}", hint="delete it and read the CT again"
        ) from error
    except _BROKEN as error:
        raise SchemaError(
            f"{file.name} is damaged or holds no lesions ({file.stat().st_size:,} bytes)",
            hint="delete it and read the CT again",
        ) from error


def cached_lesions(
    folder: str | Path,
    patient: str,
    ct: Sequence[str | Path],
    masks: Sequence[str | Path] = (),
    boxes: Sequence[str | Path] = (),
    centre: str = "",
    spec: PatientLesionSpec | None = None,
) -> tuple[PatientLesions, bool]:
    """Read lesions from a folder of kept ones, or from the CT, and keep them there.

    Parameters
    ----------
    folder
        Of kept lesions; made where it is not there. A damaged file in it is written anew.
    patient, ct, masks, boxes, centre, spec
        As for :func:`~herscope.respond.radiology.patient_lesions.read_lesions`.

    Returns
    -------
    tuple
        The lesions, and whether they were kept already.

    Raises
    ------
    HerscopeError
        As :func:`~herscope.respond.radiology.patient_lesions.read_lesions`; nothing is kept then.
    OutputError
        The folder cannot be written.
    """
    key = lesion_key(patient, ct, masks, boxes, centre, spec)
    file = Path(folder) / f"{key}{SUFFIX}"
    try:
        return load_lesions(file, key=key), True
    except HerscopeError:
        pass  # absent or damaged: what is derived is made again
    lesions = read_lesions(patient, ct, masks, boxes, centre, spec)
    make_folder(file.parent)
    save_lesions(file, lesions, key=key)
    return lesions, False


def _check_header(header: dict[str, Any], key: str) -> None:
    if header["format"] != FORMAT:
        raise SchemaError(f"it has the form {str(header['format'])[:40]}, not {FORMAT}")
    if key and header["key"] != key:
        raise SchemaError(
            "it was made of other files or with another Spec "
            f"(key {str(header['key'])[:12]}, wanted {key[:12]})"
        )


def _lesions(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> PatientLesions:
    for name, dtype in _ARRAYS.items():
        if arrays[name].dtype != dtype:
            raise SchemaError(f"{name} is of type {arrays[name].dtype}, not {np.dtype(dtype)}")
    if arrays["counts"].shape != (len(header["counted"]), BINS):
        raise SchemaError(f"counts have shape {arrays['counts'].shape}")
    counts = tuple(
        LesionCounts(LesionKind(kind), centre, row)
        for (kind, centre), row in zip(header["counted"], arrays["counts"], strict=True)
    )
    return PatientLesions(
        **{name: arrays[name] for name in _ARRAYS},
        counts=counts,
        omics=arrays["omics"] if header["omics"] else None,
        omics_names=tuple(header["omics_names"]),
        names=tuple(header["names"]),
        sources=tuple(header["sources"]),
        notes=tuple(header["notes"]),
    )


def _contents(path: Path) -> str:
    """Return what stands for the contents of a file, or of all files of a folder in any order."""
    if path.is_dir():
        # What a DICOM file is called and in which order it comes changes nothing.
        return _digest_of(sorted(_file(one) for one in path.rglob("*") if one.is_file()))
    if not path.is_file():
        raise NotComputed(f"{path.name} does not exist", hint="check the path")
    return _file(path)


def _file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _box_rows(path: Path, patient: str) -> list[list[str | None]]:
    """Return the cells of the patient's rows, columns by name."""
    table = read_boxes(path)
    names = sorted(table.columns)
    rows = zip(*(table.column(name) for name in names), strict=True)
    who = table.labels("patient")
    return [names, *([*cells] for cells, one in zip(rows, who, strict=True) if one == patient)]
