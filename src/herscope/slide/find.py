"""Which slides a user means by files, folders and patterns, and what each is called in a run."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from herscope.core.errors import InputError
from herscope.slide.sniff import DICOM_SLIDE, HEAD_BYTES, is_dicom

SCANNER_SUFFIXES = {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi"}
IMAGE_SUFFIXES = {".tif", ".tiff", ".dcm", ".png", ".jpg", ".jpeg", ".bmp", ".webp"}
SUFFIXES = frozenset(SCANNER_SUFFIXES | IMAGE_SUFFIXES)
HINT = "give slide files, folders with slides, or a quoted pattern such as 'cases/*.svs'"


def find_slides(paths: Sequence[str | Path]) -> list[Path]:
    """Find the slides that files, folders and patterns mean.

    Parameters
    ----------
    paths
        Files (kept whatever their suffix), folders (searched to any depth for known suffixes,
        hidden files left out) and glob patterns.

    Returns
    -------
    list of Path
        Sorted, each file once; a DICOM series of several files is named by its first one.

    Raises
    ------
    InputError
        A path that does not exist, a pattern that fits nothing, or a folder without slides.
    """
    if not paths:
        raise InputError("no slide was named", hint=HINT)
    found: dict[Path, Path] = {}
    for path in paths:
        for slide in _of(path):
            found.setdefault(slide.resolve(), slide)
    return _one_per_series(sorted(found.values()))


def _of(given: str | Path) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        slides = list(_in_folder(path))
        if not slides:
            raise InputError(
                f"folder {path} holds no slide (looked for {', '.join(sorted(SUFFIXES))})",
                hint=HINT,
            )
        return slides
    if path.exists():
        return [path]
    if not glob.has_magic(str(given)):
        raise InputError(f"{path} does not exist", hint=HINT)
    # Path.glob takes no absolute pattern.
    matches = sorted(Path(match) for match in glob.glob(str(given), recursive=True))  # noqa: PTH207
    slides = [
        slide
        for match in matches
        for slide in (_in_folder(match) if match.is_dir() else [match])
        if match.is_dir() or slide.suffix.lower() in SUFFIXES
    ]
    if not slides:
        what = f"fits {len(matches)} path(s), none of them a slide" if matches else "fits no file"
        raise InputError(f"pattern {given} {what}", hint=HINT)
    return slides


def _in_folder(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inner):
            continue
        if path.is_file() and not _is_part(path) and not _is_other_dicom(path):
            yield path


def _is_part(path: Path) -> bool:
    """Tell whether a file is a piece of a Hamamatsu VMS or MIRAX slide beside it."""
    if path.suffix.lower() not in (".jpg", ".jpeg", ".tif", ".tiff"):
        return False
    beside = any(path.parent.glob("*.[vV][mM][sSuU]"))
    return beside or path.parent.with_name(f"{path.parent.name}.mrxs").exists()


def _is_other_dicom(path: Path) -> bool:
    """Tell whether a DICOM file holds something else than a slide, such as a CT slice."""
    if path.suffix.lower() != ".dcm":
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False  # opening it will say what is wrong
    return is_dicom(head) and DICOM_SLIDE not in head


def _one_per_series(slides: list[Path]) -> list[Path]:
    dicom = [slide for slide in slides if slide.suffix.lower() == ".dcm"]
    if len(dicom) < 2:
        return slides
    seen: set[tuple[Path, str]] = set()
    further: set[Path] = set()
    for slide in dicom:
        series = _series(slide)
        if series is None:
            continue
        # OpenSlide joins the files of a series that lie in one folder.
        key = slide.resolve().parent, series
        if key in seen:
            further.add(slide)
        seen.add(key)
    return [slide for slide in slides if slide not in further]


def _series(path: Path) -> str | None:
    import openslide

    try:
        with openslide.OpenSlide(path) as slide:
            series = slide.properties.get("dicom.SeriesInstanceUID")
    except (openslide.OpenSlideError, OSError):
        return None
    return str(series) if series else None


def slide_names(paths: Sequence[str | Path]) -> dict[Path, str]:
    """Give every slide a name of its own for the run folder.

    The file's stem; where two stems are the same (upper and lower case count as one, as on Windows
    and macOS disks), the parent folder goes before it; where that is not enough, a number after it,
    in sorted order.

    Examples
    --------
    >>> [*slide_names(["a/1.svs", "b/1.svs", "b/2.svs"]).values()]
    ['a-1', 'b-1', '2']
    """
    slides = [Path(path) for path in paths]
    names = {slide: slide.stem for slide in slides}
    counts = Counter(name.casefold() for name in names.values())
    for slide in slides:
        if counts[slide.stem.casefold()] > 1:
            names[slide] = f"{slide.absolute().parent.name}-{slide.stem}"
    counts = Counter(name.casefold() for name in names.values())
    taken = {folded for folded, count in counts.items() if count == 1}
    for slide in sorted(names):
        if counts[names[slide].casefold()] == 1:
            continue
        stem, number = names[slide], 1
        while f"{stem}-{number}".casefold() in taken:
            number += 1
        names[slide] = f"{stem}-{number}"
        taken.add(names[slide].casefold())
    return names
