"""What a feature file of another program says, before anything is asked of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.embed.hdf5_reading import number, text

EXTRA: Final = "herscope_"
"""Before attributes of ours in files we write for others; theirs do not mind them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file says.

    Attributes
    ----------
    features, places
        As they stand in the file, places in level-0 pixels.
    tile_px, mpp, encoder, encoder_id, width_px, height_px, notes
        As in :class:`herscope.embed.bag.FeatureBag`; None where the file does not say.
    """

    features: NDArray[Any]
    places: NDArray[Any]
    tile_px: float | None
    encoder: str | None = None
    mpp: float | None = None
    encoder_id: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    notes: tuple[str, ...] = ()


def smallest_step(name: str, places: NDArray[Any]) -> float:
    """Return the smallest distance of two tiles along an axis, in the unit of the places.

    Raises
    ------
    InputError
        There are too few tiles to tell; ``name`` is the file's.
    """
    steps = [
        np.diff(np.unique(places[:, axis])) for axis in (0, 1) if places.ndim == 2 and len(places)
    ]
    found = [float(step.min()) for step in steps if len(step)]
    if not found:
        raise InputError(
            f"{name} does not say how large tiles are, and holds too few to tell",
            hint="state tile_px, the edge of a tile in level-0 pixels",
        )
    return min(found)


def extras(node: Any) -> dict[str, Any]:
    """Return what our own writer added."""
    return {
        "mpp": number(node, f"{EXTRA}mpp"),
        "encoder": text(node, f"{EXTRA}encoder"),
        "encoder_id": text(node, f"{EXTRA}encoder_id"),
    }
