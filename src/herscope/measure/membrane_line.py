"""Where a membrane runs: rays out of a cell, and the closed line with most brown across them.

From a cell's centre rays run past the nucleus' outline to the next nucleus, or as far as a membrane
may lie. The line has one place on every ray, and neighbouring rays agree: the optimal path round
the cell (Appleton and Sun, Pattern Recognit 2003;36:2513), found over two turns of which the middle
one is kept, as for nuclei. Brown above a limit draws the line no more, so that a strong line
further out does not outshine the cell's own pale one; where nothing is stained the line runs
half-way to the neighbour.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.measure.completeness import SECTORS
from herscope.measure.intensity import Labels
from herscope.stain.deconvolve import MilliOd

Whole = NDArray[np.int64]

RAYS_A_SECTOR: Final = 2
RAYS: Final = RAYS_A_SECTOR * SECTORS
SLIDE_ENDS: Final = -1
"""What ends a ray at the slide's edge; else the label of the next nucleus, or 0 for nothing."""

_FREE_SHARE: Final = 3  # without neighbour an unstained line lies at a third of the reach
_CREST_UM: Final = 0.5
_CLEAR_UM: Final = 1.0  # nearer to the line than this is no cytoplasm
BEND: Final = 2  # steps by which neighbouring rays may differ
_ANEW: Final = 16  # bends that a line costs which begins anew
_LOWEST: Final = -(1 << 28)


class Rays(NamedTuple):
    """Steps along the rays: offsets of the samples in pixels, and lengths in steps."""

    dy: NDArray[np.int64]
    dx: NDArray[np.int64]
    inside: int
    reach: int
    rim: int
    crest: int
    clear: int


class Costs(NamedTuple):
    """Milli-OD: where brown counts no more, and of a step between rays and off half-way."""

    enough: int
    bend: int
    away: int


def make_rays(
    step_um: float,
    mpp: float,
    *,
    inside_um: float,
    reach_um: float,
    rim_um: float,
    max_radius_um: float,
) -> Rays:
    """Make the rays of one resolution, for nuclei that reach ``max_radius_um`` from the centre."""
    # the rays of a sector lie evenly about its middle
    angle = 2 * np.pi * (np.arange(RAYS) - 0.5 * (RAYS_A_SECTOR - 1)) / RAYS
    steps = math.ceil((max_radius_um + reach_um + inside_um) / step_um) + 2
    reach = np.arange(steps) * step_um / mpp

    def whole(offset: NDArray[np.float64]) -> NDArray[np.int64]:
        # rounding to 1e-6 first: sin(pi) is not 0 in floating point, and must not decide a pixel
        return np.floor(np.round(offset, 6) + 0.5).astype(np.int64)

    return Rays(
        whole(np.sin(angle)[:, None] * reach),
        whole(np.cos(angle)[:, None] * reach),
        round(inside_um / step_um),
        max(1, round(reach_um / step_um)),
        max(1, round(rim_um / step_um)),
        max(1, round(_CREST_UM / step_um)),
        max(1, round(_CLEAR_UM / step_um)),
    )


@njit(cache=True, nogil=True)
def look(
    nuclei: Labels,
    dab: MilliOd,
    label: int,
    cy: int,
    cx: int,
    rays: Rays,
    reach: int,
    r: int,
    box: tuple[int, int, int, int],
    profile: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """Fill the DAB along a ray; return where the membrane may begin, the outline, and the end.

    Last comes what ends it: the next nucleus, 0 for nothing, -1 for the slide's edge.
    """
    most = rays.dy.shape[1]
    edge, stop, other, high = 1, 0, 0, 1
    profile[0] = dab[cy, cx]
    for j in range(1, most):
        y, x = cy + rays.dy[r, j], cx + rays.dx[r, j]
        if y < box[0] or x < box[1] or y >= box[2] or x >= box[3]:
            if other == 0:
                other = SLIDE_ENDS
            break
        here = nuclei[y, x]
        if stop == 0:
            if here == label:
                edge = j + 1
            else:
                stop = j + reach
        if other == 0 and here not in (0, label):
            other = here
            stop = j + rays.inside  # a membrane may run on the neighbour's outline
        if stop and j >= stop:
            break
        profile[j] = dab[y, x]
        high = j + 1
    return min(max(edge - rays.inside, 0), high - 1), edge, high, other


@njit(cache=True, nogil=True)
def follow(
    profile: NDArray[np.int32],
    low: Whole,
    edge: Whole,
    high: Whole,
    other: Whole,
    reach: int,
    inside: int,
    costs: Costs,
    total: NDArray[np.int32],
    path: NDArray[np.int32],
) -> None:
    """Fill the best place on each ray: two turns, of which the middle one is kept.

    A row of ``total`` is a ray: the best sum that ends at each place, shifted by ``BEND``, and
    ``_LOWEST`` where the membrane cannot be.
    """
    around, most = profile.shape
    one, two = np.int32(costs.bend), np.int32(2 * costs.bend)
    away, enough = np.int32(costs.away), np.int32(costs.enough)
    for q in range(2 * around):
        r = q % around
        end = high[r] - inside if other[r] > 0 else edge[r] + 2 * reach // _FREE_SHARE
        half_way = np.int32((edge[r] + end) // 2)
        now, before = total[q], total[q - 1]
        now[:] = _LOWEST
        # Where the ranges of two rays do not meet, the line begins anew.
        anew = np.int32(before.max() - _ANEW * one) if q else np.int32(0)
        for j in range(low[r], high[r]):
            worth = anew
            if q:
                worth = max(worth, before[j + 2])
                worth = max(worth, max(before[j + 1], before[j + 3]) - one)
                worth = max(worth, max(before[j], before[j + 4]) - two)
            brown = min(max(profile[r, j], np.int32(0)), enough)
            now[j + BEND] = worth + brown - away * abs(np.int32(j) - half_way)
    at = np.argmax(total[2 * around - 1]) - BEND
    for q in range(2 * around - 1, around // 2 - 1, -1):
        if q < around + around // 2:
            path[q % around] = at
        before = total[q - 1]
        best, to = before.max() - _ANEW * one, np.argmax(before) - BEND
        for step in (0, -1, 1, -2, 2):
            worth = before[at + step + BEND] - abs(step) * one
            if worth > best and 0 <= at + step < most:
                best, to = worth, at + step
        at = to
