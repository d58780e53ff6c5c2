"""``herscope mil predict``: what a slide-level model says of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from herscope.cli.mil_fit import LABELS, READING, figures_table
from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.mil.preparing import Reading
from herscope.recipes.mil_cohort import LabelSpec

SOME_FAILED = 3


def predict(
    *,
    model: Path,
    features: Path,
    out: Path,
    labels: Path | None = None,
    label: Annotated[LabelSpec, Parameter(name="*", negative="")] = LABELS,
    reading: Annotated[Reading, Parameter(name="*", negative="")] = READING,
    device: str = "auto",
    threads: int | None = None,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Predict slides with a model of herscope mil fit; with labels, test it on them.

    Parameters
    ----------
    model
        Folder that herscope mil fit wrote.
    features
        Feature files of the slides, made as the model's own were.
    out
        Folder for predictions.csv, result.json and the page.
    labels
        Label table of these slides, for an external test; the task is the model's.
    device
        auto, cpu or cuda.
    threads
        Processor threads; all that this process may use when absent.
    force
        Replace predictions that are there.
    """
    from herscope.recipes.mil_predict import predict_mil

    document = predict_mil(
        model,
        features,
        out,
        labels=labels,
        label_spec=label,
        reading=reading,
        device=device,
        threads=threads,
        force=force,
    )
    code = SOME_FAILED if document["failures"] else 0
    return Outcome(document, [] if common.json else _said(document, out), code)


def _said(document: dict[str, Any], out: Path) -> list[Any]:
    from rich.table import Table

    table = Table("slide", "predicted", box=None, pad_edge=False)
    for name in document["classes"]:
        table.add_column(name, justify="right")
    for one in document["slides"]:
        shares = (f"{one['probabilities'][name]:.2f}" for name in document["classes"])
        table.add_row(one["slide"], one["predicted"], *shares)
    lines = [f"{alert['severity']}: {alert['message']}" for alert in document["alerts"]]
    lines += [f"failed {name}: {why['message']}" for name, why in document["failures"].items()]
    lines += [f"note: {note}" for note in (document["caveat"], *document["notes"])]
    judged = [figures_table(document), ""] if "figures" in document else []
    return [table, "", *judged, "\n".join([*lines, f"predictions and page in {out}"])]
