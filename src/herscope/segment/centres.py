"""Where nuclei may be: the signal in units of the slide's contrast, and the places that stand out.

A place stands out when the signal, smoothed at the size of a nucleus, exceeds the signal smoothed
over its surroundings and is a maximum of this difference: the blob detector of Lindeberg (Int J
Comput Vis 1998;30:79) at two fixed sizes. A centre that is found twice costs a little time only;
one that is missed is a nucleus missed, so the bar is low.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.segment.rays import CONTRAST
from herscope.segment.smoothing import smooth

_DARKEST_MILLI_OD: Final = 4000
_FLOOR: Final = 0.75  # contrasts of signal that count as background: noise, pale cytoplasm
_KNEE: Final = 4.0  # contrasts above the floor where compression sets in


def compress(signal: NDArray[np.uint16], contrast_od: float) -> NDArray[np.uint16]:
    """Express a signal in 1/256 of the slide's contrast, linear when pale, logarithmic when dark.

    Parameters
    ----------
    signal
        (height, width) uint16 milli-OD; above 4000 counts as 4000.
    contrast_od
        The slide's contrast, optical density.

    Examples
    --------
    >>> compress(np.array([[0, 45, 105, 1000]], np.uint16), 0.06).tolist()
    [[0, 0, 228, 1644]]
    """
    milli_od = np.arange(_DARKEST_MILLI_OD + 1) / (contrast_od * 1000)
    above = np.maximum(milli_od - _FLOOR, 0)
    table = np.floor(_KNEE * CONTRAST * np.log1p(above / _KNEE) + 0.5).astype(np.uint16)
    return _look_up(signal, table)


@njit(cache=True, nogil=True)
def _look_up(signal, table):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    out = np.empty(signal.shape, np.uint16)
    last = table.size - 1
    for y in range(signal.shape[0]):
        for x in range(signal.shape[1]):
            out[y, x] = table[min(np.int64(signal[y, x]), last)]
    return out


def find_centres(
    scaled: NDArray[np.uint16],
    *,
    sigmas_px: tuple[float, ...],
    surround_px: float,
    spacing_px: int,
    least: int,
) -> NDArray[np.int32]:
    """Find the places that stand out from their surroundings, in raster order.

    Parameters
    ----------
    scaled
        (height, width) from :func:`compress`.
    sigmas_px, surround_px
        Gaussian sigmas of the sizes looked for and of the surroundings.
    spacing_px
        A place within this distance of a higher one of the same size is none.
    least
        Least difference, in the units of ``scaled``.

    Returns
    -------
    (n, 2) int32
        y, x; each place once, whatever the number of sizes that found it.
    """
    surround = smooth(scaled, surround_px)
    found = np.zeros(scaled.shape, np.uint8)
    for sigma_px in sigmas_px:
        rise = np.maximum(smooth(scaled, sigma_px), surround) - surround  # cut at 0
        _mark_maxima(rise, least, spacing_px, found)
    return np.argwhere(found).astype(np.int32)


@njit(cache=True, nogil=True)
def _mark_maxima(image, least, spacing, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901 - early exits
    """Mark pixels that no pixel within ``spacing`` exceeds; of equals the first in raster order."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            v = image[y, x]
            if v < least:
                continue
            if x + 1 < width and image[y, x + 1] > v:
                continue
            if x > 0 and image[y, x - 1] >= v:
                continue
            top = True
            for yy in range(max(y - spacing, 0), min(y + spacing + 1, height)):
                for xx in range(max(x - spacing, 0), min(x + spacing + 1, width)):
                    u = image[yy, xx]
                    if u < v or (yy - y) ** 2 + (xx - x) ** 2 > spacing * spacing:
                        continue
                    if u > v or yy < y or (yy == y and xx < x):
                        top = False
                        break
                if not top:
                    break
            if top:
                found[y, x] = 1
