"""``herscope respond predict``: response of patients, whatever is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome

REFUSED = 3
SHOWN = 40


def predict(
    model: Path,
    cohort: Path,
    /,
    *,
    out: Path,
    patient: Annotated[list[str] | None, Parameter(negative="")] = None,
    without: Annotated[list[str] | None, Parameter(negative="")] = None,
    workers: int | None = None,
    cache: Path | None = None,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Predict the response of patients by a trained model; what is missing is said.

    Parameters
    ----------
    model
        Folder that herscope respond fit finished.
    cohort
        Cohort file of the patients; outcomes may be missing.
    out
        Folder for predictions.csv, result.json and a page a patient.
    patient
        Only this patient; may be repeated.
    without
        Part or modality treated as unknown, such as radiology; may be repeated.
    workers
        Processes that measure lesions; one a core when absent.
    cache
        Folder of measured lesions, found again by the content of the CT.
    force
        Write over predictions that are there.
    """
    from herscope.recipes.respond_predict import predict_response

    document = predict_response(
        model, cohort, out, without=tuple(without or ()), patients=tuple(patient or ()),
        workers=workers, cache=cache, force=force,
    )  # fmt: skip
    return outcome(document, json=common.json)


def outcome(document: dict[str, Any], *, json: bool) -> Outcome:
    """Turn the document of a call into its table and exit code."""
    code = REFUSED if document["refused"] else 0
    if json:
        return Outcome(document, [], code)
    lines = [f"{who}: {why}" for who, why in document["refused"].items()]
    lines += [f"note: {note}" for note in document["notes"]]
    lines.append(f"a page a patient in {document['folder']}")
    return Outcome(document, [_table(document["patients"]), "\n".join(lines)], code)


def _table(patients: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("patient", box=None, pad_edge=False)
    table.add_column("response [5 to 95 % of members]", justify="right")
    for head in ("group", "missing"):
        table.add_column(head)
    for one in patients[:SHOWN]:
        table.add_row(
            one["patient"],
            f"{one['probability']:.2f}{_range(one)}",
            one["group"],
            ", ".join(one["missing"]) or "nothing",
        )
    if len(patients) > SHOWN:
        table.add_row(f"and {len(patients) - SHOWN} more in predictions.csv")
    return table


def _range(one: dict[str, Any]) -> str:
    if one["low"] is None:
        return " (one member)"
    return f" [{one['low']:.2f}, {one['high']:.2f}]"
