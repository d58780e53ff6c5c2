"""What a reader must know before relying on the membranes of a page, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from herscope.score.result import Her2, Membrane, SlideResult

if TYPE_CHECKING:
    from herscope.measure.completeness import CompletenessSpec

SHARED = (
    "Where two cells touch, the microscope shows one line. It is counted for both cells, so a "
    "stained cell lends its stain to an unstained neighbour."
)
INVASIVE = (
    " A guideline reads the invasive component only: in-situ carcinoma and normal ducts must not "
    "be among the cells."
)
ISH = "An equivocal score is no answer: ISH on the same specimen decides."


def caveats(result: SlideResult, spec: CompletenessSpec | None) -> list[tuple[str, str]]:
    """Return a lead and a sentence for each caveat that applies.

    Parameters
    ----------
    result
        A document with a ``membrane`` block.
    spec
        The shares that completeness was judged by, None when they are not recorded.
    """
    membrane, her2 = result.membrane, result.her2
    assert membrane is not None
    of_all = 100 / max(1, membrane.cells + membrane.not_evaluable)
    rim = (
        f"{_cells(membrane.without_nucleus, of_all)} with a membrane but no nucleus in this "
        "section, found by the membrane's ring."
    )
    unseen = (
        f"{_cells(membrane.not_evaluable, of_all)} left out: too little of the circumference "
        "was seen."
    )
    said = [
        ("Controls", _controls(her2)),
        ("ISH", ISH if her2 is not None and her2.status == "equivocal" else ""),
        ("Which cells", _which(membrane) + (INVASIVE if her2 is not None else "")),
        ("Shared membranes", SHARED),
        ("Cells without a nucleus", rim if membrane.without_nucleus else ""),
        ("Not evaluable", unseen if membrane.not_evaluable else ""),
        ("Words into numbers", _shares(spec)),
        ("Use", "Research use only; no pathologist has confirmed this page."),
    ]
    return [(lead, text) for lead, text in said if text]


def _cells(count: int, of_all: float) -> str:
    return f"{count:,} cell{'' if count == 1 else 's'} ({count * of_all:.1f} %)"


def _controls(her2: Her2 | None) -> str:
    state = "unknown" if her2 is None else her2.inputs.get("controls", "unknown")
    if state == "passed":
        return "Stated as passed by whoever ran this; herscope did not look at them."
    if state == "failed":
        return "Stated as failed: nothing was scored."
    return (
        "Not assessed by herscope: unknown. Without controls that stained as expected, on this "
        "slide and in its batch, no number on this page holds."
    )


def _which(membrane: Membrane) -> str:
    if membrane.compartment == "all":
        return (
            "All cells in the tissue were counted, for no compartments were given: tumour was not "
            "told from normal cells or stroma."
        )
    name = "tumour" if membrane.compartment == "tumor" else membrane.compartment
    return (
        f"Cells of the {name} compartment were counted, as it was outlined; tumour was not told "
        "from normal epithelium inside it."
    )


def _shares(spec: CompletenessSpec | None) -> str:
    told = (
        ""
        if spec is None
        else f" Here complete means at least {100 * spec.complete_share:g} % of the circumference "
        f"stained; it is as intense as {100 * spec.intensity_share:g} % of it; less than "
        f"{100 * spec.stained_share:g} % is no staining."
    )
    return (
        "No guideline says in numbers what complete, weak or intense is. These shares and the "
        "optical densities are parameters to calibrate in your laboratory." + told
    )
