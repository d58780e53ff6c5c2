"""Nuclei by classical means: many star-shaped outlines, the best of which do not overlap.

The input is the optical density in red, where haematoxylin absorbs, brown nuclei absorb as well and
eosin does not; for a membrane or cytoplasmic marker without what the DAB contributes, so that brown
can neither hide a blue nucleus nor pose as one (``herscope.stain.deconvolve``).

1. The signal is expressed in units of the slide's *contrast*, how far the density falls at the edge
   of its typical nucleus (:func:`calibrate_contrast`), and compressed above a few of them, so that
   a black nucleus does not drown the pale one beside it.
2. Centres are the maxima of a difference of Gaussians at two sizes (both steps in
   :mod:`herscope.segment.centres`).
3. Around each centre the closed outline of steepest fall is traced (:mod:`herscope.segment.rays`).
   A spindle is traced once more on rays stretched along it and takes that outline when it has more
   merit, which demands an edge without a gap.
4. An outline's *quality* rewards a fall along the whole of it (the weaker half of its edge counts,
   not the stronger) and costs rises inside. A large outline may be fainter than a small one; a
   small, dark and almost closed one, as a lymphocyte in a cluster has, may be weaker on one side.
5. Of outlines that contend for a place the best stays (:mod:`herscope.segment.selection`); choosing
   among overlapping candidates by a quality follows Arteta et al., MICCAI 2012, who learn theirs.

A nucleus depends on nothing further than ``NucleiSpec.support_um`` from its seed and every step
works in whole numbers, so a slide gives the same nuclei to the bit whatever the tiles. The page
``docs/science/nuclei.md`` has the proof, the measured accuracy and where it fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.units import Um
from herscope.segment import selection
from herscope.segment.centres import compress, find_centres
from herscope.segment.rays import (
    CONTRAST,
    RAYS,
    STEP_UM,
    Outlines,
    Polar,
    polar_tables,
    slender_tables,
    trace,
    trace_slender,
)
from herscope.segment.smoothing import TRUNCATION_SIGMAS, smooth

Labels = NDArray[np.int32]
"""(height, width): 0 is background, 1..n are objects."""

TYPICAL_CONTRAST_OD: Final = 0.06
"""Fall of the red optical density over 1 µm at a nucleus' edge where no slide has been measured."""

CONTRAST_RANGE_OD: Final = (0.02, 0.10)
"""Below it nuclei drown in the noise of an 8-bit scan; measured above it on slides whose many black
nuclei set the measure, where the limit keeps the pale blue ones from being lost."""

FAINT_CONTRAST_OD: Final = 0.03
"""Contrast of a very pale counterstain, tried where the usual one finds too few nuclei."""

COARSEST_MPP: Final = 1.25
"""A nucleus of 6 µm is five pixels wide here; ``support_um`` allows for the rounding up to this."""

_NEVER: Final = 1 << 30  # thousandths of quality that nothing makes up for
_SLENDER_BONUS: Final = 700  # thousandths; the other conditions on slender outlines are stricter
_SLENDER_YIELDS: Final = 3000  # in a contest: half a round nucleus is long as well
_SLENDER_GAPS: Final = 1  # rays that need not fall
_ROUNDING_UM: Final = 4.0  # what whole pixels add to the filters' reach, at most three and a half
_FEWEST_FOR_CALIBRATION: Final = 20
_CALIBRATION_PERCENTILE: Final = 75


class NucleiSpec(Spec):
    """Parameters of the classical nucleus segmentation.

    Examples
    --------
    >>> NucleiSpec().support_um < 60
    True
    """

    smoothing_um: Um = Field(
        default=Um(0.5), ge=0, le=2, description="Gaussian sigma of the signal that is outlined."
    )
    small_um: Um = Field(
        default=Um(1.0), gt=0.2, le=3, description="Gaussian sigma that finds small nuclei."
    )
    large_um: Um = Field(
        default=Um(2.0), gt=0.2, le=6, description="Gaussian sigma that finds large nuclei."
    )
    surround_um: Um = Field(
        default=Um(4.0), gt=1, le=10, description="Gaussian sigma of what a centre stands out from."
    )
    seed_spacing_um: Um = Field(
        default=Um(1.5), gt=0, le=5, description="Centres closer than this to a higher one join."
    )
    seed_contrast: float = Field(
        default=0.1, ge=0, le=2, description="Least rise of a centre, as a share of the contrast."
    )
    max_radius_um: Um = Field(
        default=Um(11.0), gt=3, le=25, description="No nucleus reaches further from its centre."
    )
    contest_um: Um = Field(
        default=Um(6.0), gt=0, le=15, description="Centres further apart are different nuclei."
    )
    min_quality: float = Field(
        default=1.0, description="Least quality of a nucleus of 100 µm²; higher finds fewer."
    )
    area_weight: float = Field(
        default=2.2, ge=0, description="Quality that a nucleus e times as large may lack."
    )
    min_area_um2: float = Field(default=15.0, gt=0, description="Smaller objects are dropped.")
    max_area_um2: float = Field(default=400.0, gt=0, description="Larger objects are dropped.")
    slender_contrast: float = Field(
        default=0.375,
        ge=0,
        le=4,
        description="Spindles are looked for where the signal along exceeds that across by this.",
    )
    slender_fall: float = Field(
        default=0.5,
        ge=0,
        le=4,
        description="Least fall along the faintest quarter of a spindle's edge, in contrasts.",
    )
    slender_min_area_um2: float = Field(
        default=9.0, gt=0, description="Smaller spindles are dropped."
    )
    slender_max_area_um2: float = Field(
        default=40.0, ge=0, description="Larger objects are no spindles; 0 looks for none."
    )
    contrast_od: float = Field(
        default=TYPICAL_CONTRAST_OD,
        ge=CONTRAST_RANGE_OD[0],
        le=CONTRAST_RANGE_OD[1],
        description="Fall at a nucleus' edge where the slide's own could not be measured.",
    )

    @property
    def candidate_support_um(self) -> float:
        """How far from its centre anything can matter to a candidate."""
        outline = self.max_radius_um + 2 * STEP_UM + TRUNCATION_SIGMAS * self.smoothing_um
        widest = max(self.small_um, self.large_um, self.surround_um)
        return max(outline, self.seed_spacing_um + TRUNCATION_SIGMAS * widest)

    @property
    def support_um(self) -> float:
        """How far from a nucleus' seed anything can matter to its pixels or its being there.

        A neighbour that takes a pixel has its centre within two radii, its staying is decided by a
        chain of at most ``ROUNDS`` contests, and the last candidate of it looks so far around.
        """
        neighbour = 2 * (self.max_radius_um + STEP_UM)
        chain = selection.ROUNDS * self.contest_um
        return neighbour + chain + self.candidate_support_um + _ROUNDING_UM


class Nuclei(NamedTuple):
    """Labelled nuclei; row k of ``seeds`` is the (y, x) of the centre of label k + 1.

    Each nucleus is one 4-connected piece that holds its seed; labels follow the raster order of
    the seeds.
    """

    labels: Labels
    seeds: NDArray[np.int32]


class _Found(NamedTuple):
    """Outlines good enough to be nuclei, in raster order of their centres."""

    centres: NDArray[np.int32]
    quality: NDArray[np.int64]
    outlines: Outlines
    tables: Polar
    slender: NDArray[np.bool_]


def segment_nuclei(
    signal: NDArray[np.uint16], mpp: float, spec: NucleiSpec, *, contrast_od: float | None = None
) -> Nuclei:
    """Find nuclei in a nuclear signal.

    Parameters
    ----------
    signal
        (height, width) uint16 milli-OD: ``Stains.nuclear`` of ``herscope.stain.deconvolve`` cut to
        0..4000.
    mpp
        Micrometres per pixel of the signal, at most 1.25; 0.5 is what the parameters were set at.
    spec
        Parameters.
    contrast_od
        The slide's contrast from :func:`calibrate_contrast`; one value for all tiles of a slide.
        None takes ``spec.contrast_od``.

    Returns
    -------
    Nuclei
        Nuclei whose seeds lie within ``spec.support_um`` of the border may differ from those of a
        larger image; all others are the same to the bit.

    Raises
    ------
    InputError
        When the signal is no (height, width) uint16 image, the pixels are too coarse, or the
        contrast is no positive number.

    Examples
    --------
    >>> yy, xx = np.mgrid[:64, :64]
    >>> disk = ((yy - 32) ** 2 + (xx - 32) ** 2 < 64).astype(np.uint16) * 400
    >>> segment_nuclei(disk, 0.5, NucleiSpec()).seeds.tolist()
    [[32, 32]]
    """
    _check(signal, mpp)
    contrast = spec.contrast_od if contrast_od is None else contrast_od
    if not (math.isfinite(contrast) and contrast > 0):
        raise InputError(
            f"the slide's contrast is {contrast:g} optical density",
            hint="give a positive number, or None for the Spec's own",
        )
    if signal.size == 0:
        return Nuclei(np.zeros(signal.shape, np.int32), np.zeros((0, 2), np.int32))
    found = _best_outlines(signal, mpp, spec, contrast)
    centres = found.centres
    labels, area_px = selection.draw(
        (signal.shape[0], signal.shape[1]), centres, found.quality, found.outlines, found.tables
    )
    least_um2 = np.where(found.slender, spec.slender_min_area_um2, spec.min_area_um2)
    wanted = (area_px * (mpp * mpp) >= least_um2) & (area_px > 0)
    renumber = np.zeros(len(centres) + 1, np.int32)
    renumber[1:][wanted] = np.arange(1, int(wanted.sum()) + 1, dtype=np.int32)
    return Nuclei(selection.renumbered(labels, renumber), centres[wanted])


def calibrate_contrast(
    samples: Iterable[NDArray[np.uint16]], mpp: float, spec: NucleiSpec
) -> float:
    """Measure a slide's contrast: how far the signal falls at the edge of its clearer nuclei.

    The upper quartile over the nuclei of the samples, so that debris and stroma, which are many and
    faint, do not set the measure; found once with the Spec's contrast and once more with what that
    gave. A staining half as strong has about half the contrast and the same nuclei.

    Parameters
    ----------
    samples
        Nuclear signals as for :func:`segment_nuclei`, such as ten fields of 512 px from the tissue.
    mpp, spec
        As there.

    Returns
    -------
    float
        Optical density, within :data:`CONTRAST_RANGE_OD`; ``spec.contrast_od`` when the samples
        hold fewer than 20 nuclei, even looked at as a very pale slide.

    Examples
    --------
    >>> calibrate_contrast([np.zeros((64, 64), np.uint16)], 0.5, NucleiSpec())
    0.06
    """
    fields = [field for field in samples if field.size]
    contrast = spec.contrast_od
    for _ in range(2):
        pooled = _pooled_falls(fields, mpp, spec, contrast)
        if pooled.size < _FEWEST_FOR_CALIBRATION and contrast > FAINT_CONTRAST_OD:
            # A pale slide hides most of its nuclei from the usual contrast.
            pooled = _pooled_falls(fields, mpp, spec, FAINT_CONTRAST_OD)
        if pooled.size < _FEWEST_FOR_CALIBRATION:
            return spec.contrast_od
        milli_od = int(pooled[pooled.size * _CALIBRATION_PERCENTILE // 100])
        contrast = min(max(milli_od / 1000, CONTRAST_RANGE_OD[0]), CONTRAST_RANGE_OD[1])
    return contrast


def _pooled_falls(
    fields: list[NDArray[np.uint16]], mpp: float, spec: NucleiSpec, contrast_od: float
) -> NDArray[np.int64]:
    """Falls at the edges of all nuclei of the samples, rising."""
    falls = [_falls(field, mpp, spec, contrast_od) for field in fields]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *falls]))


def _falls(
    signal: NDArray[np.uint16], mpp: float, spec: NucleiSpec, contrast_od: float
) -> NDArray[np.int64]:
    """Mean fall of the compressed signal along each outline that stays, in milli-OD when pale."""
    _check(signal, mpp)
    falls = _best_outlines(signal, mpp, spec, contrast_od, slender=False).outlines.fall
    fall = falls.astype(np.int64).sum(axis=1) // falls.shape[1]
    return np.floor(fall * (contrast_od * 1000 / CONTRAST) + 0.5).astype(np.int64)


def _check(signal: NDArray[np.uint16], mpp: float) -> None:
    if signal.ndim != 2 or signal.dtype != np.uint16:
        raise InputError(
            f"the nuclear signal is {signal.dtype} with the shape {signal.shape}",
            hint="give (height, width) uint16 milli-OD",
        )
    if not 0 < mpp <= COARSEST_MPP:
        raise InputError(
            f"{mpp:g} µm/px is too coarse to outline nuclei (at most {COARSEST_MPP:g})",
            hint="work at 0.5 µm/px, or finer",
        )


def _best_outlines(
    signal: NDArray[np.uint16],
    mpp: float,
    spec: NucleiSpec,
    contrast_od: float,
    slender: bool = True,
) -> _Found:
    found = _candidates(signal, mpp, spec, contrast_od, slender)
    contest_px = min(max(1, math.floor(spec.contest_um / mpp)), found.tables.half)
    return _keep(found, selection.best(*found[:4], contest_px))


def _keep(found: _Found, which: NDArray[np.bool_]) -> _Found:
    outlines = Outlines(*(part[which] for part in found.outlines))
    return _Found(
        found.centres[which], found.quality[which], outlines, found.tables, found.slender[which]
    )


def _candidates(
    signal: NDArray[np.uint16],
    mpp: float,
    spec: NucleiSpec,
    contrast_od: float,
    slender: bool = True,
) -> _Found:
    scaled = compress(signal, contrast_od)
    tables = polar_tables(mpp, spec.max_radius_um)
    centres = find_centres(
        scaled,
        sigmas_px=(spec.small_um / mpp, spec.large_um / mpp),
        surround_px=spec.surround_um / mpp,
        spacing_px=max(1, math.floor(spec.seed_spacing_um / mpp)),
        least=max(1, math.floor(spec.seed_contrast * CONTRAST)),
    )
    fine = smooth(scaled, spec.smoothing_um / mpp)
    outlines = trace(fine, centres, tables)
    quality, area_um2 = selection.quality_and_area(outlines, mpp)
    merit = quality - selection.required_quality(area_um2, spec.min_quality, spec.area_weight)
    merit += selection.compact_bonus(outlines, area_um2)
    merit[(area_um2 < spec.min_area_um2) | (area_um2 > spec.max_area_um2)] = -_NEVER
    found = _Found(centres, quality, outlines, tables, np.zeros(len(centres), np.bool_))
    if slender:
        _try_slender(found, merit, fine, mpp, spec)
    return _keep(found, merit >= 0)


def _try_slender(
    found: _Found,
    merit: NDArray[np.int64],
    fine: NDArray[np.uint16],
    mpp: float,
    spec: NucleiSpec,
) -> None:
    """Replace an outline by a slender one around the same centre where that has more merit."""
    least = math.floor(spec.slender_contrast * CONTRAST)
    tables = slender_tables(mpp, spec.max_radius_um)
    which, others = trace_slender(fine, found.centres, tables, found.tables.unit, least)
    quality, area_um2 = selection.quality_and_area(others, mpp)
    required = selection.required_quality(area_um2, spec.min_quality, spec.area_weight)
    better = quality - required + _SLENDER_BONUS
    ordered = np.sort(others.fall, axis=1).astype(np.int64)
    open_ends = ordered[:, _SLENDER_GAPS] * 4 <= CONTRAST
    quarter = RAYS // 4
    faint = ordered[:, :quarter].sum(axis=1) < math.floor(spec.slender_fall * CONTRAST * quarter)
    outside = (area_um2 < spec.slender_min_area_um2) | (area_um2 > spec.slender_max_area_um2)
    better[open_ends | faint | outside] = -_NEVER
    pick = better > merit[which]
    into = which[pick]
    merit[into] = better[pick]
    found.slender[into] = True
    found.quality[into] = quality[pick] - _SLENDER_YIELDS
    for mine, theirs in zip(found.outlines, others, strict=True):
        mine[into] = theirs[pick]
