"""Choose a few cells of every membrane class, and cut them out of the slide while it is open.

A completeness is believed when one can look at the circumference it was counted on. Of each class
most of the cells shown are typical ones: their stain profile (the sectors from the brownest to the
palest, so that the direction does not matter) lies nearest to the class's median profile, the
nearest of all first (the medoid, or next to it), the others far apart on the slide, and none so
near the border that its surroundings are cut off while there are others. The last is at
the edge of its class: further from the median than 95 in 100. The choice depends on the cells'
values only, not on the order of the rows, and nothing in it is random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.store import replacing

CROP_UM: Final = 26.0
CROP_PX: Final = 176
PER_CLASS: Final = 4
POOL_PER_PICK: Final = 12
EDGE_PERCENT: Final = 95
UNSEEN: Final = -32768
"""As in :mod:`herscope.measure.completeness`, which is too heavy to import for a number."""

MEMBRANE_COLUMNS: Final = (
    *("sectors", "radius_um", "centre_x_um", "centre_y_um", "membrane_class", "u_shaped"),
    *("completeness_1", "completeness_2", "completeness_3", "found_by"),
)
"""Columns of ``cells.parquet`` that membrane markers have."""

EXAMPLE_CLASSES: Final = (
    "complete_intense",
    "complete_moderate",
    "complete_weak",
    "incomplete_moderate",
    "incomplete_faint",
    "none",
)
EXAMPLE_COLUMNS: Final = (
    *("membrane_class", "typical", "u_shaped", "found_by", "compartment", "x_um", "y_um"),
    *("completeness", "sectors", "ring_xy", "centre_xy", "png"),
)

ReadRgb = Callable[[int, int, int, int], NDArray[np.uint8]]


class Picked(NamedTuple):
    """Row numbers of the example cells, and whether each is typical of its class."""

    rows: NDArray[np.int64]
    typical: list[bool]


def has_membranes(cells: Any) -> bool:
    """Return whether a table of cells has the columns of membrane markers."""
    return set(MEMBRANE_COLUMNS) <= set(cells.column_names)


def pick_membrane_examples(cells: Any, *, per_class: int = PER_CLASS) -> Picked:
    """Return the example cells, class by class from intense to none.

    Parameters
    ----------
    cells
        ``pyarrow.Table`` with the columns of ``cells.parquet`` of a membrane marker. Where there
        are compartments only tumour cells are taken.
    per_class
        Cells per class, the typical ones first, then one at the edge; fewer come back where a
        class has fewer.
    """
    sectors = lists(cells["sectors"], np.int16)
    names = np.asarray(cells["membrane_class"].to_pylist(), dtype=object)
    parts = np.asarray(cells["compartment"].to_pylist(), dtype=object)
    x, y = (np.asarray(cells[name], np.float64) for name in ("centre_x_um", "centre_y_um"))
    counted = parts == "tumor" if {"tumor", "stroma"} & set(parts) else np.ones(len(parts), bool)
    amid = _amid(x) & _amid(y)
    chosen: list[int] = []
    typical: list[bool] = []
    for name in EXAMPLE_CLASSES:
        rows = np.flatnonzero(counted & (names == name))
        if not rows.size:
            continue
        rows = rows[amid[rows]] if amid[rows].sum() >= per_class else rows
        profile = stain_profile(sectors[rows])
        far = np.abs(profile - np.median(profile, axis=0)).sum(axis=1)
        # The canonical order: by distance, then place; rows may come in any order.
        order = np.lexsort((x[rows], y[rows], far))
        rows = rows[order]
        picked = _pick(np.stack([x[rows], y[rows]], axis=1), per_class)
        chosen.extend(int(row) for row in rows[picked])
        whole = rows.size > per_class
        typical.extend(not whole or i + 1 < len(picked) for i in range(len(picked)))
    return Picked(np.asarray(chosen, dtype=np.int64), typical)


def stain_profile(sectors: NDArray[np.int16]) -> NDArray[np.int32]:
    """Sectors of each cell from the brownest to the palest; unseen ones are left out of it.

    Parameters
    ----------
    sectors
        (n, k) milli-OD or ``UNSEEN``.

    Returns
    -------
    (n, k) int32
        Falling; a cell of which only a part was seen is stretched to k values, 0 when unseen.

    Examples
    --------
    >>> stain_profile(np.array([[5, 9, 7, UNSEEN]], np.int16)).tolist()
    [[9, 9, 7, 5]]
    """
    count = sectors.shape[1]
    falling = -np.sort(-sectors.astype(np.int32), axis=1)
    seen = (sectors != UNSEEN).sum(axis=1)
    at = np.arange(count) * seen[:, None] // count
    return np.where(seen[:, None] > 0, np.take_along_axis(falling, at, axis=1), 0)


def cut_membrane_examples(
    read_rgb: ReadRgb,
    cells: Any,
    picked: Picked,
    *,
    mpp_x: float,
    mpp_y: float,
) -> Any:
    """Cut the chosen cells out of the slide, with the points at which they were measured.

    Parameters
    ----------
    read_rgb
        ``read_rgb(x0, y0, width, height)`` in level-0 pixels; white outside the slide.
    cells
        As for :func:`pick_membrane_examples`.
    picked
        From :func:`pick_membrane_examples`.
    mpp_x, mpp_y
        Level-0 µm/px.

    Returns
    -------
    pyarrow.Table
        Columns :data:`EXAMPLE_COLUMNS`: ``png`` (176 x 176 pixels over 26 µm with the centre in
        the middle), ``ring_xy`` (x0, y0, x1, y1, ... of sector 0, 1, ... in pixels of the crop)
        and ``centre_xy``.
    """
    import cv2
    import pyarrow as pa

    width, height = (max(1, round(CROP_UM / mpp)) for mpp in (mpp_x, mpp_y))
    how = cv2.INTER_AREA if max(width, height) >= CROP_PX else cv2.INTER_CUBIC
    scale = np.array([CROP_PX / width, CROP_PX / height])
    few = cells.take(pa.array(picked.rows))
    rows: list[dict[str, Any]] = []
    for cell, usual in zip(few.to_pylist(), picked.typical, strict=True):
        centre = np.array([cell["centre_x_um"] / mpp_x, cell["centre_y_um"] / mpp_y])
        x0, y0 = (round(c - side / 2) for c, side in zip(centre, (width, height), strict=True))
        rgb = np.ascontiguousarray(read_rgb(x0, y0, width, height))
        crop = cv2.resize(rgb, (CROP_PX, CROP_PX), interpolation=how)
        middle = (centre - (x0, y0)) * scale
        reach = _known(np.asarray(cell["radius_um"], np.float64))
        ring = middle + directions(reach.size) * reach[:, None] * scale / (mpp_x, mpp_y)
        rows.append(
            {name: cell[name] for name in EXAMPLE_COLUMNS if name in cell}
            | {
                "typical": usual,
                "completeness": [cell[f"completeness_{k}"] for k in (1, 2, 3)],
                "ring_xy": ring.ravel().tolist(),
                "centre_xy": middle.tolist(),
                "png": cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes(),
            }
        )
    return pa.Table.from_pylist(rows, schema=_schema())


def take_membrane_examples(
    read_rgb: ReadRgb, cells: Any, path: Path, *, mpp_x: float, mpp_y: float
) -> None:
    """Write ``membrane_examples.parquet``; nothing when the cells have no membranes.

    Parameters
    ----------
    read_rgb, cells, mpp_x, mpp_y
        As for :func:`cut_membrane_examples`.
    path
        The file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import pyarrow.parquet as pq

    if not has_membranes(cells):
        return
    picked = pick_membrane_examples(cells)
    table = cut_membrane_examples(read_rgb, cells, picked, mpp_x=mpp_x, mpp_y=mpp_y)
    with replacing(path) as partial:  # the PNGs in it are packed already
        pq.write_table(table, partial, compression="none")


def directions(count: int) -> NDArray[np.float64]:
    """(count, 2) unit vectors x, y of the sectors: 0 points right, then clockwise on the screen.

    Examples
    --------
    >>> directions(4).round().tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-0.0, -1.0]]
    """
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def lists(column: Any, kind: Any) -> NDArray[Any]:
    """Return a column of equally long lists as an array (rows, length)."""
    rows = len(column)
    flat = column.combine_chunks().flatten() if hasattr(column, "chunks") else column.flatten()
    values = np.asarray(flat.to_numpy(zero_copy_only=False), dtype=kind)
    return values.reshape(rows, -1) if rows else values.reshape(0, 32)


def _amid(at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Half a crop or more from the outermost cells, which lie on the slide."""
    if not at.size:
        return np.zeros(0, bool)
    return (at >= at.min() + CROP_UM / 2) & (at <= at.max() - CROP_UM / 2)


def _known(radius_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unseen sectors are marked where the seen ones lie on average; nowhere if there is none."""
    good = np.isfinite(radius_um) & (radius_um > 0)
    return np.where(good, radius_um, np.median(radius_um[good]) if good.any() else np.nan)


def _pick(xy: NDArray[np.float64], count: int) -> list[int]:
    """Positions in arrays that are sorted by distance from the class's median."""
    total = len(xy)
    if total <= count:
        return list(range(total))
    edge = min(total - 1, EDGE_PERCENT * total // 100)
    pool = np.arange(min(edge, (count - 1) * POOL_PER_PICK, max(count - 1, total // 2)))
    picked = [0]
    while len(picked) < count - 1:
        free = pool[~np.isin(pool, picked)]
        # farthest from all that were picked before, the first of equals
        gap = ((xy[free, None] - xy[None, picked]) ** 2).sum(axis=2).min(axis=1)
        picked.append(int(free[np.argmax(gap)]))
    return [*sorted(picked), edge][:count]


def _schema() -> Any:
    import pyarrow as pa

    numbers, text = pa.list_(pa.float32()), pa.string()
    place = pa.float64()
    kinds = (text, pa.bool_(), pa.bool_(), text, text, place, place,
             numbers, pa.list_(pa.int16()), numbers, numbers, pa.binary())  # fmt: skip
    return pa.schema(list(zip(EXAMPLE_COLUMNS, kinds, strict=True)))
