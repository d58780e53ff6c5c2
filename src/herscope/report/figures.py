"""Pictures of the slide: overview with outlines, tiles coloured by score, example cells.

They are SVG documents written here, a JPEG inside and vector outlines above it, because a drawn
outline stays thin at any zoom and the file stays small; charts are in
:mod:`herscope.report.charts`. Everything is in pixels of the picture; level-0 pixels are scaled by
``overview width / slide width``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import write_bytes
from herscope.report.jpeg import fitting, jpeg_bytes, jpeg_uri
from herscope.report.palette import (
    ARTEFACT_WORDS,
    COMPARTMENTS,
    GRADE_COLORS,
    GRADE_WORDS,
    GRADES,
    OTHER_REGION,
    REGION_STYLES,
)
from herscope.report.ramp import SCORE_RAMP, ramp_colors

Rgb = NDArray[np.uint8]

OVERVIEW_SIDE_PX = 2048
FIGURE_SIDE_PX = 1200
FONT = "font-family='Helvetica Neue,Helvetica,Arial,sans-serif'"
CELL_LINE, NUCLEUS_LINE = "#ffe45c", "#5ff0ff"
NICE_UM = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def save_overview(rgb: Rgb, path: Path) -> Path:
    """Write ``overview.png`` from the slide's pixels, (height, width, 3) RGB of 0 to 255.

    A picture whose longer side is above 2048 px is averaged down to that.

    Raises
    ------
    InputError
        The array is no RGB picture.
    OutputError
        The file cannot be written.
    """
    import cv2

    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise InputError(
            f"an overview has shape (height, width, 3) of uint8, not {rgb.shape} of {rgb.dtype}",
            hint="pass the RGB array that the slide's read_all returns",
        )
    small = fitting(rgb, OVERVIEW_SIDE_PX)
    packed = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
    write_bytes(path, packed.tobytes())
    return Path(path)


def thumbnail(rgb: Rgb, side_px: int = 160) -> bytes:
    """Return a JPEG whose longer side is ``side_px`` at most."""
    return jpeg_bytes(fitting(rgb, side_px), 82)


def overview_figure(
    rgb: Rgb, regions: Sequence[tuple[str, Any]], *, slide_width_px: int, mpp: float
) -> bytes:
    """Draw the slide with its tissue, compartment and artefact outlines; returns SVG.

    Parameters
    ----------
    rgb
        The overview, (height, width, 3).
    regions
        QuPath class name and shapely geometry in level-0 pixels.
    slide_width_px, mpp
        Width of level 0 and its µm/px, for the scale of outlines and of the scale bar.
    """
    small = fitting(rgb, FIGURE_SIDE_PX)
    scale = small.shape[1] / slide_width_px
    paths = []
    # Tissue below, tumour on top: where outlines run together the tumour's is the one to see.
    order = {"tissue": 0, "tumor": 2}
    for name, shape in sorted(regions, key=lambda item: order.get(item[0].lower(), 1)):
        line = _path(shape, scale)
        if line:
            paths.append(_outline(name, line))
    return _svg(small, "".join(paths), mpp / scale)


def legend_of(regions: Sequence[tuple[str, Any]]) -> list[tuple[str, str, str]]:
    """Return ``(words, colour, dash)`` of the classes that are drawn, each once."""
    seen: dict[str, tuple[str, str, str]] = {}
    for name, _ in regions:
        words, color, dash = REGION_STYLES.get(name.lower(), (name, *OTHER_REGION))
        seen.setdefault(words, (words, color, dash))
    return list(seen.values())


def tile_map_figure(
    rgb: Rgb,
    tiles: Mapping[str, NDArray[Any]],
    values: NDArray[np.float64],
    *,
    limit: float,
    slide_width_px: int,
    mpp: float,
) -> bytes:
    """Colour every tile by its score above the pale grey tissue; returns SVG.

    Parameters
    ----------
    tiles
        ``x_px``, ``y_px``, ``width_px``, ``height_px`` in level-0 pixels, one entry a tile.
    values
        Score of each tile, 0 to ``limit``; NaN leaves the tile uncoloured (no cells in it).
    limit
        The end of the colour scale: 300 for an H-score, 100 for a percentage.
    """
    small = fitting(rgb, FIGURE_SIDE_PX)
    scale = small.shape[1] / slide_width_px
    grey = small.mean(axis=2, keepdims=True) * 0.55 + 255 * 0.45
    paint = np.repeat(grey, 3, axis=2)
    known = np.flatnonzero(np.isfinite(values))
    colors = ramp_colors(values[known] / limit)
    left, top = np.asarray(tiles["x_px"])[known], np.asarray(tiles["y_px"])[known]
    right = left + np.asarray(tiles["width_px"])[known]
    bottom = top + np.asarray(tiles["height_px"])[known]
    edges = (np.stack([left, top, right, bottom], axis=1) * scale).round().astype(int)
    for (x0, y0, x1, y1), color in zip(edges.tolist(), colors, strict=True):
        cut = paint[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
        cut *= 0.22
        cut += 0.78 * color
    return _svg(paint.round().astype(np.uint8), "", mpp / scale)


def score_ramp_css() -> str:
    """Return the colour scale of the tile map as a CSS gradient."""
    return f"linear-gradient(to right, {', '.join(SCORE_RAMP)})"


def example_sheet(examples: Sequence[Mapping[str, Any]], *, crop_px: int = 128) -> bytes:
    """Lay out the example cells, one row a grade, with the outlines that were measured; SVG.

    Parameters
    ----------
    examples
        Rows of ``examples.parquet`` (see :func:`herscope.report.examples.cut_examples`).
    """
    gap, margin, caption = 10, 92, 17
    by_grade = [[row for row in examples if row["grade"] == grade] for grade in range(4)]
    columns = max(1, *(len(rows) for rows in by_grade))
    pitch = crop_px + caption + gap
    heights = [pitch if rows else 56 for rows in by_grade]
    width, height = margin + columns * (crop_px + gap), sum(heights)
    parts = [_open_svg(width, height)]
    for grade, rows in enumerate(by_grade):
        y = sum(heights[:grade])
        strip = crop_px if rows else 46
        parts.append(
            f"<rect x='0' y='{y}' width='6' height='{strip}' fill='{GRADE_COLORS[grade]}'/>"
            f"<text x='16' y='{y + 24}' font-size='21' font-weight='600' fill='#1b232e'>"
            f"{GRADES[grade]}</text><text x='16' y='{y + 43}' font-size='13' fill='#5a6675'>"
            f"{GRADE_WORDS[grade]}</text>"
        )
        if not rows:
            parts.append(
                f"<text x='{margin}' y='{y + 24}' font-size='13' fill='#5a6675'>"
                "no cell of this grade</text>"
            )
        for column, row in enumerate(rows):
            parts.append(_example(row, margin + column * (crop_px + gap), y, crop_px))
    parts.append("</svg>")
    return "".join(parts).encode()


def _example(row: Mapping[str, Any], x: int, y: int, side: int) -> str:
    import cv2

    image = cv2.imdecode(np.frombuffer(row["png"], dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError("an example cell is no readable PNG", hint="score the slide again")
    jpeg = jpeg_uri(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    cell, nucleus = _points(row["cell_xy"]), _points(row["nucleus_xy"])
    where = COMPARTMENTS.get(row["compartment"], "").lower()
    return (
        f"<svg x='{x}' y='{y}' width='{side}' height='{side}' viewBox='0 0 {side} {side}'>"
        f"<image href='{jpeg}' width='{side}' height='{side}'/>"
        # A dark casing under each light line: visible on pale, blue and brown alike.
        f"<g fill='none' stroke-linejoin='round'>"
        f"<polygon points='{cell}' stroke='#10151c' stroke-width='2.2' stroke-opacity='.6'/>"
        f"<polygon points='{cell}' stroke='{CELL_LINE}' stroke-width='1.1'/>"
        f"<polygon points='{nucleus}' stroke='#10151c' stroke-width='2' stroke-opacity='.5'/>"
        f"<polygon points='{nucleus}' stroke='{NUCLEUS_LINE}' stroke-width='1'/></g></svg>"
        f"<text x='{x}' y='{y + side + 13}' font-size='11' fill='#5a6675'>OD {row['od']:.2f}"
        f"{', ' + where if where else ''}</text>"
    )


def _outline(name: str, line: str) -> str:
    _, color, dash = REGION_STYLES.get(name.lower(), (name, *OTHER_REGION))
    artefact = any(word in name.lower() for word in ARTEFACT_WORDS)
    fill = f"fill='{color}' fill-opacity='.28' fill-rule='evenodd'" if artefact else "fill='none'"
    return (
        f"<path d='{line}' {fill} stroke='#fff' stroke-width='4' stroke-opacity='.55'/>"
        f"<path d='{line}' fill='none' stroke='{color}' stroke-width='2' "
        f"stroke-dasharray='{dash or 'none'}' stroke-linejoin='round'/>"
    )


def _path(shape: Any, scale: float) -> str:
    """SVG path of a geometry's rings, without detail finer than half a pixel of the picture."""
    import shapely

    parts = []
    for polygon in shapely.get_parts(shape.simplify(0.5 / scale, preserve_topology=False)):
        if polygon.geom_type != "Polygon" or polygon.is_empty:
            continue
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.asarray(ring.coords)[:-1, :2] * scale
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _svg(rgb: Rgb, drawing: str, um_per_px: float) -> bytes:
    height, width = rgb.shape[:2]
    # A picture may be far smaller than the page (a field of view): lines keep their thickness.
    shown = max(width, height) / 620
    return (
        f"{_open_svg(width, height)}"
        f"<image href='{jpeg_uri(jpeg_bytes(rgb, 86))}' width='{width}' height='{height}'/>"
        f"{_thicken(drawing, shown)}{_scale_bar(width, height, um_per_px, shown)}</svg>"
    ).encode()


def _open_svg(width: int, height: int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' {FONT}>"
    )


def _thicken(drawing: str, factor: float) -> str:
    if not drawing:
        return ""
    for size in ("4", "2"):
        drawing = drawing.replace(
            f"stroke-width='{size}'", f"stroke-width='{int(size) * 0.85 * factor:.2f}'"
        )
    for dash in {style[2] for style in REGION_STYLES.values()} | {OTHER_REGION[1]}:
        if dash:
            scaled = " ".join(f"{float(part) * factor:.1f}" for part in dash.split())
            drawing = drawing.replace(f"dasharray='{dash}'", f"dasharray='{scaled}'")
    return drawing


def _scale_bar(width: int, height: int, um_per_px: float, shown: float) -> str:
    """White plate with a bar of a round length, about a fifth of the picture."""
    target = width * um_per_px / 5
    length = max((um for um in NICE_UM if um <= target), default=NICE_UM[0])
    bar = length / um_per_px
    words = f"{length} µm" if length < 1000 else f"{length // 1000} mm"
    pad, text = 8 * shown, 13 * shown
    plate_w, plate_h = max(bar, text * 3.6) + 2 * pad, text + 2.4 * pad
    x, y = width - plate_w - pad, height - plate_h - pad
    middle = x + plate_w / 2
    return (
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{plate_w:.1f}' height='{plate_h:.1f}' fill='#fff' "
        f"fill-opacity='.88' rx='{2 * shown:.1f}'/>"
        f"<rect x='{middle - bar / 2:.1f}' y='{y + plate_h - 1.2 * pad:.1f}' width='{bar:.1f}' "
        f"height='{3 * shown:.1f}' fill='#10151c'/>"
        f"<text x='{middle:.1f}' y='{y + text + 0.4 * pad:.1f}' font-size='{text:.1f}' "
        f"text-anchor='middle' fill='#10151c'>{words}</text>"
    )


def _points(flat: Sequence[float]) -> str:
    pairs = zip(flat[0::2], flat[1::2], strict=True)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
