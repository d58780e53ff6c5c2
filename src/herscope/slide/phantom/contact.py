"""What can be seen of a drawn membrane: the line between two cells belongs to both.

Every cell of a phantom draws its own half of a border, and its truth knows that half alone. No
microscope can: where two cells touch there is one line, as brown as the browner half shows it. This
gives each cell the density of the line around it, which is what a measurement can find.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from herscope.slide.phantom.staining import SECTORS
from herscope.slide.phantom.truth import PhantomTruth

TOUCHING_UM: Final = 0.8
_DENSER: Final = 4


def line_sectors(truth: PhantomTruth) -> NDArray[np.float32]:
    """(n, 32) DAB of the visible line by direction from the cell's seed, as ``truth.sectors``.

    Parameters
    ----------
    truth
        Of a membrane phantom. Neighbours outside its rectangle are not known: their half counts as
        unstained.

    Examples
    --------
    >>> from herscope.slide.phantom.spec import PhantomSpec
    >>> from herscope.slide.phantom.truth import phantom_truth
    >>> truth = phantom_truth(PhantomSpec(width_um=100, height_um=100, stain="membrane"))
    >>> bool((line_sectors(truth) >= truth.sectors).all())
    True
    """
    n = len(truth.cells)
    if n == 0:
        return truth.sectors.copy()
    seeds = truth.cells[["seed_x_um", "seed_y_um"]].to_numpy()
    outlines = truth.outlines.astype(np.float64) * truth.spec.mpp
    following = np.roll(outlines, -1, axis=1)
    parts = np.arange(_DENSER)[:, None, None, None] / _DENSER
    points = (outlines + parts * (following - outlines)).transpose(1, 2, 0, 3).reshape(n, -1, 2)
    owner = np.repeat(np.arange(n), points.shape[1])
    flat = points.reshape(-1, 2)
    own = _sector(flat, seeds[owner])
    # The nearest point of another cell is among the few nearest points of all cells.
    far, index = cKDTree(flat).query(flat, k=24, distance_upper_bound=TOUCHING_UM)
    index = np.minimum(index, len(flat) - 1)
    other = np.isfinite(far) & (owner[index] != owner[:, None])
    first = np.argmax(other, axis=1)
    touching = other.any(axis=1)
    neighbour = owner[index[np.arange(len(flat)), first]]
    seen = truth.sectors[owner, own].astype(np.float64)
    theirs = truth.sectors[neighbour, _sector(flat, seeds[neighbour])]
    seen = np.where(touching, np.maximum(seen, theirs), seen)
    place = owner * SECTORS + own
    count = np.bincount(place, minlength=n * SECTORS)
    total = np.bincount(place, weights=seen, minlength=n * SECTORS)
    line = np.where(count > 0, total / np.maximum(count, 1), truth.sectors.ravel())
    return np.maximum(line.reshape(n, SECTORS), truth.sectors).astype(np.float32)


def _sector(points: NDArray[np.float64], seeds: NDArray[np.float64]) -> NDArray[np.int64]:
    turn = np.arctan2(points[:, 1] - seeds[:, 1], points[:, 0] - seeds[:, 0]) / (2 * np.pi)
    return np.floor(turn * SECTORS + 0.5).astype(np.int64) % SECTORS
