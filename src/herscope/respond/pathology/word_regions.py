"""Regions of an expert that restrict the words of a slide.

They lie beside the features as ``<slide>.regions.geojson``, level-0 pixels, in QuPath's form. A
word counts when its centre lies in a region and in none to be ignored; the response paper drew its
bags from regions of tumour outlined by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError, SchemaError
from herscope.core.registry import nearest
from herscope.embed.bag import FeatureBag
from herscope.tissue.classes import region_name
from herscope.tissue.geojson import read_regions
from herscope.tissue.regions import IGNORE, REGION, TUMOR, Region

SUFFIX: Final = ".regions.geojson"
USUAL_CLASSES: Final = (TUMOR, REGION)
ANNOTATIONS: Final = (".geojson", ".json", ".geojson.gz", ".json.gz")


def regions_beside(features: Path) -> Path:
    """Where the regions of a feature file lie."""
    return features.with_name(f"{features.stem}{SUFFIX}")


def annotation_of(folder: Path, slide: Path, name: str) -> Path:
    """Find a slide's annotation in a folder, by the slide's name there or its file's.

    Raises
    ------
    InputError
        There is none.
    """
    for stem in (name, slide.stem, slide.name):
        for suffix in ANNOTATIONS:
            file = folder / f"{stem}{suffix}"
            if file.is_file():
                return file
    raise InputError(
        f"slide {name} has no annotation in {folder}",
        hint=f"add {name}.geojson, or leave this slide out; no slide is taken whole silently",
    )


def chosen_regions(path: Path, classes: Sequence[str] = USUAL_CLASSES) -> list[Region]:
    """Read annotations and keep those of some classes, and what is to be ignored.

    Raises
    ------
    InputError, SchemaError
        The file cannot be read, a class is not known, or no region has one of the classes.
    """
    wanted = []
    for said in classes:
        name = region_name(said)
        if name is None:
            raise SchemaError(
                f"there is no class of regions {said!r}",
                hint=nearest(said, ["Tumor", "Stroma", "Necrosis", "Other", "Region*"]),
            )
        wanted.append(name)
    found = read_regions(path)
    kept = [region for region in found if region.name in {*wanted, IGNORE}]
    if all(region.name == IGNORE for region in kept):
        there = ", ".join(sorted({region.name for region in found}))
        raise SchemaError(
            f"{path.name} has no region of class {' or '.join(wanted)}; it has {there}",
            hint="name the classes that count with --region-class, or outline the tumour",
        )
    return kept


def inside_regions(found: FeatureBag, regions: Sequence[Region]) -> NDArray[np.bool_]:
    """(words,) whether a word's centre lies in a region, and in none to be ignored.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> bag = make_bag("a", np.ones((2, 1)), np.array([[0, 0], [64, 0]]), tile_px=64, mpp=0.5,
    ...                encoder="e", encoder_id="e")
    >>> inside_regions(bag, [Region("Tumor", shapely.box(0, 0, 64, 64))])
    array([ True, False])
    """
    x, y = (found.xy_px + found.tile_px / 2).T
    kept, ignored = np.zeros(len(found), np.bool_), np.zeros(len(found), np.bool_)
    for region in regions:
        shapely.prepare(region.geometry)
        within = shapely.intersects_xy(region.geometry, x, y)
        if region.name == IGNORE:
            ignored |= within
        else:
            kept |= within
    return kept & ~ignored


def restricted(found: FeatureBag, path: Path) -> FeatureBag:
    """Return the words inside the regions that lie beside a feature file; all where none lie.

    Raises
    ------
    EmptyTissue
        No word lies inside; most often the annotation is of another slide or another level.
    InputError, SchemaError
        The regions cannot be read.
    """
    beside = regions_beside(path)
    if not beside.is_file():
        return found
    inside = inside_regions(found, read_regions(beside))
    if not inside.any():
        raise EmptyTissue(
            f"slide {found.slide}: none of {len(found)} words lies inside {beside.name}",
            hint="look whether the annotation is of this slide, in level-0 pixels",
        )
    note = f"{int(inside.sum()):,} of {len(found):,} words lie inside the regions of {beside.name}"
    return replace(found.take(inside), notes=(*found.notes, note))
