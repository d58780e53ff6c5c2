"""One slide as one self-contained page: ``report.html``.

Everything is inlined (pictures as data URIs, the style sheet, no script), and a content security
policy in the page forbids the browser to fetch anything, so the page can be mailed, archived and
opened from disk for ever. All text is escaped by the template engine: slide names and messages are
data, never markup. The order is the reader's: alerts, the numbers with their intervals, pictures,
every count, and how it was made.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import write_text
from herscope.report import charts, figures, her2, words
from herscope.report.examples import COLUMNS as EXAMPLE_COLUMNS
from herscope.report.folder import (
    TILE_COLUMNS,
    load_json,
    load_overview,
    load_regions,
    load_result,
    load_table,
)
from herscope.report.palette import (
    COMPARTMENT_COLORS,
    COMPARTMENTS,
    GRADE_COLORS,
    GRADE_WORDS,
    GRADES,
    marker_words,
    percent_first,
    primary_compartment,
)
from herscope.score.result import SlideResult

if TYPE_CHECKING:
    from herscope.measure.completeness import CompletenessSpec

RESEARCH_ONLY = "Research use only. Not for diagnosis or treatment decisions."
Cuts = tuple[float, float, float]


def write_slide_report(
    folder: Path,
    *,
    cuts: Cuts | None = None,
    title: str | None = None,
) -> Path:
    """Write ``report.html`` into a slide folder from the files that stand there.

    Parameters
    ----------
    folder
        ``RUN/slides/<name>``.
    cuts
        The OD cut-offs between grades 0, 1+, 2+ and 3+, rising. When absent they are taken from
        ``RUN/run.json``; the page says so where that does not record them either.
    title
        Heading; the slide's name when absent.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    NotComputed, SchemaError
        A file of the folder is missing or broken.
    InputError
        The cut-offs do not rise from zero.
    OutputError
        The page cannot be written.
    """
    folder = Path(folder)
    result = load_result(folder)
    run = load_json(folder.parent.parent / "run.json")
    cuts = cuts or (result.cutoffs.od if result.cutoffs else recorded_cuts(run))
    if cuts is not None and not 0 < cuts[0] < cuts[1] < cuts[2]:
        raise InputError(
            f"cut-offs {cuts} do not rise from zero", hint="give three, such as 0.2 0.4 0.6"
        )
    tiles = load_table(folder / "tiles.parquet", TILE_COLUMNS)
    context = {
        "title": title or result.slide.name,
        "result": result,
        "marker": marker_words(result.marker),
        "alerts": words.severity_order(result.alerts),
        "by_model": result.compartments["all"].h_score_model,
        "cards": [_card(result, name) for name in _order(result)],
        "names": _order(result),
        "her2": her2.her2_context(result.her2),
        "membrane": her2.membrane_context(folder, result, cuts, _shares_of(result)),
        "swatches": _swatches(result),
        "cuts": cuts,
        "overflow": any(part.od_histogram[255] for part in result.compartments.values()),
        "grades": list(zip(range(4), GRADES, GRADE_WORDS, GRADE_COLORS, strict=True)),
        **_pictures(folder, result, tiles),
        "histogram": uri(
            charts.od_histogram_chart(
                {name: result.compartments[name].od_histogram for name in _apart(result)}, cuts
            )
        ),
        "shares": uri(_shares(result, tiles)) if result.compartments["all"].cells else "",
        "examples": _examples(folder / "examples.parquet"),
    }
    page = environment().get_template("slide.html.j2").render(context)
    write_text(folder / "report.html", page)
    return folder / "report.html"


def recorded_cuts(document: Any) -> Cuts | None:
    """Return the cut-offs that a run's ``run.json`` records in its Spec; ``None`` without them.

    Examples
    --------
    >>> recorded_cuts({"spec": {"grades": {"profile": "own", "cuts": [0.1, 0.3, 0.5]}}})
    (0.1, 0.3, 0.5)
    """
    try:
        grades = document["spec"]["grades"]
        found = grades["cuts"] or _profile_cuts(grades["profile"])
        first, second, third = (float(cut) for cut in found)
    except (KeyError, TypeError, ValueError):
        return None
    return first, second, third


def _shares_of(result: SlideResult) -> CompletenessSpec | None:
    from herscope.measure.completeness import CompletenessSpec

    return CompletenessSpec(**result.membrane.shares) if result.membrane else None


def _profile_cuts(name: str) -> Cuts:
    from herscope.measure.intensity import CUT_PROFILES

    return CUT_PROFILES[name].cuts


@cache
def environment() -> Any:
    """Return the template engine: escaping always on, an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    engine = Environment(
        loader=PackageLoader("herscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters |= {
        "number": words.number,
        "interval": words.interval,
        "alert_number": words.alert_number,
        "svg": uri,
    }
    engine.globals |= {
        "compartments": COMPARTMENTS,
        "why_missing": words.why_missing,
        "why_no_interval": words.why_no_interval,
        "research_only": RESEARCH_ONLY,
        "not_computed": words.NOT_COMPUTED,
    }
    return engine


def uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """Return a picture as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _order(result: SlideResult) -> list[Any]:
    return [name for name in COMPARTMENTS if name in result.compartments]


def _apart(result: SlideResult) -> list[Any]:
    """Compartments that do not contain one another, for charts; ``all`` when it stands alone."""
    names = [name for name in _order(result) if name != "all"]
    return names or ["all"]


def _card(result: SlideResult, name: Any) -> dict[str, Any]:
    compartment = result.compartments[name]
    score = {
        "words": "H-score",
        "unit": "",
        "value": compartment.h_score.value,
        "ci95": compartment.h_score.ci95,
        "of": "of 300",
    }
    positive = {
        "words": "Positive cells",
        "unit": " %",
        "value": compartment.positive_percent.value,
        "ci95": compartment.positive_percent.ci95,
        "of": "",
    }
    big, small = (positive, score) if percent_first(result.marker) else (score, positive)
    return {
        "name": name,
        "words": COMPARTMENTS[name],
        "color": COMPARTMENT_COLORS[name],
        "primary": name == primary_compartment(result),
        "compartment": compartment,
        "big": big,
        "small": small,
    }


def _pictures(folder: Path, result: SlideResult, tiles: Any) -> dict[str, Any]:
    rgb, regions = load_overview(folder), load_regions(folder)
    wide, mpp = result.slide.width_px, result.slide.mpp
    subject = primary_compartment(result)
    columns = {name: tiles[name].to_numpy() for name in TILE_COLUMNS if name != "compartment"}
    grid, cells = _cells_per_tile(columns, tiles["compartment"].to_pylist(), subject)
    by_percent = percent_first(result.marker)
    total = np.maximum(cells.sum(axis=1), 1)
    score = cells[:, 1:].sum(axis=1) if by_percent else cells @ np.arange(4)
    values = np.where(cells.sum(axis=1) > 0, 100.0 * score / total, np.nan)
    limit = 100 if by_percent else 300
    return {
        "overview": uri(figures.overview_figure(rgb, regions, slide_width_px=wide, mpp=mpp)),
        "legend": figures.legend_of(regions),
        "tile_map": uri(
            figures.tile_map_figure(rgb, grid, values, limit=limit, slide_width_px=wide, mpp=mpp)
        ),
        "tile_map_words": ("% positive cells" if by_percent else "H-score")
        + f" per tile, {COMPARTMENTS[subject].lower()}",
        "tile_map_limit": limit,
        "tile_map_tiles": int(np.isfinite(values).sum()),
        "ramp": figures.score_ramp_css(),
    }


def _cells_per_tile(
    columns: dict[str, NDArray[Any]], names: Sequence[str], subject: str
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Distinct tiles and their (tile, 4) cells of ``subject``; ``all`` adds up the parts."""
    kinds = np.asarray(names, dtype=object)
    if subject == "all" and not (kinds == "all").any():
        keep = np.arange(kinds.size)
    else:
        keep = np.flatnonzero(kinds == subject)
    counts = np.stack([columns[f"n{grade}"][keep] for grade in range(4)], axis=1).astype(np.int64)
    corners = np.stack([columns["x_px"][keep], columns["y_px"][keep]], axis=1)
    _, first, which = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    cells = np.zeros((first.size, 4), dtype=np.int64)
    np.add.at(cells, which.ravel(), counts)
    place = ("x_px", "y_px", "width_px", "height_px")
    return {name: columns[name][keep][first] for name in place}, cells


def _shares(result: SlideResult, tiles: Any) -> bytes:
    columns = {name: tiles[name].to_numpy() for name in TILE_COLUMNS if name != "compartment"}
    names = tiles["compartment"].to_pylist()
    shown = _apart(result)
    return charts.grade_chart(
        {name: result.compartments[name].counts for name in shown},
        {name: charts.share_intervals(_cells_per_tile(columns, names, name)[1]) for name in shown},
    )


def _examples(path: Path) -> str:
    if not path.is_file():
        return ""
    rows = load_table(path, EXAMPLE_COLUMNS).to_pylist()
    return uri(figures.example_sheet(rows)) if rows else ""


def _swatches(result: SlideResult) -> list[tuple[str, str, str]]:
    """Each stain's words, vector and colour at 0.8 OD on this slide's own white."""
    white = np.asarray(result.stains.white_point)
    found = []
    for name, vector in (
        ("Hematoxylin", result.stains.hematoxylin),
        ("DAB", result.stains.dab),
    ):
        rgb = np.clip(white * 10.0 ** (-0.8 * np.asarray(vector)), 0, 255).round().astype(int)
        found.append(
            (name, ", ".join(f"{part:.3f}" for part in vector), f"rgb{tuple(rgb.tolist())}")
        )
    return found
