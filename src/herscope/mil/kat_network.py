"""The network of KAT, for bags of any size end to end, with only the work that reaches the result.

Zheng et al., "Kernel Attention Transformer for Histopathology Whole Slide Image Classification"
(MICCAI 2022; IEEE Trans Med Imaging 2023) and their code (MIT), written anew. Tiles T are embedded
by a linear layer; one learned kernel token is repeated for every kernel, so that kernels differ by
their masks alone; one learned class token. In layer l, with shared LayerNorm, W_qkv, W_o and MLP::

    T, P, c <- LN(T), LN(P), LN(c)
    T' = [softmax over kernels(q_T k_P' / sqrt(64)) * M_l'] v_P         tiles read kernels
    P' = [softmax over tiles(q_P k_T' / sqrt(64)) * M_l] v_T            kernels read tiles
    c' = softmax over kernels(q_c k_P' / sqrt(64)) v_P                  class token reads kernels
    each: x <- x + dropout(W_o x' + b), then x <- x + MLP(LN(x))

All three read what the layer was given. The mask multiplies after the softmax and nothing is
renormalised. ``residual="normed"`` adds to the *normalised* tokens as the released code does;
``residual="standard"`` adds to the raw ones (pre-norm, as the paper draws it). The result is a
linear layer on the normalised class token.

Not every update reaches the class token: of the last layer neither T' nor P' does, of the layer
before it T' does not. Those are left out; value and gradients are the same (the parameters of a
layer are shared, so all keep a gradient). See :mod:`herscope.mil.kernel_reads` for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from herscope.mil.kat_sample import KatSample, KatSpec
from herscope.mil.kernel_masks import mask_rate
from herscope.mil.kernel_reads import FeedForward, KernelReads, Layout, TileReads, draw_keep


@dataclass(frozen=True, slots=True)
class KatBatch:
    """Bags end to end: (tiles, features), and where they lie with their distances to anchors."""

    features: Tensor
    layout: Layout

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        squared = tuple(s.to(device, non_blocking=True) for s in self.layout.squared)
        layout = Layout(self.layout.tiles, self.layout.kernels, squared)
        return type(self)(self.features.to(device, non_blocking=True), layout)

    def keep(self, keep: Sequence[Tensor]) -> Self:
        """Return it with some tiles of every bag: indices into the bag, at least one; rising."""
        old = self.layout
        parts = torch.split(self.features, old.tiles)
        layout = Layout(
            [len(k) for k in keep],
            old.kernels,
            tuple(s[:, k] for s, k in zip(old.squared, keep, strict=True)),
        )
        return type(self)(torch.cat([p[k] for p, k in zip(parts, keep, strict=True)]), layout)


def collate(samples: Sequence[KatSample]) -> KatBatch:
    """Put samples end to end."""
    return KatBatch(
        torch.cat([torch.from_numpy(s.features) for s in samples]),
        Layout(
            [s.tiles for s in samples],
            [len(s.squared) for s in samples],
            tuple(torch.from_numpy(s.squared) for s in samples),
        ),
    )


@dataclass(slots=True)
class Tokens:
    """State between layers: tiles (tiles, d), kernels (kernels, d), class tokens (bags, d)."""

    tiles: Tensor
    kernels: Tensor
    classes: Tensor


class KatLayer(nn.Module):
    """One layer of kernel attention and MLP; its parameters serve tiles, kernels and class."""

    def __init__(self, spec: KatSpec, layer: int) -> None:
        super().__init__()
        inner = spec.heads * spec.head_dim
        self.norm = nn.LayerNorm(spec.dim)
        self.qkv = nn.Linear(spec.dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, spec.dim)
        self.feed_norm = nn.LayerNorm(spec.dim)
        self.feed_in = nn.Linear(spec.dim, spec.mlp)
        self.feed_out = nn.Linear(spec.mlp, spec.dim)
        self.heads, self.head_dim = spec.heads, spec.head_dim
        self.drop, self.normed = spec.dropout, spec.residual == "normed"
        self.rate = mask_rate(spec.tiles_per_kernel, layer)

    def forward(self, now: Tokens, layout: Layout, *, kernels: bool, tiles: bool) -> Tokens:
        """Return the tokens after the layer; those not asked for as they were."""
        count = len(now.kernels)
        small = torch.cat([now.kernels, now.classes])
        normed = self.norm(small)
        q, k, v = self._project(normed)
        read = class_reads(q[count:], k[:count], v[:count], layout)
        left = count
        wide = self.norm(now.tiles) if kernels or tiles else now.tiles
        narrow = wide.to(_dtype(wide))
        if kernels:
            read, left = torch.cat([self._kernels_read(narrow, q[:count], layout), read]), 0
        base = (normed if self.normed else small)[left:]
        update = self.out(read).to(base.dtype)
        keep, share = self._keep(len(update), update.shape[1], update.device)
        update = self._feed(base + (update if keep is None else update * keep / share))
        result = Tokens(now.tiles, now.kernels, update[count - left :])
        if kernels:
            result.kernels = update[:count]
        if tiles:
            base = wide if self.normed else now.tiles
            result.tiles = self._feed(self._tiles_read(narrow, base, k[:count], v[:count], layout))
        return result

    def weights(self, now: Tokens, layout: Layout) -> tuple[list[Tensor], list[Tensor]]:
        """Return by bag: class to kernels (h, K), and kernels to tiles, masked (h, K, n)."""
        count = len(now.kernels)
        q, k, _ = self._project(self.norm(torch.cat([now.kernels, now.classes])))
        folded = torch.split(self._fold(q[:count], 1), layout.kernels, dim=1)
        to_kernels = [
            _class_weights(q[count + bag], part)
            for bag, part in enumerate(torch.split(k[:count], layout.kernels))
        ]
        to_tiles = [
            torch.einsum("hkd,nd->hkn", f, t).softmax(2) * (s * self.rate).exp()
            for f, t, s in zip(
                folded, torch.split(self.norm(now.tiles), layout.tiles), layout.squared, strict=True
            )
        ]
        return to_kernels, to_tiles

    def _project(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens, d) -> queries (scaled), keys, values, each (tokens, heads, head_dim)."""
        q, k, v = self.qkv(normed).view(-1, 3, self.heads, self.head_dim).unbind(1)
        return q * self.head_dim**-0.5, k, v

    def _fold(self, tokens: Tensor, which: int) -> Tensor:
        """Fold W_q (0), W_k (1) into tokens: (kernels, heads, head_dim) -> (heads, kernels, d)."""
        weight = self.qkv.weight.view(3, self.heads, self.head_dim, -1)[which]
        return torch.einsum("khe,hed->hkd", tokens, weight)

    def _tiles_read(
        self, wide: Tensor, base: Tensor, k: Tensor, v: Tensor, layout: Layout
    ) -> Tensor:
        keys = self._fold(k, 0) * self.head_dim**-0.5
        onward = self.out.weight.view(-1, self.heads, self.head_dim)
        values = torch.einsum("khe,dhe->hkd", v, onward)
        keep, share = self._keep(len(wide), base.shape[1], base.device)
        read: Tensor = TileReads.apply(  # type: ignore[no-untyped-call]
            wide, base, keys.to(wide.dtype), values.to(wide.dtype), self.out.bias, keep, share,
            layout, self.rate,
        )  # fmt: skip
        return read

    def _kernels_read(self, wide: Tensor, q: Tensor, layout: Layout) -> Tensor:
        read = KernelReads.apply(  # type: ignore[no-untyped-call]
            wide, self._fold(q, 1).to(wide.dtype), layout, self.rate
        )
        weight = self.qkv.weight.view(3, self.heads, self.head_dim, -1)[2]
        return torch.einsum("hkd,hed->khe", read, weight).flatten(1)

    def _keep(self, rows: int, size: int, device: torch.device) -> tuple[Tensor | None, float]:
        if not (self.training and self.drop):
            return None, 1.0
        return draw_keep(rows, size, self.drop, device)

    def _feed(self, x: Tensor) -> Tensor:
        norm, first, second = self.feed_norm, self.feed_in, self.feed_out
        keep1, share = self._keep(len(x), first.out_features, x.device)
        keep2 = self._keep(len(x), second.out_features, x.device)[0]
        fed: Tensor = FeedForward.apply(  # type: ignore[no-untyped-call]
            x, norm.weight, norm.bias, first.weight, first.bias, second.weight, second.bias,
            keep1, keep2, share, _dtype(x),
        )  # fmt: skip
        return fed


class KatNetwork(nn.Module):
    """KAT: batch -> (bags, outputs)."""

    def __init__(self, features: int, outputs: int, spec: KatSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embed = nn.Linear(features, spec.dim)
        self.class_token = nn.Parameter(torch.randn(1, spec.dim))
        self.kernel_token = nn.Parameter(torch.randn(1, spec.dim))
        self.layers = nn.ModuleList(KatLayer(spec, layer) for layer in range(spec.depth))
        self.norm = nn.LayerNorm(spec.dim)
        self.head = nn.Linear(spec.dim, outputs)

    def forward(self, batch: KatBatch) -> Tensor:
        """Return raw outputs."""
        now = self._begin(batch)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            now = layer(now, batch.layout, kernels=number < last, tiles=number < last - 1)
        return self._finish(now)

    def with_kernels(self, batch: KatBatch) -> tuple[Tensor, Tensor]:
        """Return raw outputs and the kernels' tokens after every layer, (layers * kernels, d)."""
        now = self._begin(batch)
        seen = []
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            now = layer(now, batch.layout, kernels=True, tiles=number < last)
            seen.append(now.kernels)
        return self._finish(now), torch.cat(seen)

    @torch.no_grad()
    def rollout(self, batch: KatBatch, how: str) -> Tensor:
        """Return (tiles,) how much of the class token's attention falls on each tile.

        Of one layer: mean over heads of sum_k A^c_hk A^P_hki, attention of the class token to
        kernels times masked attention of kernels to tiles.

        ``path``: A^c of the last layer, A^P of the layer before it: the class token reads kernels
        as they are after that layer. ``last``: both of the last layer, although nothing that is
        read by that A^P reaches the result. ``mean``, ``product``: arithmetic and geometric mean
        over all layers, both of the same layer.
        """
        now = self._begin(batch)
        layout, last = batch.layout, len(self.layers) - 1
        to_kernels, to_tiles = [], []
        for number, layer in enumerate(self._all()):
            one, other = layer.weights(now, layout)
            to_kernels.append(one)
            to_tiles.append(other)
            if number < last:
                now = layer(now, layout, kernels=True, tiles=True)
        if how == "path":
            return _join(to_kernels[-1], to_tiles[-2])
        if how == "last":
            return _join(to_kernels[-1], to_tiles[-1])
        stack = torch.stack([_join(a, b) for a, b in zip(to_kernels, to_tiles, strict=True)])
        return stack.mean(0) if how == "mean" else stack.log().mean(0).exp()

    def _all(self) -> list[KatLayer]:
        return [layer for layer in self.layers if isinstance(layer, KatLayer)]

    def _begin(self, batch: KatBatch) -> Tokens:
        tiles = self.embed(batch.features).to(self.class_token.dtype)
        tiles = F.dropout(tiles, self.spec.embedding_dropout, self.training)
        kernels = self.kernel_token.expand(sum(batch.layout.kernels), -1)
        return Tokens(tiles, kernels, self.class_token.expand(len(batch.layout.tiles), -1))

    def _finish(self, now: Tokens) -> Tensor:
        found: Tensor = self.head(self.norm(now.classes))
        return found


def class_reads(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Class tokens (bags, h, e) read their bags' kernels (kernels, h, e) -> (bags, h * e)."""
    bags = zip(
        q.unbind(0), torch.split(k, layout.kernels), torch.split(v, layout.kernels), strict=True
    )
    return torch.stack(
        [torch.einsum("hk,khe->he", _class_weights(a, b).to(c.dtype), c) for a, b, c in bags]
    ).flatten(1)


def _class_weights(q: Tensor, k: Tensor) -> Tensor:
    """(h, e), (kernels, h, e) -> (h, kernels)."""
    return torch.einsum("he,khe->hk", q, k).softmax(1)


def _join(to_kernels: list[Tensor], to_tiles: list[Tensor]) -> Tensor:
    pairs = zip(to_kernels, to_tiles, strict=True)
    return torch.cat([torch.einsum("hk,hkn->n", a, b) / len(a) for a, b in pairs])


def _dtype(x: Tensor) -> Any:
    """Return the type in which products are taken: autocast's, or the tensor's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
