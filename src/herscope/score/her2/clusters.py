"""Cells that lie together: the largest cluster of stained cells.

Gastric biopsies are read by clusters of at least five stained tumour cells, and a few intense cells
count in breast only when they are contiguous. Two cells are neighbours when their nuclei's centres
are no further apart than ``reach_um``: tumour cells that touch are 10 to 18 µm apart.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.core.units import Um
from herscope.measure.completeness import MembraneClasses

COMPLETE_INTENSE_CODE: Final = 0
LAST_COMPLETE_CODE: Final = 2
CLUSTERS: Final = ("complete_intense", "intense", "moderate", "faint")


class ClusterSpec(Spec):
    """What a cluster is."""

    reach_um: Um = Field(
        default=Um(20.0), gt=0, le=100, description="Cells of a cluster are no further apart."
    )


def largest_cluster(x_um: NDArray[np.float64], y_um: NDArray[np.float64], reach_um: float) -> int:
    """Count the cells of the largest cluster.

    Parameters
    ----------
    x_um, y_um
        (n,) centres.
    reach_um
        Neighbours are no further apart.

    Examples
    --------
    >>> x = np.array([0.0, 10.0, 20.0, 100.0])
    >>> largest_cluster(x, np.zeros(4), 15.0)
    3
    """
    if len(x_um) < 2:
        return len(x_um)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(np.stack([x_um, y_um], axis=1)).query_pairs(reach_um, output_type="ndarray")
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(x_um), len(x_um)))
    return int(np.bincount(connected_components(graph, directed=False)[1]).max())


def largest_clusters(
    x_um: NDArray[np.float64],
    y_um: NDArray[np.float64],
    classes: MembraneClasses,
    spec: ClusterSpec,
) -> dict[str, int]:
    """Count the largest clusters that the guidelines ask for.

    Returns
    -------
    dict
        ``complete_intense`` (breast), and for gastric biopsies ``intense`` and ``moderate``
        (complete or U-shaped, of grade 3 or at least 1) and ``faint`` (any staining).
    """
    shaped = np.where(classes.code <= LAST_COMPLETE_CODE, classes.grade, classes.u_grade)
    members = {
        "complete_intense": classes.code == COMPLETE_INTENSE_CODE,
        "intense": shaped == 3,
        "moderate": shaped >= 1,
        "faint": classes.grade >= 1,
    }
    return {
        name: largest_cluster(x_um[which], y_um[which], spec.reach_um)
        for name, which in members.items()
    }
