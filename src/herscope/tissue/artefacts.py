"""What is on a slide and is not tissue: the scanner's black border, pen ink, dust.

Ink is told from stain by the order of the channels, in optical density (OD): haematoxylin absorbs
red and green, eosin green, DAB blue; none of them is clearest in green (green ink), none leaves
blue almost untouched while blocking red (blue ink), none blocks green and blue alike while
leaving red untouched (red ink). Black ink and dust are grey. Some haematoxylins are as blue as
ink and blood is as red, so blue and red must also be darker than tissue is at this resolution: a
slide loses no tissue to this rule, and pale ink (of a surgical margin, say) stays tissue. The
limits were set on real slides and on drawn strokes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.tissue.glass import Mask, MilliOd, box_sum

BLACK_LEVEL = 50
"""Brightest channel of a scanner's black border, of 255."""


def disk(radius_px: int) -> NDArray[np.uint8]:
    """Round structuring element of ``2 * radius_px + 1`` pixels."""
    y, x = np.ogrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    return (x * x + y * y <= radius_px * radius_px + radius_px // 2).astype(np.uint8)


def grow(mask: Mask, radius_px: int) -> Mask:
    """Dilate by a disk; radius 0 returns the mask."""
    if radius_px <= 0 or not mask.any():
        return mask
    if radius_px <= 12:
        return np.asarray(cv2.dilate(mask.view(np.uint8), disk(radius_px))).view(np.bool_)
    # a distance map costs the same for any radius
    outside = (~mask).view(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= radius_px)


def components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """8-connected labels (0 is outside) and their statistics (left, top, width, height, area)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    return np.asarray(labels), np.asarray(stats)


def keep_labels(labels: NDArray[np.int32], keep: NDArray[np.bool_]) -> Mask:
    """Pixels whose label is kept; label 0 never is."""
    keep = keep.copy()
    keep[0] = False
    return keep[labels]


def black_border(rgb: NDArray[np.uint8]) -> Mask:
    """Black areas that belong to the scanner: dark, on the rim, along a good part of a side.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.

    Returns
    -------
    mask
        (h, w) bool, with a rim of three pixels for the blend between black and glass.
    """
    height, width = rgb.shape[:2]
    dark = np.asarray(
        (rgb[..., 0] < BLACK_LEVEL) & (rgb[..., 1] < BLACK_LEVEL) & (rgb[..., 2] < BLACK_LEVEL)
    )
    if not dark.any():
        return dark
    labels, stats = components(dark)
    # lines that a crop left a few pixels inside the rim count as touching it
    slack_x, slack_y = max(3, width // 200), max(3, height // 200)
    long = np.zeros(len(stats), bool)
    for strip in (
        labels[:, :slack_x].T,
        labels[:, -slack_x:].T,
        labels[:slack_y],
        labels[-slack_y:],
    ):
        contact = np.bincount(strip.max(axis=0), minlength=len(stats))
        long |= contact > 0.3 * strip.shape[1]
    return grow(keep_labels(labels, long), 3)


def pen_ink(od: MilliOd, texture: MilliOd, *, mpp: float, min_area_um2: float) -> Mask:
    """Ink of felt pens: green, blue, red or black, on glass or over tissue.

    Parameters
    ----------
    od
        (3, h, w) int32, OD in thousandths.
    texture
        (h, w) int32, local standard deviation of mean OD in thousandths.
    mpp
        Micrometres per pixel.
    min_area_um2
        Smallest stroke.

    Returns
    -------
    mask
        (h, w) bool.
    """
    red, green, blue = od
    low = np.minimum(np.minimum(red, green), blue)
    spread = np.maximum(np.maximum(red, green), blue) - low
    inks = {
        "green": ((red - green > 120) & (blue - green > 60), (red - green > 40) & (blue > green)),
        "blue": (
            (red > 700) & (10 * blue < 4 * red) & (red >= green - 60),
            (red > 200) & (2 * blue < red) & (red >= green),
        ),
        "red": (
            (green > 800) & (blue > 500) & (5 * red < green) & (10 * blue > 6 * green),
            (green > 300) & (blue > 220) & (4 * red < green) & (10 * blue > 6 * green),
        ),
        "black": ((low > 550) & (4 * spread < low), (low > 300) & (3 * spread < low)),
    }
    ink = np.zeros(red.shape, bool)
    least_px = max(4, round(min_area_um2 / mpp**2))
    # ink is smooth inside; a crowd of dark nuclei is not
    inks["black"][0][...] &= texture * 4 < low
    for strong, weak in inks.values():
        if not strong.any():
            continue
        labels, stats = components(weak | strong)
        seeds = np.bincount(labels[strong], minlength=len(stats))
        ink |= keep_labels(labels, (stats[:, 4] >= least_px) & (4 * seeds >= stats[:, 4]))
    return grow(ink, max(1, round(12.0 / mpp)) if mpp > 2 else 2)


def dust(candidate: Mask, od: MilliOd, *, mpp: float, reach_um: float, max_width_um: float) -> Mask:
    """Grey specks, hairs, scratches and coverslip edges among what is darker than glass.

    Stain has a colour, dirt has none. What is grey and further than ``reach_um`` from anything
    coloured is dirt; grey close to colour (carbon in lung, grey-brown mixtures) stays tissue.

    Parameters
    ----------
    candidate
        (h, w) bool, everything that is darker than glass.
    od
        (3, h, w) int32, OD relative to the glass in thousandths.
    mpp
        Micrometres per pixel.
    reach_um
        Distance from coloured pixels up to which grey is tissue.
    max_width_um
        A grey object wider than this somewhere is tissue: dirt is small or thin.

    Returns
    -------
    mask
        (h, w) bool.
    """
    if not candidate.any():
        return candidate
    # 9 x 9 means: the colour of one pale pixel is noise, and the fringes of a scratch cancel
    red, green, blue = (box_sum(plane, 9) for plane in od)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = candidate & (spread > GREY_SPREAD * (red + green + blue))
    core = np.asarray(cv2.morphologyEx(coloured.view(np.uint8), cv2.MORPH_OPEN, disk(1)))
    near = grow(core.view(np.bool_), max(1, min(24, round(reach_um / mpp))))
    grey = candidate & ~near
    if not grey.any():
        return grey
    depth = cv2.distanceTransform(grey.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    labels, stats = components(grey)
    thin = np.ones(len(stats), bool)
    thin[labels[depth > max_width_um / 2 / mpp]] = False
    return keep_labels(labels, thin)


GREY_SPREAD = 0.06
"""Spread between channels over the sum of channels: grey dirt 0.00 to 0.04, H&E 0.15 and more,
pale haematoxylin 0.10 to 0.25, blue-brown mixtures 0.08 and more (thousandths cancel)."""
