"""Morphology of a region in a plane: the outline of marching squares, its area and length.

IBSI defines no shape features in 2-D; these are the ones of 3.1 with one dimension less. The
outline joins the middles of pixel edges between inside and outside, as marching cubes does in a
volume. Each square between four pixel centres is one of six kinds, so counting squares gives area
and length without drawing the line; a square with two opposite corners inside has two separate
corners.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.radiomics.mesh import hull_of
from herscope.respond.radiomics.shape import principal_axes

Values = dict[str, float | None]

SHAPE_2D: Final = (
    *("area_mesh", "area_approx", "perimeter", "perimeter_area", "circularity", "com", "diam"),
    *("pca_maj_axis", "pca_min_axis", "pca_elongation", "area_dens_aabb", "area_dens_conv_hull"),
    "integ_int",
)


def shape2d_features(
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    image: NDArray[np.float64],
    spacing_mm: tuple[float, ...],
) -> Values:
    """Measure a region of a plane.

    Parameters
    ----------
    mask, inside, image
        ``(y, x)``: the mask, the mask after resegmentation, intensities.
    spacing_mm
        ``(y, x)``.

    Returns
    -------
    dict
        ``morph2d_..`` of :data:`SHAPE_2D` in mm and mm². Circularity is the perimeter of the circle
        of equal area over the perimeter, 1 for a circle.

    Examples
    --------
    >>> square = np.ones((10, 10), np.bool_)
    >>> values = shape2d_features(square, square, np.ones((10, 10)), (0.5, 0.5))
    >>> values["morph2d_area_approx"], round(values["morph2d_area_mesh"], 3)
    (25.0, 24.875)
    """
    step_y, step_x = spacing_mm
    area, perimeter = _outline(mask, step_y, step_x)
    points = _edge_middles(mask) * np.asarray(spacing_mm)
    hull = hull_of(points)
    sides = points.max(axis=0) - points.min(axis=0)
    longest, least = principal_axes(mask, spacing_mm)
    weight = image[inside]
    total = float(weight.sum())
    heavy = (np.argwhere(inside) * weight[:, None]).sum(axis=0) / total if total else None
    off = None if heavy is None else (np.argwhere(mask).mean(axis=0) - heavy) * spacing_mm
    values: Values = {
        "area_mesh": area,
        "area_approx": float(mask.sum()) * step_y * step_x,
        "perimeter": perimeter,
        "perimeter_area": perimeter / area,
        "circularity": 2 * math.sqrt(math.pi * area) / perimeter,
        "com": None if off is None else float(np.linalg.norm(off)),
        "diam": hull.diameter(),
        "pca_maj_axis": longest,
        "pca_min_axis": least,
        "pca_elongation": least / longest if longest > 0 else None,
        "area_dens_aabb": area / float(sides.prod()),
        "area_dens_conv_hull": area / hull.volume,
        "integ_int": area * float(weight.mean()),
    }
    return {f"morph2d_{name}": values[name] for name in SHAPE_2D}


def _outline(mask: NDArray[np.bool_], step_y: float, step_x: float) -> tuple[float, float]:
    """Area in and length of the outline."""
    padded = np.pad(mask, 1).astype(np.int64)
    a, b = padded[:-1, :-1], padded[:-1, 1:]
    c, d = padded[1:, :-1], padded[1:, 1:]
    corners = a + b + c + d
    opposite = int(((corners == 2) & (a == d)).sum())
    along_x = int(((corners == 2) & (a == b)).sum())
    along_y = int(((corners == 2) & (a == c)).sum())
    one, three, four = (int((corners == k).sum()) for k in (1, 3, 4))
    eighths = one + 2 * opposite + 4 * (along_x + along_y) + 7 * three + 8 * four
    corner = math.hypot(step_y, step_x) / 2
    length = corner * (one + three + 2 * opposite) + step_x * along_x + step_y * along_y
    return eighths / 8 * step_y * step_x, length


def _edge_middles(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points (n, 2) half-way between neighbours of which one is inside."""
    padded = np.pad(mask, 1)
    down = np.argwhere(padded[1:] != padded[:-1]) + np.asarray((0.5, 0.0))
    right = np.argwhere(padded[:, 1:] != padded[:, :-1]) + np.asarray((0.0, 0.5))
    return np.concatenate([down, right])
