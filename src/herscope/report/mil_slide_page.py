"""One slide's prediction as one self-contained page: probabilities, heatmap, tiles, and caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from herscope.core.store import make_folder, write_text
from herscope.mil.heatmap import SCALINGS, Heatmap, Scaling
from herscope.mil.predictions import SlidePrediction
from herscope.report.heatmap_picture import heatmap_sheet, overview_of
from herscope.report.html import environment
from herscope.report.mil_charts import probability_chart
from herscope.report.mil_words import (
    CAVEATS,
    MAP_MEANS,
    counted,
    encoder_rows,
    model_named,
    model_words,
    named_rows,
)
from herscope.report.statistics_page import Picture
from herscope.report.top_tiles import (
    HIGH_RANK,
    LOW_RANK,
    TopTile,
    TopTiles,
    contact_sheet,
    top_tiles,
)

if TYPE_CHECKING:
    from herscope.slide.opened import Slide

TOP: Final = 12
UNLIKE: Final = "slides-unlike-training"
"""Code of the cohort's alert about slides that are outside."""


def slide_page(folder: str | Path, slide: str) -> Path:
    """Return where a slide's page lies in a folder of results: ``slides/<slide>.html``.

    Examples
    --------
    >>> slide_page("run", "case 1").as_posix()
    'run/slides/case 1.html'
    """
    return Path(folder) / "slides" / f"{slide}.html"


def write_mil_slide_page(
    path: str | Path,
    prediction: SlidePrediction,
    document: Mapping[str, Any],
    *,
    heatmaps: Sequence[Heatmap] = (),
    slide: Slide | None = None,
    scaling: Scaling = "rank",
    top: int = TOP,
    files: Mapping[str, str] | None = None,
    back: str | None = None,
) -> Path:
    """Write the page of a slide.

    Parameters
    ----------
    path
        The HTML file; :func:`slide_page` says where the cohort page looks for it.
    prediction
        What the model said.
    document
        ``model``, ``model_name``, ``model_folder``, ``task``, ``encoder`` (name, card), ``notes``,
        ``alerts``; what is missing is left out.
    heatmaps
        One or more; the first is drawn beside the slide and gives the top tiles.
    slide
        The open slide; without it maps are on white and no tiles are shown.
    scaling
        How scores become colours.
    top
        How many of the highest tiles are shown at most, and half as many of the lowest.
    files
        Words to path, relative to the page, of files to link to.
    back
        Link to the cohort page, relative to this page.

    Raises
    ------
    InputError
        Another slide than the one that was embedded.
    OutputError
        The page cannot be written.
    """
    target = Path(path)
    context = {
        "title": prediction.slide,
        "facts": _facts(prediction, document),
        "alerts": _alerts(prediction, document),
        "caveats": CAVEATS,
        "notes": list(document.get("notes", ())),
        "prediction": prediction,
        "chart": _chart(prediction),
        "outlier": prediction.outlier,
        "maps": _maps(heatmaps, slide, scaling),
        "map_means": MAP_MEANS,
        "sheets": _sheets(heatmaps, slide, top),
        "files": [(name, quote(link)) for name, link in (files or {}).items()],
        "made": _made(document, heatmaps, scaling),
        "back": back and quote(back),
    }
    page = environment().get_template("mil_slide.html.j2").render(context)
    make_folder(target.parent)
    write_text(target, page)
    return target


def _facts(prediction: SlidePrediction, document: Mapping[str, Any]) -> list[str]:
    facts = [counted(prediction.tiles, "tile"), counted(len(prediction.members), "member")]
    if prediction.patient != prediction.slide:
        facts.insert(0, f"patient {prediction.patient}")
    if "model" in document:
        facts.append(model_words(str(document["model"])))
    if named := model_named(document):
        facts.append(f"model {named}")
    if prediction.fold is not None:
        facts.append(f"tested in fold {prediction.fold}, by members that had not seen it")
    return facts


def _alerts(prediction: SlidePrediction, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return this slide's alert and the document's, without that which says the same of many."""
    own = _own_alerts(prediction)
    told = document.get("alerts", ())
    return [*own, *(one for one in told if not own or one.get("code") != UNLIKE)]


def _own_alerts(prediction: SlidePrediction) -> list[dict[str, str]]:
    outlier = prediction.outlier
    if outlier is None or not outlier.outside:
        return []
    said = f"This slide is unlike those of the training, so the model may be wrong: {outlier.said}"
    return [{"code": "outlier", "severity": "error", "message": said}]


def _chart(prediction: SlidePrediction) -> Picture:
    several = len(prediction.members) > 1
    told = "; line: SD over members, dots: members" if several else "; one member, so no spread"
    said = ", ".join(f"{name} {value:.3f}" for name, value in prediction.probabilities.items())
    return Picture(
        probability_chart(prediction),
        f"Probabilities: {said}",
        f"Probability of each class: mean of the members{told}. The spread says how far training "
        "again would move the answer, not how far it is from the truth.",
    )


def _maps(heatmaps: Sequence[Heatmap], slide: Slide | None, scaling: Scaling) -> list[Picture]:
    overview = overview_of(slide) if slide is not None and heatmaps else None
    found = []
    for number, heat in enumerate(heatmaps):
        sheet = heatmap_sheet(heat, slide, overview=overview, scaling=scaling, beside=number == 0)
        towards = f" towards {heat.target}" if heat.target else ""
        found.append(
            Picture(
                sheet.svg(),
                f"Heatmap{towards} of {len(heat):,} tiles",
                f"{heat.what}{towards}. Numbers under the scale are raw scores; colours show the "
                f"{SCALINGS[scaling]}.",
            )
        )
    return found


def _sheets(heatmaps: Sequence[Heatmap], slide: Slide | None, top: int) -> list[Picture]:
    if slide is None or not heatmaps:
        return []
    found: TopTiles = top_tiles(heatmaps[0], slide, top)
    towards = f" towards {heatmaps[0].target}" if heatmaps[0].target else ""
    made = []
    sides = (("Highest", found.highest, top), ("Lowest", found.lowest, max(1, top // 2)))
    for words, all_tiles, most in sides:
        if tiles := all_tiles[:most]:
            made.append(
                Picture(
                    contact_sheet(tiles).svg(),
                    f"{words} {counted(len(tiles), 'tile')}",
                    f"{words} scores{towards}: {_found(tiles, most)}. Shown at "
                    f"{tiles[0].mpp:.3g} µm/px; neighbours of a tile already shown are left out. "
                    "Below each: raw score, rank, corner in level-0 pixels.",
                )
            )
    return made


def _found(tiles: Sequence[TopTile], most: int) -> str:
    """Say how many tiles were found; a full list says nothing of those behind it."""
    count = counted(len(tiles), "tile")
    if LOW_RANK < tiles[0].rank < HIGH_RANK:
        # Only where scores are equal, or on a slide of one tile.
        return f"{count}; none stands out"
    return count if len(tiles) == most else f"{count}; no other stands out"


def _made(
    document: Mapping[str, Any], heatmaps: Sequence[Heatmap], scaling: Scaling
) -> list[tuple[str, str]]:
    rows = named_rows(document, ("model", "task", "herscope"))
    rows += [(f"encoder {name}", text) for name, text in encoder_rows(document.get("encoder", {}))]
    if heatmaps:
        heat = heatmaps[0]
        size = f"{heat.tile_px:g} level-0 px"
        rows.append(
            ("tile", size if heat.mpp is None else f"{size}, {heat.tile_px * heat.mpp:.4g} µm")
        )
        rows.append(("colours", SCALINGS[scaling]))
    return rows
