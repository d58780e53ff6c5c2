"""Patches cut from slides that somebody annotated in QuPath.

``SLIDE.geojson`` beside ``SLIDE.svs`` has the outlines. Tumor and Stroma are themselves; fat is
background; every other class (normal, benign, in situ, necrosis) is other; ``Ignore*`` and what
nobody outlined are not annotated; ``Region*`` and ``Tissue`` limit nothing here. Glass inside and
between annotated areas is background by tissue detection, except where it was outlined as tumour or
stroma. Where outlines overlap the smaller one wins. Patches lie on a grid of the slide and are kept
when people annotated enough of them; weak annotation, some areas of a slide, is enough.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import staged_folder, write_bytes, write_json, write_text
from herscope.nn.patches.files import CLASSES, IGNORE, SCHEMA
from herscope.slide.find import slide_names
from herscope.slide.opened import Slide, open_slide
from herscope.slide.resolution import SlideSpec
from herscope.stain.white import white_point
from herscope.tissue import regions as names
from herscope.tissue.checks import clip_regions
from herscope.tissue.detection import TissueMap, TissueSpec, detect_tissue
from herscope.tissue.geojson import read_regions
from herscope.tissue.geometry import polygons_of, valid_area
from herscope.tissue.raster import Coded, rasterise
from herscope.tissue.regions import Region

if TYPE_CHECKING:
    from herscope.slide.grid import Grid

SUFFIXES: Final = (".geojson", ".geojson.gz", ".annotations.geojson")
LEAST_ANNOTATED: Final = 0.05
"""Share of a patch that must be annotated."""
CLOSE_ENOUGH: Final = 0.02
FAT: Final = frozenset({"fat", "adipose", "adiposetissue", "background", "glass"})

_UNKNOWN, _TUMOR, _STROMA, _BACKGROUND, _OTHER, _IGNORED = range(6)
_TABLE: Final = np.array([IGNORE, *range(len(CLASSES)), IGNORE], np.uint8)
_SHAPE_CODES: Final = {
    names.TUMOR: _TUMOR,
    names.STROMA: _STROMA,
    names.IGNORE: _IGNORED,
    names.REGION: None,
    names.TISSUE: None,
}


def annotation_of(slide: Path) -> Path | None:
    """Return the annotation file beside a slide, if any."""
    found = (slide.with_name(slide.stem + suffix) for suffix in SUFFIXES)
    return next((file for file in found if file.is_file()), None)


def cut_patches(
    slides: Iterable[Path],
    out: Path,
    *,
    mpp: float,
    size_px: int = 256,
    spec: SlideSpec | None = None,
) -> Path:
    """Cut annotated slides into a patch folder.

    Parameters
    ----------
    slides
        Slides with their ``.geojson`` beside them; those without one are left out.
    out
        Folder to write; replaced when all are cut.
    mpp
        µm/px of the patches; not finer than the slides.
    size_px
        Edge of a patch.
    spec
        How slides are opened.

    Raises
    ------
    InputError
        No slide is annotated, or no patch has enough annotation.
    SlideError, SchemaError
        A slide or an annotation cannot be read.
    """
    annotated = [(slide, file) for slide in slides if (file := annotation_of(slide)) is not None]
    if not annotated:
        raise InputError(
            "none of the slides has annotations beside it",
            hint="export them from QuPath as GeoJSON, CASE.geojson beside CASE.svs",
        )
    called = slide_names([path for path, _ in annotated])
    # A level 10 % off is as good as asked when scoring; patches share one µm/px.
    exact = (spec or SlideSpec()).model_copy(update={"native_tolerance": CLOSE_ENOUGH})
    whites: dict[str, tuple[float, ...]] = {}
    groups = ["patch,group"]
    with staged_folder(out) as staged:
        for part in ("images", "masks"):
            (staged / part).mkdir()
        for path, file in annotated:
            with open_slide(path, exact) as slide:
                for place, rgb, mask, white in _patches(slide, file, mpp, size_px):
                    stem = f"{called[path]}_{place}"
                    _png(staged / "images" / f"{stem}.png", rgb[..., ::-1])
                    _png(staged / "masks" / f"{stem}.png", mask)
                    whites[stem] = white
                    groups.append(f"{stem},{called[path]}")
        if not whites:
            raise InputError(
                f"no patch of {size_px} px at {mpp:g} µm/px is annotated to {LEAST_ANNOTATED:.0%}",
                hint="annotate larger areas, or state a finer --mpp",
            )
        write_text(staged / "groups.csv", "\n".join(groups) + "\n")
        source = f"{len(whites)} patches of {len(annotated)} annotated slides"
        about = {"schema": SCHEMA, "mpp": mpp, "white_points": whites, "source": source}
        write_json(staged / "patches.json", about)
    return out


def _patches(
    slide: Slide, file: Path, mpp: float, size_px: int
) -> Iterable[tuple[str, NDArray[np.uint8], NDArray[np.uint8], tuple[float, ...]]]:
    info = slide.info
    grid = slide.grid(mpp)
    shapes = _shapes(file, info.width_px, info.height_px)
    if not shapes:
        return
    tissue, white = _overview(slide)
    x0, y0, x1, y1 = shapely.total_bounds([shape for shape, _ in shapes])
    step_x, step_y = grid.scale_x, grid.scale_y
    for y in _starts(y0 / step_y, y1 / step_y, grid.height_px, size_px):
        for x in _starts(x0 / step_x, x1 / step_x, grid.width_px, size_px):
            codes = rasterise(shapes, x, y, size_px, size_px, step_x, step_y)
            drawn = (codes != _UNKNOWN) & (codes != _IGNORED)
            if drawn.mean() < LEAST_ANNOTATED:
                continue
            glass = ~_scaled(tissue, grid, x, y, size_px)
            codes[glass & (codes != _IGNORED) & (codes != _TUMOR) & (codes != _STROMA)] = (
                _BACKGROUND
            )
            yield f"x{x}_y{y}", slide.read(grid, x, y, size_px, size_px), _TABLE[codes], white


def _starts(low: float, high: float, length: int, size: int) -> list[int]:
    """Corners of the patches, on one grid of the slide, that meet a span."""
    first = max(0, math.floor(low / size))
    last = min(length // size, math.ceil(high / size))
    return [k * size for k in range(first, last)]


def _overview(slide: Slide) -> tuple[NDArray[np.bool_], tuple[float, ...]]:
    spec = TissueSpec()
    grid = slide.grid(max(spec.overview_mpp, slide.info.mpp))
    picture = slide.read_all(grid)
    found: TissueMap = detect_tissue(picture, grid.mpp, spec)
    return found.mask, white_point(picture, found.background).values


def _scaled(
    tissue: NDArray[np.bool_], grid: Grid, x: int, y: int, size_px: int
) -> NDArray[np.bool_]:
    """Tissue of a patch from the overview's mask, nearest pixel."""
    high, wide = tissue.shape
    rows = np.minimum((np.arange(y, y + size_px) * 2 + 1) * high // (2 * grid.height_px), high - 1)
    columns = np.minimum(
        (np.arange(x, x + size_px) * 2 + 1) * wide // (2 * grid.width_px), wide - 1
    )
    return tissue[rows[:, None], columns[None]]


def _shapes(file: Path, width_px: int, height_px: int) -> list[Coded]:
    regions = clip_regions([*read_regions(file)], width_px, height_px)
    found: list[Coded] = []
    for region in regions:
        code = _SHAPE_CODES.get(region.name, _OTHER)
        if code is not None:
            found.append((region.geometry, code))
    # Fat has no class of its own in the reader, where it is "other" to be scored. Of outlines of
    # equal area the later wins, so fat is drawn once more, as background.
    fat = [Region(names.OTHER, shape) for shape in _fat(file)]
    clipped = clip_regions(fat, width_px, height_px) if fat else []
    return found + [(region.geometry, _BACKGROUND) for region in clipped]


def _fat(file: Path) -> list[Any]:
    data = file.read_bytes()
    document = json.loads(gzip.decompress(data) if file.suffix == ".gz" else data)
    features = document.get("features", [document]) if isinstance(document, dict) else document
    found = []
    for number, feature in enumerate(features, start=1):
        told = (feature.get("properties") or {}).get("classification") or {}
        label = str(told.get("name", "") if isinstance(told, dict) else told)
        if "".join(c for c in label.lower() if c.isalpha()) not in FAT:
            continue
        polygons = polygons_of(feature.get("geometry"), f"feature {number}", Counter())
        shape = valid_area(polygons, f"feature {number}")[0] if polygons else None
        if shape is not None:
            found.append(shape)
    return found


def _png(path: Path, image: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", np.ascontiguousarray(image))
    write_bytes(path, data.tobytes())
