"""Cells found by their rim: pale interiors that a strong membrane stain encloses.

Where DAB is thick the haematoxylin under it cannot be told from it and nuclei are nearly white, yet
every cell is plain to see: a light hole in a brown net. Three steps, in whole numbers throughout:

1. Candidates are star-shaped outlines as of nuclei (:mod:`herscope.segment.rays`), traced on the
   light: how far the DAB stays below ``darkest_od``.
2. A candidate is an interior when on most rays a rim follows that is dark in itself and much darker
   than the inside, and hardly any ray has to pass another rim before. Of those that contend for a
   place the best stays (:mod:`herscope.segment.selection`); choosing among overlapping candidates
   follows Arteta et al. (MICCAI 2012), who learn their quality.
3. Interiors and nuclei settle whose cell it is (:mod:`herscope.segment.claims`).

Nothing is looked for where no DAB is as dark as a rim, so other slides keep their nuclei to the
bit. ``docs/science/interiors.md`` has the proof of locality, what was measured, and where it fails.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.units import Um
from herscope.segment import claims, selection
from herscope.segment.centres import find_centres
from herscope.segment.nuclei import COARSEST_MPP, Labels, Nuclei, NucleiSpec
from herscope.segment.rays import CONTRAST, RAYS, STEP_UM, Outlines, Polar, polar_tables, trace
from herscope.segment.rims import assess, surrounded
from herscope.segment.smoothing import TRUNCATION_SIGMAS, kernel_radius_px, smooth
from herscope.stain.deconvolve import MilliOd

_FALL_LIMIT: Final = 2 * CONTRAST  # a blacker rim makes no better a cell
_RISE_LIMIT: Final = 4 * CONTRAST
_AREA_WEIGHT: Final = 0.5  # quality that a candidate e times as large gains: wholes over parts
_BLOCK_PX: Final = 64
_ROUNDING_UM: Final = 5.0  # what whole pixels add to the steps' reach


class InteriorSpec(Spec):
    """Parameters of the search for cells by their rim.

    Examples
    --------
    >>> InteriorSpec().support_um < 80
    True
    """

    rim_od: float = Field(
        default=0.4, gt=0.05, le=2, description="Least DAB of a rim; where none is, none is sought."
    )
    depth_od: float = Field(
        default=0.25, gt=0.02, le=2, description="How far the rim's DAB exceeds the inside's."
    )
    darkest_od: float = Field(
        default=2.0, gt=0.1, le=4, description="Darker DAB counts as this: no light is left in it."
    )
    closed_share: float = Field(
        default=0.75, gt=0, le=1, description="Least share of the rays that meet such a rim."
    )
    through_share: float = Field(
        default=0.07,
        ge=0,
        le=1,
        description="Most rays that may meet none on either side: a slit is open at both ends.",
    )
    crossing_share: float = Field(
        default=0.16,
        ge=0,
        le=1,
        description="Most rays that may pass a dark place on the way: beyond it lies another cell.",
    )
    rim_um: Um = Field(
        default=Um(2.0), ge=0.5, le=5, description="How far beyond the outline the rim is sought."
    )
    glass_od: float = Field(
        default=0.03, ge=-1, lt=1, description="An inside with less DAB is glass or stroma."
    )
    smoothing_um: Um = Field(
        default=Um(0.5), ge=0, le=2, description="Gaussian sigma of the DAB that is outlined."
    )
    small_um: Um = Field(
        default=Um(1.0), gt=0.2, le=4, description="Gaussian sigma that finds small interiors."
    )
    large_um: Um = Field(
        default=Um(3.0), gt=0.2, le=8, description="Gaussian sigma that finds large interiors."
    )
    surround_um: Um = Field(
        default=Um(6.0), gt=1, le=15, description="Gaussian sigma of what a centre stands out from."
    )
    seed_spacing_um: Um = Field(
        default=Um(1.5), gt=0, le=5, description="Centres closer than this to a lighter one join."
    )
    seed_od: float = Field(
        default=0.04, gt=0, le=1, description="How much lighter than its surroundings a centre is."
    )
    max_radius_um: Um = Field(
        default=Um(11.0), gt=3, le=20, description="No interior reaches further from its centre."
    )
    contest_um: Um = Field(
        default=Um(9.0), gt=0, le=15, description="Centres further apart are different cells."
    )
    min_area_um2: float = Field(default=9.0, gt=0, description="Smaller interiors are dropped.")
    max_area_um2: float = Field(default=320.0, gt=0, description="Larger ones are lumina.")
    rim_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A nucleus is a piece of rim when this share of its pixels is as dark as one.",
    )

    @property
    def support_um(self) -> float:
        """How far from its seed DAB can matter to whether an interior is found, before nuclei."""
        outline = self.max_radius_um + self.rim_um + 2 * STEP_UM
        outline += TRUNCATION_SIGMAS * self.smoothing_um
        widest = max(self.small_um, self.large_um, self.surround_um)
        centre = self.seed_spacing_um + TRUNCATION_SIGMAS * widest
        return max(outline, centre) + selection.ROUNDS * self.contest_um + _ROUNDING_UM

    def cell_support_um(self, nuclei: NucleiSpec) -> float:
        """How far from a cell's seed anything can matter to its pixels or its being there.

        An interior's fate depends on the nuclei it meets, theirs on the interiors that they meet.
        """
        meet = self.max_radius_um + nuclei.max_radius_um + 2 * STEP_UM
        return meet + max(meet + claims.TOUCH_UM + self.support_um, nuclei.support_um)


class Interiors(NamedTuple):
    """All cells: nuclei that stayed and interiors, in raster order of their seeds.

    ``labels`` (height, width) int32 and ``seeds`` (n, 2) y, x are as of
    :class:`~herscope.segment.nuclei.Nuclei`; ``by_rim`` (n,) is True for interiors.
    """

    labels: Labels
    seeds: NDArray[np.int32]
    by_rim: NDArray[np.bool_]


class _Found(NamedTuple):
    """Candidates in raster order of their centres."""

    centres: NDArray[np.int32]
    quality: NDArray[np.int64]
    outlines: Outlines
    tables: Polar


def find_interiors(dab: MilliOd, nuclei: Nuclei, mpp: float, spec: InteriorSpec) -> Interiors:
    """Find the cells that only their rim shows, and settle them with the nuclei.

    Parameters
    ----------
    dab
        (height, width) int16 milli-OD, ``Stains.dab`` of :mod:`herscope.stain.deconvolve`.
    nuclei
        What :func:`~herscope.segment.nuclei.segment_nuclei` found in the same image.
    mpp
        Micrometres per pixel, at most 1.25; rims are resolved down to about 0.6.
    spec
        Parameters.

    Returns
    -------
    Interiors
        Cells whose seeds lie within ``spec.cell_support_um`` of the border may differ from those of
        a larger image; all others are the same to the bit. Each is one 4-connected piece.

    Raises
    ------
    InputError
        When the image is no (height, width) int16 or not the nuclei's, or the pixels too coarse.

    Examples
    --------
    >>> yy, xx = np.mgrid[:80, :80]
    >>> ring = abs(np.hypot(yy - 40, xx - 40) - 12) < 2
    >>> none = Nuclei(np.zeros((80, 80), np.int32), np.zeros((0, 2), np.int32))
    >>> dab = np.where(ring, 900, 100).astype(np.int16)
    >>> found = find_interiors(dab, none, 0.5, InteriorSpec())
    >>> found.by_rim.tolist(), int(found.labels[40, 40])
    ([True], 1)
    """
    _check(dab, nuclei, mpp)
    unchanged = Interiors(nuclei.labels, nuclei.seeds, np.zeros(len(nuclei.seeds), np.bool_))
    rim_milli = math.floor(spec.rim_od * 1000)
    if dab.size == 0 or int(dab.max()) < rim_milli:
        return unchanged
    darkest = max(math.floor(spec.darkest_od * 1000), rim_milli)
    light = (darkest - np.clip(dab, 0, darkest)).astype(np.uint16)
    fine = smooth(light, spec.smoothing_um / mpp)
    dark = fine <= darkest - rim_milli
    if not dark.any():
        return unchanged
    found = _interiors(light, fine, _near_rims(dark, spec, mpp), darkest, mpp, spec)
    if len(found.centres) == 0:
        return unchanged
    interiors, _ = selection.draw(
        (dab.shape[0], dab.shape[1]), found.centres, found.quality, found.outlines, found.tables
    )
    stays, kept = claims.decide(
        nuclei, found.centres, found.outlines, found.tables, dark, mpp, spec.rim_share
    )
    claims.take_out(interiors, kept, nuclei.labels, stays)
    area_px = selection.keep_connected(interiors, found.centres, found.tables.half)
    kept &= (area_px > 0) & (area_px * (mpp * mpp) >= spec.min_area_um2)
    return Interiors(*claims.merged(nuclei, stays, interiors, found.centres, kept))


def _check(dab: MilliOd, nuclei: Nuclei, mpp: float) -> None:
    if dab.ndim != 2 or dab.dtype != np.int16:
        raise InputError(
            f"the DAB image is {dab.dtype} with the shape {dab.shape}",
            hint="give (height, width) int16 milli-OD",
        )
    if nuclei.labels.shape != dab.shape:
        raise InputError(
            f"the nuclei are of an image of {nuclei.labels.shape}, the DAB of {dab.shape} pixels",
            hint="give both of the same image",
        )
    if not 0 < mpp <= COARSEST_MPP:
        raise InputError(
            f"{mpp:g} µm/px is too coarse to see rims (at most {COARSEST_MPP:g})",
            hint="work at 0.5 µm/px, or finer",
        )


def _near_rims(
    dark: NDArray[np.bool_], spec: InteriorSpec, mpp: float
) -> list[tuple[slice, slice]]:
    """Rectangles outside which no centre can have a rim, so that bare tissue costs nothing."""
    height, width = dark.shape
    rows = np.arange(0, height, _BLOCK_PX)
    columns = np.arange(0, width, _BLOCK_PX)
    busy = np.logical_or.reduceat(np.logical_or.reduceat(dark, rows, axis=0), columns, axis=1)
    reach = math.ceil((spec.max_radius_um + spec.rim_um + 2 * STEP_UM) / mpp / _BLOCK_PX)
    near = np.zeros(len(rows) + 2, np.bool_)
    for i in np.flatnonzero(busy.any(axis=1)).tolist():
        near[max(i - reach, 0) + 1 : i + reach + 2] = True
    near[-1] = False
    turns = np.flatnonzero(near[1:] != near[:-1])
    areas = []
    for k in range(0, len(turns), 2):
        start, stop = int(turns[k]), int(turns[k + 1])
        across = np.flatnonzero(busy[start:stop].any(axis=0))
        left, right = max(int(across[0]) - reach, 0), int(across[-1]) + reach + 1
        areas.append(
            (
                slice(start * _BLOCK_PX, min(stop * _BLOCK_PX, height)),
                slice(left * _BLOCK_PX, min(right * _BLOCK_PX, width)),
            )
        )
    return areas


def _centres(
    light: NDArray[np.uint16], areas: list[tuple[slice, slice]], mpp: float, spec: InteriorSpec
) -> NDArray[np.int32]:
    """Light places within the areas, in raster order: the same as in the whole image."""
    sigmas = (spec.small_um / mpp, spec.large_um / mpp)
    spacing = max(1, math.floor(spec.seed_spacing_um / mpp))
    margin = spacing + 1 + max(kernel_radius_px(s) for s in (*sigmas, spec.surround_um / mpp))
    found = [np.zeros((0, 2), np.int32)]
    for rows, columns in areas:
        y0, x0 = max(rows.start - margin, 0), max(columns.start - margin, 0)
        centres = find_centres(
            np.ascontiguousarray(light[y0 : rows.stop + margin, x0 : columns.stop + margin]),
            sigmas_px=sigmas,
            surround_px=spec.surround_um / mpp,
            spacing_px=spacing,
            least=max(1, math.floor(spec.seed_od * 1000)),
        )
        centres += np.array([y0, x0], np.int32)
        y, x = centres[:, 0], centres[:, 1]
        inside = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
        found.append(centres[inside])
    return np.concatenate(found)


def _interiors(
    light: NDArray[np.uint16],
    fine: NDArray[np.uint16],
    areas: list[tuple[slice, slice]],
    darkest: int,
    mpp: float,
    spec: InteriorSpec,
) -> _Found:
    centres = _centres(light, areas, mpp, spec)
    looks = polar_tables(mpp, spec.max_radius_um + spec.rim_um)
    rim_light = darkest - math.floor(spec.rim_od * 1000)
    least = math.ceil(spec.closed_share * RAYS)
    centres = centres[surrounded(fine, centres, looks.dy, looks.dx, rim_light, least)]
    tables = polar_tables(mpp, spec.max_radius_um)
    outlines = trace(fine, centres, tables)
    capped = Outlines(
        outlines.radius,
        np.minimum(outlines.fall, _FALL_LIMIT),
        np.minimum(outlines.rise, _RISE_LIMIT),
    )
    quality, area_um2 = selection.quality_and_area(capped, mpp)
    quality -= selection.required_quality(area_um2, 0.0, _AREA_WEIGHT)
    inside, closed, through, beyond = assess(
        fine,
        centres,
        outlines.radius,
        looks.dy,
        looks.dx,
        tables.unit,
        max(1, math.floor(spec.rim_um / STEP_UM)),
        rim_light,
        math.floor(spec.depth_od * 1000),
    )
    wanted = closed >= least
    wanted &= through <= math.floor(spec.through_share * RAYS)
    wanted &= beyond <= math.floor(spec.crossing_share * RAYS)
    wanted &= inside <= darkest - math.floor(spec.glass_od * 1000)
    wanted &= area_um2 >= spec.min_area_um2
    wanted &= area_um2 <= spec.max_area_um2
    found = _keep(_Found(centres, quality, outlines, tables), wanted)
    contest_px = min(max(1, math.floor(spec.contest_um / mpp)), tables.half)
    return _keep(found, selection.best(*found, contest_px))


def _keep(found: _Found, which: NDArray[np.bool_]) -> _Found:
    outlines = Outlines(*(part[which] for part in found.outlines))
    return _Found(found.centres[which], found.quality[which], outlines, found.tables)
