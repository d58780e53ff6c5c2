"""``herscope respond fit``: train and test a model of response; options are fields of Specs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.loss_spec import LossSpec
from herscope.respond.pathology.bag_spec import BagSpec
from herscope.respond.radiology.patient_lesions import PatientLesionSpec
from herscope.respond.training.spec import RespondSpec

NETWORK = FusionSpec.model_validate({})
SPEC, LOSS = RespondSpec.model_validate({}), LossSpec.model_validate({})
BAGS, LESIONS = BagSpec.model_validate({}), PatientLesionSpec.model_validate({})


def fit(
    cohort: Path,
    /,
    *,
    out: Path,
    external: Path | None = None,
    ablation: Literal["none", "parts", "all"] = "none",
    leave_out: Annotated[list[str] | None, Parameter(negative="")] = None,
    survival: Literal["os", "pfs", "none"] = "os",
    baselines: bool = True,
    spec: Annotated[RespondSpec, Parameter(name="*")] = SPEC,
    network: Annotated[FusionSpec, Parameter(name="network")] = NETWORK,
    loss: Annotated[LossSpec, Parameter(name="loss", negative="")] = LOSS,
    bags: Annotated[BagSpec, Parameter(name="slides")] = BAGS,
    lesions: Annotated[PatientLesionSpec, Parameter(name="lesions")] = LESIONS,
    workers: int | None = None,
    cache: Path | None = None,
    threads: int = 1,
    licence: str = "LicenseRef-private",
    resume: Flag = False,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Train a model of response on a cohort, and test it on patients it has not seen.

    Parameters
    ----------
    cohort
        The cohort file, cohort.toml.
    out
        Folder of the model, its predictions and its page.
    external
        A second cohort file, whose patients are predicted by all members.
    ablation
        What else is trained on the same folds: parts (without and with each part alone), or all
        (other ways of joining and other losses as well).
    leave_out
        Part or modality that nobody is given, such as radiology or patient; may be repeated.
    survival
        Which follow-up the survival loss uses: os, pfs or none.
    baselines
        Logistic regression, gradient-boosted trees and Cox on the tokens, on the same folds.
    workers
        Members trained at once; one a core when absent. It does not change the result.
    cache
        Folder of measured lesions, kept for later calls and found again by the content of the CT.
    threads
        Processor threads of each member. Equal seeds give equal bits only with equal threads.
    licence
        SPDX name of the licence for the model.
    resume
        Go on with a training that was cut off.
    force
        Replace a model that is there.
    """
    from herscope.recipes.respond_fit import fit_response
    from herscope.recipes.respond_patients import PreparationSpec

    document = fit_response(
        cohort,
        out,
        spec=spec,
        network=network,
        loss=loss,
        preparation=PreparationSpec(bags=bags, lesions=lesions),
        survival=survival,
        leave_out=tuple(leave_out or ()),
        ablation=ablation,
        baselines=baselines,
        external=external,
        workers=workers,
        cache=cache,
        threads=threads,
        licence=licence,
        resume=resume,
        force=force,
    )
    return Outcome(document, [] if common.json else said(document))


def said(document: dict[str, Any]) -> list[Any]:
    """Return the figures for people."""
    cohort, design = document["cohort"], document["design"]
    labels = f"{cohort['labelled']:,} labelled patients, {cohort['responders']:,} with a response"
    lines = [
        f"{cohort['name']}: {labels}",
        f"{design['evaluation']}: {design['method']}",
    ]
    lines += [f"{one['severity']}: {one['message']}" for one in document["alerts"]]
    after = [f"note: {note}" for note in document["notes"]]
    after.append(f"model and page in {document['model_folder']}")
    external = document["external"]
    if external is not None:
        told = estimate((external["figures"]["auc"] or {}).get("delong"))
        whole = f"{external['name']}: {external['patients']} patients, AUC {told}"
        after.insert(0, f"external, {whole}")
    return ["\n".join(lines), "", models_table(document["models"]), "", "\n".join(after)]


def models_table(models: list[dict[str, Any]]) -> Any:
    """Return all models with AUC, its spread and the difference from the whole model."""
    from rich.table import Table

    table = Table("model", box=None, pad_edge=False)
    for head in ("AUC [95 %]", "SD over repeats", "within folds", "against the whole"):
        table.add_column(head, justify="right")
    for one in models:
        table.add_row(
            one["name"],
            estimate(one["auc"]),
            number(one["auc_sd_over_repeats"]),
            number(one["auc_within_folds"]),
            "" if one["kind"] == "full" else estimate(one["difference"], signed=True),
        )
    return table


def estimate(found: dict[str, Any] | None, *, signed: bool = False) -> str:
    """Return a value with its interval."""
    if found is None or found["value"] is None:
        return "undefined"
    form = "+.3f" if signed else ".3f"
    ends = "" if found["low"] is None else f" [{found['low']:{form}}, {found['high']:{form}}]"
    return f"{found['value']:{form}}{ends}"


def number(value: float | None) -> str:
    """Return three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"
