"""The words of a drawn patient's reports, as a table of a hospital would have them.

Columns are those of the token sets of :mod:`herscope.respond.cohort`. What the radiology report
says agrees with the lesions that were drawn: a stomach lesion is a primary lesion, a peritoneal one
is a peritoneal metastasis, metastases are at least as many as the drawn ones. With the signal
``reports`` some words lean with the label, those that the images do not settle. A tenth of the
cells is empty, apart from the start of treatment, which dates need.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import numpy as np

from herscope.respond.drawn_cohort.outcome import pick
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec, PatientPlan, generator
from herscope.respond.radiology.lesions import LesionKind

EMPTY: Final = 0.1
PATHOLOGY: Final = ("tils", "her2_heterogeneity", "tumour_proportion", "pathology_time")
RADIOLOGY: Final = (
    "primary_lesion", "metastatic_lesions", "node_status", "node_location", "liver_lung_multiple",
    "peritoneal_metastasis", "radiology_time",
)  # fmt: skip
PATIENT: Final = (
    "sex", "age", "tumour_site", "line", "lauren", "differentiation", "metastatic_sites"
)  # fmt: skip
LEAN_PER_STRENGTH: Final = 0.12
"""How far shares and probabilities of words move for one SD of strength, signal ``reports``."""


def draw_reports(
    spec: DrawnCohortSpec, plan: PatientPlan, kinds: Sequence[LesionKind], start: date
) -> tuple[dict[str, str], date]:
    """Draw the cells of the token columns, and the date of birth.

    Parameters
    ----------
    spec, plan
        Cohort and patient.
    kinds
        Kinds of the lesions that the CT shows.
    start
        Start of treatment; age is counted from birth to it.

    Returns
    -------
    tuple
        Column to cell, empty where missing, and the date of birth.
    """
    rng = generator(spec, "reports", plan.number)
    lean = min(LEAN_PER_STRENGTH * spec.strength, 0.45) * plan.reports
    years = int(np.clip(rng.normal(61, 11), 24, 88))
    birth = start - timedelta(days=int(years * 365.25) + int(rng.integers(1, 365)))
    cells = _pathology(rng, lean) | _radiology(rng, lean, kinds) | _patient(rng, years)
    empty = rng.uniform(size=len(cells)) < EMPTY
    for (name, _), away in zip(list(cells.items()), empty.tolist(), strict=True):
        if away and not name.endswith("_time"):
            cells[name] = ""
    for modality, names in (("pathology", PATHOLOGY), ("radiology", RADIOLOGY)):
        if modality in plan.gone:
            cells |= dict.fromkeys(names, "") | {f"{modality}_time": "-1"}
    return cells, birth


def _pathology(rng: np.random.Generator, lean: float) -> dict[str, str]:
    tils = round(float(np.clip(rng.beta(2.0, 3.0) + lean, 0.01, 0.95)), 2)
    share = round(float(np.clip(rng.beta(3.0, 2.0), 0.05, 0.95)), 2)
    mixed = bool(rng.uniform() < 0.35 - 0.5 * lean)
    high = 10 * int(rng.integers(5, 10))
    her2 = f"heterogeneity(3+{high}%, 2+{100 - high}%)" if mixed else "none(all 3+)"
    return {
        "tils": f"{tils:g}",
        "her2_heterogeneity": her2,
        "tumour_proportion": f"{share:g}",
        "pathology_time": pick(rng, (("0", 0.8), ("1", 0.12), ("2", 0.08))),
    }


def _radiology(
    rng: np.random.Generator, lean: float, kinds: Sequence[LesionKind]
) -> dict[str, str]:
    stomach, node = LesionKind.STOMACH in kinds, LesionKind.LYMPH_NODE in kinds
    further = sum(kind is not LesionKind.STOMACH for kind in kinds)
    absent, unseen, nodes = rng.uniform(size=3).tolist()
    more = int(rng.poisson(max(1.0 - 2 * lean, 0.1)))
    status = "none"
    if node or nodes < 0.5:
        status = "fused" if rng.uniform() < 0.35 - lean else "not fused"
    regions = np.flatnonzero(rng.uniform(size=4) < 0.4) + 1
    where = "".join(map(str, regions.tolist())) or "1"
    many = LesionKind.LIVER in kinds and rng.uniform() < 0.5
    peritoneum = LesionKind.PERITONEUM in kinds or unseen < 0.3 - lean
    return {
        "primary_lesion": "present" if stomach or absent < 0.5 else "resected",
        "metastatic_lesions": str(further + more),
        "node_status": status,
        "node_location": "0" if status == "none" else where,
        "liver_lung_multiple": "liver" if many else pick(rng, (("none", 0.85), ("lung", 0.15))),
        "peritoneal_metastasis": "yes" if peritoneum else "no",
        "radiology_time": pick(rng, (("0", 0.75), ("1", 0.15), ("2", 0.1))),
    }


def _patient(rng: np.random.Generator, years: int) -> dict[str, str]:
    sites = rng.uniform(size=13) < 0.18
    return {
        "sex": pick(rng, (("male", 0.8), ("female", 0.2))),
        "age": str(years),
        "tumour_site": pick(rng, (("non-GEJ", 0.7), ("GEJ", 0.3))),
        "line": pick(rng, (("first", 0.75), ("2nd", 0.25))),
        "lauren": pick(rng, (("intestinal", 0.64), ("diffuse", 0.18), ("mixed", 0.18))),
        "differentiation": pick(rng, (("poor", 0.5), ("moderate", 0.42), ("well", 0.08))),
        "metastatic_sites": "".join("1" if one else "0" for one in sites.tolist()),
    }
