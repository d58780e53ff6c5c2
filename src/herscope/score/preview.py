"""A first look at the tissue: a few windows, spread over the slide, read before the scoring.

They tell whether the slide is what the numbers will assume: stained with haematoxylin and DAB, in
focus, not saturated, and with stain vectors close to those in use. Windows lie on a grid of their
own, so the look is the same whatever the tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.segment.nuclei import TYPICAL_CONTRAST_OD, NucleiSpec, calibrate_contrast
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.appearance import Kind, looks_like
from herscope.stain.deconvolve import DeconvolutionTable, deconvolve, nuclear_signal, od_table
from herscope.stain.estimate import VectorEstimate, estimate_vectors
from herscope.stain.vectors import Triple
from herscope.tissue.focus import COARSEST_FOCUS_MPP, FocusSpec, focus_measure

WINDOW_PX: Final = 256
MOST_WINDOWS: Final = 32
MOST_PIXELS: Final = 60_000
SATURATED_LEVEL: Final = 8
"""A channel at or below this many grey levels of 255 no longer measures optical density."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What the first look found.

    ``out_of_focus`` and ``saturated`` are fractions (of judged windows, of stained pixels; None
    when nothing could be judged), ``sharpness`` the focus measure that a quarter of the judged
    windows exceed; ``kind`` and ``evidence`` say what the stain looks like; ``estimate`` holds the
    slide's own stain vectors, ``contrast_od`` the contrast of its nuclei (the typical one where no
    classical nuclei are sought).
    """

    windows: int
    focus_windows: int
    out_of_focus: float | None
    sharpness: float | None
    saturated: float | None
    kind: Kind
    evidence: dict[str, float]
    estimate: VectorEstimate
    contrast_od: float


def choose_windows(grid: Grid, tissue: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Top-left corners of up to 32 windows that are at least half tissue, evenly through raster.

    Parameters
    ----------
    grid
        Working grid.
    tissue
        (height, width) mask that covers the same glass at any scale.
    """
    rows, columns = tissue.shape
    share: list[tuple[float, int, int]] = []
    for y in range(0, max(grid.height_px - WINDOW_PX, 0) + 1, WINDOW_PX):
        y0, y1 = _span(y, grid.height_px, rows)
        for x in range(0, max(grid.width_px - WINDOW_PX, 0) + 1, WINDOW_PX):
            x0, x1 = _span(x, grid.width_px, columns)
            share.append((float(tissue[y0:y1, x0:x1].mean()), x, y))
    full = [(x, y) for part, x, y in share if part >= 0.5]
    if not full:
        best = sorted(share, key=lambda item: -item[0])[:4]
        full = [(x, y) for part, x, y in best if part > 0]
    if len(full) <= MOST_WINDOWS:
        return full
    picked = np.linspace(0, len(full) - 1, MOST_WINDOWS).round().astype(int)
    return [full[i] for i in picked]


def _span(start: int, whole_px: int, cells: int) -> tuple[int, int]:
    first = start * cells // whole_px
    last = -(-min(start + WINDOW_PX, whole_px) * cells // whole_px)
    return first, max(last, first + 1)


def look(
    read: Callable[[int, int, int, int], Rgb],
    grid: Grid,
    tissue: NDArray[np.bool_],
    white: Triple,
    stains: DeconvolutionTable,
    *,
    focus: FocusSpec,
    nuclei: NucleiSpec | None,
) -> Preview:
    """Look at a slide.

    Parameters
    ----------
    read
        ``(x, y, width, height)`` of the working grid to uint8 RGB.
    grid
        The working grid.
    tissue
        (height, width) overview mask.
    white
        The white point.
    stains
        For the nuclear signal.
    focus, nuclei
        Limits of the focus measure; parameters of the classical nuclei, None where a network finds
        them, which needs no contrast.
    """
    table = od_table(white).astype(np.float32)
    pixels: list[NDArray[np.float32]] = []
    sharpness: list[float] = []
    signals: list[NDArray[np.uint16]] = []
    saturated = counted = 0
    windows = choose_windows(grid, tissue)
    for x, y in windows:
        rgb = read(x, y, min(WINDOW_PX, grid.width_px - x), min(WINDOW_PX, grid.height_px - y))
        if nuclei is not None:
            signals.append(nuclear_signal(deconvolve(rgb, stains)))
        flat = rgb.reshape(-1, 3)
        od = np.stack([table[c][flat[:, c]] for c in range(3)], axis=1)
        stained = od.max(axis=1) > 0.05
        saturated += int((flat.min(axis=1)[stained] <= SATURATED_LEVEL).sum())
        counted += int(stained.sum())
        stride = max(1, len(od) * len(windows) // MOST_PIXELS)
        pixels.append(od[::stride])
        if grid.mpp <= COARSEST_FOCUS_MPP:
            value = focus_measure(rgb, grid.mpp, focus)
            if value is not None:
                sharpness.append(value)
    sample = np.concatenate(pixels).astype(np.float64) if pixels else np.zeros((0, 3))
    likeness = looks_like(sample)
    return Preview(
        windows=len(windows),
        focus_windows=len(sharpness),
        out_of_focus=(
            sum(value < focus.min_sharpness for value in sharpness) / len(sharpness)
            if sharpness
            else None
        ),
        sharpness=float(np.percentile(sharpness, 75)) if sharpness else None,
        saturated=saturated / counted if counted else None,
        kind=likeness.kind,
        evidence=dict(likeness.evidence),
        estimate=estimate_vectors(sample),
        contrast_od=(
            TYPICAL_CONTRAST_OD if nuclei is None else calibrate_contrast(signals, grid.mpp, nuclei)
        ),
    )
