"""Pictures of the membrane: completeness by grade, and example cells with their measured sectors.

The sheet of examples shows every cell twice, as it was scanned and with one mark a sector at the
place where the membrane was measured, so that the eye judges before it is told. Marks differ in
size and filling as well as in colour, and have a casing: brown on brown would not be seen.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.report.charts import INK, MUTED, to_svg
from herscope.report.her2_examples import CROP_PX, CROP_UM, UNSEEN
from herscope.report.palette import GRADE_COLORS, GRADES

Cuts = tuple[float, float, float]

SHOWN_PX: Final = 112
LABEL_PX: Final = 140
GAP_PX: Final = 10
CAPTION_PX: Final = 38
EMPTY_PX: Final = 62
FONT: Final = "font-family='Helvetica Neue,Helvetica,Arial,sans-serif'"
MARK_RADIUS_PX: Final = (1.7, 2.1, 2.4, 2.7)
"""Radius of a mark by the grade its sector reaches, in pixels of the sheet."""
MARK_FILL: Final = ("#ffffff", *GRADE_COLORS[1:])
ROOM_PX: Final = 5.6
"""Distance between neighbouring marks at which they have their full size."""
CASING: Final = ("#1d4f86", "#8a6414", "#ffffff", "#ffffff")
"""Line round a mark: dark round a pale one, white round a brown one."""
UNSEEN_COLOR: Final = "#8d949c"
PLAIN_COLOR: Final = "#00a3a3"
"""Marks when the cut-offs are not known: no grade's colour."""


def completeness_chart(
    shares: NDArray[np.float32],
    complete: NDArray[np.bool_],
    *,
    cuts: Cuts | None,
    thresholds: Sequence[float | None],
    notes: Sequence[str],
) -> bytes:
    """Draw how many cells have how much of their circumference stained, at each cut-off; SVG.

    Parameters
    ----------
    shares
        (n, 3) completeness of the evaluable cells at the three cut-offs, 0 to 1.
    complete
        (n,) cells whose class is a complete one.
    cuts
        The cut-offs in DAB optical density; unnamed when None.
    thresholds
        Share to mark in each panel, None for no mark.
    notes
        A line above each panel.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 2.75), layout="constrained")
    steps = np.floor(np.asarray(shares, np.float64) * 32 + 0.5).astype(np.int64).clip(0, 32)
    total = max(1, len(steps))
    panels = figure.subplots(1, 3, sharey=True)
    tops = [np.bincount(steps[:, k], minlength=33) * 100 / total for k in range(3)]
    limit = _limit(tops)
    for k, axes in enumerate(panels):
        whole = np.bincount(steps[complete, k], minlength=33) * 100 / total
        color = GRADE_COLORS[k + 1]
        at = np.arange(33) * 100 / 32
        # A bar that is cut keeps the proportion of its two parts.
        fit = np.minimum(1, limit * 1.12 / np.maximum(tops[k], 1e-9))
        whole, rest = whole * fit, (tops[k] - whole) * fit
        axes.bar(at, rest, 2.5, bottom=whole, color=color, alpha=0.38, lw=0)
        axes.bar(at, whole, 2.5, color=color, lw=0)
        for place, top in zip(at, tops[k], strict=True):
            if top > limit:
                _cut_bar(axes, place, top, limit)
        threshold = thresholds[k]
        if threshold is not None:
            axes.axvline(100 * threshold, color=INK, lw=1, ls=(0, (4, 3)))
        what = f" (DAB OD $\\geq$ {cuts[k]:g})" if cuts else ""
        axes.set_xlabel(f"circumference at least {GRADES[k + 1]}{what}, %")
        axes.set_title(notes[k], fontsize=9, color=INK, loc="left")
        axes.set_xlim(-3, 103)
        axes.set_xticks(range(0, 101, 25))
        _plain(axes)
    panels[0].set_ylim(0, limit * 1.12)
    panels[0].set_ylabel("cells, %")
    return to_svg(figure)


def ring_sheet(
    groups: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]], cuts: Cuts | None
) -> bytes:
    """Lay out the example cells, one row a class: as scanned, and with their sectors; SVG.

    Parameters
    ----------
    groups
        Words, a second line (how many cells) and rows of ``membrane_examples.parquet`` (see
        :func:`herscope.report.her2_examples.cut_membrane_examples`) of each class.
    cuts
        The cut-offs in DAB optical density; without them the marks have one colour.
    """
    from html import escape

    pair = 2 * SHOWN_PX + 2
    columns = max(1, *(len(rows) for _, _, rows in groups))
    width = LABEL_PX + columns * (pair + GAP_PX)
    heights = [SHOWN_PX + CAPTION_PX if rows else EMPTY_PX for _, _, rows in groups]
    size = f"width='{width}' height='{sum(heights)}' viewBox='0 0 {width} {sum(heights)}'"
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>"]
    top = 0
    for number, (words, count, rows) in enumerate(groups):
        lines = words.split(", ", 1)
        spoken = [(15, 600, INK, lines[0]), *((13, 400, INK, rest) for rest in lines[1:])]
        spoken.append((12, 400, MUTED, count))
        for i, (px, weight, color, line) in enumerate(spoken):
            parts.append(
                f"<text x='0' y='{top + 16 + 18 * i}' font-size='{px}' font-weight='{weight}' "
                f"fill='{color}'>{escape(line)}</text>"
            )
        for column, row in enumerate(rows):
            left = LABEL_PX + column * (pair + GAP_PX)
            parts.append(_pair(row, f"c{number}-{column}", left, top, cuts))
        top += heights[number]
    parts.append("</svg>")
    return "".join(parts).encode()


def sector_grades(sectors: Sequence[int], cuts: Cuts) -> list[int | None]:
    """Return the grade 0 to 3 that each sector reaches, None where it was not seen.

    Examples
    --------
    >>> sector_grades([650, 200, 199, -32768], (0.2, 0.4, 0.6))
    [3, 1, 0, None]
    """
    milli = [round(cut * 1000) for cut in cuts]
    return [None if value == UNSEEN else sum(value >= cut for cut in milli) for value in sectors]


def mark(grade: int | None, x: float, y: float, *, plain: bool = False, size: float = 1.0) -> str:
    """Return the SVG of one sector's mark: a filled dot, a ring for no stain, a cross for unseen.

    Parameters
    ----------
    grade
        0 to 3; None for a sector that was not seen.
    x, y
        Where.
    plain
        Draw one colour, whatever the grade.
    size
        Factor on the radius.
    """
    if grade is None:
        r = 1.8 * size
        line = f"M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}M{x - r:.1f} {y + r:.1f}"
        line += f"L{x + r:.1f} {y - r:.1f}"
        return (
            f"<path d='{line}' stroke='#fff' stroke-width='2.6'/>"
            f"<path class='unseen' d='{line}' stroke='{UNSEEN_COLOR}' stroke-width='1.2'/>"
        )
    fill, casing = (PLAIN_COLOR, "#ffffff") if plain else (MARK_FILL[grade], CASING[grade])
    name = "plain" if plain else f"g{grade}"
    r = (2.0 if plain else MARK_RADIUS_PX[grade]) * size
    return (
        f"<circle class='{name}' cx='{x:.1f}' cy='{y:.1f}' r='{r:.2f}' fill='{fill}' "
        f"stroke='{casing}' stroke-width='{0.8 * size:.2f}'/>"
    )


def _pair(row: Mapping[str, Any], name: str, left: int, top: int, cuts: Cuts | None) -> str:
    import cv2

    image = cv2.imdecode(np.frombuffer(row["png"], dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError("an example cell is no readable PNG", hint="score the slide again")
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    picture = "data:image/jpeg;base64," + base64.b64encode(packed).decode()
    side = SHOWN_PX
    right = left + side + 2
    frame = f"y='{top}' width='{side}' height='{side}' viewBox='0 0 {side} {side}'"
    x, y = (value * side / CROP_PX for value in row["centre_xy"])
    cross = f"M{x - 3:.1f} {y:.1f}h6M{x:.1f} {y - 3:.1f}v6"
    shares = " / ".join(f"{100 * share:.0f}" for share in row["completeness"])
    remarks = " · ".join(_remarks(row))
    return (
        f"<rect x='{left - 0.5}' y='{top - 0.5}' width='{2 * side + 3}' height='{side + 1}' "
        "fill='none' stroke='#d5dae1'/>"
        f"<svg x='{left}' {frame}><image id='{name}' href='{picture}' width='{side}' "
        f"height='{side}'/></svg>"
        f"<svg x='{right}' {frame}><use href='#{name}'/>"
        f"<path d='{cross}' stroke='#fff' stroke-width='2.4'/>"
        f"<path d='{cross}' stroke='#10151c' stroke-width='.9'/>{_ring(row, cuts)}</svg>"
        f"<text x='{left}' y='{top + side + 13}' font-size='11' fill='{INK}'>{shares} %</text>"
        f"<text x='{left}' y='{top + side + 26}' font-size='11' fill='{MUTED}'>{remarks}</text>"
    )


def _remarks(row: Mapping[str, Any]) -> list[str]:
    said = [
        "" if row["typical"] else "edge of its class",
        "U-shaped" if row["u_shaped"] else "",
        "no nucleus seen" if row["found_by"] == "rim" else "",
    ]
    return [word for word in said if word]


def _ring(row: Mapping[str, Any], cuts: Cuts | None) -> str:
    points = np.asarray(row["ring_xy"], np.float64).reshape(-1, 2) * SHOWN_PX / CROP_PX
    grades = (
        sector_grades(row["sectors"], cuts)
        if cuts
        else [None if value == UNSEEN else 0 for value in row["sectors"]]
    )
    known: list[bool] = [bool(np.isfinite(point).all()) for point in points]
    # On a small cell the marks shrink, so that the membrane stays to be seen between them.
    step = np.nan_to_num(np.linalg.norm(np.diff(points, axis=0), axis=1), nan=ROOM_PX)
    size = float(np.clip(np.median(step) / ROOM_PX, 0.45, 1))
    return "".join(
        mark(grade, float(x), float(y), plain=cuts is None, size=size)
        for grade, (x, y), drawn in zip(grades, points, known, strict=True)
        if drawn
    )


def scale_words() -> str:
    """Return the edge of a crop in words."""
    return f"{CROP_UM:g} µm across"


def _limit(tops: Sequence[NDArray[np.float64]]) -> float:
    """Top of the common axis: the unstained cells alone may be most of a slide, and are cut."""
    inner = max(float(top[1:32].max()) for top in tops)
    if not inner:
        return 100.0
    ends = max(float(max(top[0], top[32])) for top in tops)
    return min(max(ends, inner, 1.0), max(2.5 * inner, 5.0))


def _cut_bar(axes: Any, place: float, top: float, limit: float) -> None:
    """Say how high a bar goes that the axis ends."""
    side = -1 if place > 50 else 1
    axes.annotate(f"{top:.0f} %", (place, limit), (6 * side, 1), textcoords="offset points",
                  ha="left" if side > 0 else "right", va="top", fontsize=8, color=INK)  # fmt: skip
    axes.plot([place - 1.9, place + 1.9], [limit * 0.93, limit * 0.97], color="white", lw=2)


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=MUTED, linewidth=0.8)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8, width=0.8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9, color=INK)
