"""The tiles that count most and least for a model, cut from the slide to be looked at.

Tiles are taken in the order of their scores; one that lies within two tile edges of a tile already
taken is passed over, or the twelve highest would be one spot twelve times. Only the outer tenths of
the ranks are shown: on a small slide, twelve tiles apart would reach down to the middle. The whole
tile is shown, as the model saw it: 0.5 µm/px, coarser where the slide or the tile is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.mil.heatmap import Heatmap, scaled
from herscope.report.heat_paint import Rgb
from herscope.report.heatmap_picture import check_same_slide, score_words
from herscope.report.jpeg import fitting
from herscope.report.sheet import MUTED, Sheet

if TYPE_CHECKING:
    from herscope.slide.opened import Slide

TOP_MPP: Final = 0.5
TOP_PX: Final = 256
APART_TILES: Final = 2.0
"""Least distance of two shown tiles, in tile edges along x or y."""
HIGH_RANK, LOW_RANK = 0.9, 0.1
"""Ranks from which, and down from which, a tile is shown."""
EVEN: Final = 1.0
"""Attention that every tile of an even map would get."""
SHOWN_PX, GAP, CAPTION = 170, 8, 34


@dataclass(frozen=True, slots=True, eq=False)
class TopTile:
    """A tile with its score; ``x_px``, ``y_px`` its corner at level 0, ``rank`` 0 to 1."""

    x_px: int
    y_px: int
    score: float
    rank: float
    mpp: float
    rgb: Rgb = field(repr=False)


@dataclass(frozen=True, slots=True)
class TopTiles:
    """The highest tiles, highest first, and the lowest, lowest first."""

    highest: tuple[TopTile, ...]
    lowest: tuple[TopTile, ...]


def pick_tiles(
    heatmap: Heatmap, n: int, *, apart_tiles: float = APART_TILES
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose up to ``n`` highest and ``n`` lowest tiles that are no neighbours.

    Parameters
    ----------
    heatmap
        Raw scores.
    n
        How many of each, 1 or more. Fewer are given where no more have a rank of 0.9 or above (and
        of attention, which has no target, a score of 1 or above where one has) or of 0.1 or below.
        At least one of each; no tile is on both lists, so of a single tile there is no lowest.
    apart_tiles
        Least distance between two of a list, in tile edges along x or y.

    Returns
    -------
    tuple
        Places in the heatmap; of equal scores the first counts as higher and as lower.
    """
    if n < 1:
        raise InputError(f"{n} top tiles were asked", hint="ask for one or more")
    scores = heatmap.scores.astype(np.float64)
    ranks = scaled(heatmap.scores, "rank")
    high, low = ranks >= HIGH_RANK, ranks <= LOW_RANK
    if heatmap.target is None and (scores >= EVEN).any():
        high &= scores >= EVEN
    falling, rising = np.argsort(-scores, kind="stable"), np.argsort(scores, kind="stable")
    # Where many scores are equal none may have such a rank; the first still stands for them.
    top = falling[high[falling]] if high.any() else falling[:1]
    free = rising[~np.isin(rising, top)]
    bottom = free[low[free]] if low[free].any() else free[:1]
    return _spaced(heatmap, top, n, apart_tiles), _spaced(heatmap, bottom, n, apart_tiles)


def _spaced(
    heatmap: Heatmap, order: NDArray[np.int64], n: int, apart_tiles: float
) -> NDArray[np.int64]:
    taken: list[int] = []
    for place in order.tolist():
        away = np.abs(heatmap.xy_px[taken] - heatmap.xy_px[place]).max(axis=1)
        if not taken or float(away.min()) >= apart_tiles * heatmap.tile_px:
            taken.append(place)
        if len(taken) == n:
            break
    return np.array(taken, np.int64)


def top_tiles(
    heatmap: Heatmap, slide: Slide, n: int = 12, *, apart_tiles: float = APART_TILES
) -> TopTiles:
    """Cut the tiles of highest and of lowest score from the slide.

    Parameters
    ----------
    heatmap, n, apart_tiles
        As for :func:`pick_tiles`.
    slide
        The open slide.

    Raises
    ------
    InputError
        Another slide than the one that was embedded.
    SlideError
        The slide is damaged there.
    """
    check_same_slide(heatmap, slide)
    ranks = scaled(heatmap.scores, "rank")
    native = float(slide.info.mpp)
    edge_um = heatmap.tile_px * native
    grid = slide.grid(max(TOP_MPP, native, edge_um / TOP_PX))
    width = max(1, round(heatmap.tile_px / grid.scale_x))
    height = max(1, round(heatmap.tile_px / grid.scale_y))

    def cut(place: int) -> TopTile:
        x_px, y_px = heatmap.xy_px[place].tolist()
        x, y = round(x_px / grid.scale_x), round(y_px / grid.scale_y)
        return TopTile(
            x_px=x_px,
            y_px=y_px,
            score=float(heatmap.scores[place]),
            rank=float(ranks[place]),
            mpp=float(grid.mpp),
            rgb=slide.read(grid, x, y, width, height),
        )

    highest, lowest = pick_tiles(heatmap, n, apart_tiles=apart_tiles)
    return TopTiles(
        tuple(cut(place) for place in highest.tolist()),
        tuple(cut(place) for place in lowest.tolist()),
    )


def contact_sheet(tiles: Sequence[TopTile], *, columns: int = 6) -> Sheet:
    """Lay tiles out in rows, each with its score, rank and place.

    Raises
    ------
    InputError
        There is no tile.
    """
    if not tiles:
        raise InputError("there is no tile to show", hint="the slide has too few tiles")
    # As wide with one tile as with many: sheets on a page must have one scale.
    across = max(1, columns)
    down = -(-len(tiles) // across)
    cell_w, cell_h = SHOWN_PX + GAP, SHOWN_PX + CAPTION + GAP
    sheet = Sheet(across * cell_w - GAP, down * cell_h - GAP)
    for number, tile in enumerate(tiles):
        x, y = number % across * cell_w, number // across * cell_h
        rgb = fitting(tile.rgb, SHOWN_PX * 2)
        height = round(SHOWN_PX * rgb.shape[0] / max(rgb.shape[:2]))
        width = round(SHOWN_PX * rgb.shape[1] / max(rgb.shape[:2]))
        sheet.image(x, y, rgb, width=width, height=height)
        # µm of the tile is tile px x mpp; the sheet shows it at SHOWN_PX.
        um_per_px = tile.mpp * max(tile.rgb.shape[:2]) / SHOWN_PX
        if number == 0:
            sheet.scale_bar(x, y, width, height, um_per_px)
        sheet.words(x, y + SHOWN_PX + 14, f"{score_words(tile.score)}, rank {tile.rank:.3f}",
                    size=12)  # fmt: skip
        sheet.words(x, y + SHOWN_PX + 28, f"x {tile.x_px}, y {tile.y_px}", size=10, color=MUTED)
    return sheet
