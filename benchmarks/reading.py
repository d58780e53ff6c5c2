"""How fast a tiled JPEG TIFF is read, as ratios to the decoder alone and to OpenSlide.

Writes an 8192 x 8192 px pyramid of tissue-like noise (256-px JPEG tiles, 4:2:0, quality 80) into a
temporary folder and reads it whole in 1024-px blocks, one thread. The floor is a loop of
``imagecodecs.jpeg8_decode`` over the same tiles from memory. The contenders take turns and the
median of the rounds is printed, so that a busy machine slows all of them alike.

    python benchmarks/reading.py [--side 8192] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile

from herscope.slide.opened import Slide, open_slide

BLOCK_PX = 1024
TILE_PX = 256
HALO_PX = 64
MPP = 0.25


def tissue(side: int) -> np.ndarray:
    """Draw smooth pink and blue blobs with fine noise: it costs to decode what tissue does."""
    rng = np.random.Generator(np.random.PCG64(7))
    patch = 1024
    axis = np.arange(patch) * (2 * np.pi / patch)
    blobs = sum(
        np.sin(k * axis[:, None] + a) * np.sin(m * axis[None, :] + b)
        for k, m, a, b in zip(
            *rng.integers(3, 60, (2, 40)), *rng.uniform(0, 7, (2, 40)), strict=True
        )
    )
    stain = 1 / (1 + np.exp(-blobs))
    colour = np.array([235, 225, 235]) - stain[:, :, None] * np.array([90, 130, 60])
    colour = colour + rng.normal(0, 5, (patch, patch, 3))
    pixels = np.clip(colour, 0, 255).astype(np.uint8)
    return np.tile(pixels, (side // patch, side // patch, 1))


def write(path: Path, side: int) -> None:
    """Write the pyramid: full size, 1/4, 1/16."""
    pixels = tissue(side)
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for level, step in enumerate((1, 4, 16)):
            tif.write(
                pixels[::step, ::step],
                photometric="rgb",
                tile=(TILE_PX, TILE_PX),
                compression="jpeg",
                compressionargs={"level": 80, "outcolorspace": "ycbcr"},
                subsampling=(2, 2),
                subfiletype=1 if level else 0,
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit=3,
            )


def decode_alone(path: Path) -> Callable[[], None]:
    """Prepare the floor: the decoder over the same tiles, bytes already in memory."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        tables = page.jpegtables
        tiles = []
        handle = tif.filehandle
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            handle.seek(offset)
            tiles.append(handle.read(count))

    def run() -> None:
        for tile in tiles:
            imagecodecs.jpeg8_decode(tile, tables=tables, outcolorspace="rgb")

    return run


def through_slide(slide: Slide, mpp: float, halo: int = 0) -> Callable[[], None]:
    """Prepare reading a whole grid in blocks through ``Slide.read``."""
    grid = slide.grid(mpp)

    def run() -> None:
        side = BLOCK_PX + 2 * halo
        for y in range(0, grid.height_px, BLOCK_PX):
            for x in range(0, grid.width_px, BLOCK_PX):
                slide.read(grid, x - halo, y - halo, side, side)

    return run


def through_openslide(path: Path) -> Callable[[], None]:
    """Prepare reading the file in blocks through OpenSlide, to RGB arrays."""

    def run() -> None:
        with openslide.OpenSlide(path) as slide:
            width, height = slide.dimensions
            for y in range(0, height, BLOCK_PX):
                for x in range(0, width, BLOCK_PX):
                    np.asarray(slide.read_region((x, y), 0, (BLOCK_PX, BLOCK_PX)).convert("RGB"))

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="pixels, a multiple of 1024")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write(path, options.side)
        with open_slide(path) as slide:
            contenders = {
                "decode alone": decode_alone(path),
                "herscope, native": through_slide(slide, MPP),
                "herscope, halo 64 px": through_slide(slide, MPP, HALO_PX),
                "herscope, averaged 1.84x": through_slide(slide, MPP * 1.84),
                "herscope, averaged 2x": through_slide(slide, MPP * 2),
                "OpenSlide, native": through_openslide(path),
            }
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for round_ in range(options.rounds + 1):
                for name, run in contenders.items():
                    start = time.perf_counter()
                    run()
                    if round_:  # the first round warms caches and compiles
                        seconds[name].append(time.perf_counter() - start)
    floor = statistics.median(seconds["decode alone"])
    megapixels = options.side**2 / 1e6
    print(
        f"{options.side} x {options.side} px, {TILE_PX}-px JPEG tiles, median of {options.rounds}"
    )
    print(f"{'':28}{'s':>8}{'Mpx/s':>9}{'of decode':>11}{'x OpenSlide':>13}")
    peer = statistics.median(seconds["OpenSlide, native"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(
            f"{name:28}{middle:8.3f}{megapixels / middle:9.0f}{floor / middle:11.2f}"
            f"{peer / middle:13.1f}"
        )


if __name__ == "__main__":
    main()
