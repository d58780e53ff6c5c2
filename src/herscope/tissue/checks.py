"""Whether regions fit the slide they are for, and each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import shapely
from shapely.geometry import MultiPolygon, Polygon

from herscope.core.errors import InputError
from herscope.tissue.regions import IGNORE, NECROSIS, OTHER, STROMA, TUMOR, Region

EXCLUSIVE: Final = (TUMOR, STROMA, NECROSIS, OTHER, IGNORE)
"""Classes of which a pixel has one; ``Tissue`` and ``Region`` are frames around the others."""

MIN_OVERLAP: Final = 0.001
"""Share of the smaller class's area below which an overlap is the width of a hand-drawn line."""


@dataclass(frozen=True, slots=True)
class RegionProblem:
    """Something about the regions that a person should know.

    Parameters
    ----------
    code
        ``outside``, ``clipped`` or ``overlap``.
    severity
        ``error`` (must not be scored), ``warning`` or ``note``.
    message
        For people, with the figures.
    area_px2
        The area in question in square level-0 pixels.
    names
        The classes concerned.
    """

    code: str
    severity: str
    message: str
    area_px2: float
    names: tuple[str, ...]


def check_regions(regions: Sequence[Region], width_px: int, height_px: int) -> list[RegionProblem]:
    """Compare regions with the slide and with each other.

    Parameters
    ----------
    regions
        Regions in level-0 pixels.
    width_px, height_px
        Size of level 0.

    Returns
    -------
    problems
        Errors first. A region entirely outside the slide is an error (the annotation belongs to
        another slide, or is in another scale); one partly outside is clipped by scoring; classes
        that overlap are a warning with the area, because the smaller region wins there.

    Raises
    ------
    InputError
        The slide has no size.

    Examples
    --------
    >>> [p.code for p in check_regions([Region("Tumor", shapely.box(90, 0, 110, 10))], 100, 50)]
    ['clipped']
    """
    slide = _slide_box(width_px, height_px)
    problems: list[RegionProblem] = []
    for number, region in enumerate(regions, start=1):
        if slide.covers(region.geometry):
            continue
        inside = float(shapely.intersection(region.geometry, slide).area)
        x0, y0, x1, y1 = region.geometry.bounds
        place = f"x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}"
        size = f"the slide has {width_px} x {height_px} px"
        if inside == 0:
            problems.append(
                RegionProblem(
                    "outside",
                    "error",
                    f"region {number} ({region.name}) lies outside the slide: {place}; {size}",
                    region.area,
                    (region.name,),
                )
            )
        else:
            lost = region.area - inside
            problems.append(
                RegionProblem(
                    "clipped",
                    "note",
                    f"region {number} ({region.name}) is clipped to the slide: {place}; {size}; "
                    f"{lost:.0f} px² lost ({100 * lost / region.area:.1f} %)",
                    lost,
                    (region.name,),
                )
            )
    problems += _overlaps(regions)
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(problems, key=lambda problem: rank[problem.severity])


def clip_regions(regions: Sequence[Region], width_px: int, height_px: int) -> list[Region]:
    """Regions within the slide; those entirely outside are left out.

    Examples
    --------
    >>> clip_regions([Region("Tumor", shapely.box(90, 0, 110, 10))], 100, 50)[0].area
    100.0
    """
    slide = _slide_box(width_px, height_px)
    kept = []
    for region in regions:
        if slide.covers(region.geometry):
            kept.append(region)
            continue
        parts = [
            part
            for part in shapely.get_parts(shapely.intersection(region.geometry, slide))
            if isinstance(part, Polygon) and part.area > 0
        ]
        if parts:
            kept.append(Region(region.name, parts[0] if len(parts) == 1 else MultiPolygon(parts)))
    return kept


def _slide_box(width_px: int, height_px: int) -> Polygon:
    if width_px < 1 or height_px < 1:
        raise InputError(
            f"a slide of {width_px} x {height_px} px has no area", hint="pass the size of level 0"
        )
    return shapely.box(0, 0, width_px, height_px)


def _overlaps(regions: Sequence[Region]) -> list[RegionProblem]:
    names = [name for name in EXCLUSIVE if any(region.name == name for region in regions)]
    whole = {
        name: shapely.union_all([r.geometry for r in regions if r.name == name]) for name in names
    }
    problems = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = float(shapely.intersection(whole[first], whole[second]).area)
            smaller = min(whole[first].area, whole[second].area)
            if shared > MIN_OVERLAP * smaller:
                problems.append(
                    RegionProblem(
                        "overlap",
                        "warning",
                        f"{first} and {second} overlap by {shared:.0f} px² "
                        f"({100 * shared / smaller:.1f} % of the smaller); there the smaller "
                        "region wins",
                        shared,
                        (first, second),
                    )
                )
    return problems
