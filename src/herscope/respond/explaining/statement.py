"""What a prediction rests on, in plain sentences: what was known, what was missing, what it costs.

What missing parts cost is read off the cohort: the AUC of the model when it is given only these
parts, beside its AUC when it is given all (rows ``availability`` of a fit's result). It is a figure
of other patients and not of this one, whose answer may be right or wrong in either case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from herscope.respond.explaining.explanation import PartContribution
from herscope.respond.explaining.spread import Spread
from herscope.respond.explaining.words import PART_WORDS, chance, listed

SMALL_LOGIT = 0.05
"""Below this a probability near one half moves by about 0.01."""


def statement(
    probability: Spread,
    members: int,
    *,
    group: str | None,
    cut: float | None,
    parts: Sequence[str],
    missing: Sequence[str],
    contributions: Sequence[PartContribution],
    availability: Sequence[Mapping[str, Any]] = (),
) -> tuple[str, ...]:
    """Say it.

    Parameters
    ----------
    probability
        Of response, over members.
    members
        How many.
    group, cut
        Risk group and cut-off on the probability; None without.
    parts, missing
        Of PARTS.
    contributions
        Of the parts.
    availability
        ``{parts, without, patients, auc}``, as a fit's result has them.
    """
    return (
        _answer(probability, members),
        *_grouped(group, cut, probability),
        _known(parts, missing),
        *cost_of_missing(parts, missing, availability),
        *_moved(contributions),
    )


def cost_of_missing(
    parts: Sequence[str], missing: Sequence[str], availability: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Say how well the model did in the cohort with the same parts known.

    Examples
    --------
    >>> rows = [{"parts": ["patient"], "without": ["radiology-report"], "patients": 80,
    ...          "auc": {"value": 0.61, "low": 0.5, "high": 0.72}}]
    >>> cost_of_missing(["patient"], ["radiology-report"], rows)[0][:48]
    'Given only these parts the model had AUC 0.61 (0'
    """
    exact = next((row for row in availability if set(row["parts"]) == set(parts)), None)
    whole = max(availability, key=lambda row: len(row["parts"]), default=None)
    if exact is None or exact.get("auc") is None:
        if not missing or not availability:
            return ()
        return ("How well the model does with just these parts was not measured in its cohort.",)
    said = f"the model had AUC {_auc(exact)}"
    if not missing or whole is None or whole is exact or whole.get("auc") is None:
        start = "Given only these parts" if missing else "Given whatever was known of each patient"
        return (f"{start} {said} in its cohort.",)
    more = f"given more parts ({_parts(whole['parts'])}) it had {_auc(whole)}"
    return (f"Given only these parts {said} in its cohort; {more}.",)


def _answer(probability: Spread, members: int) -> str:
    said = f"The model gives a probability of response of {chance(probability.value)}"
    if probability.low is None or probability.high is None:
        return f"{said}; it is one network, so nothing is known of the spread."
    return (
        f"{said}, the mean of {members} networks (5th to 95th percentile "
        f"{chance(probability.low)} to {chance(probability.high)})."
    )


def _grouped(group: str | None, cut: float | None, probability: Spread) -> tuple[str, ...]:
    if group is None or cut is None:
        return ()
    side = "at or above" if probability.value >= cut else "below"
    said = f"That is {side} the cut-off of {cut:.2f}: {group} of no response."
    low, high = probability.low, probability.high
    if low is not None and high is not None and low < cut <= high:
        said += " The networks do not agree on the side."
    return (said,)


def _known(parts: Sequence[str], missing: Sequence[str]) -> str:
    if not parts:
        return "Nothing was known of this patient: the answer is what the model says of anybody."
    end = f" Missing: {_parts(missing)}." if missing else " Nothing was missing."
    return f"Known: {_parts(parts)}.{end}"


def _moved(contributions: Sequence[PartContribution]) -> tuple[str, ...]:
    if not contributions:
        return ()
    first = max(contributions, key=lambda one: abs(one.logit.value))
    if abs(first.logit.value) < SMALL_LOGIT:
        return ("No part moved the answer noticeably from what the model says of anybody.",)
    towards = "response" if first.logit.value > 0 else "no response"
    said = f"Most was moved by {PART_WORDS.get(first.part, first.part)}, towards {towards}"
    low, high = first.logit.low, first.logit.high
    if low is not None and high is not None and low < 0 < high:
        return (f"{said}; in some networks the other way.",)
    return (f"{said}.",)


def _parts(parts: Sequence[str]) -> str:
    return listed([PART_WORDS.get(part, part) for part in parts])


def _auc(row: Mapping[str, Any]) -> str:
    auc = row["auc"]
    ends = ""
    if auc.get("low") is not None and auc.get("high") is not None:
        ends = f"{auc['low']:.2f} to {auc['high']:.2f}, "
    return f"{auc['value']:.2f} ({ends}{row['patients']:,} patients)"
