"""``herscope mil fit``: train and test a slide-level model; options are the fields of Specs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.mil.kat_sample import KatSpec
from herscope.mil.pooling import PoolingSpec
from herscope.mil.preparing import Reading
from herscope.mil.slidegraph import SlideGraphSpec
from herscope.mil.training_spec import MilSpec
from herscope.recipes.mil_cohort import LabelSpec

SPEC, LABELS = MilSpec.model_validate({}), LabelSpec.model_validate({})
READING = Reading.model_validate({})
KAT, GRAPH, POOLING = KatSpec(), SlideGraphSpec(), PoolingSpec()


def fit(
    labels: Path,
    /,
    *,
    features: Path,
    out: Path,
    model: Literal["kat", "slidegraph", "abmil", "mean", "max"] = "kat",
    label: Annotated[LabelSpec, Parameter(name="*", negative="")] = LABELS,
    spec: Annotated[MilSpec, Parameter(name="*", negative="")] = SPEC,
    kat: Annotated[KatSpec, Parameter(name="kat", negative="")] = KAT,
    slidegraph: Annotated[SlideGraphSpec, Parameter(name="slidegraph", negative="")] = GRAPH,
    pooling: Annotated[PoolingSpec, Parameter(name="pooling", negative="")] = POOLING,
    reading: Annotated[Reading, Parameter(name="*", negative="")] = READING,
    workers: int | None = None,
    threads: int = 1,
    licence: str = "LicenseRef-private",
    resume: Flag = False,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Train a slide-level model with cross-validation by patient, or against held-out patients.

    Parameters
    ----------
    labels
        CSV or Parquet: a row a slide (or a patient) with its label; TCGA's clinical table as it is.
    features
        Folder that herscope embed wrote, or one of TRIDENT, CLAM or STAMP feature files.
    out
        Folder of the model, its predictions, its curves and its page.
    model
        kat, slidegraph, abmil (gated attention); mean and max are what they must beat.
    workers
        Members trained at once; one a core when absent. It does not change the result.
    threads
        Processor threads of each member. Equal seeds give equal bits only with equal threads.
    licence
        SPDX name of the licence for the model.
    resume
        Go on with a training that was cut off.
    force
        Replace a model that is there.
    """
    from herscope.recipes.mil_fit import fit_mil

    _refuse_others(model, {"kat": kat, "slidegraph": slidegraph, "pooling": pooling})
    own = {"kat": kat, "slidegraph": slidegraph}.get(model, pooling)
    document = fit_mil(
        labels,
        features,
        out,
        model,
        model_spec=own,
        spec=spec,
        label_spec=label,
        reading=reading,
        workers=workers,
        threads=threads,
        licence=licence,
        resume=resume,
        force=force,
    )
    return Outcome(document, [] if common.json else said(document))


def _refuse_others(model: str, given: dict[str, Spec]) -> None:
    """Refuse options that the model does not have, instead of leaving them unused."""
    own = model if model in given else "pooling"
    usual = {"kat": KAT, "slidegraph": GRAPH, "pooling": POOLING}
    for family, spec in given.items():
        changed = list(spec.differences(usual[family]))
        if model in {"mean", "max"} and family == "pooling" and "pooling" in changed:
            raise InputError(
                f"--model {model} and --pooling.pooling contradict each other",
                hint="leave --pooling.pooling out, or take --model abmil",
            )
        if family != own and changed:
            option = changed[0].replace("_", "-")
            raise InputError(
                f"--{family}.{option} says nothing to --model {model}",
                hint=f"its own options begin with --{own}.",
            )


def said(document: dict[str, Any]) -> list[Any]:
    """Return the figures for people."""
    lines = [f"{document['model']}: {document['slides']} slides of {document['patients']} patients"]
    lines += [f"{alert['severity']}: {alert['message']}" for alert in document["alerts"]]
    notes = "\n".join(f"note: {note}" for note in (document["caveat"], *document["notes"]))
    out = document["model_folder"]
    return ["\n".join(lines), "", figures_table(document), "", notes, f"model and page in {out}"]


def figures_table(document: dict[str, Any]) -> Any:
    """Return figures with intervals, and mean and SD over folds or members, as a table."""
    from rich.table import Table

    table = Table(document["evaluation"], "value [95 %]", "mean", "SD", box=None, pad_edge=False)
    for name, value, name_over in _rows(document["figures"]):
        each = document["over_folds"].get(name_over, {})
        spread = (f"{each[k]:.3f}" if each.get(k) is not None else "-" for k in ("mean", "sd"))
        table.add_row(name, value, *spread)
    return table


def _rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return words, value with interval, and what the figure is called over folds."""
    if figures["positive"] is None:
        auc = figures["auc"].get("macro one-vs-rest")
    else:
        one = figures["classes"][figures["positive"]]
        auc = one["auc_delong"] or one["auc_bootstrap"]
    rows = {
        "accuracy": (figures["accuracy"], "accuracy"),
        "majority-class rate": (figures["majority_class_rate"], "majority-class rate"),
        "F1 macro": (figures["f1"]["macro"], "F1 macro"),
        "AUC": (auc, "AUC macro one-vs-rest"),
    }
    return [(name, _estimate(value), over) for name, (value, over) in rows.items()]


def _estimate(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "undefined"
    ends = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{found['value']:.3f}{ends}"
