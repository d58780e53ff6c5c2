"""Does the model's AUC vary more or less than a reader's: bootstrap AUCs and Levene's test.

As in the MuMo paper: the patients that a reader rated are drawn 2000 times, model and reader get
an AUC of every draw, and Levene's test compares the spread of the two sets of AUCs.

READ BEFORE QUOTING P. Resamples are not observations: they can be drawn in any number, and p falls
with that number alone. Whether the spread differs is told by the two standard deviations and their
ratio; p says only whether *resampling* was long enough to see the ratio. So we also tell the p of
the first tenth of the resamples, and the share of resamples in which the model's AUC is the higher.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.stats.arguments import Floats
from herscope.stats.classification.auc_bootstrap import resampled_auc, resampler
from herscope.stats.classification.cases import Flags, both_sides
from herscope.stats.survival.group_tests import levene

FIVE: Final = (0.025, 0.25, 0.5, 0.75, 0.975)
CAUTION: Final = (
    "resamples are not independent observations: p depends on how many were drawn; compare the "
    "standard deviations"
)


def stability(
    flags: Flags, model: Floats, reader: Floats, spec: JudgingSpec, ledger: Ledger, place: str
) -> dict[str, Any] | None:
    """Compare the spread of bootstrap AUCs of the model and of one reader.

    Parameters
    ----------
    flags
        (patients,) response of the patients that the reader rated.
    model, reader
        (patients,) probability, and rating; higher means response.
    spec, ledger, place
        Options; where reasons go, and under which name.

    Returns
    -------
    dict
        ``model`` and ``reader`` (sd, quantiles), ``sd_ratio``, ``levene``, ``brown_forsythe``,
        ``first_tenth``, ``model_higher``, ``caution``; None, with the reason, for one class.
    """
    return ledger.made(place, lambda: _stability(flags, model, reader, spec, ledger, place))


def _stability(
    flags: Flags, model: Floats, reader: Floats, spec: JudgingSpec, ledger: Ledger, place: str
) -> dict[str, Any]:
    both_sides(flags, "a bootstrap of AUCs")
    plan = resampler(flags.tolist(), n_resamples=spec.bootstraps, seed=spec.seed)
    drawn = {
        "model": plan.statistic(resampled_auc(flags, model)),
        "reader": plan.statistic(resampled_auc(flags, reader)),
    }
    some = {name: values[: max(2, spec.bootstraps // 10)] for name, values in drawn.items()}
    spread = {name: float(values.std(ddof=1)) for name, values in drawn.items()}
    higher = drawn["model"] > drawn["reader"]
    even = drawn["model"] == drawn["reader"]
    return {
        "resamples": spec.bootstraps,
        **{
            name: {"sd": spread[name], "quantiles": np.quantile(values, FIVE).tolist()}
            for name, values in drawn.items()
        },
        "quantiles_at": list(FIVE),
        "sd_ratio": spread["model"] / spread["reader"] if spread["reader"] > 0 else None,
        "levene": ledger.told(f"{place}.levene", lambda: levene(drawn, centre="mean")),
        "brown_forsythe": ledger.told(f"{place}.brown_forsythe", lambda: levene(drawn)),
        "first_tenth": ledger.told(f"{place}.first_tenth", lambda: levene(some, centre="mean")),
        "model_higher": float((higher.sum() + even.sum() / 2) / spec.bootstraps),
        "method": f"AUCs of the same resamples for both, {plan.words}",
        "caution": CAUTION,
    }
