"""A training step of KAT against the textbook formulation: time and memory.

Both have the same parameters and the same defaults (4 layers, 256 wide, dropout 0.5) and take the
same bags: forward, cross-entropy, backward, Adam. The textbook one works as the formulas are
written: bags padded to the largest, the distance of every tile to every other as input, masks made
anew for every layer and head from it, attention of all heads at once, kept by autograd. It is our
own writing of that, not the authors' code.

Each is run in processes of its own, in turns. Time: processor time of a step, which other work on
the machine disturbs less than the clock, and clock time; medians over rounds of the median of the
steps after the first. Memory: what the
largest resident set of the process grows by, from bags and parameters at rest to the end of the
steps; in brackets with the input of the bags themselves (features and distances) counted as well.
Targets: at least 2 times as fast, at most a quarter of the memory, on bags of 4096 tiles.

    python benchmarks/kat_step.py [--bags 1] [--tiles 4096] [--threads 1] [--steps 3] [--rounds 3]
                                  [--bf16]
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from herscope.embed.bag import make_bag
from herscope.mil.anchors import place_anchors
from herscope.mil.kat import KatModel
from herscope.mil.kat_sample import KatSpec
from herscope.mil.kernel_masks import kernel_mask, squared_distances

FEATURES, CLASSES, MIB = 512, 4, 2**20


class TextbookLayer(nn.Module):
    """One layer with dense masks."""

    def __init__(self, spec: KatSpec, layer: int) -> None:
        super().__init__()
        inner = spec.heads * spec.head_dim
        self.spec, self.layer = spec, layer
        self.norm, self.feed_norm = nn.LayerNorm(spec.dim), nn.LayerNorm(spec.dim)
        self.qkv = nn.Linear(spec.dim, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, spec.dim), nn.Dropout(spec.dropout))
        self.feed = nn.Sequential(
            nn.Linear(spec.dim, spec.mlp), nn.GELU(), nn.Dropout(spec.dropout),
            nn.Linear(spec.mlp, spec.dim), nn.Dropout(spec.dropout),
        )  # fmt: skip

    def forward(
        self, t: Tensor, p: Tensor, c: Tensor, distance: Tensor, no_tile: Tensor, no_kernel: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take (B, N, d), (B, K, d), (B, 1, d), (B, K, N) distances, (B, N) and (B, K) padding."""
        spread = 2 * self.spec.tiles_per_kernel * 2**self.layer
        mask = torch.exp(-(distance**2) / spread)[:, None].expand(-1, self.spec.heads, -1, -1)
        t, p, c = self.norm(t), self.norm(p), self.norm(c)
        (qt, kt, vt), (qp, kp, vp), (qc, _, _) = self.heads(t), self.heads(p), self.heads(c)
        scale = self.spec.head_dim**-0.5
        reads = []
        for q, k, v, missing, soft in (
            (qt, kp, vp, no_kernel, mask.transpose(2, 3)),
            (qp, kt, vt, no_tile, mask),
            (qc, kp, vp, no_kernel, None),
        ):
            dots = (q @ k.transpose(2, 3)) * scale
            weight = dots.masked_fill(missing[:, None, None], -1e9).softmax(3)
            weight = weight if soft is None else weight * soft
            reads.append(self.out((weight @ v).transpose(1, 2).flatten(2)))
        t, p, c = (x + read for x, read in zip((t, p, c), reads, strict=True))
        return tuple(x + self.feed(self.feed_norm(x)) for x in (t, p, c))

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, n, d) -> queries, keys, values, each (B, heads, n, head_dim)."""
        wide = self.qkv(x).unflatten(2, (3, self.spec.heads, -1))
        return wide.permute(2, 0, 3, 1, 4).unbind(0)


class Textbook(nn.Module):
    """KAT as its formulas are written."""

    def __init__(self, spec: KatSpec) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, spec.dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, spec.dim))
        self.kernel_token = nn.Parameter(torch.randn(1, 1, spec.dim))
        self.layers = nn.ModuleList(TextbookLayer(spec, k) for k in range(spec.depth))
        self.head = nn.Sequential(nn.LayerNorm(spec.dim), nn.Linear(spec.dim, CLASSES))

    def forward(
        self, x: Tensor, distance: Tensor, anchors: Tensor, no_tile: Tensor, no_kernel: Tensor
    ) -> Tensor:
        """Take (B, N, features), (B, N, N), (B, K) indices and paddings."""
        t = self.embed(x)
        p = self.kernel_token.expand(len(x), anchors.shape[1], -1)
        c = self.class_token.expand(len(x), -1, -1)
        for layer in self.layers:
            rows = distance.gather(1, anchors[:, :, None].expand(-1, -1, distance.shape[2]))
            t, p, c = layer(t, p, c, rows, no_tile, no_kernel)
        return self.head(c[:, 0])


def lattice(tiles: int) -> np.ndarray:
    """Return a full square of tiles."""
    edge = int(np.ceil(np.sqrt(tiles)))
    return np.stack(np.divmod(np.arange(tiles), edge), 1)


def prepare(args: argparse.Namespace) -> tuple[Callable[[], Tensor], nn.Module, int]:
    """Return the forward pass, its module and the bytes of its input."""
    torch.manual_seed(0)
    grid, spec = lattice(args.tiles), KatSpec(max_tiles=args.tiles)
    rng = np.random.Generator(np.random.PCG64(0))
    size = (args.bags, args.tiles, FEATURES)
    features = rng.standard_normal(size, dtype=np.float32)
    if args.which == "ours":
        model = KatModel(spec)
        samples = [
            model.sample(
                make_bag(
                    "a", x, grid[:, ::-1] * 256, tile_px=256, mpp=0.5, encoder="e", encoder_id="e"
                )
            )
            for x in features
        ]
        module, batch = model.build(FEATURES, CLASSES), model.collate(samples)
        held = batch.features.nbytes + sum(s.nbytes for s in batch.layout.squared)
        del samples, features
        gc.collect()
        return lambda: module(batch), module, held
    module = Textbook(spec)
    x = torch.from_numpy(features)
    one = torch.cdist(*(torch.from_numpy(grid).float(),) * 2)
    anchors = torch.from_numpy(place_anchors(grid, spec.tiles_per_kernel, spec.seed))
    inputs = (
        x, one.repeat(args.bags, 1, 1), anchors.repeat(args.bags, 1),
        torch.zeros(args.bags, args.tiles, dtype=torch.bool),
        torch.zeros(args.bags, len(anchors), dtype=torch.bool),
    )  # fmt: skip
    return lambda: module(*inputs), module, sum(i.nbytes for i in inputs)


def resident() -> int:
    """Return bytes now in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def worker(args: argparse.Namespace) -> None:
    """Run one of the two and print its figures as JSON."""
    torch.set_num_threads(args.threads)
    forward, module, held = prepare(args)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    target = torch.arange(args.bags) % CLASSES
    # The libraries' own buffers come with the first product; they are not the step's.
    (torch.ones(256, 256) @ torch.ones(256, 256)).sum()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far becomes what is now
    rest, took, clock = resident(), [], []
    for _ in range(args.steps + 1):
        start, busy = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = nn.functional.cross_entropy(forward().float(), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        took.append(time.process_time() - busy)
        clock.append(time.perf_counter() - start)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    top = int(status["VmHWM"].split()[0]) * 1024
    parameters = sum(p.numel() for p in module.parameters())
    busy, passed = statistics.median(took[1:]), statistics.median(clock[1:])
    figures = {"busy": busy, "clock": passed, "grew": top - rest, "held": held}
    print(json.dumps({**figures, "parameters": parameters}))


def anchors_and_masks(tiles: int = 20_000) -> float:
    """Return seconds for anchors and the masks of four layers, compiled before."""
    grid = lattice(tiles)
    squared_distances(grid[:500], place_anchors(grid[:500], 144))
    start = time.perf_counter()
    squared = squared_distances(grid, place_anchors(grid, 144))
    for layer in range(4):
        kernel_mask(squared, 144, layer)
    return time.perf_counter() - start


def main() -> None:
    """Run both and print figures and ratios."""
    parser = argparse.ArgumentParser()
    for name, value in (
        ("bags", 1),
        ("tiles", 4096),
        ("threads", 1),
        ("steps", 3),
        ("rounds", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--which", choices=("ours", "textbook"))
    args = parser.parse_args()
    if args.which:
        worker(args)
        return
    runs: dict[str, list[dict[str, float]]] = {"textbook": [], "ours": []}
    for _ in range(args.rounds):
        for which, done in runs.items():
            command = [sys.executable, __file__, "--which", which, *sys.argv[1:]]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            done.append(json.loads(out))
    found = {
        which: {name: statistics.median(run[name] for run in done) for name in done[0]}
        for which, done in runs.items()
    }
    for which, run in found.items():
        print(
            f"{which:9} {run['busy']:7.3f} s a step ({run['clock']:.3f} by the clock)   "
            f"{run['grew'] / MIB:8.1f} MiB ({(run['grew'] + run['held']) / MIB:.1f} with the bags)"
            f"   {int(run['parameters']):,} parameters"
        )
    old, new = found["textbook"], found["ours"]
    memory = old["grew"] / new["grew"]
    whole = (old["grew"] + old["held"]) / (new["grew"] + new["held"])
    print(
        f"ours is {old['busy'] / new['busy']:.2f} times as fast with 1/{memory:.1f} of the memory "
        f"(1/{whole:.1f} with the bags)"
    )
    print(f"anchors and masks of 20,000 tiles: {anchors_and_masks():.3f} s")


if __name__ == "__main__":
    main()
