"""Open DICOM files so that neither a traceback nor a patient's data reaches a screen.

Messages of the DICOM library quote values of elements, and values may be names or dates of birth.
So its messages are replaced, never repeated: ours carry the file's own name and UIDs, nothing else.
Nothing that identifies a person is read into a result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, HerscopeError, NotComputed, SchemaError

AGAIN: Final = "copy it again, or export it again from the archive"
MAGIC_AT: Final = 128

NEEDS: Final = {
    "1.2.840.10008.1.2.4": "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Packages that decode a family of compressed transfer syntaxes, by the start of its UID."""


def pydicom_module() -> Any:
    """Return pydicom.

    Raises
    ------
    DependencyMissing
        It is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise DependencyMissing(
            "pydicom is not installed: DICOM files cannot be read",
            hint="pip install 'herscope[radiology]'",
        ) from error
    return pydicom


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file carries DICOM's mark, or the name of one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(MAGIC_AT + 4)
    except OSError:
        return False
    return head[MAGIC_AT:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom", ".ima"}


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn whatever the DICOM library raises or warns into one sentence without values.

    Raises
    ------
    SchemaError
        The file is damaged, cut off, or lacks an element that is needed.
    """
    pydicom_module()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (HerscopeError, MemoryError):
        raise
    except (AttributeError, KeyError) as error:
        missing = error.name if isinstance(error, AttributeError) else None
        what = f"the element {missing}" if missing else "an element that is needed"
        # "from None": the library's text may quote a value of the file.
        raise SchemaError(f"{path.name} lacks {what}", hint=AGAIN) from None
    except Exception:  # noqa: BLE001 - decoders and parsers raise whatever they like
        size = path.stat().st_size if path.is_file() else 0
        raise SchemaError(
            f"{path.name} is damaged, cut off or no DICOM file ({size:,} bytes)", hint=AGAIN
        ) from None


def read_dataset(path: Path, *, pixels: bool = True) -> Any:
    """Read one DICOM file.

    Parameters
    ----------
    path
        The file.
    pixels
        Whether its pixels are wanted.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        It is damaged, cut off, or no DICOM file.
    """
    if not path.is_file():
        raise NotComputed(
            f"{path.name} does not exist" if not path.exists() else f"{path.name} is no file",
            hint="check the path",
        )
    with in_words(path):
        dataset = pydicom_module().dcmread(path, stop_before_pixels=not pixels)
        if "SOPClassUID" not in dataset:
            raise SchemaError(
                f"{path.name} is cut off or no DICOM image (no SOPClassUID)", hint=AGAIN
            )
        return dataset


def pixel_array(dataset: Any, path: Path) -> NDArray[Any]:
    """Decode the pixels of a dataset.

    Raises
    ------
    DependencyMissing
        Its compression needs a package that is not installed.
    SchemaError
        The pixels are cut off or damaged, or there are none.
    """
    with in_words(path):
        if "PixelData" not in dataset:
            raise SchemaError(f"{path.name} has no pixels: it was cut off", hint=AGAIN)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and syntax.is_encapsulated:
            _check_decoder(syntax, path)
        return np.asarray(dataset.pixel_array)


def words(value: Any, longest: int = 64) -> str:
    """Return a value of a file as one line that a terminal can show; empty where it is absent.

    Examples
    --------
    >>> words("1.2." + chr(0) + "34"), words(None)
    ('1.2.?34', '')
    """
    text = "" if value is None else str(value).strip()
    return "".join(one if one.isprintable() else "?" for one in text)[:longest]


def _check_decoder(syntax: Any, path: Path) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        ready = get_decoder(syntax).is_available
    except NotImplementedError:
        ready = False
    if not ready:
        wanted = next(
            (packages for start, packages in NEEDS.items() if str(syntax).startswith(start)),
            "pylibjpeg",
        )
        raise DependencyMissing(
            f"{path.name} is compressed ({syntax.name}) and no decoder for it is installed",
            hint=f"pip install {wanted}, or decompress the series first (dcmdjpeg, gdcmconv --raw)",
        )


def numbers(dataset: Any, name: str, count: int) -> NDArray[np.float64] | None:
    """Return an element as ``count`` finite numbers; None where it is absent or is not that."""
    found = dataset.get(name)
    if found is None:
        return None
    values = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    try:
        array = np.asarray([float(one) for one in values], np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.shape == (count,) and np.isfinite(array).all() else None
