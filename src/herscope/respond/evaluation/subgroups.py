"""Risk, response and survival within and between levels of what is known about patients.

For each categorical variable: risk and AUC within every level, Mann-Whitney of the risk between
every two levels with Holm's adjustment within the variable, chi-square of level and label, log-rank
of the levels. For each number: its correlation with the risk, and whether responders differ in it.
A cell that is missing is left out and counted; it is no level of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.respond.evaluation.discrimination import auc_of_enough
from herscope.respond.evaluation.group_survival import survival_by
from herscope.respond.evaluation.judging_spec import JudgingSpec
from herscope.respond.evaluation.ledger import Ledger
from herscope.respond.evaluation.paired_tests import holm
from herscope.stats.agreement.correlation import pearson, spearman
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Flags, Ints
from herscope.stats.classification.confusion import proportion
from herscope.stats.estimate import HypothesisTest
from herscope.stats.survival.group_tests import chi_square, mann_whitney

if TYPE_CHECKING:
    from herscope.respond.cohort.outcomes import FollowUp

QUARTERS: Final = (0.25, 0.5, 0.75)


def subgroup(
    values: Sequence[str | None],
    labels: Ints,
    risk: Floats,
    follow_ups: Mapping[str, FollowUp],
    spec: JudgingSpec,
    ledger: Ledger,
    place: str,
) -> dict[str, Any] | None:
    """Judge one categorical variable.

    Parameters
    ----------
    values
        (patients,) level, None where missing.
    labels, risk
        (patients,) 1, 0, -1; 1 - probability.
    follow_ups
        ``pfs`` and ``os``, as far as known.
    spec, ledger, place
        Options; where reasons go, and under which name.

    Returns
    -------
    dict
        ``levels``, ``between``, ``chi_square``, ``survival``; None with more levels than
        ``spec.most_levels``.
    """
    counted = Counter(value for value in values if value is not None)
    if not counted or len(counted) > spec.most_levels:
        ledger.without(
            place,
            f"{len(counted)} levels (allowed: 1 to {spec.most_levels})"
            if counted
            else "no patient has a value",
        )
        return None
    names = sorted(counted)
    inside = {name: np.array([value == name for value in values], np.bool_) for name in names}
    large = [name for name in names if counted[name] >= spec.fewest_in_level]
    return {
        "missing": sum(value is None for value in values),
        "levels": [
            _level(name, inside[name], labels, risk, spec, ledger, f"{place}.{name}")
            for name in names
        ],
        "between": _between(large, inside, risk, ledger, place),
        "chi_square": _chi_square(names, inside, labels, ledger, place),
        "survival": {
            name: survival_by(
                follow_up, values, names, spec.level, ledger, f"{place}.survival.{name}"
            )
            for name, follow_up in follow_ups.items()
        },
    }


def _level(
    name: str,
    inside: Flags,
    labels: Ints,
    risk: Floats,
    spec: JudgingSpec,
    ledger: Ledger,
    place: str,
) -> dict[str, Any]:
    used = inside & (labels >= 0)
    flags = labels[used] == 1
    lower, median, upper = (float(q) for q in np.quantile(risk[inside], QUARTERS))
    return {
        "level": name,
        "patients": int(inside.sum()),
        "labelled": int(used.sum()),
        "responders": int(flags.sum()),
        "response_rate": ledger.told(
            f"{place}.response_rate",
            lambda: proportion(
                int(flags.sum()), flags.size, "response rate, responders / labelled",
                level=spec.level,
            ),
        ),
        "risk": {
            "mean": float(risk[inside].mean()),
            "median": median,
            "lower_quartile": lower,
            "upper_quartile": upper,
        },
        "auc": ledger.told(f"{place}.auc", lambda: auc_of_enough(flags, 1 - risk[used], spec)),
    }  # fmt: skip


def _between(
    names: Sequence[str],
    inside: Mapping[str, Flags],
    risk: Floats,
    ledger: Ledger,
    place: str,
) -> list[dict[str, Any]]:
    """Compare the risk of every two levels; Holm over the pairs of this variable."""
    found: list[tuple[str, str, HypothesisTest]] = []
    for a, b in combinations(names, 2):
        where = f"{place}.between.{a}.{b}"
        test = ledger.made(where, partial(mann_whitney, risk[inside[a]], risk[inside[b]]))
        if test is not None:
            found.append((a, b, test))
    adjusted = holm([test.p_value for *_, test in found])
    return [
        {
            "a": a,
            "b": b,
            **test.document(),
            "p_holm": p,
            "median_difference": float(np.median(risk[inside[a]]) - np.median(risk[inside[b]])),
        }
        for (a, b, test), p in zip(found, adjusted, strict=True)
    ]


def _chi_square(
    names: Sequence[str], inside: Mapping[str, Flags], labels: Ints, ledger: Ledger, place: str
) -> dict[str, Any] | None:
    table = [
        [int((inside[name] & (labels == 0)).sum()), int((inside[name] & (labels == 1)).sum())]
        for name in names
    ]
    kept = [(name, row) for name, row in zip(names, table, strict=True) if sum(row)]
    where = f"{place}.chi_square"

    def test() -> HypothesisTest:
        if len(kept) < 2:
            raise UndefinedStatistic(f"{len(kept)} level has labelled patients")
        return chi_square([row for _, row in kept])

    found = ledger.told(where, test)
    if found is None:
        return None
    rows = {name: {"no response": no, "response": yes} for name, (no, yes) in kept}
    return {**found, "table": rows}


def number(
    values: Sequence[float | None],
    labels: Ints,
    risk: Floats,
    spec: JudgingSpec,
    ledger: Ledger,
    place: str,
) -> dict[str, Any]:
    """Judge one continuous variable: correlation with the risk, and difference by label.

    Parameters
    ----------
    values
        (patients,) numbers; None or NaN where missing.
    labels, risk, spec, ledger, place
        As :func:`subgroup`.
    """
    numbers = number_column(values, place)
    known = np.isfinite(numbers)
    x, y = numbers[known], risk[known]
    yes, no = numbers[known & (labels == 1)], numbers[known & (labels == 0)]
    return {
        "patients": int(known.sum()),
        "missing": int((~known).sum()),
        "median": float(np.median(x)) if x.size else None,
        "pearson": ledger.told(f"{place}.pearson", lambda: pearson(x, y, level=spec.level)),
        "spearman": ledger.told(f"{place}.spearman", lambda: spearman(x, y, level=spec.level)),
        "by_label": ledger.told(f"{place}.by_label", lambda: mann_whitney(yes, no)),
    }


def number_column(values: Sequence[float | None], what: str) -> Floats:
    """Return (patients,) numbers, NaN where missing.

    Raises
    ------
    InputError
        A cell is no number.

    Examples
    --------
    >>> number_column([1, None], "age")
    array([ 1., nan])
    """
    try:
        found = np.array([np.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what}: {error}", hint="numbers are needed, None where missing"
        ) from None
    return np.where(np.isfinite(found), found, np.nan)
