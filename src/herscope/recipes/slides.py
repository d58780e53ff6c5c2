"""Look at a slide, draw one, and estimate the stain vectors of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import InputError
from herscope.core.store import make_folder

if TYPE_CHECKING:
    from herscope.slide.opened import Slide
    from herscope.slide.phantom.spec import PhantomSpec
    from herscope.slide.resolution import SlideSpec

INFO_LONGER_PX = 1024
"""Longer side of the small copy that ``info`` looks at."""


def info(path: str | Path, spec: SlideSpec) -> dict[str, Any]:
    """Describe a slide as a JSON-ready dictionary; a missing µm/px is a problem, not an error."""
    from herscope.core.errors import UnknownResolution
    from herscope.core.units import Mpp
    from herscope.slide.opened import open_slide

    problems: list[str] = []
    try:
        slide = open_slide(path, spec)
    except UnknownResolution as error:
        problems.append(f"{error.message}; {error.hint}")
        slide = open_slide(path, spec.model_copy(update={"override_mpp": Mpp(1.0)}))
    known = not problems
    with slide:
        facts = slide.info
        problems += facts.notes
        stain, remark = _stain_guess(slide) if known else (None, "")
        problems += [remark] if remark else []
        return {
            "slide": str(path),
            "name": facts.name,
            "vendor": facts.vendor,
            "width_px": facts.width_px,
            "height_px": facts.height_px,
            "mpp": float(facts.mpp) if known else None,
            "mpp_source": facts.mpp_source if known else None,
            "width_mm": round(facts.width_px * facts.mpp_x / 1000, 3) if known else None,
            "height_mm": round(facts.height_px * facts.mpp_y / 1000, 3) if known else None,
            "objective": facts.objective_power,
            "icc": facts.icc,
            "stain": stain,
            "levels": [
                {
                    "width_px": level.width_px,
                    "height_px": level.height_px,
                    "downsample": round(level.downsample_x, 4),
                    "tile_px": [level.tile_width_px, level.tile_height_px],
                }
                for level in facts.levels
            ],
            "problems": problems,
        }


def _stain_guess(slide: Slide) -> tuple[str | None, str]:
    """Guess the stain from a small copy of the slide; a remark when it is not IHC."""
    import numpy as np

    from herscope.stain.appearance import looks_like
    from herscope.stain.deconvolve import od_table
    from herscope.stain.white import white_point
    from herscope.tissue.detection import TissueSpec, detect_tissue

    facts = slide.info
    longer_um = max(facts.width_px * facts.mpp_x, facts.height_px * facts.mpp_y)
    grid = slide.grid(max(longer_um / INFO_LONGER_PX, facts.mpp_x, facts.mpp_y))
    picture = slide.read_all(grid)
    found = detect_tissue(picture, grid.mpp, TissueSpec())
    table = od_table(white_point(picture, found.background).values)
    pixels = picture[found.mask] if found.mask.any() else picture.reshape(-1, 3)
    kind = looks_like(np.stack([table[c, pixels[:, c]] for c in range(3)], axis=1)).kind
    said = {
        "ihc": "IHC (haematoxylin-DAB)",
        "he": "H&E",
        "fluorescence": "fluorescence",
        "unstained": "nothing stained",
    }[kind]
    if not found.mask.any():
        return said, "no tissue found"
    return said, "" if kind == "ihc" else f"looks like {said}, not like IHC: do not score it as IHC"


def phantom(spec: PhantomSpec, out: str | Path, name: str = "phantom") -> dict[str, Any]:
    """Draw a slide and write its truth beside it."""
    from herscope.slide.phantom.write import draw_phantom

    if not name or Path(name).name != name:
        raise InputError(f"--name must be a plain file name, got {name!r}", hint="such as phantom")
    folder = make_folder(Path(out))
    path = folder / f"{name}.tif"
    truth = draw_phantom(spec, path)
    written = truth.write(folder, name)
    files = [str(file) for file in written] if written else []
    return {
        "slide": str(path),
        "truth": files,
        "width_px": spec.width_px,
        "height_px": spec.height_px,
        "mpp": spec.mpp,
        "spec": spec.model_dump(mode="json"),
    }


def stains(slides: Sequence[str | Path], out: str | Path, spec: SlideSpec) -> dict[str, Any]:
    """Estimate one pair of stain vectors for a study and write it as a file for ``--stains``.

    Parameters
    ----------
    slides
        Files, folders or glob patterns; slides without enough of both stains are named and left
        out.
    out
        The TOML file to write.
    spec
        How slides are opened.

    Raises
    ------
    InputError
        No slide carries enough of both stains.
    """
    from herscope.core.errors import HerscopeError
    from herscope.core.store import write_text
    from herscope.score.plan import plan_slide
    from herscope.score.spec import ScoreSpec
    from herscope.slide.find import find_slides, slide_names
    from herscope.stain.study import pool_estimates, vectors_toml

    target = Path(out)
    names = slide_names(find_slides(slides))
    used, left_out = {}, {}
    for path, name in names.items():
        try:
            estimate = plan_slide(path, name, ScoreSpec(slide=spec)).preview.estimate
        except HerscopeError as error:
            left_out[name] = error.message
            continue
        if estimate.valid:
            used[name] = estimate
        else:
            left_out[name] = "; ".join(estimate.reasons)
    pooled = pool_estimates(used, name=target.stem)
    write_text(target, vectors_toml(pooled))
    return {
        "file": str(target),
        "hematoxylin": [round(v, 4) for v in pooled.vectors.hematoxylin],
        "dab": [round(v, 4) for v in pooled.vectors.dab],
        "spread_deg": {name: round(angle, 2) for name, angle in pooled.spread_deg.items()},
        "left_out": left_out,
    }
