"""What goes wrong on real slides: pen, dust, folds, defocus, bubbles, a black scan border.

Each artefact is a shape with a place chosen by hash. It changes optical density (pen, dust, fold,
bubble, border) or sharpness (defocus), never the truth of a cell; cells under one are flagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import address, uniform
from herscope.slide.phantom.dyes import PEN_INKS
from herscope.slide.phantom.light import LARGEST_OD
from herscope.slide.phantom.spec import PhantomSpec

Points = NDArray[np.float64]
ArtefactKind = Literal["pen", "dust", "fold", "bubble", "defocus"]

FOLD_GAIN: Final = 1.0
"""Extra dye in the middle of a fold: two layers instead of one."""
BLACK_OD: Final = 2.3


@dataclass(frozen=True, slots=True)
class Artefact:
    """A band along ``path`` ((n, 2) µm), half-width ``radius_um``; one point makes a disc."""

    kind: ArtefactKind
    path: Points
    radius_um: float
    ink: tuple[float, float, float]

    @property
    def box_um(self) -> tuple[float, float, float, float]:
        """Bounding rectangle x0, y0, x1, y1 with everything the artefact touches."""
        low, high = self.path.min(axis=0), self.path.max(axis=0)
        reach = self.radius_um * 1.3 + 12.0
        return low[0] - reach, low[1] - reach, high[0] + reach, high[1] + reach

    def covers(self, points_um: Points) -> NDArray[np.bool_]:
        """Which of (n, 2) points lie inside."""
        inside: NDArray[np.bool_] = _distances(self.path, points_um) < self.radius_um
        return inside


def place_artefacts(spec: PhantomSpec) -> tuple[Artefact, ...]:
    """Places and shapes of all artefacts of a slide."""
    side = min(spec.width_um, spec.height_um)
    found: list[Artefact] = []

    def numbers(stream: int, k: int) -> list[float]:
        word = address(np.uint64(spec.seed), stream, k, 0)
        return [uniform(np.uint64(word), n) for n in range(8)]

    def place(u: list[float]) -> Points:
        return np.array([[u[0] * spec.width_um, u[1] * spec.height_um]])

    for k in range(spec.pen_marks):
        u = numbers(801, k)
        path = _stroke(place(u)[0], 0.35 * side * (0.6 + u[2]), math.tau * u[3], u[4])
        ink = PEN_INKS[int(3 * u[5])]
        found.append(Artefact("pen", path, min(0.03 * side, 250.0) * (0.8 + 0.6 * u[6]), ink))
    for k in range(spec.folds):
        u = numbers(802, k)
        path = _stroke(place(u)[0], 0.4 * side * (0.5 + u[2]), math.tau * u[3], 0.5 * u[4])
        found.append(Artefact("fold", path, min(0.04 * side, 10.0 + 22.0 * u[5]), (0.0, 0.0, 0.0)))
    for k in range(spec.dust):
        u = numbers(803, k)
        turn, length = math.tau * u[2], 14.0 * u[3] ** 3
        step = length * np.array([math.cos(turn), math.sin(turn)])
        path = np.concatenate([place(u), place(u) + step])
        shade = 0.35 + 0.8 * u[4]
        found.append(
            Artefact("dust", path, 1.0 + 3.5 * u[5] ** 2, (shade, shade * 1.03, shade * 1.1))
        )
    for k in range(spec.bubbles):
        u = numbers(804, k)
        found.append(Artefact("bubble", place(u), side * (0.05 + 0.08 * u[2]), (0.35, 0.36, 0.38)))
    for k in range(spec.defocus_patches):
        u = numbers(805, k)
        found.append(Artefact("defocus", place(u), side * (0.10 + 0.08 * u[2]), (0.0, 0.0, 0.0)))
    return tuple(found)


def _stroke(start: NDArray[np.float64], length: float, angle: float, sway: float) -> Points:
    """Draw a curved line of 25 points."""
    t = np.linspace(-0.5, 0.5, 25)
    along = length * t
    across = 0.18 * length * (0.3 + sway) * np.sin(math.tau * (t * 1.1 + sway))
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([start[0] + c * along - s * across, start[1] + s * along + c * across], axis=1)


@njit(cache=True)
def _distance(path: Points, x: float, y: float) -> float:
    best = 1e18
    for k in range(path.shape[0]):
        ax, ay = path[k, 0], path[k, 1]
        n = min(k + 1, path.shape[0] - 1)
        bx, by = path[n, 0] - ax, path[n, 1] - ay
        length = bx * bx + by * by
        t = 0.0
        if length > 0:
            t = min(max(((x - ax) * bx + (y - ay) * by) / length, 0.0), 1.0)
        best = min(best, (x - ax - t * bx) ** 2 + (y - ay - t * by) ** 2)
    return math.sqrt(best)


@njit(cache=True)
def _distances(path: Points, points: Points) -> NDArray[np.float64]:
    out = np.empty(points.shape[0])
    for k in range(points.shape[0]):
        out[k] = _distance(path, points[k, 0], points[k, 1])
    return out


@njit(cache=True, nogil=True)
def _apply(
    kind: int,
    path: Points,
    radius: float,
    ink: tuple[float, float, float],
    mpp: float,
    x0: int,
    y0: int,
    span: tuple[int, int, int, int],
    density: NDArray[np.float32],
) -> None:
    """Change (3, h, w) densities; kind 0 pen, 1 dust, 2 fold, 3 bubble."""
    for row in range(span[1], span[3]):
        for column in range(span[0], span[2]):
            x, y = (x0 + column + 0.5) * mpp, (y0 + row + 0.5) * mpp
            d = _distance(path, x, y)
            if d > radius * 1.3 + 10.0:
                continue
            add, gain = 0.0, 1.0
            if kind == 0:
                # felt ink is thicker at the rim
                add = min(max((radius - d) / 4.0, 0.0), 1.0)
                add *= 0.78 + 0.22 * (d / radius) ** 4
            elif kind == 1:
                add = min(max((radius - d) / 1.0 + 0.5, 0.0), 1.0)
            elif kind == 2:
                gain = 1.0 + min(max((radius - d) / 3.0, 0.0), 1.0)
            else:
                rim = (d - radius) / 4.0
                add = math.exp(-rim * rim) + 0.4 * math.exp(-((rim + 3.5) ** 2))
                if d < radius:
                    gain = 0.82  # light scattered inside a bubble washes the stain out
            for channel in range(3):
                density[channel, row, column] = (
                    density[channel, row, column] * gain + add * ink[channel]
                )


_CODES: Final = {"pen": 0, "dust": 1, "fold": 2, "bubble": 3}


def overlaps(
    artefact: Artefact, mpp: float, x0: int, y0: int, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Columns and rows (x0, y0, x1, y1 within the rectangle) an artefact can touch."""
    low_x, low_y, high_x, high_y = artefact.box_um
    span = (
        max(math.floor(low_x / mpp) - x0, 0),
        max(math.floor(low_y / mpp) - y0, 0),
        min(math.ceil(high_x / mpp) - x0, width),
        min(math.ceil(high_y / mpp) - y0, height),
    )
    return span if span[2] > span[0] and span[3] > span[1] else None


def soil(
    artefacts: tuple[Artefact, ...],
    spec: PhantomSpec,
    x0: int,
    y0: int,
    density: NDArray[np.float32],
) -> None:
    """Draw pen, dust, folds, bubbles and the border into (3, h, w) densities at (x0, y0)."""
    height, width = density.shape[1:]
    for artefact in artefacts:
        span = overlaps(artefact, spec.mpp, x0, y0, width, height)
        if span is None or artefact.kind == "defocus":
            continue
        code = _CODES[artefact.kind]
        _apply(
            code, artefact.path, artefact.radius_um, artefact.ink, spec.mpp, x0, y0, span, density
        )
    border = border_px(spec)
    if border:
        x, y = np.arange(x0, x0 + width), np.arange(y0, y0 + height)
        density[:, :, (x < border) | (x >= spec.width_px - border)] = BLACK_OD
        density[:, (y < border) | (y >= spec.height_px - border), :] = BLACK_OD
    np.minimum(density, np.float32(LARGEST_OD), out=density)


def border_px(spec: PhantomSpec) -> int:
    """Width of the black frame in pixels."""
    return math.floor(spec.border_um / spec.mpp + 0.5)


@njit(cache=True, nogil=True)
def defocus_weight(
    center_x: float,
    center_y: float,
    radius: float,
    mpp: float,
    x0: int,
    y0: int,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """(h, w) share of the blurred picture: one inside the disc, fading over its last tenth."""
    out = np.zeros(shape, np.float32)
    for row in range(shape[0]):
        for column in range(shape[1]):
            dx = (x0 + column + 0.5) * mpp - center_x
            dy = (y0 + row + 0.5) * mpp - center_y
            d = math.sqrt(dx * dx + dy * dy)
            out[row, column] = min(max((radius - d) / (0.1 * radius), 0.0), 1.0)
    return out
