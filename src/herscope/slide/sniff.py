"""What kind of file it is by its first bytes, and plain words for those that are no slide at all.

A suffix lies (a text file named ``.svs``, a JPEG named ``.png``); the first bytes do not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from herscope.core.errors import UnreadableSlide

Kind = Literal["tiff", "image", "jpeg", "other"]

HEAD_BYTES = 4096
TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
DICOM_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
"""VL Whole Slide Microscopy Image Storage (DICOM PS3.4, B.5)."""
NOT_SLIDES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive", "unpack it and give the slide inside"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and give the slide inside"),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive", "unpack it and give the slide inside"),
    (b"Rar!", "a RAR archive", "unpack it and give the slide inside"),
    (b"%PDF", "a PDF document", "export the image itself as TIFF or PNG"),
    (b"Salted__", "encrypted (OpenSSL)", "decrypt it first"),
    (b"age-encryption.org", "encrypted (age)", "decrypt it first"),
    (b"-----BEGIN PGP", "encrypted (PGP)", "decrypt it first"),
    (b"\x85\x01\x0c", "encrypted (PGP)", "decrypt it first"),
    (b"\x89HDF", "an HDF5 file", "give the slide, not features made from it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "run `git lfs pull`"),
)


def sniff(path: Path) -> Kind:
    """Tell what kind of file a path is.

    Returns
    -------
    str
        ``tiff``, ``image`` (PNG, BMP, WebP), ``jpeg`` or ``other`` (a vendor format, perhaps).

    Raises
    ------
    UnreadableSlide
        Missing, a folder, empty, not permitted, or certainly no slide.
    """
    head = _head(path)
    for magic, what, hint in NOT_SLIDES:
        if head.startswith(magic):
            raise UnreadableSlide(f"slide {path.name} is {what}, not an image", hint=hint)
    if is_dicom(head) and DICOM_SLIDE not in head:
        raise UnreadableSlide(
            f"slide {path.name} is a DICOM file of another kind (CT, MR, ...), not a whole slide",
            hint="give a DICOM file of the VL Whole Slide Microscopy kind",
        )
    if head.startswith(TIFF_MAGIC):
        return "tiff"
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"BM")) or (head[:4], head[8:12]) == (
        b"RIFF",
        b"WEBP",
    ):
        return "image"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if not head.strip(b"\x00"):
        raise UnreadableSlide(
            f"slide {path.name} begins with {len(head):,} zero bytes: it was never written",
            hint="copy it again from its source",
        )
    # VMS index files are text (INI), so only prose, tables and markup are refused here.
    if _is_text(head) and path.suffix.lower() not in (".vms", ".vmu", ".mrxs", ".ini"):
        raise UnreadableSlide(
            f"slide {path.name} is a text file, not an image",
            hint="give the slide itself; a CSV of slide,mpp goes to --mpp",
        )
    return "other"


def is_dicom(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of DICOM (a preamble of 128 bytes, then DICM)."""
    return head[128:132] == b"DICM"


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise UnreadableSlide(
            f"slide {path.name} is a folder, not a file",
            hint="give the slide file in it; whole folders go to `herscope score`",
        )
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UnreadableSlide(
            f"slide {path.name} does not exist", hint=f"looked for it at {os.fspath(path)}"
        ) from error
    except PermissionError as error:
        raise UnreadableSlide(
            f"slide {path.name} may not be read by this user",
            hint="ask for read permission on the file",
        ) from error
    except OSError as error:
        raise UnreadableSlide(
            f"slide {path.name} cannot be opened: {error.strerror or error}",
            hint="check the disk or network share",
        ) from error
    if not head:
        raise UnreadableSlide(
            f"slide {path.name} is empty (0 bytes)", hint="copy it again from its source"
        )
    return head


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # a character cut by the end of what was read
    return True
