"""Filtered pictures: Laplacian of Gaussian and a stationary wavelet, after IBSI part 2.

* **Laplacian of Gaussian**: the sum over axes of the second derivative of a Gaussian of ``sigma``
  millimetres, in units of the image per mm². Sampled kernels cut off at 4 sigma, as IBSI's. We
  subtract from the second derivative what the cut leaves of its sum, so that a constant stays 0
  (with -1000 HU of air around it matters), and divide by the spacing of each axis, so that thick
  slices count by their thickness. Not multiplied by sigma².
* **Stationary wavelet**: the first level of the undecimated transform, orthonormal filters of
  length sqrt 2 along every axis; no rotations are averaged. Haar 1910; coiflet of order 1,
  Daubechies, Ten Lectures on Wavelets, 1992, section 8.2. Letters are for x, y, z in turn: HL is
  high-pass along x, low-pass along y. Filters of even length move the picture by half a voxel.

At the border of the image, and only there, it is mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, correlate1d

from herscope.core.errors import InputError
from herscope.respond.radiomics.spec import RadiomicsSpec

Array = NDArray[np.float64]

TRUNCATE: Final = 4.0
"""Standard deviations at which a Gaussian is cut off (IBSI part 2)."""
FINEST: Final = 0.5
"""Least sigma in voxels: below it, sampled second derivatives are noise."""

_ROOT2, _ROOT7 = math.sqrt(2.0), math.sqrt(7.0)
LOW_PASS: Final[dict[str, tuple[float, ...]]] = {
    "haar": (1 / _ROOT2, 1 / _ROOT2),
    "coif1": tuple(
        part / (16 * _ROOT2)
        for part in (
            *(-3 + _ROOT7, 1 - _ROOT7, 14 - 2 * _ROOT7, 14 + 2 * _ROOT7, 5 + _ROOT7, 1 - _ROOT7),
        )
    ),
}
"""Low-pass filters of unit length, in the order in which they are convolved."""


def high_pass(low: tuple[float, ...]) -> tuple[float, ...]:
    """Return the quadrature mirror of a low-pass filter.

    >>> high_pass((3.0, 4.0))
    (-4.0, 3.0)
    """
    return tuple((-1.0) ** (k + 1) * value for k, value in enumerate(reversed(low)))


def picture_names(spec: RadiomicsSpec, *, flat: bool) -> list[str]:
    """Return the names of the pictures a Spec asks for; the empty one is the original.

    Examples
    --------
    >>> picture_names(RadiomicsSpec(log_sigma_mm=(2.0,), wavelet="haar"), flat=True)
    ['', 'wavelet_haar_LL', 'wavelet_haar_LH', 'wavelet_haar_HL', 'wavelet_haar_HH', 'log_2mm']
    """
    names = [""] if spec.original else []
    if spec.wavelet != "none":
        names += [f"wavelet_{spec.wavelet}_{''.join(w)}" for w in product("LH", repeat=3 - flat)]
    return names + [f"log_{sigma:g}mm" for sigma in spec.log_sigma_mm]


def margin_voxels(
    spec: RadiomicsSpec, spacing_mm: tuple[float, ...], *, flat: bool
) -> tuple[int, ...]:
    """Return how far beyond a region its filtered pictures look: voxels ``(z, y, x)``."""
    taps = len(LOW_PASS[spec.wavelet]) if spec.wavelet != "none" else 0
    widest = max(spec.log_sigma_mm, default=0.0)
    return tuple(
        0 if flat and axis == 0 else max(taps, math.ceil(TRUNCATE * widest / step))
        for axis, step in enumerate(spacing_mm)
    )


def filtered(
    image: Array, spacing_mm: tuple[float, ...], spec: RadiomicsSpec, *, flat: bool
) -> Iterator[tuple[str, Array]]:
    """Make the pictures of :func:`picture_names`, one at a time.

    Parameters
    ----------
    image
        ``(z, y, x)`` float64.
    spacing_mm
        ``(z, y, x)``.
    spec
        What to make.
    flat
        Filter inside slices only.

    Raises
    ------
    InputError
        A sigma below half a voxel.
    """
    if spec.original:
        yield "", image
    if spec.wavelet != "none":
        yield from _wavelet(image, spec.wavelet, flat=flat)
    for sigma in spec.log_sigma_mm:
        yield f"log_{sigma:g}mm", laplacian_of_gaussian(image, spacing_mm, sigma, flat=flat)


def laplacian_of_gaussian(
    image: Array, spacing_mm: tuple[float, ...], sigma_mm: float, *, flat: bool
) -> Array:
    """Return the Laplacian of the image blurred with ``sigma_mm``, per mm².

    Examples
    --------
    A bright spot is a valley:

    >>> spot = np.zeros((1, 21, 21)); spot[0, 10, 10] = 1.0
    >>> bool(laplacian_of_gaussian(spot, (1.0, 1.0, 1.0), 2.0, flat=True)[0, 10, 10] < 0)
    True
    """
    axes = [axis for axis in range(3) if not (flat and axis == 0)]
    coarsest = max(spacing_mm[axis] for axis in axes)
    if sigma_mm < FINEST * coarsest:
        raise InputError(
            f"a Laplacian of Gaussian of {sigma_mm:g} mm is finer than voxels of {coarsest:g} mm "
            f"can show (limit {FINEST * coarsest:g} mm)",
            hint="resample to finer voxels (resample_to_mm), stay in slices (force_2d), or take a "
            "wider log_sigma_mm",
        )
    out = np.zeros_like(image)
    kernels = {axis: _kernels(sigma_mm, spacing_mm[axis]) for axis in axes}
    for second in axes:
        part = image
        for axis in axes:
            part = correlate1d(part, kernels[axis][axis == second], axis=axis, mode="reflect")
        out += part
    return out


def _kernels(sigma_mm: float, step_mm: float) -> tuple[Array, Array]:
    """Gaussian of sum 1, and its second derivative per mm², of sum 0."""
    reach = int(TRUNCATE * sigma_mm / step_mm + 0.5)
    away = np.arange(-reach, reach + 1) * step_mm
    gaussian = np.exp(-0.5 * (away / sigma_mm) ** 2)
    gaussian /= gaussian.sum()
    second = gaussian * ((away / sigma_mm) ** 2 - 1) / sigma_mm**2
    return gaussian, second - gaussian * second.sum()


def _wavelet(image: Array, name: str, *, flat: bool) -> Iterator[tuple[str, Array]]:
    """First level of the stationary transform, letters in the order x, y, z."""
    low = LOW_PASS[name]
    taps = {"L": np.asarray(low), "H": np.asarray(high_pass(low))}

    def split(part: Array, axis: int, letters: str) -> Iterator[tuple[str, Array]]:
        if axis < (1 if flat else 0):
            yield letters, part
            return
        for letter in "LH":
            passed = convolve1d(part, taps[letter], axis=axis, mode="reflect")
            yield from split(passed, axis - 1, letters + letter)

    for letters, part in split(image, 2, ""):
        yield f"wavelet_{name}_{letters}", part
