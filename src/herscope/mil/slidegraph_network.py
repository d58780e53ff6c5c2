"""The graph network of SlideGraph+: node scores at every stage, summed, in plain torch.

Lu et al. (Med Image Anal 2022;80:102486): a Linear-BN-ReLU stage and then EdgeConv stages, widths
16, 16, 8. Every stage gives each node a score by a Linear of its own; scores are averaged over the
nodes of a slide, dropped out (0.5, on the averages, as in their code) and summed over stages.

* EdgeConv (Wang et al. 2019): h_i = max over neighbours j of f(x_i, x_j - x_i), f Linear-BN-ReLU.
  A node without a neighbour takes f(x_i, 0), as if its neighbour were like itself.
* GIN (Xu et al. 2019): h_i = f(x_i + sum over neighbours j of x_j), f Linear-BN-ReLU, epsilon 0.

Batch normalisation runs over the nodes (of an EdgeConv: the edges) of the batch; a batch with one
row has no such statistics and takes the running ones. Where neighbours share a maximum, the
gradient is divided evenly among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from herscope.mil.segment_sums import segment_max, segment_mean, segment_sum
from herscope.mil.standardise import Standardise, check_size

if TYPE_CHECKING:
    from herscope.mil.slidegraph import SlideGraphSample

Conv = Literal["edge", "gin"]


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Graphs end to end.

    Attributes
    ----------
    features
        (nodes, features) float32.
    source, target
        (edges,) int64, sorted by target; both directions. A node without a neighbour has an edge
        from itself to itself, and only such a node.
    degree
        (nodes,) int64, edges that lead to each node; at least 1.
    sizes
        (graphs,) int64, nodes of each.
    """

    features: Tensor
    source: Tensor
    target: Tensor
    degree: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        return type(self)(*(getattr(self, each.name).to(device) for each in fields(self)))


def join_graphs(samples: Sequence[SlideGraphSample]) -> GraphBatch:
    """Put graphs end to end; node numbers go on from one graph to the next.

    Raises
    ------
    WrongInput
        Their features are not of one size.
    """
    for sample in samples:
        check_size(sample.features.shape[1], samples[0].features.shape[1])
    sizes = torch.tensor([len(s.features) for s in samples])
    first = torch.cumsum(sizes, 0) - sizes
    edges = torch.cat([torch.from_numpy(s.edges) + k for s, k in zip(samples, first, strict=True)])
    nodes = int(sizes.sum())
    alone = torch.bincount(edges[:, 1], minlength=nodes) == 0
    loops = torch.nonzero(alone).expand(-1, 2)
    edges = torch.cat([edges, loops])
    edges = edges[torch.argsort(edges[:, 1], stable=True)]
    return GraphBatch(
        features=torch.cat([torch.from_numpy(s.features) for s in samples]),
        source=edges[:, 0].contiguous(),
        target=edges[:, 1].contiguous(),
        degree=torch.bincount(edges[:, 1], minlength=nodes),
        sizes=sizes,
    )


class Stage(nn.Module):
    """Linear, batch normalisation, ReLU: (rows, inputs) -> (rows, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Apply it."""
        values: Tensor = self.linear(rows)
        norm = self.norm
        if self.training and len(values) == 1:
            return functional.relu(
                functional.batch_norm(
                    values, norm.running_mean, norm.running_var, norm.weight, norm.bias
                )
            )
        return functional.relu(norm(values))


class EdgeConv(nn.Module):
    """Largest message of the neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.message = Stage(2 * inputs, outputs)

    def forward(self, nodes: Tensor, batch: GraphBatch) -> Tensor:
        """(nodes, inputs) -> (nodes, outputs)."""
        here = nodes.index_select(0, batch.target)
        there = nodes.index_select(0, batch.source)
        return segment_max(self.message(torch.cat([here, there - here], dim=1)), batch.degree)


class GinConv(nn.Module):
    """A node and the sum of its neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.update = Stage(inputs, outputs)

    def forward(self, nodes: Tensor, batch: GraphBatch) -> Tensor:
        """(nodes, inputs) -> (nodes, outputs)."""
        there = nodes.index_select(0, batch.source)
        # The edge of a lonely node to itself stands for no neighbour.
        there = there * (batch.source != batch.target)[:, None].to(there.dtype)
        found: Tensor = self.update(nodes + segment_sum(there, batch.degree))
        return found


class SlideGraphNetwork(nn.Module):
    """Graphs -> (graphs, outputs).

    Parameters
    ----------
    features
        Numbers a node.
    outputs
        Classes, or 1 for the ranking loss.
    widths
        Of the stages; at least one.
    conv
        ``edge`` or ``gin``, from the second stage on.
    dropout
        Of each stage's averages.

    Examples
    --------
    >>> sum(p.numel() for p in SlideGraphNetwork(512, 1).parameters())
    9123
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        widths: Sequence[int] = (16, 16, 8),
        conv: Conv = "edge",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        kind = EdgeConv if conv == "edge" else GinConv
        self.standardise = Standardise(features)
        self.first = Stage(features, widths[0])
        self.convs = nn.ModuleList(
            kind(before, after) for before, after in itertools.pairwise(widths)
        )
        self.scores = nn.ModuleList(nn.Linear(width, outputs) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def fit_statistics(self, samples: Sequence[SlideGraphSample]) -> None:
        """Take mean and deviation of the features from the nodes of training slides."""
        self.standardise.fit_statistics(sample.features for sample in samples)

    def forward(self, batch: GraphBatch) -> Tensor:
        """(graphs, outputs), raw."""
        means = [segment_mean(scores, batch.sizes) for scores in self.stage_scores(batch)]
        return torch.stack([self.dropout(mean) for mean in means]).sum(dim=0)

    def node_scores(self, batch: GraphBatch) -> Tensor:
        """(nodes, outputs), summed over stages; their mean is the slide's output in evaluation."""
        return torch.stack(self.stage_scores(batch)).sum(dim=0)

    def stage_scores(self, batch: GraphBatch) -> list[Tensor]:
        """Scores of the nodes at each stage, (nodes, outputs) each."""
        nodes = self.first(self.standardise(batch.features))
        found = [self.scores[0](nodes)]
        for conv, score in zip(self.convs, self.scores[1:], strict=True):
            nodes = conv(nodes, batch)
            found.append(score(nodes))
        return found
