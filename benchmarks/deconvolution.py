"""Colour deconvolution against scikit-image and plain NumPy, on the same pixels in the same run.

Prints megapixels per second and ratios; the target is at least 15 times scikit-image.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from skimage.color import separate_stains

from herscope.stain.deconvolve import deconvolution_table, deconvolve, od_table
from herscope.stain.vectors import RUIFROK_JOHNSTON

SIDE = 2048
ROUNDS = 7
WHITE = (255.0, 255.0, 255.0)


def median_seconds(work: Callable[[], object]) -> float:
    """Median time of several calls after one to warm up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    rgb = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    table = deconvolution_table(RUIFROK_JOHNSTON, WHITE)
    inverse = np.linalg.inv(RUIFROK_JOHNSTON.matrix())
    density = od_table(WHITE)
    target = np.empty((SIDE, SIDE, 3), np.int16)

    def with_numpy() -> object:
        return density[[0, 1, 2], rgb] @ inverse

    def memory_floor() -> object:
        return np.copyto(target, rgb)

    rows = {
        "scikit-image separate_stains": lambda: separate_stains(rgb, inverse),
        "NumPy table and product": with_numpy,
        "herscope, three outputs": lambda: deconvolve(rgb, table),
        "copy of the same size": memory_floor,
    }
    speeds = {name: SIDE * SIDE / 1e6 / median_seconds(work) for name, work in rows.items()}
    base = speeds["scikit-image separate_stains"]
    for name, speed in speeds.items():
        print(f"{name:32s} {speed:8.0f} Mpx/s {speed / base:8.1f} x scikit-image")


if __name__ == "__main__":
    main()
