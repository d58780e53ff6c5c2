"""Turn public images with truth into patch folders that ``herscope evaluate`` reads.

    python benchmarks/real_patches.py OUT [DATA]

DATA is the folder with ``ihc`` and ``he``; default: the variable HERSCOPE_DATA, or ``shared/data``
beside the repository. OUT is a scratch folder: nothing of the data belongs into a repository, for
some of it may not be passed on. Every folder's ``patches.json`` says where its images and its µm/px
come from.

* ``deepliif``: two Ki67 tiles, nuclei outlined by hand (``instances/``). The six-panel training
  strips are left out: their masks lie up to 40 px beside the nuclei.
* ``monuseg``: two H&E tiles whose outlines are XML (``instances/``).
* ``monuseg-masks``: twelve H&E tiles, binary masks (``masks/``); touching nuclei run together.
* ``endonuke``: four ER or PR tiles, points with their class (``points.csv``), and the areas outside
  blobs whose dots cannot be told apart (``areas/``).
* ``endonuke-nuclei``: the same tiles; the points are nuclei found by the classical method that lie
  in a drawn dot, with the dot's class. For compartments: where dots run together their class is
  known though their number is not.
* ``qupath``: a Ki67 region with QuPath's own classes, another program's and no truth.
"""

from __future__ import annotations

import csv
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.core.store import write_json
from herscope.nn.patches.files import SCHEMA
from herscope.recipes.nucleus_counts import centres_of
from herscope.segment.nuclei import NucleiSpec, calibrate_contrast, segment_nuclei
from herscope.stain.deconvolve import deconvolution_table, deconvolve, nuclear_signal
from herscope.stain.vectors import RUIFROK_JOHNSTON

FORTY_TIMES_MPP = 0.25
WRONG_ENDONUKE_MPP = 0.5
"""A wrong scale for EndoNuke's pixels, to see what a wrong scale does."""
ENDONUKE_TILE_UM = 100.0
"""Every EndoNuke tile covers 100 x 100 µm (Naumov et al., Data 2022;7:75); the gallery draws a tile
346 px wide."""
ENDONUKE_TILE_PX = 346
DOT_RADIUS_PX = 13.5
DOT_FITS_PX = 12.5
LEAST_ARC_PX = 12
"""Pixels of a dot's own rim that must show, of about 85, for it to count as told apart."""
MAP_GROUND = (221.0, 210.0, 230.0)
QUPATH_ENLARGED, QUPATH_MPP = 2, 1.1
"""The picture states no scale. Positive nuclei are 2.9 px wide and isolated cells 4.0 px wider than
their nuclei, which is 10 µm where QuPath adds its usual 5 µm all round: 2 to 2.5 µm/px, taken for
2.2. That is too coarse to find nuclei in, so it is enlarged."""

Rgb = NDArray[np.uint8]
Marks = list[tuple[str, float, float, str]]
"""Patch, x and y in px, class."""


def data_folder(given: str | None = None) -> Path:
    """Return the folder with ``ihc`` and ``he``, or stop and say how to name it."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    data = Path(given or os.environ.get("HERSCOPE_DATA", default))
    if not (data / "ihc").is_dir():
        sys.exit(f"no data folder {data}\nhint: give it as the last argument, or set HERSCOPE_DATA")
    return data


def read_rgb(path: Path) -> Rgb:
    """Read an image as (height, width, 3) red, green, blue."""
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def brightest(rgb: Rgb) -> list[float]:
    """Take the brightest 0.1 % of each channel for empty glass, for most tiles show none."""
    return [float(np.percentile(rgb[..., c], 99.9)) for c in range(3)]


def write_folder(
    root: Path,
    images: dict[str, Rgb],
    labels: dict[str, dict[str, NDArray[np.generic]]],
    *,
    mpp: float,
    source: str,
    points: Marks | None = None,
) -> Path:
    """Write a patch folder; every image is a group of its own."""
    for name, image in images.items():
        _write(root / "images" / f"{name}.png", image[..., ::-1])
    for kind, found in labels.items():
        for name, label in found.items():
            _write(root / kind / f"{name}.png", label)
    whites = {name: brightest(image) for name, image in images.items()}
    about = {"schema": SCHEMA, "mpp": mpp, "white_points": whites, "source": source}
    write_json(root / "patches.json", about)
    rows = [(name, name) for name in sorted(images)]
    _write_csv(root / "groups.csv", ("patch", "group"), rows)
    if points is not None:
        _write_csv(root / "points.csv", ("patch", "x_px", "y_px", "class"), points)
    return root


def _write(path: Path, pixels: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def _write_csv(path: Path, head: tuple[str, ...], rows: list[tuple[object, ...]] | Marks) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([head, *rows])


def deepliif(out: Path, data: Path) -> Path:
    """Red and blue interiors are nuclei, the green border belongs to the nearest."""
    images, instances = {}, {}
    for name in ("22_2", "799_2"):
        home = data / "ihc" / "deepliif"
        images[name] = read_rgb(home / f"ki67_{name}.png")
        mask = read_rgb(home / f"ki67_{name}_gt.png")
        border = mask[..., 1] > 128
        truth, count = np.zeros(mask.shape[:2], np.int32), 0
        for channel in (0, 2):
            interior = (mask[..., channel] > 128) & ~border
            n, labels = cv2.connectedComponents(interior.astype(np.uint8), connectivity=4)
            truth = np.where(labels > 0, labels + count, truth)
            count += n - 1
        nearest = cv2.distanceTransformWithLabels(
            (truth == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )[1]
        of_place = np.zeros(nearest.max() + 1, np.int32)
        of_place[nearest[truth > 0]] = truth[truth > 0]
        instances[name] = np.where(border, of_place[nearest], truth).astype(np.uint16)
    return write_folder(
        out / "deepliif",
        images,
        {"instances": instances},
        mpp=FORTY_TIMES_MPP,
        source="DeepLIIF sample tiles (BCData), Ki67; µm/px assumed from 'about 40x', not recorded",
    )


MONUSEG_MPP = "MoNuSeg, H&E, TCGA at 40x: nominally 0.25 µm/px, the tile itself records none"


def monuseg(out: Path, data: Path) -> Path:
    """Outlines as polygons; a later one lies over an earlier."""
    images, instances = {}, {}
    for outlines in sorted((data / "he" / "monuseg").glob("*.xml")):
        name = outlines.stem[5:12]
        images[name] = read_rgb(outlines.with_suffix(".tif"))
        truth = np.zeros(images[name].shape[:2], np.int32)
        for k, region in enumerate(ET.parse(outlines).iter("Region")):  # noqa: S314 - own data
            points = [(float(v.get("X", 0)), float(v.get("Y", 0))) for v in region.iter("Vertex")]
            if len(points) > 2:
                cv2.fillPoly(truth, [np.rint(points).astype(np.int32)], k + 1)
        instances[name] = truth.astype(np.uint16)
    return write_folder(
        out / "monuseg",
        images,
        {"instances": instances},
        mpp=FORTY_TIMES_MPP,
        source=f"{MONUSEG_MPP}; outlines from XML",
    )


def monuseg_masks(out: Path, data: Path) -> Path:
    """Twelve tiles, foreground only."""
    images, masks = {}, {}
    for path in sorted((data / "he" / "monuseg").glob("*_mask.png")):
        name = path.stem[5:12]
        images[name] = read_rgb(path.with_name(path.name.replace("_mask.png", ".tif")))
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        masks[name] = mask.astype(np.uint8) * 255
    return write_folder(
        out / "monuseg-masks",
        images,
        {"masks": masks},
        mpp=FORTY_TIMES_MPP,
        source=f"{MONUSEG_MPP}; binary masks",
    )


def dots_told_apart(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Find the dots of one colour whose rim shows, and the pixels that they cover.

    A dot's centre is where a whole dot fits and the most pixels of the blob's rim lie at a dot's
    radius; the dot with the longest rim of its own is taken first, and what it explains counts for
    no other. Dots that are hidden under others cannot be counted by anybody.

    Parameters
    ----------
    mask
        (height, width) pixels of the colour.

    Returns
    -------
    tuple
        (n, 2) x and y of the dots, and (height, width) what they cover of the colour.
    """
    whole = np.pad(mask, 1, mode="edge").astype(np.uint8)
    depth = cv2.distanceTransform(whole, cv2.DIST_L2, 5)[1:-1, 1:-1]
    rim = mask & (cv2.erode(whole, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0)
    reach = round(DOT_RADIUS_PX) + 2
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    ring = (np.abs(distance - (DOT_RADIUS_PX - 0.5)) <= 1.0).astype(np.float32)
    explained = np.abs(distance - (DOT_RADIUS_PX - 0.5)) <= 2.0
    free = np.pad(rim.astype(np.float32), reach)
    dots: list[tuple[int, int]] = []
    while True:
        votes = cv2.filter2D(free, -1, ring)[reach:-reach, reach:-reach]
        votes = np.rint(np.where(depth >= DOT_FITS_PX, votes, 0))
        y, x = np.unravel_index(int(votes.argmax()), votes.shape)
        if votes[y, x] < LEAST_ARC_PX:
            break
        dots.append((int(x), int(y)))
        free[y : y + 2 * reach + 1, x : x + 2 * reach + 1][explained] = 0
    drawn = np.zeros(mask.shape, np.uint8)
    for dot in dots:
        cv2.circle(drawn, dot, round(DOT_RADIUS_PX), 1, thickness=-1)
    return np.array(dots, np.float64).reshape(-1, 2) + 0.5, mask & (drawn > 0)


def map_begins(dots: Rgb) -> int:
    """Find the column where a map of dots begins: one crop (a4) still has 10 px of the tile on it.

    Little in a tile has the colour of the map's background or is as pure as its dots.
    """
    pure = np.ptp(dots.astype(np.int16), axis=2) > 150
    drawn = pure | (np.abs(dots - np.array(MAP_GROUND)).max(axis=2) < 10)
    return int(np.argmax(drawn.mean(axis=0) > 0.6))


def _endonuke_tiles(data: Path) -> dict[str, tuple[Rgb, dict[str, NDArray[np.bool_]]]]:
    tiles = {}
    for path in sorted((data / "ihc" / "endonuke").glob("*_points.png")):
        rgb = read_rgb(path.with_name(path.name.replace("_points", "")))
        dots = read_rgb(path)
        dots = dots[:, map_begins(dots) : -2]  # the gallery's next line begins there
        height, width = (min(a, b) for a, b in zip(rgb.shape[:2], dots.shape[:2], strict=True))
        r, g, b = (dots[:height, :width, c].astype(int) for c in range(3))
        coloured = np.ptp(dots[:height, :width].astype(np.int16), axis=2) > 150
        colours = {
            "epithelium": coloured & (b > 200) & (r < 120),
            "stroma": coloured & (g > 200) & (r < 120) & (b < 120),
            "other": coloured & (r > 200) & (b > 200),
        }
        tiles[path.stem.removesuffix("_points")] = (rgb[:height, :width], colours)
    return tiles


ENDONUKE_SOURCE = "EndoNuke (Naumov et al. 2022, CC-BY-4.0), ER or PR, endometrium"
ENDONUKE_SCALE = "a tile covers 100 µm and is drawn 346 px wide in its gallery, hence 0.289 µm/px"


def endonuke(
    out: Path, data: Path, mpp: float = ENDONUKE_TILE_UM / ENDONUKE_TILE_PX
) -> tuple[Path, Path]:
    """Dots that can be told apart; and classical nuclei that lie in a dot, with its class."""
    stated = mpp == ENDONUKE_TILE_UM / ENDONUKE_TILE_PX
    source = f"{ENDONUKE_SOURCE}; {ENDONUKE_SCALE if stated else f'taken for {mpp:g} µm/px'}"
    images, areas = {}, {}
    dots: Marks = []
    nuclei: Marks = []
    for name, (rgb, colours) in _endonuke_tiles(data).items():
        images[name] = rgb
        blank = ~np.any(list(colours.values()), axis=0)
        known = blank.copy()
        for colour, mask in colours.items():
            places, explained = dots_told_apart(mask)
            dots += [(name, x, y, colour) for x, y in places.tolist()]
            known |= explained
        areas[name] = known.astype(np.uint8) * 255
        x, y = _classical_centres(rgb, mpp).T
        rows, columns = y.astype(int), x.astype(int)
        for colour in ("epithelium", "stroma"):
            inside = colours[colour][rows, columns]
            pairs = zip(x[inside].round(2).tolist(), y[inside].round(2).tolist(), strict=True)
            nuclei += [(name, px, py, colour) for px, py in pairs]
    first = write_folder(
        out / "endonuke", images, {"areas": areas}, mpp=mpp, source=source, points=dots
    )
    second = write_folder(
        out / "endonuke-nuclei", images, {}, mpp=mpp, source=source, points=nuclei
    )
    return first, second


def _classical_centres(rgb: Rgb, mpp: float) -> NDArray[np.float64]:
    table = deconvolution_table(RUIFROK_JOHNSTON, (245.0, 245.0, 245.0))
    signal = nuclear_signal(deconvolve(rgb, table))
    contrast = calibrate_contrast([signal], mpp, NucleiSpec())
    return centres_of(segment_nuclei(signal, mpp, NucleiSpec(), contrast_od=contrast).labels)


def qupath(out: Path, data: Path) -> Path:
    """Blue and red cells of the drawing are tumour, green ones stroma; a point in each."""
    home = data / "ihc" / "qupath_docs"
    plain = read_rgb(home / "ki67_export_no_overlay.jpg")
    drawn = read_rgb(home / "ki67_export_with_overlay.jpg").astype(np.int16)
    r, g, b = (drawn[..., c] for c in range(3))
    before = plain.astype(np.int16)
    changed = np.abs(drawn - before).max(axis=2) > 40
    colours = {
        "epithelium": changed & (((b - g > 40) & (b - r > 25)) | ((r - g > 60) & (r - b > 40))),
        "stroma": changed & (g - r > 15) & (g - b > 10),
    }
    points: Marks = []
    for name, mask in colours.items():
        smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2)
        peak = (smooth == cv2.dilate(smooth, np.ones((5, 5), np.uint8))) & (smooth > 0.4)
        y, x = np.nonzero(peak)
        places = (np.stack([x, y], axis=1) + 0.5) * QUPATH_ENLARGED
        points += [("ki67", px, py, name) for px, py in places.tolist()]
    size = (plain.shape[1] * QUPATH_ENLARGED, plain.shape[0] * QUPATH_ENLARGED)
    large = cv2.resize(plain, size, interpolation=cv2.INTER_CUBIC)
    return write_folder(
        out / "qupath",
        {"ki67": large},
        {},
        mpp=QUPATH_MPP,
        source="QuPath documentation (OpenSlide OS-2), Ki67; about 2.2 µm/px by the size of cells, "
        "not stated, enlarged twice; classes are QuPath's own, not a reader's",
        points=points,
    )


def main() -> None:
    """Write all folders."""
    if len(sys.argv) < 2:
        sys.exit("python benchmarks/real_patches.py OUT [DATA]")
    out, data = Path(sys.argv[1]), data_folder(sys.argv[2] if len(sys.argv) > 2 else None)
    for make in (deepliif, monuseg, monuseg_masks, qupath):
        print(make(out, data))
    print(*endonuke(out, data), sep="\n")


if __name__ == "__main__":
    main()
