"""The run as one table and one page: ``cohort.csv``, ``cohort.parquet``, ``index.html``.

One row a slide, failed slides included with their message and what to do next, so that a table of
a trial never loses a slide in silence. Null numbers are empty cells in the CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from herscope.core.errors import HerscopeError
from herscope.core.store import write_parquet, write_text
from herscope.report import charts, figures
from herscope.report.folder import load_json, load_overview, load_result, slide_folders
from herscope.report.her2 import percent_words
from herscope.report.html import environment, uri
from herscope.report.palette import COMPARTMENTS, marker_words, percent_first
from herscope.score.result import SlideResult

PARTS = tuple(COMPARTMENTS)
TEXT = ("error", "message", "hint", "stage", "mpp_source", "reading_category",
        "her2_score", "her2_status", "her2_rule", "her2_borderline",
        "hscore_model", "herscope", "spec_fingerprint")  # fmt: skip
PART_INTEGERS = ("cells", "n0", "n1", "n2", "n3",
                 "allred_proportion", "allred_intensity", "allred_total")  # fmt: skip
PART_FLOATS = ("area_mm2", "h_score", "h_score_low", "h_score_high", "positive_percent",
               "positive_percent_low", "positive_percent_high", "h_score_pixel",
               "h_score_model")  # fmt: skip
MEMBRANE = ("complete_intense_percent", "complete_moderate_percent", "complete_weak_percent",
            "incomplete_moderate_percent", "incomplete_faint_percent", "none_percent",
            "pcms_percent")  # fmt: skip
NO_PAGE: dict[str, Any] = {"thumbnail": "", "link": "", "alerts": []}
ALERTS = ("alerts_error", "alerts_warning", "alerts_note")


def columns() -> dict[str, type]:
    """Return the cohort table's columns in order, each with the type of its values."""
    kinds: dict[str, type] = {"name": str, "status": str, "marker": str}
    for part in PARTS:
        kinds |= {f"{part}_{name}": float for name in PART_FLOATS}
        kinds |= {f"{part}_{name}": int for name in PART_INTEGERS}
    kinds |= {"tumor_cell_fraction": float, "tumor_area_fraction": float, "reading_value": float}
    kinds |= {f"membrane_{name}": float for name in MEMBRANE} | {"her2_probability": float}
    kinds |= dict.fromkeys(ALERTS, int) | {"mpp": float}
    return kinds | dict.fromkeys(TEXT, str)


def write_cohort(run: Path) -> None:
    """Write ``cohort.csv``, ``cohort.parquet`` and ``index.html`` of a run.

    Parameters
    ----------
    run
        The folder of a run: ``slides/``, and ``failures.json`` where slides failed.

    Raises
    ------
    InputError
        ``run`` is no run.
    SchemaError
        ``failures.json`` is broken.
    OutputError
        The files cannot be written.
    """
    run = Path(run)
    rows, pages = _collect(run)
    _write_csv(rows, run / "cohort.csv")
    _write_parquet(rows, run / "cohort.parquet")
    page = (
        environment()
        .get_template("index.html.j2")
        .render(
            rows=[
                (dict.fromkeys(columns()) | row, pages.get(row["name"], NO_PAGE)) for row in rows
            ],
            done=sum(row["status"] == "done" for row in rows),
            failed=[row for row in rows if row["status"] == "failed"],
            waiting=[row for row in rows if row["status"] not in {"done", "failed"}],
            charts=_charts(rows),
            parts=[part for part in PARTS if any(row.get(f"{part}_cells") for row in rows)],
            marker_words=marker_words,
            any_her2=any(row.get("her2_score") for row in rows),
            hscore_models=sorted({row["hscore_model"] for row in rows if row.get("hscore_model")}),
            hscore_notes=_hscore_notes(pages),
            percent_words=percent_words,
        )
    )
    write_text(run / "index.html", page)


def row_of(result: SlideResult, name: str) -> dict[str, Any]:
    """Return one scored slide's row of the cohort table (columns as :func:`columns`)."""
    row: dict[str, Any] = {"name": name, "status": "done", "marker": result.marker}
    for part, compartment in result.compartments.items():
        score, positive = compartment.h_score, compartment.positive_percent
        by_model = compartment.h_score_model
        low, high = score.ci95 or (None, None)
        positive_low, positive_high = positive.ci95 or (None, None)
        values = (compartment.area_mm2, score.value, low, high, positive.value, positive_low,
                  positive_high, compartment.h_score_pixel.value,
                  by_model and by_model.value)  # fmt: skip
        allred = compartment.allred
        counts = (compartment.cells, *compartment.counts,
                  allred.proportion, allred.intensity, allred.total)  # fmt: skip
        for names, found in ((PART_FLOATS, values), (PART_INTEGERS, counts)):
            row |= {f"{part}_{n}": v for n, v in zip(names, found, strict=True)}
    row |= result.cellularity.model_dump()
    if result.reading is not None:
        row |= {"reading_value": result.reading.value, "reading_category": result.reading.category}
    if result.membrane is not None:
        row |= {f"membrane_{name}": getattr(result.membrane, name) for name in MEMBRANE}
    if result.her2 is not None:
        row |= {
            f"her2_{key}": _text(getattr(result.her2, key)) for key in ("score", "status", "rule")
        }
        row["her2_borderline"] = "yes" if result.her2.borderline else "no"
        row["her2_probability"] = (result.her2.probability or {}).get(result.her2.score)
    for kind in ALERTS:
        row[kind] = sum(f"alerts_{alert.severity}" == kind for alert in result.alerts)
    return row | {
        "mpp": result.slide.mpp,
        "mpp_source": result.slide.mpp_source,
        "hscore_model": result.provenance.models.get("hscore"),
        "herscope": result.provenance.herscope,
        "spec_fingerprint": result.provenance.spec_fingerprint,
    }


def _collect(run: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows in the order of names, and what the page needs beside them."""
    failures = load_json(run / "failures.json") or {}
    found: dict[str, dict[str, Any]] = {}
    pages: dict[str, dict[str, Any]] = {}
    for folder in slide_folders(run):
        if folder.name in failures:
            continue
        if not (folder / "result.json").is_file():
            found[folder.name] = {"name": folder.name, "status": _state(folder)}
            continue
        try:
            result = load_result(folder)
            found[folder.name] = row_of(result, folder.name)
            pages[folder.name] = _page(folder, result)
        except HerscopeError as bad:
            found[folder.name] = _failed(
                folder.name,
                {"error": type(bad).__name__, "message": bad.message, "hint": bad.hint,
                 "stage": "report"},
            )  # fmt: skip
    for name, failure in failures.items():
        found[name] = _failed(name, failure)
    return [found[name] for name in sorted(found)], pages


def _failed(name: str, failure: Mapping[str, Any]) -> dict[str, Any]:
    words = {key: _text(failure.get(key)) for key in ("error", "message", "hint", "stage")}
    return {"name": name, "status": "failed", **words}


def _state(folder: Path) -> str:
    """Stage of a slide that has no result yet, as ``state.json`` tells it."""
    try:
        document = load_json(folder / "state.json")
    except HerscopeError:
        return "unknown"
    found = document.get("status") if isinstance(document, dict) else None
    # "done" without a result document is not done.
    return "unknown" if found in {None, "done"} else str(found)


def _page(folder: Path, result: SlideResult) -> dict[str, Any]:
    report = folder / "report.html"
    return {
        "thumbnail": _thumbnail(folder),
        "link": f"slides/{quote(folder.name)}/report.html" if report.is_file() else "",
        "alerts": [alert.message for alert in result.alerts if alert.severity == "error"],
        "hscore": [alert.message for alert in result.alerts if alert.code == "predicted-h-score"],
    }


def _hscore_notes(pages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the slides say of their H-score models, each sentence once."""
    return sorted({said for page in pages.values() for said in page["hscore"]})


def _thumbnail(folder: Path) -> str:
    """Return the picture of a row; empty where it is broken, for the numbers do not need it."""
    try:
        return uri(figures.thumbnail(load_overview(folder)), "image/jpeg")
    except HerscopeError:
        return ""


def _charts(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """One chart a marker: H-scores of different markers do not belong on one axis."""
    made = []
    done = [row for row in rows if row["status"] == "done"]
    for marker in sorted({row["marker"] for row in done}):
        mine = [row for row in done if row["marker"] == marker]
        key = "positive_percent" if percent_first(marker) else "h_score"
        unit, limit = ("positive cells, %", 100) if percent_first(marker) else ("H-score", 300)
        points = [
            {"compartment": part, "value": row[f"{part}_{key}"], "low": row[f"{part}_{key}_low"],
             "high": row[f"{part}_{key}_high"], "doubt": row["alerts_error"] > 0}
            for row in mine
            for part in (("tumor", "stroma") if "tumor_cells" in row else ("all",))
            if row.get(f"{part}_{key}") is not None
        ]  # fmt: skip
        most = max((sum(p["compartment"] == part for p in points) for part in PARTS), default=0)
        if most > 1:  # a single slide has no distribution
            chart = uri(charts.cohort_chart(points, unit=unit, limit=limit))
            made.append((marker_words(marker), unit, chart))
    return made


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    text = io.StringIO(newline="")
    names = list(columns())
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: value for name, value in row.items() if value is not None} for row in rows
    )
    write_text(path, text.getvalue())


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa

    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in columns().items()])
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))


def _text(value: Any) -> str | None:
    return None if value is None else " ".join(str(value).split())
