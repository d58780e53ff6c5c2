"""Does the probability order patients, and does it mean what it says: AUC, precision, calibration.

Only patients with a label enter. AUC by DeLong and by bootstrap, its ROC curve with a pointwise
band, average precision, Brier score beside that of always saying the cohort's own response rate,
and calibration in bins of equal mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.respond.evaluation.average_precision import average_precision
from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.stats.arguments import Floats
from herscope.stats.classification.auc_bootstrap import auc_bootstrap, resampler, roc_band
from herscope.stats.classification.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
)
from herscope.stats.classification.cases import Flags
from herscope.stats.classification.delong import auc
from herscope.stats.classification.roc import roc_curve
from herscope.stats.estimate import Estimate, finite_or_none
from herscope.stats.survival.group_tests import mann_whitney

BAND_POINTS: Final = 101


def discrimination(
    flags: Flags, probabilities: Floats, spec: JudgingSpec, ledger: Ledger
) -> dict[str, Any]:
    """Return AUC, ROC curve, average precision, Brier score and calibration.

    Parameters
    ----------
    flags
        (labelled patients,) response.
    probabilities
        (labelled patients,) of response.
    spec, ledger
        Options; where reasons of undefined figures go.
    """
    return {
        "auc": {
            "delong": ledger.told(
                "auc.delong", lambda: auc(flags, probabilities, level=spec.level)
            ),
            "bootstrap": ledger.told(
                "auc.bootstrap",
                lambda: auc_bootstrap(
                    flags,
                    probabilities,
                    n_resamples=spec.bootstraps,
                    level=spec.level,
                    seed=spec.seed,
                ),
            ),
            "test": ledger.told(
                "auc.test", lambda: mann_whitney(probabilities[flags], probabilities[~flags])
            ),
        },
        "roc": ledger.made("roc", lambda: _curve(flags, probabilities, spec)),
        "average_precision": ledger.told(
            "average_precision",
            lambda: average_precision(
                flags, probabilities, n_resamples=spec.bootstraps, level=spec.level, seed=spec.seed
            ),
        ),
        "brier": ledger.told("brier", lambda: brier_score(flags, probabilities, level=spec.level)),
        "calibration": ledger.made("calibration", lambda: _calibration(flags, probabilities, spec)),
    }


def plain_auc(flags: Flags, scores: Floats, level: float) -> Estimate:
    """Return the AUC with DeLong's interval, refusing the empty group in words.

    Raises
    ------
    UndefinedStatistic
        No labelled patient, or all of one class.
    """
    if flags.size == 0:
        raise UndefinedStatistic("no labelled patient", hint="labels come from the cohort file")
    return auc(flags, scores, level=level)


def _curve(flags: Flags, probabilities: Floats, spec: JudgingSpec) -> dict[str, Any]:
    curve = roc_curve(flags, probabilities)
    at = np.linspace(0, 1, BAND_POINTS)
    plan = resampler(flags.tolist(), n_resamples=spec.bootstraps, seed=spec.seed)
    low, high = roc_band(flags, probabilities, plan, fpr=at, level=spec.level)
    return {
        "fpr": curve.fpr.tolist(),
        "tpr": curve.tpr.tolist(),
        "thresholds": [finite_or_none(value) for value in curve.thresholds.tolist()],
        "band": {"fpr": at.tolist(), "low": low.tolist(), "high": high.tolist()},
        "method": f"sensitivity over 1 - specificity; pointwise band, {plan.words}",
    }


def _calibration(flags: Flags, probabilities: Floats, spec: JudgingSpec) -> dict[str, Any]:
    bins = reliability_bins(
        flags, probabilities, bins=spec.bins, spacing="equal mass", level=spec.level
    )
    share = float(flags.mean())
    error = expected_calibration_error(
        flags,
        probabilities,
        bins=spec.bins,
        spacing="equal mass",
        level=spec.level,
        n_resamples=spec.bootstraps,
        seed=spec.seed,
    )
    return {
        "bins": [{**asdict(one), "observed": one.observed} for one in bins],
        "error": error.document(),
        "observed": share,
        "expected": float(probabilities.mean()),
        "brier_of_the_rate": share * (1 - share),
        "method": "bins of equal mass with Wilson intervals; observed: share of responders, "
        "expected: mean probability; brier_of_the_rate: Brier score of saying the observed share "
        "for everyone",
    }


def auc_of_enough(flags: Flags, scores: Floats, spec: JudgingSpec) -> Estimate:
    """Return the AUC of a part of the patients, unless a class has too few to tell anything.

    Raises
    ------
    UndefinedStatistic
        No labelled patient, or fewer than ``spec.fewest_in_level`` of a class.
    """
    fewest = min(int(flags.sum()), int((~flags).sum()))
    if flags.size and fewest < spec.fewest_in_level:
        raise UndefinedStatistic(
            f"{fewest} patients of one class, fewer than {spec.fewest_in_level}",
            hint="an AUC of so few says nothing",
        )
    return plain_auc(flags, scores, spec.level)


def auc_rows(
    groups: Sequence[tuple[dict[str, Any], Flags]],
    labels: Any,
    probabilities: Floats,
    spec: JudgingSpec,
    ledger: Ledger,
    place: str,
) -> list[dict[str, Any]]:
    """Return the AUC within groups of patients, one row a group.

    Parameters
    ----------
    groups
        What names the group, and (patients,) who is in it.
    labels, probabilities
        (patients,) all patients, labels 1, 0, -1.
    spec, ledger, place
        Options; where reasons go, and under which name.
    """
    rows = []
    for number, (named, inside) in enumerate(groups):
        used = inside & (labels >= 0)
        flags = labels[used] == 1
        scores = probabilities[used]
        rows.append(
            {
                **named,
                "patients": int(inside.sum()),
                "labelled": int(used.sum()),
                "responders": int(flags.sum()),
                "auc": ledger.told(
                    f"{place}.{number}.auc",
                    partial(auc_of_enough, flags, scores, spec),
                ),
            }
        )
    return rows
