"""Tiles read ahead of the encoder: several threads, whole regions, one fixed order.

Each thread has a Slide of its own, since a Slide serves one thread at a time, and with it a cache
of its own. Neighbouring tiles share the file's compressed tiles, so a region of up to 4 x 4 tiles
is read at once by one thread and cut afterwards (STAMP calls it a supertile). With one thread that
wins nothing here, because the reader keeps what it decoded; with two it saved 4 to 25 % of the
processor time on files of 240 px tiles, which never fit ours, and nothing where they fit.

Regions are handed on in the order of their numbers, however they finish, so the tiles reach the
encoder in the same order for any number of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from herscope.embed.tile_list import TileList
from herscope.slide.opened import Slide, open_slide
from herscope.slide.resolution import SlideSpec

Rgb = NDArray[np.uint8]
Change = Callable[[Rgb], Rgb]

REGION_PX: Final = 1024
"""Edge of a region in working pixels: 3 MB; larger ones only delay the first tile."""
AHEAD: Final = 2
"""Regions read ahead for each thread, beside those it is reading."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A rectangle of the working grid and the tiles cut from it: ``rows`` of the tile list."""

    x: int
    y: int
    width: int
    height: int
    rows: NDArray[np.int64]


def regions(tiles: TileList, step_px: int, region_px: int = REGION_PX) -> list[Region]:
    """Group tiles into regions, in raster order of the regions.

    Parameters
    ----------
    tiles
        The tiles of a slide.
    step_px
        From one tile to the next on the lattice.
    region_px
        Largest edge of a region of several tiles.

    Returns
    -------
    list of Region
        Every tile is in one of them; a region is no larger than its own tiles need.
    """
    along = max(1, (region_px - tiles.size_px) // step_px + 1)
    block = tiles.cells // along
    order = np.lexsort((block[:, 1], block[:, 0]))
    new = np.any(np.diff(block[order], axis=0) != 0, axis=1)
    found = []
    for rows in np.split(order, np.flatnonzero(new) + 1):
        corner, last = tiles.xy[rows].min(axis=0), tiles.xy[rows].max(axis=0) + tiles.size_px
        (x, y), (width, height) = corner.tolist(), (last - corner).tolist()
        found.append(Region(x, y, width, height, rows))
    return found


class TileReader:
    """Reads the tiles of a slide ahead; a context manager, and an iterator inside it.

    Parameters
    ----------
    path, spec
        The slide and how it is opened.
    tiles, step_px
        What is read.
    threads
        Reading threads, at least 1.
    change
        What is done to every tile, such as normalising its stains; in the reading threads.
    region_px
        Largest edge of what is read at once.
    """

    def __init__(
        self,
        path: Path,
        spec: SlideSpec,
        tiles: TileList,
        *,
        step_px: int,
        threads: int,
        change: Change | None = None,
        region_px: int = REGION_PX,
    ) -> None:
        self._path, self._spec, self._tiles = path, spec, tiles
        self._threads, self._change = threads, change
        self.regions = regions(tiles, step_px, region_px)
        self._own = threading.local()
        self._open: list[Slide] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tiles")

    def order(self) -> NDArray[np.int64]:
        """Rows of the tile list in the order in which they are read."""
        return np.concatenate([region.rows for region in self.regions])

    def read(self, first: int) -> Iterator[Rgb]:
        """Yield tiles in reading order, from the ``first`` on."""
        begins = np.cumsum([0, *(len(region.rows) for region in self.regions)])
        start = int(np.searchsorted(begins, first, side="right")) - 1
        skip = first - int(begins[start])
        waiting: deque[Future[Rgb]] = deque()
        due = iter(self.regions[start:])
        while True:
            while len(waiting) < self._threads * (1 + AHEAD):
                region = next(due, None)
                if region is None:
                    break
                waiting.append(self._pool.submit(self._cut, region))
            if not waiting:
                return
            yield from waiting.popleft().result()[skip:]
            skip = 0

    def _cut(self, region: Region) -> Rgb:
        """(tiles, size, size, 3): read a region and cut its tiles."""
        slide = self._slide()
        size = self._tiles.size_px
        picture = slide.read(self._tiles.grid, region.x, region.y, region.width, region.height)
        out = np.empty((len(region.rows), size, size, 3), np.uint8)
        for tile, row in zip(out, region.rows, strict=True):
            x, y = self._tiles.xy[row].tolist()
            x, y = x - region.x, y - region.y
            cut = picture[y : y + size, x : x + size]
            tile[:] = cut if self._change is None else self._change(np.ascontiguousarray(cut))
        return out

    def _slide(self) -> Slide:
        """Return this thread's own open slide."""
        slide: Slide | None = getattr(self._own, "slide", None)
        if slide is None:
            slide = open_slide(self._path, self._spec)
            self._own.slide = slide
            with self._lock:
                self._open.append(slide)
        return slide

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for slide in self._open:
            slide.close()
