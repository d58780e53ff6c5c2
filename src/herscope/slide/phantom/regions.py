"""Tissue classes of a phantom as polygons: the zero lines of the fields that were drawn.

Marching squares on the same 4 µm lattice the pixels interpolate, so a border is right to well under
a micrometre. The classes are a partition: what is not tumour, fat or other in the tissue is stroma;
lumens are background. Other is normal glands, the walls of large vessels and necrosis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from skimage.measure import find_contours

from herscope.slide.phantom.fields import (
    FAT_FIELD,
    GLAND_PLANE,
    LUMEN_PLANE,
    NECROSIS_PLANE,
    NORMAL_PLANE,
    STEP_UM,
    TISSUE_FIELD,
    TUMOR_FIELD,
    VESSEL_PLANE,
    node_range,
)
from herscope.slide.phantom.planes import planes
from herscope.slide.phantom.render import Plan

FAR = -1e3
"""Field value outside the slide, so that every border closes there."""


def region_polygons(plan: Plan, box_px: tuple[int, int, int, int]) -> dict[str, BaseGeometry]:
    """Polygons of Tumor, Stroma, Fat and Background in level-0 pixels, cut to a rectangle.

    A slide with structures has Other as well.

    Parameters
    ----------
    plan
        The slide.
    box_px
        x0, y0, x1, y1 in level-0 pixels.

    Returns
    -------
    dict
        Class name, as QuPath writes it, to a polygon, a multipolygon, or an empty geometry.
    """
    mpp = plan.spec.mpp
    x0, y0, x1, y1 = box_px
    i0, j0, columns, rows = node_range(x0 * mpp, y0 * mpp, x1 * mpp, y1 * mpp)
    lattice, shapes = planes(plan.fields, plan.structures, i0, j0, columns, rows)
    frame = shapely.box(x0, y0, x1, y1)
    scale = STEP_UM / mpp

    def inside(field: NDArray[np.float64]) -> BaseGeometry:
        return shapely.intersection(_area(field, i0, j0, scale), frame)

    tissue = inside(lattice[TISSUE_FIELD])
    if shapes is not None:
        return _structured(lattice, inside, tissue, frame)
    fat = shapely.intersection(inside(lattice[FAT_FIELD]), tissue)
    lean = shapely.difference(tissue, fat)
    tumor = shapely.intersection(inside(lattice[TUMOR_FIELD]), lean)
    return {
        "Tumor": _surfaces(tumor),
        "Stroma": _surfaces(shapely.difference(lean, tumor)),
        "Fat": _surfaces(fat),
        "Background": _surfaces(shapely.difference(frame, tissue)),
    }


def _structured(
    lattice: NDArray[np.float64],
    inside: Callable[[NDArray[np.float64]], BaseGeometry],
    tissue: BaseGeometry,
    frame: BaseGeometry,
) -> dict[str, BaseGeometry]:
    """Classes of a slide with structures, in the order in which ``fields.class_at`` asks."""
    left = shapely.difference(tissue, inside(lattice[LUMEN_PLANE]))
    whole = left
    found: dict[str, list[BaseGeometry]] = {"Tumor": [], "Other": [], "Fat": []}
    for name, plane in (
        ("Tumor", GLAND_PLANE),
        ("Other", NORMAL_PLANE),
        ("Other", VESSEL_PLANE),
        ("Other", NECROSIS_PLANE),
        ("Fat", FAT_FIELD),
        ("Tumor", TUMOR_FIELD),
    ):
        part = inside(lattice[plane])
        found[name].append(shapely.intersection(part, left))
        left = shapely.difference(left, part)
    classes = {name: _surfaces(shapely.union_all(parts)) for name, parts in found.items()}
    return {
        "Tumor": classes["Tumor"],
        "Stroma": _surfaces(left),
        "Fat": classes["Fat"],
        "Other": classes["Other"],
        "Background": _surfaces(shapely.difference(frame, whole)),
    }


def _area(field: NDArray[np.float64], i0: int, j0: int, scale: float) -> BaseGeometry:
    """Where a field is positive, in pixels."""
    if (field > 0).all():
        rows, columns = field.shape
        return shapely.box(
            i0 * scale, j0 * scale, (i0 + columns - 1) * scale, (j0 + rows - 1) * scale
        )
    padded = np.pad(field, 1, constant_values=FAR)
    rings = [
        shapely.LinearRing((ring[:, ::-1] + (i0 - 1, j0 - 1)) * scale)
        for ring in find_contours(padded, 0.0)
        if len(ring) > 3
    ]
    # even-odd filling of all rings makes holes and islands in holes
    return shapely.make_valid(shapely.build_area(shapely.GeometryCollection(rings)))


def _surfaces(geometry: BaseGeometry) -> BaseGeometry:
    """Only the polygons of a geometry; touching points and lines have no area."""
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts(geometry))
        if part.geom_type == "Polygon" and part.area > 0
    ]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
