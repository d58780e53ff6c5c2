"""Windows of a slide in which a network looks for nuclei, at fixed places of the working grid.

What a network says of a pixel depends on all that lies around it in its window, and on the order of
the engine's sums. So windows do not follow the tiles or blocks of the scoring: their cores lie edge
to edge from the slide's corner, each is predicted once with a margin that is thrown away, and the
maps are rounded to whole numbers. Beyond the slide's edge the picture is mirrored. Windows that see
no tissue are left out; what was not predicted holds no nucleus.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import WrongInput
from herscope.nn.inference import InferenceSpec, ModelUse
from herscope.nn.inputs import network_input
from herscope.nn.model_file import ModelFile
from herscope.segment.learned_nuclei import check_classes
from herscope.slide.grid import Grid
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import StainVectors, Triple
from herscope.tiles import Rect

WINDOW_PX: Final = 512
MARGIN_PX: Final = 32
CORE_PX: Final = WINDOW_PX - 2 * MARGIN_PX
"""Multiples of 32, the coarsest step of the networks. Measured in docs/science/learned-nuclei.md:
what the margin changes, and what wider windows would save."""

ReadRect = Callable[[int, int, int, int], Rgb]
"""``(x, y, width, height)`` of the working grid, inside the slide, to uint8 RGB."""


@dataclass(frozen=True)
class NucleusWindows:
    """A network on a slide: a plain value that travels to worker processes.

    Parameters
    ----------
    use, inference
        Which model, and how it is computed.
    classes, inputs
        Channels and input, by its card; ``training_data`` in words as well.
    mpp
        µm/px of the grid.
    width_px, height_px
        Size of the working grid.
    wanted
        (rows, columns) bool: windows that see tissue.
    white, vectors
        White point and stain vectors of the slide.
    token
        Names this slide's windows in a process' memory and on disk.
    """

    use: ModelUse
    inference: InferenceSpec
    classes: tuple[str, ...]
    inputs: str
    training_data: str
    mpp: float
    width_px: int
    height_px: int
    wanted: NDArray[np.bool_]
    white: Triple
    vectors: StainVectors
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def covering(self, area: Rect) -> list[tuple[int, int]]:
        """Row and column of the wanted windows whose core meets a rectangle, in raster order."""
        rows, columns = self.wanted.shape
        first_row, first_column = max(area.y // CORE_PX, 0), max(area.x // CORE_PX, 0)
        last_row = min((area.y + area.height - 1) // CORE_PX, rows - 1)
        last_column = min((area.x + area.width - 1) // CORE_PX, columns - 1)
        return [
            (row, column)
            for row in range(first_row, last_row + 1)
            for column in range(first_column, last_column + 1)
            if self.wanted[row, column]
        ]

    def core(self, key: tuple[int, int]) -> Rect:
        """Return the part of a window that counts, cut at the slide's edge."""
        y, x = key[0] * CORE_PX, key[1] * CORE_PX
        return Rect(x, y, min(CORE_PX, self.width_px - x), min(CORE_PX, self.height_px - y))

    def input(self, key: tuple[int, int], read: ReadRect) -> NDArray[np.float32]:
        """Read a window as the network takes it: float32 (1, channels, 512, 512)."""
        y, x = key[0] * CORE_PX - MARGIN_PX, key[1] * CORE_PX - MARGIN_PX
        y0, x0 = max(y, 0), max(x, 0)
        y1, x1 = min(y + WINDOW_PX, self.height_px), min(x + WINDOW_PX, self.width_px)
        pixels = read(x0, y0, x1 - x0, y1 - y0)
        beyond = ((y0 - y, y + WINDOW_PX - y1), (x0 - x, x + WINDOW_PX - x1), (0, 0))
        if any(map(any, beyond)):
            pixels = np.pad(pixels, beyond, mode="symmetric")
        return network_input(pixels, self.inputs, self.white, self.vectors)[None]


def plan_windows(
    model: ModelFile,
    use: ModelUse,
    inference: InferenceSpec,
    grid: Grid,
    tissue: NDArray[np.bool_],
    white: Triple,
    vectors: StainVectors,
) -> NucleusWindows:
    """Lay the windows of a network over a slide.

    Parameters
    ----------
    model, use, inference
        A model of the task ``nuclei``, read and checked, and how it is used.
    grid
        Working grid.
    tissue
        (height, width) mask that covers the same glass at any scale.
    white, vectors
        White point and stain vectors of the slide.

    Raises
    ------
    WrongInput
        The model's channels are none that nuclei can be made from, or it takes pictures of another
        size only.
    """
    card = model.card
    classes = check_classes(card.classes, f"model {card.name}")
    if card.input_size_px not in {None, WINDOW_PX}:
        raise WrongInput(
            f"model {card.name} takes {card.input_size_px} px alone; slides are predicted in "
            f"windows of {WINDOW_PX} px",
            hint="export it for any size",
        )
    return NucleusWindows(
        use=use,
        inference=inference,
        classes=classes,
        inputs=card.inputs or "rgb",
        training_data=card.training_data,
        mpp=float(grid.mpp),
        width_px=grid.width_px,
        height_px=grid.height_px,
        wanted=wanted_windows(grid, tissue),
        white=white,
        vectors=vectors,
    )


def wanted_windows(grid: Grid, tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows, columns) of the windows: whether tissue lies in them, margin included."""
    rows, columns = -(-grid.height_px // CORE_PX), -(-grid.width_px // CORE_PX)
    across = [_span(i, grid.width_px, tissue.shape[1]) for i in range(columns)]
    wanted = np.zeros((rows, columns), np.bool_)
    for row in range(rows):
        top, bottom = _span(row, grid.height_px, tissue.shape[0])
        seen: NDArray[np.bool_] = np.asarray(tissue[top:bottom].any(axis=0))
        wanted[row] = [seen[left:right].any() for left, right in across]
    return wanted


def _span(index: int, whole_px: int, cells: int) -> tuple[int, int]:
    """First and last plus one mask cell that a window touches, in whole numbers."""
    first = max(index * CORE_PX - MARGIN_PX, 0)
    last = min((index + 1) * CORE_PX + MARGIN_PX, whole_px)
    return first * cells // whole_px, -(-last * cells // whole_px)
