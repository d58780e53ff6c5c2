"""Tiles as coloured pixels, at any scale: the one painter of the picture and of the overlay file.

A pixel belongs to a tile when the pixel's centre lies in it, so a tile's edge is never more than
half a pixel from its place, neighbouring tiles leave no seam, and nothing adds up from one tile to
the next. Where tiles overlap, a pixel is the mean of them.

The colours run from indigo (low) through teal to yellow (high), in even steps of OKLab (Ottosson
2020) with evenly rising lightness: the order survives colour blindness and a grey print. They keep
away from the brown of the other scales of these reports, which on a section would be read as DAB,
and from the pink and purple of the stain.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.mil.heatmap import Heatmap

Rgb = NDArray[np.uint8]
Values = NDArray[np.float32]

HEAT_RAMP: Final = (
    "#3a2786",
    "#2a3f90",
    "#0b5494",
    "#01668f",
    "#03798e",
    "#038b8f",
    "#169d8c",
    "#43ad84",
    "#68bc7d",
    "#8fc974",
    "#b5d46c",
    "#d7e16a",
    "#faec6a",
)
ALPHA: Final = 0.62
"""Share of colour over tissue: nuclei stay visible, and the colours can still be told apart."""
LUMA: Final = (0.299, 0.587, 0.114)
"""Grey of red, green, blue (ITU-R BT.601)."""
TABLE_STEPS: Final = 256


def heat_colors(fractions: NDArray[np.floating]) -> Rgb:
    """Return (..., 3) RGB, 0 to 255, for fractions of the scale; outside 0 to 1 they are cut.

    Examples
    --------
    >>> heat_colors(np.array([0.0, 1.0])).tolist()
    [[58, 39, 134], [250, 236, 106]]
    """
    steps = np.rint(np.clip(fractions, 0.0, 1.0) * (TABLE_STEPS - 1)).astype(np.intp)
    return _TABLE[steps]


def _table() -> Rgb:
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in HEAT_RAMP])
    where = np.linspace(0, len(anchors) - 1, TABLE_STEPS)
    knots = np.arange(len(anchors))
    parts = [np.interp(where, knots, anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(parts, axis=1)).astype(np.uint8)


_TABLE: Final = _table()


def paint(
    heatmap: Heatmap,
    values: NDArray[np.floating],
    *,
    scale: tuple[float, float],
    width_px: int,
    height_px: int,
    top_px: int = 0,
) -> Values:
    """Give every pixel of a picture the value of the tile it lies in.

    Parameters
    ----------
    heatmap
        Places of the tiles.
    values
        (tiles,) what to paint, usually scaled scores.
    scale
        Level-0 pixels per pixel of the picture, along x and y.
    width_px, height_px
        Size of the picture.
    top_px
        Row of the whole picture at which this part of it begins.

    Returns
    -------
    ndarray
        (height, width) float32; NaN where no tile lies.
    """
    starts, ends = heatmap.xy_px, heatmap.ends_px
    left, right = _edges(starts[:, 0], ends[:, 0], scale[0])
    top, bottom = _edges(starts[:, 1], ends[:, 1], scale[1])
    top, bottom = top - top_px, bottom - top_px
    seen = np.flatnonzero((right > 0) & (left < width_px) & (bottom > 0) & (top < height_px))
    total = np.zeros((height_px, width_px), np.float32)
    count = np.zeros((height_px, width_px), np.uint16)
    boxes = np.stack([left, top, right, bottom], axis=1)[seen].clip(0).tolist()
    for (x0, y0, x1, y1), value in zip(boxes, np.asarray(values)[seen].tolist(), strict=True):
        total[y0:y1, x0:x1] += value
        count[y0:y1, x0:x1] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.float32(np.nan)).astype(np.float32)


def _edges(
    starts: NDArray[np.int64], ends: NDArray[np.int64], scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel of each tile and the one after its last; a tile is one pixel at least."""
    first = np.ceil(starts / scale - 0.5).astype(np.int64)
    after = np.ceil(ends / scale - 0.5).astype(np.int64)
    thin = after <= first
    first = np.where(thin, np.floor((starts + ends) / (2 * scale)).astype(np.int64), first)
    return first, np.where(thin, first + 1, after)


def blend(rgb: Rgb | None, values: Values, *, alpha: float = ALPHA) -> Rgb:
    """Lay colours over the slide; on white without one.

    The slide becomes grey below the colours, so that a hue is a score and nothing else.

    Parameters
    ----------
    rgb
        (height, width, 3) the slide; None paints on white.
    values
        (height, width) 0 to 1; NaN leaves the slide as it is.
    alpha
        0 to 1, share of colour.
    """
    known = np.isfinite(values)
    colors = heat_colors(np.where(known, values, 0.0))
    if rgb is None:
        return np.where(known[..., None], colors, np.uint8(255))
    grey = (rgb @ np.array(LUMA, np.float32))[..., None]
    mixed = np.rint(alpha * colors.astype(np.float32) + (1 - alpha) * grey)
    return np.where(known[..., None], mixed.astype(np.uint8), rgb)
