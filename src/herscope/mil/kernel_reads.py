"""KAT's two large steps, in little memory: tiles read kernels, kernels read tiles; and its MLP.

A bag of N tiles has K kernels and h heads. Three things make the steps small, none changes a value
beyond rounding:

* *Folded projections.* q_T k_P' = T (k_P W_q)': the projection of the tiles is applied to the
  kernels instead, of which there are few. So tiles are never projected to queries, keys and values
  (3 x 512 numbers a tile), and the output projection is folded into the kernels' values.
* *Chunks.* Scores exist for 1024 tiles at a time and stay in the processor's cache; a softmax over
  all tiles is kept up to date while the chunks go by (Milakov and Gimelshein, arXiv:1805.02867,
  2018; as FlashAttention, Dao et al., NeurIPS 2022, does it on a GPU).
* *Recomputed in backward.* No scores, weights or masks are kept between forward and backward, only
  what they are made of. Masks come from squared distances, one exponential a chunk.

Bags lie end to end; a bag never sees another's tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

CHUNK_TILES = {"cpu": 1024}
"""8 heads x 29 kernels x 1024 tiles are 1 MB of float32: the cache of one core."""
ELSEWHERE = 65_536
"""A GPU wants few large steps."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the bags lie in tensors that hold them end to end.

    Attributes
    ----------
    tiles, kernels
        How many each bag has.
    squared
        Of each bag (kernels, tiles): squared distance of anchor and tile.
    """

    tiles: list[int]
    kernels: list[int]
    squared: tuple[Tensor, ...]

    def chunks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Give tiles and kernels as rows of the whole, and squared distances, chunk by chunk."""
        tile = kernel = 0
        for count, kernels, squared in zip(self.tiles, self.kernels, self.squared, strict=True):
            step = chunk_size(squared.device)
            for start in range(0, count, step):
                end = min(start + step, count)
                yield (
                    slice(tile + start, tile + end),
                    slice(kernel, kernel + kernels),
                    squared[:, start:end],
                )
            tile, kernel = tile + count, kernel + kernels


def chunk_size(device: torch.device) -> int:
    """Tiles that are worked on at a time."""
    return CHUNK_TILES.get(device.type, ELSEWHERE)


class TileReads(torch.autograd.Function):
    """Tiles read kernels and are changed by it.

    base + dropout([softmax over kernels of (x keys') * mask] values, summed over heads, + bias)

    ``apply(x, base, keys, values, bias, keep, share, layout, rate)`` with x and base (tiles, d),
    keys and values (heads, kernels, d), bias (d,); keep (tiles, d) says which values dropout keeps
    (None: all), of which ``share`` is kept on average. Returns (tiles, d) as ``base`` is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
        keep: Tensor | None,
        share: float,
        layout: Layout,
        rate: float,
    ) -> Tensor:
        """Compute it chunk by chunk."""
        ctx.save_for_backward(x, keys, values, keep)
        ctx.share, ctx.layout, ctx.rate = share, layout, rate
        out = torch.empty_like(base)
        with torch.autocast(x.device.type, enabled=False):
            for tiles, kernels, squared in layout.chunks():
                k, v = keys[:, kernels].flatten(0, 1), values[:, kernels].flatten(0, 1)
                weight = _scores(k, x[tiles], len(keys)).softmax(1)
                weight *= _mask(squared, rate, weight)
                change = (weight.flatten(0, 1).to(v.dtype).T @ v).to(base.dtype).add_(bias)
                if keep is not None:
                    change *= keep[tiles]
                torch.add(base[tiles], change, alpha=1 / share, out=out[tiles])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Recompute the weights and go back."""
        x, keys, values, keep = ctx.saved_tensors
        heads, (g,) = len(keys), grads
        gx = torch.empty_like(x)
        gk, gv, gb = _zeros(keys), _zeros(values), g.new_zeros(g.shape[1])
        with torch.autocast(x.device.type, enabled=False):
            for tiles, kernels, squared in ctx.layout.chunks():
                k, v = keys[:, kernels].flatten(0, 1), values[:, kernels].flatten(0, 1)
                change = g[tiles] / ctx.share
                if keep is not None:
                    change *= keep[tiles]
                gb += change.sum(0)
                part, back = x[tiles], change.to(x.dtype)
                weight = _scores(k, part, heads).softmax(1)
                mask = _mask(squared, ctx.rate, weight)
                gw = (v @ back.T).to(weight.dtype).view_as(weight)
                gw *= mask
                masked = (weight * mask).flatten(0, 1).to(v.dtype)
                gv[:, kernels] += (masked @ back).view(heads, -1, v.shape[1])
                gw -= (gw * weight).sum(1, keepdim=True)
                gs = gw.mul_(weight).flatten(0, 1).to(k.dtype)
                gk[:, kernels] += (gs @ part).view(heads, -1, k.shape[1])
                gx[tiles] = gs.T @ k
        return gx, g, gk.to(keys.dtype), gv.to(values.dtype), gb, None, None, None, None


class KernelReads(torch.autograd.Function):
    """Kernels read tiles: [softmax over tiles of (queries x') * mask] x, for every head.

    ``apply(x, queries, layout, rate)`` with x (tiles, d), queries (heads, kernels, d); returns
    (heads, kernels, d) in float32 or better.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, queries: Tensor, layout: Layout, rate: float) -> Tensor:
        """Compute it chunk by chunk with a running softmax."""
        heads, kernels_all, size = queries.shape
        full = _full(x)
        out = queries.new_zeros((heads, kernels_all, size), dtype=full)
        top = queries.new_full((heads, kernels_all, 1), -torch.inf, dtype=full)
        total = torch.zeros_like(top)
        with torch.autocast(x.device.type, enabled=False):
            for tiles, kernels, squared in layout.chunks():
                q = queries[:, kernels].flatten(0, 1)
                weight = _scores(q, x[tiles], heads)
                before = top[:, kernels]
                now = torch.maximum(before, weight.amax(2, keepdim=True))
                shrink = (before - now).exp()
                weight = weight.sub_(now).exp_()
                total[:, kernels] = total[:, kernels] * shrink + weight.sum(2, keepdim=True)
                weight *= _mask(squared, rate, weight)
                fresh = weight.flatten(0, 1).to(x.dtype) @ x[tiles]
                out[:, kernels] = out[:, kernels] * shrink + fresh.view(heads, -1, size)
                top[:, kernels] = now
        out /= total
        ctx.save_for_backward(x, queries, out, top + total.log())
        ctx.layout, ctx.rate = layout, rate
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Recompute the weights and go back."""
        x, queries, out, log_total = ctx.saved_tensors
        heads, (g,) = len(queries), grads
        inner = (g * out).sum(2, keepdim=True)
        gx = torch.empty_like(x)
        gq = _zeros(queries)
        with torch.autocast(x.device.type, enabled=False):
            for tiles, kernels, squared in ctx.layout.chunks():
                q = queries[:, kernels].flatten(0, 1)
                back = g[:, kernels].flatten(0, 1).to(x.dtype)
                part = x[tiles]
                weight = _scores(q, part, heads).sub_(log_total[:, kernels]).exp_()
                mask = _mask(squared, ctx.rate, weight)
                gs = (back @ part.T).to(weight.dtype).view_as(weight)
                gs = gs.mul_(mask).sub_(inner[:, kernels]).mul_(weight).flatten(0, 1).to(q.dtype)
                masked = weight.mul_(mask).flatten(0, 1).to(back.dtype)
                gx[tiles] = torch.addmm(gs.T @ q, masked.T, back)
                gq[:, kernels] += (gs @ part).view(heads, -1, q.shape[1])
        return gx, gq.to(queries.dtype), None, None


class FeedForward(torch.autograd.Function):
    """x + MLP(LayerNorm(x)) with GELU and dropout, for many rows.

    ``apply(x, norm weight, norm bias, w1, b1, w2, b2, keep1, keep2, share, dtype)``: x (rows, d);
    keep1 (rows, hidden) and keep2 (rows, d) say which values dropout keeps (None: all), of which
    ``share`` is kept on average; products are taken in ``dtype``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        keep1: Tensor | None,
        keep2: Tensor | None,
        share: float,
        dtype: torch.dtype,
    ) -> Tensor:
        """Compute it chunk by chunk."""
        ctx.save_for_backward(x, weight, bias, w1, b1, w2, b2, keep1, keep2)
        ctx.share, ctx.dtype = share, dtype
        out = torch.empty_like(x)
        with torch.autocast(x.device.type, enabled=False):
            v1, c1, v2, c2 = (w.to(dtype) for w in (w1, b1, w2 / share, b2))
            for rows in _rows(x):
                normed = F.layer_norm(x[rows], weight.shape, weight, bias).to(dtype)
                hidden = F.gelu(torch.addmm(c1, normed, v1.T))
                if keep1 is not None:
                    hidden *= keep1[rows]
                change = torch.addmm(c2, hidden, v2.T)
                if keep2 is not None:
                    change *= keep2[rows]
                torch.add(x[rows], change.to(x.dtype), alpha=1 / share, out=out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Recompute the hidden layer and go back."""
        x, weight, bias, w1, b1, w2, b2, keep1, keep2 = ctx.saved_tensors
        share, dtype, (g,) = ctx.share, ctx.dtype, grads
        gx = torch.empty_like(x)
        sums = [_zeros(p) for p in (weight, bias, w1, b1, w2, b2)]
        with torch.autocast(x.device.type, enabled=False):
            v1, c1, v2 = (w.to(dtype) for w in (w1, b1, w2 / share))
            for rows in _rows(x):
                normed, mean, scale = torch.native_layer_norm(
                    x[rows], weight.shape, weight, bias, EPSILON
                )
                narrow = normed.to(dtype)
                before = torch.addmm(c1, narrow, v1.T)
                hidden = F.gelu(before)
                change = g[rows] / share
                if keep1 is not None and keep2 is not None:
                    hidden *= keep1[rows]
                    change *= keep2[rows]
                change = change.to(dtype)
                back = change @ v2
                if keep1 is not None:
                    back *= keep1[rows]
                back = torch.ops.aten.gelu_backward(back, before)
                through = (back @ v1).to(x.dtype)
                part, gw, gb = torch.ops.aten.native_layer_norm_backward(
                    through, x[rows], weight.shape, mean, scale, weight, bias, [True, True, True]
                )
                torch.add(part, g[rows], out=gx[rows])
                more = gw, gb, back.T @ narrow, back.sum(0), change.T @ hidden, change.sum(0)
                for sum_, term in zip(sums, more, strict=True):
                    sum_.add_(term)
        sums[4] /= share
        return gx, *sums, None, None, None, None


EPSILON = 1e-5
"""Of every LayerNorm here; torch's default."""


def draw_keep(rows: int, size: int, drop: float, device: torch.device) -> tuple[Tensor, float]:
    """Draw which values dropout keeps.

    torch's own draws a float for every value, which on a processor takes longer than the matrix
    product after it; here a word of 64 random bits decides over 8 values.

    Returns
    -------
    keep
        (rows, size) bool.
    share
        The probability to be kept, 1 - drop, rounded to 1/256.
    """
    words = torch.empty((rows * size + 7) // 8, dtype=torch.int64, device=device)
    words.random_(-(2**63), None)
    draws = words.view(torch.int8)[: rows * size].view(rows, size)
    cut = min(round(drop * 256), 255)
    return draws.ge_(cut - 128).view(torch.bool), 1 - cut / 256


def _scores(left: Tensor, tiles: Tensor, heads: int) -> Tensor:
    """(heads * kernels, d), (tiles, d) -> (heads, kernels, tiles) in full precision."""
    return (left @ tiles.T).to(_full(left)).view(heads, -1, len(tiles))


def _mask(squared: Tensor, rate: float, like: Tensor) -> Tensor:
    return (squared.to(like.dtype) * rate).exp_()


def _full(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _zeros(like: Tensor) -> Tensor:
    return like.new_zeros(like.shape, dtype=_full(like))


def _rows(x: Tensor) -> Iterator[slice]:
    step = chunk_size(x.device)
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))
