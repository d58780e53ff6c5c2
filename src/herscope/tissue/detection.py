"""Where the tissue is, on an overview of the slide.

Tissue is what absorbs more light than the glass of the same picture, or what is rougher than that
glass can be; both thresholds are in optical density (OD), so pale blue counterstain without any
brown is found as surely as dark DAB. What absorbs and is not tissue (black border, ink, dust) is
named and taken out. A field of view without any glass is all tissue; a picture of nothing but
glass has none.

Departures from the usual: no Otsu threshold on saturation or grey value (it splits every picture
in two, also one that is all tissue or all glass, and it loses pale blue sections), and no learned
model (none is licensed for every use). The glass is fitted first, see :mod:`herscope.tissue.glass`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.units import Mpp
from herscope.tissue.artefacts import (
    black_border,
    components,
    disk,
    dust,
    grow,
    keep_labels,
    pen_ink,
)
from herscope.tissue.glass import Glass, Mask, box_sum, find_glass, local_texture, milli_od

FIELD_OF_VIEW_UM2 = 1_000_000.0
"""Pictures up to this size were framed by a person who chose tissue."""
DARK_FIELD = 0.5
"""Share of black or ink without any glass beyond which the picture is a dark field. It is returned
as tissue, so that :func:`herscope.stain.estimate.looks_like` can say what it is."""


class TissueSpec(Spec):
    """Parameters of tissue detection.

    Examples
    --------
    >>> TissueSpec().overview_mpp
    8.0
    """

    overview_mpp: float = Field(
        default=8.0,
        gt=0,
        le=100,
        description="resolution of the overview the mask is made on, µm/px",
    )
    min_od: float = Field(
        default=0.016,
        gt=0,
        lt=1,
        description="OD above glass (largest channel, smoothed) that is tissue",
    )
    seed_od: float = Field(
        default=0.035, gt=0, lt=1, description="OD above glass that an object must reach somewhere"
    )
    texture_od: float = Field(
        default=0.012,
        gt=0,
        lt=1,
        description="local standard deviation of OD that glass never shows",
    )
    texture_um: float = Field(
        default=24.0, gt=0, description="side of the texture window, µm (3 to 7 pixels)"
    )
    glass_max_od: float = Field(
        default=0.09,
        gt=0,
        lt=1,
        description="darkest glass: mean OD plus half the spread of channels",
    )
    glass_tolerance_od: float = Field(
        default=0.016, gt=0, lt=1, description="how far glass may lie from the fitted white"
    )
    glass_min_fraction: float = Field(
        default=0.003, ge=0, lt=1, description="share of the picture below which there is no glass"
    )
    closing_um: float = Field(
        default=8.0,
        ge=0,
        description="gaps up to twice this are closed, µm",
    )
    min_area_um2: float = Field(
        default=15_000.0,
        ge=0,
        description="smaller pieces are dropped, µm² (at most 0.5 % of the picture)",
    )
    hole_area_um2: float = Field(
        default=1_500.0,
        ge=0,
        description="smaller holes are tissue, µm²; larger ones lumen or fat "
        "(at most 2 % of the picture)",
    )
    pen_min_area_um2: float = Field(
        default=20_000.0,
        ge=0,
        description="smallest pen stroke, µm²",
    )
    dust_reach_um: float = Field(
        default=64.0, ge=0, description="grey further than this from anything coloured is dust, µm"
    )
    dust_max_width_um: float = Field(
        default=400.0, gt=0, description="grey objects wider than this somewhere are tissue, µm"
    )
    background_margin_um: float = Field(
        default=48.0,
        ge=0,
        description="distance the white point keeps from tissue and artefacts, µm",
    )


@dataclass(frozen=True, slots=True)
class TissueMap:
    """Tissue, glass and artefacts of one overview.

    Parameters
    ----------
    mask
        (h, w) bool: tissue.
    background
        (h, w) bool: clean glass, away from everything, fit for the white point; may be empty.
    artefacts
        ``pen``, ``black_border`` and ``dust``, each (h, w) bool.
    mpp
        Micrometres per pixel of these masks.
    """

    mask: Mask
    background: Mask
    artefacts: Mapping[str, Mask]
    mpp: float

    @property
    def area_mm2(self) -> float:
        """Tissue area in square millimetres."""
        return float(int(self.mask.sum())) * self.mpp**2 * 1e-6


def detect_tissue(rgb: NDArray[np.uint8], mpp: float, spec: TissueSpec | None = None) -> TissueMap:
    """Find tissue, glass and artefacts.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8 overview.
    mpp
        Its resolution in µm/px. Works from about 0.25 to 32 µm/px; lengths scale.
    spec
        Parameters; the default serves H&E and IHC.

    Returns
    -------
    TissueMap

    Raises
    ------
    InputError
        ``rgb`` is no uint8 colour picture, is empty, or ``mpp`` is not a resolution.

    Examples
    --------
    >>> picture = np.full((64, 64, 3), 242, np.uint8)
    >>> picture[16:48, 16:48] = (190, 195, 215)
    >>> found = detect_tissue(picture, 8.0)
    >>> bool(found.mask[32, 32]), bool(found.mask[4, 4])
    (True, False)
    """
    spec = spec or TissueSpec()
    mpp = float(Mpp(mpp))
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise InputError(
            f"an overview must be (height, width, 3) uint8, not {rgb.shape} {rgb.dtype}",
            hint="convert to 8-bit RGB first; herscope.slide does so for every reader",
        )
    rgb = np.ascontiguousarray(rgb)
    border = black_border(rgb)
    od = milli_od(rgb)
    texture = local_texture((od[0] + od[1] + od[2]) // 3, _odd(spec.texture_um / mpp, 3, 7))
    pen = pen_ink(od, texture, mpp=mpp, min_area_um2=spec.pen_min_area_um2) & ~border
    glass = find_glass(
        od,
        usable=~(border | pen),
        texture=texture,
        max_milli_od=_milli(spec.glass_max_od),
        flat_milli_od=_milli(spec.texture_od) // 2,
        tolerance_milli_od=_milli(spec.glass_tolerance_od),
        min_fraction=spec.glass_min_fraction,
    )
    if not glass.found and float((border | pen).mean()) > DARK_FIELD:
        # no border is this large and none surrounds nothing: a dark field, such as fluorescence
        border, pen = np.zeros_like(border), np.zeros_like(pen)
    candidate = _absorbing(glass, spec, mpp) & ~(border | pen)
    # in a single field of view dirt cannot be told from pale grey tissue: there is too little of it
    whole_slide = rgb.shape[0] * rgb.shape[1] * mpp * mpp > FIELD_OF_VIEW_UM2
    specks = (
        dust(
            candidate,
            glass.milli_od,
            mpp=mpp,
            reach_um=spec.dust_reach_um,
            max_width_um=spec.dust_max_width_um,
        )
        if whole_slide
        else np.zeros_like(candidate)
    )
    excluded = border | pen | specks
    mask = _shape(candidate & ~specks, spec, mpp) & ~excluded
    return TissueMap(
        mask=mask,
        background=_background(glass, candidate | excluded, mask, spec, mpp),
        artefacts=MappingProxyType({"pen": pen, "black_border": border, "dust": specks}),
        mpp=mpp,
    )


def _milli(od: float) -> int:
    return round(1000 * od)


def _odd(pixels: float, low: int, high: int) -> int:
    return min(high, max(low, 2 * round((pixels - 1) / 2) + 1))


def _absorbing(glass: Glass, spec: TissueSpec, mpp: float) -> Mask:
    """Everything darker or rougher than the glass, in objects that are clearly so somewhere."""
    window = _odd(12.0 / mpp, 3, 9)
    n = window * window
    # the largest channel: pale haematoxylin absorbs red alone, and a mean would dilute it
    channels = list(glass.milli_od)
    strength = np.maximum.reduce([box_sum(channel, window) for channel in channels])
    least = max(_milli(spec.min_od), 2 * glass.noise)
    rough = glass.texture > max(_milli(spec.texture_od), 4 * glass.noise)
    dark = strength > least * n
    # the pixel itself must absorb too, or every edge would grow by half a window into the glass
    own = 2 * np.maximum.reduce(channels) > least
    weak = own & (dark | (rough & (2 * strength > least * n)))
    seed = strength > max(_milli(spec.seed_od), 4 * glass.noise) * n
    labels, stats = components(weak)
    reached = np.zeros(len(stats), bool)
    reached[labels[seed]] = True
    return keep_labels(labels, reached)


def _shape(candidate: Mask, spec: TissueSpec, mpp: float) -> Mask:
    """Close small gaps, fill small holes, drop small pieces."""
    radius = min(12, round(spec.closing_um / mpp))
    closed = candidate
    if radius > 0 and candidate.any():
        closed = np.asarray(
            cv2.morphologyEx(
                candidate.view(np.uint8),
                cv2.MORPH_CLOSE,
                disk(radius),
                borderType=cv2.BORDER_REPLICATE,
            )
        ).view(np.bool_)
    pixel_um2 = mpp * mpp
    holes, stats = components(~closed)
    largest = min(spec.hole_area_um2, 0.02 * candidate.size * pixel_um2)
    closed = closed | keep_labels(holes, stats[:, 4] * pixel_um2 < largest)
    least = min(spec.min_area_um2, 0.005 * candidate.size * pixel_um2)
    pieces, stats = components(closed)
    return keep_labels(pieces, stats[:, 4] * pixel_um2 >= least)


def _background(glass: Glass, occupied: Mask, tissue: Mask, spec: TissueSpec, mpp: float) -> Mask:
    """Glass away from everything; in a crowded field with less margin, then inside lumina too."""
    clean = glass.mask & glass.flat
    enough = max(150, round(0.002 * clean.size))
    margin_px = spec.background_margin_um / mpp
    for around, divisor in ((occupied | tissue, 1), (occupied | tissue, 3), (occupied, 6)):
        radius = min(24, max(1, round(margin_px / divisor)))
        background = clean & ~grow(around, radius)
        if int(background.sum()) >= enough:
            return background
    return clean & ~grow(occupied, 1)
