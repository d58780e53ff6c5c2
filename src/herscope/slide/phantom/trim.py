"""Cells end where their tissue ends: half-planes at lumens and at the border of a nest.

From a cell's nucleus, rays look for the nearest place of another class; a half-plane is put there,
square to the ray, and what it cuts off is looked at no more. The border is one of the cell's like
those with its neighbours, so it is drawn, has a membrane, and is in the truth.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.fields import LUMEN, class_at

RAYS: Final = 24
STEP_UM: Final = 1.25
NOTHING: Final = 1e9
MOST: Final = 7
"""Half-planes that one cell may gain."""


@njit(cache=True)
def _ends(
    lattice: NDArray[np.float64], i0: int, j0: int, own: int, every: bool, x: float, y: float
) -> bool:
    """Whether a cell of class ``own`` may not be at a point."""
    there = class_at(lattice, i0, j0, x, y)
    return there == LUMEN or (every and there != own)


@njit(cache=True)
def _look(
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    every: bool,
    x: float,
    y: float,
    reach: float,
    hit: NDArray[np.float64],
) -> None:
    """Distance along each ray at which a cell must end; ``NOTHING`` where it need not."""
    own = class_at(lattice, i0, j0, x, y)
    for n in range(RAYS):
        turn = 6.283185307179586 * n / RAYS
        c, s = math.cos(turn), math.sin(turn)
        hit[n] = NOTHING
        t = STEP_UM
        while t < reach + STEP_UM:
            if _ends(lattice, i0, j0, own, every, x + c * t, y + s * t):
                low, high = t - STEP_UM, t
                for _ in range(4):
                    middle = 0.5 * (low + high)
                    if _ends(lattice, i0, j0, own, every, x + c * middle, y + s * middle):
                        high = middle
                    else:
                        low = middle
                hit[n] = low
                break
            t += STEP_UM


@njit(cache=True)
def trim(
    lattice: NDArray[np.float64],
    i0: int,
    j0: int,
    center: NDArray[np.float64],
    offset: NDArray[np.float64],
    reach: NDArray[np.float64],
    every: bool,
    count: NDArray[np.int64],
    plane: NDArray[np.float64],
) -> None:
    """Add half-planes to ``plane`` (n, most, 3) and ``count`` (n), in place.

    Parameters
    ----------
    lattice, i0, j0
        Planes and their first node.
    center, offset
        (n, 2) centre of the nucleus on the slide, and its offset from the seed, µm.
    reach
        (n,) how far a cell goes, µm; 0: it is left as it is.
    every
        At every other class; otherwise at lumens alone.
    count, plane
        Half-planes there are.
    """
    hit = np.empty(RAYS)
    for k in range(center.shape[0]):
        if reach[k] <= 0:
            continue
        _look(lattice, i0, j0, every, center[k, 0], center[k, 1], reach[k], hit)
        for _ in range(MOST):
            best = np.argmin(hit)
            near = hit[best]
            if near >= NOTHING or count[k] >= plane.shape[1]:
                break
            turn = 6.283185307179586 * best / RAYS
            c, s = math.cos(turn), math.sin(turn)
            m = count[k]
            plane[k, m, 0], plane[k, m, 1] = c, s
            plane[k, m, 2] = near + c * offset[k, 0] + s * offset[k, 1]
            count[k] = m + 1
            for n in range(RAYS):
                along = math.cos(6.283185307179586 * (n - best) / RAYS)
                if hit[n] * along >= near - 0.7:
                    hit[n] = NOTHING
