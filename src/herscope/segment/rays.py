"""Star-shaped outlines: from a centre, the closed curve of steepest fall that hangs together.

From each centre :data:`RAYS` rays run outwards. On every ray each distance is valued by the fall of
the signal there (a nucleus ends where the signal drops), less what it has risen on the way (whoever
walks through a gap into the next nucleus climbs again), and dynamic programming picks the closed
sequence of distances, one for each ray, with the greatest total, neighbouring rays differing by one
step at most (the optimal circular path of Appleton and Sun, Pattern Recognit 2003;36:2513, here
on a polar grid; star-convex outlines for nuclei as in Schmidt et al., MICCAI 2018, there learned).
We run twice round and keep the middle turn, which is the optimum whenever the best path has
forgotten where it started; a path that has not may close with a jump.

Spindle cells need more: seen from the centre their outline leaves the short axis faster than
neighbouring rays may differ, and it begins nearer than a round nucleus' may. For them the same path
is sought on a grid stretched along the direction in which the signal is strongest
(:func:`trace_slender`) and then resampled at the even rays, so that both kinds are drawn, and
contend, alike.

Everything is a whole number: pixels are sampled at rounded offsets from the centre, so an outline
depends on its centre's surroundings and on nothing else.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

RAYS: Final = 32
STEP_UM: Final = 0.5
"""Distance between samples on a ray: half the resolving power that a 20x scan leaves."""

DIRECTIONS: Final = 4 * RAYS
"""Directions told apart when an outline is drawn; radii between rays are interpolated."""

CONTRAST: Final = 256
"""The image traced is in units in which a typical nucleus' edge falls by this much."""

STRETCH: Final = 2.5
"""A slender outline is looked for on ellipses this many times as long as wide; spindles 3 to 4
times as long are still followed, since each ray ends where it likes."""

TURNS: Final = 16
"""Directions told apart for slender outlines; half a step is 0.6 µm at the tip of a spindle."""

_LINE_UM: Final = (-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0)  # where a direction is looked for
_VALUE: Final = 256  # a full fall is worth this much
_RISE_SHARE: Final = 128  # a rise costs half of what a fall earns
_BEND_COST: Final = 12  # one step's difference between neighbouring rays
_OUTWARD: Final = 3  # the outermost of several equal falls is the membrane
_START_STEP: Final = 3  # no outline closer than 2 µm to its centre
_SLENDER_START: Final = 1  # a spindle 3 µm wide has its edge 1.5 µm from its middle
_LOWEST: Final = -(1 << 28)


class Polar(NamedTuple):
    """Tables for one resolution.

    ``dy``, ``dx`` (ray, step): pixel offsets of the samples. ``direction`` and ``distance``
    (2 half + 1, 2 half + 1): for each pixel around a centre its direction out of
    :data:`DIRECTIONS` and its distance in 1/16 pixel. ``unit``: 1/16 pixels per half step.
    """

    dy: NDArray[np.int64]
    dx: NDArray[np.int64]
    direction: NDArray[np.int32]
    distance: NDArray[np.int32]
    half: int
    unit: float


class Slender(NamedTuple):
    """Tables for outlines along a direction: rays on ellipses instead of circles.

    ``dy``, ``dx`` (turn, ray, step): pixel offsets of the samples. ``line`` (2, turn, samples):
    y, x offsets along the direction. ``ray``, ``part``, ``factor`` (turn, RAYS): an even ray's
    radius is ``factor`` / 256 times the stretched one's, taken ``part`` / 256 past ``ray``.
    """

    dy: NDArray[np.int64]
    dx: NDArray[np.int64]
    line: NDArray[np.int64]
    ray: NDArray[np.int64]
    part: NDArray[np.int64]
    factor: NDArray[np.int64]


class Outlines(NamedTuple):
    """One row a centre.

    ``radius`` (n, RAYS): distance of the outline in 1/16 pixel. ``fall`` and ``rise`` (n, RAYS):
    how far the signal falls there and how far it rose before, in units of the image.
    """

    radius: NDArray[np.int32]
    fall: NDArray[np.int32]
    rise: NDArray[np.int32]


def polar_tables(mpp: float, max_radius_um: float) -> Polar:
    """Make the sampling offsets and drawing tables for outlines up to ``max_radius_um``."""
    steps = max(_START_STEP + 2, math.floor(max_radius_um / STEP_UM))
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    reach = (np.arange(steps + 2) + 0.5) * STEP_UM / mpp
    dy, dx = _whole(np.sin(angle)[:, None] * reach), _whole(np.cos(angle)[:, None] * reach)
    half = math.ceil((max_radius_um + STEP_UM) / mpp)
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    turn = np.round(np.arctan2(yy, xx) / (2 * np.pi) * DIRECTIONS, 6)
    direction = (np.floor(turn + 0.5).astype(np.int32)) % DIRECTIONS
    distance = np.floor(np.round(np.hypot(yy, xx) * 16, 6) + 0.5).astype(np.int32)
    return Polar(dy, dx, direction, distance, half, 16 * STEP_UM / mpp)


def slender_tables(mpp: float, max_radius_um: float) -> Slender:
    """Make the tables for outlines :data:`STRETCH` times as long as wide."""
    steps = max(_SLENDER_START + 2, math.floor(max_radius_um / STRETCH / STEP_UM))
    turn = np.pi * np.arange(TURNS)[:, None] / TURNS
    angle = 2 * np.pi * np.arange(RAYS)[None] / RAYS
    along, across = STRETCH * np.cos(angle), np.sin(angle)
    furthest = (max_radius_um + STEP_UM) / STRETCH
    reach = np.minimum((np.arange(steps + 2) + 0.5) * STEP_UM, furthest) / mpp
    dy = _whole((along * np.sin(turn) + across * np.cos(turn))[..., None] * reach)
    dx = _whole((along * np.cos(turn) - across * np.sin(turn))[..., None] * reach)
    line_um = np.minimum(np.abs(_LINE_UM), max_radius_um) * np.sign(_LINE_UM)
    line = np.stack([_whole(np.sin(turn) * line_um / mpp), _whole(np.cos(turn) * line_um / mpp)])
    # each even ray as a ray of the stretched circle
    phi = np.arctan2(STRETCH * np.sin(angle - turn), np.cos(angle - turn))
    place = _whole(phi / (2 * np.pi) * RAYS * 256)
    factor = _whole(np.hypot(STRETCH * np.cos(phi), np.sin(phi)) * 256)
    return Slender(dy, dx, line, (place >> 8) % RAYS, place & 255, factor)


def _whole(offset: NDArray[np.float64]) -> NDArray[np.int64]:
    # rounding to 1e-6 first: sin(pi) is not 0 in floating point, and must not decide a pixel
    return np.floor(np.round(offset, 6) + 0.5).astype(np.int64)


def sampling_reach_px(tables: Polar | Slender) -> int:
    """How far from a centre its outline looks, in pixels of either axis."""
    return int(max(np.abs(tables.dy).max(), np.abs(tables.dx).max()))


class _Field(NamedTuple):
    """An image whose edge is repeated outwards, as one line; ``starts``: the centres in it."""

    flat: NDArray[np.uint16]
    starts: NDArray[np.int64]
    width: int


def _field(image: NDArray[np.uint16], centres: NDArray[np.int32], border: int) -> _Field:
    padded = np.pad(image, border, mode="edge")
    width = padded.shape[1]
    starts = (centres[:, 0].astype(np.int64) + border) * width + centres[:, 1] + border
    return _Field(padded.reshape(-1), starts, width)


def _radius(step: NDArray[np.int32], unit: float) -> NDArray[np.int32]:
    # the edge between samples j and j + 1 lies j + 1 steps out; a quarter step makes up for the
    # smoothing, which draws the steepest place of a convex edge inwards
    return np.floor((step + 1.25) * unit + 0.5).astype(np.int32)


def trace(image: NDArray[np.uint16], centres: NDArray[np.int32], tables: Polar) -> Outlines:
    """Find the outline around each centre.

    Parameters
    ----------
    image
        (height, width) smoothed signal; a typical edge falls by :data:`CONTRAST`.
    centres
        (n, 2) y, x.
    tables
        From :func:`polar_tables`.
    """
    field = _field(image, centres, sampling_reach_px(tables))
    offsets = (tables.dy * field.width + tables.dx)[None]
    turns = np.zeros(len(centres), np.int64)
    step, fall, rise = _trace(field.flat, field.starts, offsets, turns, _START_STEP)
    return Outlines(_radius(step, tables.unit), fall, rise)


def trace_slender(
    image: NDArray[np.uint16],
    centres: NDArray[np.int32],
    tables: Slender,
    unit: float,
    least: int,
) -> tuple[NDArray[np.intp], Outlines]:
    """Find the slender outline around each centre that lies on something long.

    Parameters
    ----------
    image, centres
        As for :func:`trace`.
    tables
        From :func:`slender_tables`.
    unit
        ``Polar.unit`` of the same resolution.
    least
        How much stronger the signal must be, on average, along the best direction than across it.

    Returns
    -------
    tuple
        (m,) which centres, and their outlines: radii at the even rays, fall and rise along the
        stretched ones.
    """
    field = _field(image, centres, max(sampling_reach_px(tables), int(np.abs(tables.line).max())))
    line = tables.line[0] * field.width + tables.line[1]
    turn, lead = _directions(field.flat, field.starts, line)
    which = np.flatnonzero(lead >= least * line.shape[1])
    turn = turn[which]
    offsets = tables.dy * field.width + tables.dx
    step, fall, rise = _trace(field.flat, field.starts[which], offsets, turn, _SLENDER_START)
    radius = _unstretch(_radius(step, unit), turn, tables.ray, tables.part, tables.factor)
    return which, Outlines(radius, fall, rise)


@njit(cache=True, nogil=True)
def _unstretch(radius, turn, ray, part, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Radii at the even rays from those at the stretched ones."""
    out = np.empty_like(radius)
    rays = radius.shape[1]
    for i in range(len(radius)):
        t = turn[i]
        for k in range(rays):
            a, b = radius[i, ray[t, k]], radius[i, (ray[t, k] + 1) % rays]
            r = a * (256 - part[t, k]) + b * part[t, k]
            out[i, k] = ((r >> 4) * factor[t, k] + 2048) >> 12
    return out


@njit(cache=True, nogil=True)
def _directions(flat, starts, line):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Direction of the strongest signal, and how much stronger it is than across, summed."""
    turns, samples = line.shape
    best = np.empty(starts.size, np.int64)
    lead = np.empty(starts.size, np.int64)
    sums = np.empty(turns, np.int64)
    for i in range(starts.size):
        for t in range(turns):
            total = 0
            for j in range(samples):
                total += flat[starts[i] + line[t, j]]
            sums[t] = total
        top = np.argmax(sums)
        best[i] = top
        lead[i] = sums[top] - sums[(top + turns // 2) % turns]
    return best, lead


@njit(cache=True, nogil=True)
def _trace(flat, starts, all_offsets, turns, start):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    rays, samples = all_offsets.shape[1:]
    steps = samples - 2
    n = starts.size
    out_step = np.empty((n, rays), np.int32)
    out_fall = np.empty((n, rays), np.int32)
    out_rise = np.empty((n, rays), np.int32)
    fall = np.empty((rays, steps), np.int32)
    rise = np.empty((rays, steps), np.int32)
    value = np.empty((rays, steps), np.int32)
    profile = np.empty(samples, np.int32)
    total = np.empty((2 * rays, steps + 2), np.int32)
    for i in range(n):
        offsets = all_offsets[turns[i]]
        tops = 0
        for k in range(rays):
            for j in range(samples):
                profile[j] = flat[starts[i] + offsets[k, j]]
            tops += _walk(profile, fall[k], rise[k])
        # A full fall is what the rays fall on average, so that pale and dark nuclei count alike.
        _value(fall, rise, max(tops // rays, CONTRAST // 8), value)
        at = _best_paths(value, total, start)
        for q in range(2 * rays - 1, rays // 2 - 1, -1):
            if q < rays + rays // 2:
                k = q % rays
                out_step[i, k] = at
                out_fall[i, k] = fall[k, at]
                out_rise[i, k] = rise[k, at]
            before = total[q - 1]
            if before[at + 1] < max(before[at], before[at + 2]) - _BEND_COST:
                at += 1 if before[at + 2] > before[at] else -1
    return out_step, out_fall, out_rise


@njit(cache=True, nogil=True)
def _walk(profile, fall, rise):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the fall and the rise at each step of one ray; return its greatest credible fall."""
    low, climbed, top = profile[0], np.int32(0), np.int32(0)
    for j in range(fall.size):
        low = min(low, profile[j])
        climbed = max(climbed, profile[j] - low)
        drop = (profile[max(j - 1, 0)] + profile[j] - profile[j + 1] - profile[j + 2]) >> 1
        fall[j] = drop
        rise[j] = climbed
        if drop > top and 2 * climbed <= drop + CONTRAST // 2:
            top = drop
    return top


@njit(cache=True, nogil=True)
def _value(fall, rise, full, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill what an outline earns at each place; a scale spares a division a sample."""
    most = np.int32(full)
    scale = np.int32((_VALUE << 16) // full)
    price = np.int32(scale // _VALUE * _RISE_SHARE)
    for k in range(fall.shape[0]):
        for j in range(fall.shape[1]):
            earned = max(min(fall[k, j], most), -4 * most) * scale
            lost = min(rise[k, j], 4 * most) * price
            value[k, j] = ((earned - lost) >> 16) + _OUTWARD * j


@njit(cache=True, nogil=True)
def _best_paths(value, total, start):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the best totals of two turns, a column of padding on either side; return the end."""
    rays, steps = value.shape
    total[:, :] = _LOWEST
    for j in range(start, steps):
        total[0, j + 1] = value[0, j]
    for q in range(1, 2 * rays):
        before, now, worth = total[q - 1], total[q], value[q % rays]
        for j in range(start, steps):
            side = max(before[j], before[j + 2]) - _BEND_COST
            now[j + 1] = max(before[j + 1], side) + worth[j]
    return start + np.argmax(total[2 * rays - 1, start + 1 : steps + 1])
