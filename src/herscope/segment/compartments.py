"""Compartments: which pixels are tumour, which are stroma.

They come from annotations in QuPath's GeoJSON, or there are none and all tissue is one compartment.
Annotations of class ``Tumor`` and ``Stroma`` are the compartments, every other class but three is
``other``: it counts as tissue but as neither. ``Ignore*`` takes its pixels out of everything,
``Region*`` and ``Tissue`` limit the scoring to what they enclose. Where annotations overlap the
smaller one wins (:mod:`herscope.tissue.raster`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.tissue.checks import RegionProblem, check_regions, clip_regions
from herscope.tissue.geojson import read_regions
from herscope.tissue.raster import Coded, rasterise
from herscope.tissue.regions import IGNORE, REGION, STROMA, TISSUE, TUMOR, Region

UNASSIGNED: Final = 0
TUMOR_CODE: Final = 1
STROMA_CODE: Final = 2
OTHER_CODE: Final = 3
IGNORED: Final = 4
N_CODES: Final = 5
CODE_NAMES: Final = {
    UNASSIGNED: "other",
    TUMOR_CODE: "tumor",
    STROMA_CODE: "stroma",
    OTHER_CODE: "other",
}
"""What a cell's compartment is called; tissue outside every annotation is ``other`` as well."""

MOST_CLIPPED: Final = 0.5
"""Annotations of which more lies outside belong to another slide or another scale."""

_CODES: Final = {TUMOR: TUMOR_CODE, STROMA: STROMA_CODE, IGNORE: IGNORED}


@dataclass(frozen=True, slots=True)
class Compartments:
    """Annotated compartments of one slide; without shapes all tissue is one compartment.

    Parameters
    ----------
    regions
        The annotations, clipped to the slide.
    shapes
        Geometries with their codes.
    limits
        Geometries outside which nothing is scored; empty: no limit.
    problems
        What a person should know about the annotations.
    digest
        Hexadecimal SHA-256 of the annotation file or of the network; empty without one.
    source
        Where they come from: ``annotations``, ``nests``, the name of a model, or empty.
    """

    regions: tuple[Region, ...] = ()
    shapes: tuple[Coded, ...] = ()
    limits: tuple[Coded, ...] = ()
    problems: tuple[RegionProblem, ...] = ()
    digest: str = ""
    source: str = ""

    @property
    def given(self) -> bool:
        """Whether there are compartments at all; a search that found none has given them."""
        return bool(self.shapes) or bool(self.source)

    def codes(
        self, x: int, y: int, width: int, height: int, scale_x: float, scale_y: float
    ) -> NDArray[np.uint8]:
        """Compartment of each pixel of a rectangle; arguments as :func:`rasterise`."""
        out = rasterise(self.shapes, x, y, width, height, scale_x, scale_y)
        if self.limits:
            inside = rasterise(self.limits, x, y, width, height, scale_x, scale_y)
            out[inside == 0] = IGNORED
        return out


def read_compartments(path: Path, width_px: int, height_px: int) -> Compartments:
    """Read annotations and check them against the slide.

    Parameters
    ----------
    path
        QuPath GeoJSON, ``.geojson``, ``.json`` or gzipped.
    width_px, height_px
        Size of the slide's level 0.

    Raises
    ------
    InputError
        When the file cannot be read, holds no known class, or a region lies outside the slide.
    """
    found = read_regions(path)
    problems = check_regions(found, width_px, height_px)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise InputError(
            f"{path.name}: {errors[0].message}",
            hint="is it the annotation of this slide, exported at full resolution?",
        )
    lost = sum(problem.area_px2 for problem in problems if problem.code == "clipped")
    drawn = sum(region.area for region in found)
    if lost > MOST_CLIPPED * drawn:
        raise InputError(
            f"{path.name}: {lost / drawn:.0%} of the annotated area lies outside the slide "
            f"(at most {MOST_CLIPPED:.0%})",
            hint="is it the annotation of this slide, exported at full resolution?",
        )
    notes = [RegionProblem("repaired", "note", note, 0.0, ()) for note in found.notes]
    return from_regions(
        clip_regions(found, width_px, height_px),
        problems=[*problems, *notes],
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        source="annotations",
    )


def from_regions(
    regions: Iterable[Region],
    *,
    problems: Iterable[RegionProblem] = (),
    digest: str = "",
    source: str = "",
) -> Compartments:
    """Sort regions into compartments and limits."""
    kept = tuple(regions)
    limiting = {REGION, TISSUE}
    return Compartments(
        regions=kept,
        shapes=tuple(
            (region.geometry, _CODES.get(region.name, OTHER_CODE))
            for region in kept
            if region.name not in limiting
        ),
        limits=tuple((region.geometry, 1) for region in kept if region.name in limiting),
        problems=tuple(problems),
        digest=digest,
        source=source,
    )
