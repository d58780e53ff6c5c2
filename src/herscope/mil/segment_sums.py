"""Means, maxima and softmax over bags that lie end to end in one tensor.

Rows of a bag follow each other; ``sizes`` says how many each bag has, at least one. Sums are added
in the order of the rows and at least in float32, so on a processor the bits depend on nothing else
in the batch. Where
several rows hold a bag's maximum, the gradient is divided evenly among them. On a GPU
``index_add`` adds in no fixed order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def owners(sizes: Tensor) -> Tensor:
    """Return the bag of each row.

    >>> owners(torch.tensor([2, 1])).tolist()
    [0, 0, 1]
    """
    return torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)


def segment_sum(rows: Tensor, sizes: Tensor) -> Tensor:
    """Add the rows of each bag: (rows, k) -> (bags, k).

    >>> segment_sum(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([2, 1])).tolist()
    [[3.0], [5.0]]
    """
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return wide.new_zeros((len(sizes), rows.shape[1])).index_add(0, owners(sizes), wide)


def segment_mean(rows: Tensor, sizes: Tensor) -> Tensor:
    """Take the mean of each bag's rows: (rows, k) -> (bags, k).

    >>> segment_mean(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([2, 1])).tolist()
    [[1.5], [5.0]]
    """
    return segment_sum(rows, sizes) / sizes[:, None]


def segment_max(rows: Tensor, sizes: Tensor) -> Tensor:
    """Take the largest of each bag's rows, column by column: (rows, k) -> (bags, k).

    >>> segment_max(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([2, 1])).tolist()
    [[2.0], [5.0]]
    """
    found: Tensor = torch.segment_reduce(rows, "max", lengths=sizes, axis=0, unsafe=True)
    return found


def segment_softmax(logits: Tensor, sizes: Tensor) -> Tensor:
    """Weights that add up to 1 in each bag, column by column: (rows, k) -> (rows, k).

    >>> segment_softmax(torch.tensor([[3.0], [3.0], [9.0]]), torch.tensor([2, 1])).tolist()
    [[0.5], [0.5], [1.0]]
    """
    bag = owners(sizes)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The largest only keeps exp in range; no gradient has to pass through it.
    top = segment_max(logits.detach(), sizes).index_select(0, bag)
    raised = torch.exp(logits - top)
    return raised / segment_sum(raised, sizes).index_select(0, bag)
