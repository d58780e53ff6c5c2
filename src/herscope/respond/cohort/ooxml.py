"""The parts of an Excel file: a zip of XML, in the transitional or the strict form of OOXML.

ECMA-376 has two forms that differ in their namespaces (``schemas.openxmlformats.org`` and
``purl.oclc.org``); the parts, elements and attributes read here have the same local names in both,
so only those are compared. A file from elsewhere is not trusted: parts have a size limit that is
counted while they are unpacked, text must be UTF-8 or UTF-16, and a document type declaration,
through which XML can be made to grow or to fetch other files, is refused before anything is parsed.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from xml.etree import ElementTree as ET

from herscope.core.errors import InputError, SchemaError

MOST_PART_BYTES: Final = 128 << 20
"""Bytes of one unpacked part; 271 patients in 35 columns take half a megabyte."""

_OLE: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_AGAIN: Final = "open it in the spreadsheet program and save it again as .xlsx, or export CSV"


class Package:
    """An open ``.xlsx`` file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    SchemaError
        It is no zip: an older ``.xls``, a file behind a password, a damaged one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        try:
            with self.path.open("rb") as stream:
                head = stream.read(8)
            if head == _OLE:
                raise SchemaError(
                    f"{self.name} is an old .xls file or is protected by a password",
                    hint="save it without a password as .xlsx, or export CSV (UTF-8)",
                )
            self._zip = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise SchemaError(
                f"{self.name} is no Excel file or is damaged: {error}", hint=_AGAIN
            ) from error
        except OSError as error:
            if isinstance(error, SchemaError):
                raise
            raise InputError(
                f"{self.name} cannot be read: {error.strerror or error}",
                hint="check the path and the permissions",
            ) from error
        self._names = {name.lower(): name for name in self._zip.namelist()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def has(self, part: str) -> bool:
        """Return whether the package holds this part."""
        return part.lower() in self._names

    def text(self, part: str) -> str:
        """Unpack a part.

        Raises
        ------
        SchemaError
            It is absent, too large, damaged, in another encoding, or has a document type.
        """
        if not self.has(part):
            raise SchemaError(f"{self.name} has no part {part}: it is no complete Excel file",
                              hint=_AGAIN)  # fmt: skip
        try:
            with self._zip.open(self._names[part.lower()]) as stream:
                raw = stream.read(MOST_PART_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise SchemaError(
                f"{self.name} is damaged, {part} cannot be unpacked: {error}", hint=_AGAIN
            ) from error
        if len(raw) > MOST_PART_BYTES:
            raise SchemaError(
                f"{self.name}: {part} unpacks to more than {MOST_PART_BYTES >> 20} MiB",
                hint="a table of patients is far smaller; export the sheet as CSV",
            )
        try:
            wide = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
            text = raw.decode("utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise SchemaError(
                f"{self.name}: {part} is neither UTF-8 nor UTF-16", hint=_AGAIN
            ) from error
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise SchemaError(
                f"{self.name}: {part} has a document type declaration, which is refused",
                hint="no spreadsheet program writes one; ask where the file comes from",
            )
        return text

    def elements(self, part: str, *wanted: str) -> Iterator[ET.Element]:
        """Yield the elements of a part with these local names, each complete, then forget them.

        Raises
        ------
        SchemaError
            As :meth:`text`, or the XML is broken.
        """
        # The text is parsed as text: what the XML declares as its encoding cannot hide anything.
        parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(["end"])
        text = self.text(part)
        try:
            for start in range(0, len(text), 1 << 16):
                parser.feed(text[start : start + (1 << 16)])
                yield from _wanted(parser, wanted)
            parser.close()
            yield from _wanted(parser, wanted)
        except ET.ParseError as error:
            raise SchemaError(
                f"{self.name} is damaged: {part} is no valid XML ({error})", hint=_AGAIN
            ) from error

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Return the relations of a part: id to kind (last word of its type) and target part."""
        folder, name = posixpath.split(part)
        where = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(where):
            return {}
        found: dict[str, tuple[str, str]] = {}
        for relation in self.elements(where, "Relationship"):
            target = relation.get("Target", "")
            whole = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
            kind = relation.get("Type", "").rpartition("/")[2]
            found[relation.get("Id", "")] = (kind, posixpath.normpath(whole))
        return found


def local(name: str) -> str:
    """Return a tag or attribute without its namespace.

    >>> local("{http://purl.oclc.org/ooxml/spreadsheetml/main}row")
    'row'
    """
    return name.rpartition("}")[2]


def attribute(element: ET.Element, name: str) -> str | None:
    """Return an attribute by its local name, in whatever namespace it stands."""
    return next((value for key, value in element.items() if local(key) == name), None)


def _wanted(parser: ET.XMLPullParser[ET.Element], wanted: tuple[str, ...]) -> Iterator[ET.Element]:
    for _, element in parser.read_events():  # type: ignore[misc]
        if isinstance(element, ET.Element) and local(element.tag) in wanted:
            yield element
            element.clear()
