"""Whose cell is it: the nucleus' that haematoxylin shows, or the interior's that the rim shows.

A nucleus that lies in an interior explains it: the cell is the nucleus', and the interior goes. Not
so a speck that fills little of it, or one squeezed against the rim: these go instead, which leaves
one cell there all the same. A nucleus outside loses when it is made of
rim and touches an interior: in strong DAB the haematoxylin that deconvolution leaves is that of the
darkest brown, and what looks like a nucleus is a junction of membranes. One that spans interiors is
judged more strictly. An interior that staying nuclei largely cover goes as well.

Interiors are taken whole, as if each were alone, so that what is decided of one depends on the
nuclei that it meets and the interiors that these meet, and on nothing beyond.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.segment.nuclei import Labels, Nuclei
from herscope.segment.rays import Outlines, Polar
from herscope.segment.selection import directed_radii

TOUCH_UM: Final = 1.0
"""A piece of rim is this near to an interior."""

_OWN_NUM, _OWN_DEN = 1, 2  # a nucleus lies in an interior that holds this share of it, and its seed
_SPECK_NUM, _SPECK_DEN = 1, 5  # below this share of the interior it lies in it is a speck
_OFF_NUM, _OFF_DEN = 3, 4  # its seed lies within this share of the way to the rim
_TAKEN_NUM, _TAKEN_DEN = 1, 4  # an interior of which nuclei hold this share is theirs


def decide(
    nuclei: Nuclei,
    centres: NDArray[np.int32],
    outlines: Outlines,
    tables: Polar,
    dark: NDArray[np.bool_],
    mpp: float,
    rim_share: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Decide which nuclei and which interiors stay.

    Parameters
    ----------
    nuclei
        Labelled nuclei with their seeds.
    centres, outlines, tables
        The interiors: (m, 2) y, x, their outlines and the tables they were traced with.
    dark
        (height, width) where DAB is as dark as a rim.
    mpp
        Micrometres per pixel.
    rim_share
        A nucleus is made of rim when this share of its pixels is dark; half of it when it holds
        most of an interior half its size or less.

    Returns
    -------
    tuple
        (n,) and (m,): True for the nuclei and the interiors that stay.
    """
    area, rim = _dark_pixels(nuclei.labels, dark, len(nuclei.seeds))
    radii = directed_radii(outlines.radius)
    shape = (tables.direction, tables.distance, tables.half)
    touch = math.floor(16 * TOUCH_UM / mpp)
    explains, loses, kept, whole = _meet(
        nuclei.labels,
        nuclei.seeds,
        centres,
        radii,
        shape,
        touch,
        area,
        rim,
        math.ceil(rim_share * 1000),
    )
    stays = explains | ~loses
    taken = _taken(nuclei.labels, stays, centres, radii, shape)
    return stays, kept & (taken * _TAKEN_DEN < whole * _TAKEN_NUM)


@njit(cache=True, nogil=True)
def _dark_pixels(nuclei, dark, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Pixels, and dark ones, of each nucleus; entry 0 is the background."""
    area = np.zeros(n + 1, np.int64)
    rim = np.zeros(n + 1, np.int64)
    for y in range(nuclei.shape[0]):
        for x in range(nuclei.shape[1]):
            area[nuclei[y, x]] += 1
            rim[nuclei[y, x]] += dark[y, x]
    return area, rim


@njit(cache=True, nogil=True)
def _within(centre, radii, shape, y, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """How far a pixel lies within an outline, in 1/16 pixel; negative outside."""
    direction, distance, half = shape
    oy, ox = y - centre[0] + half, x - centre[1] + half
    if min(oy, ox) < 0 or max(oy, ox) > 2 * half:
        return np.int32(-(1 << 20))
    return radii[direction[oy, ox]] - distance[oy, ox]


@njit(cache=True, nogil=True)
def _meet(nuclei, seeds, centres, radii, shape, touch, area, rim, rim_mill):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Nuclei that explain an interior, nuclei that lose to one, interiors unexplained, sizes."""
    height, width = nuclei.shape
    half = shape[2]
    n, count = len(seeds), len(centres)
    explains, loses = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    kept = np.ones(count, np.bool_)
    whole = np.zeros(count, np.int64)
    # of the interior at hand: pixels shared with each nucleus, plus one when it is met at all
    shared = np.zeros(n + 1, np.int64)
    met = np.empty(n + 1, np.int64)
    for i in range(count):
        cy, cx = centres[i]
        many = 0
        for y in range(max(cy - half, 0), min(cy + half + 1, height)):
            for x in range(max(cx - half, 0), min(cx + half + 1, width)):
                depth = _within(centres[i], radii[i], shape, y, x)
                whole[i] += depth >= 0
                k = nuclei[y, x]
                if k and depth >= -touch:
                    if shared[k] == 0:
                        met[many] = k
                        many += 1
                        shared[k] = 1
                    shared[k] += depth >= 0
        for m in range(many):
            k = met[m]
            common = shared[k] - 1
            shared[k] = 0
            y, x = seeds[k - 1]
            depth = _within(centres[i], radii[i], shape, y, x)
            if depth >= 0 and common * _OWN_DEN >= area[k] * _OWN_NUM:
                real = area[k] * _SPECK_DEN >= whole[i] * _SPECK_NUM
                off = shape[1][y - cy + half, x - cx + half]
                real &= off * _OFF_DEN <= (off + depth) * _OFF_NUM
                explains[k - 1] |= real
                loses[k - 1] |= not real
                kept[i] &= not real
            spans = area[k] >= 2 * whole[i] and 2 * common >= whole[i]
            least = rim_mill >> 1 if spans else rim_mill
            loses[k - 1] |= 1000 * rim[k] >= least * area[k]
    return explains, loses, kept, whole


@njit(cache=True, nogil=True)
def _taken(nuclei, stays, centres, radii, shape):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Pixels of each interior that staying nuclei hold."""
    height, width = nuclei.shape
    half = shape[2]
    taken = np.zeros(len(centres), np.int64)
    for i in range(len(centres)):
        cy, cx = centres[i]
        for y in range(max(cy - half, 0), min(cy + half + 1, height)):
            for x in range(max(cx - half, 0), min(cx + half + 1, width)):
                k = nuclei[y, x]
                if k and stays[k - 1]:
                    taken[i] += _within(centres[i], radii[i], shape, y, x) >= 0
    return taken


@njit(cache=True, nogil=True)
def take_out(interiors, kept, nuclei, stays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Clear, in place, the interiors that go and the pixels that staying nuclei hold."""
    for y in range(interiors.shape[0]):
        for x in range(interiors.shape[1]):
            i, k = interiors[y, x], nuclei[y, x]
            if i and (not kept[i - 1] or (k and stays[k - 1])):
                interiors[y, x] = 0


def merged(
    nuclei: Nuclei,
    stays: NDArray[np.bool_],
    interiors: Labels,
    centres: NDArray[np.int32],
    kept: NDArray[np.bool_],
) -> tuple[Labels, NDArray[np.int32], NDArray[np.bool_]]:
    """Return nuclei and interiors that stay as labels, seeds and which of them are interiors.

    Labels follow the raster order of the seeds; a pixel under both is the nucleus'.
    """
    n = len(nuclei.seeds)
    seeds = np.concatenate([nuclei.seeds, centres])
    order = np.lexsort((seeds[:, 1], seeds[:, 0]))
    order = order[np.concatenate([stays, kept])[order]]
    names = np.zeros(len(seeds) + 1, np.int32)
    names[order + 1] = np.arange(1, len(order) + 1, dtype=np.int32)
    labels = _overlaid(
        nuclei.labels, names[: n + 1], interiors, np.concatenate([names[:1], names[n + 1 :]])
    )
    return labels, seeds[order], order >= n


@njit(cache=True, nogil=True)
def _overlaid(nuclei, names, interiors, interior_names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Both labellings as one, under new names; a nucleus named 0 leaves its pixels."""
    out = np.empty(nuclei.shape, np.int32)
    for y in range(nuclei.shape[0]):
        for x in range(nuclei.shape[1]):
            out[y, x] = names[nuclei[y, x]] or interior_names[interiors[y, x]]
    return out
