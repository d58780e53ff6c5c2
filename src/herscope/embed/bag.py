"""A slide as a bag of features with their places: what every feature file becomes when it is read.

Tiles stand in one order, by row and then by column of their corner on the slide, so that nothing
after this can depend on the order in which they were cut. Features that are no numbers, and two
tiles in one place, are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError

Features = NDArray[np.float32]
"""(tiles, features)."""
Places = NDArray[np.int64]
"""(tiles, 2), x and y of each tile's upper left corner in level-0 pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBag:
    """Features of a slide's tiles and where the tiles lie.

    Attributes
    ----------
    slide
        Name of the slide: the stem of its file.
    features
        (tiles, features) float32, finite.
    xy_px
        (tiles, 2) int64, upper left corners in level-0 pixels; by row, then by column.
    tile_px
        Edge of a tile in level-0 pixels.
    mpp
        µm per level-0 pixel; None where the file does not say.
    encoder
        Name of the encoder; ``unknown`` where the file does not say.
    encoder_id
        What makes features comparable: 16 hexadecimal digits of encoder, weights, preparation and
        tile. Of foreign files, their encoder's name and number of features.
    width_px, height_px
        Size of the slide at level 0; None where the file does not say.
    slide_path
        Where the slide lay when it was embedded; a hint, never opened without being asked.
    notes
        What a person should know about these features.
    """

    slide: str
    features: Features = field(repr=False)
    xy_px: Places = field(repr=False)
    tile_px: float
    mpp: float | None
    encoder: str
    encoder_id: str
    width_px: int | None = None
    height_px: int | None = None
    slide_path: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.features)

    @property
    def size(self) -> int:
        """Numbers a tile."""
        return int(self.features.shape[1])

    @property
    def grid(self) -> Places:
        """(tiles, 2) row and column of each tile on the lattice of tiles, from 0.

        The lattice's step is the edge of a tile, or what lies between neighbours where they
        overlap.
        """
        cells = np.rint((self.xy_px - self.xy_px.min(axis=0)) / self.step_px).astype(np.int64)
        return cells[:, ::-1]

    @property
    def step_px(self) -> float:
        """Level-0 pixels from a tile to its neighbour; less than ``tile_px`` where they overlap."""
        x, y = self.xy_px.T
        gaps = np.diff(x)[np.diff(y) == 0]  # in order: by row, then by column
        return float(min(self.tile_px, gaps.min())) if gaps.size else self.tile_px

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the bag with some of its tiles."""
        return replace(self, features=self.features[keep], xy_px=self.xy_px[keep])


def make_bag(
    slide: str,
    features: NDArray[np.floating],
    xy_px: NDArray[np.integer] | NDArray[np.floating],
    *,
    tile_px: float,
    mpp: float | None,
    encoder: str,
    encoder_id: str,
    width_px: int | None = None,
    height_px: int | None = None,
    slide_path: str | None = None,
    notes: tuple[str, ...] = (),
) -> FeatureBag:
    """Check features and places and put them in order.

    Raises
    ------
    SchemaError
        Shapes that do not belong together, features that are no numbers, two tiles in one place.
    InputError
        No tile.

    Examples
    --------
    >>> bag = make_bag("a", np.eye(2), np.array([[256, 0], [0, 0]]), tile_px=256, mpp=0.5,
    ...                encoder="e", encoder_id="e:2")
    >>> bag.features.tolist(), bag.grid.tolist()
    ([[0.0, 1.0], [1.0, 0.0]], [[0, 0], [0, 1]])
    """
    values, places = np.asarray(features), np.asarray(xy_px)
    if values.ndim != 2 or places.shape != (len(values), 2):
        raise SchemaError(
            f"features of slide {slide}: {values.shape} features with {places.shape} places",
            hint="there must be a row of features and an x, y for every tile; embed it again",
        )
    if len(values) == 0 or values.shape[1] == 0:
        raise InputError(
            f"slide {slide} has no tile with features ({values.shape[0]} x {values.shape[1]})",
            hint="look at its tissue with herscope info, then embed it again",
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise SchemaError(
            f"features of slide {slide}: {len(bad)} of {len(values)} tiles hold values that are "
            f"no numbers, first tile {int(bad[0])}",
            hint="embed it again in float32; nothing is filled in",
        )
    if not tile_px > 0:
        raise SchemaError(
            f"features of slide {slide}: tiles of {tile_px} px", hint="embed it again"
        )
    whole = np.rint(places).astype(np.int64)
    order = np.lexsort((whole[:, 0], whole[:, 1]))
    whole = whole[order]
    same = np.flatnonzero((np.diff(whole, axis=0) == 0).all(axis=1))
    if len(same):
        x, y = whole[same[0]].tolist()
        raise SchemaError(
            f"features of slide {slide}: {len(same)} tiles lie where another does, first at "
            f"x {x}, y {y}",
            hint="the file was joined from two, or written twice; embed it again",
        )
    return FeatureBag(
        slide=slide,
        features=np.ascontiguousarray(values[order], np.float32),
        xy_px=np.ascontiguousarray(whole),
        tile_px=float(tile_px),
        mpp=mpp,
        encoder=encoder,
        encoder_id=encoder_id,
        width_px=width_px,
        height_px=height_px,
        slide_path=slide_path,
        notes=notes,
    )
