"""What was drawn: one row a cell, polygons of the classes, and the scores that follow.

Densities are means over the very pixels that were painted, before optics, sensor and JPEG. The
grade of a cell is the cut of that mean over its marker's compartment (nucleus, cytoplasm, or the
whole membrane, stained or not), so it is what a perfect measurement would find. For membranes
``stained_od`` has the mean of the stained directions alone and ``completeness_1`` to ``_3`` the
share of the 32 directions at or above each cut: HER2 reading needs both apart.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from herscope.core.errors import InputError, OutputError, UndefinedStatistic
from herscope.slide.phantom.regions import region_polygons
from herscope.slide.phantom.render import Plan, draw_cells, make_plan, nothing_drawn
from herscope.slide.phantom.rows import Piece, truth_piece
from herscope.slide.phantom.spec import PhantomSpec

Compartment = Literal["tumor", "stroma", "other", "all"]

TRUTH_SCHEMA: Final = "herscope.phantom/1"
_PIECE_UM: Final = 1000.0


@dataclass(frozen=True)
class PhantomTruth:
    """Truth of a phantom, or of a rectangle of it.

    Parameters
    ----------
    spec
        The slide.
    cells
        One row a cell: ``cell_id`` (from the place, the same in any rectangle), ``x_um``, ``y_um``
        (centre of the nucleus' area), ``seed_x_um``, ``seed_y_um`` (the point from which directions
        are meant), ``compartment`` (tumor, stroma, other), ``kind``, ``grade`` 0 to 3,
        ``od`` (mean DAB of the marker's compartment), ``nucleus_od``, ``cytoplasm_od``,
        ``membrane_od``, ``hematoxylin_od``, ``nucleus_area_um2``, ``obscured`` (under an
        artefact); ``look`` where the Spec varies it; for membrane stains also ``pattern``,
        ``stained_od``, ``completeness_1``, ``completeness_2``, ``completeness_3``.
    nuclei
        (n, 32, 2) nucleus outlines, x and y in level-0 pixels (a pixel's area is [i, i + 1)).
    outlines
        (n, 64, 2) cell outlines likewise.
    sectors
        (n, 32) membrane DAB by direction from the cell's seed; direction 0 is right, then
        clockwise on the screen. Zeros unless the stain is membrane.
    box_px
        x0, y0, x1, y1 of the rectangle in level-0 pixels.
    """

    spec: PhantomSpec
    cells: pd.DataFrame
    nuclei: NDArray[np.float32]
    outlines: NDArray[np.float32]
    sectors: NDArray[np.float32]
    box_px: tuple[int, int, int, int]

    def regions(self) -> dict[str, BaseGeometry]:
        """Tumor, Stroma, Fat, Background, with structures Other: polygons in level-0 pixels."""
        return dict(self._regions)

    @functools.cached_property
    def _regions(self) -> dict[str, BaseGeometry]:
        return region_polygons(make_plan(self.spec), self.box_px)

    def counts(self, compartment: Compartment = "tumor") -> list[int]:
        """Cells of grade 0, 1+, 2+, 3+."""
        if compartment not in {"tumor", "stroma", "other", "all"}:
            raise InputError(
                f"compartment {compartment!r} is not tumor, stroma, other or all",
                hint="such as 'tumor'",
            )
        rows = self.cells
        if compartment != "all":
            rows = rows[rows["compartment"] == compartment]
        return [int(n) for n in np.bincount(rows["grade"].to_numpy(), minlength=4)]

    def h_score(self, compartment: Compartment = "tumor") -> float:
        """Cell H-score, 0 to 300: 100 x the mean grade."""
        counts = self.counts(compartment)
        return 100.0 * sum(k * n for k, n in enumerate(counts)) / _total(counts, compartment)

    def positive_percent(self, compartment: Compartment = "tumor") -> float:
        """Percentage of cells of grade 1+ or more."""
        counts = self.counts(compartment)
        return 100.0 * sum(counts[1:]) / _total(counts, compartment)

    def summary(self) -> dict[str, Any]:
        """Per-slide numbers; what has no cells is None."""
        out: dict[str, Any] = {}
        areas = {
            name: shape.area * self.spec.mpp**2 / 1e6 for name, shape in self.regions().items()
        }
        names: list[Compartment] = ["tumor", "stroma", "all"]
        if "Other" in areas:
            names.insert(2, "other")
        for name in names:
            counts = self.counts(name)
            some = sum(counts) > 0
            out[name] = {
                "cells": sum(counts),
                "counts": counts,
                "h_score": self.h_score(name) if some else None,
                "positive_percent": self.positive_percent(name) if some else None,
            }
        return {"compartments": out, "area_mm2": areas}

    def write(self, folder: Path, stem: str) -> tuple[Path, Path, Path]:
        """Write ``stem.truth.parquet``, ``stem.truth.json`` and ``stem.annotations.geojson``.

        The parquet file has the columns of ``cells``, ``sectors`` as a list and ``nucleus`` and
        ``cell`` as WKB polygons in level-0 pixels. The GeoJSON opens in QuPath.
        """
        table = folder / f"{stem}.truth.parquet"
        document = folder / f"{stem}.truth.json"
        annotations = folder / f"{stem}.annotations.geojson"
        frame = self.cells.copy()
        frame["sectors"] = list(self.sectors)
        frame["nucleus"] = _wkb(self.nuclei)
        frame["cell"] = _wkb(self.outlines)
        body = {
            "schema": TRUTH_SCHEMA,
            "spec": self.spec.model_dump(mode="json"),
            "spec_fingerprint": self.spec.fingerprint(),
            "width_px": self.spec.width_px,
            "height_px": self.spec.height_px,
            "box_px": list(self.box_px),
            **self.summary(),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(table, index=False)
            document.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
            annotations.write_text(json.dumps(self._features()) + "\n", encoding="utf-8")
        except OSError as cause:
            raise OutputError(
                f"the phantom's truth cannot be written to {folder}: {cause}",
                hint="choose a folder that exists, is writable and has space",
            ) from cause
        return table, document, annotations

    def _features(self) -> dict[str, Any]:
        colors = {
            "Tumor": [200, 0, 0],
            "Stroma": [150, 200, 150],
            "Fat": [200, 200, 0],
            "Other": [255, 200, 0],
        }
        features = [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(shapely.set_precision(shape, 0.01)),
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": colors[name]},
                },
            }
            for name, shape in self.regions().items()
            if name in colors and not shape.is_empty
        ]
        return {"type": "FeatureCollection", "features": features}


def _total(counts: list[int], compartment: str) -> int:
    total = sum(counts)
    if total == 0:
        raise UndefinedStatistic(
            f"there is no cell in {compartment}", hint="counts() works without cells"
        )
    return total


def _wkb(vertices: NDArray[np.float32]) -> list[bytes]:
    """Outlines as WKB polygons, some thousands at a time: the geometry objects are the bulk."""
    out: list[bytes] = []
    for start in range(0, len(vertices), 10_000):
        part = vertices[start : start + 10_000]
        closed = np.concatenate([part, part[:, :1]], axis=1).astype(np.float64)
        out.extend(shapely.to_wkb(np.asarray(shapely.polygons(closed), dtype=object)))
    return out


def phantom_truth(
    spec: PhantomSpec, box_px: tuple[int, int, int, int] | None = None
) -> PhantomTruth:
    """Truth of a phantom without drawing a file.

    Parameters
    ----------
    spec
        The slide.
    box_px
        x0, y0, x1, y1 in level-0 pixels; cells whose seed lies inside. ``None``: the whole slide.

    Examples
    --------
    >>> truth = phantom_truth(PhantomSpec(width_um=200, height_um=200, seed=2))
    >>> sum(truth.counts("tumor")) == int((truth.cells["compartment"] == "tumor").sum())
    True
    """
    plan = make_plan(spec)
    whole = (0, 0, spec.width_px, spec.height_px)
    box = box_px or whole
    if not (whole[0] <= box[0] < box[2] <= whole[2] and whole[1] <= box[1] < box[3] <= whole[3]):
        raise InputError(f"rectangle {box} is empty or leaves the slide {whole}")
    pieces: list[Piece] = []
    nothing = np.zeros((3, 0, 0), dtype=np.float32)
    x0, y0, x1, y1 = (edge * spec.mpp for edge in box)
    # seeds are laid in the straight plane and may bend over the border by a few micrometres
    slack = 6.0
    for top in np.arange(y0 - slack, y1 + slack, _PIECE_UM):
        for left in np.arange(x0 - slack, x1 + slack, _PIECE_UM):
            right, bottom = min(left + _PIECE_UM, x1 + slack), min(top + _PIECE_UM, y1 + slack)
            drawn = draw_cells(plan, (left, top, right, bottom), 0, 0, nothing)
            x, y = drawn.cells.drawn_x, drawn.cells.drawn_y
            owned = drawn.take((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
            pieces.append(truth_piece(plan, owned))
    return truth_of(plan, pieces, box)


def truth_of(plan: Plan, pieces: list[Piece], box_px: tuple[int, int, int, int]) -> PhantomTruth:
    """Assemble the truth of a rectangle from its pieces, in one order whatever they were."""
    filled = [piece for piece in pieces if len(piece.table)]
    if not filled:
        filled = [truth_piece(plan, nothing_drawn())]
    cells = pd.concat([piece.table for piece in filled], ignore_index=True)
    order = np.lexsort((cells["cell_id"], cells["x_um"], cells["y_um"]))
    return PhantomTruth(
        plan.spec,
        cells.iloc[order].reset_index(drop=True),
        np.concatenate([piece.nuclei for piece in filled])[order],
        np.concatenate([piece.outlines for piece in filled])[order],
        np.concatenate([piece.sectors for piece in filled])[order],
        box_px,
    )
