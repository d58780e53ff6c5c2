"""The built-in encoder: named numbers of colour, nuclei and texture, without weights.

For demonstrations, tests and as the floor that a foundation model has to beat. A tile becomes
amounts of haematoxylin and eosin (Ruifrok and Johnston 2001), blobs of dark nuclei (Otsu 1979,
within limits), and texture at 0.5, 1 and 2 µm (Laplacian, spread within and between blocks,
structure tensor). Each number is moved and scaled by fixed constants, so that it is of order 1 on
real H&E; the constants belong to the encoder and never depend on the slides at hand.

A tile's numbers depend on that tile alone: sums are whole numbers, what follows them is
additions, divisions and square roots in a fixed order. Optical density is taken against a fixed
white, because an encoder sees tiles, not slides; normalise the stains where laboratories differ.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import WrongInput
from herscope.embed.colour_texture_names import FEATURE_NAMES, NAME, USUAL, colour_texture_card
from herscope.embed.encoder import EncoderCard, Tiles
from herscope.embed.texture_sums import (
    BIN_FROM,
    BIN_MILLI,
    blob_sums,
    block_sums,
    colour_sums,
    edge_sums,
    halved,
    otsu_bin,
)
from herscope.stain.deconvolve import MILLI_OD, deconvolution_table, deconvolve, od_table
from herscope.stain.vectors import StainVectors, Triple
from herscope.tissue.glass import box_sum

WHITE: Final[Triple] = (242.0, 242.0, 242.0)
"""Usual glass of bright-field scans (235 to 248)."""
HEMATOXYLIN_EOSIN: Final = StainVectors(
    name="ruifrok-johnston-he",
    hematoxylin=(0.650, 0.704, 0.286),
    dab=(0.072, 0.990, 0.105),
    source="Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 23:291-299",
    year=2001,
)
"""Haematoxylin and, in the place of the second dye, eosin: the pair they give for H&E slides."""
LEAST_PX: Final = 64
EMPTY_MILLI_OD: Final = 60
"""Mean OD below which a pixel is glass, lumen or fat."""
NUCLEUS_MILLI_OD: Final = (220, 600)
"""Red OD between which the cut for nuclei is looked for; eosin hardly absorbs red."""
SMOOTH_PX: Final = 3
BLOB_LEAST_PX: Final = 40
"""10 µm² at 0.5 µm/px: less is dust."""
BLOB_SMALL_PX, BLOB_LARGE_PX = 160, 360
"""40 and 90 µm² at 0.5 µm/px: a lymphocyte has about 30, a grade 3 nucleus more than 90."""
FINE_BLOCK_PX, COARSE_BLOCK_PX = 8, 32
LIMIT: Final = 8.0
"""Standardised numbers are cut there, so that one odd tile cannot rule a mean."""


class ColourTexture:
    """The built-in encoder.

    Examples
    --------
    >>> tiles = np.full((2, 256, 256, 3), 242, np.uint8)
    >>> features = ColourTexture().embed(tiles)
    >>> features.shape == (2, len(FEATURE_NAMES)), features.dtype
    (True, dtype('float32'))
    """

    def __init__(self) -> None:
        self._table = deconvolution_table(HEMATOXYLIN_EOSIN, WHITE)
        self._od = np.rint(od_table(WHITE) * MILLI_OD).astype(np.int64)
        self._centre, self._scale = np.array([USUAL[name] for name in FEATURE_NAMES]).T

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each number is."""
        return FEATURE_NAMES

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        return colour_texture_card()

    def embed(self, tiles: Tiles) -> NDArray[np.float32]:
        """Turn tiles into standardised numbers.

        Parameters
        ----------
        tiles
            (tiles, height, width, 3) uint8, red green blue; at least 64 px each way.

        Returns
        -------
        ndarray
            (tiles, features) float32, within -8 and 8.

        Raises
        ------
        WrongInput
            Another shape or type.
        """
        raw = self.measure(tiles)
        standard = np.clip((raw - self._centre) / self._scale, -LIMIT, LIMIT)
        return standard.astype(np.float32)

    def measure(self, tiles: Tiles) -> NDArray[np.float64]:
        """(tiles, features): the numbers themselves, in the units of the documentation."""
        if (
            tiles.ndim != 4
            or tiles.shape[3] != 3
            or tiles.dtype != np.uint8
            or min(tiles.shape[1:3]) < LEAST_PX
        ):
            raise WrongInput(
                f"encoder {NAME} takes (tiles, height, width, 3) uint8 of at least {LEAST_PX} px, "
                f"got {tiles.shape} {tiles.dtype}",
                hint="choose a larger --size-px",
            )
        rows = [self._tile(np.ascontiguousarray(tile)) for tile in tiles]
        return np.array(rows, np.float64).reshape(len(tiles), len(FEATURE_NAMES))

    def _tile(self, rgb: NDArray[np.uint8]) -> list[float]:
        stains = deconvolve(rgb, self._table)
        grey = np.empty(rgb.shape[:2], np.int16)
        sums, histograms = colour_sums(rgb, self._od, stains.hematoxylin, stains.dab, grey)
        n = int(sums[0])
        planes = [_moments(n, int(sums[i]), int(sums[i + 1])) for i in (1, 3, 5, 7, 9)]
        (h_mean, h_sd), (e_mean, e_sd) = planes[3], planes[4]
        together = int(sums[11]) / n * 1e-6 - h_mean * e_mean
        correlation = together / (h_sd * e_sd) if h_sd > 1e-3 and e_sd > 1e-3 else 0.0
        stained = [
            [mean, sd, *(_percentile(histograms[i], p) for p in (10, 50, 90, 99))]
            for i, (mean, sd) in enumerate(planes[3:])
        ]
        empty = _below(histograms[3], EMPTY_MILLI_OD) / n
        dark = 1.0 - _below(histograms[2], NUCLEUS_MILLI_OD[1]) / n
        return [
            *(value for plane in planes[:3] for value in plane),
            *stained[0],
            *stained[1],
            correlation,
            empty,
            dark,
            *_nuclei(stains.nuclear, histograms[2]),
            *_texture(grey, stains.hematoxylin, stains.dab),
        ]


def _moments(n: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and standard deviation in OD, from sums of milli-OD."""
    return total / n / MILLI_OD, math.sqrt(max(0, n * squares - total * total)) / n / MILLI_OD


def _percentile(histogram: NDArray[np.int64], percent: int) -> float:
    """OD at the middle of the bin that holds the percentile."""
    reached = np.cumsum(histogram) * 100 >= percent * int(histogram.sum())
    return (BIN_FROM + (int(np.argmax(reached)) + 0.5) * BIN_MILLI) / MILLI_OD


def _below(histogram: NDArray[np.int64], milli_od: int) -> int:
    """Pixels in the bins below a density."""
    return int(histogram[: (milli_od - BIN_FROM) // BIN_MILLI].sum())


def _nuclei(red: NDArray[np.int16], histogram: NDArray[np.int64]) -> list[float]:
    """Cut, share, number, diameters, shape, order and density of dark blobs."""
    low, high = ((cut - BIN_FROM) // BIN_MILLI for cut in NUCLEUS_MILLI_OD)
    cut = BIN_FROM + (int(otsu_bin(histogram, low, high)) + 1) * BIN_MILLI
    mask = box_sum(red.astype(np.int32), SMOOTH_PX) > cut * SMOOTH_PX**2
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    sums = blob_sums(labels, count, red)
    sums = sums[:, sums[0] >= BLOB_LEAST_PX].astype(np.float64)
    pixels = sums[0]
    megapixels = red.size / 1e6
    if len(pixels) == 0:
        return [cut / MILLI_OD, 0.0, 0.0, *[0.0] * 8]
    diameter = 2 * np.sqrt(pixels / math.pi)
    xx = sums[3] / pixels - (sums[1] / pixels) ** 2
    yy = sums[4] / pixels - (sums[2] / pixels) ** 2
    xy = sums[5] / pixels - sums[1] * sums[2] / pixels**2
    apart = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    wide, narrow = (xx + yy + apart) / 2, np.maximum((xx + yy - apart) / 2, 1 / 12)
    long = 1 - np.sqrt(narrow / np.maximum(wide, 1 / 12))
    # the doubled angle of each blob's axis, weighted by its length: 1 when all lie alike
    axis = np.maximum(apart, 1e-9)
    towards = _total(long * (xx - yy) / axis), _total(long * 2 * xy / axis)
    density = sums[6] / pixels / MILLI_OD
    area, number = _total(pixels), len(pixels)
    mean_diameter, mean_density = _total(diameter) / number, _total(density) / number
    return [
        cut / MILLI_OD,
        area / red.size,
        number / megapixels,
        mean_diameter,
        math.sqrt(_total((diameter - mean_diameter) ** 2) / number),
        _total(pixels[pixels < BLOB_SMALL_PX]) / area,
        _total(pixels[pixels > BLOB_LARGE_PX]) / area,
        _total(long * pixels) / area,
        math.sqrt(towards[0] ** 2 + towards[1] ** 2) / max(_total(long), 1e-9),
        mean_density,
        math.sqrt(_total((density - mean_density) ** 2) / number),
    ]


def _total(values: NDArray[np.float64]) -> float:
    """Exact sum, rounded once: no order of addition can change it."""
    return math.fsum(values.tolist())


def _texture(
    grey: NDArray[np.int16], hematoxylin: NDArray[np.int16], eosin: NDArray[np.int16]
) -> list[float]:
    """Laplacians, spreads within and between blocks, gradients and their order."""
    half = halved(grey)
    quarter = halved(half)
    fine, coarse = _edges(grey, COARSE_BLOCK_PX), _edges(quarter, FINE_BLOCK_PX)
    middle = _edges(half, 2 * FINE_BLOCK_PX)
    h_middle = _edges(halved(hematoxylin), 2 * FINE_BLOCK_PX)
    empty = (grey < EMPTY_MILLI_OD).view(np.uint8)
    return [
        fine[0],
        middle[0],
        coarse[0],
        h_middle[0],
        _within(grey, FINE_BLOCK_PX),
        _within(grey, COARSE_BLOCK_PX),
        _within(hematoxylin, FINE_BLOCK_PX),
        _within(eosin, FINE_BLOCK_PX),
        _between(hematoxylin) / MILLI_OD,
        _between(eosin) / MILLI_OD,
        _between(empty),
        fine[1],
        coarse[1],
        fine[2],
        coarse[2],
        fine[3],
        coarse[3],
    ]


def _edges(plane: NDArray[np.int16], block: int) -> tuple[float, float, float, float]:
    """Mean absolute Laplacian, root mean square gradient, coherence of the tile and of blocks."""
    pixels, laplacian, tensor = edge_sums(plane, block)
    xx, yy, xy = tensor.astype(np.float64)
    energy = xx + yy
    total = _total(energy)
    if total == 0:
        return 0.0, 0.0, 0.0, 0.0
    dx, dy, dxy = _total(xx), _total(yy), _total(xy)
    whole = math.sqrt((dx - dy) ** 2 + 4 * dxy**2) / total
    local = _total(np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / total
    gradient = math.sqrt(total / pixels) / 2 / MILLI_OD
    return laplacian / pixels / MILLI_OD, gradient, whole, local


def _within(plane: NDArray[np.int16], block: int) -> float:
    """Mean over blocks of the standard deviation inside them, OD."""
    n, total, squares = block_sums(plane, block).astype(np.float64)
    spread = np.sqrt(np.maximum(n * squares - total * total, 0.0))  # n times the deviation
    return _total(spread) / plane.size / MILLI_OD


def _between(plane: NDArray[np.int16] | NDArray[np.uint8]) -> float:
    """Spread of the means of coarse blocks, in the plane's unit."""
    n, total, _ = block_sums(plane, COARSE_BLOCK_PX).astype(np.float64)
    means = total / n
    centre = _total(means) / len(means)
    return math.sqrt(_total((means - centre) ** 2) / len(means))
