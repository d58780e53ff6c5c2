"""Epithelial nests and stroma from nuclei alone: compartments without annotations or weights.

An honest fallback. It tells epithelium from stroma, **not tumour from normal epithelium**: normal
glands come out as tumour, and so do crowds of round cells such as lymphoid follicles. Whoever shows
its numbers says so (:data:`NEST_ALERT`).

1. Nuclei are found at about 1 µm/px (:mod:`herscope.segment.nuclei`) in windows with a halo, and
   leave sums on a map of 8 µm cells (:mod:`herscope.segment.nest_tally`).
2. The *score* of a place, in µm, is the mean width of the nuclei around (the shorter axis, so that
   a spindle counts as thin) less ``bar_um``, plus a gain for how dark the collar between the nuclei
   is in contrasts of the slide: epithelial cells touch, so there is cytoplasm where stroma has pale
   gaps.
3. A place is nest where the score is above zero; where the slide's own scores fall into two groups
   far enough apart, above the cut between them (Otsu 1979), kept within ``cut_range_um``.
4. Specks go to what surrounds them.

Nuclear morphology for this is old (Sirinukunwattana et al. 2016 and others learn it); the two
features, the score and its constants are ours, set by hand on seven real fields (EndoNuke,
DeepLIIF, QuPath's Ki67 region). ``docs/science/nests.md`` has the accuracy, image by image, what is
left of it on a tile that was left out, and where it fails.

All comparisons are of whole numbers, or of floats made by sums, products, quotients and roots
alone, so that neither the windows nor the machine change the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.core.units import Mpp, Um
from herscope.segment.compartments import STROMA_CODE, TUMOR_CODE, UNASSIGNED
from herscope.segment.nest_tally import N_SUMS, NUCLEI, Sums, tally
from herscope.segment.nest_vote import WIDEST_SCORE_UM, absorb, own_cut, score_map
from herscope.segment.nuclei import COARSEST_MPP, NucleiSpec, calibrate_contrast, segment_nuclei
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import DeconvolutionTable, deconvolve, nuclear_signal
from herscope.tissue.checks import clip_regions
from herscope.tissue.regions import STROMA, TUMOR, Region, regions_from_mask

Read = Callable[[int, int, int, int], Rgb]
"""``(x, y, width, height)`` of the grid to uint8 RGB; white beyond the slide."""

NEST_ALERT: Final = (
    "compartments are epithelial nests found from the shape and spacing of nuclei, not annotations "
    "and not a trained model: normal epithelium and crowds of round cells such as lymphoid tissue "
    "are counted as tumor; look at the regions before using the numbers"
)
"""What every result with these compartments has to say; severity ``warning``, code ``nests``."""

WINDOW_UM: Final = 1024.0
_SAMPLE_PX: Final = 256
_MOST_SAMPLES: Final = 6
_ROUNDING_PX: Final = 3


class NestSpec(Spec):
    """Parameters of the search for epithelial nests.

    Examples
    --------
    >>> NestSpec().halo_um < 80
    True
    """

    mpp: Mpp = Field(
        default=Mpp(1.0),
        le=COARSEST_MPP,
        description="Resolution at which nuclei are found, µm/px.",
    )
    cell_um: Um = Field(default=Um(8.0), ge=2, le=50, description="Edge of a cell of the map.")
    collar_um: Um = Field(
        default=Um(4.0), ge=1, le=10, description="Width of the collar round a nucleus."
    )
    neighbours_um: Um = Field(
        default=Um(14.0), ge=4, le=100, description="Gaussian sigma over which nuclei are averaged."
    )
    bar_um: Um = Field(
        default=Um(6.9),
        gt=0,
        le=30,
        description="Width, with what the collar adds, above which nuclei are a nest.",
    )
    collar_gain_um: float = Field(
        default=0.8,
        ge=0,
        le=20,
        description="What a collar as dark as the contrast of the slide's nuclei adds.",
    )
    split_um: float = Field(
        default=1.2,
        gt=0,
        description="The slide sets its own cut when its two groups' mean scores differ by this.",
    )
    cut_range_um: tuple[float, float] = Field(
        default=(-1.0, 0.2), description="Lowest and highest cut that a slide may set."
    )
    min_nuclei: float = Field(
        default=0.5, ge=0, description="Fewer nuclei around (Gaussian count): unassigned."
    )
    min_nest_um2: float = Field(
        default=1000.0, ge=0, description="Smaller nests within stroma are stroma."
    )
    min_stroma_um2: float = Field(
        default=1000.0, ge=0, description="Smaller pieces of stroma within a nest are nest."
    )
    nuclei: NucleiSpec = Field(
        # Centres further apart than for scoring: a map needs no second try inside a nucleus, and
        # tracing the outlines is most of the time.
        default=NucleiSpec(seed_spacing_um=Um(3.5)),
        description="Parameters of the nuclei.",
    )

    @model_validator(mode="after")
    def _range_holds_zero(self) -> Self:
        low, high = self.cut_range_um
        if not -WIDEST_SCORE_UM < low <= 0 <= high < WIDEST_SCORE_UM:
            raise ValueError(
                f"cut_range_um is ({low:g}, {high:g}); it must hold 0 and stay within "
                f"{WIDEST_SCORE_UM:g} µm"
            )
        return self

    @property
    def halo_um(self) -> float:
        """How far from a pixel anything can matter to whether it is in a collar."""
        return self.nuclei.support_um + self.nuclei.max_radius_um + 1.0 + self.collar_um


@dataclass(frozen=True)
class Nests:
    """The map of a slide.

    Parameters
    ----------
    codes
        (rows, columns) uint8: ``TUMOR_CODE`` nest, ``STROMA_CODE`` stroma, ``UNASSIGNED`` glass or
        tissue without nuclei.
    cell_px
        Edge of a cell in pixels of the grid; cells of the last row and column may reach beyond it.
    cut_um
        Score above which a place is nest.
    own_cut
        Whether the slide set it; otherwise it is 0.
    contrast_od
        Contrast of the slide's nuclei at this resolution.
    nuclei
        Nuclei that were counted.
    """

    codes: NDArray[np.uint8]
    cell_px: int
    cut_um: float
    own_cut: bool
    contrast_od: float
    nuclei: int

    @property
    def nest_share(self) -> float | None:
        """Nest as a share of nest and stroma; None where neither was found."""
        nest = int((self.codes == TUMOR_CODE).sum())
        stroma = int((self.codes == STROMA_CODE).sum())
        return nest / (nest + stroma) if nest + stroma else None


def nest_mpp(native_mpp: float, spec: NestSpec) -> Mpp:
    """Resolution to read a slide at: as asked, or its own where that is a little coarser.

    Raises
    ------
    InputError
        The slide is too coarse to see nuclei.

    Examples
    --------
    >>> nest_mpp(0.25, NestSpec()), nest_mpp(1.1, NestSpec())
    (1.0, 1.1)
    """
    if native_mpp > COARSEST_MPP:
        raise InputError(
            f"the slide has {native_mpp:.3g} µm/px; nests are found down to {COARSEST_MPP:g} µm/px",
            hint="scan at 20x or finer, or give annotations as GeoJSON",
        )
    return Mpp(max(float(spec.mpp), native_mpp))


def find_nests(
    read: Read,
    grid: Grid,
    tissue: NDArray[np.bool_],
    table: DeconvolutionTable,
    spec: NestSpec,
    *,
    window_um: float = WINDOW_UM,
) -> Nests:
    """Tell epithelial nests from stroma on a whole slide.

    Parameters
    ----------
    read
        Pixels of a rectangle of the grid.
    grid
        About 1 µm/px, ``slide.grid(nest_mpp(native, spec))``; not the grid that is scored.
    tissue
        (height, width) bool that covers the same glass at any scale.
    table
        For the nuclear signal of the slide's marker.
    spec
        Parameters.
    window_um
        Edge of what is read at once; it changes time and memory, never the map.

    Returns
    -------
    Nests

    Raises
    ------
    InputError
        Pixels too coarse, or a tissue mask that is none.
    """
    if tissue.ndim != 2 or tissue.dtype != np.bool_ or tissue.size == 0:
        raise InputError(
            f"the tissue mask is {tissue.dtype} with the shape {tissue.shape}",
            hint="give (height, width) bool, such as TissueMap.mask",
        )
    if grid.mpp > COARSEST_MPP or not window_um > 0:
        raise InputError(
            f"nests are looked for down to {COARSEST_MPP:g} µm/px in windows of some size, "
            f"not at {grid.mpp:g} µm/px in windows of {window_um:g} µm",
            hint="make the grid with slide.grid(nest_mpp(native, spec))",
        )
    cell_px = max(1, math.floor(spec.cell_um / grid.mpp + 0.5))
    mask = _tissue_cells(grid, tissue, cell_px)
    contrast = calibrate_contrast(
        (_signal(read, table, area) for area in _samples(grid, mask, cell_px)),
        grid.mpp,
        spec.nuclei,
    )
    sums = np.zeros((N_SUMS, *mask.shape), np.int32)
    halo = math.ceil(spec.halo_um / grid.mpp) + _ROUNDING_PX
    for x, y, width, height in _windows(grid, mask, cell_px, window_um):
        around = (x - halo, y - halo, width + 2 * halo, height + 2 * halo)
        signal = _signal(read, table, around)
        nuclei = segment_nuclei(signal, grid.mpp, spec.nuclei, contrast_od=contrast)
        part = tally(
            nuclei,
            signal,
            grid.mpp,
            core=(halo, halo, halo + height, halo + width),
            cell_px=cell_px,
            collar_um=spec.collar_um,
        )
        row, column = y // cell_px, x // cell_px
        sums[:, row : row + part.shape[1], column : column + part.shape[2]] = part
    sums[:, ~mask] = 0  # windows without tissue are not read: nothing off tissue may count
    return _vote(sums, mask, cell_px, grid.mpp, contrast, spec)


def nest_regions(nests: Nests, grid: Grid, width_px: int, height_px: int) -> tuple[Region, ...]:
    """Outline the nests as ``Tumor`` and the rest as ``Stroma``, in level-0 pixels.

    Parameters
    ----------
    nests
        From :func:`find_nests`.
    grid
        The grid they were found on.
    width_px, height_px
        Size of the slide's level 0; nothing reaches beyond it.
    """
    x, y = nests.cell_px * grid.scale_x, nests.cell_px * grid.scale_y
    found = [
        region
        for code, name in ((TUMOR_CODE, TUMOR), (STROMA_CODE, STROMA))
        for region in regions_from_mask(nests.codes == code, x, y, name)
    ]
    return tuple(clip_regions(found, width_px, height_px))


def _signal(
    read: Read, table: DeconvolutionTable, area: tuple[int, int, int, int]
) -> NDArray[np.uint16]:
    return nuclear_signal(deconvolve(read(*area), table))


def _tissue_cells(grid: Grid, tissue: NDArray[np.bool_], cell_px: int) -> NDArray[np.bool_]:
    """Cells of the map whose centre is tissue, in whole numbers."""
    rows, columns = tissue.shape
    y = (2 * np.arange(-(-grid.height_px // cell_px)) + 1) * cell_px
    x = (2 * np.arange(-(-grid.width_px // cell_px)) + 1) * cell_px
    row = np.minimum(y * rows // (2 * grid.height_px), rows - 1)
    column = np.minimum(x * columns // (2 * grid.width_px), columns - 1)
    return np.asarray(tissue[row][:, column])


def _windows(
    grid: Grid, mask: NDArray[np.bool_], cell_px: int, window_um: float
) -> Iterator[tuple[int, int, int, int]]:
    """x, y, width, height of the windows that hold tissue, in raster order."""
    edge = max(1, math.floor(window_um / grid.mpp / cell_px)) * cell_px
    for y in range(0, grid.height_px, edge):
        for x in range(0, grid.width_px, edge):
            width, height = min(edge, grid.width_px - x), min(edge, grid.height_px - y)
            rows = slice(y // cell_px, -(-(y + height) // cell_px))
            if mask[rows, x // cell_px : -(-(x + width) // cell_px)].any():
                yield x, y, width, height


def _samples(grid: Grid, mask: NDArray[np.bool_], cell_px: int) -> list[tuple[int, int, int, int]]:
    """Up to six squares that are at least half tissue, evenly through the raster of the slide."""
    edge = _SAMPLE_PX * grid.mpp
    areas = list(_windows(grid, mask, cell_px, edge))
    shares = [
        mask[
            y // cell_px : -(-(y + height) // cell_px), x // cell_px : -(-(x + width) // cell_px)
        ].mean()
        for x, y, width, height in areas
    ]
    full = [area for area, share in zip(areas, shares, strict=True) if share >= 0.5] or areas
    if len(full) <= _MOST_SAMPLES:
        return full
    return [full[i * (len(full) - 1) // (_MOST_SAMPLES - 1)] for i in range(_MOST_SAMPLES)]


def _vote(
    sums: Sums,
    mask: NDArray[np.bool_],
    cell_px: int,
    mpp: float,
    contrast_od: float,
    spec: NestSpec,
) -> Nests:
    """From sums to codes."""
    cell_um = cell_px * mpp
    score, around = score_map(
        sums,
        sigma=spec.neighbours_um / cell_um,
        bar_um=spec.bar_um,
        gain_um=spec.collar_gain_um,
        contrast_od=contrast_od,
    )
    known = mask & (around >= spec.min_nuclei)
    low, high = spec.cut_range_um
    own = own_cut(score[known], sums[NUCLEI][known], spec.split_um)
    cut = min(max(own, low), high) if own is not None else 0.0
    codes = np.full(mask.shape, UNASSIGNED, np.uint8)
    codes[known] = np.where(score[known] > cut, TUMOR_CODE, STROMA_CODE)
    absorb(codes, TUMOR_CODE, STROMA_CODE, spec.min_nest_um2 / cell_um**2)
    absorb(codes, STROMA_CODE, TUMOR_CODE, spec.min_stroma_um2 / cell_um**2)
    return Nests(codes, cell_px, cut, own is not None, contrast_od, int(sums[NUCLEI].sum()))
