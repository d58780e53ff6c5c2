"""Radiomics of the bags of a slide, of optical density that no normaliser touched.

The picture is the mean over red, green and blue of ``log10(255 / value)``; the region is the bag's
words, so that glass between pieces of tissue and what an expert left out are not measured. The
response paper measured its bags in pyradiomics with settings that were not published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import HerscopeError
from herscope.embed.bag import FeatureBag
from herscope.respond.pathology.lattice import SlideBags
from herscope.respond.pathology.radiomics_table import BagRadiomics
from herscope.respond.radiomics.catalogue import feature_names
from herscope.respond.radiomics.extract import tile_features
from herscope.respond.radiomics.spec import PATHOLOGY, RadiomicsSpec
from herscope.slide.grid import Grid
from herscope.slide.opened import Slide

VERSION: Final = 1
"""Raised whenever the same bag would be read or measured otherwise; part of every fingerprint."""
_DENSITY: Final = np.log10(255.0 / np.maximum(np.arange(256), 1))


def measure_bags(
    slide: Slide,
    grid: Grid,
    found: FeatureBag,
    bags: SlideBags,
    spec: RadiomicsSpec = PATHOLOGY,
    *,
    fingerprint: str = "",
    told: Callable[[int, int], None] | None = None,
) -> BagRadiomics:
    """Measure every bag of a slide.

    Parameters
    ----------
    slide
        Open.
    grid
        The working grid on which bags are read.
    found, bags
        Words and how they are gathered.
    spec
        What is measured.
    fingerprint
        Kept with the figures.
    told
        Called after every bag with the bags done and all bags.

    Returns
    -------
    BagRadiomics
        A bag that cannot be measured is a row of NaN and a note.

    Raises
    ------
    HerscopeError
        No bag can be measured; the reason is that of the first.
    SlideError
        The slide cannot be read.
    """
    names = feature_names(spec, dimensions=2)
    values = np.full((len(bags), len(names)), np.nan)
    faults: list[HerscopeError] = []
    for row in range(len(bags)):
        picture, mask = bag_picture(slide, grid, found, bags, row)
        try:
            measured = tile_features(density(picture), mask, float(grid.mpp), spec)
        except HerscopeError as error:
            faults.append(error)
        else:
            values[row] = [np.nan if v is None else v for v in (measured[n] for n in names)]
        if told is not None:
            told(row + 1, len(bags))
    if faults and len(faults) == len(bags):
        raise faults[0]
    notes = (
        (f"{len(faults)} of {len(bags)} bags have no radiomics: {faults[0].message}",)
        if faults
        else ()
    )
    return BagRadiomics(bags.xy_px, bags.edge_px, tuple(names), values, fingerprint, notes)


def density(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(h, w, 3) uint8 -> (h, w) mean optical density against 255.

    Examples
    --------
    >>> density(np.array([[[255, 255, 255], [25, 25, 25]]], np.uint8)).round(2).tolist()
    [[0.0, 1.01]]
    """
    levels = _DENSITY[picture]
    return np.asarray((levels[..., 0] + levels[..., 1] + levels[..., 2]) / 3.0)


def bag_picture(
    slide: Slide, grid: Grid, found: FeatureBag, bags: SlideBags, row: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read a bag on the working grid: (h, w, 3) uint8, and (h, w) bool where its words are.

    What hangs over the slide's edge is in no word.
    """
    scale = np.array([grid.scale_x, grid.scale_y])
    corner = np.rint(bags.xy_px[row] / scale).astype(np.int64)
    width, height = np.maximum(1, np.rint(bags.edge_px / scale)).astype(np.int64).tolist()
    x, y = corner.tolist()
    picture = slide.read(grid, x, y, width, height)
    mask = np.zeros((height, width), np.bool_)
    chosen = bags.words[row]
    starts = np.rint(found.xy_px[chosen[chosen >= 0]] / scale).astype(np.int64) - corner
    word = np.rint(found.tile_px / scale).astype(np.int64)
    for (left, top), (right, bottom) in zip(
        np.maximum(starts, 0).tolist(), (starts + word).tolist(), strict=True
    ):
        mask[top:bottom, left:right] = True
    mask[max(0, grid.height_px - y) :] = False
    mask[:, max(0, grid.width_px - x) :] = False
    return picture, mask
