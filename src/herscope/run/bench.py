"""Where the time goes: each stage of scoring a drawn slide, against the decode floor.

The floor is the time imagecodecs needs to decode the tiles of the level that scoring reads, and
nothing else. Everything runs in this process on one thread per library call, twice; the first round
compiles and fills the disk cache, the second is reported. Figures of two machines, or of a busy
one, compare as ratios only.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from herscope.core.errors import InputError

SMALLEST_UM, LARGEST_UM = 200.0, 20_000.0
ROUNDS = 2


def bench(size_um: float) -> dict[str, Any]:
    """Draw a nuclear-marker phantom and time every stage of scoring it.

    Parameters
    ----------
    size_um
        Edge of the phantom, 200 to 20,000 µm.

    Returns
    -------
    dict
        ``stages`` has ``seconds`` and ``ratio`` (to the decode floor) of each stage;
        ``megapixels`` are those of the level that is read.
    """
    from herscope.score.slide import finish_slide, plan_slide, score_tiles
    from herscope.score.spec import ScoreSpec
    from herscope.slide.phantom.spec import PhantomSpec
    from herscope.slide.phantom.write import draw_phantom

    if not SMALLEST_UM <= size_um <= LARGEST_UM:
        raise InputError(
            f"--size-um must be between {SMALLEST_UM:g} and {LARGEST_UM:g}, got {size_um:g}",
            hint="1000 takes some seconds",
        )
    spec = ScoreSpec(marker="nuclear")
    with tempfile.TemporaryDirectory(prefix="herscope-bench-") as folder:
        path, saved = Path(folder) / "bench.tif", Path(folder) / "saved"
        saved.mkdir()
        shape = {"width_um": size_um, "height_um": size_um, "tissue_fraction": 0.9}
        draw_phantom(PhantomSpec.model_validate(shape), path)
        for _ in range(ROUNDS):
            marks = [time.perf_counter()]
            plan = plan_slide(path, "bench", spec, None)
            marks.append(time.perf_counter())
            results = score_tiles(plan, plan.tiles)
            marks.append(time.perf_counter())
            scored = finish_slide(plan, results, {})
            marks.append(time.perf_counter())
            scored.save(saved)
            marks.append(time.perf_counter())
            floor = _decode_floor(path, plan.info.levels[plan.grid.level].width_px)
    planning, blocks, finishing, writing = (after - before for before, after in pairwise(marks))
    laps: dict[str, float] = {}
    for result in results:
        for name, seconds in result.timings_s.items():
            laps[name] = laps.get(name, 0.0) + seconds
    level = plan.info.levels[plan.grid.level]
    stages = {
        "decode floor": floor,
        "plan": planning,
        **laps,
        "rest of blocks": max(0.0, blocks - sum(laps.values())),
        "put together": finishing,
        "write": writing,
        "all": planning + blocks + finishing + writing,
    }
    return {
        "about": f"{size_um:g} µm phantom, {level.width_px * level.height_px / 1e6:.1f} Mpx read",
        "megapixels": level.width_px * level.height_px / 1e6,
        "cells": scored.result.compartments["all"].cells,
        "stages": {
            name: {"seconds": round(seconds, 4), "ratio": round(seconds / floor, 3)}
            for name, seconds in stages.items()
        },
    }


def _decode_floor(path: Path, width_px: int) -> float:
    """Seconds to decode all tiles of the level of this width, bytes in memory."""
    import imagecodecs
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = next(page for page in file.pages if page.imagewidth == width_px)
        with path.open("rb") as stream:
            tiles = []
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                stream.seek(offset)
                tiles.append(stream.read(count))
        tables = page.jpegtables
    start = time.perf_counter()
    for tile in tiles:
        imagecodecs.jpeg8_decode(tile, tables=tables)
    return time.perf_counter() - start
