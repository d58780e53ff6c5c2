"""The formula that run lengths, zones, distances and dependences share, IBSI 3.7 to 3.9 and 3.11.

All four count things by grey level i and by an extent j (length, size, distance, number of
neighbours alike), and take the same sixteen numbers of the table; NGLDM has an energy besides.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.radiomics.cooccurrence import entropy

Array = NDArray[np.float64]

ORDER: Final = (
    *("small", "large", "low", "high", "small_low", "small_high", "large_low", "large_high"),
    *("level_spread", "level_spread_norm", "extent_spread", "extent_spread_norm", "percent"),
    *("level_variance", "extent_variance", "entropy", "energy"),
)
"""Our words for the numbers, in the order in which :data:`NAMES` gives IBSI's."""

NAMES: Final = {
    "rlm": (
        *("sre", "lre", "lgre", "hgre", "srlge", "srhge", "lrlge", "lrhge", "glnu", "glnu_norm"),
        *("rlnu", "rlnu_norm", "r_perc", "gl_var", "rl_var", "rl_entr"),
    ),
    "szm": (
        *("sze", "lze", "lgze", "hgze", "szlge", "szhge", "lzlge", "lzhge", "glnu", "glnu_norm"),
        *("zsnu", "zsnu_norm", "z_perc", "gl_var", "zs_var", "zs_entr"),
    ),
    "dzm": (
        *("sde", "lde", "lgze", "hgze", "sdlge", "sdhge", "ldlge", "ldhge", "glnu", "glnu_norm"),
        *("zdnu", "zdnu_norm", "z_perc", "gl_var", "zd_var", "zd_entr"),
    ),
    "ngl": (
        *("lde", "hde", "lgce", "hgce", "ldlge", "ldhge", "hdlge", "hdhge", "glnu", "glnu_norm"),
        *("dcnu", "dcnu_norm", "dc_perc", "gl_var", "dc_var", "dc_entr", "dc_energy"),
    ),
}
"""IBSI's names by family; energy is NGLDM's alone."""


def emphasis_features(
    counts: NDArray[np.int64],
    voxels: NDArray[np.int64],
    *,
    extents: NDArray[np.int64],
    family: str,
) -> dict[str, Array]:
    """Turn tables of level by extent into the features of one family.

    Parameters
    ----------
    counts
        ``(m, g, c)``: things of level 1 to g and of extent ``extents[c]``.
    voxels
        ``(m,)`` voxels that could have been one thing each; the denominator of the percentage.
    extents
        ``(c,)`` lengths, sizes, distances or numbers of voxels alike, from 1.
    family
        ``rlm``, ``szm``, ``dzm`` or ``ngl``.

    Returns
    -------
    dict
        IBSI name to ``(m,)``; NaN where a table is empty.

    Examples
    --------
    Two runs of level 1, one of length 1 and one of length 3:

    >>> run = emphasis_features(
    ...     np.array([[[1, 0, 1]]]), np.array([4]), extents=np.array([1, 2, 3]), family="rlm"
    ... )
    >>> float(run["lre"][0]), float(run["r_perc"][0])
    (5.0, 0.5)
    """
    things = counts.sum(axis=(1, 2)).astype(np.float64)
    by_level = counts.sum(axis=2).astype(np.float64)  # (m, g)
    by_extent = counts.sum(axis=1).astype(np.float64)  # (m, c)
    level = np.arange(1, counts.shape[1] + 1, dtype=np.float64)
    extent = extents.astype(np.float64)
    table = counts.astype(np.float64)

    def weighted(of_level: Array, of_extent: Array) -> Array:
        return np.asarray(np.einsum("mij,i,j->m", table, of_level, of_extent))

    with np.errstate(divide="ignore", invalid="ignore"):
        level_share, extent_share = by_level / things[:, None], by_extent / things[:, None]
        share = table / things[:, None, None]
        level_mean, extent_mean = level_share @ level, extent_share @ extent
        level_spread = (by_level**2).sum(axis=1) / things
        extent_spread = (by_extent**2).sum(axis=1) / things
        values = (
            by_extent @ extent**-2 / things,
            by_extent @ extent**2 / things,
            by_level @ level**-2 / things,
            by_level @ level**2 / things,
            weighted(level**-2, extent**-2) / things,
            weighted(level**2, extent**-2) / things,
            weighted(level**-2, extent**2) / things,
            weighted(level**2, extent**2) / things,
            level_spread,
            level_spread / things,
            extent_spread,
            extent_spread / things,
            things / voxels,
            (level_share * (level - level_mean[:, None]) ** 2).sum(axis=1),
            (extent_share * (extent - extent_mean[:, None]) ** 2).sum(axis=1),
            entropy(share.reshape(len(share), -1)),
            (share**2).sum(axis=(1, 2)),
        )
    return {
        name: np.where(things > 0, value, np.nan)
        for name, value in zip(NAMES[family], values, strict=False)
    }
