"""How fast slides become features, and whether the encoder ever waits.

Draws 2048 x 2048 px of H&E, repeats it to a JPEG pyramid of 12,288 px with tiles of 240 px, as
Aperio's (576 tiles of 256 px at 0.5 µm/px), and embeds it. Encoders: the built-in one; one that
takes 20 ms a tile on another device (it sleeps); one that takes 20 ms a tile of one core.
``encoder_busy`` is the share of the time of the loop inside the encoder. Reading and the encoder
alone are measured in turns and in processor time, which other programs hardly disturb.

    python benchmarks/embedding.py [--side 12288] [--rounds 3]
    python benchmarks/embedding.py --constants PICTURES     (folder of H&E pictures)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from herscope.core.units import Mpp
from herscope.embed.colour_texture import FEATURE_NAMES, ColourTexture
from herscope.embed.encoder import EncoderCard
from herscope.embed.extraction import EmbedSpec, embed_slide
from herscope.embed.normalising import NormaliseSpec
from herscope.embed.tile_list import TileList, tile_list
from herscope.embed.tile_reader import REGION_PX, TileReader
from herscope.slide.opened import open_slide
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom
from herscope.slide.resolution import SlideSpec
from herscope.stain.normalise import MacenkoTarget, ReinhardTarget

MPP = 0.25
TILE_S = 0.020
UNSTATED_MPP = {".tif": 0.25, ".png": 0.5}


class Paced:
    """An encoder that takes 20 ms a tile: asleep as on a GPU, or busy on one core."""

    def __init__(self, *, asleep: bool) -> None:
        self.asleep = asleep
        self.card: EncoderCard = EncoderCard(
            name="paced",
            summary="Takes its time.",
            features=8,
            input_px=256,
            resize="none",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            licence="Apache-2.0",
            source="this benchmark",
        )

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        """Wait or count; numpy lets other threads run, as torch does."""
        if self.asleep:
            time.sleep(TILE_S * len(tiles))
        else:
            end = time.thread_time() + TILE_S * len(tiles)
            values = np.arange(200_000, dtype=np.float64)
            while time.thread_time() < end:
                np.sqrt(values, out=values)
        return np.zeros((len(tiles), 8), np.float32)


def write(path: Path, side: int) -> None:
    """Write the pyramid: full size, 1/4, 1/16."""
    patch = path.with_name("patch.tif")
    um = 2048 * MPP
    draw_phantom(PhantomSpec(stain="he", width_um=um, height_um=um, mpp=MPP, seed=2), patch)
    with open_slide(patch) as slide:
        drawn = slide.read_all(slide.grid(MPP))
    pixels = np.tile(drawn, (side // 2048, side // 2048, 1))
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for level, step in enumerate((1, 4, 16)):
            tif.write(
                pixels[::step, ::step],
                photometric="rgb",
                tile=(240, 240),
                compression="jpeg",
                compressionargs={"level": 80, "outcolorspace": "ycbcr"},
                subsampling=(2, 2),
                subfiletype=1 if level else 0,
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit=3,
            )


def read_tiles(path: Path, tiles: TileList, region_px: int) -> None:
    """Read every tile with two threads, in regions of this size."""
    with TileReader(
        path, SlideSpec(), tiles, step_px=tiles.size_px, threads=2, region_px=region_px
    ) as reader:
        for _ in reader.read(0):
            pass


def measure(path: Path, rounds: int) -> None:
    """Print tiles a second and how busy the encoders were."""
    with open_slide(path) as slide:
        tiles = tile_list(slide)
        sample = np.stack([slide.read(tiles.grid, *xy, 256, 256) for xy in tiles.xy[:64].tolist()])
    built_in = ColourTexture()
    built_in.embed(sample[:2])  # compile
    seconds: dict[str, list[float]] = {"encoder": [], "regions": [], "tile by tile": []}
    for _ in range(rounds):
        for name, work in (
            ("encoder", lambda: built_in.embed(sample)),
            ("regions", lambda: read_tiles(path, tiles, REGION_PX)),
            ("tile by tile", lambda: read_tiles(path, tiles, tiles.size_px)),
        ):
            start = time.process_time()
            work()
            n = len(sample) if name == "encoder" else len(tiles)
            seconds[name].append((time.process_time() - start) / n)
    rate = {name: 1 / statistics.median(taken) for name, taken in seconds.items()}
    print(f"{len(tiles)} tiles of 256 px at 0.5 µm/px")
    print(f"colour-texture alone                {rate['encoder']:6.0f} tiles per core second")
    print(f"reading, two threads, in regions    {rate['regions']:6.0f} tiles per core second")
    gain = rate["regions"] / rate["tile by tile"]
    print(f"the same tile by tile: {rate['tile by tile']:.0f}, so regions win {gain:.2f}x")
    spec = EmbedSpec()
    normalised = EmbedSpec(normalise=NormaliseSpec(method="macenko"))
    runs = [
        ("colour-texture, 1 reading thread", built_in, spec, 1),
        ("colour-texture, 2 reading threads", built_in, spec, 2),
        ("colour-texture, macenko, 2 threads", built_in, normalised, 2),
        ("20 ms a tile, another device", Paced(asleep=True), spec, 2),
        ("20 ms a tile of a core", Paced(asleep=False), spec, 2),
        ("20 ms a tile of a core, macenko", Paced(asleep=False), normalised, 2),
    ]
    for name, encoder, how, threads in runs:
        made = embed_slide(path, encoder, how, threads=threads, batch=32)
        print(f"{name:35s} {made.tiles_per_s:6.0f} tiles/s, encoder busy {made.encoder_busy:.1%}")


def constants(folder: Path) -> None:
    """Print what is usual on real H&E: the numbers in embed/colour_texture_names.py."""
    rows, weights, lab, stains = [], [], [], []
    for path in sorted([*folder.rglob("*.tif"), *folder.rglob("*.png"), *folder.rglob("*.svs")]):
        if "_mask" in path.name or "overview" in str(path) or "fixtures" in str(path):
            continue
        stated = UNSTATED_MPP.get(path.suffix, 0.5) if "tma" not in str(path) else 0.5
        with open_slide(path, SlideSpec(mpp=Mpp(stated))) as slide:
            tiles = tile_list(slide)
            cut = [slide.read(tiles.grid, *xy, 256, 256) for xy in tiles.xy.tolist()]
        rows.append(ColourTexture().measure(np.stack(cut)))
        weights.append(np.full(len(cut), 1 / len(cut)))
        lab.append(ReinhardTarget.measure(np.concatenate(cut)))
        stains.append(MacenkoTarget.measure(np.concatenate(cut)))
    values, weight = np.concatenate(rows), np.concatenate(weights)
    print(f"{len(values)} tiles of {len(rows)} pictures")
    for i, name in enumerate(FEATURE_NAMES):
        order = np.argsort(values[:, i], kind="stable")
        share = np.cumsum(weight[order])
        low, middle, high = (
            values[order, i][np.searchsorted(share, q * share[-1])] for q in (0.16, 0.5, 0.84)
        )
        print(f'    "{name}": ({float(f"{middle:.2g}")}, {float(f"{(high - low) / 2:.2g}")}),')
    found: dict[str, object] = {
        "mean": [target.mean for target in lab if target],
        "sd": [target.sd for target in lab if target],
        "first": [target.first for target in stains if target],
        "second": [target.second for target in stains if target],
        "full": [target.full for target in stains if target],
    }
    for name, known in found.items():
        median = np.median(np.asarray(known), axis=0)
        if name in {"first", "second"}:
            median = median / np.linalg.norm(median)
        print(name, np.round(median, 3).tolist())


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=12_288, help="a multiple of 2048")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--constants", type=Path)
    given = parser.parse_args()
    if given.constants:
        constants(given.constants)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "he.tif"
        write(path, given.side)
        measure(path, given.rounds)


if __name__ == "__main__":
    main()
