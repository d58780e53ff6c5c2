"""Features of a slide that is not finished: parts of 2048 tiles, so that a killed job goes on.

A part is written whole or not at all, and belongs to one fingerprint: parts of other parameters or
of another version of the slide are never taken up.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.store import make_folder, write_bytes

PART_TILES: Final = 2048


class Parts:
    """The finished parts of one slide.

    Parameters
    ----------
    folder
        A folder of this slide's own; made when the first part is kept.
    fingerprint
        What the features are made from.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._root = folder
        self._folder = folder / fingerprint

    def load(self, tiles: int, features: int) -> list[NDArray[np.float32]]:
        """Return the parts that are there, from the first on without a gap."""
        found: list[NDArray[np.float32]] = []
        while len(found) * PART_TILES < tiles:
            rows = min(PART_TILES, tiles - len(found) * PART_TILES)
            try:
                part = np.load(self._file(len(found)), allow_pickle=False)
            except (OSError, ValueError, EOFError):
                break
            if part.shape != (rows, features) or part.dtype != np.float32:
                break
            found.append(part)
        return found

    def keep(self, number: int, part: NDArray[np.float32]) -> None:
        """Write a part."""
        make_folder(self._folder)
        stream = io.BytesIO()
        np.save(stream, part, allow_pickle=False)
        write_bytes(self._file(number), stream.getvalue())

    def drop(self) -> None:
        """Remove all parts of this slide; its feature file is written."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.npy"
