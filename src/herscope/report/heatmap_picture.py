"""A heatmap beside the slide it belongs to: thumbnail, map, colour scale with numbers, scale bar.

Colours show a slide's own scale (rank by default), and the numbers under them are the raw scores
that stand there, so that two slides with the same colours can be told apart. Without the slide the
map is painted on white.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import make_folder, write_bytes
from herscope.mil.heatmap import SCALINGS, Heatmap, Scaling, scaled
from herscope.report.heat_paint import ALPHA, Rgb, blend, heat_colors, paint
from herscope.report.sheet import MUTED, Anchor, Sheet

if TYPE_CHECKING:
    from herscope.slide.opened import Slide

SIDE_PX: Final = 900
"""Longer side of each of the two pictures."""
SIZE_TOLERANCE_PX: Final = 2
MARGIN, BAR_HEIGHT, LEGEND_HEIGHT, HEAD = 16, 14, 66, 26
SHOWN_PX, NARROWEST_PX = 1000, 420
WIDE: Final = 1.8
"""Pictures flatter than this stand one above the other."""
LEAST_OUTLINED_PX: Final = 12
TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
OUTLINE: Final = "#8d97a5"


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """The slide at a low resolution.

    ``rgb`` (height, width, 3); ``scale`` level-0 pixels per pixel along x and y; ``mpp`` µm/px.
    """

    rgb: Rgb
    scale: tuple[float, float]
    mpp: float


def overview_of(slide: Slide, side_px: int = SIDE_PX) -> Overview:
    """Read the whole slide so that its longer side is about ``side_px``; nothing is enlarged."""
    info = slide.info
    shrink = max(1.0, max(info.width_px, info.height_px) / side_px)
    grid = slide.grid(info.mpp * shrink)
    return Overview(slide.read_all(grid), (grid.scale_x, grid.scale_y), float(grid.mpp))


def check_same_slide(heatmap: Heatmap, slide: Slide) -> None:
    """Refuse a slide that is not the one the tiles lie on.

    Raises
    ------
    InputError
        The slide has another size, or tiles lie outside it.
    """
    info = slide.info
    size = (info.width_px, info.height_px)
    stated = (heatmap.width_px or size[0], heatmap.height_px or size[1])
    last = heatmap.xy_px.max(axis=0).tolist()
    off = max(abs(a - b) for a, b in zip(stated, size, strict=True))
    if off > SIZE_TOLERANCE_PX or last[0] >= size[0] or last[1] >= size[1]:
        raise InputError(
            f"the heatmap of {heatmap.slide} is of {stated[0]} x {stated[1]} px with tiles up to "
            f"{last[0]}, {last[1]}; {info.path.name} has {size[0]} x {size[1]} px",
            hint="give the slide that was embedded, not another scan or export of it",
        )


def heat_over(
    heatmap: Heatmap, overview: Overview | None, values: NDArray[np.float64], *, alpha: float
) -> tuple[Rgb, tuple[float, float]]:
    """Paint values over an overview; returns the picture and its level-0 pixels per pixel."""
    if overview is not None:
        height, width = overview.rgb.shape[:2]
        scale = overview.scale
    else:
        full = heatmap.extent_px
        shrink = max(1.0, max(full) / SIDE_PX)
        width, height = (max(1, round(side / shrink)) for side in full)
        scale = (shrink, shrink)
    painted = paint(heatmap, values, scale=scale, width_px=width, height_px=height)
    return blend(None if overview is None else overview.rgb, painted, alpha=alpha), scale


def heatmap_sheet(
    heatmap: Heatmap,
    slide: Slide | None = None,
    *,
    overview: Overview | None = None,
    scaling: Scaling = "rank",
    alpha: float = ALPHA,
    beside: bool = True,
) -> Sheet:
    """Draw a heatmap beside its slide.

    Parameters
    ----------
    heatmap
        Raw scores.
    slide
        The open slide; without it (and without ``overview``) the map stands alone on white.
    overview
        The slide as :func:`overview_of` reads it, where that was done before.
    scaling
        How scores become colours: ``rank``, ``minmax`` or ``percentile``.
    alpha
        0 to 1, share of colour over the tissue.
    beside
        Whether the plain slide stands beside the map.

    Raises
    ------
    InputError
        Another slide than the one that was embedded, or an unknown scaling.
    """
    if not 0 < alpha <= 1:
        raise InputError(f"alpha {alpha:g} is outside 0 to 1", hint="0.6 shows both")
    if slide is not None:
        check_same_slide(heatmap, slide)
        overview = overview or overview_of(slide)
    values = scaled(heatmap.scores, scaling)
    picture, scale = heat_over(heatmap, overview, values, alpha=alpha)
    height, width = picture.shape[:2]
    panels = [("Slide", overview.rgb)] if overview is not None and beside else []
    panels.append((_title(heatmap), picture))
    stacked = width > WIDE * height
    across, down = (1, len(panels)) if stacked else (len(panels), 1)
    # Words grow with the sheet: a page shows all of its width in about 1000 px.
    unit = max(1.0, across * width / SHOWN_PX)
    margin, head = round(MARGIN * unit), round(HEAD * unit)
    cell = height + head + margin
    wide = max(across * width + (across + 1) * margin, NARROWEST_PX)
    sheet = Sheet(wide, down * cell + round(LEGEND_HEIGHT * unit))
    mpp = overview.mpp if overview is not None else heatmap.mpp and heatmap.mpp * scale[0]
    for number, (title, rgb) in enumerate(panels):
        x = margin + (0 if stacked else number * (width + margin))
        y = head + (number * cell if stacked else 0)
        sheet.words(x, y - 9 * unit, title, size=14 * unit)
        sheet.image(x, y, rgb)
        if overview is None:
            _tile_outlines(sheet, heatmap, x, y, scale)
        sheet.box(x, y, width, height, line=OUTLINE, line_px=1)
        sheet.scale_bar(x, y, width, height, mpp, unit=unit)
    _legend(sheet, heatmap, values, scaling, top=down * cell + 4 * unit, unit=unit)
    return sheet


def write_heatmap_picture(path: str | Path, sheet: Sheet) -> Path:
    """Write a sheet as ``.svg`` or ``.png``, whichever the name says.

    Raises
    ------
    InputError
        Another suffix.
    OutputError
        The file cannot be written.
    """
    target = Path(path)
    kinds = {".svg": sheet.svg, ".png": sheet.png}
    if target.suffix.lower() not in kinds:
        raise InputError(
            f"a heatmap's picture is .png or .svg, not {target.suffix or 'without suffix'}",
            hint="the pyramidal overlay is .tif, the outlines are .geojson",
        )
    make_folder(target.parent)
    write_bytes(target, kinds[target.suffix.lower()]())
    return target


def _title(heatmap: Heatmap) -> str:
    return f"Towards {heatmap.target}" if heatmap.target else "Weight of the tiles"


def _tile_outlines(
    sheet: Sheet, heatmap: Heatmap, x: float, y: float, scale: tuple[float, float]
) -> None:
    """Outline the tiles where they are large enough: on white a pale tile would have no edge."""
    side = heatmap.tile_px / scale[0]
    if side < LEAST_OUTLINED_PX:
        return
    for left, top in heatmap.xy_px.tolist():
        sheet.box(
            x + left / scale[0],
            y + top / scale[1],
            side,
            heatmap.tile_px / scale[1],
            line=OUTLINE,
            line_px=0.5,
        )


def _legend(
    sheet: Sheet,
    heatmap: Heatmap,
    values: NDArray[np.float64],
    scaling: Scaling,
    *,
    top: float,
    unit: float,
) -> None:
    """Colour bar; under it the raw score at the quarters of the scale."""
    left, below = MARGIN * unit, top + BAR_HEIGHT * unit
    width = round(min(sheet.width - 2 * left, 460 * unit))
    sheet.image(left, top, heat_colors(np.tile(np.linspace(0, 1, width), (round(below - top), 1))))
    for tick in TICKS:
        x = left + tick * (width - 1)
        sheet.box(x, below, unit, 4 * unit, fill=MUTED)
        text = score_words(score_at(heatmap.scores, values, tick, scaling))
        anchor: Anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        sheet.words(x, below + 17 * unit, text, size=12 * unit, anchor=anchor)
    said = f"raw score of {len(heatmap):,} tiles: {heatmap.what}. Colour: {SCALINGS[scaling]}"
    # About 0.55 of its size a letter; what does not fit would run off the sheet.
    room = int((sheet.width - 2 * left) / (0.55 * 11 * unit))
    said = said if len(said) <= room else f"{said[: room - 1]}…"
    sheet.words(left, below + 36 * unit, said, size=11 * unit, color=MUTED)


def score_at(
    scores: NDArray[np.float32], values: NDArray[np.float64], at: float, scaling: Scaling
) -> float:
    """Return the raw score that has the colour of ``at``, 0 to 1.

    Examples
    --------
    >>> raw = np.array([1, 2, 10], np.float32)
    >>> score_at(raw, scaled(raw, "rank"), 0.5, "rank"), score_at(raw, raw, 0.5, "minmax")
    (2.0, 5.5)
    """
    ordered = np.sort(scores.astype(np.float64))
    if scaling == "rank" and len(ordered) > 1:
        order = np.argsort(values, kind="stable")
        return float(np.interp(at, values[order], scores[order].astype(np.float64)))
    low, high = float(ordered[0]), float(ordered[-1])
    if scaling == "percentile":
        low, high = (float(end) for end in np.percentile(ordered, [1.0, 99.0]))
    return low + at * (high - low)


def score_words(score: float) -> str:
    """Write a raw score with three figures.

    Examples
    --------
    >>> score_words(0.000123), score_words(-2.5), score_words(1234.0), score_words(0)
    ('0.000123', '-2.5', '1.23e+03', '0')
    """
    return f"{score:.3g}"
