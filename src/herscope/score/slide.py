"""Score a slide: plan it, score its blocks in any process and order, finish it.

The three steps are what the run engine calls; :func:`score_opened` chains them for one slide in
this process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from herscope.core.store import make_folder, write_parquet, write_text
from herscope.score.block import BlockResult, score_block
from herscope.score.plan import SlidePlan, plan_opened, plan_slide
from herscope.score.result import Alert, Compartment, Reading, SlideResult
from herscope.score.spec import ScoreSpec
from herscope.score.summary import add_up, summarise
from herscope.score.tables import cell_table, tile_table
from herscope.segment.compartments import Compartments
from herscope.segment.nucleus_maps import forget
from herscope.slide.opened import Slide, open_slide
from herscope.slide.protocol import Rgb
from herscope.tiles import Block
from herscope.tissue.geojson import write_regions
from herscope.tissue.regions import TISSUE, Region, regions_from_mask

__all__ = [
    "BlockResult",
    "ScoredSlide",
    "SlidePlan",
    "finish_slide",
    "plan_slide",
    "score_opened",
    "score_tiles",
    "share",
]


@dataclass(frozen=True)
class ScoredSlide:
    """A slide's result document and its tables.

    ``tumor``, ``stroma``, ``all``, ``alerts`` and ``reading`` are those of the document.
    """

    result: SlideResult
    cells: pa.Table
    tiles: pa.Table
    regions: tuple[Region, ...]

    @property
    def tumor(self) -> Compartment:
        """The tumour compartment; KeyError when no compartments were given."""
        return self.result.compartments["tumor"]

    @property
    def stroma(self) -> Compartment:
        """The stroma compartment; KeyError when no compartments were given."""
        return self.result.compartments["stroma"]

    @property
    def all(self) -> Compartment:
        """All tissue, whatever its compartment."""
        return self.result.compartments["all"]

    @property
    def alerts(self) -> list[Alert]:
        """What to know before using the numbers; errors first."""
        return self.result.alerts

    @property
    def reading(self) -> Reading | None:
        """What the marker's guideline makes of the percentages."""
        return self.result.reading

    def save(self, folder: str | Path) -> None:
        """Write ``result.json``, ``cells.parquet``, ``tiles.parquet`` and ``regions.geojson``.

        Parameters
        ----------
        folder
            Made when it does not exist.

        Raises
        ------
        OutputError
            Something cannot be written.
        """
        home = make_folder(Path(folder))
        write_parquet(home / "cells.parquet", self.cells)
        write_parquet(home / "tiles.parquet", self.tiles)
        write_regions(home / "regions.geojson", self.regions)
        write_text(home / "result.json", self.result.to_json())


def score_tiles(plan: SlidePlan, tiles: Sequence[Block]) -> list[BlockResult]:
    """Score blocks of a planned slide; pure, so any process may do it.

    Parameters
    ----------
    plan
        From :func:`plan_slide`.
    tiles
        Some of ``plan.tiles``.
    """
    with open_slide(plan.path, plan.spec.slide) as slide:
        return [_score(slide, plan, block) for block in tiles]


def _score(slide: Slide, plan: SlidePlan, block: Block) -> BlockResult:
    start = time.perf_counter()
    area = block.read
    rgb = slide.read(plan.grid, area.x, area.y, area.width, area.height)
    read_s = time.perf_counter() - start

    def read(x: int, y: int, width: int, height: int) -> Rgb:
        return slide.read(plan.grid, x, y, width, height)

    return score_block(plan, block, rgb, read_s, read=read)


def share(plan: SlidePlan, folder: Path) -> SlidePlan:
    """Return the plan with a folder in which worker processes share what they predict.

    A plan without a network has nothing to share and stays as it is.
    """
    return plan if plan.windows is None else replace(plan, shared=folder)


def finish_slide(
    plan: SlidePlan,
    tile_results: Sequence[BlockResult],
    timings_s: dict[str, float],
    *,
    sha256: str | None = None,
) -> ScoredSlide:
    """Put the blocks of a slide together.

    Parameters
    ----------
    plan
        From :func:`plan_slide`.
    tile_results
        The results of all of ``plan.tiles``, in any order.
    timings_s
        Seconds a stage took; the blocks' own laps are added.
    sha256
        Of the slide's file; computed when left out.
    """
    if plan.windows is not None:
        forget(plan.windows)  # where all was done in this process
    totals = add_up(tile_results)
    seconds = dict(timings_s)
    for result in tile_results:
        for name, lap in result.timings_s.items():
            seconds[name] = seconds.get(name, 0.0) + lap
    if sha256 is None:
        with open_slide(plan.path, plan.spec.slide) as slide:
            sha256 = slide.sha256()
    scale = plan.overview
    tissue = regions_from_mask(plan.tissue, scale.scale_x, scale.scale_y, TISSUE)
    return ScoredSlide(
        result=summarise(plan, totals, sha256=sha256, timings_s=seconds),
        cells=cell_table(plan, totals),
        tiles=tile_table(plan, tile_results, totals),
        regions=(*tissue, *plan.compartments.regions),
    )


def score_opened(
    slide: Slide, spec: ScoreSpec, compartments: Path | Compartments | None = None
) -> ScoredSlide:
    """Score an open slide in this process.

    Parameters
    ----------
    slide
        From :func:`herscope.open_slide`.
    spec
        Parameters.
    compartments
        Annotations as QuPath GeoJSON, or already read; None: all tissue is one compartment.
    """
    start = time.perf_counter()
    plan = plan_opened(slide, slide.info.name, spec, compartments)
    planned = time.perf_counter() - start
    try:
        results = [_score(slide, plan, block) for block in plan.tiles]
    finally:
        if plan.windows is not None:
            forget(plan.windows)
    return finish_slide(plan, results, {"plan": planned}, sha256=slide.sha256())
