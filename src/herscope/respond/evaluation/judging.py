"""Every figure of a cohort's predictions, as one document: ``judge``.

The statistics are those of :mod:`herscope.stats`; what this module decides is which patients enter
which. Discrimination, calibration and the 2 x 2 tables need a label; risk groups, subgroups and
correlations are of all patients that were predicted; survival of all whose follow-up is known, the
unlabelled ones (censored early) included. A figure that the data do not determine is null, and
``undefined`` says why under the figure's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.respond.evaluation.discrimination import auc_rows, discrimination
from herscope.respond.evaluation.group_survival import overall_survival, survival_by
from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.respond.evaluation.paired_tests import compare
from herscope.respond.evaluation.predictions import (
    HIGH_RISK,
    LOW_RISK,
    PatientPrediction,
    labels_of,
    probabilities_of,
    refuse_twice,
)
from herscope.respond.evaluation.readers import readers as judge_readers
from herscope.respond.evaluation.risk_cuts import MEMBERS, cuts, group_names, group_table
from herscope.respond.evaluation.subgroups import number, subgroup
from herscope.respond.fusion.patients import PARTS
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Ints

if TYPE_CHECKING:
    from herscope.respond.cohort.outcomes import FollowUp

__all__ = ["JudgingSpec", "PatientPrediction", "compare", "judge"]


def judge(
    rows: Sequence[PatientPrediction],
    *,
    pfs: FollowUp | None = None,
    os: FollowUp | None = None,
    groups: Mapping[str, Sequence[str | None]] | None = None,
    numbers: Mapping[str, Sequence[float | None]] | None = None,
    readers: Mapping[str, Sequence[float | None]] | None = None,
    spec: JudgingSpec | None = None,
) -> dict[str, Any]:
    """Judge predictions of response.

    Parameters
    ----------
    rows
        One a patient, by members that had not seen the patient.
    pfs, os
        Follow-up of the same patients in the same order; None where the cohort has none.
    groups
        Variable to (patients,) level, None where missing.
    numbers
        Variable to (patients,) number, None where missing.
    readers
        Reader to (patients,) rating, higher for response, None where there is none.
    spec
        Level, resamples, seed, where the cut-offs came from.

    Returns
    -------
    dict
        JSON-ready, see docs/science/response-evaluation.md: ``patients``, ``labelled``,
        ``responders``, ``non_responders``, ``without_label``, ``auc``, ``roc``,
        ``average_precision``, ``brier``, ``calibration``, ``cut``, ``groups``, ``survival``,
        ``subgroups``, ``numbers``, ``readers``, ``by_site``, ``by_parts``, ``by_part``,
        ``undefined``, ``level``, ``bootstraps``, ``seed``.

    Raises
    ------
    InputError
        A patient stands twice, or a column has another length than the rows.
    UndefinedStatistic
        No patient at all.

    Examples
    --------
    >>> truth = [0, 0, 1, 0, 1, 1]
    >>> rows = [PatientPrediction(f"p{i}", t, i / 6, i / 6, i / 6, (i / 6,), 0.4, ("patient",))
    ...         for i, t in enumerate(truth)]
    >>> figures = judge(rows, spec=JudgingSpec(bootstraps=100))
    >>> round(figures["auc"]["delong"]["value"], 3)
    0.889
    >>> figures["groups"]["members"]["table"]["low risk"]
    {'response': 2, 'no response': 1}
    >>> figures["undefined"]["survival.pfs"]
    'no follow-up was given'
    """
    spec = spec or JudgingSpec()
    follow_ups = {"pfs": pfs, "os": os}
    _check(rows, follow_ups, (groups or {}, numbers or {}, readers or {}))
    ledger = Ledger()
    labels, probabilities = labels_of(rows), probabilities_of(rows)
    risk = 1.0 - probabilities
    labelled = labels >= 0
    known = {name: one for name, one in follow_ups.items() if one is not None}
    for name in follow_ups:
        if name not in known:
            ledger.without(f"survival.{name}", "no follow-up was given")
    cut, by_kind = cuts(rows, spec, ledger)
    low_risk = {kind: probabilities >= values for kind, values in by_kind.items()}
    figures: dict[str, Any] = {
        "patients": len(rows),
        "labelled": int(labelled.sum()),
        "responders": int((labels == 1).sum()),
        "non_responders": int((labels == 0).sum()),
        "without_label": int((~labelled).sum()),
        **discrimination(labels[labelled] == 1, probabilities[labelled], spec, ledger),
        "cut": cut,
        "groups": {
            kind: None
            if kind not in low_risk
            else group_table(low_risk[kind], labels, spec, ledger, f"groups.{kind}")
            for kind in cut
        },
        "survival": {
            name: None
            if follow_up is None
            else {
                **overall_survival(follow_up, risk, spec.level, ledger, f"survival.{name}"),
                "groups": {
                    kind: survival_by(
                        follow_up,
                        group_names(flags),
                        (LOW_RISK, HIGH_RISK),
                        spec.level,
                        ledger,
                        f"survival.{name}.groups.{kind}",
                        ratio_of=(HIGH_RISK, LOW_RISK),
                    )
                    for kind, flags in low_risk.items()
                },
            }
            for name, follow_up in follow_ups.items()
        },
        "subgroups": {
            name: subgroup(values, labels, risk, known, spec, ledger, f"subgroups.{name}")
            for name, values in (groups or {}).items()
        },
        "numbers": {
            name: number(values, labels, risk, spec, ledger, f"numbers.{name}")
            for name, values in (numbers or {}).items()
        },
        "readers": judge_readers(readers, labels, probabilities, low_risk[MEMBERS], spec, ledger)
        if readers
        else None,
        **_by_origin(rows, labels, probabilities, spec, ledger),
    }
    return {
        **figures,
        "undefined": ledger.reasons,
        "level": spec.level,
        "bootstraps": spec.bootstraps,
        "seed": spec.seed,
    }


def _by_origin(
    rows: Sequence[PatientPrediction],
    labels: Ints,
    probabilities: Floats,
    spec: JudgingSpec,
    ledger: Ledger,
) -> dict[str, Any]:
    """Return AUCs by hospital, by what was known together, and with and without each part."""
    sites = sorted({row.site for row in rows if row.site is not None})
    known = [tuple(part for part in PARTS if part in row.parts) for row in rows]
    kinds = sorted(set(known), key=lambda parts: (-len(parts), parts))
    by_site = [({"site": site}, np.array([row.site == site for row in rows])) for site in sites]
    by_parts = [
        (
            {"parts": list(parts), "without": [part for part in PARTS if part not in parts]},
            np.array([own == parts for own in known]),
        )
        for parts in kinds
    ]
    by_part = [
        ({"part": part, "known": there}, np.array([(part in row.parts) is there for row in rows]))
        for part in PARTS
        for there in (True, False)
        if any((part in row.parts) is there for row in rows)
    ]
    return {
        name: auc_rows(groups, labels, probabilities, spec, ledger, name)
        for name, groups in (("by_site", by_site), ("by_parts", by_parts), ("by_part", by_part))
    }


def _check(
    rows: Sequence[PatientPrediction],
    follow_ups: Mapping[str, FollowUp | None],
    tables: Sequence[Mapping[str, Sequence[Any]]],
) -> None:
    if not rows:
        raise UndefinedStatistic("no patient was predicted", hint="predict at least one")
    refuse_twice(rows)
    sizes = [(name, len(one.known)) for name, one in follow_ups.items() if one is not None]
    sizes += [(name, len(column)) for table in tables for name, column in table.items()]
    for name, size in sizes:
        if size != len(rows):
            raise InputError(
                f"{name} has {size} values for {len(rows)} predicted patients",
                hint="give one a patient, in the order of the predictions",
            )
