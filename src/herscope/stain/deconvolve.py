"""Colour deconvolution to optical density in one fused pass.

Optical density of a channel is ``-log10((I + 1) / (W + 1))`` with W the slide's own white point
(0 to 255), so that no logarithm of zero exists. The amounts of haematoxylin and DAB are the
least-squares coordinates on (haematoxylin, DAB, residual): ``OD @ inverse(matrix)`` (Ruifrok and
Johnston 2001). Each channel has 256 values, so the product is a sum of three table entries; the
entries of all outputs are packed into one 64-bit number, so that a pixel costs three look-ups.

Results are whole numbers of milli-OD (1000 = one unit of log10 optical density), so that every sum
over pixels is exact and independent of order. Negative amounts are kept: noise around no stain has
mean zero, and a clamp would turn it into stain. scikit-image divides by ln(1e-6), so its numbers
are about one sixth of these, and clamps negatives.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import StainVectors, Triple

MILLI_OD: Final = 1000
_FRACTION_BITS: Final = 4
_FIELD_BITS: Final = 21

MilliOd = NDArray[np.int16]
"""(height, width), log10 optical density times 1000."""


def od_table(white: Triple) -> NDArray[np.float64]:
    """(3, 256): log10 optical density of every 8-bit value of red, green and blue.

    Examples
    --------
    >>> table = od_table((255.0, 255.0, 255.0))
    >>> float(table[0, 255]), round(float(table[0, 0]), 4)
    (-0.0, 2.4082)
    """
    values = np.arange(256, dtype=np.float64)[None, :] + 1.0
    return -np.log10(values / (np.asarray(white, dtype=np.float64)[:, None] + 1.0))


class DeconvolutionTable(NamedTuple):
    """What each channel's value adds to the outputs.

    ``packed`` is (3, 256) int64, by channel and value: three fields of 21 bits, haematoxylin
    lowest, then DAB, then the nuclear signal, in sixteenths of a milli-OD. The three fields of a
    pixel's sum are larger than the amounts by ``bias`` milli-OD, so that none is ever negative.
    """

    packed: NDArray[np.int64]
    bias: int


def deconvolution_table(
    vectors: StainVectors, white: Triple, *, nuclear_dab_share: float = 1.0
) -> DeconvolutionTable:
    """Tabulate what each channel's value adds to haematoxylin, DAB and the nuclear signal.

    The nuclear signal is the optical density in red, where haematoxylin absorbs, brown nuclei
    absorb as well and eosin does not. ``nuclear_dab_share`` (0 to 1) is the share of DAB's own red
    absorption that is left in it: 1 for nuclear markers, 0 for membrane and cytoplasmic ones, whose
    brown is no sign of a nucleus.

    Raises
    ------
    InputError
        The vectors are so close to each other that amounts leave the range of 65 OD.
    """
    density = od_table(white)
    inverse = np.linalg.inv(vectors.matrix())[:, :2]  # (channel, stain)
    amounts = density[None] * inverse.T[:, :, None]
    nuclear = -(1.0 - nuclear_dab_share) * vectors.dab[0] * amounts[1]
    nuclear[0] += density[0]
    table = np.concatenate([amounts, nuclear[None]])  # (output, channel, value)
    steps = np.rint(table * (MILLI_OD << _FRACTION_BITS)).astype(np.int64)
    lowest = steps.min(axis=2)
    bias = max(0, -int(lowest.sum(axis=1).min()) >> _FRACTION_BITS) + 1
    highest = int(steps.max(axis=2).sum(axis=1).max()) + (bias << _FRACTION_BITS)
    if highest >= 1 << (_FIELD_BITS - 1):
        raise InputError(
            f"stain vectors {vectors.name!r} are {vectors.angle_deg:.1f}° apart: amounts of stain "
            "leave the measurable range",
            hint="use vectors that lie further apart",
        )
    # Half a milli-OD is added so that dropping the fraction rounds; it goes to the red channel.
    start = (bias << _FRACTION_BITS) + (1 << (_FRACTION_BITS - 1))
    packed = np.zeros((3, 256), np.int64)
    for output in range(3):
        for channel in range(3):
            entry = steps[output, channel] - lowest[output, channel]
            if channel == 0:
                entry = entry + start + lowest[output].sum()
            packed[channel] += entry << (_FIELD_BITS * output)
    return DeconvolutionTable(packed, bias)


class Stains(NamedTuple):
    """Amounts in milli-OD, each (height, width) int16."""

    hematoxylin: MilliOd
    dab: MilliOd
    nuclear: MilliOd


def deconvolve(rgb: Rgb, table: DeconvolutionTable) -> Stains:
    """Split an image into haematoxylin, DAB and the nuclear signal.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8.
    table
        From :func:`deconvolution_table`.

    Examples
    --------
    >>> from herscope.stain.vectors import RUIFROK_JOHNSTON
    >>> white = np.full((1, 1, 3), 255, np.uint8)
    >>> stains = deconvolve(white, deconvolution_table(RUIFROK_JOHNSTON, (255.0, 255.0, 255.0)))
    >>> [int(amount[0, 0]) for amount in stains]
    [0, 0, 0]
    """
    out = np.empty((3, *rgb.shape[:2]), np.int16)
    pixels = np.ascontiguousarray(rgb).reshape(-1)
    _deconvolve(pixels, table.packed, table.bias, out.reshape(3, -1))
    return Stains(out[0], out[1], out[2])


def nuclear_signal(stains: Stains) -> NDArray[np.uint16]:
    """Cut the nuclear signal to 0 to 4 OD, as nuclei are looked for in it; milli-OD."""
    return np.clip(stains.nuclear, 0, 4 * MILLI_OD).astype(np.uint16)


@njit(cache=True, nogil=True)
def _deconvolve(rgb, packed, bias, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    red, green, blue = packed[0], packed[1], packed[2]
    first, second, third = out[0], out[1], out[2]
    field = (1 << _FIELD_BITS) - 1
    for i in range(first.size):
        total = red[rgb[3 * i]] + green[rgb[3 * i + 1]] + blue[rgb[3 * i + 2]]
        first[i] = ((total & field) >> _FRACTION_BITS) - bias
        second[i] = (((total >> _FIELD_BITS) & field) >> _FRACTION_BITS) - bias
        third[i] = (total >> (2 * _FIELD_BITS + _FRACTION_BITS)) - bias
