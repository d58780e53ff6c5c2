"""Attention over what is there: masked keys count nothing, and where none is there nothing comes.

Scaled dot products (Vaswani et al. 2017); pooling by one learned score a vector (Ilse et al. 2018,
without a hidden layer, as MuMo's code has it); a feed-forward block x + W2 relu(W1 LN(x)).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attend(nn.Module):
    """Multi-head attention of queries to keys that may be missing.

    Parameters
    ----------
    width
        Numbers a vector.
    heads
        Divides the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, D), (B, K, D), (B, K) bool -> (B, Q, D) and weights (B, Q, K), mean of the heads.

        Where no key is there, both are zero.
        """
        weights = self._weights(
            self._split(self.query(queries)), self._split(self.key(keys)), there
        )
        read = (weights @ self._split(self.value(keys))).transpose(1, 2).flatten(2)
        any_key = there.any(dim=1)[:, None, None]
        return torch.where(any_key, self.out(read), 0.0), weights.mean(dim=1)

    def _split(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        return x.view(b, n, self.heads, width // self.heads).transpose(1, 2)

    @staticmethod
    def _weights(q: Tensor, k: Tensor, there: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~there[:, None, None, :], float("-inf"))
        # A row without any key is softmax of nothing; it is set to zero, not to NaN.
        empty = ~there.any(dim=1)[:, None, None, None]
        scores = torch.where(empty, 0.0, scores)
        return torch.where(empty, 0.0, scores.softmax(dim=-1))


class Pool(nn.Module):
    """Weighted mean of the vectors that are there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D), (B, N) -> (B, D) and weights (B, N); zeros where nothing is there."""
        scores = self.score(x)[..., 0].masked_fill(~there, float("-inf"))
        empty = ~there.any(dim=1, keepdim=True)
        weights = torch.where(empty, 0.0, torch.where(empty, 0.0, scores).softmax(dim=1))
        return (weights[:, None, :] @ x)[:, 0], weights


class Transform(nn.Module):
    """x + W2 relu(W1 LN(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return x + self.inner(x)


class Tokens(nn.Module):
    """Tokens of different lengths, each through a linear layer of its own."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in sizes)

    def forward(self, values: Tensor) -> Tensor:
        """(B, sum of sizes) -> (B, tokens, D)."""
        parts = values.split(self.sizes, dim=1)  # type: ignore[no-untyped-call]
        made = [layer(part) for layer, part in zip(self.layers, parts, strict=True)]
        return torch.stack(made, dim=1)
