"""Landscapes whose summits are nuclei, from the maps of a network, in whole numbers.

* ``distance``: the map itself, which is highest in the middle of each nucleus.
* ``horizontal``, ``vertical`` (HoVer-Net, Graham et al., Med Image Anal 2019;58:101563): both are 0
  in the middle of a nucleus and leap from 1 to -1 where two nuclei touch. The landscape is how near
  to 0 the larger of the two is, less their fall in reading direction (the paper's Sobel energy).
  The paper scales each gradient by its range in the picture, thresholds the energy and floods; the
  range of a picture is nothing local, so the scale here is fixed, and the first term, which the
  paper does without, gives every nucleus a summit.
* ``nucleus`` alone: the distance to the background (Borgefors' 5-7-11 chamfer metric, Comput Vision
  Graph 1986;34:344), limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.segment.smoothing import smooth

Maps = NDArray[np.uint8]
"""(channels, height, width); see :func:`herscope.segment.learned_nuclei.decode_nuclei`."""

GRADIENT_PX: Final = 2
"""Half the distance over which the fall of the horizontal and vertical maps is taken."""

_UNIT: Final = 256
_CHAMFER: Final = 5


def landscape(
    maps: Maps,
    classes: Sequence[str],
    inside: NDArray[np.bool_],
    *,
    smoothing_px: float,
    depth_px: int,
) -> NDArray[np.uint16]:
    """Make the landscape that the basins of nuclei are cut from.

    Parameters
    ----------
    maps, classes
        As for :func:`herscope.segment.learned_nuclei.decode_nuclei`.
    inside
        (height, width): pixels of nuclei; the landscape is 0 elsewhere before it is smoothed.
    smoothing_px
        Gaussian sigma.
    depth_px
        For ``nucleus`` alone: pixels further from the background are all equally high.
    """
    if "distance" in classes:
        raw = _masked(maps[list(classes).index("distance")], inside)
    elif "horizontal" in classes:
        across, down = (maps[list(classes).index(name)] for name in ("horizontal", "vertical"))
        raw = _from_centre(across, down, inside)
    else:
        raw = _depth(inside, depth_px)
    return smooth(raw, smoothing_px)


@njit(cache=True, nogil=True)
def _masked(values, inside):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    out = np.zeros(values.shape, np.uint16)
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if inside[y, x]:
                out[y, x] = np.uint16(values[y, x]) * _UNIT
    return out


@njit(cache=True, nogil=True)
def _from_centre(across, down, inside):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Nearness to the centre less the fall of the maps, both 0 to 255, in 1/256."""
    rows, columns = inside.shape
    out = np.zeros((rows, columns), np.uint16)
    r = GRADIENT_PX
    for y in range(rows):
        y0, y1 = max(y - 1, 0), min(y + 1, rows - 1)
        ya, yb = max(y - r, 0), min(y + r, rows - 1)
        for x in range(columns):
            if not inside[y, x]:
                continue
            x0, x1 = max(x - 1, 0), min(x + 1, columns - 1)
            xa, xb = max(x - r, 0), min(x + r, columns - 1)
            fall_x = int(across[y0, xa]) - int(across[y0, xb])
            fall_x += 2 * (int(across[y, xa]) - int(across[y, xb]))
            fall_x += int(across[y1, xa]) - int(across[y1, xb])
            fall_y = int(down[ya, x0]) - int(down[yb, x0])
            fall_y += 2 * (int(down[ya, x]) - int(down[yb, x]))
            fall_y += int(down[ya, x1]) - int(down[yb, x1])
            off = max(abs(2 * int(across[y, x]) - 255), abs(2 * int(down[y, x]) - 255))
            out[y, x] = max(255 - off - max(fall_x, fall_y, 0) // 4, 0) * _UNIT
    return out


@njit(cache=True, nogil=True)
def _depth(inside, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Chamfer distance to the background, up to ``depth`` pixels, in 1/256 of that depth."""
    rows, columns = inside.shape
    most = _CHAMFER * depth
    d = np.empty((rows + 4, columns + 4), np.int32)
    d[:] = most  # beyond the picture nothing is known to be background
    for y in range(rows):
        for x in range(columns):
            if not inside[y, x]:
                d[y + 2, x + 2] = 0
    for y in range(2, rows + 2):
        for x in range(2, columns + 2):
            v = d[y, x]
            if v:
                v = min(v, d[y, x - 1] + 5, d[y - 1, x] + 5)
                v = min(v, d[y - 1, x - 1] + 7, d[y - 1, x + 1] + 7)
                v = min(v, d[y - 1, x - 2] + 11, d[y - 1, x + 2] + 11)
                d[y, x] = min(v, d[y - 2, x - 1] + 11, d[y - 2, x + 1] + 11)
    out = np.empty((rows, columns), np.uint16)
    for y in range(rows + 1, 1, -1):
        for x in range(columns + 1, 1, -1):
            v = d[y, x]
            if v:
                v = min(v, d[y, x + 1] + 5, d[y + 1, x] + 5)
                v = min(v, d[y + 1, x - 1] + 7, d[y + 1, x + 1] + 7)
                v = min(v, d[y + 1, x - 2] + 11, d[y + 1, x + 2] + 11)
                v = min(v, d[y + 2, x - 1] + 11, d[y + 2, x + 1] + 11)
                d[y, x] = v
            out[y - 2, x - 2] = v * 65280 // most
    return out
