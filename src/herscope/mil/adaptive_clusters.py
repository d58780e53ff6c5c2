"""Tiles that lie close together and look alike become one node: adaptive clustering of SlideGraph+.

Lu et al. (SlideGraph+, Med Image Anal 2022;80:102486) join tiles by average linkage on

    D_ij = 1 - exp(-a |F_i - F_j|) exp(-b |C_i - C_j|),   D_ij = 1 beyond a cut-off,

F features, C centres of tiles, and cut the tree at 0.8. Their b = 3e-3 and their cut-off of 2000
are in pixels at 0.25 µm/px; here everything is in micrometres (0.012 per µm, 500 µm).

Beyond the cut-off the similarity 1 - D is exactly 0, so near pairs are all that is needed
(:mod:`herscope.mil.sparse_linkage`), never a matrix of all pairs.

Departures. Features are put on the scale of the slide itself: |F_i - F_j| is divided by its median
over neighbouring tiles of this slide (``feature_scale="slide"``; ``raw`` is theirs). No other slide
is looked at. With their a = 1e-3 on that scale features would decide nothing but ties; ours is
0.07, at which two tiles side by side (128 µm) are joined where they differ by less than the median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag
from herscope.mil.lattice import thin_lattice
from herscope.mil.sparse_linkage import UNIT, NearPairs, link

DECAY_PER_UM: Final = 0.012
"""Lu et al. 2022: 3e-3 per pixel of 0.25 µm."""
CUTOFF_UM: Final = 500.0
"""Lu et al. 2022: 2000 px, where the similarity of place has fallen to exp(-6)."""
CUT: Final = 0.8
"""Lu et al. 2022."""
REFERENCE_TILE_UM: Final = 128.0
"""Lu et al. 2022: 512 px at 0.25 µm/px."""
FEATURE_DECAY: Final = 0.07
"""Ours: -ln(0.2 / exp(-0.012 * 128)) = 0.074, rounded."""
MOST_PAIRS: Final = 30_000_000
"""Near pairs for which memory is taken, about 60 bytes each."""
SIDE_BY_SIDE: Final = 1.5
"""Tiles nearer than so many edges are neighbours: the eight around one."""


class ClusterSpec(Spec):
    """How tiles become nodes."""

    decay_per_um: float = Field(
        default=DECAY_PER_UM, gt=0, le=10, description="Fall of similarity with distance, per µm."
    )
    feature_decay: float = Field(
        default=FEATURE_DECAY,
        ge=0,
        le=1000,
        description="Fall of similarity with the distance of features, on the scale below.",
    )
    feature_scale: Literal["slide", "raw"] = Field(
        default="slide",
        description="slide: the distance of features over its median between this slide's "
        "neighbouring tiles; raw: as it is (Lu et al. with feature_decay 1e-3).",
    )
    cutoff_um: float = Field(
        default=CUTOFF_UM, gt=0, le=1e5, description="Tiles further apart are never alike, µm."
    )
    cut: float = Field(
        default=CUT, gt=0, lt=1, description="Clusters are joined up to this mean distance D."
    )
    assumed_tile_um: float = Field(
        default=REFERENCE_TILE_UM,
        gt=0,
        le=1e5,
        description="Edge of a tile where the features do not state µm per pixel.",
    )
    max_tiles: int = Field(
        default=20_000, ge=4, le=1_000_000, description="Tiles clustered; more are thinned first."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters of a slide's tiles.

    Attributes
    ----------
    tile_node
        (tiles,) int64, the cluster of each tile; clusters are numbered by their first tile.
    features
        (clusters, features) float32, means over the tiles.
    centres_um
        (clusters, 2) float64, mean of the tiles' centres, x and y from the slide's first column and
        row of tiles.
    notes
        What was assumed.
    """

    tile_node: NDArray[np.int64]
    features: NDArray[np.float32]
    centres_um: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def cluster_tiles(bag: FeatureBag, spec: ClusterSpec | None = None) -> Clusters:
    """Join the tiles of a slide to clusters.

    Parameters
    ----------
    bag
        Features and places.
    spec
        Parameters.

    Returns
    -------
    Clusters
        At least one. Above ``max_tiles`` the lattice is thinned for the clustering, and a tile that
        was left out goes to the cluster of the nearest one that was not; means are over all tiles.

    Raises
    ------
    InputError
        So many tiles within the cut-off of each other that memory would not do.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> features = np.array([[0.0], [0.0], [5.0], [5.0]])
    >>> xy = np.array([[0, 0], [256, 0], [512, 0], [768, 0]])
    >>> bag = make_bag("a", features, xy, tile_px=256, mpp=0.5, encoder="e", encoder_id="e")
    >>> found = cluster_tiles(bag)
    >>> found.tile_node.tolist(), found.centres_um.tolist()
    ([0, 0, 1, 1], [[128.0, 64.0], [384.0, 64.0]])
    """
    spec = spec or ClusterSpec()
    notes: list[str] = []
    mpp = bag.mpp
    if mpp is None:
        mpp = spec.assumed_tile_um / bag.tile_px
        notes.append(
            f"the features state no µm per pixel: tiles are taken for {spec.assumed_tile_um:g} µm"
        )
    corners = (bag.xy_px - bag.xy_px.min(axis=0)).astype(np.float64)
    kept, step = thin_lattice(bag, spec.max_tiles)
    pairs = near_pairs(
        bag.features[kept], corners[kept], mpp=mpp, tile_px=bag.tile_px, slide=bag.slide, spec=spec
    )
    node = link(len(kept), pairs, spec.cut)
    if step > 1:
        notes.append(f"{len(bag)} tiles, more than {spec.max_tiles}: every {step}. was clustered")
        _, nearest = cKDTree(corners[kept]).query(corners)
        node = node[nearest]
    _, first, inverse = np.unique(node, return_index=True, return_inverse=True)
    # Numbered by the first tile, also where a tile that was left out comes first.
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    tile_node = number[inverse.ravel()]
    return Clusters(
        tile_node=tile_node,
        features=_means(bag.features, tile_node).astype(np.float32),
        centres_um=_means(corners + bag.tile_px / 2, tile_node) * mpp,
        notes=tuple(notes),
    )


def near_pairs(
    features: NDArray[np.float32],
    places_px: NDArray[np.float64],
    *,
    mpp: float,
    tile_px: float,
    spec: ClusterSpec,
    slide: str = "",
) -> NearPairs:
    """Find the pairs of tiles within the cut-off and how alike they are.

    Parameters
    ----------
    features
        (tiles, features).
    places_px
        (tiles, 2).
    mpp, tile_px
        µm per pixel; edge of a tile.
    spec
        Parameters.
    slide
        For the message of an error.

    Raises
    ------
    InputError
        More than 30 million pairs.
    """
    tree = cKDTree(places_px)
    reach = spec.cutoff_um / mpp
    count = (int(tree.count_neighbors(tree, reach)) - len(places_px)) // 2
    if count > MOST_PAIRS:
        raise InputError(
            f"slide {slide}: {count} pairs of tiles lie within {spec.cutoff_um:g} µm of each other "
            f"(at most {MOST_PAIRS})",
            hint="check the µm per pixel of the features, or lower max_tiles or cutoff_um",
        )
    found = tree.query_pairs(reach, output_type="ndarray").astype(np.int64).reshape(-1, 2)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    first, second = np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])
    apart = np.sqrt(((places_px[first] - places_px[second]) ** 2).sum(axis=1))
    differ = _feature_distances(np.ascontiguousarray(features, np.float32), first, second)
    if spec.feature_scale == "slide":
        differ /= _own_scale(differ, apart, tile_px)
    alike = np.exp(-spec.feature_decay * differ) * np.exp(-spec.decay_per_um * mpp * apart)
    return NearPairs(first, second, np.rint(alike * UNIT).astype(np.int64))


def _own_scale(differ: NDArray[np.float64], apart: NDArray[np.float64], tile_px: float) -> float:
    """Median between neighbouring tiles; of the others, or 1, where that says nothing."""
    beside = differ[apart <= SIDE_BY_SIDE * tile_px]
    for part in (beside, beside[beside > 0], differ[differ > 0]):
        if len(part) and (middle := float(np.median(part))) > 0:
            return middle
    return 1.0


def _means(values: NDArray[np.floating], node: NDArray[np.int64]) -> NDArray[np.float64]:
    order = np.argsort(node, kind="stable")
    starts = np.flatnonzero(np.diff(node[order], prepend=-1))
    found = np.empty((len(starts), values.shape[1]))
    for left in range(0, values.shape[1], 128):  # a copy in float64 of all features is large
        part = values[order, left : left + 128].astype(np.float64)
        found[:, left : left + 128] = np.add.reduceat(part, starts, axis=0)
    return np.asarray(found / np.bincount(node)[:, None])


@numba.njit(nogil=True, cache=True)
def _feature_distances(features, first, second):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba
    """Euclidean distances; four sums in a fixed order, so that the bits are the same anywhere."""
    size = features.shape[1]
    found = np.empty(len(first), np.float64)
    for k in range(len(first)):
        a, b = features[first[k]], features[second[k]]
        s0 = s1 = s2 = s3 = 0.0
        whole = size - size % 4
        for f in range(0, whole, 4):
            d0 = np.float64(a[f]) - b[f]
            d1 = np.float64(a[f + 1]) - b[f + 1]
            d2 = np.float64(a[f + 2]) - b[f + 2]
            d3 = np.float64(a[f + 3]) - b[f + 3]
            s0 += d0 * d0
            s1 += d1 * d1
            s2 += d2 * d2
            s3 += d3 * d3
        for f in range(whole, size):
            d0 = np.float64(a[f]) - b[f]
            s0 += d0 * d0
        found[k] = np.sqrt((s0 + s1) + (s2 + s3))
    return found
