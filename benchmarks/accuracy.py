"""How well nuclei are found on real tiles and on phantoms: a table, one row a tile.

    python benchmarks/accuracy.py [DATA]

DATA is the folder with ``ihc`` and ``he``; default: the variable HERSCOPE_DATA, or ``shared/data``
beside the repository. All tiles are 40x scans averaged to 0.5 µm/px. Outlines are compared at the
tile's own resolution. Every slide is one tile here, so its contrast is measured on the tile itself.
Tiles with points (EndoNuke) are in ``real_nuclei.py``.

* DeepLIIF (Ki67): instances at IoU >= 0.5 and percent positive (mean DAB of the nucleus > 0.2 OD).
* MoNuSeg (H&E): instances where every nucleus is outlined; elsewhere the masks run together and
  only the overlap of the foreground (Dice) can be told.
* Phantoms (drawn, exact truth, before JPEG): share of the nuclei found within 3 µm; share of those
  found within tumour and stroma that are near no true centre; H-score of the tumour.
"""

from __future__ import annotations

import os
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from herscope.measure.intensity import GradeSpec, measure_cells
from herscope.segment.cells import CellSpec, expand_nuclei
from herscope.segment.nuclei import Nuclei, NucleiSpec, calibrate_contrast, segment_nuclei
from herscope.slide.phantom.presets import PRESETS
from herscope.slide.phantom.render import render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import phantom_truth
from herscope.stain.deconvolve import deconvolution_table, deconvolve
from herscope.stain.vectors import RUIFROK_JOHNSTON
from herscope.stats.detection import DetectionCounts, match_instances, pooled

MPP = 0.5
POSITIVE_OD = 0.2
PHANTOM_RADIUS_UM = 3.0


@dataclass(frozen=True)
class Tile:
    """A tile at the working resolution; ``truth`` at its own, ``scale`` times finer."""

    name: str
    signal: NDArray[np.uint16]
    dab: NDArray[np.int16]
    truth: NDArray[np.int32]
    scale: int
    true_positive_percent: float | None = None


@dataclass(frozen=True)
class Row:
    """What was found on a tile."""

    name: str
    contrast_od: float
    counts: DetectionCounts
    found_positive_percent: float
    true_positive_percent: float | None


@dataclass(frozen=True)
class PhantomRow:
    """What was found on a phantom; shares in percent, H-scores of the tumour."""

    name: str
    true: int
    found: int
    tumor_recall: float
    stroma_recall: float
    spindle_recall: float
    false: float
    h_score: float | None
    true_h_score: float | None


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image as (height, width, 3) red, green, blue."""
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def stains(
    rgb: NDArray[np.uint8], scale: int, nuclear_dab_share: float = 1.0
) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
    """Average ``scale`` x ``scale`` pixels and return the nuclear signal and the DAB, milli-OD."""
    white = tuple(float(np.percentile(rgb[..., c], 99.9)) for c in range(3))
    height, width = (n // scale * scale for n in rgb.shape[:2])
    small = cv2.resize(
        rgb[:height, :width], (width // scale, height // scale), interpolation=cv2.INTER_AREA
    )
    table = deconvolution_table(RUIFROK_JOHNSTON, white, nuclear_dab_share=nuclear_dab_share)
    split = deconvolve(small, table)
    return np.clip(split.nuclear, 0, 4000).astype(np.uint16), split.dab


def instance_tiles(data: Path) -> list[Tile]:
    """Read the tiles whose nuclei are outlined one by one."""
    return _deepliif(data / "ihc" / "deepliif") + _monuseg(data / "he" / "monuseg")


def _deepliif(folder: Path) -> list[Tile]:
    tiles = []
    for name in ("22_2", "799_2"):
        rgb, mask = read_rgb(folder / f"ki67_{name}.png"), read_rgb(folder / f"ki67_{name}_gt.png")
        border = mask[..., 1] > 128
        interiors = [(mask[..., channel] > 128) & ~border for channel in (0, 2)]
        count, truth = [], np.zeros(mask.shape[:2], np.int32)
        for interior in interiors:
            n, labels = cv2.connectedComponents(interior.astype(np.uint8), connectivity=4)
            truth = np.where(labels > 0, labels + sum(count), truth).astype(np.int32)
            count.append(n - 1)
        # the green border belongs to the nucleus nearest to it
        nearest = cv2.distanceTransformWithLabels(
            (truth == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )[1]
        of_place = np.zeros(nearest.max() + 1, np.int32)
        of_place[nearest[truth > 0]] = truth[truth > 0]
        truth = np.where(border, of_place[nearest], truth)
        signal, dab = stains(rgb, 2)
        percent = 100 * count[0] / sum(count)
        tiles.append(Tile(f"DeepLIIF {name}", signal, dab, truth, 2, percent))
    return tiles


def _monuseg(folder: Path) -> list[Tile]:
    tiles = []
    for outlines in sorted(folder.glob("*.xml")):
        rgb = read_rgb(outlines.with_suffix(".tif"))
        truth = np.zeros(rgb.shape[:2], np.int32)
        regions = ET.parse(outlines).iter("Region")  # noqa: S314 - our own data folder
        for k, region in enumerate(regions):
            points = [(float(v.get("X", 0)), float(v.get("Y", 0))) for v in region.iter("Vertex")]
            if len(points) > 2:
                cv2.fillPoly(truth, [np.rint(points).astype(np.int32)], k + 1)
        signal, dab = stains(rgb, 2)
        tiles.append(Tile(f"MoNuSeg {outlines.stem[5:12]}", signal, dab, truth, 2))
    return tiles


def find(signal: NDArray[np.uint16]) -> tuple[Nuclei, float]:
    """Find the nuclei of a tile with the contrast measured on it."""
    contrast = calibrate_contrast([signal], MPP, NucleiSpec())
    return segment_nuclei(signal, MPP, NucleiSpec(), contrast_od=contrast), contrast


def enlarge(labels: NDArray[np.int32], scale: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Repeat pixels and fill what the averaging cut off, so that labels fit the truth."""
    large = np.zeros(shape, np.int32)
    repeated = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    large[: repeated.shape[0], : repeated.shape[1]] = repeated
    return large


def score_tile(tile: Tile) -> Row:
    """Compare found and true instances, and the percentage that is positive."""
    nuclei, contrast = find(tile.signal)
    counts = match_instances(tile.truth, enlarge(nuclei.labels, tile.scale, tile.truth.shape))
    n = len(nuclei.seeds)
    area = np.bincount(nuclei.labels.ravel(), minlength=n + 1)[1:]
    dab = np.bincount(nuclei.labels.ravel(), tile.dab.ravel(), minlength=n + 1)[1:]
    positive = 100 * float((dab > POSITIVE_OD * 1000 * area).mean()) if n else 0.0
    return Row(tile.name, contrast, counts, positive, tile.true_positive_percent)


def foreground_dice(folder: Path) -> list[tuple[str, int, float]]:
    """(tile, nuclei found, Dice of the foreground) of every MoNuSeg mask."""
    rows = []
    for path in sorted(folder.glob("*_mask.png")):
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        name = path.stem.removesuffix("_mask")
        signal, _ = stains(read_rgb(folder / f"{name}.tif"), 2)
        nuclei, _ = find(signal)
        found = enlarge(nuclei.labels, 2, truth.shape) > 0
        dice = 2 * int((found & truth).sum()) / int(found.sum() + truth.sum())
        rows.append((name[5:12], len(nuclei.seeds), dice))
    return rows


def phantoms() -> list[tuple[str, PhantomSpec]]:
    """Name and Spec of the phantoms scored, each a few seconds' work."""
    chosen = {name: PRESETS[name] for name in ("small", "strong-dab", "pale-blue", "membrane")}
    chosen["cytoplasmic"] = PhantomSpec(stain="cytoplasmic")
    sized = [
        (name, PhantomSpec(**{**spec.model_dump(), "width_um": 800.0, "height_um": 800.0}))
        for name, spec in chosen.items()
    ]
    dirty = PRESETS["dirty"].model_dump() | {"width_um": 1400.0, "height_um": 900.0}
    return [*sized, ("dirty", PhantomSpec(**dirty))]


def score_phantom(name: str, spec: PhantomSpec) -> PhantomRow:
    """Compare found nuclei with the drawn ones, in tumour and stroma, not under an artefact."""
    truth = phantom_truth(spec)
    rgb = render_region(spec, 0, 0, spec.width_px, spec.height_px)
    nuclear = spec.stain == "nuclear"
    signal, dab = stains(rgb, round(MPP / spec.mpp), 1.0 if nuclear else 0.0)
    nuclei, _ = find(signal)
    n = len(nuclei.seeds)
    measured = measure_cells(nuclei.labels, expand_nuclei(nuclei.labels, MPP, CellSpec()), dab, n)
    area = measured.nucleus_px
    found = (np.stack([measured.x_sum, measured.y_sum], 1) / area[:, None] + 0.5) * MPP
    regions = truth.regions()
    place = {
        key: shapely.contains_xy(regions[key], *(found / spec.mpp).T) if key in regions else False
        for key in ("Tumor", "Stroma")
    }
    cells = truth.cells
    centres = cells[["x_um", "y_um"]].to_numpy()
    clear = ~cells["obscured"].to_numpy()
    hit = cKDTree(found).query(centres)[0] < PHANTOM_RADIUS_UM
    lone = cKDTree(centres).query(found)[0] >= PHANTOM_RADIUS_UM
    compartment, kind = cells["compartment"].to_numpy(), cells["kind"].to_numpy()
    inside = place["Tumor"] | place["Stroma"]
    od = measured.od("nucleus")[place["Tumor"]]
    grades = np.digitize(od, GradeSpec().values)
    return PhantomRow(
        name,
        int(clear.sum()),
        int(inside.sum()),
        *(
            100 * float(hit[clear & which].mean())
            for which in (compartment == "tumor", compartment == "stroma", kind == "fibroblast")
        ),
        100 * float(lone[inside].mean()),
        100 * float(grades.mean()) if nuclear else None,
        100 * float(cells["grade"][clear & (compartment == "tumor")].mean()) if nuclear else None,
    )


def megapixels_per_second(tiles: list[Tile]) -> list[tuple[str, float]]:
    """Best of seven on a mosaic of each tile, about a megapixel, one core."""
    rows = []
    for tile in tiles:
        times = -(-1000 // tile.signal.shape[0])
        field = np.tile(tile.signal, (times, times))
        best = np.inf
        for _ in range(7):
            start = time.perf_counter()
            segment_nuclei(field, MPP, NucleiSpec())
            best = min(best, time.perf_counter() - start)
        rows.append((tile.name, field.size / best / 1e6))
    return rows


def print_phantoms() -> None:
    """Print the phantoms' table."""
    print(
        f"\n{'phantom':14}{'true':>6}{'found':>6}{'tumour':>8}{'stroma':>8}{'spindles':>9}", end=""
    )
    print(f"{'false':>7}  H-score (truth)")
    for name, spec in phantoms():
        row = score_phantom(name, spec)
        print(f"{row.name:14}{row.true:6}{row.found:6}{row.tumor_recall:8.1f}", end="")
        print(f"{row.stroma_recall:8.1f}{row.spindle_recall:9.1f}{row.false:7.1f}", end="")
        h, true_h = row.h_score, row.true_h_score
        print("" if h is None or true_h is None else f"  {h:.1f} ({true_h:.1f})")


def main() -> None:
    """Print the tables."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HERSCOPE_DATA", default))
    if not data.is_dir():
        sys.exit(f"no data folder {data}\nhint: give it as the argument, or set HERSCOPE_DATA")
    tiles = instance_tiles(data)
    rows = [score_tile(tile) for tile in tiles]
    print(f"{'tile':18}{'true':>6}{'found':>6}{'TP':>5}{'FP':>5}{'FN':>5}{'F1':>7}", end="")
    print(f"{'IoU':>7}{'contrast':>10}  positive % (truth)")
    for row in [*rows, Row("pooled", 0.0, pooled(r.counts for r in rows), 0.0, None)]:
        c = row.counts
        print(f"{row.name:18}{c.tp + c.fn:6}{c.tp + c.fp:6}{c.tp:5}{c.fp:5}{c.fn:5}", end="")
        print(f"{c.f1 or 0:7.3f}{c.mean_iou or 0:7.3f}{row.contrast_od:10.3f}", end="")
        truth = row.true_positive_percent
        print("" if truth is None else f"  {row.found_positive_percent:.1f} ({truth:.1f})")
    print("\nMoNuSeg foreground: tile, found, Dice")
    dice = foreground_dice(data / "he" / "monuseg")
    for name, found, value in dice:
        print(f"{name:18}{found:6}{value:7.3f}")
    print(f"{'mean':24}{np.mean([d for *_, d in dice]):7.3f}")
    print_phantoms()
    print("\nspeed, one core, 0.5 µm/px: Mpx/s")
    for name, speed in megapixels_per_second(tiles):
        print(f"{name:24}{speed:7.1f}")


if __name__ == "__main__":
    main()
