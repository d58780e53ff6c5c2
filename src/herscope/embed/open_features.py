"""Read features whoever made them, and find those of a cohort in a folder.

A file is known by its content: ours (AnnData), TRIDENT's, CLAM's or STAMP's. Folders hold one file
a slide, named as the slide; folders one level down are looked into when the folder itself holds no
features (``features_uni_v1`` of TRIDENT, ``h5_files`` of CLAM). Where two of them hold features of
different encoders, one has to be named: a cohort is never mixed in silence.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from herscope.core.errors import HerscopeError, InputError, NotComputed, SchemaError
from herscope.embed.bag import FeatureBag
from herscope.embed.feature_file import read_features
from herscope.embed.foreign_files import is_torch, layout_of, read_foreign
from herscope.embed.hdf5_reading import opened_hdf5

SUFFIXES: Final = (".h5ad", ".h5", ".hdf5", ".pt")
"""In order of preference where one slide has several in one folder."""
CLAM_TENSORS, CLAM_FILES = "pt_files", "h5_files"


def read_any(
    path: str | Path, *, mpp: float | None = None, tile_px: float | None = None
) -> FeatureBag:
    """Read a feature file of ours, TRIDENT, CLAM or STAMP.

    Parameters
    ----------
    path
        The file.
    mpp
        µm per level-0 pixel, for files that do not state it; ours do.
    tile_px
        Edge of a tile in level-0 pixels, for files that do not state it.

    Returns
    -------
    FeatureBag
        ``notes`` say what is not known.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        Damaged, cut off, of no known layout, or with values that are no numbers.
    InputError
        No tiles, or something that was stated contradicts the file.

    Examples
    --------
    >>> read_any("absent.h5")
    Traceback (most recent call last):
    herscope.core.errors.NotComputed: feature file absent.h5 does not exist
    """
    path = Path(path)
    if is_torch(path) or _layout(path) != "herscope":
        return _named(read_foreign(path, mpp=mpp, tile_px=tile_px), path)
    bag = _named(read_features(path), path)
    for what, unit, told, said, slack in (
        ("a resolution", "µm/px", bag.mpp, mpp, 1e-3),
        ("tiles", "px", bag.tile_px, tile_px, 0.5),
    ):
        if told is not None and said is not None and abs(told - said) > slack:
            raise InputError(
                f"{path.name} says {what} of {told:g} {unit}, you said {said:g}",
                hint="leave the option out; the file's own value is taken",
            )
    return bag


def _named(bag: FeatureBag, path: Path) -> FeatureBag:
    """Call a slide as its file is called, for labels and folders go by that name."""
    if bag.slide == path.stem:
        return bag
    note = f"the file {path.name} was written of slide {bag.slide}"
    return replace(bag, slide=path.stem, notes=(*bag.notes, note))


def find_features(folder: str | Path) -> dict[str, Path]:
    """Return the feature files of a folder by slide.

    Parameters
    ----------
    folder
        Holds feature files, or folders that do; a single file will do as well.

    Returns
    -------
    dict
        Slide (the file's stem) to path, by slide. Damaged files are among them, so that reading
        them tells; places without features and anything hidden are not.

    Raises
    ------
    NotComputed
        There is no such folder, or no features in it.
    InputError
        Folders in it hold features of different encoders, or one slide twice.
    """
    root = Path(folder)
    if root.is_file():
        return {root.stem: root}
    if not root.is_dir():
        raise NotComputed(
            f"feature folder {root} does not exist",
            hint="herscope embed SLIDE... --out DIR makes one",
        )
    here = _features_in(root)
    if here:
        return here
    below = {
        each.name: found
        for each in sorted(root.iterdir())
        if each.is_dir() and not each.name.startswith(".") and (found := _features_in(each))
    }
    if CLAM_FILES in below:
        below.pop(CLAM_TENSORS, None)  # the same features, without places
    if not below:
        raise NotComputed(
            f"{root} holds no features ({', '.join(SUFFIXES)}), nor does a folder in it",
            hint="herscope embed SLIDE... --out DIR makes them; TRIDENT's lie in "
            "<magnification>_.../features_<encoder>",
        )
    _check_alike(root, below)
    return dict(sorted((slide, path) for found in below.values() for slide, path in found.items()))


def _features_in(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(folder.glob(f"*{suffix}")):
            known = path.stem in found or path.name.startswith(".") or not path.is_file()
            if not known and _may_hold_features(path):
                found[path.stem] = path
    return dict(sorted(found.items()))


def _may_hold_features(path: Path) -> bool:
    """Whether to read it: yes if it has a known layout, or cannot even be opened."""
    if is_torch(path):
        return True
    try:
        return _layout(path) is not None
    except SchemaError:
        return True


def _layout(path: Path) -> str | None:
    with opened_hdf5(path) as file:
        return layout_of(file)


def _check_alike(root: Path, below: dict[str, dict[str, Path]]) -> None:
    """Refuse folders that hold features of different encoders, or a slide in two of them."""
    if len(below) == 1:
        return
    told = {name: _kind(next(iter(found.values()))) for name, found in below.items()}
    listed = ", ".join(f"{name} ({kind})" for name, kind in told.items())
    if len(set(told.values())) > 1:
        raise InputError(
            f"{root} holds features of {len(set(told.values()))} encoders: {listed}",
            hint=f"name one, such as {root / next(iter(told))}",
        )
    first: dict[str, str] = {}
    for name, found in below.items():
        for slide in found:
            if slide in first:
                raise InputError(
                    f"slide {slide} has features in {first[slide]} and in {name} of {root}",
                    hint=f"name one folder, such as {root / name}",
                )
            first[slide] = name


def _kind(path: Path) -> str:
    try:
        return read_any(path).encoder_id
    except HerscopeError:
        return "cannot be read"
