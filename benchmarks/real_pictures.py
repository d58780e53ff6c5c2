"""Pictures of what was found beside what is true: three colours, outlines and points over a tile.

Green: true and found. Orange: true and missed. Magenta: found and not true. The colours stay apart
for colour-blind eyes (after Okabe and Ito 2008). Used by ``real_nuclei.py`` and
``real_compartments.py``; only tiles that may be passed on belong into the documentation.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from herscope.nn.patches.marked import MarkedPatch
from herscope.recipes.nucleus_counts import RADIUS_UM, centres_of
from herscope.stats.detection import match_instances, match_points

HIT, MISSED, FALSE = (0, 158, 115), (240, 140, 0), (214, 0, 147)
MARKS = (HIT, MISSED, FALSE, (255, 255, 255), (30, 30, 30))
TINTS = {0: (214, 0, 147), 1: (0, 158, 115)}
ENLARGED = 2
COLOURS = 96
"""Of the palette: keeps a mosaic of four tiles below 400 kB."""

Rgb = NDArray[np.uint8]
Labels = NDArray[np.int32]


def outlines(labels: Labels, chosen: set[int], scale: int) -> list[NDArray[np.int32]]:
    """Contours of some labels on an enlarged picture."""
    lines: list[NDArray[np.int32]] = []
    large = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    for label in sorted(chosen):
        mask = (large == label).astype(np.uint8)
        lines += cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return lines


def enlarged(rgb: Rgb, scale: int = ENLARGED) -> Rgb:
    """Enlarge a picture smoothly."""
    size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
    return np.ascontiguousarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC))


def picture_of_instances(rgb: Rgb, truth: Labels, found: Labels) -> Rgb:
    """Outline matched found nuclei, missed true ones and false ones."""
    matched = match_instances(np.maximum(truth, 0), found)
    true_hit, found_hit = ({pair[k] for pair in matched.pairs} for k in (0, 1))
    picture = enlarged(rgb)
    named = {int(v) for v in np.unique(found)} - {0}
    missed = {int(v) for v in np.unique(truth) if v > 0} - true_hit
    for labels, chosen, colour in (
        (truth, missed, MISSED),
        (found, named - found_hit, FALSE),
        (found, found_hit, HIT),
    ):
        cv2.drawContours(picture, outlines(labels, chosen, ENLARGED), -1, colour, 2)
    return picture


def picture_of_points(patch: MarkedPatch, found: Labels, mpp: float) -> Rgb:
    """Outline found nuclei by whether a point lies at their centre; mark missed points."""
    centres = centres_of(found)
    names = [int(v) for v in np.unique(found) if v]
    rows, columns = centres[:, 1].astype(int), centres[:, 0].astype(int)
    judged = patch.truth[rows, columns]
    matched = match_points(patch.points.xy * mpp, centres * mpp, RADIUS_UM)
    hit = {names[j] for _, j in matched.pairs}
    known = {name for name, inside in zip(names, judged.tolist(), strict=True) if inside}
    picture = enlarged(patch.rgb)
    cv2.drawContours(picture, outlines(found, known - hit, ENLARGED), -1, FALSE, 2)
    cv2.drawContours(picture, outlines(found, hit, ENLARGED), -1, HIT, 2)
    missed = set(range(len(patch.points.xy))) - {i for i, _ in matched.pairs}
    for i in sorted(missed):
        x, y = (patch.points.xy[i] * ENLARGED).astype(int).tolist()
        cv2.circle(picture, (x, y), 7, MISSED, -1)
    return picture


def picture_of_compartments(
    patch: MarkedPatch, called: NDArray[np.uint8], right: list[bool]
) -> Rgb:
    """Tint the compartments; ring points that lie in the wrong one."""
    picture = enlarged(patch.rgb).astype(np.float32)
    large = called.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    for code, tint in TINTS.items():
        picture[large == code] = 0.72 * picture[large == code] + 0.28 * np.array(tint, np.float32)
    drawn = np.ascontiguousarray(picture.astype(np.uint8))
    for (x, y), good in zip(patch.points.xy.tolist(), right, strict=True):
        place = (round(x * ENLARGED), round(y * ENLARGED))
        cv2.circle(drawn, place, 7, (255, 255, 255), -1)
        cv2.circle(drawn, place, 5, (30, 30, 30) if good else MISSED, -1)
    return drawn


def mosaic(pictures: list[Rgb], height_px: int) -> Rgb:
    """Set pictures side by side at one height, white between them."""
    row: list[Rgb] = []
    for picture in pictures:
        width = round(picture.shape[1] * height_px / picture.shape[0])
        row.append(cv2.resize(picture, (width, height_px), interpolation=cv2.INTER_AREA))
        row.append(np.full((height_px, 6, 3), 255, np.uint8))
    return np.concatenate(row[:-1], axis=1)


def save(path: Path, picture: Rgb, *, small: bool = False) -> None:
    """Write a PNG; a small one has a palette, in which the colours of the marks are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture)
    if small:
        palette = image.quantize(COLOURS - len(MARKS)).getpalette() or []
        fixed = Image.new("P", (1, 1))
        fixed.putpalette([*palette[: 3 * (COLOURS - len(MARKS))], *np.ravel(MARKS).tolist()])
        image = image.quantize(palette=fixed, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
