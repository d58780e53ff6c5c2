"""Choose a few cells per grade for the eye, and cut them out of the slide while it is open.

A number is believed when one can look at cells that made it. Two thirds of the cells of a grade are
taken near the grade's median optical density (what the grade usually looks like), the others at
its two edges (where a reader would quarrel). Within each pool cells are taken by farthest-point
sampling in micrometres, so that they do not all come from one corner. The choice depends on the
cells' values and the seed only, not on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import replacing

CROP_UM = 32.0
CROP_PX = 128
POOL_PER_PICK = 12
COLUMNS = ("grade", "compartment", "x_um", "y_um", "od", "png", "nucleus_xy", "cell_xy")

ReadRgb = Callable[[int, int, int, int], NDArray[np.uint8]]


def pick_examples(
    cells: Mapping[str, Any] | Any, *, per_grade: int = 6, seed: int = 0
) -> NDArray[np.int64]:
    """Return the row numbers of the example cells, by grade and, within it, by rising OD.

    Parameters
    ----------
    cells
        ``pyarrow.Table`` or mapping of equally long columns ``x_um``, ``y_um``, ``od`` and
        ``grade`` (0 to 3); where ``compartment`` is given and a grade has enough tumour cells,
        only those are taken.
    per_grade
        Cells per grade, at least 1; fewer come back where a grade has fewer.
    seed
        Seed of the PCG64 generator that picks the first cell of each grade.

    Examples
    --------
    >>> cells = {"x_um": [0, 9, 0, 9], "y_um": [0, 0, 9, 9], "od": [0.1, 0.1, 0.3, 0.7],
    ...          "grade": [0, 0, 1, 3]}
    >>> pick_examples(cells, per_grade=1).tolist() in ([0, 2, 3], [1, 2, 3])
    True
    """
    if per_grade < 1:
        raise InputError(f"per_grade is {per_grade} (smallest allowed: 1)", hint="ask for 6")
    x, y, od = (_numbers(cells, name) for name in ("x_um", "y_um", "od"))
    grade = _numbers(cells, "grade")
    tumor = _is_tumor(cells, grade.size)
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen: list[int] = []
    for level in range(4):
        rows = np.flatnonzero((grade == level) & np.isfinite(od))
        inside = rows[tumor[rows]]
        rows = inside if inside.size >= per_grade else rows
        # The canonical order: by OD, then place. Rows may come in any order (tile size, workers).
        rows = rows[np.lexsort((x[rows], y[rows], od[rows]))]
        picked = _pick_grade(od[rows], np.stack([x[rows], y[rows]], axis=1), per_grade, generator)
        chosen.extend(int(row) for row in rows[np.sort(picked)])
    return np.asarray(chosen, dtype=np.int64)


def cut_examples(
    read_rgb: ReadRgb,
    cells: Any,
    indices: Sequence[int] | NDArray[np.int64],
    *,
    mpp: float,
) -> Any:
    """Cut the chosen cells out of the slide.

    Parameters
    ----------
    read_rgb
        ``read_rgb(x0, y0, width, height)`` in level-0 pixels; white outside the slide.
    cells
        ``pyarrow.Table`` with the columns of ``cells.parquet``; ``nucleus`` and ``cell`` are WKB
        polygons in level-0 pixels.
    indices
        Rows of ``cells``, as :func:`pick_examples` returns them.
    mpp
        Level-0 µm/px.

    Returns
    -------
    pyarrow.Table
        One row a cell: ``grade``, ``compartment``, ``x_um``, ``y_um``, ``od``, ``png`` (RGB,
        128 x 128 px over 32 µm with the cell in the middle), ``nucleus_xy`` and ``cell_xy``
        (x0, y0, x1, y1, ... in pixels of the crop).
    """
    import cv2
    import pyarrow as pa

    side = max(1, round(CROP_UM / mpp))
    scale = CROP_PX / side
    # A crop that is made smaller is averaged; one that is made larger is interpolated.
    how = cv2.INTER_AREA if side >= CROP_PX else cv2.INTER_CUBIC
    few = cells.take(pa.array(np.asarray(indices, dtype=np.int64)))
    rows: list[dict[str, Any]] = []
    for cell in few.to_pylist():
        x0, y0 = _corner(cell["nucleus"], (cell["x_um"] / mpp, cell["y_um"] / mpp), side)
        rgb = np.ascontiguousarray(read_rgb(x0, y0, side, side))
        small = cv2.resize(rgb, (CROP_PX, CROP_PX), interpolation=how)
        png = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
        rows.append(
            {
                "grade": int(cell["grade"]),
                "compartment": cell["compartment"],
                "x_um": cell["x_um"],
                "y_um": cell["y_um"],
                "od": cell["od"],
                "png": png,
                "nucleus_xy": _outline(cell["nucleus"], x0, y0, scale),
                "cell_xy": _outline(cell["cell"], x0, y0, scale),
            }
        )
    return pa.Table.from_pylist(rows, schema=_schema())


def write_examples(table: Any, path: Path) -> None:
    """Write the table of :func:`cut_examples` as Parquet; the PNGs in it are packed already."""
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(table, partial, compression="none")


def _schema() -> Any:
    import pyarrow as pa

    points = pa.list_(pa.float32())
    kinds = (pa.int8(), pa.string(), pa.float64(), pa.float64(), pa.float32())
    return pa.schema(list(zip(COLUMNS, (*kinds, pa.binary(), points, points), strict=True)))


def _pick_grade(
    od: NDArray[np.float64],
    xy: NDArray[np.float64],
    count: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Positions in arrays that are sorted by OD."""
    total = od.size
    if total <= count:
        return np.arange(total)
    edge = count // 6 if count >= 6 else 0
    width = min(total, max(edge, 1) * POOL_PER_PICK)
    middle = np.argsort(np.abs(od - np.median(od)), kind="stable")
    middle = np.sort(middle[: (count - 2 * edge) * POOL_PER_PICK])
    picked = [int(middle[generator.integers(middle.size)])]
    pools = ((middle, count - 2 * edge), (np.arange(width), edge),
             (np.arange(total - width, total), edge))  # fmt: skip
    for pool, wanted in pools:
        have = len(picked) if pool is middle else 0
        for _ in range(wanted - have):
            free = pool[~np.isin(pool, picked)]
            # farthest from all that were picked before, the first of equals
            gap = ((xy[free, None] - xy[None, picked]) ** 2).sum(axis=2).min(axis=1)
            picked.append(int(free[np.argmax(gap)]))
    return np.asarray(picked, dtype=np.int64)


def _numbers(cells: Any, name: str) -> NDArray[np.float64]:
    return np.asarray(cells[name], dtype=np.float64)


def _is_tumor(cells: Any, size: int) -> NDArray[np.bool_]:
    names = getattr(cells, "column_names", None) or list(cells)
    if "compartment" not in names:
        return np.zeros(size, dtype=bool)
    column = cells["compartment"]
    values = column.to_pylist() if hasattr(column, "to_pylist") else column
    return np.fromiter((value == "tumor" for value in values), dtype=bool, count=size)


def _corner(wkb: bytes, otherwise: tuple[float, float], side: int) -> tuple[int, int]:
    """Top left of the crop; an outline knows its place even where pixels are not square."""
    import shapely

    shape = shapely.from_wkb(wkb)
    known = shape is not None and not shape.is_empty
    x, y = (shape.centroid.x, shape.centroid.y) if known else otherwise
    return round(x - side / 2), round(y - side / 2)


def _outline(wkb: bytes, x0: int, y0: int, scale: float) -> list[float]:
    import shapely

    shape = shapely.from_wkb(wkb)
    if shape is None or shape.is_empty:
        return []
    ring = shapely.get_exterior_ring(shape) if shape.geom_type == "Polygon" else shape
    points = (shapely.get_coordinates(ring) - (x0, y0)) * scale
    return [float(value) for value in points.ravel()]
