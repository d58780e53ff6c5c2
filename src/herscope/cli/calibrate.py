"""``herscope calibrate``: cut-offs of a laboratory from its readers' scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome


def calibrate(
    run: Path,
    readers_file: Path,
    /,
    *,
    out: Path | None = None,
    objective: Literal["kappa", "spearman", "mae"] | None = None,
    what: Literal["her2", "h-score", "positive"] | None = None,
    reader: Annotated[list[str] | None, Parameter(negative="")] = None,
    slide: str = "slide",
    patient: str | None = None,
    marker: str | None = None,
    folds: int | None = None,
    mapping: Flag = False,
    profile: str | None = None,
    seed: int = 20_260,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Fit the intensity cut-offs, and for HER2 the completeness, to readers' scores.

    Parameters
    ----------
    run
        Folder that herscope score made.
    readers_file
        CSV or Parquet with a row a slide: its name, and the scores of one or more readers.
    out
        Study file to write, for score --study; calibration.toml in the run's folder when absent.
    objective
        What to make best: kappa (quadratic weights, HER2 scores), spearman or mae (mean absolute
        error); kappa for HER2 scores and mae for numbers when absent.
    what
        What the readers gave: HER2 scores, H-scores (0 to 300) or percent positive; seen from
        marker and values when absent.
    reader
        Column of a reader; may be given several times; every other column when absent.
    slide
        Column that names the slide.
    patient
        Column that names the patient, where slides share one.
    marker
        Guideline to read by; that of the run when absent.
    folds
        Folds of the cross-validation; 5, and one a patient below 20 patients, when absent.
    mapping
        Fit a table from H-score and percentage of completely stained cells to HER2 as well.
    profile
        Name of the cut-offs; MARKER-calibrated when absent.
    seed
        Seed of folds and bootstrap.
    force
        Replace the study file.
    """
    from herscope.recipes import calibration

    del common
    document = calibration.calibrate(
        run,
        readers_file,
        out=out,
        objective=objective,
        what=what,
        readers=reader,
        slide=slide,
        patient=patient,
        marker=marker,
        folds=folds,
        mapping=mapping,
        profile=profile,
        seed=seed,
        force=force,
    )
    return Outcome(document, _said(document))


def _said(document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    told = document["figures"]
    n, people = document["n_slides"], document["n_patients"]
    head = f"{document['marker']}, {document['what']}: {n} slides"
    head += f" of {people} patients" if people != n else ""
    lines = [f"{head}, consensus of {', '.join(document['readers'])}"]
    lines += [f"warning: {text}" for text in document["warnings"]]
    lines += document["notes"]
    lines += [f"left out {name}: {why}" for name, why in document["left_out"].items()]
    lines += _readers(document)
    cuts = Table("", box=None, pad_edge=False)
    for column in ("1+ from", "2+ from", "3+ from", "complete from"):
        cuts.add_column(column, justify="right")
    her2 = document["what"] == "her2"
    for name in ("present", "calibrated"):
        found = document[name]
        share = f"{100 * found['complete_share']:g} %" if her2 else ""
        cuts.add_row(name, *(f"{cut:.2f}" for cut in found["cuts"]), share)
    plateau = document["calibrated"]["plateau"]
    spans = [f"{low:.2f}-{high:.2f}" for low, high in plateau.values()]
    cuts.add_row("as good", *spans, *[""] * (4 - len(spans)))
    grid = Table(document["objective"], box=None, pad_edge=False)
    grid.add_column("", justify="right")
    for key, label in _LABELS.items():
        grid.add_row(label, "undefined" if told[key] is None else f"{told[key]:.3f}")
    parts: list[Any] = ["\n".join(lines), "", cuts, "", grid, ""]
    parts += [document["folds"]["method"], document["verdict"]]
    if document["mapping"] is not None:
        parts += ["", *_mapping(document["mapping"])]
    return [*parts, f"written to {document['file']}"]


_LABELS = {
    "present": "present cut-offs",
    "apparent": "fitted, same slides",
    "cross_validated": "fitted, slides not seen",
    "optimism": "optimism (overfitting)",
}


def _readers(document: dict[str, Any]) -> list[str]:
    found = document["readers_agreement"]
    if found is None:
        return []
    if "why_not" in found:
        return [f"readers among themselves: {found['why_not']}"]
    told = [
        f"{row['name']} {row['value']:.3f}"
        for row in found["coefficients"].values()
        if row["value"] is not None
    ]
    return [f"readers among themselves, {found['n']} slides: {'; '.join(told[:4])}"]


def _mapping(mapping: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    boxes = Table("HER2", "H-score", "complete %", box=None, pad_edge=False)
    for box in mapping["boxes"]:
        spans = (f"{low:g} to {high:g}" for low, high in (box["h_score"], box["pcms_percent"]))
        boxes.add_row(box["score"], *spans)
    grid = Table("slides not seen", "accuracy", "kappa", box=None, pad_edge=False)
    rows = {"mapping": "cross_validated", "guideline's rule": "rule_cross_validated"}
    for label, key in rows.items():
        kappa = mapping[key]["kappa"]["value"]
        shown = "undefined" if kappa is None else f"{kappa:.3f}"
        grid.add_row(label, f"{mapping[key]['accuracy']['value']:.3f}", shown)
    return [boxes, "", grid]
