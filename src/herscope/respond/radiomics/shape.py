"""Morphology of a volume, IBSI 3.1: size, roundness, axes and densities.

Everything is of the mask before resegmentation but the shift of the centre of mass and the
integrated intensity, which need intensities. Principal axes are 4 times the square root of the
eigenvalues of the voxel centres' covariance (divided by n - 1, which IBSI's values need). Oriented
minimum bounding boxes and minimum volume enclosing ellipsoids are left out: IBSI reached no
consensus on their values.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.radiomics.mesh import surface

Values = dict[str, float | None]

LEGENDRE_TERMS: Final = 20
"""Of the series for the area of an ellipsoid (IBSI 3.1.20)."""

SHAPE: Final = (
    *("volume", "vol_approx", "area_mesh", "av", "comp_1", "comp_2", "sph_dispr", "sphericity"),
    *("asphericity", "com", "diam", "pca_maj_axis", "pca_min_axis", "pca_least_axis"),
    *("pca_elongation", "pca_flatness", "vol_dens_aabb", "area_dens_aabb", "vol_dens_aee"),
    *("area_dens_aee", "vol_dens_conv_hull", "area_dens_conv_hull", "integ_int"),
)


def shape_features(
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    image: NDArray[np.float64],
    spacing_mm: tuple[float, ...],
) -> Values:
    """Measure a volume.

    Parameters
    ----------
    mask
        ``(z, y, x)``, at least one voxel: the morphological mask.
    inside
        ``(z, y, x)``, at least one voxel: the intensity mask, after resegmentation.
    image
        ``(z, y, x)`` intensities.
    spacing_mm
        ``(z, y, x)``.

    Returns
    -------
    dict
        ``morph_..`` of :data:`SHAPE`, in mm, mm² and mm³; None for axes and ellipsoids of a region
        that is flat, and for what has no spread.

    Examples
    --------
    >>> ball = np.linalg.norm(np.indices((21, 21, 21)) - 10.0, axis=0) <= 9
    >>> values = shape_features(ball, ball, np.ones(ball.shape), (1.0, 1.0, 1.0))
    >>> round(values["morph_sphericity"], 1), round(values["morph_diam"])
    (0.9, 19)
    """
    mesh = surface(mask, spacing_mm)
    volume, area = mesh.volume_mm3(), mesh.area_mm2()
    hull = mesh.hull()
    sides = mesh.points.max(axis=0) - mesh.points.min(axis=0)
    box_area = 2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[2] * sides[0])
    ratio = 36 * math.pi * volume**2
    voxel = math.prod(spacing_mm)
    values: Values = {
        "volume": volume,
        "vol_approx": float(mask.sum()) * voxel,
        "area_mesh": area,
        "av": area / volume,
        "comp_1": volume / (math.sqrt(math.pi) * area**1.5),
        "comp_2": ratio / area**3,
        "sph_dispr": area / ratio ** (1 / 3),
        "sphericity": ratio ** (1 / 3) / area,
        "asphericity": (area**3 / ratio) ** (1 / 3) - 1,
        "com": _shift(mask, inside, image, spacing_mm),
        "diam": hull.diameter(),
        "vol_dens_aabb": volume / float(sides.prod()),
        "area_dens_aabb": area / float(box_area),
        "vol_dens_conv_hull": volume / hull.volume,
        "area_dens_conv_hull": area / hull.area,
        "integ_int": volume * float(image[inside].mean()),
    }
    values |= _ellipsoid(mask, spacing_mm, volume, area)
    return {f"morph_{name}": values[name] for name in SHAPE}


def principal_axes(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> list[float]:
    """Return the lengths of the principal axes in mm, longest first; 0 where flat.

    Examples
    --------
    >>> principal_axes(np.ones((1, 1, 3), np.bool_), (1.0, 1.0, 1.0))
    [4.0, 0.0, 0.0]
    """
    points = np.argwhere(mask) * np.asarray(spacing_mm)
    points = points - points.mean(axis=0)
    eigen = np.linalg.eigvalsh(points.T @ points / max(1, len(points) - 1))[::-1]
    # What is below a billionth of the longest axis is the rounding of a flat region.
    floor = max(float(eigen[0]), 0.0) * 1e-12
    return [4 * math.sqrt(e) if e > floor else 0.0 for e in eigen.tolist()]


def _ellipsoid(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...], volume: float, area: float
) -> Values:
    """Principal axes, and densities within the ellipsoid they span."""
    longest, middle, least = principal_axes(mask, spacing_mm)
    values: Values = {
        "pca_maj_axis": longest,
        "pca_min_axis": middle,
        "pca_least_axis": least,
        "pca_elongation": middle / longest if longest > 0 else None,
        "pca_flatness": least / longest if longest > 0 else None,
        "vol_dens_aee": None,
        "area_dens_aee": None,
    }
    if least > 0:
        a, b, c = longest / 2, middle / 2, least / 2
        values["vol_dens_aee"] = volume / (4 / 3 * math.pi * a * b * c)
        values["area_dens_aee"] = area / _ellipsoid_area(a, b, c)
    return values


def _ellipsoid_area(a: float, b: float, c: float) -> float:
    """Area of an ellipsoid with half axes a >= b >= c > 0, by Legendre polynomials."""
    alpha, beta = math.sqrt(1 - (b / a) ** 2), math.sqrt(1 - (c / a) ** 2)
    if alpha * beta == 0:
        # The series divides by alpha times beta; with b = a only its even terms survive, and
        # those (alpha beta)^n P_n(x) tend to beta^(2 n) terms of the spheroid: use its formula.
        return _oblate_area(a, c)
    argument = (alpha**2 + beta**2) / (2 * alpha * beta)
    before, now, total = 1.0, argument, 0.0
    for n in range(LEGENDRE_TERMS + 1):
        legendre = 1.0 if n == 0 else now
        total += (alpha * beta) ** n / (1 - 4 * n**2) * legendre
        if n >= 1:
            before, now = now, ((2 * n + 1) * argument * now - n * before) / (n + 1)
    return 4 * math.pi * a * b * total


def _oblate_area(a: float, c: float) -> float:
    """Area of an ellipsoid with two equal longer half axes a and the shorter c."""
    if c >= a:
        return 4 * math.pi * a**2
    e = math.sqrt(1 - (c / a) ** 2)
    return 2 * math.pi * a**2 * (1 + (1 - e**2) / e * math.atanh(e))


def _shift(
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    image: NDArray[np.float64],
    spacing_mm: tuple[float, ...],
) -> float | None:
    """Distance of the centre of the mask to that of the intensities; None where these sum to 0."""
    weight = image[inside]
    total = float(weight.sum())
    if total == 0:
        return None
    centre = np.argwhere(mask).mean(axis=0)
    heavy = (np.argwhere(inside) * weight[:, None]).sum(axis=0) / total
    return float(np.linalg.norm((centre - heavy) * np.asarray(spacing_mm)))
