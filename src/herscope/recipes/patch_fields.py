"""A patch as a tiny slide: read at another µm/px, and what is found put back on its own pixels.

The pixels are chosen and averaged by the code that reads slides (:mod:`herscope.slide.grid`,
:mod:`herscope.slide.resample`), so what is judged on a patch is what a slide would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.slide.grid import Grid, choose_grid
from herscope.slide.protocol import Level, Rgb
from herscope.slide.resample import area_average, footprint
from herscope.slide.resolution import SlideSpec


@dataclass(frozen=True, eq=False)
class Field:
    """A patch at a resolution: its grid and its pixels there."""

    grid: Grid
    rgb: Rgb
    height_px: int
    width_px: int

    def read(self, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a rectangle of the grid; white beyond the patch, as beyond a slide."""
        out = np.full((height, width, 3), 255, np.uint8)
        top, left = max(y, 0), max(x, 0)
        part = self.rgb[top : max(y + height, 0), left : max(x + width, 0)]
        out[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
        return out

    def enlarge(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Repeat values of the grid's pixels, so that they cover the patch's own pixels."""
        rows = _places(self.height_px, self.grid.scale_y, values.shape[0])
        columns = _places(self.width_px, self.grid.scale_x, values.shape[1])
        return values[rows][:, columns]


def field_at(rgb: Rgb, mpp: float, asked_mpp: float, name: str) -> Field:
    """Average a patch to a resolution, or take it as it is where that is close or coarser.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8.
    mpp, asked_mpp
        µm/px of the patch, and wanted.
    name
        Of the patch, for messages.

    Examples
    --------
    >>> patch = np.zeros((64, 64, 3), np.uint8)
    >>> field_at(patch, 0.25, 0.5, "a").rgb.shape, float(field_at(patch, 0.7, 0.5, "a").grid.mpp)
    ((32, 32, 3), 0.7)
    """
    height, width = rgb.shape[:2]
    grid = choose_grid(
        [Level(width, height, 1.0, 1.0, width, height)],
        mpp,
        mpp,
        max(asked_mpp, mpp),
        tolerance=SlideSpec().native_tolerance,
        name=name,
    )
    if grid.native:
        return Field(grid, rgb, height, width)
    rows = footprint(0, grid.height_px, grid.step_y)[1]
    columns = footprint(0, grid.width_px, grid.step_x)[1]
    small = area_average(
        rgb[:rows, :columns],
        x=0,
        y=0,
        width=grid.width_px,
        height=grid.height_px,
        step_x=grid.step_x,
        step_y=grid.step_y,
    )
    return Field(grid, small, height, width)


def _places(extent_px: int, scale: float, cells: int) -> NDArray[np.int64]:
    """Grid pixel that holds the middle of each of the patch's own; the last one for the rest."""
    middle = (np.arange(extent_px) + 0.5) / scale
    return np.minimum(np.floor(middle).astype(np.int64), cells - 1)
