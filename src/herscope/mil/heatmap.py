"""How much each tile of a slide counted for a model: raw scores with their places.

The raw scores are kept as the model gave them; scaled copies are made for display alone and never
written in their place (a map that keeps only 0 to 1 per slide can be compared with no other one).

Members of an ensemble are averaged after each was divided by the mean magnitude of its own scores:
the attention of a network sums to a constant of its own, node scores have no unit, and without the
division the member with the largest numbers would draw the map alone. Of attention, which is never
negative, that mean magnitude is the mean, so 1 is what an even map would give every tile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.store import make_folder, write_parquet

SCHEMA: Final = "herscope.heatmap/1"
METADATA_KEY: Final = b"herscope"
COLUMNS: Final = ("x_px", "y_px", "tile_px", "score", "rank")
AGAIN: Final = "make it again with herscope mil heatmap"

Scaling = Literal["rank", "minmax", "percentile"]
SCALINGS: Final[Mapping[Scaling, str]] = MappingProxyType(
    {
        "rank": "rank of the tile on this slide, 0 the lowest, 1 the highest",
        "minmax": "score between the slide's lowest (0) and highest (1)",
        "percentile": "score between the slide's 1st (0) and 99th (1) percentile, cut at both",
    }
)
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Raw scores of a slide's tiles; made by :func:`make_heatmap`.

    Attributes
    ----------
    slide
        Name of the slide.
    xy_px
        (tiles, 2) int64, x and y of the upper left corners in level-0 pixels.
    tile_px
        Edge of a tile in level-0 pixels.
    mpp
        µm per level-0 pixel; None where unknown.
    width_px, height_px
        Size of the slide at level 0; None where unknown.
    scores
        (tiles,) float32, as the model gave them.
    what
        What a score is, such as ``attention, mean of 5 members``.
    target
        The class they speak for; None where they speak for none.
    model
        Name of the model.
    """

    slide: str
    xy_px: NDArray[np.int64] = field(repr=False)
    tile_px: float
    mpp: float | None
    width_px: int | None
    height_px: int | None
    scores: NDArray[np.float32] = field(repr=False)
    what: str
    target: str | None
    model: str

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def extent_px(self) -> tuple[int, int]:
        """Width and height of level 0; the end of the last tiles where the file did not say."""
        ends = self.ends_px.max(axis=0).tolist()
        return self.width_px or ends[0], self.height_px or ends[1]

    @property
    def ends_px(self) -> NDArray[np.int64]:
        """(tiles, 2) level-0 pixel after each tile's last, along x and y.

        Where another tile begins within a pixel of it, its corner: an edge of 256.5 px is rounded
        in each place for itself, and touching tiles would be drawn with gaps between them.
        """
        return np.stack([_ends(self.xy_px[:, axis], self.tile_px) for axis in (0, 1)], axis=1)


def _ends(starts: NDArray[np.int64], tile_px: float) -> NDArray[np.int64]:
    ends = np.rint(starts + tile_px).astype(np.int64)
    known = np.unique(starts)
    place = np.searchsorted(known, ends)
    for near in (known[np.minimum(place, len(known) - 1)], known[np.maximum(place - 1, 0)]):
        ends = np.where(np.abs(near - ends) <= 1, near, ends)
    return ends


def make_heatmap(
    slide: str,
    xy_px: ArrayLike,
    scores: ArrayLike,
    *,
    tile_px: float,
    mpp: float | None,
    what: str,
    model: str,
    target: str | None = None,
    width_px: int | None = None,
    height_px: int | None = None,
) -> Heatmap:
    """Check scores and places.

    Raises
    ------
    InputError
        No tile, or shapes that do not belong together.
    SchemaError
        Scores that are no numbers, tiles without a size, or tiles off the slide.

    Examples
    --------
    >>> heat = make_heatmap("a", [[0, 0], [256, 0]], [0.1, 0.3], tile_px=256, mpp=0.5,
    ...                     what="attention", model="abmil")
    >>> len(heat), heat.extent_px
    (2, (512, 256))
    """
    values, places = np.asarray(scores, np.float32), np.asarray(xy_px)
    if values.ndim != 1 or not values.size or places.shape != (values.size, 2):
        raise InputError(
            f"heatmap of slide {slide}: scores of shape {values.shape}, places {places.shape}",
            hint="there must be one score and one x, y for every tile, and at least one tile",
        )
    if bad := int((~np.isfinite(values)).sum()):
        raise SchemaError(
            f"heatmap of slide {slide}: {bad} of {values.size} scores are no numbers",
            hint="train the model again: its weights may have diverged",
        )
    if not (np.isfinite(tile_px) and tile_px > 0):
        raise SchemaError(f"heatmap of slide {slide}: tiles of {tile_px} px", hint=AGAIN)
    whole = np.ascontiguousarray(np.rint(places), np.int64)
    for axis, size, name in ((0, width_px, "wide"), (1, height_px, "high")):
        low, high = int(whole[:, axis].min()), int(whole[:, axis].max())
        if low <= -tile_px or (size is not None and high >= size):
            raise SchemaError(
                f"heatmap of slide {slide}: tiles from {low} to {high} px, the slide is "
                f"{size or 'of unknown size'} px {name}",
                hint="the places are not in level-0 pixels of this slide; embed it again",
            )
    return Heatmap(
        slide=slide,
        xy_px=whole,
        tile_px=float(tile_px),
        mpp=mpp,
        width_px=width_px,
        height_px=height_px,
        scores=np.ascontiguousarray(values),
        what=what,
        target=target,
        model=model,
    )


def ensemble_scores(members: ArrayLike) -> NDArray[np.float32]:
    """Join the scores of an ensemble: mean of the members, each divided by its mean magnitude.

    Parameters
    ----------
    members
        (members, tiles) scores. A member that gave zero everywhere counts as zero.

    Returns
    -------
    ndarray
        (tiles,). Of attention, 1 is what an even map would give every tile.

    Raises
    ------
    InputError
        Not a table, or empty.

    Examples
    --------
    >>> ensemble_scores([[1.0, 3.0], [0.1, 0.1]]).tolist()
    [0.75, 1.25]
    """
    table = np.asarray(members, np.float64)
    if table.ndim != 2 or not table.size:
        raise InputError(
            f"scores of an ensemble have shape {table.shape}, needed: (members, tiles)",
            hint="every member scores the same tiles",
        )
    size = np.abs(table).mean(axis=1, keepdims=True)
    return (table / np.where(size > 0, size, 1.0)).mean(axis=0).astype(np.float32)


def scaled(scores: NDArray[np.float32], how: Scaling = "rank") -> NDArray[np.float64]:
    """Bring a slide's scores to 0 to 1 for display.

    Parameters
    ----------
    scores
        (tiles,) raw scores.
    how
        ``rank`` (equal scores share the mean of their ranks), ``minmax``, or ``percentile`` (1st
        to 99th, as in the KAT paper). Where all scores are equal every tile is 0.5.

    Raises
    ------
    InputError
        Another way of scaling.

    Examples
    --------
    >>> scaled(np.array([5, 1, 1, 9], np.float32)).round(3).tolist()
    [0.667, 0.167, 0.167, 1.0]
    >>> scaled(np.array([5, 1, 1, 9], np.float32), "minmax").tolist()
    [0.5, 0.0, 0.0, 1.0]
    """
    values = np.asarray(scores, np.float64)
    if how not in SCALINGS:
        raise InputError(
            f"no scaling {how!r}", hint=f"one of {', '.join(SCALINGS)}; the raw scores are kept"
        )
    if how == "rank":
        return _ranks(values)
    low, high = float(values.min()), float(values.max())
    if how == "percentile":
        ends = np.percentile(values, [LOW_PERCENTILE, HIGH_PERCENTILE]).tolist()
        # Nearly all tiles equal: the percentiles tell nothing apart, the ends still do.
        low, high = ends if ends[1] > ends[0] else (low, high)
    if not high > low:
        return np.full(values.shape, 0.5)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.size < 2:
        return np.full(values.shape, 0.5)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    before = np.cumsum(count) - count
    return ((before + (count - 1) / 2) / (values.size - 1))[place.ravel()]


def write_heatmap(path: str | Path, heatmap: Heatmap) -> Path:
    """Write the raw scores as Parquet: ``x_px``, ``y_px``, ``tile_px``, ``score``, ``rank``.

    What they are, of which slide and model, stands in the file's metadata. ``rank`` is
    :func:`scaled`'s and only there for convenience.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import pyarrow as pa

    target = Path(path)
    make_folder(target.parent)
    told = {"schema": SCHEMA}
    told |= {
        name: getattr(heatmap, name)
        for name in ("slide", "tile_px", "mpp", "width_px", "height_px", "what", "target", "model")
    }
    columns = {
        "x_px": heatmap.xy_px[:, 0],
        "y_px": heatmap.xy_px[:, 1],
        "tile_px": np.full(len(heatmap), heatmap.tile_px),
        "score": heatmap.scores,
        "rank": scaled(heatmap.scores, "rank"),
    }
    table = pa.table(columns).replace_schema_metadata(
        {METADATA_KEY: json.dumps(told, ensure_ascii=False).encode()}
    )
    write_parquet(target, table)
    return target


def read_heatmap(path: str | Path) -> Heatmap:
    """Read a heatmap.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        It is damaged, or no heatmap of ours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path)
    if not file.is_file():
        raise NotComputed(f"{file} is missing", hint=AGAIN)
    try:
        table = pq.read_table(file)
        told: dict[str, Any] = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
        missing = [name for name in COLUMNS if name not in table.column_names]
        if told.pop("schema", None) != SCHEMA or missing:
            raise SchemaError(f"{file} is no heatmap of {SCHEMA}", hint=AGAIN)
        xy_px = np.stack([table["x_px"].to_numpy(), table["y_px"].to_numpy()], axis=1)
        return make_heatmap(xy_px=xy_px, scores=table["score"].to_numpy(), **told)
    except (InputError, pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as bad:
        if isinstance(bad, SchemaError):
            raise
        raise SchemaError(
            f"{file} cannot be read: {' '.join(str(bad).split())[:200]}", hint=AGAIN
        ) from bad
