"""How far each tile lies from each anchor, and KAT's hierarchical Gaussian masks of that.

Zheng et al. (KAT, IEEE Trans Med Imaging 2023; their code, MIT)::

    d_ki   = |g_i - g_anchor(k)| / f                    places on the lattice, f from thinning
    M_ki^l = exp(-d_ki^2 / (2 * tiles_per_kernel * 2^l))        layer l = 0, 1, ...

so a mask has a standard deviation of sqrt(tiles_per_kernel * 2^l) tiles: 12, 17, 24 and 34 for the
default of 144. What is kept is one (kernels, tiles) array of squared distances; the mask of a layer
is one exponential of it, made when it is used. The reference keeps (tiles, tiles) distances.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Squared = NDArray[np.float32]
"""(kernels, tiles), squared distance between anchor and tile in tiles."""


def squared_distances(grid: NDArray[np.int64], anchors: NDArray[np.int64], f: int = 1) -> Squared:
    """Return squared distances from anchors to tiles.

    Parameters
    ----------
    grid
        (tiles, 2) row and column.
    anchors
        (kernels,) indices of tiles.
    f
        By what the lattice was thinned; distances are divided by it.

    Returns
    -------
    ndarray
        (kernels, tiles) float32.

    Examples
    --------
    >>> squared_distances(np.array([[0, 0], [0, 3], [4, 0]]), np.array([1])).tolist()
    [[9.0, 0.0, 25.0]]
    """
    places = np.ascontiguousarray(grid, np.int64)
    return _squared(places, places[anchors], 1.0 / (f * f))


def mask_rate(tiles_per_kernel: int, layer: int) -> float:
    """Return r of a layer's mask exp(r d^2), 1 / tiles^2; negative.

    >>> mask_rate(144, 0) == -1 / 288, mask_rate(144, 3) == -1 / 2304
    (True, True)
    """
    return -1.0 / (2.0 * tiles_per_kernel * 2.0**layer)


def kernel_mask(squared: Squared, tiles_per_kernel: int, layer: int) -> NDArray[np.float32]:
    """Return the mask of a layer, (kernels, tiles), 0 to 1.

    >>> float(kernel_mask(np.array([[288.0]], np.float32), 144, 0)[0, 0]).__round__(4)
    0.3679
    """
    return np.exp(squared * np.float32(mask_rate(tiles_per_kernel, layer)))


@njit(nogil=True, cache=True)
def _squared(grid: NDArray[np.int64], centres: NDArray[np.int64], scale: float) -> Squared:
    found = np.empty((len(centres), len(grid)), np.float32)
    for k in range(len(centres)):
        for i in range(len(grid)):
            d = (grid[i, 0] - centres[k, 0]) ** 2 + (grid[i, 1] - centres[k, 1]) ** 2
            found[k, i] = d * scale
    return found
