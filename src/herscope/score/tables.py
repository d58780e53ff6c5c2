"""The tables of a scored slide: one row a cell, one row a tile and compartment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from herscope.measure.completeness import MEMBRANE_CLASSES, SECTORS
from herscope.measure.intensity import grade_counts
from herscope.score.block import BlockResult, Cells
from herscope.score.her2.membranes import classify_cells
from herscope.score.summary import Totals
from herscope.segment.compartments import CODE_NAMES, N_CODES

if TYPE_CHECKING:
    from herscope.score.plan import SlidePlan

GEOPARQUET_VERSION: Final = "1.1.0"
_NAMES: Final = [CODE_NAMES[code] for code in range(N_CODES - 1)]


def cell_table(plan: SlidePlan, totals: Totals) -> pa.Table:
    """One row a cell, in raster order of the nuclei's summits.

    Returns
    -------
    pyarrow.Table
        ``x_um``, ``y_um`` (nucleus centroid), ``area_um2`` (cell), ``nucleus_area_um2``,
        ``compartment`` (tumor, stroma, other), ``grade`` (0 to 3), ``od`` (the graded DAB optical
        density), ``nucleus_od``, ``cytoplasm_od``, and ``nucleus`` and ``cell`` as WKB polygons in
        level-0 pixels (GeoParquet); for membrane markers also those of :func:`_membrane_columns`.
    """
    grid, info, cells = plan.grid, plan.info, totals.cells
    um_x, um_y = grid.scale_x * info.mpp_x, grid.scale_y * info.mpp_y
    names = pa.DictionaryArray.from_arrays(
        pa.array(cells.code.astype(np.int8)), pa.array(_NAMES)
    ).cast(pa.string())
    columns: dict[str, Any] = {
        "x_um": pa.array(cells.x * um_x),
        "y_um": pa.array(cells.y * um_y),
        "area_um2": pa.array((cells.cell_px * um_x * um_y).astype(np.float32)),
        "nucleus_area_um2": pa.array((cells.nucleus_px * um_x * um_y).astype(np.float32)),
        "compartment": names,
        "grade": pa.array(cells.grade),
        "od": pa.array(cells.od.astype(np.float32)),
        "nucleus_od": pa.array(cells.nucleus_od.astype(np.float32)),
        "cytoplasm_od": pa.array(cells.cytoplasm_od.astype(np.float32)),
        **(_membrane_columns(plan, cells) if plan.marker.target == "membrane" else {}),
        "nucleus": pa.array(cells.nucleus, pa.binary()),
        "cell": pa.array(cells.cell, pa.binary()),
    }
    geometry = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}
    meta = {
        "version": GEOPARQUET_VERSION,
        "primary_column": "cell",
        "columns": {"cell": geometry, "nucleus": geometry},
    }
    return pa.table(columns).replace_schema_metadata({"geo": json.dumps(meta)})


def _membrane_columns(plan: SlidePlan, cells: Cells) -> dict[str, Any]:
    """Columns of the membrane.

    ``sectors`` (32 milli-OD above the cytoplasm, -32768 where unseen), ``radius_um`` (32 distances
    of the membrane from ``centre_x_um``, ``centre_y_um``), ``completeness_1`` to ``_3`` (share at
    the three cut-offs, NaN when nothing was seen), ``membrane_class``, ``u_shaped`` and
    ``found_by`` (nucleus or rim).
    """
    grid, info = plan.grid, plan.info
    classes, counts = classify_cells(plan.spec, cells)
    names = pa.array([*MEMBRANE_CLASSES, "not_evaluable"])
    shares = counts.shares()
    radius = (cells.radius * (grid.mpp / 16)).astype(np.float32)
    return {
        "sectors": pa.FixedSizeListArray.from_arrays(pa.array(cells.sectors.ravel()), SECTORS),
        "radius_um": pa.FixedSizeListArray.from_arrays(pa.array(radius.ravel()), SECTORS),
        "centre_x_um": pa.array((cells.centre[:, 0] + 0.5) * grid.scale_x * info.mpp_x),
        "centre_y_um": pa.array((cells.centre[:, 1] + 0.5) * grid.scale_y * info.mpp_y),
        **{f"completeness_{k + 1}": pa.array(shares[:, k]) for k in range(3)},
        "membrane_class": pa.DictionaryArray.from_arrays(pa.array(classes.code), names).cast(
            pa.string()
        ),
        "u_shaped": pa.array(classes.u_shaped),
        "found_by": pa.array(np.where(cells.by_rim, "rim", "nucleus").astype(object), pa.string()),
    }


def tile_table(plan: SlidePlan, results: Sequence[BlockResult], totals: Totals) -> pa.Table:
    """One row a tile and compartment that holds tissue.

    Returns
    -------
    pyarrow.Table
        ``x_px``, ``y_px``, ``width_px``, ``height_px`` (level 0), ``compartment``, ``tissue_px``
        (working pixels), ``area_um2``, ``n0`` to ``n3`` (cells), ``p0`` to ``p3`` (pixels of
        cells) and ``od_histogram`` (256 counts in steps of 0.01 optical density).
    """
    grid, info = plan.grid, plan.info
    um2 = grid.scale_x * info.mpp_x * grid.scale_y * info.mpp_y
    edge = plan.tile.working_px
    per_row = -(-grid.width_px // edge)
    cells = totals.cells
    place = (cells.seed_y // edge) * per_row + cells.seed_x // edge
    key = (place * N_CODES + cells.code) * 4 + cells.grade
    rows = -(-grid.height_px // edge) * per_row
    counts = np.bincount(key, minlength=rows * N_CODES * 4).reshape(rows, N_CODES, 4)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("x_px", "y_px", "width_px", "height_px", "compartment", "tissue_px")
    }
    graded: list[Any] = []
    histograms: list[Any] = []
    for result in sorted(results, key=lambda r: r.index):
        for i, tile in enumerate(result.tiles):
            number = tile.y // edge * per_row + tile.x // edge
            for name in dict.fromkeys(_NAMES):
                codes = [code for code, what in CODE_NAMES.items() if what == name]
                tissue = int(result.tissue_px[i, codes].sum())
                n = counts[number, codes].sum(axis=0)
                if tissue == 0 and not n.any():
                    continue
                columns["x_px"].append(round(tile.x * grid.scale_x))
                columns["y_px"].append(round(tile.y * grid.scale_y))
                columns["width_px"].append(round(tile.width * grid.scale_x))
                columns["height_px"].append(round(tile.height * grid.scale_y))
                columns["compartment"].append(name)
                columns["tissue_px"].append(tissue)
                graded.append(n)
                histograms.append(result.histograms[i, codes].sum(axis=0))
    n = np.array(graded, np.int64).reshape(-1, 4)
    h = np.array(histograms, np.int64).reshape(-1, 256)
    p = grade_counts(h, plan.spec.grading)
    table: dict[str, Any] = dict(columns)
    table["area_um2"] = np.array(columns["tissue_px"], np.float64) * um2
    table |= {f"n{g}": n[:, g] for g in range(4)} | {f"p{g}": p[:, g] for g in range(4)}
    table["od_histogram"] = pa.FixedSizeListArray.from_arrays(pa.array(h.ravel()), 256)
    return pa.table(table)
