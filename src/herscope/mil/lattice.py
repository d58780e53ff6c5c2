"""Thinning a bag of tiles on its lattice, for models whose work grows with the number of tiles.

Zheng et al. (KAT, IEEE Trans Med Imaging 2023; their code, MIT) keep every f-th row and column of
the tiles when a slide has too many: f = floor(sqrt(tiles / most)) + 1. We go on raising f until the
tiles fit, which their code leaves to chance: it later cuts off the last rows in silence. Distances
between the places that are left are divided by f, so that neighbours stay 1 apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.embed.bag import FeatureBag

Indices = NDArray[np.int64]


def thin_lattice(bag: FeatureBag, max_tiles: int) -> tuple[Indices, int]:
    """Choose the tiles on every f-th row and column, with the f by which they fit.

    Parameters
    ----------
    bag
        Tiles of a slide.
    max_tiles
        Most tiles to keep; at least 1.

    Returns
    -------
    kept
        Indices of the tiles that stay, rising; never empty. All of them where they fit.
    f
        By what the distance between neighbouring tiles grew; 1 where nothing was left out.

    Raises
    ------
    InputError
        ``max_tiles`` below 1; more than ``max_tiles`` tiles in one place of the lattice, so that
        no thinning helps.

    Notes
    -----
    Rows and columns count from the topmost and the leftmost tile. Where no tile lies on the rows
    and columns divisible by f (a slide of two fragments can have that), the fullest of the f x f
    other choices is taken, the first of equals.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> xy = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2) * 256
    >>> bag = make_bag("a", np.ones((16, 1)), xy, tile_px=256, mpp=0.5, encoder="e",
    ...                encoder_id="e")
    >>> kept, f = thin_lattice(bag, 6)
    >>> kept.tolist(), f
    ([0, 2, 8, 10], 2)
    """
    if max_tiles < 1:
        raise InputError(f"at most {max_tiles} tiles of a slide: at least 1 must stay")
    tiles = len(bag)
    if tiles <= max_tiles:
        return np.arange(tiles), 1
    grid = bag.grid
    f = math.isqrt(tiles // max_tiles) + 1
    last = int(grid.max()) + 1
    while f <= last:
        phase = (grid[:, 0] % f) * f + grid[:, 1] % f
        kept = np.flatnonzero(phase == 0)
        if len(kept) == 0:
            kept = np.flatnonzero(phase == np.bincount(phase).argmax())
        if len(kept) <= max_tiles:
            return kept, f
        f += 1
    raise InputError(
        f"slide {bag.slide}: of {tiles} tiles more than {max_tiles} share a place on a lattice of "
        f"{bag.step_px:g} px",
        hint="the file states a wrong size of its tiles; embed the slide again",
    )
