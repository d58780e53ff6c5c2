"""SlideGraph+ (Lu et al., Med Image Anal 2022;80:102486) as a model of bags.

A slide's tiles become clusters (:mod:`herscope.mil.adaptive_clusters`), clusters become nodes of a
Delaunay graph (:mod:`herscope.mil.graph`), and a small graph network scores nodes
(:mod:`herscope.mil.slidegraph_network`). One output is trained by the ranking loss, several by
cross-entropy; theirs is binary, and how others made it four-class was never published.

The slide is clustered once. Dropping tiles in training drops whole nodes: a node stays where its
first tile is kept, so each stays with the probability that a tile does; edges are those between the
nodes that stay, and at least four stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag
from herscope.mil.adaptive_clusters import ClusterSpec, cluster_tiles
from herscope.mil.graph import MAX_EDGE_UM, delaunay_edges, induced_edges

if TYPE_CHECKING:
    from torch import nn

    from herscope.mil.slidegraph_network import GraphBatch

FEWEST_NODES: Final = 4
"""Lu et al. 2022: fewer have no triangulation."""


class SlideGraphSpec(Spec):
    """Parameters of SlideGraph+."""

    clusters: ClusterSpec = Field(
        default_factory=ClusterSpec, description="How tiles become nodes."
    )
    max_edge_um: float = Field(
        default=MAX_EDGE_UM, gt=0, le=1e6, description="Longer edges are removed, µm."
    )
    widths: tuple[int, ...] = Field(
        default=(16, 16, 8), min_length=1, max_length=16, description="Numbers a node, by stage."
    )
    conv: Literal["edge", "gin"] = Field(
        default="edge", description="Layers from the second stage on: EdgeConv or GIN."
    )
    dropout: float = Field(
        default=0.5, ge=0, lt=1, description="Dropout of each stage's mean score."
    )


@dataclass(frozen=True, slots=True, eq=False)
class SlideGraphSample:
    """A slide as a graph.

    Attributes
    ----------
    features
        (nodes, features) float32.
    centres_um
        (nodes, 2) float64.
    edges
        (edges, 2) int64, from and to, both directions, sorted by *to*.
    tile_node
        (tiles,) int64.
    notes
        What was assumed.
    """

    features: NDArray[np.float32] = field(repr=False)
    centres_um: NDArray[np.float64] = field(repr=False)
    edges: NDArray[np.int64] = field(repr=False)
    tile_node: NDArray[np.int64] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        """How many tiles it holds."""
        return len(self.tile_node)


class SlideGraphModel:
    """SlideGraph+; see :class:`herscope.mil.model.BagModel`.

    Parameters
    ----------
    spec
        Its parameters.

    Examples
    --------
    >>> from herscope.embed.bag import make_bag
    >>> xy = np.stack(np.meshgrid(np.arange(3), np.arange(2)), -1).reshape(-1, 2) * 256
    >>> bag = make_bag("a", np.arange(6.0)[:, None], xy, tile_px=256, mpp=0.5, encoder="e",
    ...                encoder_id="e")
    >>> model = SlideGraphModel()
    >>> sample = model.sample(bag)
    >>> module = model.build(1, 4).eval()
    >>> module(model.collate([sample, sample])).shape, model.tile_scores(module, sample).shape
    (torch.Size([2, 4]), (6, 4))
    """

    name = "slidegraph"

    def __init__(self, spec: SlideGraphSpec | None = None) -> None:
        self.spec = spec or SlideGraphSpec()

    def sample(self, bag: FeatureBag) -> SlideGraphSample:
        """Cluster the tiles and join the clusters.

        Raises
        ------
        InputError
            As :func:`herscope.mil.adaptive_clusters.cluster_tiles`.
        """
        found = cluster_tiles(bag, self.spec.clusters)
        notes = found.notes
        nodes = len(found.features)
        if nodes < FEWEST_NODES:
            notes += (f"{nodes} nodes, too few for a triangulation: every pair is joined",)
        return SlideGraphSample(
            features=found.features,
            centres_um=found.centres_um,
            edges=delaunay_edges(found.centres_um, self.spec.max_edge_um),
            tile_node=found.tile_node,
            notes=notes,
        )

    def thin(self, sample: SlideGraphSample, keep: NDArray[np.bool_]) -> SlideGraphSample:
        """Return the graph without the nodes whose first tile is not kept.

        Parameters
        ----------
        sample
            A graph.
        keep
            (tiles,). Where it leaves fewer than four nodes, the first of the others stay too.
        """
        nodes = len(sample.features)
        _, first = np.unique(sample.tile_node, return_index=True)
        stays = np.asarray(keep, np.bool_)[first].copy()
        missing = min(FEWEST_NODES, nodes) - int(stays.sum())
        if missing > 0:
            stays[np.flatnonzero(~stays)[:missing]] = True
        if stays.all():
            return sample
        number = np.cumsum(stays) - 1
        return SlideGraphSample(
            features=sample.features[stays],
            centres_um=sample.centres_um[stays],
            edges=induced_edges(sample.edges, stays),
            tile_node=number[sample.tile_node[stays[sample.tile_node]]],
            notes=sample.notes,
        )

    def collate(self, samples: Sequence[SlideGraphSample]) -> GraphBatch:
        """Put graphs end to end."""
        from herscope.mil.slidegraph_network import join_graphs

        return join_graphs(samples)

    def build(self, features: int, outputs: int) -> nn.Module:
        """Return a new network; its weights come from torch's generator."""
        from herscope.mil.slidegraph_network import SlideGraphNetwork

        return SlideGraphNetwork(
            features,
            outputs,
            widths=self.spec.widths,
            conv=self.spec.conv,
            dropout=self.spec.dropout,
        )

    def tile_scores(self, module: nn.Module, sample: SlideGraphSample) -> NDArray[np.float32]:
        """(tiles, outputs): the score of each tile's node, summed over stages.

        The mean over *nodes* is the slide's output, so a large cluster counts no more than a small
        one.
        """
        import torch

        from herscope.mil.slidegraph_network import SlideGraphNetwork

        assert isinstance(module, SlideGraphNetwork)
        device = next(module.parameters()).device
        with torch.inference_mode():
            found = module.node_scores(self.collate([sample]).to(device)).float().cpu().numpy()
        return np.asarray(found[sample.tile_node], np.float32)
