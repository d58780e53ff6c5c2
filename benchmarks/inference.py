"""One U-Net of 2 M parameters on 512 px pictures: torch against the engines herscope scores with.

    python benchmarks/inference.py [ROUNDS]

Prints pictures a second and the ratio to eager torch, all measured in this run, in turns, so that
a busy machine slows all of them alike; and the largest difference from torch as a share of the
largest logit. ROUNDS are timed predictions of each engine (5). Needs the extra ``learn``; OpenVINO
is measured where it is installed (``fast``).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, InputError
from herscope.core.registry import COMPARTMENT_CLASSES, ModelCard
from herscope.nn.compute import limit_threads, seed_everything
from herscope.nn.export import export
from herscope.nn.networks.registry import make_network
from herscope.nn.runtime import Engine, Precision, Runner

SIZE_PX, WIDTH, ROUNDS = 512, 0.25, 5

Floats = NDArray[np.float32]
CARD = ModelCard(
    name="benchmark",
    task="compartments",
    summary="Untrained; for its speed only.",
    input_mpp_finest=1.0,
    input_mpp_coarsest=2.0,
    normalisation="red, green and blue divided by 255",
    licence="Apache-2.0",
    source="benchmarks/inference.py",
    training_data="none",
    inputs="rgb",
    classes=list(COMPARTMENT_CLASSES),
    network="unet",
)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    seed_everything(0)
    module = make_network("unet", channels=3, classes=4, width=WIDTH).eval()
    rng = np.random.Generator(np.random.PCG64(0))
    picture = rng.random((1, 3, SIZE_PX, SIZE_PX), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = export(module, 3, Path(folder) / "unet", CARD)

    def eager(batch: Floats) -> Floats:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    ways: dict[str, Callable[[Floats], Floats]] = {"torch, eager": eager}
    asked: list[tuple[str, Engine, Precision]] = [
        ("ONNX Runtime", "onnx", "float32"),
        ("OpenVINO", "openvino", "float32"),
        ("OpenVINO, bf16", "openvino", "bf16"),
    ]
    for name, engine, precision in asked:
        try:
            ways[name] = Runner(model, engine, precision=precision).run
        except (DependencyMissing, InputError) as error:
            print(f"{name}: left out, {error}")
    with limit_threads() as threads:
        found = {name: way(picture) for name, way in ways.items()}  # warms up as well
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way(picture)
                taken[name].append(time.perf_counter() - start)
    parameters = sum(values.numel() for values in module.parameters())
    print(f"U-Net, {parameters / 1e6:.2f} M parameters, {SIZE_PX} px, {threads} threads")
    reference = found["torch, eager"]
    base = statistics.median(taken["torch, eager"])
    for name, times in taken.items():
        seconds = statistics.median(times)
        apart = np.abs(found[name] - reference).max() / np.abs(reference).max()
        print(
            f"{name:16}{1 / seconds:8.2f} pictures/s {base / seconds:6.2f} of torch"
            f"   difference {apart:.1e}"
        )


if __name__ == "__main__":
    main()
