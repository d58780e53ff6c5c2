"""Edges between the nodes of a slide: Delaunay's triangulation of their centres, cut at a length.

As SlideGraph+ (Lu et al., Med Image Anal 2022;80:102486): neighbours of the triangulation, edges
longer than 4000 px of 0.25 µm (1000 µm) removed, both directions kept. What they leave open:

* Fewer than four nodes have no triangulation to speak of: all pairs are edges (and cut as usual).
* Nodes on one line: each is joined with the next along it.
* Nodes in one place (a ring around a cluster has its centre): qhull leaves all but one out; each
  of these is joined with the node that qhull names as its nearest.
* A node without any edge stays without; what layers make of it is theirs to say.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

MAX_EDGE_UM: Final = 1000.0
"""Lu et al. 2022: 4000 px at 0.25 µm/px."""
FLAT: Final = 1e-9
"""Points whose extent across their line is less than this part of that along it lie on it."""

Edges = NDArray[np.int64]
"""(edges, 2), from and to; sorted by *to* and then by *from*; both directions of every edge."""


def delaunay_edges(centres_um: NDArray[np.float64], max_um: float = MAX_EDGE_UM) -> Edges:
    """Join neighbouring nodes.

    Parameters
    ----------
    centres_um
        (nodes, 2), µm.
    max_um
        Longer edges are removed.

    Returns
    -------
    ndarray
        (edges, 2) int64, from and to, both directions, sorted by *to* and then *from*; no edge from
        a node to itself. Possibly none.

    Examples
    --------
    >>> delaunay_edges(np.array([[0.0, 0.0], [100.0, 0.0], [5000.0, 0.0]])).tolist()
    [[1, 0], [0, 1]]
    """
    points = np.asarray(centres_um, np.float64).reshape(-1, 2)
    pairs = _neighbours(points - points.min(axis=0)) if len(points) > 1 else np.empty((0, 2), int)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].astype(np.int64)
    length = np.sqrt(((points[pairs[:, 0]] - points[pairs[:, 1]]) ** 2).sum(axis=1))
    pairs = pairs[length <= max_um]
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)  # sorted by column 0, 1
    return both[:, ::-1].copy()  # torch refuses the negative strides of a view


def induced_edges(edges: Edges, keep: NDArray[np.bool_]) -> Edges:
    """Edges between the nodes that are kept, numbered anew.

    Examples
    --------
    >>> induced_edges(np.array([[1, 0], [0, 1], [2, 1], [1, 2]]), np.array([False, True, True]))
    array([[1, 0],
           [0, 1]])
    """
    number = np.cumsum(keep) - 1
    there = edges[keep[edges].all(axis=1)]
    return np.ascontiguousarray(number[there].astype(np.int64))


def _neighbours(points: NDArray[np.float64]) -> NDArray[np.int64]:
    n = len(points)
    if n < 4:
        return np.stack(np.triu_indices(n, 1), axis=1)
    along = _order_on_line(points)
    if along is not None:
        return np.stack([along[:-1], along[1:]], axis=1)
    try:
        found = Delaunay(points)
    except QhullError:  # flat by qhull's measure, if not by ours
        along = np.lexsort((points[:, 1], points[:, 0]))
        return np.stack([along[:-1], along[1:]], axis=1)
    triangles = found.simplices
    sides = [triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]
    return np.concatenate([*sides, found.coplanar[:, [0, 2]]]).astype(np.int64)


def _order_on_line(points: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Order of points along their line, or None where they lie on none."""
    middle = points - points.mean(axis=0)
    far = middle[np.argmax((middle**2).sum(axis=1))]
    length2 = float((far**2).sum())
    if length2 == 0:
        return np.arange(len(points))
    across = np.abs(middle[:, 0] * far[1] - middle[:, 1] * far[0])
    if across.max() > FLAT * length2:
        return None
    return np.lexsort((points[:, 1], points[:, 0], np.round(middle @ far / length2, 12)))
