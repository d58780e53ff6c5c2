"""Plan a slide: its scale, tissue, white point, stains, compartments and blocks of work.

A plan is a plain value: it travels to worker processes and holds no open file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError
from herscope.core.registry import CARDS
from herscope.core.units import Mpp
from herscope.measure.markers import Marker
from herscope.nn.inference import load_model
from herscope.nn.model_file import CARD_FILE, read_model
from herscope.score.learned_hscore import LearnedHScore, Parts, plan_h_score
from herscope.score.preview import Preview, look
from herscope.score.spec import ScoreSpec
from herscope.segment.compartments import (
    IGNORED,
    N_CODES,
    STROMA_CODE,
    TUMOR_CODE,
    Compartments,
    read_compartments,
)
from herscope.segment.nucleus_windows import NucleusWindows, plan_windows
from herscope.slide.grid import Grid
from herscope.slide.opened import Slide, SlideInfo, open_slide
from herscope.stain.deconvolve import DeconvolutionTable, deconvolution_table
from herscope.stain.white import WhitePoint, white_point
from herscope.tiles import Block, Rect, TileSize, make_blocks, screen_tissue, tile_size
from herscope.tissue.detection import detect_tissue

NUCLEI_MODEL = "classical"
"""Whose card says what pixels it takes; the results name it."""

CODES_OF: Final[Parts] = {
    "tumor": (TUMOR_CODE,),
    "stroma": (STROMA_CODE,),
    "all": tuple(range(N_CODES - 1)),
}
OVERVIEW_LEAST_PX = 256
"""A small field's overview is finer than usual, so that its longer side has this many pixels."""


@dataclass(frozen=True)
class SlidePlan:
    """Everything a worker needs to know of a slide.

    ``tissue`` is the overview mask after screening, ``overview`` its grid; ``tiles`` the blocks of
    work in raster order (the run engine hands them out). ``windows`` is the network that finds the
    nuclei, None for the classical method, and ``shared`` a folder in which worker processes share
    what it predicts. ``h_score`` is the network that gives H-scores, None without.
    """

    path: Path
    name: str
    spec: ScoreSpec
    info: SlideInfo
    grid: Grid
    overview: Grid
    tissue: NDArray[np.bool_]
    white: WhitePoint
    table: DeconvolutionTable
    compartments: Compartments
    preview: Preview
    tile: TileSize
    tiles: tuple[Block, ...]
    windows: NucleusWindows | None = None
    shared: Path | None = None
    h_score: LearnedHScore | None = None

    @property
    def parts(self) -> Parts:
        """Compartments of the result, with the codes of their pixels."""
        return CODES_OF if self.compartments.given else {"all": CODES_OF["all"]}

    @property
    def nuclei_name(self) -> str:
        """What the results call the finder of the nuclei."""
        return NUCLEI_MODEL if self.windows is None else self.windows.use.name

    @property
    def marker(self) -> Marker:
        """What was stained."""
        return self.spec.target()

    def codes(self, area: Rect) -> NDArray[np.uint8]:
        """Compartment code of each pixel of a rectangle; ``IGNORED`` outside tissue and slide."""
        codes = self.compartments.codes(
            area.x, area.y, area.width, area.height, self.grid.scale_x, self.grid.scale_y
        )
        rows, columns = self.tissue.shape
        y = np.arange(area.y, area.y + area.height)
        x = np.arange(area.x, area.x + area.width)
        # Whole numbers: the overview pixel that holds a working pixel is the same in every tile.
        row = (2 * y + 1) * rows // (2 * self.grid.height_px)
        column = (2 * x + 1) * columns // (2 * self.grid.width_px)
        inside_y = (y >= 0) & (y < self.grid.height_px)
        inside_x = (x >= 0) & (x < self.grid.width_px)
        mask = self.tissue[np.clip(row, 0, rows - 1)][:, np.clip(column, 0, columns - 1)]
        mask &= inside_y[:, None] & inside_x[None, :]
        codes[~mask] = IGNORED
        return codes


def plan_slide(
    path: Path, name: str, spec: ScoreSpec, compartments: Path | Compartments | None = None
) -> SlidePlan:
    """Open a slide and plan its scoring.

    Parameters
    ----------
    path
        The slide.
    name
        What it is called in the results.
    spec
        Parameters.
    compartments
        Annotations as QuPath GeoJSON, or already read; the ``card.json`` of a compartment model;
        None: what ``spec.compartments`` says.

    Raises
    ------
    SlideError
        The slide cannot be read.
    InputError
        Its resolution is unknown or too coarse, or the annotations do not fit.
    WrongInput
        The working resolution, or the tiles, are none that a model in use takes.
    EmptyTissue
        Nothing on it to measure.
    """
    with open_slide(path, spec.slide) as slide:
        return plan_opened(slide, name, spec, compartments)


def plan_opened(
    slide: Slide, name: str, spec: ScoreSpec, compartments: Path | Compartments | None = None
) -> SlidePlan:
    """Plan the scoring of an open slide; parameters as :func:`plan_slide`."""
    info = slide.info
    grid = working_grid(slide, spec)
    model = None
    if spec.nuclei_model is None:
        CARDS.make(NUCLEI_MODEL).check_input(task="nuclei", mpp=grid.mpp)
    else:
        model = load_model(spec.nuclei_model, task="nuclei", mpp=grid.mpp)
    level = info.levels[grid.level]
    size = tile_size(grid, level.tile_width_px, spec.tiles)
    overview = slide.grid(overview_mpp(slide, grid, spec))
    picture = slide.read_all(overview)
    found = detect_tissue(picture, overview.mpp, spec.tissue)
    tissue = screen_tissue(found.mask, overview.mpp, spec.tiles)
    if not tissue.any():
        raise EmptyTissue(
            f"slide {name}: no tissue found ({found.mask.mean():.2%} of the overview)",
            hint="look at it with 'herscope info'; very pale sections need [tissue] min_od lowered",
        )
    white = white_point(picture, found.background)
    table = deconvolution_table(
        spec.stain.vectors(), white.values, nuclear_dab_share=spec.target().nuclear_dab_share
    )
    regions = (
        compartments
        if isinstance(compartments, Compartments)
        else _compartments(slide, spec, compartments, tissue, white, table)
    )
    vectors = spec.stain.vectors()
    windows = None
    if model is not None and spec.nuclei_model is not None:
        windows = plan_windows(
            model, spec.nuclei_model, spec.inference, grid, tissue, white.values, vectors
        )
    h_score = None
    if spec.hscore_model is not None:
        h_score = plan_h_score(
            spec.hscore_model, spec.inference, float(grid.mpp), size, white.values, vectors
        )
    return SlidePlan(
        path=Path(info.path),
        name=name,
        spec=spec,
        info=info,
        grid=grid,
        overview=overview,
        tissue=tissue,
        white=white,
        table=table,
        compartments=regions,
        preview=look(
            lambda x, y, width, height: slide.read(grid, x, y, width, height),
            grid,
            tissue,
            white.values,
            table,
            focus=spec.focus,
            nuclei=spec.nuclei if model is None else None,
        ),
        tile=size,
        tiles=make_blocks(
            grid,
            tissue,
            tile_px=size.working_px,
            block_tiles=spec.tiles.block_tiles,
            halo_px=math.ceil(spec.halo_um / grid.mpp) + 1,
        ),
        windows=windows,
        h_score=h_score,
    )


def _compartments(
    slide: Slide,
    spec: ScoreSpec,
    given: Path | None,
    tissue: NDArray[np.bool_],
    white: WhitePoint,
    table: DeconvolutionTable,
) -> Compartments:
    """Read annotations, or find the compartments as asked."""
    info = slide.info
    size_px, native = (info.width_px, info.height_px), max(info.mpp_x, info.mpp_y)
    if given is not None and given.name == CARD_FILE:
        from herscope.segment.predicted import model_compartments

        model = read_model(given.parent, task="compartments")
        vectors = spec.stain.vectors()
        return model_compartments(
            model,
            slide.grid,
            slide.read,
            tissue,
            white.values,
            vectors,
            size_px,
            native,
            inference=spec.inference,
        )
    if given is not None:
        return read_compartments(given, *size_px)
    if spec.compartments == "nests":
        from herscope.segment.predicted import nest_compartments

        return nest_compartments(slide.grid, slide.read, tissue, table, size_px, native, spec.nests)
    return Compartments()


def working_grid(slide: Slide, spec: ScoreSpec) -> Grid:
    """Choose the grid to score on: as asked, or the slide's own when that is a little coarser."""
    info = slide.info
    asked, limit = spec.tiles.mpp, spec.tiles.coarsest_mpp
    native = max(info.mpp_x, info.mpp_y)
    if native > limit:
        raise InputError(
            f"slide {info.name} has {native:.3g} µm/px; cells are scored down to {limit:g} µm/px",
            hint="scan at 20x or finer; if the stated resolution is wrong, pass --override-mpp",
        )
    return slide.grid(max(asked, native) if native > asked else asked)


def overview_mpp(slide: Slide, grid: Grid, spec: ScoreSpec) -> Mpp:
    """Resolution of the overview: as asked, finer for small fields, never finer than the work."""
    info = slide.info
    longer_um = max(info.width_px * info.mpp_x, info.height_px * info.mpp_y)
    return Mpp(max(min(float(spec.tissue.overview_mpp), longer_um / OVERVIEW_LEAST_PX), grid.mpp))
