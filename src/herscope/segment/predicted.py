"""Compartments that nobody drew: by the shape of nuclei, or by a trained network.

Both look at the whole slide on a coarse grid of their own before it is scored, and give regions as
annotations do, so the tiles of the scoring cannot change them. The result names where they come
from, and they are written to ``regions.geojson`` to be looked at and corrected in QuPath.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.registry import COMPARTMENT_CLASSES
from herscope.core.units import Mpp
from herscope.nn.inference import InferenceSpec, runner_for
from herscope.nn.inputs import network_input
from herscope.nn.model_file import ModelFile
from herscope.nn.windows import predict_map
from herscope.segment.compartments import Compartments, from_regions
from herscope.segment.nests import NestSpec, find_nests, nest_mpp, nest_regions
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import DeconvolutionTable
from herscope.stain.vectors import StainVectors, Triple
from herscope.tissue.checks import clip_regions
from herscope.tissue.regions import STROMA, TUMOR, regions_from_mask

GridOf = Callable[[Mpp], Grid]
"""Makes a grid of the slide at a resolution."""

ReadFrom = Callable[[Grid, int, int, int, int], Rgb]
"""``(grid, x, y, width, height)`` to uint8 RGB; white beyond the slide."""

NESTS: Final = "nests"
_REGION_OF: Final = {"tumor": TUMOR, "stroma": STROMA, "other": "Other"}


def nest_compartments(
    grid_of: GridOf,
    read: ReadFrom,
    tissue: NDArray[np.bool_],
    table: DeconvolutionTable,
    size_px: tuple[int, int],
    native_mpp: float,
    spec: NestSpec,
) -> Compartments:
    """Take epithelial nests for tumour; see :mod:`herscope.segment.nests`.

    Parameters
    ----------
    grid_of, read
        The slide's grids and pixels.
    tissue
        (height, width) mask of any scale.
    table
        For the nuclear signal.
    size_px
        Width and height of level 0.
    native_mpp
        µm/px of level 0.
    spec
        Parameters.
    """
    grid = grid_of(nest_mpp(native_mpp, spec))
    found = find_nests(lambda *area: read(grid, *area), grid, tissue, table, spec)
    return from_regions(nest_regions(found, grid, *size_px), source=NESTS)


def model_compartments(
    model: ModelFile,
    grid_of: GridOf,
    read: ReadFrom,
    tissue: NDArray[np.bool_],
    white: Triple,
    vectors: StainVectors,
    size_px: tuple[int, int],
    native_mpp: float,
    *,
    inference: InferenceSpec | None = None,
    threads: int | None = None,
) -> Compartments:
    """Predict compartments with a trained network.

    Parameters
    ----------
    model
        Of the task ``compartments``.
    grid_of, read, tissue, size_px, native_mpp
        As for :func:`nest_compartments`.
    white, vectors
        The slide's white point and stain vectors.
    inference
        Engine and precision; the defaults when None.
    threads
        Of the network; the cores of this process, or one in a worker process, when None. They
        change no class.

    Raises
    ------
    InputError
        The slide is coarser than the model takes.
    ModelError, WrongInput
        The model is of another task, or its file is not what the card says.
    """
    card = model.card
    mpp = math.sqrt(card.input_mpp_finest * card.input_mpp_coarsest)
    if native_mpp > card.input_mpp_coarsest:
        raise InputError(
            f"the slide has {native_mpp:.3g} µm/px; model {card.name} takes pixels down to "
            f"{card.input_mpp_coarsest:g} µm/px",
            hint="scan finer, or take a model that was trained on coarser pixels",
        )
    grid = grid_of(Mpp(max(mpp, native_mpp)))
    card.check_input(task="compartments", mpp=grid.mpp)
    inputs, classes = card.inputs or "rgb", card.classes or list(COMPARTMENT_CLASSES)

    def image(y: int, x: int, height: int, width: int) -> NDArray[np.float32]:
        return network_input(read(grid, x, y, width, height), inputs, white, vectors)

    wanted = _on_grid(tissue, grid)
    shape = (grid.height_px, grid.width_px)
    runner = runner_for(model, inference or InferenceSpec(), threads)
    codes = predict_map(image, shape, runner, wanted=wanted)
    regions = [
        region
        for code, name in enumerate(classes)
        if name in _REGION_OF
        for region in regions_from_mask(
            (codes == code) & wanted, grid.scale_x, grid.scale_y, _REGION_OF[name]
        )
    ]
    return from_regions(clip_regions(regions, *size_px), digest=card.sha256 or "", source=card.name)


def _on_grid(tissue: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """Put the mask on a finer or coarser grid, in whole numbers."""
    rows, columns = tissue.shape
    y = (2 * np.arange(grid.height_px) + 1) * rows // (2 * grid.height_px)
    x = (2 * np.arange(grid.width_px) + 1) * columns // (2 * grid.width_px)
    return np.ascontiguousarray(tissue[y][:, x])
