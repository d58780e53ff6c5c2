"""A heatmap for other viewers: outlines for QuPath, and a pyramid that lies over the slide.

GeoJSON: level-0 pixels, as everywhere in QuPath. Up to 5000 tiles every tile is an object of its
own, with its raw score and rank as measurements, so QuPath's measurement maps work on the raw
numbers; of more tiles, those of one band of ranks are merged into an annotation, because QuPath
grows slow with tens of thousands of objects. Classes are bands of rank.

Overlay: a tiled TIFF whose pixel is a whole number of level-0 pixels, so both have one origin and
one stated factor, with coarser copies down to one tile; each copy is painted from the tiles' places
and not from the finer copy. With the slide it shows the colours over the tissue (JPEG), without it
the colours alone on white, or with a transparent ground (deflate).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import make_folder, replacing, write_bytes
from herscope.mil.heatmap import Heatmap, Scaling, scaled
from herscope.report.heat_paint import ALPHA, Rgb, blend, heat_colors, paint
from herscope.report.heatmap_picture import check_same_slide

if TYPE_CHECKING:
    from herscope.slide.grid import Grid
    from herscope.slide.opened import Slide

MOST_TILES: Final = 5000
BANDS: Final = ((0.9, "top 10 %"), (0.75, "75 to 90 %"), (0.5, "50 to 75 %"),
                (0.25, "25 to 50 %"), (0.0, "lowest 25 %"))  # fmt: skip
"""Lower end of each band of rank, and its words; highest first."""

FINEST_OVERLAY_MPP: Final = 4.0
"""Coarsest pixel of the overlay unless a factor is asked: a tile of 128 µm is 32 pixels wide, and
resolution tags above 5 µm/px are not believed by our own readers."""
OVERLAY_TILE_PX: Final = 256
OVERLAY_QUALITY: Final = 85
UM_PER_CM: Final = 10_000.0


def band_of(ranks: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the place in :data:`BANDS` of each rank, 0 to 1.

    Examples
    --------
    >>> band_of(np.array([1.0, 0.9, 0.6, 0.0])).tolist()
    [0, 0, 2, 4]
    """
    ends = np.array([low for low, _ in BANDS])
    return np.asarray((np.asarray(ranks)[:, None] < ends).sum(axis=1), np.int64)


def write_heatmap_geojson(
    path: str | Path, heatmap: Heatmap, *, most_tiles: int = MOST_TILES
) -> Path:
    """Write a heatmap so that QuPath (0.4 and newer) opens it: drag it onto the slide.

    Parameters
    ----------
    path
        ``.geojson`` or ``.json``.
    heatmap
        Raw scores.
    most_tiles
        Beyond so many tiles bands of rank are written instead of tiles.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    ranks = scaled(heatmap.scores, "rank")
    band = band_of(ranks)
    if len(heatmap) <= most_tiles:
        features = [
            _tile(heatmap, place, ends, float(ranks[place]), int(band[place]))
            for place, ends in enumerate(heatmap.ends_px.tolist())
        ]
    else:
        features = [_band(heatmap, band == n, n) for n in range(len(BANDS)) if (band == n).any()]
    document = {"type": "FeatureCollection", "features": features}
    make_folder(Path(path).parent)
    write_bytes(path, json.dumps(document, separators=(",", ":"), allow_nan=False).encode())
    return Path(path)


def _tile(heatmap: Heatmap, place: int, ends: list[int], rank: float, band: int) -> dict[str, Any]:
    x0, y0 = heatmap.xy_px[place].tolist()
    x1, y1 = ends
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    measured = {"score": float(heatmap.scores[place]), "rank": round(rank, 6)}
    return _feature(
        heatmap, "tile", {"type": "Polygon", "coordinates": [ring]}, band, measured, f"{x0}:{y0}"
    )


def _band(heatmap: Heatmap, inside: NDArray[np.bool_], band: int) -> dict[str, Any]:
    import shapely
    from shapely.geometry import mapping

    corners, ends = heatmap.xy_px[inside], heatmap.ends_px[inside]
    shape = shapely.union_all(shapely.box(corners[:, 0], corners[:, 1], ends[:, 0], ends[:, 1]))
    measured = {
        "score mean": float(heatmap.scores[inside].astype(np.float64).mean()),
        "score lowest": float(heatmap.scores[inside].min()),
        "score highest": float(heatmap.scores[inside].max()),
        "tiles": int(inside.sum()),
    }
    return _feature(heatmap, "annotation", dict(mapping(shape)), band, measured, BANDS[band][1])


def _feature(
    heatmap: Heatmap,
    kind: str,
    geometry: dict[str, Any],
    band: int,
    measured: dict[str, float],
    key: str,
) -> dict[str, Any]:
    low, words = BANDS[band]
    high = BANDS[band - 1][0] if band else 1.0
    towards = f" towards {heatmap.target}" if heatmap.target else ""
    name = f"{heatmap.model}|{heatmap.slide}|{heatmap.target}|{key}"
    properties: dict[str, Any] = {
        "objectType": kind,
        "classification": {
            "name": f"Heat{towards}: {words}",
            "color": heat_colors(np.array([(low + high) / 2]))[0].tolist(),
        },
        "measurements": measured,
    }
    if kind == "annotation":
        properties["isLocked"] = True
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "geometry": geometry,
        "properties": properties,
    }


@dataclass(frozen=True, slots=True)
class OverlayInfo:
    """What an overlay file is: level-0 pixels per pixel, µm/px, and the sizes of its levels."""

    factor: int
    mpp: float | None
    levels: tuple[tuple[int, int], ...]


def overlay_factor(heatmap: Heatmap) -> int:
    """Return the power of two by which an overlay is smaller than level 0.

    The largest whose pixel is at most 4 µm and an eighth of a tile.

    Examples
    --------
    >>> from herscope.mil.heatmap import make_heatmap
    >>> overlay_factor(make_heatmap("a", [[0, 0]], [1.0], tile_px=512, mpp=0.25, what="",
    ...                             model=""))
    16
    """
    factor = 1
    while factor * 2 <= heatmap.tile_px / 8 and (
        heatmap.mpp is None or factor * 2 * heatmap.mpp <= FINEST_OVERLAY_MPP
    ):
        factor *= 2
    return factor


def write_overlay(
    path: str | Path,
    heatmap: Heatmap,
    slide: Slide | None = None,
    *,
    factor: int | None = None,
    scaling: Scaling = "rank",
    alpha: float = ALPHA,
    transparent: bool = False,
) -> OverlayInfo:
    """Write the pyramid that lies over the slide.

    Parameters
    ----------
    path
        ``.tif`` or ``.tiff``.
    heatmap
        Raw scores.
    slide
        The open slide, to show the colours over the tissue; without it they stand alone.
    factor
        Level-0 pixels per pixel of the overlay, 1 or more; :func:`overlay_factor` when absent.
    scaling, alpha
        As for :func:`~herscope.report.heatmap_picture.heatmap_sheet`.
    transparent
        Without a slide: a fourth channel, 0 where no tile lies, instead of white.

    Returns
    -------
    OverlayInfo
        Factor, µm/px and sizes.

    Raises
    ------
    InputError
        Another slide than the one that was embedded, or a factor below 1.
    OutputError
        The file cannot be written.
    """
    import tifffile

    target = Path(path)
    if target.suffix.lower() not in {".tif", ".tiff"}:
        raise InputError(
            f"an overlay is a .tif file, not {target.suffix or 'without suffix'}",
            hint="pictures are .png or .svg",
        )
    if slide is not None:
        check_same_slide(heatmap, slide)
    factor = overlay_factor(heatmap) if factor is None else factor
    if factor < 1:
        raise InputError(f"an overlay's factor is {factor}", hint="give a whole number from 1")
    if slide is not None:
        full, mpp = (slide.info.width_px, slide.info.height_px), float(slide.info.mpp)
    else:
        full, mpp = heatmap.extent_px, heatmap.mpp or 0.0
    sizes = overlay_sizes(full, factor)
    values = scaled(heatmap.scores, scaling)
    make_folder(target.parent)
    clear = transparent and slide is None
    with replacing(target) as partial, tifffile.TiffWriter(partial, bigtiff=_large(sizes)) as tiff:
        for number, size in enumerate(sizes):
            step = factor << number
            per_cm = UM_PER_CM / (mpp * step) if mpp else 1.0
            tiff.write(
                _tiles(heatmap, values, slide, size, step, alpha=alpha, clear=clear),
                shape=(size[1], size[0], 4 if clear else 3),
                dtype=np.uint8,
                tile=(OVERLAY_TILE_PX, OVERLAY_TILE_PX),
                planarconfig="contig",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER" if mpp else "NONE",
                description=_description(heatmap, factor) if number == 0 else None,
                metadata=None,
                software="herscope mil heatmap",
                subfiletype=0 if number == 0 else 1,
                **_coding(slide is not None, clear=clear),
            )
    return OverlayInfo(factor, mpp * factor if mpp else None, tuple(sizes))


def overlay_sizes(full_px: tuple[int, int], factor: int) -> list[tuple[int, int]]:
    """Return widths and heights of the levels; a pixel over the edge counts.

    Examples
    --------
    >>> overlay_sizes((20_001, 8000), 16)
    [(1251, 500), (626, 250), (313, 125), (157, 63)]
    """
    sizes: list[tuple[int, int]] = []
    step = factor
    while not sizes or max(sizes[-1]) > OVERLAY_TILE_PX:
        sizes.append((-(-full_px[0] // step), -(-full_px[1] // step)))
        step *= 2
    return sizes


def _large(sizes: list[tuple[int, int]]) -> bool:
    return sum(width * height * 4 for width, height in sizes) > 3 << 30


def _coding(over_slide: bool, *, clear: bool) -> dict[str, Any]:
    if over_slide:
        return {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (1, 1)}
    more = {"extrasamples": ["unassalpha"]} if clear else {}
    return {"compression": "deflate", "photometric": "rgb", **more}


def _jpeg(tile: Rgb) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(
            tile,
            level=OVERLAY_QUALITY,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling="444",
        )
    )


def _description(heatmap: Heatmap, factor: int) -> str:
    told = {
        "slide": heatmap.slide,
        "what": heatmap.what,
        "target": heatmap.target,
        "model": heatmap.model,
        "level0_px_per_px": factor,
    }
    return "herscope heatmap overlay " + json.dumps(told, ensure_ascii=True)


def _tiles(
    heatmap: Heatmap,
    values: NDArray[np.float64],
    slide: Slide | None,
    size: tuple[int, int],
    step: int,
    *,
    alpha: float,
    clear: bool,
) -> Iterator[bytes | Rgb]:
    """Tiles of a level in the order of the file, one band of the picture at a time."""
    width, height = size
    side = OVERLAY_TILE_PX
    grid = None if slide is None else slide.grid(float(slide.info.mpp) * step)
    for top in range(0, height, side):
        painted = paint(
            heatmap,
            values,
            scale=(step, step),
            width_px=width,
            height_px=min(side, height - top),
            top_px=top,
        )
        below = None if slide is None or grid is None else _band_of(slide, grid, top, width, step)
        band = blend(None if below is None else below[: len(painted)], painted, alpha=alpha)
        if clear:
            opacity = np.where(np.isfinite(painted), round(255 * alpha), 0).astype(np.uint8)
            band = np.concatenate([band, opacity[..., None]], axis=2)
        for left in range(0, width, side):
            part = band[:, left : left + side]
            lacks = (side - part.shape[0], side - part.shape[1])
            tile = np.pad(part, ((0, lacks[0]), (0, lacks[1]), (0, 0)), mode="edge")
            yield tile if slide is None else _jpeg(tile)


def _band_of(slide: Slide, grid: Grid, top: int, width: int, step: int) -> Rgb:
    """Read a band of the slide at ``step`` level-0 pixels per pixel.

    A level that is not exactly so coarse (a scanner's 4.0003) is laid onto our pixels by nearest
    neighbour: over a slide of 100,000 px the two would drift apart by several pixels.
    """
    rows = ((top + np.arange(OVERLAY_TILE_PX) + 0.5) * step / grid.scale_y).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * step / grid.scale_x).astype(np.intp)
    first = int(rows[0])
    pixels = slide.read(grid, 0, first, int(columns[-1]) + 1, int(rows[-1]) - first + 1)
    return pixels[rows - first][:, columns]
