"""``herscope score``: the main command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome

if TYPE_CHECKING:
    from herscope.run.many import Run

Marker = Literal[
    "her2-breast",
    "her2-gastric-resection",
    "her2-gastric-biopsy",
    "her2-colorectal",
    "er",
    "pr",
    "ki67",
    "pdl1",
    "membrane",
    "nuclear",
    "cytoplasmic",
]
_LISTED = 40
_LISTED_FAILURES = 5
_LISTED_ALERTS = 10


def score(
    slides: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path,
    marker: Marker | None = None,
    compartments: str = "none",
    nuclei: str | None = None,
    hscore: str | None = None,
    engine: Literal["onnx", "openvino"] | None = None,
    precision: Literal["float32", "bf16", "int8"] | None = None,
    mpp: str | None = None,
    override_mpp: float | None = None,
    stains: Path | None = None,
    study: Path | None = None,
    workers: int | None = None,
    shard: str = "1/1",
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Score slides: H-scores with intervals per compartment, alerts, report.

    Finished slides are kept: the same command again goes on where it was stopped.

    Parameters
    ----------
    slides
        Slide files, folders or quoted patterns.
    out
        Folder of the run; made when it does not exist.
    marker
        What is stained; that of the study file when absent.
    compartments
        none, nests (epithelial nests by the shape of nuclei), annotations.geojson, a folder of
        <slide name>.geojson, or a compartment model, by its folder or its name.
    nuclei
        How nuclei are found: classical (when absent), or a nuclei model, by its folder or its name.
    hscore
        An H-score model, by its folder or its name: a second H-score beside the counted ones. none
        takes back what the study file says.
    engine
        What computes networks: onnx (when absent), or openvino (extra fast).
    precision
        Of networks: float32 (when absent); bf16 and int8 are faster, where they can be had.
    mpp
        µm/px for files that state none, or a CSV with the columns slide,mpp.
    override_mpp
        µm/px for files that state it wrong.
    stains
        Stain vectors of the whole study.
    study
        Parameters as herscope init writes them.
    workers
        Processes; one a core when absent.
    shard
        i/n: score every n-th slide, beginning with the i-th.
    force
        Score again what is there, also with other parameters.
    """
    from herscope import recipes
    from herscope.run import progress

    del common
    spec = recipes.make_spec(
        study=study,
        marker=marker,
        mpp=mpp,
        override_mpp=override_mpp,
        stains=stains,
        nuclei=nuclei,
        hscore=hscore,
        engine=engine,
        precision=precision,
    )
    run = recipes.score_slides(
        slides,
        out,
        spec,
        compartments=compartments,
        workers=workers,
        shard=shard,
        force=force,
        progress=progress.for_terminal(),
    )
    return outcome(run)


def outcome(run: Run) -> Outcome:
    """Turn a finished run into its document, table and exit code."""
    document = _document(run)
    failed = [name for name, slide in document["slides"].items() if slide["status"] == "failed"]
    text: list[Any] = [_table(document), *_loud(document)]
    for name in failed[:_LISTED_FAILURES]:
        failure = document["failures"][name]
        text.append(f"{name} failed: {failure['message']}")
        if failure["hint"]:
            text.append(f"  hint: {failure['hint']}")
    if len(failed) > _LISTED_FAILURES:
        more = len(failed) - _LISTED_FAILURES
        text.append(f"and {more} more failed, see {run.folder.root / 'failures.json'}")
    if run.report.busy:
        text.append(f"{len(run.report.busy)} slide(s) are being scored by another process")
    text.append(f"report: {run.folder.index}")
    return Outcome(document, text, code=3 if failed else 0)


def _loud(document: dict[str, Any]) -> list[str]:
    """Say every alert that forbids the use of a slide's numbers."""
    said = [
        f"{name}: {alert['message']}"
        for name, slide in document["slides"].items()
        for alert in (slide["result"] or {"alerts": []})["alerts"]
        if alert["severity"] == "error"
    ]
    more = len(said) - _LISTED_ALERTS
    return said[:_LISTED_ALERTS] + ([f"and {more} more, see the report"] if more > 0 else [])


def _document(run: Run) -> dict[str, Any]:
    from herscope.core.store import read_json

    slides: dict[str, Any] = {}
    for name in run.names:
        home = run.folder.slide(name)
        if name in run.report.failed:
            slides[name] = {"status": "failed", "result_path": None, "result": None}
        elif name in run.report.busy:
            slides[name] = {"status": "running", "result_path": None, "result": None}
        else:
            path = home / "result.json"
            slides[name] = {"status": "done", "result_path": str(path), "result": read_json(path)}
    return {
        "run": str(run.folder.root),
        "index": str(run.folder.index),
        "slides": slides,
        "failures": run.failures,
    }


def _table(document: dict[str, Any]) -> Any:
    from rich.table import Table

    read = any(
        slide["result"] and _reading(slide["result"]) for slide in document["slides"].values()
    )
    by_model = any(
        slide["result"] and slide["result"]["compartments"]["all"].get("h_score_model")
        for slide in document["slides"].values()
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("slide", no_wrap=True, min_width=12, overflow="ellipsis")
    table.add_column("part", no_wrap=True)
    table.add_column("H-score [95 %]", no_wrap=True)
    if by_model:
        table.add_column("by model", no_wrap=True, justify="right")
    table.add_column("positive", no_wrap=True, justify="right")
    table.add_column("cells", no_wrap=True, justify="right")
    if read:
        table.add_column("reading")
    table.add_column("alerts")
    slides = document["slides"]
    for name, slide in list(slides.items())[:_LISTED]:
        result = slide["result"]
        if result is None:
            table.add_row(name, slide["status"])
            continue
        shown = [part for part in ("tumor", "stroma") if part in result["compartments"]] or ["all"]
        for number, part in enumerate(shown):
            first = number == 0
            table.add_row(
                name if first else "",
                part,
                *_numbers(result["compartments"][part], by_model=by_model),
                *([_reading(result) if first else ""] if read else []),
                _alerts(result["alerts"]) if first else "",
            )
    if len(slides) > _LISTED:
        table.add_row(f"and {len(slides) - _LISTED} more in the report")
    return table


def _numbers(part: dict[str, Any], *, by_model: bool) -> list[str]:
    score, positive = part["h_score"], part["positive_percent"]["value"]
    said = "none" if score["value"] is None else f"{score['value']:.0f}"
    if score["ci95"]:
        said += f" [{score['ci95'][0]:.0f}, {score['ci95'][1]:.0f}]"
    model = (part.get("h_score_model") or {"value": None})["value"]
    return [
        said,
        *([("none" if model is None else f"{model:.0f}")] if by_model else []),
        "none" if positive is None else f"{positive:.1f} %",
        f"{part['cells']:,}",
    ]


def _reading(result: dict[str, Any]) -> str:
    if result.get("her2"):
        return f"HER2 {result['her2'].get('score')}"
    reading = result.get("reading")
    return str(reading["category"] or "") if reading else ""


def _alerts(alerts: list[dict[str, Any]]) -> str:
    counts = {
        severity: sum(alert["severity"] == severity for alert in alerts)
        for severity in ("error", "warning", "note")
    }
    said = [f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n]
    return ", ".join(said)
