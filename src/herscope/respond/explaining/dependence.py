"""How risk follows one token, or one part, over a cohort: partial dependence.

Friedman, Annals of Statistics 2001: the token is set to one level for *every* patient, all else
stays, and risk (probability of no response, mean of the members) is averaged. Beside it stands the
mean risk of the patients who have this level in truth (*observed*), which also carries whatever
else goes with it. The two differ where levels go with other things; where a level is set in
patients in whom it is impossible, the curve is of patients that do not exist. Curves of single
patients (Goldstein et al., J Comput Graph Stat 2015) are given by their 10th and 90th percentile.

Intervals are bootstraps over patients, with the network as it is. A set of tokens is varied in the
patients that have any of this set; a part is taken from the patients that have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.respond.explaining.altered import TOKEN_SETS, tokens_of, with_token
from herscope.respond.explaining.forward import (
    pictures_read_once,
    probability,
    response_logits,
)
from herscope.respond.explaining.words import TokenWords, checked_words
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import PARTS, Patient, TokenRow
from herscope.stats.case_bootstrap import SEED, bootstrap_interval

Floats = NDArray[np.float64]
Cohort = Sequence[Patient | None]
RESAMPLES: Final = 1000
INDIVIDUAL: Final = (10.0, 90.0)


@dataclass(frozen=True, slots=True)
class LevelRisk:
    """Mean risk with a token at one level.

    Attributes
    ----------
    level
        Its name.
    mean, low, high
        Mean over patients with the level set, and its 95 % bootstrap interval (None: one patient).
    individual_low, individual_high
        10th and 90th percentile of the single patients.
    observed, observed_patients
        Mean risk of those who have this level alone, and how many; None where nobody has.
    """

    level: str
    mean: float
    low: float | None
    high: float | None
    individual_low: float
    individual_high: float
    observed: float | None
    observed_patients: int


@dataclass(frozen=True, slots=True)
class TokenDependence:
    """Risk along the levels of a token."""

    token_set: str
    token: str
    patients: int
    levels: tuple[LevelRisk, ...]

    @property
    def range(self) -> float:
        """Largest minus smallest mean."""
        means = [level.mean for level in self.levels]
        return max(means) - min(means)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "set": self.token_set,
            "token": self.token,
            "patients": self.patients,
            "levels": [asdict(level) for level in self.levels],
        }


@dataclass(frozen=True, slots=True)
class PartDependence:
    """Mean risk of the patients that have a part, with it and as if it were unknown.

    ``moved`` is the mean change of a patient's risk in either direction; ``difference`` is risk
    with minus without, with its 95 % bootstrap interval. A part that moves some patients up and
    others down has a difference near nought.
    """

    part: str
    patients: int
    known: float
    unknown: float
    moved: float
    difference: float
    low: float | None
    high: float | None

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def token_dependence(
    networks: Sequence[FusionNetwork],
    cohorts: Sequence[Cohort],
    words: Mapping[str, Sequence[TokenWords]] | None = None,
    *,
    seed: int = SEED,
) -> list[TokenDependence]:
    """Vary every token of every set.

    Parameters
    ----------
    networks
        Members.
    cohorts
        For each member the same patients in the same order, as scaled for it; None where this
        member must not judge the patient (it has seen it). Risk is the mean of those that may.
    words
        Names of tokens and levels, by set.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        Cohorts that do not fit the members, or no patient anyone may judge.
    """
    judged = _judged(networks, cohorts)
    sets = {
        name: at
        for name in TOKEN_SETS
        if (at := [i for i, one in judged.items() if name in one.parts])
    }
    with pictures_read_once(networks):
        return [
            token
            for name, at in sets.items()
            for token in _varied(
                networks,
                [[cohort[i] for i in at] for cohort in cohorts],
                [judged[i] for i in at],
                name,
                (words or {}).get(name),
                seed,
            )
        ]


def _varied(
    networks: Sequence[FusionNetwork],
    cohorts: Sequence[Cohort],
    patients: Sequence[Patient],
    name: str,
    words: Sequence[TokenWords] | None,
    seed: int,
) -> list[TokenDependence]:
    """Vary the tokens of one set in patients that have it."""
    rows = [row for one in patients if (row := tokens_of(one, name)) is not None]
    as_is = _risk(networks, cohorts)
    found = []
    for number, token in enumerate(checked_words(words, rows[0].sizes, name)):
        levels = []
        met = _met(rows, number)
        # What nobody has was never trained: a curve of it would show weights as they were drawn.
        for level, called in enumerate(token.levels):
            if not met[level]:
                continue
            changed = [[_set(one, name, number, level) for one in cohort] for cohort in cohorts]
            has = np.array([_is(row, number, level) for row in rows])
            levels.append(_level(called, _risk(networks, changed), as_is[has], seed))
        if levels:
            found.append(TokenDependence(name, token.title, len(rows), tuple(levels)))
    return found


def part_dependence(
    networks: Sequence[FusionNetwork], cohorts: Sequence[Cohort], *, seed: int = SEED
) -> list[PartDependence]:
    """Take every part from the patients that have it; arguments as :func:`token_dependence`.

    Raises
    ------
    InputError
        Cohorts that do not fit the members, or no patient anyone may judge.
    """
    judged = _judged(networks, cohorts)
    found = []
    for part in PARTS:
        at = [i for i, one in judged.items() if part in one.parts]
        if not at:
            continue
        taken = [[None if (p := c[i]) is None else p.without(part) for i in at] for c in cohorts]
        with pictures_read_once(networks):
            known = _risk(networks, [[cohort[i] for i in at] for cohort in cohorts])
            unknown = _risk(networks, taken)
        moved = known - unknown
        low, high = _interval(moved, seed)
        found.append(
            PartDependence(
                part=part,
                patients=len(at),
                known=float(known.mean()),
                unknown=float(unknown.mean()),
                moved=float(np.abs(moved).mean()),
                difference=float(moved.mean()),
                low=low,
                high=high,
            )
        )
    return found


def _judged(networks: Sequence[FusionNetwork], cohorts: Sequence[Cohort]) -> dict[int, Patient]:
    """Patients that at least one member may judge, by number."""
    if not networks or len(networks) != len(cohorts) or len({len(c) for c in cohorts}) != 1:
        raise InputError(
            f"{len(networks)} networks and cohorts of {[len(c) for c in cohorts]} patients",
            hint="give the same patients, as scaled for it, for each network",
        )
    found = {
        at: one
        for at, column in enumerate(zip(*cohorts, strict=True))
        if (one := next((p for p in column if p is not None), None)) is not None
    }
    if not found:
        raise InputError("no patient that any member may judge", hint="give patients not seen")
    return found


def _risk(networks: Sequence[FusionNetwork], cohorts: Sequence[Cohort]) -> Floats:
    """(patients,) mean over the members that may judge each."""
    total, count = np.zeros(len(cohorts[0])), np.zeros(len(cohorts[0]))
    for network, cohort in zip(networks, cohorts, strict=True):
        at = [i for i, one in enumerate(cohort) if one is not None]
        logits = response_logits(network, [one for one in cohort if one is not None])
        total[at] += 1.0 - probability(logits)
        count[at] += 1
    return np.asarray(total / count)


def _set(patient: Patient | None, name: str, number: int, level: int) -> Patient | None:
    return None if patient is None else with_token(patient, name, number, level)


def _met(rows: Sequence[TokenRow], number: int) -> NDArray[np.bool_]:
    """Which levels of a token anybody has."""
    start = sum(rows[0].sizes[:number])
    end = start + rows[0].sizes[number]
    return np.asarray(np.stack([row.values[start:end] for row in rows]).any(axis=0))


def _is(row: TokenRow, number: int, level: int) -> bool:
    """Whether a token is this level and nothing else."""
    start = sum(row.sizes[:number])
    values = row.values[start : start + row.sizes[number]]
    return bool(values[level] == 1.0 and values.sum() == 1.0)


def _level(name: str, risk: Floats, observed: Floats, seed: int) -> LevelRisk:
    low, high = _interval(risk, seed)
    individual_low, individual_high = np.percentile(risk, INDIVIDUAL)
    return LevelRisk(
        name, float(risk.mean()), low, high, float(individual_low), float(individual_high),
        float(observed.mean()) if observed.size else None, int(observed.size),
    )  # fmt: skip


def _interval(values: Floats, seed: int) -> tuple[float | None, float | None]:
    if values.size < 2:
        return None, None
    bounds = bootstrap_interval(
        values.size, lambda rows: values[rows].mean(axis=1), n_resamples=RESAMPLES, seed=seed
    )
    return bounds.low, bounds.high
