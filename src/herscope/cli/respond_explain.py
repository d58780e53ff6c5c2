"""``herscope respond explain``: what predictions rest on, a page a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome


def explain(
    model: Path,
    cohort: Path,
    /,
    *,
    out: Path,
    patient: Annotated[list[str] | None, Parameter(negative="")] = None,
    without: Annotated[list[str] | None, Parameter(negative="")] = None,
    dependence: bool | None = None,
    bags: int = 12,
    workers: int | None = None,
    cache: Path | None = None,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Explain predictions: what each part, token, bag and lesion moved.

    Parameters
    ----------
    model
        Folder that herscope respond fit finished.
    cohort
        Cohort file of the patients; of those that were trained on, members that have not seen them
        answer.
    out
        Folder for explanations, pages and index.html.
    patient
        Only this patient; may be repeated.
    without
        Part or modality treated as unknown; may be repeated.
    dependence
        Follow the risk over the levels of every token, over all patients of the file. Done unless
        --patient names some: it opens everybody's files.
    bags
        Pictures of bags a patient, where the cohort names slides.
    workers
        Processes that measure lesions; one a core when absent.
    cache
        Folder of measured lesions, found again by the content of the CT.
    force
        Write over what is there.
    """
    from herscope.cli.respond_predict import outcome
    from herscope.recipes.respond_explain import explain_response

    document = explain_response(
        model, cohort, out, patients=tuple(patient or ()), without=tuple(without or ()),
        dependence=dependence, bags=bags, workers=workers, cache=cache, force=force,
    )  # fmt: skip
    return outcome(document, json=common.json)
