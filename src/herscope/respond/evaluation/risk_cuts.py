"""Two groups by a cut-off on the probability, and what they are worth as a test.

Low risk is a probability at or above the cut-off: response is expected. Two cut-offs are told. That
of the *members* comes from patients who are not judged here, so its rates are honest; it may differ
from patient to patient. That of the *same data* is the Youden index on the very patients it is
judged on; it is what papers often report and it flatters (Altman et al., J Natl Cancer Inst
1994;86:829), which the document says beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.respond.evaluation.predictions import (
    HIGH_RISK,
    LOW_RISK,
    PatientPrediction,
    labels_of,
    probabilities_of,
)
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Flags
from herscope.stats.classification.confusion import (
    ClassCounts,
    npv,
    ppv,
    sensitivity,
    specificity,
)
from herscope.stats.classification.thresholds import youden_cut
from herscope.stats.estimate import Estimate
from herscope.stats.survival.number_needed import number_needed_to_treat, proportion_difference
from herscope.stats.survival.risk_groups import SAME_DATA, CutOff

MEMBERS, SAME = "members", "same_data"
SAME_SOURCE: Final = "Youden index of these same patients"
RATES: Final[dict[str, Callable[..., Estimate]]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
}


def cuts(
    rows: Sequence[PatientPrediction], spec: JudgingSpec, ledger: Ledger
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return both cut-offs as a document, and (patients,) the cut-offs themselves by kind."""
    labels, probabilities = labels_of(rows), probabilities_of(rows)
    labelled = labels >= 0
    own = np.array([row.cut for row in rows], np.float64)
    document: dict[str, Any] = {
        MEMBERS: {
            "value": float(own[0]) if np.ptp(own) == 0 else None,
            "low": float(own.min()),
            "median": float(np.median(own)),
            "high": float(own.max()),
            "distinct": int(np.unique(own).size),
            "source": spec.cut_source,
            "same_data": False,
        }
    }
    if document[MEMBERS]["value"] is None:
        document[MEMBERS]["note"] = "the cut-off differs from patient to patient"
    by_kind = {MEMBERS: own}
    found = ledger.made(
        "cut.same_data",
        lambda: youden_cut(labels[labelled] == 1, probabilities[labelled], level=spec.level),
    )
    document[SAME] = None
    if found is not None:
        cut = CutOff(found.threshold, SAME_SOURCE, same_data=True)
        document[SAME] = {
            **cut.document(),
            "j": found.j,
            "tied": found.tied,
            "method": found.method,
            "note": SAME_DATA,
        }
        by_kind[SAME] = np.full(len(rows), found.threshold)
    return document, by_kind


def group_names(low_risk: Flags) -> list[str]:
    """Return the group of each patient in words."""
    return [LOW_RISK if low else HIGH_RISK for low in low_risk.tolist()]


def group_table(
    low_risk: Flags, labels: Any, spec: JudgingSpec, ledger: Ledger, place: str
) -> dict[str, Any]:
    """Return the 2 x 2 table of group and label, its rates, and the number needed to treat.

    Parameters
    ----------
    low_risk
        (patients,) whether response was expected.
    labels
        (patients,) 1, 0, -1; patients without a label count in the sizes only.
    spec, ledger, place
        Options; where reasons go, and under which name.
    """
    yes, no = labels == 1, labels == 0
    counts = ClassCounts(
        tp=int((low_risk & yes).sum()),
        fp=int((low_risk & no).sum()),
        fn=int((~low_risk & yes).sum()),
        tn=int((~low_risk & no).sum()),
    )
    good = counts.tp, counts.tp + counts.fp, counts.fn, counts.fn + counts.tn
    document: dict[str, Any] = {
        "patients": {LOW_RISK: int(low_risk.sum()), HIGH_RISK: int((~low_risk).sum())},
        "table": {
            LOW_RISK: {"response": counts.tp, "no response": counts.fp},
            HIGH_RISK: {"response": counts.fn, "no response": counts.tn},
        },
    }
    for name, rate in RATES.items():
        document[name] = ledger.told(f"{place}.{name}", partial(rate, counts, level=spec.level))
    document["risk_difference"] = ledger.told(
        f"{place}.risk_difference", lambda: _difference(good, spec.level)
    )
    document["number_needed_to_treat"] = ledger.told(
        f"{place}.number_needed_to_treat",
        lambda: number_needed_to_treat(*_both(good), level=spec.level),
    )
    return document


def _difference(good: tuple[int, int, int, int], level: float) -> Estimate:
    return proportion_difference(*_both(good), level=level)


def _both(good: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    for size, name in ((good[1], LOW_RISK), (good[3], HIGH_RISK)):
        if not size:
            raise UndefinedStatistic(
                f"no labelled patient is of {name}", hint="the cut-off leaves a group empty"
            )
    return good
