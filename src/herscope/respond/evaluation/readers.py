"""The model beside people: each reader's rates and AUC, tests on the same patients, agreement.

A rating is a number: higher means that response is more likely. It may be binary or graded; at or
above ``reader_cut`` a reader calls response. The model is compared in three ways on the patients
the reader rated: its AUC (paired DeLong), its group by the members' cut-off (McNemar), and its
sensitivity at the reader's own specificity. With two readers or more, the *consensus* is the mean
rating, called by the majority (undecided where they are even).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Final

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.respond.evaluation.discrimination import plain_auc
from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.respond.evaluation.paired_tests import mcnemar
from herscope.respond.evaluation.stability import stability
from herscope.respond.evaluation.subgroups import number_column
from herscope.stats.agreement.kappa import cohen_kappa
from herscope.stats.agreement.multi_rater import count_ratings, fleiss_kappa
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Flags, Ints
from herscope.stats.classification.confusion import (
    ClassCounts,
    proportion,
    sensitivity,
    specificity,
)
from herscope.stats.classification.delong import delong_test
from herscope.stats.classification.roc import roc_curve
from herscope.stats.estimate import Estimate

CONSENSUS: Final = "consensus"
CALLS: Final = ("no response", "response")


def readers(
    ratings: Mapping[str, Sequence[float | None]],
    labels: Ints,
    probabilities: Floats,
    low_risk: Flags,
    spec: JudgingSpec,
    ledger: Ledger,
) -> dict[str, Any]:
    """Judge every reader, the consensus, and how far readers agree.

    Parameters
    ----------
    ratings
        Reader to (patients,) ratings, None where the reader gave none.
    labels, probabilities
        (patients,) 1, 0, -1; of response.
    low_risk
        (patients,) the model's group by the members' cut-off.
    spec, ledger
        Options; where reasons go.

    Returns
    -------
    dict
        ``each`` (reader to figures, the consensus last), ``agreement`` (pairs, all).
    """
    columns = {name: number_column(values, name) for name, values in ratings.items()}
    scores = dict(columns)
    calls = {name: _calls(column, spec.reader_cut) for name, column in columns.items()}
    if len(columns) > 1:
        name = CONSENSUS if CONSENSUS not in columns else f"{CONSENSUS} of all readers"
        scores[name], calls[name] = _consensus(columns, calls)
    return {
        "each": {
            name: {
                "made_here": name not in columns,
                **_one(
                    scores[name], calls[name], labels, probabilities, low_risk, spec, ledger,
                    f"readers.{name}",
                ),
            }
            for name in scores
        },
        "agreement": _agreement({name: calls[name] for name in columns}, spec, ledger),
    }  # fmt: skip


def _calls(ratings: Floats, cut: float) -> Floats:
    """Return (patients,) 1 response, 0 none, NaN where there is no rating."""
    return np.where(np.isnan(ratings), np.nan, (ratings >= cut).astype(np.float64))


def _consensus(columns: Mapping[str, Floats], calls: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Return mean ratings and majority calls; NaN where any reader has none, or they are even."""
    mean = np.stack(list(columns.values())).mean(axis=0)
    votes = np.stack(list(calls.values())).mean(axis=0)
    majority = np.where(votes == 0.5, np.nan, (votes > 0.5).astype(np.float64))
    return mean, np.where(np.isnan(votes), np.nan, majority)


def _one(
    ratings: Floats,
    calls: Floats,
    labels: Ints,
    probabilities: Floats,
    low_risk: Flags,
    spec: JudgingSpec,
    ledger: Ledger,
    place: str,
) -> dict[str, Any]:
    rated = ~np.isnan(ratings) & (labels >= 0)
    called = ~np.isnan(calls) & (labels >= 0)
    flags, score, model = labels[rated] == 1, ratings[rated], probabilities[rated]
    truth, call, expected = labels[called] == 1, calls[called] == 1, low_risk[called]
    counts = _counts(truth, call)
    kinds = np.unique(ratings[~np.isnan(ratings)])
    one_side = call.size > 0 and len(set(call.tolist())) == 1
    if one_side:
        ledger.without(
            f"{place}.cut",
            f"the cut {spec.reader_cut:g} puts all ratings on one side: give reader_cut on the "
            "scale of the ratings",
        )
    return {
        "rated": int((~np.isnan(ratings)).sum()),
        "labelled": int(rated.sum()),
        "undecided": int((rated & np.isnan(calls)).sum()),
        "graded": bool(kinds.size > 2),
        "cut": spec.reader_cut,
        "table": counts.as_dict(),
        "sensitivity": ledger.told(
            f"{place}.sensitivity", lambda: sensitivity(counts, level=spec.level)
        ),
        "specificity": ledger.told(
            f"{place}.specificity", lambda: specificity(counts, level=spec.level)
        ),
        "auc": ledger.told(f"{place}.auc", lambda: plain_auc(flags, score, spec.level)),
        "model": {
            "auc": ledger.told(f"{place}.model.auc", lambda: plain_auc(flags, model, spec.level)),
            "table": _counts(truth, expected).as_dict(),
            "at_readers_specificity": ledger.told(
                f"{place}.model.at_readers_specificity",
                lambda: _at_specificity(truth, probabilities[called], counts, spec.level),
            ),
        },
        "difference": ledger.made(
            f"{place}.difference", lambda: _difference(flags, model, score, spec.level)
        ),
        "mcnemar": ledger.told(
            f"{place}.mcnemar", lambda: mcnemar(expected == truth, call == truth)
        ),
        "mcnemar_responders": ledger.told(
            f"{place}.mcnemar_responders", lambda: mcnemar(expected[truth], call[truth])
        ),
        "mcnemar_non_responders": ledger.told(
            f"{place}.mcnemar_non_responders", lambda: mcnemar(~expected[~truth], ~call[~truth])
        ),
        "kappa_with_model": ledger.told(
            f"{place}.kappa_with_model",
            lambda: cohen_kappa(_words(expected), _words(call), level=spec.level),
        ),
        "stability": stability(flags, model, score, spec, ledger, f"{place}.stability"),
    }


def _counts(truth: Flags, call: Flags) -> ClassCounts:
    return ClassCounts(
        tp=int((truth & call).sum()),
        fp=int((~truth & call).sum()),
        fn=int((truth & ~call).sum()),
        tn=int((~truth & ~call).sum()),
    )


def _difference(flags: Flags, model: Floats, score: Floats, level: float) -> dict[str, Any]:
    found = delong_test(flags, model, score, level=level)
    return {
        "value": found.difference,
        "low": found.low,
        "high": found.high,
        "level": level,
        "p": found.p,
        "first": found.first,
        "second": found.second,
        "n": flags.size,
        "method": f"model minus reader, {found.method}",
    }


def _at_specificity(
    truth: Flags, probabilities: Floats, reader: ClassCounts, level: float
) -> Estimate:
    """Sensitivity of the model at the lowest threshold with no more false alarms than the reader's.

    The threshold is sought on the same patients, as the reader's point is theirs too.
    """
    curve = roc_curve(truth, probabilities)
    place = int(np.flatnonzero(curve.fp <= reader.fp)[-1])
    found = proportion(
        int(curve.tp[place]),
        curve.positives,
        f"sensitivity at {int(curve.fp[place])} false alarms of {curve.negatives} (reader: "
        f"{reader.fp}), threshold sought on these patients",
        level=level,
    )
    return Estimate(
        found.value, found.low, found.high, level, found.method, found.n,
        {
            **found.counts,
            "false alarms": int(curve.fp[place]),
            "false alarms of the reader": reader.fp,
        },
    )  # fmt: skip


def _agreement(calls: Mapping[str, Floats], spec: JudgingSpec, ledger: Ledger) -> dict[str, Any]:
    pairs = []
    for a, b in combinations(calls, 2):
        both = ~np.isnan(calls[a]) & ~np.isnan(calls[b])
        one, two = _words(calls[a][both] == 1), _words(calls[b][both] == 1)
        pairs.append(
            {
                "a": a,
                "b": b,
                "kappa": ledger.told(
                    f"readers.agreement.{a}.{b}",
                    partial(cohen_kappa, one, two, level=spec.level),
                ),
            }
        )
    if len(calls) < 2:
        ledger.without("readers.agreement.all", f"{len(calls)} reader: agreement needs two")
        return {"pairs": [], "all": None}
    return {
        "pairs": pairs,
        "all": ledger.told("readers.agreement.all", lambda: _fleiss(calls, spec.level)),
    }


def _fleiss(calls: Mapping[str, Floats], level: float) -> Estimate:
    every = ~np.isnan(np.stack(list(calls.values()))).any(axis=0)
    if not every.any():
        raise UndefinedStatistic("no patient was rated by every reader")
    return fleiss_kappa(
        count_ratings([_words(column[every] == 1) for column in calls.values()], order=CALLS),
        level=level,
    )


def _words(flags: Flags) -> list[str]:
    return [CALLS[bool(flag)] for flag in flags.tolist()]
