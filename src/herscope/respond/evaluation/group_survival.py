"""Survival of groups of patients: curves, medians, log-rank, hazard ratio; and C of the risk.

Patients whose time or event is unknown are left out and counted. The hazard ratio is Cox's with the
group as its only covariate and needs lifelines; everything else does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.respond.evaluation.ledger import Ledger
from herscope.stats.arguments import Floats
from herscope.stats.classification.cases import Flags
from herscope.stats.survival.concordance_index import harrell_c, uno_c
from herscope.stats.survival.cox import CoxRow, cox
from herscope.stats.survival.kaplan_meier import kaplan_meier, median_follow_up
from herscope.stats.survival.log_rank import log_rank
from herscope.stats.survival.outcome import Outcome

if TYPE_CHECKING:
    from herscope.respond.cohort.outcomes import FollowUp


def overall_survival(
    follow_up: FollowUp, risk: Floats, level: float, ledger: Ledger, place: str
) -> dict[str, Any]:
    """Return the curve of all patients, their follow-up, and how the risk orders them.

    Parameters
    ----------
    follow_up
        Of the patients judged, in their order.
    risk
        (patients,) 1 - probability; higher is worse.
    level, ledger, place
        Confidence level; where reasons go, and under which name.
    """
    known = follow_up.known
    outcome = ledger.made(place, follow_up.outcome)
    return {
        "patients": int(known.sum()),
        "events": int((follow_up.event & known).sum()),
        "left_out": {"time or event unknown": int((~known).sum())} if (~known).any() else {},
        "all": None if outcome is None else kaplan_meier(outcome, level=level).document(),
        "follow_up": None if outcome is None else median_follow_up(outcome, level=level).document(),
        "harrell_c": None
        if outcome is None
        else ledger.told(
            f"{place}.harrell_c", lambda: harrell_c(outcome, risk[known], level=level)
        ),
        "uno_c": None
        if outcome is None
        else ledger.told(f"{place}.uno_c", lambda: uno_c(outcome, risk[known], level=level)),
    }


def survival_by(
    follow_up: FollowUp,
    names: Sequence[str | None],
    order: Sequence[str],
    level: float,
    ledger: Ledger,
    place: str,
    *,
    ratio_of: tuple[str, str] | None = None,
) -> dict[str, Any] | None:
    """Return curves and log-rank test of named groups; None, with the reason, without outcome.

    Parameters
    ----------
    follow_up
        Of the patients judged, in their order.
    names
        (patients,) group, None for patients to be left out.
    order
        Names in the order of the result.
    level, ledger, place
        Confidence level; where reasons go, and under which name.
    ratio_of
        Two groups whose hazard ratio, first against second, is told.
    """
    outcome = ledger.made(place, follow_up.outcome)
    if outcome is None:
        return None
    label = [names[i] for i in np.flatnonzero(follow_up.known).tolist()]
    curves: dict[str, Any] = {}
    for name in order:
        inside = _among(label, [name])
        curves[name] = ledger.told(
            f"{place}.curves.{name}", partial(_curve, outcome, inside, name, level)
        )
    used = _among(label, order)
    present = [name for name in order if curves[name] is not None]
    document: dict[str, Any] = {
        "curves": curves,
        "log_rank": ledger.told(
            f"{place}.log_rank",
            lambda: log_rank(
                _some(outcome, used),
                [name for name in label if name is not None and name in order],
                order=present,
            ),
        ),
    }
    if ratio_of is not None:
        document["hazard_ratio"] = ledger.made(
            f"{place}.hazard_ratio", lambda: _ratio(outcome, label, ratio_of, level)
        )
    return document


def _curve(outcome: Outcome, inside: Flags, name: str, level: float) -> Any:
    if not inside.any():
        raise UndefinedStatistic(f"no patient with known outcome is {name}")
    return kaplan_meier(outcome.where(inside), level=level)


def _some(outcome: Outcome, used: Flags) -> Outcome:
    if not used.any():
        raise UndefinedStatistic("no patient of these groups has a known outcome")
    return outcome.where(used)


def _among(label: Sequence[str | None], names: Sequence[str]) -> Flags:
    return np.array([name in names for name in label], np.bool_)


def _ratio(
    outcome: Outcome, label: Sequence[str | None], pair: tuple[str, str], level: float
) -> dict[str, Any]:
    used = _among(label, pair)
    first = _among(label, pair[:1])[used].astype(np.float64)
    said = f"{pair[0]} against {pair[1]}"
    row: CoxRow = cox(_some(outcome, used), {said: first}, level=level).rows[0]
    return {
        **row.hazard_ratio.document(),
        "p_value": row.p_value,
        "of": said,
        "proportional_hazards": row.proportional.document(),
    }
