"""``herscope info``: what a slide says of itself."""

from __future__ import annotations

from pathlib import Path

from herscope.cli.output import COMMON, Common, Outcome


def info(
    slide: Path,
    /,
    *,
    mpp: str | None = None,
    override_mpp: float | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Show size, levels, µm/px and its source, vendor, stain and problems of a slide.

    Parameters
    ----------
    slide
        A slide file.
    mpp
        µm/px if the file states none, or a CSV with the columns slide,mpp.
    override_mpp
        µm/px whatever the file states.
    """
    from herscope import recipes

    del common
    document = recipes.info(slide, recipes.slide_spec(mpp=mpp, override_mpp=override_mpp))
    return Outcome(document, [_said(document)])


def _said(document: dict[str, object]) -> str:
    lines = [str(document["slide"])]
    for key, value in document.items():
        if key in {"slide", "levels", "problems"}:
            continue
        lines.append(f"  {key.replace('_', ' '):14} {'unknown' if value is None else value}")
    levels = document["levels"]
    assert isinstance(levels, list)
    for number, level in enumerate(levels):
        size = f"{level['width_px']:,} x {level['height_px']:,} px"
        lines.append(f"  level {number:<8} {size}, 1/{level['downsample']:g}")
    problems = document["problems"]
    assert isinstance(problems, list)
    lines += [f"  problem        {problem}" for problem in problems] or ["  no problems found"]
    return "\n".join(lines)
