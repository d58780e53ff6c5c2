"""The membrane of every cell: where it runs and how brown it is, by direction.

Where the membrane runs is found in :mod:`herscope.measure.membrane_line`. A sector's density is the
darkest DAB within half a µm of that line, the mean of the sector's two rays and of one on either
side, less the brown of the cytoplasm: the greatest of three medians, of what lies between nucleus
and line, close around the next nucleus, and between line and next nucleus. A ray that slips between
two neighbours takes the clearer one's. So a brown cytoplasm is no membrane, nor is the edge of a
brown neighbour. A membrane is hardly wider than the blur of a scan, which makes it too pale; what a
line of width ``line_um`` loses to a blur of ``blur_um`` and to the pixels is made up for.

Light microscopy cannot separate the membranes of two cells that touch: the line between them counts
for each of the two, and a stained cell lends its stain to an unstained neighbour. No cell looks
further than ``reach_um`` beyond its own nucleus and around the next one, and all amounts are whole
numbers, so the result is the same to the bit in every tile.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.units import Um
from herscope.measure.completeness import SECTORS, UNSEEN, Sectors
from herscope.measure.intensity import Labels
from herscope.measure.membrane_line import BEND, RAYS_A_SECTOR, Costs, follow, look, make_rays
from herscope.stain.deconvolve import MilliOd

FINEST_STEP_UM: Final = 0.25

SAMPLING_PX: Final = 0.66
"""Sigma that sampling adds to the blur, pixels: their own width, and rounding a ray to whole ones.
With it phantoms read alike at 0.25 and 0.5 µm/px (docs/science/membrane.md)."""

_FEWEST_INSIDE: Final = 8  # samples that make a median
_FEWEST_BEYOND: Final = 2
_BETWEEN: Final = 8  # rays: neighbours an eighth of the turn away on either side meet in between
_BINS: Final = 1024  # for medians: steps of 4 milli-OD, the last for all that is browner
_BIN_MILLI: Final = 4
_UNKNOWN: Final = -(1 << 20)


class MembraneSpec(Spec):
    """How the membrane is looked for."""

    reach_um: Um = Field(
        default=Um(8.0), ge=1, le=15, description="No membrane lies further from its nucleus."
    )
    inside_um: Um = Field(
        default=Um(1.0), ge=0, le=3, description="It may lie this far inside a nucleus' outline."
    )
    enough_od: float = Field(
        default=0.4, gt=0, le=2.5, description="Browner is no more likely to be the membrane."
    )
    bend_od: float = Field(
        default=0.2, ge=0, le=2, description="Cost of a µm by which neighbouring rays differ."
    )
    away_od: float = Field(
        default=0.02, ge=0, le=1, description="Cost of a µm off the place half-way."
    )
    rim_um: Um = Field(
        default=Um(2.0),
        ge=0.5,
        le=15,
        description="Where only the rim shows a cell, the membrane lies no further beyond it.",
    )
    line_um: Um = Field(
        default=Um(1.2), gt=0.2, le=4, description="Width of the line between two cells."
    )
    blur_um: Um = Field(
        default=Um(0.36), ge=0, le=2, description="Sigma of the scan's blur that is made up for."
    )

    def gain(self, mpp: float) -> float:
        """Return what a membrane is multiplied by to make up for blur and pixels.

        Examples
        --------
        >>> round(MembraneSpec().gain(0.25), 3), MembraneSpec(blur_um=0).gain(0.01)
        (1.149, 1.0)
        """
        sigma_um = math.hypot(self.blur_um, SAMPLING_PX * mpp)
        return 1 / math.erf(self.line_um / (math.sqrt(8) * sigma_um))


class Membranes(NamedTuple):
    """One row a measured cell.

    ``sectors`` (n, 32): milli-OD above the cytoplasm, or ``UNSEEN``. ``radius`` (n, 32): distance
    of the line from the centre in 1/16 pixel. ``cytoplasm`` (n,): milli-OD of the cell's own.
    """

    sectors: Sectors
    radius: NDArray[np.int32]
    cytoplasm: NDArray[np.int16]


def measure_membranes(
    nuclei: Labels,
    centres: NDArray[np.int32],
    dab: MilliOd,
    mpp: float,
    spec: MembraneSpec,
    *,
    by_rim: NDArray[np.bool_] | None = None,
    wanted: NDArray[np.bool_] | None = None,
    max_radius_um: float = 25.0,
    on_slide: tuple[int, int, int, int] | None = None,
) -> Membranes:
    """Follow and measure the membrane of every cell.

    Parameters
    ----------
    nuclei
        (height, width) int32, 1..n.
    centres
        (n, 2) int32 y, x: the pixel from which label k + 1 is seen.
    dab
        (height, width) milli-OD.
    mpp
        Micrometres per pixel.
    spec
        Parameters.
    by_rim
        (n,) cells of which the label is the pale inside of a stained rim, not a nucleus: their
        cytoplasm is the label, and the membrane lies within ``rim_um`` of it. None: no such cell.
    wanted
        (n,) cells to measure; the others only stand in the way. None: all.
    max_radius_um
        No nucleus reaches further from its centre.
    on_slide
        y0, x0, y1, x1: pixels beyond are padding, and membranes there unseen. None: all are real.

    Raises
    ------
    InputError
        The shapes differ, or a label has no centre.

    Examples
    --------
    >>> yy, xx = np.mgrid[:80, :80] - 40
    >>> far = np.hypot(yy, xx)
    >>> ring = np.where(abs(far - 28) < 2.5, 600, 20).astype(np.int16)
    >>> nuclei = (far < 16).astype(np.int32)
    >>> middle = np.array([[40, 40]], np.int32)
    >>> found = measure_membranes(nuclei, middle, ring, 0.25, MembraneSpec())
    >>> bool((abs(found.radius / 16 - 28) < 3).all()), int(found.cytoplasm[0])
    (True, 22)
    """
    if nuclei.shape != dab.shape:
        raise InputError(f"shapes differ: {nuclei.shape} and {dab.shape}")
    if nuclei.size and int(nuclei.max()) > len(centres):
        raise InputError(f"label {int(nuclei.max())} has no centre ({len(centres)} are given)")
    step_um = max(FINEST_STEP_UM, mpp)
    rays = make_rays(
        step_um,
        mpp,
        inside_um=spec.inside_um,
        reach_um=spec.reach_um,
        rim_um=spec.rim_um,
        max_radius_um=max_radius_um,
    )
    costs = Costs(
        round(1000 * spec.enough_od),
        round(1000 * spec.bend_od * step_um),
        round(1000 * spec.away_od * step_um),
    )
    box = on_slide or (0, 0, *nuclei.shape)
    rims = np.zeros(len(centres), np.bool_) if by_rim is None else by_rim
    near = _near(nuclei, centres.astype(np.int64), rims, dab, rays, box)
    which = np.arange(len(centres)) if wanted is None else np.flatnonzero(wanted)
    starts = centres[which].astype(np.int64)
    peak, base, beyond, place = _measure(
        nuclei, which + 1, starts, rims, near, dab, rays, costs, box
    )
    sectors = _sectors(peak, base, beyond, round(1000 * spec.gain(mpp)))
    steps = place.reshape(len(which), SECTORS, RAYS_A_SECTOR).sum(axis=2)
    radius = np.floor(steps * (16 * step_um / mpp / RAYS_A_SECTOR) + 0.5).astype(np.int32)
    return Membranes(sectors, radius, base)


@njit(cache=True, nogil=True)
def _near(nuclei, centres, by_rim, dab, rays, box):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Median DAB close around each nucleus, or in the outer half of the inside of a rim.

    It needs no membrane, so a neighbour's is known wherever the neighbour's nucleus is.
    """
    n = len(centres)
    around, most = rays.dy.shape
    out = np.zeros(n, np.int16)
    profile = np.empty(most, np.int32)
    tally = np.zeros(_BINS, np.int32)
    for i in range(n):
        tally[:] = 0
        count = 0
        for r in range(0, around, 2):
            _, edge, high, _ = look(
                nuclei, dab, i + 1, centres[i, 0], centres[i, 1], rays, rays.clear, r, box, profile
            )
            for j in range(edge // 2 if by_rim[i] else edge, edge if by_rim[i] else high):
                _put(tally, profile[j])
                count += 1
        out[i] = _median(tally, count) if count else max(dab[centres[i, 0], centres[i, 1]], 0)
    return out


@njit(cache=True, nogil=True)
def _measure(nuclei, labels, centres, by_rim, near, dab, rays, costs, box):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Crest of the line on every ray, the cytoplasm inside and beyond it, and the line's place."""
    n = len(centres)
    around, most = rays.dy.shape
    peak = np.empty((n, around), np.int32)
    beyond = np.empty((n, around), np.int32)
    place = np.empty((n, around), np.int32)
    base = np.empty(n, np.int16)
    profile = np.empty((around, most), np.int32)
    low, edge = np.empty(around, np.int64), np.empty(around, np.int64)
    high, other = np.empty(around, np.int64), np.empty(around, np.int64)
    total = np.empty((2 * around, most + 2 * BEND), np.int32)
    tally = np.zeros(_BINS, np.int32)
    for i in range(n):
        y, x = centres[i, 0], centres[i, 1]
        label = labels[i]
        own_rim = by_rim[label - 1]
        reach = rays.rim if own_rim else rays.reach
        for r in range(around):
            low[r], edge[r], high[r], other[r] = look(
                nuclei, dab, label, y, x, rays, reach, r, box, profile[r]
            )
        path = place[i]
        follow(profile, low, edge, high, other, reach, rays.inside, costs, total, path)
        base[i] = _cytoplasm(profile, edge, path, own_rim, rays, tally, near[label - 1])
        for r in range(around):
            # none when the slide ends before its membrane does
            seen = other[r] >= 0 or path[r] < high[r] - 1 - rays.crest
            peak[i, r] = _crest(profile[r], low[r], high[r], path[r], rays) if seen else _UNKNOWN
            first, last = path[r] + rays.clear, high[r] - 1 - rays.inside
            beyond[i, r] = near[other[r] - 1] if seen and other[r] > 0 else _UNKNOWN
            if (
                seen
                and other[r] > 0
                and not by_rim[other[r] - 1]
                and last - first + 1 >= _FEWEST_BEYOND
            ):
                tally[:] = 0
                for j in range(first, last + 1):
                    _put(tally, profile[r, j])
                beyond[i, r] = max(beyond[i, r], _median(tally, last - first + 1))
        _bridge(beyond[i])
    return peak, base, beyond, place


@njit(cache=True, nogil=True)
def _bridge(beyond):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Give a ray that passes between two neighbours the clearer of their cytoplasms."""
    around = len(beyond)
    known = beyond.copy()
    for r in range(around):
        if known[r] != _UNKNOWN:
            continue
        left, right = _UNKNOWN, _UNKNOWN
        for k in range(1, _BETWEEN + 1):
            if left == _UNKNOWN:
                left = known[r - k]
            if right == _UNKNOWN:
                right = known[(r + k) % around]
        beyond[r] = min(left, right)


@njit(cache=True, nogil=True)
def _cytoplasm(profile, edge, path, own_rim, rays, tally, near):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Median between nucleus and line; inside a rim that of the outer half of the inside."""
    count = 0
    tally[:] = 0
    for r in range(len(path)):
        first = edge[r] // 2 if own_rim else edge[r] + rays.crest
        last = path[r] - rays.clear
        for j in range(first, (min(last, edge[r]) if own_rim else last) + 1):
            _put(tally, profile[r, j])
            count += 1
    return _median(tally, count) if count >= _FEWEST_INSIDE else near


@njit(cache=True, nogil=True)
def _crest(profile, low, high, at, rays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    top = _UNKNOWN
    for j in range(max(at - rays.crest, low), min(at + rays.crest, high - 1) + 1):
        top = max(top, profile[j])
    return top


@njit(cache=True, nogil=True)
def _put(tally, milli_od):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    tally[min(max(milli_od, 0) // _BIN_MILLI, _BINS - 1)] += 1


@njit(cache=True, nogil=True)
def _median(tally, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Middle of the bin that holds the middle value; less than none counts as none."""
    below, b = 0, 0
    while below + tally[b] <= count // 2:
        below += tally[b]
        b += 1
    return b * _BIN_MILLI + (_BIN_MILLI // 2 if b else 0)


@njit(cache=True, nogil=True)
def _sectors(peak, base, beyond, gain_milli):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n, around = peak.shape
    out = np.empty((n, around // RAYS_A_SECTOR), np.int16)
    for i in range(n):
        for s in range(out.shape[1]):
            amount, seen = 0, 0
            for k in range(RAYS_A_SECTOR * s - 1, RAYS_A_SECTOR * (s + 1) + 1):
                r = k % around
                if peak[i, r] != _UNKNOWN:
                    amount += max(peak[i, r] - max(np.int64(base[i]), beyond[i, r]), 0)
                    seen += 1
            out[i, s] = min(amount * gain_milli // (1000 * seen), 32767) if seen else UNSEEN
    return out
