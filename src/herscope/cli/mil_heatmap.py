"""``herscope mil heatmap``: where on a slide a model looked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.mil_fit import READING
from herscope.cli.mil_predict import SOME_FAILED
from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.mil.preparing import Reading


def heatmap(
    *,
    model: Path,
    features: Path,
    out: Path,
    slides: Annotated[list[Path], Parameter(negative="", consume_multiple=True)] | None = None,
    slide: Annotated[list[str], Parameter(negative="", consume_multiple=True)] | None = None,
    target: str | None = None,
    scaling: Literal["rank", "minmax", "percentile"] = "rank",
    top: int = 12,
    reading: Annotated[Reading, Parameter(name="*", negative="")] = READING,
    device: str = "auto",
    threads: int | None = None,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Draw where on its slides a model looked; raw scores are stored with their places.

    Parameters
    ----------
    model
        Folder that herscope mil fit wrote.
    features
        Feature files of the slides, made as the model's own were.
    out
        Folder for a page a slide, heatmap.parquet, .png, .geojson and overlay.tif.
    slides
        Slide files or folders to draw over; without them maps are on white.
    slide
        Names of the slides wanted; all when absent.
    target
        Class whose evidence is shown, for models that score classes; the predicted one when absent.
    scaling
        How scores become colours; the raw ones are stored either way.
    top
        Tiles shown on the page.
    device
        auto, cpu or cuda.
    threads
        Processor threads; all that this process may use when absent.
    force
        Replace results that are there.
    """
    from herscope.recipes.mil_heatmap import heatmap_mil

    document = heatmap_mil(
        model,
        features,
        out,
        slides=slides or (),
        only=slide or (),
        target=target,
        scaling=scaling,
        top=top,
        reading=reading,
        device=device,
        threads=threads,
        force=force,
    )
    code = SOME_FAILED if document["failures"] else 0
    return Outcome(document, [] if common.json else [_said(document, out)], code)


def _said(document: dict[str, Any], out: Path) -> str:
    lines = [
        f"{one['slide']}: {one['predicted']}, {out / one['files']['page']}"
        for one in document["slides"]
    ]
    lines += [f"{alert['severity']}: {alert['message']}" for alert in document["alerts"]]
    lines += [f"failed {name}: {why['message']}" for name, why in document["failures"].items()]
    lines += [f"note: {note}" for note in (document["caveat"], *document["notes"])]
    return "\n".join([*lines, f"pages from {out / 'index.html'}"])
