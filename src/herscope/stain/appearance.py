"""What kind of picture this is: haematoxylin-DAB, H&E, fluorescence, or nothing stained.

Eosin absorbs green and little else, so in H&E the optical density (OD) of green stands above the
mean of red and blue: ``pink = (green - (red + blue) / 2) / sum``. Two things must hold: the median
of pink over stained pixels is high, and a share of them is eosin itself (pink, with little red
absorbed). The median alone would not do: Ruifrok and Johnston's haematoxylin has 0.144, so a blue
section without any brown reaches it; nor would the share: overexposed DAB has pink fringes.
Fluorescence has a dark background: most of the picture is opaque.

Measured on the real files we have: median of pink 0.14 to 0.40 in H&E (19) and -0.02 to 0.10 in IHC
(20); share of eosin 0.09 to 1.0 in H&E, 0 in IHC but for one overexposed field (0.08); fluorescence
panels (6) have a median mean OD of 0.66 and more, against 0.32 at most in bright field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError

Od = NDArray[np.floating]
"""(n, 3) log10 optical density in red, green, blue against the slide's white point."""

Kind = Literal["ihc", "he", "fluorescence", "unstained"]

FLUORESCENCE_OD: Final = 0.55
PINK: Final = 0.125
EOSIN_PINK: Final = 0.2
EOSIN_RED: Final = 0.6
MIN_EOSIN: Final = 0.04
TILT: Final = 0.1
STAINED_SUM: Final = 0.15
SATURATED: Final = 1.5
MIN_STAINED: Final = 0.01


@dataclass(frozen=True, slots=True)
class Appearance:
    """The kind of picture and the figures that say so.

    Parameters
    ----------
    kind
        ``ihc``, ``he``, ``fluorescence`` or ``unstained``.
    evidence
        ``median_od`` (mean of channels), ``stained`` (share of pixels), ``pink`` (the median
        described above), ``eosin``, ``brown`` and ``blue`` (shares of the stained pixels). Shares
        are 0 to 1.
    """

    kind: Kind
    evidence: Mapping[str, float]


def looks_like(od_pixels: Od) -> Appearance:
    """Tell IHC, H&E, fluorescence and unstained pictures apart.

    Parameters
    ----------
    od_pixels
        (n, 3) log10 OD of tissue pixels against the white point, or of the whole picture where no
        tissue was found (a dark field has none).

    Returns
    -------
    Appearance

    Raises
    ------
    InputError
        The array is not (n, 3), or holds values that are not finite.

    Examples
    --------
    >>> looks_like(np.full((100, 3), (0.07, 0.4, 0.1))).kind
    'he'
    >>> looks_like(np.zeros((100, 3))).kind
    'unstained'
    """
    od = checked_od(od_pixels, 400_000)
    total = od.sum(axis=1)
    median_od = float(np.median(total)) / 3 if len(od) else 0.0
    stained = (total > STAINED_SUM) & (od.max(axis=1) < SATURATED)
    share = float(stained.mean()) if len(od) else 0.0
    pink = eosin = brown = blue = 0.0
    if stained.any():
        # the darker half: white-point errors tilt the hue of pale pixels
        dark = stained & (total >= np.median(total[stained]))
        red_od, green_od, blue_od = od[dark].T
        pink = float(np.median((green_od - (red_od + blue_od) / 2) / total[dark]))
        pinkish = _eosin(od[stained])
        eosin = float(pinkish.mean())
        # all of them: beside strong DAB the counterstain is in the paler half
        tilt = (od[stained, 2] - od[stained, 0]) / total[stained]
        brown = float(((tilt > TILT) & ~pinkish).mean())
        blue = float(((tilt < -TILT) & ~pinkish).mean())
    kind: Kind = "ihc"
    if median_od > FLUORESCENCE_OD:
        kind = "fluorescence"
    elif share < MIN_STAINED:
        kind = "unstained"
    elif pink > PINK and eosin > MIN_EOSIN:
        kind = "he"
    evidence = {
        "median_od": median_od,
        "stained": share,
        "pink": pink,
        "eosin": eosin,
        "brown": brown,
        "blue": blue,
    }
    return Appearance(kind, MappingProxyType(evidence))


def _eosin(od: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels that eosin coloured: pink, with little red absorbed."""
    red_od, green_od, blue_od = od.T
    pink = green_od - (red_od + blue_od) / 2 > EOSIN_PINK * od.sum(axis=1)
    return np.asarray(pink & (red_od < EOSIN_RED * green_od))


def checked_od(od_pixels: Od, max_pixels: int) -> NDArray[np.float64]:
    """Return finite (n, 3) densities, every k-th when there are more than ``max_pixels``."""
    od = np.asarray(od_pixels, dtype=np.float64)
    if od.ndim != 2 or od.shape[1] != 3:
        raise InputError(
            f"optical densities must be (pixels, 3), not {od.shape}",
            hint="pass od[mask], the pixels of tissue",
        )
    if not np.isfinite(od).all():
        raise InputError(
            "optical densities are not all finite", hint="add one to intensities before the log"
        )
    return od[:: max(1, math.ceil(len(od) / max_pixels))]
